//! Registering nodes.

use super::{given, SqlResult};
use crate::catalog::nodes::{self, Node};
use crate::catalog::operations::{self, Operation};
use crate::catalog::{cleanup, slots, snapshots};
use crate::error::{Error, Result, SubscriptionError};
use crate::pg::{role, subscription};
use crate::schema::joining;
use crate::source;
use pgrx::prelude::*;

#[pg_extern]
fn register_node(
    node: Option<&str>,
    conninfo: Option<&str>,
    is_local: default!(Option<bool>, "false"),
) -> SqlResult<()> {
    // The server logs the statement of an error, and with it the password in it. Nothing may fail before this.
    role::hide_statement();
    Ok(register(given("node", node)?, given("conninfo", conninfo)?, given("is_local", is_local)?)?)
}

fn register(node: &str, conninfo: &str, is_local: bool) -> Result<()> {
    if node.is_empty() || node.len() > 63 {
        return Err(Error::NodeName { name: node.to_owned() });
    }
    let parsed = source::parse(node, conninfo)?;
    let me = role::current();
    if !is_local {
        source::check_conninfo(node, &parsed, role::is_superuser(me))?;
    }
    let known = nodes::all()?;
    if known.iter().any(|other| other.node == node) {
        return Err(Error::NodeExists { node: node.to_owned() });
    }
    if is_local {
        if let Some(other) = known.iter().find(|other| other.is_local) {
            return Err(Error::LocalNodeExists { node: other.node.clone() });
        }
    }
    nodes::insert(node, &parsed.to_string(), me, is_local)
}

/// Returns how many subscriptions go by the new connection string from now on.
#[pg_extern]
fn alter_node(node: Option<&str>, conninfo: Option<&str>) -> SqlResult<i64> {
    role::hide_statement();
    Ok(alter(given("node", node)?, given("conninfo", conninfo)?)?)
}

fn alter(name: &str, conninfo: &str) -> Result<i64> {
    let node = nodes::lock(name)?;
    require_owner(&node)?;
    let parsed = source::parse(name, conninfo)?;
    if !node.is_local {
        // A superuser gives nobody what he could not have given himself.
        source::check_conninfo(name, &parsed, role::is_superuser(role::current()) && role::is_superuser(node.owner))?;
    }
    let conninfo = parsed.to_string();
    nodes::set_conninfo(name, &conninfo)?;
    let mut changed = 0;
    for operation in operations::subscribed_to(name)?.iter().filter(|operation| operation.is_ours()) {
        // One that somebody has dropped has no connection any more.
        let found = match joining::subscription_of(operation) {
            Err(Error::Subscription(SubscriptionError::Gone { .. })) => continue,
            found => found?,
        };
        subscription::set_connection(&found.name, &conninfo)?;
        changed += 1;
    }
    Ok(changed)
}

/// 42501 when the current role may not act for the node's owner.
fn require_owner(node: &Node) -> Result<()> {
    let me = role::current();
    if role::has_rights_of(me, node.owner) {
        return Ok(());
    }
    Err(Error::NodeNotYours { node: node.node.clone(), owner: role::name_of(node.owner) })
}

#[pg_extern]
fn unregister_node(node: Option<&str>) -> SqlResult<()> {
    Ok(unregister(given("node", node)?)?)
}

fn unregister(name: &str) -> Result<()> {
    require_owner(&nodes::lock(name)?)?;
    require_nothing_kept(name)?;
    // What a copy of the database has brought along is nobody's here.
    for operation in operations::unfinished()?.into_iter().filter(Operation::is_ours) {
        if operation.node == name || operation.source == name {
            return Err(Error::OperationUnfinished {
                operation: operation.id,
                node: operation.node,
                status: operation.status,
            });
        }
    }
    nodes::delete(name)
}

/// 55006 while a portable snapshot of a node, or a slot that was made on it, is not gone.
fn require_nothing_kept(name: &str) -> Result<()> {
    let has_part_there = |operation: i64| -> Result<bool> {
        let Some(operation) = operations::get(operation)?.filter(Operation::is_ours) else { return Ok(false) };
        // Files that cannot be removed here need no node.
        Ok(operation.status != "cancelled" || cleanup::left(operation.id)?.iter().any(|kind| kind == "source"))
    };
    let (mut of_snapshots, mut of_slots) = (Vec::new(), Vec::new());
    for known in snapshots::all()?.into_iter().filter(|known| known.source == name) {
        if has_part_there(known.operation)? {
            of_snapshots.push(known.id);
        }
    }
    for slot in slots::kept()?.into_iter().chain(slots::ending()?).filter(|slot| slot.node == name) {
        if has_part_there(slot.operation)? {
            of_slots.push(slot.slot);
        }
    }
    if of_snapshots.is_empty() && of_slots.is_empty() {
        return Ok(());
    }
    Err(Error::NodeKeeps { node: name.to_owned(), snapshots: of_snapshots, slots: of_slots })
}
