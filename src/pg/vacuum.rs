//! VACUUM (FREEZE, ANALYZE), called as autovacuum calls it: it runs transactions of its own and cannot go through SPI.

use super::compat::vacuum_params;
use super::raise;
use crate::error::Result;
use pgrx::pg_sys;
use pgrx::pg_sys::PgTryBuilder;
use std::panic::AssertUnwindSafe;
use std::ptr;

/// Vacuums and analyzes tables, or only analyzes them when `freeze` is false. Outside of any transaction. The current role
/// must own the tables or have MAINTAIN on them; the server skips others with a warning.
pub fn vacuum(relids: &[u32], freeze: bool) -> Result<()> {
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: a worker outside of a transaction, as autovacuum_do_vac_analyze() is. The list lives in a context that
        // survives the transactions vacuum() ends.
        unsafe {
            pg_sys::SetCurrentStatementStartTimestamp();
            pg_sys::StartTransactionCommand();
            let context = pg_sys::AllocSetContextCreateInternal(
                pg_sys::TopMemoryContext,
                c"steep_repl vacuum".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as pg_sys::Size,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as pg_sys::Size,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as pg_sys::Size,
            );
            let before = pg_sys::MemoryContextSwitchTo(context);
            let mut list: *mut pg_sys::List = ptr::null_mut();
            for relid in relids {
                let relation = pg_sys::makeVacuumRelation(ptr::null_mut(), pg_sys::Oid::from(*relid), ptr::null_mut());
                list = pg_sys::lappend(list, relation.cast());
            }
            let mut params = vacuum_params(freeze);
            let strategy = pg_sys::GetAccessStrategy(pg_sys::BufferAccessStrategyType::BAS_VACUUM);
            pg_sys::MemoryContextSwitchTo(before);
            let params = &raw mut params;
            // ANALYZE alone runs in this transaction and needs a snapshot, as the SQL command has one; with VACUUM the
            // server takes one for each of its own transactions.
            if !freeze {
                pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            }
            pg_sys::vacuum(list, params, strategy, context, true);
            if pg_sys::ActiveSnapshotSet() {
                pg_sys::PopActiveSnapshot();
            }
            pg_sys::CommitTransactionCommand();
            pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            pg_sys::MemoryContextDelete(context);
        }
        Ok(())
    }))
    .catch_others(|caught| Err(raise::error_of(&caught)))
    .catch_rust_panic(|caught| Err(raise::error_of(&caught)))
    .execute();
    if outcome.is_err() {
        // SAFETY: as in the transaction runner. The small context of the list is left to the end of the process.
        unsafe {
            pg_sys::AbortOutOfAnyTransaction();
            pg_sys::FlushErrorState();
        }
    }
    outcome
}
