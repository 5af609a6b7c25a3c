//! Large tables of `method => 'snapshot'`, which go by `large_table_method`; and what `method => 'auto'` comes to.

use std::time::Duration;

use steep_repl_testkit::{wait_until, ClusterOptions, LoadOptions, Pair, SchemaState};

use crate::midway::{self, events};
use crate::outcome::{assert_progress_covers_all, initialize_under_load};
use crate::refusal::refused;
use crate::shop;

/// Of the tables of `midway` one is large.
pub const ARGS: &str =
    "method => 'snapshot', no_identity => 'full', parallel_workers => 2, large_table_threshold => '1MB'";
const CANCEL: &str = "select steep_repl.cancel_init('node_b')";

/// How the rows of each table got here.
pub fn transports(pair: &Pair) -> Vec<String> {
    pair.target.rows("select transport, count(*) from steep_repl.operation_tables group by 1 order by 1")
}

/// Errors are not looked at where servers and links go down.
pub fn expect_end(pair: &Pair) {
    midway::expect_end_after_errors(pair);
}

/// Starts it and waits until rows of the large table are here, and none of the others.
pub fn start(pair: &Pair, method: &str) {
    start_with(pair, method, &[]);
}

pub fn start_with(pair: &Pair, method: &str, settings: &[(&str, &str)]) {
    pair.proxy().throttle(midway::SLOW);
    let settings = [&[("chunk_size", "1MB")], settings].concat();
    pair.init_with(&settings, &format!("{ARGS}, large_table_method => '{method}'")).unwrap();
    midway::until_rows(pair);
    assert_eq!(transports(pair), [format!("{method} | 1"), "server | 2".to_owned()]);
    let others = pair.target.rows("select status from steep_repl.operation_tables where transport = 'server'");
    assert_eq!(others, ["waiting", "waiting"]);
}

pub fn under_load(pair: &Pair, method: &str) {
    shop::fill(&pair.source, 0.5);
    pair.prepare();
    let args = format!("method => 'snapshot', large_table_threshold => '3MB', large_table_method => '{method}'");
    let seen = initialize_under_load(pair, &[("chunk_size", "1MB")], &args);
    let ways = transports(pair);
    assert!(ways.len() == 2 && ways[0].starts_with(method) && ways[1].starts_with("server"), "{ways:?}");
    assert_progress_covers_all(pair, &seen);
    // What our workers have copied came with our origin: later changes of it are no conflicts. The others are the server's.
    let method = pair.target.rows("select method, phase, state from steep_repl.init_progress");
    assert_eq!(method, ["snapshot | done | SYNCHRONIZED"]);
}

#[test]
fn by_copy_under_load() {
    under_load(&Pair::new("large_copy"), "copy");
}

/// Rows of large tables carry the subscription's origin, so changing them is no conflict.
#[test]
fn changes_of_large_tables_are_no_conflicts() {
    let pair = midway::prepared(Pair::options("large_origin"));
    start(&pair, "copy");
    let load = LoadOptions::default().keyed("large").keys(15_000).rate(100).start(&pair.source);
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    pair.expect_equal();
}

pub fn cancelled(label: &str, method: &str) {
    let pair = midway::prepared(Pair::options(label));
    let (source, target) = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    start(&pair, method);
    pair.target.exec(CANCEL);
    pair.proxy().throttle(0);
    midway::until_undone(&pair);
    midway::expect_emptied(&pair, &["large", "log", "small"]);
    target.assert_same(&pair.target);
    source.assert_same(&pair.source);
    expect_no_program(&pair);
    pair.synchronize(&format!("{ARGS}, large_table_method => '{method}'"));
    expect_end(&pair);
}

/// No program of this pair's operations is at work on the source.
pub fn expect_no_program(pair: &Pair) {
    let tokens = pair.target.rows("select token from steep_repl.operations");
    let sessions = pair.source.rows(
        "select application_name from pg_stat_activity where application_name ~ '^steep_repl_.*_(dump[0-9]+|backup)$'",
    );
    let left: Vec<&String> = sessions.iter().filter(|name| tokens.iter().any(|token| name.contains(token))).collect();
    assert!(left.is_empty(), "{left:?}");
}

pub fn source_restarts(label: &str, method: &str) {
    let source = ClusterOptions::new(&format!("{label}_s")).start();
    let pair = midway::prepared(Pair::options(label).source(source));
    start(&pair, method);
    midway::source_crashes_under_load(&pair);
    expect_end(&pair);
    assert!(!events(&pair, "init.snapshot_renewed").is_empty(), "the snapshot was not lost");
}

pub fn target_restarts(label: &str, method: &str) {
    let target = ClusterOptions::new(&format!("{label}_t")).preload().start();
    let pair = midway::prepared(Pair::options(label).target(target));
    start(&pair, method);
    let load = LoadOptions::default().keyed("large").rate(20).start(&pair.source);
    pair.target.cluster().restart();
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    expect_end(&pair);
    expect_no_program(&pair);
    assert_eq!(events(&pair, "init.taken_up").len(), 1);
}

#[test]
fn cancelled_in_the_middle() {
    cancelled("large_cancel", "copy");
}

#[test]
fn a_restart_of_the_source() {
    source_restarts("large_source", "copy");
}

#[test]
fn a_restart_of_the_target() {
    target_restarts("large_target", "copy");
}

/// A large table that is altered while the server copies the others is copied again; nothing of what was applied to it meanwhile is doubled.
#[test]
fn a_large_table_that_is_altered_while_the_server_copies() {
    let pair = midway::prepared(Pair::options("large_altered"));
    pair.target.exec(
        "create function held() returns trigger language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
         create trigger held before insert on log for each row execute function held();
         alter table log enable replica trigger held",
    );
    let mut holder = pair.target.connect();
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    pair.init(&format!("{ARGS}, schema_sync => 'auto'")).unwrap();
    let waiting = "select count(*) from pg_locks join pg_database d on d.oid = database
        where locktype = 'advisory' and not granted and datname = current_database()";
    wait_until("the server's copy is held", Duration::from_secs(60), || {
        (pair.target.scalar::<i64>(waiting) > 0).then_some(())
    });
    assert_eq!(pair.target.rows("select status from steep_repl.operation_tables where transport = 'copy'"), ["done"]);
    pair.source.exec("update large set v = 5 where id between 100 and 200");
    wait_until("that was applied", Duration::from_secs(60), || {
        (pair.target.scalar::<i64>("select count(*) from large where v = 5 and id > 99") == 101).then_some(())
    });
    pair.source.exec("alter table large add column w int default 7");
    pair.source.exec("update large set w = 8 where id between 150 and 250");
    wait_until("it is put aside", Duration::from_secs(60), || {
        (!events(&pair, "init.table_deferred").is_empty()).then_some(())
    });
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    pair.expect_synchronized();
    assert!(!events(&pair, "init.snapshot_renewed").is_empty(), "it was not copied again");
    assert_eq!(pair.target.scalar::<i64>("select count(*) from large where w = 7"), 15_000 - 101);
    pair.source.exec("update large set w = 9 where id < 20");
    expect_end(&pair);
}

/// Below the threshold the server copies, above it we do.
#[test]
fn auto_goes_by_size() {
    for (label, threshold, method) in [("auto_small", "100MB", "snapshot"), ("auto_large", "1MB", "parallel")] {
        let pair = midway::prepared(Pair::options(label));
        pair.synchronize_with(&[("snapshot_threshold", threshold)], "no_identity => 'full'");
        assert_eq!(pair.target.rows("select method from steep_repl.init_progress"), [method]);
        let said = events(&pair, "init.method_chosen");
        assert!(said.len() == 1 && said[0].starts_with(&format!("method auto is {method}")), "{said:?}");
        expect_end(&pair);
    }
}

/// Where the server could not copy a single table, auto does not choose that.
#[test]
fn auto_where_the_server_has_no_workers_for_it() {
    let target = ClusterOptions::new("auto_none").preload().set("max_sync_workers_per_subscription", "0").start();
    let pair = midway::prepared(Pair::options("auto_none").target(target));
    pair.synchronize_with(&[("snapshot_threshold", "100MB")], "no_identity => 'full'");
    assert_eq!(pair.target.rows("select method from steep_repl.init_progress"), ["parallel"]);
    expect_end(&pair);
}

#[test]
fn arguments_that_cannot_be_meant() {
    let pair = midway::prepared(Pair::options("large_args"));
    for (args, names) in [
        ("large_table_threshold => 'much'", ["large_table_threshold", "much"]),
        ("large_table_threshold => '-1'", ["large_table_threshold", "-1"]),
        ("large_table_method => 'rsync'", ["large_table_method", "rsync"]),
    ] {
        let refusal = refused(&pair, &format!("method => 'snapshot', no_identity => 'full', {args}")).names(&names);
        assert_eq!(refusal.code, "22023", "{args}: {refusal:?}");
    }
}

/// What has still to be made here goes by its size on the source, too.
#[test]
fn large_tables_that_are_made_here() {
    let pair = Pair::options("large_made").proxied().build();
    pair.source.exec(
        "create table large (id int primary key, v int, note text); create index large_v on large (v);
         create table log (v int, note text); create table small (id int primary key, v int, note text);
         insert into large select i, i, repeat('x', 200) from generate_series(1, 15000) i;
         insert into log select i, repeat('y', 100) from generate_series(1, 500) i;
         insert into small select i, i, 's' from generate_series(1, 100) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.register();
    pair.synchronize(&format!("{ARGS}, schema_sync => 'auto'"));
    assert_eq!(transports(&pair), ["copy | 1", "server | 2"]);
    expect_end(&pair);
}

/// By other methods they are ignored, and that is said.
#[test]
fn arguments_that_are_ignored() {
    let pair = midway::prepared(Pair::options("large_ignored"));
    pair.synchronize(
        "method => 'parallel', no_identity => 'full', large_table_threshold => '1MB', large_table_method => 'pg_dump'",
    );
    let told = pair.notices().join("\n");
    assert!(told.contains("large_table_threshold and large_table_method are ignored by method parallel"), "{told}");
    assert_eq!(transports(&pair), ["copy | 3"]);
    expect_end(&pair);
}
