//! The terminal UI.

use crate::conninfo::Conninfo;
use crate::failure::Failure;

/// How it is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the first node is.
    pub conninfo: Conninfo,
    /// Nothing can be changed.
    pub read_only: bool,
    /// Colours may be used.
    pub colour: bool,
    /// Characters beyond ASCII may be used.
    pub unicode: bool,
}

/// Runs it until it is quit.
///
/// # Errors
/// When the terminal cannot be used.
pub fn run(options: Options) -> Result<(), Failure> {
    let _ = options;
    Ok(())
}
