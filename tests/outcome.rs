//! What every good initialization has in common.

use steep_repl_testkit::{check, Pair, Progress, SchemaState};

use crate::shop;

/// Initializes without load, expects equal rows, no conflicts and the target's schema as it was.
pub fn initialize(pair: &Pair, args: &str) {
    let before = SchemaState::of(&pair.target);
    pair.synchronize(args);
    before.assert_same(&pair.target);
    pair.expect_equal();
}

/// Every row is equal, and nothing is counted but later changes of rows that have come without an origin of ours: by the server's own
/// workers, or by somebody's backup.
pub fn expect_equal(pair: &Pair) {
    pair.expect_equal_but(&check::ORIGINS);
}

/// Initializes a shop while people write in it, before and after the end; gives what the progress has shown.
pub fn initialize_under_load(pair: &Pair, settings: &[(&str, &str)], args: &str) -> Vec<Progress> {
    let before = SchemaState::of(&pair.target);
    let load = shop::load().start(&pair.source);
    let monitor = pair.monitor();
    let operation = pair.synchronize_with(settings, args);
    // The load goes on for a while after the end: that is when a lost or doubled change would surface.
    let counts = shop::stop_later(load, &pair.source);
    assert!(counts.committed > 100, "{counts:?}");
    let seen = monitor.stop();
    expect_equal(pair);
    before.assert_same(&pair.target);
    assert_progress_is_sane(&seen, operation);
    seen
}

/// Of a shop that was copied: every table is told of and counted, and its rows were seen on their way.
pub fn assert_progress_covers_all(pair: &Pair, seen: &[Progress]) {
    let last = pair.progress().unwrap();
    assert_eq!((last.overall_percent, last.tables_done), (Some(100.0), last.tables_total));
    assert!(last.rows_done >= Some(120_000), "{last:?}");
    assert!(seen.iter().any(|row| row.overall_percent > Some(5.0) && row.overall_percent < Some(95.0)), "{seen:?}");
    for expected in ["init.table_started", "init.table_complete"] {
        let named = format!("select count(distinct table_name) from steep_repl.events where event = '{expected}'");
        assert_eq!(Some(pair.target.scalar::<i64>(&named)), last.tables_total, "{expected}");
    }
}

/// The percentage never falls, is 100 only at the end, and the figures never contradict each other.
pub fn assert_progress_is_sane(seen: &[Progress], operation: i64) {
    let rows: Vec<&Progress> = seen.iter().filter(|row| row.operation_id == Some(operation)).collect();
    assert!(rows.len() > 1, "the operation showed no progress: {seen:?}");
    let mut highest = 0.0;
    for row in &rows {
        let percent = row.overall_percent.unwrap_or(0.0);
        assert!((0.0..=100.0).contains(&percent), "{row:?}");
        assert!(percent >= highest, "the percentage fell from {highest}: {row:?}");
        assert!(percent < 100.0 || row.state == "SYNCHRONIZED", "100 % before the end: {row:?}");
        highest = percent;
        let (done, total) = (row.tables_done.unwrap_or(0), row.tables_total.unwrap_or(i64::MAX));
        assert!(done <= total, "{row:?}");
        assert!(row.workers_active.unwrap_or(0) <= row.workers_planned.unwrap_or(i64::MAX), "{row:?}");
        assert!(row.rows_done.unwrap_or(0) >= 0 && row.bytes_done.unwrap_or(0) >= 0, "{row:?}");
        assert!(row.error.is_none(), "{row:?}");
    }
    let states: Vec<&str> = rows.iter().map(|row| row.state.as_str()).collect();
    let order = ["UNINITIALIZED", "PREPARING", "COPYING", "CATCHING_UP", "SYNCHRONIZED"];
    let rank = |state: &&str| order.iter().position(|known| known == state);
    assert!(states.iter().all(|state| rank(state).is_some()), "unknown state in {states:?}");
    assert!(states.is_sorted_by_key(rank), "states out of order: {states:?}");
}
