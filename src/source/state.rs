//! Where the source is: its WAL, our slot, and what holds the slot's creation up.

use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use serde::Deserialize;
use std::collections::HashMap;
use steep_repl_core::ident::quote_literal;
use steep_repl_core::lsn::Lsn;

/// Where WAL ends, and how far the slot is.
#[derive(Debug, Clone, Deserialize)]
pub struct SlotState {
    /// The source's insert position.
    pub now: Lsn,
    /// What the node has confirmed; none when the slot is gone.
    pub confirmed: Option<Lsn>,
    /// From where on its WAL is kept.
    pub restart: Option<Lsn>,
    /// Whether somebody replicates by it now.
    pub active: bool,
    /// reserved, extended, unreserved or lost.
    pub wal_status: Option<String>,
    /// When the last transaction committed on the source, against its clock, as far as the walsender knows; in seconds.
    pub replay_lag_seconds: Option<f64>,
}

impl SlotState {
    /// Whether the slot is gone or cannot be used any more.
    pub fn is_lost(&self) -> bool {
        self.confirmed.is_none() || self.wal_status.as_deref() == Some("lost")
    }
}

/// Asks for the slot.
pub fn slot(connection: &Connection, name: &str) -> Result<SlotState> {
    let query = include_str!("../../sql/queries/source_slot.sql").replace(":name", &quote_literal(name));
    connection
        .json(&query, "could not read the replication slot")?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("the source said nothing about its WAL"))
}

/// The source's current WAL position.
pub fn current_lsn(connection: &Connection) -> Result<Lsn> {
    let text = connection.value("SELECT pg_catalog.pg_current_wal_lsn()::text", "could not read the WAL position")?;
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Error::internal("the source has no WAL position"))
}

/// Writes a logical message, so that an idle source has something for the slot to confirm.
pub fn nudge(connection: &Connection) -> Result<()> {
    connection
        .value(
            "SELECT pg_catalog.pg_logical_emit_message(false, 'steep_repl', '')::text",
            "could not write a logical message",
        )
        .map(drop)
}

/// A transaction that a slot's creation waits for.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct Blocker {
    /// "pid 123" or "prepared transaction 'gid'".
    pub who: String,
    /// How old it is, in seconds; none when our role may not see that.
    pub age_seconds: Option<f64>,
}

/// The oldest transactions that hold a slot's creation up now.
pub fn blockers(connection: &Connection) -> Result<Vec<Blocker>> {
    connection.json(include_str!("../../sql/queries/source_blockers.sql"), "could not read the source's transactions")
}

/// What one of our backends on the source does.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub struct Backend {
    /// Whose it is.
    pub application_name: String,
    /// What kind of thing it waits for; none when it works.
    pub wait_event_type: Option<String>,
    /// Who holds the lock that it waits for, as "pid 123".
    pub blockers: Vec<String>,
}

/// Our backends on the source, by the prefix of their names.
pub fn backends(connection: &Connection, prefix: &str) -> Result<Vec<Backend>> {
    let query = include_str!("../../sql/queries/source_backends.sql").replace(":prefix", &quote_literal(prefix));
    connection.json(&query, "could not look at the sessions of the workers")
}

/// Ends what is left of our sessions on the source, by the prefix of their names. A process of ours that was ended may have sent a
/// last command, to make the slot, that arrives when the slot has been looked for.
pub fn end_sessions(connection: &Connection, prefix: &str) -> Result<()> {
    let query = include_str!("../../sql/queries/source_end_sessions.sql").replace(":prefix", &quote_literal(prefix));
    connection.rows(&query, 1, "could not end sessions of ended workers").map(drop)
}

/// Ends the WAL senders of the given names: those of table synchronization workers, which go by their slots.
pub fn end_sessions_named(connection: &Connection, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let list = names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let query = format!(
        "WITH held AS MATERIALIZED (SELECT pid FROM pg_catalog.pg_stat_activity \
         WHERE backend_type = 'walsender' AND usename = CURRENT_USER AND application_name IN ({list})) \
         SELECT pg_catalog.pg_terminate_backend(pid, 5000)::text FROM held"
    );
    connection.rows(&query, 1, "could not end sessions of table synchronization workers").map(drop)
}

/// Those of the given slots that are there.
pub fn existing_slots(connection: &Connection, names: &[String]) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let list = names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT pg_catalog.to_jsonb(slot_name)::text FROM pg_catalog.pg_replication_slots WHERE slot_name IN ({list})"
    );
    connection.json(&query, "could not look for replication slots")
}

/// Takes our slot away, with whatever backend of ours still holds it. Nothing happens when it is not there.
pub fn drop_slot(connection: &Connection, name: &str) -> Result<()> {
    let context = format!("could not drop replication slot \"{name}\"");
    let literal = quote_literal(name);
    connection.rows(
        &format!(
            "WITH held AS MATERIALIZED (SELECT active_pid FROM pg_catalog.pg_replication_slots \
             WHERE slot_name = {literal} AND active_pid IS NOT NULL) \
             SELECT pg_catalog.pg_terminate_backend(active_pid, 10000)::text FROM held"
        ),
        1,
        &context,
    )?;
    connection
        .rows(
            &format!(
                "WITH left_over AS MATERIALIZED (SELECT slot_name FROM pg_catalog.pg_replication_slots \
                 WHERE slot_name = {literal}) \
                 SELECT pg_catalog.pg_drop_replication_slot(slot_name)::text FROM left_over"
            ),
            1,
            &context,
        )
        .map(drop)
}

/// The files of tables.
pub fn filenodes(connection: &Connection, relids: &[u32]) -> Result<HashMap<u32, u32>> {
    let found: Vec<(u32, u32)> =
        connection.json(&user::filenodes_query(relids), "could not look at the files of tables")?;
    Ok(found.into_iter().collect())
}

/// What tables are partitions of.
pub fn parents(connection: &Connection, relids: &[u32]) -> Result<HashMap<u32, u32>> {
    let found: Vec<(u32, u32)> =
        connection.json(&user::parents_query(relids), "could not look at the partitions of tables")?;
    Ok(found.into_iter().collect())
}

/// A point in time, as transaction ids tell it.
#[derive(Debug, Clone)]
pub enum Before {
    /// A slot was made: all that are older than the oldest one whose catalog rows it needs have ended before.
    Slot(String),
    /// This transaction id was given out.
    Xid(u32),
}

/// Those of the tables that were made before a point in time. That is seen by a row that nothing changes: the one of a system column.
pub fn made_before(connection: &Connection, relids: &[u32], before: &Before) -> Result<Vec<u32>> {
    let list = relids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let age = match before {
        Before::Slot(name) => format!(
            "(SELECT pg_catalog.age(s.catalog_xmin) FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = {})",
            quote_literal(name)
        ),
        Before::Xid(xid) => format!("pg_catalog.age('{xid}'::xid)"),
    };
    let query = format!(
        "SELECT pg_catalog.to_jsonb(a.attrelid::bigint)::text FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = ANY ('{{{list}}}'::oid[]) AND a.attname = 'tableoid' AND a.attnum < 0 \
           AND pg_catalog.age(a.xmin) > {age}"
    );
    connection.json(&query, "could not see when tables were made")
}

/// Statement that begins a transaction that reads.
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Statement that begins a transaction under an exported snapshot. 22023 when the snapshot is gone.
pub fn begin_under(snapshot: &str) -> String {
    format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}", quote_literal(snapshot))
}

/// Lets no statement on this connection take longer; 0 means no limit.
pub fn limit_statements(connection: &Connection, milliseconds: u32) -> Result<()> {
    connection.execute(&format!("SET statement_timeout = {milliseconds}"), "could not set a limit")
}
