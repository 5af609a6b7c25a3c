//! Work that cannot be done ends FAILED, soon, with the cause; it is not tried for ever.

use std::time::Duration;

use steep_repl_testkit::{check, quote_literal, shared, wait_until, ClusterOptions, Db, Pair, Role, StopMode};

use crate::refusal::Refusal;

/// Initializes, expects FAILED within two minutes, and checks what is shown about it.
fn fails(pair: &Pair, target: &Db, code: &str, words: &[&str]) {
    let source = quote_literal(&pair.source.conninfo());
    let own = quote_literal(&target.conninfo());
    target.exec_each(&[
        &format!("select steep_repl.register_node('node_a', {source})"),
        &format!("select steep_repl.register_node('node_b', {own}, is_local => true)"),
        "select steep_repl.init_node('node_b', 'node_a', method => 'parallel')",
    ]);
    let error = target.try_exec("select steep_repl.wait_for_init('node_b', timeout => '2 minutes')").unwrap_err();
    let refusal = Refusal::of(&error);
    assert_eq!(refusal.code, code, "{refusal:?}");
    let refusal = refusal.names(words);
    assert_eq!(target.scalar::<String>("select state::text from steep_repl.nodes where node = 'node_b'"), "FAILED");
    let shown = target.rows("select error from steep_repl.init_progress where node = 'node_b'");
    assert!(shown.iter().any(|error| error != "~"), "init_progress shows no error: {refusal:?}");
    let failed = target
        .scalar::<i64>("select count(*) from steep_repl.events where event = 'init.failed' and severity = 'error'");
    assert_eq!(failed, 1);
    // Workers and coordinator are gone, and what they held on the source with them.
    wait_until("nothing works on it any more", Duration::from_secs(15), || {
        let workers = "select count(*) from pg_stat_activity where datname = current_database() and backend_type like 'steep\\_repl%'";
        let sessions = "select count(*) from pg_stat_activity
            where datname = current_database() and application_name like 'steep\\_repl%'";
        (target.scalar::<i64>(workers) == 0 && pair.source.scalar::<i64>(sessions) == 0).then_some(())
    });
}

/// It cannot arrive: that must be an error, not another character.
#[test]
fn a_character_that_the_target_cannot_hold() {
    let pair = Pair::new("unfit");
    pair.source.exec("create table t (id int primary key, note text); insert into t values (1, '漢')");
    let latin = pair.target.cluster().create_database("unfit_l", "encoding 'LATIN1' locale 'C' template template0");
    latin.exec("create extension steep_repl; create table t (id int primary key, note text)");
    // The server's libpq gives every error that ends a COPY as 08P01; the source's own words say what it is.
    fails(&pair, &latin, "08P01", &["t", "LATIN1"]);
    assert_eq!(latin.scalar::<i64>("select count(*) from t"), 0);
    check::remove_target(&latin);
}

#[test]
fn rows_that_a_check_of_the_target_forbids() {
    let pair = Pair::new("forbidden");
    pair.source.exec("create table t (id int primary key, v int); insert into t values (1, -5)");
    pair.target.exec("create table t (id int primary key, v int constraint v_positive check (v > 0))");
    fails(&pair, &pair.target, "23514", &["v_positive"]);
}

#[test]
fn rows_that_a_unique_index_of_the_target_forbids() {
    for rows in [10, 40_000] {
        let pair = Pair::new("doubled");
        pair.source.exec(&format!(
            "create table t (id int primary key, v int, note text);
             insert into t select i, i, repeat('x', 50) from generate_series(1, {rows}) i; update t set v = 3 where id = 4"
        ));
        pair.target.exec("create table t (id int primary key, v int, note text, constraint v_once unique (v))");
        fails(&pair, &pair.target, "23505", &["v_once", "(v)=(3)"]);
    }
}

/// An error of the source while the copy is under way, which no retry mends.
#[test]
fn a_table_that_may_no_longer_be_read() {
    let role = Role::create(&shared::source(), "revoked", "login replication");
    let pair = Pair::options("revoked").proxied().build();
    pair.source.exec(
        "create table large (id int primary key, v text); insert into large select i, repeat('x', 200) from generate_series(1, 10000) i;
         create table t (id int primary key, v text); insert into t select i, repeat('x', 200) from generate_series(1, 8000) i;
         create publication chosen for table large, t",
    );
    pair.target.copy_schema_from(&pair.source);
    pair.source.exec(&format!("grant select on large, t to {role}"));
    pair.register_with(&pair.source_conninfo().replace("user=postgres", &format!("user={role}")));
    pair.proxy().throttle(500_000);
    pair.init("method => 'parallel', parallel_workers => 1, publication => 'chosen'").unwrap();
    wait_until("the larger table is being copied", Duration::from_secs(30), || {
        (pair.progress()?.bytes_done? > 0).then_some(())
    });
    pair.source.exec(&format!("revoke select on t from {role}"));
    pair.proxy().throttle(0);
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(120)).unwrap_err());
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    assert_eq!(pair.state(), "FAILED");
}

/// However many workers notice it: what is tried again after one outage must not wait as if there had been many.
#[test]
fn a_source_that_was_away_for_a_moment() {
    let pair = Pair::options("away").source(ClusterOptions::new("away").start()).proxied().build();
    for table in 1..=6 {
        pair.source.exec(&format!(
            "create table t{table} (id int primary key, v text);
             insert into t{table} select i, repeat('x', 500) from generate_series(1, 4000) i"
        ));
    }
    pair.prepare();
    pair.proxy().throttle(1_000_000);
    pair.init("method => 'parallel', parallel_workers => 6").unwrap();
    wait_until("rows arrive", Duration::from_secs(30), || (pair.progress()?.bytes_done? > 0).then_some(()));
    pair.source.cluster().stop(StopMode::Immediate);
    wait_until("all workers have noticed", Duration::from_secs(30), || {
        let workers = "select count(*) from pg_stat_activity
            where datname = current_database() and backend_type = 'steep_repl copy worker'";
        (pair.target.scalar::<i64>(workers) == 0).then_some(())
    });
    pair.source.cluster().start();
    pair.proxy().throttle(0);
    let back = std::time::Instant::now();
    pair.wait(Duration::from_secs(120)).unwrap();
    assert!(
        back.elapsed() < Duration::from_secs(20),
        "{:?} after the source was back: {:?}",
        back.elapsed(),
        pair.events()
    );
    pair.expect_equal();
}
