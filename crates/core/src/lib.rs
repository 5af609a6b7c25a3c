//! The pure part of steep_repl: what can be decided, named, parsed and computed without a server.
//!
//! Nothing here does I/O, reads a clock, or is unsafe. The extension observes (catalog rows, samples, errors), hands
//! plain values to this crate, and acts on what comes back; so every rule here is tested without PostgreSQL.
//!
//! | module | the one concept |
//! | --- | --- |
//! | [`node_state`] | the eight states of a node and the transitions between them |
//! | [`lsn`] | positions in the write-ahead log |
//! | [`names`] | names of what an operation makes on either node |
//! | [`instance`] | whose an operation is: this server's, its original's, or somebody else's |
//! | [`ident`] | quoting and parsing of SQL identifiers |
//! | [`conninfo`] | connection strings, and keeping their secrets secret |
//! | [`inventory`] | what one catalog query tells about each table |
//! | [`selection`] | which tables are copied, and what is published for them |
//! | [`definition`] | what a table is, and its fingerprint |
//! | [`schema_diff`] | what differs between two definitions, in words and as DDL |
//! | [`database`] | what two databases are beside their tables |
//! | [`schema_match`] | whether rows of a source table fit into the target's |
//! | [`copy_binary`] | a long answer as the source streams it |
//! | [`dump_script`] | the rows in a script of pg_dump |
//! | [`init_slot`] | a slot for somebody's own backup, and where a physical copy stands |
//! | [`formats`] | which types may travel as binary |
//! | [`manifest`] | the table of contents of a portable snapshot |
//! | [`plan`] | how tables are cut into copy tasks, and what a task weighs |
//! | [`private_server`] | how a server over a base backup is configured |
//! | [`progress`] | percent, rate and time of arrival |
//! | [`retry`] | what to do after an error, by SQLSTATE |
//! | [`size`] | sizes as people write them |
//! | [`event`] | the JSON of an event |
//! | [`errors`] | a server error that travels between processes |

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod archive;
pub mod conninfo;
pub mod copy_binary;
pub mod database;
pub mod definition;
pub mod drift;
pub mod dump_script;
pub mod errors;
pub mod event;
pub mod formats;
pub mod ident;
pub mod init_slot;
pub mod instance;
pub mod inventory;
pub mod lsn;
pub mod manifest;
pub mod names;
pub mod node_state;
pub mod plan;
pub mod private_server;
pub mod progress;
pub mod retry;
pub mod schema_diff;
pub mod schema_match;
pub mod schema_sync;
pub mod selection;
pub mod size;
