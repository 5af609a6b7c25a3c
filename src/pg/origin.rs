//! Replication origins: which node a row came from, and how far that node has been replayed.
//!
//! The coordinator acquires the origin; the workers join it by the coordinator's pid. A worker that joined must never give it
//! back: `replorigin_session_reset` frees it for all.

use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::CString;
use steep_repl_core::lsn::Lsn;

fn find(name: &str) -> Result<pg_sys::RepOriginId> {
    let name = CString::new(name).map_err(|_| Error::internal("a NUL byte in an origin's name"))?;
    // SAFETY: a catalog look-up inside a transaction; a missing origin is an error.
    Ok(unsafe { pg_sys::replorigin_by_name(name.as_ptr(), false) })
}

/// Sets an origin's position, backwards too, and logs it. Nobody may have acquired it.
pub fn advance(name: &str, to: Lsn) -> Result<()> {
    let origin = find(name)?;
    let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: inside a transaction, under the lock that pg_replication_origin_advance() takes.
    unsafe {
        pg_sys::LockRelationOid(pg_sys::ReplicationOriginRelationId, lock);
        pg_sys::replorigin_advance(origin, to.0, 0, true, true);
        pg_sys::UnlockRelationOid(pg_sys::ReplicationOriginRelationId, lock);
    }
    Ok(())
}

/// Up to where an origin has been replayed, durably. Nobody may have acquired it, or it moves on.
pub fn progress(name: &str) -> Result<Lsn> {
    let origin = find(name)?;
    // SAFETY: inside a transaction.
    Ok(Lsn(unsafe { pg_sys::replorigin_get_progress(origin, true) }))
}

/// Drops an origin; nothing happens when it is not there. Waits for who has acquired it.
pub fn drop(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: inside a transaction; the name outlives the call.
        unsafe { pg_sys::replorigin_drop_by_name(name.as_ptr(), true, false) };
    }
}

/// Acquires an origin for this process, or joins the process that has it (`joined`), and tags every row this process writes
/// from now on. The position of the origin is not moved by these commits.
pub fn tag_session(name: &str, joined: Option<i32>) -> Result<()> {
    let origin = find(name)?;
    // SAFETY: inside a transaction; session variables of this process.
    unsafe {
        pg_sys::replorigin_session_setup(origin, joined.unwrap_or(0));
        pg_sys::replorigin_session_origin = origin;
        pg_sys::replorigin_session_origin_lsn = 0;
        pg_sys::replorigin_session_origin_timestamp = 0;
    }
    Ok(())
}

/// Stops tagging and lets go of an origin that this process acquired. Only for the acquirer, after all who joined are gone.
pub fn release_session() {
    // SAFETY: session variables of this process; the server raises an error when nothing was acquired, which is checked.
    unsafe {
        if pg_sys::replorigin_session_origin != 0 {
            pg_sys::replorigin_session_origin = 0;
            pg_sys::replorigin_session_reset();
        }
    }
}
