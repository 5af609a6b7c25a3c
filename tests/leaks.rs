//! An operation that was cancelled has left nothing, however often: no process, connection, slot, file or memory.

use std::time::Duration;

use postgres::Client;
use steep_repl_testkit::{test_all, wait_until, Cluster, ClusterOptions, Db, Pair};

const ARGS: &str = "method => 'parallel', parallel_workers => 2";
const CANCEL: &str = "select steep_repl.cancel_init('node_b')";
/// Cycles until every phase was cancelled once and what is kept for good is there.
const FIRST: usize = 20;
/// Files of catalogs, their maps, and of our own tables as they grow.
const FILES: i64 = 10;
/// What an allocator may keep, in kB.
const MEMORY: i64 = 1024;

/// What waits as long as somebody holds advisory lock 7: an index that is built, and a change that is applied.
const HELD: &str = "
    create function held(i int) returns int immutable language plpgsql as
        'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return i; end';
    create index big_held on big (held(id));
    create function hold() returns trigger language plpgsql as 'begin perform public.held(1); return new; end';
    create trigger hold before update on big for each row execute function hold();
    alter table big enable replica trigger hold";

/// Where an operation is cancelled.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Once,
    Slot,
    Copy,
    Indexes,
    Catchup,
}

impl At {
    /// Every fifth cycle in another phase, one after the other.
    fn of(cycle: usize) -> At {
        match (cycle % 5, cycle / 5 % 4) {
            (4, 0) => At::Once,
            (4, 1) => At::Slot,
            (4, 2) => At::Indexes,
            (4, 3) => At::Catchup,
            _ => At::Copy,
        }
    }
}

/// One that nobody else uses: everything in it is counted.
struct Case {
    pair: Pair,
}

impl Case {
    fn new() -> Case {
        let source = ClusterOptions::new("leak_s").start();
        // A worker that is not gone takes a place, and soon there is none.
        let target = ClusterOptions::new("leak_t").preload().set("max_worker_processes", "24").set("autovacuum", "off");
        let pair = Pair::options("leak").source(source).target(target.start()).proxied().build();
        pair.source.exec(
            "create table big (id int primary key, v int, note text); create index big_v on big (v);
             insert into big select i, i, repeat('x', 200) from generate_series(1, 12000) i",
        );
        for table in ["one", "two", "three", "four"] {
            pair.source.exec(&format!(
                "create table {table} (id int primary key, v int unique, note text);
                 insert into {table} select i, i, 's' from generate_series(1, 100) i"
            ));
        }
        pair.source.exec_each(&["vacuum analyze"]);
        pair.prepare();
        pair.target.exec(HELD);
        Case { pair }
    }

    fn until(&self, reason: &str, mut condition: impl FnMut() -> bool) {
        wait_until(reason, Duration::from_secs(60), || {
            assert_ne!(self.pair.state(), "FAILED", "{:?}", self.pair.progress());
            condition().then_some(())
        });
    }

    fn until_phase(&self, phase: &str) {
        let reason = format!("it is in phase {phase}");
        self.until(&reason, || self.pair.progress().and_then(|row| row.phase).is_some_and(|found| found == phase));
    }

    fn until_held(&self, phase: &str) {
        self.until_phase(phase);
        let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
        self.until("somebody waits for the lock", || self.pair.target.scalar::<i64>(waiting) > 0);
    }

    /// Begins one, holds it open where it is to be cancelled, and cancels it there.
    fn cycle(&self, at: At) {
        let slow = matches!(at, At::Copy | At::Catchup);
        self.pair.proxy().throttle(if slow { 2_000_000 } else { 0 });
        let holder = match at {
            At::Slot => Some(self.holder(&self.pair.source, "begin; select pg_current_xact_id()")),
            At::Indexes | At::Catchup => Some(self.holder(&self.pair.target, "select pg_advisory_lock(7)")),
            At::Once | At::Copy => None,
        };
        if at == At::Catchup {
            // Without the index that would be held before.
            self.pair.target.exec("drop index big_held");
        }
        self.pair.init_with(&[("chunk_size", "1MB")], ARGS).unwrap();
        match at {
            At::Once => {}
            At::Slot => self.until_phase("slot"),
            At::Copy => self.until("rows have arrived", || self.rows() > 0),
            At::Indexes => self.until_held("indexes"),
            At::Catchup => {
                self.until("rows have arrived", || self.rows() > 0);
                self.pair.source.exec("update big set v = v + 1 where id = 3");
                self.pair.proxy().throttle(0);
                self.until_held("catchup");
            }
        }
        let before = self.cancelled();
        self.pair.target.exec(CANCEL);
        let pending = "select count(*) from steep_repl.pending_cleanup";
        self.until("the operation is cancelled", || {
            self.cancelled() > before
                && self.pair.state() == "UNINITIALIZED"
                && self.pair.target.scalar::<i64>(pending) == 0
        });
        drop(holder);
        if at == At::Catchup {
            self.pair.target.exec("create index big_held on big (held(id))");
        }
    }

    fn cancelled(&self) -> i64 {
        self.pair.target.scalar("select count(*) from steep_repl.events where event = 'init.cancelled'")
    }

    fn holder(&self, db: &Db, sql: &str) -> Client {
        let mut holder = db.connect();
        holder.batch_execute(sql).unwrap();
        holder
    }

    fn rows(&self) -> i64 {
        self.pair.target.scalar("select count(*) from big")
    }

    /// Everything that could be left and is not, by name: sessions need a moment to leave.
    fn expect_nothing_left(&self) {
        let source = "select 'slot ' || slot_name from pg_replication_slots
             union all select 'publication ' || pubname from pg_publication
             union all select 'session ' || application_name || ' ' || coalesce(state, '') from pg_stat_activity
                where application_name like 'steep\\_repl%'";
        let target = "select 'subscription ' || subname from pg_subscription
             union all select 'relation of a subscription ' || srrelid::regclass from pg_subscription_rel
             union all select 'origin ' || roname from pg_replication_origin
             union all select 'slot ' || slot_name from pg_replication_slots
             union all select 'prepared ' || gid from pg_prepared_xacts
             union all select 'worker ' || backend_type from pg_stat_activity
                where backend_type ~ '^(steep_repl|logical replication (apply|parallel|tablesync))'
                    and backend_type not like '%launcher%'";
        let mut left = Vec::new();
        self.until("nothing is left", || {
            let now = [self.pair.source.rows(source), self.pair.target.rows(target)].concat();
            if now != left {
                eprintln!("left: {now:?}");
                left = now;
            }
            left.is_empty()
        });
        let launchers = "select count(*) from pg_stat_activity where backend_type like 'steep\\_repl%'";
        assert_eq!(self.pair.target.scalar::<i64>(launchers), 1, "one launcher is all there is");
    }

    /// What grows when something leaks.
    fn measure(&self) -> Measured {
        self.expect_nothing_left();
        // Files of dropped storage go with the next checkpoint.
        for db in [&self.pair.source, &self.pair.target] {
            db.exec_each(&["checkpoint"]);
        }
        let target = &self.pair.target;
        let files =
            "select count(*) from pg_database d, pg_ls_dir('base/' || d.oid) where datname = current_database()";
        let slots = "select count(*) from pg_ls_dir('pg_replslot')";
        let launcher: i32 = target.scalar("select pid from pg_stat_activity where backend_type like 'steep\\_repl%'");
        Measured {
            launcher,
            files: target.scalar(files),
            slot_folders: self.pair.source.scalar(slots),
            open_files: std::fs::read_dir(format!("/proc/{launcher}/fd")).unwrap().count() as i64,
            launcher_kb: status(launcher, "VmRSS"),
            postmaster_kb: status(status(launcher, "PPid") as i32, "VmRSS"),
            connections: connections(self.pair.source.cluster()),
        }
    }
}

#[derive(Debug)]
struct Measured {
    /// Its process: another one would have begun at nothing.
    launcher: i32,
    /// In the folder of the target's database.
    files: i64,
    /// On the source.
    slot_folders: i64,
    /// Of the launcher.
    open_files: i64,
    launcher_kb: i64,
    postmaster_kb: i64,
    /// Backends of the source that clients have.
    connections: i64,
}

/// A figure of /proc/<pid>/status.
fn status(pid: i32, name: &str) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
    line.split_whitespace().nth(1).and_then(|figure| figure.parse().ok()).unwrap()
}

fn connections(cluster: &Cluster) -> i64 {
    let sql = "select count(*) from pg_stat_activity where backend_type in ('client backend', 'walsender')
        and application_name <> 'tests'";
    cluster.connect("postgres").query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn nothing_is_left_of_many_that_were_cancelled() {
    let case = Case::new();
    let cycles = if test_all() { 200 } else { FIRST };
    // In the small run the first five are the measure, in the large one each phase was cancelled once by then.
    let settled = if test_all() { FIRST } else { 5 };
    let mut first = None;
    for cycle in 0..cycles {
        case.cycle(At::of(cycle));
        case.expect_nothing_left();
        if cycle + 1 == settled {
            first = Some(case.measure());
        }
    }
    let (first, last) = (first.unwrap(), case.measure());
    eprintln!("after {settled} cycles {first:?}\nafter {cycles} cycles {last:?}");
    assert_eq!(first.launcher, last.launcher, "the launcher was restarted");
    assert!(last.files <= first.files + FILES, "files: {first:?} {last:?}");
    assert_eq!((first.slot_folders, first.connections), (last.slot_folders, last.connections), "on the source");
    assert!(last.open_files <= first.open_files + 2, "open files of the launcher: {first:?} {last:?}");
    assert!(last.launcher_kb <= first.launcher_kb + MEMORY, "memory of the launcher: {first:?} {last:?}");
    assert!(last.postmaster_kb <= first.postmaster_kb + MEMORY, "memory of the postmaster: {first:?} {last:?}");
    // And it still works.
    case.pair.proxy().throttle(0);
    case.pair.synchronize(ARGS);
    case.pair.expect_equal();
}
