//! What `strict` and `manual` promise where the source is altered while an operation runs, change by change and moment by moment: a
//! column is added that is NULL in every row, a column is dropped, a column becomes NOT NULL. docs/schemas.md has the table.

use steep_repl_testkit::{check, describe, Pair};

use crate::drift::{running, running_with, AfterLastChunk, BetweenChunks, CatchingUp, Running, When, LONG};

const MODES: [&str; 2] = ["strict", "manual"];
const MOMENTS: [When; 3] = [BetweenChunks, AfterLastChunk, CatchingUp];

/// Every mode and moment, each with a name for its databases.
fn everywhere(name: &str, test: impl Fn(&str, &'static str, When)) {
    for mode in MODES {
        for when in MOMENTS {
            // Shown when it fails.
            eprintln!("{name}: {mode}, {when:?}");
            test(&format!("dc_{name}_{mode}"), mode, when);
        }
    }
}

fn goes_on(running: &Running) {
    running.pair.wait(LONG).unwrap_or_else(|error| panic!("{}", describe(&error)));
    running.is_equal();
    check::assert_no_conflicts(&running.pair.target);
}

/// Columns of `victim` here, with `!` where they are NOT NULL.
fn columns_here(running: &Running) -> String {
    let columns = "select string_agg(attname || case when attnotnull then '!' else '' end, ' ' order by attname)
        from pg_attribute where attrelid = 'victim'::regclass and attnum > 0 and not attisdropped";
    running.pair.target.scalar(columns)
}

/// Resumed, it ends with what the apply worker says.
fn apply_worker_stops(running: &Running, words: &str) {
    running.pair.target.exec("select steep_repl.resume_init('node_b')");
    let error = running.pair.wait(LONG).expect_err("the apply worker got over it");
    let text = describe(&error);
    assert_eq!(running.pair.state(), "FAILED", "{text}");
    assert_eq!(error.as_db_error().map(|error| error.code().code()), Some("55000"), "{text}");
    assert!(text.contains("the apply worker of subscription"), "{text}");
    assert!(running.pair.target.cluster().log_contains(words), "{words:?} is missing in the log");
}

fn copied_again(running: &Running) -> usize {
    running.events("init.table_deferred").len()
}

#[test]
fn a_column_that_is_null_in_every_row_has_to_be_added_here() {
    everywhere("null", |label, mode, when| {
        let mut running = running(label, when, mode);
        running.alter(&[
            "update victim set v = 0 where id < 5",
            "alter table victim add extra int",
            "update victim set extra = 6 where id < 20",
            "insert into victim (id, extra) values (-1, 7)",
        ]);
        running.stops(&["column extra of table public.victim does not exist on the target"]);
        running.pair.target.exec("alter table victim add extra int");
        running.resumes();
        running.is_equal();
        assert_eq!(copied_again(&running), 0);
    });
}

/// With values on their way from before it was dropped, and rows without one from after.
const DROPPED: [&str; 4] = [
    "update victim set v = 0, note = 'before' where id < 5",
    "alter table victim drop v, drop note",
    "update victim set short = 'after' where id < 3",
    "insert into victim (id) values (-1)",
];

#[test]
fn columns_that_are_dropped_and_need_no_value_stay_here() {
    everywhere("drop", |label, mode, when| {
        let mut running = running(label, when, mode);
        running.alter(&DROPPED);
        goes_on(&running);
        // NOT NULL with a default fills itself.
        assert_eq!(columns_here(&running), "id! note short v!");
        let kept = running.events("schema.left_out");
        let words = "kept here: column v of table public.victim, column note of table public.victim";
        assert!(kept.iter().any(|event| event.contains(words)), "{kept:?}");
        // No chunk that is read after it has the columns, and a table is not put together from two kinds of chunks.
        assert_eq!(copied_again(&running) > 0, when == BetweenChunks);
    });
}

fn without_default(pair: &Pair) {
    pair.source.exec("alter table victim alter v drop default");
}

const NEEDED: &str =
    "column v of table public.victim gets no value from the source, but is NOT NULL without a default on the target";

#[test]
fn a_column_that_is_dropped_and_needs_a_value_stops_it_until_it_needs_none() {
    everywhere("need", |label, mode, when| {
        let mut running = running_with(label, when, mode, without_default);
        running.alter(&DROPPED);
        // Nor could what is still to be read be read.
        let copy = "the copy ended with: could not copy table \"public\".\"victim\"";
        let words = [NEEDED, copy];
        running.stops(if when == BetweenChunks { &words } else { &words[..1] });
        running.pair.target.exec("alter table victim alter v drop not null");
        running.resumes();
        running.is_equal();
        assert_eq!(columns_here(&running), "id! note short v");
    });
}

/// Values for it are on their way, and the apply worker looks for it before it looks at what to do with them.
#[test]
fn a_column_that_was_dropped_here_too_early_has_to_come_back() {
    let mut running = running_with("dc_early", AfterLastChunk, "strict", without_default);
    running.alter(&DROPPED);
    running.stops(&[NEEDED]);
    running.pair.target.exec("alter table victim drop v");
    apply_worker_stops(&running, "is missing replicated column: \"v\"");
    running.pair.target.exec("alter table victim add v int");
    running.resumes();
    running.is_equal();
}

const NULLABILITY: &str = "table public.victim: column short: nullability not null on node_a, null on node_b";

#[test]
fn not_null_that_is_added_stops_strict() {
    for when in MOMENTS {
        let mut running = running("dc_notnull_strict", when, "strict");
        running.alter(&[
            "update victim set short = 'before' where id < 5",
            "alter table victim alter short set not null",
            "update victim set short = 'after' where id < 3",
        ]);
        running.stops(&[NULLABILITY]);
        running.pair.target.exec("alter table victim alter short set not null");
        running.resumes();
        running.is_equal();
        assert_eq!(columns_here(&running), "id! note short! v!");
        assert_eq!(copied_again(&running), 0);
    }
}

/// With a NULL on its way from before it was refused.
const FILLED: [&str; 4] = [
    "insert into victim (id, short) values (-1, null)",
    "update victim set short = 'filled' where short is null",
    "alter table victim alter short set not null",
    "insert into victim (id, short) values (-2, 'after')",
];

/// Once they have been applied, nothing stands against it.
#[test]
fn not_null_is_added_here_when_the_nulls_from_before_it_have_been_applied() {
    let mut running = running("dc_notnull_late", CatchingUp, "strict");
    running.alter(&FILLED);
    running.stops(&[NULLABILITY]);
    running.pair.target.exec("alter table victim alter short set not null");
    running.resumes();
    running.is_equal();
}

#[test]
fn not_null_that_is_added_here_before_the_nulls_are_applied_has_to_be_taken_back_on_both_sides() {
    let mut running = running("dc_notnull_early", AfterLastChunk, "strict");
    running.alter(&FILLED);
    running.stops(&[NULLABILITY]);
    running.pair.target.exec("alter table victim alter short set not null");
    apply_worker_stops(&running, "null value in column \"short\" of relation \"victim\" violates not-null constraint");
    for side in [&running.pair.target, &running.pair.source] {
        side.exec("alter table victim alter short drop not null");
    }
    running.resumes();
    running.is_equal();
}

#[test]
fn not_null_that_is_taken_back_on_the_source_stops_nothing_any_more() {
    for when in [BetweenChunks, AfterLastChunk] {
        let mut running = running("dc_notnull_back", when, "strict");
        running.alter(&FILLED);
        running.stops(&[NULLABILITY]);
        running.pair.source.exec("alter table victim alter short drop not null");
        running.resumes();
        running.is_equal();
    }
}

/// Rows on their way may be what the source refuses by now.
#[test]
fn not_null_that_is_added_is_nothing_to_manual() {
    for when in MOMENTS {
        let mut running = running("dc_notnull_manual", when, "manual");
        running.alter(&FILLED);
        goes_on(&running);
        assert_eq!(columns_here(&running), "id! note short v!");
        assert_eq!(copied_again(&running), 0);
    }
}

/// `max_retries` counts changes of the source, not the chunks that meet one.
#[test]
fn a_table_whose_chunks_meet_one_change_is_put_aside_once() {
    let mut running = running_with("dc_once", BetweenChunks, "auto", |pair| {
        pair.target.exec(&format!("alter database {} set steep_repl.max_retries = 1", pair.target.name()));
    });
    running.alter(&["alter table victim drop v", "insert into victim (id) values (-1)"]);
    goes_on(&running);
    assert_eq!(running.events("init.table_deferred").len(), 1);
}
