//! Suspending indexes during a load, and building them after it.
//!
//! A suspended index has `indisready` and `indisvalid` off: nothing maintains it and nothing reads it, while its name, its
//! constraint and its comment stay. REINDEX is the only thing that makes it valid again, because it is the only thing that
//! makes its contents right.

use super::catalog_tuple::PG_INDEX;
use super::key_order::is_scattered;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::{c_int, CString};
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
unsafe fn scan_in_order(blocks: u32) {
    if i64::from(blocks) <= i64::from(pg_sys::effective_cache_size) {
        super::role::set_until(c"synchronize_seqscans", c"off", pg_sys::GucAction::GUC_ACTION_LOCAL);
    }
}

/// Lets the index builds until the end of the transaction, or of the nest level of settings, have so many parallel workers at most, and no
/// more than the server is set to.
unsafe fn allow(workers: Option<i32>) {
    if let Some(workers) = workers {
        let workers = workers.min(pg_sys::max_parallel_maintenance_workers);
        let value = CString::new(workers.to_string()).unwrap_or_default();
        super::role::set_until(c"max_parallel_maintenance_workers", &value, pg_sys::GucAction::GUC_ACTION_LOCAL);
    }
}

/// Parallel workers of the server's for the build of an index.
#[derive(Debug, Clone, Copy)]
pub struct Helpers {
    /// Where rows lie in the order of its key, or nobody looks.
    pub ordered: i32,
    /// Where they lie in none, which has to be sorted.
    pub scattered: i32,
}

/// Builds an index anew and makes it valid. Nothing happens when somebody has dropped it. 42501 when the current role does not own
/// its table; 23505 when rows in the way of a unique index are found.
///
/// `helpers` are the parallel workers that it may have of those that the server allows; all when none are given.
pub fn rebuild(relid: u32, index: u32, helpers: Option<Helpers>) -> Result<()> {
    check_owner(relid)?;
    let params =
        pg_sys::ReindexParams { options: pg_sys::REINDEXOPT_REPORT_PROGRESS, tablespaceOid: pg_sys::InvalidOid };
    let params = &raw const params;
    let index = pg_sys::Oid::from(index);
    let (share, exclusive) = (pg_sys::ShareLock as pg_sys::LOCKMODE, pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE);
    // SAFETY: inside a transaction; the relations are open under the locks of a REINDEX, which are kept to its end. Whatever runs code
    // of the owner's becomes the owner by itself.
    unsafe {
        let heap = pg_sys::table_open(pg_sys::Oid::from(relid), share);
        let blocks = pg_sys::RelationGetNumberOfBlocksInFork(heap, pg_sys::ForkNumber::MAIN_FORKNUM);
        scan_in_order(blocks);
        // Nobody can drop it now: that takes a lock on the table.
        if !pg_sys::get_rel_name(index).is_null() {
            let rel = pg_sys::index_open(index, exclusive);
            let is_btree = (*(*rel).rd_rel).relam == pg_sys::BTREE_AM_OID;
            let seen = is_btree && super::storage::is_all_visible(heap, blocks);
            if seen {
                build_of_visible(heap, blocks, rel, helpers)?;
            }
            pg_sys::index_close(rel, pg_sys::NoLock as pg_sys::LOCKMODE);
            if !seen {
                allow(helpers.map(|helpers| helpers.ordered));
                pg_sys::reindex_index(ptr::null(), index, false, pg_sys::get_rel_persistence(index), params);
            }
        }
        pg_sys::table_close(heap, pg_sys::NoLock as pg_sys::LOCKMODE);
    }
    Ok(())
}

/// What `reindex_index` does with an invalid index, but for how rows are read: under a snapshot and page by page, as by a query, instead of
/// under none, with each row locked twice and looked at for whom it is visible to. Where every row is visible to everybody that is the
/// same, and a fifth of the work less where nothing has to be sorted (docs/decisions/0015). With parallel workers rows are read as always.
///
/// # Safety
/// The heap, of so many blocks, is open under ShareLock and all visible, the index under AccessExclusiveLock, inside a transaction.
unsafe fn build_of_visible(
    heap: pg_sys::Relation,
    blocks: u32,
    index: pg_sys::Relation,
    helpers: Option<Helpers>,
) -> Result<()> {
    let (relid, index_oid) = ((*heap).rd_id, (*index).rd_id);
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
    let restricted = context | pg_sys::SECURITY_RESTRICTED_OPERATION as c_int;
    pg_sys::SetUserIdAndSecContext((*(*heap).rd_rel).relowner, restricted);
    let nest = pg_sys::NewGUCNestLevel();
    pg_sys::RestrictSearchPath();
    pg_sys::pgstat_progress_start_command(pg_sys::ProgressCommandType::PROGRESS_COMMAND_CREATE_INDEX, relid);
    for (what, value) in [
        (pg_sys::PROGRESS_CREATEIDX_COMMAND, i64::from(pg_sys::PROGRESS_CREATEIDX_COMMAND_REINDEX)),
        (pg_sys::PROGRESS_CREATEIDX_INDEX_OID.to_u32(), i64::from(index_oid.to_u32())),
        (pg_sys::PROGRESS_CREATEIDX_ACCESS_METHOD_OID.to_u32(), i64::from((*(*index).rd_rel).relam.to_u32())),
    ] {
        pg_sys::pgstat_progress_update_param(what as c_int, value);
    }
    pg_sys::CheckTableNotInUse(index, c"REINDEX INDEX".as_ptr());
    super::compat::transfer_predicate_locks(index);
    let info = pg_sys::BuildIndexInfo(index);
    // Nothing is concurrent about it but the snapshot, which the sample is read under, too.
    (*info).ii_Concurrent = true;
    allow(helpers.map(|helpers| {
        // The server gives no worker to smaller ones, unless the table says how many.
        let counts = i64::from(blocks) >= i64::from(pg_sys::min_parallel_table_scan_size);
        if helpers.scattered != helpers.ordered && counts && is_scattered(heap, index, info, blocks) {
            helpers.scattered
        } else {
            helpers.ordered
        }
    }));
    // Parallel workers would take the locks of a concurrent build as well, which shut out the builds beside this one.
    let is_helped = pg_sys::plan_create_index_workers(relid, index_oid) > 0;
    (*info).ii_Concurrent = !is_helped;
    pg_sys::RelationSetNewRelfilenumber(index, (*(*index).rd_rel).relpersistence);
    pg_sys::index_build(heap, index, info, true, is_helped);
    pg_sys::AtEOXact_GUC(false, nest);
    pg_sys::SetUserIdAndSecContext(user, context);
    let flags = [("indcheckxmin", false), ("indisvalid", true), ("indisready", true), ("indislive", true)];
    PG_INDEX.set_booleans(index_oid.to_u32(), &flags)?;
    pg_sys::CacheInvalidateRelcacheByRelid(relid);
    pg_sys::pgstat_progress_end_command();
    Ok(())
}
