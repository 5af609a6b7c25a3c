//! Tables that come to the source after a node was made from what was written beforehand: a backup, a portable snapshot.

use steep_repl_testkit::{root, Pair};

use crate::outcome::expect_equal;
use crate::prepared::{complete, dump_and_restore, filled, prepare, Dump};
use crate::refusal::refused_quickly;
use crate::{shop, snapshots};

const NEW: &str = "create table newcomer (id int primary key, v int)";
const LACKING: &str = "select table_name from steep_repl.tables_not_subscribed('node_b')";
const REFRESH: &str = "select steep_repl.refresh_tables('node_b')";

fn comes(pair: &Pair) {
    pair.source.exec(&format!("{NEW}; insert into newcomer select i, i from generate_series(1, 5000) i"));
    pair.target.exec(NEW);
    assert_eq!(pair.target.rows(LACKING), ["newcomer"]);
}

fn joins(pair: &Pair) {
    pair.target.exec(REFRESH);
    pair.expect_synchronized();
    assert!(pair.target.rows(LACKING).is_empty());
    pair.source.exec("update newcomer set v = -v where id < 100");
}

fn expect_end(pair: &Pair) {
    expect_equal(pair);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from newcomer where v < 0"), 99);
}

/// What was published when the slot was made is only what there was then.
#[test]
fn after_a_dump() {
    let pair = filled(Pair::options("later_dump"));
    let load = shop::load().start(&pair.source);
    let prepared = prepare(&pair);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    complete(&pair.target, &format!(", '{}', slot_name => '{}'", prepared.lsn, prepared.slot)).unwrap();
    pair.expect_synchronized();
    comes(&pair);
    joins(&pair);
    shop::stop_later(load, &pair.source);
    expect_end(&pair);
}

/// The publication is the snapshot's: who is responsible for all its targets adds the table there.
#[test]
fn after_a_portable_snapshot() {
    let pair = Pair::new("later_kept");
    let folder = root::folder("later_kept");
    shop::fill(&pair.source, 0.2);
    pair.prepare();
    let load = shop::load().start(&pair.source);
    snapshots::generate(&pair, &folder, "");
    snapshots::apply(&pair.target, "node_b", &folder, "").unwrap();
    snapshots::expect_synchronized(&pair.target, "node_b");
    comes(&pair);
    let publication = pair.source.scalar::<String>("select pubname::text from pg_publication");
    let refusal = refused_quickly(|| pair.target.try_exec(REFRESH)).names(&[&publication, "newcomer"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    pair.source.exec(&format!("alter publication {publication} add table newcomer"));
    joins(&pair);
    shop::stop_later(load, &pair.source);
    expect_end(&pair);
}
