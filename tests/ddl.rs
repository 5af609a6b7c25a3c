//! Somebody changes tables while they are copied, on the source or here: it ends equal, or FAILED with the table's name
//! and the way out, which then works. Rows are never different in silence.
//!
//! One worker takes the larger table first, over a throttled link: so a change comes surely before the table's first
//! chunk, between two of its chunks, or after its last.

use std::time::Duration;

use steep_repl_testkit::{check, describe, wait_until, Pair, PairOptions, Tables};

const LONG: Duration = Duration::from_secs(120);
const ARGS: &str = "method => 'parallel', parallel_workers => 1";

/// When somebody acts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    BeforeFirstChunk,
    BetweenChunks,
    AfterLastChunk,
}
use When::{AfterLastChunk, BeforeFirstChunk, BetweenChunks};

/// How it may end. Equal is always good.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Equal,
    /// Or FAILED; when the change was taken back, it can be resumed.
    OrStopped,
    /// Or FAILED; what came meanwhile cannot be had back, so it is cancelled, this table made to match, and begun anew.
    OrCancelled,
}

fn copying(label: &str, when: When) -> Pair {
    copying_on(Pair::options(label), when)
}

/// The victim's copy has come this far.
fn copying_on(options: PairOptions, when: When) -> Pair {
    let pair = options.proxied().build();
    let (victim, filler) = match when {
        BeforeFirstChunk => (8_000, 20_000),
        BetweenChunks => (24_000, 2_000),
        AfterLastChunk => (14_000, 12_000),
    };
    pair.source.exec(&format!(
        "create table victim (id int primary key, v int, short varchar(10), note text);
         create index victim_v on victim (v);
         create table filler (id int primary key, v int, note text);
         create table tiny (id int primary key, note text);
         insert into victim select i, i, 's' || i % 1000, repeat('x', 200) from generate_series(1, {victim}) i;
         insert into filler select i, i, repeat('x', 200) from generate_series(1, {filler}) i;
         insert into tiny select i, 'tiny' from generate_series(1, 100) i"
    ));
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.proxy().throttle(1_200_000);
    pair.init_with(&[("chunk_size", "1MB")], ARGS).unwrap();
    let reached = match when {
        BeforeFirstChunk => "table_name = 'filler' and rows_done > 1000",
        BetweenChunks => "table_name = 'victim' and rows_done > 4000",
        AfterLastChunk => "table_name = 'victim' and status not in ('waiting', 'copying')",
    };
    let reached = format!("select count(*) from steep_repl.table_progress where {reached}");
    wait_until("the copy has come far enough", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.target.scalar::<i64>(&reached) == 1).then_some(())
    });
    if when == BeforeFirstChunk {
        let read = "select rows_done from steep_repl.table_progress where table_name = 'victim'";
        assert_eq!(pair.target.rows(read), ["0"]);
    }
    pair
}

/// The change is over, and it came while rows were copied; the rest goes as fast as it can.
fn finish(pair: &Pair) -> Result<(), postgres::Error> {
    assert_eq!(pair.state(), "COPYING", "it came too late to disturb");
    pair.proxy().throttle(0);
    pair.wait(LONG)
}

/// FAILED, with an SQLSTATE, these words and a way out.
fn stopped(pair: &Pair, error: &postgres::Error, words: &[&str]) -> String {
    let text = describe(error);
    eprintln!("stopped: {text}");
    let Some(db) = error.as_db_error() else { panic!("not an answer of the server: {text}") };
    assert_eq!(pair.state(), "FAILED", "{text}");
    assert!(db.hint().is_some_and(|hint| !hint.trim().is_empty()), "no way out is told: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    db.code().code().to_string()
}

fn resumes(pair: &Pair) {
    pair.target.exec("select steep_repl.resume_init('node_b')");
    pair.wait(LONG).unwrap_or_else(|error| panic!("resumed, but: {}", describe(&error)));
}

/// Replication works, and every row of the source is here.
fn equal(pair: &Pair) {
    assert_eq!(pair.state(), "SYNCHRONIZED");
    if pair.source.scalar::<bool>("select to_regclass('victim') is not null") {
        pair.source.exec("delete from victim where id = 7");
    }
    pair.source.exec("insert into filler values (-1, 0, 'later'); update filler set v = -1 where id = 5");
    pair.expect_equal();
}

fn cancel(pair: &Pair) {
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
}

fn cleaned_up(pair: &Pair) {
    let left = "select kind, error, hint from steep_repl.pending_cleanup";
    wait_until("nothing is left to be cleaned up", Duration::from_secs(45), || {
        pair.target.rows(left).is_empty().then_some(())
    });
    check::assert_clean(&pair.source, &pair.target);
}

/// Cancelled, nothing is left of it, and it works from the start.
fn cancels(pair: &Pair) {
    cancel(pair);
    cleaned_up(pair);
    pair.synchronize(ARGS);
    equal(pair);
}

fn on_source(label: &str, when: When, end: End, change: &[&str], back: &[&str]) {
    let pair = copying(label, when);
    pair.source.exec_each(change);
    let Err(error) = finish(&pair) else { return equal(&pair) };
    stopped(&pair, &error, &["victim"]);
    assert_ne!(end, End::Equal, "nothing of this disturbs a copy");
    if end == End::OrCancelled {
        cancel(&pair);
        cleaned_up(&pair);
        pair.target.exec_each(back);
        pair.synchronize(ARGS);
        return equal(&pair);
    }
    pair.source.exec_each(back);
    resumes(&pair);
    equal(&pair);
}

macro_rules! on_source {
    ($($name:ident: $end:ident, [$($change:expr),+] back [$($back:expr),*];)+) => {
        $(mod $name {
            use super::*;

            #[test]
            fn before_the_first_chunk() {
                on_source(concat!("dd_", stringify!($name)), BeforeFirstChunk, End::$end, &[$($change),+],
                    &[$($back),*]);
            }

            #[test]
            fn between_two_chunks() {
                on_source(concat!("dd_", stringify!($name)), BetweenChunks, End::$end, &[$($change),+], &[$($back),*]);
            }

            #[test]
            fn after_the_last_chunk() {
                on_source(concat!("dd_", stringify!($name)), AfterLastChunk, End::$end, &[$($change),+], &[$($back),*]);
            }
        })+
    };
}

on_source! {
    column_added: OrStopped, ["alter table victim add extra int"] back ["alter table victim drop extra"];
    // What was written with the column cannot be read again without it.
    column_added_and_used: OrCancelled,
        ["alter table victim add extra int default 5", "update victim set extra = 6 where id < 20"]
        back ["alter table victim add extra int default 5"];
    column_dropped: OrCancelled, ["alter table victim drop v"] back [];
    // The old values are gone on the source, under the same name and type.
    column_replaced: OrCancelled, ["begin; alter table victim drop v; alter table victim add v int; commit"] back [];
    type_widened: OrStopped, ["alter table victim alter short type varchar(20)"]
        back ["alter table victim alter short type varchar(10)"];
    type_widened_and_used: OrCancelled,
        ["alter table victim alter short type varchar(20)", "update victim set short = 'longer than ten' where id = 5"]
        back ["alter table victim alter short type varchar(20)"];
    type_rewritten: OrStopped, ["alter table victim alter v type bigint"] back ["alter table victim alter v type int"];
    table_dropped: OrCancelled, ["drop table victim"] back [];
    table_renamed: OrStopped, ["alter table victim rename to elsewhere"]
        back ["alter table elsewhere rename to victim"];
    column_renamed: OrStopped, ["alter table victim rename v to w"] back ["alter table victim rename w to v"];
    indexes_changed: Equal,
        ["drop index victim_v", "create index victim_other on victim (short, v)", "reindex table victim"] back [];
}

/// The cure for another type, as the error tells it: the same change here.
#[test]
fn a_type_that_is_changed_here_too() {
    for (change, label) in [("short type varchar(20)", "dd_too_wide"), ("v type bigint", "dd_too_big")] {
        let pair = copying(label, BetweenChunks);
        let change = format!("alter table victim alter {change}");
        pair.source.exec(&change);
        if let Err(error) = finish(&pair) {
            stopped(&pair, &error, &["victim"]);
            pair.target.exec(&change);
            resumes(&pair);
        }
        equal(&pair);
    }
}

/// Somebody takes from our publication what the slot needs: without an error of the server, changes would be missing.
fn publication(label: &str, change: &str) {
    let pair = copying(label, BetweenChunks);
    let change = change.replace("{pub}", "select pubname from pg_publication");
    pair.source.exec(&format!("do $do$ begin {change}; end $do$"));
    pair.source.exec(
        "update victim set note = 'missed' where id < 100; delete from victim where id between 200 and 220;
         insert into victim values (-5, 5, 'new', 'missed')",
    );
    let Err(error) = finish(&pair) else { return equal(&pair) };
    stopped(&pair, &error, &["publication"]);
    cancels(&pair);
}

#[test]
fn our_publication_is_dropped() {
    publication("dd_pub", "execute format('drop publication %I', ({pub}))");
}

#[test]
fn a_table_is_taken_out_of_our_publication() {
    publication("dd_pub_out", "execute format('alter publication %I drop table victim', ({pub}))");
}

#[test]
fn our_publication_is_limited_to_inserts() {
    publication("dd_pub_ins", "execute format($$alter publication %I set (publish = 'insert')$$, ({pub}))");
}

#[test]
fn a_column_list_is_given_to_our_publication() {
    publication(
        "dd_pub_cols",
        "execute format('alter publication %I set table victim (id, v), filler, tiny', ({pub}))",
    );
}

/// Until a table of that name is there again, what is left is told.
fn dropped_here(label: &str, when: When) {
    let pair = copying(label, when);
    pair.target.exec("drop table victim");
    let error = finish(&pair).expect_err("a table that is not here was synchronized");
    stopped(&pair, &error, &["victim"]);
    cancel(&pair);
    pair.target.exec(
        "create table if not exists victim (id int primary key, v int, short varchar(10), note text);
         create index victim_v on victim (v)",
    );
    cleaned_up(&pair);
    pair.synchronize(ARGS);
    equal(&pair);
}

#[test]
fn a_table_is_dropped_here_before_its_first_chunk() {
    dropped_here("dd_here", BeforeFirstChunk);
}

#[test]
fn a_table_is_dropped_here_between_two_chunks() {
    dropped_here("dd_here", BetweenChunks);
}

#[test]
fn a_table_is_dropped_here_after_its_last_chunk() {
    dropped_here("dd_here", AfterLastChunk);
}

#[test]
fn a_column_is_dropped_here() {
    for when in [BeforeFirstChunk, BetweenChunks] {
        let pair = copying("dd_here_col", when);
        pair.target.exec("alter table victim drop v");
        let error = finish(&pair).expect_err("a table that lacks a column was synchronized");
        stopped(&pair, &error, &["victim"]);
        pair.target.exec("alter table victim add v int");
        resumes(&pair);
        equal(&pair);
    }
}

/// They come from several sessions, in between the rows that are loaded. Only they are taken away again; what was
/// loaded is whole, and is not copied again.
#[test]
fn somebody_writes_duplicates_here() {
    let pair = copying("dd_dup", BetweenChunks);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let pair = &pair;
            scope.spawn(move || {
                let mut client = pair.target.connect();
                for first in (writer..2_000).step_by(400) {
                    let rows = format!(
                        "insert into victim select i, i, 'dup', 'foreign'
                         from generate_series({first}, {first} + 40, 4) i
                         where i > 0"
                    );
                    client.batch_execute(&rows).unwrap();
                }
            });
        }
    });
    let error = finish(&pair).expect_err("duplicates became a unique index");
    let code = stopped(&pair, &error, &["victim", "victim_pkey", "(id)=("]);
    assert_eq!(code, "23505");
    pair.target.exec("delete from victim where note = 'foreign'");
    let whole = pair.source.scalar::<i64>("select count(*) from victim");
    assert_eq!(pair.target.scalar::<i64>("select count(*) from victim"), whole, "loaded rows were damaged");
    resumes(&pair);
    equal(&pair);
    let renewed = pair.events().iter().filter(|event| event.event == "init.snapshot_renewed").count();
    assert_eq!(renewed, 0, "rows that were here were copied again");
}

/// Into a table that waits, and that keeps its indexes while it is loaded.
#[test]
fn somebody_writes_into_a_small_table_here() {
    let pair = copying("dd_dup_tiny", BetweenChunks);
    pair.target.exec("insert into tiny select i, 'foreign' from generate_series(50, 60) i");
    if let Err(error) = finish(&pair) {
        stopped(&pair, &error, &["tiny"]);
        pair.target.exec("delete from tiny where note = 'foreign'");
        resumes(&pair);
    }
    pair.expect_equal_in(&Tables::only(&["victim", "filler", "tiny"]));
}
