//! `method => 'snapshot'` over a link that is cut, frozen or down for a while, with writers on the source all the time:
//! where the server copies, where large tables come by copy or by pg_dump, and while a private server streams WAL. It
//! ends SYNCHRONIZED with equal rows, and nothing counts as a conflict: no change is lost or applied twice.
//!
//! Elsewhere, where rows are what is compared: a cut while the server copies (`method_snapshot`), while pg_dump writes
//! (`large_by_dump`), while a base backup is made (`large_by_base_backup`).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use steep_repl_testkit::{check, root, wait_until, ClusterOptions, LoadOptions, Pair, WriteLoad};

use crate::large_tables::{start, ARGS};
use crate::midway::{self, events};
use crate::refusal::Refusal;
use crate::shop;
use crate::ways_cancelled::{
    args, held_at, hold, let_go, prepared, sync_state, until, until_held, until_phase, until_sequence, waiting, Way,
    ALTER, COPY, LOCK, PG_DUMP, SERVER,
};

/// What is counted where the server's own workers have copied, whose rows have no origin, and have lost their link.
const BY_SERVER: [&str; 4] = [check::ORIGINS[0], check::ORIGINS[1], "apply_error_count", "sync_error_count"];
/// Nothing is where only large tables are written to, and the link was whole before the subscription was enabled.
const NOTHING: [&str; 0] = [];

/// A row that the apply worker waits at, by the trigger of [`held`].
const HELD: &str = "insert into small values (-1, 0, 'held')";

/// Whoever brings that row waits for [`LOCK`].
fn held() -> String {
    held_at("insert", "small", "new.note = 'held'")
}

fn writing(pair: &Pair, tables: &[&str]) -> WriteLoad {
    let load = LoadOptions::default().keys(15_000).rate(60);
    tables.iter().fold(load, |load, table| load.keyed(table)).start(&pair.source)
}

/// The writers get on meanwhile.
fn until_written(pair: &Pair) {
    let written = || pair.source.scalar::<i64>("select count(*) from large where id >= 1000000000");
    let before = written();
    until(pair, "something is written meanwhile", || written() > before + 30);
}

fn until_away(pair: &Pair) {
    until(pair, "it is known that the source is away", || events(pair, "init.retry").join("\n").contains("node_a"));
}

/// It ends SYNCHRONIZED, the writers go on for a while, and every row is equal; only these counters may have counted.
fn ends_equal(pair: &Pair, load: WriteLoad, counters: &[&str]) {
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    shop::stop_later(load, &pair.source);
    pair.expect_equal_but(counters);
}

/// The link carries nothing for longer than the source may be silent, and then goes on where it was.
#[test]
fn frozen_while_the_server_copies() {
    let pair = prepared(Pair::options("wayx_frozen"), "");
    let load = writing(&pair, &["large", "small"]);
    pair.proxy().throttle(midway::SLOW);
    pair.init_with(&[("receive_timeout", "3s")], &args(SERVER)).unwrap();
    midway::until_rows(&pair);
    pair.proxy().freeze();
    until(&pair, "the silence is noticed", || {
        events(&pair, "init.retry").len() + events(&pair, "init.connection_given_up").len() > 0
    });
    until_written(&pair);
    pair.proxy().thaw();
    ends_equal(&pair, load, &BY_SERVER);
}

/// The server's worker has all rows of a table and waits for the apply worker, which is in the middle of a change.
#[test]
fn down_while_a_table_is_handed_over() {
    let pair = prepared(Pair::options("wayx_over"), &held());
    let holder = hold(&pair.target, LOCK);
    let load = writing(&pair, &["large", "small"]);
    pair.proxy().throttle(midway::SLOW / 2);
    pair.init(&args(SERVER)).unwrap();
    midway::until_rows(&pair);
    until(&pair, "the small table is handed over", || sync_state(&pair, "small") == "r");
    pair.source.exec(HELD);
    until(&pair, "a change is held", || waiting(&pair.target, "advisory") == 1);
    pair.proxy().throttle(0);
    until(&pair, "the large table is to be handed over", || sync_state(&pair, "large") == "f");
    pair.proxy().down();
    let_go(holder);
    until_away(&pair);
    until_written(&pair);
    pair.proxy().restore();
    ends_equal(&pair, load, &BY_SERVER);
}

/// Every link at once, and the snapshot with them: what was begun is copied again, with what was written meanwhile.
#[test]
fn cut_while_rows_are_copied() {
    let pair = midway::prepared(Pair::options("wayx_copy"));
    let load = writing(&pair, &["large"]);
    start(&pair, "copy");
    pair.proxy().cut();
    ends_equal(&pair, load, &NOTHING);
    assert!(!events(&pair, "init.snapshot_renewed").is_empty(), "the snapshot was not lost");
}

/// The program waits for its rows, and goes on with them under the same snapshot.
#[test]
fn frozen_while_pg_dump_writes() {
    let pair = midway::prepared(Pair::options("wayx_dump"));
    let load = writing(&pair, &["large"]);
    start(&pair, "pg_dump");
    pair.proxy().freeze();
    until_written(&pair);
    pair.proxy().thaw();
    ends_equal(&pair, load, &NOTHING);
    assert!(events(&pair, "init.snapshot_renewed").is_empty(), "{:?}", pair.events());
}

/// The large table is replicated already, and the server is in the middle of another one.
fn down_while_the_server_copies_the_others(label: &str, way: Way) {
    let pair = prepared(Pair::options(label), &held_at("insert", "log", "true"));
    let holder = hold(&pair.target, LOCK);
    let load = writing(&pair, &["large", "small"]);
    pair.init(&args(way)).unwrap();
    until_held(&pair, "copy", &pair.target, "advisory");
    pair.proxy().down();
    until_away(&pair);
    let_go(holder);
    until_written(&pair);
    pair.proxy().restore();
    ends_equal(&pair, load, &BY_SERVER);
}

#[test]
fn down_while_the_server_copies_what_is_not_copied() {
    down_while_the_server_copies_the_others("wayx_others_copy", COPY);
}

#[test]
fn down_while_the_server_copies_what_is_not_dumped() {
    down_while_the_server_copies_the_others("wayx_others_dump", PG_DUMP);
}

/// The apply worker is in the middle of a change when the link goes down; what comes after it comes by another one.
fn down_while_it_catches_up(label: &str, way: Way) {
    let pair = prepared(Pair::options(label), &held());
    let (holder, altering) = (hold(&pair.target, LOCK), hold(&pair.target, ALTER));
    let load = writing(&pair, &["large", "small"]);
    pair.init(&args(way)).unwrap();
    until_sequence(&pair);
    pair.source.exec(HELD);
    until(&pair, "a change is held", || waiting(&pair.target, "advisory") == 1);
    let_go(altering);
    until_phase(&pair, "catchup");
    pair.proxy().down();
    until_away(&pair);
    let_go(holder);
    until_written(&pair);
    pair.proxy().restore();
    ends_equal(&pair, load, &BY_SERVER);
}

#[test]
fn down_while_it_catches_up_after_the_server() {
    down_while_it_catches_up("wayx_apply", SERVER);
}

#[test]
fn down_while_it_catches_up_after_a_copy() {
    down_while_it_catches_up("wayx_apply_copy", COPY);
}

#[test]
fn down_while_it_catches_up_after_pg_dump() {
    down_while_it_catches_up("wayx_apply_dump", PG_DUMP);
}

/// A base backup is here, and a private server over it streams the WAL since, which takes a while over this link.
struct Streaming {
    pair: Pair,
    load: WriteLoad,
    scratch: PathBuf,
}

impl Streaming {
    fn start(label: &str, settings: &[(&str, &str)]) -> Streaming {
        let source = ClusterOptions::new(&format!("{label}_s")).start();
        let pair = midway::prepared(Pair::options(label).source(source));
        let scratch = root::folder(&format!("{label}_x"));
        let load = writing(&pair, &["large"]);
        let folder = scratch.display().to_string();
        let mut all = vec![("scratch_directory", folder.as_str()), ("chunk_size", "1MB")];
        all.extend(settings);
        // Long enough for the transaction to begin that holds up the slot after the backup.
        pair.proxy().throttle(10_000_000);
        pair.init_with(&all, &format!("{ARGS}, large_table_method => 'basebackup'")).unwrap();
        let is_at = |state: &str| {
            until(&pair, &format!("the base backup is at {state}"), || {
                pair.target.rows("select state from steep_repl.base_backups") == [state]
            });
        };
        is_at("backup");
        let open = hold(&pair.source, "update small set v = 3 where id = 3");
        is_at("slot");
        pair.source.exec_each(&[
            "create table filler as select i, repeat('x', 1000) as x from generate_series(1, 40000) i",
            "drop table filler",
        ]);
        pair.proxy().throttle(2_000_000);
        let_go(open);
        is_at("recovery");
        let receiving =
            "select count(*) from pg_stat_replication where application_name like 'steep\\_repl\\_%\\_backup'";
        until(&pair, "WAL is streamed", || pair.source.scalar::<i64>(receiving) > 0);
        Streaming { pair, load, scratch }
    }

    /// It ends equal, and nothing of a backup is left.
    fn ends_equal(self) -> Pair {
        let Streaming { pair, load, scratch } = self;
        ends_equal(&pair, load, &NOTHING);
        wait_until("the backup is gone", Duration::from_secs(30), || {
            (fs::read_dir(&scratch).unwrap().count() == 0).then_some(())
        });
        assert!(pair.target.rows("select * from steep_repl.base_backups").is_empty());
        let slots = pair.source.rows("select slot_name from pg_replication_slots where slot_name like '%\\_backup'");
        assert!(slots.is_empty(), "{slots:?}");
        pair
    }
}

fn expect_one_backup(pair: &Pair) {
    let said = events(pair, "init.base_backup");
    assert_eq!(said.iter().filter(|words| words.starts_with("making")).count(), 1, "{said:?}");
}

/// The link that the keeper has left alone all the time is among those that were cut, and costs no backup either.
#[test]
fn cut_while_a_private_server_streams() {
    let streaming = Streaming::start("wayx_wal", &[]);
    streaming.pair.proxy().cut();
    until_written(&streaming.pair);
    expect_one_backup(&streaming.ends_equal());
}

/// That the source is away is told, and when it is back. The private server waits for it meanwhile.
#[test]
fn down_while_a_private_server_streams() {
    let streaming = Streaming::start("wayx_off", &[]);
    let pair = &streaming.pair;
    pair.proxy().down();
    until_away(pair);
    until_written(pair);
    assert_eq!(pair.target.rows("select state from steep_repl.base_backups"), ["recovery"]);
    pair.proxy().restore();
    let pair = streaming.ends_equal();
    expect_one_backup(&pair);
    assert!(!events(&pair, "init.source_back").is_empty(), "{:?}", pair.events());
}

/// The private server goes on where it was: no other backup is made.
#[test]
fn frozen_while_a_private_server_streams() {
    let streaming = Streaming::start("wayx_still", &[]);
    streaming.pair.proxy().freeze();
    until_written(&streaming.pair);
    assert_eq!(streaming.pair.target.rows("select state from steep_repl.base_backups"), ["recovery"]);
    streaming.pair.proxy().thaw();
    expect_one_backup(&streaming.ends_equal());
}

/// A source that is away for longer than it may be is said, though nobody but the private server needs it at the time.
#[test]
fn down_for_good_while_a_private_server_streams() {
    let streaming = Streaming::start("wayx_gone", &[("source_lost_timeout", "2s")]);
    let pair = &streaming.pair;
    pair.proxy().down();
    wait_until("it is given up", Duration::from_secs(60), || (pair.state() == "FAILED").then_some(()));
    let refusal = Refusal::of(&midway::until_failed(pair)).names(&["node_a", "resume_init"]);
    assert!(refusal.code.starts_with("08"), "{refusal:?}");
    pair.proxy().restore();
    pair.target.exec("select steep_repl.resume_init('node_b')");
    streaming.ends_equal();
}
