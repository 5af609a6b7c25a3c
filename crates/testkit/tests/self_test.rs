//! The kit's own tests: plain servers and PostgreSQL's own replication, without the extension. A kit that cannot see a
//! difference would make every other test worthless.

use std::time::{Duration, Instant};

use steep_repl_testkit::{
    check, compare, compare_sequences, describe, indexes_snapshot, quote_literal, schema_text, shared, wait_until,
    Auth, ClusterOptions, Db, LoadOptions, Pgbench, Proxy, Tables,
};

const SCHEMA: &str = "
    create table keyed (id bigint primary key, v int, note text, made timestamptz default now(),
                        twice int generated always as (v * 2) stored);
    create table unkeyed (v int, note text);
    alter table unkeyed replica identity full;
    create table empty ();
    create table parted (id int primary key, note text) partition by range (id);
    create table parted_1 partition of parted for values from (0) to (100);
    create table parted_2 partition of parted for values from (100) to (200);
    create index on keyed (v) where v > 5;
    insert into keyed select i, i, 'row ' || i from generate_series(1, 5000) i;
    insert into unkeyed select i, 'row ' || i from generate_series(1, 50) i;
    insert into empty default values;
    insert into parted select i, 'row ' || i from generate_series(0, 199) i;";

fn subscribed(label: &str) -> (Db, Db) {
    let source = shared::source().create_database(&format!("{label}_s"), "");
    let target = shared::plain().create_database(&format!("{label}_t"), "");
    source.exec(SCHEMA);
    target.copy_schema_from(&source);
    source.exec("create publication p for all tables");
    let conninfo = quote_literal(&source.conninfo());
    target.exec_each(&[&format!("create subscription s_{label} connection {conninfo} publication p")]);
    (source, target)
}

fn remove(source: &Db, target: &Db, label: &str) {
    target.exec_each(&[&format!("drop subscription s_{label}")]);
    source.drop_database().unwrap();
    target.drop_database().unwrap();
}

#[test]
fn built_in_replication_under_load_ends_equal() {
    let (source, target) = subscribed("kit_load");
    let load = LoadOptions::default().keyed("keyed").unkeyed("unkeyed").keys(5000).rate(300).start(&source);
    let kept_writing = source.scalar::<i64>("select count(*) from keyed");
    wait_until("the load has written", Duration::from_secs(20), || {
        (source.scalar::<i64>("select xact_commit from pg_stat_database where datname = current_database()") > 300)
            .then_some(())
    });
    assert!(!load.has_failed());
    let counts = load.stop();
    assert!(counts.statements > counts.committed, "{counts:?}");
    assert_ne!(source.scalar::<i64>("select count(*) from keyed"), kept_writing, "{counts:?}");
    check::wait_caught_up(&source, &target, Duration::from_secs(60));
    compare(&source, &target, &Tables::All).unwrap();
    // Errors are what this must see; updates of rows copied by PostgreSQL's own sync count as update_origin_differs.
    let counters = check::conflict_counts(&target);
    assert!(counters.iter().all(|counter| counter.contains("origin_differs")), "{counters:?}");
    remove(&source, &target, "kit_load");
}

#[test]
fn compare_names_what_differs() {
    let source = shared::source().create_database("kit_compare_s", "");
    let target = shared::plain().create_database("kit_compare_t", "");
    source.exec(SCHEMA);
    target.exec(SCHEMA);
    let all = Tables::All;
    target.exec("update keyed set made = '2001-01-01'");
    source.exec("update keyed set made = '2001-01-01'");
    compare(&source, &target, &all).unwrap();
    for (change, undo, expected) in [
        ("update keyed set note = 'other' where id = 17", "update keyed set note = 'row 17' where id = 17", "17\t2001"),
        (
            "insert into unkeyed values (7, 'row 7')",
            "delete from unkeyed where ctid = (select max(ctid) from unkeyed)",
            "51 at the",
        ),
        (
            "insert into empty default values",
            "delete from empty where ctid = (select max(ctid) from empty)",
            "\"empty\"",
        ),
        ("update keyed set note = null where id = 1", "update keyed set note = 'row 1' where id = 1", "\\N"),
        (
            "update parted set note = 'x' where id = 150",
            "update parted set note = 'row 150' where id = 150",
            "parted_2",
        ),
    ] {
        target.exec(change);
        let difference = compare(&source, &target, &all).unwrap_err();
        assert!(difference.contains(expected), "{change}: {difference}");
        compare(&source, &target, &Tables::except(&["keyed", "unkeyed", "empty", "parted_2"])).unwrap();
        target.exec(undo);
        compare(&source, &target, &all).unwrap();
    }
    source.exec("create sequence q; select nextval('q')");
    target.exec("create sequence q");
    assert!(compare_sequences(&source, &target).unwrap_err().contains("q"));
    target.exec("select nextval('q')");
    compare_sequences(&source, &target).unwrap();
    assert_eq!(indexes_snapshot(&source), indexes_snapshot(&target));
    assert_eq!(schema_text(&source), schema_text(&target));
    target.exec("drop index keyed_v_idx");
    assert_ne!(indexes_snapshot(&source), indexes_snapshot(&target));
    source.drop_database().unwrap();
    target.drop_database().unwrap();
}

#[test]
fn conflicts_are_seen() {
    let (source, target) = subscribed("kit_conflict");
    check::wait_caught_up(&source, &target, Duration::from_secs(60));
    check::assert_no_conflicts(&target);
    target.exec("delete from keyed where id = 3");
    source.exec("update keyed set v = 0 where id = 3");
    check::wait_caught_up(&source, &target, Duration::from_secs(60));
    let counters = check::conflict_counts(&target);
    assert!(counters.iter().any(|counter| counter.contains("confl_update_missing=1")), "{counters:?}");
    assert!(compare(&source, &target, &Tables::All).is_err());
    let left = std::panic::catch_unwind(|| check::assert_clean(&source, &target)).unwrap_err();
    assert!(left.downcast_ref::<String>().is_some_and(|text| text.contains("slot s_kit_conflict")), "{left:?}");
    remove(&source, &target, "kit_conflict");
}

#[test]
fn proxy_throttles_evenly_freezes_and_cuts() {
    let cluster = shared::source();
    let proxy = Proxy::start(cluster.port());
    let query = "select repeat('x', 1000000)";
    let connect = || postgres_client(proxy.port());
    let mut client = connect();
    let took = |client: &mut postgres::Client| {
        let started = Instant::now();
        client.simple_query(query).map(|_| started.elapsed())
    };
    assert!(took(&mut client).unwrap() < Duration::from_millis(500));
    proxy.throttle(1_000_000);
    let alone = took(&mut client).unwrap().as_secs_f64();
    assert!((0.8..1.8).contains(&alone), "1 MB at 1 MB/s took {alone} s");
    // Two connections share the limit, and share it evenly.
    let mut other = connect();
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| took(&mut client).unwrap().as_secs_f64());
        let two = scope.spawn(|| took(&mut other).unwrap().as_secs_f64());
        (one.join().unwrap(), two.join().unwrap())
    });
    assert!(one.max(two) > 1.7 && (one - two).abs() < 0.6, "{one} and {two} s");
    proxy.throttle(0);
    proxy.latency(Duration::from_millis(150));
    assert!(took(&mut client).unwrap() > Duration::from_millis(290));
    proxy.latency(Duration::ZERO);
    proxy.freeze();
    let frozen = std::thread::spawn(move || took(&mut client).map(|elapsed| (elapsed, client)));
    wait_until("half a second of ice", Duration::from_secs(3), {
        let started = Instant::now();
        move || (started.elapsed() > Duration::from_millis(500)).then_some(())
    });
    assert!(!frozen.is_finished());
    proxy.thaw();
    let (elapsed, mut client) = frozen.join().unwrap().unwrap();
    assert!(elapsed > Duration::from_millis(450));
    proxy.down();
    assert!(took(&mut client).is_err());
    assert!(postgres::Client::connect(&cluster.conninfo_tcp("postgres", proxy.port()), postgres::NoTls).is_err());
    proxy.restore();
    took(&mut connect()).unwrap();
}

fn postgres_client(port: u16) -> postgres::Client {
    let conninfo = shared::source().conninfo_tcp("postgres", port);
    postgres::Client::connect(&conninfo, postgres::NoTls).unwrap_or_else(|error| panic!("{}", describe(&error)))
}

#[test]
fn clusters_restart_crash_and_ask_for_passwords() {
    let cluster =
        ClusterOptions::new("own").auth(Auth::Scram).set("wal_level", "replica").set("max_wal_senders", "3").start();
    let db = cluster.create_database("we'ird \\ name", "");
    db.exec("create role r login password 's3cr3t'; create table t (a int); insert into t values (1)");
    assert_eq!(db.rows("select current_setting('wal_level'), current_setting('max_wal_senders')"), ["replica | 3"]);
    cluster.restart_with(&[("wal_level", "logical")]);
    assert_eq!(db.scalar::<String>("show wal_level"), "logical");
    cluster.crash();
    assert_eq!(db.scalar::<i32>("select a from t"), 1);
    assert!(cluster.log_contains("database system was not properly shut down"));
    let tcp =
        |password: &str| format!("host=127.0.0.1 port={} user=r password={password} dbname=postgres", cluster.port());
    assert!(postgres::Client::connect(&tcp("wrong"), postgres::NoTls).is_err());
    assert!(postgres::Client::connect(&tcp("s3cr3t"), postgres::NoTls).is_ok());
    // libpq reads the same connection string.
    db.psql("select 1");
}

#[test]
fn pgbench_runs_and_stops() {
    let db = shared::source().create_database("kit_pgbench", "");
    Pgbench::fill(&db, 1);
    let pgbench = Pgbench::start(&db, 2, 200);
    wait_until("pgbench has written", Duration::from_secs(20), || {
        (db.scalar::<i64>("select count(*) from pgbench_history") > 100).then_some(())
    });
    pgbench.stop();
    let before = db.scalar::<i64>("select count(*) from pgbench_history");
    assert_eq!(before, db.scalar::<i64>("select count(*) from pgbench_history"));
    db.drop_database().unwrap();
}

#[test]
fn old_server_is_older() {
    let version = shared::old_source().connect("postgres").query_one("show server_version_num", &[]).unwrap();
    assert!(version.get::<_, String>(0).parse::<u32>().unwrap() < 170_000);
}

#[test]
fn a_wait_tells_its_reason() {
    let failed =
        std::panic::catch_unwind(|| wait_until::<()>("pigs fly", Duration::from_millis(20), || None)).unwrap_err();
    assert!(failed.downcast_ref::<String>().is_some_and(|text| text.contains("pigs fly")));
}
