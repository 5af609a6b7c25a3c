//! The scanner: reads the unfinished operations of one database into shared memory, and ends.

use crate::catalog::ownership;
use crate::catalog::{nodes, operations, snapshots};
use crate::error::Result;
use crate::pg::worker::Assignment;
use crate::pg::{raise, role, shmem, transaction};
use steep_repl_core::instance::Owner;

/// Runs once.
pub fn run(assignment: Assignment) -> Result<()> {
    let replicates = transaction::run(|| {
        Ok(role::extension_exists() && !(nodes::replicating()?.is_empty() && snapshots::all()?.is_empty()))
    })?;
    if replicates {
        shmem::watch(assignment.database);
    } else {
        shmem::unwatch(assignment.database);
    }
    let unfinished = transaction::run(|| {
        if role::extension_exists() {
            ownership::settle()?;
            operations::wanting_a_coordinator()
        } else {
            Ok(Vec::new())
        }
    })?;
    for operation in unfinished {
        let maker = match operation.owner() {
            Owner::Ours => None,
            Owner::Original => Some("the server that this one is a copy of"),
            Owner::Elsewhere => Some("another cluster or database"),
        };
        if let Some(maker) = maker {
            raise::log_line(&format!(
                "steep_repl: operation {} of database {} was made by {maker}; it is left alone",
                operation.id, assignment.database
            ));
        } else if !shmem::want(assignment.database, operation.requested_by, operation.id) {
            raise::log_line("steep_repl: too many operations in this cluster at once; some are not resumed yet");
        }
    }
    shmem::wake_launcher();
    Ok(())
}
