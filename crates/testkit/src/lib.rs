//! What steep_repl's tests over several real servers are built from.
//!
//! Clusters are throw-away: they live in one temporary folder per test process, and a watchdog outside the process ends them
//! whatever happens to it ([`mod@root`]). A test takes two fresh databases ([`Pair`]) on clusters that the whole process
//! shares ([`shared`]), puts load on the source ([`WriteLoad`], [`Pgbench`]), disturbs the link ([`Proxy`]), and at the end
//! compares every row ([`fn@compare`]) and looks for what should not be there ([`mod@check`]).
//!
//! Everything here panics with a full explanation when the *environment* misbehaves; what the extension under test answers
//! is returned as a `Result`.

pub mod check;
mod cluster;
mod cluster_options;
mod compare;
mod database;
mod failpoints;
mod installation;
mod load;
mod pair;
mod pgbench;
mod progress;
mod proxy;
mod rng;
mod role;
pub mod root;
mod running;
pub mod shared;
mod snapshot;
mod wait;

pub use cluster::Cluster;
pub use cluster_options::{Auth, ClusterOptions, StopMode};
pub use compare::{compare, compare_sequences, Tables};
pub use database::{conninfo_value, describe, quote_ident, quote_literal, Db};
pub use installation::Installation;
pub use load::{LoadCounts, LoadOptions, WriteLoad};
pub use pair::{Pair, PairOptions};
pub use pgbench::Pgbench;
pub use progress::{Event, Monitor, Progress};
pub use proxy::Proxy;
pub use rng::{seed, Rng};
pub use role::Role;
pub use running::Running;
pub use snapshot::{constraints_snapshot, indexes_snapshot, schema_text, SchemaState};
pub use wait::{pass, try_wait_until, wait_until};

/// The major version of the server under test. What a version does not have cannot be tested on it; the test says which it needs.
pub fn major() -> u32 {
    Installation::current().major()
}

/// Whether the big matrix was asked for (`STEEP_REPL_TEST_ALL=1`), or one small pass over every scenario.
pub fn test_all() -> bool {
    std::env::var("STEEP_REPL_TEST_ALL").is_ok_and(|value| !value.is_empty() && value != "0")
}
