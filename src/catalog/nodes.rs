//! Rows of `steep_repl.nodes`.

use super::{execute, json, maybe, rows, Arg};
use crate::error::{Error, Result};
use serde::Deserialize;
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
