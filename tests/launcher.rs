//! The launcher: it forgets what is not there any more, and what it has in hand survives it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use steep_repl_testkit::{quote_ident, wait_until, Cluster, ClusterOptions, LoadOptions, Pair, StopMode};

use crate::midway;

/// Lines of the server's log that tell of workers that cannot start: of these databases, or for want of processes.
fn complaints(target: &Cluster, after: usize, databases: &[u32]) -> Vec<String> {
    let of_one = |line: &str| databases.iter().any(|oid| line.contains(&format!("database {oid}")));
    let log = target.log();
    let lines = log.get(after..).unwrap_or_default().lines();
    lines.filter(|line| of_one(line) || line.contains("max_worker_processes")).map(str::to_string).collect()
}

/// One operation waits for the slot, of another the source has still to be cleaned, and both databases are dropped under
/// them. A launcher that knew them for ever would try again every 15 seconds and later every 30.
#[test]
fn a_dropped_database_is_forgotten() {
    let target = ClusterOptions::new("dropdb_t").preload().start();
    let (held, away) = (ClusterOptions::new("dropdb_h").start(), ClusterOptions::new("dropdb_a").start());
    let [waiting, cancelled, other] = [("dropdb_w", Some(&held)), ("dropdb_c", Some(&away)), ("dropdb_o", None)].map(
        |(label, source): (&str, Option<&Arc<Cluster>>)| {
            let options = Pair::options(label).target(Arc::clone(&target));
            midway::prepared(match source {
                Some(source) => options.source(Arc::clone(source)),
                None => options,
            })
        },
    );
    let mut blocker = waiting.source.connect();
    blocker.batch_execute("begin; select pg_current_xact_id()").unwrap();
    waiting.init(midway::ARGS).unwrap();
    midway::start(&cancelled);
    away.stop(StopMode::Fast);
    cancelled.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("the source has to be cleaned", Duration::from_secs(30), || {
        let left = "select count(*) from steep_repl.pending_cleanup where kind = 'source'";
        (cancelled.state() == "UNINITIALIZED" && cancelled.target.scalar::<i64>(left) == 1).then_some(())
    });
    wait_until("the slot is waited for", Duration::from_secs(30), || {
        (waiting.progress()?.phase? == "slot").then_some(())
    });
    midway::start(&other);
    let oids = [&waiting, &cancelled]
        .map(|pair| pair.target.scalar::<u32>("select oid from pg_database where datname = current_database()"));
    let before = target.log().len();
    for pair in [&waiting, &cancelled] {
        let sql = format!("drop database {} with (force)", quote_ident(pair.target.name()));
        target.connect("postgres").batch_execute(&sql).unwrap();
    }
    let (mut seen, mut since) = (complaints(&target, before, &oids), Instant::now());
    wait_until("nobody tries for 20 seconds to work in a dropped database", Duration::from_secs(60), || {
        let now = complaints(&target, before, &oids);
        if now.len() != seen.len() {
            (seen, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(20)).then_some(())
    });
    assert!(seen.len() <= 12, "{seen:#?}");
    // The other operation has gone on, and the launcher is still at work.
    midway::expect_end(&other);
    let again = midway::prepared(Pair::options("dropdb_n").target(Arc::clone(&target)));
    again.synchronize(midway::ARGS);
    midway::expect_replicates(&again);
    blocker.batch_execute("rollback").unwrap();
    away.start();
}

fn launcher(target: &Cluster) -> Option<i32> {
    let mut client = target.config("postgres").connect(postgres::NoTls).ok()?;
    let pid = "select pid from pg_stat_activity where backend_type = 'steep_repl launcher'";
    client.query_opt(pid, &[]).ok()?.map(|row| row.get(0))
}

/// In the middle of a copy under load; and its coordinator with it, which only a launcher replaces.
fn killed(label: &str, signal: &str) {
    let target = ClusterOptions::new(label).preload().start();
    let pair = midway::prepared(Pair::options(label).target(Arc::clone(&target)));
    let load = LoadOptions::default().keyed("large").keys(15_000).rate(60).writers(1).start(&pair.source);
    midway::start(&pair);
    let first = launcher(&target).unwrap();
    let coordinator = pair.target.scalar::<i32>(
        "select pid from pg_stat_activity
         where datname = current_database() and backend_type = 'steep_repl coordinator'",
    );
    target.signal(first, signal);
    if signal == "TERM" {
        target.signal(coordinator, signal);
    }
    wait_until("there is another launcher", Duration::from_secs(30), || {
        launcher(&target).filter(|pid| *pid != first).map(drop)
    });
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    midway::expect_replicates(&pair);
    assert!(!midway::events(&pair, "init.taken_up").is_empty(), "the coordinator was not replaced");
}

#[test]
fn ended_it_comes_back_and_the_copy_ends() {
    killed("launch_term", "TERM");
}

#[test]
fn killed_it_comes_back_and_the_copy_ends() {
    killed("launch_kill", "KILL");
}
