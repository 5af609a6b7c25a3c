//! A campaign: operation, faults, their moments, workers and load are drawn at random, and one thing must hold whatever comes.
//! It ends equal; or it is FAILED, is resumed, and ends equal; or it is cancelled without a trace, and the next one ends equal.
//!
//! `STEEP_REPL_SEED` repeats a campaign, `STEEP_REPL_CAMPAIGN=n` says how many runs it has, `STEEP_REPL_CAMPAIGN_ONLY=k` repeats
//! its k-th run alone.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use steep_repl_testkit::{
    check, compare, seed, test_all, try_wait_until, Cluster, ClusterOptions, Pair, Rng, SchemaState, StopMode, Tables,
};

use crate::shop;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    TargetRestart,
    TargetCrash,
    SourceRestart,
    SourceCrash,
    /// SIGTERM of a process of ours, by the end of its backend_type.
    Terminate(&'static str),
    /// SIGKILL of one, which makes the target's postmaster start everything anew.
    Kill(&'static str),
    /// Ends our sessions on the source.
    EndSourceSessions,
    CutLink,
    LinkDown(u64),
    FreezeLink(u64),
    VacuumFull,
    TruncateAndRefill,
}

const OURS: [&str; 3] = ["coordinator", "copy worker", "snapshot keeper"];

impl Fault {
    fn draw(rng: &mut Rng) -> Fault {
        let ours = OURS[rng.below(3) as usize];
        match rng.below(14) {
            0 => Fault::TargetRestart,
            1 => Fault::TargetCrash,
            2 => Fault::SourceRestart,
            3 => Fault::SourceCrash,
            4 | 5 => Fault::Terminate(ours),
            6 => Fault::Terminate("launcher"),
            7 | 8 => Fault::Kill(ours),
            9 => Fault::EndSourceSessions,
            10 => Fault::CutLink,
            11 => [Fault::LinkDown(500 + rng.below(2500)), Fault::FreezeLink(500 + rng.below(3500))]
                [rng.below(2) as usize],
            12 => Fault::VacuumFull,
            _ => Fault::TruncateAndRefill,
        }
    }

    fn happen(self, pair: &Pair) {
        let (source, target) = (pair.source.cluster(), pair.target.cluster());
        match self {
            Fault::TargetRestart => target.restart(),
            Fault::TargetCrash => target.crash(),
            Fault::SourceRestart => source.restart(),
            Fault::SourceCrash => source.crash(),
            Fault::Terminate(kind) => signal(target, kind, "TERM"),
            Fault::Kill(kind) => signal(target, kind, "KILL"),
            Fault::EndSourceSessions => drop(pair.source.try_exec(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'steep\\_repl%'",
            )),
            Fault::CutLink => pair.proxy().cut(),
            Fault::LinkDown(ms) => {
                pair.proxy().down();
                pass(ms);
                pair.proxy().restore();
            }
            Fault::FreezeLink(ms) => {
                pair.proxy().freeze();
                pass(ms);
                pair.proxy().thaw();
            }
            // Deadlocks with the load are the load's, and what it cannot do now it does not do at all.
            Fault::VacuumFull => drop(pair.source.try_exec("vacuum full orders")),
            Fault::TruncateAndRefill => drop(pair.source.try_exec(
                "begin; truncate lines; insert into lines (id, v, note) select i, i, 'new' from generate_series(1, 3000) i; commit",
            )),
        }
    }
}

/// A signal for one of our processes, if there is such a one now.
fn signal(target: &Arc<Cluster>, kind: &str, name: &str) {
    let sql = format!(
        "select pid::text from pg_stat_activity where backend_type = 'steep_repl {kind}' order by random() limit 1"
    );
    if let Some(pid) = ask(target, "postgres", &sql).and_then(|pid| pid.parse().ok()) {
        // It may have ended by itself since.
        let _ = std::panic::catch_unwind(|| target.signal(pid, name));
    }
}

/// A question to a server that may be down.
fn ask(cluster: &Arc<Cluster>, database: &str, sql: &str) -> Option<String> {
    let mut client = cluster.config(database).connect(postgres::NoTls).ok()?;
    client.query_opt(sql, &[]).ok()??.try_get(0).ok()
}

fn pass(ms: u64) {
    let started = Instant::now();
    try_wait_until::<()>("time has passed", Duration::from_millis(ms), || {
        (started.elapsed() > Duration::from_millis(ms)).then_some(())
    });
}

/// When a fault comes: in a phase, some time after it began.
#[derive(Clone, Copy, Debug)]
struct Moment {
    phase: &'static str,
    after_ms: u64,
}

impl Moment {
    fn draw(rng: &mut Rng) -> Moment {
        let phases =
            ["publication", "slot", "tables", "copy", "copy", "copy", "copy", "indexes", "sequences", "catchup"];
        Moment { phase: phases[rng.below(phases.len() as u64) as usize], after_ms: rng.below(1500) }
    }

    fn await_it(self, pair: &Pair) {
        let rank = |phase: &str| {
            [
                "publication",
                "slot",
                "subscription",
                "tables",
                "copy",
                "indexes",
                "sequences",
                "enable",
                "catchup",
                "done",
            ]
            .iter()
            .position(|known| *known == phase)
        };
        let sql = "select phase from steep_repl.operations order by id desc limit 1";
        try_wait_until("the phase has come", Duration::from_secs(10), || {
            let phase = ask(pair.target.cluster(), pair.target.name(), sql)?;
            (rank(&phase) >= rank(self.phase)).then_some(())
        });
        pass(self.after_ms);
    }
}

/// One run as it was drawn.
struct Plan {
    number: u64,
    workers: u64,
    chunk_size: &'static str,
    scale: f64,
    rate: u32,
    bytes_per_second: u64,
    faults: Vec<(Moment, Fault)>,
    cancel: Option<Moment>,
}

impl Plan {
    fn draw(number: u64) -> Plan {
        let mut rng = Rng::new(seed(), &format!("campaign run {number}"));
        let faults = (0..1 + rng.below(3)).map(|_| (Moment::draw(&mut rng), Fault::draw(&mut rng))).collect();
        Plan {
            number,
            workers: 1 + rng.below(6),
            chunk_size: ["256kB", "1MB", "1TB"][rng.below(3) as usize],
            scale: 0.03 + rng.below(12) as f64 / 100.0,
            rate: 20 + rng.below(120) as u32,
            bytes_per_second: 1_000_000 + rng.below(5_000_000),
            cancel: (rng.below(4) == 0).then(|| Moment::draw(&mut rng)),
            faults,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "run {} of seed {}: {} workers, chunks of {}, scale {:.2}, {} writes/s, {} kB/s, ",
            self.number,
            seed(),
            self.workers,
            self.chunk_size,
            self.scale,
            self.rate,
            self.bytes_per_second / 1000
        )?;
        for (moment, fault) in &self.faults {
            write!(f, "{fault:?} in {} +{} ms, ", moment.phase, moment.after_ms)?;
        }
        match self.cancel {
            Some(moment) => write!(f, "cancel in {} +{} ms", moment.phase, moment.after_ms),
            None => write!(f, "no cancel"),
        }
    }
}

/// What came of a run, for its line.
struct Outcome {
    cancelled: bool,
    resumed: u32,
}

fn run(plan: &Plan, source: &Arc<Cluster>, target: &Arc<Cluster>) -> Outcome {
    let pair = Pair::options("camp").source(Arc::clone(source)).target(Arc::clone(target)).proxied().build();
    shop::fill(&pair.source, plan.scale);
    pair.prepare();
    let before = SchemaState::of(&pair.target);
    let load = shop::load().rate(plan.rate).tolerant().start(&pair.source);
    pair.proxy().throttle(plan.bytes_per_second);
    let settings = [("chunk_size", plan.chunk_size), ("receive_timeout", "2s"), ("max_retries", "5")];
    let args = format!("method => 'parallel', parallel_workers => {}", plan.workers);
    pair.init_with(&settings, &args).unwrap();
    for (moment, fault) in &plan.faults {
        moment.await_it(&pair);
        fault.happen(&pair);
    }
    let mut cancelled = false;
    if let Some(moment) = plan.cancel {
        moment.await_it(&pair);
        cancelled = cancel(&pair);
    }
    pair.proxy().throttle(0);
    if cancelled {
        check::assert_clean(&pair.source, &pair.target);
        before.assert_same(&pair.target);
        pair.init_with(&settings, &args).unwrap();
    }
    let resumed = finish(&pair);
    load.stop();
    check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(180));
    if let Err(difference) = compare(&pair.source, &pair.target, &Tables::All) {
        panic!("{difference}");
    }
    // A link that breaks under the apply worker counts as an error of it; a conflict would be ours.
    let conflicts = check::conflict_counts(&pair.target);
    assert!(conflicts.iter().all(|counter| counter.contains("apply_error_count")), "{conflicts:?}");
    before.assert_same(&pair.target);
    Outcome { cancelled, resumed }
}

/// Cancels if it is not too late, and waits until nothing is left to do.
fn cancel(pair: &Pair) -> bool {
    let asked = try_wait_until("it can be cancelled", Duration::from_secs(60), || {
        let mut client = pair.target.cluster().config(pair.target.name()).connect(postgres::NoTls).ok()?;
        match client.batch_execute("select steep_repl.cancel_init('node_b')") {
            Ok(()) => Some(true),
            Err(error) if error.code().is_some_and(|code| code.code() == "55000") => Some(false),
            Err(_) => None,
        }
    });
    assert!(asked.is_some(), "cancel_init does not get through");
    if asked == Some(false) {
        return false;
    }
    let sql = "select 'done' from steep_repl.nodes where node = 'node_b' and state = 'UNINITIALIZED'
        and not exists (select from steep_repl.pending_cleanup)";
    let done = try_wait_until("it is cancelled without a rest", Duration::from_secs(60), || {
        ask(pair.target.cluster(), pair.target.name(), sql)
    });
    assert!(done.is_some(), "not cancelled: {:?}", pair.target.rows("select * from steep_repl.pending_cleanup"));
    true
}

/// Waits for the end, and resumes what is FAILED; how often.
fn finish(pair: &Pair) -> u32 {
    let mut resumed = 0;
    let ended = try_wait_until("it is synchronized", Duration::from_secs(180), || {
        let state =
            ask(pair.target.cluster(), pair.target.name(), "select state from steep_repl.nodes where node = 'node_b'")?;
        match state.as_str() {
            "SYNCHRONIZED" => Some(()),
            "FAILED" => {
                assert!(resumed < 3, "failed again after it was resumed: {:?}", pair.progress());
                // A failure must say why and what to do.
                let told = "select last_error || ' / ' || hint from steep_repl.node_status where node = 'node_b'";
                assert!(ask(pair.target.cluster(), pair.target.name(), told).is_some(), "FAILED without a reason");
                pair.target.try_exec("select steep_repl.resume_init('node_b')").ok()?;
                resumed += 1;
                None
            }
            _ => None,
        }
    });
    assert!(ended.is_some(), "it does not end: {:?}\n{:?}", pair.progress(), pair.events());
    resumed
}

#[test]
fn whatever_comes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let runs = number("STEEP_REPL_CAMPAIGN").unwrap_or(if test_all() { 30 } else { 3 });
    let chosen: Vec<u64> = number("STEEP_REPL_CAMPAIGN_ONLY").map_or_else(|| (1..=runs).collect(), |only| vec![only]);
    let source = ClusterOptions::new("campsrc").start();
    let target = ClusterOptions::new("camptgt").preload().start();
    for number in chosen {
        let plan = Plan::draw(number);
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&plan, &source, &target)));
        let line = match &outcome {
            Ok(outcome) => format!(
                "equal{}{}",
                if outcome.cancelled { ", after a cancel" } else { "" },
                match outcome.resumed {
                    0 => String::new(),
                    times => format!(", resumed {times} times"),
                }
            ),
            Err(_) => "BROKEN".to_owned(),
        };
        // Not by println, which libtest keeps back.
        let _ = writeln!(std::io::stderr(), "{plan}: {line}, {:.1} s", started.elapsed().as_secs_f64());
        if let Err(broken) = outcome {
            std::panic::resume_unwind(broken);
        }
    }
    target.stop(StopMode::Fast);
}
