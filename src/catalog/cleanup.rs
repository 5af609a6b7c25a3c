//! Rows of `steep_repl.cleanup`: what a cancelled operation has still to take away.

use super::{execute, json, rows, Arg};
use crate::error::Result;
use steep_repl_core::errors::Problem;

/// Kinds of work of an operation that are left, whether due or not.
pub fn left(operation: i64) -> Result<Vec<String>> {
    rows(
        "SELECT pg_catalog.to_jsonb(kind)::text FROM steep_repl.cleanup WHERE operation_id = $1",
        &[Arg::Int(operation)],
    )
}

/// Notes that a piece of work could not be done, to be tried again after some seconds.
pub fn note(operation: i64, kind: &str, problem: &Problem, pause_seconds: f64) -> Result<()> {
    execute(
        include_str!("../../sql/queries/cleanup_note.sql"),
        &[Arg::Int(operation), Arg::Text(kind), Arg::Text(&json(problem)?), Arg::Float(pause_seconds)],
    )
}

/// Notes that a piece of work is done.
pub fn done(operation: i64, kind: &str) -> Result<()> {
    execute(
        "DELETE FROM steep_repl.cleanup WHERE operation_id = $1 AND kind = $2",
        &[Arg::Int(operation), Arg::Text(kind)],
    )
}

/// Operations of a node that have still something to take away on their source.
pub fn operations_with_source_left(node: &str) -> Result<Vec<i64>> {
    rows(
        "SELECT c.operation_id::text FROM steep_repl.cleanup c JOIN steep_repl.operations o ON o.id = c.operation_id \
         WHERE o.node = $1 AND c.kind = 'source' ORDER BY c.operation_id",
        &[Arg::Text(node)],
    )
}

/// Operations of a node that have still to empty tables or put back what was suspended here.
pub fn pending_here(node: &str) -> Result<Vec<i64>> {
    rows(include_str!("../../sql/queries/cleanup_here.sql"), &[Arg::Text(node)])
}
