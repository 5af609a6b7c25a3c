//! The user's own sequences: where they stand, and moving them to where the source's are. As the current role, with its rights.

use super::{json, texts, user, Access, Arg};
use crate::error::Result;
use crate::pg::role;
use serde::{Deserialize, Serialize};
use steep_repl_core::ident::qualified;

/// A sequence's position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValue {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// last_value.
    pub last_value: i64,
    /// Whether last_value was handed out.
    pub is_called: bool,
}

/// A sequence of this database.
#[derive(Deserialize)]
struct Sequence {
    schema: String,
    name: String,
    increment: i64,
    relid: u32,
}

fn here(values: &[SequenceValue]) -> Result<Vec<Sequence>> {
    user::read(include_str!("../../sql/queries/sequences_here.sql"), &[Arg::Text(&json(&values)?)])
}

/// OIDs of sequences, as far as they are here.
pub fn relids(values: &[SequenceValue]) -> Result<Vec<u32>> {
    Ok(here(values)?.into_iter().map(|here| here.relid).collect())
}

/// Moves sequences to the source's positions, forward only; returns how many were moved, and the names of those that are not
/// here. 55P03 where the session waits for locks for a while only, and somebody alters one of them.
pub fn set(values: &[SequenceValue]) -> Result<(usize, Vec<String>)> {
    let known_here = here(values)?;
    let mut moved = 0;
    let mut missing = Vec::new();
    for batch in values.chunks(500) {
        let mut known = Vec::new();
        for value in batch {
            match known_here.iter().find(|here| here.schema == value.schema && here.name == value.name) {
                Some(here) => known.push((value, here.increment)),
                None => missing.push(qualified(&value.schema, &value.name)),
            }
        }
        let statement = known
            .iter()
            .map(|(value, increment)| {
                // Forward is down for a sequence that counts down. A position that was not handed out lies before the same
                // one that was.
                let name = qualified(&value.schema, &value.name);
                let beyond = if *increment >= 0 { "<" } else { ">" };
                format!(
                    "SELECT pg_catalog.to_jsonb(pg_catalog.setval('{}'::regclass, {last}, {called}))::text FROM {name} \
                     WHERE last_value {beyond} {last} OR last_value = {last} AND NOT is_called AND {called}",
                    name.replace('\'', "''"),
                    last = value.last_value,
                    called = value.is_called,
                )
            })
            .collect::<Vec<_>>()
            .join(" UNION ALL ");
        if !statement.is_empty() {
            moved += role::with_pinned_path(|| texts(Access::Write, &statement, &[]))?.len();
        }
    }
    Ok((moved, missing))
}
