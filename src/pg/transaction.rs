//! The one transaction runner of the workers, and subtransactions for sessions.
//!
//! The runner commits when the closure returns `Ok`; aborts when it returns `Err`, when PostgreSQL raises an error and when Rust panics,
//! and gives all three back as an [`Error`]. pgrx's own runner does not abort on error, and the transaction after it dies.

use super::raise;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::pg_sys::PgTryBuilder;
use std::cell::Cell;
use std::panic::AssertUnwindSafe;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` in a transaction of its own, with an active snapshot.
pub fn run<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    attempt(true, work)
}

/// As [`run`], but without a snapshot: for remote queries that may wait, and for what sets up snapshots of its own.
pub fn run_without_snapshot<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    attempt(false, work)
}

fn attempt<T>(with_snapshot: bool, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if RUNNING.with(Cell::get) {
        return Err(Error::internal("transaction inside a transaction"));
    }
    RUNNING.with(|running| running.set(true));
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: a worker outside of a transaction, which `RUNNING` vouches for.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            if with_snapshot {
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            }
        }
        let value = work()?;
        // SAFETY: the transaction begun above; nothing of it is referenced by `value`, which is owned.
        unsafe {
            if pg_sys::ActiveSnapshotSet() {
                pg_sys::PopActiveSnapshot();
            }
            pg_sys::CommitTransactionCommand();
        }
        Ok(value)
    }))
    .catch_others(|caught| Err(raise::error_of(&caught)))
    .catch_rust_panic(|caught| Err(raise::error_of(&caught)))
    .execute();
    if outcome.is_err() {
        // SAFETY: aborting is allowed in every state of the transaction machinery; what it holds is given up.
        unsafe {
            pg_sys::AbortOutOfAnyTransaction();
            pg_sys::FlushErrorState();
        }
    }
    RUNNING.with(|running| running.set(false));
    outcome
}

/// Waits until no other transaction is here for the same operation, and keeps others from it until this one ends: by a lock on the extension
/// under a number that nobody else asks for, which no row and no log knows of.
pub fn one_at_a_time(operation: i64) {
    let mode = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;
    let number = u16::try_from(operation.rem_euclid(i64::from(u16::MAX)) + 1).unwrap_or(u16::MAX);
    // SAFETY: inside a transaction, which gives the lock up when it ends.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"steep_repl".as_ptr(), true);
        pg_sys::LockDatabaseObject(pg_sys::ExtensionRelationId, extension, number, mode);
    }
}

/// From now on what is read in this transaction shows what it has changed itself.
pub fn see_own_changes() {
    // SAFETY: inside `run`, which has pushed the snapshot that is replaced here and pops the one that is pushed.
    unsafe {
        pg_sys::CommandCounterIncrement();
        if pg_sys::ActiveSnapshotSet() {
            pg_sys::PopActiveSnapshot();
        }
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
}

/// Runs a piece of work in a subtransaction of the session's transaction: an error takes back what the piece did, and no more.
pub fn nested<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // SAFETY: inside a transaction; context and owner are put back as PL/pgSQL does for a block with an exception clause.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let outcome = PgTryBuilder::new(AssertUnwindSafe(work))
            .catch_others(|caught| Err(raise::error_of(&caught)))
            .catch_rust_panic(|caught| Err(raise::error_of(&caught)))
            .execute();
        if outcome.is_ok() {
            pg_sys::ReleaseCurrentSubTransaction();
        } else {
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        outcome
    }
}
