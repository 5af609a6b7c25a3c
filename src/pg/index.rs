//! Suspending indexes during a load, and building them after it.
//!
//! A suspended index has `indisready` and `indisvalid` off: nothing maintains it and nothing reads it, while its name, its
//! constraint and its comment stay. REINDEX is the only thing that makes it valid again, because it is the only thing that
//! makes its contents right.

use super::catalog_tuple::PG_INDEX;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ptr;

fn check_owner(relid: u32) -> Result<()> {
    if super::role::owns_table(relid) {
        return Ok(());
    }
    Err(Error::RightsHere {
        role: super::role::name_of(super::role::current()),
        lacks: format!("does not own table {}", super::system::relation_name(relid)),
        hint: "Only a table's owner or a superuser may have its indexes suspended and rebuilt.".to_owned(),
    })
}

/// Switches the given indexes of a table off. The caller holds AccessExclusiveLock on the table, has found it empty under it,
/// and has written down what the indexes are. 42501 when the current role does not own the table.
pub fn suspend(relid: u32, indexes: &[u32]) -> Result<()> {
    check_owner(relid)?;
    for index in indexes {
        // SAFETY: the table is locked by the caller; the relation cache is told below.
        unsafe { PG_INDEX.set_booleans(*index, &[("indisready", false), ("indisvalid", false)])? };
    }
    // SAFETY: inside a transaction.
    unsafe {
        pg_sys::CacheInvalidateRelcacheByRelid(pg_sys::Oid::from(relid));
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Whether writes maintain an index of the table. What the caches say under its lock is so until the lock is given up.
///
/// # Safety
/// An open relation under a lock that creating an index waits for.
pub(super) unsafe fn any_maintained(rel: pg_sys::Relation) -> bool {
    let list = pg_sys::RelationGetIndexList(rel);
    let count = if list.is_null() { 0 } else { (*list).length as usize };
    (0..count).any(|place| {
        let index = (*(*list).elements.add(place)).oid_value;
        let cache = pg_sys::SysCacheIdentifier::INDEXRELID as std::ffi::c_int;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(index));
        if tuple.is_null() {
            return false;
        }
        let ready = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_index>(tuple)).indisready;
        pg_sys::ReleaseSysCache(tuple);
        ready
    })
}

/// Until the transaction ends, scans of a table that the caches can hold begin at its first block. One that joins another begins
/// in the middle, and rows that lie in the order of a key do not come in it, which costs the sort of an index build more than
/// reading cached blocks again.
unsafe fn scan_in_order(relid: u32) {
    let rel = pg_sys::relation_open(pg_sys::Oid::from(relid), pg_sys::ShareLock as pg_sys::LOCKMODE);
    let blocks = pg_sys::RelationGetNumberOfBlocksInFork(rel, pg_sys::ForkNumber::MAIN_FORKNUM);
    pg_sys::relation_close(rel, pg_sys::NoLock as pg_sys::LOCKMODE);
    if i64::from(blocks) <= i64::from(pg_sys::effective_cache_size) {
        super::role::set_until(c"synchronize_seqscans", c"off", pg_sys::GucAction::GUC_ACTION_LOCAL);
    }
}

/// Builds an index anew and makes it valid. Nothing happens when somebody has dropped it. 42501 when the current role does not own
/// its table; 23505 when rows in the way of a unique index are found.
pub fn rebuild(relid: u32, index: u32) -> Result<()> {
    check_owner(relid)?;
    let params =
        pg_sys::ReindexParams { options: pg_sys::REINDEXOPT_REPORT_PROGRESS, tablespaceOid: pg_sys::InvalidOid };
    let params = &raw const params;
    let index = pg_sys::Oid::from(index);
    // SAFETY: inside a transaction; the function takes its own locks and becomes the table's owner by itself.
    unsafe {
        scan_in_order(relid);
        // Nobody can drop it now: that takes a lock on the table.
        if pg_sys::get_rel_name(index).is_null() {
            return Ok(());
        }
        pg_sys::reindex_index(ptr::null(), index, false, pg_sys::get_rel_persistence(index), params);
    }
    Ok(())
}
