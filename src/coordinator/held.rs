//! A slot that is kept, with its snapshot, for somebody's own backup: until a node replicates by it, until its time is over, or until it
//! is released.
//!
//! The keeper of every operation makes the slot and holds the snapshot; here it is looked at now and then. The source may be away for as
//! long as it wants: the slot waits there. Only the snapshot is lost with a connection, and a physical copy does not need it.

use super::main::Coordinator;
use super::phase::Phase;
use crate::catalog::{events, operations, slots};
use crate::error::{Error, Result, SlotError};
use crate::pg::{shmem, system, transaction};
use crate::source::{self, state, target_slots};
use steep_repl_core::errors::Problem;
use steep_repl_core::event::{self, Severity};
use steep_repl_core::init_slot::Record;
use steep_repl_core::names::{is_subscription_name, slot_name};
use steep_repl_core::retry::Verdict;

/// How often the slot is looked at, in seconds.
const LOOK: f64 = 5.0;
/// The same while the source does not answer.
const LOOK_AFTER_FAILURE: f64 = 30.0;

/// Whose a slot is that was made beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// The operation's.
    This,
    /// Another operation's, and the publications are its as well.
    Another,
    /// Another slot has its name, with publications of its own.
    NewSlot,
}

impl Coordinator {
    /// What is known of the slot now.
    fn record(&self) -> Result<Record> {
        let operation = &self.operation;
        let mark = transaction::run(|| operations::publication_mark(operation.id))?;
        let identities = transaction::run(|| operations::identities(operation.id))?;
        Ok(Record {
            slot: operation.slot_name.clone(),
            publications: operation.publications.clone(),
            no_identity: operation.options.no_identity.clone(),
            start_lsn: operation.start_lsn.ok_or_else(|| Error::internal("no slot"))?,
            snapshot: operation.snapshot.clone(),
            taken: false,
            taken_by: None,
            mark: Some(mark),
            identities,
            schemas: operation.options.schemas.clone(),
            tables: operation.options.tables.clone(),
        })
    }

    /// Gives the slot the name that was asked for, by copying it: only the copy can be told from a slot of the same name that somebody has
    /// made meanwhile, since it stands where ours does.
    pub(super) fn name_slot(&mut self) -> Result<()> {
        let (wanted, made) = (self.operation.slot_name.clone(), slot_name(self.operation.token()?));
        if wanted == made {
            return Ok(());
        }
        let (start, node) = (self.operation.start_lsn, self.operation.source.clone());
        let connection = self.source()?;
        transaction::run_without_snapshot(|| {
            let found = state::slot(connection, &wanted)?;
            if found.confirmed.is_none() {
                target_slots::copy(connection, &made, &wanted)?;
            } else if found.confirmed != start {
                return Err(SlotError::Exists { slot: wanted.clone(), node }.into());
            }
            failpoint!(SlotCopied)?;
            state::drop_slot(connection, &made)
        })
    }

    /// Writes down on the source what the slot is, for a node that knows of nothing else. A publication of the user's is not written on.
    pub(super) fn describe_slot(&mut self) -> Result<()> {
        if !self.operation.own_publications {
            return Ok(());
        }
        let record = self.record()?;
        let connection = self.source()?;
        transaction::run_without_snapshot(|| {
            let slot = record.slot.clone();
            source::slots::alone_with(connection, &slot, || {
                // Whoever is about to use it has said so there.
                let known = source::slots::records(connection)?;
                let is_it = |other: &Record| other.slot == slot && other.publications == record.publications;
                let before = known.into_iter().map(|(other, _)| other).find(is_it);
                let (taken, taken_by) = before.map_or((false, None), |before| (before.taken, before.taken_by));
                source::slots::describe(connection, &Record { taken, taken_by, ..record })
            })
        })
    }

    /// Ends an operation whose caller has rolled back the transaction that he saw it in. True then.
    pub(super) fn is_given_up(&mut self) -> Result<bool> {
        if !self.operation.is_preparation() || !shmem::is_abandoned(self.operation.id) {
            return Ok(false);
        }
        self.let_go("released", "init.slot_released", "the transaction that asked for it was rolled back")?;
        Ok(true)
    }

    /// Looks whether the slot is still wanted, and what it holds back.
    pub(super) fn watch_held(&mut self) -> Result<()> {
        let (id, now) = (self.operation.id, system::now_secs());
        if now < self.look_at_slot_at {
            return Ok(());
        }
        self.look_at_slot_at = now + LOOK;
        let slot = self.operation.slot_name.clone();
        let seen =
            self.source().and_then(|connection| transaction::run_without_snapshot(|| state::slot(connection, &slot)));
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                self.look_at_slot_at = now + LOOK_AFTER_FAILURE;
                return self.source_is_silent(&error);
            }
        };
        self.source_is_back()?;
        let start = self.operation.start_lsn;
        let Some(confirmed) = seen.confirmed else {
            return self.let_go("gone", "init.slot_gone", "somebody has dropped it");
        };
        if seen.active || Some(confirmed) > start {
            return self.is_used();
        }
        if seen.is_lost() {
            return Err(Error::SlotLost { slot, node: self.operation.source.clone() });
        }
        if transaction::run(|| slots::get(id))?.is_some_and(|prepared| prepared.is_expired) && !self.is_taken()? {
            return self.let_go("expired", "init.slot_expired", "nobody has made use of it in time");
        }
        let held = seen.restart.map_or(0, |restart| seen.now.bytes_since(restart));
        transaction::run(|| slots::seen(id, held as i64))?;
        if self.operation.snapshot.is_none() && self.said.insert("snapshot lost".to_owned()) {
            self.describe_slot()?;
            let mut event = self
                .event("init.slot_snapshot_lost")
                .message(format!("the snapshot of slot {slot} is not kept any more: its connection ended"))
                .hint("The slot is good for a physical copy that is begun now; for pg_dump make another one.");
            event.severity = Severity::Warning;
            transaction::run(|| events::write(&[event]))?;
        }
        Ok(())
    }

    /// Whether the slot is kept for somebody.
    pub(super) fn keeps_slot(&self) -> bool {
        self.operation.is_preparation() && self.operation.phase == Phase::Held.as_str()
    }

    /// Whether a node replicates by it, or has.
    pub(super) fn is_slot_in_use(&mut self) -> Result<bool> {
        let (slot, start) = (self.operation.slot_name.clone(), self.operation.start_lsn);
        if start.is_none() {
            return Ok(false);
        }
        let connection = self.source()?;
        let seen = transaction::run_without_snapshot(|| state::slot(connection, &slot))?;
        Ok(seen.confirmed.is_some() && (seen.active || seen.confirmed > start))
    }

    /// Whether another subscription than the operation's replicates by its slot now.
    pub(super) fn is_slot_another_s(&mut self) -> Result<bool> {
        let (slot, ours) = (self.operation.slot_name.clone(), self.operation.subscription.clone());
        let connection = self.source()?;
        let user = transaction::run_without_snapshot(|| source::slots::user_of(connection, &slot))?;
        // One that goes by another name may be ours: a connection string can give it one.
        Ok(user.is_some_and(|user| user != ours && is_subscription_name(&user)))
    }

    /// Whose a slot is that was made beforehand, when it is not the operation's any more: it was claimed by another operation since, or one of that
    /// name was made anew. Nothing is written on a publication of the user's.
    pub(super) fn who_has_slot(&mut self) -> Result<Holder> {
        if !self.operation.is_manual() || self.operation.is_preparation() || !self.operation.own_publications {
            return Ok(Holder::This);
        }
        let (slot, token) = (self.operation.slot_name.clone(), self.operation.token()?.to_string());
        let publications = self.operation.publications.clone();
        let connection = self.source()?;
        let record = transaction::run_without_snapshot(|| source::slots::record(connection, &slot))?;
        Ok(match record {
            None => Holder::This,
            Some(record) if record.taken && record.taken_by.as_ref().is_none_or(|by| *by == token) => Holder::This,
            Some(record) if record.publications == publications => Holder::Another,
            Some(_) => Holder::NewSlot,
        })
    }

    /// Whether a node is about to replicate by it.
    fn is_taken(&mut self) -> Result<bool> {
        let slot = self.operation.slot_name.clone();
        let connection = self.source()?;
        let record = transaction::run_without_snapshot(|| source::slots::record(connection, &slot))?;
        Ok(record.is_some_and(|record| record.taken))
    }

    /// Says on the source whether a slot that was made beforehand is about to be used, and by which operation: it does not expire then, and no
    /// other node begins with it. A publication of the user's is not written on.
    ///
    /// Errors: [`SlotError::Taken`].
    pub(super) fn take_slot(&mut self, taken: bool) -> Result<()> {
        if !self.operation.is_manual() || !self.operation.own_publications {
            return Ok(());
        }
        let (slot, token, node) =
            (self.operation.slot_name.clone(), self.operation.token()?.to_string(), self.operation.source.clone());
        let given_up = transaction::run(slots::given_up)?;
        let connection = self.source()?;
        let identities = transaction::run_without_snapshot(|| {
            source::slots::alone_with(connection, &slot, || {
                let Some(record) = source::slots::record(connection, &slot)? else {
                    if !taken {
                        return Ok(Vec::new());
                    }
                    let why = Some("It was released or has expired before the node had claimed it.".to_owned());
                    return Err(SlotError::Missing { slot: slot.clone(), node: node.clone(), why }.into());
                };
                let is_free = !record.taken || record.taken_by.as_ref().is_none_or(|by| given_up.contains(by));
                let is_ours = record.taken && record.taken_by.as_ref() == Some(&token);
                let identities = record.identities.clone();
                match (!is_free && !is_ours, is_ours == taken) {
                    (true, _) if taken => {
                        return Err(SlotError::Taken { slot: slot.clone(), node: node.clone() }.into())
                    }
                    (true, _) | (false, true) => {}
                    (false, false) => {
                        let taken_by = taken.then(|| token.clone());
                        source::slots::describe(connection, &Record { taken, taken_by, ..record })?;
                    }
                }
                Ok(identities)
            })
        })?;
        if !taken || identities.is_empty() {
            return Ok(());
        }
        // Once the slot is used up, whoever takes it away is this operation.
        let id = self.operation.id;
        transaction::run(|| operations::record_identities(id, &identities))
    }

    /// [`Self::take_slot`] while somebody has still to confirm what is done to the schema: that may take days, and the slot would expire. A source
    /// that does not answer is not needed for anything else.
    pub(super) fn take_slot_meanwhile(&mut self) -> Result<()> {
        let now = system::now_secs();
        if self.has_taken_slot || now < self.look_at_slot_at {
            return Ok(());
        }
        match self.take_slot(true) {
            Ok(()) => self.has_taken_slot = true,
            Err(error) if error.verdict() == Verdict::RetrySource => {
                self.forget_source();
                self.look_at_slot_at = now + LOOK_AFTER_FAILURE;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A node replicates by it: it is the subscription's from now on.
    fn is_used(&mut self) -> Result<()> {
        let id = self.operation.id;
        self.give_snapshot_up()?;
        let used = self
            .event("init.slot_used")
            .message(format!("a node replicates by slot {}", self.operation.slot_name))
            .percent(100.0);
        transaction::run(|| {
            slots::set_used(id)?;
            if operations::set_status(id, "completed", None)? {
                events::write(&[used])?;
            }
            failpoint!(SlotUsed)
        })?;
        self.refresh().map(drop)
    }

    /// Has everything taken away that was made for it.
    fn let_go(&mut self, ended: &str, event: &str, why: &str) -> Result<()> {
        let id = self.operation.id;
        let mut event = self.event(event).message(format!("slot {} is given up: {why}", self.operation.slot_name));
        event.severity = Severity::Warning;
        transaction::run(|| {
            slots::end(id, ended)?;
            if operations::request_cancel(id)? {
                events::write(&[event])?;
            }
            Ok(())
        })
    }

    fn source_is_silent(&mut self, error: &Error) -> Result<()> {
        self.forget_source();
        let now = system::now_secs();
        if self.source_lost_since.is_none() {
            self.source_lost_since = Some(now);
            let problem = error.problem();
            let mut event = self.event("init.retry").sqlstate(&problem.sqlstate).message(problem.message);
            event.severity = Severity::Warning;
            event.hint = problem.hint;
            transaction::run(|| events::write(&[event]))?;
        }
        Ok(())
    }

    /// It cannot be made, or is of no use any more: what there is of it is taken away, and who waits for it is told why.
    pub(super) fn give_slot_up(&mut self, problem: &Problem) -> Result<()> {
        let id = self.operation.id;
        let mut event = self.event(event::INIT_FAILED).sqlstate(&problem.sqlstate).message(problem.message.clone());
        event.severity = Severity::Error;
        event.hint.clone_from(&problem.hint);
        transaction::run(|| {
            slots::end(id, "failed")?;
            operations::clear_snapshot(id)?;
            // What cannot be taken away now is noted of what is being cancelled only.
            operations::request_cancel(id)?;
            events::write(&[event])
        })?;
        self.undo_preparation()?;
        transaction::run(|| operations::set_status(id, "cancelled", Some(problem)))?;
        self.refresh()?;
        self.notify_now();
        Ok(())
    }
}
