//! Publications on the source: making ours, checking the user's, taking ours away.
//!
//! A publication must be committed before the slot exists: a slot reads the catalogs as of each change, and for changes before
//! the publication there is none; PostgreSQL 18 skips them in silence.

use crate::catalog::operations::{Identity, Mark, Published};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use serde::Deserialize;
use steep_repl_core::ident::{qualified, qualified_display, quote_ident, quote_literal};

/// Tables that are added with one command: each is locked until its commit.
const BATCH: usize = 100;

/// What a publication does, and what is in it.
#[derive(Debug, Deserialize)]
struct Existing {
    inserts: bool,
    updates: bool,
    deletes: bool,
    truncates: bool,
    via_root: bool,
    /// Leaves that it publishes, as (schema, name).
    tables: Vec<(String, String)>,
    /// Those of them with a row filter or a column list.
    filtered: Vec<String>,
}

/// Whether a publication of that name is there.
pub fn exists(connection: &Connection, name: &str) -> Result<bool> {
    let query =
        format!("SELECT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = {})::text", quote_literal(name));
    Ok(connection.value(&query, "could not look for a publication")?.as_deref() == Some("true"))
}

/// Makes a publication with the given tables, or completes one of ours that was begun. Waits at most 5 s for a lock (55P03).
pub fn make(connection: &Connection, name: &str, entries: &[&Published], insert_only: bool) -> Result<()> {
    let context = format!("could not make publication \"{name}\"");
    connection.execute("SET lock_timeout = '5s'", &context)?;
    let publish = if insert_only { "insert, truncate" } else { "insert, update, delete, truncate" };
    if !exists(connection, name)? {
        connection.execute(
            &format!(
                "CREATE PUBLICATION {} WITH (publish = '{publish}', publish_via_partition_root = false)",
                quote_ident(name)
            ),
            &context,
        )?;
    }
    let query = format!(
        "SELECT pg_catalog.to_jsonb(prrelid::bigint)::text FROM pg_catalog.pg_publication_rel r \
         JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname = {}",
        quote_literal(name)
    );
    let present: std::collections::HashSet<u32> = connection.json(&query, &context)?.into_iter().collect();
    let missing: Vec<&&Published> = entries.iter().filter(|entry| !present.contains(&entry.oid)).collect();
    for batch in missing.chunks(BATCH) {
        let tables = batch
            .iter()
            .map(|entry| format!("{}{}", if entry.only { "ONLY " } else { "" }, qualified(&entry.schema, &entry.name)))
            .collect::<Vec<_>>()
            .join(", ");
        connection.execute(&format!("ALTER PUBLICATION {} ADD TABLE {tables}", quote_ident(name)), &context)?;
    }
    connection.execute("SET lock_timeout = 0", &context)
}

/// OIDs of the tables and roots that publications hold.
pub fn members(connection: &Connection, names: &[String]) -> Result<Vec<u32>> {
    let list = names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT DISTINCT pg_catalog.to_jsonb(r.prrelid::bigint)::text FROM pg_catalog.pg_publication_rel r \
         JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE p.pubname IN ({list})"
    );
    connection.json(&query, "could not read the publications")
}

/// Refuses a publication of the user's that does not hold the plan, or that holds less of a table than all.
pub fn check(connection: &Connection, node: &str, name: &str, leaves: &[(String, String)]) -> Result<()> {
    let refuse = |reason: String, hint: String| {
        Err(Error::Publication { node: node.to_owned(), publication: name.to_owned(), reason, hint })
    };
    if !exists(connection, name)? {
        return refuse(
            "It does not exist.".to_owned(),
            format!("On the source: CREATE PUBLICATION {} FOR TABLE ...;", quote_ident(name)),
        );
    }
    let query = include_str!("../../sql/queries/source_publication.sql").replace(":name", &quote_literal(name));
    let found: Vec<Existing> = connection.json(&query, "could not read a publication")?;
    let Some(found) = found.into_iter().next() else {
        return Err(Error::internal("the source said nothing about a publication"));
    };
    if !(found.inserts && found.updates && found.deletes && found.truncates) {
        return refuse(
            "It does not publish inserts, updates, deletes and truncates.".to_owned(),
            format!(
                "On the source: ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');",
                quote_ident(name)
            ),
        );
    }
    if found.via_root {
        return refuse(
            "It publishes changes of partitions as changes of their root.".to_owned(),
            format!("On the source: ALTER PUBLICATION {} SET (publish_via_partition_root = false);", quote_ident(name)),
        );
    }
    if !found.filtered.is_empty() {
        return refuse(
            format!("It has a row filter or a column list on {}.", found.filtered.join(", ")),
            "Publish the whole tables, or leave these out with tables =>.".to_owned(),
        );
    }
    let published: std::collections::HashSet<&(String, String)> = found.tables.iter().collect();
    let missing: Vec<String> = leaves
        .iter()
        .filter(|leaf| !published.contains(leaf))
        .map(|(schema, table)| qualified_display(schema, table))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    refuse(
        format!("It does not hold {}.", missing.join(", ")),
        format!("On the source: ALTER PUBLICATION {} ADD TABLE ...; or name fewer tables.", quote_ident(name)),
    )
}

/// Refuses tables that publications of ours did not hold when they were marked: what was written into them before they joined never comes.
/// With a slot that includes partitions that were attached after it; whoever was made as a partition has had no rows before.
pub fn check_members(
    connection: &Connection,
    node: &str,
    names: &[String],
    mark: &Mark,
    relids: &[u32],
    slot: Option<&str>,
) -> Result<()> {
    let members: Vec<&str> = mark.keys().filter_map(|what| what.strip_prefix('r')?.split(' ').next()).collect();
    let members = format!("'{{{}}}'::oid[]", members.join(","));
    refuse_outsiders(connection, node, names, &Members { list: &members, mark }, relids, slot)
}

/// Refuses partitions that were attached after a slot was made, and that publications, which are older than the slot, do not publish by
/// themselves: what was written into them before never comes. `mark` is what they were before the slot was made, where that is known.
pub fn check_partitions(
    connection: &Connection,
    node: &str,
    names: &[String],
    mark: &Mark,
    relids: &[u32],
    slot: &str,
) -> Result<()> {
    let list = names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let schemas = "UNION ALL SELECT c.oid FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_namespace n ON n.pnpubid = p.oid \
                   JOIN pg_catalog.pg_class c ON c.relnamespace = n.pnnspid WHERE p.pubname IN (:names)";
    let members = "(ARRAY(SELECT m.prrelid FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel m ON m.prpubid = p.oid \
                   WHERE p.pubname IN (:names) :schemas UNION ALL SELECT c.oid FROM pg_catalog.pg_publication p, pg_catalog.pg_class c \
                   WHERE p.pubname IN (:names) AND p.puballtables AND c.oid = ANY (:relids::oid[])))"
        .replace(":schemas", if connection.server_major() >= 15 { schemas } else { "" })
        .replace(":names", &list);
    refuse_outsiders(connection, node, names, &Members { list: &members, mark }, relids, Some(slot))
}

/// The tables that a mark tells of, members of the publications and partitions of such: they were there when it was taken.
pub fn marked(mark: &Mark) -> std::collections::HashSet<u32> {
    let tables = mark.keys().filter_map(|what| what.strip_prefix(['r', 'i'])?.split(' ').next());
    tables.filter_map(|oid| oid.parse().ok()).collect()
}

/// What publications publish by itself.
struct Members<'a> {
    /// An array of OIDs in SQL.
    list: &'a str,
    /// What was a partition of theirs before the slot was made.
    mark: &'a Mark,
}

/// Refuses what is outside.
fn refuse_outsiders(
    connection: &Connection,
    node: &str,
    names: &[String],
    members: &Members,
    relids: &[u32],
    slot: Option<&str>,
) -> Result<()> {
    let list = relids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let known: Vec<String> = members
        .mark
        .iter()
        .filter_map(|(what, mark)| Some(format!("\"{} {mark}\"", what.strip_prefix('i')?)))
        .collect();
    let query = include_str!("../../sql/queries/source_not_members.sql")
        .replace(":members", members.list)
        .replace(":known", &format!("'{{{}}}'::text[]", known.join(",")))
        .replace(":relids", &format!("'{{{list}}}'"))
        .replace(":slot", &slot.map_or_else(|| "NULL".to_owned(), quote_literal));
    let found: Vec<(String, String, Option<String>, Option<String>)> =
        connection.json(&query, "could not look at the tables of the publications")?;
    let (mut outside, mut has_attached) = (Vec::new(), false);
    for (schema, table, attached_by, command) in found {
        let lacks = match (&attached_by, &command) {
            (Some(xid), Some(command)) => had_rows(connection, &qualified(&schema, &table), xid, command)?,
            _ => true,
        };
        if lacks {
            has_attached |= attached_by.is_some();
            outside.push(qualified_display(&schema, &table));
        }
    }
    if outside.is_empty() {
        return Ok(());
    }
    let hint = match has_attached {
        true => "What was written into a partition before it was attached never comes. Make another slot, and another backup or snapshot.",
        false => "Leave these out with tables =>; or call steep_repl.prepare_init for all of them, and make another backup.",
    };
    Err(Error::Publication {
        node: node.to_owned(),
        publication: names.join(", "),
        reason: format!("It did not hold {} when its slot was made.", outside.join(", ")),
        hint: hint.to_owned(),
    })
}

/// Whether a table has rows that its making transaction has written before a command of it. They came first, and are where the table begins.
fn had_rows(connection: &Connection, table: &str, xid: &str, command: &str) -> Result<bool> {
    let query = format!(
        "SELECT EXISTS (SELECT FROM ONLY {table} WHERE ctid < '(128,0)' AND xmin = {}::xid AND cmin::text::bigint < {}::bigint)::text",
        quote_literal(xid),
        quote_literal(command)
    );
    Ok(connection.value(&query, "could not look at the first rows of a partition")?.as_deref() == Some("true"))
}

/// The mark of publications as they are now.
pub fn mark(connection: &Connection, names: &[String]) -> Result<Mark> {
    let list = names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let schemas = "UNION ALL SELECT 's' || n.pnnspid || ' ' || n.pnpubid, n.oid || ' ' || n.xmin FROM pg_catalog.pg_publication p \
                   JOIN pg_catalog.pg_publication_namespace n ON n.pnpubid = p.oid WHERE p.pubname IN (:names)";
    let query = include_str!("../../sql/queries/source_publication_mark.sql")
        .replace(":schemas", if connection.server_major() >= 15 { schemas } else { "" })
        .replace(":names", &list);
    Ok(connection.json(&query, "could not look at the publications")?.into_iter().next().unwrap_or_default())
}

/// Whether publications are what they were. A table or schema that was dropped has left them by that; who joined them does no harm.
pub fn is_unchanged(connection: &Connection, names: &[String], before: &Mark) -> Result<bool> {
    let now = mark(connection, names)?;
    let (mut tables, mut schemas) = (Vec::new(), Vec::new());
    for (what, mark) in before {
        let oid = what.get(1..).and_then(|member| member.split(' ').next()).unwrap_or_default();
        match (now.get(what), what.get(..1)) {
            (Some(same), _) if same == mark => {}
            // A partition that comes or goes changes no publication.
            (_, Some("i")) => {}
            (None, Some("r")) => tables.push(oid),
            (None, Some("s")) => schemas.push(oid),
            _ => return Ok(false),
        }
    }
    let query = format!(
        "SELECT (NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = ANY ('{{{}}}'::oid[])) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.oid = ANY ('{{{}}}'::oid[])))::text",
        tables.join(","),
        schemas.join(",")
    );
    Ok(connection.value(&query, "could not look at the members of the publications")?.as_deref() == Some("true"))
}

/// Tables whose updates or deletes publications publish, and that have no replica identity.
pub fn lacking_identity(connection: &Connection, names: &[String]) -> Result<Vec<(String, String)>> {
    let list = names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let query = include_str!("../../sql/queries/source_lacking_identity.sql").replace(":names", &list);
    connection.json(&query, "could not read replica identities")
}

/// Gives tables without replica identity REPLICA IDENTITY FULL, so that their updates can be replicated.
pub fn set_identity_full(connection: &Connection, tables: &[(String, String)]) -> Result<()> {
    let context = "could not set REPLICA IDENTITY FULL";
    connection.execute("SET lock_timeout = '5s'", context)?;
    for (schema, name) in tables {
        connection.execute(&format!("ALTER TABLE ONLY {} REPLICA IDENTITY FULL", qualified(schema, name)), context)?;
    }
    connection.execute("SET lock_timeout = 0", context)
}

/// Takes a table out of a publication of ours, whatever it is called now; nothing happens when it is not in it.
pub fn remove(connection: &Connection, name: &str, oid: u32) -> Result<()> {
    let context = format!("could not change publication \"{name}\"");
    let query = format!(
        "SELECT pg_catalog.jsonb_build_array(n.nspname, c.relname)::text FROM pg_catalog.pg_publication_rel r \
         JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid JOIN pg_catalog.pg_class c ON c.oid = r.prrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = {} AND r.prrelid = {oid}",
        quote_literal(name)
    );
    let tables: Vec<(String, String)> = connection.json(&query, &context)?;
    for (schema, table) in tables {
        connection.execute(
            &format!("ALTER PUBLICATION {} DROP TABLE ONLY {}", quote_ident(name), qualified(&schema, &table)),
            &context,
        )?;
    }
    Ok(())
}

/// What is said of a publication whose snapshot was dropped.
const FORSAKEN: &str = "steep_repl: the snapshot was dropped";

/// Writes on publications that their snapshot is dropped: who has taken a slot of it may replicate by them, and nobody is to make one anew.
pub fn forsake(connection: &Connection, names: &[String]) -> Result<()> {
    for name in names {
        let statement = format!("COMMENT ON PUBLICATION {} IS {}", quote_ident(name), quote_literal(FORSAKEN));
        match connection.execute(&statement, "could not comment on the publication") {
            // undefined_object
            Err(error) if error.problem().sqlstate == "42704" => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Whether one of these publications is gone, or its snapshot.
pub fn is_forsaken(connection: &Connection, names: &[String]) -> Result<bool> {
    let list = names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT (count(*) < {})::text FROM pg_catalog.pg_publication p WHERE p.pubname IN ({list}) \
         AND pg_catalog.obj_description(p.oid, 'pg_publication') IS DISTINCT FROM {}",
        names.len(),
        quote_literal(FORSAKEN)
    );
    Ok(connection.value(&query, "could not look at the publication")?.as_deref() == Some("true"))
}

/// Takes a publication of ours away; nothing happens when it is not there.
pub fn drop(connection: &Connection, name: &str) -> Result<()> {
    connection.execute(
        &format!("DROP PUBLICATION IF EXISTS {}", quote_ident(name)),
        &format!("could not drop publication \"{name}\""),
    )
}

/// What the replica identities of tables are.
pub fn identities(connection: &Connection, tables: &[(String, String)]) -> Result<Vec<Identity>> {
    let names: Vec<String> = tables.iter().map(|(schema, name)| quote_literal(&qualified(schema, name))).collect();
    let query = include_str!("../../sql/queries/source_identities.sql").replace(":names", &names.join(", "));
    connection.json(&query, "could not read replica identities")
}

/// Gives tables that are still there their replica identities back, but for those whose updates or deletes somebody else
/// publishes: without identity these would fail on the source. Returns the latter, each with that publication.
pub fn restore_identities(connection: &Connection, identities: &[Identity]) -> Result<Vec<(String, String)>> {
    let context = "could not restore replica identities";
    let mut kept = Vec::new();
    connection.execute("SET lock_timeout = '5s'", context)?;
    for (schema, name, identity, index) in identities {
        let table = qualified(schema, name);
        let query = include_str!("../../sql/queries/source_published_by.sql").replace(":name", &quote_literal(&table));
        let published_by = || -> Result<_> { Ok(connection.json::<PublishedBy>(&query, context)?.into_iter().next()) };
        let Some(there) = published_by()? else { continue };
        if let Some(publication) = there.publication {
            kept.push((table, publication));
            continue;
        }
        let restored = match (identity.as_str(), index) {
            ("n", _) => "NOTHING".to_owned(),
            ("f", _) => "FULL".to_owned(),
            ("i", Some(index)) => format!("USING INDEX {}", quote_ident(index)),
            _ => "DEFAULT".to_owned(),
        };
        let give = |identity: &str| {
            connection.execute(&format!("ALTER TABLE ONLY {table} REPLICA IDENTITY {identity}"), context)
        };
        give(&restored)?;
        // Whoever publishes it looks at its identity afterwards, and so the other way round: one of the two sees the other.
        if let Some(publication) = published_by()?.and_then(|there| there.publication) {
            give("FULL")?;
            kept.push((table, publication));
        }
    }
    connection.execute("SET lock_timeout = 0", context)?;
    Ok(kept)
}

/// A table that is still there, and a publication that needs its replica identity.
#[derive(Deserialize)]
struct PublishedBy {
    publication: Option<String>,
}
