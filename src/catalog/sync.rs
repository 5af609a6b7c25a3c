//! What the server's own table synchronization does for an operation, by `pg_subscription_rel` and the workers' statistics.

use super::{execute, json, rows, write, Arg};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use steep_repl_core::errors::Problem;

/// A table that is being copied or is done since the last look; those that wait for their turn are left out.
#[derive(Debug, Clone, Deserialize)]
pub struct Synced {
    /// OID here.
    pub relid: u32,
    /// Schema-qualified.
    pub name: String,
    /// Its bare name, as the server's log has it.
    pub table_name: String,
    /// i, d, f, s or r, as `pg_subscription_rel` has it; none when it is not in the subscription any more.
    pub state: Option<String>,
    /// Its worker.
    pub pid: Option<i32>,
    /// The worker that it had at the last look.
    pub pid_before: Option<i32>,
    /// Size on the source when planned.
    pub bytes: i64,
    /// Its first worker was seen now.
    pub begins: bool,
    /// It is handed over to the apply worker.
    pub is_through: bool,
    /// Rows that are here, once it is through.
    pub rows: i64,
    /// How long the copy took, in milliseconds.
    pub ms: f64,
}

impl Synced {
    /// Whether the worker that it had at the last look is gone, and has not done what it was for.
    pub fn has_lost_worker(&self) -> bool {
        self.pid_before.is_some() && self.pid != self.pid_before && !matches!(self.state.as_deref(), Some("s" | "r"))
    }

    /// Whether it is copied and not handed over, and nobody is at it.
    pub fn waits_for_its_slot(&self) -> bool {
        self.pid.is_none() && self.state.as_deref() == Some("f")
    }

    /// Whether somebody has begun with it and nobody is at it.
    pub fn is_left_alone(&self) -> bool {
        self.pid.is_none() && matches!(self.state.as_deref(), Some("d" | "f"))
    }
}

/// Writes down how far the tables of an operation are, and gives those that something happens with.
pub fn mirror(operation: i64, subscription: u32) -> Result<Vec<Synced>> {
    write(include_str!("../../sql/queries/sync_mirror.sql"), &[Arg::Int(operation), Arg::Int(i64::from(subscription))])
}

/// Notes a failed attempt at a table; `last`: it is not tried again.
pub fn note_failure(operation: i64, relid: u32, problem: &Problem, last: bool) -> Result<()> {
    execute(
        include_str!("../../sql/queries/sync_failed.sql"),
        &[Arg::Int(operation), Arg::Int(i64::from(relid)), Arg::Text(&json(problem)?), Arg::Bool(last)],
    )
}

/// How many of the tables that the server copies are not done.
pub fn left(operation: i64) -> Result<i64> {
    let counts: Vec<i64> = rows(
        "SELECT count(*)::text FROM steep_repl.operation_tables WHERE operation_id = $1 AND status <> 'done' AND transport = 'server'",
        &[Arg::Int(operation)],
    )?;
    Ok(counts.into_iter().next().unwrap_or(0))
}

/// A table as the source has it.
#[derive(Debug, Serialize)]
pub struct AsIs {
    /// OID here.
    pub relid: u32,
    /// `relfilenode`.
    pub filenode: u32,
    /// `relnatts`.
    pub natts: i16,
}

/// Writes down what tables are on the source before they are copied.
pub fn set_seen(operation: i64, tables: &[AsIs]) -> Result<()> {
    execute(include_str!("../../sql/queries/sync_seen.sql"), &[Arg::Int(operation), Arg::Text(&json(&tables)?)])
}

/// The time, for a message.
pub fn now() -> Result<String> {
    let now: Vec<String> = rows(include_str!("../../sql/queries/now_utc.sql"), &[])?;
    now.into_iter().next().ok_or_else(|| Error::internal("no answer about the time"))
}
