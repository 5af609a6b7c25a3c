//! One run as it is drawn: operation, load, what goes wrong and when.
//!
//! Failpoints are drawn by a generator of their own, so that the rest of a run is the same where the extension has none.

use std::fmt;
use std::time::Duration;

use steep_repl_testkit::{seed, try_wait_until, LoadOptions, Pair, Rng};

use super::drive;
use super::fault::{ask, pass, Fault};
use super::way::Way;
use crate::shop;

/// When something happens.
#[derive(Clone, Debug)]
pub enum Moment {
    /// Some time after a phase has begun.
    Phase(&'static str, u64),
    /// Some time after a process has come to a failpoint, where it sleeps meanwhile.
    Reached(String, u64),
}

/// The failpoints from this one on are those of a cancel.
const UNDOING: &str = "cancel_begun";

/// How long a process sleeps that is caught at a failpoint, in milliseconds.
const CAUGHT: u64 = 2500;

const PHASES: [&str; 13] = [
    "publication",
    "slot",
    "held",
    "subscription",
    "verify",
    "tables",
    "files",
    "copy",
    "indexes",
    "sequences",
    "enable",
    "catchup",
    "done",
];

impl Moment {
    fn draw(rng: &mut Rng) -> Moment {
        let phases =
            ["publication", "slot", "tables", "copy", "copy", "copy", "copy", "indexes", "sequences", "catchup"];
        Moment::Phase(phases[rng.below(phases.len() as u64) as usize], rng.below(1500))
    }

    /// Where a backup was restored nothing is copied, and what is done instead is over soon.
    fn of(self, way: Way) -> Moment {
        match (way, self) {
            (Way::Prepared, Moment::Phase("copy", ms)) => Moment::Phase("verify", ms / 5),
            (Way::Prepared, Moment::Phase("publication" | "slot" | "tables", ms)) => {
                Moment::Phase("subscription", ms / 5)
            }
            (_, moment) => moment,
        }
    }

    fn rank(&self) -> (Option<usize>, u64) {
        match self {
            Moment::Phase(phase, ms) => (PHASES.iter().position(|known| known == phase), *ms),
            Moment::Reached(_, ms) => (None, *ms),
        }
    }

    /// Waits for it, unless it does not come. What is FAILED meanwhile is resumed; how often.
    pub fn await_it(&self, pair: &Pair, is_cancelled: bool) -> u32 {
        let rank = |phase: &str| PHASES.iter().position(|known| *known == phase);
        let target = pair.target.cluster();
        let mut resumed = 0;
        let patience = Duration::from_secs(if is_cancelled { 4 } else { 10 });
        try_wait_until("the moment has come", patience, || {
            if let (Moment::Phase(..), true) = (self, is_cancelled) {
                return Some(());
            }
            if let Moment::Reached(point, _) = self {
                if target.hits_left(point) == Some(0) {
                    return Some(());
                }
            }
            let sql = "select status || ' ' || phase from steep_repl.operations order by id desc limit 1";
            let newest = ask(target, pair.target.name(), sql)?;
            let (status, phase) = newest.split_once(' ')?;
            match (self, status) {
                (_, "completed" | "cancelled") => Some(()),
                (_, "failed") => {
                    resumed += u32::from(drive::resume(pair));
                    None
                }
                (Moment::Phase(wanted, _), _) => (rank(phase) >= rank(wanted)).then_some(()),
                (Moment::Reached(..), _) => None,
            }
        });
        let (Moment::Phase(_, ms) | Moment::Reached(_, ms)) = self;
        pass(*ms);
        resumed
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Phase(phase, ms) => write!(f, "in {phase} +{ms} ms"),
            Moment::Reached(point, ms) => write!(f, "at {point} +{ms} ms"),
        }
    }
}

/// What is done to a run.
#[derive(Clone, Debug)]
pub enum Act {
    Fault(Fault),
    Cancel,
    /// While the link is frozen: this long before, and that long after.
    CancelFrozen(u64, u64),
}

/// What is written on the source meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    None,
    Usual,
    /// Few rows, again and again.
    Hot,
    /// Hundreds of rows at a time.
    Bulk,
}

/// One run as it was drawn.
pub struct Plan {
    number: u64,
    pub way: Way,
    pub workers: u64,
    pub chunk_size: &'static str,
    pub max_snapshot_age: &'static str,
    /// The target holds rows before.
    pub force: bool,
    /// A table without replica identity is among them.
    pub identity_full: bool,
    pub scale: f64,
    load: Load,
    writers: u32,
    rate: u32,
    pub bytes_per_second: u64,
    /// What goes wrong while a portable snapshot is generated.
    pub before: Vec<(Moment, Act)>,
    pub acts: Vec<(Moment, Act)>,
    /// Failpoints, and what they are armed with.
    pub armed: Vec<(String, String)>,
    /// Tables come to the source later, and join.
    pub refresh: Option<Refresh>,
}

/// What goes wrong while tables join.
pub struct Refresh {
    pub acts: Vec<(Moment, Act)>,
    pub armed: Vec<(String, String)>,
}

impl Plan {
    /// The run of that number, on a server with these failpoints.
    pub fn draw(number: u64, failpoints: &[String]) -> Plan {
        let mut rng = Rng::new(seed(), &format!("campaign run {number}"));
        let mut acts: Vec<(Moment, Act)> =
            (0..rng.below(4)).map(|_| (Moment::draw(&mut rng), Act::Fault(Fault::draw(&mut rng)))).collect();
        if rng.below(3) == 0 {
            let frozen = Act::CancelFrozen(rng.below(3500), rng.below(1500));
            acts.push((Moment::draw(&mut rng), if rng.below(4) == 0 { frozen } else { Act::Cancel }));
        }
        let way = Way::draw(&mut Rng::new(seed(), &format!("way of campaign run {number}")));
        let mut acts: Vec<(Moment, Act)> = acts.into_iter().map(|(moment, act)| (moment.of(way), act)).collect();
        // In the order of their phases, so that a cancel is not too late and faults after it befall the undoing.
        acts.sort_by_key(|(moment, _)| moment.rank());
        let mut plan = Plan {
            number,
            way,
            workers: 1 + rng.below(6),
            chunk_size: ["256kB", "1MB", "1TB"][rng.below(3) as usize],
            max_snapshot_age: ["0", "0", "0", "1s"][rng.below(4) as usize],
            force: rng.below(5) == 0,
            identity_full: rng.below(5) == 0,
            scale: 0.03 + rng.below(12) as f64 / 100.0,
            load: [Load::None, Load::Usual, Load::Usual, Load::Usual, Load::Hot, Load::Bulk][rng.below(6) as usize],
            writers: 1 + rng.below(4) as u32,
            rate: 20 + rng.below(120) as u32,
            bytes_per_second: 1_000_000 + rng.below(5_000_000),
            before: draw_before(number, way),
            acts,
            armed: Vec::new(),
            refresh: None,
        };
        // Nobody restores a backup over rows.
        plan.force &= way != Way::Prepared;
        plan.armed = draw_failpoints(number, "failpoints", &mut plan.acts, failpoints);
        plan.refresh = draw_refresh(number, failpoints).filter(|_| way.lets_tables_join());
        plan
    }

    /// The writers, if there are to be any.
    pub fn load(&self) -> Option<LoadOptions> {
        let mut load = match self.load {
            Load::None => return None,
            Load::Usual => shop::load(),
            Load::Hot => shop::load().keys(40),
            Load::Bulk => shop::load()
                .op(6, "update lines set v = v + 1 where id between {key} and {key} + 300")
                .op(3, "delete from places where id between {key} and {key} + 20")
                .op(3, "insert into journal (v, note) select i, '{text}' from generate_series(1, 200) i"),
        };
        if self.identity_full {
            load = load
                .op(3, "update plain set v = v + 1 where v % 50 = {int} % 50")
                .op(2, "insert into plain values ({int})");
        }
        Some(load.rate(self.rate).writers(self.writers).tolerant())
    }

    /// The writers while tables join. New keys are for the new tables: those before have used up theirs.
    pub fn load_of_late(&self) -> Option<LoadOptions> {
        if matches!(self.load, Load::None) {
            return None;
        }
        let load =
            LoadOptions::default().keyed("late").keyed("later").op(4, "update orders set v = v + 1 where id = {key}");
        let load = load
            .op(2, "delete from lines where id = {key}")
            .op(2, "update settings set value = '{text}' where name = 'a'");
        Some(load.rate(self.rate).writers(self.writers).tolerant())
    }

    /// Arguments of init_node, but for the method.
    pub fn arguments(&self) -> String {
        let force = if self.force { ", force => true" } else { "" };
        format!("parallel_workers => {}{force}{}", self.workers, self.no_identity())
    }

    /// A further argument, where a table without replica identity is among them.
    pub fn no_identity(&self) -> &'static str {
        if self.identity_full {
            ", no_identity => 'full'"
        } else {
            ""
        }
    }

    /// Settings of the session that calls it.
    pub fn settings(&self) -> [(&'static str, &'static str); 4] {
        [
            ("chunk_size", self.chunk_size),
            ("max_snapshot_age", self.max_snapshot_age),
            ("receive_timeout", "2s"),
            ("max_retries", "5"),
        ]
    }
}

/// Failpoints for a run, and the moments that they make of its acts.
fn draw_failpoints(
    number: u64,
    what: &str,
    acts: &mut [(Moment, Act)],
    failpoints: &[String],
) -> Vec<(String, String)> {
    let mut rng = Rng::new(seed(), &format!("{what} of campaign run {number}"));
    let Some(undoing) = failpoints.iter().position(|name| name == UNDOING) else { return Vec::new() };
    if rng.below(6) == 0 {
        return Vec::new();
    }
    let (doing, undoing) = failpoints.split_at(undoing);
    let one_of = |points: &[String], rng: &mut Rng| points[rng.below(points.len() as u64) as usize].clone();
    let mut drawn = std::collections::BTreeMap::new();
    let mut is_cancelled = false;
    for (moment, act) in acts {
        // A cancel hits a certain moment more often than not.
        let cancels = !matches!(act, Act::Fault(_));
        let keeps_phase = rng.below(if cancels { 4 } else { 2 }) == 0;
        let point = one_of(if is_cancelled { undoing } else { doing }, &mut rng);
        let ms = rng.below(300);
        if !keeps_phase {
            drawn.insert(point.clone(), format!("1*sleep({CAUGHT})"));
            *moment = Moment::Reached(point, ms);
        }
        is_cancelled |= cancels;
    }
    let actions = [
        "exit",
        "exit",
        "kill",
        "kill",
        "sleep(1000)",
        "error(40001)",
        "error(XX000)",
        "error(23505)",
        "error(57014)",
        "source(08006)",
        "source(57P01)",
        "source(42501)",
    ];
    for _ in 0..1 + rng.below(3) {
        let point = one_of(if is_cancelled && rng.below(2) == 0 { undoing } else { doing }, &mut rng);
        let action = actions[rng.below(actions.len() as u64) as usize];
        drawn.entry(point).or_insert_with(|| format!("{}*{action}", 1 + rng.below(2)));
    }
    drawn.into_iter().collect()
}

/// What befalls a portable snapshot before there is one to apply.
fn draw_before(number: u64, way: Way) -> Vec<(Moment, Act)> {
    let Way::Kept(..) = way else { return Vec::new() };
    let mut rng = Rng::new(seed(), &format!("generation of campaign run {number}"));
    let phases = ["publication", "slot", "tables", "files", "files", "files"];
    let mut acts: Vec<(Moment, Act)> = (0..rng.below(3))
        .map(|_| {
            let moment = Moment::Phase(phases[rng.below(phases.len() as u64) as usize], rng.below(800));
            (moment, if rng.below(4) == 0 { Act::Cancel } else { Act::Fault(Fault::draw(&mut rng)) })
        })
        .collect();
    acts.sort_by_key(|(moment, _)| moment.rank());
    acts
}

/// Every other run has tables that join later.
fn draw_refresh(number: u64, failpoints: &[String]) -> Option<Refresh> {
    let mut rng = Rng::new(seed(), &format!("refresh of campaign run {number}"));
    if rng.below(2) == 0 {
        return None;
    }
    let mut acts: Vec<(Moment, Act)> =
        (0..rng.below(3)).map(|_| (Moment::draw(&mut rng), Act::Fault(Fault::draw(&mut rng)))).collect();
    if rng.below(3) == 0 {
        acts.push((Moment::draw(&mut rng), Act::Cancel));
    }
    acts.sort_by_key(|(moment, _)| moment.rank());
    let armed = draw_failpoints(number, "failpoints while tables join", &mut acts, failpoints);
    Some(Refresh { acts, armed })
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "run {} of seed {}: {:?}, {} workers, chunks of {}, snapshot age {}{}{}, scale {:.2}, load {:?} by {} at {}/s, {} kB/s",
            self.number,
            seed(),
            self.way,
            self.workers,
            self.chunk_size,
            self.max_snapshot_age,
            if self.force { ", force" } else { "" },
            if self.identity_full { ", identity full" } else { "" },
            self.scale,
            self.load,
            self.writers,
            self.rate,
            self.bytes_per_second / 1000
        )?;
        if !self.before.is_empty() {
            write!(f, "; at first")?;
            write_stage(f, &self.before, &[])?;
            write!(f, "; then")?;
        }
        write_stage(f, &self.acts, &self.armed)?;
        if let Some(refresh) = &self.refresh {
            write!(f, "; then refresh")?;
            write_stage(f, &refresh.acts, &refresh.armed)?;
        }
        Ok(())
    }
}

fn write_stage(f: &mut fmt::Formatter<'_>, acts: &[(Moment, Act)], armed: &[(String, String)]) -> fmt::Result {
    for (moment, act) in acts {
        match act {
            Act::Fault(fault) => write!(f, ", {fault:?} {moment}")?,
            Act::Cancel => write!(f, ", CANCEL {moment}")?,
            Act::CancelFrozen(before, after) => write!(f, ", CANCEL frozen {before}..{after} {moment}")?,
        }
    }
    armed.iter().try_for_each(|(point, what)| write!(f, ", {point}={what}"))
}
