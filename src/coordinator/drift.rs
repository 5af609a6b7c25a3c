//! Following what is altered on the source meanwhile, by the mode: before the subscription is enabled, when a copy or the apply worker has
//! failed, when a coordinator finds the operation catching up, and at its end. docs/decisions/0008 says how and why.
//!
//! Tables whose rows lack what the change has written into all of them go back to `copy` and are copied again under a later snapshot;
//! the others are altered where they are.

use super::catchup::Watch;
use super::main::Coordinator;
use super::node;
use super::phase::Phase;
use super::schema::{applied, in_transaction};
use crate::catalog::operations::{self, PlannedTable, Transport};
use crate::catalog::{events, tasks, user};
use crate::error::{Error, Result};
use crate::pg::transaction;
use crate::schema::{self, drift};
use steep_repl_core::errors::Problem;
use steep_repl_core::event::{self, Event, Severity};
use steep_repl_core::ident::qualified_display;
use steep_repl_core::node_state::NodeState;
use steep_repl_core::schema_sync::{altering, Mode};

/// [`Error::SourceChanged`] with what stands in the way.
fn unless_any(differences: Vec<String>) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::SourceChanged { differences })
}

/// Why tables cannot stay as they are that the server has copied.
fn copied_by_server(planned: &[PlannedTable], stale: &[(u32, String)]) -> Vec<String> {
    let by_server =
        |relid: u32| planned.iter().any(|table| table.relid == relid && table.transport == Transport::Server);
    stale.iter().filter(|(relid, _)| by_server(*relid)).map(|(_, why)| why.clone()).collect()
}

impl Coordinator {
    /// What has become of tables on the source. [`Error::SourceChanged`] when something stands in the way.
    pub(super) fn drift(&mut self, about: &[PlannedTable], rows_stay: bool) -> Result<drift::Drift> {
        let found = self.look_at_source(about, rows_stay)?;
        unless_any(found.gone.iter().chain(&found.differences).cloned().collect())?;
        Ok(found)
    }

    fn look_at_source(&mut self, about: &[PlannedTable], rows_stay: bool) -> Result<drift::Drift> {
        let operation = self.operation.clone();
        let all = transaction::run(|| operations::tables(operation.id))?;
        let connection = self.source_patiently()?;
        let question = drift::Question { all: &all, about, rows_stay };
        let found = transaction::run(|| drift::drift(connection, &operation, &question))?;
        if !found.kept.is_empty() {
            let message = format!("not on the source any more, and kept here: {}", found.kept.join(", "));
            let mut event = self
                .event(event::SCHEMA_LEFT_OUT)
                .message(message.clone())
                .hint("Changes that are still to be applied may bring values for them. Drop them when the node is synchronized.");
            event.severity = Severity::Warning;
            self.say_once(&message, event)?;
        }
        Ok(found)
    }

    /// Before the subscription is enabled. True when there was something to follow, and it has to be looked at once more.
    pub(super) fn follow_before_enabling(&mut self, planned: &[PlannedTable], rows_stay: bool) -> Result<bool> {
        let found = self.look_at_source(planned, rows_stay)?;
        let replaced_here = transaction::run(|| schema::replaced_here(planned))?;
        unless_any(found.gone.iter().chain(&found.differences).cloned().chain(replaced_here).collect())?;
        self.check_publications()?;
        self.check_subscription()?;
        let connection = self.source_patiently()?;
        let now = transaction::run(|| schema::oids_now(connection, planned))?;
        // What replaced a table is in no publication and its rows are not here.
        let replaced = planned.iter().zip(now).filter(|(table, oid)| table.source_relid != *oid).map(|(table, _)| {
            let name = qualified_display(&table.table_schema, &table.table_name);
            (table.relid, format!("table {name} was replaced by another one on the source"))
        });
        let mut aside: Vec<(u32, String)> = found.stale.clone();
        aside.extend(replaced.filter(|(relid, _)| !found.stale.iter().any(|(other, _)| other == relid)));
        // The server copies a table once.
        unless_any(copied_by_server(planned, &aside))?;
        if self.operation.is_copied_once() {
            // Into files, or by a backup.
            unless_any(aside.iter().map(|(_, why)| why.clone()).collect())?;
        }
        if !aside.is_empty() {
            if self.operation.is_by_server() {
                // The apply worker would go on with what is emptied.
                self.stop_sync()?;
            }
            self.put_aside(&aside)?;
            return Ok(true);
        }
        self.alter(found, planned)
    }

    /// After the copy of a table has failed. False when that has nothing to do with its definition on the source.
    pub(super) fn follow_failed_copy(&mut self, relid: u32, failed: &Problem) -> Result<bool> {
        let id = self.operation.id;
        let mut planned = transaction::run(|| operations::tables(id))?;
        planned.retain(|table| table.relid == relid);
        let found = match self.drift(&planned, false) {
            Err(Error::SourceChanged { mut differences }) => {
                differences.push(format!("the copy ended with: {}", failed.message));
                self.fail(&Error::SourceChanged { differences })?;
                return Ok(true);
            }
            found => found?,
        };
        if found.altered.is_empty()
            && found.enums.is_empty()
            && transaction::run(|| found.replanned(&planned))?.is_empty()
        {
            return Ok(false);
        }
        let why = "its definition on the source is another one than when it was planned".to_owned();
        self.put_aside(&[(relid, why)])?;
        Ok(true)
    }

    /// While the subscription is enabled. True when there was something to follow.
    pub(super) fn follow_catching_up(&mut self) -> Result<bool> {
        let id = self.operation.id;
        let planned = transaction::run(|| operations::tables(id))?;
        let found = self.look_at_source(&planned, true)?;
        let mut differences = found.differences.clone();
        if self.operation.is_refresh() || self.operation.is_copied_once() {
            // They have joined a subscription that replicates others, which are not to wait for a copy; and files and backups were made once.
            differences.extend(found.stale.iter().map(|(_, why)| why.clone()));
        }
        differences.extend(copied_by_server(&planned, &found.stale));
        unless_any(differences)?;
        if found.stale.is_empty() {
            return self.alter(found, &planned);
        }
        self.stop_catching_up()?;
        Ok(true)
    }

    /// Says at the end what was not altered since replication was behind.
    pub(super) fn say_what_differs(&mut self) -> Result<()> {
        let operation = self.operation.clone();
        if operation.options.schema_sync != Mode::Auto {
            return Ok(());
        }
        let planned = transaction::run(|| operations::tables(operation.id))?;
        let connection = self.source_patiently()?;
        let left = transaction::run(|| drift::left(connection, &operation, &planned))?;
        if left.is_empty() {
            return Ok(());
        }
        let mut event = self
            .event(event::SCHEMA_LEFT_OUT)
            .message(format!("not altered while changes had still to be applied: {}", left.join(", ")))
            .hint("steep_repl.schema_diff(source, node, table) has the statements.");
        event.severity = Severity::Warning;
        transaction::run(|| events::write(&[event]))
    }

    /// Alters tables whose rows stay, and plans anew what is copied of them, should they be copied once more.
    fn alter(&mut self, mut found: drift::Drift, planned: &[PlannedTable]) -> Result<bool> {
        let (operation, plan) =
            (self.operation.clone(), altering(std::mem::take(&mut found.altered), std::mem::take(&mut found.enums)));
        let steps: Vec<_> = plan.to_do().collect();
        if steps.is_empty() && transaction::run(|| found.replanned(planned))?.is_empty() {
            return Ok(false);
        }
        self.followed += 1;
        if self.followed > operation.options.max_retries + 1 {
            return Err(Error::SourceChanged {
                differences: plan.summary().into_iter().map(|(_, line)| line).collect(),
            });
        }
        in_transaction(&operation, &steps, || {
            transaction::see_own_changes();
            operations::replan_tables(operation.id, &found.replanned(planned)?)?;
            events::write(&applied(&operation, &plan))
        })?;
        Ok(true)
    }

    /// Lets tables be copied again under a later snapshot.
    fn put_aside(&mut self, tables: &[(u32, String)]) -> Result<()> {
        let id = self.operation.id;
        let relids: Vec<u32> = tables.iter().map(|(relid, _)| *relid).collect();
        let names = transaction::run(|| user::names_now(&relids))?;
        let said: Vec<(u32, Event)> = tables
            .iter()
            .map(|(relid, why)| {
                let mut event = self.event("init.table_deferred").message(format!("copied again: {why}"));
                if let Some((_, schema, name)) = names.iter().find(|(other, ..)| other == relid) {
                    event = event.table(qualified_display(schema, name));
                }
                event.severity = Severity::Warning;
                (*relid, event)
            })
            .collect();
        let back = self.event(event::INIT_PHASE_STARTED).message(format!("phase {}", Phase::Copy));
        let is_new = self.operation.phase != Phase::Copy.as_str();
        let workers = self.operation.options.parallel_workers;
        transaction::run(|| {
            let newly = tasks::defer_tables(id, &relids)?;
            operations::set_workers_planned(id, workers)?;
            operations::set_phase(id, Phase::Copy.as_str())?;
            let said: Vec<Event> =
                said.into_iter().filter(|(relid, _)| newly.contains(relid)).map(|(_, event)| event).collect();
            events::write(&said)?;
            events::write(&is_new.then_some(back).into_iter().collect::<Vec<_>>())
        })
    }

    /// Stops replication and goes back to `enable`, which sees what has to be copied again.
    fn stop_catching_up(&mut self) -> Result<()> {
        let (operation, found) = (self.operation.clone(), self.joined_subscription()?);
        let phase = self.event(event::INIT_PHASE_STARTED).message(format!("phase {}", Phase::Enable));
        let stopped = self.change_subscription(|| {
            user::enable_subscription(&found.name, false)?;
            operations::set_phase(operation.id, Phase::Enable.as_str())?;
            node::enter(&operation, NodeState::Copying)?;
            events::write(&[phase])?;
            failpoint!(CatchupStopped)
        })?;
        if stopped.is_none() {
            return Ok(());
        }
        failpoint!(CatchupStopCommitted)?;
        self.catchup = Watch::default();
        self.await_apply_end(found.apply_pid, Some("cancelling")).map(drop)
    }

    /// Whether no apply worker holds the origin of a subscription that is disabled. It is waited for.
    pub(super) fn has_apply_ended(&mut self) -> Result<bool> {
        let found = self.joined_subscription()?;
        if found.enabled {
            // Somebody else's doing; it is enabled in a moment anyway.
            return Ok(true);
        }
        self.await_apply_end(found.apply_pid, Some("cancelling"))
    }
}
