//! Moving sequences to where the source's are, for a cut-over.

use super::{given, SqlResult};
use crate::catalog::ownership;
use crate::catalog::{self, nodes, operations};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use crate::pg::{raise, role};
use crate::settings;
use crate::source;
use pgrx::prelude::*;
use steep_repl_core::names::{application_name, Part};
use steep_repl_core::node_state::NodeState;

#[pg_extern]
fn sync_sequences(node: Option<&str>) -> SqlResult<i32> {
    Ok(sync(given("node", node)?)?)
}

fn sync(name: &str) -> Result<i32> {
    let node = nodes::get(name)?;
    source::require_local(&node)?;
    let me = role::current();
    if !role::has_rights_of(me, node.owner) {
        return Err(Error::NodeNotYours { node: name.to_owned(), owner: role::name_of(node.owner) });
    }
    let operation = operations::newest_of(name)?.ok_or_else(|| Error::NoOperation { node: name.to_owned() })?;
    ownership::require_ours(&operation)?;
    if !matches!(node.state()?, NodeState::Synchronized | NodeState::Diverged | NodeState::CatchingUp) {
        return Err(Error::WrongState {
            node: name.to_owned(),
            state: node.state,
            hint: "Sequences are set by the initialization itself; call this when the node is SYNCHRONIZED.".to_owned(),
        });
    }
    let target = source::target(&nodes::get(&operation.source)?, role::current())?;
    let mut connection = Connection::open(&target, &application_name(operation.token()?, Part::Check))?;
    connection.limit_answers(settings::receive_timeout());
    // Those that came with it and those that joined it later.
    let tables: Vec<u32> = match operation.subscription_oid {
        Some(subscription) => operations::source_relids_of(subscription)?,
        None => Vec::new(),
    };
    let selection = operation.selection();
    let all = selection.schemas.is_none() && selection.tables.is_none();
    let values = source::sequences::read(&connection, &tables, selection.schemas.as_deref(), all)?;
    let (moved, missing) = catalog::sequences::set(&values)?;
    if !missing.is_empty() {
        raise::warning(&format!("sequences of the source that are not here: {}", missing.join(", ")));
    }
    Ok(moved as i32)
}
