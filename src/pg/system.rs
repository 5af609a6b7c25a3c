//! What the server is: its identity, this database, clocks, random numbers, processes.

use pgrx::pg_sys;
use std::ffi::{c_int, c_uint, CStr};
use std::fs::File;
use std::os::fd::AsRawFd;

/// System identifier of this cluster.
pub fn system_identifier() -> u64 {
    // SAFETY: reads the control file's copy in shared memory.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// OID of this database.
pub fn database_oid() -> u32 {
    // SAFETY: reads a backend variable.
    u32::from(unsafe { pg_sys::MyDatabaseId })
}

/// Encoding of this database, by the name that `client_encoding` takes.
pub fn database_encoding() -> String {
    // SAFETY: a static string of the server's.
    unsafe { CStr::from_ptr(pg_sys::GetDatabaseEncodingName()) }.to_string_lossy().into_owned()
}

/// Process id of this backend.
pub fn my_pid() -> i32 {
    // SAFETY: reads a backend variable.
    unsafe { pg_sys::MyProcPid }
}

/// Processors that this process may use; 1 when the system does not say.
pub fn processors() -> i64 {
    std::thread::available_parallelism().map_or(1, |count| i64::try_from(count.get()).unwrap_or(i64::MAX))
}

/// Size of shared buffers, in bytes.
pub fn shared_buffers_bytes() -> i64 {
    // SAFETY: reads a backend variable.
    i64::from(unsafe { pg_sys::NBuffers }) * i64::from(pg_sys::BLCKSZ)
}

#[cfg(target_os = "linux")]
extern "C" {
    fn sync_file_range(fd: c_int, offset: i64, bytes: i64, flags: c_uint) -> c_int;
}

/// Has the system begin to write so many bytes of a file to disk from an offset on. A hint, as `pg_flush_data` gives it, without the PANIC that
/// this makes of an error: what goes wrong the fsync at the end says, which is still to be done.
#[cfg(target_os = "linux")]
pub fn begin_writing(file: &File, offset: u64, bytes: u64) {
    const SYNC_FILE_RANGE_WRITE: c_uint = 2;
    let place = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    // SAFETY: a system call without memory of ours, for an open file.
    unsafe { sync_file_range(file.as_raw_fd(), place(offset), place(bytes), SYNC_FILE_RANGE_WRITE) };
}

/// As above, where there is no such call.
#[cfg(not(target_os = "linux"))]
pub fn begin_writing(_file: &File, _offset: u64, _bytes: u64) {}

/// A random number that nobody can guess.
pub fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is as long as said.
    let strong = unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) };
    if !strong {
        // The server itself refuses to start without a source of random numbers; the clock keeps names apart at least.
        return now_micros() as u64 ^ ((my_pid() as u64) << 48);
    }
    u64::from_ne_bytes(bytes)
}

/// Microseconds since 2000-01-01 UTC.
pub fn now_micros() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Seconds since 1970-01-01 UTC.
pub fn unix_secs() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Seconds on the clock, for differences.
pub fn now_secs() -> f64 {
    now_micros() as f64 / 1e6
}

/// Tells the server's statistics what this process has done; a worker would tell it when it ends. Outside of a transaction.
pub fn report_statistics() {
    // SAFETY: a worker between two transactions.
    unsafe { pg_sys::pgstat_report_stat(true) };
}

/// Schema-qualified name of a relation, for messages; its number when it is gone.
pub fn relation_name(relid: u32) -> String {
    let oid = pg_sys::Oid::from(relid);
    // SAFETY: catalog look-ups inside a transaction; strings are copied.
    unsafe {
        let name = pg_sys::get_rel_name(oid);
        if name.is_null() {
            return relid.to_string();
        }
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid));
        let quoted = pg_sys::quote_qualified_identifier(schema, name);
        CStr::from_ptr(quoted).to_string_lossy().into_owned()
    }
}

/// Waits for the process's latch, at most so many milliseconds; -1 means for ever. Answers to interrupts, and leaves with the
/// postmaster.
pub fn wait_latch(timeout_ms: i64) {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH;
    if timeout_ms >= 0 {
        events |= pg_sys::WL_TIMEOUT;
    }
    // SAFETY: waits on the process's own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as c_int, timeout_ms, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// Wakes a process of this cluster that waits on its latch. Nothing happens when it is gone: its pid may be another's by now.
pub fn wake(pid: i32) {
    if pid <= 0 {
        return;
    }
    // SAFETY: the process's entry is in shared memory, which stays; a latch may be set at any time.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&mut (*process).procLatch);
        }
    }
}

/// Whether this process is a background worker of ours that was asked to read its configuration again; reads it then.
pub fn reload_configuration_if_asked() {
    // SAFETY: as every background process does in its loop.
    unsafe {
        if (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0 {
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Whether the server was started with the extension preloaded, so that its launcher and its shared memory are there.
pub fn is_preloading() -> bool {
    // SAFETY: reads a backend variable.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// Whether pg_upgrade runs this server.
pub fn is_binary_upgrade() -> bool {
    // SAFETY: reads a backend variable.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// Major version of this server.
pub fn major() -> u32 {
    pg_sys::PG_VERSION_NUM / 10_000
}

/// An object identifier, as an argument of a SQL function.
pub type Oid = pg_sys::Oid;

/// Ends what runs when somebody has asked for that: for work that asks the server for nothing else.
pub fn check_interrupts() {
    pgrx::check_for_interrupts!();
}
