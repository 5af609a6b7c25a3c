//! Snapshots of a session that waits: it must see what is new, and must not hold VACUUM back.

use pgrx::pg_sys;

/// Gives up this backend's claim on old rows for the time of a wait, when that can do no harm.
///
/// `SELECT steep_repl.wait_for_init(...)`, or `wait_for_snapshot`, has a snapshot for as long as it runs, and with it would keep the operation's own
/// VACUUM from freezing a single row. The snapshot is of no use when the statement is nothing but this call with constant
/// arguments, so its xmin is taken back then; not so where anything else in the session holds a snapshot (an open cursor, a
/// function around the call) or when the transaction's snapshot is to last.
pub fn release_horizon_if_unused() {
    // SAFETY: reads backend state inside a transaction; the one write is to this backend's own xmin, which only it writes,
    // and which may be invalid while no snapshot is left that will be used again.
    unsafe {
        if pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 || !statement_is_this_call() {
            return;
        }
        pg_sys::InvalidateCatalogSnapshot();
        // The statement's own is the one that is tolerated.
        if pg_sys::ThereAreNoPriorRegisteredSnapshots() && !pg_sys::MyProc.is_null() {
            (&raw mut (*pg_sys::MyProc).xmin).write_volatile(pg_sys::InvalidTransactionId);
        }
    }
}

/// The functions that wait.
const WAITS: [&std::ffi::CStr; 2] = [c"wait_for_init", c"wait_for_snapshot"];

/// Whether the statement that runs is the SELECT of one of these functions, with constants, and nothing else.
unsafe fn statement_is_this_call() -> bool {
    if pg_sys::ActivePortal.is_null() {
        return false;
    }
    let query = (*pg_sys::ActivePortal).queryDesc;
    if query.is_null() || (*query).plannedstmt.is_null() {
        return false;
    }
    let plan = (*(*query).plannedstmt).planTree;
    if plan.is_null() || (*plan).type_ != pg_sys::NodeTag::T_Result || !(*plan).lefttree.is_null() {
        return false;
    }
    let targets = (*plan).targetlist;
    if targets.is_null() || (*targets).length != 1 {
        return false;
    }
    let expression = (*(*(*targets).elements).ptr_value.cast::<pg_sys::TargetEntry>()).expr;
    if expression.is_null() || (*expression).type_ != pg_sys::NodeTag::T_FuncExpr {
        return false;
    }
    let call = expression.cast::<pg_sys::FuncExpr>();
    let name = pg_sys::get_func_name((*call).funcid);
    let ours = !name.is_null()
        && WAITS.contains(&std::ffi::CStr::from_ptr(name))
        && pg_sys::get_func_namespace((*call).funcid) == pg_sys::get_namespace_oid(c"steep_repl".as_ptr(), true);
    let arguments = (*call).args;
    ours && (0..if arguments.is_null() { 0 } else { (*arguments).length }).all(|place| {
        let argument = (*(*arguments).elements.add(place as usize)).ptr_value.cast::<pg_sys::Node>();
        matches!((*argument).type_, pg_sys::NodeTag::T_Const | pg_sys::NodeTag::T_Param)
    })
}

/// Whether looks of this transaction would always see the same: its snapshot lasts, and SPI uses it because it has written.
pub fn is_blind() -> bool {
    // SAFETY: reads backend state.
    unsafe {
        pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32
            && pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId
    }
}

/// Whether this transaction has a transaction id: others may have to wait for its end.
pub fn has_written() -> bool {
    // SAFETY: reads backend state.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
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
