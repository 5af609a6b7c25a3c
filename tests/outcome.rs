//! What every good initialization has in common.

use steep_repl_testkit::{Pair, Progress, SchemaState};

/// Initializes without load, expects equal rows, no conflicts and the target's schema as it was.
pub fn initialize(pair: &Pair, args: &str) {
    let before = SchemaState::of(&pair.target);
    pair.synchronize(args);
    before.assert_same(&pair.target);
    pair.expect_equal();
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
