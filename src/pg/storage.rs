//! The storage of tables that are loaded: made new, loaded frozen, and rid of what a failed load left in it.

use super::catalog_tuple::PG_CONSTRAINT;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ptr;

/// Blocks that a table is extended by at a time: 32 MB.
const EXTENSION_PIECE: u32 = 4096;
/// Blocks of a table that are not marked as all visible and that are still worth a look each: 8 MB. Every load may leave some.
const MOST_EMPTY: u32 = 1024;
/// `InvalidBuffer`.
const NO_BUFFER: pg_sys::Buffer = 0;
/// Room in a page with nothing in it but its header.
const EMPTY_PAGE: pg_sys::Size = pg_sys::BLCKSZ as pg_sys::Size - 24;

/// What bypasses the checks of SQL must ask first.
pub(super) fn check_owner(relid: u32, to: &str) -> Result<()> {
    if super::role::owns_table(relid) {
        return Ok(());
    }
    Err(Error::RightsHere {
        role: super::role::name_of(super::role::current()),
        lacks: format!("does not own table {}", super::system::relation_name(relid)),
        hint: format!("Only a table's owner or a superuser may {to}."),
    })
}

/// Gives a table and its TOAST table new empty storage, as TRUNCATE does.
///
/// The caller holds AccessExclusiveLock, has found the table without rows under it, and knows that all its indexes are
/// suspended: their old contents do not fit the new storage. 42501 when the current role does not own the table.
pub fn make_new(relid: u32) -> Result<()> {
    check_owner(relid, "give it new storage")?;
    let lock = pg_sys::AccessExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: relations are opened under the lock the caller holds, and closed again; the bindings guard each call.
    unsafe {
        let rel = pg_sys::table_open(pg_sys::Oid::from(relid), lock);
        pg_sys::CheckTableNotInUse(rel, c"steep_repl".as_ptr());
        pg_sys::RelationSetNewRelfilenumber(rel, (*(*rel).rd_rel).relpersistence);
        let toast = (*(*rel).rd_rel).reltoastrelid;
        if toast != pg_sys::InvalidOid {
            let toast_rel = pg_sys::relation_open(toast, lock);
            pg_sys::RelationSetNewRelfilenumber(toast_rel, (*(*toast_rel).rd_rel).relpersistence);
            pg_sys::table_close(toast_rel, pg_sys::NoLock as pg_sys::LOCKMODE);
            let params: pg_sys::ReindexParams = std::mem::zeroed();
            pg_sys::reindex_relation(ptr::null(), toast, 0, &params);
        }
        pg_sys::table_close(rel, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}

/// Makes a table so many blocks long at least; the new ones are empty. They are in shared buffers when these are `cached`: whoever fills
/// a block that is not there reads its zeros from disk first, which is a seventh of the work of a load.
///
/// # Safety
/// An open relation under a lock that writers take, inside a transaction.
pub(super) unsafe fn extend(rel: pg_sys::Relation, blocks: u32, cached: bool) {
    let (fork, lock) = (pg_sys::ForkNumber::MAIN_FORKNUM, pg_sys::ExclusiveLock as pg_sys::LOCKMODE);
    loop {
        let now = pg_sys::RelationGetNumberOfBlocksInFork(rel, fork);
        if now >= blocks {
            return;
        }
        // A piece at a time: nothing can interrupt one, and others may want to extend the table too.
        pgrx::check_for_interrupts!();
        if cached {
            let whole = pg_sys::BufferManagerRelation { rel, ..std::mem::zeroed() };
            let (to, mode) = (blocks.min(now.saturating_add(EXTENSION_PIECE)), pg_sys::ReadBufferMode::RBM_NORMAL);
            pg_sys::ReleaseBuffer(pg_sys::ExtendBufferedRelTo(whole, fork, ptr::null_mut(), 0, to, mode));
            continue;
        }
        pg_sys::LockRelationForExtension(rel, lock);
        let now = pg_sys::RelationGetNumberOfBlocksInFork(rel, fork);
        if now < blocks {
            let piece = (blocks - now).min(EXTENSION_PIECE);
            pg_sys::smgrzeroextend(pg_sys::RelationGetSmgr(rel), fork, now, piece as std::ffi::c_int, false);
        }
        pg_sys::UnlockRelationForExtension(rel, lock);
    }
}

/// Lets everybody know of blocks that have stayed empty.
///
/// # Safety
/// An open relation, inside a transaction.
pub(super) unsafe fn give_back(rel: pg_sys::Relation, blocks: std::ops::Range<u32>) {
    if blocks.is_empty() {
        return;
    }
    let (start, end) = (blocks.start, blocks.end);
    for block in blocks {
        pg_sys::RecordPageWithFreeSpace(rel, block, EMPTY_PAGE);
    }
    pg_sys::FreeSpaceMapVacuumRange(rel, start, end);
}

/// Whether every row of a table of so many blocks is visible to everybody, and no row in it to nobody. Blocks that were made for rows which did
/// not come are marked as nothing, and are looked at.
///
/// # Safety
/// An open relation under a lock that keeps writers away, inside a transaction.
pub(super) unsafe fn is_all_visible(rel: pg_sys::Relation, blocks: u32) -> bool {
    let mut visible = 0;
    pg_sys::visibilitymap_count(rel, &mut visible, ptr::null_mut());
    if blocks.saturating_sub(visible) > MOST_EMPTY {
        return false;
    }
    let mut map = NO_BUFFER;
    let all = visible == blocks
        || (0..blocks).all(|block| {
            pgrx::check_for_interrupts!();
            let status = pg_sys::visibilitymap_get_status(rel, block, &mut map);
            u32::from(status) & pg_sys::VISIBILITYMAP_ALL_VISIBLE != 0 || is_empty(rel, block)
        });
    if map != NO_BUFFER {
        pg_sys::ReleaseBuffer(map);
    }
    all
}

unsafe fn is_empty(rel: pg_sys::Relation, block: u32) -> bool {
    let (fork, mode) = (pg_sys::ForkNumber::MAIN_FORKNUM, pg_sys::ReadBufferMode::RBM_NORMAL);
    let buffer = pg_sys::ReadBufferExtended(rel, fork, block, mode, ptr::null_mut());
    pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
    let rows = pg_sys::PageGetMaxOffsetNumber(pg_sys::BufferGetPage(buffer));
    pg_sys::UnlockReleaseBuffer(buffer);
    rows == 0
}

/// Deletes the frozen rows of transactions that did not commit, which a load that was interrupted has left behind. No trigger
/// fires: the rows were never there. Returns how many; none when a row's transaction is too old for
/// the server to know how it ended.
///
/// 42501 when the current role does not own it.
pub fn remove_unfinished(relid: u32) -> Result<Option<u64>> {
    check_owner(relid, "have what is left of an interrupted load removed")?;
    // SAFETY: the relation stays open under its lock and the scan is ended before it is closed; the bindings guard each call,
    // and after an error the abort releases both. A tuple is read before the scan goes on.
    unsafe {
        let rel = pg_sys::table_open(pg_sys::Oid::from(relid), pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
            | pg_sys::ScanOptions::SO_ALLOW_STRAT
            | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
        let scan = pg_sys::heap_beginscan(rel, pg_sys::GetActiveSnapshot(), 0, ptr::null_mut(), ptr::null_mut(), flags);
        let mut fate = (pg_sys::InvalidTransactionId, Fate::Stays);
        let mut removed = 0;
        let mut clear = true;
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let header = (*tuple).t_data;
            if u32::from((*header).t_infomask) & pg_sys::HEAP_XMIN_FROZEN != pg_sys::HEAP_XMIN_FROZEN {
                continue;
            }
            // A frozen row still tells who wrote it.
            let writer = (*header).t_choice.t_heap.t_xmin;
            if fate.0 != writer {
                fate = (writer, fate_of(writer));
            }
            match fate.1 {
                Fate::Stays => {}
                Fate::Goes => removed += u64::from(delete(rel, &raw mut (*tuple).t_self)),
                Fate::Unknown => {
                    clear = false;
                    break;
                }
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(rel, pg_sys::NoLock as pg_sys::LOCKMODE);
        Ok(clear.then_some(removed))
    }
}

/// What becomes of a transaction's frozen rows.
#[derive(Clone, Copy)]
enum Fate {
    Stays,
    Goes,
    Unknown,
}

/// In the order in which core asks: a transaction that is running is not yet known as committed.
unsafe fn fate_of(writer: pg_sys::TransactionId) -> Fate {
    if !pg_sys::TransactionIdIsNormal(writer) {
        Fate::Stays
    } else if pg_sys::TransactionIdPrecedes(writer, (*pg_sys::TransamVariables).oldestClogXid) {
        Fate::Unknown
    } else if pg_sys::TransactionIdIsInProgress(writer) || pg_sys::TransactionIdDidCommit(writer) {
        Fate::Stays
    } else {
        Fate::Goes
    }
}

/// Deletes one row. False when somebody else is at it: another worker, which removes the same rows and comes again if it fails.
unsafe fn delete(rel: pg_sys::Relation, place: pg_sys::ItemPointer) -> bool {
    let mut failure: pg_sys::TM_FailureData = std::mem::zeroed();
    let command = pg_sys::GetCurrentCommandId(true);
    let outcome = pg_sys::heap_delete(rel, place, command, ptr::null_mut(), false, &mut failure, false);
    outcome == pg_sys::TM_Result::TM_Ok
}

/// Switches the enforcement of a NOT VALID constraint off or on, in place; PostgreSQL 18 and later.
///
/// The caller holds AccessExclusiveLock on the table. 42501 when the current role does not own it.
pub fn set_constraint_enforced(relid: u32, constraint: u32, enforced: bool) -> Result<()> {
    check_owner(relid, "have its constraints set aside")?;
    // SAFETY: the table is locked by the caller; the relation cache is told.
    unsafe {
        PG_CONSTRAINT.set_booleans(constraint, &[("conenforced", enforced)])?;
        pg_sys::CacheInvalidateRelcacheByRelid(pg_sys::Oid::from(relid));
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}
