//! What there is while pg_dump runs for `schema_sync => 'auto'`, and that nothing of it stays: a process, its files, its session, and the
//! password that it needs.
//!
//! It is held by somebody who has locked a table of the source: pg_dump locks every table that it dumps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::Client;
use steep_repl_testkit::{check, quote_literal, wait_until, Auth, ClusterOptions, Pair, SchemaState, StopMode};

use crate::refusal::Refusal;
use crate::secrets::{expect_in_no_log, expect_in_no_relation, titles, SECRET};

const LONG: Duration = Duration::from_secs(120);
/// A cancel is done within this.
const PROMISED: Duration = Duration::from_secs(30);
const AUTO: &str = "schema_sync => 'auto'";

const SCHEMA: &str = "
    create table held (id int primary key, v text default 'x'); create table other (id int primary key);
    insert into held select generate_series(1, 100); insert into other select generate_series(1, 100);
    create schema apart; create view apart.odd as select * from other where id % 2 = 1";

/// A pg_dump that waits.
struct Dumping {
    /// Who holds the table.
    holder: Client,
    /// The process.
    pid: u32,
    /// The folder for its files.
    folder: PathBuf,
}

impl Dumping {
    /// Starts an initialization and waits until its pg_dump does.
    fn start(pair: &Pair) -> Dumping {
        // Nothing is begun before the transaction that asks for it is committed; what is looked at before would wait for the table, too.
        let (mut asking, mut holder) = (pair.session(), pair.source.connect());
        asking.batch_execute(&format!("begin; select steep_repl.init_node('node_b', 'node_a', {AUTO})")).unwrap();
        holder.batch_execute("begin; lock table held in access exclusive mode").unwrap();
        asking.batch_execute("commit").unwrap();
        let waits = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name like 'steep\\_repl%dump' and wait_event_type = 'Lock'";
        wait_until("pg_dump waits for the table", LONG, || (pair.source.scalar::<i64>(waits) > 0).then_some(()));
        let running = processes(pair);
        assert_eq!(running.len(), 1, "{running:?}");
        // What it complains about goes to a file of its folder.
        let complaints = fs::read_link(format!("/proc/{}/fd/2", running[0])).unwrap();
        let folder = complaints.parent().unwrap().to_owned();
        assert!(folder.join("complaints").exists(), "{}", folder.display());
        Dumping { holder, pid: running[0], folder }
    }

    fn expect_gone(&self, pair: &Pair) {
        wait_until("pg_dump is gone", PROMISED, || processes(pair).is_empty().then_some(()));
        wait_until("its files are gone", PROMISED, || (!self.folder.exists()).then_some(()));
    }
}

/// The programs that dump this source.
fn processes(pair: &Pair) -> Vec<u32> {
    let (name, port) = (pair.source.name(), pair.source.cluster().port().to_string());
    let is_ours = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let program = line.split('\0').next().unwrap_or_default();
        Path::new(program).file_name().is_some_and(|file| file == "pg_dump")
            && line.contains(name)
            && line.contains(&port)
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
}

fn phase(pair: &Pair) -> Vec<String> {
    pair.target.rows("select state || ' ' || phase from steep_repl.init_progress where node = 'node_b'")
}

fn cancel(pair: &Pair) {
    let asked = Instant::now();
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    let left = "select kind, error from steep_repl.pending_cleanup";
    wait_until("it is cancelled and all is taken away", PROMISED, || {
        (pair.state() == "UNINITIALIZED" && pair.target.rows(left).is_empty()).then_some(())
    });
    assert!(asked.elapsed() < PROMISED, "cancelled only after {:?}", asked.elapsed());
}

#[test]
fn a_cancel_ends_pg_dump_at_once() {
    let pair = Pair::new("dump_cancel");
    pair.source.exec(SCHEMA);
    pair.register();
    let before = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    let mut dumping = Dumping::start(&pair);
    assert_eq!(phase(&pair), ["PREPARING schema"]);
    // The table is still locked.
    cancel(&pair);
    dumping.expect_gone(&pair);
    before.1.assert_same(&pair.target);
    check::assert_clean(&pair.source, &pair.target);
    assert_eq!(pair.target.rows("select status from steep_repl.operations"), ["cancelled"]);
    dumping.holder.batch_execute("rollback").unwrap();
    before.0.assert_same(&pair.source);
    pair.synchronize(AUTO);
    pair.expect_equal();
}

/// As after a restart of the source, or an administrator's mistake.
#[test]
fn a_pg_dump_that_is_ended_is_run_again() {
    let pair = Pair::new("dump_again");
    pair.source.exec(SCHEMA);
    pair.register();
    let mut first = Dumping::start(&pair);
    pair.source.exec(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like 'steep\\_repl%dump'",
    );
    wait_until("another one runs", LONG, || {
        processes(&pair).first().is_some_and(|pid| *pid != first.pid).then_some(())
    });
    assert!(!first.folder.exists(), "{} stays", first.folder.display());
    first.holder.batch_execute("rollback").unwrap();
    pair.expect_synchronized();
    wait_until("pg_dump is gone", PROMISED, || processes(&pair).is_empty().then_some(()));
    pair.expect_equal();
}

/// Somebody fills a table after it was found empty: its column stays, and so does everything else.
#[test]
fn rows_that_come_while_it_is_dumped_keep_their_column() {
    let pair = Pair::new("dump_filled");
    pair.source.exec(SCHEMA);
    pair.target.exec("create table other (id int primary key, mine text)");
    pair.register();
    let before = SchemaState::of(&pair.target);
    let mut dumping = Dumping::start(&pair);
    pair.target.exec("insert into other values (1000, 'precious')");
    dumping.holder.batch_execute("rollback").unwrap();
    let refusal = Refusal::of(&pair.wait(LONG).unwrap_err());
    assert_eq!(refusal.names(&["public.other", "not empty"]).code, "55000");
    assert_eq!(pair.state(), "FAILED");
    before.assert_same(&pair.target);
    assert_eq!(pair.target.rows("select id, mine from other"), ["1000 | precious"]);
    pair.target.exec("delete from other; select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    pair.expect_equal();
    let columns =
        "select attname from pg_attribute where attrelid = 'other'::regclass and attnum > 0 and not attisdropped";
    assert_eq!(pair.target.rows(columns), ["id"]);
}

/// Somebody reads a table here that has to be altered.
#[test]
fn a_cancel_while_the_schema_is_made_waits_for_nobody() {
    let pair = Pair::new("making_cancel");
    pair.source.exec(SCHEMA);
    pair.target.exec("create table other (id bigint primary key)");
    pair.register();
    let before = SchemaState::of(&pair.target);
    let mut reader = pair.target.connect();
    let hold = "begin; select count(*) from other";
    reader.batch_execute(hold).unwrap();
    pair.init(AUTO).unwrap();
    let waits = "select count(*) from pg_locks l join pg_stat_activity using (pid) where relation = 'other'::regclass
        and not granted and backend_type like 'steep_repl%'";
    let until_it_waits = || {
        wait_until("it waits for the table", LONG, || (pair.target.scalar::<i64>(waits) > 0).then_some(()));
    };
    until_it_waits();
    cancel(&pair);
    before.assert_same(&pair.target);
    check::assert_clean(&pair.source, &pair.target);
    // Without a cancel it waits as long as it takes, and holds nobody up for longer than a few seconds at a time.
    pair.init(AUTO).unwrap();
    until_it_waits();
    let other_reader = "set lock_timeout = '15s'; select count(*) from other";
    pair.target.exec(other_reader);
    assert_eq!(phase(&pair), ["PREPARING schema"]);
    reader.batch_execute("rollback").unwrap();
    pair.expect_synchronized();
    pair.expect_equal();
}

/// Letters that a passfile and a connection string have ideas of their own about.
fn password() -> String {
    format!("{SECRET}:\\ '#")
}

fn by_password(label: &str) -> Pair {
    let source = ClusterOptions::new(&format!("{label}_s")).auth(Auth::Scram).start();
    let target = ClusterOptions::new(&format!("{label}_t")).preload().set("log_min_messages", "debug1").start();
    let pair = Pair::options(label).source(source).target(target).build();
    let secret = quote_literal(&password());
    pair.source
        .exec(&format!("set log_min_error_statement = panic; create role copier superuser login password {secret}"));
    pair.source.exec(SCHEMA);
    let (name, port) = (pair.source.name().to_owned(), pair.source.cluster().port());
    let there = pair.source.cluster().conninfo_tcp(&name, port).replace("user=postgres", "user=copier");
    let value = steep_repl_testkit::conninfo_value(&password());
    for (node, conninfo, local) in [("node_a", there, "false"), ("node_b", pair.target.conninfo(), "true")] {
        let conninfo = quote_literal(&format!("{conninfo} password={value}"));
        pair.target.exec(&format!("select steep_repl.register_node('{node}', {conninfo}, is_local => {local})"));
    }
    pair
}

/// Who may look at processes sees no password.
fn expect_in_no_process(pair: &Pair, pid: u32) {
    for line in titles() {
        assert!(!line.contains(SECRET), "told by a command line: {line}");
    }
    for db in [&pair.source, &pair.target] {
        let activity = db.rows("select a::text from pg_stat_activity a where pid <> pg_backend_pid()");
        assert!(activity.iter().all(|row| !row.contains(SECRET)), "{activity:?}");
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).replace('\0', "\n");
    assert!(environment.contains("PGPASSFILE="), "{environment}");
    assert!(!environment.contains(SECRET), "told by the environment: {environment}");
}

#[test]
fn the_password_is_in_a_file_of_nobody_elses_and_nowhere_else() {
    let pair = by_password("dump_secret");
    let mut dumping = Dumping::start(&pair);
    expect_in_no_process(&pair, dumping.pid);
    let passfile = dumping.folder.join("passfile");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dumping.folder), mode(&passfile)), (0o700, 0o600));
    let handed = fs::read_to_string(&passfile).unwrap();
    assert!(handed.contains(SECRET), "it was handed over in another way");
    assert!(fs::read_dir(&dumping.folder).unwrap().flatten().count() >= 2);
    expect_in_no_relation(&pair);
    // A program that fails is quoted in an event.
    pair.source.exec(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like 'steep\\_repl%dump'",
    );
    wait_until("another one runs", LONG, || {
        processes(&pair).first().is_some_and(|pid| *pid != dumping.pid).then_some(())
    });
    assert!(!passfile.exists());
    let plan = pair
        .target
        .try_exec("set statement_timeout = '2s'; select * from steep_repl.schema_sync_plan('node_b', 'node_a')");
    let interrupted = steep_repl_testkit::describe(&plan.unwrap_err());
    assert!(interrupted.contains("57014") && !interrupted.contains(SECRET), "{interrupted}");
    // The one that an interrupted statement waited for has gone with it.
    wait_until("only the operation's own runs", PROMISED, || (processes(&pair).len() == 1).then_some(()));
    dumping.holder.batch_execute("rollback").unwrap();
    pair.expect_synchronized();
    pair.expect_equal();
    dumping.expect_gone(&pair);
    let files = "select name from pg_ls_dir('base/pgsql_tmp', true, false) name";
    assert_eq!(pair.target.rows(files), [""; 0]);
    expect_in_no_relation(&pair);
    for (cluster, which) in [(pair.source.cluster(), "source"), (pair.target.cluster(), "target")] {
        expect_in_no_log(cluster, which);
    }
}

/// Nobody has time to tidy up when the server crashes. What comes after does.
#[test]
fn a_crash_leaves_no_password_behind() {
    let pair = by_password("dump_crash");
    let mut dumping = Dumping::start(&pair);
    let passfile = dumping.folder.join("passfile");
    assert!(passfile.exists());
    let target = Arc::clone(pair.target.cluster());
    target.stop(StopMode::Immediate);
    target.start();
    assert!(!dumping.folder.exists(), "{} was left", dumping.folder.display());
    dumping.holder.batch_execute("rollback").unwrap();
    pair.expect_synchronized();
    pair.expect_equal();
    wait_until("pg_dump is gone", LONG, || processes(&pair).is_empty().then_some(()));
    expect_in_no_log(&target, "target");
}
