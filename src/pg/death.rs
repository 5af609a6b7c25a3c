//! Ends of this process, for failpoints.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::ffi::c_int;

const SIGKILL: c_int = 9;

extern "C" {
    fn kill(pid: pg_sys::pid_t, signal: c_int) -> c_int;
}

/// Ends it as a FATAL error does.
pub fn exit(why: &str) -> ! {
    let code = PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN;
    ErrorReport::new(code, format!("failpoint {why}"), "steep_repl").report(PgLogLevel::FATAL);
    unreachable!("a FATAL error does not return")
}

/// Kills it; the postmaster then starts everything anew.
pub fn kill_myself() -> ! {
    // SAFETY: a system call without memory of ours; this process does not see its end.
    unsafe { kill(std::process::id() as pg_sys::pid_t, SIGKILL) };
    unreachable!("SIGKILL cannot be survived")
}
