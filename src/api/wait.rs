//! Waiting for an operation, without being in its way.

use super::{given, seconds, SqlResult};
use crate::catalog::ownership;
use crate::catalog::progress::{self, Brief};
use crate::catalog::{nodes, operations};
use crate::error::{Error, Result};
use crate::pg::{raise, snapshot, system};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::{register_xact_callback, PgXactCallbackEvent};
use std::cell::Cell;

/// How often to look, in milliseconds.
const LOOK_MS: i64 = 50;
/// How often to tell, in seconds.
const TELL: f64 = 10.0;

thread_local! {
    /// The operation that the current transaction has started.
    static STARTED: Cell<i64> = const { Cell::new(0) };
}

/// Notes that the current transaction has started an operation.
pub(super) fn note_started(operation: i64) {
    STARTED.with(|started| started.set(operation));
    register_xact_callback(PgXactCallbackEvent::Commit, || STARTED.with(|started| started.set(0)));
    register_xact_callback(PgXactCallbackEvent::Abort, || STARTED.with(|started| started.set(0)));
}

#[pg_extern]
fn wait_for_init(node: Option<&str>, timeout: default!(Option<Interval>, "NULL")) -> SqlResult<String> {
    Ok(wait(given("node", node)?, seconds("timeout", timeout)?)?)
}

/// Refuses a wait that would never end, or see nothing.
fn refuse_to_wait(operation: i64) -> Result<()> {
    if STARTED.with(Cell::get) == operation {
        return Err(Error::WaitInTransaction);
    }
    if snapshot::is_blind() {
        return Err(Error::WaitBlind);
    }
    Ok(())
}

fn wait(node: &str, timeout: Option<f64>) -> Result<String> {
    nodes::get(node)?;
    let operation = operations::newest_of(node)?.ok_or_else(|| Error::NoOperation { node: node.to_owned() })?;
    if operation.is_unfinished() {
        // Nobody works on it here.
        ownership::require_ours(&operation)?;
    }
    let wait = Wait { operation: operation.id, timeout, gone: &["cancelled"], words: Brief::words };
    wait.until_ended(|ended| match ended {
        Ended::Completed { state } => Ok(state),
        Ended::Cancelled => Err(Error::Cancelled { operation: operation.id, node: node.to_owned() }),
        Ended::Late { waited, progress } => Err(Error::WaitTimeout { node: node.to_owned(), waited, progress }),
    })
}

/// How waiting for an operation has ended; its failure is an error.
pub(super) enum Ended {
    /// The operation is complete, and this the state of its node.
    Completed { state: String },
    /// It was cancelled.
    Cancelled,
    /// The time is over.
    Late { waited: String, progress: String },
}

/// A wait for an operation.
pub(super) struct Wait {
    pub operation: i64,
    /// Seconds; none waits for ever.
    pub timeout: Option<f64>,
    /// Statuses in which there is nothing to wait for any more.
    pub gone: &'static [&'static str],
    /// What is told from time to time.
    pub words: fn(&Brief) -> String,
}

impl Wait {
    /// Waits, and has it said what the end means.
    pub(super) fn until_ended<T>(&self, end: impl FnOnce(Ended) -> Result<T>) -> Result<T> {
        refuse_to_wait(self.operation)?;
        let started = system::now_secs();
        let mut told = started;
        loop {
            let now = snapshot::fresh(|| progress::brief(self.operation))?;
            match now.status.as_str() {
                "completed" => return end(Ended::Completed { state: now.state }),
                gone if self.gone.contains(&gone) => return end(Ended::Cancelled),
                "failed" => {
                    return Err(now.error.map_or_else(
                        || Error::internal("a failed operation without an error"),
                        |problem| Error::Server(Box::new(problem)),
                    ))
                }
                _ => {}
            }
            let waited = system::now_secs() - started;
            if self.timeout.is_some_and(|timeout| waited >= timeout) {
                return end(Ended::Late { waited: format!("{waited:.0} s"), progress: (self.words)(&now) });
            }
            if system::now_secs() - told >= TELL {
                told = system::now_secs();
                raise::notice(&(self.words)(&now));
            }
            snapshot::release_horizon_if_unused();
            let left = self.timeout.map_or(f64::MAX, |timeout| (timeout - waited) * 1000.0);
            system::wait_latch(LOOK_MS.min(left.max(1.0) as i64));
        }
    }
}
