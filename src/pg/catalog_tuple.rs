//! Changing single attributes of a row of a system catalog, by attribute name.

use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::{c_int, CString};

/// A system catalog, by its fixed OID, and the cache that finds its rows by OID.
#[derive(Clone, Copy)]
pub(super) struct Catalog {
    relation: u32,
    cache: pg_sys::SysCacheIdentifier::Type,
}

/// `pg_index`, by the index's OID.
pub(super) const PG_INDEX: Catalog = Catalog { relation: 2610, cache: pg_sys::SysCacheIdentifier::INDEXRELID };
/// `pg_constraint`, by its OID.
pub(super) const PG_CONSTRAINT: Catalog = Catalog { relation: 2606, cache: pg_sys::SysCacheIdentifier::CONSTROID };

impl Catalog {
    /// Sets boolean attributes of one row.
    ///
    /// # Safety
    /// Inside a transaction; the caller holds the lock that the change needs on the object, and tells the relation cache.
    pub(super) unsafe fn set_booleans(self, oid: u32, values: &[(&str, bool)]) -> Result<()> {
        let names = values
            .iter()
            .map(|(name, _)| CString::new(*name).map_err(|_| Error::internal("a NUL byte in an attribute name")))
            .collect::<Result<Vec<_>>>()?;
        let catalog = pg_sys::Oid::from(self.relation);
        let rel = pg_sys::table_open(catalog, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        let tuple = pg_sys::SearchSysCacheCopy(
            self.cache as c_int,
            pg_sys::Datum::from(pg_sys::Oid::from(oid)),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
            pg_sys::Datum::from(0usize),
        );
        if tuple.is_null() {
            return Err(Error::internal(format!("catalog row {oid} is gone")));
        }
        let mut columns = Vec::new();
        let mut datums = Vec::new();
        let nulls = vec![false; values.len()];
        for (name, (_, value)) in names.iter().zip(values) {
            columns.push(pg_sys::get_attnum(catalog, name.as_ptr()) as c_int);
            datums.push(pg_sys::Datum::from(*value));
        }
        let changed = pg_sys::heap_modify_tuple_by_cols(
            tuple,
            (*rel).rd_att,
            values.len() as c_int,
            columns.as_ptr(),
            datums.as_ptr(),
            nulls.as_ptr(),
        );
        pg_sys::CatalogTupleUpdate(rel, &mut (*changed).t_self, changed);
        pg_sys::heap_freetuple(changed);
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(rel, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE);
        Ok(())
    }
}
