//! The main job: initialize a node while its source is being written to.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{check, test_all, wait_until, ClusterOptions, Pair, Pgbench};

use crate::outcome::initialize_under_load;
use crate::shop;

const WHOLE: &str = "1TB";

/// One initialization under load, and everything that must hold during and after it.
fn under_load(label: &str, workers: u32, chunk_size: &str, scale: f64) {
    let pair = Pair::new(label);
    shop::fill(&pair.source, scale);
    pair.prepare();
    let args = format!("method => 'parallel', parallel_workers => {workers}");
    let seen = initialize_under_load(&pair, &[("chunk_size", chunk_size)], &args);
    check::assert_no_conflicts(&pair.target);
    let last = pair.progress().and_then(|row| row.overall_percent);
    assert_eq!(last, Some(100.0));
    let planned = seen.iter().filter_map(|row| row.workers_planned).max();
    assert_eq!(planned, Some(i64::from(workers)));
    let events: Vec<String> = pair.events().into_iter().map(|event| event.event).collect();
    for expected in ["init.started", "init.state_change", "init.phase_started", "init.table_complete", "init.completed"]
    {
        assert!(events.iter().any(|event| event == expected), "no event {expected} in {events:?}");
    }
    assert_eq!(events.iter().filter(|event| *event == "init.completed").count(), 1, "{events:?}");
}

#[test]
fn one_worker_whole_tables() {
    under_load("head1", 1, WHOLE, 0.3);
}

#[test]
fn four_workers_chunked() {
    under_load("head4c", 4, "1MB", 0.5);
}

#[test]
fn four_workers_whole_tables() {
    under_load("head4", 4, WHOLE, 0.3);
}

#[test]
fn eight_workers_chunked() {
    under_load("head8c", 8, "1MB", 0.5);
}

#[test]
fn the_whole_matrix() {
    if !test_all() {
        return;
    }
    for workers in [1, 2, 4, 8, 16] {
        for chunk_size in ["1MB", "8MB", WHOLE] {
            under_load(&format!("matrix{workers}"), workers, chunk_size, 2.0);
        }
    }
}

#[test]
fn the_default_arguments_do_the_same() {
    let pair = Pair::new("defaults");
    shop::fill(&pair.source, 0.05);
    pair.prepare();
    let load = shop::load().start(&pair.source);
    pair.synchronize("");
    load.stop();
    pair.expect_equal();
    let other = Pair::new("auto");
    shop::fill(&other.source, 0.02);
    other.prepare();
    other.synchronize("method => 'auto'");
    other.expect_equal();
}

#[test]
fn pgbench_goes_on_all_the_time() {
    let pair = Pair::new("pgbench");
    Pgbench::fill(&pair.source, if test_all() { 30 } else { 3 });
    pair.prepare();
    let pgbench = Pgbench::start(&pair.source, 4, 300);
    pair.synchronize_with(&[("chunk_size", "4MB")], "method => 'parallel', parallel_workers => 4");
    pgbench.stop();
    pair.expect_equal();
}

/// Loaded pages need no second visit: neither by VACUUM nor by readers who would set hint bits.
#[test]
fn loaded_tables_are_all_visible() {
    // An ANALYZE of the server's own that runs beside a VACUUM holds back what it can mark.
    let target = ClusterOptions::new("visible").preload().set("autovacuum", "off").start();
    for chunk_size in [WHOLE, "1MB"] {
        let pair = Pair::options("visible").target(Arc::clone(&target)).build();
        shop::fill(&pair.source, 0.3);
        pair.target.exec("create extension pg_visibility");
        pair.prepare();
        pair.synchronize_with(&[("chunk_size", chunk_size)], "method => 'parallel'");
        for table in shop::LARGER {
            assert_all_visible(&pair, table);
        }
        pair.expect_equal();
    }
}

/// COPY leaves new pages behind the last row, so it is the pages with rows that count.
fn assert_all_visible(pair: &Pair, table: &str) {
    let row = pair.target.rows(&format!(
        "select count(distinct page.blkno), count(distinct page.blkno) filter (where not map.all_visible),
                count(distinct page.blkno) filter (where not map.all_frozen)
         from (select (ctid::text::point)[0]::bigint as blkno from {table}) page join pg_visibility_map('{table}') map using (blkno)"
    ));
    assert!(row[0].ends_with(" | 0 | 0"), "{table} (pages, not visible, not frozen): {row:?}");
}

/// A VACUUM that runs while another worker's copy is still open can mark nothing: its horizon is that copy's.
#[test]
fn all_visible_though_a_long_copy_ran_beside() {
    let pair = Pair::options("beside").proxied().build();
    pair.source.exec(
        "create table slow (id int primary key, v text); alter table slow alter v set storage external;
         insert into slow select i, repeat('x', 500000) from generate_series(1, 40) i;
         create table quick (id int primary key, v text); insert into quick select i, repeat('y', 100) from generate_series(1, 25000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.exec("create extension pg_visibility");
    pair.prepare();
    pair.proxy().throttle(4_000_000);
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 2");
    assert_all_visible(&pair, "quick");
    assert_all_visible(&pair, "slow");
    pair.expect_equal();
}

/// Large tables are read in ranges, several at a time; with a large chunk_size each is read in one go.
#[test]
fn chunk_size_decides_how_tables_are_read() {
    for (chunk_size, ranges) in [("1MB", true), (WHOLE, false)] {
        let pair = Pair::options("chunks").proxied().build();
        pair.source.exec(
            "create table t (id int primary key, note text); insert into t select i, repeat('x', 200) from generate_series(1, 30000) i",
        );
        pair.prepare();
        pair.proxy().throttle(2_000_000);
        pair.init_with(&[("chunk_size", chunk_size)], "method => 'parallel', parallel_workers => 3").unwrap();
        let reading = "select count(*), count(*) filter (where query like '%ctid%') from pg_stat_activity
            where datname = current_database() and state in ('active', 'idle in transaction') and query ilike 'copy%' and application_name like 'steep\\_repl%'";
        let wanted = if ranges { "3 | 3" } else { "1 | 0" };
        wait_until(&format!("the table is read as {wanted}"), Duration::from_secs(30), || {
            (pair.source.rows(reading) == [wanted]).then_some(())
        });
        pair.proxy().throttle(0);
        pair.expect_synchronized();
        pair.expect_equal();
    }
}

#[test]
fn nothing_is_left_on_the_source_but_slot_and_publication() {
    let pair = Pair::new("source_rest");
    shop::fill(&pair.source, 0.05);
    pair.prepare();
    pair.synchronize("method => 'parallel'");
    check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(60));
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    assert_eq!(pair.source.scalar::<i64>(slots), 1);
    // The subscription's own walsender stays; keeper and workers go.
    let sessions = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name like 'steep\\_repl%' and backend_type <> 'walsender'";
    wait_until("keeper and workers have left the source", Duration::from_secs(20), || {
        (pair.source.scalar::<i64>(sessions) == 0).then_some(())
    });
    let workers = "select count(*) from pg_stat_activity where datname = current_database() and backend_type like 'steep\\_repl%'";
    wait_until("coordinator and workers have left the target", Duration::from_secs(20), || {
        (pair.target.scalar::<i64>(workers) == 0).then_some(())
    });
    let subscription = pair.target.rows(
        "select subenabled, subslotname is not null from pg_subscription s join pg_database d on d.oid = s.subdbid
         where datname = current_database()",
    );
    assert_eq!(subscription, ["t | t"]);
}
