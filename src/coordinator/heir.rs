//! Operations that cannot go on with the rights of the role that asked for them: it was dropped, or may not use the source any more.
//!
//! What works on tables here waits until somebody takes it over by a call, and goes on with his rights. A slot that is kept, and a snapshot
//! that is being dropped, are about a source alone: they go to the owner of its node by themselves, so that they end in time. Its connection
//! string is his, and is used with no other rights than his. Where he is gone too, what was made stays until somebody calls for its end; that
//! is said.

use crate::catalog::operations::{self, Operation};
use crate::catalog::{cleanup, events, ownership};
use crate::error::{Error, Result};
use crate::pg::{role, shmem, system, transaction};
use steep_repl_core::errors::Problem;
use steep_repl_core::event::Event;

/// The owner of the source, when an operation is to go to him.
pub fn of(operation: &Operation) -> Result<Option<u32>> {
    let is_dropped = operation.is_generation() && matches!(operation.status.as_str(), "cancelling" | "cancelled");
    if operation.is_preparation() || is_dropped {
        return Ok(ownership::successor(operation)?.filter(|heir| *heir != operation.requested_by));
    }
    Ok(None)
}

/// Gives an operation to the owner of its source.
pub fn give(operation: &Operation, heir: u32) -> Result<()> {
    operations::take_over(operation.id, heir)?;
    let given = about(Event::info("init.taken_over"), operation).message(format!(
        "role {} goes on, which owns node \"{}\": the one that asked is gone, or may not use the node any more",
        role::name_of(heir),
        operation.source
    ));
    events::write(&[given])
}

/// Gives an operation that could not be taken up to the owner of its source, whose coordinator is started next. False when that is not the way
/// out.
pub fn pass_on(operation: i64, error: &Error) -> Result<bool> {
    if !matches!(error, Error::RoleGone { .. } | Error::NodeNotYours { .. }) {
        return Ok(false);
    }
    let heir = transaction::run(|| {
        let Some(operation) = operations::get(operation)? else { return Ok(None) };
        let heir = of(&operation)?;
        if let Some(heir) = heir {
            give(&operation, heir)?;
        }
        Ok(heir)
    })?;
    let Some(heir) = heir else { return Ok(false) };
    shmem::want(system::database_oid(), heir, operation);
    Ok(true)
}

/// Says why an operation that is being undone cannot be taken up.
pub fn note_stuck(operation: &Operation, problem: &Problem) -> Result<()> {
    if operation.status == "cancelled" {
        for kind in cleanup::left(operation.id)? {
            cleanup::note(operation.id, &kind, problem, 0.0)?;
        }
    } else {
        operations::note_error(operation.id, problem)?;
    }
    let mut stuck = about(Event::warning("init.cleanup_pending"), operation)
        .sqlstate(&problem.sqlstate)
        .message(problem.message.clone());
    stuck.hint.clone_from(&problem.hint);
    events::write_once(stuck)
}

fn about(event: Event, operation: &Operation) -> Event {
    event.operation_id(operation.id).node(&operation.node).source(&operation.source)
}
