//! When an operation arrives.
//!
//! What remains is the copy, then whatever of indexes and vacuum was not done beside it. The copy's rate is a blend of
//! the last half minute and of the whole copy so far: tasks commit in bursts, so the window alone swings, and the
//! average alone would take too long to notice a change of the link.

use super::{RateMeter, Work};

/// Part of the window's rate in the blend. With 0.3, a window in which nothing was committed stretches the estimate by
/// 1 / 0.7 = 1.43, and one with more than twice the average shrinks it no further than that: an even link stays within
/// a factor of 1.5.
const WINDOW_PART: f64 = 0.3;

/// What an estimate needs at least: seconds, and part of the copy that was there when it began.
const LEAST_SECS: f64 = 3.0;
const LEAST_PART: f64 = 0.01;

/// Weight per second of index builds before any was measured. An index task's weight is 0.3 of its table's bytes, so
/// this is a table of 300 MB per second with all workers together: what `pgbench -i` tables take with two workers.
const INDEX_PRIOR: f64 = 90e6;

/// Weight per second of vacuum before any was measured: 0.1 of a table's bytes, so 300 MB of table per second, which is
/// reading and writing each page of a table that is in memory for the most part.
const VACUUM_PRIOR: f64 = 30e6;

/// Estimates when an operation arrives, from samples of its [`Work`].
#[derive(Debug, Clone, Default)]
pub struct EtaEstimator {
    last: Option<(f64, Work)>,
    copy: Speed,
    /// Copy that remained when there first was any, to tell when a part of it is done.
    copy_at_first: f64,
    index: Tail,
    vacuum: Tail,
}

impl EtaEstimator {
    /// An estimator that has seen nothing.
    pub fn new() -> Self {
        EtaEstimator::default()
    }

    /// Takes a sample at a time in seconds from any fixed point; one from the past is ignored.
    pub fn observe(&mut self, time_secs: f64, work: &Work) {
        let numbers = [work.total(), work.done(), time_secs];
        let backwards = self.last.is_some_and(|(last, _)| time_secs < last);
        if backwards || numbers.iter().any(|number| !number.is_finite()) {
            return;
        }
        if self.copy_at_first <= 0.0 {
            self.copy_at_first = remaining(work.copy_total, work.copy_done);
        }
        self.copy.observe(time_secs, work.copy_done);
        let copying = remaining(work.copy_total, work.copy_done) > 0.0;
        self.index.observe(time_secs, work.index_done, copying);
        self.vacuum.observe(time_secs, work.vacuum_done, copying);
        self.last = Some((time_secs, *work));
    }

    /// Seconds from the last sample until everything is done; never negative.
    ///
    /// `None` until there is enough to say: 3 seconds of copy and a hundredth of it.
    pub fn eta_secs(&self) -> Option<f64> {
        let (_, work) = self.last.as_ref()?;
        if work.finished {
            return Some(0.0);
        }
        let copy_secs = match remaining(work.copy_total, work.copy_done) {
            copy if copy > 0.0 => copy / self.copy_rate()?,
            _ => 0.0,
        };
        let index = remaining(work.index_total, work.index_done);
        let vacuum = remaining(work.vacuum_total, work.vacuum_done);
        let after = self.index.secs_after_copy(index, copy_secs, INDEX_PRIOR)
            + self.vacuum.secs_after_copy(vacuum, copy_secs, VACUUM_PRIOR);
        Some(copy_secs + after).filter(|secs| secs.is_finite())
    }

    /// Weight of copy per second; `None` while there is too little to go by.
    fn copy_rate(&self) -> Option<f64> {
        let enough = self.copy.secs() >= LEAST_SECS && self.copy.progress >= LEAST_PART * self.copy_at_first;
        Some(self.copy.blend()).filter(|rate| enough && *rate > 0.0)
    }
}

fn remaining(total: f64, done: f64) -> f64 {
    (total - done).max(0.0)
}

/// Speed of one kind of work since it first moved.
///
/// The clock starts at the first progress, and that progress itself does not count: how long it took is not known.
/// What came before (publication, slot, snapshot) took time but says nothing about speed, and the first step may be a
/// whole task that committed. Steps backwards are no progress, as in [`RateMeter`].
#[derive(Debug, Clone, Default)]
struct Speed {
    /// Time and value of the last sample.
    last: Option<(f64, f64)>,
    /// When it began to move.
    began: Option<f64>,
    /// What was done since then.
    progress: f64,
    window: RateMeter,
}

impl Speed {
    /// A speed whose clock runs from here, whether or not anything moves.
    fn from_now(time: f64, value: f64) -> Self {
        let mut speed = Speed { began: Some(time), ..Speed::default() };
        speed.observe(time, value);
        speed
    }

    fn observe(&mut self, time: f64, value: f64) {
        let step = self.last.map_or(0.0, |(_, last)| (value - last).max(0.0));
        self.last = Some((time, value));
        if self.began.is_some() {
            self.progress += step;
            self.window.push(time, value);
        } else if step > 0.0 {
            self.began = Some(time);
            self.window.push(time, value);
        }
    }

    /// Seconds since it began to move.
    fn secs(&self) -> f64 {
        match (self.began, self.last) {
            (Some(began), Some((now, _))) => now - began,
            _ => 0.0,
        }
    }

    fn average(&self) -> f64 {
        if self.secs() > 0.0 {
            self.progress / self.secs()
        } else {
            0.0
        }
    }

    /// The window's rate and the average, blended.
    fn blend(&self) -> f64 {
        WINDOW_PART * self.window.rate() + (1.0 - WINDOW_PART) * self.average()
    }
}

/// Indexes or vacuum: work that runs beside the copy when a worker is free, and by itself when the copy is done.
#[derive(Debug, Clone, Default)]
struct Tail {
    beside: Speed,
    /// `None` while there is copy to do: one that goes on again (a task was retried) takes the workers away, and what
    /// was measured without it is worth nothing any more.
    alone: Option<Speed>,
}

impl Tail {
    fn observe(&mut self, time: f64, done: f64, copying: bool) {
        if copying {
            self.beside.observe(time, done);
            self.alone = None;
        } else {
            self.alone.get_or_insert_with(|| Speed::from_now(time, done)).observe(time, done);
        }
    }

    /// Seconds this work takes after a copy of `copy_secs` more seconds.
    fn secs_after_copy(&self, remaining: f64, copy_secs: f64, prior: f64) -> f64 {
        // What goes on beside the copy goes on at the speed seen so far.
        let left = (remaining - self.beside_rate() * copy_secs).max(0.0);
        left / self.alone_rate(prior)
    }

    /// Weight per second beside the copy, as an average over the time since the first build made progress.
    fn beside_rate(&self) -> f64 {
        if self.beside.secs() >= LEAST_SECS {
            self.beside.average()
        } else {
            0.0
        }
    }

    /// Weight per second when all workers do it; always positive.
    fn alone_rate(&self, prior: f64) -> f64 {
        if let Some(alone) = self.alone.as_ref().filter(|alone| alone.secs() >= LEAST_SECS && alone.progress > 0.0) {
            return alone.blend();
        }
        // Beside the copy it had the workers that were left over, so alone it will not be slower; but how much of that
        // time a build ran at all is not known, so a low figure says nothing against the prior.
        self.beside_rate().max(prior)
    }
}

#[cfg(test)]
mod tests;
