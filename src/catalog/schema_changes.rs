//! Rows of `steep_repl.schema_changes`: what an operation has made and altered here, and how to take it back.

use super::{execute, json, rows, Arg};
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// Something that was made or altered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SchemaChange {
    /// Order in which it was done; given by [`record`].
    #[serde(default)]
    pub position: i32,
    /// create, alter or grant.
    pub action: String,
    /// table, index, function, ...
    pub object_kind: String,
    /// The object, for people.
    pub object_name: String,
    /// Schema of the table, where it is one.
    pub table_schema: Option<String>,
    /// Name of the table, where it is one.
    pub table_name: Option<String>,
    /// Statements that take it back.
    pub undo: Vec<String>,
}

/// Notes what was done, after what was noted before.
pub fn record(operation: i64, changes: &[SchemaChange]) -> Result<()> {
    execute(
        include_str!("../../sql/queries/schema_changes_insert.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&changes)?)],
    )
}

/// The newest of what is to be taken back, newest first.
pub fn left(operation: i64, most: i64) -> Result<Vec<SchemaChange>> {
    rows(include_str!("../../sql/queries/schema_changes_left.sql"), &[Arg::Int(operation), Arg::Int(most)])
}

/// Notes that a change was taken back.
pub fn undone(operation: i64, position: i32) -> Result<()> {
    execute(
        "UPDATE steep_repl.schema_changes SET undone_at = pg_catalog.clock_timestamp() WHERE operation_id = $1 AND position = $2",
        &[Arg::Int(operation), Arg::Int(i64::from(position))],
    )
}
