//! The small table in shared memory that the launcher, the backends and the coordinators meet at.
//!
//! Durable truth is in `steep_repl.operations` of each database; this table only says which of those rows want a coordinator
//! now. It is lost with the server and filled again by the scanners at its start.

use super::{role, system};
use crate::error::{Error, Result};
use pgrx::prelude::*;
use pgrx::{pg_shmem_init, pg_sys, PGRXSharedMemory, PgLwLock};
use pgrx::{register_subxact_callback, register_xact_callback, PgSubXactCallbackEvent, PgXactCallbackEvent};
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// Operations of one cluster that may run at once.
pub const MOST_OPERATIONS: usize = 64;

/// Databases of one cluster whose sources are looked at.
pub const MOST_WATCHED: usize = 256;

/// Where an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Slot {
    /// Not in use.
    #[default]
    Free,
    /// Held for a transaction that has not committed yet.
    Reserved,
    /// Its operation wants a coordinator.
    Wanted,
}

/// One operation that wants a coordinator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// In use, and how.
    pub slot: Slot,
    /// Database of the operation.
    pub database: u32,
    /// Role that asked for it.
    pub role: u32,
    /// The operation.
    pub operation: i64,
    /// Pid of its coordinator, 0 when there is none.
    pub coordinator: i32,
    /// When the launcher last asked for one, in microseconds; 0 when it has ended since.
    pub started_at: i64,
    /// Its coordinator ended while it is still wanted, and the launcher has not taken note yet.
    pub ended_early: bool,
    /// Coordinators that ended without finishing, since the last that made progress.
    pub failures: u32,
    /// Not to be started before, in microseconds.
    pub not_before: i64,
    /// The last try found no background worker to be had.
    pub starved: bool,
    /// The transaction that asked for it was rolled back after it had been committed by another.
    pub abandoned: bool,
}

/// The table.
#[derive(Clone, Copy)]
pub struct Registry {
    launcher: i32,
    /// Databases that replicate; 0 where there is none.
    watched: [u32; MOST_WATCHED],
    entries: [Entry; MOST_OPERATIONS],
}

impl Default for Registry {
    fn default() -> Self {
        Registry { launcher: 0, watched: [0; MOST_WATCHED], entries: [Entry::default(); MOST_OPERATIONS] }
    }
}

// SAFETY: plain integers, no pointers.
unsafe impl PGRXSharedMemory for Registry {}

// SAFETY: the name is ours alone.
static REGISTRY: PgLwLock<Registry> = unsafe { PgLwLock::new(c"steep_repl_registry") };

thread_local! {
    static ATTACHED: Cell<bool> = const { Cell::new(false) };
}

/// Asks for the shared memory; at preload only.
pub fn request() {
    pg_shmem_init!(REGISTRY);
    ATTACHED.with(|attached| attached.set(true));
}

/// 55000 when the server was not started with the extension preloaded.
pub fn require() -> Result<()> {
    if ATTACHED.with(Cell::get) {
        Ok(())
    } else {
        Err(Error::NotPreloaded)
    }
}

/// Says that this process is the launcher.
pub fn announce_launcher() {
    REGISTRY.exclusive().launcher = system::my_pid();
}

/// Wakes the launcher.
pub fn wake_launcher() {
    let launcher = REGISTRY.share().launcher;
    system::wake(launcher);
}

/// All entries that are in use.
pub fn entries() -> Vec<Entry> {
    REGISTRY.share().entries.iter().filter(|entry| entry.slot != Slot::Free).copied().collect()
}

fn change<T>(operation: i64, database: u32, how: impl FnOnce(&mut Entry) -> T) -> Option<T> {
    let mut registry = REGISTRY.exclusive();
    registry
        .entries
        .iter_mut()
        .find(|entry| entry.slot != Slot::Free && entry.operation == operation && entry.database == database)
        .map(how)
}

/// Puts an operation into the table, or wakes what is there of it. False when the table is full.
pub fn want(database: u32, role: u32, operation: i64) -> bool {
    let mut registry = REGISTRY.exclusive();
    let found = registry
        .entries
        .iter()
        .position(|entry| entry.slot != Slot::Free && entry.operation == operation && entry.database == database);
    let place = found.or_else(|| registry.entries.iter().position(|entry| entry.slot == Slot::Free));
    let Some(place) = place else { return false };
    let entry = &mut registry.entries[place];
    if found.is_none() {
        *entry = Entry { database, role, operation, ..Entry::default() };
    }
    entry.slot = Slot::Wanted;
    // The next coordinator works for whoever the operation belongs to now.
    entry.role = role;
    entry.not_before = 0;
    true
}

/// Makes sure that there will be room for the operation of this transaction and registers it when the transaction commits.
/// 53000 when the table is full.
pub fn want_at_commit(operation: i64) -> Result<()> {
    require()?;
    let (database, role) = (system::database_oid(), role::current());
    {
        let mut registry = REGISTRY.exclusive();
        let place = registry.entries.iter().position(|entry| entry.slot == Slot::Free);
        let Some(place) = place else {
            return Err(Error::TooManyOperations { most: MOST_OPERATIONS });
        };
        registry.entries[place] = Entry { slot: Slot::Reserved, database, role, operation, ..Entry::default() };
    }
    register_xact_callback(PgXactCallbackEvent::Commit, move || {
        want(database, role, operation);
        wake_launcher();
    });
    register_xact_callback(PgXactCallbackEvent::Abort, move || forget(database, operation));
    register_xact_callback(PgXactCallbackEvent::PrePrepare, || super::raise::throw(Error::Prepare));
    Ok(())
}

/// 53000 when there is no room for one more operation.
pub fn require_room() -> Result<()> {
    require()?;
    if REGISTRY.share().entries.iter().any(|entry| entry.slot == Slot::Free) {
        return Ok(());
    }
    Err(Error::TooManyOperations { most: MOST_OPERATIONS })
}

/// Has an operation that is committed already given up when this transaction is rolled back, or only the part of it that asked: back to a
/// savepoint, or to the beginning of a block with an exception clause.
pub fn abandon_at_abort(operation: i64) {
    let database = system::database_oid();
    let abandon = move || {
        change(operation, database, |entry| entry.abandoned = true);
        wake_coordinator(database, operation);
    };
    register_xact_callback(PgXactCallbackEvent::Abort, abandon);
    // SAFETY: reads backend state, inside a transaction.
    let asking = Arc::new(AtomicU32::new(unsafe { pg_sys::GetCurrentSubTransactionId() }));
    // What is released is from then on a part of what is around it. No number is given out twice in a transaction.
    let released = Arc::clone(&asking);
    register_subxact_callback(PgSubXactCallbackEvent::CommitSub, move |ended, around| {
        if released.load(Ordering::Relaxed) == ended {
            released.store(around, Ordering::Relaxed);
        }
    });
    register_subxact_callback(PgSubXactCallbackEvent::AbortSub, move |ended, _| {
        if asking.load(Ordering::Relaxed) == ended {
            abandon();
        }
    });
    register_xact_callback(PgXactCallbackEvent::PrePrepare, || super::raise::throw(Error::Prepare));
}

/// Whether that has happened.
pub fn is_abandoned(operation: i64) -> bool {
    change(operation, system::database_oid(), |entry| entry.abandoned).unwrap_or(false)
}

/// Wakes the coordinator of an operation, or has one started, when this transaction commits: its row changed. 53000 when there
/// is no room for it.
pub fn wake_at_commit(operation: i64, role: u32) -> Result<()> {
    require()?;
    let database = system::database_oid();
    let free = REGISTRY.share().entries.iter().any(|entry| entry.slot == Slot::Free);
    if !free && coordinator_of(database, operation).is_none() {
        return Err(Error::TooManyOperations { most: MOST_OPERATIONS });
    }
    register_xact_callback(PgXactCallbackEvent::Commit, move || {
        want(database, role, operation);
        wake_launcher();
        wake_coordinator(database, operation);
    });
    register_xact_callback(PgXactCallbackEvent::PrePrepare, || super::raise::throw(Error::Prepare));
    Ok(())
}

/// Takes an operation out of the table: it wants no coordinator any more.
pub fn forget(database: u32, operation: i64) {
    change(operation, database, |entry| *entry = Entry::default());
}

/// Wakes the coordinator of an operation, if there is one.
pub fn wake_coordinator(database: u32, operation: i64) {
    let pid = change(operation, database, |entry| entry.coordinator);
    system::wake(pid.unwrap_or(0));
}

/// Has the launcher let the source of a database be looked at from time to time. A database for which there is no room is not
/// looked at.
pub fn watch(database: u32) {
    let mut registry = REGISTRY.exclusive();
    if !registry.watched.contains(&database) {
        if let Some(place) = registry.watched.iter_mut().find(|place| **place == 0) {
            *place = database;
        }
    }
}

/// Ends that.
pub fn unwatch(database: u32) {
    let mut registry = REGISTRY.exclusive();
    for place in registry.watched.iter_mut().filter(|place| **place == database) {
        *place = 0;
    }
}

/// Databases that are to be looked at.
pub fn watched() -> Vec<u32> {
    REGISTRY.share().watched.iter().copied().filter(|database| *database != 0).collect()
}

/// An operation of a database that runs or is about to.
pub fn running_in(database: u32) -> Option<i64> {
    entries().iter().find(|entry| entry.slot == Slot::Wanted && entry.database == database).map(|entry| entry.operation)
}

/// Pid of the coordinator of an operation, if there is one.
pub fn coordinator_of(database: u32, operation: i64) -> Option<i32> {
    change(operation, database, |entry| entry.coordinator).filter(|pid| *pid > 0)
}

/// Notes that the launcher asked for a coordinator.
pub fn note_started(database: u32, operation: i64) {
    change(operation, database, |entry| {
        entry.started_at = system::now_micros();
        entry.starved = false;
        // One that cannot even start leaves no sign; each start counts until there is progress.
        entry.failures += 1;
        let pause = steep_repl_core::retry::backoff_ms(entry.failures) as i64 * 1000;
        entry.not_before = entry.started_at + pause;
    });
}

/// Notes that there was no background worker for a coordinator.
pub fn note_starved(database: u32, operation: i64, pause_micros: i64) {
    back_off(database, operation, pause_micros);
    change(operation, database, |entry| entry.starved = true);
}

/// Operations of a database for which no background worker is to be had.
pub fn starved_in(database: u32) -> Vec<i64> {
    entries().iter().filter(|entry| entry.starved && entry.database == database).map(|entry| entry.operation).collect()
}

/// Notes that a coordinator ended early: the next is tried after a pause.
pub fn back_off(database: u32, operation: i64, pause_micros: i64) {
    change(operation, database, |entry| {
        entry.started_at = 0;
        entry.ended_early = false;
        entry.failures += 1;
        entry.not_before = system::now_micros() + pause_micros;
    });
}

/// Takes an operation over as its coordinator. False when another process has it, or when it is not wanted any more. However
/// this process ends, it is taken off again, and the launcher is told.
pub fn become_coordinator(operation: i64) -> bool {
    let me = system::my_pid();
    let database = system::database_oid();
    let taken = change(operation, database, |entry| {
        if entry.coordinator != 0 && entry.coordinator != me {
            return false;
        }
        entry.coordinator = me;
        true
    })
    .unwrap_or(false);
    if taken {
        // SAFETY: a callback that only touches shared memory, run once when the process exits in whatever way.
        unsafe { pg_sys::before_shmem_exit(Some(leave_at_exit), pg_sys::Datum::from(0usize)) };
    }
    taken
}

/// Notes that the coordinator gets on, so that its next end is treated as a first one.
pub fn note_progress(operation: i64) {
    change(operation, system::database_oid(), |entry| entry.failures = 0);
}

#[pg_guard]
unsafe extern "C-unwind" fn leave_at_exit(_code: std::ffi::c_int, _arg: pg_sys::Datum) {
    let me = system::my_pid();
    let launcher = {
        let mut registry = REGISTRY.exclusive();
        for entry in registry.entries.iter_mut().filter(|entry| entry.coordinator == me) {
            entry.coordinator = 0;
            entry.started_at = 0;
            entry.ended_early = true;
        }
        registry.launcher
    };
    system::wake(launcher);
}
