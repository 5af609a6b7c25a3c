//! DROP EXTENSION: refused, in whatever words, while an operation runs; afterwards replication goes on without it.

use std::time::Duration;

use steep_repl_testkit::{check, wait_until, Pair};

use crate::refusal::{refused_quickly, Refusal};

/// Whatever takes the extension away.
const WAYS: [&str; 3] =
    ["drop extension steep_repl", "drop extension steep_repl cascade", "drop schema steep_repl cascade"];

/// Large enough that its indexes are suspended.
const TABLE: &str = "create table t (id int primary key, v int, note text); create index t_v on t (v);
    insert into t select i, i, repeat('x', 200) from generate_series(1, 10000) i;";

fn count(pair: &Pair, query: &str) -> i64 {
    pair.target.scalar(&format!("select count(*) from {query}"))
}

fn expect_refused(pair: &Pair) {
    let nested = WAYS.map(|way| format!("do $$ begin execute '{way}'; end $$"));
    for way in WAYS.into_iter().chain(nested.iter().map(String::as_str)) {
        let refusal = refused_quickly(|| pair.target.try_exec(way));
        assert_eq!(refusal.code, "55006", "{way}: {refusal:?}");
    }
    assert_eq!(count(pair, "pg_extension where extname = 'steep_repl'"), 1);
}

/// Somebody who reads what the extension shows, and goes on to: while an operation runs the refusal comes before any lock.
fn reader(pair: &Pair) -> postgres::Client {
    let mut reader = pair.target.connect();
    reader.batch_execute("begin; select from steep_repl.init_progress; select from steep_repl.events").unwrap();
    reader
}

fn expect_no_workers(pair: &Pair) {
    wait_until("no worker of the extension is in the database", Duration::from_secs(15), || {
        let workers = "pg_stat_activity where datname = current_database() and backend_type like 'steep\\_repl%'";
        (count(pair, workers) == 0).then_some(())
    });
}

/// The replication is PostgreSQL's own: DROP SUBSCRIPTION ends it, and takes the slot along.
fn expect_subscription_ends(pair: &Pair) {
    let names = pair.target.rows(
        "select format('%I', subname) from pg_subscription join pg_database d on d.oid = subdbid
         where datname = current_database()",
    );
    let [name] = names.as_slice() else { panic!("one subscription was expected: {names:?}") };
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    let publications = "select count(*) from pg_publication where pubname like 'steep\\_repl%'";
    assert_eq!((pair.source.scalar::<i64>(slots), pair.source.scalar::<i64>(publications)), (1, 1));
    pair.target.exec_each(&[&format!("drop subscription {name}")]);
    assert_eq!(pair.source.scalar::<i64>(slots), 0);
}

#[test]
fn refused_from_the_first_moment_to_the_last() {
    let pair = Pair::options("drop_running").proxied().build();
    pair.source.exec(TABLE);
    pair.prepare();
    pair.proxy().throttle(200_000);
    pair.init("method => 'parallel'").unwrap();
    let _reader = reader(&pair);
    expect_refused(&pair);
    wait_until("it is being copied", Duration::from_secs(60), || (pair.progress()?.rows_done? > 500).then_some(()));
    expect_refused(&pair);
    assert_eq!(pair.state(), "COPYING", "there was too little to copy");
    // It did not notice.
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.expect_equal();
    assert_eq!(count(&pair, "steep_repl.events where event = 'init.retry' or severity = 'error'"), 0);
}

/// The rows are there and the apply worker is at work, but it is not over.
#[test]
fn refused_while_it_catches_up() {
    let pair = Pair::options("drop_catchup").proxied().build();
    pair.source.exec(TABLE);
    pair.prepare();
    pair.target.exec(
        "create function hold() returns trigger language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
         create trigger hold before update on t for each row execute function hold();
         alter table t enable replica trigger hold",
    );
    let mut holder = pair.target.connect();
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    pair.proxy().throttle(500_000);
    pair.init("method => 'parallel'").unwrap();
    wait_until("it is being copied", Duration::from_secs(60), || (pair.progress()?.rows_done? > 500).then_some(()));
    pair.source.exec("update t set v = 0 where id = 1");
    pair.proxy().throttle(0);
    wait_until("it catches up", Duration::from_secs(60), || (pair.state() == "CATCHING_UP").then_some(()));
    let _reader = reader(&pair);
    expect_refused(&pair);
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    pair.expect_synchronized();
    pair.expect_equal();
}

#[test]
fn afterwards_replication_goes_on_without_it() {
    for (label, way) in ["drop_after", "drop_cascade", "drop_schema"].into_iter().zip(WAYS) {
        let pair = Pair::new(label);
        pair.source.exec(TABLE);
        pair.prepare();
        pair.synchronize("method => 'parallel'");
        pair.session().batch_execute(way).unwrap();
        let told = pair.notices().join("\n");
        assert!(told.contains("subscription steep_repl_"), "it is not said what stays: {told}");
        expect_no_workers(&pair);
        assert_eq!(count(&pair, "pg_extension where extname = 'steep_repl'"), 0, "{way}");
        pair.source
            .exec("update t set v = -v where id % 2 = 0; delete from t where id < 100; insert into t values (0)");
        pair.expect_equal();
        // What comes back knows nothing, and touches nothing.
        pair.target.exec("create extension steep_repl");
        pair.register();
        assert_eq!(pair.state(), "UNINITIALIZED");
        pair.source.exec("insert into t values (-1)");
        pair.expect_equal();
        expect_subscription_ends(&pair);
    }
}

#[test]
fn after_a_cancel_nothing_is_left() {
    let pair = Pair::options("drop_cancelled").proxied().build();
    pair.source.exec(TABLE);
    pair.prepare();
    pair.proxy().throttle(200_000);
    pair.init("method => 'parallel'").unwrap();
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    check::assert_clean(&pair.source, &pair.target);
    pair.target.exec(WAYS[0]);
    check::assert_clean(&pair.source, &pair.target);
}

/// Only the extension knows which indexes it has suspended: it stays until that is undone.
#[test]
fn refused_after_a_failure() {
    let pair = Pair::new("drop_failed");
    pair.source.exec(TABLE);
    pair.prepare();
    pair.target.exec("create unique index t_once on t ((v / 2))");
    pair.init("method => 'parallel'").unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!((refusal.code.as_str(), pair.state().as_str()), ("23505", "FAILED"), "{refusal:?}");
    expect_no_workers(&pair);
    expect_refused(&pair);
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    check::assert_clean(&pair.source, &pair.target);
    pair.target.exec(WAYS[0]);
}
