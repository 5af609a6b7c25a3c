//! With nothing to do the extension does nothing.

use std::time::{Duration, Instant};

use steep_repl_testkit::{wait_until, ClusterOptions, Pair};

/// How often a process gave up the processor by itself; each wake-up is one.
fn wake_ups(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
    line.split_whitespace().last().and_then(|count| count.parse().ok()).unwrap()
}

#[test]
fn the_launcher_sleeps() {
    let cluster = ClusterOptions::new("idle").preload().set("autovacuum", "off").start();
    let pair = Pair::options("idle").target(cluster).build();
    pair.source.exec("create table t (id int primary key); insert into t values (1)");
    pair.prepare();
    pair.synchronize("method => 'parallel'");
    let launcher = "select pid from pg_stat_activity where backend_type like 'steep\\_repl%launcher%'";
    let pid = pair.target.scalar::<i32>(launcher);
    let next = "select pg_snapshot_xmax(pg_current_snapshot())::text";
    let workers =
        "select count(*) from pg_stat_activity where backend_type like 'steep\\_repl%' and datname is not null";
    wait_until("the operation's workers are gone", Duration::from_secs(20), || {
        (pair.target.scalar::<i64>(workers) == 0).then_some(())
    });
    let seconds = if steep_repl_testkit::test_all() { 60 } else { 10 };
    let (woken, transactions) = (wake_ups(pid), pair.target.scalar::<String>(next));
    let started = Instant::now();
    wait_until("time has passed", Duration::from_secs(seconds + 5), || {
        (started.elapsed() > Duration::from_secs(seconds)).then_some(())
    });
    let woken = wake_ups(pid) - woken;
    assert!(woken <= 5, "the launcher woke {woken} times in {seconds} s");
    assert_eq!(transactions, pair.target.scalar::<String>(next), "somebody took a transaction id");
    assert_eq!(pid, pair.target.scalar::<i32>(launcher), "the launcher was restarted");
}

/// What is finished stays finished, and goes on, when the target is restarted.
#[test]
fn a_restart_of_the_target() {
    let cluster = ClusterOptions::new("restart").preload().start();
    let pair = Pair::options("restart").target(std::sync::Arc::clone(&cluster)).build();
    pair.source
        .exec("create table t (id int primary key, v int); insert into t select i, i from generate_series(1, 1000) i");
    pair.prepare();
    let operation = pair.synchronize("method => 'parallel'");
    let events = pair.events().len();
    cluster.restart();
    pair.source.exec("update t set v = v + 1");
    pair.expect_equal();
    cluster.crash();
    pair.source.exec("delete from t where id < 10");
    pair.expect_equal();
    assert_eq!(pair.state(), "SYNCHRONIZED");
    assert_eq!(pair.progress().and_then(|row| row.operation_id), Some(operation));
    assert_eq!(pair.events().len(), events, "{:?}", pair.events());
}
