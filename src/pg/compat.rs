//! The one file for what differs between PostgreSQL 17 and 18, and for functions that the server exports and pgrx does not bind.
//!
//! Every raw extern here is called through [`guarded`], so that an error inside becomes a Rust panic instead of a jump over
//! Rust frames.

use pgrx::pg_sys;
use std::ffi::{c_char, c_int};

/// Runs a C call with PostgreSQL's errors caught at its boundary. Only for raw externs and function pointers: the functions of
/// `pg_sys` bring a guard of their own, and an error that leaves a guard inside a guard aborts the server.
///
/// # Safety
/// The closure only calls C: it neither panics nor owns anything with a destructor while it does.
pub(super) unsafe fn guarded<R: Copy>(call: impl FnOnce() -> R) -> R {
    pg_sys::ffi::pg_guard_ffi_boundary(call)
}

/// `UserContext` of `utils/usercontext.h`.
#[repr(C)]
pub(super) struct UserContext {
    save_userid: pg_sys::Oid,
    save_sec_context: c_int,
    save_nestlevel: c_int,
}

extern "C-unwind" {
    pub(super) fn SwitchToUntrustedUser(userid: pg_sys::Oid, context: *mut UserContext);
    pub(super) fn RestoreUserContext(context: *mut UserContext);

    pub(super) fn CreateSubscription(
        pstate: *mut pg_sys::ParseState,
        stmt: *mut pg_sys::CreateSubscriptionStmt,
        is_top_level: bool,
    ) -> pg_sys::ObjectAddress;
    pub(super) fn AddSubscriptionRelState(
        subid: pg_sys::Oid,
        relid: pg_sys::Oid,
        state: c_char,
        lsn: pg_sys::XLogRecPtr,
        retain_lock: bool,
    );
    #[cfg(feature = "pg18")]
    fn UpdateSubscriptionRelState(
        subid: pg_sys::Oid,
        relid: pg_sys::Oid,
        state: c_char,
        lsn: pg_sys::XLogRecPtr,
        already_locked: bool,
    );
    #[cfg(feature = "pg17")]
    fn UpdateSubscriptionRelState(subid: pg_sys::Oid, relid: pg_sys::Oid, state: c_char, lsn: pg_sys::XLogRecPtr);

    pub(super) fn RelationAssumeNewRelfilelocator(relation: pg_sys::Relation);

    pub(super) fn RemoveSubscriptionRel(subid: pg_sys::Oid, relid: pg_sys::Oid);

    /// The raw forms of what a loop under one guard calls.
    pub(super) fn WaitLatchOrSocket(
        latch: *mut pg_sys::Latch,
        events: c_int,
        socket: pg_sys::pgsocket,
        timeout: std::ffi::c_long,
        wait_event: u32,
    ) -> c_int;
    pub(super) fn ResetLatch(latch: *mut pg_sys::Latch);
    pub(super) fn ProcessInterrupts();
    fn SetLatch(latch: *mut pg_sys::Latch);

    fn errstart(elevel: c_int, domain: *const c_char) -> bool;
    fn errfinish(filename: *const c_char, lineno: c_int, funcname: *const c_char);

    fn RegisterTimeout(id: c_int, handler: unsafe extern "C" fn()) -> c_int;
    fn enable_timeout_after(id: c_int, milliseconds: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);

    /// The server's own SIGTERM handler: it ends a query at its next interrupt check, which a flag of ours would not.
    fn die(signal: c_int);
}

/// Sets the state of a table of a subscription; 18 has one argument more than 17.
///
/// # Safety
/// Inside a transaction; see [`guarded`].
pub(super) unsafe fn update_subscription_rel_state(
    subid: pg_sys::Oid,
    relid: pg_sys::Oid,
    state: c_char,
    lsn: pg_sys::XLogRecPtr,
) {
    #[cfg(feature = "pg18")]
    guarded(|| UpdateSubscriptionRelState(subid, relid, state, lsn, false));
    #[cfg(feature = "pg17")]
    guarded(|| UpdateSubscriptionRelState(subid, relid, state, lsn));
}

/// Writes a line to the server log that does not bring the session's statement along.
///
/// # Safety
/// In a process of the server.
pub(super) unsafe fn log_without_statement(line: &std::ffi::CStr) {
    if guarded(|| errstart(pg_sys::LOG as c_int, std::ptr::null())) {
        pg_sys::errmsg_internal(c"%s".as_ptr(), line.as_ptr());
        pg_sys::errhidestmt(true);
        pg_sys::errhidecontext(true);
        guarded(|| errfinish(std::ptr::null(), 0, std::ptr::null()));
    }
}

/// `USER_TIMEOUT` of `utils/timeout.h`: asks for any free timer.
const USER_TIMEOUT: c_int = 13;

/// Registers a timer of this process; its handler runs in a signal handler.
///
/// # Safety
/// The handler is async-signal-safe. A process has few timers: register once.
pub(super) unsafe fn register_timer(handler: unsafe extern "C" fn()) -> c_int {
    guarded(|| RegisterTimeout(USER_TIMEOUT, handler))
}

/// Starts a timer.
///
/// # Safety
/// A registered timer.
pub(super) unsafe fn start_timer(timer: c_int, milliseconds: c_int) {
    guarded(|| enable_timeout_after(timer, milliseconds));
}

/// Stops a timer. Raises no error, so that it may be called while unwinding.
///
/// # Safety
/// A registered timer.
pub(super) unsafe fn stop_timer(timer: c_int) {
    disable_timeout(timer, false);
}

/// Sets this process's latch, in a signal handler too.
///
/// # Safety
/// In a process of the server.
pub(super) unsafe fn set_my_latch() {
    SetLatch(pg_sys::MyLatch);
}

unsafe extern "C-unwind" fn on_sighup(_signal: c_int) {
    // SAFETY: an async-signal-safe store and SetLatch, as SignalHandlerForConfigReload does.
    unsafe {
        (&raw mut pg_sys::ConfigReloadPending).write_volatile(1);
        SetLatch(pg_sys::MyLatch);
    }
}

/// Installs the signal handlers of a worker: SIGTERM ends it at once, SIGHUP asks for the configuration to be read again.
///
/// # Safety
/// Once, at the start of a background worker, before its signals are unblocked.
pub(super) unsafe fn install_signal_handlers() {
    #[cfg(feature = "pg18")]
    {
        pg_sys::pqsignal_be(pg_sys::SIGTERM as c_int, Some(die));
        pg_sys::pqsignal_be(pg_sys::SIGHUP as c_int, Some(on_sighup));
    }
    #[cfg(feature = "pg17")]
    {
        pg_sys::pqsignal(pg_sys::SIGTERM as c_int, Some(die));
        pg_sys::pqsignal(pg_sys::SIGHUP as c_int, Some(on_sighup));
    }
    pg_sys::BackgroundWorkerUnblockSignals();
}

/// Parameters for a `VACUUM (FREEZE, ANALYZE)`, or an `ANALYZE` alone, as autovacuum would set them.
pub(super) fn vacuum_params(freeze: bool) -> pg_sys::VacuumParams {
    // SAFETY: a C struct of integers, enums and floats, for which all zeroes is a valid value.
    let mut params: pg_sys::VacuumParams = unsafe { std::mem::zeroed() };
    let mut options = pg_sys::VACOPT_ANALYZE;
    if freeze {
        options |=
            pg_sys::VACOPT_VACUUM | pg_sys::VACOPT_FREEZE | pg_sys::VACOPT_PROCESS_MAIN | pg_sys::VACOPT_PROCESS_TOAST;
    }
    params.options = options as _;
    params.freeze_min_age = 0;
    params.freeze_table_age = 0;
    params.multixact_freeze_min_age = 0;
    params.multixact_freeze_table_age = 0;
    params.log_min_duration = -1;
    params.index_cleanup = pg_sys::VacOptValue::VACOPTVALUE_UNSPECIFIED;
    params.truncate = pg_sys::VacOptValue::VACOPTVALUE_DISABLED;
    // Autovacuum's workers do not start helpers either: the load is spread over our own.
    params.nworkers = -1;
    params
}
