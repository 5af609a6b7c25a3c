//! Looking: what the operation's row, its tasks and its processes say; and showing it.

use super::decide::{Keeper, Seen};
use super::main::Coordinator;
use super::phase::Phase;
use crate::catalog::progress::{self, Observed, Running, Shown};
use crate::catalog::{sync, tasks};
use crate::error::{Error, Result};
use crate::pg::worker::Status;
use crate::pg::{system, transaction};
use steep_repl_core::plan::{weight, TaskKind, TASK_BASE_WEIGHT};
use steep_repl_core::progress::{bytes_fraction, task_fraction, EtaEstimator, RateMeter, Work};

/// Samples that rates and the expected end are computed from. In memory only.
pub struct Samples {
    rows: RateMeter,
    bytes: RateMeter,
    eta: EtaEstimator,
}

impl Samples {
    /// No samples yet.
    pub fn new() -> Self {
        Samples { rows: RateMeter::new(10.0), bytes: RateMeter::new(10.0), eta: EtaEstimator::new() }
    }
}

/// Share of a running task that is done, 0 to 0.99.
fn fraction(running: &Running) -> f64 {
    match running.kind.as_str() {
        "copy" if running.rows_estimated > 0.0 => task_fraction(running.rows, running.rows_estimated),
        "copy" => bytes_fraction(running.bytes_arrived, running.bytes),
        _ => running.built.clamp(0.0, 0.99),
    }
}

/// The weights of what is to do and done, running tasks by their share.
fn work(observed: &Observed) -> Work {
    let total = |kind: TaskKind, tasks: i64, bytes: i64| {
        // The weight of many tasks is the weight of their bytes and of their number.
        weight(kind, bytes) + weight(kind, 0) * (tasks - 1).max(0) as f64
    };
    let done = |kind: TaskKind, counted: &progress::Counted| {
        let finished = if counted.tasks_done == 0 { 0.0 } else { total(kind, counted.tasks_done, counted.bytes_done) };
        let running: f64 = observed
            .running
            .iter()
            .filter(|running| running.kind == kind.as_str())
            .map(|running| weight(kind, running.bytes) * fraction(running))
            .sum();
        finished + running
    };
    let all = |kind: TaskKind, counted: &progress::Counted| {
        if counted.tasks == 0 {
            0.0
        } else {
            total(kind, counted.tasks, counted.bytes)
        }
    };
    // A base backup is a copy before the copies.
    let (backup_done, backup_total) = match observed.backup {
        (bytes, total) if total > 0 => (weight(TaskKind::Copy, bytes.min(total)), weight(TaskKind::Copy, total)),
        _ => (0.0, 0.0),
    };
    let copied = if observed.copy.tasks == 0 { 0.0 } else { done(TaskKind::Copy, &observed.copy) };
    Work {
        copy_total: all(TaskKind::Copy, &observed.copy).max(TASK_BASE_WEIGHT) + backup_total,
        copy_done: copied + backup_done,
        index_total: all(TaskKind::Index, &observed.index),
        index_done: done(TaskKind::Index, &observed.index),
        vacuum_total: all(TaskKind::Vacuum, &observed.vacuum),
        vacuum_done: done(TaskKind::Vacuum, &observed.vacuum),
        finished: false,
    }
}

impl Coordinator {
    /// Reads the operation's row again. False when it is gone, together with the extension.
    pub(super) fn refresh(&mut self) -> Result<bool> {
        let id = self.operation.id;
        let now = transaction::run(|| {
            if !crate::pg::role::extension_exists() {
                return Ok(None);
            }
            crate::catalog::operations::get(id)
        })?;
        let Some(now) = now else { return Ok(false) };
        self.operation = now;
        Ok(true)
    }

    /// Looks at everything the decision needs.
    pub(super) fn observe(&mut self) -> Result<Seen> {
        self.workers.retain(|worker| worker.handle.status() != Status::Stopped);
        if self.keeper.as_ref().is_some_and(|keeper| keeper.status() == Status::Stopped) {
            self.keeper = None;
        }
        let now = system::now_secs();
        self.leaving.retain(|(keeper, _)| keeper.status() != Status::Stopped);
        for (keeper, _) in self.leaving.iter().filter(|(_, due)| now > *due) {
            // It hangs on a dead link.
            keeper.terminate();
        }
        let (id, by_server) = (self.operation.id, self.operation.is_by_server());
        let phase: Phase = self
            .operation
            .phase
            .parse()
            .map_err(|()| Error::internal(format!("unknown phase {}", self.operation.phase)))?;
        let (observed, own_unfinished, unfinished) = transaction::run(|| {
            let observed = progress::observe(id)?;
            let own = if matches!(phase, Phase::Files | Phase::Copy) { tasks::unfinished_count(id)? } else { 0 };
            let unfinished = if phase == Phase::Copy && by_server { sync::left(id)? } else { own };
            Ok((observed, own, unfinished))
        })?;
        let is_own_copy = |running: &&Running| running.kind == "copy" && !running.by_server;
        let running_copies = observed.running.iter().filter(is_own_copy).count() as i64;
        let (limit, oldest) = (self.operation.options.init_timeout, self.operation.options.max_snapshot_age);
        let seen = Seen {
            phase,
            by_server,
            by_files: self.operation.is_by_files() && (phase == Phase::Copy || !self.operation.saves_first()),
            own_unfinished,
            sync_started: self.sync.is_started,
            awaits_confirmation: self.operation.awaits_confirmation,
            has_slot: self.operation.start_lsn.is_some(),
            has_snapshot: self.operation.snapshot.is_some(),
            awaits_snapshot: self.operation.awaits_snapshot,
            // One that was never used would be renewed again and again.
            snapshot_too_old: oldest > 0.0
                // A base backup holds nothing back on the source.
                && !self.operation.uses_base_backup()
                && self.operation.snapshot_age_seconds.is_some_and(|age| age > oldest)
                && (running_copies > 0 || observed.copy.tasks_done > self.copies_at_renewal),
            snapshot_expired: self.operation.snapshot_expired,
            keeper: if self.keeper.is_some() { Keeper::Running } else { Keeper::None },
            keeper_failed: self.keeper.is_none() && self.operation.error.is_some() && self.operation.snapshot.is_none(),
            copies_open: observed.own_copies_open,
            copies_begun: observed.copies_begun,
            copies_running: running_copies,
            copies_done: observed.copy.tasks_done,
            tables_unfinished: unfinished,
            may_verify: self.operation.options.verify.is_some(),
            verifies: observed.verify.tasks,
            verifies_open: observed.verify.open,
            builds_left: observed.index.tasks - observed.index.tasks_done + observed.vacuum.tasks
                - observed.vacuum.tasks_done,
            builds_open: observed.index.open + observed.vacuum.open,
            task_failed: observed.copy.failed + observed.index.failed + observed.vacuum.failed + observed.verify.failed
                > 0,
            workers: self.workers.len() as u32,
            // By method snapshot the column counts the server's workers while these are at work.
            workers_planned: self.operation.options.parallel_workers,
            timed_out: limit > 0.0 && self.operation.age_seconds.is_some_and(|age| age > limit),
            may_try_source: now >= self.try_source_at,
        };
        let patience = self.operation.options.receive_timeout;
        self.silence.note(now, if patience > 0.0 { patience } else { f64::MAX }, &observed.running);
        if phase == Phase::Verify {
            self.show_verify(&observed)?;
        }
        if phase >= Phase::Files && phase <= Phase::Indexes {
            // The last look is always shown, or the figures would stop short of the whole.
            let is_last = seen.builds_left == 0 && (!by_server || seen.own_unfinished + seen.tables_unfinished == 0);
            self.show(&observed, is_last)?;
        }
        Ok(seen)
    }

    /// Writes what the views show, about twice a second unless it must be now.
    fn show(&mut self, observed: &Observed, at_once: bool) -> Result<()> {
        let now = system::now_secs();
        if now - self.shown_at < 0.4 && !at_once {
            return Ok(());
        }
        self.shown_at = now;
        let work = work(observed);
        let copies: Vec<&Running> = observed.running.iter().filter(|running| running.kind == "copy").collect();
        let rows = observed.rows_done + copies.iter().map(|running| running.rows).sum::<i64>();
        let bytes = observed.copy.bytes_done
            + copies.iter().map(|running| (running.bytes as f64 * fraction(running)) as i64).sum::<i64>();
        self.samples.rows.push(now, rows as f64);
        self.samples.bytes.push(now, bytes as f64);
        self.samples.eta.observe(now, &work);
        let copying = observed.copy.tasks_done < observed.copy.tasks;
        let before = self.operation.overall_percent;
        let percent = match self.operation.saves_first() {
            false => steep_repl_core::progress::overall_percent(&work, before),
            // Writing the files is one half, loading them the other.
            true => {
                let half = steep_repl_core::progress::overall_percent(&work, 0.0) / 2.0;
                before.max(if self.operation.is_saving() { half } else { 50.0 + half })
            }
        };
        let shown = Shown {
            rows_done: rows,
            bytes_done: bytes,
            rows_per_second: copying.then(|| self.samples.rows.rate()),
            bytes_per_second: copying.then(|| self.samples.bytes.rate()),
            overall_percent: percent,
            eta_seconds: self.samples.eta.eta_secs(),
            lag_bytes: None,
            workers_active: self.workers.len() as i64 + self.sync.workers,
        };
        let id = self.operation.id;
        transaction::run(|| progress::show(id, &shown))
    }
}
