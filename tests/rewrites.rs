//! The source rewrites a table while it is copied: before its first chunk is read, and between two chunks.
//!
//! A snapshot knows rows of the file that the table was; read from the new file, rows are lost or doubled in silence. The link
//! is throttled so that the statement surely comes in the middle, and opened again after it.

use std::time::Duration;

use steep_repl_testkit::{wait_until, LoadOptions, Pair, Tables};

use crate::refusal::Refusal;

/// When the source acts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    /// Another table is being copied, this one was not read yet.
    BeforeFirstChunk,
    /// Some of the table has arrived, some has not been read.
    BetweenChunks,
}

/// How it may end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// SYNCHRONIZED, all rows equal.
    Equal,
    /// That, or FAILED with an error that says why.
    EqualOrClearFailure,
}

const SCHEMA: &str = "
    create table victim (id int primary key, v int, note text);
    create index victim_v on victim (v); cluster victim using victim_v;
    create table filler (id int primary key, v int, note text);
    create table spare (id int primary key, v int, note text);";

fn rewritten(label: &str, when: When, end: End, action: &[&str]) {
    let pair = Pair::options(label).proxied().build();
    pair.source.exec(SCHEMA);
    let (victim, filler) = match when {
        When::BeforeFirstChunk => (8_000, 40_000),
        When::BetweenChunks => (40_000, 100),
    };
    for (table, rows) in [("victim", victim), ("filler", filler), ("spare", 100)] {
        // Deleted rows in between: a rewrite then moves every row to another place.
        pair.source.exec(&format!(
            "insert into {table} select i, i % 100, repeat('x', 200) from generate_series(1, {rows} * 2) i;
             delete from {table} where id % 2 = 0"
        ));
    }
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let load = LoadOptions::default().keyed("victim").keys(victim * 2).rate(40).writers(1).start(&pair.source);
    pair.proxy().throttle(1_500_000);
    pair.init_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 1").unwrap();
    let first = if when == When::BeforeFirstChunk { "filler" } else { "victim" };
    let started = format!(
        "select coalesce(max(rows_done), 0)::int8 from steep_repl.table_progress where table_name = '{first}' and status::text not ilike 'comp%'"
    );
    wait_until(&format!("{first} is being copied"), Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.target.scalar::<i64>(&started) > 1000).then_some(())
    });
    if when == When::BeforeFirstChunk {
        let read =
            "select coalesce(max(rows_done), 0)::int8 from steep_repl.table_progress where table_name = 'victim'";
        assert_eq!(pair.target.scalar::<i64>(read), 0, "the victim was read before the filler was");
    }
    pair.source.exec_each(action);
    assert_eq!(pair.state(), "COPYING", "the statement came too late to disturb");
    pair.proxy().throttle(0);
    let ended = pair.wait(Duration::from_secs(240));
    load.stop();
    match ended {
        Ok(()) => {
            assert_eq!(pair.state(), "SYNCHRONIZED");
            pair.expect_equal_in(&Tables::only(&["victim", "filler", "spare"]));
        }
        Err(error) => {
            let refusal = Refusal::of(&error);
            assert_eq!(end, End::EqualOrClearFailure, "{refusal:?}");
            assert_eq!(pair.state(), "FAILED");
            refusal.names(&["victim"]);
        }
    }
}

macro_rules! rewrite_tests {
    ($($name:ident: $end:expr, [$($statement:expr),+];)+) => {
        $(mod $name {
            use super::*;

            #[test]
            fn before_the_first_chunk() {
                rewritten(concat!("rw_", stringify!($name)), When::BeforeFirstChunk, $end, &[$($statement),+]);
            }

            #[test]
            fn between_two_chunks() {
                rewritten(concat!("rw_", stringify!($name)), When::BetweenChunks, $end, &[$($statement),+]);
            }
        })+
    };
}

rewrite_tests! {
    vacuum_full: End::Equal, ["vacuum full victim"];
    cluster: End::Equal, ["cluster victim"];
    truncate: End::Equal, ["truncate victim"];
    // The stream does not carry what USING computes: only a new copy can.
    alter_type_same: End::Equal, ["alter table victim alter note type text using upper(note) || '!'"];
    alter_type_other: End::EqualOrClearFailure, ["alter table victim alter v type bigint using v"];
    truncate_and_refill: End::Equal,
        ["begin; truncate victim; insert into victim select i, i, 'new' from generate_series(1, 5000) i; commit"];
    // Both tables are part of the plan and change places.
    swap_known: End::EqualOrClearFailure,
        ["begin; alter table victim rename to old_victim; alter table spare rename to victim; alter table old_victim rename to spare; commit"];
    // What migration tools do: a copy takes the table's place.
    swap_new: End::EqualOrClearFailure,
        ["begin; lock victim; create table fresh (like victim including all); insert into fresh select * from victim where id % 3 = 0;
          alter table victim rename to old_victim; alter table fresh rename to victim; commit"];
    drop_it: End::EqualOrClearFailure,
        ["begin; alter table victim rename to old_victim; create table victim (like old_victim including all); drop table old_victim; commit"];
}

/// Another table takes the place of one that is copied already, while a second table still is: what was copied is not what is
/// there. The last look before replication starts has to notice.
#[test]
fn replaced_after_its_last_chunk() {
    let pair = Pair::options("rw_late").proxied().build();
    pair.source.exec(
        "create table victim (id int primary key, v int, note text); create index on victim (v);
         create table filler (id int primary key, v int, note text);
         insert into victim select i, i, repeat('x', 200) from generate_series(1, 20000) i;
         insert into filler select i, i, repeat('x', 200) from generate_series(1, 15000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.proxy().throttle(3_000_000);
    pair.init("method => 'parallel', parallel_workers => 1").unwrap();
    let done = "select count(*) from steep_repl.operation_tables where table_name = 'victim' and rows_done > 0 and copies_left = 0";
    wait_until("the victim is copied", Duration::from_secs(60), || {
        (pair.target.scalar::<i64>(done) == 1).then_some(())
    });
    pair.source.exec(
        "begin; create table fresh (like victim including all); insert into fresh select id, -v, 'new' from victim where id % 3 = 0;
         alter table victim rename to old_victim; alter table fresh rename to victim; drop table old_victim; commit",
    );
    assert_eq!(pair.state(), "COPYING", "the statement came too late to disturb");
    let load = LoadOptions::default().keyed("victim").keys(20_000).rate(40).writers(1).start(&pair.source);
    pair.proxy().throttle(0);
    pair.wait(Duration::from_secs(120)).unwrap();
    load.stop();
    let again = "select count(*) from steep_repl.events where event = 'init.snapshot_renewed'";
    assert!(pair.target.scalar::<i64>(again) >= 1, "{:?}", pair.events());
    pair.expect_equal_in(&Tables::only(&["victim", "filler"]));
}
