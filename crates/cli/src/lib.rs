//! `steep-repl`: a thin client. Every command is a function or a view of the extension, so whoever has psql can do the same.
//!
//! | module | the one concept |
//! | --- | --- |
//! | [`args`] | the command line |
//! | [`config`] | the configuration file |
//! | [`conninfo`] | where to connect to, as libpq understands it |
//! | [`connect`] | opening a connection, TLS included |
//! | [`session`] | a connection to a node, and from there to the others |
//! | [`rows`] | what the server's views and functions give, and what `--json` writes |
//! | [`output`] | tables, figures, colours |
//! | [`interrupt`] | Ctrl-C |
//! | [`failure`] | what went wrong, and the exit code |
//! | [`commands`] | one file for each command |
//! | [`words`] | how figures, times and foreign text are written |
//! | [`tui`] | the terminal UI |

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// Fields of command line and rows bear the names of options and columns, which are described where these are.
#![allow(missing_docs)]

use clap::Parser;
use std::process::ExitCode;

pub mod args;
pub mod commands;
pub mod config;
pub mod connect;
pub mod conninfo;
pub mod duration;
pub mod failure;
pub mod interrupt;
pub mod output;
pub mod rows;
pub mod session;
pub mod tui;
pub mod words;

/// Runs what the command line says, and gives the exit code.
pub fn run() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            output::message(args::usage(&error));
            return ExitCode::from(failure::Exit::Usage as u8);
        }
        // --help and --version.
        Err(error) => error.exit(),
    };
    match interrupt::install().and_then(|()| commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::message(failure.to_string());
            ExitCode::from(failure.exit as u8)
        }
    }
}
