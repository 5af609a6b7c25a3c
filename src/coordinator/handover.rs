//! Tables join a subscription that replicates others; docs/decisions/0005 says why in this way.
//!
//! The copied tables hold what the source had at X, where the operation's own slot begins; the others are replicated up to P, which
//! lies beyond. So the apply worker is stopped, and in one transaction the subscription gets the operation's slot, its origin goes
//! back to X, and the others are told to be done up to P: what lies between X and P is applied to the tables that join, and passed over for
//! the others. PostgreSQL itself makes them ready once it has passed P. Rows are written by one apply worker under one origin all the
//! time, so nothing counts as a conflict.
//!
//! An origin's position is not transactional. P is therefore committed before the origin is moved, and while the subscription is
//! still disabled whoever gives up moves it forward again.

use super::main::Coordinator;
use super::phase::Phase;
use super::{node, LOCK_LIMIT_MS};
use crate::catalog::events;
use crate::catalog::operations::{self, Operation};
use crate::catalog::user::{self, Subscription};
use crate::error::{Error, Result, SubscriptionError};
use crate::pg::subscription::{self, TableState};
use crate::pg::{origin, system, transaction};
use crate::source::state;
use steep_repl_core::event::{self, Severity};
use steep_repl_core::ident::qualified_display;
use steep_repl_core::lsn::Lsn;
use steep_repl_core::names::{origin_name, tablesync_origin_name};
use steep_repl_core::node_state::NodeState;

/// How long the apply worker may take to finish what it applies before it is ended, in seconds. What it has begun it does again.
const APPLY_STOPS_WITHIN: f64 = 10.0;
/// How long it may take to go then, in seconds.
const APPLY_GONE_WITHIN: f64 = 30.0;
/// How often to look, in milliseconds.
const LOOK_MS: i64 = 20;
/// How long it goes on before it is stopped once more, when somebody's lock was in the way of the tables, in milliseconds.
const APPLY_GOES_ON_MS: i64 = 5_000;

impl Coordinator {
    /// The operation's subscription. One that tables join is the user's to rename.
    pub(super) fn joined_subscription(&self) -> Result<Subscription> {
        let operation = &self.operation;
        let oid = operation.subscription_oid.ok_or_else(|| Error::internal("no subscription"))?;
        transaction::run(|| user::subscription(oid))?
            .filter(|found| operation.is_refresh() || found.name == operation.subscription)
            .ok_or_else(|| {
                Error::Subscription(SubscriptionError::Gone { subscription: operation.subscription.clone() })
            })
    }

    /// Whether the apply worker that copy workers of a refresh join is there; says so when it is not.
    pub(super) fn has_apply_worker(&mut self) -> Result<bool> {
        let found = self.joined_subscription()?;
        if !found.enabled {
            return Err(Error::Subscription(SubscriptionError::Disabled { subscription: found.name }));
        }
        if found.apply_pid.is_none() {
            let mut event = self
                .event("init.apply_missing")
                .message(format!("no apply worker runs for subscription {}", found.name))
                .hint("The operation goes on when it runs: look into the log of this server for why it does not.");
            event.severity = Severity::Warning;
            self.say_once("apply_missing", event)?;
        }
        Ok(found.apply_pid.is_some())
    }

    /// Whether the copied tables can join the subscription now. When not, it is said why, and waited a little.
    pub(super) fn may_join(&mut self) -> Result<bool> {
        let found = self.joined_subscription()?;
        if !found.enabled {
            return Err(Error::Subscription(SubscriptionError::Disabled { subscription: found.name }));
        }
        if found.two_phase {
            return Err(Error::two_phase(found.name));
        }
        Ok(!self.is_syncing(&found)? && self.has_passed_start(&found)?)
    }

    /// Lets the copied tables join the subscription, and goes to `catchup`. `now` is where the source is.
    pub(super) fn join_subscription(&mut self, now: Lsn) -> Result<()> {
        let joined =
            self.stop_apply(Some("cancelling")).and_then(|stopped| if stopped { self.switch(now) } else { Ok(()) });
        // The others do not wait for what stands in the way of this one.
        self.insist_on_apply()?;
        let Err(error) = joined else { return Ok(()) };
        self.say_locked(error)?;
        system::wait_latch(APPLY_GOES_ON_MS);
        Ok(())
    }

    /// Whether PostgreSQL itself copies tables of the subscription now; says so, and waits a little.
    fn is_syncing(&mut self, found: &Subscription) -> Result<bool> {
        let planned: Vec<u32> =
            transaction::run(|| operations::tables(self.operation.id))?.iter().map(|table| table.relid).collect();
        let names = |relids: &[u32]| -> Result<Vec<String>> {
            Ok(transaction::run(|| user::names_now(relids))?
                .into_iter()
                .map(|(_, schema, name)| qualified_display(&schema, &name))
                .collect())
        };
        let twice: Vec<u32> =
            found.tables.iter().map(|table| table.relid).filter(|relid| planned.contains(relid)).collect();
        if !twice.is_empty() {
            let subscription = found.name.clone();
            return Err(Error::Subscription(SubscriptionError::Has { subscription, tables: names(&twice)? }));
        }
        let syncing: Vec<u32> =
            found.tables.iter().filter(|table| table.is_syncing()).map(|table| table.relid).collect();
        let what = match (syncing.as_slice(), found.skips) {
            ([], false) => return Ok(false),
            // Passing over what the others have would count as the transaction that is to be skipped.
            ([], true) => "the transaction is skipped that ALTER SUBSCRIPTION SKIP has named".to_owned(),
            (syncing, _) => format!("the server has synchronized {}", names(syncing)?.join(", ")),
        };
        let mut event = self.event("init.sync_waiting").message(format!("waits until {what}"));
        event.severity = Severity::Warning;
        self.say_once("sync_waiting", event)?;
        system::wait_latch(1000);
        Ok(true)
    }

    /// Whether the subscription has applied and flushed all that comes before the operation's own slot, which knows nothing of it;
    /// waits a little when it has not.
    fn has_passed_start(&mut self, found: &Subscription) -> Result<bool> {
        let start = self.operation.start_lsn.ok_or_else(|| Error::internal("no slot"))?;
        let (slot, node) = (found.slot_name.clone().unwrap_or_default(), self.operation.source.clone());
        let is_new = self.said.insert("nudged".to_owned());
        let connection = self.source()?;
        if is_new {
            // An idle source gives the slot nothing to confirm.
            transaction::run_without_snapshot(|| state::nudge(connection))?;
        }
        let own_slot = self.operation.slot_name.clone();
        let connection = self.source()?;
        let own = transaction::run_without_snapshot(|| state::slot(connection, &own_slot))?;
        if own.is_lost() {
            // The subscription must not be made to use it.
            return Err(Error::SlotLost { slot: own_slot, node });
        }
        let seen = transaction::run_without_snapshot(|| state::slot(connection, &slot))?;
        let confirmed = seen.confirmed.filter(|_| !seen.is_lost()).ok_or(Error::SlotLost { slot, node })?;
        if confirmed >= start {
            return Ok(true);
        }
        let waits = self.has_apply_worker()? && !is_new;
        if waits {
            let behind = start.bytes_since(confirmed);
            let mut event = self.event("init.apply_behind").bytes(behind as i64).message(format!(
                "the tables join when subscription {} has applied {behind} bytes of WAL that were written before they were copied",
                found.name
            ));
            event.severity = Severity::Warning;
            self.say_once("apply_behind", event)?;
        }
        system::wait_latch(if waits { 500 } else { 100 });
        Ok(false)
    }

    /// Disables the subscription and waits until its apply worker is gone. False when the operation's status has become one that
    /// is not to be gone on with.
    fn stop_apply(&mut self, unless: Option<&str>) -> Result<bool> {
        let id = self.operation.id;
        let found = self.joined_subscription()?;
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            user::enable_subscription(&found.name, false)?;
            operations::set_apply_stopped(id, true)
        })?;
        self.operation.apply_stopped = true;
        self.await_apply_end(found.apply_pid, unless)
    }

    /// Waits until the apply worker of a subscription that is disabled is gone. False when the operation's status has become one that
    /// is not to be gone on with.
    pub(super) fn await_apply_end(&mut self, mut pid: Option<i32>, unless: Option<&str>) -> Result<bool> {
        let started = system::now_secs();
        let mut told = false;
        // Its session is seen longer than its entry among the workers, and holds the origin as long.
        loop {
            pid = self.joined_subscription()?.apply_pid.or(pid);
            let Some(alive) = pid else { return Ok(true) };
            if !transaction::run(|| user::process_exists(alive))? {
                return Ok(true);
            }
            self.refresh()?;
            if unless == Some(self.operation.status.as_str()) {
                return Ok(false);
            }
            let waited = system::now_secs() - started;
            if waited > APPLY_STOPS_WITHIN && !told {
                told = true;
                transaction::run(|| user::terminate(alive))?;
            }
            if waited > APPLY_GONE_WITHIN {
                return Err(Error::WorkerStays { pid: alive });
            }
            system::wait_latch(LOOK_MS);
        }
    }

    /// The step itself: nobody applies, and the source is not needed.
    fn switch(&mut self, now: Lsn) -> Result<()> {
        let (Some(oid), Some(start)) = (self.operation.subscription_oid, self.operation.start_lsn) else {
            return Err(Error::internal("no slot"));
        };
        let (id, origin) = (self.operation.id, origin_name(oid));
        failpoint!(ApplyStopped)?;
        // What came after the last change of its tables was nothing to it.
        let reached = transaction::run(|| origin::progress(&origin))?.max(start);
        transaction::run(|| operations::set_applied(id, reached))?;
        failpoint!(AppliedNoted)?;
        self.refresh()?;
        let applied = self.operation.applied_lsn.unwrap_or(reached);
        let found = self.joined_subscription()?;
        let before = found.slot_name.clone().unwrap_or_default();
        let operation = self.operation.clone();
        let phase = self.event(event::INIT_PHASE_STARTED).message(format!("phase {}", Phase::Catchup));
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            for table in &found.tables {
                let done = table.lsn.filter(|_| table.state == "s").unwrap_or(applied).max(applied);
                subscription::set_table(oid, table.relid, TableState::SyncDone, done);
            }
            for (relid, lsn) in operations::tables_with_lsn(id)? {
                subscription::add_table(oid, relid, TableState::SyncDone, lsn);
            }
            user::set_slot_name(&found.name, &operation.slot_name)?;
            user::enable_subscription(&found.name, true)?;
            operations::set_joined(id, &before)?;
            operations::set_enable_lsn(id, now)?;
            operations::set_phase(id, Phase::Catchup.as_str())?;
            node::enter(&operation, NodeState::CatchingUp)?;
            events::write(&[phase])?;
            // Last, since it stays when the transaction is rolled back.
            origin::advance(&origin, start)?;
            failpoint!(TablesJoined)
        })?;
        failpoint!(JoinCommitted)
    }

    /// Has the apply worker go on as if nothing had been, unless the tables of the refresh have joined.
    pub(super) fn restart_apply(&mut self) -> Result<()> {
        self.refresh()?;
        let operation = self.operation.clone();
        transaction::run(|| let_apply_go_on(&operation))?;
        self.refresh().map(drop)
    }

    /// The same, again and again while somebody's lock is in the way: no table of the subscription is replicated meanwhile. Until the operation is
    /// cancelled; whoever undoes it tries again.
    pub(super) fn insist_on_apply(&mut self) -> Result<()> {
        loop {
            let Err(error) = self.restart_apply() else { return Ok(()) };
            self.say_locked(error)?;
            if !matches!(self.operation.status.as_str(), "pending" | "running") {
                return Ok(());
            }
        }
    }

    /// Takes the tables of a refresh out of the subscription again: those that have joined it, and those that somebody else has put in
    /// while they were copied. The others go on.
    pub(super) fn leave_subscription(&mut self) -> Result<()> {
        let Some(oid) = self.operation.subscription_oid else { return Ok(()) };
        self.restart_apply()?;
        let id = self.operation.id;
        let found = transaction::run(|| user::subscription(oid))?;
        let planned: Vec<u32> = transaction::run(|| operations::tables(id))?.iter().map(|table| table.relid).collect();
        let Some(found) = found.filter(|found| found.tables.iter().any(|table| planned.contains(&table.relid))) else {
            return Ok(());
        };
        // The apply worker would keep to what it knows of them.
        self.stop_apply(None)?;
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            for relid in &planned {
                subscription::remove_table(oid, *relid);
                origin::drop(&tablesync_origin_name(oid, *relid));
            }
            user::enable_subscription(&found.name, true)?;
            operations::set_apply_stopped(id, false)?;
            failpoint!(TablesLeft)
        })?;
        self.refresh().map(drop)
    }

    /// Takes the slot away that the subscription used before.
    pub(super) fn drop_replaced_slot(&mut self) -> Result<()> {
        let Some(replaced) = self.operation.replaced_slot.clone() else { return Ok(()) };
        let connection = self.source()?;
        transaction::run_without_snapshot(|| state::drop_slot(connection, &replaced))?;
        failpoint!(ReplacedSlotDropped)
    }
}

/// Enables the subscription that a refresh has disabled, its origin back where the apply worker left it. Nothing happens when the refresh
/// did not, or when its tables have joined.
pub fn let_apply_go_on(operation: &Operation) -> Result<()> {
    let Some(oid) = operation.subscription_oid else { return Ok(()) };
    if !operation.is_refresh() || operation.has_joined() || !operation.apply_stopped {
        return Ok(());
    }
    if let Some(found) = user::subscription(oid)?.filter(|found| !found.enabled) {
        if let Some(applied) = operation.applied_lsn {
            origin::advance(&origin_name(oid), applied)?;
        }
        user::set_lock_timeout(LOCK_LIMIT_MS)?;
        user::enable_subscription(&found.name, true)?;
    }
    operations::clear_applied(operation.id)?;
    operations::set_apply_stopped(operation.id, false)
}
