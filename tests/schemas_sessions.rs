//! Looking at schemas from a session: among locks, on a standby, with names that do not exist; and the session is afterwards what it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use steep_repl_testkit::{wait_until, ClusterOptions, Db, Pair};

use crate::copies::standby;
use crate::refusal::refused_quickly;

fn nodes(label: &str) -> Pair {
    let pair = Pair::new(label);
    pair.prepare();
    pair
}

#[test]
fn the_limits_of_the_session_stay() {
    let pair = nodes("ss_limit");
    for db in [&pair.source, &pair.target] {
        db.exec("create table t (id int primary key, v int default 1)");
    }
    let mut session = pair.target.connect();
    for call in [
        "steep_repl.schema_fingerprint('t')",
        "count(*) from steep_repl.compare_schemas('node_a', 'node_b')",
        "count(*) from steep_repl.schema_diff('node_a', 'node_b', 't')",
        "steep_repl.capture_fingerprints()",
        "count(*) from steep_repl.schema_drift",
        "count(*) from steep_repl.schema_sync_plan('node_b', 'node_a')",
        "count(*) from steep_repl.preflight('node_b', 'node_a')",
    ] {
        session.batch_execute(&format!("begin; set local lock_timeout = '7s'; select {call}")).unwrap();
        let limit: String = session.query_one("show lock_timeout", &[]).unwrap().get(0);
        assert_eq!(limit, "7s", "after {call}");
        session.batch_execute("rollback").unwrap();
    }
}

/// A long query, an ALTER TABLE behind it, and everybody else behind that one.
#[test]
fn a_table_that_somebody_waits_to_lock_is_busy() {
    let pair = nodes("ss_queue");
    for db in [&pair.source, &pair.target] {
        db.exec("create table t (id int primary key, v int default 1, w int generated always as (v + 1) stored); create table u (id int)");
    }
    let (mut reader, mut alterer) = (pair.target.connect(), pair.target.connect());
    reader.batch_execute("begin; select * from t").unwrap();
    std::thread::scope(|scope| {
        let altering = scope.spawn(move || alterer.batch_execute("alter table t add x int"));
        let waits = "select count(*) from pg_locks where relation = 't'::regclass and not granted";
        wait_until("somebody waits", Duration::from_secs(20), || (pair.target.scalar::<i64>(waits) == 1).then_some(()));
        let started = Instant::now();
        let compared = "select table_name || ' ' || status from steep_repl.compare_schemas('node_a', 'node_b')";
        assert_eq!(pair.target.rows(compared), ["t BUSY", "u MATCH"]);
        let plan = "select * from steep_repl.schema_sync_plan('node_b', 'node_a')";
        for call in ["select steep_repl.schema_fingerprint('public', 't')", plan] {
            let refusal = refused_quickly(|| pair.target.try_exec(call));
            assert_eq!(refusal.names(&["public.t"]).code, "55P03", "{call}");
        }
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
        reader.batch_execute("commit").unwrap();
        altering.join().unwrap().unwrap();
    });
}

/// A lock that comes after the look for locks: where the source cannot begin with its answer, and in the middle of it. What was asked over the
/// connection afterwards is answered.
#[test]
fn a_lock_that_comes_meanwhile() {
    let (compare, preflight) = ("compare_schemas('node_a', 'node_b')", "preflight('node_b', 'node_a')");
    // Who connects reads pg_trigger when an autovacuum of a catalog has made the database's list of relations void.
    let source = ClusterOptions::new("ss_locked").set("autovacuum", "off").start();
    let looking = Db::new(Arc::clone(&source), "postgres");
    // Everything else that preflight asks has to do without the catalog, which only who deparses to_tsvector('english', ...) looks at.
    for (label, catalog, calls) in
        [("ss_begin", "pg_trigger", &[compare][..]), ("ss_middle", "pg_ts_config", &[compare, preflight])]
    {
        let pair = Pair::options(label).source(Arc::clone(&source)).build();
        pair.prepare();
        for db in [&pair.source, &pair.target] {
            db.exec(
                "create table t (id int primary key, note text,
                     words tsvector generated always as (to_tsvector('english', note)) stored)",
            );
        }
        for call in calls {
            let mut holder = pair.source.connect();
            holder.batch_execute(&format!("begin; lock pg_catalog.{catalog} in access exclusive mode")).unwrap();
            std::thread::scope(|scope| {
                let called = scope.spawn(|| pair.target.try_exec(&format!("select * from steep_repl.{call}")));
                let waits = |asking: &str| {
                    let sessions = format!(
                        "select count(*) from pg_stat_activity where datname = '{}' and application_name like 'steep\\_repl%check'
                             and wait_event_type = 'Lock' and query {asking} 'COPY%'",
                        pair.source.name()
                    );
                    wait_until("it waits", Duration::from_secs(30), || {
                        (looking.scalar::<i64>(&sessions) == 1).then_some(())
                    });
                };
                waits("like");
                waits("not like");
                holder.batch_execute("commit").unwrap();
                called.join().unwrap().unwrap();
            });
        }
        let found = "select table_name || ' ' || status from steep_repl.compare_schemas('node_a', 'node_b')";
        assert_eq!(pair.target.rows(found), ["t MATCH"]);
        let findings =
            "select check_name, message from steep_repl.preflight('node_b', 'node_a') where status = 'error'";
        assert_eq!(pair.target.rows(findings), [""; 0]);
    }
}

/// Only what is compared at all can be in the way.
#[test]
fn locked_tables_of_others_are_nobodys_business() {
    let pair = nodes("ss_temp");
    pair.target.exec("create table t (id int)");
    let mut session = pair.target.connect();
    session
        .batch_execute(
            "create temporary table scratch (id int); begin; lock table scratch in access exclusive mode;
             lock table steep_repl.events in access exclusive mode",
        )
        .unwrap();
    assert_eq!(pair.target.scalar::<i64>("select steep_repl.capture_fingerprints()"), 1);
    let compared = "select table_name || ' ' || status from steep_repl.compare_schemas('node_b', 'node_b')";
    assert_eq!(pair.target.rows(compared), ["t MATCH"]);
}

#[test]
fn a_standby_can_be_looked_at() {
    let primary = ClusterOptions::new("sslook").preload().start();
    let pair = Pair::options("ss_standby").target(Arc::clone(&primary)).build();
    pair.prepare();
    for db in [&pair.source, &pair.target] {
        db.exec("create table t (id int primary key, v int default 1)");
    }
    pair.target.exec("select steep_repl.capture_fingerprints(); alter table t add x int");
    let standby = standby(&primary, "sslook");
    let there = Db::new(Arc::clone(&standby), pair.target.name());
    let fingerprint = "select steep_repl.schema_fingerprint('t')";
    assert_eq!(there.rows(fingerprint), pair.target.rows(fingerprint));
    for (query, expected) in [
        ("select status from steep_repl.compare_schemas('node_a', 'node_b')", "MISMATCH"),
        ("select object_name from steep_repl.schema_diff('node_a', 'node_b', 't') where change = 'extra'", "x"),
        ("select status from steep_repl.schema_drift", "CHANGED"),
    ] {
        assert_eq!(there.rows(query), [expected], "{query}");
    }
    let refusal = refused_quickly(|| there.try_exec("select steep_repl.capture_fingerprints()"));
    assert_eq!(refusal.code, "25006");
}

#[test]
fn schemas_that_nobody_has_are_not_without_differences() {
    let pair = nodes("ss_names");
    pair.source.exec("create schema there; create schema bare");
    for (call, code) in [
        ("capture_fingerprints(array['nope'])", "3F000"),
        ("compare_schemas('node_a', 'node_b', array['there', 'nope'])", "3F000"),
        ("schema_sync_plan('node_b', 'node_a', schemas => array['nope'])", "42P01"),
    ] {
        let refusal = refused_quickly(|| pair.target.try_exec(&format!("select * from steep_repl.{call}")));
        assert_eq!(refusal.names(&["nope"]).code, code, "{call}");
    }
    // One that one of them has is worth a look, and so is one without tables.
    assert_eq!(
        pair.target.rows("select * from steep_repl.compare_schemas('node_a', 'node_b', array['there'])"),
        [""; 0]
    );
    pair.target.exec("create schema bare");
    assert_eq!(pair.target.scalar::<i64>("select steep_repl.capture_fingerprints(array['bare'])"), 0);
    pair.target.exec("create table bare.t (id int); create table elsewhere (id int)");
    let drift = "select table_schema || '.' || table_name || ' ' || status from steep_repl.schema_drift";
    assert_eq!(pair.target.rows(drift), ["bare.t ADDED"]);
    pair.target.exec("select steep_repl.capture_fingerprints(); create schema later; create table later.t (id int)");
    assert_eq!(pair.target.rows(drift), ["later.t ADDED"]);
}

/// What cannot be made from one table's definition is not given as if it could.
#[test]
fn the_ddl_of_a_missing_table_can_be_run_or_is_not_there() {
    let pair = nodes("ss_missing");
    pair.source.exec(
        "create table parted (id int) partition by range (id); create table part partition of parted for values from (0) to (9);
         create table \"It's\" (id serial primary key, v int)",
    );
    let ddl = |table: &str| {
        pair.target
            .rows(&format!("select coalesce(ddl, '') from steep_repl.schema_diff('node_a', 'node_b', '{table}')"))
    };
    assert_eq!(ddl("part"), [""]);
    for statement in ddl("\"It''s\"") {
        pair.target.exec(&statement);
    }
    let compared = "select table_name || ' ' || status from steep_repl.compare_schemas('node_a', 'node_b')";
    assert_eq!(pair.target.rows(compared), ["It's MATCH", "part LOCAL_ONLY", "parted LOCAL_ONLY"]);
}
