//! The terminal UI.
//!
//! Nothing on the drawing thread waits for a server. Reader threads, one a node, publish what they have seen as snapshots that never
//! change; calls run on threads of their own and answer with a message; `update` makes the next model of a message and says what is to
//! be done; `draw` makes a screen of the model. The last two are pure: time is a message, a call is a value.
//!
//! | module | the one concept |
//! | --- | --- |
//! | [`snapshot`] | what was seen: plain data |
//! | [`message`] | what comes in and what goes out |
//! | [`model`] | all that is shown |
//! | [`mod@update`] | how the model follows from a message |
//! | [`mod@draw`] | how the screen follows from the model |
//! | [`keys`] | which key does what |
//! | [`call`] | calls of the extension's functions |
//! | [`words`] | figures, times and foreign text |

pub mod call;
pub mod draw;
pub mod keys;
pub mod message;
pub mod model;
#[cfg(test)]
mod samples;
pub mod snapshot;
pub mod update;
pub mod words;

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
