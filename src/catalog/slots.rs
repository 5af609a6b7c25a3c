//! Rows of `steep_repl.prepared_slots`: slots that are kept for somebody's own backup.

use super::{execute, maybe, rows, Arg};
use crate::error::Result;
use serde::Deserialize;
use steep_repl_core::lsn::Lsn;

/// Tokens of the operations of this database that have begun with somebody's own backup and were cancelled: what they have taken on a source
/// that was given up, nobody uses.
pub fn given_up() -> Result<Vec<String>> {
    rows(
        "SELECT pg_catalog.to_json(token)::text FROM steep_repl.operations \
         WHERE kind = 'init' AND method = 'manual' AND status = 'cancelled' ORDER BY id",
        &[],
    )
}

/// A slot that is or was kept.
#[derive(Debug, Clone, Deserialize)]
pub struct Prepared {
    /// The operation that made it.
    pub operation: i64,
    /// Its name.
    pub slot: String,
    /// The node it is on.
    pub node: String,
    /// Where it starts, once it is made.
    pub start_lsn: Option<Lsn>,
    /// The snapshot, as long as it is kept.
    pub snapshot: Option<String>,
    /// Its publications.
    pub publications: Vec<String>,
    /// Whether its time is over.
    pub is_expired: bool,
    /// When that will be, in microseconds since the Unix epoch; none is never.
    pub expires_at: Option<i64>,
}

/// The query that reads them, with a condition.
macro_rules! select {
    ($rest:literal) => {
        concat!(include_str!("../../sql/queries/prepared_slot_select.sql"), $rest)
    };
}

/// Notes, with its operation, that a slot is to be kept for so many seconds; none is for ever.
pub fn insert(operation: i64, expires: Option<f64>) -> Result<()> {
    execute(
        "INSERT INTO steep_repl.prepared_slots (operation_id, expires_at) \
         VALUES ($1, pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $2))",
        &[Arg::Int(operation), Arg::MaybeFloat(expires)],
    )
}

/// Forgets slots that are not kept any more, with their operations, and that ended more than that many seconds ago. Not those that have
/// still something to take away, and not those that know what replica identities of the source were.
pub fn forget_older_than(seconds: f64) -> Result<()> {
    execute(
        "DELETE FROM steep_repl.operations WHERE kind = 'prepare' AND status IN ('completed', 'cancelled') \
         AND finished_at < pg_catalog.now() - pg_catalog.make_interval(secs => $1) \
         AND coalesce(identities, '[]') = '[]' \
         AND NOT EXISTS (SELECT FROM steep_repl.cleanup c WHERE c.operation_id = operations.id)",
        &[Arg::Float(seconds)],
    )
}

/// The one of an operation.
pub fn get(operation: i64) -> Result<Option<Prepared>> {
    maybe(select!("WHERE o.id = $1"), &[Arg::Int(operation)])
}

/// Those that are kept, oldest first; whosever they are.
pub fn kept() -> Result<Vec<Prepared>> {
    rows(select!("WHERE p.ended IS NULL AND o.status IN ('pending', 'running', 'failed') ORDER BY o.id"), &[])
}

/// Those that are being taken away, or of which something is left to be, oldest first; whosever they are.
pub fn ending() -> Result<Vec<Prepared>> {
    rows(
        select!(
            "WHERE o.status = 'cancelling' OR o.status = 'cancelled' \
             AND EXISTS (SELECT FROM steep_repl.cleanup c WHERE c.operation_id = o.id) ORDER BY o.id"
        ),
        &[],
    )
}

/// Notes how much WAL it holds back.
pub fn seen(operation: i64, wal_held_bytes: i64) -> Result<()> {
    execute(
        "UPDATE steep_repl.prepared_slots SET wal_held_bytes = $2, seen_at = pg_catalog.clock_timestamp() WHERE operation_id = $1",
        &[Arg::Int(operation), Arg::Int(wal_held_bytes)],
    )
}

/// Notes that a node replicates by it, whatever else was meant to become of it.
pub fn set_used(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.prepared_slots SET ended = 'used' WHERE operation_id = $1", &[Arg::Int(operation)])
}

/// Notes why it is not kept any more; the first reason counts.
pub fn end(operation: i64, why: &str) -> Result<()> {
    execute(
        "UPDATE steep_repl.prepared_slots SET ended = coalesce(ended, $2) WHERE operation_id = $1",
        &[Arg::Int(operation), Arg::Text(why)],
    )
}
