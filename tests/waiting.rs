//! wait_for_init: what it answers, and when.

use std::time::{Duration, Instant};

use steep_repl_testkit::{describe, root, wait_until, Pair};

use crate::refusal::Refusal;
use crate::snapshots;

fn slow_pair(label: &str) -> Pair {
    let pair = Pair::options(label).proxied().build();
    pair.source.exec("create table t (id int primary key, v text); insert into t select i, repeat('x', 500) from generate_series(1, 20000) i");
    pair.prepare();
    pair
}

#[test]
fn a_timeout_ends_the_wait_and_not_the_work() {
    let pair = slow_pair("wait_time");
    pair.proxy().throttle(400_000);
    pair.init("method => 'parallel'").unwrap();
    for seconds in [1, 11] {
        let started = Instant::now();
        let error = pair.wait(Duration::from_secs(seconds)).unwrap_err();
        let took = started.elapsed().as_secs_f64() - seconds as f64;
        assert!((-0.1..3.0).contains(&took), "took {took} s longer than {seconds} s");
        Refusal::of(&error);
    }
    assert_eq!(pair.state(), "COPYING");
    // A wait that goes on tells how far the work is.
    assert!(!pair.notices().is_empty(), "no progress by NOTICE");
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.expect_equal();
    // Waiting for what is over returns at once.
    let started = Instant::now();
    pair.wait(Duration::from_secs(60)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn not_in_the_transaction_that_started_it() {
    let pair = slow_pair("wait_tx");
    let mut client = pair.session();
    let mut transaction = client.transaction().unwrap();
    transaction.query("select steep_repl.init_node('node_b', 'node_a', method => 'parallel')", &[]).unwrap();
    let error =
        transaction.query("select steep_repl.wait_for_init('node_b', timeout => '10 seconds')", &[]).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("25001"));
    Refusal::of(&error);
    transaction.rollback().unwrap();
    assert_eq!(pair.state(), "UNINITIALIZED");
}

#[test]
fn before_anything_was_started() {
    let pair = slow_pair("wait_none");
    let started = Instant::now();
    let error = pair.wait(Duration::from_secs(30)).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    Refusal::of(&error);
}

/// Somebody waits by this call while the link is slow: a snapshot held by the session would keep the operation's own VACUUM from doing anything.
fn expect_no_snapshot(pair: &Pair, call: &str) {
    let name = call.split('(').next().unwrap_or_default();
    let query = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and query like '%{name}%'
            and pid <> pg_backend_pid() and state = 'active'"
    );
    let waiter = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pair.target.try_exec(&format!("select steep_repl.{call}")));
        wait_until("somebody waits", Duration::from_secs(20), || {
            (pair.target.scalar::<i64>(&query) == 1).then_some(())
        });
        let mut without = 0;
        for _ in 0..20 {
            let held = format!("{query} and backend_xmin is not null");
            without += i32::from(pair.target.scalar::<i64>(&held) == 0);
        }
        let still_waits = !waiting.is_finished();
        pair.proxy().throttle(0);
        assert!(
            still_waits && without > 10,
            "{call}: the waiting session held a snapshot in {} of 20 looks",
            20 - without
        );
        waiting.join()
    });
    waiter.unwrap().unwrap_or_else(|error| panic!("{call}: {}", describe(&error)));
}

#[test]
fn it_holds_no_snapshot() {
    let pair = slow_pair("wait_snap");
    pair.proxy().throttle(1_000_000);
    pair.init("method => 'parallel'").unwrap();
    expect_no_snapshot(&pair, "wait_for_init('node_b', timeout => '2 minutes')");
    pair.expect_equal();
}

#[test]
fn who_waits_for_a_portable_snapshot_holds_none() {
    let pair = slow_pair("wait_kept");
    let folder = root::folder("wait_kept");
    pair.proxy().throttle(1_000_000);
    let id = snapshots::call(&pair.target, &folder, &[], "generate_snapshot('node_a', 'one')").unwrap();
    expect_no_snapshot(&pair, &format!("wait_for_snapshot('{id}', timeout => '2 minutes')"));
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    snapshots::expect_gone(&pair, &folder);
}

/// A failure ends the wait at once, with the failure's own words.
#[test]
fn a_failure_is_told_at_once() {
    let pair = slow_pair("wait_fail");
    pair.proxy().throttle(500_000);
    pair.init("method => 'parallel'").unwrap();
    wait_until("the copy has begun", Duration::from_secs(30), || (pair.state() == "COPYING").then_some(()));
    pair.target.exec("alter table t rename to hidden");
    pair.proxy().throttle(0);
    match pair.wait(Duration::from_secs(120)) {
        // The table may have been opened before it was renamed: then nothing has failed by now.
        Ok(()) => assert_eq!(pair.state(), "SYNCHRONIZED"),
        Err(error) => {
            let refusal = Refusal::of(&error);
            assert_eq!(pair.state(), "FAILED");
            let shown = pair.progress().and_then(|row| row.error).unwrap_or_default();
            assert!(!shown.is_empty(), "init_progress shows no error for {refusal:?}");
            assert!(pair.events().iter().any(|event| event.event == "init.failed"));
        }
    }
}

/// A cancelled wait (Ctrl-C in psql) is over at once and leaves the work alone.
#[test]
fn a_cancelled_wait() {
    let pair = slow_pair("wait_cancel");
    pair.proxy().throttle(1_000_000);
    pair.init("method => 'parallel'").unwrap();
    let mut client = pair.session();
    let token = client.cancel_token();
    let error = std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| client.batch_execute("select steep_repl.wait_for_init('node_b', timeout => '2 minutes')"));
        let query =
            "select count(*) from pg_stat_activity where datname = current_database() and query like '%wait_for_init%'
            and pid <> pg_backend_pid() and state = 'active'";
        wait_until("somebody waits", Duration::from_secs(20), || (pair.target.scalar::<i64>(query) == 1).then_some(()));
        let started = Instant::now();
        token.cancel_query(postgres::NoTls).unwrap();
        let error = waiting.join();
        assert!(started.elapsed() < Duration::from_secs(3));
        error
    });
    assert_eq!(error.unwrap().unwrap_err().code().map(|code| code.code()), Some("57014"));
    pair.proxy().throttle(0);
    pair.expect_synchronized();
}
