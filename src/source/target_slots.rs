//! Slots that wait for a target: copied while they are unused, so that all stand at the same place; taken by exactly one.

use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use serde::Deserialize;
use steep_repl_core::ident::quote_literal;
use steep_repl_core::lsn::Lsn;

/// What was found of some slots.
#[derive(Debug, Clone, Deserialize)]
pub struct Found {
    /// Those that are as they were made: nobody has replicated with them, and their WAL is there.
    pub free: Vec<String>,
    /// Those that are, but for somebody who uses or drops them right now.
    pub busy: Vec<String>,
    /// WAL that they hold back, in bytes.
    pub held_bytes: i64,
    /// Those that cannot be used any more.
    pub lost: Vec<String>,
}

impl Found {
    /// Whether a slot is as it was made.
    pub fn is_free(&self, name: &str) -> bool {
        self.free.iter().any(|free| free == name)
    }
}

/// Looks at slots that were made to start at `start`.
pub fn look(connection: &Connection, names: &[String], start: Lsn) -> Result<Found> {
    let list = names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ");
    let query = include_str!("../../sql/queries/source_slots_free.sql")
        .replace(":start", &quote_literal(&start.to_string()))
        .replace(":names", &list);
    connection
        .json(&query, "could not look at the replication slots")?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("the source said nothing about its slots"))
}

fn is_there(connection: &Connection, name: &str) -> Result<bool> {
    let query = format!(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = {})::text",
        quote_literal(name)
    );
    Ok(connection.value(&query, "could not look for a replication slot")?.as_deref() == Some("true"))
}

/// Makes a slot that stands where an unused one does. 42704 when that is not there, 42710 when there is one of the new name.
pub fn copy(connection: &Connection, from: &str, to: &str) -> Result<()> {
    let query = format!(
        "SELECT pg_catalog.pg_copy_logical_replication_slot({}, {})::text",
        quote_literal(from),
        quote_literal(to)
    );
    connection.value(&query, &format!("could not copy replication slot \"{from}\" as \"{to}\"")).map(drop)
}

/// The same. False when it is not there.
pub fn copy_if_there(connection: &Connection, from: &str, to: &str) -> Result<bool> {
    match copy(connection, from, to) {
        Ok(()) => Ok(true),
        // undefined_object
        Err(error) if error.problem().sqlstate == "42704" => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same, where it may have been made already.
pub fn copy_unless_there(connection: &Connection, from: &str, to: &str) -> Result<()> {
    if is_there(connection, to)? {
        return Ok(());
    }
    copy(connection, from, to)
}

/// Drops a slot. False when it was not there, or somebody else has dropped it at the same moment: of several who try, one
/// succeeds. 55006 when somebody replicates by it, or drops it right now.
pub fn drop_if_there(connection: &Connection, name: &str) -> Result<bool> {
    if !is_there(connection, name)? {
        return Ok(false);
    }
    let query = format!("SELECT pg_catalog.pg_drop_replication_slot({})::text", quote_literal(name));
    match connection.value(&query, &format!("could not drop replication slot \"{name}\"")) {
        Ok(_) => Ok(true),
        // undefined_object
        Err(error) if error.problem().sqlstate == "42704" => Ok(false),
        Err(error) => Err(error),
    }
}
