//! New, empty storage for an empty table, so that rows can be loaded frozen in the same transaction.

use super::catalog_tuple::PG_CONSTRAINT;
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ptr;

/// Gives a table and its TOAST table new empty storage, as TRUNCATE does.
///
/// The caller holds AccessExclusiveLock, has found the table without rows under it, and knows that all its indexes are
/// suspended: their old contents do not fit the new storage. 42501 when the current role does not own the table.
pub fn make_new(relid: u32) -> Result<()> {
    if !super::role::owns_table(relid) {
        return Err(Error::Rights {
            role: super::role::name_of(super::role::current()),
            lacks: format!("does not own table {}", super::system::relation_name(relid)),
            node: "this node".to_owned(),
            hint: "Only a table's owner or a superuser may give it new storage.".to_owned(),
        });
    }
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

/// Switches the enforcement of a NOT VALID constraint off or on, in place; PostgreSQL 18 and later.
///
/// The caller holds AccessExclusiveLock on the table. 42501 when the current role does not own it.
pub fn set_constraint_enforced(relid: u32, constraint: u32, enforced: bool) -> Result<()> {
    if !super::role::owns_table(relid) {
        return Err(Error::Rights {
            role: super::role::name_of(super::role::current()),
            lacks: format!("does not own table {}", super::system::relation_name(relid)),
            node: "this node".to_owned(),
            hint: "Only a table's owner or a superuser may have its constraints set aside.".to_owned(),
        });
    }
    // SAFETY: the table is locked by the caller; the relation cache is told.
    unsafe {
        PG_CONSTRAINT.set_booleans(constraint, &[("conenforced", enforced)])?;
        pg_sys::CacheInvalidateRelcacheByRelid(pg_sys::Oid::from(relid));
        pg_sys::CommandCounterIncrement();
    }
    Ok(())
}
