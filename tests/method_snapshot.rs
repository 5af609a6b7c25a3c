//! `method => 'snapshot'`: PostgreSQL's own initial synchronization, started, watched and undone by us.

use std::time::{Duration, Instant};

use steep_repl_testkit::{describe, wait_until, ClusterOptions, LoadOptions, Pair, PairOptions, SchemaState, StopMode};

use crate::midway::{self, events};
use crate::outcome::{assert_progress_covers_all, assert_progress_is_sane, expect_equal, initialize_under_load};
use crate::refusal::{refused, Refusal};
use crate::shop;

const ARGS: &str = "method => 'snapshot', no_identity => 'full'";
const CANCEL: &str = "select steep_repl.cancel_init('node_b')";

/// What the server's table synchronization may leave behind, on both sides.
pub fn expect_no_leftovers(pair: &Pair) {
    let slots = pair.source.rows("select slot_name from pg_replication_slots where slot_name like 'pg\\_%\\_sync\\_%' and database = current_database()");
    let here = pair.target.rows(
        "select 'origin ' || roname from pg_replication_origin where roname ~ '^pg_[0-9]+_[0-9]+$'
            and split_part(roname, '_', 3)::oid in (select oid from pg_class)
         union all select 'worker ' || pid from pg_stat_subscription s join pg_subscription u on u.oid = s.subid
            join pg_database d on d.oid = u.subdbid where d.datname = current_database() and s.relid is not null",
    );
    assert!(slots.is_empty() && here.is_empty(), "left behind: {slots:?} {here:?}");
}

/// A pair that is ready for a copy that a slow link holds in the middle, as [`midway`] has it.
fn prepared(options: PairOptions) -> Pair {
    midway::prepared(options)
}

fn start(pair: &Pair) {
    start_with(pair, &[]);
}

fn start_with(pair: &Pair, settings: &[(&str, &str)]) {
    pair.proxy().throttle(midway::SLOW);
    pair.init_with(settings, ARGS).unwrap();
    midway::until_rows(pair);
    let server = "select count(*) from pg_stat_progress_copy c join pg_stat_subscription s on s.pid = c.pid
        where c.relid = 'large'::regclass and s.relid = c.relid";
    assert_eq!(pair.target.scalar::<i64>(server), 1, "it is not the server that copies");
}

fn expect_end(pair: &Pair) {
    midway::expect_end_after_errors(pair);
    expect_no_leftovers(pair);
}

#[test]
fn under_load() {
    copied_under_load(&Pair::new("snap_load"));
}

/// Of a pair on the shared target.
pub fn copied_under_load(pair: &Pair) {
    shop::fill(&pair.source, 0.5);
    pair.prepare();
    let seen = initialize_under_load(pair, &[], "method => 'snapshot'");
    expect_no_leftovers(pair);
    assert_progress_covers_all(pair, &seen);
    // max_sync_workers_per_subscription of these servers.
    assert_eq!(pair.progress().unwrap().workers_planned, Some(4));
    assert!(seen.iter().any(|row| row.workers_active > Some(0)), "no worker was seen");
    let method = pair.target.rows("select method, phase, state from steep_repl.init_progress");
    assert_eq!(method, ["snapshot | done | SYNCHRONIZED"]);
}

/// How many tables are copied at a time is the server's to say, whatever our own workers would be.
#[test]
fn workers_that_are_planned() {
    let target = ClusterOptions::new("snap_three_t").preload().set("max_sync_workers_per_subscription", "3").start();
    let pair = Pair::options("snap_three").target(target).build();
    shop::fill(&pair.source, 0.2);
    pair.prepare();
    assert_eq!(pair.target.rows("show steep_repl.parallel_workers"), ["4"]);
    initialize_under_load(&pair, &[], "method => 'snapshot'");
    assert_eq!(pair.progress().unwrap().workers_planned, Some(3));
}

/// Live figures of a table while the server copies it, and its rate.
#[test]
fn progress_of_the_table_that_is_copied() {
    let pair = prepared(Pair::options("snap_progress"));
    start(&pair);
    wait_until("figures of the copy", Duration::from_secs(30), || {
        let row = pair.target.rows(
            "select t.status, t.phase, t.percent > 0 and t.percent < 100, t.rows_done > 0, p.rows_per_second > 0, p.eta > now(),
                    p.workers_active > 0, 'public.large' = any (p.current_tables)
             from steep_repl.table_progress t, steep_repl.init_progress p where t.table_name = 'large'",
        );
        (row == ["copying | copy | t | t | t | t | t | t"]).then_some(())
    });
    expect_end(&pair);
    let rows = pair.target.rows("select table_name, rows_done from steep_repl.table_progress order by table_name");
    assert_eq!(rows, ["large | 15000", "log | 500", "small | 100"]);
}

/// Somebody's rows, or a rule of the target's, are in the way: seen within seconds, FAILED with what is known, and mended.
#[test]
fn a_table_that_cannot_be_loaded() {
    let pair = prepared(Pair::options("snap_fails"));
    pair.target.exec("alter table small add constraint small_ids check (id < 50)");
    let began = Instant::now();
    pair.init_with(&[("max_retries", "1")], ARGS).unwrap();
    wait_until("the failure is seen", Duration::from_secs(10), || {
        let seen = "select t.attempts, t.error from steep_repl.table_progress t where t.table_name = 'small' and t.attempts > 0";
        (!pair.target.rows(seen).is_empty()).then_some(())
    });
    println!("a failing table was seen after {:?}", began.elapsed());
    let refusal = Refusal::of(&midway::until_failed(&pair)).names(&[
        "public.small",
        "so far: 2",
        "table \"small\"",
        "log of this server",
    ]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    let told = events(&pair, "init.table_failed");
    assert_eq!(told.len(), 2, "once a failure: {told:?}");
    assert!(told.iter().all(|one| one.contains("public.small")), "{told:?}");
    let shown =
        pair.target.rows("select status, attempts, error from steep_repl.table_progress where table_name = 'small'");
    assert_eq!(shown, ["failed | 2 | the initial synchronization of table public.small fails"]);
    // What the log has to say is where the hint has it.
    let log = pair.target.cluster().log();
    let line = format!(
        "table synchronization worker for subscription \"{}\", table \"small\" has started",
        midway::subscription(&pair)
    );
    assert!(log.contains(&line), "{line}");
    // The server does not try it for ever: it has been told to stop.
    let name = midway::subscription(&pair);
    assert_eq!(pair.target.rows(&format!("select subenabled from pg_subscription where subname = '{name}'")), ["f"]);
    pair.target.exec("alter table small drop constraint small_ids");
    pair.target.exec("select steep_repl.resume_init('node_b')");
    expect_end(&pair);
}

#[test]
fn a_row_that_somebody_has_put_there_meanwhile() {
    let pair = prepared(Pair::options("snap_foreign"));
    start_with(&pair, &[("max_retries", "0")]);
    pair.target.exec("insert into large values (14999, 0, 'somebody''s')");
    pair.proxy().throttle(0);
    let refusal = Refusal::of(&midway::until_failed(&pair)).names(&["public.large", "so far: 1"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    // Nobody holds the table, and what was copied of it is gone.
    assert_eq!(pair.target.rows("select id from large"), ["14999"]);
    pair.target.exec("delete from large; select steep_repl.resume_init('node_b')");
    expect_end(&pair);
}

/// Both sides as they were, with nothing of the server's own workers left.
#[test]
fn cancelled_while_rows_are_copied() {
    let pair = prepared(Pair::options("snap_cancel"));
    let (source, target) = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    start(&pair);
    let slots = "select count(*) from pg_replication_slots where database = current_database() and slot_name like 'pg\\_%\\_sync\\_%'";
    assert!(pair.source.scalar::<i64>(slots) > 0, "there is no slot to be removed");
    expect_cancelled(&pair);
    target.assert_same(&pair.target);
    source.assert_same(&pair.source);
    pair.proxy().throttle(0);
    pair.synchronize(ARGS);
    expect_end(&pair);
}

fn expect_cancelled(pair: &Pair) {
    let asked = Instant::now();
    pair.target.exec(CANCEL);
    midway::until_undone(pair);
    assert!(asked.elapsed() < Duration::from_secs(30), "cancelled only after {:?}", asked.elapsed());
    midway::expect_emptied(pair, &["large", "log", "small"]);
    expect_no_leftovers(pair);
    assert_eq!(
        pair.target.scalar::<i64>("select count(*) from pg_subscription_rel where srrelid = 'large'::regclass"),
        0
    );
}

/// All tables are handed over and the apply worker is in the middle of a change. It gets there while a reader of the target keeps a
/// constraint from being put back.
#[test]
fn cancelled_while_it_catches_up() {
    let pair = midway::filled(Pair::options("snap_cancel_apply"));
    pair.source.exec("alter table large add constraint v_small check (v < 100000) not valid");
    pair.target.exec(
        "alter table large add constraint v_small check (v < 100000) not valid;
         create function held() returns trigger language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
         create trigger held before update on small for each row execute function held();
         alter table small enable replica trigger held",
    );
    pair.register();
    let target = SchemaState::of(&pair.target);
    let (mut holder, mut reader) = (pair.target.connect(), pair.target.connect());
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    start(&pair);
    reader.batch_execute("begin; select from large limit 1").unwrap();
    pair.proxy().throttle(0);
    until_phase(&pair, "sequences");
    pair.source.exec("update small set v = 2 where id = 3");
    let waiting = "select count(*) from pg_locks join pg_database d on d.oid = database
        where locktype = 'advisory' and not granted and datname = current_database()";
    wait_until("the change is held", Duration::from_secs(30), || {
        (pair.target.scalar::<i64>(waiting) > 0).then_some(())
    });
    reader.batch_execute("rollback").unwrap();
    until_phase(&pair, "catchup");
    assert_eq!(pair.state(), "CATCHING_UP");
    expect_cancelled(&pair);
    target.assert_same(&pair.target);
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    pair.synchronize(ARGS);
    expect_end(&pair);
}

fn until_phase(pair: &Pair, phase: &str) {
    wait_until(&format!("it is in phase {phase}"), Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.progress()?.phase? == phase).then_some(())
    });
}

/// The source is away when it is cancelled: what is there of the server's slots goes when it is back.
#[test]
fn cancelled_without_its_source() {
    let pair = prepared(Pair::options("snap_cancel_away"));
    let source = SchemaState::of(&pair.source);
    start(&pair);
    pair.proxy().down();
    pair.target.exec(CANCEL);
    wait_until("it is cancelled here", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    assert_eq!(pair.target.rows("select kind from steep_repl.pending_cleanup"), ["source"]);
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    assert!(pair.source.scalar::<i64>(slots) > 1);
    pair.proxy().throttle(0);
    pair.proxy().restore();
    midway::until_undone(&pair);
    midway::expect_emptied(&pair, &["large", "log", "small"]);
    expect_no_leftovers(&pair);
    source.assert_same(&pair.source);
}

/// However often: what fails because the source is away is not the tables' failure.
#[test]
fn links_that_are_cut() {
    let pair = prepared(Pair::options("snap_cut"));
    start_with(&pair, &[("max_retries", "0")]);
    let load = LoadOptions::default().keyed("large").rate(20).start(&pair.source);
    pair.proxy().cut();
    wait_until("a worker is back", Duration::from_secs(60), || {
        let copying = "select count(*) from pg_stat_progress_copy where relid = 'large'::regclass";
        (pair.target.scalar::<i64>(copying) > 0).then_some(())
    });
    pair.proxy().down();
    wait_until("it is said that the source is away", Duration::from_secs(60), || {
        (!events(&pair, "init.retry").is_empty()).then_some(())
    });
    pair.proxy().throttle(0);
    pair.proxy().restore();
    pair.expect_synchronized();
    load.stop();
    expect_end(&pair);
}

#[test]
fn a_restart_of_the_source() {
    let source = ClusterOptions::new("snap_src").start();
    let pair = prepared(Pair::options("snap_source").source(source));
    start(&pair);
    midway::source_crashes_under_load(&pair);
    expect_end(&pair);
}

#[test]
fn a_restart_of_the_target() {
    let target = ClusterOptions::new("snap_tgt").preload().start();
    let pair = prepared(Pair::options("snap_target").target(target));
    start(&pair);
    let load = LoadOptions::default().keyed("large").rate(20).start(&pair.source);
    pair.target.cluster().restart();
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    expect_end(&pair);
    let taken_up = events(&pair, "init.taken_up");
    assert_eq!(taken_up.len(), 1, "{taken_up:?}");
}

/// What a crash leaves when the slot of a table is dropped and the hand-over is not committed: the server itself would look for that slot for ever.
#[test]
fn a_slot_that_was_dropped_before_its_table_was_handed_over() {
    let target = ClusterOptions::new("snap_lost").preload().start();
    let pair = prepared(Pair::options("snap_lost").target(target));
    start(&pair);
    let state = |table: &str, state: &str| {
        let sql = format!(
            "select count(*) from pg_subscription_rel where srrelid = '{table}'::regclass and srsubstate = '{state}'"
        );
        pair.target.scalar::<i64>(&sql) == 1
    };
    let until = |table: &str, wanted: &str| {
        wait_until(&format!("{table} is {wanted}"), Duration::from_secs(60), || state(table, wanted).then_some(()));
    };
    until("small", "r");
    // The apply worker stops at this change, and meets nobody who has caught up.
    let mut holder = pair.target.connect();
    holder.batch_execute("begin; lock table small in access exclusive mode").unwrap();
    pair.source.exec("update small set v = 7 where id = 1");
    let waits = "select count(*) from pg_locks where relation = 'small'::regclass and not granted";
    wait_until("the apply worker waits", Duration::from_secs(60), || {
        (pair.target.scalar::<i64>(waits) > 0).then_some(())
    });
    pair.proxy().throttle(0);
    until("large", "f");
    // Its commit did not wait for the disk.
    pair.target.exec("checkpoint");
    pair.target.cluster().stop(StopMode::Immediate);
    let ours = "slot_name like 'pg\\_%\\_sync\\_%' and database = current_database()";
    wait_until("the source has noticed", Duration::from_secs(60), || {
        let active = format!("select count(*) from pg_replication_slots where {ours} and active");
        (pair.source.scalar::<i64>(&active) == 0).then_some(())
    });
    let dropped = pair
        .source
        .rows(&format!("select slot_name, pg_drop_replication_slot(slot_name) from pg_replication_slots where {ours}"));
    assert!(!dropped.is_empty(), "there was none");
    pair.target.cluster().start();
    expect_end(&pair);
    let again =
        pair.target.rows("select details ->> 'table' from steep_repl.events where event = 'init.table_restarted'");
    assert!(again.contains(&"public.large".to_owned()), "{again:?}");
}

/// A link that dies without a word: the server itself would wait for ever.
#[test]
fn a_link_that_carries_nothing() {
    let pair = prepared(Pair::options("snap_silent"));
    start_with(&pair, &[("receive_timeout", "3s")]);
    pair.proxy().freeze();
    wait_until("the silence is noticed", Duration::from_secs(60), || {
        let noticed = events(&pair, "init.retry").len() + events(&pair, "init.connection_given_up").len();
        (noticed > 0).then_some(())
    });
    pair.proxy().cut();
    pair.proxy().thaw();
    expect_end(&pair);
}

#[test]
fn force_empties_what_is_there() {
    let pair = prepared(Pair::options("snap_force"));
    pair.target.exec("insert into large values (1, 1, 'old'); insert into small values (200, 1, 'old')");
    refused(&pair, ARGS).names(&["large", "small", "force"]);
    pair.synchronize(&format!("{ARGS}, force => true"));
    // Of what was there before nothing is counted.
    let rows = pair.target.rows(
        "select table_name, rows_done from steep_repl.table_progress where table_name in ('large', 'small') order by 1",
    );
    assert_eq!(rows, ["large | 15000", "small | 100"]);
    pair.source.exec("update large set v = -1 where id < 9");
    expect_equal(&pair);
}

#[test]
fn tables_that_do_not_match_are_refused() {
    let pair = midway::filled(Pair::options("snap_differs"));
    pair.target.exec("alter table small drop column note");
    pair.register();
    let refusal = refused(&pair, ARGS).names(&["small", "note"]);
    assert_eq!(refusal.code, "42P15", "{refusal:?}");
    pair.synchronize(&format!("{ARGS}, schema_sync => 'auto'"));
    expect_equal(&pair);
}

/// NOT VALID constraints let old rows of the source through here too, and stand again afterwards.
#[test]
fn rows_that_a_constraint_tolerates() {
    let pair = midway::filled(Pair::options("snap_tolerates"));
    pair.source.exec("alter table small add constraint low check (id < 50) not valid");
    pair.target.exec("alter table small add constraint low check (id < 50) not valid");
    pair.register();
    let before = SchemaState::of(&pair.target);
    pair.synchronize(ARGS);
    before.assert_same(&pair.target);
    expect_equal(&pair);
}

/// DDL is not replicated, and the server copies a table once: a table that was altered is named, never passed over.
#[test]
fn a_table_that_is_altered_on_the_source_meanwhile() {
    for (label, alter) in [
        ("snap_ddl_done", "alter table small add column w int default 5"),
        ("snap_ddl_now", "alter table large add column w int"),
    ] {
        let pair = prepared(Pair::options(label));
        start(&pair);
        wait_until("the small table is done", Duration::from_secs(30), || {
            let status = pair.target.rows("select status from steep_repl.table_progress where table_name = 'small'");
            (status == ["done"]).then_some(())
        });
        let mut altering = pair.source.connect();
        std::thread::scope(|scope| {
            // It waits for the copy of its table.
            let ddl = scope.spawn(move || altering.batch_execute(alter));
            pair.proxy().throttle(0);
            let refusal = Refusal::of(&midway::until_failed(&pair)).names(&["column w"]);
            assert_eq!(refusal.code, "42P15", "{alter}: {refusal:?}");
            ddl.join().unwrap().unwrap_or_else(|error| panic!("{}", describe(&error)));
        });
        expect_cancelled(&pair);
    }
}

/// What can be followed is, with the mode for it: rows that were copied lack nothing but NULLs.
#[test]
fn a_column_that_is_added_meanwhile_and_followed() {
    let pair = prepared(Pair::options("snap_follow"));
    pair.proxy().throttle(midway::SLOW);
    pair.init(&format!("{ARGS}, schema_sync => 'auto'")).unwrap();
    midway::until_rows(&pair);
    let mut altering = pair.source.connect();
    std::thread::scope(|scope| {
        let ddl = scope.spawn(move || altering.batch_execute("alter table large add column w int"));
        pair.proxy().throttle(0);
        pair.expect_synchronized();
        ddl.join().unwrap().unwrap_or_else(|error| panic!("{}", describe(&error)));
    });
    let columns = "select count(*) from pg_attribute where attrelid = 'large'::regclass and attname = 'w'";
    assert_eq!(pair.target.scalar::<i64>(columns), 1);
    pair.source.exec("update large set w = 1 where id < 20");
    expect_end(&pair);
}

/// Whoever stops the subscription, or takes it away, stops the operation with it: it is not waited for ever.
#[test]
fn somebody_disables_the_subscription() {
    let pair = prepared(Pair::options("snap_disabled"));
    start(&pair);
    pair.target.exec(&format!("alter subscription {} disable", midway::subscription(&pair)));
    let refusal = Refusal::of(&midway::until_failed(&pair)).names(&["is disabled"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    pair.target.exec("select steep_repl.resume_init('node_b')");
    expect_end(&pair);
}

#[test]
fn three_hundred_small_tables() {
    let pair = Pair::new("snap_many");
    for table in 1..=300 {
        pair.source.exec(&format!(
            "create table t{table} (id int primary key, v int, note text);
             insert into t{table} select i, i, 'n' from generate_series(1, 50) i"
        ));
    }
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let load =
        (1..=300).step_by(30).fold(LoadOptions::default().keys(50), |load, table| load.keyed(&format!("t{table}")));
    let load = load.rate(50).start(&pair.source);
    let monitor = pair.monitor();
    let began = Instant::now();
    let operation = pair.synchronize("method => 'snapshot'");
    println!("300 small tables: {:?}", began.elapsed());
    load.stop();
    assert_progress_is_sane(&monitor.stop(), operation);
    expect_equal(&pair);
    expect_no_leftovers(&pair);
    assert_eq!(pair.progress().unwrap().tables_done, Some(300));
}

/// Small servers are refused when no table could ever be copied, and warned of when it merely takes longer.
#[test]
fn what_the_server_needs_for_it() {
    let none = ClusterOptions::new("snap_none").preload().set("max_sync_workers_per_subscription", "0").start();
    let pair = Pair::options("snap_none").target(none).build();
    pair.source.exec("create table t (id int primary key)");
    pair.prepare();
    let refusal = refused(&pair, "method => 'snapshot'").names(&["max_sync_workers_per_subscription = 0", "parallel"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    // Another method does not care.
    pair.synchronize("method => 'parallel'");

    let source = ClusterOptions::new("snap_few").set("max_replication_slots", "1").start();
    let few = ClusterOptions::new("snap_few_t").preload().set("max_logical_replication_workers", "3").start();
    let pair = Pair::options("snap_few").source(source).target(few).build();
    pair.source.exec("create table t (id int primary key); insert into t values (1)");
    pair.prepare();
    let refusal = refused(&pair, "method => 'snapshot'").names(&["1 free replication slots", "max_replication_slots"]);
    assert_eq!(refusal.code, "53400", "{refusal:?}");
    pair.source.cluster().restart_with(&[("max_replication_slots", "3")]);
    let rows = pair.target.rows(
        "select check_name, status, message from steep_repl.preflight('node_b', 'node_a', method => 'snapshot')
         where check_name in ('sync_workers', 'sync_room', 'source_slots') order by check_name",
    );
    assert_eq!(rows[0], "source_slots | ok | ~");
    assert!(
        rows[1].starts_with("sync_room | warning | ") && rows[1].contains("3 of max_replication_slots"),
        "{rows:?}"
    );
    assert_eq!(rows[2], "sync_workers | ok | ~");
    pair.synchronize("method => 'snapshot', parallel_workers => 8, large_table_method => 'copy'");
    let told = pair.notices().join("\n");
    for words in ["parallel_workers is ignored by method snapshot", "would be used"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    expect_equal(&pair);
}
