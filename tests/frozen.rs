//! Ranges of a table are loaded frozen: nobody visits the pages again. The price is that rows of a range that was interrupted
//! stay where they are; they must be gone in the end.

use std::time::Duration;

use steep_repl_testkit::{wait_until, LoadOptions, Pair, Tables};

/// A table of some 10 MB that keeps its rows in its main fork, and one that does not.
const TABLES: &str = "
    create table narrow (id int primary key, v int, note text);
    create index narrow_v on narrow (v);
    insert into narrow select i, i % 100, repeat('x', 200) from generate_series(1, 40000) i;
    create table wide (id int primary key, v int, note text);
    alter table wide alter note set storage external;
    insert into wide select i, i, repeat('x', 4000) from generate_series(1, 3000) i;
    create table tail (id int primary key, v int, note text);";

/// Vacuums and analyzes of a table that have been reported.
fn visits(pair: &Pair, table: &str) -> String {
    pair.target.scalar(&format!(
        "select format('%s vacuums, %s analyzes', vacuum_count, analyze_count) from pg_stat_user_tables where relname = '{table}'"
    ))
}

#[test]
fn ranges_are_frozen_when_they_arrive() {
    let pair = Pair::new("frozen");
    pair.source.exec(TABLES);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.exec("create extension pg_visibility");
    pair.prepare();
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 4");
    let seen =
        "select (all_visible >= full_pages and all_frozen >= full_pages)::text from pg_visibility_map_summary('narrow'),
            (select count(distinct (ctid::text::point)[0]) as full_pages from narrow) p";
    assert_eq!(pair.target.scalar::<String>(seen), "true");
    wait_until("its statistics are reported", Duration::from_secs(10), || {
        (visits(&pair, "narrow") == "0 vacuums, 1 analyzes").then_some(())
    });
    // What a table keeps elsewhere gets no map by COPY: such tables are vacuumed.
    wait_until("the other one was vacuumed", Duration::from_secs(10), || {
        (visits(&pair, "wide") == "1 vacuums, 1 analyzes").then_some(())
    });
    pair.expect_equal();
}

/// What a range that was interrupted has left is there for all to see, until the range is copied again.
#[test]
fn rows_of_an_interrupted_range_do_not_stay() {
    let pair = Pair::options("ghosts").proxied().build();
    pair.source.exec(TABLES);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let load = LoadOptions::default().keyed("narrow").keys(80_000).rate(40).writers(1).start(&pair.source);
    pair.proxy().throttle(2_000_000);
    pair.init_with(&[("chunk_size", "3MB")], "method => 'parallel', parallel_workers => 2").unwrap();
    // One statement, one snapshot: a range that ends in between is in both figures.
    let ghosts = "select (select count(*) from narrow)
        - (select coalesce(sum(rows_done), 0)::int8 from steep_repl.tasks where kind = 'copy' and status = 'done'
           and relid = 'narrow'::regclass)";
    wait_until("rows are here of ranges that are not done", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.target.scalar::<i64>(ghosts) > 2000).then_some(())
    });
    let ended = pair.target.scalar::<i64>(
        "select count(*) from (select pg_terminate_backend(pid, 10000) from pg_stat_activity
         where datname = current_database() and backend_type = 'steep_repl copy worker') t",
    );
    assert!(ended > 0, "the statement came too late to disturb");
    pair.proxy().throttle(0);
    pair.wait(Duration::from_secs(120)).unwrap();
    load.stop();
    let renewed = "select count(*) from steep_repl.events where event = 'init.snapshot_renewed'";
    assert_eq!(pair.target.scalar::<i64>(renewed), 0, "the snapshot was lost: another way was tested");
    pair.expect_equal_in(&Tables::only(&["narrow", "wide", "tail"]));
    // Rows were taken away, so this time the table needs its vacuum.
    wait_until("the table was vacuumed", Duration::from_secs(10), || {
        (visits(&pair, "narrow") == "1 vacuums, 1 analyzes").then_some(())
    });
}
