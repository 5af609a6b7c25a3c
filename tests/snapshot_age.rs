//! A long copy may use several snapshots, so that none keeps dead rows on the source for too long.

use std::time::Duration;

use steep_repl_testkit::{wait_until, LoadOptions, Pair};

#[test]
fn tables_that_are_not_begun_get_a_later_snapshot() {
    let pair = Pair::options("age").proxied().build();
    let mut load = LoadOptions::default().keys(8_000).rate(60);
    for table in 1..=4 {
        pair.source.exec(&format!(
            "create table t{table} (id int primary key, v int, note text); create index on t{table} (v);
             insert into t{table} select i, i, repeat('x', 200) from generate_series(1, 8000 + {table}) i"
        ));
        load = load.keyed(&format!("t{table}"));
    }
    pair.source.exec("create table small (id int primary key, v int, note text); insert into small values (1, 1, 'x')");
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let load = load.keyed("small").start(&pair.source);
    pair.proxy().throttle(2_500_000);
    // The ranges of a table are read under one snapshot, however old it gets.
    pair.init_with(
        &[("max_snapshot_age", "1s"), ("chunk_size", "512kB")],
        "method => 'parallel', parallel_workers => 1",
    )
    .unwrap();
    let renewed = "select count(*) from steep_repl.events where event = 'init.snapshot_renewed'";
    wait_until("there is a third snapshot", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.target.scalar::<i64>(renewed) >= 2).then_some(())
    });
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    let lsns = "select count(distinct snapshot_lsn) from steep_repl.operation_tables";
    assert!(pair.target.scalar::<i64>(lsns) >= 3);
    // Nothing was emptied and copied again for it.
    let claims = "select max(claims) from steep_repl.tasks where kind = 'copy'";
    assert_eq!(pair.target.scalar::<i32>(claims), 1);
    let left = "select count(*) from pg_replication_slots where database = current_database()";
    assert_eq!(pair.source.scalar::<i64>(left), 1);
    pair.expect_equal();
}
