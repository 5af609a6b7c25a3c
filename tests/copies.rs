//! Copies of a target: made from it as a template, from its base backup, from its dump. What they bring along of an
//! operation is shown and belongs to the original: they never touch its slot, publication or subscription. Only a
//! standby that is promoted is the original, and goes on.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{
    check, compare, quote_ident, quote_literal, root, wait_until, Cluster, ClusterOptions, Db, LoadOptions, Pair,
    PairOptions, StopMode, Tables,
};

use crate::refusal::{refused_quickly, Refusal};

const ARGS: &str = "method => 'parallel', parallel_workers => 2";
/// Every function that does something with the operation of a node.
const CONTROLS: [&str; 3] = ["cancel_init", "resume_init", "restore_indexes"];
const ROWS: u64 = 50_000;
/// Somebody's work on the source, for which the target needs its keys.
const WORK: &str = "
    update big set v = -1 where id < 9; delete from big where id > 49990;
    insert into tiny values (0, 0, 'w') on conflict do nothing";
const SUSPENDED: &str =
    "select notice from steep_repl.node_status where node = 'node_b' and notice like '%indexes suspended%'";

/// A pair with a table whose indexes are suspended, registered.
fn pair_of(options: PairOptions) -> Pair {
    let pair = options.build();
    pair.source.exec(&format!(
        "create table big (id int primary key, v int, note text); create index big_v on big (v);
         create table tiny (id int primary key, v int, note text);
         insert into big select i, i / 2, repeat('x', 200) || i from generate_series(1, {ROWS}) i;
         insert into tiny select i, i, 't' from generate_series(1, 100) i"
    ));
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair
}

/// FAILED by an index of the target's own, all rows there.
fn failed(options: PairOptions) -> Pair {
    let pair = pair_of(options);
    pair.target.exec("create unique index big_once on big (v)");
    pair.init(ARGS).unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!((refusal.code.as_str(), pair.state().as_str()), ("23505", "FAILED"), "{refusal:?}");
    pair
}

/// COPYING over a slow link, with rows that others can see. Pairs of such tests are proxied.
fn copying(options: PairOptions) -> Pair {
    let pair = pair_of(options.proxied());
    pair.proxy().throttle(500_000);
    pair.init_with(&[("chunk_size", "1MB")], ARGS).unwrap();
    wait_until("rows have arrived", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (rows(&pair.target) > 0).then_some(())
    });
    assert_eq!(pair.state(), "COPYING", "there was too little to copy");
    pair
}

fn rows(db: &Db) -> i64 {
    db.scalar("select count(*) from big")
}

/// What the operation of a pair has made, on both sides.
fn made(pair: &Pair) -> Vec<String> {
    let source = "select 'slot ' || slot_name || ' ' || confirmed_flush_lsn from pg_replication_slots
            where database = current_database() and not temporary
         union all select 'publication ' || pubname || ' of ' || count(r.*) from pg_publication p
            left join pg_publication_rel r on r.prpubid = p.oid group by pubname order by 1";
    let target =
        "select subname || ' enabled ' || subenabled || ' slot ' || subslotname || ' ' || subpublications::text
         from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = current_database()";
    [pair.source.rows(source), pair.target.rows(target)].concat()
}

/// The subscriptions of a database, quoted.
fn subscriptions(db: &Db) -> Vec<String> {
    db.rows(
        "select quote_ident(subname) from pg_subscription s join pg_database d on d.oid = s.subdbid
         where d.datname = current_database()",
    )
}

/// Each of the functions says whose the operation is, and does nothing.
fn expect_foreign(copy: &Db, functions: &[&str]) {
    for function in functions {
        let refusal = refused_quickly(|| copy.try_exec(&format!("select steep_repl.{function}('node_b')")));
        assert_eq!(refusal.code, "55000", "{function}: {refusal:?}");
        refusal.names(&["another database"]);
    }
}

/// What a template copy is made of must have no sessions.
fn template_copy(original: &Db, name: &str) -> Db {
    let sql = format!("create database {} template {}", quote_ident(name), quote_ident(original.name()));
    let mut other = original.cluster().connect("postgres");
    wait_until("the copy is made", Duration::from_secs(60), || other.batch_execute(&sql).ok());
    Db::new(Arc::clone(original.cluster()), name)
}

/// The copy becomes a node of its own, of this name: it is registered anew and gets everything from the source once
/// more.
fn expect_own_life(pair: &Pair, copy: &Db, name: &str) {
    let own = quote_literal(&copy.conninfo());
    copy.exec_each(&[
        "select steep_repl.unregister_node('node_b')",
        &format!("select steep_repl.register_node('{name}', {own}, is_local => true)"),
        &format!("select steep_repl.init_node('{name}', 'node_a', {ARGS}, force => true)"),
        &format!("select steep_repl.wait_for_init('{name}', timeout => '1 minute')"),
    ]);
    // Those that were suspended when the copy was taken are nobody's but the copy's.
    let invalid = copy.rows("select indexrelid::regclass from pg_index where not (indisvalid and indisready)");
    assert!(invalid.is_empty(), "SYNCHRONIZED, and these indexes are not valid: {invalid:?}");
    pair.source.exec(WORK);
    check::wait_caught_up(&pair.source, copy, Duration::from_secs(60));
    compare(&pair.source, copy, &Tables::All).unwrap();
    check::assert_no_conflicts(copy);
}

fn expect_original_resumes(pair: &Pair) {
    pair.target.exec("drop index big_once; select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    pair.expect_equal();
}

#[test]
fn a_template_copy_of_a_failed_one_leaves_the_original_alone() {
    let pair = failed(Pair::options("tpl_failed"));
    let before = made(&pair);
    let copy = template_copy(&pair.target, "tpl_failed_copy");
    expect_foreign(&copy, &CONTROLS);
    // The copy does not stand in the way of the original, nor it in the copy's.
    copy.exec("select steep_repl.unregister_node('node_b')");
    assert_eq!((made(&pair), pair.state().as_str()), (before, "FAILED"));
    pair.source.exec(WORK);
    expect_original_resumes(&pair);
    check::remove_target(&copy);
}

#[test]
fn a_template_copy_of_a_failed_one_is_initialized_for_itself() {
    let pair = failed(Pair::options("tpl_anew"));
    let before = made(&pair);
    let copy = template_copy(&pair.target, "tpl_anew_copy");
    copy.exec("drop index big_once");
    expect_own_life(&pair, &copy, "node_b");
    let after = made(&pair);
    assert!(before.iter().all(|line| after.contains(line)), "{before:#?} became {after:#?}");
    assert_eq!(pair.state(), "FAILED");
    expect_original_resumes(&pair);
    check::remove_target(&copy);
}

#[test]
fn a_template_copy_of_a_failed_one_is_initialized_under_another_name() {
    let pair = failed(Pair::options("tpl_other"));
    let copy = template_copy(&pair.target, "tpl_other_copy");
    copy.exec("drop index big_once");
    expect_own_life(&pair, &copy, "node_c");
    expect_original_resumes(&pair);
    check::remove_target(&copy);
}

#[test]
fn a_template_copy_of_a_synchronized_one() {
    let pair = pair_of(Pair::options("tpl_done"));
    pair.synchronize(ARGS);
    let subscription = subscriptions(&pair.target).remove(0);
    pair.target.exec(&format!("alter subscription {subscription} disable"));
    let copy = template_copy(&pair.target, "tpl_done_copy");
    pair.target.exec(&format!("alter subscription {subscription} enable"));
    expect_foreign(&copy, &CONTROLS);
    pair.source.exec("update tiny set v = -7");
    pair.expect_equal();
    assert_eq!(copy.scalar::<i64>("select count(*) from tiny where v = -7"), 0, "the copy is replicated into");
    expect_own_life(&pair, &copy, "node_b");
    pair.expect_equal();
    check::remove_target(&copy);
}

/// The manual's way when nothing else helps: without the extension, with the indexes built by hand.
#[test]
fn a_template_copy_forgets_by_dropping_the_extension() {
    let pair = failed(Pair::options("tpl_drop"));
    let before = made(&pair);
    let copy = template_copy(&pair.target, "tpl_drop_copy");
    copy.exec_each(&["drop index big_once", "drop extension steep_repl", "create extension steep_repl"]);
    for index in copy.rows("select indexrelid::regclass from pg_index where not indisvalid") {
        copy.exec(&format!("reindex index {index}"));
    }
    assert_eq!((made(&pair), pair.state().as_str()), (before, "FAILED"));
    let source = quote_literal(&pair.source_conninfo());
    copy.exec(&format!("select steep_repl.register_node('node_a', {source})"));
    copy.exec("select steep_repl.register_node('node_b', 'dbname=here', is_local => true)");
    expect_own_life(&pair, &copy, "node_b");
    expect_original_resumes(&pair);
    check::remove_target(&copy);
}

/// A copy of an operation that runs. Nobody may be connected meanwhile, so it is kept waiting.
fn copy_of_a_running_one(pair: &Pair, copy: &str) -> Db {
    let mut other = pair.target.cluster().connect("postgres");
    let name = quote_ident(pair.target.name());
    other.batch_execute(&format!("alter database {name} allow_connections false")).unwrap();
    let sessions = "select pg_terminate_backend(pid) from pg_stat_activity where datname = ";
    other.batch_execute(&format!("{sessions}{}", quote_literal(pair.target.name()))).unwrap();
    let copy = template_copy(&pair.target, copy);
    other.batch_execute(&format!("alter database {name} allow_connections true")).unwrap();
    copy
}

/// The launcher finds it when the server starts: the log says that it is left alone.
#[test]
fn a_template_copy_of_a_running_one_is_left_alone() {
    let cluster = ClusterOptions::new("tpl").preload().start();
    let pair = copying(Pair::options("tpl_run").target(Arc::clone(&cluster)));
    let copy = copy_of_a_running_one(&pair, "tpl_run_copy");
    let brought = copy.rows("select status, phase, attempts from steep_repl.operations");
    cluster.restart();
    wait_until("the log says that the copy's is left alone", Duration::from_secs(30), || {
        cluster.log_contains("was made by another cluster or database; it is left alone").then_some(())
    });
    expect_foreign(&copy, &["cancel_init", "resume_init"]);
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.source.exec(WORK);
    pair.expect_equal();
    assert_eq!(brought, copy.rows("select status, phase, attempts from steep_repl.operations"));
    check::remove_target(&copy);
}

#[test]
fn a_template_copy_of_a_running_one_is_initialized_for_itself() {
    let cluster = ClusterOptions::new("tpl").preload().start();
    let pair = copying(Pair::options("tpl_both").target(Arc::clone(&cluster)));
    let copy = copy_of_a_running_one(&pair, "tpl_both_copy");
    // So that the original is taken up again at once.
    cluster.restart();
    pair.proxy().throttle(0);
    expect_own_life(&pair, &copy, "node_b");
    pair.expect_synchronized();
    pair.expect_equal();
    check::remove_target(&copy);
}

/// Who looks there first is told too.
#[test]
fn node_status_of_a_copy_says_that_the_operation_is_not_its_own() {
    let pair = failed(Pair::options("tpl_view"));
    let copy = template_copy(&pair.target, "tpl_view_copy");
    let said = copy.rows("select to_jsonb(s) - 'conninfo' from steep_repl.node_status s where node = 'node_b'");
    check::remove_target(&copy);
    assert!(said.iter().any(|row| row.contains("another database")), "{said:#?}");
}

/// A server of its own from a base backup of a running one; it is not started yet. Its folder and port are those of a
/// cluster whose data is thrown away, so that the kit ends it.
pub fn base_backup(of: &Cluster, options: ClusterOptions, arguments: &[&str]) -> Arc<Cluster> {
    let cluster = options.start();
    cluster.stop(StopMode::Immediate);
    let data = cluster.log_path().with_file_name("data");
    std::fs::remove_dir_all(&data).unwrap();
    let mut command = root::server_command(&of.installation().program("pg_basebackup"));
    command.arg("-D").arg(&data).args(["-c", "fast", "-X", "stream", "--no-sync", "-d", &of.conninfo("postgres")]);
    let result = command.args(arguments).output().unwrap();
    assert!(result.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&result.stderr));
    cluster
}

/// A streaming standby that has replayed what its primary had written.
pub fn standby(primary: &Cluster, label: &str) -> Arc<Cluster> {
    let standby = base_backup(primary, ClusterOptions::new(label).preload(), &["-R"]);
    standby.start();
    wait_until_replayed(primary, &standby);
    standby
}

pub fn wait_until_replayed(primary: &Cluster, standby: &Cluster) {
    let written: String =
        primary.connect("postgres").query_one("select pg_current_wal_flush_lsn()::text", &[]).unwrap().get(0);
    let replayed = format!("select pg_last_wal_replay_lsn() >= '{written}'::pg_lsn");
    let mut client = standby.connect("postgres");
    wait_until("the standby has replayed everything", Duration::from_secs(60), || {
        client.query_one(&replayed, &[]).unwrap().get::<_, bool>(0).then_some(())
    });
}

/// The primary is lost, as with its machine, and the standby takes its place, in the pair too.
fn fail_over(pair: &mut Pair, primary: &Cluster, standby: &Arc<Cluster>) {
    primary.stop(StopMode::Immediate);
    standby.connect("postgres").batch_execute("select pg_promote()").unwrap();
    pair.target = Db::new(Arc::clone(standby), pair.target.name());
}

/// How often each of these happened.
fn count(pair: &Pair, event: &str) -> usize {
    pair.events().iter().filter(|found| found.event == event).count()
}

#[test]
fn a_promoted_standby_goes_on_copying() {
    let primary = ClusterOptions::new("primary").preload().start();
    let mut pair = copying(Pair::options("standby").target(Arc::clone(&primary)));
    let operation = pair.progress().and_then(|row| row.operation_id);
    let load = LoadOptions::default().keyed("big").keys(ROWS).rate(40).writers(1).start(&pair.source);
    let standby = standby(&primary, "standby");
    // As long as it is a standby it looks on.
    assert!(!standby.log_contains("steep_repl event"), "the standby is at work");
    assert_eq!(pair.state(), "COPYING", "the copy was over before the standby was there");
    fail_over(&mut pair, &primary, &standby);
    assert_eq!(pair.progress().and_then(|row| row.operation_id), operation);
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    pair.source.exec(WORK);
    pair.expect_equal();
    assert_eq!((count(&pair, "init.started"), count(&pair, "init.completed")), (1, 1), "{:#?}", pair.events());
}

/// A failed one stays failed, and is resumed there.
#[test]
fn a_promoted_standby_of_a_failed_one_can_be_resumed() {
    let primary = ClusterOptions::new("primary").preload().start();
    let mut pair = failed(Pair::options("stb_failed").target(Arc::clone(&primary)));
    let before = made(&pair);
    let standby = standby(&primary, "standby");
    // It shows what its primary does, and does nothing.
    let looking = Db::new(Arc::clone(&standby), pair.target.name());
    let said = looking.rows("select state, coalesce(notice, '') like '%another database%' from steep_repl.node_status");
    assert_eq!(said, ["UNINITIALIZED | f", "FAILED | f"]);
    for function in CONTROLS {
        let refusal = refused_quickly(|| looking.try_exec(&format!("select steep_repl.{function}('node_b')")));
        assert_eq!(refusal.code, "25006", "{function}: {refusal:?}");
    }
    fail_over(&mut pair, &primary, &standby);
    // That it was a standby is known after this as well.
    standby.crash();
    assert_eq!((made(&pair), pair.state().as_str()), (before, "FAILED"));
    pair.source.exec(WORK);
    expect_original_resumes(&pair);
    let owned = "select timeline, disowned from steep_repl.operations";
    assert_eq!(pair.target.rows(owned), ["2 | f"]);
}

/// Every function that is of no use to a copy, once it has come along with an operation that is not complete.
const USELESS: [&str; 6] =
    ["cancel_init", "resume_init", "restore_indexes", "abandon_cleanup", "sync_sequences", "wait_for_init"];

/// The launcher is idle for the first time when it has looked through every database.
fn wait_until_looked_through(db: &Db) {
    let idle = "select coalesce(bool_and(state = 'idle' and datname is null), false) from pg_stat_activity
        where backend_type like 'steep\\_repl%'";
    wait_until("the launcher has looked through the server", Duration::from_secs(60), || {
        db.scalar::<bool>(idle).then_some(())
    });
}

/// A base backup of the target's server that runs beside it, with the library.
fn backup_of(pair: &Pair) -> Db {
    let cluster = base_backup(pair.target.cluster(), ClusterOptions::new("backup").preload(), &[]);
    cluster.start();
    let backup = Db::new(cluster, pair.target.name());
    wait_until_looked_through(&backup);
    backup
}

/// Everything says whose the operation is, and names both ways out.
fn expect_copy(copy: &Db, functions: &[&str]) {
    for function in functions {
        let refusal = refused_quickly(|| copy.try_exec(&format!("select steep_repl.{function}('node_b')")));
        assert_eq!(refusal.code, "55000", "{function}: {refusal:?}");
        refusal.names(&["another database", "Unregister the node", "steep_repl.adopt_init(node)"]);
    }
    let said = copy.rows("select notice, hint from steep_repl.node_status where node = 'node_b'").concat();
    for words in ["another database", "unregister_node(node)", "adopt_init(node)"] {
        assert!(said.contains(words), "{words:?} is missing in {said}");
    }
    let progress = copy.rows("select error from steep_repl.init_progress where node = 'node_b'").concat();
    assert!(progress.contains("another database"), "init_progress says {progress:?}");
    assert!(!copy.cluster().log_contains("init.taken_up"), "it was taken up");
}

/// The pair's target is this one from now on.
fn adopt(pair: &mut Pair, copy: Db) {
    copy.exec("select steep_repl.adopt_init('node_b')");
    let refusal = refused_quickly(|| copy.try_exec("select steep_repl.adopt_init('node_b')"));
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["this database's own"]);
    pair.target = copy;
    assert_eq!(count(pair, "init.adopted"), 1);
    let said = pair.target.rows("select notice from steep_repl.node_status where notice like '%another database%'");
    assert!(said.is_empty(), "{said:?}");
}

/// Beside the original, a standby of the copy that is promoted included: that makes it no better.
#[test]
fn a_backup_of_a_failed_one_leaves_the_original_alone() {
    let original = ClusterOptions::new("original").preload().start();
    let pair = failed(Pair::options("bak_failed").target(original));
    let before = made(&pair);
    let backup = backup_of(&pair);
    expect_copy(&backup, &USELESS);
    let refusal =
        refused_quickly(|| backup.try_exec(&format!("select steep_repl.init_node('node_b', 'node_a', {ARGS})")));
    refusal.names(&["another database", "adopt_init"]);
    let standby = standby(backup.cluster(), "standby");
    standby.connect("postgres").batch_execute("select pg_promote()").unwrap();
    let promoted = Db::new(standby, backup.name());
    wait_until_looked_through(&promoted);
    expect_copy(&promoted, &USELESS);
    // What the copy does not own it does not need.
    backup.exec("drop extension steep_repl");
    assert_eq!((made(&pair), pair.state().as_str()), (before, "FAILED"));
    pair.source.exec(WORK);
    expect_original_resumes(&pair);
}

#[test]
fn a_backup_of_a_failed_one_is_initialized_for_itself() {
    let original = ClusterOptions::new("original").preload().start();
    let pair = failed(Pair::options("bak_anew").target(original));
    let before = made(&pair);
    let backup = backup_of(&pair);
    drop_subscription_that_came_along(&backup);
    backup.exec("drop index big_once");
    expect_own_life(&pair, &backup, "node_b");
    let said = backup.rows("select health, notice from steep_repl.node_status where node = 'node_b'");
    assert_eq!(said, ["ok | ~"], "what came along is still in the way");
    let after = made(&pair);
    assert!(before.iter().all(|line| after.contains(line)), "{before:#?} became {after:#?}");
    assert_eq!(pair.state(), "FAILED");
    expect_original_resumes(&pair);
    check::remove_target(&backup);
}

#[test]
fn a_backup_of_a_running_one_leaves_the_original_alone() {
    let original = ClusterOptions::new("original").preload().start();
    let mut pair = copying(Pair::options("bak_beside").target(Arc::clone(&original)));
    pair.proxy().throttle(100_000);
    let before = made(&pair);
    let backup = backup_of(&pair);
    expect_copy(&backup, &USELESS);
    assert!(backup.cluster().log_contains("was made by the server that this one is a copy of; it is left alone"));
    assert_eq!(backup.rows(SUSPENDED).len(), 1, "node_status does not say that indexes are suspended");
    let brought = backup.rows("select status, phase, attempts from steep_repl.operations");
    assert_eq!((made(&pair), pair.state().as_str()), (before, "COPYING"));
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.source.exec(WORK);
    pair.expect_equal();
    assert_eq!(count(&pair, "init.snapshot_renewed"), 0, "the copy was disturbed");
    assert_eq!(brought, backup.rows("select status, phase, attempts from steep_repl.operations"));
    // The original has replicated since: what it has confirmed would be missing in what is left of it.
    original.stop(StopMode::Immediate);
    adopt(&mut pair, backup);
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!((refusal.code.as_str(), pair.state().as_str()), ("55000", "FAILED"), "{refusal:?}");
    refusal.names(&["was used by somebody else", "Another copy", "cancel_init"]);
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    check::assert_clean(&pair.source, &pair.target);
}

/// The original is down, and only the copy could take anything away.
#[test]
fn a_backup_of_a_cancelled_one_cleans_nothing_up() {
    let original = ClusterOptions::new("original").preload().start();
    let pair = copying(Pair::options("bak_cancel").target(Arc::clone(&original)));
    let made_there = "select 'slot ' || slot_name from pg_replication_slots where database = current_database()
            and not temporary union all select 'publication ' || pubname from pg_publication order by 1";
    let before = pair.source.rows(made_there);
    pair.proxy().down();
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    let pending = "select kind from steep_repl.pending_cleanup where node = 'node_b'";
    wait_until("only the source is left to be cleaned up", Duration::from_secs(60), || {
        (pair.state() == "UNINITIALIZED" && pair.target.rows(pending) == ["source"]).then_some(())
    });
    let backup = backup_of(&pair);
    original.stop(StopMode::Fast);
    pair.proxy().throttle(0);
    pair.proxy().restore();
    expect_copy(&backup, &["cancel_init", "resume_init", "abandon_cleanup"]);
    let said = backup.rows("select error from steep_repl.pending_cleanup where node = 'node_b'").concat();
    assert!(said.contains("another database"), "pending_cleanup says {said:?}");
    // As it would have been a moment before.
    for status in ["cancelled", "cancelling"] {
        backup.exec(&format!("update steep_repl.operations set status = '{status}'"));
        backup.cluster().restart();
        wait_until_looked_through(&backup);
        expect_copy(&backup, &["cancel_init", "resume_init"]);
        assert_eq!(pair.source.rows(made_there), before, "{status}");
    }
    backup.exec("update steep_repl.operations set status = 'cancelled'");
    original.start();
    wait_until("the original has cleaned up", Duration::from_secs(60), || {
        pair.target.rows(pending).is_empty().then_some(())
    });
    check::assert_clean(&pair.source, &pair.target);
    expect_own_life(&pair, &backup, "node_b");
    assert_eq!(backup.rows("select health, notice from steep_repl.node_status where node = 'node_b'"), ["ok | ~"]);
    check::remove_target(&backup);
}

/// The subscription that came along is PostgreSQL's: it is kept from the slot by a setting until it is dropped.
#[test]
fn a_backup_of_a_synchronized_one() {
    let original = ClusterOptions::new("original").preload().start();
    let pair = pair_of(Pair::options("bak_done").target(original));
    pair.synchronize(ARGS);
    let options = ClusterOptions::new("backup").preload().set("max_logical_replication_workers", "0");
    let cluster = base_backup(pair.target.cluster(), options, &[]);
    cluster.start();
    let backup = Db::new(Arc::clone(&cluster), pair.target.name());
    wait_until_looked_through(&backup);
    expect_copy(&backup, &["cancel_init", "resume_init", "sync_sequences"]);
    let said = backup.rows("select health, notice from steep_repl.node_status where node = 'node_b'").concat();
    assert!(said.contains("warning") && said.contains("competes for the slot"), "{said}");
    pair.source.exec(WORK);
    pair.expect_equal();
    let names = subscriptions(&backup);
    backup.exec(&format!("alter subscription {} disable", names[0]));
    drop_subscription_that_came_along(&backup);
    cluster.restart_with(&[("max_logical_replication_workers", "4")]);
    wait_until_looked_through(&backup);
    expect_own_life(&pair, &backup, "node_b");
    pair.expect_equal();
    check::remove_target(&backup);
}

/// As after the loss of a machine: a backup takes its place, and somebody says so.
#[test]
fn a_backup_goes_on_when_it_is_told_that_the_original_is_gone() {
    let original = ClusterOptions::new("original").preload().start();
    let mut pair = copying(Pair::options("bak_adopt").target(Arc::clone(&original)));
    pair.proxy().throttle(100_000);
    let backup = backup_of(&pair);
    expect_copy(&backup, &USELESS);
    assert_eq!(pair.state(), "COPYING", "the copy was over before the backup was there");
    original.stop(StopMode::Immediate);
    adopt(&mut pair, backup);
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.source.exec(WORK);
    pair.expect_equal();
    assert_eq!((count(&pair, "init.started"), count(&pair, "init.completed")), (1, 1), "{:#?}", pair.events());
    // It is the original now, and stays so.
    pair.target.cluster().restart();
    pair.target.exec("select steep_repl.sync_sequences('node_b')");
}

/// What is restored from an archive is on a later timeline, as a promoted standby is, and may run beside the original.
#[test]
fn a_backup_restored_from_the_archive_is_a_copy() {
    let original = ClusterOptions::new("original").preload().start();
    let mut pair = failed(Pair::options("bak_archive").target(Arc::clone(&original)));
    let before = made(&pair);
    let options = ClusterOptions::new("restored").preload().set("restore_command", "false");
    let cluster = base_backup(&original, options, &[]);
    let signal = cluster.log_path().with_file_name("data").join("recovery.signal");
    std::fs::write(&signal, "").unwrap();
    root::hand_over(&signal);
    cluster.start();
    let restored = Db::new(cluster, pair.target.name());
    wait_until_looked_through(&restored);
    let timeline = "select left(pg_walfile_name(pg_current_wal_lsn()), 8)";
    assert_eq!(restored.rows(timeline), ["00000002"]);
    expect_copy(&restored, &USELESS);
    assert_eq!((made(&pair), pair.state().as_str()), (before, "FAILED"));
    original.stop(StopMode::Immediate);
    adopt(&mut pair, restored);
    pair.source.exec(WORK);
    expect_original_resumes(&pair);
}

/// Another file system, another disk: PostgreSQL cannot tell, and a file of another birth is all there is to see.
#[test]
fn a_data_directory_that_was_copied_elsewhere_asks_first() {
    let cluster = ClusterOptions::new("moved").preload().start();
    let mut pair = copying(Pair::options("moved").target(Arc::clone(&cluster)));
    cluster.stop(StopMode::Fast);
    let (data, copy) = (cluster.log_path().with_file_name("data"), cluster.log_path().with_file_name("copy"));
    let copied = root::server_command("cp".as_ref()).arg("-a").arg(&data).arg(&copy).status().unwrap();
    assert!(copied.success());
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&copy, &data).unwrap();
    cluster.start();
    let moved = Db::new(Arc::clone(&cluster), pair.target.name());
    wait_until_looked_through(&moved);
    assert_eq!(moved.rows("select disowned from steep_repl.operations"), ["t"]);
    for function in CONTROLS {
        let refusal = refused_quickly(|| moved.try_exec(&format!("select steep_repl.{function}('node_b')")));
        refusal.names(&["another database", "adopt_init(node)"]);
    }
    adopt(&mut pair, moved);
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.source.exec(WORK);
    pair.expect_equal();
}

/// Neither a restart nor a crash nor another place in the tree makes the original another one.
#[test]
fn the_original_stays_itself() {
    let cluster = ClusterOptions::new("same").preload().start();
    let pair = failed(Pair::options("same").target(Arc::clone(&cluster)));
    cluster.restart();
    cluster.crash();
    cluster.stop(StopMode::Fast);
    let (data, aside) = (cluster.log_path().with_file_name("data"), cluster.log_path().with_file_name("aside"));
    std::fs::rename(&data, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &data).unwrap();
    cluster.start();
    wait_until_looked_through(&pair.target);
    assert_eq!(pair.target.rows("select disowned from steep_repl.operations"), ["f"]);
    let refusal = refused_quickly(|| pair.target.try_exec("select steep_repl.adopt_init('node_b')"));
    refusal.names(&["this database's own"]);
    expect_original_resumes(&pair);
}

/// The way to look into a backup of an operation that runs: without the library, and without apply workers, which would
/// take the slot as well.
#[test]
fn a_backup_without_the_library_runs_beside_the_original() {
    let original = ClusterOptions::new("original").preload().start();
    let pair = copying(Pair::options("bak_run").target(Arc::clone(&original)));
    let options = ClusterOptions::new("backup").set("max_logical_replication_workers", "0");
    let cluster = base_backup(&original, options, &[]);
    assert_eq!(pair.state(), "COPYING", "the copy was over before the backup was there");
    cluster.start();
    let backup = Db::new(Arc::clone(&cluster), pair.target.name());
    assert_eq!(backup.rows("select state from steep_repl.node_status where node = 'node_b'"), ["COPYING"]);
    assert_eq!(backup.rows(SUSPENDED).len(), 1, "node_status does not say that indexes are suspended");
    for function in ["cancel_init", "resume_init"] {
        let refusal = refused_quickly(|| backup.try_exec(&format!("select steep_repl.{function}('node_b')")));
        assert_eq!(refusal.code, "55000", "{refusal:?}");
    }
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.source.exec(WORK);
    pair.expect_equal();
    assert_eq!(count(&pair, "init.snapshot_renewed"), 0, "the copy was disturbed");
}

/// A new database from a dump of the target, as its owner would restore it.
fn restored(pair: &Pair, label: &str) -> Db {
    let dump = pair.target.dump(&[]);
    let copy = pair.target.cluster().create_database(label, "");
    copy.psql(&dump);
    copy
}

/// The nodes came along, and nothing that runs or waits.
fn expect_only_nodes(copy: &Db) {
    let nodes = "select node, is_local from steep_repl.nodes order by node";
    assert_eq!(copy.rows(nodes), ["node_a | f", "node_b | t"]);
    let running = ["operations", "operation_tables", "tasks", "cleanup", "suspended_indexes", "suspended_constraints"]
        .map(|table| format!("(select count(*) from steep_repl.{table})"))
        .join(" + ");
    assert_eq!(copy.scalar::<i64>(&format!("select {running}")), 0, "an operation came along");
    for function in CONTROLS {
        let refusal = refused_quickly(|| copy.try_exec(&format!("select steep_repl.{function}('node_b')")));
        assert_eq!(refusal.code, "55000", "{function}: {refusal:?}");
    }
    let enabled = "select subname from pg_subscription s join pg_database d on d.oid = s.subdbid
        where d.datname = current_database() and subenabled";
    assert!(copy.rows(enabled).is_empty(), "a subscription came along and is enabled: {:?}", copy.rows(enabled));
}

/// As the manual says it: the subscription that came along goes without its slot, which is the original's.
fn drop_subscription_that_came_along(copy: &Db) {
    for name in subscriptions(copy) {
        copy.exec_each(&[
            &format!("alter subscription {name} set (slot_name = none)"),
            &format!("drop subscription {name}"),
        ]);
    }
}

#[test]
fn a_dump_of_a_running_one_brings_the_nodes_only() {
    let pair = copying(Pair::options("dump_run"));
    let before = made(&pair);
    assert_eq!(pair.target.rows(SUSPENDED).len(), 1, "node_status does not say that a dump lacks indexes");
    let copy = restored(&pair, "dump_run_copy");
    expect_only_nodes(&copy);
    assert_eq!(pair.state(), "COPYING", "the copy was over before the dump was restored");
    assert_eq!(made(&pair), before);
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    drop_subscription_that_came_along(&copy);
    // What was suspended is missing, as node_status said.
    copy.exec("alter table big add primary key (id); create index big_v on big (v)");
    expect_own_life(&pair, &copy, "node_b");
    pair.expect_equal();
    assert_eq!(count(&pair, "init.snapshot_renewed"), 0, "the copy was disturbed");
    check::remove_target(&copy);
}

#[test]
fn a_dump_of_a_failed_one_brings_the_nodes_only() {
    let pair = failed(Pair::options("dump_failed"));
    let before = made(&pair);
    // What can be built is in the dump then.
    pair.target.exec("select steep_repl.restore_indexes('node_b')");
    let copy = restored(&pair, "dump_failed_copy");
    expect_only_nodes(&copy);
    assert_eq!(rows(&copy), ROWS as i64);
    let keys = "select conname from pg_constraint where contype = 'p' and conrelid = 'big'::regclass";
    assert_eq!(copy.rows(keys), ["big_pkey"]);
    drop_subscription_that_came_along(&copy);
    assert_eq!((made(&pair), pair.state().as_str()), (before, "FAILED"));
    expect_own_life(&pair, &copy, "node_b");
    expect_original_resumes(&pair);
    check::remove_target(&copy);
}
