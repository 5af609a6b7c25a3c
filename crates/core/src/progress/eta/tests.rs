//! Tests of the time of arrival, most of them against simulated operations.

use super::*;
use proptest::prelude::*;

const MB: f64 = 1024.0 * 1024.0;

/// A copy over a link whose bandwidth the workers share evenly, seen once a second.
struct Copy {
    /// Weights of the tasks, in the order in which they are taken.
    tasks: Vec<f64>,
    workers: usize,
    /// Weight per second that the link carries.
    link: f64,
    /// Seconds before the first byte: publication, slot, snapshot.
    delay: f64,
    /// Whether running tasks are seen at all; otherwise progress comes with commits only.
    live: bool,
    /// How far the estimate of a task's rows may be off, as a factor both ways.
    misestimate: f64,
}

/// Numbers in 0..1, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What was seen of a copy at one time, and what was true.
struct Seen {
    time: f64,
    work: Work,
    really_done: f64,
}

impl Copy {
    fn even(total: f64, tasks: usize, link: f64) -> Self {
        Copy { tasks: vec![total / tasks as f64; tasks], workers: 4, link, delay: 0.0, live: true, misestimate: 1.0 }
    }

    fn total(&self) -> f64 {
        self.tasks.iter().sum()
    }

    /// All samples until the copy is done, in steps of a tenth of a second.
    fn run(&self, seed: u64) -> Vec<Seen> {
        let mut dice = Dice(seed);
        let factors: Vec<f64> = self.tasks.iter().map(|_| self.misestimate.powf(2.0 * dice.roll() - 1.0)).collect();
        let mut done = vec![0.0; self.tasks.len()];
        let (mut running, mut next): (Vec<usize>, usize) = (Vec::new(), 0);
        let mut samples = Vec::new();
        for step in 0.. {
            let time = f64::from(step) / 10.0;
            if step % 10 == 0 {
                samples.push(Seen {
                    time,
                    work: Work { copy_total: self.total(), copy_done: self.seen(&done, &factors), ..Work::default() },
                    really_done: done.iter().sum(),
                });
            }
            if time < self.delay {
                continue;
            }
            running.retain(|task| done[*task] < self.tasks[*task]);
            while running.len() < self.workers && next < self.tasks.len() {
                running.push(next);
                next += 1;
            }
            if running.is_empty() {
                return samples;
            }
            // The link is even, the workers' shares of it are not.
            let shares: Vec<f64> = running.iter().map(|_| 0.5 + dice.roll()).collect();
            let all: f64 = shares.iter().sum();
            for (task, share) in running.iter().zip(shares) {
                done[*task] = (done[*task] + self.link / 10.0 * share / all).min(self.tasks[*task]);
            }
        }
        samples
    }

    fn seen(&self, done: &[f64], factors: &[f64]) -> f64 {
        let one = |task: usize| {
            let (size, done) = (self.tasks[task], done[task]);
            if done >= size {
                size
            } else if self.live {
                size * (done / size * factors[task]).min(0.99)
            } else {
                0.0
            }
        };
        (0..self.tasks.len()).map(one).sum()
    }

    /// The largest factor by which the estimate was off between a fifth of the copy and this part of it.
    fn worst_factor(&self, seed: u64, until: f64) -> f64 {
        let samples = self.run(seed);
        let end = samples.last().unwrap().time;
        let mut eta = EtaEstimator::new();
        let mut worst = 1.0f64;
        for seen in &samples {
            eta.observe(seen.time, &seen.work);
            let part = seen.really_done / self.total();
            if (0.2..until).contains(&part) {
                let estimate = eta.eta_secs().unwrap_or_else(|| panic!("no estimate at {part:.2}"));
                let truth = end - seen.time;
                worst = worst.max(estimate / truth).max(truth / estimate);
            }
        }
        worst
    }
}

#[test]
fn an_even_link_is_estimated_well() {
    for link in [0.5 * MB, 5.0 * MB, 40.0 * MB] {
        let worst = Copy::even(1000.0 * MB, 20, link).worst_factor(1, 0.9);
        assert!(worst < 1.2, "off by {worst} at {link}");
    }
}

#[test]
fn the_time_before_the_first_byte_does_not_count() {
    let worst = Copy { delay: 120.0, ..Copy::even(1000.0 * MB, 20, 10.0 * MB) }.worst_factor(2, 0.9);
    assert!(worst < 1.2, "off by {worst}");
}

#[test]
fn bursts_of_commits_alone_are_enough_when_tasks_are_many() {
    let copy = Copy { live: false, ..Copy::even(4000.0 * MB, 100, 10.0 * MB) };
    let worst = copy.worst_factor(3, 0.9);
    assert!(worst < 1.5, "off by {worst}");
}

#[test]
fn one_large_table_seen_live_is_enough() {
    let worst = Copy { workers: 1, ..Copy::even(1000.0 * MB, 1, 10.0 * MB) }.worst_factor(4, 0.9);
    assert!(worst < 1.2, "off by {worst}");
}

proptest! {
    /// The requirement: an even link, tasks of all sizes, estimates of rows that are off by up to a quarter.
    #[test]
    fn with_noise_and_bursts_within_a_factor_of_one_and_a_half(
        seed: u64,
        count in 12usize..80,
        workers in 1usize..8,
        link in 1.0f64..8.0,
        delay in 0.0f64..60.0,
    ) {
        let mut dice = Dice(seed ^ 0x5555);
        let mut tasks: Vec<f64> = (0..count).map(|_| (5.0 + 45.0 * dice.roll()) * MB).collect();
        tasks.sort_by(|a, b| b.total_cmp(a));
        let copy = Copy { tasks, workers, link: link * MB, delay, live: true, misestimate: 1.25 };
        // In shorter copies a second more or less is half of what remains.
        prop_assume!(copy.total() / copy.link > 60.0);
        // Towards the end what remains is a few tasks, and no better known than their rows.
        let worst = copy.worst_factor(seed, 0.7);
        prop_assert!(worst < 1.5, "off by {worst}");
    }

    #[test]
    fn never_negative_whatever_is_seen(
        samples in proptest::collection::vec(
            (-5.0f64..20.0, -1e9f64..1e9, 0.0f64..1e9, 0.0f64..1e9, 0.0f64..1e9, 0.0f64..1e9), 0..40),
    ) {
        let mut eta = EtaEstimator::new();
        let mut time = 0.0;
        for (step, copy_done, copy_total, index_done, index_total, vacuum_done) in samples {
            time += step;
            let work =
                Work { copy_total, copy_done, index_total, index_done, vacuum_total: 1e8, vacuum_done, finished: false };
            eta.observe(time, &work);
            if let Some(secs) = eta.eta_secs() {
                prop_assert!(secs >= 0.0 && secs.is_finite());
            }
        }
    }
}

fn copy(done: f64, total: f64) -> Work {
    Work { copy_total: total, copy_done: done, ..Work::default() }
}

#[test]
fn nothing_is_said_too_early() {
    let mut eta = EtaEstimator::new();
    assert_eq!(eta.eta_secs(), None);
    eta.observe(0.0, &copy(0.0, 1000.0));
    eta.observe(1.0, &copy(100.0, 1000.0));
    eta.observe(2.0, &copy(200.0, 1000.0));
    assert_eq!(eta.eta_secs(), None, "one second");
    eta.observe(4.0, &copy(400.0, 1000.0));
    assert!((eta.eta_secs().unwrap() - 6.0).abs() < 1e-9);

    let mut slow = EtaEstimator::new();
    for second in 0..100 {
        slow.observe(f64::from(second), &copy(f64::from(second), 100_000.0));
    }
    assert_eq!(slow.eta_secs(), None, "a thousandth of the copy");
}

#[test]
fn a_stalled_copy_moves_the_arrival_away() {
    let mut eta = EtaEstimator::new();
    for second in 0..=50 {
        eta.observe(f64::from(second), &copy(f64::from(second), 100.0));
    }
    let before = eta.eta_secs().unwrap();
    for second in 51..=120 {
        eta.observe(f64::from(second), &copy(50.0, 100.0));
    }
    let stalled = eta.eta_secs().unwrap();
    assert!(stalled > 2.0 * before, "{before} then {stalled}");
}

#[test]
fn a_resumed_copy_is_judged_by_what_it_does_now() {
    let mut eta = EtaEstimator::new();
    for second in 0..=10 {
        eta.observe(f64::from(second), &copy(500.0 + 10.0 * f64::from(second), 1000.0));
    }
    assert!((eta.eta_secs().unwrap() - 40.0).abs() < 1e-6);
}

#[test]
fn a_plan_that_comes_later_is_waited_for() {
    let mut eta = EtaEstimator::new();
    eta.observe(0.0, &Work::default());
    eta.observe(50.0, &copy(0.0, 100_000.0));
    for second in 1..=20 {
        eta.observe(50.0 + f64::from(second), &copy(f64::from(second), 100_000.0));
    }
    assert_eq!(eta.eta_secs(), None);
}

#[test]
fn finished_is_now() {
    let mut eta = EtaEstimator::new();
    eta.observe(0.0, &Work { finished: true, ..Work::default() });
    assert_eq!(eta.eta_secs(), Some(0.0));
}

#[test]
fn a_sample_from_the_past_is_ignored() {
    let mut eta = EtaEstimator::new();
    for second in 0..=10 {
        eta.observe(f64::from(second), &copy(f64::from(second), 100.0));
    }
    let before = eta.eta_secs();
    eta.observe(3.0, &copy(99.0, 100.0));
    eta.observe(f64::NAN, &copy(99.0, 100.0));
    eta.observe(11.0, &copy(f64::NAN, 100.0));
    assert_eq!(eta.eta_secs(), before);
}

#[test]
fn indexes_count_by_the_prior_until_one_was_built() {
    let mut eta = EtaEstimator::new();
    let work = |index_done: f64| Work {
        index_total: 10.0 * INDEX_PRIOR,
        index_done,
        vacuum_total: 2.0 * VACUUM_PRIOR,
        ..copy(100.0, 100.0)
    };
    eta.observe(0.0, &work(0.0));
    assert!((eta.eta_secs().unwrap() - 12.0).abs() < 1e-6);
    // A tenth of the prior's speed: nine tenths of the work take nine times as long as it did so far.
    for second in 1..=10 {
        eta.observe(f64::from(second), &work(0.1 * INDEX_PRIOR * f64::from(second)));
    }
    assert!((eta.eta_secs().unwrap() - (90.0 + 2.0)).abs() < 1e-6);
}

#[test]
fn indexes_built_beside_the_copy_cost_nothing_after_it() {
    let mut eta = EtaEstimator::new();
    for second in 0..=50 {
        let second = f64::from(second);
        let work = Work { index_total: 100.0 * MB, index_done: MB * second, ..copy(second, 100.0) };
        eta.observe(second, &work);
    }
    assert!((eta.eta_secs().unwrap() - 50.0).abs() < 1e-6);
}

#[test]
fn what_the_copy_leaves_of_the_indexes_comes_after_it() {
    let mut eta = EtaEstimator::new();
    let total = 50.0 * INDEX_PRIOR;
    for second in 0..=50 {
        let second = f64::from(second);
        let work = Work { index_total: total, index_done: 0.2 * INDEX_PRIOR * second, ..copy(second, 100.0) };
        eta.observe(second, &work);
    }
    // 40 priors remain, 10 of them are done beside the remaining 50 s of copy, 30 by themselves.
    assert!((eta.eta_secs().unwrap() - 80.0).abs() < 1e-6);
}

#[test]
fn one_large_index_that_ends_is_no_speed() {
    // Seen only when it is complete: how long it took is not known.
    let mut eta = EtaEstimator::new();
    for second in 0..=50 {
        let second = f64::from(second);
        let index_done = if second < 45.0 { 0.0 } else { 10.0 * INDEX_PRIOR };
        eta.observe(second, &Work { index_total: 20.0 * INDEX_PRIOR, index_done, ..copy(second, 100.0) });
    }
    assert!((eta.eta_secs().unwrap() - 60.0).abs() < 1e-6);
}

#[test]
fn a_copy_that_goes_on_again_takes_the_workers_from_the_indexes() {
    let mut eta = EtaEstimator::new();
    let work = |copy_done: f64, index_done: f64| Work {
        index_total: 20.0 * INDEX_PRIOR,
        index_done,
        ..copy(copy_done, 100.0)
    };
    for second in 0..=20 {
        eta.observe(f64::from(second), &work(5.0 * f64::from(second), 0.0));
    }
    // A hundredth of the prior's speed while the copy seemed done; then a task is copied again.
    for second in 21..=30 {
        eta.observe(f64::from(second), &work(100.0, 0.01 * INDEX_PRIOR * f64::from(second - 20)));
    }
    assert!(eta.eta_secs().unwrap() > 1000.0);
    eta.observe(31.0, &work(50.0, 0.1 * INDEX_PRIOR));
    eta.observe(32.0, &work(100.0, 0.1 * INDEX_PRIOR));
    assert!((eta.eta_secs().unwrap() - 19.9).abs() < 1e-6);
}
