//! A source of an older version, by the ways that `method => 'snapshot'` knows; by our own workers it is in `foreign_source`.

use steep_repl_testkit::{root, shared, Pair, PairOptions};

use crate::large_tables::{self, ARGS};
use crate::method_snapshot::copied_under_load;
use crate::midway;
use crate::refusal::Refusal;

fn older(label: &str) -> PairOptions {
    Pair::options(label).source(shared::old_source())
}

#[test]
fn by_the_server_itself() {
    copied_under_load(&older("old_server").build());
}

#[test]
fn large_tables_by_copy() {
    large_tables::under_load(&older("old_copy").build(), "copy");
}

#[test]
fn large_tables_by_pg_dump() {
    large_tables::under_load(&older("old_dump").build(), "pg_dump");
}

/// Its files are read by its own version alone.
#[test]
fn large_tables_by_base_backup_are_refused() {
    let pair = midway::prepared(older("old_backup"));
    let scratch = root::folder("old_backup_x").display().to_string();
    let args = format!("{ARGS}, large_table_method => 'basebackup'");
    let error = pair.init_with(&[("scratch_directory", &scratch)], &args).unwrap_err();
    let refusal =
        Refusal::of(&error).names(&["large_table_method basebackup cannot be used", "major version", "pg_dump"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
}
