//! Background workers: registering, starting, and the entry of each.
//!
//! A worker gets one number, its operation, and in `bgw_extra` the database and the role to connect with. It installs the
//! server's own SIGTERM handler, so that it leaves within a query, fixes its session against configuration, and says in
//! `pg_stat_activity` what it is.

use super::role::override_setting;
use super::{compat, system};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::{c_char, c_int, CStr, CString};
use std::ptr;

/// What a worker is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Starts coordinators.
    Launcher,
    /// Reads the unfinished operations of one database at server start.
    Scanner,
    /// Looks at the source of a database that replicates.
    Monitor,
    /// Owns one operation.
    Coordinator,
    /// Creates the slot and keeps the snapshot alive.
    Keeper,
    /// Copies, builds indexes, vacuums.
    Copy,
    /// Commits something on behalf of a session.
    Errand,
}

impl Kind {
    /// `bgw_type`: what `pg_stat_activity.backend_type` shows. No numbers in it, so that it can be grouped by.
    pub fn backend_type(self) -> &'static str {
        match self {
            Kind::Launcher => "steep_repl launcher",
            Kind::Scanner => "steep_repl scanner",
            Kind::Monitor => "steep_repl monitor",
            Kind::Coordinator => "steep_repl coordinator",
            Kind::Keeper => "steep_repl snapshot keeper",
            Kind::Copy => "steep_repl copy worker",
            Kind::Errand => "steep_repl errand",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Kind::Launcher => "steep_repl_launcher_main",
            Kind::Scanner => "steep_repl_scanner_main",
            Kind::Monitor => "steep_repl_monitor_main",
            Kind::Coordinator => "steep_repl_coordinator_main",
            Kind::Keeper => "steep_repl_keeper_main",
            Kind::Copy => "steep_repl_copy_main",
            Kind::Errand => "steep_repl_errand_main",
        }
    }
}

/// What a worker was started with.
#[derive(Clone, Copy, Debug)]
pub struct Assignment {
    /// The operation; 0 for launcher, scanner and monitor; of an errand the segment that says what it is.
    pub operation: i64,
    /// Database to connect to.
    pub database: u32,
    /// Role to work as; 0 is the bootstrap superuser.
    pub role: u32,
    /// Number among its kind, from 1.
    pub number: u32,
}

fn fill(field: &mut [c_char], text: &str) {
    let last = field.len() - 1;
    for (place, byte) in field[..last].iter_mut().zip(text.bytes()) {
        *place = byte as c_char;
    }
}

fn description(
    kind: Kind,
    assignment: &Assignment,
    restart: c_int,
    start: pg_sys::BgWorkerStartTime::Type,
) -> pg_sys::BackgroundWorker {
    // SAFETY: a C struct of integers and character arrays, for which all zeroes is a valid value.
    let mut worker: pg_sys::BackgroundWorker = unsafe { std::mem::zeroed() };
    let name = match kind {
        Kind::Launcher => kind.backend_type().to_owned(),
        Kind::Scanner | Kind::Monitor => format!("{} of database {}", kind.backend_type(), assignment.database),
        Kind::Errand => kind.backend_type().to_owned(),
        Kind::Copy => format!("{} {} of operation {}", kind.backend_type(), assignment.number, assignment.operation),
        _ => format!("{} of operation {}", kind.backend_type(), assignment.operation),
    };
    fill(&mut worker.bgw_name, &name);
    fill(&mut worker.bgw_type, kind.backend_type());
    fill(&mut worker.bgw_library_name, "steep_repl");
    fill(&mut worker.bgw_function_name, kind.entry());
    fill(&mut worker.bgw_extra, &format!("{} {} {}", assignment.database, assignment.role, assignment.number));
    worker.bgw_flags = (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as c_int;
    worker.bgw_start_time = start;
    worker.bgw_restart_time = restart;
    worker.bgw_main_arg = pg_sys::Datum::from(assignment.operation);
    worker
}

/// Registers the launcher; at preload only. It starts when recovery is finished, and again 5 s after it failed.
pub fn register_launcher() {
    let nothing = Assignment { operation: 0, database: 0, role: 0, number: 0 };
    let mut worker =
        description(Kind::Launcher, &nothing, 5, pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished);
    // SAFETY: the description is copied.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut worker) };
}

/// A worker that was asked for by this process.
pub struct Handle(*mut pg_sys::BackgroundWorkerHandle);

/// What has become of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Asked for, not running yet.
    Starting,
    /// Running with this pid.
    Running(i32),
    /// Ended, in whatever way.
    Stopped,
}

/// Asks the postmaster for a worker. None when `max_worker_processes` is used up.
pub fn start(kind: Kind, assignment: &Assignment) -> Option<Handle> {
    let mut worker = description(
        kind,
        assignment,
        pg_sys::BGW_NEVER_RESTART,
        pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished,
    );
    worker.bgw_notify_pid = system::my_pid();
    let mut handle: *mut pg_sys::BackgroundWorkerHandle = ptr::null_mut();
    // SAFETY: the description is copied; the handle is allocated in a context that lives as long as the process.
    let registered = unsafe {
        let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let registered = pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle);
        pg_sys::MemoryContextSwitchTo(before);
        registered
    };
    // Not then_some: a handle that is made is freed, and without a worker there is none.
    registered.then(|| Handle(handle))
}

impl Handle {
    /// What has become of it.
    pub fn status(&self) -> Status {
        let mut pid: pg_sys::pid_t = 0;
        // SAFETY: the handle is live until dropped.
        match unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &mut pid) } {
            pg_sys::BgwHandleStatus::BGWH_STARTED => Status::Running(pid),
            pg_sys::BgwHandleStatus::BGWH_NOT_YET_STARTED => Status::Starting,
            _ => Status::Stopped,
        }
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        // SAFETY: the handle is live until dropped.
        unsafe { pg_sys::TerminateBackgroundWorker(self.0) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: allocated by the server for us alone, and used no more.
        unsafe { pg_sys::pfree(self.0.cast()) };
    }
}

/// What a worker was started with, from its own entry.
fn assignment(arg: pg_sys::Datum) -> Assignment {
    // SAFETY: a background worker; the field is NUL-terminated by `fill`.
    let extra = unsafe { CStr::from_ptr((*pg_sys::MyBgworkerEntry).bgw_extra.as_ptr()) }.to_string_lossy();
    let mut numbers = extra.split(' ').map(|number| number.parse::<u32>().unwrap_or(0));
    Assignment {
        operation: arg.value() as i64,
        database: numbers.next().unwrap_or(0),
        role: numbers.next().unwrap_or(0),
        number: numbers.next().unwrap_or(0),
    }
}

/// Connects a worker to its database, as its role.
fn connect(assignment: &Assignment) {
    // SAFETY: once, in a background worker that was registered with a database connection.
    unsafe {
        if assignment.database == 0 {
            pg_sys::BackgroundWorkerInitializeConnection(ptr::null(), ptr::null(), 0);
        } else {
            // The role that asked may be one that cannot log in; it is its rights that are needed, not its session.
            pg_sys::BackgroundWorkerInitializeConnectionByOid(
                pg_sys::Oid::from(assignment.database),
                pg_sys::Oid::from(assignment.role),
                pg_sys::BGWORKER_BYPASS_ROLELOGINCHECK,
            );
        }
    }
}

/// Fixes the session: nothing a role or a database is configured with may end the work or change what it means.
fn fix_session(kind: Kind) {
    for (name, value) in [
        ("search_path", ""),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("transaction_timeout", "0"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_read_only", "off"),
        ("row_security", "off"),
        ("datestyle", "ISO"),
        ("intervalstyle", "postgres"),
        ("lc_monetary", "C"),
        ("array_nulls", "on"),
        ("xmloption", "content"),
        ("synchronize_seqscans", "off"),
    ] {
        override_setting(name, value);
    }
    // Values in binary format are taken for text of the client's encoding, and the source was told to send the database's.
    override_setting("client_encoding", &system::database_encoding());
    // Rows are put in and taken out as replication does it: foreign keys of the source have been checked there.
    override_setting("session_replication_role", "replica");
    if kind == Kind::Copy {
        // A task that is lost in a crash is done again, together with its mark.
        override_setting("synchronous_commit", "off");
    } else {
        override_setting("synchronous_commit", "on");
    }
}

/// Says in `pg_stat_activity` what the worker does now; None when it is idle.
pub fn report_activity(doing: Option<&str>) {
    let text = CString::new(doing.unwrap_or("")).unwrap_or_default();
    // SAFETY: the text is copied to shared memory.
    unsafe {
        match doing {
            Some(_) => pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, text.as_ptr()),
            None => pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, ptr::null()),
        }
    }
}

/// Sets the `application_name` that `pg_stat_activity` shows of this worker.
pub fn report_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: the text is copied to shared memory.
        unsafe { pg_sys::pgstat_report_appname(name.as_ptr()) };
    }
}

/// The common body of all entries.
fn enter(kind: Kind, arg: pg_sys::Datum, work: fn(Assignment) -> Result<()>) {
    let assignment = assignment(arg);
    // SAFETY: first thing in a background worker.
    unsafe { compat::install_signal_handlers() };
    connect(&assignment);
    if assignment.database != 0 {
        fix_session(kind);
    }
    report_name(kind.backend_type());
    report_activity(None);
    if let Err(error) = work(assignment) {
        // The actor has written it where the operator looks; the exit code tells the server's log.
        let problem = error.problem();
        pgrx::log!("{} ends: {} (SQLSTATE {})", kind.backend_type(), problem.message, problem.sqlstate);
        // SAFETY: ends this process in the server's orderly way.
        unsafe { pg_sys::proc_exit(1) };
    }
}

macro_rules! entry {
    ($name:ident, $kind:expr, $work:path) => {
        /// Entry of a background worker, called by the server.
        #[pg_guard]
        #[no_mangle]
        pub extern "C-unwind" fn $name(arg: pg_sys::Datum) {
            enter($kind, arg, $work);
        }
    };
}

entry!(steep_repl_launcher_main, Kind::Launcher, crate::launcher::main::run);
entry!(steep_repl_scanner_main, Kind::Scanner, crate::launcher::scanner::run);
entry!(steep_repl_monitor_main, Kind::Monitor, crate::launcher::monitor::run);
entry!(steep_repl_coordinator_main, Kind::Coordinator, crate::coordinator::main::run);
entry!(steep_repl_keeper_main, Kind::Keeper, crate::coordinator::keeper::run);
entry!(steep_repl_copy_main, Kind::Copy, crate::copy::main::run);
entry!(steep_repl_errand_main, Kind::Errand, crate::api::errand);

/// Databases that accept connections, for the launcher, which is in none of them.
pub fn connectable_databases() -> Result<Vec<u32>> {
    let mut databases = Vec::new();
    super::transaction::run(|| {
        // SAFETY: as the autovacuum launcher's get_database_list(): a scan of a shared catalog inside a transaction.
        unsafe {
            let rel = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
            let scan = pg_sys::table_beginscan_catalog(rel, 0, ptr::null_mut());
            loop {
                let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if tuple.is_null() {
                    break;
                }
                let database = pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_database>(tuple);
                // datconnlimit -2 marks a database whose DROP was interrupted.
                if (*database).datallowconn && (*database).datconnlimit != -2 {
                    databases.push(u32::from((*database).oid));
                }
            }
            if let Some(end) = (*(*rel).rd_tableam).scan_end {
                compat::guarded(|| end(scan));
            }
            pg_sys::table_close(rel, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        }
        Ok(())
    })?;
    Ok(databases)
}

/// Starts a worker and waits until it has ended; ends it when that takes longer than `limit_ms`. False then.
pub fn run_to_end(kind: Kind, assignment: &Assignment, limit_ms: i64) -> Result<bool> {
    let handle = start(kind, assignment).ok_or_else(|| Error::internal("max_worker_processes is used up"))?;
    let deadline = system::now_micros() + limit_ms * 1000;
    let mut in_time = true;
    while handle.status() != Status::Stopped {
        let left = (deadline - system::now_micros()) / 1000;
        if left <= 0 && in_time {
            in_time = false;
            handle.terminate();
        }
        // The postmaster sets our latch when a worker we asked for starts or ends.
        system::wait_latch(left.max(100));
    }
    Ok(in_time)
}
