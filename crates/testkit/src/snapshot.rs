//! What a database's schema looks like, as text that can be compared before and after.

use crate::database::Db;

/// Every index outside system schemas and the extension's schema: definition, flags, constraint and comment.
pub fn indexes_snapshot(db: &Db) -> Vec<String> {
    db.rows(
        "select n.nspname, t.relname, c.relname, pg_get_indexdef(i.indexrelid), 'valid=' || i.indisvalid, 'ready=' || i.indisready,
                'live=' || i.indislive, 'unique=' || i.indisunique, 'primary=' || i.indisprimary, 'immediate=' || i.indimmediate,
                'replident=' || i.indisreplident, 'clustered=' || i.indisclustered, 'exclusion=' || i.indisexclusion,
                (select string_agg(k.conname || ' ' || pg_get_constraintdef(k.oid), '; ' order by k.conname)
                   from pg_constraint k where k.conindid = i.indexrelid and k.conrelid = i.indrelid),
                obj_description(i.indexrelid, 'pg_class'), c.reloptions
         from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
              join pg_namespace n on n.oid = t.relnamespace
         where n.nspname !~ '^(pg_|information_schema$|steep_repl$)' order by n.nspname, t.relname, c.relname",
    )
}

/// Every constraint outside system schemas and the extension's schema: definition, flags and comment.
pub fn constraints_snapshot(db: &Db) -> Vec<String> {
    db.rows(
        "select n.nspname, coalesce(t.relname, ''), k.conname, k.contype, pg_get_constraintdef(k.oid), 'validated=' || k.convalidated,
                'enforced=' || coalesce(to_jsonb(k)->>'conenforced', 'true'), 'inherited=' || k.coninhcount,
                'local=' || k.conislocal, obj_description(k.oid, 'pg_constraint')
         from pg_constraint k join pg_namespace n on n.oid = k.connamespace left join pg_class t on t.oid = k.conrelid
         where n.nspname !~ '^(pg_|information_schema$|steep_repl$)' order by n.nspname, t.relname, k.conname",
    )
}

/// The whole schema but the extension's, as pg_dump writes it.
pub fn schema_text(db: &Db) -> String {
    let dump = db.dump_schema(db.cluster(), &["--exclude-extension=steep_repl", "--exclude-schema=steep_repl"]);
    // The key of \restrict is random.
    dump.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Everything about a schema that an initialization must leave as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaState {
    indexes: Vec<String>,
    constraints: Vec<String>,
    text: Vec<String>,
}

impl SchemaState {
    /// Reads it.
    pub fn of(db: &Db) -> SchemaState {
        let text = schema_text(db).lines().map(str::to_string).collect();
        SchemaState { indexes: indexes_snapshot(db), constraints: constraints_snapshot(db), text }
    }

    /// Reads it again and panics with the lines that are not the same.
    pub fn assert_same(&self, db: &Db) {
        let now = SchemaState::of(db);
        let parts = [
            ("indexes", &self.indexes, &now.indexes),
            ("constraints", &self.constraints, &now.constraints),
            ("pg_dump -s", &self.text, &now.text),
        ];
        for (part, before, after) in parts {
            let gone: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
            let new: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
            assert!(before == after, "{part} of {} changed: was {gone:#?}, is {new:#?}", db.name());
        }
    }
}
