//! The launcher: one static worker, in no database, that starts coordinators.
//!
//! It compares what should run, by the table in shared memory, with what runs, and starts what is missing, with a pause that
//! grows when a coordinator keeps ending. At server start, and rarely after, a short-lived scanner per database reads
//! unfinished operations into that table. Nothing here is durable. Idle, it sleeps for minutes and takes no transaction id.

pub mod decide;
pub mod main;
pub mod monitor;
pub mod scanner;
