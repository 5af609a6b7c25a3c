//! Catching up: how far the subscription is, until it counts as synchronized.

use super::main::Coordinator;
use super::node;
use super::phase::Phase;
use crate::catalog::progress::{self, Shown};
use crate::catalog::{events, nodes, operations, user};
use crate::error::{Error, Result, SubscriptionError};
use crate::pg::{shmem, system, transaction};
use crate::source::state::{self, SlotState};
use steep_repl_core::event::{self, Severity};
use steep_repl_core::names::origin_name;
use steep_repl_core::node_state::NodeState;
use steep_repl_core::progress::RateMeter;

/// A replication delay at which a node counts as synchronized whatever the bytes are, in seconds.
const LAG_SECONDS: f64 = 10.0;
/// How often the slot is looked at before the catch-up, in seconds, and when the source did not answer.
const SLOT_LOOK: f64 = 10.0;
const SLOT_LOOK_AFTER_FAILURE: f64 = 120.0;
/// How long the lag may grow before it is said, in seconds.
const FALLING_BEHIND_AFTER: f64 = 300.0;

/// What was seen of the catch-up so far. In memory only.
pub struct Watch {
    errors_before: Option<i64>,
    /// Whether the tables were compared with the source's by this process, when the subscription was enabled or since.
    pub(super) is_compared: bool,
    /// Errors of the apply worker when they last were.
    errors_compared: i64,
    replayed: RateMeter,
    written: RateMeter,
    smallest_lag: Option<(f64, u64)>,
    started_lag: Option<u64>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch {
            errors_before: None,
            is_compared: false,
            errors_compared: 0,
            replayed: RateMeter::new(60.0),
            written: RateMeter::new(60.0),
            smallest_lag: None,
            started_lag: None,
        }
    }
}

impl Coordinator {
    /// Looks how far replication is, and ends the operation when it is there.
    pub(super) fn watch_catchup(&mut self) -> Result<()> {
        let (Some(subscription), Some(enabled_at)) = (self.operation.subscription_oid, self.operation.enable_lsn)
        else {
            return Err(Error::internal("catching up without a subscription"));
        };
        if self.said.insert("replaced slot".to_owned()) {
            // Nobody needs it any more, and it holds WAL back.
            self.drop_replaced_slot()?;
        }
        let (slot_name, name) = (self.operation.slot_name.clone(), self.operation.subscription.clone());
        let connection = self.source()?;
        let slot = transaction::run_without_snapshot(|| state::slot(connection, &slot_name))?;
        let lost = || Error::SlotLost { slot: slot_name.clone(), node: self.operation.source.clone() };
        if slot.is_lost() {
            return Err(lost());
        }
        let Some(confirmed) = slot.confirmed else {
            return Err(lost());
        };
        let applying = transaction::run(|| user::applying(subscription, &name))?;
        let before = *self.catchup.errors_before.get_or_insert(applying.errors);
        let fails = applying.errors > before.max(self.catchup.errors_compared);
        if fails || !self.catchup.is_compared {
            // It may have been altered while nobody looked, or that may be what stops the apply worker.
            if self.follow_catching_up()? {
                return Ok(());
            }
            (self.catchup.is_compared, self.catchup.errors_compared) = (true, applying.errors);
        }
        self.say_apply_errors(applying.errors - before, &applying.conflicts)?;
        let lag = slot.now.bytes_since(confirmed);
        let now = system::now_secs();
        let close = lag <= self.operation.options.catchup_lag.unsigned_abs()
            || slot.replay_lag_seconds.is_some_and(|seconds| seconds <= LAG_SECONDS);
        // An apply error leaves the slot where it is, so a position beyond the start of the catch-up means it was overcome.
        let is_over = confirmed >= enabled_at && applying.not_ready == 0 && applying.running && close;
        if is_over {
            // What is shown last stays, so it must be what it is now.
            self.shown_at = 0.0;
        }
        self.show_catchup(now, confirmed.0, slot.now.0, lag)?;
        if is_over {
            return self.finish();
        }
        self.say_falling_behind(now, lag, applying.running)
    }

    /// A slot that is lost makes all that is still done useless: better to know it now than after hours. Whether the source answers
    /// is the matter of who needs it; here no answer is none.
    pub(super) fn watch_slot(&mut self, phase: Phase) -> Result<()> {
        let now = system::now_secs();
        if !(Phase::Files..=Phase::Indexes).contains(&phase) || now < self.look_at_slot_at {
            return Ok(());
        }
        self.look_at_slot_at = now + SLOT_LOOK;
        let slot_name = self.operation.slot_name.clone();
        let seen = self
            .source()
            .and_then(|connection| transaction::run_without_snapshot(|| state::slot(connection, &slot_name)));
        match seen {
            Ok(slot) => {
                self.check_slot(&slot)?;
                self.look_at_slots_of_files()
            }
            Err(_) => {
                self.forget_source();
                self.look_at_slot_at = now + SLOT_LOOK_AFTER_FAILURE;
                Ok(())
            }
        }
    }

    /// Refuses a slot that is lost, or that does not begin any more where this node's rows end. Before the subscription was ever enabled nobody
    /// has used it but another instance of this one, when this is a copy, older than what that one has replicated; or whoever reads from slots.
    pub(super) fn check_slot(&self, slot: &SlotState) -> Result<()> {
        let (name, node) = (self.operation.slot_name.clone(), self.operation.source.clone());
        if slot.is_lost() {
            return Err(Error::SlotLost { slot: name, node });
        }
        let is_unused = self.operation.enable_lsn.is_none();
        if is_unused && self.operation.start_lsn.is_some_and(|start| slot.confirmed > Some(start)) {
            return Err(Error::SlotAhead { slot: name, node });
        }
        Ok(())
    }

    pub(super) fn say_apply_errors(&mut self, errors: i64, conflicts: &[String]) -> Result<()> {
        if errors <= 0 {
            return Ok(());
        }
        let subscription = self.operation.subscription.clone();
        let origin = origin_name(self.operation.subscription_oid.unwrap_or_default());
        let error = Error::Subscription(SubscriptionError::ApplyFails {
            subscription,
            errors,
            conflicts: conflicts.to_vec(),
            origin,
        });
        if errors > i64::from(self.operation.options.max_retries) {
            return Err(error);
        }
        let problem = error.problem();
        let detail = problem.detail.unwrap_or_default();
        let mut event = self.event("init.apply_error").sqlstate(&problem.sqlstate).message(format!(
            "{}: {}",
            problem.message,
            detail.trim_end_matches('.')
        ));
        event.hint = problem.hint;
        event.severity = Severity::Warning;
        self.say_once(&format!("apply error {errors}"), event)
    }

    fn show_catchup(&mut self, now: f64, confirmed: u64, written: u64, lag: u64) -> Result<()> {
        self.catchup.replayed.push(now, confirmed as f64);
        self.catchup.written.push(now, written as f64);
        if now - self.shown_at < 0.4 {
            return Ok(());
        }
        self.shown_at = now;
        let gain = self.catchup.replayed.rate() - self.catchup.written.rate();
        let first = *self.catchup.started_lag.get_or_insert(lag.max(1));
        // What is left of the bar is for the catch-up: 97 to 99 percent by the share of the lag that is made good.
        let share = 1.0 - (lag as f64 / first as f64).min(1.0);
        let shown = Shown {
            rows_done: 0,
            bytes_done: 0,
            rows_per_second: None,
            bytes_per_second: None,
            overall_percent: self.operation.overall_percent.max(97.0 + 2.0 * share),
            eta_seconds: (gain > 0.0).then(|| lag as f64 / gain),
            lag_bytes: Some(lag as i64),
            workers_active: 0,
        };
        let id = self.operation.id;
        transaction::run(|| progress::show(id, &shown))
    }

    fn say_falling_behind(&mut self, now: f64, lag: u64, applying: bool) -> Result<()> {
        match self.catchup.smallest_lag {
            Some((since, smallest)) if lag >= smallest => {
                if now - since > FALLING_BEHIND_AFTER {
                    let (replayed, written) = (self.catchup.replayed.rate(), self.catchup.written.rate());
                    let mut event = self
                        .event(event::INIT_CATCHUP_FALLING_BEHIND)
                        .bytes(lag as i64)
                        .message(format!(
                            "the source writes {written:.0} bytes of WAL a second, the node replays {replayed:.0}"
                        ))
                        .hint(if applying {
                            "Reduce the load on the source for a while, or give this node faster storage."
                        } else {
                            "No apply worker runs: look into the log of this server for why, and at max_logical_replication_workers."
                        });
                    event.severity = Severity::Warning;
                    self.catchup.smallest_lag = Some((now, lag));
                    transaction::run(|| events::write(&[event]))?;
                }
            }
            _ => self.catchup.smallest_lag = Some((now, lag)),
        }
        Ok(())
    }

    /// The node is synchronized: sequences once more, then the end.
    fn finish(&mut self) -> Result<()> {
        if self.follow_catching_up()? {
            return Ok(());
        }
        self.say_what_differs()?;
        self.check_publications()?;
        if !self.set_sequences()? {
            return Ok(());
        }
        self.drop_replaced_slot()?;
        if self.operation.saves_first() {
            self.remove_files()?;
        }
        let operation = self.operation.clone();
        let id = operation.id;
        let retention = self.operation.options.event_retention;
        let seconds = self.operation.age_seconds.unwrap_or(0.0);
        let complete = self.event(event::INIT_COMPLETED).percent(100.0).duration_ms((seconds * 1000.0) as i64);
        transaction::run(|| {
            if !operations::set_status(id, "completed", None)? {
                // Cancelled at the last moment.
                return Ok(());
            }
            node::enter(&operation, NodeState::Synchronized)?;
            nodes::forget_unsubscribed(&operation.node, id)?;
            events::write(&[complete])?;
            events::forget_older_than(retention)?;
            failpoint!(Completed)
        })?;
        failpoint!(CompletionCommitted)?;
        shmem::watch(system::database_oid());
        self.refresh().map(drop)
    }
}
