//! Cancelling, resuming, and what can be had of a failed operation meanwhile.

use super::{given, SqlResult};
use crate::catalog::nodes::{self, Node};
use crate::catalog::operations::{self, Operation};
use crate::catalog::ownership;
use crate::catalog::{cleanup, events, indexes};
use crate::coordinator::phase::Phase;
use crate::error::{Error, Result};
use crate::pg::{index, raise, role, shmem, system, transaction};
use pgrx::prelude::*;
use steep_repl_core::event::{self, Event};
use steep_repl_core::ident;
use steep_repl_core::instance::Owner;
use steep_repl_core::names::{backup_slot_name, slot_name, target_slot_name};
use steep_repl_core::node_state::NodeState;

#[pg_extern]
fn cancel_init(node: Option<&str>) -> SqlResult<()> {
    Ok(cancel(given("node", node)?)?)
}

#[pg_extern]
fn resume_init(node: Option<&str>) -> SqlResult<i64> {
    Ok(resume(given("node", node)?)?)
}

#[pg_extern]
fn confirm_init(node: Option<&str>) -> SqlResult<i64> {
    Ok(confirm(given("node", node)?)?)
}

#[pg_extern]
fn restore_indexes(node: Option<&str>) -> SqlResult<i64> {
    Ok(restore(given("node", node)?)?)
}

#[pg_extern]
fn abandon_cleanup(node: Option<&str>) -> SqlResult<i64> {
    Ok(abandon(given("node", node)?)?)
}

#[pg_extern]
fn adopt_init(node: Option<&str>) -> SqlResult<i64> {
    Ok(adopt(given("node", node)?)?)
}

/// Gives up what ended operations of a node have still to take away on a source that is gone for good, and names it. Returns how many
/// operations that were. A slot that was kept and a portable snapshot are operations of the source itself.
fn abandon(name: &str) -> Result<i64> {
    shmem::require()?;
    let node = nodes::lock(name)?;
    let left = cleanup::operations_with_source_left(name)?;
    match operations::newest_of(name)? {
        Some(newest) => drop(control(&node, newest)?),
        None if left.is_empty() => return Err(Error::NoOperation { node: name.to_owned() }),
        None => {}
    }
    let mut abandoned = 0;
    for operation in left {
        let Some(operation) = operations::get(operation)?.filter(Operation::is_ours) else { continue };
        let operation = control(&node, operation)?;
        let text = format!("left on node \"{}\": {}", operation.source, left_on_source(&operation)?.join(", "));
        raise::warning(&text);
        cleanup::done(operation.id, "source")?;
        let mut event = Event::info("init.cleanup_abandoned")
            .operation_id(operation.id)
            .node(&operation.node)
            .source(&operation.source)
            .message(text);
        event.severity = event::Severity::Warning;
        events::write(&[event])?;
        shmem::wake_at_commit(operation.id, operation.requested_by)?;
        abandoned += 1;
    }
    Ok(abandoned)
}

/// What stays on the source when nobody takes it away, in words.
fn left_on_source(operation: &Operation) -> Result<Vec<String>> {
    let token = operation.token()?;
    if operation.leaves_slot_unused() {
        let slot = &operation.slot_name;
        return Ok(vec![format!(
            "the mark of replication slot {slot} that a node is about to use it; the slot is as it was, and does not expire by itself"
        )]);
    }
    let slots = match &operation.options.files {
        Some(files) if operation.is_generation() => {
            (1..=files.targets).map(|number| target_slot_name(token, number)).collect()
        }
        _ => vec![operation.replaced_slot.as_ref().unwrap_or(&operation.slot_name).clone()],
    };
    let mut left: Vec<String> = slots.into_iter().map(|slot| format!("replication slot {slot}")).collect();
    if operation.is_preparation() && operation.slot_name != slot_name(token) {
        left.push(format!("replication slot {}, if there is one", slot_name(token)));
    }
    if operation.uses_base_backup() {
        left.push(format!("replication slot {}, if there is one", backup_slot_name(token)));
    }
    if let Some(subscription) = operation.subscription_oid.filter(|_| operation.is_by_server()) {
        let system = system::system_identifier();
        left.push(format!("replication slots pg_{subscription}_sync_..._{system}, as far as there are any"));
    }
    if operation.own_publications && operation.is_refresh() {
        let entries = operations::publication_plan(operation.id)?.entries;
        let tables: Vec<String> =
            entries.iter().map(|entry| ident::qualified_display(&entry.schema, &entry.name)).collect();
        if !tables.is_empty() {
            left.push(format!("{} in publication {}", tables.join(", "), operation.publications.join(", ")));
        }
    } else if operation.own_publications {
        left.extend(operation.publications.iter().map(|name| format!("publication {name}")));
    }
    let changed = operations::identities(operation.id)?;
    if !changed.is_empty() {
        let tables: Vec<String> = changed.iter().map(|(schema, table, ..)| ident::qualified(schema, table)).collect();
        left.push(format!("REPLICA IDENTITY FULL of tables {}", tables.join(", ")));
    }
    Ok(left)
}

/// The node, locked, and its newest operation, when it is this database's and the caller may do something about it.
fn controlled(name: &str) -> Result<(Node, Operation)> {
    let (node, operation) = permitted(name)?;
    let operation = control(&node, operation)?;
    Ok((node, operation))
}

/// An operation of a node, when it is this database's and the caller may do something about it.
fn control(node: &Node, operation: Operation) -> Result<Operation> {
    require_may_act(node, &operation)?;
    ownership::require_ours(&operation)?;
    taken_up(operation)
}

/// An operation that the caller, who may, does something about: whoever takes one up that cannot go on with the rights of who asked for it takes
/// it over.
pub(super) fn taken_up(operation: Operation) -> Result<Operation> {
    if !ownership::is_orphaned(&operation)? {
        return Ok(operation);
    }
    let me = role::current();
    operations::take_over(operation.id, me)?;
    Ok(Operation { requested_by: me, ..operation })
}

fn require_may_act(node: &Node, operation: &Operation) -> Result<()> {
    if may_act(role::current(), operation)? {
        return Ok(());
    }
    Err(Error::NodeNotYours { node: node.node.clone(), owner: role::name_of(node.owner) })
}

/// Whether a role may do something about an operation: as who asked for it, or as who owns its node.
pub(super) fn may_act(role: u32, operation: &Operation) -> Result<bool> {
    let owner = nodes::all()?.into_iter().find(|node| node.node == operation.node).map(|node| node.owner);
    Ok(role::has_rights_of(role, operation.requested_by) || owner.is_some_and(|owner| role::has_rights_of(role, owner)))
}

/// The node, locked, and its newest operation, whosever it is, when the caller may do something about it.
fn permitted(name: &str) -> Result<(Node, Operation)> {
    shmem::require()?;
    let node = nodes::lock(name)?;
    let operation = operations::newest_of(name)?.ok_or_else(|| Error::NoOperation { node: name.to_owned() })?;
    require_may_act(&node, &operation)?;
    Ok((node, operation))
}

/// Makes this server the owner of what its original has begun, which is gone for good. It goes on from where it is.
fn adopt(name: &str) -> Result<i64> {
    let (_, operation) = permitted(name)?;
    match operation.owner() {
        Owner::Ours => return Err(Error::OwnOperation { operation: operation.id }),
        Owner::Elsewhere => ownership::require_ours(&operation)?,
        Owner::Original => {}
    }
    if operation.enable_lsn.is_some() {
        raise::warning(
            "its subscription was enabled already: what the original has confirmed since this copy was made is not sent again; \
             if it was made from an older backup, initialize the node anew",
        );
    }
    for id in ownership::adopt(&operation)? {
        let Some(adopted) = operations::get(id)? else { continue };
        let event = Event::info("init.adopted")
            .operation_id(id)
            .node(&adopted.node)
            .source(&adopted.source)
            .message("the operation is this server's from now on");
        events::write(&[event])?;
        if adopted.is_unfinished() || !cleanup::left(id)?.is_empty() {
            shmem::wake_at_commit(id, adopted.requested_by)?;
        }
    }
    Ok(operation.id)
}

fn cancel(name: &str) -> Result<()> {
    let (node, operation) = controlled(name)?;
    if !operations::request_cancel(operation.id)? {
        return match operation.status.as_str() {
            // Asked twice is asked once; but who asked first may be gone, and who asks now takes it over.
            "cancelling" => shmem::wake_at_commit(operation.id, operation.requested_by),
            "cancelled" if !cleanup::left(operation.id)?.is_empty() => {
                shmem::wake_at_commit(operation.id, operation.requested_by)
            }
            "cancelled" => Err(Error::NoOperation { node: name.to_owned() }),
            _ => Err(Error::WrongState {
                node: name.to_owned(),
                state: node.state,
                hint:
                    "An initialization that is complete cannot be cancelled. To end replication, drop the subscription."
                        .to_owned(),
            }),
        };
    }
    shmem::wake_at_commit(operation.id, operation.requested_by)
}

fn resume(name: &str) -> Result<i64> {
    let (node, operation) = controlled(name)?;
    if !operations::resume(operation.id)? {
        if !operation.is_unfinished() {
            return Err(Error::WrongState {
                node: name.to_owned(),
                state: node.state,
                hint: format!("Its last initialization is {}: there is nothing to resume.", operation.status),
            });
        }
        return Err(Error::OperationUnfinished {
            operation: operation.id,
            node: name.to_owned(),
            status: operation.status,
        });
    }
    let event =
        |what: &str| Event::info(what).operation_id(operation.id).node(&operation.node).source(&operation.source);
    events::write(&[event("init.resumed")])?;
    if operation.is_refresh() {
        nodes::set_health(name, "ok", None)?;
        shmem::wake_at_commit(operation.id, operation.requested_by)?;
        return Ok(operation.id);
    }
    let phase: Phase =
        operation.phase.parse().map_err(|()| Error::internal(format!("unknown phase {}", operation.phase)))?;
    let state = match phase {
        Phase::Schema
        | Phase::Adopt
        | Phase::Publication
        | Phase::Slot
        | Phase::Held
        | Phase::Subscription
        | Phase::Verify
        | Phase::Tables => NodeState::Preparing,
        Phase::Catchup | Phase::Done => NodeState::CatchingUp,
        _ => NodeState::Copying,
    };
    nodes::set_state(name, state, None, None)?;
    events::write(&[event(event::INIT_STATE_CHANGE).message(state.as_str())])?;
    shmem::wake_at_commit(operation.id, operation.requested_by)?;
    Ok(operation.id)
}

/// Lets an operation go on whose caller has looked at the differences of the schemas.
fn confirm(name: &str) -> Result<i64> {
    let (_, operation) = controlled(name)?;
    if !operations::confirm(operation.id)? {
        return Err(Error::NotWaiting {
            operation: operation.id,
            node: name.to_owned(),
            status: operation.status,
            phase: operation.phase,
        });
    }
    let event = Event::info("init.confirmed")
        .operation_id(operation.id)
        .node(&operation.node)
        .source(&operation.source)
        .message(format!("confirmed by {}", role::name_of(role::current())));
    events::write(&[event])?;
    shmem::wake_at_commit(operation.id, operation.requested_by)?;
    Ok(operation.id)
}

/// Builds the indexes that a failed operation has left suspended, one by one; what cannot be built is warned of and stays.
fn restore(name: &str) -> Result<i64> {
    let (node, operation) = controlled(name)?;
    if operation.status != "failed" {
        return Err(Error::WrongState {
            node: name.to_owned(),
            state: node.state,
            hint: "Only the indexes of a failed initialization are restored like this; every other one brings its own back."
                .to_owned(),
        });
    }
    let mut restored = 0;
    for suspended in indexes::suspended(operation.id)? {
        let built = transaction::nested(|| {
            index::rebuild(suspended.relid, suspended.index_oid, None)?;
            indexes::restored(operation.id, suspended.index_oid)
        });
        match built {
            Ok(()) => restored += 1,
            Err(error) if error.is_interrupt() => return Err(error),
            Err(error) => {
                let problem = error.problem();
                let detail = problem.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
                let index = system::relation_name(suspended.index_oid);
                raise::warning(&format!("index {index} was not built: {}{detail}", problem.message));
            }
        }
    }
    let event = Event::info("init.indexes_restored")
        .operation_id(operation.id)
        .node(&operation.node)
        .source(&operation.source)
        .rows(restored)
        .message(format!("{restored} indexes were restored"));
    events::write(&[event])?;
    Ok(restored)
}
