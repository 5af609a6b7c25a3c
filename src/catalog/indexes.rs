//! Rows of `steep_repl.suspended_indexes` and `steep_repl.suspended_constraints`.

use super::{execute, json, rows, write, Arg};
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// An index to be switched off.
#[derive(Debug, Clone, Deserialize)]
pub struct Suspended {
    /// Its OID.
    pub index_oid: u32,
    /// Its table.
    pub relid: u32,
}

/// Writes down the valid indexes of tables before they are switched off. Indexes that are invalid are left as they are.
pub fn record(operation: i64, relids: &[u32]) -> Result<Vec<Suspended>> {
    write(
        include_str!("../../sql/queries/suspended_indexes_record.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&relids)?)],
    )
}

/// Indexes of an operation that are suspended and still there.
pub fn suspended(operation: i64) -> Result<Vec<Suspended>> {
    rows(include_str!("../../sql/queries/suspended_indexes.sql"), &[Arg::Int(operation)])
}

/// Notes that an index is back.
pub fn restored(operation: i64, index: u32) -> Result<()> {
    execute(
        "UPDATE steep_repl.suspended_indexes SET restored_at = pg_catalog.clock_timestamp() \
         WHERE operation_id = $1 AND index_oid = $2::oid",
        &[Arg::Int(operation), Arg::Int(i64::from(index))],
    )
}

/// A unique index that is not valid.
#[derive(Debug, Clone, Deserialize)]
pub struct Invalid {
    /// Its name and its table's.
    pub name: String,
    /// A constraint or the table's replica identity stands on it.
    pub is_key: bool,
}

/// Unique indexes of the tables that are invalid before anything was done to them.
pub fn invalid(relids: &[u32]) -> Result<Vec<Invalid>> {
    rows(include_str!("../../sql/queries/indexes_invalid.sql"), &[Arg::Text(&json(&relids)?)])
}

/// Those of the tables whose indexes were suspended when this database was copied from another one.
pub fn suspended_elsewhere(relids: &[u32]) -> Result<Vec<u32>> {
    rows(
        "SELECT DISTINCT s.relid::bigint::text FROM steep_repl.suspended_indexes s \
         JOIN pg_catalog.pg_index i ON i.indexrelid = s.index_oid AND i.indrelid = s.relid \
         WHERE s.restored_at IS NULL \
         AND s.relid IN (SELECT r.value::oid FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r)",
        &[Arg::Text(&json(&relids)?)],
    )
}

/// Whether an index of the table is maintained by writes.
pub fn any_maintained(relid: u32) -> Result<bool> {
    let found: Vec<bool> = rows(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = $1::oid AND i.indisready)::text",
        &[Arg::Int(i64::from(relid))],
    )?;
    Ok(found.into_iter().next().unwrap_or(true))
}

/// A NOT VALID constraint that is, or is to be, set aside.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Constraint {
    /// Its table.
    pub relid: u32,
    /// Its OID.
    pub constraint_oid: u32,
    /// Its name.
    pub constraint_name: String,
    /// c for CHECK, n for NOT NULL.
    pub contype: String,
    /// pg_get_constraintdef().
    pub definition: String,
    /// Its comment.
    pub comment: Option<String>,
    /// not_enforced or dropped.
    pub how: String,
}

/// NOT VALID constraints, at the root of their trees, that rows of the given tables would be checked against.
pub fn not_valid(relids: &[u32]) -> Result<Vec<Constraint>> {
    rows(include_str!("../../sql/queries/constraints_not_valid.sql"), &[Arg::Text(&json(&relids)?)])
}

/// Writes constraints down before they are set aside.
pub fn record_constraints(operation: i64, constraints: &[Constraint]) -> Result<()> {
    execute(
        include_str!("../../sql/queries/suspended_constraints_record.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&constraints)?)],
    )
}

/// Constraints that are set aside and not back yet.
pub fn constraints_to_restore(operation: i64) -> Result<Vec<Constraint>> {
    rows(include_str!("../../sql/queries/suspended_constraints.sql"), &[Arg::Int(operation)])
}

/// Notes that a constraint is back.
pub fn constraint_restored(operation: i64, constraint: u32) -> Result<()> {
    execute(
        "UPDATE steep_repl.suspended_constraints SET restored_at = pg_catalog.clock_timestamp() \
         WHERE operation_id = $1 AND constraint_oid = $2::oid",
        &[Arg::Int(operation), Arg::Int(i64::from(constraint))],
    )
}
