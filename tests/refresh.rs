//! refresh_tables: tables and partitions that came to the source after the initialization join the subscription, while
//! everything else replicates; and until then they are shown.

use std::time::Duration;

use postgres::Client;
use steep_repl_testkit::{
    check, wait_until, ClusterOptions, Db, LoadOptions, Pair, PairOptions, Role, SchemaState, StopMode,
};

use crate::refusal::{refused_quickly, Refusal};

const ARGS: &str = "method => 'parallel', parallel_workers => 2";
const OLD: &str = "
    create table old (id bigint primary key, v int, note text); create index on old (v);
    create table sales (id bigint, v int, note text, primary key (id)) partition by range (id);
    create table sales_1 partition of sales for values from (minvalue) to (10000);
    insert into old select i, i, 'o' from generate_series(1, 20000) i;
    insert into sales select i, i, 's' from generate_series(1, 9999) i";
/// A large table, a small one, a partition of a published root, and a root that is new itself.
const NEW: &str = "
    create schema later;
    create table later.big (id bigint primary key, v int, note text, at timestamptz default now());
    create index on later.big (v); create unique index on later.big (id, v) where v > 3;
    create table later.small (id bigint primary key, v int, note text);
    create table sales_2 partition of sales for values from (10000) to (2000000000000);
    create table parts (id bigint, v int, note text, primary key (id)) partition by range (id);
    create table parts_1 partition of parts for values from (minvalue) to (5000);
    create table parts_2 partition of parts default";
const ROWS: &str = "
    insert into later.big select i, i, repeat('x', 200) from generate_series(1, 40000) i;
    insert into later.small select i, i, 't' from generate_series(1, 100) i;
    insert into sales select i, i, 's' from generate_series(10000, 30000) i;
    insert into parts select i, i, 'p' from generate_series(1, 9000) i";
const NEW_TABLES: [&str; 5] = ["later.big", "later.small", "public.parts_1", "public.parts_2", "public.sales_2"];
const CANCEL: &str = "select steep_repl.cancel_init('node_b')";

/// A node that replicates, of a source that has got new tables since, which are on the node too.
fn grown(options: PairOptions, args: &str) -> Pair {
    let pair = options.build();
    pair.source.exec(OLD);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.synchronize(&format!("{ARGS}{args}"));
    grow(&pair);
    pair
}

fn grow(pair: &Pair) {
    // The node first: what is published and not there would stop its apply worker.
    pair.target.exec(NEW);
    pair.source.exec(NEW);
    pair.source.exec(ROWS);
    pair.source.exec_each(&["vacuum analyze"]);
}

fn load() -> LoadOptions {
    ["old", "sales", "later.big", "later.small", "parts"]
        .iter()
        .fold(LoadOptions::default().keys(20_000).rate(150), |load, table| load.keyed(table))
}

fn refresh(pair: &Pair) -> Option<i64> {
    let mut session = pair.session();
    session.batch_execute("set steep_repl.chunk_size = '2MB'").unwrap();
    session.query_one("select steep_repl.refresh_tables('node_b')", &[]).unwrap().get(0)
}

fn not_subscribed(db: &Db) -> Vec<String> {
    db.rows(
        "select format('%I.%I %s', table_schema, table_name, is_here::text) from steep_repl.tables_not_subscribed('node_b')",
    )
}

fn status(pair: &Pair, column: &str) -> String {
    pair.target
        .scalar(&format!("select coalesce({column}::text, '') from steep_repl.node_status where node = 'node_b'"))
}

fn operation(pair: &Pair, column: &str) -> String {
    pair.target.scalar(&format!(
        "select coalesce({column}::text, '') from steep_repl.operations where kind = 'refresh' order by id desc limit 1"
    ))
}

/// One slot, one subscription that uses it, no session or worker of ours.
fn expect_tidy(pair: &Pair) {
    let subscription: String = pair.target.scalar(
        "select subslotname || ' ' || subenabled from pg_subscription s join pg_database d on d.oid = s.subdbid
         where d.datname = current_database()",
    );
    let slots = pair.source.rows("select slot_name from pg_replication_slots where database = current_database()");
    assert_eq!([subscription], [format!("{} true", slots.join(", "))]);
    let origins = "select roname from pg_replication_origin where roname ~ '^pg_[0-9]+_'
         and split_part(roname, '_', 2)::oid in (select s.oid from pg_subscription s join pg_database d on d.oid = s.subdbid
             where d.datname = current_database())";
    assert_eq!(pair.target.rows(origins), [""; 0]);
    let invalid = "select indexrelid::regclass from pg_index where not (indisvalid and indisready)";
    assert_eq!(pair.target.rows(invalid), [""; 0]);
}

/// Everything has joined, is equal, and goes on.
fn expect_joined(pair: &Pair) {
    pair.expect_synchronized();
    pair.source.exec("update later.big set v = 1 where id < 5; insert into sales select max(id) + 1, 0, 'w' from sales; delete from old where id > 19000");
    pair.expect_equal();
    expect_tidy(pair);
    assert_eq!(not_subscribed(&pair.target), [""; 0]);
    assert_eq!((status(pair, "tables_not_subscribed").as_str(), status(pair, "health").as_str()), ("{}", "ok"));
}

/// A row that is written now arrives, while a refresh is where it is.
fn expect_replicating(pair: &Pair) {
    let mark: i64 = pair.source.scalar("insert into old select min(id) - 1, 0, 'mark' from old returning id");
    wait_until("others replicate", Duration::from_secs(20), || {
        pair.target.scalar::<bool>(&format!("select exists (select from old where id = {mark})")).then_some(())
    });
}

/// A change that cannot be applied as long as the session's transaction lasts.
fn hold_up(pair: &Pair, session: &mut Client) {
    session.batch_execute("begin").unwrap();
    let held: i64 = session.query_one("select id from old order by id limit 1 for update", &[]).unwrap().get(0);
    pair.source.exec(&format!("delete from old where id = {held}"));
}

fn copying(pair: &Pair) -> i64 {
    pair.proxy().throttle(1_000_000);
    let id = refresh(pair).unwrap();
    wait_until("rows of new tables have arrived", Duration::from_secs(60), || {
        assert_eq!(operation(pair, "error"), "");
        (pair.target.scalar::<i64>("select count(*) from later.big") > 0).then_some(())
    });
    id
}

#[test]
fn new_tables_join_under_load_and_the_others_go_on() {
    let pair = grown(Pair::options("refresh").proxied(), "");
    let load = load().start(&pair.source);
    let id = copying(&pair);
    assert_eq!(operation(&pair, "status"), "running");
    expect_replicating(&pair);
    assert_eq!((operation(&pair, "phase").as_str(), pair.state().as_str()), ("copy", "SYNCHRONIZED"));
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    let progress = pair.progress().unwrap();
    assert_eq!((progress.operation_id, progress.tables_done, progress.tables_total), (Some(id), Some(5), Some(5)));
    expect_joined(&pair);
    // And once more, for what comes after.
    pair.target.exec("create table last (id int primary key)");
    pair.source.exec("create table last (id int primary key); insert into last values (1)");
    assert!(refresh(&pair).is_some());
    expect_joined(&pair);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from last"), 1);
}

#[test]
fn what_is_not_replicated_is_shown() {
    let pair = grown(Pair::options("unsubscribed"), "");
    let here: Vec<String> = NEW_TABLES.iter().map(|table| format!("{table} true")).collect();
    assert_eq!(not_subscribed(&pair.target), here);
    assert_eq!(status(&pair, "tables_not_subscribed"), format!("{{{}}}", NEW_TABLES.join(",")));
    pair.source.exec("create table elsewhere (id int primary key); create unlogged table scratch (id int)");
    assert_eq!(not_subscribed(&pair.target)[2], "public.elsewhere false");
    let events =
        "select details ->> 'message' from steep_repl.events where event = 'schema.tables_not_subscribed' order by id";
    let told = pair.target.rows(events);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("later.big") && told[0].contains("public.parts_2"), "{told:?}");
    assert!(told[1].contains("public.elsewhere") && !told[1].contains("later.big"), "{told:?}");
    // Nothing is begun for tables that are not here.
    let refusal = refused_quickly(|| pair.target.try_exec("select steep_repl.refresh_tables('node_b')"));
    refusal.names(&["public.elsewhere"]);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from steep_repl.operations"), 1);
    pair.source.exec("drop table elsewhere");
    assert!(refresh(&pair).is_some());
    expect_joined(&pair);
    assert_eq!(refresh(&pair), None, "there is nothing left to do");
    assert!(pair.notices().iter().any(|notice| notice.contains("all tables")), "{:?}", pair.notices());
}

#[test]
fn somebody_looks_from_time_to_time() {
    let target = ClusterOptions::new("lookout").preload().set("steep_repl.source_check_interval", "1s").start();
    let pair = grown(Pair::options("lookout").target(target), "");
    let expected = format!("{{{}}}", NEW_TABLES.join(","));
    let seen = || (status(&pair, "tables_not_subscribed") == expected).then_some(());
    wait_until("the new tables are noticed", Duration::from_secs(30), seen);
    // After a restart too.
    pair.target.cluster().restart();
    let looks = "select count(*) from pg_stat_activity where backend_type = 'steep_repl monitor'";
    wait_until("it looks again", Duration::from_secs(30), || (pair.target.scalar::<i64>(looks) > 0).then_some(()));
    pair.target.exec("drop table later.small");
    wait_until("a dropped table is noticed", Duration::from_secs(30), || {
        let sql = "select is_here::text from steep_repl.unsubscribed_tables where table_name = 'small'";
        (pair.target.scalar::<String>(sql) == "false").then_some(())
    });
}

#[test]
fn a_cancelled_refresh_leaves_the_node_as_it_was() {
    for phase in ["slot", "copy", "catchup"] {
        let pair = grown(Pair::options(&format!("refresh_{phase}")).proxied(), "");
        let state = |db: &Db| SchemaState::of(db);
        let (source, target) = (state(&pair.source), state(&pair.target));
        let members = "select pubname || ' ' || tablename from pg_publication_tables order by 1";
        let slot = "select slot_name from pg_replication_slots where database = current_database()";
        let before = (pair.source.rows(members), pair.source.rows(slot));
        let load = load().start(&pair.source);
        let mut blocker = pair.source.connect();
        let mut reader = pair.target.connect();
        match phase {
            "slot" => {
                blocker.batch_execute("begin; insert into old values (-1, 0, 'x')").unwrap();
                refresh(&pair).unwrap();
                wait_until("the slot is waited for", Duration::from_secs(30), || {
                    (operation(&pair, "phase") == "slot").then_some(())
                });
            }
            "copy" => drop(copying(&pair)),
            _ => {
                // Replication of what has joined waits for a row that somebody holds.
                copying(&pair);
                hold_up(&pair, &mut reader);
                pair.proxy().throttle(0);
                wait_until("the tables have joined", Duration::from_secs(90), || {
                    (operation(&pair, "phase") == "catchup").then_some(())
                });
            }
        }
        pair.target.exec(CANCEL);
        if phase == "catchup" {
            reader.batch_execute("commit").unwrap();
        }
        wait_until("it is cancelled", Duration::from_secs(30), || {
            (operation(&pair, "status") == "cancelled").then_some(())
        });
        drop((blocker, reader));
        pair.proxy().throttle(0);
        expect_replicating(&pair);
        load.stop();
        wait_until("nothing is pending", Duration::from_secs(30), || {
            (pair.target.scalar::<i64>("select count(*) from steep_repl.pending_cleanup") == 0).then_some(())
        });
        assert_eq!(pair.source.rows(members), before.0, "{phase}");
        if phase != "catchup" {
            assert_eq!(pair.source.rows(slot), before.1, "{phase}");
        }
        source.assert_same(&pair.source);
        target.assert_same(&pair.target);
        assert_eq!(pair.target.scalar::<i64>("select count(*) from later.big"), 0);
        assert_eq!((pair.state().as_str(), status(&pair, "health").as_str()), ("SYNCHRONIZED", "ok"));
        expect_tidy(&pair);
        assert!(refresh(&pair).is_some());
        expect_joined(&pair);
    }
}

#[test]
fn what_came_before_the_copy_is_applied_before_tables_join() {
    let pair = grown(Pair::options("refresh_behind"), "");
    let mut reader = pair.target.connect();
    let load = load().start(&pair.source);
    hold_up(&pair, &mut reader);
    refresh(&pair).unwrap();
    let told = "select exists (select from steep_repl.events where event = 'init.apply_behind')";
    wait_until("it is said what is waited for", Duration::from_secs(60), || {
        pair.target.scalar::<bool>(told).then_some(())
    });
    assert_eq!(operation(&pair, "phase"), "enable");
    reader.batch_execute("commit").unwrap();
    pair.expect_synchronized();
    load.stop();
    expect_joined(&pair);
}

#[test]
fn a_failed_refresh_leaves_the_others_alone_and_is_resumed() {
    let pair = grown(Pair::options("refresh_failed"), "");
    pair.target.exec("create unique index own on later.big ((v / 2))");
    let load = load().start(&pair.source);
    refresh(&pair).unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!(refusal.code, "23505", "{refusal:?}");
    refusal.names(&["later.big", "resume_init"]);
    assert_eq!((pair.state().as_str(), status(&pair, "health").as_str()), ("SYNCHRONIZED", "warning"));
    assert_eq!(status(&pair, "sqlstate"), "23505");
    expect_replicating(&pair);
    let again = refused_quickly(|| pair.target.try_exec("select steep_repl.refresh_tables('node_b')"));
    assert_eq!(again.code, "55006");
    pair.target.exec("drop index later.own; select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    load.stop();
    expect_joined(&pair);
}

#[test]
fn a_refresh_outlives_its_servers() {
    for fault in ["target crash", "target restart", "source crash", "source restart", "link"] {
        let clusters =
            (ClusterOptions::new("refresh_src").start(), ClusterOptions::new("refresh_tgt").preload().start());
        let pair = grown(Pair::options("refresh_fault").source(clusters.0).target(clusters.1).proxied(), "");
        let load = load().tolerant().start(&pair.source);
        copying(&pair);
        match fault {
            "target crash" => pair.target.cluster().crash(),
            "target restart" => {
                pair.target.cluster().stop(StopMode::Fast);
                pair.target.cluster().start();
            }
            "source crash" => pair.source.cluster().crash(),
            "source restart" => pair.source.cluster().restart(),
            _ => pair.proxy().cut(),
        }
        pair.proxy().throttle(0);
        pair.expect_synchronized();
        load.stop();
        // That the source was away counts as an error of the apply worker.
        pair.expect_equal_but(&["apply_error_count"]);
        expect_tidy(&pair);
    }
}

/// The coordinator is killed as soon as it has disabled the subscription, again and again.
#[test]
fn a_refresh_that_is_killed_while_tables_join_loses_nothing() {
    let target = ClusterOptions::new("refresh_kill").preload().start();
    let pair = grown(Pair::options("refresh_kill").target(target).proxied(), "");
    let load = load().start(&pair.source);
    copying(&pair);
    let mut session = pair.target.connect();
    // Whatever the apply worker waits for, it can be stopped at.
    hold_up(&pair, &mut session);
    pair.proxy().throttle(0);
    // 0 once the tables have joined.
    let sql = "select case when o.apply_stopped then a.pid else 0 end from steep_repl.operations o
        left join pg_stat_activity a on a.backend_type = 'steep_repl coordinator' and a.datname = current_database()
        where o.kind = 'refresh' and (o.apply_stopped and a.pid is not null or o.replaced_slot is not null)";
    let mut killed = 0;
    for signal in ["KILL", "TERM", "KILL"] {
        let pid: i32 =
            wait_until("the subscription is stopped, or the tables have joined", Duration::from_secs(90), || {
                // The server restarts meanwhile.
                let mut client = pair.target.cluster().config(pair.target.name()).connect(postgres::NoTls).ok()?;
                client.query_opt(sql, &[]).ok()?.map(|row| row.get(0))
            });
        if pid == 0 {
            break;
        }
        killed += 1;
        // It may have gone on since.
        let _ = std::panic::catch_unwind(|| pair.target.cluster().signal(pid, signal));
    }
    drop(session);
    assert!(killed > 0, "it was never seen to stop the subscription");
    wait_until("it has ended", Duration::from_secs(120), || {
        let mut client = pair.target.cluster().config(pair.target.name()).connect(postgres::NoTls).ok()?;
        let sql = "select status from steep_repl.operations order by id desc limit 1";
        let status: String = client.query_one(sql, &[]).ok()?.get(0);
        assert_ne!(status, "failed");
        (status == "completed").then_some(())
    });
    load.stop();
    expect_joined(&pair);
}

#[test]
fn tables_join_through_a_publication_of_the_users() {
    let pair = Pair::new("refresh_own");
    pair.source.exec(OLD);
    pair.source.exec("create publication mine for table old, sales");
    pair.prepare();
    pair.synchronize(&format!("{ARGS}, publication => 'mine'"));
    grow(&pair);
    let refusal = refused_quickly(|| pair.target.try_exec("select steep_repl.refresh_tables('node_b')"));
    refusal.names(&["mine", "later.big", "ALTER PUBLICATION"]);
    pair.source.exec("alter publication mine add table later.big, later.small, parts");
    let load = load().start(&pair.source);
    assert!(refresh(&pair).is_some());
    pair.expect_synchronized();
    load.stop();
    expect_joined(&pair);
}

#[test]
fn tables_without_identity_join_as_the_others_did() {
    let pair = Pair::new("refresh_full");
    pair.source.exec(OLD);
    pair.prepare();
    pair.synchronize(&format!("{ARGS}, no_identity => 'insert_only'"));
    for db in [&pair.target, &pair.source] {
        db.exec("create table log (v int, note text); create table noted (v int, note text)");
    }
    pair.source.exec("insert into log values (1, 'a'); insert into noted values (1, 'a')");
    assert!(refresh(&pair).is_some());
    pair.expect_synchronized();
    pair.source
        .exec("insert into log values (2, 'b'); insert into noted values (2, 'b'); update old set v = 1 where id = 1");
    pair.expect_equal();
    // They may still be updated on the source.
    pair.source.exec("update log set v = 3");
    for db in [&pair.target, &pair.source] {
        db.exec("create table full_one (v int, note text)");
    }
    pair.source.exec("insert into full_one values (1, 'a')");
    let refresh = "select steep_repl.refresh_tables('node_b', no_identity => 'full')";
    pair.target.exec(refresh);
    pair.expect_synchronized();
    pair.source.exec("update full_one set v = 3");
    check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(30));
    assert_eq!(pair.target.scalar::<i32>("select v from full_one"), 3);
}

#[test]
fn what_cannot_be_refreshed_is_refused() {
    let pair = Pair::new("refresh_refused");
    pair.source.exec(OLD);
    pair.prepare();
    let refused = |sql: &str| refused_quickly(|| pair.target.try_exec(sql));
    let sql = "select steep_repl.refresh_tables('node_b')";
    assert_eq!(refused(sql).names(&["UNINITIALIZED", "init_node"]).code, "55000");
    assert_eq!(refused("select steep_repl.refresh_tables('nobody')").names(&["nobody"]).code, "42704");
    assert_eq!(refused("select steep_repl.refresh_tables('node_a')").names(&["node_a"]).code, "55000");
    assert_eq!(refused("select steep_repl.refresh_tables(null)").code, "22004");
    pair.synchronize(ARGS);
    grow(&pair);
    pair.target.exec("insert into later.small values (1, 1, 'own')");
    assert_eq!(refused(sql).names(&["later.small", "force"]).code, "55000");
    pair.target.exec("truncate later.small");
    let subscription: String = pair.target.scalar(
        "select quote_ident(subname) from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = current_database()",
    );
    pair.target.exec(&format!("alter subscription {subscription} disable"));
    assert_eq!(refused(sql).names(&["disabled", "ENABLE"]).code, "55000");
    pair.target.exec(&format!("alter subscription {subscription} enable"));
    assert!(refresh(&pair).is_some());
    expect_joined(&pair);
}

/// Who may create subscriptions may call the functions, for nodes of his own.
#[test]
fn a_stranger_cannot_refresh_nor_look() {
    let pair = grown(Pair::options("refresh_stranger"), "");
    let stranger = Role::create(pair.target.cluster(), "refresh_stranger", "login in role pg_create_subscription");
    for call in [
        "refresh_tables('node_b')",
        "tables_not_subscribed('node_b')",
        "compare_schemas('node_a', 'node_b')",
        "schema_diff('node_b', 'node_a', 'old')",
        "adopt_init('node_b')",
        "cancel_init('node_b')",
    ] {
        let mut session = pair.session();
        session.batch_execute(&format!("set session authorization {stranger}")).unwrap();
        let refusal = refused_quickly(|| session.batch_execute(&format!("select steep_repl.{call}")));
        assert_eq!(refusal.code, "42501", "{call}: {refusal:?}");
    }
    assert_eq!(pair.target.scalar::<i64>("select count(*) from steep_repl.operations"), 1);
}
