//! Something is used up, on the source or here: it is tried again, or FAILED says which setting or what to make room
//! for, and `resume_init` ends with equal rows. Nothing is lost, and nothing waits in silence.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use steep_repl_testkit::{check, describe, root, wait_until, Cluster, ClusterOptions, Pair, PairOptions, Running};

const ARGS: &str = "method => 'parallel', parallel_workers => 4";
const LONG: Duration = Duration::from_secs(120);

/// A table that is copied in ranges, over a link that can be slowed down.
fn prepared(options: PairOptions, rows: u32) -> Pair {
    let pair = options.proxied().build();
    pair.source.exec(&format!(
        "create table large (id int primary key, v int, note text); create index large_v on large (v);
         create table small (id int primary key); insert into small select generate_series(1, 100);
         insert into large select i, i, repeat('x', 200) from generate_series(1, {rows}) i"
    ));
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair
}

fn start(pair: &Pair) {
    pair.init_with(&[("chunk_size", "1MB")], ARGS).unwrap();
}

fn until_copying(pair: &Pair) {
    wait_until("rows arrive", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.progress()?.rows_done? > 0).then_some(())
    });
}

/// What node_status says of a failure: SQLSTATE, message, detail, hint.
fn failure(pair: &Pair) -> String {
    let rows = pair.target.rows(
        "select concat_ws(' | ', sqlstate, last_error, detail, hint) from steep_repl.node_status
         where node = 'node_b' and state = 'FAILED'",
    );
    rows.concat()
}

/// Waits until a warning or a failure names what is used up.
fn told(pair: &Pair, any_of: &[&str]) -> String {
    let warnings = "select concat_ws(' | ', event, details ->> 'sqlstate', details ->> 'message', details ->> 'hint')
        from steep_repl.events where severity <> 'info' order by id";
    let named = |text: &str| any_of.iter().any(|word| text.contains(word));
    let text = wait_until(&format!("something tells of {any_of:?}"), Duration::from_secs(60), || {
        let text = format!("{}\n{}", failure(pair), pair.target.rows(warnings).join("\n"));
        (pair.state() == "FAILED" || named(&text)).then_some(text)
    });
    eprintln!("told: {text}");
    assert!(named(&text), "none of {any_of:?} in: {text}");
    text
}

/// There is enough again: it goes on by itself, or after resume_init when it had stopped; and rows are equal.
fn goes_on(pair: &Pair) {
    pair.proxy().throttle(0);
    if let Err(error) = pair.wait(LONG) {
        assert_eq!(pair.state(), "FAILED", "{}", describe(&error));
        assert!(error.as_db_error().is_some_and(|db| db.hint().is_some()), "no hint: {}", describe(&error));
        pair.target.exec("select steep_repl.resume_init('node_b')");
        pair.expect_synchronized();
    }
    replicates(pair);
}

fn replicates(pair: &Pair) {
    pair.source
        .exec("insert into small values (-1); update large set v = -1 where id < 10; delete from large where id = 11");
    // An apply worker that could not start for a while has left errors in its counters; rows are what counts.
    pair.expect_equal_rows();
}

/// A query that keeps worker processes busy until it is dropped.
struct Hog {
    cluster: Arc<Cluster>,
    query: Option<std::thread::JoinHandle<()>>,
}

const HOG: &str = "steep tests: hog";

impl Hog {
    fn of(cluster: &Arc<Cluster>, workers: u32) -> Hog {
        cluster
            .connect("postgres")
            .batch_execute(
                "create or replace function nap(i int) returns int language plpgsql parallel safe as
                'begin perform pg_sleep(600); return i; end';
             drop table if exists hogged; create table hogged (i int, t text);
             insert into hogged select i, repeat('x', 1000) from generate_series(1, 500) i; analyze hogged",
            )
            .unwrap();
        let mut client = cluster.connect("postgres");
        client
            .batch_execute(&format!(
                "set application_name = '{HOG}'; set max_parallel_workers = {workers};
                 set max_parallel_workers_per_gather = {workers};
                 set min_parallel_table_scan_size = 0; set parallel_setup_cost = 0; set parallel_tuple_cost = 0;
                 set parallel_leader_participation = off; alter table hogged set (parallel_workers = {workers})"
            ))
            .unwrap();
        // It ends by being cancelled.
        let query =
            std::thread::spawn(move || drop(client.batch_execute("select count(*) from hogged where nap(i) = 0")));
        let hog = Hog { cluster: Arc::clone(cluster), query: Some(query) };
        wait_until("worker processes are busy", Duration::from_secs(20), || {
            let busy = "select count(*) from pg_stat_activity where backend_type = 'parallel worker'";
            let busy: i64 = hog.cluster.connect("postgres").query_one(busy, &[]).ok()?.get(0);
            (busy == i64::from(workers)).then_some(())
        });
        hog
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let end = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where application_name = '{HOG}' and backend_type = 'client backend'"
        );
        // A server that is down has no hog either; and a second panic would end the whole run.
        if let Ok(mut client) = self.cluster.config("postgres").connect(NoTls) {
            let _ = client.batch_execute(&end);
        }
        let _ = self.query.take().map(std::thread::JoinHandle::join);
    }
}

/// Of six, two launchers take one each: four are left for coordinator, keeper, copy workers and the apply worker.
fn few_workers(label: &str) -> Arc<Cluster> {
    ClusterOptions::new(label)
        .preload()
        .set("max_worker_processes", "6")
        .set("max_parallel_maintenance_workers", "0")
        .start()
}

#[test]
fn fewer_workers_than_asked_for() {
    let target = few_workers("few");
    let pair = prepared(Pair::options("ex_few").target(target), 20_000);
    pair.proxy().throttle(2_000_000);
    start(&pair);
    let limited =
        "select count(*) from steep_repl.events where event = 'init.workers_limited' and severity = 'warning'";
    wait_until("it is told that workers are missing", Duration::from_secs(30), || {
        assert_ne!(pair.state(), "FAILED", "{}", failure(&pair));
        (pair.target.scalar::<i64>(limited) > 0).then_some(())
    });
    until_copying(&pair);
    let row = pair.progress().unwrap();
    assert!(row.workers_active.unwrap() <= 2 && row.workers_planned == Some(4), "{row:?}");
    goes_on(&pair);
    assert_eq!(pair.target.scalar::<i64>(limited), 1, "it is told once");
    assert!(failure(&pair).is_empty());
}

/// With `taken` of the four worker processes in use until something is told.
fn starved(label: &str, taken: u32) {
    let target = few_workers(label);
    let pair = prepared(Pair::options(label).target(Arc::clone(&target)), 3_000);
    let hog = Hog::of(&target, taken);
    start(&pair);
    wait_until("it is told that worker processes are used up", Duration::from_secs(40), || {
        assert_ne!(pair.state(), "FAILED", "{}", failure(&pair));
        let event = pair.events().iter().any(|event| event.json.contains("max_worker_processes"));
        let log = target.log().lines().any(|line| line.contains("steep_repl") && line.contains("max_worker_processes"));
        (event || log).then_some(())
    });
    assert_ne!(pair.state(), "SYNCHRONIZED");
    // Without a coordinator nobody writes an event: whoever asks for the node's status is told.
    let notice =
        "select notice from steep_repl.node_status where node = 'node_b' and notice like '%max_worker_processes%'";
    let coordinator = "select count(*) from pg_stat_activity where backend_type = 'steep_repl coordinator'";
    if taken == 4 {
        assert_eq!((pair.target.rows(notice).len(), pair.target.scalar::<i64>(coordinator)), (1, 0));
    }
    drop(hog);
    pair.wait(LONG).unwrap();
    assert!(pair.target.rows(notice).is_empty(), "it is told though it is over");
    replicates(&pair);
}

#[test]
fn no_worker_process_for_the_coordinator() {
    starved("ex_none", 4);
}

#[test]
fn no_worker_process_for_the_keeper() {
    starved("ex_keeper", 3);
}

#[test]
fn no_worker_process_to_copy() {
    starved("ex_copy", 2);
}

/// `init_node`, and when its checks are over but its work has not begun, something is used up on the source.
fn started_then<T>(pair: &Pair, exhaust: impl FnOnce() -> T) -> T {
    let mut client = pair.session();
    client
        .batch_execute(&format!(
            "begin; set local steep_repl.chunk_size = '1MB'; select steep_repl.init_node('node_b', 'node_a', {ARGS})"
        ))
        .unwrap();
    let exhausted = exhaust();
    client.batch_execute("commit").unwrap();
    exhausted
}

#[test]
fn the_last_slot_is_taken_before_ours() {
    let source = ClusterOptions::new("slots").set("max_replication_slots", "1").start();
    let pair = prepared(Pair::options("ex_slot").source(source), 3_000);
    started_then(&pair, || pair.source.exec("select pg_create_physical_replication_slot('taken')"));
    // The source's own code, not that of a broken protocol.
    let text = told(&pair, &["max_replication_slots"]);
    assert!(text.contains("init.retry | 53400 | "), "{text}");
    pair.source.exec("select pg_drop_replication_slot('taken')");
    goes_on(&pair);
}

/// The snapshot is lost, and a new one needs a slot.
#[test]
fn no_slot_for_a_later_snapshot() {
    let source = ClusterOptions::new("slots2").set("max_replication_slots", "2").start();
    let pair = prepared(Pair::options("ex_slot2").source(source), 20_000);
    pair.proxy().throttle(1_500_000);
    start(&pair);
    until_copying(&pair);
    pair.source.exec("select pg_create_physical_replication_slot('taken')");
    pair.source.exec(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where application_name ~ '^steep_repl_.*keeper' and datname = current_database()",
    );
    told(&pair, &["max_replication_slots"]);
    pair.source.exec("select pg_drop_replication_slot('taken')");
    goes_on(&pair);
}

/// psql in replication mode, which takes a walsender until it is dropped.
fn take_walsender(source: &Cluster) -> Running {
    let mut command = root::server_command(&source.installation().program("psql"));
    command.args(["-X", "-q", "-d", &format!("{} replication=true", source.conninfo("postgres"))]);
    let psql = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()));
    let taken = "select count(*) from pg_stat_activity where backend_type = 'walsender'";
    wait_until("a walsender is taken", Duration::from_secs(20), || {
        let taken: i64 = source.connect("postgres").query_one(taken, &[]).ok()?.get(0);
        (taken >= 1).then_some(())
    });
    psql
}

#[test]
fn the_last_walsender_is_taken_before_ours() {
    let source = ClusterOptions::new("senders").set("max_wal_senders", "1").start();
    let pair = prepared(Pair::options("ex_sender").source(Arc::clone(&source)), 3_000);
    let sender = started_then(&pair, || take_walsender(&source));
    let text = told(&pair, &["max_wal_senders"]);
    assert!(text.contains("init.retry | 08001 | "), "{text}");
    drop(sender);
    goes_on(&pair);
}

/// The apply worker needs it at the end. What it cannot get is told, here or in the server's log, and costs nothing.
#[test]
fn no_walsender_for_the_apply_worker() {
    let source = ClusterOptions::new("senders2").set("max_wal_senders", "1").start();
    let pair = prepared(Pair::options("ex_sender2").source(Arc::clone(&source)), 10_000);
    pair.proxy().throttle(2_000_000);
    start(&pair);
    until_copying(&pair);
    let sender = take_walsender(&source);
    pair.source.exec("update large set v = 0 where id between 100 and 120");
    pair.proxy().throttle(0);
    wait_until("the apply worker cannot start", Duration::from_secs(60), || {
        let log = pair.target.cluster().log_tail(None, 400);
        (pair.state() == "FAILED" || log.contains("max_wal_senders")).then_some(())
    });
    assert_ne!(pair.state(), "SYNCHRONIZED");
    drop(sender);
    goes_on(&pair);
}

/// Sessions that take what is left of `max_connections`.
fn fill(source: &Cluster) -> Vec<Client> {
    let mut clients = Vec::new();
    while let Ok(client) = source.config("postgres").connect(NoTls) {
        clients.push(client);
        assert!(clients.len() < 100, "the source has no limit");
    }
    clients
}

#[test]
fn the_last_connection_is_taken_before_ours() {
    let source =
        ClusterOptions::new("conns").set("max_connections", "12").set("superuser_reserved_connections", "0").start();
    let pair = prepared(Pair::options("ex_conn").source(Arc::clone(&source)), 3_000);
    let clients = started_then(&pair, || fill(&source));
    let text = told(&pair, &["too many clients", "connection slots"]);
    assert!(text.contains("init.retry | 08001 | "), "{text}");
    assert_ne!(pair.state(), "SYNCHRONIZED");
    drop(clients);
    goes_on(&pair);
}

/// Each copy worker loses its connection, and there is none for another.
#[test]
fn no_connection_for_a_copy_worker() {
    let source =
        ClusterOptions::new("conns2").set("max_connections", "14").set("superuser_reserved_connections", "0").start();
    let pair = prepared(Pair::options("ex_conn2").source(Arc::clone(&source)), 20_000);
    pair.proxy().throttle(1_500_000);
    start(&pair);
    until_copying(&pair);
    let mut clients = fill(&source);
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
        where application_name ~ '^steep_repl_.*worker' and pid <> pg_backend_pid()";
    clients[0].batch_execute(end).unwrap();
    let more = fill(&source);
    told(&pair, &["too many clients", "max_connections", "connection slots", "terminat"]);
    drop(more);
    drop(clients);
    goes_on(&pair);
}

/// WAL that the slot needs is removed while rows are copied. It is known at once, not after hours of copying.
#[test]
fn the_slot_is_invalidated_during_the_copy() {
    let source = ClusterOptions::new("lost")
        .set("max_slot_wal_keep_size", "1MB")
        .set("min_wal_size", "32MB")
        .set("max_wal_size", "48MB")
        .start();
    let pair = prepared(Pair::options("ex_lost").source(source), 30_000);
    pair.proxy().throttle(150_000);
    start(&pair);
    until_copying(&pair);
    let lost = "select count(*) from pg_replication_slots where slot_name ~ '^steep_repl_' and wal_status = 'lost'";
    wait_until("the slot is lost", Duration::from_secs(30), || {
        pair.source
            .exec("select pg_logical_emit_message(false, 'tests', repeat('x', 1000000)) from generate_series(1, 20)");
        pair.source.exec_each(&["select pg_switch_wal()", "checkpoint"]);
        (pair.source.scalar::<i64>(lost) == 1).then_some(())
    });
    let since = Instant::now();
    let slot = pair
        .source
        .scalar::<String>("select slot_name::text from pg_replication_slots where slot_name ~ '^steep_repl_'");
    wait_until("it is FAILED", Duration::from_secs(35), || (pair.state() == "FAILED").then_some(()));
    eprintln!("FAILED {:?} after the slot was lost: {}", since.elapsed(), failure(&pair));
    for word in [slot.as_str(), "max_slot_wal_keep_size"] {
        assert!(failure(&pair).contains(word), "{word} is missing in: {}", failure(&pair));
    }
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("nothing is left to be cleaned up", Duration::from_secs(30), || {
        let left = "select count(*) from steep_repl.pending_cleanup";
        (pair.state() == "UNINITIALIZED" && pair.target.scalar::<i64>(left) == 0).then_some(())
    });
    check::assert_clean(&pair.source, &pair.target);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from large"), 0);
    pair.proxy().throttle(0);
    pair.synchronize(ARGS);
    replicates(&pair);
}

/// A small file system for a tablespace; unmounted with this value, which must outlive the server.
pub struct Disk {
    /// Where it is mounted.
    pub path: PathBuf,
}

impl Disk {
    /// Only root may mount, and not everywhere: then the reason is printed.
    pub fn mount(megabytes: u32) -> Option<Disk> {
        let path = root::folder("disk");
        let owner: Metadata = std::fs::metadata(&path).unwrap();
        let options = format!("size={megabytes}m,uid={},gid={},mode=0700", owner.uid(), owner.gid());
        let result = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "steep-tests"]).arg(&path).output();
        match result {
            Ok(output) if output.status.success() => Some(Disk { path }),
            other => {
                eprintln!("skipped, since no small disk can be mounted: {other:?}");
                None
            }
        }
    }

    /// Gives it another size.
    pub fn resize(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        let done = Command::new("mount").args(["-o", &size]).arg(&self.path).status().unwrap();
        assert!(done.success(), "{size}: {done}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// 12 MB are taken by something else; `own` puts something of 12 MB there too.
fn disk_full(label: &str, own: &str, words: &[&str]) {
    let Some(disk) = Disk::mount(20) else { return };
    let target = ClusterOptions::new(label).preload().start();
    let pair = Pair::options(label).target(Arc::clone(&target)).build();
    pair.source.exec(
        "create table large (id int primary key, v int, note text); create table small (id int primary key);
         insert into large select i, i, left(repeat(md5(i::text), 13), 400) from generate_series(1, 25000) i;
         insert into small select generate_series(1, 100)",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.copy_schema_from(&pair.source);
    pair.target.exec_each(&[
        &format!("create tablespace tight location '{}'", disk.path.display()),
        "create table ballast (note text) tablespace tight",
        "insert into ballast select repeat('b', 1900) from generate_series(1, 6000)",
        "checkpoint",
    ]);
    pair.target.exec(own);
    pair.register();
    pair.init(ARGS).unwrap();
    let error = pair.wait(LONG).expect_err("there was room enough");
    let text = describe(&error);
    eprintln!("disk full: {text}");
    assert_eq!((error.code().map(|code| code.code()), pair.state().as_str()), (Some("53100"), "FAILED"), "{text}");
    assert!(error.as_db_error().is_some_and(|db| db.hint().is_some_and(|hint| !hint.is_empty())), "no way out: {text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    let free = "select count(*) from pg_replication_slots where database = current_database()";
    assert_eq!(pair.source.scalar::<i64>(free), 1, "the slot is kept");
    pair.target.exec("drop table ballast");
    pair.target.exec("select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    replicates(&pair);
}

#[test]
fn the_disk_is_full_during_the_copy() {
    disk_full("ex_disk", "alter table large set tablespace tight", &["large", "resume_init"]);
}

#[test]
fn the_disk_is_full_during_an_index_build() {
    disk_full("ex_disk_i", "create index large_note on large (note) tablespace tight", &["large", "resume_init"]);
}
