//! Errors across the border: ours into PostgreSQL's, PostgreSQL's into ours.

use crate::error::Error;
use pgrx::pg_sys::panic::CaughtError;
pub use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::submodules::panic::ErrorReportWithLevel;
use pgrx::prelude::*;
use std::ffi::CString;
use steep_repl_core::errors::Problem;

/// The five characters of a SQLSTATE as the integer PostgreSQL packs them in (`MAKE_SQLSTATE`).
pub fn pack_sqlstate(sqlstate: &str) -> i32 {
    sqlstate
        .bytes()
        .take(5)
        .enumerate()
        .fold(0, |packed, (place, byte)| packed | ((i32::from(byte) - i32::from(b'0')) & 0x3F) << (6 * place))
}

/// The reverse of [`pack_sqlstate`] (`unpack_sql_state`).
pub fn unpack_sqlstate(packed: i32) -> String {
    (0..5).map(|place| char::from((((packed >> (6 * place)) & 0x3F) as u8) + b'0')).collect()
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        let problem = error.problem();
        let code = PgSqlErrorCode::from(pack_sqlstate(&problem.sqlstate));
        let mut report = ErrorReport::new(code, problem.message, "steep_repl");
        if let Some(detail) = problem.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = problem.hint {
            report = report.set_hint(hint);
        }
        report
    }
}

fn problem_of(report: &ErrorReportWithLevel) -> Problem {
    Problem {
        sqlstate: unpack_sqlstate(report.sql_error_code() as i32),
        message: report.message().to_owned(),
        detail: report.detail().map(str::to_owned),
        hint: report.hint().map(str::to_owned),
    }
}

/// What a panic that came out of PostgreSQL, or out of our own code, means.
pub(super) fn error_of(caught: &CaughtError) -> Error {
    match caught {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
            Error::Server(Box::new(problem_of(report)))
        }
        CaughtError::RustPanic { ereport, .. } => Error::Internal(ereport.message().to_owned()),
    }
}

/// Raises an error where there is no result to return it in: in a callback of the transaction.
pub fn throw(error: Error) -> ! {
    ErrorReport::from(error).report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// A line for the server log, and nothing else: not the statement of the session that caused it.
pub fn log_line(line: &str) {
    // A NUL byte ends a string of the server's.
    let line = CString::new(line.replace('\0', " ")).unwrap_or_default();
    // SAFETY: the string outlives the call.
    unsafe { super::compat::log_without_statement(&line) };
}

/// A NOTICE for the session.
pub fn notice(line: &str) {
    pgrx::notice!("{line}");
}

/// A NOTICE for the session, with a hint.
pub fn notice_with_hint(line: &str, hint: &str) {
    let code = PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION;
    ErrorReport::new(code, line.to_owned(), "steep_repl").set_hint(hint.to_owned()).report(PgLogLevel::NOTICE);
}

/// A WARNING for the session, or the log of a worker.
pub fn warning(line: &str) {
    pgrx::warning!("{line}");
}

/// A WARNING with a detail and a hint.
pub fn warning_with(line: &str, detail: Option<&str>, hint: &str) {
    let mut report =
        ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, line.to_owned(), "steep_repl").set_hint(hint.to_owned());
    if let Some(detail) = detail {
        report = report.set_detail(detail.to_owned());
    }
    report.report(PgLogLevel::WARNING);
}
