//! Undoing: a cancelled operation is taken away, on both sides, without a trace.
//!
//! Each kind of work is tried at once. What cannot be done now, because the source is away or somebody holds a table, is noted
//! in `steep_repl.cleanup`, shown in `pending_cleanup`, and tried again until it is done; the node is free for its next
//! initialization meanwhile, unless the work concerns its own tables.

use super::held::Holder;
use super::main::Coordinator;
use super::{node, LOCK_LIMIT_MS, SOURCE_LIMIT_MS};
use crate::catalog::operations::{self, Operation, PlannedTable};
use crate::catalog::{cleanup, events, indexes, slots, user};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use crate::pg::{index, origin, subscription, system, transaction};
use crate::source::{backup, publication, state, target_slots};
use steep_repl_core::event;
use steep_repl_core::names::{slot_name, tablesync_origin_name, tablesync_slot_name};
use steep_repl_core::node_state::NodeState;

/// The kinds of work, in their order: the apply worker must be gone before tables are emptied, and tables must be empty before
/// indexes are built and constraints checked again. What was made here goes last.
const KINDS: [&str; 7] = ["subscription", "tables", "constraints", "indexes", "schema", "scratch", "source"];
/// Those that have nothing to do with the others.
const APART: [&str; 2] = ["scratch", "source"];

impl Coordinator {
    /// Takes everything away that can be, and ends the operation.
    pub(super) fn cancel(&mut self) -> Result<()> {
        self.end_workers();
        self.release_origin();
        // Whatever the old connection waits for is not waited for any more.
        self.forget_source();
        // And what failed before says nothing about how long to wait for what is tried now.
        (self.failures, self.try_source_at) = (0, 0.0);
        let id = self.operation.id;
        transaction::run(|| operations::clear_snapshot(id))?;
        failpoint!(CancelBegun)?;
        if self.operation.is_preparation() {
            self.undo_preparation()?;
        } else if self.operation.is_generation() {
            self.undo(&["files", "source"])?;
        } else {
            if self.operation.saves_first() {
                self.undo(&["files"])?;
            }
            self.undo(&KINDS)?;
        }
        failpoint!(AllUndone)?;
        let operation = self.operation.clone();
        let cancelled = match operation.is_preparation() {
            _ if operation.is_generation() => {
                let id = &operation.files()?.id;
                self.event("snapshot.dropped").message(format!("snapshot {id} is gone"))
            }
            true => self.event("init.slot_released").message(format!("slot {} is gone", operation.slot_name)),
            false => self.event(event::INIT_CANCELLED),
        };
        transaction::run(|| {
            operations::set_status(id, "cancelled", None)?;
            events::write(&[cancelled])?;
            node::enter(&operation, NodeState::Uninitialized)
        })?;
        failpoint!(CancelCommitted)?;
        self.operation.status = "cancelled".to_owned();
        Ok(())
    }

    /// Takes away what was made for a slot, which is all on the source.
    pub(super) fn undo_preparation(&mut self) -> Result<()> {
        self.undo(&["source"])
    }

    /// Tries again what is left of a cancelled operation. True when nothing is.
    pub(super) fn clean_up(&mut self) -> Result<bool> {
        let id = self.operation.id;
        let left = transaction::run(|| cleanup::left(id))?;
        if left.is_empty() {
            return Ok(true);
        }
        if left.iter().any(|kind| kind == "files") {
            if system::now_secs() < self.try_source_at {
                return Ok(false);
            }
            self.undo(&["files"])?;
        }
        if system::now_secs() < self.try_source_at {
            return Ok(false);
        }
        let kinds: Vec<&'static str> = KINDS.into_iter().filter(|kind| left.iter().any(|one| one == kind)).collect();
        self.undo(&kinds)?;
        Ok(transaction::run(|| cleanup::left(id))?.is_empty())
    }

    /// Each kind of work on the database waits for the one before it; the source and the scratch directory are not concerned.
    fn undo(&mut self, kinds: &[&'static str]) -> Result<()> {
        let mut in_the_way: Option<&'static str> = None;
        for kind in kinds {
            // Workers of a subscription that is still there would make their slots anew.
            let makes_slots = *kind == "source" && in_the_way == Some("subscription") && self.operation.is_by_server();
            let outcome = match in_the_way {
                Some(first) if !APART.contains(kind) || makes_slots => Err(Error::CleanupWaits { kind: first }),
                _ => self.undo_one(kind),
            };
            if outcome.is_err() && !APART.contains(kind) {
                in_the_way.get_or_insert(kind);
            }
            failpoint!(KindUndone)?;
            self.note_outcome(kind, outcome)?;
        }
        Ok(())
    }

    fn undo_one(&mut self, kind: &str) -> Result<()> {
        match kind {
            "subscription" if self.operation.is_refresh() => self.leave_subscription(),
            "subscription" => self.undo_subscription(),
            "tables" => self.undo_tables(),
            "constraints" => self.restore_constraints(),
            "indexes" => self.undo_indexes(),
            "schema" => self.undo_schema(),
            "files" => self.undo_files(),
            _ if self.operation.is_generation() => self.undo_generation(),
            "scratch" => self.clear_scratch(),
            _ => self.undo_source(),
        }
    }

    fn note_outcome(&mut self, kind: &'static str, outcome: Result<()>) -> Result<()> {
        let id = self.operation.id;
        match outcome {
            Ok(()) => transaction::run(|| cleanup::done(id, kind)),
            Err(mut error) => {
                error = self.name_holders(error, "It is tried again by itself.");
                self.forget_source();
                self.count_failure();
                let pause = (self.try_source_at - system::now_secs()).max(0.0);
                let problem = error.problem();
                let mut event = self
                    .event("init.cleanup_pending")
                    .sqlstate(&problem.sqlstate)
                    .message(format!("{kind}: {}", problem.message));
                event.severity = event::Severity::Warning;
                event.hint.clone_from(&problem.hint);
                transaction::run(|| cleanup::note(id, kind, &problem, pause))?;
                self.say_once(&format!("cleanup {kind} {}", problem.message), event)
            }
        }
    }

    /// An error about a lock with who holds it.
    pub(super) fn name_holders(&self, error: Error, then: &str) -> Error {
        if error.problem().sqlstate != user::LOCK_NOT_AVAILABLE {
            return error;
        }
        let (id, oid) = (self.operation.id, self.operation.subscription_oid.unwrap_or_default());
        let named = transaction::run(|| {
            let relids: Vec<u32> = operations::tables(id)?.iter().map(|table| table.relid).collect();
            let named = user::with_lock_holders(error.clone(), &relids, then);
            // Hardly anybody ever holds that one, and many hold tables.
            Ok(user::with_subscription_holders(named, oid, then))
        });
        named.unwrap_or(error)
    }

    /// Drops the subscription without a word to the source, whose slot is taken away by our own connection.
    fn undo_subscription(&mut self) -> Result<()> {
        let (id, name) = (self.operation.id, self.operation.subscription.clone());
        let by_server = self.operation.is_by_server();
        if by_server {
            self.stop_sync()?;
        }
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            match user::subscription_oid(&name)? {
                Some(oid) => {
                    // With tables that are not ready, DROP would connect to the source to look for their slots.
                    subscription::remove_tables(oid);
                    // And without them it leaves the origins of their workers.
                    if by_server {
                        for table in operations::tables(id)? {
                            origin::drop(&tablesync_origin_name(oid, table.relid));
                        }
                    }
                    user::drop_subscription(&name)?;
                    failpoint!(SubscriptionDropped)
                }
                None => Ok(()),
            }
        })
    }

    fn undo_tables(&mut self) -> Result<()> {
        let id = self.operation.id;
        // What somebody else has restored is his.
        let by_backup = self.operation.is_manual();
        let planned = transaction::run(|| {
            // Before its tables are prepared an operation has put no row into them.
            if !by_backup && crate::catalog::progress::any_task(id)? {
                operations::tables(id)
            } else {
                Ok(Vec::new())
            }
        })?;
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            // Some may have been dropped or renamed since.
            let relids: Vec<u32> = planned.iter().map(|table| table.relid).collect();
            let now = user::names_now(&relids)?;
            let there: Vec<PlannedTable> = planned
                .into_iter()
                .filter_map(|table| {
                    let (_, table_schema, table_name) = now.iter().find(|(relid, ..)| *relid == table.relid)?.clone();
                    Some(PlannedTable { table_schema, table_name, ..table })
                })
                .collect();
            let all: Vec<&PlannedTable> = there.iter().collect();
            super::tables::empty(&all, &all)?;
            failpoint!(TablesUndone)
        })
    }

    /// Builds the suspended indexes again, which is quick over empty tables.
    fn undo_indexes(&mut self) -> Result<()> {
        let id = self.operation.id;
        for suspended in transaction::run(|| indexes::suspended(id))? {
            transaction::run(|| {
                user::set_lock_timeout(LOCK_LIMIT_MS)?;
                index::rebuild(suspended.relid, suspended.index_oid, None)?;
                failpoint!(IndexUndone)?;
                indexes::restored(id, suspended.index_oid)
            })?;
        }
        Ok(())
    }

    fn undo_source(&mut self) -> Result<()> {
        let operation = self.operation.clone();
        let sessions = format!("{}_", slot_name(operation.token()?));
        if operation.leaves_slot_unused() {
            // Slot and publications are not the operation's, and somebody may try again with them.
            if operation.options.verify.is_some() {
                // A comparison may wait there for a lock.
                let connection = self.source()?;
                transaction::run_without_snapshot(|| state::end_sessions(connection, &sessions))?;
            }
            return self.take_slot(false);
        }
        if operation.is_preparation() && self.is_slot_in_use()? {
            // Somebody replicates by what was made here.
            return transaction::run(|| slots::set_used(operation.id));
        }
        if operation.is_manual() {
            // Before it is looked at whose the slot is: that takes a moment.
            let connection = self.source()?;
            transaction::run_without_snapshot(|| state::end_sessions(connection, &sessions))?;
        }
        let holder = self.who_has_slot()?;
        let is_manual = operation.is_manual() && !operation.is_preparation();
        if is_manual && (holder == Holder::Another || self.is_slot_another_s()?) {
            // Slot and publications are whose operation has claimed them since, or whose subscription replicates by them.
            let event = self.event("init.slot_kept").message(format!(
                "slot {} stays on node \"{}\": another node has claimed it, or replicates by it",
                operation.slot_name, operation.source
            ));
            return self.say_once("slot kept", event);
        }
        if operation.is_by_files() {
            // A drop that is still under way there would be seen too late.
            let connection = self.source()?;
            transaction::run_without_snapshot(|| state::end_sessions(connection, &sessions))?;
            self.give_slot_back()?;
        }
        let token = operation.token()?;
        let identities = transaction::run(|| operations::identities(operation.id))?;
        let plan = transaction::run(|| operations::publication_plan(operation.id))?;
        let planned = transaction::run(|| operations::tables(operation.id))?;
        let tablesync_slots: Vec<String> = match operation.subscription_oid {
            Some(oid) if operation.is_refresh() || operation.is_by_server() => {
                planned.iter().map(|table| tablesync_slot_name(oid, table.relid, system::system_identifier())).collect()
            }
            _ => Vec::new(),
        };
        let connection = self.source()?;
        let mut kept = Vec::new();
        transaction::run_without_snapshot(|| {
            state::limit_statements(connection, SOURCE_LIMIT_MS)?;
            state::end_sessions(connection, &sessions)?;
            // A worker of the server's that was ended may have sent the command to make its slot.
            state::end_sessions_named(connection, &tablesync_slots)?;
            // Once its tables have joined, the subscription goes on with the operation's slot.
            if operation.is_preparation() {
                drop_prepared(connection, &operation)?;
            } else if holder != Holder::NewSlot {
                state::drop_slot(connection, operation.replaced_slot.as_ref().unwrap_or(&operation.slot_name))?;
            }
            backup::drop_slot(connection, token)?;
            failpoint!(SlotDropped)?;
            // What the server itself has made: by method snapshot, or for tables that somebody else has put into the subscription.
            for slot in &state::existing_slots(connection, &tablesync_slots)? {
                state::drop_slot(connection, slot)?;
            }
            if operation.own_publications && operation.is_refresh() {
                // A table that was replaced on the source was published anew, under another OID.
                let members =
                    plan.entries.iter().map(|entry| entry.oid).chain(planned.iter().map(|table| table.source_relid));
                for oid in members.collect::<std::collections::BTreeSet<u32>>() {
                    for name in &operation.publications {
                        publication::remove(connection, name, oid)?;
                    }
                }
            } else if operation.own_publications {
                for name in &operation.publications {
                    publication::drop(connection, name)?;
                }
            }
            failpoint!(PublicationsDropped)?;
            kept = publication::restore_identities(connection, &identities)?;
            state::limit_statements(connection, 0)
        })?;
        if operation.is_preparation() {
            // They are what they were; who keeps them is told of below.
            transaction::run(|| operations::forget_identities(operation.id))?;
        }
        for (table, publication) in kept {
            let mut event = self.event("init.identity_kept").table(table.clone()).message(format!(
                "table {table} keeps REPLICA IDENTITY FULL: publication {publication} publishes its updates or deletes"
            ));
            event.severity = event::Severity::Warning;
            self.say_once(&format!("identity of {table} is kept"), event)?;
        }
        Ok(())
    }
}

/// Drops the slot of a preparation, under whichever of its names. One of the name that was asked for may have been made by somebody else
/// meanwhile; ours stands where it was made, since nobody has used it. Whoever has begun to use it in this very moment keeps it.
fn drop_prepared(connection: &Connection, operation: &Operation) -> Result<()> {
    state::drop_slot(connection, &slot_name(operation.token()?))?;
    let found = state::slot(connection, &operation.slot_name)?;
    if operation.start_lsn.is_some() && found.confirmed == operation.start_lsn {
        target_slots::drop_if_there(connection, &operation.slot_name)?;
    }
    Ok(())
}
