//! The coordinator's process: observe, decide, act, wait; and how it ends.

use super::decide::{decide, Step};
use super::observe::Samples;
use super::phase::Phase;
use super::silence::Silence;
use super::way_out::with_way_out;
use super::{heir, node};
use crate::catalog::operations::{self, Operation};
use crate::catalog::ownership;
use crate::catalog::{cleanup, events, indexes, nodes, tasks};
use crate::error::{Error, Result};
use crate::pg::remote::{Connection, Target};
use crate::pg::worker::{report_activity, report_name, Assignment, Handle, Status};
use crate::pg::{origin, raise, role, shmem, system, transaction};
use crate::source;
use steep_repl_core::errors::Problem;
use steep_repl_core::event::{self, Event, Severity};
use steep_repl_core::names::{application_name, Part};
use steep_repl_core::retry::{self, Verdict};

/// How often progress is looked at and shown, in milliseconds. Work that ends wakes the coordinator earlier.
const TICK_MS: i64 = 500;

/// The same while somebody has to look at the differences of the schemas, which may take days. Whoever has wakes the coordinator.
const CONFIRMATION_TICK_MS: i64 = 10_000;

/// The same while a slot is kept for somebody.
const HELD_TICK_MS: i64 = 5_000;

/// How often the slot is looked at while catching up, in milliseconds: often at first, since most catch-ups are short, and ever
/// more seldom, up to [`TICK_MS`].
const CATCHUP_TICK_MS: i64 = 20;

/// How long the source may take to answer a short question of the coordinator, in seconds.
const ANSWER_LIMIT: f64 = 10.0;

/// A worker that was started.
pub(super) struct Worker {
    pub(super) number: u32,
    pub(super) handle: Handle,
}

/// One operation in the hands of its coordinator.
pub struct Coordinator {
    pub(super) operation: Operation,
    /// Where the source is; looked up when needed, since a node may be changed while an operation waits for it.
    target: Option<Target>,
    /// Control connection to the source, made when needed and dropped on error.
    pub(super) connection: Option<Connection>,
    pub(super) workers: Vec<Worker>,
    pub(super) keeper: Option<Handle>,
    /// Keepers that were told to end.
    pub(super) leaving: Vec<(Handle, f64)>,
    pub(super) samples: Samples,
    pub(super) silence: Silence,
    pub(super) sync: super::sync::Watch,
    pub(super) shown_at: f64,
    /// Whether this process holds the origin that the workers join.
    pub(super) holds_origin: bool,
    /// Not to be tried before, in seconds on the clock.
    pub(super) try_source_at: f64,
    /// Since when the slot's creation is waited for.
    pub(super) slot_waits_since: Option<f64>,
    /// When what a slot's creation waits for is looked at next.
    pub(super) look_for_blockers_at: f64,
    /// When the slot is looked at next while rows are copied and indexes built.
    pub(super) look_at_slot_at: f64,
    /// Whether the slot was claimed while a confirmation is waited for.
    pub(super) has_taken_slot: bool,
    /// Since when the source is away.
    pub(super) source_lost_since: Option<f64>,
    /// Rounds in which workers were given up since the last copy was done.
    pub(super) given_up: u32,
    /// Failures since the last success, for the pause before the next try.
    pub(super) failures: u32,
    /// Those of them that have nothing to do with the source; only so many may follow each other.
    own_failures: u32,
    /// What was said already, so that it is said once.
    pub(super) said: std::collections::HashSet<String>,
    pub(super) catchup: super::catchup::Watch,
    /// Times that tables were altered here after the source's.
    pub(super) followed: u32,
    /// Snapshots taken anew since a copy was last finished under one.
    pub(super) renewals: u32,
    /// Copies that were done at the last look.
    copies_seen: i64,
    /// Copies that were done at the last renewal.
    pub(super) copies_at_renewal: i64,
    /// Workers that ran at the last look.
    pub(super) known_workers: usize,
    notified: i64,
    notified_at: f64,
}

/// Runs until the operation has ended or cannot go on.
pub fn run(assignment: Assignment) -> Result<()> {
    if !shmem::become_coordinator(assignment.operation) {
        return Ok(());
    }
    let mut coordinator = match take_up(assignment) {
        Ok(Some(coordinator)) => coordinator,
        Ok(None) => {
            shmem::forget(system::database_oid(), assignment.operation);
            return Ok(());
        }
        Err(error) => {
            // What trying again cannot mend must not be tried for ever.
            if error.verdict() == Verdict::Fail && !heir::pass_on(assignment.operation, &error)? {
                fail_early(assignment.operation, &error)?;
                shmem::forget(system::database_oid(), assignment.operation);
            }
            return Err(error);
        }
    };
    report_name(&application_name(coordinator.operation.token()?, Part::Coordinator));
    let mut looks = 0;
    loop {
        system::reload_configuration_if_asked();
        if !coordinator.refresh()? {
            break;
        }
        if let Err(error) = transaction::run(|| check_role(&coordinator.operation)) {
            // The next coordinator goes on with the rights of whoever took the operation over, or says that there is nobody.
            coordinator.end_workers();
            coordinator.release_origin();
            return Err(error);
        }
        match coordinator.operation.status.as_str() {
            "pending" | "running" => {}
            "cancelling" => {
                coordinator.cancel()?;
                continue;
            }
            "cancelled" => {
                coordinator.notify();
                if coordinator.clean_up()? {
                    break;
                }
                system::wait_latch(TICK_MS);
                continue;
            }
            _ => break,
        }
        let step = match coordinator.turn() {
            Ok(step) => step,
            Err(error) => coordinator.handle(&error)?,
        };
        // What is cancelled has to be undone, also when it was asked for while this failed, and may have to be cleaned up.
        let is_over =
            step == Step::Finished && !matches!(coordinator.operation.status.as_str(), "cancelling" | "cancelled");
        if is_over || matches!(coordinator.operation.status.as_str(), "completed" | "failed") {
            break;
        }
        coordinator.notify();
        if !matches!(step, Step::DoPhase | Step::NextPhase | Step::GiveSnapshotUp | Step::StartSync) {
            // Nothing tells of the source's progress; a short catch-up should not last a whole tick.
            looks = if matches!(step, Step::WatchCatchup | Step::WatchSync) { looks + 1 } else { 0 };
            system::wait_latch(match looks {
                0 if coordinator.operation.awaits_confirmation => CONFIRMATION_TICK_MS,
                0 if step == Step::WatchHeld => HELD_TICK_MS,
                0 => TICK_MS,
                looks => TICK_MS.min(CATCHUP_TICK_MS * looks),
            });
            coordinator.wake_workers();
        }
    }
    coordinator.leave()
}

/// Refuses to go on with the rights of a role that is not the operation's, or not there any more.
fn check_role(operation: &Operation) -> Result<()> {
    if !role::exists(operation.requested_by) {
        return Err(Error::RoleGone { operation: operation.id, way_out: operation.taken_over_by() });
    }
    if operation.requested_by != role::current() {
        // The next one is started as that role.
        shmem::want(system::database_oid(), operation.requested_by, operation.id);
        return Err(Error::TakenOver { operation: operation.id });
    }
    if let Some(owner) = heir::of(operation)? {
        // Whoever asked may have lost the right to use the source since. The next one is started as its owner.
        return Err(Error::NodeNotYours { node: operation.source.clone(), owner: role::name_of(owner) });
    }
    Ok(())
}

/// The event of a subscription that a refresh has disabled and cannot enable.
fn still_disabled(operation: &Operation, why: &Problem) -> Event {
    let mut event = Event::info("init.apply_stopped")
        .operation_id(operation.id)
        .node(&operation.node)
        .source(&operation.source)
        .message(format!("subscription {} is still disabled: {}", operation.subscription, why.message))
        .hint("Mend the cause and resume or cancel the operation; it enables the subscription.");
    event.severity = Severity::Error;
    event
}

/// Stops an operation that could not even be taken up.
fn fail_early(operation: i64, error: &Error) -> Result<()> {
    transaction::run(|| {
        let Some(operation) = operations::get(operation)? else { return Ok(()) };
        let problem = with_way_out(operation.kind, error);
        let goes_on = matches!(operation.status.as_str(), "pending" | "running");
        if !goes_on || !operations::set_status(operation.id, "failed", Some(&problem))? {
            // It is cancelled; that it cannot be taken up does not make it a failed one.
            return heir::note_stuck(&operation, &error.problem());
        }
        let mut event = Event::info(event::INIT_FAILED)
            .operation_id(operation.id)
            .node(&operation.node)
            .source(&operation.source)
            .sqlstate(&problem.sqlstate)
            .message(problem.message.clone());
        event.severity = Severity::Error;
        event.hint.clone_from(&problem.hint);
        events::write(&[event])?;
        if operation.apply_stopped {
            events::write(&[still_disabled(&operation, &problem)])?;
        }
        node::fail(&operation, &problem)
    })
}

/// Reads the operation and makes it this process's own. None when it is finished, gone, or somebody else's.
fn take_up(assignment: Assignment) -> Result<Option<Coordinator>> {
    let operation = transaction::run(|| {
        if !role::extension_exists() {
            return Ok(None);
        }
        ownership::settle()?;
        let Some(operation) = operations::get(assignment.operation)? else {
            return Ok(None);
        };
        let has_work = match operation.status.as_str() {
            "pending" | "running" | "cancelling" => true,
            "cancelled" => !cleanup::left(operation.id)?.is_empty(),
            _ => false,
        };
        if !has_work || !operation.is_ours() {
            return Ok(None);
        }
        check_role(&operation)?;
        operations::take_up(operation.id)?;
        operations::clear_snapshot(operation.id)?;
        let about =
            |name: &str| Event::info(name).operation_id(operation.id).node(&operation.node).source(&operation.source);
        if operation.status == "running" {
            events::write(&[about("init.taken_up").message(format!("goes on in phase {}", operation.phase))])?;
        }
        if operation.status == "pending" {
            // What was resumed is not started once more, even when it had not got anywhere.
            let started = (operation.attempts == 0).then(|| about(event::INIT_STARTED));
            let phase = about(event::INIT_PHASE_STARTED).message(format!("phase {}", operation.phase));
            events::write(&started.into_iter().chain([phase]).collect::<Vec<_>>())?;
        }
        Ok(Some(operation))
    })?;
    let Some(operation) = operation else { return Ok(None) };
    failpoint!(TakenUp)?;
    // Workers of a coordinator before this one have joined an origin that it held.
    let name = operation.token()?;
    transaction::run(|| crate::catalog::user::end_leftover_workers(&steep_repl_core::names::slot_name(name)))?;
    transaction::run(|| tasks::recover(operation.id))?;
    let newest = transaction::run(events::newest)?;
    let mut coordinator = Coordinator {
        operation,
        target: None,
        connection: None,
        workers: Vec::new(),
        keeper: None,
        leaving: Vec::new(),
        samples: Samples::new(),
        silence: Silence::default(),
        sync: super::sync::Watch::default(),
        shown_at: 0.0,
        holds_origin: false,
        try_source_at: 0.0,
        slot_waits_since: None,
        look_for_blockers_at: 0.0,
        look_at_slot_at: 0.0,
        has_taken_slot: false,
        source_lost_since: None,
        given_up: 0,
        failures: 0,
        own_failures: 0,
        said: std::collections::HashSet::new(),
        catchup: super::catchup::Watch::default(),
        followed: 0,
        renewals: 0,
        copies_seen: 0,
        copies_at_renewal: 0,
        known_workers: 0,
        notified: newest,
        notified_at: 0.0,
    };
    // The subscription does not wait for the source, should it be away.
    coordinator.insist_on_apply()?;
    if matches!(coordinator.operation.status.as_str(), "pending" | "running") {
        // Whoever asked may have lost the right to use the source since. Undoing does what can be done without it.
        coordinator.target()?;
    }
    Ok(Some(coordinator))
}

impl Coordinator {
    /// One turn: look, decide, do.
    fn turn(&mut self) -> Result<Step> {
        if self.is_given_up()? {
            return Ok(Step::DoPhase);
        }
        let seen = self.observe()?;
        let asks_source = seen.copies_open + seen.verifies_open > 0 && !seen.by_files;
        if self.workers.len() < self.known_workers && (seen.copies_open + seen.verifies_open + seen.builds_open > 0) {
            // A worker that was ended from outside could not give its task back; one that lost the source has left.
            self.recover_tasks()?;
            if asks_source {
                self.probe_source()?;
            }
        }
        self.known_workers = self.workers.len();
        self.watch_silence()?;
        if self.operation.status == "failed" {
            return Ok(Step::Finished);
        }
        self.watch_slot(seen.phase)?;
        if seen.awaits_confirmation {
            self.take_slot_meanwhile()?;
        }
        let step = decide(&seen);
        self.act(seen.phase, step)?;
        let gets_on =
            matches!(step, Step::NextPhase | Step::DoPhase | Step::WatchCatchup) || seen.copies_done > self.copies_seen;
        if seen.copies_done > self.copies_seen {
            self.given_up = 0;
        }
        self.copies_seen = seen.copies_done;
        if gets_on {
            (self.failures, self.own_failures) = (0, 0);
            self.source_is_back()?;
            shmem::note_progress(self.operation.id);
        }
        Ok(step)
    }

    /// The source has answered.
    pub(super) fn source_is_back(&mut self) -> Result<()> {
        let Some(since) = self.source_lost_since.take() else { return Ok(()) };
        let away = system::now_secs() - since;
        let event = self.event("init.source_back").message(format!("the source was away for {away:.0} s"));
        transaction::run(|| events::write(&[event]))
    }

    /// An event of this operation.
    pub(super) fn event(&self, name: &str) -> Event {
        Event::info(name).operation_id(self.operation.id).node(&self.operation.node).source(&self.operation.source)
    }

    /// Says something once.
    pub(super) fn say_once(&mut self, key: &str, event: Event) -> Result<()> {
        if self.said.insert(key.to_owned()) {
            transaction::run(|| events::write(&[event]))?;
        }
        Ok(())
    }

    /// Where the source is, as its node says.
    pub(super) fn target(&mut self) -> Result<&Target> {
        if self.target.is_none() {
            let operation = &self.operation;
            self.target = Some(transaction::run(|| {
                let node = nodes::get(&operation.source)?;
                source::target(&node, operation.requested_by)
            })?);
        }
        self.target.as_ref().ok_or_else(|| Error::internal("no target"))
    }

    /// Lets the control connection go, after an error. The next one is made with what the node says then.
    pub(super) fn forget_source(&mut self) {
        self.connection = None;
        self.target = None;
    }

    /// The control connection, for questions that are answered at once; a new one when there is none. Answers are not waited for
    /// long: somebody may want the operation to be cancelled.
    pub(super) fn source(&mut self) -> Result<&Connection> {
        self.source_for(ANSWER_LIMIT)
    }

    /// The control connection, for a question that takes its time: all tables of the source.
    pub(super) fn source_patiently(&mut self) -> Result<&Connection> {
        self.source_for(f64::INFINITY)
    }

    fn source_for(&mut self, seconds: f64) -> Result<&Connection> {
        let limit = seconds.min(match self.operation.options.receive_timeout {
            0.0 => f64::INFINITY,
            patience => patience,
        });
        if self.connection.is_none() {
            let operation = self.operation.clone();
            let target = self.target()?;
            let connection = transaction::run_without_snapshot(|| source::open(&operation, target, Part::Coordinator))?;
            self.connection = Some(connection);
        }
        let connection = self.connection.as_mut().ok_or_else(|| Error::internal("no control connection"))?;
        connection.limit_answers(if limit.is_finite() { limit } else { 0.0 });
        Ok(connection)
    }

    /// Goes to a phase, with its event.
    pub(super) fn enter(&mut self, phase: Phase) -> Result<()> {
        let id = self.operation.id;
        let event = self.event(event::INIT_PHASE_STARTED).message(format!("phase {phase}"));
        report_activity(Some(&format!("phase {phase}")));
        transaction::run(|| {
            operations::set_phase(id, phase.as_str())?;
            events::write(&[event])
        })
    }

    /// Counts a failure, and makes a pause. What fails during the pause after another failure is part of it: six workers that lose
    /// the source together must not make the pause as long as six outages. False then.
    pub(super) fn count_failure(&mut self) -> bool {
        let now = system::now_secs();
        if now < self.try_source_at {
            return false;
        }
        self.failures += 1;
        self.try_source_at = now + retry::backoff_ms(self.failures) as f64 / 1000.0;
        true
    }

    /// What to do about an error of this process: try again later, or stop the operation.
    fn handle(&mut self, error: &Error) -> Result<Step> {
        self.forget_source();
        let error = &self.name_holders(error.clone(), "End that.");
        let verdict = error.verdict();
        let now = system::now_secs();
        let own = matches!(verdict, Verdict::RetryTask | Verdict::SnapshotLost);
        self.own_failures += u32::from(self.count_failure() && own);
        let is_lost = matches!(error, Error::SlotLost { .. });
        let retry = match verdict {
            // Somebody's backup counts on the slot: only its loss ends that, not what goes wrong here.
            _ if self.keeps_slot() => !is_lost,
            Verdict::RetrySource => {
                let since = *self.source_lost_since.get_or_insert(now);
                now - since <= self.operation.options.source_lost_timeout
            }
            Verdict::RetryTask | Verdict::SnapshotLost => self.own_failures <= self.operation.options.max_retries,
            Verdict::Fail => false,
        };
        if !retry {
            self.fail(error)?;
            return Ok(Step::Finished);
        }
        let problem = error.problem();
        let reason = problem.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let mut event =
            self.event("init.retry").sqlstate(&problem.sqlstate).message(format!("{}{reason}", problem.message));
        event.severity = Severity::Warning;
        event.hint = problem.hint;
        self.say_once(&format!("retry {}", problem.message), event)?;
        // The pause is waited for on the latch, since what is tried next may be anything.
        system::wait_latch(((self.try_source_at - system::now_secs()).max(0.0) * 1000.0) as i64);
        Ok(Step::Wait)
    }

    /// Stops the operation with an error that says cause and cure. What is done is kept.
    pub(super) fn fail(&mut self, error: &Error) -> Result<()> {
        self.end_workers();
        self.try_to_clear_scratch()?;
        self.remove_unfinished_files()?;
        let operation = self.operation.clone();
        if operation.is_preparation() {
            return self.give_slot_up(&error.problem());
        }
        let id = operation.id;
        let stopped = self.restart_apply();
        self.halt_sync()?;
        let problem = with_way_out(operation.kind, error);
        let mut event = self.event(event::INIT_FAILED).sqlstate(&problem.sqlstate).message(problem.message.clone());
        event.severity = Severity::Error;
        if let Some(hint) = &problem.hint {
            event = event.hint(hint);
        }
        let suspended = transaction::run(|| indexes::suspended(id))?.len();
        let mut warning = self
            .event("init.indexes_suspended")
            .message(format!(
                "{suspended} indexes are suspended: queries do not use them and a pg_dump lacks their keys"
            ))
            .hint("steep_repl.restore_indexes(node) brings them back until the operation is resumed or cancelled.");
        warning.severity = Severity::Warning;
        transaction::run(|| {
            operations::clear_snapshot(id)?;
            if !operations::set_status(id, "failed", Some(&problem))? {
                // Cancelled meanwhile: that is what counts.
                return Ok(());
            }
            events::write(&[event])?;
            node::fail(&operation, &problem)?;
            if let Err(error) = &stopped {
                events::write(&[still_disabled(&operation, &error.problem())])?;
            }
            if suspended > 0 {
                events::write(&[warning])?;
            }
            failpoint!(Failed)
        })?;
        self.refresh()?;
        self.notify_now();
        Ok(())
    }

    /// Wakes those who listen, at most five times a second.
    fn notify(&mut self) {
        if system::now_secs() - self.notified_at >= 0.2 {
            self.notify_now();
        }
    }

    /// Wakes those who listen. A full notification queue must not stop the operation: it is said once, and listeners look
    /// for themselves.
    pub(super) fn notify_now(&mut self) {
        self.notified_at = system::now_secs();
        let after = self.notified;
        let told = transaction::run(events::newest).and_then(|newest| {
            if newest > after {
                transaction::run(|| events::notify(newest))?;
            }
            Ok(newest)
        });
        match told {
            Ok(newest) => self.notified = newest,
            Err(error) if self.said.insert("notify".to_owned()) => {
                raise::log_line(&format!("steep_repl: listeners were not woken: {}", error.problem().message));
            }
            Err(_) => {}
        }
    }

    fn wake_workers(&self) {
        for worker in &self.workers {
            if let Status::Running(pid) = worker.handle.status() {
                system::wake(pid);
            }
        }
    }

    /// Ends workers and keeper and waits until they are gone.
    pub(super) fn end_workers(&mut self) {
        for worker in &self.workers {
            worker.handle.terminate();
        }
        if let Some(keeper) = &self.keeper {
            keeper.terminate();
        }
        for (keeper, _) in &self.leaving {
            keeper.terminate();
        }
        let stopped = |handle: &Handle| handle.status() == Status::Stopped;
        while !(self.workers.iter().all(|worker| stopped(&worker.handle))
            && self.keeper.iter().all(stopped)
            && self.leaving.iter().all(|(keeper, _)| stopped(keeper)))
        {
            // The postmaster sets the latch when one of them has ended.
            system::wait_latch(TICK_MS);
        }
        self.workers.clear();
        self.keeper = None;
        self.leaving.clear();
    }

    /// Lets the origin go: all who joined it are gone.
    pub(super) fn release_origin(&mut self) {
        if self.holds_origin {
            origin::release_session();
            self.holds_origin = false;
        }
    }

    /// The end: nothing of this process is left, and the launcher need not start another.
    fn leave(&mut self) -> Result<()> {
        self.end_workers();
        self.release_origin();
        // A keeper that was still at it has been ended now.
        let cleared = if self.operation.status == "completed" { self.try_to_clear_scratch() } else { Ok(()) };
        self.notify_now();
        shmem::forget(system::database_oid(), self.operation.id);
        cleared
    }
}
