//! The target's tables: emptied, indexes suspended, NOT VALID constraints set aside; and put back.

use super::main::Coordinator;
use super::node;
use super::phase::Phase;
use super::schema::{applied, Doing};
use crate::catalog::operations::{self, PlannedTable, Transport};
use crate::catalog::tasks::{self, NewTask, Unfinished};
use crate::catalog::{events, indexes, user};
use crate::error::{Error, Result};
use crate::pg::{index, role, storage, system, transaction};
use crate::schema;
use crate::schema::drift::Drift;
use crate::source::publication;
use steep_repl_core::event;
use steep_repl_core::node_state::NodeState;
use steep_repl_core::plan::{plan_copies, TableSize};
use steep_repl_core::schema_sync::altering;

/// Tables below this size keep their indexes during the load and go in batches, in bytes.
pub const SMALL_BELOW: i64 = 1024 * 1024;
/// How long to wait for a lock here, in milliseconds.
const LOCK_LIMIT_MS: u32 = 5_000;
/// Tables that are locked at a time.
const BATCH: usize = 100;

fn names(tables: &[&PlannedTable]) -> Vec<(String, String)> {
    tables.iter().map(|table| (table.table_schema.clone(), table.table_name.clone())).collect()
}

fn located(tables: &[&PlannedTable]) -> Vec<(u32, String, String)> {
    tables.iter().map(|table| (table.relid, table.table_schema.clone(), table.table_name.clone())).collect()
}

impl Coordinator {
    /// Makes the target's tables ready for the load, plans the tasks, and goes to `copy`.
    pub(super) fn prepare_tables(&mut self) -> Result<()> {
        let id = self.operation.id;
        if self.operation.saves_first() {
            self.make_folder()?;
        } else if self.operation.is_by_files() {
            match self.describe_tables() {
                Err(Error::NotWanted { .. }) => return Ok(()),
                described => described?,
            }
        }
        let planned = transaction::run(|| operations::tables(id))?;
        let all: Vec<&PlannedTable> = planned.iter().collect();
        if self.operation.options.force {
            transaction::run(|| {
                user::set_lock_timeout(LOCK_LIMIT_MS)?;
                empty(&all, &all)
            })?;
            failpoint!(TablesEmptied)?;
        }
        for batch in all.chunks(BATCH) {
            self.prepare_batch(batch)?;
        }
        // Told at the end, that the tables were emptied would undo what is told of their rows meanwhile.
        system::report_statistics();
        failpoint!(TablesPrepared)?;
        let (by_server, own): (Vec<_>, Vec<_>) =
            planned.iter().cloned().partition(|table| table.transport == Transport::Server);
        let (mut tasks, mut manifest) = (Vec::new(), None);
        if self.operation.saves_first() {
            // Builds and vacuums come with what they are of.
            tasks = copies_of(&planned, &self.operation.options);
        } else if self.operation.is_by_files() {
            tasks = self.tasks_of_files(&planned)?.into_iter().chain(vacuums(&planned)).collect();
            manifest = Some(self.manifest()?.1);
        } else {
            tasks.extend(plan_tasks(&own, &self.operation.options));
            tasks.extend(plan_mirrored(&by_server));
        }
        let operation = self.operation.clone();
        let next = super::way_of(&operation).after(Phase::Tables);
        let phase = self.event(event::INIT_PHASE_STARTED).message(format!("phase {next}"));
        transaction::run(|| {
            if operation.uses_base_backup() {
                // It is made when the slot is there, and brings what the tables are copied under.
                operations::await_snapshot(id)?;
            }
            tasks::insert(id, &tasks)?;
            if let Some(manifest) = &manifest {
                self.assign_files(&planned, manifest)?;
            }
            // After the tasks: a table's count of builds is added to its row.
            if next == Phase::Copy {
                self.plan_builds(&planned)?;
            }
            operations::set_phase(id, next.as_str())?;
            node::enter(&operation, NodeState::Copying)?;
            events::write(&[phase])?;
            failpoint!(TasksPlanned)
        })
    }

    /// Adds the builds of what was suspended.
    fn plan_builds(&self, planned: &[PlannedTable]) -> Result<()> {
        let large: Vec<u32> = planned.iter().filter(|table| Self::suspends(table)).map(|table| table.relid).collect();
        tasks::insert_index_tasks(self.operation.id, &large)
    }

    /// All files are written: their tasks are to load them now, and what follows a load is planned.
    pub(super) fn begin_loading(&mut self) -> Result<()> {
        let id = self.operation.id;
        let planned = transaction::run(|| operations::tables(id))?;
        let relids: Vec<u32> = planned.iter().map(|table| table.relid).collect();
        let vacuums: Vec<NewTask> = vacuums(&planned).collect();
        let phase = self.event(event::INIT_PHASE_STARTED).message(format!("phase {}", Phase::Copy));
        transaction::run(|| {
            tasks::restart_tables(id, &relids)?;
            tasks::add(id, &vacuums)?;
            self.plan_builds(&planned)?;
            operations::set_phase(id, Phase::Copy.as_str())?;
            events::write(&[phase])?;
            failpoint!(TasksPlanned)
        })
    }

    /// Locks a few tables, sees that they are empty, writes down what is suspended and suspends it; in one transaction.
    fn prepare_batch(&self, batch: &[&PlannedTable]) -> Result<()> {
        let (id, node) = (self.operation.id, self.operation.node.clone());
        transaction::run(|| {
            // Who waits for such a lock has all others wait behind it, the apply worker too. A table that joins a subscription needs it
            // only where a constraint is set aside.
            let lockable: Vec<&PlannedTable> = if self.operation.is_refresh() {
                let relids: Vec<u32> = batch.iter().map(|table| table.relid).collect();
                let constrained = indexes::not_valid(&relids)?;
                batch.iter().copied().filter(|table| constrained.iter().any(|one| one.relid == table.relid)).collect()
            } else {
                batch.to_vec()
            };
            user::lock_exclusively(&names(&lockable))?;
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            let full = user::not_empty(&located(batch))?;
            if !full.is_empty() {
                let tables: Vec<String> = batch
                    .iter()
                    .filter(|table| full.contains(&table.relid))
                    .map(|table| steep_repl_core::ident::qualified_display(&table.table_schema, &table.table_name))
                    .collect();
                return Err(Error::NotEmpty { node, count: tables.len(), tables });
            }
            let relids: Vec<u32> = batch.iter().map(|table| table.relid).collect();
            let constraints = indexes::not_valid(&relids)?;
            indexes::record_constraints(id, &constraints)?;
            for constraint in &constraints {
                match constraint.how.as_str() {
                    "not_enforced" => {
                        storage::set_constraint_enforced(constraint.relid, constraint.constraint_oid, false)?;
                    }
                    _ => user::drop_constraint(constraint.relid, &constraint.constraint_name)?,
                }
            }
            suspend_indexes(id, batch.iter().copied().filter(|table| Self::suspends(table)))?;
            failpoint!(BatchPrepared)
        })
    }

    /// Whether indexes of a table are switched off for the load. The server's own workers build them along, and the apply worker needs
    /// them as soon as a table is handed over.
    fn suspends(table: &PlannedTable) -> bool {
        !table.keeps_indexes && table.transport != Transport::Server
    }

    /// Puts constraints back that were set aside for the load.
    pub(super) fn restore_constraints(&mut self) -> Result<()> {
        let id = self.operation.id;
        for constraint in transaction::run(|| indexes::constraints_to_restore(id))? {
            transaction::run(|| {
                if user::names_now(&[constraint.relid])?.is_empty() {
                    // Its table was dropped, and it with it.
                    return indexes::constraint_restored(id, constraint.constraint_oid);
                }
                match constraint.how.as_str() {
                    "not_enforced" => {
                        user::set_lock_timeout(LOCK_LIMIT_MS)?;
                        user::lock_by_oid(constraint.relid)?;
                        storage::set_constraint_enforced(constraint.relid, constraint.constraint_oid, true)?;
                    }
                    _ => {
                        user::set_lock_timeout(LOCK_LIMIT_MS)?;
                        user::add_constraint(
                            constraint.relid,
                            &constraint.constraint_name,
                            &constraint.definition,
                            constraint.comment.as_deref(),
                        )?;
                    }
                }
                failpoint!(ConstraintRestored)?;
                indexes::constraint_restored(id, constraint.constraint_oid)
            })?;
        }
        Ok(())
    }

    /// Gives the snapshot up, and tells which tables are to be copied whole under a later one. None when that has been tried too often.
    pub(super) fn left_for_later(&mut self) -> Result<Option<Vec<Unfinished>>> {
        let id = self.operation.id;
        self.give_snapshot_up()?;
        let mut unfinished = transaction::run(|| tasks::unfinished_tables(id))?;
        unfinished.retain(|table| table.transport != Transport::Server);
        let most = self.operation.options.max_retries;
        if let Some(table) = unfinished.iter().find(|table| table.deferred && table.deferrals > most) {
            let table = steep_repl_core::ident::qualified(&table.table_schema, &table.table_name);
            self.fail(&Error::Rewritten { table })?;
            return Ok(None);
        }
        if self.renews_in_vain()? {
            let node = self.operation.source.clone();
            self.fail(&Error::SnapshotLost { node })?;
            return Ok(None);
        }
        Ok(Some(unfinished))
    }

    /// Makes the unfinished tables ready to be copied whole under a later snapshot.
    pub(super) fn renew_snapshot(&mut self) -> Result<()> {
        let id = self.operation.id;
        let Some(unfinished) = self.left_for_later()? else { return Ok(()) };
        let deferred: Vec<u32> = unfinished.iter().filter(|table| table.deferred).map(|table| table.relid).collect();
        let mut drift = None;
        if !deferred.is_empty() {
            self.check_publications()?;
            drift = Some(self.follow_source(&deferred)?);
            failpoint!(ReplacementPublished)?;
            self.mark_publications()?;
        }
        let planned = transaction::run(|| operations::tables(id))?;
        // One that is altered gets indexes anew.
        let touched: Vec<&PlannedTable> = planned
            .iter()
            .filter(|table| unfinished.iter().any(|one| one.relid == table.relid && (one.touched || one.deferred)))
            .collect();
        let relids: Vec<u32> = unfinished.iter().map(|table| table.relid).collect();
        let (operation, doing) = (self.operation.clone(), Doing::default());
        let outcome = transaction::run(|| {
            user::lock_exclusively(&names(&touched))?;
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            // Others, finished ones, may refer to them and must keep their rows.
            empty(&touched, &touched)?;
            if let Some(drift) = drift {
                follow(&operation, &doing, drift, &planned, &deferred)?;
            }
            suspend_indexes(id, touched.iter().copied().filter(|table| !table.keeps_indexes))?;
            tasks::restart_tables(id, &relids)?;
            // An index that was made meanwhile was suspended now and must be built too.
            let large: Vec<u32> =
                touched.iter().filter(|table| !table.keeps_indexes).map(|table| table.relid).collect();
            tasks::insert_index_tasks(id, &large)?;
            failpoint!(UnfinishedEmptied)?;
            operations::await_snapshot(id)
        });
        outcome.map_err(|error| doing.named(error))?;
        system::report_statistics();
        failpoint!(SnapshotAwaited)?;
        let why = if self.operation.snapshot_expired { ": max_snapshot_age is over" } else { "" };
        let mut event = self
            .event("init.snapshot_renewed")
            .message(format!("{} tables are copied under a later snapshot{why}", unfinished.len()));
        if !self.operation.snapshot_expired {
            event.severity = event::Severity::Warning;
        }
        transaction::run(|| events::write(&[event]))
    }

    /// Counts renewals. Renewing again and again without a single copy in between leads nowhere: true then.
    pub(super) fn renews_in_vain(&mut self) -> Result<bool> {
        let (id, most) = (self.operation.id, self.operation.options.max_retries);
        let done = transaction::run(|| tasks::copies_done(id))?;
        self.renewals = if done > self.copies_at_renewal { 1 } else { self.renewals + 1 };
        self.copies_at_renewal = done;
        Ok(self.renewals > most + 1)
    }

    /// Empties tables and has all their copies done once more.
    pub(super) fn empty_again(&mut self, relids: &[u32]) -> Result<()> {
        let id = self.operation.id;
        let planned = transaction::run(|| operations::tables(id))?;
        let tables: Vec<&PlannedTable> = planned.iter().filter(|table| relids.contains(&table.relid)).collect();
        transaction::run(|| {
            user::lock_exclusively(&names(&tables))?;
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            empty(&tables, &tables)?;
            suspend_indexes(id, tables.iter().copied().filter(|table| !table.keeps_indexes))?;
            tasks::restart_tables(id, relids)?;
            let large: Vec<u32> = tables.iter().filter(|table| !table.keeps_indexes).map(|table| table.relid).collect();
            tasks::insert_index_tasks(id, &large)
        })?;
        system::report_statistics();
        Ok(())
    }

    /// Finds out what tables that were put aside are on the source now, and publishes what replaced them.
    fn follow_source(&mut self, relids: &[u32]) -> Result<Drift> {
        let id = self.operation.id;
        let planned: Vec<PlannedTable> = transaction::run(|| operations::tables(id))?
            .into_iter()
            .filter(|table| relids.contains(&table.relid))
            .collect();
        let drift = self.drift(&planned, false)?;
        let connection = self.source_patiently()?;
        let now = transaction::run(|| schema::oids_now(connection, &planned))?;
        let own = self.operation.own_publications.then(|| self.operation.publications.clone());
        let connection = self.source()?;
        for (table, oid) in planned.iter().zip(now.iter().copied()) {
            if table.source_relid == oid {
                continue;
            }
            if let Some(names) = &own {
                let name = names.get(usize::from(table.insert_only)).or(names.first());
                if let Some(name) = name {
                    let entry = operations::Published {
                        oid,
                        schema: table.table_schema.clone(),
                        name: table.table_name.clone(),
                        insert_only: table.insert_only,
                        only: true,
                    };
                    transaction::run_without_snapshot(|| {
                        publication::make(connection, name, &[&entry], table.insert_only)?;
                        if now.contains(&table.source_relid) {
                            return Ok(());
                        }
                        // Published on, its changes would arrive under a name that is not known here.
                        publication::remove(connection, name, table.source_relid)
                    })?;
                }
            }
            transaction::run(|| tasks::set_source_relid(id, table.relid, oid))?;
        }
        if own.is_none() {
            let (node, name) = (self.operation.source.clone(), self.operation.publications.join(","));
            let leaves: Vec<(String, String)> =
                planned.iter().map(|table| (table.table_schema.clone(), table.table_name.clone())).collect();
            let connection = self.source()?;
            transaction::run(|| publication::check(connection, &node, &name, &leaves))?;
        }
        Ok(drift)
    }
}

/// Alters tables that were put aside and are empty now, and plans their copy anew.
fn follow(
    operation: &operations::Operation,
    doing: &Doing,
    mut drift: Drift,
    planned: &[PlannedTable],
    deferred: &[u32],
) -> Result<()> {
    let plan = altering(std::mem::take(&mut drift.altered), std::mem::take(&mut drift.enums));
    doing.carry_out(operation, &plan.to_do().collect::<Vec<_>>())?;
    transaction::see_own_changes();
    let planned: Vec<PlannedTable> = planned.iter().filter(|table| deferred.contains(&table.relid)).cloned().collect();
    operations::replan_tables(operation.id, &drift.replanned(&planned)?)?;
    events::write(&applied(operation, &plan))
}

/// Suspends the indexes of tables that are locked and empty, after writing down what they are.
fn suspend_indexes<'a>(operation: i64, tables: impl Iterator<Item = &'a PlannedTable>) -> Result<()> {
    let relids: Vec<u32> = tables.map(|table| table.relid).collect();
    let recorded = indexes::record(operation, &relids)?;
    for relid in &relids {
        let own: Vec<u32> =
            recorded.iter().filter(|index| index.relid == *relid).map(|index| index.index_oid).collect();
        if !own.is_empty() {
            index::suspend(*relid, &own)?;
        }
    }
    Ok(())
}

/// Empties those of the tables that hold rows: by one TRUNCATE with what among `together` refers to them, where they have one
/// owner; row by row where tables outside refer to them, for which TRUNCATE is refused, or where the owners differ.
pub(super) fn empty(tables: &[&PlannedTable], together: &[&PlannedTable]) -> Result<()> {
    let full = user::not_empty(&located(tables))?;
    if full.is_empty() {
        return Ok(());
    }
    let all: Vec<u32> = together.iter().map(|table| table.relid).collect();
    let references = user::references_to(&full, &all)?;
    let chosen = |relids: &[u32]| -> Vec<&PlannedTable> {
        together.iter().copied().filter(|table| relids.contains(&table.relid)).collect()
    };
    let truncated = chosen(&references.inside);
    if references.from_outside.is_empty() && one_owner(&references.inside)? {
        let first = references.inside.first().copied().unwrap_or_default();
        return role::as_table_owner(first, || user::truncate(&names(&truncated)))?;
    }
    for table in chosen(&full) {
        // With its owner's rights: its triggers are its owner's code.
        role::as_table_owner(table.relid, || user::delete_rows(&table.table_schema, &table.table_name))??;
    }
    Ok(())
}

fn one_owner(relids: &[u32]) -> Result<bool> {
    let mut owners = relids.iter().map(|relid| role::table_owner(*relid));
    let first = owners.next().transpose()?;
    for owner in owners {
        if Some(owner?) != first {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The tasks of a plan that the server carries out: a copy for each table, in which is shown how far it is.
fn plan_mirrored(planned: &[PlannedTable]) -> Vec<NewTask> {
    planned
        .iter()
        .map(|table| NewTask {
            relid: table.relid,
            kind: "copy",
            position: table.ordinal,
            from_block: None,
            to_block: None,
            bytes: table.bytes_total,
            small: false,
            status: "pending",
        })
        .collect()
}

/// Its copies alone.
pub(super) fn copies_of(planned: &[PlannedTable], options: &operations::Options) -> Vec<NewTask> {
    plan_tasks(planned, options).into_iter().filter(|task| task.kind == "copy").collect()
}

/// The tasks of a plan: copies first, then a vacuum for each table; index builds are added by what was suspended.
fn plan_tasks(planned: &[PlannedTable], options: &operations::Options) -> Vec<NewTask> {
    let sizes: Vec<TableSize> = planned
        .iter()
        .map(|table| {
            // A program writes a table whole.
            let heap = table.heap && table.transport != Transport::PgDump;
            TableSize { bytes: table.bytes_total, pages: table.pages, heap }
        })
        .collect();
    let copies = plan_copies(&sizes, options.chunk_size, SMALL_BELOW, options.parallel_workers);
    let mut tasks = Vec::with_capacity(copies.len() + planned.len());
    for (position, copy) in copies.iter().enumerate() {
        let Some(table) = planned.get(copy.table) else { continue };
        tasks.push(NewTask {
            relid: table.relid,
            kind: "copy",
            position: position as i32,
            from_block: copy.from_block,
            to_block: copy.to_block,
            bytes: copy.bytes,
            small: table.small,
            status: "pending",
        });
    }
    tasks.extend(vacuums(planned));
    tasks
}

/// A vacuum for each table.
fn vacuums(planned: &[PlannedTable]) -> impl Iterator<Item = NewTask> + '_ {
    planned.iter().map(|table| NewTask {
        relid: table.relid,
        kind: "vacuum",
        position: table.ordinal,
        from_block: None,
        to_block: None,
        bytes: table.bytes_total,
        small: table.small,
        status: "waiting",
    })
}
