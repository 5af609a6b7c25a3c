//! `steep-repl`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    steep_repl_cli::run()
}
