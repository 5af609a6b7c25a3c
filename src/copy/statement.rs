//! The statements a copy sends to the source. Pure.

use crate::catalog::tasks::Task;
use serde::Deserialize;
use steep_repl_core::ident::{qualified, quote_ident, quote_literal};

/// Locks the tables of a batch against rewrites until the transaction on the source ends. It is the first read of them, so
/// after it their files stay what they are.
pub fn lock(tasks: &[Task]) -> String {
    let tables: Vec<String> =
        tasks.iter().map(|task| format!("ONLY {}", qualified(&task.table_schema, &task.table_name))).collect();
    format!("LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", "))
}

/// What a table is on the source.
#[derive(Debug, Deserialize)]
pub struct Seen {
    /// Its OID.
    pub oid: u32,
    /// Whether it is still what the snapshot knows: the same file, and the table of that name.
    pub is_same: bool,
    /// `relfilenode` under the snapshot.
    pub filenode: Option<u32>,
    /// `relnatts` under the snapshot.
    pub natts: Option<i16>,
}

/// Asks what the tables are. The snapshot decides what pg_class shows; `pg_relation_filenode` and `to_regclass` look at the present.
pub fn seen(tasks: &[Task]) -> String {
    let given: Vec<String> = tasks
        .iter()
        .map(|task| {
            format!("({}::oid, {})", task.source_relid, quote_literal(&qualified(&task.table_schema, &task.table_name)))
        })
        .collect();
    format!(
        "SELECT DISTINCT pg_catalog.jsonb_build_object('oid', t.relid::bigint, 'filenode', c.relfilenode::bigint, 'natts', c.relnatts, \
         'is_same', c.relfilenode IS NOT DISTINCT FROM pg_catalog.pg_relation_filenode(t.relid) \
                    AND pg_catalog.to_regclass(t.name)::oid IS NOT DISTINCT FROM t.relid)::text \
         FROM (VALUES {}) AS t (relid, name) LEFT JOIN pg_catalog.pg_class c ON c.oid = t.relid",
        given.join(", ")
    )
}

/// The COPY of a task.
pub fn copy(task: &Task) -> String {
    let table = qualified(&task.table_schema, &task.table_name);
    let columns = task.columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    let what = match (task.from_block, task.to_block) {
        (None, _) if columns.is_empty() => format!("(SELECT FROM ONLY {table})"),
        (None, _) => format!("{table} ({columns})"),
        (Some(from), to) => {
            let mut bounds = format!("ctid >= '({from},0)'::pg_catalog.tid");
            if let Some(to) = to {
                bounds.push_str(&format!(" AND ctid < '({to},0)'::pg_catalog.tid"));
            }
            format!("(SELECT {columns} FROM ONLY {table} WHERE {bounds})")
        }
    };
    let format = if task.format == "binary" { " WITH (FORMAT binary)" } else { "" };
    format!("COPY {what} TO STDOUT{format}")
}
