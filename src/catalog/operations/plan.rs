//! What an operation is to copy and to publish, and what was there on the source before.

use super::Transport;
use crate::catalog::{execute, json, maybe, rows, Arg};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use steep_repl_core::lsn::Lsn;

/// What is to be published, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublicationPlan {
    /// Tables and partitioned roots.
    pub entries: Vec<Published>,
    /// Tables that get REPLICA IDENTITY FULL, as (schema, name).
    pub identity_full: Vec<(String, String)>,
}

/// One member of a publication.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// OID on the source.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Into the publication of inserts and truncates.
    pub insert_only: bool,
    /// As ONLY, without what inherits from it.
    pub only: bool,
}

/// A table of the plan, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedTable {
    /// OID here.
    pub relid: u32,
    /// Place in the plan.
    pub ordinal: i32,
    /// Schema.
    pub table_schema: String,
    /// Name.
    pub table_name: String,
    /// OID on the source.
    pub source_relid: u32,
    /// Columns that are copied.
    pub columns: Vec<String>,
    /// Their numbers on the source.
    pub column_numbers: Vec<i16>,
    /// Their types there.
    pub column_types: Vec<String>,
    /// `relfilenode` on the source under the snapshot that it was copied under.
    #[serde(default)]
    pub source_filenode: Option<u32>,
    /// Its `relnatts` there.
    #[serde(default)]
    pub source_natts: Option<i16>,
    /// binary or text.
    pub format: String,
    /// How its rows get here; decided when the plan is stored.
    #[serde(default)]
    pub transport: Transport,
    /// Copied in a batch.
    pub small: bool,
    /// Loaded with its indexes on.
    pub keeps_indexes: bool,
    /// Of access method heap on the source.
    pub heap: bool,
    /// Its pages on the source are about full.
    pub packed: bool,
    /// Only inserts are replicated.
    pub insert_only: bool,
    /// Blocks on the source.
    pub pages: i64,
    /// Size on the source.
    pub bytes_total: i64,
    /// Rows by statistics, -1 unknown.
    pub rows_estimated: f64,
}

/// Stores the plan of an operation.
pub fn insert_tables(operation: i64, tables: &[PlannedTable]) -> Result<()> {
    execute(
        include_str!("../../../sql/queries/operation_tables_insert.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&tables)?)],
    )
}

/// Replaces the plan of an operation that has not begun to carry it out.
pub fn replan(operation: i64, publication: &PublicationPlan, bytes_total: i64, tables: &[PlannedTable]) -> Result<()> {
    execute(
        include_str!("../../../sql/queries/operation_replan.sql"),
        &[Arg::Int(operation), Arg::Text(&json(publication)?), Arg::Int(bytes_total)],
    )?;
    insert_tables(operation, tables)
}

/// Replaces what is copied of tables whose definition has changed.
pub fn replan_tables(operation: i64, tables: &[PlannedTable]) -> Result<()> {
    execute(
        include_str!("../../../sql/queries/operation_tables_replan.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&tables)?)],
    )
}

/// What an operation is to publish.
pub fn publication_plan(operation: i64) -> Result<PublicationPlan> {
    maybe("SELECT publication_plan::text FROM steep_repl.operations WHERE id = $1", &[Arg::Int(operation)])?
        .ok_or_else(|| Error::internal(format!("operation {operation} is gone")))
}

/// The plan of an operation, largest table first.
pub fn tables(operation: i64) -> Result<Vec<PlannedTable>> {
    rows(include_str!("../../../sql/queries/operation_tables.sql"), &[Arg::Int(operation)])
}

/// OIDs on the source of all tables that came to a node through a subscription.
pub fn source_relids_of(subscription: u32) -> Result<Vec<u32>> {
    rows(
        "SELECT t.source_relid::bigint::text FROM steep_repl.operation_tables t JOIN steep_repl.operations o ON o.id = t.operation_id \
         WHERE o.subscription_oid = $1::oid AND o.status <> 'cancelled' ORDER BY t.operation_id, t.ordinal",
        &[Arg::Int(i64::from(subscription))],
    )
}

/// The tables of an operation, each with the LSN of the snapshot that it was copied under.
pub fn tables_with_lsn(operation: i64) -> Result<Vec<(u32, Lsn)>> {
    rows(
        "SELECT pg_catalog.jsonb_build_array(t.relid::bigint, coalesce(t.snapshot_lsn, o.start_lsn))::text \
         FROM steep_repl.operation_tables t JOIN steep_repl.operations o ON o.id = t.operation_id \
         WHERE o.id = $1 ORDER BY t.ordinal",
        &[Arg::Int(operation)],
    )
}

/// A table's replica identity, as it was: schema, name, relreplident, and the index where it is one.
pub type Identity = (String, String, String, Option<String>);

/// Forgets what replica identities were: they are that again.
pub fn forget_identities(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.operations SET identities = NULL WHERE id = $1", &[Arg::Int(operation)])
}

/// Writes down what replica identities were before they are changed; of each table the first time counts.
pub fn record_identities(operation: i64, identities: &[Identity]) -> Result<()> {
    execute(
        include_str!("../../../sql/queries/operation_record_identities.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&identities)?)],
    )
}

/// The replica identities that were changed.
pub fn identities(operation: i64) -> Result<Vec<Identity>> {
    Ok(maybe(
        "SELECT coalesce(identities, '[]'::jsonb)::text FROM steep_repl.operations WHERE id = $1",
        &[Arg::Int(operation)],
    )?
    .unwrap_or_default())
}

/// What publications and their members are, each as something that every change of it changes.
pub type Mark = std::collections::BTreeMap<String, String>;

/// Stores what the publications are.
pub fn set_publication_mark(operation: i64, mark: &Mark) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET publication_mark = $2::jsonb WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(&json(mark)?)],
    )
}

/// What the publications were when the slot was made.
pub fn publication_mark(operation: i64) -> Result<Mark> {
    Ok(maybe("SELECT publication_mark::text FROM steep_repl.operations WHERE id = $1", &[Arg::Int(operation)])?
        .unwrap_or_default())
}
