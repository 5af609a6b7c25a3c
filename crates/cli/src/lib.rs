//! `steep-repl`: a thin client. Every command is a function or a view of the extension, so whoever has psql can do the same.
//!
//! | module | the one concept |
//! | --- | --- |
//! | [`failure`] | what went wrong, and the exit code |
//! | [`conninfo`] | where to connect to, as libpq understands it |
//! | [`connect`] | opening a connection, TLS included |
//! | [`tui`] | the terminal UI |

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::process::ExitCode;

pub mod connect;
pub mod conninfo;
pub mod failure;
pub mod tui;

/// Runs what the command line says.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
