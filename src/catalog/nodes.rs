//! Rows of `steep_repl.nodes`.

use super::{execute, json, maybe, rows, Arg};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use steep_repl_core::errors::Problem;
use steep_repl_core::node_state::{self, NodeState};

/// A registered node.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name.
    pub node: String,
    /// Its connection string, secrets included.
    pub conninfo: String,
    /// OID of the role that registered it.
    pub owner: u32,
    /// Whether it is this database.
    pub is_local: bool,
    /// Its state, by name.
    pub state: String,
}

impl Node {
    /// Its state.
    pub fn state(&self) -> Result<NodeState> {
        self.state.parse().map_err(|_| Error::internal(format!("unknown node state {}", self.state)))
    }
}

/// All nodes, by name.
pub fn all() -> Result<Vec<Node>> {
    rows(include_str!("../../sql/queries/nodes_all.sql"), &[])
}

/// The node of that name, its row locked against other operations until the transaction ends.
pub fn lock(name: &str) -> Result<Node> {
    let found: Vec<Node> = super::write(include_str!("../../sql/queries/node_lock.sql"), &[Arg::Text(name)])?;
    match found.into_iter().next() {
        Some(node) => Ok(node),
        None => Err(unknown(name)?),
    }
}

/// The node of that name.
pub fn get(name: &str) -> Result<Node> {
    match maybe(include_str!("../../sql/queries/node_get.sql"), &[Arg::Text(name)])? {
        Some(node) => Ok(node),
        None => Err(unknown(name)?),
    }
}

fn unknown(name: &str) -> Result<Error> {
    let known = all()?.into_iter().map(|node| node.node).collect();
    Ok(Error::NodeUnknown { node: name.to_owned(), known })
}

/// Registers a node.
pub fn insert(name: &str, conninfo: &str, owner: u32, is_local: bool) -> Result<()> {
    execute(
        include_str!("../../sql/queries/node_insert.sql"),
        &[Arg::Text(name), Arg::Text(conninfo), Arg::Int(i64::from(owner)), Arg::Bool(is_local)],
    )
}

/// Makes another node the one that is this database: it is a copy of the one that was, which is a node elsewhere now.
pub fn make_local(name: &str) -> Result<()> {
    execute(
        "UPDATE steep_repl.nodes SET is_local = false, state = 'UNINITIALIZED', source = NULL, health = 'ok', last_error = NULL, \
         updated_at = pg_catalog.clock_timestamp() WHERE is_local",
        &[],
    )?;
    execute(
        "UPDATE steep_repl.nodes SET is_local = true, updated_at = pg_catalog.clock_timestamp() WHERE node = $1",
        &[Arg::Text(name)],
    )
}

/// Gives a node another connection string.
pub fn set_conninfo(name: &str, conninfo: &str) -> Result<()> {
    execute(
        "UPDATE steep_repl.nodes SET conninfo = $2, updated_at = pg_catalog.clock_timestamp() WHERE node = $1",
        &[Arg::Text(name), Arg::Text(conninfo)],
    )
}

/// Forgets a node.
pub fn delete(name: &str) -> Result<()> {
    execute("DELETE FROM steep_repl.nodes WHERE node = $1", &[Arg::Text(name)])
}

/// Takes a node to a state by the one transition function; an illegal step is an error. Returns the state before.
pub fn set_state(name: &str, to: NodeState, source: Option<&str>, error: Option<&Problem>) -> Result<NodeState> {
    let before = lock(name)?.state()?;
    let to = node_state::transition(before, to).map_err(|error| Error::internal(error.to_string()))?;
    let error = error.map(json).transpose()?;
    execute(
        include_str!("../../sql/queries/node_set_state.sql"),
        &[Arg::Text(name), Arg::Text(to.as_str()), Arg::MaybeText(source), Arg::MaybeText(error.as_deref())],
    )?;
    Ok(before)
}

/// Says how a node is without changing its state.
pub fn set_health(name: &str, health: &str, error: Option<&Problem>) -> Result<()> {
    let error = error.map(json).transpose()?;
    execute(
        "UPDATE steep_repl.nodes SET health = $2, last_error = $3::jsonb, updated_at = pg_catalog.clock_timestamp() \
         WHERE node = $1",
        &[Arg::Text(name), Arg::Text(health), Arg::MaybeText(error.as_deref())],
    )
}

/// A table of the source that is not replicated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unsubscribed {
    /// Schema.
    pub table_schema: String,
    /// Name.
    pub table_name: String,
    /// Whether a table of that name is here.
    pub is_here: bool,
}

/// Stores which tables of its source are not in the node's subscription; writes only what has changed. Returns those that were not
/// known before.
pub fn set_unsubscribed(name: &str, tables: &[Unsubscribed]) -> Result<Vec<Unsubscribed>> {
    let mut known: Vec<Unsubscribed> =
        rows(include_str!("../../sql/queries/unsubscribed_get.sql"), &[Arg::Text(name)])?;
    let mut now = tables.to_vec();
    known.sort();
    now.sort();
    if known == now {
        return Ok(Vec::new());
    }
    execute(include_str!("../../sql/queries/unsubscribed_set.sql"), &[Arg::Text(name), Arg::Text(&json(&now)?)])?;
    now.retain(|table| !known.contains(table));
    Ok(now)
}

/// Forgets that the tables of an operation were not in the subscription.
pub fn forget_unsubscribed(name: &str, operation: i64) -> Result<()> {
    execute(
        "DELETE FROM steep_repl.unsubscribed_tables u USING steep_repl.operation_tables t \
         WHERE u.node = $1 AND t.operation_id = $2 AND t.table_schema = u.table_schema AND t.table_name = u.table_name",
        &[Arg::Text(name), Arg::Int(operation)],
    )
}

/// The nodes of this database that replicate: one or none.
pub fn replicating() -> Result<Vec<String>> {
    rows(
        "SELECT pg_catalog.to_jsonb(node)::text FROM steep_repl.nodes WHERE is_local AND state IN ('SYNCHRONIZED', 'DIVERGED')",
        &[],
    )
}
