//! The snapshot that an operation copies under, and its keeper.

use crate::catalog::{execute, json, write, Arg};
use crate::error::{Error, Result};
use steep_repl_core::errors::Problem;
use steep_repl_core::lsn::Lsn;

/// What a keeper made.
pub struct Snapshot<'a> {
    /// The slot's start.
    pub start: Lsn,
    /// Name of the snapshot.
    pub name: &'a str,
    /// What it is.
    pub contents: &'a str,
}

/// Stores what the keeper of that number made. False when it is not wanted any more: another keeper was started.
pub fn set_snapshot(operation: i64, snapshot: &Snapshot, keeper_number: u32) -> Result<bool> {
    let stored: Vec<i64> = write(
        include_str!("../../../sql/queries/operation_set_snapshot.sql"),
        &[
            Arg::Int(operation),
            Arg::Text(&snapshot.start.to_string()),
            Arg::Text(snapshot.name),
            Arg::Text(snapshot.contents),
            Arg::Int(i64::from(keeper_number)),
        ],
    )?;
    Ok(!stored.is_empty())
}

/// The number of the next keeper; those before it may not set the snapshot any more.
pub fn next_keeper(operation: i64) -> Result<u32> {
    let numbers: Vec<u32> = write(
        "UPDATE steep_repl.operations SET keeper_number = keeper_number + 1 WHERE id = $1 RETURNING keeper_number::text",
        &[Arg::Int(operation)],
    )?;
    numbers.into_iter().next().ok_or_else(|| Error::internal(format!("operation {operation} is gone")))
}

/// Notes, in the transaction that emptied the unfinished tables, that a new snapshot may be taken. What the keeper of the last
/// one said about its end is not the next one's failure.
pub fn await_snapshot(operation: i64) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET snapshot = NULL, keeper_pid = NULL, awaits_snapshot = true, error = NULL WHERE id = $1",
        &[Arg::Int(operation)],
    )
}

/// Forgets the snapshot: it is given up, or lost.
pub fn clear_snapshot(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.operations SET snapshot = NULL, keeper_pid = NULL WHERE id = $1", &[Arg::Int(operation)])
}

/// Notes that no more tables may be begun under the snapshot.
pub fn expire_snapshot(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.operations SET snapshot_expired = true WHERE id = $1", &[Arg::Int(operation)])
}

/// Forgets a snapshot that turned out to be gone, unless there is a newer one already.
pub fn forget_snapshot(operation: i64, snapshot: &str) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET snapshot = NULL WHERE id = $1 AND snapshot = $2",
        &[Arg::Int(operation), Arg::Text(snapshot)],
    )
}

/// Leaves a message of the keeper for the coordinator: why there is no snapshot.
pub fn note_error(operation: i64, problem: &Problem) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET error = $2::jsonb WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(&json(problem)?)],
    )
}

/// Takes the keeper's message away: it was read.
pub fn clear_error(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.operations SET error = NULL WHERE id = $1", &[Arg::Int(operation)])
}
