//! The one file for what differs between PostgreSQL 17 and 18, and for functions that the server exports and pgrx does not bind.
//!
//! Every raw extern here is called through [`guarded`], so that an error inside becomes a Rust panic instead of a jump over
//! Rust frames.

use pgrx::pg_sys;
use std::ffi::{c_char, c_int, c_void};
use std::ops::Range;

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
    pub(super) fn standard_ProcessUtility(
        pstmt: *mut pg_sys::PlannedStmt,
        query_string: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        query_env: *mut pg_sys::QueryEnvironment,
        dest: *mut pg_sys::DestReceiver,
        qc: *mut pg_sys::QueryCompletion,
    );

    pub(super) fn SwitchToUntrustedUser(userid: pg_sys::Oid, context: *mut UserContext);
    pub(super) fn RestoreUserContext(context: *mut UserContext);

    pub(super) fn CreateSubscription(
        pstate: *mut pg_sys::ParseState,
        stmt: *mut pg_sys::CreateSubscriptionStmt,
        is_top_level: bool,
    ) -> pg_sys::ObjectAddress;
    pub(super) fn AlterSubscription(
        pstate: *mut pg_sys::ParseState,
        stmt: *mut pg_sys::AlterSubscriptionStmt,
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

    pub(super) fn RemoveSubscriptionRel(subid: pg_sys::Oid, relid: pg_sys::Oid);

    /// The raw forms of what a loop under one guard calls.
    pub(super) fn CreateWaitEventSet(owner: pg_sys::ResourceOwner, events: c_int) -> *mut pg_sys::WaitEventSet;
    pub(super) fn AddWaitEventToSet(
        set: *mut pg_sys::WaitEventSet,
        events: u32,
        socket: pg_sys::pgsocket,
        latch: *mut pg_sys::Latch,
        data: *mut c_void,
    ) -> c_int;
    pub(super) fn WaitEventSetWait(
        set: *mut pg_sys::WaitEventSet,
        timeout: std::ffi::c_long,
        occurred: *mut pg_sys::WaitEvent,
        most: c_int,
        wait_event: u32,
    ) -> c_int;
    pub(super) fn FreeWaitEventSet(set: *mut pg_sys::WaitEventSet);
    pub(super) fn ResetLatch(latch: *mut pg_sys::Latch);
    fn TransferPredicateLocksToHeapRelation(relation: pg_sys::Relation);
    fn datumCopy(value: pg_sys::Datum, by_value: bool, length: c_int) -> pg_sys::Datum;
    fn ProcessInterrupts();
    fn SetLatch(latch: *mut pg_sys::Latch);

    /// The raw forms of what puts rows into the heap under one guard.
    pub(super) fn ReceiveFunctionCall(
        function: *mut pg_sys::FmgrInfo,
        buffer: *mut pg_sys::StringInfoData,
        parameter: pg_sys::Oid,
        modifier: i32,
    ) -> pg_sys::Datum;
    pub(super) fn NextCopyFrom(
        state: pg_sys::CopyFromState,
        expressions: *mut pg_sys::ExprContext,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    ) -> bool;
    pub(super) fn appendBinaryStringInfo(to: pg_sys::StringInfo, data: *const c_void, length: c_int);
    pub(super) fn ExecStoreVirtualTuple(slot: *mut pg_sys::TupleTableSlot) -> *mut pg_sys::TupleTableSlot;
    pub(super) fn ExecStoreHeapTuple(
        tuple: pg_sys::HeapTuple,
        slot: *mut pg_sys::TupleTableSlot,
        should_free: bool,
    ) -> *mut pg_sys::TupleTableSlot;
    pub(super) fn ExecConstraints(
        result: *mut pg_sys::ResultRelInfo,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
    );
    pub(super) fn ExecComputeStoredGenerated(
        result: *mut pg_sys::ResultRelInfo,
        estate: *mut pg_sys::EState,
        slot: *mut pg_sys::TupleTableSlot,
        command: pg_sys::CmdType::Type,
    );
    pub(super) fn ExecPartitionCheck(
        result: *mut pg_sys::ResultRelInfo,
        slot: *mut pg_sys::TupleTableSlot,
        estate: *mut pg_sys::EState,
        raise: bool,
    ) -> bool;
    pub(super) fn heap_form_tuple(
        descriptor: pg_sys::TupleDesc,
        values: *const pg_sys::Datum,
        nulls: *const bool,
    ) -> pg_sys::HeapTuple;
    pub(super) fn heap_multi_insert(
        relation: pg_sys::Relation,
        slots: *mut *mut pg_sys::TupleTableSlot,
        count: c_int,
        command: pg_sys::CommandId,
        options: c_int,
        bulk: pg_sys::BulkInsertState,
    );
    pub(super) fn MemoryContextReset(context: pg_sys::MemoryContext);
    fn pgstat_progress_update_param(index: c_int, value: i64);
    fn pgstat_progress_incr_param(index: c_int, increment: i64);

    fn errcode(sqlstate: c_int) -> c_int;
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

/// Raises the error of a stream in binary format that is not one.
///
/// # Safety
/// Under a guard ([`guarded`]).
pub(super) unsafe fn raise_bad_copy_format() -> ! {
    if errstart(pgrx::PgLogLevel::ERROR as c_int, std::ptr::null()) {
        errcode(pg_sys::errcodes::PgSqlErrorCode::ERRCODE_BAD_COPY_FILE_FORMAT as c_int);
        pg_sys::errmsg_internal(c"%s".as_ptr(), c"the stream of the COPY is not in binary format".as_ptr());
        errfinish(std::ptr::null(), 0, std::ptr::null());
    }
    unreachable!("an ERROR does not return")
}

/// Raises the error of a stream that ends before its end. Whoever has the stream knows more and says it instead.
///
/// # Safety
/// Under a guard ([`guarded`]).
pub(super) unsafe fn raise_broken_stream() -> ! {
    if errstart(pgrx::PgLogLevel::ERROR as c_int, std::ptr::null()) {
        errcode(pg_sys::errcodes::PgSqlErrorCode::ERRCODE_DATA_CORRUPTED as c_int);
        pg_sys::errmsg_internal(c"%s".as_ptr(), c"a stream that was kept could not be read to its end".as_ptr());
        errfinish(std::ptr::null(), 0, std::ptr::null());
    }
    unreachable!("an ERROR does not return")
}

/// Shows how far a COPY is, in rows and, where the server does not do so itself, in bytes.
///
/// # Safety
/// Under a guard, after pgstat_progress_start_command().
pub(super) unsafe fn show_copy_progress(rows: i64, bytes: Option<i64>) {
    if let Some(bytes) = bytes {
        pgstat_progress_update_param(pg_sys::PROGRESS_COPY_BYTES_PROCESSED as c_int, bytes);
    }
    pgstat_progress_update_param(pg_sys::PROGRESS_COPY_TUPLES_PROCESSED as c_int, rows);
}

/// Shows that something of a COPY has come, before it can be counted.
///
/// # Safety
/// Under a guard.
pub(super) unsafe fn show_copy_byte() {
    pgstat_progress_incr_param(pg_sys::PROGRESS_COPY_BYTES_PROCESSED as c_int, 1);
}

/// `CHECK_FOR_INTERRUPTS()` of C.
///
/// # Safety
/// Under a guard.
pub(super) unsafe fn interrupts() {
    if pg_sys::InterruptPending != 0 {
        ProcessInterrupts();
    }
}

/// Empties a slot.
///
/// # Safety
/// Under a guard, a live slot.
pub(super) unsafe fn clear_slot(slot: *mut pg_sys::TupleTableSlot) {
    if let Some(clear) = (*(*slot).tts_ops).clear {
        clear(slot);
    }
}

/// `BulkInsertStateData` of `access/hio.h`.
#[repr(C)]
struct BulkInsert {
    strategy: pg_sys::BufferAccessStrategy,
    current_buf: pg_sys::Buffer,
    next_free: pg_sys::BlockNumber,
    last_free: pg_sys::BlockNumber,
    already_extended_by: u32,
}

/// What GetBulkInsertState() makes, in two points by choice: without the ring of buffers pages stay in shared buffers; and the
/// first rows go into the given blocks, which must be there and which nobody else is to fill, before the table is extended.
/// FreeBulkInsertState() frees it.
///
/// # Safety
/// Inside a transaction, an open relation.
pub(super) unsafe fn bulk_insert(
    rel: pg_sys::Relation,
    ring: bool,
    blocks: Option<Range<u32>>,
) -> pg_sys::BulkInsertState {
    let kind = pg_sys::BufferAccessStrategyType::BAS_BULKWRITE;
    let mut bulk = BulkInsert {
        strategy: if ring { pg_sys::GetAccessStrategy(kind) } else { std::ptr::null_mut() },
        current_buf: 0,
        next_free: pg_sys::InvalidBlockNumber,
        last_free: pg_sys::InvalidBlockNumber,
        already_extended_by: 0,
    };
    if let Some(blocks) = blocks.filter(|blocks| !blocks.is_empty()) {
        // The block that the next row is tried on first is the one that is pinned here.
        let (fork, mode) = (pg_sys::ForkNumber::MAIN_FORKNUM, pg_sys::ReadBufferMode::RBM_NORMAL);
        bulk.current_buf = pg_sys::ReadBufferExtended(rel, fork, blocks.start, mode, bulk.strategy);
        if blocks.len() > 1 {
            bulk.next_free = blocks.start + 1;
            bulk.last_free = blocks.end - 1;
        }
    }
    let state = pg_sys::palloc(std::mem::size_of::<BulkInsert>()).cast::<BulkInsert>();
    state.write(bulk);
    state.cast()
}

/// Blocks that a bulk insert has before it and has not filled.
///
/// # Safety
/// What [`bulk_insert`] made.
pub(super) unsafe fn blocks_left(bulk: pg_sys::BulkInsertState) -> Range<u32> {
    let bulk = bulk.cast::<BulkInsert>();
    if (*bulk).next_free == pg_sys::InvalidBlockNumber {
        return 0..0;
    }
    (*bulk).next_free..(*bulk).last_free + 1
}

/// Whether a table has columns that are computed and stored.
///
/// # Safety
/// A live descriptor.
pub(super) unsafe fn has_stored_columns(descriptor: pg_sys::TupleDesc) -> bool {
    let constraints = (*descriptor).constr;
    !constraints.is_null() && (*constraints).has_generated_stored
}

unsafe fn attribute(descriptor: pg_sys::TupleDesc, place: c_int) -> *const pg_sys::FormData_pg_attribute {
    #[cfg(feature = "pg18")]
    return pg_sys::TupleDescAttr(descriptor, place);
    #[cfg(feature = "pg17")]
    return (*descriptor).attrs.as_ptr().add(place as usize);
}

/// Whether a column takes values: it is neither dropped nor generated.
///
/// # Safety
/// A live descriptor, and a place in it from 0.
pub(super) unsafe fn takes_values(descriptor: pg_sys::TupleDesc, place: c_int) -> bool {
    let attribute = attribute(descriptor, place);
    !(*attribute).attisdropped && (*attribute).attgenerated == 0
}

/// A column's type and modifier.
///
/// # Safety
/// As for [`takes_values`].
pub(super) unsafe fn type_of(descriptor: pg_sys::TupleDesc, place: c_int) -> (pg_sys::Oid, i32) {
    let attribute = attribute(descriptor, place);
    ((*attribute).atttypid, (*attribute).atttypmod)
}

/// Gives an executor the range table of a parse state that has one entry.
///
/// # Safety
/// Inside a transaction.
pub(super) unsafe fn init_range_table(estate: *mut pg_sys::EState, pstate: *mut pg_sys::ParseState) {
    let (table, rights) = ((*pstate).p_rtable, (*pstate).p_rteperminfos);
    #[cfg(feature = "pg18")]
    pg_sys::ExecInitRangeTable(estate, table, rights, pg_sys::bms_make_singleton(1));
    #[cfg(feature = "pg17")]
    pg_sys::ExecInitRangeTable(estate, table, rights);
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

/// What serializable transactions have read of an index counts as read of its table, when the index is about to be made anew.
///
/// # Safety
/// An open index whose table is locked.
pub(super) unsafe fn transfer_predicate_locks(index: pg_sys::Relation) {
    guarded(|| TransferPredicateLocksToHeapRelation(index));
}

/// A copy of a value in the current memory context, by the length of its type.
///
/// # Safety
/// A value of that type.
pub(super) unsafe fn copy_datum(value: pg_sys::Datum, by_value: bool, length: c_int) -> pg_sys::Datum {
    guarded(|| datumCopy(value, by_value, length))
}
