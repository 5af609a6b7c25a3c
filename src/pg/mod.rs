//! The unsafe fence: safe wrappers with owned values over the server's C API.
//!
//! `unsafe` and `pg_sys` live in this folder only. What leaves it is safe to call in any order a Rust program can think of; a
//! PostgreSQL error inside it becomes a Rust panic at pgrx's boundary, runs destructors on its way, and is turned into an
//! [`crate::error::Error`] by [`transaction::run`] or back into a PostgreSQL error by the SQL function it happened in.

pub mod catalog_tuple;
pub mod compat;
pub mod copy_in;
pub mod copy_out;
pub mod deadline;
#[cfg(feature = "failpoints")]
pub mod death;
pub mod dumped;
pub mod errand;
mod heap_load;
pub mod hooks;
pub mod index;
pub mod instance;
mod key_order;
pub mod lsn;
pub mod origin;
pub mod parse;
pub mod private_server;
pub mod program;
pub mod raise;
pub mod remote;
pub mod role;
pub mod scratch;
pub mod shmem;
pub mod snapshot;
mod socket_wait;
pub mod storage;
mod stream;
pub mod subscription;
pub mod system;
pub mod text;
pub mod threads;
pub mod transaction;
pub mod vacuum;
pub mod worker;
