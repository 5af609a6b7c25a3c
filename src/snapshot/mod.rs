//! Portable snapshots: the folder, its files, and what is in them. The workers that write and read rows are copy workers
//! ([`crate::copy`]); the operations are the coordinator's ([`crate::coordinator`]).

pub mod codec;
pub mod contents;
pub mod place;
