//! An initialization that is held in the middle of its copy by a slow link.

use std::time::Duration;

use steep_repl_testkit::{check, describe, wait_until, LoadOptions, Pair, PairOptions};

/// Bytes a second at which the copy lasts for some seconds.
pub const SLOW: u64 = 600_000;
/// What the calls of `init_node` here have in common.
pub const ARGS: &str = "method => 'parallel', no_identity => 'full', parallel_workers => 2";

/// A table that is copied in ranges and whose indexes are suspended, one without identity, and one that keeps its index.
const SCHEMA: &str = "
    create table large (id int primary key, v int, note text);
    create index large_v on large (v); create unique index large_vid on large (v desc, id);
    create table log (v int, note text);
    create table small (id int primary key, v int, note text);
    insert into large select i, i, repeat('x', 200) from generate_series(1, 15000) i;
    insert into log select i, repeat('y', 100) from generate_series(1, 500) i;
    insert into small select i, i, 's' from generate_series(1, 100) i;";

/// A pair that is ready to be initialized over a link that can be slowed down.
pub fn prepared(options: PairOptions) -> Pair {
    let pair = filled(options);
    pair.register();
    pair
}

/// The same, with nodes that are not registered yet.
pub fn filled(options: PairOptions) -> Pair {
    let pair = options.proxied().build();
    pair.source.exec(SCHEMA);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.copy_schema_from(&pair.source);
    pair
}

/// Starts it and waits until rows are here.
pub fn start(pair: &Pair) {
    pair.proxy().throttle(SLOW);
    pair.init_with(&[("chunk_size", "1MB")], ARGS).unwrap();
    until_rows(pair);
}

/// Waits until rows are here and many more are to come.
pub fn until_rows(pair: &Pair) {
    wait_until("rows have arrived", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.progress()?.rows_done? > 500).then_some(())
    });
    assert_eq!(pair.state(), "COPYING", "there was too little to copy");
}

/// Waits until it is cancelled, and nothing of it is left to be taken away.
pub fn until_undone(pair: &Pair) {
    let left = "select kind, error from steep_repl.pending_cleanup";
    wait_until("nothing is left to be cleaned up", Duration::from_secs(60), || {
        (pair.state() == "UNINITIALIZED" && pair.target.rows(left).is_empty()).then_some(())
    });
}

/// The source crashes while rows are copied and written, and it ends SYNCHRONIZED all the same.
pub fn source_crashes_under_load(pair: &Pair) {
    let load = LoadOptions::default().keyed("large").rate(20).tolerant().start(&pair.source);
    wait_until("something is written", Duration::from_secs(30), || {
        (pair.source.scalar::<i64>("select count(*) from large where id >= 1000000000") > 0).then_some(())
    });
    pair.source.cluster().crash();
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
}

/// It ends SYNCHRONIZED; what is written afterwards arrives, and every row is equal.
pub fn expect_end(pair: &Pair) {
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    expect_replicates(pair);
}

/// What is written now arrives, and every row is equal.
pub fn expect_replicates(pair: &Pair) {
    pair.source
        .exec("update large set v = -1 where id < 9; delete from small where id = 7; insert into log values (7)");
    pair.expect_equal();
}

/// [`expect_end`] where an apply worker has met errors, or the server has copied: rows are what counts.
pub fn expect_end_after_errors(pair: &Pair) {
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    expect_replicates_after_errors(pair);
}

/// [`expect_replicates`] where an apply worker has met errors, which stay in its counters: rows are what counts.
pub fn expect_replicates_after_errors(pair: &Pair) {
    pair.source
        .exec("update large set v = -1 where id < 9; delete from small where id = 7; insert into log values (7)");
    pair.expect_equal_rows();
}

/// Every index of the target is valid, and no row is left in its tables.
pub fn expect_emptied(pair: &Pair, tables: &[&str]) {
    for table in tables {
        assert_eq!(pair.target.scalar::<i64>(&format!("select count(*) from {table}")), 0, "rows are left in {table}");
    }
    let broken = pair.target.rows("select indexrelid::regclass from pg_index where not (indisvalid and indisready)");
    assert!(broken.is_empty(), "{broken:?}");
    check::assert_clean(&pair.source, &pair.target);
}

/// What was cancelled leaves nothing behind, and can be begun anew.
pub fn expect_begun_anew(pair: &Pair) {
    until_undone(pair);
    expect_emptied(pair, &["large", "log", "small"]);
    pair.proxy().throttle(0);
    pair.synchronize(ARGS);
    expect_replicates(pair);
}

/// Messages of the events of that name, oldest first.
pub fn events(pair: &Pair, name: &str) -> Vec<String> {
    pair.target.rows(&format!("select details ->> 'message' from steep_repl.events where event = '{name}' order by id"))
}

/// Waits until the node is FAILED, and gives the error that `wait_for_init` raises.
pub fn until_failed(pair: &Pair) -> postgres::Error {
    let error = pair.wait(Duration::from_secs(120)).expect_err("it did not fail");
    assert_eq!(pair.state(), "FAILED", "{}", describe(&error));
    error
}

/// Name of the newest operation's subscription.
pub fn subscription(pair: &Pair) -> String {
    pair.target.scalar("select subscription from steep_repl.operations order by id desc limit 1")
}

/// A pair that catches up as long as somebody holds advisory lock 7.
pub fn catching_up(label: &str) -> (Pair, String, postgres::Client) {
    let pair = prepared(Pair::options(label));
    pair.target.exec(
        "create function held() returns trigger language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
         create trigger held before update on large for each row execute function held();
         alter table large enable replica trigger held",
    );
    let mut holder = pair.target.connect();
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    start(&pair);
    let name = subscription(&pair);
    pair.source.exec("update large set v = 2 where id = 3");
    pair.proxy().throttle(0);
    wait_until("it catches up", Duration::from_secs(60), || (pair.progress()?.phase? == "catchup").then_some(()));
    (pair, name, holder)
}
