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
//! | `reader`, `look` | a thread for each node, and what it asks |
//! | `caller` | calls that are under way |
//! | `terminal` | taking the terminal and giving it back |
//! | `run` | the loop |

pub mod call;
mod caller;
pub mod draw;
pub mod keys;
mod look;
pub mod message;
pub mod model;
mod reader;
mod run;
#[cfg(test)]
mod samples;
pub mod snapshot;
mod terminal;
pub mod update;

use crate::connect::Prompt;
use crate::conninfo::Conninfo;
use crate::failure::Failure;

/// How it is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the first node is.
    pub conninfo: Conninfo,
    /// Whether a password may be asked for, before the screen is taken.
    pub prompt: Prompt,
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
    run::run(&options)
}
