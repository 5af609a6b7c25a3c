//! `large_table_method => 'basebackup'`: a base backup of the source, a private server over it that stands still at a position after it, and
//! copies from there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use steep_repl_testkit::{major, root, wait_until, ClusterOptions, Installation, LoadOptions, Pair, SchemaState};

use crate::exhaustion::Disk;
use crate::large_tables::{expect_end, transports, ARGS};
use crate::midway::{self, events};
use crate::outcome::{expect_equal, initialize_under_load};
use crate::refusal::{refused_with, Refusal};
use crate::shop;

const CANCEL: &str = "select steep_repl.cancel_init('node_b')";

/// A pair with a source that is backed up alone, and a scratch directory.
struct Backed {
    pair: Pair,
    scratch: PathBuf,
}

impl Backed {
    fn new(label: &str) -> Backed {
        Backed::in_scratch(label, root::folder(&format!("{label}_x")))
    }

    fn in_scratch(label: &str, scratch: PathBuf) -> Backed {
        let source = ClusterOptions::new(&format!("{label}_s")).start();
        Backed { pair: midway::prepared(Pair::options(label).source(source)), scratch }
    }

    /// Below a small disk.
    fn on_disk(label: &str, disk: &Disk) -> Backed {
        let scratch = disk.path.join("scratch");
        fs::create_dir(&scratch).unwrap();
        root::hand_over(&scratch);
        Backed::in_scratch(label, scratch)
    }

    fn start(&self) {
        self.start_with(&[]);
    }

    fn start_with(&self, settings: &[(&str, &str)]) {
        let scratch = self.scratch.display().to_string();
        let mut all = vec![("scratch_directory", scratch.as_str()), ("chunk_size", "1MB")];
        all.extend(settings);
        self.pair.init_with(&all, &format!("{ARGS}, large_table_method => 'basebackup'")).unwrap();
    }

    fn until(&self, state: &str) {
        wait_until(&format!("the base backup is at {state}"), Duration::from_secs(60), || {
            assert_ne!(self.pair.state(), "FAILED", "{:?}", self.pair.progress());
            (self.pair.target.rows("select state from steep_repl.base_backups") == [state]).then_some(())
        });
    }

    fn until_bytes(&self) {
        wait_until("bytes of the backup are here", Duration::from_secs(60), || {
            (self.pair.target.rows("select 1 from steep_repl.base_backups where bytes_done > 0") == ["1"]).then_some(())
        });
    }

    /// Nothing is left of the backup: no directory, no process, no slot, no session.
    fn expect_gone(&self) {
        wait_until("everything of the backup is gone", Duration::from_secs(30), || {
            (entries(&self.scratch).is_empty() && processes_in(&self.scratch).is_empty()).then_some(())
        });
        assert!(self.pair.target.rows("select * from steep_repl.base_backups").is_empty());
        let slots =
            self.pair.source.rows("select slot_name from pg_replication_slots where slot_name like '%\\_backup'");
        assert!(slots.is_empty(), "{slots:?}");
        let sessions =
            "select application_name from pg_stat_activity where application_name like 'steep\\_repl\\_%\\_backup'";
        wait_until("no session of the backup is left", Duration::from_secs(30), || {
            self.pair.source.rows(sessions).is_empty().then_some(())
        });
    }

    /// Starts it, up to the slot after the backup, which waits as long as the transaction of the session that is returned.
    fn start_and_hold_slot(&self) -> postgres::Client {
        self.start();
        self.until("backup");
        let mut open = self.pair.source.connect();
        open.batch_execute("begin; update small set v = 3 where id = 3").unwrap();
        self.until("slot");
        open
    }

    fn expect_cancelled(&self, source: &SchemaState, target: &SchemaState) {
        self.pair.target.exec(CANCEL);
        self.pair.proxy().throttle(0);
        midway::until_undone(&self.pair);
        self.expect_gone();
        midway::expect_emptied(&self.pair, &["large", "log", "small"]);
        target.assert_same(&self.pair.target);
        source.assert_same(&self.pair.source);
    }

    /// Copies of the large table wait for whoever holds advisory lock 7 here.
    fn hold_copies(&self) -> postgres::Client {
        self.pair.target.exec(
            "create function held() returns trigger language plpgsql as
                'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
             create trigger held before insert on large for each row execute function held();
             alter table large enable replica trigger held",
        );
        let mut holder = self.pair.target.connect();
        holder.batch_execute("select pg_advisory_lock(7)").unwrap();
        holder
    }

    fn until_held(&self) {
        let waiting = "select count(*) from pg_locks join pg_database d on d.oid = database
            where locktype = 'advisory' and not granted and datname = current_database()";
        wait_until("a copy is held", Duration::from_secs(60), || {
            assert_ne!(self.pair.state(), "FAILED", "{:?}", self.pair.progress());
            (self.pair.target.scalar::<i64>(waiting) > 0).then_some(())
        });
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Processes whose working directory is below a folder.
fn processes_in(folder: &Path) -> Vec<String> {
    let Ok(found) = fs::read_dir("/proc") else { return Vec::new() };
    found
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let cwd = fs::read_link(path.join("cwd")).ok()?;
            cwd.starts_with(folder).then(|| format!("{}: {}", path.display(), cwd.display()))
        })
        .collect()
}

#[test]
fn under_load() {
    let source = ClusterOptions::new("bb_load_s").start();
    let pair = Pair::options("bb_load").source(source).build();
    let scratch = root::folder("bb_load_x");
    shop::fill(&pair.source, 0.5);
    pair.prepare();
    let settings = [("chunk_size", "1MB"), ("scratch_directory", &scratch.display().to_string())];
    let args = "method => 'snapshot', large_table_threshold => '3MB', large_table_method => 'basebackup'";
    initialize_under_load(&pair, &settings, args);
    let ways = transports(&pair);
    assert!(ways.len() == 2 && ways[0].starts_with("basebackup") && ways[1].starts_with("server"), "{ways:?}");
    let later =
        "select count(*) from steep_repl.operation_tables t join steep_repl.operations o on o.id = t.operation_id
        where t.transport = 'basebackup' and t.snapshot_lsn > o.start_lsn";
    assert!(pair.target.scalar::<i64>(later) > 0, "nothing was written while the backup was made");
    assert!(entries(&scratch).is_empty() && processes_in(&scratch).is_empty());
}

/// A source that itself replicates from many others: what its backup knows of them has to find room in the server over it.
#[test]
fn a_source_with_many_replication_origins_in_use() {
    let mut source = ClusterOptions::new("bb_origins_s").set("max_replication_slots", "20");
    if major() >= 18 {
        source = source.set("max_active_replication_origins", "20");
    }
    let pair = midway::prepared(Pair::options("bb_origins").source(source.start()));
    pair.source.exec_each(&[
        "select pg_replication_origin_create('o' || i) from generate_series(1, 12) i",
        "select pg_replication_origin_advance('o' || i, '0/1000000') from generate_series(1, 12) i",
        "checkpoint",
    ]);
    assert_eq!(pair.source.scalar::<i64>("select count(*) from pg_replication_origin_status"), 12);
    let backed = Backed { pair, scratch: root::folder("bb_origins_x") };
    let pair = &backed.pair;
    let load = LoadOptions::default().keyed("large").keys(15_000).rate(100).start(&pair.source);
    backed.start();
    pair.expect_synchronized();
    shop::stop_later(load, &pair.source);
    assert_eq!(transports(pair), ["basebackup | 1", "server | 2"]);
    expect_equal(pair);
    backed.expect_gone();
}

/// Changes between the backup and the position, and after it, each once; tablespaces of the source; prepared and open transactions.
#[test]
fn what_is_written_between_backup_and_position() {
    let backed = Backed::new("bb_between");
    let (pair, space) = (&backed.pair, root::folder("bb_between_t"));
    pair.source.exec_each(&[
        &format!("create tablespace elsewhere location '{}'", space.display()),
        "alter table large set tablespace elsewhere",
        "vacuum analyze large",
    ]);
    let mut open = pair.source.connect();
    open.batch_execute("begin; update large set v = 3 where id = 3; insert into large values (20003, 3, 'open')")
        .unwrap();
    let mut prepared = pair.source.connect();
    prepared.batch_execute("begin; update large set v = 4 where id = 4; prepare transaction 'bb_between'").unwrap();
    // Both hold the operation's own slot up.
    backed.start();
    wait_until("the slot waits", Duration::from_secs(30), || {
        (!events(pair, "init.slot_waiting").is_empty()).then_some(())
    });
    // A backup that takes a moment: the next transaction begins when the operation's own slot is there, which would wait for it too.
    pair.proxy().throttle(3_000_000);
    open.batch_execute("commit").unwrap();
    prepared.batch_execute("commit prepared 'bb_between'").unwrap();
    wait_until("the operation's own slot is there", Duration::from_secs(30), || {
        pair.target.scalar::<bool>("select start_lsn is not null from steep_repl.operations").then_some(())
    });
    open.batch_execute("begin; update large set v = 5 where id = 5; insert into large values (20005, 5, 'open')")
        .unwrap();
    pair.proxy().throttle(0);
    // This time they hold up the one after the backup.
    backed.until("slot");
    pair.source.exec("update large set v = -7 where id between 1000 and 3000; delete from large where id between 4000 and 4100; insert into large select i, i, 'between' from generate_series(30001, 30500) i");
    prepared.batch_execute("begin; update large set v = 6 where id = 6; prepare transaction 'bb_between'").unwrap();
    open.batch_execute("commit").unwrap();
    prepared.batch_execute("commit prepared 'bb_between'").unwrap();
    pair.source.exec("update large set v = -8 where id between 2500 and 3500");
    expect_end(pair);
    expect_equal(pair);
    backed.expect_gone();
}

#[test]
fn cancelled_while_the_backup_is_made() {
    let backed = Backed::new("bb_cancel1");
    let (source, target) = (SchemaState::of(&backed.pair.source), SchemaState::of(&backed.pair.target));
    backed.pair.proxy().throttle(3_000_000);
    backed.start();
    backed.until_bytes();
    assert!(!entries(&backed.scratch).is_empty());
    backed.expect_cancelled(&source, &target);
}

#[test]
fn cancelled_while_the_position_is_waited_for_and_begun_anew() {
    let backed = Backed::new("bb_cancel2");
    let pair = &backed.pair;
    let (source, target) = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    let mut open = backed.start_and_hold_slot();
    backed.expect_cancelled(&source, &target);
    open.batch_execute("rollback").unwrap();
    backed.start();
    expect_end(pair);
    backed.expect_gone();
}

/// WAL that takes some time to come, since the backup.
fn recovering(backed: Backed) -> (Backed, SchemaState, SchemaState) {
    let pair = &backed.pair;
    let (source, target) = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    let mut open = backed.start_and_hold_slot();
    pair.source.exec(
        "create table filler as select i, repeat('x', 1000) as x from generate_series(1, 40000) i; drop table filler",
    );
    pair.proxy().throttle(2_000_000);
    open.batch_execute("commit").unwrap();
    backed.until("recovery");
    (backed, source, target)
}

#[test]
fn cancelled_while_the_private_server_recovers() {
    let (backed, source, target) = recovering(Backed::new("bb_cancel3"));
    wait_until("a server runs", Duration::from_secs(30), || (!processes_in(&backed.scratch).is_empty()).then_some(()));
    let port = fs::read_to_string(entries(&backed.scratch)[0].join("data/postgresql.conf")).unwrap();
    assert!(port.contains("listen_addresses = ''"), "{port}");
    assert_eq!(fs::metadata(&entries(&backed.scratch)[0]).unwrap().permissions().mode() & 0o777, 0o700);
    backed.expect_cancelled(&source, &target);
}

#[test]
fn cancelled_while_rows_are_copied() {
    let backed = Backed::new("bb_cancel4");
    let holder = backed.hold_copies();
    let (source, target) = (SchemaState::of(&backed.pair.source), SchemaState::of(&backed.pair.target));
    backed.start();
    backed.until_held();
    assert!(!processes_in(&backed.scratch).is_empty(), "no private server runs");
    // Nothing of the backup is held on the source any more.
    let slots = "select slot_name from pg_replication_slots where slot_name like '%\\_backup'";
    assert!(backed.pair.source.rows(slots).is_empty());
    backed.expect_cancelled(&source, &target);
    drop(holder);
}

#[test]
fn a_restart_of_the_source_during_the_backup_and_during_recovery() {
    let backed = Backed::new("bb_source1");
    backed.pair.proxy().throttle(3_000_000);
    backed.start();
    backed.until("backup");
    backed.pair.source.cluster().crash();
    backed.pair.proxy().throttle(0);
    expect_end(&backed.pair);
    backed.expect_gone();

    let (backed, ..) = recovering(Backed::new("bb_source2"));
    backed.pair.source.cluster().crash();
    backed.pair.proxy().throttle(0);
    expect_end(&backed.pair);
    backed.expect_gone();
}

/// pg_basebackup ends with its links, and another backup is made.
#[test]
fn links_are_cut_during_the_backup() {
    let backed = Backed::new("bb_cut");
    backed.pair.proxy().throttle(3_000_000);
    backed.start();
    backed.until("backup");
    backed.pair.proxy().cut();
    backed.pair.source.exec("update large set v = v + 1 where id < 500");
    backed.pair.proxy().throttle(0);
    expect_end(&backed.pair);
    backed.expect_gone();
}

/// The private server does not outlive this one, and whoever takes the operation up makes a backup anew.
#[test]
fn a_crash_of_the_target_while_rows_are_copied() {
    let target = ClusterOptions::new("bb_target_t").preload().start();
    let source = ClusterOptions::new("bb_target_s").start();
    let pair = midway::prepared(Pair::options("bb_target").source(source).target(target));
    let backed = Backed { pair, scratch: root::folder("bb_target_x") };
    let holder = backed.hold_copies();
    backed.start();
    backed.until_held();
    let load = LoadOptions::default().keyed("large").rate(20).start(&backed.pair.source);
    let before = processes_in(&backed.scratch);
    assert!(!before.is_empty());
    backed.pair.target.cluster().crash();
    drop(holder);
    wait_until("another backup is there", Duration::from_secs(60), || {
        (events(&backed.pair, "init.base_backup").len() > 4).then_some(())
    });
    backed.pair.expect_synchronized();
    load.stop();
    expect_end(&backed.pair);
    backed.expect_gone();
}

/// A private server that is gone is another backup's case, not a failure.
#[test]
fn a_private_server_that_is_ended() {
    let backed = Backed::new("bb_killed");
    let mut holder = backed.hold_copies();
    backed.start();
    backed.until_held();
    let folder = entries(&backed.scratch).remove(0);
    let pid = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    let pid: i32 = pid.lines().next().unwrap().parse().unwrap();
    backed.pair.target.cluster().signal(pid, "QUIT");
    wait_until("it is noticed", Duration::from_secs(60), || {
        (backed.pair.target.rows("select state from steep_repl.base_backups") != ["ready"]).then_some(())
    });
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    let outcome = backed.pair.wait(Duration::from_secs(120));
    if outcome.is_err() {
        assert_eq!(backed.pair.state(), "FAILED");
        backed.pair.target.exec("select steep_repl.resume_init('node_b')");
    }
    expect_end(&backed.pair);
    backed.expect_gone();
}

/// What takes all the room that is left on a disk.
fn fill(disk: &Disk) -> PathBuf {
    let ballast = disk.path.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    let piece = vec![1; 65_536];
    while file.write_all(&piece).is_ok() {}
    ballast
}

/// Somebody else takes the room while the backup is made: it is said what there is too little of, nothing of the backup is in the way, and with
/// room again it goes on.
#[test]
fn the_disk_is_full_during_the_backup() {
    let Some(disk) = Disk::mount(40) else { return };
    let backed = Backed::on_disk("bb_full", &disk);
    let pair = &backed.pair;
    let args = format!("{ARGS}, large_table_method => 'basebackup'");
    let scratch = backed.scratch.display().to_string();
    let refusal = refused_with(pair, &[("scratch_directory", &scratch)], &args).names(&["scratch_directory", "MB"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    disk.resize(300);
    pair.proxy().throttle(3_000_000);
    backed.start_with(&[("max_retries", "2")]);
    let load = LoadOptions::default().keyed("large").keys(15_000).rate(50).start(&pair.source);
    backed.until_bytes();
    let ballast = fill(&disk);
    let refusal = Refusal::of(&midway::until_failed(pair)).names(&["scratch_directory", "MB are free", "resume_init"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    backed.expect_gone();
    fs::remove_file(ballast).unwrap();
    pair.proxy().throttle(0);
    pair.target.exec("select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    shop::stop_later(load, &pair.source);
    expect_equal(pair);
    backed.expect_gone();
}

/// The WAL that the private server replays finds no room.
#[test]
fn the_disk_is_full_during_recovery() {
    let Some(disk) = Disk::mount(300) else { return };
    let (backed, ..) = recovering(Backed::on_disk("bb_wal", &disk));
    let pair = &backed.pair;
    let load = LoadOptions::default().keyed("large").keys(15_000).rate(50).start(&pair.source);
    let ballast = fill(&disk);
    pair.proxy().throttle(0);
    let refusal = Refusal::of(&midway::until_failed(pair)).names(&["resume_init"]);
    // The log of the server, or before it is tried again what room there is for another backup.
    match refusal.code.as_str() {
        "F0000" => refusal.names(&["private server", "No space left on device", "Mend what its log says"]),
        code => {
            assert_eq!(code, "55000", "{refusal:?}");
            refusal.names(&["scratch_directory", "MB are free"])
        }
    };
    backed.expect_gone();
    fs::remove_file(ballast).unwrap();
    pair.target.exec("select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    shop::stop_later(load, &pair.source);
    expect_equal(pair);
    backed.expect_gone();
}

fn own_programs(label: &str) -> Backed {
    let programs = Installation::current().with_own_programs(&format!("{label}p"));
    let target = ClusterOptions::new(&format!("{label}_t")).programs(&programs).preload().start();
    let source = ClusterOptions::new(&format!("{label}_s")).start();
    let pair = midway::prepared(Pair::options(label).source(source).target(target));
    Backed { pair, scratch: root::folder(&format!("{label}_x")) }
}

/// What is not there is said before anything is started, by `preflight` too.
#[test]
fn what_it_needs() {
    let backed = own_programs("bb_needs");
    let pair = &backed.pair;
    let args = format!("{ARGS}, large_table_method => 'basebackup'");
    let said = |scratch: &str| {
        let settings: &[(&str, &str)] = if scratch.is_empty() { &[] } else { &[("scratch_directory", scratch)] };
        Refusal::of(&pair.init_with(settings, &args).unwrap_err())
    };
    let file = backed.scratch.join("file");
    fs::write(&file, "").unwrap();
    let closed = backed.scratch.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let inside = pair.target.scalar::<String>("select current_setting('data_directory')");
    let long = backed.scratch.join("l".repeat(80));
    fs::create_dir(&long).unwrap();
    fs::set_permissions(&long, fs::Permissions::from_mode(0o777)).unwrap();
    for (scratch, words) in [
        (String::new(), "is not set"),
        ("not/absolute".to_owned(), "absolute"),
        (backed.scratch.join("missing").display().to_string(), "cannot be used"),
        (file.display().to_string(), "no directory"),
        (closed.display().to_string(), "may not write"),
        (inside, "inside the data directory"),
        (long.display().to_string(), "socket"),
    ] {
        let refusal = said(&scratch).names(&["large_table_method basebackup cannot be used", words]);
        assert_eq!(refusal.code, "55000", "{scratch}: {refusal:?}");
    }
    let program = pair.target.cluster().installation().program("pg_basebackup");
    let aside = program.with_extension("aside");
    fs::rename(&program, &aside).unwrap();
    let refusal = said(&backed.scratch.display().to_string()).names(&["pg_basebackup", "Install the client programs"]);
    assert_eq!(refusal.code, "58P01", "{refusal:?}");
    let rows = pair.target.rows(
        "select status, sqlstate from steep_repl.preflight('node_b', 'node_a', method => 'snapshot', no_identity => 'full',
            large_table_threshold => '1MB', large_table_method => 'basebackup') where check_name = 'large_tables'",
    );
    assert_eq!(rows, ["error | 58P01"]);
    fs::rename(&aside, &program).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    for path in [&closed, &long] {
        fs::remove_dir(path).unwrap();
    }
    fs::remove_file(&file).unwrap();
    // Replication connections are let in by rules of their own.
    let rules = pair.source.scalar::<String>("select current_setting('hba_file')");
    let before = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("host replication all all reject\nlocal replication all reject\n{before}")).unwrap();
    pair.source.exec("select pg_reload_conf()");
    wait_until("the rules hold", Duration::from_secs(10), || {
        let refusal = pair.init_with(&[("scratch_directory", &backed.scratch.display().to_string())], &args).err()?;
        Refusal::of(&refusal).names(&["large_table_method basebackup cannot be used", "pg_hba.conf"]);
        Some(())
    });
    fs::write(&rules, before).unwrap();
    pair.source.exec("select pg_reload_conf()");
    wait_until("the rules hold again", Duration::from_secs(10), || {
        pair.init_with(&[("scratch_directory", &backed.scratch.display().to_string())], &args).ok()
    });
    expect_end(pair);
    backed.expect_gone();
}

/// A private server that does not come up: its own words, nothing left, and on when it is mended.
#[test]
fn a_private_server_that_does_not_come_up() {
    let backed = own_programs("bb_broken");
    let pair = &backed.pair;
    let program = pair.target.cluster().installation().program("pg_basebackup");
    let aside = program.with_extension("aside");
    let real = aside.display();
    fs::rename(&program, &aside).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec {real} --version\n{real} \"$@\" || exit 1\n\
         while [ $# -gt 0 ]; do [ \"$1\" = --pgdata ] && echo 3 > \"$2/PG_VERSION\"; shift; done\nexit 0\n"
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    backed.start();
    let refusal = Refusal::of(&midway::until_failed(pair)).names(&["private server", "FATAL", "PostgreSQL version 3"]);
    assert_eq!(refusal.code, "F0000", "{refusal:?}");
    backed.expect_gone();
    // A backup that fails is tried again, as often as other work.
    fs::write(
        &program,
        format!("#!/bin/sh\n[ \"$1\" = --version ] && exec {real} --version\necho out of tape >&2\nexit 1\n"),
    )
    .unwrap();
    pair.target.exec("select steep_repl.resume_init('node_b')");
    let refusal =
        Refusal::of(&midway::until_failed(pair)).names(&["pg_basebackup could not make a base backup", "out of tape"]);
    assert_eq!(refusal.code, "58000", "{refusal:?}");
    backed.expect_gone();
    fs::rename(&aside, &program).unwrap();
    pair.target.exec("select steep_repl.resume_init('node_b')");
    expect_end(pair);
    backed.expect_gone();
}
