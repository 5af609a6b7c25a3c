//! steep_repl: makes a database a synchronized logical-replication node, from inside the server.
//!
//! See ARCHITECTURE.md for the processes and the way of data through these modules.

#[macro_use]
mod failpoint;

mod api;
mod catalog;
mod coordinator;
mod copy;
mod error;
mod launcher;
mod pg;
mod schema;
mod settings;
mod snapshot;
mod source;

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/schema/01_nodes.sql", name = "nodes", bootstrap);
extension_sql_file!("../sql/schema/02_operations.sql", name = "operations", requires = ["nodes"]);
extension_sql_file!("../sql/schema/03_events.sql", name = "events", requires = ["operations"]);
extension_sql_file!("../sql/schema/04_cleanup.sql", name = "cleanup", requires = ["operations"]);
extension_sql_file!("../sql/schema/05_fingerprints.sql", name = "fingerprints", requires = ["nodes"]);
extension_sql_file!("../sql/schema/06_schema_changes.sql", name = "schema_changes", requires = ["operations"]);
extension_sql_file!("../sql/schema/07_snapshots.sql", name = "snapshots", requires = ["operations", "cleanup"]);
extension_sql_file!("../sql/schema/08_base_backups.sql", name = "base_backups", requires = ["operations"]);
extension_sql_file!(
    "../sql/schema/07_init_slots.sql",
    name = "init_slots",
    requires = ["operations", api::views::operation_owner]
);
extension_sql_file!(
    "../sql/schema/10_views.sql",
    name = "views",
    requires = [
        "events",
        "cleanup",
        "fingerprints",
        api::schemas::drift,
        api::views::live_progress,
        api::views::redact_conninfo,
        api::views::operation_owner
    ]
);
extension_sql_file!("../sql/schema/90_comments_and_grants.sql", name = "comments_and_grants", finalize);

/// Called by the server when it loads the library: settings always, launcher and shared memory at preload.
#[allow(non_snake_case)]
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    if pg::system::is_binary_upgrade() {
        return;
    }
    settings::define();
    #[cfg(feature = "failpoints")]
    failpoint::define();
    if pg::system::is_preloading() {
        pg::instance::note_standby();
        pg::shmem::request();
        pg::worker::register_launcher();
        pg::hooks::install();
    }
}
