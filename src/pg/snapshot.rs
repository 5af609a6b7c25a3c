//! Snapshots of a session that waits: it must see what is new, and must not hold VACUUM back.

use pgrx::pg_sys;

/// Gives up this backend's claim on old rows for the time of a wait, when that can do no harm.
///
/// `SELECT wait_for_init(...)` has a snapshot for as long as it runs, and with it would keep the operation's own VACUUM from
/// freezing a single row. The snapshot is of no use when the statement reads no table, so its xmin is taken back; not so in
/// transactions whose snapshot is to last, inside functions, and in statements that read something.
pub fn release_horizon_if_unused() {
    // SAFETY: reads backend state; the one write is to this backend's own xmin, which only it writes, and which may be
    // invalid while no snapshot that will be used again needs it.
    unsafe {
        if pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 || pg_sys::ActivePortal.is_null() {
            return;
        }
        let query = (*pg_sys::ActivePortal).queryDesc;
        if query.is_null() || (*query).plannedstmt.is_null() {
            return;
        }
        let statement = (*query).plannedstmt;
        let plan = (*statement).planTree;
        let is_bare_call = !plan.is_null()
            && (*plan).type_ == pg_sys::NodeTag::T_Result
            && !(*plan).targetlist.is_null()
            && (*(*plan).targetlist).length == 1;
        let reads_nothing = (*statement).relationOids.is_null() && (*statement).subplans.is_null();
        if is_bare_call && reads_nothing && !pg_sys::MyProc.is_null() {
            (&raw mut (*pg_sys::MyProc).xmin).write_volatile(pg_sys::InvalidTransactionId);
        }
    }
}

/// Runs a look at the catalog that sees what is committed now, not what the statement's snapshot saw.
pub fn fresh<T>(look: impl FnOnce() -> T) -> T {
    // SAFETY: pushed and popped in pairs; when the look fails, the abort pops it.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let seen = look();
    // SAFETY: see above.
    unsafe { pg_sys::PopActiveSnapshot() };
    seen
}
