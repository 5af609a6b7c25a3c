//! What somebody else, or bad luck, does to a subscription while tables join it: nothing is lost, nothing doubled, and the other
//! tables replicate.

use std::time::{Duration, Instant};

use postgres::Client;
use steep_repl_testkit::{
    check, major, quote_literal, shared, wait_until, Auth, ClusterOptions, Pair, PairOptions, Role,
};

use crate::refusal::{refused_quickly, Refusal};

const CANCEL: &str = "select steep_repl.cancel_init('node_b')";
const REFRESH: &str = "select steep_repl.refresh_tables('node_b')";
const SUBSCRIPTION: &str = "select quote_ident(subname) from pg_subscription s join pg_database d on d.oid = s.subdbid
    where d.datname = current_database()";
const ENABLED: &str = "select subenabled from pg_subscription s join pg_database d on d.oid = s.subdbid
    where d.datname = current_database()";
const FRESH: &str = "create table fresh (id bigint primary key, note text)";

/// A node that replicates, of a source with one new table, which is on the node too.
fn grown(options: PairOptions, rows: i64) -> Pair {
    let pair = options.build();
    pair.source.exec(
        "create table old (id bigint primary key, v int, note text);
         insert into old select i, i, 'o' from generate_series(1, 2000) i;
         create table loose (id bigint, note text); alter table loose replica identity full;
         insert into loose select i, 'x' from generate_series(1, 10) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.synchronize("method => 'parallel', parallel_workers => 2");
    for db in [&pair.target, &pair.source] {
        db.exec(FRESH);
    }
    pair.source.exec(&format!("insert into fresh select i, repeat('y', 100) from generate_series(1, {rows}) i"));
    pair.source.exec_each(&["vacuum analyze"]);
    pair
}

fn refresh(pair: &Pair) {
    let mut session = pair.session();
    session.batch_execute("set steep_repl.chunk_size = '2MB'").unwrap();
    session.batch_execute(REFRESH).unwrap();
}

fn operation(pair: &Pair, column: &str) -> String {
    pair.target.scalar(&format!(
        "select coalesce({column}::text, '') from steep_repl.operations where kind = 'refresh' order by id desc limit 1"
    ))
}

fn until(pair: &Pair, column: &str, value: &str) {
    wait_until(&format!("{column} is {value}"), Duration::from_secs(60), || {
        (operation(pair, column) == value).then_some(())
    });
}

fn until_told(pair: &Pair, event: &str) {
    let sql = format!("select exists (select from steep_repl.events where event = '{event}')");
    wait_until(event, Duration::from_secs(60), || pair.target.scalar::<bool>(&sql).then_some(()));
}

/// A change that cannot be applied as long as the session's transaction lasts.
fn hold_up(pair: &Pair, session: &mut Client) {
    session.batch_execute("begin").unwrap();
    let held: i64 = session.query_one("select id from old order by id limit 1 for update", &[]).unwrap().get(0);
    pair.source.exec(&format!("delete from old where id = {held}"));
}

/// A refresh whose tables cannot join until the session's transaction ends.
fn held_up(pair: &Pair) -> Client {
    let mut session = pair.target.connect();
    hold_up(pair, &mut session);
    refresh(pair);
    until_told(pair, "init.apply_behind");
    session
}

/// The coordinator is held in the moment between stopping the apply worker and letting the tables join.
fn between(pair: &Pair) -> Client {
    let mut locker = pair.target.connect();
    locker.batch_execute("begin; lock table pg_catalog.pg_subscription_rel in share mode").unwrap();
    refresh(pair);
    wait_until("the apply worker is stopped", Duration::from_secs(60), || {
        (!operation(pair, "applied_lsn").is_empty()).then_some(())
    });
    locker
}

fn end_coordinator(pair: &Pair) {
    pair.target.exec(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where backend_type = 'steep_repl coordinator'",
    );
}

fn failure(pair: &Pair) -> Refusal {
    Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err())
}

/// Everything is here, and goes on.
fn expect_joined(pair: &Pair) {
    pair.source.exec("insert into fresh values (5000000, 'w'); insert into loose values (5, 'w'); update old set v = 0 where id > 1990");
    pair.expect_equal();
    let left = pair.target.rows("select table_name from steep_repl.tables_not_subscribed('node_b')");
    assert_eq!(left, [""; 0]);
    assert_eq!(
        pair.source.scalar::<i64>("select count(*) from fresh"),
        pair.target.scalar::<i64>("select count(*) from fresh")
    );
}

fn expect_cancelled(pair: &Pair) {
    pair.target.exec(CANCEL);
    until(pair, "status", "cancelled");
    wait_until("nothing is pending", Duration::from_secs(60), || {
        (pair.target.scalar::<i64>("select count(*) from steep_repl.pending_cleanup") == 0).then_some(())
    });
    assert!(pair.target.scalar::<bool>(ENABLED), "the subscription is disabled");
    assert_eq!(pair.target.scalar::<i64>("select count(*) from fresh"), 0);
}

#[test]
fn a_pending_clean_up_comes_before_the_next_refresh() {
    let pair = grown(Pair::options("rf_pending").proxied(), 100);
    let mut blocker = pair.source.connect();
    blocker.batch_execute("begin; insert into old values (-1, 0, 'x')").unwrap();
    refresh(&pair);
    until(&pair, "phase", "slot");
    until_told(&pair, "init.slot_waiting");
    pair.proxy().down();
    pair.target.exec(CANCEL);
    until(&pair, "status", "cancelled");
    blocker.batch_execute("rollback").unwrap();
    pair.proxy().restore();
    // Refused, or the clean-up was quicker.
    wait_until("the next one may begin", Duration::from_secs(60), || match pair.target.try_exec(REFRESH) {
        Ok(()) => Some(()),
        Err(error) => {
            assert_eq!(Refusal::of(&error).code, "55006");
            None
        }
    });
    pair.expect_synchronized();
    assert_eq!(pair.target.scalar::<i64>("select count(*) from steep_repl.pending_cleanup"), 0);
    // It is still published when all is over.
    pair.source.exec("insert into fresh values (5000000, 'w')");
    pair.expect_equal_rows();
    assert_eq!(pair.target.scalar::<i64>("select count(*) from fresh"), 101);
}

#[test]
fn somebody_enables_the_subscription_in_between() {
    let target = ClusterOptions::new("rf_enable").preload().start();
    let pair = grown(Pair::options("rf_enable").target(target), 100);
    let mut locker = between(&pair);
    pair.source.exec("insert into loose select i, 'once' from generate_series(1, 5) i");
    let subscription: String = pair.target.scalar(SUBSCRIPTION);
    end_coordinator(&pair);
    pair.target.exec(&format!("alter subscription {subscription} enable"));
    wait_until("it is applied", Duration::from_secs(20), || {
        (pair.target.scalar::<i64>("select count(*) from loose") >= 15).then_some(())
    });
    locker.batch_execute("rollback").unwrap();
    pair.expect_synchronized();
    expect_joined(&pair);
}

#[test]
fn the_source_is_away_in_between() {
    let target = ClusterOptions::new("rf_away").preload().start();
    let pair = grown(Pair::options("rf_away").target(target).proxied(), 100);
    let mut locker = between(&pair);
    pair.proxy().down();
    end_coordinator(&pair);
    locker.batch_execute("rollback").unwrap();
    // Without the source tables cannot join; the subscription does not wait for that.
    wait_until("the subscription is enabled", Duration::from_secs(30), || {
        pair.target.scalar::<bool>(ENABLED).then_some(())
    });
    pair.proxy().restore();
    pair.expect_synchronized();
    check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(60));
    pair.source.exec("insert into fresh values (5000000, 'w')");
    pair.expect_equal_rows();
}

#[test]
fn who_asked_loses_the_right_to_in_between() {
    let target = ClusterOptions::new("rf_early").preload().start();
    let pair = grown(Pair::options("rf_early").target(target), 100);
    pair.target.exec("create role asker superuser login");
    let mut locker = pair.target.connect();
    locker.batch_execute("begin; lock table pg_catalog.pg_subscription_rel in share mode").unwrap();
    let mut session = pair.session();
    session.batch_execute(&format!("set session authorization asker; {REFRESH}")).unwrap();
    wait_until("the apply worker is stopped", Duration::from_secs(60), || {
        (!operation(&pair, "applied_lsn").is_empty()).then_some(())
    });
    pair.target.exec("alter role asker nosuperuser");
    end_coordinator(&pair);
    locker.batch_execute("rollback").unwrap();
    until(&pair, "status", "failed");
    until_told(&pair, "init.apply_stopped");
    // Somebody who may takes it over.
    expect_cancelled(&pair);
    pair.target.exec(REFRESH);
    pair.expect_synchronized();
    expect_joined(&pair);
}

#[test]
fn its_slot_is_lost_before_the_tables_join() {
    let pair = grown(Pair::options("rf_slot"), 100);
    let mut reader = held_up(&pair);
    let own = operation(&pair, "slot_name");
    pair.source.exec(&format!("select pg_drop_replication_slot('{own}')"));
    reader.batch_execute("commit").unwrap();
    let refusal = failure(&pair);
    assert_eq!(refusal.code, "55000");
    refusal.names(&[&own, "lost"]);
    assert!(pair.target.scalar::<bool>(ENABLED));
    expect_cancelled(&pair);
    pair.source.exec("insert into old values (100000, 1, 'after')");
    check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(30));
    pair.target.exec(REFRESH);
    pair.expect_synchronized();
    expect_joined(&pair);
}

#[test]
fn what_is_left_is_named_and_what_is_in_use_is_not() {
    // So many rows that the copy takes a while, and is seen.
    let pair = grown(Pair::options("rf_abandon").proxied(), 60_000);
    pair.proxy().throttle(300_000);
    let mut reader = pair.target.connect();
    refresh(&pair);
    until(&pair, "phase", "copy");
    hold_up(&pair, &mut reader);
    pair.proxy().throttle(0);
    wait_until("the tables have joined", Duration::from_secs(90), || {
        (!operation(&pair, "replaced_slot").is_empty()).then_some(())
    });
    let replaced = operation(&pair, "replaced_slot");
    pair.proxy().down();
    pair.target.exec(CANCEL);
    reader.batch_execute("commit").unwrap();
    until(&pair, "status", "cancelled");
    let in_use: Vec<String> = pair.target.rows(
        "select subslotname from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = current_database()
         union all select unnest(subpublications) from pg_subscription s join pg_database d on d.oid = s.subdbid
            where d.datname = current_database()",
    );
    let shown = pair.target.rows(
        "select slot_name || coalesce(publications::text, '') from steep_repl.pending_cleanup where kind = 'source'",
    );
    assert!(shown.iter().all(|row| *row == replaced), "{shown:?} {replaced}");
    let mut session = pair.session();
    session.batch_execute("select steep_repl.abandon_cleanup('node_b')").unwrap();
    let said = pair.notices().concat();
    assert!(said.contains(&format!("slot {replaced}")) && said.contains("public.fresh in publication"), "{said}");
    assert!(!said.contains(&format!("slot {}", in_use[0])), "{said} {in_use:?}");
    pair.proxy().restore();
}

#[test]
fn somebody_puts_the_table_into_the_subscription_meanwhile() {
    let pair = grown(Pair::options("rf_twice").proxied(), 60_000);
    pair.proxy().throttle(1_500_000);
    refresh(&pair);
    wait_until("rows have arrived", Duration::from_secs(60), || {
        (pair.target.scalar::<i64>("select count(*) from fresh") > 0).then_some(())
    });
    let subscription: String = pair.target.scalar(SUBSCRIPTION);
    pair.target.exec_each(&[&format!("alter subscription {subscription} refresh publication")]);
    pair.proxy().throttle(0);
    failure(&pair).names(&["fresh", "cancel_init"]);
    expect_cancelled(&pair);
    let shown = pair.target.rows("select table_name from steep_repl.tables_not_subscribed('node_b')");
    assert_eq!(shown, ["fresh"]);
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    wait_until("one slot is left", Duration::from_secs(30), || (pair.source.scalar::<i64>(slots) == 1).then_some(()));
    pair.target.exec(REFRESH);
    pair.expect_synchronized();
    pair.source.exec("insert into fresh values (5000000, 'w')");
    pair.expect_equal_rows();
}

#[test]
fn the_table_is_made_again_here() {
    let pair = grown(Pair::options("rf_again"), 100);
    let mut reader = held_up(&pair);
    pair.target.exec(&format!("drop table fresh; {FRESH}"));
    reader.batch_execute("commit").unwrap();
    assert_eq!(failure(&pair).names(&["public.fresh"]).code, "42P15");
    expect_cancelled(&pair);
    pair.target.exec(REFRESH);
    pair.expect_synchronized();
    expect_joined(&pair);
}

#[test]
fn the_table_is_replaced_on_the_source() {
    let pair = grown(Pair::options("rf_replaced"), 100);
    let mut reader = held_up(&pair);
    pair.source.exec(&format!("drop table fresh; {FRESH}; insert into fresh values (1, 'new one')"));
    reader.batch_execute("commit").unwrap();
    pair.expect_synchronized();
    expect_joined(&pair);
    let members = "select count(*) from pg_publication_tables where tablename = 'fresh'";
    assert_eq!(pair.source.scalar::<i64>(members), 1);
}

#[test]
fn a_table_that_was_made_again_on_the_source_is_shown() {
    let pair = grown(Pair::options("rf_recreated"), 10);
    pair.target.exec(REFRESH);
    pair.expect_synchronized();
    pair.source
        .exec("drop table loose; create table loose (id bigint, note text); alter table loose replica identity full");
    let shown =
        pair.target.rows("select table_name || ' ' || is_here::text from steep_repl.tables_not_subscribed('node_b')");
    assert_eq!(shown, ["loose true"]);
    let mut session = pair.session();
    session.batch_execute(REFRESH).unwrap();
    assert!(pair.notices().concat().contains("public.loose"), "{:?}", pair.notices());
}

#[test]
fn another_table_of_a_name_that_was_asked_for() {
    let pair = Pair::new("rf_name");
    pair.source.exec("create table alone (id int primary key)");
    pair.prepare();
    pair.synchronize("method => 'parallel', tables => array['alone']");
    for db in [&pair.target, &pair.source] {
        db.exec("create schema other; create table other.alone (id int primary key)");
    }
    assert_eq!(pair.target.rows("select table_name from steep_repl.tables_not_subscribed('node_b')"), [""; 0]);
    assert!(pair.target.scalar::<bool>("select steep_repl.refresh_tables('node_b') is null"));
}

#[test]
fn only_the_tables_that_are_named() {
    let pair = grown(Pair::options("rf_only"), 10);
    for db in [&pair.target, &pair.source] {
        db.exec("create table another (id int primary key)");
    }
    let wrong = "select steep_repl.refresh_tables('node_b', tables => array['nowhere'])";
    assert_eq!(refused_quickly(|| pair.target.try_exec(wrong)).names(&["nowhere"]).code, "42P01");
    pair.target.exec("select steep_repl.refresh_tables('node_b', tables => array['fresh'])");
    pair.expect_synchronized();
    assert_eq!(pair.target.rows("select table_name from steep_repl.tables_not_subscribed('node_b')"), ["another"]);
    pair.target.exec(REFRESH);
    pair.expect_synchronized();
    expect_joined(&pair);
}

/// The apply worker opens a new table when it is sent a change of it, and all others would wait behind whoever waits for a lock.
#[test]
fn a_reader_of_a_new_table_holds_nobody_up() {
    let pair = grown(Pair::options("rf_reader"), 100);
    let mut reader = pair.target.connect();
    reader.batch_execute("begin; select count(*) from fresh").unwrap();
    refresh(&pair);
    let mut worst = Duration::ZERO;
    for mark in 300_000..300_020 {
        pair.source
            .exec(&format!("insert into fresh values ({mark}, 'x'); insert into old values ({mark}, 1, 'mark')"));
        let started = Instant::now();
        let sql = format!("select exists (select from old where id = {mark})");
        wait_until("others replicate", Duration::from_secs(60), || pair.target.scalar::<bool>(&sql).then_some(()));
        worst = worst.max(started.elapsed());
    }
    assert!(worst < Duration::from_secs(4), "a change of another table took {worst:?}");
    reader.batch_execute("commit").unwrap();
    pair.expect_synchronized();
    expect_joined(&pair);
}

#[test]
fn monitors_wait_for_each_other_and_take_no_transaction_ids() {
    let target = ClusterOptions::new("rf_monitor")
        .preload()
        .set("steep_repl.source_check_interval", "1s")
        .set("autovacuum", "off")
        .start();
    let pair = grown(Pair::options("rf_monitor").target(target).proxied(), 1);
    let shown = "select tables_not_subscribed::text from steep_repl.node_status where node = 'node_b'";
    wait_until("the new table is noticed", Duration::from_secs(30), || {
        (pair.target.scalar::<String>(shown) == "{public.fresh}").then_some(())
    });
    let monitors = "select count(*) from pg_stat_activity where backend_type = 'steep_repl monitor'";
    let look = || {
        let ended = Instant::now() + Duration::from_secs(5);
        wait_until("time has passed", Duration::from_secs(10), || {
            assert!(pair.target.scalar::<i64>(monitors) <= 1, "there is more than one monitor");
            (Instant::now() > ended).then_some(())
        });
    };
    let next = "select pg_snapshot_xmax(pg_current_snapshot())::text";
    let before = pair.target.scalar::<String>(next);
    look();
    assert_eq!(before, pair.target.scalar::<String>(next), "somebody took a transaction id");
    pair.proxy().freeze();
    look();
    pair.proxy().thaw();
}

/// What the apply worker could not write to must not be put into its subscription: everything would stand still.
#[test]
fn a_table_out_of_reach_for_the_owner_of_the_subscription() {
    let source = ClusterOptions::new("rf_owner").auth(Auth::Scram).start();
    let operator = Role::create(&shared::target(), "rf_operator", "login in role pg_create_subscription");
    let pair = Pair::options("rf_owner").source(source).build();
    pair.source.exec(
        "create role copier superuser login password 's3cr3t-pw'; create table t (id int primary key); insert into t values (1)",
    );
    pair.target.copy_schema_from(&pair.source);
    let database = steep_repl_testkit::quote_ident(pair.target.name());
    pair.target.exec(&format!(
        "alter table t owner to {operator}; grant create on database {database} to {operator};
         grant usage on schema steep_repl to {operator}; grant execute on all functions in schema steep_repl to {operator}"
    ));
    let mut client = pair.session();
    client.batch_execute(&format!("set session authorization {operator}")).unwrap();
    let (port, name) = (pair.source.cluster().port(), pair.source.name());
    let there = quote_literal(&format!("host=127.0.0.1 port={port} user=copier dbname={name} password=s3cr3t-pw"));
    let here = quote_literal(&format!("{} password=unused", pair.target.conninfo()));
    for sql in [
        format!("select steep_repl.register_node('node_a', {there})"),
        format!("select steep_repl.register_node('node_b', {here}, is_local => true)"),
        "select steep_repl.init_node('node_b', 'node_a', method => 'parallel')".to_string(),
        "select steep_repl.wait_for_init('node_b', timeout => '2 minutes')".to_string(),
    ] {
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {}", steep_repl_testkit::describe(&error)));
    }
    for db in [&pair.target, &pair.source] {
        db.exec("create table late (id int primary key)");
    }
    pair.source.exec("insert into late values (1)");
    let refusal = refused_quickly(|| pair.target.try_exec(REFRESH));
    assert_eq!(refusal.code, "42501");
    refusal.names(&["public.late", operator.name()]);
    pair.target.exec(&format!("alter table late owner to {operator}; {REFRESH}"));
    pair.expect_synchronized();
    pair.source.exec("insert into late values (2); insert into t values (2)");
    pair.expect_equal();
    assert_eq!(pair.target.scalar::<i64>("select count(*) from late"), 2);
    pair.target.exec(&format!("reassign owned by {operator} to postgres; drop owned by {operator}"));
}

/// A source that invalidates slots that nobody uses for a while.
#[test]
fn an_idle_slot_is_invalidated_before_the_tables_join() {
    if major() < 18 {
        return;
    }
    let source = ClusterOptions::new("rf_idle").set("idle_replication_slot_timeout", "1s").start();
    let pair = grown(Pair::options("rf_idle").source(source), 100);
    let mut reader = held_up(&pair);
    let own = operation(&pair, "slot_name");
    wait_until("the slot is invalidated", Duration::from_secs(60), || {
        pair.source.exec("checkpoint");
        let sql = format!("select invalidation_reason is not null from pg_replication_slots where slot_name = '{own}'");
        pair.source.scalar::<bool>(&sql).then_some(())
    });
    reader.batch_execute("commit").unwrap();
    failure(&pair).names(&[&own]);
    expect_cancelled(&pair);
    pair.source.exec("insert into old values (100000, 1, 'after')");
    check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(30));
}
