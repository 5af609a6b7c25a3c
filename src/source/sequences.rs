//! Positions of the source's sequences.

use crate::catalog::sequences::SequenceValue;
use crate::error::Result;
use crate::pg::remote::Connection;
use serde::Deserialize;
use steep_repl_core::ident::{qualified, quote_literal};

/// Sequences that are read with one query.
const BATCH: usize = 200;

#[derive(Deserialize)]
struct Sequence {
    schema: String,
    name: String,
}

/// Reads the positions of the sequences that belong to the given tables, and of all others in the given schemas (all when
/// none). Sequences that nobody may read are skipped by the privileges check of the query.
pub fn read(
    connection: &Connection,
    tables: &[u32],
    schemas: Option<&[String]>,
    all: bool,
) -> Result<Vec<SequenceValue>> {
    let context = "could not read sequences";
    let schemas = schemas.map_or("NULL::text[]".to_owned(), |schemas| {
        format!("ARRAY[{}]::text[]", schemas.iter().map(|schema| quote_literal(schema)).collect::<Vec<_>>().join(", "))
    });
    let tables = tables.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let query = include_str!("../../sql/queries/source_sequences.sql")
        .replace(":relids", &tables)
        .replace(":all", if all { "true" } else { "false" })
        // Names last: what is put in is not looked at again.
        .replace(":schemas", &schemas);
    let sequences: Vec<Sequence> = connection.json(&query, context)?;
    let mut values = Vec::new();
    for batch in sequences.chunks(BATCH) {
        let query = batch
            .iter()
            .map(|sequence| {
                format!(
                    "SELECT pg_catalog.jsonb_build_object('schema', {}, 'name', {}, 'last_value', last_value, \
                     'is_called', is_called)::text FROM {}",
                    quote_literal(&sequence.schema),
                    quote_literal(&sequence.name),
                    qualified(&sequence.schema, &sequence.name)
                )
            })
            .collect::<Vec<_>>()
            .join(" UNION ALL ");
        values.extend(connection.json(&query, context)?);
    }
    Ok(values)
}
