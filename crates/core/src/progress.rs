//! How far an operation is, how fast it goes, and when it arrives.
//!
//! Everything is counted in weights ([`crate::plan::weight`]): bytes of table for copies, a part of them for indexes
//! and vacuum. The coordinator sums the weights of done tasks and the done fractions of running ones into a [`Work`]
//! once per sample; what is computed from it here needs no clock, the caller gives seconds from any fixed point.

mod eta;

use std::collections::VecDeque;

pub use eta::EtaEstimator;

/// What an operation has to do and has done, in weights.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Weight of all copy tasks.
    pub copy_total: f64,
    /// Done part of it, running tasks included by their fraction.
    pub copy_done: f64,
    /// Weight of all index tasks.
    pub index_total: f64,
    /// Done part of it.
    pub index_done: f64,
    /// Weight of all vacuum tasks.
    pub vacuum_total: f64,
    /// Done part of it.
    pub vacuum_done: f64,
    /// The operation is complete.
    pub finished: bool,
}

impl Work {
    /// Weight of everything.
    pub fn total(&self) -> f64 {
        self.copy_total + self.index_total + self.vacuum_total
    }

    /// Done part of it.
    pub fn done(&self) -> f64 {
        self.copy_done + self.index_done + self.vacuum_done
    }
}

/// Overall progress in percent: 100 when finished, at most 99 until then, and never below `before`.
///
/// A retried task throws work away; the figure waits for it instead of falling. Should `before` lie above 99 already,
/// it stays there: not falling is the stronger promise.
pub fn overall_percent(work: &Work, before: f64) -> f64 {
    if work.finished {
        return 100.0;
    }
    let percent = if work.total() > 0.0 { 100.0 * work.done() / work.total() } else { 0.0 };
    let percent = if percent.is_finite() { percent.clamp(0.0, 99.0) } else { 0.0 };
    let before = if before.is_finite() { before.min(100.0) } else { 0.0 };
    percent.max(before)
}

/// Done fraction of a running task by rows, 0 to 0.99: it is done when it is committed, not when the estimate is
/// reached.
///
/// 0 when the estimate says nothing (`reltuples` of a table that was never analyzed is -1).
pub fn task_fraction(rows_done: i64, rows_estimated: f64) -> f64 {
    fraction(rows_done as f64, rows_estimated)
}

/// Done fraction of a running task by bytes, 0 to 0.99; 0 when the total is unknown.
pub fn bytes_fraction(bytes_done: i64, bytes_total: i64) -> f64 {
    fraction(bytes_done as f64, bytes_total as f64)
}

fn fraction(done: f64, estimated: f64) -> f64 {
    if done > 0.0 && estimated > 0.0 {
        (done / estimated).min(0.99)
    } else {
        0.0
    }
}

/// Rate of a growing figure over a sliding window.
///
/// A figure that falls (a task was retried, its rows were thrown away) is not negative speed: a step backwards counts
/// as no progress, and the figure is followed from there. A sample from the past is ignored.
#[derive(Debug, Clone)]
pub struct RateMeter {
    window_secs: f64,
    /// `(time, progress)`; progress is the sum of all steps forward.
    samples: VecDeque<(f64, f64)>,
    last_value: f64,
}

impl RateMeter {
    /// Seconds that a rate for people is taken over.
    pub const DEFAULT_WINDOW_SECS: f64 = 30.0;

    /// A meter over a window of this many seconds.
    pub fn new(window_secs: f64) -> Self {
        RateMeter { window_secs, samples: VecDeque::new(), last_value: 0.0 }
    }

    /// Takes a sample: the figure's value at a time in seconds.
    pub fn push(&mut self, time_secs: f64, value: f64) {
        if !time_secs.is_finite() || !value.is_finite() {
            return;
        }
        let progress = match self.samples.back() {
            None => 0.0,
            Some((time, _)) if time_secs < *time => return,
            Some((_, progress)) => progress + (value - self.last_value).max(0.0),
        };
        self.last_value = value;
        match self.samples.back_mut() {
            // Two samples of one instant are one.
            Some(last) if last.0 == time_secs => last.1 = progress,
            _ => self.samples.push_back((time_secs, progress)),
        }
        // One sample at or before the window's begin stays, so that the rate is taken over the whole window.
        while self.samples.get(1).is_some_and(|(time, _)| *time <= time_secs - self.window_secs) {
            self.samples.pop_front();
        }
    }

    /// Progress per second over the window; 0 while there are fewer than two samples.
    pub fn rate(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((from, before)), Some((to, after))) if to > from => (after - before) / (to - from),
            _ => 0.0,
        }
    }
}

impl Default for RateMeter {
    fn default() -> Self {
        RateMeter::new(Self::DEFAULT_WINDOW_SECS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn work(done: f64, total: f64) -> Work {
        Work { copy_total: total, copy_done: done, ..Work::default() }
    }

    #[test]
    fn percent_counts_all_kinds_of_work() {
        let half = Work {
            copy_total: 100.0,
            copy_done: 60.0,
            index_total: 30.0,
            index_done: 9.0,
            vacuum_total: 10.0,
            vacuum_done: 1.0,
            finished: false,
        };
        assert_eq!(overall_percent(&half, 0.0), 50.0);
    }

    #[test]
    fn percent_never_falls_and_ends_at_100() {
        assert_eq!(overall_percent(&work(20.0, 100.0), 35.0), 35.0);
        assert_eq!(overall_percent(&work(100.0, 100.0), 35.0), 99.0);
        assert_eq!(overall_percent(&work(200.0, 100.0), 0.0), 99.0);
        assert_eq!(overall_percent(&Work { finished: true, ..work(1.0, 100.0) }, 0.0), 100.0);
        assert_eq!(overall_percent(&work(0.0, 0.0), 0.0), 0.0);
        assert_eq!(overall_percent(&work(0.0, 100.0), 100.0), 100.0);
        assert_eq!(overall_percent(&work(f64::NAN, 100.0), f64::NAN), 0.0);
    }

    #[test]
    fn a_running_task_is_never_quite_done() {
        assert_eq!(task_fraction(50, 200.0), 0.25);
        assert_eq!(task_fraction(500, 200.0), 0.99);
        assert_eq!(task_fraction(5, -1.0), 0.0);
        assert_eq!(task_fraction(5, 0.0), 0.0);
        assert_eq!(task_fraction(-5, 10.0), 0.0);
        assert_eq!(task_fraction(5, f64::NAN), 0.0);
        assert_eq!(bytes_fraction(50, 200), 0.25);
        assert_eq!(bytes_fraction(200, 200), 0.99);
        assert_eq!(bytes_fraction(50, 0), 0.0);
    }

    #[test]
    fn rate_over_the_window_only() {
        let mut meter = RateMeter::new(10.0);
        assert_eq!(meter.rate(), 0.0);
        meter.push(0.0, 1000.0);
        assert_eq!(meter.rate(), 0.0);
        for second in 1..=20 {
            meter.push(f64::from(second), 1000.0 + 5.0 * f64::from(second));
        }
        assert!((meter.rate() - 5.0).abs() < 1e-9);
        for second in 21..=40 {
            meter.push(f64::from(second), 1100.0);
        }
        assert_eq!(meter.rate(), 0.0);
    }

    #[test]
    fn steps_backwards_are_no_progress() {
        let mut meter = RateMeter::new(100.0);
        for (time, value) in [(0.0, 0.0), (10.0, 100.0), (20.0, 40.0), (30.0, 60.0)] {
            meter.push(time, value);
        }
        assert!((meter.rate() - 4.0).abs() < 1e-9);
        meter.push(5.0, 10_000.0);
        meter.push(f64::NAN, 10_000.0);
        meter.push(31.0, f64::INFINITY);
        assert!((meter.rate() - 4.0).abs() < 1e-9);
    }

    #[test]
    fn two_samples_of_one_instant_are_one() {
        let mut meter = RateMeter::default();
        meter.push(0.0, 0.0);
        meter.push(1.0, 10.0);
        meter.push(1.0, 20.0);
        assert_eq!(meter.rate(), 20.0);
    }

    #[test]
    fn memory_is_bounded_by_the_window() {
        let mut meter = RateMeter::new(30.0);
        for second in 0..10_000 {
            meter.push(f64::from(second), f64::from(second));
        }
        assert!(meter.samples.len() <= 32);
    }

    proptest! {
        #[test]
        fn percent_is_monotonic_and_bounded(steps in proptest::collection::vec((-10.0f64..200.0, 0.0f64..200.0), 1..50)) {
            let mut before = 0.0;
            for (done, total) in steps {
                let percent = overall_percent(&work(done, total), before);
                prop_assert!(percent >= before && percent <= 99.0);
                before = percent;
            }
            prop_assert_eq!(overall_percent(&Work { finished: true, ..Work::default() }, before), 100.0);
        }

        #[test]
        fn rate_is_never_negative(samples in proptest::collection::vec((-50.0f64..50.0, -1e9f64..1e9), 0..60)) {
            let mut meter = RateMeter::new(10.0);
            for (time, value) in samples {
                meter.push(time, value);
                prop_assert!(meter.rate() >= 0.0 && meter.rate().is_finite());
            }
        }
    }
}
