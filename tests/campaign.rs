//! A campaign: operation, faults, their moments, workers and load are drawn at random, and one thing must hold whatever comes.
//! It ends equal; or it is FAILED, is resumed, and ends equal; or it is cancelled without a trace, and the next one ends equal.
//!
//! `STEEP_REPL_SEED` repeats a campaign, `STEEP_REPL_CAMPAIGN=n` says how many runs it has, `STEEP_REPL_CAMPAIGN_ONLY=k` repeats
//! its k-th run alone. An extension that was installed with failpoints has them drawn too.

pub mod drive;
pub mod fault;
mod plan;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use steep_repl_testkit::{check, compare, test_all, Cluster, ClusterOptions, Pair, SchemaState, StopMode, Tables};

use crate::shop;
use drive::PATIENCE;
use plan::{Act, Plan};

/// What came of a run, for its line.
struct Outcome {
    /// Asked for, and whether in time.
    cancelled: Option<bool>,
    resumed: u32,
    /// Failpoints that were reached.
    reached: usize,
}

fn run(plan: &Plan, source: &Arc<Cluster>, target: &Arc<Cluster>) -> Outcome {
    target.disarm();
    let pair = Pair::options("camp").source(Arc::clone(source)).target(Arc::clone(target)).proxied().build();
    fill(&pair, plan);
    let before = SchemaState::of(&pair.target);
    let at_source = SchemaState::of(&pair.source);
    let load = plan.load().map(|load| load.start(&pair.source));
    pair.proxy().throttle(plan.bytes_per_second);
    for (point, what) in &plan.armed {
        target.arm(point, what);
    }
    drive::start(&pair, &plan.settings(), &plan.arguments());
    let (mut cancelled, mut resumed) = (None, 0);
    for (moment, act) in &plan.acts {
        resumed += moment.await_it(&pair, cancelled == Some(true));
        match act {
            Act::Fault(fault) => fault.happen(&pair),
            Act::Cancel => cancelled = Some(drive::ask_to_cancel(&pair)),
            Act::CancelFrozen(before, after) => {
                pair.proxy().freeze();
                fault::pass(*before);
                cancelled = Some(drive::ask_to_cancel(&pair));
                fault::pass(*after);
                pair.proxy().thaw();
            }
        }
    }
    pair.proxy().throttle(0);
    if cancelled == Some(true) {
        drive::wait_until_undone(&pair);
        drive::wait_until_quiet(&pair);
        check::assert_clean(&pair.source, &pair.target);
        before.assert_same(&pair.target);
        at_source.assert_same(&pair.source);
        if !plan.force {
            drive::assert_empty(&pair);
        }
        drive::start(&pair, &plan.settings(), &plan.arguments());
    }
    resumed += drive::finish(&pair);
    let reached = plan.armed.iter().filter(|(point, what)| drive::was_reached(target, point, what)).count();
    target.disarm();
    drive::wait_until_quiet(&pair);
    if let Some(load) = load {
        load.stop();
    }
    check::wait_caught_up(&pair.source, &pair.target, PATIENCE);
    if let Err(difference) = compare(&pair.source, &pair.target, &Tables::All) {
        panic!("{difference}");
    }
    // A link that breaks under the apply worker counts as an error of it; a conflict would be ours.
    let conflicts = check::conflict_counts(&pair.target);
    assert!(conflicts.iter().all(|counter| counter.contains("apply_error_count")), "{conflicts:?}");
    before.assert_same(&pair.target);
    drive::assert_settled(&pair);
    drive::assert_sound(source);
    drive::assert_sound(target);
    Outcome { cancelled, resumed, reached }
}

/// The shop, with what makes each operation's work a little more.
fn fill(pair: &Pair, plan: &Plan) {
    shop::fill(&pair.source, plan.scale);
    // Rows that the source tolerates and a new check would not.
    pair.source.exec("alter table countries add constraint large_ids check (id > 100) not valid");
    if plan.identity_full {
        pair.source.exec("create table plain (v int); insert into plain select generate_series(1, 300)");
    }
    pair.prepare();
    if plan.force {
        pair.target.exec(
            "insert into orders (id, v) select i, i from generate_series(1, 3000) i; insert into settings values ('old', 'row')",
        );
    }
}

#[test]
fn whatever_comes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let runs = number("STEEP_REPL_CAMPAIGN").unwrap_or(if test_all() { 30 } else { 3 });
    let chosen: Vec<u64> = number("STEEP_REPL_CAMPAIGN_ONLY").map_or_else(|| (1..=runs).collect(), |only| vec![only]);
    let source = ClusterOptions::new("campsrc").start();
    let target = ClusterOptions::new("camptgt").preload().start();
    let failpoints = target.failpoints();
    for number in chosen {
        let plan = Plan::draw(number, &failpoints);
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&plan, &source, &target)));
        let line = match &outcome {
            Ok(outcome) => told(&plan, outcome),
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

fn told(plan: &Plan, outcome: &Outcome) -> String {
    let mut line = "equal".to_owned();
    match outcome.cancelled {
        Some(true) => line.push_str(", after a cancel"),
        Some(false) => line.push_str(", too late for the cancel"),
        None => {}
    }
    if outcome.resumed > 0 {
        line.push_str(&format!(", resumed {} times", outcome.resumed));
    }
    if !plan.armed.is_empty() {
        line.push_str(&format!(", {} of {} failpoints reached", outcome.reached, plan.armed.len()));
    }
    line
}
