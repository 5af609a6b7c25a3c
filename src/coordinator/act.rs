//! Doing what was decided.

use super::decide::Step;
use super::main::{Coordinator, Worker};
use super::node;
use super::phase::Phase;
use super::LOCK_LIMIT_MS;
use crate::catalog::operations::{self, Published, Selection, Transport};
use crate::catalog::sequences::SequenceValue;
use crate::catalog::{self, base_backups, events, tasks, user};
use crate::error::{Error, Result, SubscriptionError};
use crate::pg::subscription::{self, NewSubscription, TableState};
use crate::pg::worker::{self, Assignment, Kind};
use crate::pg::{origin, system, transaction};
use crate::source::{publication, sequences, state};
use steep_repl_core::event::{self, Severity};
use steep_repl_core::ident::qualified_display;
use steep_repl_core::lsn::Lsn;
use steep_repl_core::names::origin_name;
use steep_repl_core::node_state::NodeState;
use steep_repl_core::selection::NoIdentity;

/// How often what a slot's creation waits for is looked at, in seconds.
const BLOCKER_LOOK: f64 = 3.0;

/// How long a keeper that is not needed any more may take to end by itself, in seconds.
const KEEPER_LEAVES_WITHIN: f64 = 10.0;

/// The same of one that has a base backup to remove, in seconds.
const BACKUP_GOES_WITHIN: f64 = 600.0;

/// How often to look for an apply worker that does not run, in seconds.
const APPLY_LOOK: f64 = 1.0;

impl Coordinator {
    /// Does a step.
    pub(super) fn act(&mut self, phase: Phase, step: Step) -> Result<()> {
        match step {
            Step::DoPhase if self.operation.is_generation() => self.generate(phase),
            Step::DoPhase => {
                if matches!(phase, Phase::Schema | Phase::Adopt | Phase::Subscription) {
                    self.take_slot(true)?;
                }
                match phase {
                    Phase::Slot => return self.claim_slot(),
                    Phase::Schema => return self.match_schemas(),
                    Phase::Adopt => self.adopt_copy()?,
                    Phase::Publication => self.publish()?,
                    Phase::Subscription => {
                        if !self.make_subscription()? {
                            return Ok(());
                        }
                    }
                    Phase::Tables => return self.prepare_tables(),
                    Phase::Sequences if self.operation.is_manual() => {
                        if !self.set_sequences_of_backup()? {
                            return Ok(());
                        }
                    }
                    Phase::Sequences => {
                        self.restore_constraints()?;
                        let are_set = if self.operation.is_by_files() && !self.operation.saves_first() {
                            self.set_sequences_of_files()?
                        } else {
                            self.set_sequences()?
                        };
                        if !are_set {
                            return Ok(());
                        }
                        failpoint!(SequencesSet)?;
                    }
                    Phase::Enable => return self.enable(),
                    Phase::Held
                    | Phase::Verify
                    | Phase::Files
                    | Phase::Copy
                    | Phase::Indexes
                    | Phase::Catchup
                    | Phase::Done => {}
                }
                self.enter_next(phase)
            }
            Step::NextPhase => {
                // The server's workers read under snapshots of their own, and so does who reads from a base backup; who has files needs none.
                if matches!(phase, Phase::Files | Phase::Copy)
                    || phase == Phase::Slot && !self.operation.uses_slot_snapshot()
                {
                    self.give_snapshot_up()?;
                }
                if phase == Phase::Files {
                    return self.begin_loading();
                }
                if phase == Phase::Slot && self.operation.is_preparation() {
                    self.name_slot()?;
                    self.describe_slot()?;
                    failpoint!(SlotDescribed)?;
                }
                self.enter_next(phase)
            }
            Step::StartKeeper => self.start_keeper(),
            Step::AwaitSnapshot => self.look_for_blockers(),
            Step::RenewSnapshot if self.operation.is_saving() => self.renew_files(),
            Step::RenewSnapshot if self.operation.is_by_files() => self.reload_tables(),
            Step::RenewSnapshot => self.renew_snapshot(),
            Step::ExpireSnapshot => {
                let id = self.operation.id;
                transaction::run(|| operations::expire_snapshot(id))
            }
            Step::HandleKeeperError => self.handle_keeper_error(),
            Step::StartWorkers(count) => self.start_workers(count),
            Step::GiveSnapshotUp => self.give_snapshot_up(),
            Step::StartSync => self.start_sync(),
            Step::WatchSync => self.watch_sync(),
            Step::PlanVerify => self.plan_verify(),
            Step::WatchCatchup => self.watch_catchup(),
            Step::WatchHeld => self.watch_held(),
            Step::FailByTask => self.fail_by_task(),
            Step::FailByTimeout => {
                let limit = format!("{} s", self.operation.options.init_timeout);
                self.fail(&Error::InitTimeout { operation: self.operation.id, limit })
            }
            Step::Wait | Step::Finished => Ok(()),
        }
    }

    fn enter_next(&mut self, phase: Phase) -> Result<()> {
        self.enter(super::way_of(&self.operation).after(phase))
    }

    /// Publications, and what they are.
    pub(super) fn publish(&mut self) -> Result<()> {
        self.make_publications()?;
        failpoint!(PublicationsMade)?;
        self.mark_publications()?;
        failpoint!(PublicationsMarked)
    }

    fn make_publications(&mut self) -> Result<()> {
        if !self.operation.own_publications {
            return Ok(());
        }
        let id = self.operation.id;
        let plan = transaction::run(|| operations::publication_plan(id))?;
        let names = self.operation.publications.clone();
        self.give_identities(&plan.identity_full)?;
        let connection = self.source()?;
        transaction::run_without_snapshot(|| {
            for (number, name) in names.iter().enumerate() {
                // The second publication, where there is one, is that of inserts only.
                let entries: Vec<&Published> =
                    plan.entries.iter().filter(|entry| entry.insert_only == (number == 1)).collect();
                publication::make(connection, name, &entries, number == 1)?;
            }
            Ok(())
        })?;
        // Whoever undoes another operation may have taken an identity away that the plan has counted on. From now on it sees that the
        // table is published.
        let connection = self.source()?;
        let lacking = transaction::run(|| publication::lacking_identity(connection, &names))?;
        if lacking.is_empty() {
            return Ok(());
        }
        if self.operation.options.no_identity != NoIdentity::Full.as_str() {
            return Err(Error::NoIdentity {
                node: self.operation.source.clone(),
                count: lacking.len(),
                tables: lacking.iter().map(|(schema, name)| qualified_display(schema, name)).collect(),
            });
        }
        self.give_identities(&lacking)
    }

    /// Gives tables of the source REPLICA IDENTITY FULL. What they had is written down first.
    fn give_identities(&mut self, tables: &[(String, String)]) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        let id = self.operation.id;
        let connection = self.source()?;
        let before = transaction::run(|| publication::identities(connection, tables))?;
        transaction::run(|| operations::record_identities(id, &before))?;
        let connection = self.source()?;
        transaction::run_without_snapshot(|| publication::set_identity_full(connection, tables))
    }

    /// Writes down what the publications are: from now on they are ours to change, and nobody else's.
    pub(super) fn mark_publications(&mut self) -> Result<()> {
        let (id, names) = (self.operation.id, self.operation.publications.clone());
        let connection = self.source()?;
        let mark = transaction::run(|| publication::mark(connection, &names))?;
        transaction::run(|| operations::set_publication_mark(id, &mark))
    }

    /// Refuses publications that somebody has changed since: what they did not publish meanwhile will never come.
    pub(super) fn check_publications(&mut self) -> Result<()> {
        let (id, names, node) = (self.operation.id, self.operation.publications.clone(), self.operation.source.clone());
        if !self.operation.own_publications && !self.operation.is_by_files() {
            // The user's may be changed, as long as it holds the plan.
            let planned = transaction::run(|| operations::tables(id))?;
            let leaves: Vec<(String, String)> =
                planned.into_iter().map(|table| (table.table_schema, table.table_name)).collect();
            let connection = self.source_patiently()?;
            return transaction::run(|| publication::check(connection, &node, &names.join(","), &leaves));
        }
        let before = transaction::run(|| operations::publication_mark(id))?;
        let connection = self.source()?;
        if transaction::run(|| publication::is_unchanged(connection, &names, &before))? {
            return Ok(());
        }
        Err(Error::PublicationChanged { publications: names, node })
    }

    fn start_keeper(&mut self) -> Result<()> {
        if self.operation.uses_base_backup() && !self.leaving.is_empty() {
            // It removes the very directory that the next one makes.
            return Ok(());
        }
        let id = self.operation.id;
        let number = transaction::run(|| operations::next_keeper(id))?;
        failpoint!(KeeperNumbered)?;
        match worker::start(Kind::Keeper, &self.assignment(number)) {
            Some(handle) => {
                (self.keeper, self.slot_waits_since) = (Some(handle), None);
                Ok(())
            }
            None => self.no_worker_to_be_had(),
        }
    }

    fn assignment(&self, number: u32) -> Assignment {
        Assignment {
            operation: self.operation.id,
            database: system::database_oid(),
            role: self.operation.requested_by,
            number,
        }
    }

    fn no_worker_to_be_had(&mut self) -> Result<()> {
        let mut event = self
            .event("init.workers_limited")
            .message(format!("max_worker_processes is used up; {} copy workers run", self.workers.len()))
            .hint("The operation goes on with what there is. Raise max_worker_processes and restart the server to give it more.");
        event.severity = Severity::Warning;
        self.try_source_at = system::now_secs() + 5.0;
        self.say_once("workers_limited", event)
    }

    /// Says what the creation of the slot waits for, and sees that the source is there while a private server replays its WAL.
    fn look_for_blockers(&mut self) -> Result<()> {
        let now = system::now_secs();
        if now < self.look_for_blockers_at {
            return Ok(());
        }
        self.look_for_blockers_at = now + BLOCKER_LOOK;
        let id = self.operation.id;
        if self.operation.uses_base_backup() && self.operation.start_lsn.is_some() {
            match transaction::run(|| base_backups::state(id))?.as_deref() {
                Some("slot") => {}
                Some("recovery") => return self.look_after_recovery(),
                // Whoever makes the backup sees by itself that the source is away.
                _ => return Ok(()),
            }
        }
        let connection = self.source()?;
        let blockers = transaction::run_without_snapshot(|| state::blockers(connection))?;
        // What our role may not see the age of has run for as long as we have waited for it.
        let since = *self.slot_waits_since.get_or_insert(now);
        let age = |blocker: &state::Blocker| blocker.age_seconds.unwrap_or(now - since);
        let Some(oldest) = blockers.first().filter(|blocker| age(blocker) > BLOCKER_LOOK) else {
            return Ok(());
        };
        let who: Vec<&str> = blockers.iter().map(|blocker| blocker.who.as_str()).collect();
        let mut event = self
            .event("init.slot_waiting")
            .message(format!(
                "the slot waits for transactions that run on the source: {}; the oldest is {:.0} s old",
                who.join(", "),
                age(oldest)
            ))
            .hint("The operation goes on when they have ended.");
        event.severity = Severity::Warning;
        self.say_once(&format!("slot waits for {}", who.join(",")), event)
    }

    /// Nobody of ours needs the source while a private server recovers, and that waits for it without a word. It stays where it is while the
    /// source is away, and goes on by itself.
    fn look_after_recovery(&mut self) -> Result<()> {
        self.probe_source()?;
        if self.source_lost_since.is_none() {
            return Ok(());
        }
        self.failures = 0;
        self.source_is_back()
    }

    fn handle_keeper_error(&mut self) -> Result<()> {
        let Some(problem) = self.operation.error.clone() else {
            return Ok(());
        };
        let id = self.operation.id;
        transaction::run(|| operations::clear_error(id))?;
        if problem.sqlstate == Error::PRIVATE_SERVER {
            // Another backup would end like this one.
            return self.fail(&Error::Server(Box::new(problem)));
        }
        // What stops a keeper is the source, whichever side noticed.
        Err(Error::Source { context: "could not take a snapshot".to_owned(), problem: Box::new(problem) })
    }

    /// Lets the keeper end: the last row is here, and nothing on the source is held back any more.
    pub(super) fn give_snapshot_up(&mut self) -> Result<()> {
        let id = self.operation.id;
        transaction::run(|| operations::clear_snapshot(id))?;
        failpoint!(SnapshotForgotten)?;
        if let Some(keeper) = self.keeper.take() {
            if let worker::Status::Running(pid) = keeper.status() {
                system::wake(pid);
            }
            let within = if self.operation.uses_base_backup() { BACKUP_GOES_WITHIN } else { KEEPER_LEAVES_WITHIN };
            self.leaving.push((keeper, system::now_secs() + within));
        }
        Ok(())
    }

    /// Makes the subscription, with exactly the plan's tables, at the slot's start; in one transaction. False when somebody's lock is in the way.
    fn make_subscription(&mut self) -> Result<bool> {
        if self.operation.subscription_oid.is_some() {
            return Ok(true);
        }
        let Some(start) = self.operation.start_lsn else {
            return Err(Error::internal("no slot"));
        };
        let conninfo = self.target()?.conninfo.to_string();
        let operation = self.operation.clone();
        let created = self.change_subscription(|| {
            let created = subscription::create(&NewSubscription {
                name: &operation.subscription,
                conninfo: &conninfo,
                publications: &operation.publications,
                slot: &operation.slot_name,
            })?;
            for table in operations::tables(operation.id)? {
                let state = if table.transport == Transport::Server { TableState::Init } else { TableState::Ready };
                subscription::add_table(created, table.relid, state, Lsn::INVALID);
            }
            operations::set_subscription(operation.id, created)?;
            // Last, since it stays when rolled back.
            origin::advance(&origin_name(created), start)?;
            failpoint!(SubscriptionMade)?;
            Ok(created)
        })?;
        if created.is_none() {
            return Ok(false);
        }
        failpoint!(SubscriptionCommitted)?;
        self.operation.subscription_oid = created;
        Ok(true)
    }

    /// Holds the origin that the workers join.
    fn hold_origin(&mut self) -> Result<()> {
        if self.holds_origin {
            return Ok(());
        }
        let Some(subscription) = self.operation.subscription_oid else {
            return Err(Error::internal("no subscription"));
        };
        transaction::run(|| origin::tag_session(&origin_name(subscription), None))?;
        self.holds_origin = true;
        Ok(())
    }

    fn start_workers(&mut self, count: u32) -> Result<()> {
        if self.operation.is_generation() {
            // Files have no origin.
        } else if !self.operation.is_refresh() {
            self.hold_origin()?;
        } else if !self.has_apply_worker()? {
            self.try_source_at = system::now_secs() + APPLY_LOOK;
            return Ok(());
        }
        for _ in 0..count {
            let number = (1..).find(|number| self.workers.iter().all(|worker| worker.number != *number)).unwrap_or(1);
            match worker::start(Kind::Copy, &self.assignment(number)) {
                Some(handle) => self.workers.push(Worker { number, handle }),
                None => return self.no_worker_to_be_had(),
            }
        }
        self.known_workers = self.workers.len();
        Ok(())
    }

    /// Tasks of workers that are gone are free again. Workers that fail as soon as they start are not started again without a
    /// pause.
    pub(super) fn recover_tasks(&mut self) -> Result<()> {
        let id = self.operation.id;
        transaction::run(|| tasks::recover(id))?;
        self.count_failure();
        Ok(())
    }

    /// Asks the source for a sign of life: an error here is what workers cannot decide about by themselves.
    pub(super) fn probe_source(&mut self) -> Result<()> {
        let connection = self.source()?;
        transaction::run_without_snapshot(|| state::current_lsn(connection)).map(drop)
    }

    fn fail_by_task(&mut self) -> Result<()> {
        let id = self.operation.id;
        let Some(failed) = transaction::run(|| tasks::first_failed(id))? else {
            return Ok(());
        };
        if self.operation.is_manual() {
            return self.fail_by_rows();
        }
        if failed.transport == Transport::Server {
            // Whether it was altered was looked at when it failed, and the error tells all.
            return self.fail(&Error::Server(Box::new(failed.error)));
        }
        let from_source = self.operation.works_on_node() && !self.operation.is_by_files();
        if failed.kind == "copy" && from_source && self.follow_failed_copy(failed.relid, &failed.error)? {
            return Ok(());
        }
        let mut problem = failed.error;
        problem.message = format!("{} of table {} failed: {}", failed.kind, failed.table, problem.message);
        self.fail(&Error::Server(Box::new(problem)))
    }

    /// Sets this node's sequences to where the source's are, forward only. False when somebody alters one: it is to be tried again.
    pub(super) fn set_sequences(&mut self) -> Result<bool> {
        let id = self.operation.id;
        let tables: Vec<u32> =
            transaction::run(|| operations::tables(id))?.iter().map(|table| table.source_relid).collect();
        let Selection { schemas, tables: named } = self.operation.selection();
        let all = schemas.is_none() && named.is_none();
        let connection = self.source()?;
        let values =
            transaction::run_without_snapshot(|| sequences::read(connection, &tables, schemas.as_deref(), all))?;
        let Some((_, missing)) = self.move_sequences(&values)? else { return Ok(false) };
        if !missing.is_empty() {
            let mut event = self
                .event("init.sequences_missing")
                .message(format!("sequences of the source that are not here: {}", missing.join(", ")));
            event.severity = Severity::Warning;
            self.say_once("sequences_missing", event)?;
        }
        Ok(true)
    }

    /// Moves sequences here; gives how many were moved, and those that are not here. None when somebody alters one of them: nothing was
    /// done then, who it is has been said, and it is to be tried again. It may take as long as that takes, and keeps nobody from cancelling.
    pub(super) fn move_sequences(&mut self, values: &[SequenceValue]) -> Result<Option<(usize, Vec<String>)>> {
        let moved = transaction::run(|| user::waiting_at_most(LOCK_LIMIT_MS, || catalog::sequences::set(values)));
        let error = match moved {
            Ok((moved, missing)) => {
                let event =
                    self.event("init.sequences_set").rows(moved as i64).message(format!("{moved} sequences were set"));
                transaction::run(|| events::write(&[event]))?;
                return Ok(Some((moved, missing)));
            }
            Err(error) if error.problem().sqlstate == user::LOCK_NOT_AVAILABLE => error,
            Err(error) => return Err(error),
        };
        let problem = transaction::run(|| {
            let relids = catalog::sequences::relids(values)?;
            Ok(user::with_lock_holders(error, &relids, "It is tried again.").problem())
        })?;
        let mut event = self.event("init.sequences_wait").sqlstate(&problem.sqlstate).message(problem.message);
        event.severity = Severity::Warning;
        event.hint = problem.hint;
        self.say_once("sequences_wait", event)?;
        Ok(None)
    }

    /// Refuses a subscription that somebody has dropped, or made to follow something else: what it would not bring will never
    /// come. Where the source is may be changed.
    pub(super) fn check_subscription(&self) -> Result<()> {
        let (operation, found) = (&self.operation, self.joined_subscription()?);
        if operation.is_refresh() {
            // It has another slot until the tables join, and may have publications besides.
            let has_all = operation.publications.iter().all(|name| found.publications.contains(name));
            return if has_all {
                Ok(())
            } else {
                Err(Error::Subscription(SubscriptionError::Changed { subscription: found.name }))
            };
        }
        if found.slot_name.as_ref() == Some(&operation.slot_name) && found.publications == operation.publications {
            return Ok(());
        }
        Err(Error::Subscription(SubscriptionError::Changed { subscription: found.name }))
    }

    /// Tells the subscription where each table stands, and starts it.
    fn enable(&mut self) -> Result<()> {
        let (Some(subscription), Some(_)) = (self.operation.subscription_oid, self.operation.start_lsn) else {
            return Err(Error::internal("no subscription"));
        };
        if self.operation.is_by_server() {
            return self.end_sync();
        }
        // The apply worker needs the origin; all who joined it are gone.
        self.end_workers();
        self.release_origin();
        failpoint!(OriginReleased)?;
        if self.operation.is_refresh() && !self.may_join()? {
            return Ok(());
        }
        if !self.operation.is_refresh() && !self.has_apply_ended()? {
            return Ok(());
        }
        let planned = transaction::run(|| operations::tables(self.operation.id))?;
        if self.follow_before_enabling(&planned, true)? {
            return Ok(());
        }
        let name = self.operation.slot_name.clone();
        let connection = self.source()?;
        let slot = transaction::run_without_snapshot(|| state::slot(connection, &name))?;
        if self.operation.is_refresh() {
            self.join_subscription(slot.now)?;
            if !self.operation.has_joined() {
                return Ok(());
            }
        } else {
            // From here on nobody could tell any more.
            self.check_slot(&slot)?;
            if !self.start_subscription(subscription, slot.now)? {
                return Ok(());
            }
        }
        self.catchup.is_compared = true;
        let connection = self.source()?;
        transaction::run_without_snapshot(|| state::nudge(connection))
    }

    /// False when somebody's lock is in the way.
    fn start_subscription(&mut self, subscription: u32, now: Lsn) -> Result<bool> {
        let operation = self.operation.clone();
        let id = operation.id;
        let phase = self.event(event::INIT_PHASE_STARTED).message(format!("phase {}", Phase::Catchup));
        let started = self.change_subscription(|| {
            user::enable_subscription(&operation.subscription, true)?;
            for (relid, lsn) in tasks::later_tables(id)? {
                subscription::set_table(subscription, relid, TableState::SyncDone, lsn);
            }
            operations::set_enable_lsn(id, now)?;
            operations::set_phase(id, Phase::Catchup.as_str())?;
            node::enter(&operation, NodeState::CatchingUp)?;
            events::write(&[phase])?;
            failpoint!(SubscriptionEnabled)
        })?;
        if started.is_none() {
            return Ok(false);
        }
        failpoint!(EnableCommitted)?;
        Ok(true)
    }
}
