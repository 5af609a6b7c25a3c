//! The monitor: looks at the source of a database that replicates, for tables that came after its initialization, and ends.
//!
//! It writes only what has changed, so that a node for which all is well takes no transaction id.

use crate::catalog::nodes;
use crate::catalog::operations;
use crate::error::Result;
use crate::pg::remote::Connection;
use crate::pg::worker::Assignment;
use crate::pg::{role, shmem, transaction};
use crate::schema::{self, joining};
use crate::{settings, source};
use steep_repl_core::names::{application_name, Part};

/// Runs once.
pub fn run(assignment: Assignment) -> Result<()> {
    let replicating =
        transaction::run(|| if role::extension_exists() { nodes::replicating() } else { Ok(Vec::new()) })?;
    if replicating.is_empty() {
        shmem::unwatch(assignment.database);
    }
    for node in replicating {
        look(&node)?;
    }
    Ok(())
}

fn look(node: &str) -> Result<()> {
    let prepared = transaction::run(|| {
        let Some(base) = operations::origin_of(node)?.filter(operations::Operation::is_ours) else { return Ok(None) };
        // Whoever had the node initialized may have gone, or lost the right to use its source.
        if !role::exists(base.requested_by) {
            return Ok(None);
        }
        let target = source::target(&nodes::get(&base.source)?, base.requested_by)?;
        Ok(Some((base, target)))
    })?;
    let Some((base, target)) = prepared else { return Ok(()) };
    let name = application_name(base.token()?, Part::Check);
    let mut connection = transaction::run_without_snapshot(|| Connection::open(&target, &name))?;
    connection.limit_answers(settings::receive_timeout());
    let inventory = transaction::run_without_snapshot(|| schema::source_inventory(&connection, false))?;
    transaction::run(|| {
        let joins = joining::joins(&connection, &base)?;
        joining::note_unsubscribed(&base, &joining::unsubscribed(&base, &joins, &inventory)?)
    })
}
