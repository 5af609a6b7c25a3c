//! Slots that were made beforehand: what the source knows of them, and whose they are.

use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use serde::Deserialize;
use steep_repl_core::ident::{quote_ident, quote_literal};
use steep_repl_core::init_slot::Record;
use steep_repl_core::lsn::Lsn;

/// A file is not there.
const UNDEFINED_FILE: &str = "58P01";

/// A replication slot as it is.
#[derive(Debug, Clone, Deserialize)]
pub struct Slot {
    /// logical or physical.
    pub slot_type: String,
    /// Its plugin.
    pub plugin: Option<String>,
    /// Whether it is of the database that we are connected to.
    pub is_here: bool,
    /// Whether somebody replicates by it now.
    pub active: bool,
    /// Whether it goes with its session.
    pub temporary: bool,
    /// Whether it decodes prepared transactions.
    pub two_phase: bool,
    /// Up to where it has been used; its start as long as nobody has.
    pub confirmed: Option<Lsn>,
    /// reserved, extended, unreserved or lost.
    pub wal_status: Option<String>,
    /// The source's insert position.
    pub now: Lsn,
}

/// The slot of that name; none when there is none.
pub fn get(connection: &Connection, name: &str) -> Result<Option<Slot>> {
    let query = include_str!("../../sql/queries/source_prepared_slot.sql").replace(":name", &quote_literal(name));
    Ok(connection.json(&query, "could not read the replication slot")?.into_iter().next())
}

/// Writes down on the source what is known of a slot: as the comment of its publication.
pub fn describe(connection: &Connection, record: &Record) -> Result<()> {
    let comment = record.comment().map_err(|error| Error::internal(format!("JSON: {error}")))?;
    let Some(publication) = record.publications.first() else { return Ok(()) };
    connection.execute(
        &format!("COMMENT ON PUBLICATION {} IS {}", quote_ident(publication), quote_literal(&comment)),
        "could not comment on the publication",
    )
}

/// What is known of slots, by the comments of publications; of unused ones first, then by name.
pub fn records(connection: &Connection) -> Result<Vec<(Record, bool)>> {
    #[derive(Deserialize)]
    struct Commented {
        comment: String,
        slot_names: Vec<String>,
    }
    let query = include_str!("../../sql/queries/source_slot_records.sql");
    let commented: Vec<Commented> = connection.json(query, "could not read the comments of publications")?;
    Ok(commented
        .into_iter()
        .filter_map(|found| {
            let record = Record::parse(&found.comment)?;
            let is_there = found.slot_names.contains(&record.slot);
            Some((record, is_there))
        })
        .collect())
}

/// What is known of one slot; of the youngest, where one of that name was dropped and made anew.
pub fn record(connection: &Connection, slot: &str) -> Result<Option<Record>> {
    let known = records(connection)?.into_iter().map(|(record, _)| record);
    Ok(known.filter(|record| record.slot == slot).max_by_key(|record| record.start_lsn))
}

/// Does what reads and writes the record of a slot while nobody else does.
pub fn alone_with<T>(connection: &Connection, slot: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let context = "could not lock the record of the slot";
    let key = format!("pg_catalog.hashtextextended({}, 0)", quote_literal(&format!("steep_repl init slot {slot}")));
    connection.execute("SET lock_timeout = '5s'", context)?;
    connection.rows(&format!("SELECT pg_catalog.pg_advisory_lock({key})::text"), 1, context)?;
    let done = work();
    connection.rows(&format!("SELECT pg_catalog.pg_advisory_unlock({key})::text"), 1, context)?;
    connection.execute("SET lock_timeout = 0", context)?;
    done
}

/// Name of the application that replicates by a slot now; none when nobody does.
pub fn user_of(connection: &Connection, name: &str) -> Result<Option<String>> {
    let query = format!(
        "SELECT a.application_name FROM pg_catalog.pg_replication_slots s JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid \
         WHERE s.slot_name = {}",
        quote_literal(name)
    );
    connection.value(&query, "could not look who uses the replication slot")
}

/// The tables that publications publish, leaves of partitioned ones, by schema and name.
pub fn leaves(connection: &Connection, publications: &[String]) -> Result<Vec<(String, String)>> {
    let list = publications.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT DISTINCT pg_catalog.jsonb_build_array(t.schemaname, t.tablename)::text FROM pg_catalog.pg_publication_tables t \
         WHERE t.pubname IN ({list}) ORDER BY 1"
    );
    connection.json(&query, "could not read the tables of the publications")
}

/// Whether a publication and its members were committed before a slot was made, as far as transaction ids tell: all that are older than
/// the oldest one whose catalog rows the slot needs have ended before it.
pub fn is_older(connection: &Connection, publication: &str, slot: &str) -> Result<bool> {
    let schemas = "UNION ALL SELECT n.xmin FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_namespace n ON n.pnpubid = p.oid \
                   WHERE p.pubname = :publication";
    let query = include_str!("../../sql/queries/source_publication_is_older.sql")
        .replace(":schemas", if connection.server_major() >= 15 { schemas } else { "" })
        .replace(":publication", &quote_literal(publication))
        .replace(":slot", &quote_literal(slot));
    Ok(connection.value(&query, "could not compare publication and slot")?.as_deref() == Some("true"))
}

/// Whether the extension is in the source.
pub fn has_extension(connection: &Connection) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'steep_repl')::text";
    Ok(connection.value(query, "could not look for the extension")?.as_deref() == Some("true"))
}

/// The timeline that the source writes to.
pub fn timeline(connection: &Connection) -> Result<u32> {
    let query = "SELECT pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)";
    let name = connection.value(query, "could not read the timeline")?;
    name.and_then(|digits| u32::from_str_radix(&digits, 16).ok())
        .ok_or_else(|| Error::internal("the source has no timeline"))
}

/// What the source has written down of the timelines before one of its own; nothing when it has no such file, which the server takes
/// for a timeline that was the first. Only on a walsender connection.
pub fn timeline_history(walsender: &Connection, timeline: u32) -> Result<String> {
    let context = "could not read the history of the timeline";
    match walsender.rows(&format!("TIMELINE_HISTORY {timeline}"), 2, context) {
        Ok(rows) => Ok(rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten().unwrap_or_default()),
        Err(error) if error.problem().sqlstate == UNDEFINED_FILE => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Whether the source has that advisory lock, which this process holds: then it is this very server.
pub fn sees_lock(connection: &Connection, key: i64) -> Result<bool> {
    let (high, low) = ((key as u64) >> 32, (key as u64) & 0xFFFF_FFFF);
    let query = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND classid::bigint = {high} \
         AND objid::bigint = {low} AND objsubid = 1)::text"
    );
    Ok(connection.value(&query, "could not look for a lock")?.as_deref() == Some("true"))
}

/// Those of the given tables that hold rows; under a snapshot as of then, without one as of now.
pub fn not_empty(connection: &Connection, tables: &[(String, String)], snapshot: Option<&str>) -> Result<Vec<usize>> {
    let context = "could not look into the tables";
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", context)?;
    if let Some(snapshot) = snapshot {
        let imported = connection.execute(&format!("SET TRANSACTION SNAPSHOT {}", quote_literal(snapshot)), context);
        if let Err(error) = imported {
            // Whoever asks may ask again without it.
            connection.execute("ROLLBACK", context)?;
            return Err(error.of_snapshot_import(connection.node()));
        }
    }
    connection.execute("SET LOCAL lock_timeout = '5s'", context)?;
    let mut found = Vec::new();
    for (number, batch) in tables.chunks(LOOKED_AT_ONCE).enumerate() {
        let looks: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(place, (schema, name))| {
                let table = steep_repl_core::ident::qualified(schema, name);
                format!("SELECT '{}' WHERE EXISTS (SELECT FROM ONLY {table})", number * LOOKED_AT_ONCE + place)
            })
            .collect();
        let places: Vec<usize> = connection.json(&looks.join(" UNION ALL "), context)?;
        found.extend(places);
    }
    connection.execute("COMMIT", context)?;
    Ok(found)
}

/// Tables in one query.
const LOOKED_AT_ONCE: usize = 100;
