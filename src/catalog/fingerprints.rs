//! Rows of `steep_repl.schema_fingerprints`: what tables were when they were last captured.

use super::{as_owner_count, json, rows, Arg};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use steep_repl_core::definition::Definition;

/// A table as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Captured {
    /// Schema.
    pub table_schema: String,
    /// Name.
    pub table_name: String,
    /// Fingerprint.
    pub fingerprint: String,
    /// Number of its columns.
    pub column_count: i32,
    /// All of it.
    pub definition: Definition,
    /// When, as text of a timestamptz; none in what is to be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured_at: Option<String>,
}

/// Replaces what is stored of the given schemas, or of all.
pub fn store(captured: &[Captured], schemas: Option<&[String]>) -> Result<()> {
    let schemas = schemas.map(|schemas| json(&schemas)).transpose()?;
    as_owner_count(
        include_str!("../../sql/queries/fingerprints_store.sql"),
        &[Arg::Text(&json(&captured)?), Arg::MaybeText(schemas.as_deref())],
    )
    .map(drop)
}

/// What is stored.
pub fn all() -> Result<Vec<Captured>> {
    rows(
        "SELECT pg_catalog.jsonb_build_object('table_schema', table_schema, 'table_name', table_name, 'fingerprint', fingerprint, \
         'column_count', column_count, 'definition', definition, 'captured_at', captured_at::text)::text \
         FROM steep_repl.schema_fingerprints",
        &[],
    )
}

/// The schemas that were captured; none for all of the database.
pub fn schemas() -> Result<Option<Vec<String>>> {
    let names: Vec<String> = rows(
        "SELECT pg_catalog.to_jsonb(schema_name)::text FROM steep_repl.captured_schemas ORDER BY schema_name",
        &[],
    )?;
    Ok((!names.iter().any(String::is_empty)).then_some(names))
}
