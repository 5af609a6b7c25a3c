//! Several operations side by side, and source and target in one cluster.

use steep_repl_testkit::{shared, LoadOptions, Pair};

use crate::shop;

#[test]
fn two_databases_of_one_server_at_once() {
    let pairs = [Pair::new("twin_a"), Pair::new("twin_b")];
    for pair in &pairs {
        shop::fill(&pair.source, 0.1);
        pair.prepare();
    }
    let loads: Vec<_> = pairs.iter().map(|pair| shop::load().rate(80).start(&pair.source)).collect();
    for pair in &pairs {
        pair.init_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 2").unwrap();
    }
    for pair in &pairs {
        pair.expect_synchronized();
    }
    loads.into_iter().for_each(|load| {
        load.stop();
    });
    for pair in &pairs {
        pair.expect_equal();
        // Each database sees its own operation only.
        assert_eq!(pair.target.scalar::<i64>("select count(distinct operation_id) from steep_repl.init_progress"), 1);
    }
}

/// The slot's creation waits for every transaction of the cluster, also for those of the one that asked.
#[test]
fn source_and_target_in_one_cluster() {
    let pair = Pair::options("one_cluster").source(shared::target()).build();
    pair.source.exec("create table t (id int primary key, v int, note text); insert into t select i, i, 'x' from generate_series(1, 20000) i");
    pair.prepare();
    let load = LoadOptions::default().keyed("t").keys(20_000).rate(100).start(&pair.source);
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 2");
    load.stop();
    pair.expect_equal();
}

#[test]
fn a_chain_of_two() {
    // The target of one is the source of the next, which gets what the first copied and what it applies.
    let first = Pair::new("chain_a");
    first.source.exec("create table t (id int primary key, v int, note text); insert into t select i, i, 'x' from generate_series(1, 5000) i");
    first.prepare();
    let second = Pair::new("chain_b");
    second.target.copy_schema_from(&first.source);
    second.register_with(&first.target.conninfo());
    let load = LoadOptions::default().keyed("t").keys(5000).rate(50).start(&first.source);
    first.synchronize("method => 'parallel'");
    second.synchronize("method => 'parallel'");
    load.stop();
    first.expect_equal();
    let tables = steep_repl_testkit::Tables::only(&["t"]);
    steep_repl_testkit::check::wait_caught_up(&first.target, &second.target, std::time::Duration::from_secs(60));
    steep_repl_testkit::compare(&first.source, &second.target, &tables).unwrap();
    steep_repl_testkit::check::assert_no_conflicts(&second.target);
    steep_repl_testkit::check::remove_subscriptions(&second.target);
    steep_repl_testkit::check::remove_slots(&first.target);
}

#[test]
fn initializing_again_after_everything_was_removed() {
    let pair = Pair::new("again");
    pair.source
        .exec("create table t (id int primary key, v int); insert into t select i, i from generate_series(1, 1000) i");
    pair.prepare();
    let first = pair.synchronize("method => 'parallel'");
    pair.expect_equal();
    // Another target of the same source: names of slots and publications do not collide.
    let other = Pair::new("again_other");
    other.target.copy_schema_from(&pair.source);
    other.register_with(&pair.source_conninfo());
    other.synchronize("method => 'parallel'");
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    assert_eq!(pair.source.scalar::<i64>(slots), 2);
    pair.expect_equal();
    assert!(first > 0);
    steep_repl_testkit::check::remove_subscriptions(&other.target);
}
