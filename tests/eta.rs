//! The promised end: with an even link and even rows, it is about right early on.

use std::time::{Duration, Instant};

use steep_repl_testkit::{test_all, try_wait_until, Pair};

/// How many times too long or too short the ETA was after a fifth of the copy.
fn factor_after_a_fifth(label: &str, rows: u32, bytes_per_second: u64) -> f64 {
    let pair = Pair::options(label).proxied().build();
    for table in 1..=4 {
        pair.source.exec(&format!(
            "create table t{table} (id int primary key, note text);
             insert into t{table} select i, repeat('x', 200) from generate_series(1, {rows}) i"
        ));
    }
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.proxy().throttle(bytes_per_second);
    let started = Instant::now();
    pair.init_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 2").unwrap();
    let promised = try_wait_until("a fifth is copied and there is an ETA", Duration::from_secs(120), || {
        let progress = pair.progress()?;
        assert_ne!(progress.state, "FAILED", "{progress:?}");
        let (done, total) = (progress.bytes_done?, progress.bytes_total?);
        assert!(done <= total / 3, "no ETA after a third: {progress:?}");
        (done >= total / 5).then_some(())?;
        Some((Instant::now(), progress.eta_seconds?, progress.overall_percent))
    });
    let Some((at, promised, percent)) = promised else { panic!("no ETA: {:?}", pair.progress()) };
    pair.expect_synchronized();
    let needed = at.elapsed().as_secs_f64();
    println!(
        "{label}: {:?} in all, at {percent:?} % promised {promised:.1} s, needed {needed:.1} s",
        started.elapsed()
    );
    pair.expect_equal();
    (promised / needed).max(needed / promised.max(0.001))
}

#[test]
fn about_right_after_a_fifth() {
    if test_all() {
        let factors: Vec<f64> = (0..5).map(|run| factor_after_a_fifth(&format!("eta{run}"), 20_000, 260_000)).collect();
        let good = factors.iter().filter(|factor| **factor <= 1.5).count();
        assert!(good >= 4, "{factors:?}");
    } else {
        let factor = factor_after_a_fifth("eta", 12_000, 600_000);
        assert!(factor <= 1.5, "{factor}");
    }
}
