//! The copy workers: they take tasks until none is left. A task is a copy of a table or of a range of it, a batch of small
//! tables, an index build, or a vacuum.
//!
//! What a worker does to a task and what it notes about it commit together. In memory only: its connection to the source and
//! the origin it has joined; both are made again by the next worker.

mod dump;
mod from_file;
mod load;
pub mod main;
mod statement;
mod to_file;
mod verify;
