//! A campaign: the way of the rows, faults, their moments, workers and load are drawn at random, and one thing must hold whatever comes.
//! It ends equal; or it is FAILED, is resumed, and ends equal; or it is cancelled without a trace, and the next one ends equal.
//!
//! `STEEP_REPL_SEED` repeats a campaign, `STEEP_REPL_CAMPAIGN=n` says how many runs it has, `STEEP_REPL_CAMPAIGN_ONLY=k` repeats
//! its k-th run alone. An extension that was installed with failpoints has them drawn too.

pub mod drive;
pub mod fault;
mod plan;
mod way;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use steep_repl_testkit::{test_all, Cluster, ClusterOptions, Pair, SchemaState, StopMode};

use crate::shop;
use drive::Asked;
use plan::{Act, Moment, Plan, Refresh};
use way::{Course, Way};

/// What came of a run, for its line.
struct Outcome {
    /// Asked for, and whether in time.
    cancelled: Option<bool>,
    resumed: u32,
    /// Failpoints that were reached.
    reached: usize,
    /// How many tables came in which way.
    transports: String,
}

fn run(plan: &Plan, source: &Arc<Cluster>, target: &Arc<Cluster>) -> Outcome {
    target.disarm();
    let pair = Pair::options("camp").source(Arc::clone(source)).target(Arc::clone(target)).proxied().build();
    fill(&pair, plan);
    let load = plan.load().map(|load| load.start(&pair.source));
    pair.proxy().throttle(plan.bytes_per_second);
    let course = Course::of(plan);
    let settings = course.settings();
    let ask_for = |sql| Asked { begun: "kind = 'init'", settings: &settings, sql };
    let ground = course.lay(&pair);
    let mut before = SchemaState::of(&pair.target);
    let at_source = SchemaState::of(&pair.source);
    let (cancelled, resumed) = drive_through(&pair, &plan.acts, &plan.armed, &ask_for(&ground.sql));
    let mut resumed = ground.resumed + resumed;
    if cancelled == Some(true) {
        let other = course.expect_undone(&pair, &ground, &before, &at_source);
        if other.is_some() {
            before = SchemaState::of(&pair.target);
        }
        drive::start(&pair, &ask_for(&other.as_ref().unwrap_or(&ground).sql));
    }
    resumed += drive::finish(&pair);
    let transports = way::transports(&pair);
    let mut reached = reached(target, &plan.armed);
    target.disarm();
    drive::wait_until_quiet(&pair);
    if let Some(load) = load {
        load.stop();
    }
    pair.expect_equal_but(&plan.way.counters());
    before.assert_same(&pair.target);
    course.clear_away(&pair);
    drive::assert_settled(&pair);
    if let Some(refresh) = &plan.refresh {
        let (times, more) = run_refresh(&pair, plan, refresh);
        resumed += times;
        reached += more;
        drive::assert_settled(&pair);
    }
    drive::assert_sound(source);
    drive::assert_sound(target);
    Outcome { cancelled, resumed, reached, transports }
}

/// Starts, and lets happen what was drawn. Whether it was cancelled in time, and how often it was resumed.
fn drive_through(
    pair: &Pair,
    acts: &[(Moment, Act)],
    armed: &[(String, String)],
    asked: &Asked,
) -> (Option<bool>, u32) {
    let target = pair.target.cluster();
    for (point, what) in armed {
        target.arm(point, what);
    }
    drive::start(pair, asked);
    let (mut cancelled, mut resumed) = (None, 0);
    for (moment, act) in acts {
        resumed += moment.await_it(pair, cancelled == Some(true));
        match act {
            Act::Fault(fault) => fault.happen(pair),
            Act::Cancel => cancelled = Some(drive::ask_to_cancel(pair)),
            Act::CancelFrozen(before, after) => {
                pair.proxy().freeze();
                fault::pass(*before);
                cancelled = Some(drive::ask_to_cancel(pair));
                fault::pass(*after);
                pair.proxy().thaw();
            }
        }
    }
    pair.proxy().throttle(0);
    (cancelled, resumed)
}

fn reached(target: &Arc<Cluster>, armed: &[(String, String)]) -> usize {
    armed.iter().filter(|(point, what)| drive::was_reached(target, point, what)).count()
}

/// Tables and a partition come to the source and join the subscription, or leave it as if they had never come. How often it was resumed,
/// and how many failpoints were reached.
fn run_refresh(pair: &Pair, plan: &Plan, refresh: &Refresh) -> (u32, usize) {
    let tables = "create table late (id bigint primary key, v int, note text); create index on late (v);
        create table later (id bigint primary key, v int, note text);
        create table history_new partition of history for values from (9000000000) to (9000001000)";
    pair.target.exec(tables);
    pair.source.exec(tables);
    let rows = (60_000.0 * plan.scale) as i64;
    pair.source.exec(&format!(
        "insert into late select i, i, repeat('late ', 10) from generate_series(1, {rows}) i;
         insert into later select i, i, 'later' from generate_series(1, 50) i;
         insert into history (id, v) select i, 1 from generate_series(9000000000, 9000000400) i"
    ));
    let before = SchemaState::of(&pair.target);
    let load = plan.load_of_late().map(|load| load.start(&pair.source));
    pair.proxy().throttle(plan.bytes_per_second);
    let target = pair.target.cluster();
    let asked = Asked {
        begun: "kind = 'refresh'",
        settings: &plan.settings(),
        sql: "select steep_repl.refresh_tables('node_b')",
    };
    let (cancelled, mut resumed) = drive_through(pair, &refresh.acts, &refresh.armed, &asked);
    if cancelled == Some(true) {
        drive::wait_until_cleaned_up(pair);
        drive::wait_until_quiet(pair);
        before.assert_same(&pair.target);
        let left = pair.target.scalar::<i64>("select (select count(*) from late) + (select count(*) from later)");
        assert_eq!(left, 0, "the cancel has left rows");
        drive::start(pair, &asked);
    }
    resumed += drive::finish(pair);
    let reached = reached(target, &refresh.armed);
    target.disarm();
    drive::wait_until_quiet(pair);
    if let Some(load) = load {
        load.stop();
    }
    pair.expect_equal_but(&plan.way.counters());
    before.assert_same(&pair.target);
    let missing = pair.target.rows("select table_name from steep_repl.tables_not_subscribed('node_b')");
    assert!(missing.is_empty(), "not replicated: {missing:?}");
    (resumed, reached)
}

/// The shop, with what makes each operation's work a little more.
fn fill(pair: &Pair, plan: &Plan) {
    shop::fill(&pair.source, plan.scale);
    // Rows that the source tolerates and a new check would not.
    pair.source.exec("alter table countries add constraint large_ids check (id > 100) not valid");
    if plan.identity_full {
        pair.source.exec("create table plain (v int); insert into plain select generate_series(1, 300)");
    }
    if plan.way == Way::Prepared {
        // The tables come with the rows.
        pair.register();
    } else {
        pair.prepare();
    }
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
    let mut line = format!("equal{}", outcome.transports);
    match outcome.cancelled {
        Some(true) => line.push_str(", after a cancel"),
        Some(false) => line.push_str(", too late for the cancel"),
        None => {}
    }
    if outcome.resumed > 0 {
        line.push_str(&format!(", resumed {} times", outcome.resumed));
    }
    let armed = plan.armed.len() + plan.refresh.as_ref().map_or(0, |refresh| refresh.armed.len());
    if armed > 0 {
        line.push_str(&format!(", {} of {armed} failpoints reached", outcome.reached));
    }
    line
}
