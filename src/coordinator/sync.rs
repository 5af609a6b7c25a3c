//! Tables that the server itself copies (method `snapshot`): PostgreSQL's own initial synchronization, started, watched and judged.
//!
//! Publication, slot and subscription are made as always, and the tables stand in `pg_subscription_rel` as to be copied (`'i'`); large ones
//! as ready, since workers of ours copy them first (docs/decisions/0011). Phase `copy` begins with them; then what was altered meanwhile is looked at;
//! then the subscription is enabled, and its apply worker starts a table
//! synchronization worker for each table, as many at a time as max_sync_workers_per_subscription says. Each makes a slot of its own on the
//! source, copies under that slot's snapshot, catches up and hands over. `pg_subscription_rel` says how far each is; it is written
//! down in the operation's tasks and tables, from which everything is shown.
//!
//! A worker that fails is started again by the server, for ever, and leaves nothing but a count and a line in the log. So whose worker
//! is gone when the count has risen is said to have failed; more than `max_retries` times stops the operation, and with it the
//! subscription. What fails while the source is away says nothing about a table: it does not count.
//!
//! What is durable: the states of the tables, and what they were on the source before they were copied. In memory only: the counts.

use super::main::Coordinator;
use super::phase::Phase;
use super::{node, tables};
use crate::catalog::operations::{self, PlannedTable};
use crate::catalog::sync::{self, Synced};
use crate::catalog::user::{self, Applying};
use crate::catalog::{events, tasks};
use crate::error::{Error, Result, SubscriptionError};
use crate::pg::subscription::{self, TableState};
use crate::pg::{origin, system, transaction};
use crate::schema;
use crate::source::state;
use std::collections::{BTreeMap, BTreeSet};
use steep_repl_core::event::{self, Event, Severity};
use steep_repl_core::lsn::Lsn;
use steep_repl_core::names::{tablesync_origin_name, tablesync_slot_name};
use steep_repl_core::node_state::NodeState;

/// How long the subscription's workers may take to go when they are told to, in seconds.
const WORKERS_GONE_WITHIN: f64 = 30.0;
/// How often to look, in milliseconds.
const LOOK_MS: i64 = 20;
/// How long to wait for a lock on the subscription, in milliseconds.
const LOCK_LIMIT_MS: u32 = 5_000;
/// How long nobody may be at work before it is said, in seconds. The server starts a worker again after wal_retrieve_retry_interval.
const IDLE_IS_SAID_AFTER: f64 = 15.0;
/// How long after a worker is gone its error may be counted, in seconds.
const COUNTED_WITHIN: f64 = 3.0;

/// What was seen of the synchronization so far. In memory only.
#[derive(Debug, Default)]
pub struct Watch {
    /// Whether this process has seen to it that the server copies.
    pub(super) is_started: bool,
    /// Table synchronization workers that run.
    pub(super) workers: i64,
    /// Their pids, with what they copy.
    pub(super) at_work: Vec<(i32, u32, String)>,
    sync_errors: i64,
    apply_errors: i64,
    /// Tables whose worker is gone, and since when.
    lost: BTreeMap<u32, f64>,
    /// Tables that are copied and that nobody is at, and since when.
    left_alone: BTreeMap<u32, f64>,
    failures: BTreeMap<u32, u32>,
    apply_failures: i64,
    idle_since: Option<f64>,
}

/// What has failed since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
struct News {
    /// Tables.
    tables: BTreeSet<u32>,
    /// Errors of table synchronization workers.
    sync_errors: i64,
    /// Errors of the apply worker.
    apply_errors: i64,
}

impl Watch {
    /// Errors so far are nobody's concern.
    fn started(applying: &Applying) -> Watch {
        Watch { is_started: true, sync_errors: applying.sync_errors, apply_errors: applying.errors, ..Watch::default() }
    }

    /// Takes note of a look at `now`, in seconds; says what has failed. The errors were counted before the tables were looked at.
    fn note(&mut self, now: f64, errors: (i64, i64), seen: &[Synced]) -> News {
        self.workers = seen.iter().filter(|table| table.pid.is_some()).count() as i64;
        if seen.iter().any(|table| table.begins || table.is_through) {
            // Workers that are quick are not seen.
            self.idle_since = None;
        }
        self.lost.retain(|_, since| now - *since < COUNTED_WITHIN);
        for table in seen.iter().filter(|table| table.has_lost_worker()) {
            self.lost.insert(table.relid, now);
        }
        let alone: Vec<u32> = seen.iter().filter(|table| table.waits_for_its_slot()).map(|table| table.relid).collect();
        self.left_alone.retain(|relid, _| alone.contains(relid));
        for relid in alone {
            self.left_alone.entry(relid).or_insert(now);
        }
        let mut news = News {
            sync_errors: errors.0 - self.sync_errors,
            apply_errors: (errors.1 - self.apply_errors).max(0),
            ..News::default()
        };
        // Statistics that were reset begin anew.
        (self.sync_errors, self.apply_errors) = errors;
        if news.sync_errors <= 0 {
            news.sync_errors = 0;
            return news;
        }
        news.tables = std::mem::take(&mut self.lost).into_keys().collect();
        if news.tables.is_empty() {
            // It began and failed between two looks.
            news.tables = seen.iter().filter(|table| table.is_left_alone()).map(|table| table.relid).collect();
        }
        news
    }
}

impl Watch {
    /// Whether somebody should have been at a table by now that is copied and not handed over.
    fn misses_slots(&self, now: f64) -> bool {
        self.left_alone.values().any(|since| now - since >= COUNTED_WITHIN)
    }
}

impl Coordinator {
    /// Lets the server copy the tables, after a look at what they are by now.
    pub(super) fn start_sync(&mut self) -> Result<()> {
        let (id, oid) = (self.operation.id, self.subscription_oid()?);
        let found = self.joined_subscription()?;
        let applying = transaction::run(|| user::applying(oid, &found.name))?;
        if found.enabled {
            // It was started before this process, and goes on.
            self.check_subscription()?;
            self.sync = Watch::started(&applying);
            return Ok(());
        }
        // The apply worker needs the origin that copy workers of large tables have joined.
        self.release_origin();
        self.stop_sync()?;
        self.copy_lost_again()?;
        let (planned, any_copied) = self.tables_by_copy()?;
        if self.follow_before_enabling(&planned, any_copied)? {
            return Ok(());
        }
        let to_copy: Vec<PlannedTable> = planned.into_iter().filter(|table| table.source_natts.is_none()).collect();
        let connection = self.source_patiently()?;
        // Before the first row is read: what comes later is told by it.
        let as_is = transaction::run(|| schema::as_is(connection, &to_copy))?;
        let name = self.operation.slot_name.clone();
        let connection = self.source()?;
        let slot = transaction::run_without_snapshot(|| state::slot(connection, &name))?;
        // From here on nobody could tell any more.
        self.check_slot(&slot)?;
        let now = slot.now;
        let started = self.change_subscription(|| {
            user::enable_subscription(&found.name, true)?;
            sync::set_seen(id, &as_is)?;
            for (relid, lsn) in tasks::later_tables(id)? {
                subscription::set_table(oid, relid, TableState::SyncDone, lsn);
            }
            operations::set_workers_planned(id, u32::try_from(user::room()?.sync_workers).unwrap_or_default())?;
            operations::set_enable_lsn(id, now)
        })?;
        if started.is_some() {
            self.sync = Watch::started(&applying);
        }
        Ok(())
    }

    /// Looks how far the server is, and what has failed.
    pub(super) fn watch_sync(&mut self) -> Result<()> {
        let (id, oid) = (self.operation.id, self.subscription_oid()?);
        let name = self.joined_subscription()?.name;
        // Before the tables: whose error is counted is gone by then.
        let applying = transaction::run(|| user::applying(oid, &name))?;
        let seen = transaction::run(|| {
            let seen = sync::mirror(id, oid)?;
            events::write(&self.milestones(&seen))?;
            Ok(seen)
        })?;
        self.sync.at_work =
            seen.iter().filter_map(|table| Some((table.pid?, table.relid, table.name.clone()))).collect();
        self.refuse_missing(&seen)?;
        if !applying.enabled {
            return Err(Error::Subscription(SubscriptionError::Disabled { subscription: name }));
        }
        let now = system::now_secs();
        // A connection that was there before all of this look, and still is, shows that the source has not been away.
        let was_connected = self.connection.is_some();
        if self.sync.misses_slots(now) && !self.without_slot(&seen)?.is_empty() {
            // With the subscription disabled; it is started again by the next step.
            self.stop_sync()?;
            return self.copy_lost_again();
        }
        let news = self.sync.note(now, (applying.sync_errors, applying.errors), &seen);
        if news == News::default() && applying.running {
            return self.say_idle(now, &applying);
        }
        self.probe_source()?;
        self.source_is_back()?;
        self.say_idle(now, &applying)?;
        if !was_connected || news == News::default() {
            return Ok(());
        }
        let (planned, any_copied) = self.tables_by_copy()?;
        if self.follow_before_enabling(&planned, any_copied)? {
            return Ok(());
        }
        self.sync.apply_failures += news.apply_errors;
        self.say_apply_errors(self.sync.apply_failures, &applying.conflicts)?;
        self.note_failures(&news, &seen, &name)
    }

    /// Tables that are copied and whose slot is gone.
    ///
    /// A worker that hands its table over drops the slot before it commits that it has: when the server goes down in between, it looks for
    /// that slot for ever afterwards, and counts no error.
    fn without_slot(&mut self, seen: &[Synced]) -> Result<Vec<u32>> {
        let oid = self.subscription_oid()?;
        let slot = |relid: u32| tablesync_slot_name(oid, relid, system::system_identifier());
        let tables: Vec<u32> =
            seen.iter().filter(|table| table.waits_for_its_slot()).map(|table| table.relid).collect();
        let names: Vec<String> = tables.iter().map(|relid| slot(*relid)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let connection = self.source_patiently()?;
        let there = transaction::run(|| state::existing_slots(connection, &names))?;
        Ok(tables.into_iter().filter(|relid| !there.contains(&slot(*relid))).collect())
    }

    /// Has tables copied anew whose slot is gone; the subscription is disabled and nobody at work. What they have been given since is not
    /// known for certain after a crash, so nothing of it is kept.
    fn copy_lost_again(&mut self) -> Result<()> {
        let (id, oid) = (self.operation.id, self.subscription_oid()?);
        let seen = transaction::run(|| sync::mirror(id, oid))?;
        let lost = self.without_slot(&seen)?;
        if lost.is_empty() {
            return Ok(());
        }
        let planned = transaction::run(|| operations::tables(id))?;
        let tables: Vec<&PlannedTable> = planned.iter().filter(|table| lost.contains(&table.relid)).collect();
        let said: Vec<Event> = seen
            .iter()
            .filter(|table| lost.contains(&table.relid))
            .map(|table| {
                let mut event = self.event("init.table_restarted").table(&table.name);
                event.severity = Severity::Warning;
                event.message("its slot was dropped before the hand-over was noted, as a crash in that moment leaves it; it is copied anew")
            })
            .collect();
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            tables::empty(&tables, &tables)?;
            for relid in &lost {
                origin::drop(&tablesync_origin_name(oid, *relid));
                subscription::set_table(oid, *relid, TableState::Init, Lsn::INVALID);
            }
            tasks::restart_tables(id, &lost)?;
            events::write(&said)
        })?;
        system::report_statistics();
        Ok(())
    }

    /// All tables are handed over: what was altered meanwhile is looked at, and the catch-up begins.
    pub(super) fn end_sync(&mut self) -> Result<()> {
        let operation = self.operation.clone();
        let planned = transaction::run(|| operations::tables(operation.id))?;
        if self.follow_before_enabling(&planned, true)? {
            return Ok(());
        }
        let name = self.joined_subscription()?.name;
        let connection = self.source()?;
        let now = transaction::run_without_snapshot(|| state::current_lsn(connection))?;
        let phase = self.event(event::INIT_PHASE_STARTED).message(format!("phase {}", Phase::Catchup));
        let begun = self.change_subscription(|| {
            // It may have been stopped to copy a large table again.
            user::enable_subscription(&name, true)?;
            operations::set_enable_lsn(operation.id, now)?;
            operations::set_phase(operation.id, Phase::Catchup.as_str())?;
            node::enter(&operation, NodeState::CatchingUp)?;
            events::write(&[phase])
        })?;
        if begun.is_none() {
            return Ok(());
        }
        self.catchup.is_compared = true;
        let connection = self.source()?;
        transaction::run_without_snapshot(|| state::nudge(connection))
    }

    /// Disables the subscription and ends its workers, the one that copies a table too, which would not notice. Waits until they are gone.
    pub(super) fn stop_sync(&mut self) -> Result<()> {
        let Some(oid) = self.operation.subscription_oid else { return Ok(()) };
        let started = system::now_secs();
        let mut told = BTreeSet::new();
        loop {
            let Some(found) = transaction::run(|| user::subscription(oid))? else { return Ok(()) };
            // First of all: one may hold a lock on the subscription while it waits for the source.
            for pid in found.worker_pids.iter().copied().filter(|pid| told.insert(*pid)).collect::<Vec<_>>() {
                transaction::run(|| user::terminate(pid))?;
            }
            if found.enabled {
                transaction::run(|| {
                    user::set_lock_timeout(LOCK_LIMIT_MS)?;
                    user::enable_subscription(&found.name, false)
                })?;
                continue;
            }
            let alive = transaction::run(|| {
                for pid in found.worker_pids.iter().chain(&told) {
                    if user::process_exists(*pid)? {
                        return Ok(Some(*pid));
                    }
                }
                Ok(None)
            })?;
            let Some(pid) = alive else {
                (self.sync.workers, self.sync.is_started) = (0, false);
                return Ok(());
            };
            if system::now_secs() - started > WORKERS_GONE_WITHIN {
                return Err(Error::WorkerStays { pid });
            }
            system::wait_latch(LOOK_MS);
        }
    }

    /// Stops the server's copies because the operation fails: it would try them for ever.
    pub(super) fn halt_sync(&mut self) -> Result<()> {
        if !self.operation.is_by_server() || self.operation.phase != Phase::Copy.as_str() {
            return Ok(());
        }
        let Err(error) = self.stop_sync() else { return Ok(()) };
        let problem = error.problem();
        let mut event = self
            .event("init.sync_not_stopped")
            .sqlstate(&problem.sqlstate)
            .message(format!("subscription {} is still enabled: {}", self.operation.subscription, problem.message))
            .hint("The server goes on to copy tables. Disable it: ALTER SUBSCRIPTION ... DISABLE;");
        event.severity = Severity::Warning;
        transaction::run(|| events::write(&[event]))
    }

    /// Asks the source about workers that get nothing from it: the server itself waits for ever.
    pub(super) fn watch_sync_silence(&mut self) -> Result<()> {
        let silent: Vec<(i32, u32, String)> =
            self.sync.at_work.iter().filter(|(pid, ..)| self.silence.is_silent(*pid)).cloned().collect();
        if silent.is_empty() {
            return Ok(());
        }
        let oid = self.subscription_oid()?;
        let connection = self.source()?;
        let backends = transaction::run(|| state::backends(connection, &format!("pg_{oid}_sync")))?;
        let mut given_up = false;
        for (pid, relid, table) in silent {
            let name = tablesync_slot_name(oid, relid, system::system_identifier());
            let backend = backends.iter().find(|backend| backend.application_name == name);
            given_up |= self.judge_silent(pid, &table, backend)?;
        }
        self.count_given_up(given_up)
    }

    fn subscription_oid(&self) -> Result<u32> {
        self.operation.subscription_oid.ok_or_else(|| Error::internal("no subscription"))
    }

    /// The plan, in which only tables that are copied are as they were on the source when that was; and whether there are any.
    fn tables_by_copy(&self) -> Result<(Vec<PlannedTable>, bool)> {
        let id = self.operation.id;
        let (mut planned, unfinished) =
            transaction::run(|| Ok((operations::tables(id)?, tasks::unfinished_tables(id)?)))?;
        let to_copy: BTreeSet<u32> = unfinished.iter().map(|table| table.relid).collect();
        let mut any_copied = false;
        for table in &mut planned {
            if to_copy.contains(&table.relid) {
                (table.source_filenode, table.source_natts) = (None, None);
            } else {
                any_copied = true;
            }
        }
        Ok((planned, any_copied))
    }

    /// Tables that were begun, and those that are done.
    fn milestones(&self, seen: &[Synced]) -> Vec<Event> {
        let mut said = Vec::new();
        for table in seen {
            if table.begins {
                said.push(self.event(event::INIT_TABLE_STARTED).table(&table.name).bytes(table.bytes));
            }
            if table.is_through {
                let complete = self.event(event::INIT_TABLE_COMPLETE).table(&table.name).rows(table.rows);
                said.push(complete.bytes(table.bytes).duration_ms(table.ms as i64));
            }
        }
        said
    }

    /// Refuses to wait for tables that nobody copies any more.
    fn refuse_missing(&self, seen: &[Synced]) -> Result<()> {
        let tables: Vec<String> =
            seen.iter().filter(|table| table.state.is_none()).map(|table| table.name.clone()).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let id = self.operation.id;
        let differences = transaction::run(|| schema::replaced_here(&operations::tables(id)?))?;
        if !differences.is_empty() {
            return Err(Error::SourceChanged { differences });
        }
        Err(Error::Subscription(SubscriptionError::Lacks { subscription: self.operation.subscription.clone(), tables }))
    }

    /// Says when nobody is at work for long.
    fn say_idle(&mut self, now: f64, applying: &Applying) -> Result<()> {
        if applying.running && self.sync.workers > 0 {
            self.sync.idle_since = None;
            return Ok(());
        }
        let since = *self.sync.idle_since.get_or_insert(now);
        if now - since < IDLE_IS_SAID_AFTER {
            return Ok(());
        }
        let who = if applying.running { "table synchronization" } else { "apply" };
        let mut event = self
            .event("init.sync_idle")
            .message(format!("no {who} worker runs for subscription {}", self.operation.subscription))
            .hint(
                "The operation goes on when one runs: look into the log of this server for why none does, and at \
                 max_logical_replication_workers, max_sync_workers_per_subscription and max_worker_processes.",
            );
        event.severity = Severity::Warning;
        self.say_once(&format!("no {who} worker"), event)
    }

    /// Counts failures by table, says them, and stops the operation when a table has failed too often.
    fn note_failures(&mut self, news: &News, seen: &[Synced], subscription: &str) -> Result<()> {
        if news.sync_errors == 0 {
            return Ok(());
        }
        if news.tables.is_empty() {
            // One that cannot connect fails before anything tells which table it was for.
            let mut event = self
                .event("init.sync_failed")
                .message(format!(
                    "a table synchronization worker of subscription {subscription} has failed before it began with its table"
                ))
                .hint(format!(
                    "The server tries again. Its reason stands in the log of this server, at \"logical replication table synchronization \
                     worker for subscription \"{subscription}\"\"; the number of failures in pg_stat_subscription_stats."
                ));
            event.severity = Severity::Warning;
            return self.say_once("a synchronization worker fails", event);
        }
        let (id, most) = (self.operation.id, self.operation.options.max_retries);
        let at = transaction::run(sync::now)?;
        let mut stops = None;
        for table in seen.iter().filter(|table| news.tables.contains(&table.relid)) {
            let failures = self.sync.failures.entry(table.relid).or_default();
            *failures += 1;
            let last = *failures > most;
            let error = Error::Subscription(SubscriptionError::SyncFails {
                table: table.name.clone(),
                log_name: table.table_name.clone(),
                subscription: subscription.to_owned(),
                failures: *failures,
                at: at.clone(),
            });
            let problem = error.problem();
            let detail = problem.detail.as_deref().unwrap_or_default().trim_end_matches('.');
            let mut event = self
                .event(event::INIT_TABLE_FAILED)
                .table(&table.name)
                .sqlstate(&problem.sqlstate)
                .message(format!("{}: {detail}", problem.message));
            event.hint.clone_from(&problem.hint);
            event.severity = if last { Severity::Error } else { Severity::Warning };
            transaction::run(|| {
                sync::note_failure(id, table.relid, &problem, last)?;
                events::write(&[event])
            })?;
            stops = stops.or(last.then_some(error));
        }
        match stops {
            Some(error) => self.fail(&error),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(relid: u32, state: &str, pid_before: Option<i32>, pid: Option<i32>) -> Synced {
        Synced {
            relid,
            name: format!("public.t{relid}"),
            table_name: format!("t{relid}"),
            state: Some(state.to_owned()),
            pid,
            pid_before,
            bytes: 0,
            begins: false,
            is_through: false,
            rows: 0,
            ms: 0.0,
        }
    }

    fn failed(tables: &[u32], sync_errors: i64) -> News {
        News { tables: tables.iter().copied().collect(), sync_errors, apply_errors: 0 }
    }

    #[test]
    fn whose_worker_is_gone_when_the_count_rises_has_failed() {
        let mut watch = Watch::default();
        let at_work = [table(1, "d", None, Some(11)), table(2, "d", None, Some(12))];
        assert_eq!(watch.note(0.0, (0, 0), &at_work), News::default());
        assert_eq!(watch.workers, 2);
        let one_gone = [table(1, "d", Some(11), None), table(2, "d", Some(12), Some(12))];
        assert_eq!(watch.note(1.0, (1, 0), &one_gone), failed(&[1], 1));
        // The server has started it again at once.
        let another = [table(1, "d", Some(11), Some(13)), table(2, "d", Some(12), Some(12))];
        assert_eq!(watch.note(2.0, (2, 0), &another), failed(&[1], 1));
        // Nothing new.
        assert_eq!(watch.note(3.0, (2, 0), &[table(1, "d", None, None)]), News::default());
    }

    #[test]
    fn the_count_may_rise_a_little_later() {
        let mut watch = Watch::default();
        assert_eq!(watch.note(0.0, (0, 0), &[table(1, "d", Some(11), None)]), News::default());
        assert_eq!(
            watch.note(0.5, (1, 0), &[table(1, "d", None, None), table(2, "d", None, Some(5))]),
            failed(&[1], 1)
        );
        // But not much later: that is another's, which nobody has seen at work.
        assert_eq!(watch.note(9.0, (1, 0), &[table(3, "d", Some(11), None)]), News::default());
        assert_eq!(watch.note(19.0, (2, 0), &[table(4, "d", None, None)]), failed(&[4], 1));
    }

    #[test]
    fn a_table_that_nobody_hands_over_is_missed_after_a_while() {
        let mut watch = Watch::default();
        watch.note(
            0.0,
            (0, 0),
            &[table(1, "f", Some(11), None), table(2, "f", None, Some(12)), table(3, "d", None, None)],
        );
        assert!(!watch.misses_slots(2.0), "the server may just be starting a worker");
        assert!(watch.misses_slots(3.0));
        watch.note(4.0, (0, 0), &[table(1, "f", None, Some(13)), table(2, "s", Some(12), None)]);
        assert!(!watch.misses_slots(9.0), "somebody is at it");
    }

    #[test]
    fn who_is_done_has_not_failed() {
        let mut watch = Watch::default();
        let done = [table(1, "s", Some(11), None), table(2, "r", Some(12), None), table(3, "i", Some(13), None)];
        // One that could not even connect is still where it was.
        assert_eq!(watch.note(0.0, (1, 0), &done), failed(&[3], 1));
    }

    #[test]
    fn the_apply_worker_is_counted_apart_and_a_reset_is_no_news() {
        let mut watch = Watch { sync_errors: 5, apply_errors: 5, ..Watch::default() };
        assert_eq!(watch.note(0.0, (5, 7), &[]), News { apply_errors: 2, ..News::default() });
        assert_eq!(watch.note(1.0, (0, 0), &[]), News::default());
        assert_eq!(watch.note(2.0, (1, 0), &[]), failed(&[], 1));
    }
}
