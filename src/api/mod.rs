//! The SQL functions, by topic: they check arguments, write one row, and return. What they start is done by workers.

// pgrx takes an error report by value; it is made once per failing call.
#![allow(clippy::result_large_err)]

mod begin;
mod checks;
mod complete;
mod control;
mod init;
mod large_tables;
mod nodes;
mod physical_copy;
mod preflight;
mod prepare;
mod refresh;
pub mod schemas;
mod sequences;
mod snapshots;
mod source_only;
mod surroundings;
pub mod views;
mod wait;

use crate::error::{Error, Result};
use crate::pg::raise::ErrorReport;
use crate::pg::worker::Assignment;

/// What a SQL function returns: an error becomes a PostgreSQL error with SQLSTATE, detail and hint.
type SqlResult<T> = std::result::Result<T, ErrorReport>;

/// An argument that must be given. The functions are not STRICT: a NULL would be passed over in silence.
fn given<T>(argument: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or(Error::Null { argument })
}

/// A text[] argument without its nulls; an empty one is an error, since it would mean nothing or all.
fn list(argument: &'static str, values: Option<Vec<Option<String>>>) -> Result<Option<Vec<String>>> {
    let Some(values) = values else { return Ok(None) };
    let values: Vec<String> = values.into_iter().flatten().collect();
    if values.is_empty() {
        return Err(Error::Argument {
            argument,
            value: "{}".to_owned(),
            hint: "Leave it out to mean all, or name at least one.".to_owned(),
        });
    }
    Ok(Some(values))
}

/// An interval in seconds; a month counts as 30 days, as in PostgreSQL's own arithmetic with intervals.
fn seconds(argument: &'static str, interval: Option<pgrx::datum::Interval>) -> Result<Option<f64>> {
    let Some(interval) = interval else { return Ok(None) };
    let seconds = interval.as_micros() as f64 / 1e6;
    if seconds < 0.0 {
        return Err(Error::Argument {
            argument,
            value: format!("{seconds} s"),
            hint: "It must not be negative.".to_owned(),
        });
    }
    Ok(Some(seconds))
}

/// Body of the worker that commits something on behalf of a session.
pub fn errand(assignment: Assignment) -> Result<()> {
    crate::pg::errand::run(assignment, prepare::store)
}
