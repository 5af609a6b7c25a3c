//! Indexes that are built after a load: each knows every row, of whatever kind it is and whoever has written to its table meanwhile.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{wait_until, ClusterOptions, LoadOptions, Pair, Tables};

const KINDS: &str = "
    create table kinds (id int primary key, v int, note text, label text, w int, unique (w, id) deferrable initially deferred);
    create unique index kinds_once on kinds (nullif(v, 7), id) nulls not distinct;
    create index kinds_down on kinds (v desc nulls last, label collate \"C\");
    create index kinds_part on kinds (label) where v % 3 = 0;
    create index kinds_computed on kinds (lower(label), (v + w));
    create index kinds_more on kinds (w) include (label);
    create index kinds_same on kinds ((id % 5));
    create index kinds_hash on kinds using hash (label);
    create index kinds_gin on kinds using gin (to_tsvector('simple', label));
    create index kinds_brin on kinds using brin (id);
    alter table kinds add constraint kinds_apart exclude using gist (int4range(id, id + 1) with &&);
    insert into kinds select i, (i::bigint * 7919) % 10007, 'n', case when i % 11 > 0 then 'Note ' || i % 1000 end, nullif(i % 50, 0)
        from generate_series(1, 30000) i;";

/// Looks at all btrees of a table, and for every row in each.
const LOOK: &str = "select count(*) from (select amcheck.bt_index_parent_check(i.indexrelid, true, true)
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam
    where a.amname = 'btree' and i.indrelid = 'TABLE'::regclass and i.indisvalid and i.indisready and not i.indcheckxmin) looked";

fn looked_at(pair: &Pair, table: &str) -> i64 {
    pair.target.scalar(&LOOK.replace("TABLE", table))
}

#[test]
fn every_kind_under_load() {
    let pair = Pair::new("built_kinds");
    pair.source.exec(KINDS);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.exec("create schema amcheck; create extension amcheck schema amcheck");
    pair.prepare();
    let load = LoadOptions::default().keyed("kinds").keys(30_000).rate(40).start(&pair.source);
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 3");
    load.stop();
    pair.expect_equal();
    assert_eq!(looked_at(&pair, "kinds"), 8);
    let found = |index: &str, rows: &str| {
        pair.target.rows(&format!(
            "set enable_indexscan = {index}; set enable_indexonlyscan = {index}; set enable_bitmapscan = {index};
             set enable_seqscan = {rows}; select count(*) from kinds where label = 'Note 10';
             select count(*) from kinds where to_tsvector('simple', label) @@ '10'; select count(*) from kinds where id between 10 and 2000;
             select count(*) from kinds where int4range(id, id + 1) && '[5,100)'"
        ))
    };
    assert_eq!(found("on", "off"), found("off", "on"));
    let invalid = "select count(*) from pg_index where indrelid = 'kinds'::regclass and not (indisvalid and indisready and indislive)";
    assert_eq!(pair.target.scalar::<i64>(invalid), 0);
}

/// A processor that has nothing else to do helps with a key that rows do not lie in the order of; with four and more it would help with any.
#[test]
fn who_has_to_sort_is_helped() {
    let target = ClusterOptions::new("built_helped")
        .preload()
        .set("min_parallel_table_scan_size", "0")
        // Enough for one parallel worker, and not for a second.
        .set("maintenance_work_mem", "64MB")
        .set("log_min_messages", "debug1")
        .start();
    let pair = Pair::options("built_helped").target(Arc::clone(&target)).build();
    pair.source.exec(
        "create table t (id int primary key, v int, note text); create index t_v on t (md5(note)) where v % 10 > 0;
         insert into t select i, i, repeat('x', 100) || i from generate_series(1, 30000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.exec("create schema amcheck; create extension amcheck schema amcheck");
    pair.prepare();
    pair.synchronize("method => 'parallel', parallel_workers => 1");
    pair.expect_equal();
    assert_eq!(looked_at(&pair, "t"), 2);
    // One worker builds one index after the other, first the one that is not unique.
    let alone = std::thread::available_parallelism().unwrap().get() == 1;
    let how = if alone { "serially" } else { "with request for 1 parallel worker" };
    let said = format!("building index \"t_v\" on table \"t\" {how}");
    assert!(target.log_contains(&said), "it is not in the log: {said}");
}

/// Builds side by side of one table, several of them helped, are in nobody's way.
#[test]
fn helped_builds_do_not_wait_for_each_other() {
    let target = ClusterOptions::new("built_beside")
        .preload()
        .set("min_parallel_table_scan_size", "0")
        .set("maintenance_work_mem", "128MB")
        .set("log_lock_waits", "on")
        .set("deadlock_timeout", "200ms")
        .set("log_min_messages", "debug1")
        // It would wait for the builds as well.
        .set("autovacuum", "off")
        .start();
    let pair = Pair::options("built_beside").target(Arc::clone(&target)).build();
    pair.source.exec(
        // Slow enough that builds overlap.
        "create function public.slowly(text) returns text language plpgsql immutable parallel safe as
             'begin for i in 1..100 loop $1 := pg_catalog.md5($1); end loop; return $1; end';
         create table t (id int primary key, a text, b text, note text);
         create index t_a on t (public.slowly(a)); create index t_b on t (public.slowly(b));
         insert into t select i, md5(i || 'a'), md5(i || 'b'), 'x' from generate_series(1, 60000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.exec("create schema amcheck; create extension amcheck schema amcheck");
    pair.prepare();
    pair.synchronize("method => 'parallel', parallel_workers => 4");
    let log = target.log();
    pair.expect_equal();
    assert_eq!(looked_at(&pair, "t"), 3);
    if std::thread::available_parallelism().unwrap().get() > 1 {
        for index in ["t_a", "t_b"] {
            let helped = |line: &str| {
                line.contains("steep_repl copy worker")
                    && line.contains(&format!("building index \"{index}\" on table \"t\" with request for"))
            };
            assert!(log.lines().any(helped), "{index} was built without help");
        }
    }
    for trouble in
        ["deadlock detected", "still waiting for ShareLock on relation", "still waiting for ShareUpdateExclusiveLock"]
    {
        assert!(!log.contains(trouble), "{trouble}");
    }
    let again = "select count(*) from steep_repl.tasks where attempts > 0 or claims > 1";
    assert_eq!(pair.target.scalar::<i64>(again), 0);
}

/// Rows that somebody has deleted on the target while they were loaded: who began before that finds them, by index too.
#[test]
fn where_a_row_is_not_visible_to_everybody() {
    let pair = Pair::options("built_old").proxied().build();
    pair.source.exec(
        "create table t (id int primary key, v int, note text); create index t_v on t (v);
         insert into t select i, i % 1000, repeat('x', 200) from generate_series(1, 40000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.exec("create schema amcheck; create extension amcheck schema amcheck");
    pair.prepare();
    pair.proxy().throttle(1_000_000);
    pair.init_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 2").unwrap();
    wait_until("some of it is here", Duration::from_secs(60), || (pair.progress()?.rows_done? > 5000).then_some(()));
    let mut old = pair.target.connect();
    old.batch_execute("begin isolation level repeatable read; select 1").unwrap();
    pair.target.exec("delete from t where id % 5 = 0");
    assert_eq!(pair.state(), "COPYING", "rows were deleted too late to disturb");
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    assert_eq!(looked_at(&pair, "t"), 2);
    let mut count = |by: &str| -> i64 {
        let settings = format!(
            "set local enable_seqscan = {by}; set local enable_bitmapscan = off; set local enable_indexonlyscan = off"
        );
        old.batch_execute(&settings).unwrap();
        old.query_one("select count(note) from t where v >= 0", &[]).unwrap().get(0)
    };
    let (by_index, by_rows) = (count("off"), count("on"));
    assert_eq!(by_index, by_rows);
    let now: i64 = pair.target.scalar("select count(*) from t");
    assert!(by_rows > now, "{by_rows} rows for who began before they were deleted, {now} for others");
    old.batch_execute("rollback").unwrap();
    let (source, target) = (&pair.source, &pair.target);
    target.exec(
        "insert into t select i, i % 1000, repeat('x', 200) from generate_series(1, 40000) i on conflict do nothing",
    );
    steep_repl_testkit::compare(source, target, &Tables::All).unwrap();
}
