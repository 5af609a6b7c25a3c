//! The scanner: reads the unfinished operations of one database into shared memory, and ends.

use crate::catalog::{nodes, operations};
use crate::error::Result;
use crate::pg::worker::Assignment;
use crate::pg::{raise, role, shmem, transaction};

/// Runs once.
pub fn run(assignment: Assignment) -> Result<()> {
    let replicates = transaction::run(|| Ok(role::extension_exists() && !nodes::replicating()?.is_empty()))?;
    if replicates {
        shmem::watch(assignment.database);
    } else {
        shmem::unwatch(assignment.database);
    }
    let unfinished =
        transaction::run(
            || {
                if role::extension_exists() {
                    operations::wanting_a_coordinator()
                } else {
                    Ok(Vec::new())
                }
            },
        )?;
    for operation in unfinished {
        if !operation.is_ours() {
            raise::log_line(&format!(
                "steep_repl: operation {} of database {} was made by another cluster or database; it is left alone",
                operation.id, assignment.database
            ));
        } else if !shmem::want(assignment.database, operation.requested_by, operation.id) {
            raise::log_line("steep_repl: too many operations in this cluster at once; some are not resumed yet");
        }
    }
    shmem::wake_launcher();
    Ok(())
}
