//! Undoing: a cancelled operation is taken away, on both sides, without a trace.
//!
//! Each kind of work is tried at once. What cannot be done now, because the source is away or somebody holds a table, is noted
//! in `steep_repl.cleanup`, shown in `pending_cleanup`, and tried again until it is done; the node is free for its next
//! initialization meanwhile, unless the work concerns its own tables.

use super::main::Coordinator;
use crate::catalog::operations::{self, PlannedTable};
use crate::catalog::{cleanup, events, indexes, nodes, user};
use crate::error::Result;
use crate::pg::{index, subscription, system, transaction};
use crate::source::{publication, state};
use steep_repl_core::event;
use steep_repl_core::node_state::NodeState;
use steep_repl_core::retry;

/// The kinds of work, in their order: the apply worker must be gone before tables are emptied, and tables must be empty before
/// indexes are built and constraints checked again.
const KINDS: [&str; 5] = ["subscription", "tables", "constraints", "indexes", "source"];
/// How long a statement on the source may take, in milliseconds.
const SOURCE_LIMIT_MS: u32 = 10_000;
/// How long to wait for a lock here, in milliseconds.
const LOCK_LIMIT_MS: u32 = 5_000;

impl Coordinator {
    /// Takes everything away that can be, and ends the operation.
    pub(super) fn cancel(&mut self) -> Result<()> {
        self.end_workers();
        self.release_origin();
        let id = self.operation.id;
        transaction::run(|| operations::clear_snapshot(id))?;
        for kind in KINDS {
            self.undo_or_note(kind)?;
        }
        let node = self.operation.node.clone();
        let cancelled = self.event(event::INIT_CANCELLED);
        let change = self.event(event::INIT_STATE_CHANGE).message("UNINITIALIZED");
        transaction::run(|| {
            operations::set_status(id, "cancelled", None)?;
            if nodes::get(&node)?.state()? != NodeState::Uninitialized {
                nodes::set_state(&node, NodeState::Uninitialized, None, None)?;
            }
            events::write(&[cancelled, change])
        })?;
        self.operation.status = "cancelled".to_owned();
        Ok(())
    }

    /// Tries again what is left of a cancelled operation. True when nothing is.
    pub(super) fn clean_up(&mut self) -> Result<bool> {
        let id = self.operation.id;
        let left = transaction::run(|| cleanup::left(id))?;
        if left.is_empty() {
            return Ok(true);
        }
        if system::now_secs() < self.try_source_at {
            return Ok(false);
        }
        for kind in KINDS.iter().filter(|kind| left.iter().any(|one| one == *kind)) {
            self.undo_or_note(kind)?;
        }
        Ok(transaction::run(|| cleanup::left(id))?.is_empty())
    }

    fn undo_or_note(&mut self, kind: &'static str) -> Result<()> {
        let id = self.operation.id;
        let outcome = match kind {
            "subscription" => self.undo_subscription(),
            "tables" => self.undo_tables(),
            "constraints" => self.restore_constraints(),
            "indexes" => self.undo_indexes(),
            _ => self.undo_source(),
        };
        match outcome {
            Ok(()) => transaction::run(|| cleanup::done(id, kind)),
            Err(error) => {
                self.forget_source();
                self.failures += 1;
                let pause = retry::backoff_ms(self.failures) as f64 / 1000.0;
                self.try_source_at = system::now_secs() + pause;
                let problem = error.problem();
                let mut event = self
                    .event("init.cleanup_pending")
                    .sqlstate(&problem.sqlstate)
                    .message(format!("{kind}: {}", problem.message));
                event.severity = event::Severity::Warning;
                transaction::run(|| cleanup::note(id, kind, &problem, pause))?;
                self.say_once(&format!("cleanup {kind} {}", problem.message), event)
            }
        }
    }

    /// Drops the subscription without a word to the source, whose slot is taken away by our own connection.
    fn undo_subscription(&mut self) -> Result<()> {
        let name = self.operation.subscription.clone();
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            match user::subscription_oid(&name)? {
                Some(oid) => {
                    // With tables that are not ready, DROP would connect to the source to look for their slots.
                    subscription::remove_tables(oid);
                    user::drop_subscription(&name)
                }
                None => Ok(()),
            }
        })
    }

    fn undo_tables(&mut self) -> Result<()> {
        let id = self.operation.id;
        let planned = transaction::run(|| {
            // Before its tables are prepared an operation has put no row into them.
            if crate::catalog::progress::any_task(id)? {
                operations::tables(id)
            } else {
                Ok(Vec::new())
            }
        })?;
        let all: Vec<&PlannedTable> = planned.iter().collect();
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            super::tables::empty(&all, &all)
        })
    }

    /// Builds the suspended indexes again, which is quick over empty tables.
    fn undo_indexes(&mut self) -> Result<()> {
        let id = self.operation.id;
        for suspended in transaction::run(|| indexes::suspended(id))? {
            transaction::run(|| {
                user::set_lock_timeout(LOCK_LIMIT_MS)?;
                index::rebuild(suspended.relid, suspended.index_oid)?;
                indexes::restored(id, suspended.index_oid)
            })?;
        }
        Ok(())
    }

    fn undo_source(&mut self) -> Result<()> {
        let operation = self.operation.clone();
        let identities = transaction::run(|| operations::identities(operation.id))?;
        let connection = self.source()?;
        transaction::run_without_snapshot(|| {
            state::limit_statements(connection, SOURCE_LIMIT_MS)?;
            state::drop_slot(connection, &operation.slot_name)?;
            if operation.own_publications {
                for name in &operation.publications {
                    publication::drop(connection, name)?;
                }
            }
            publication::restore_identities(connection, &identities)?;
            state::limit_statements(connection, 0)
        })
    }
}
