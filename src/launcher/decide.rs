//! Which operations get a coordinator now. Pure.

/// What is known of an operation that wants a coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its database.
    pub database: u32,
    /// The role that asked.
    pub role: u32,
    /// The operation.
    pub operation: i64,
    /// A coordinator has it.
    pub has_coordinator: bool,
    /// When one was last asked for, in microseconds; 0 when that one has ended since.
    pub started_at: i64,
    /// Not to be started before, in microseconds.
    pub not_before: i64,
    /// Coordinators that ended since the last that made progress.
    pub failures: u32,
}

/// How long a coordinator may take to start before another is asked for, in microseconds.
pub const START_LIMIT: i64 = 15_000_000;
/// The longest sleep, in microseconds: after it, databases are looked through again.
pub const LONGEST_SLEEP: i64 = 600_000_000;

/// What to start, and how long to sleep then, in microseconds.
pub fn decide(wanted: &[Wanted], now: i64) -> (Vec<Wanted>, i64) {
    let mut start = Vec::new();
    let mut sleep = LONGEST_SLEEP;
    for entry in wanted.iter().filter(|entry| !entry.has_coordinator) {
        let due = entry.not_before.max(if entry.started_at > 0 { entry.started_at + START_LIMIT } else { 0 });
        if due <= now {
            start.push(*entry);
            sleep = sleep.min(START_LIMIT);
        } else {
            sleep = sleep.min(due - now);
        }
    }
    (start, sleep)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn wanted() -> Wanted {
        Wanted { database: 1, role: 2, operation: 3, has_coordinator: false, started_at: 0, not_before: 0, failures: 0 }
    }

    #[test]
    fn nothing_to_do_is_a_long_sleep() {
        assert_eq!(decide(&[], NOW), (vec![], LONGEST_SLEEP));
        assert_eq!(decide(&[Wanted { has_coordinator: true, ..wanted() }], NOW), (vec![], LONGEST_SLEEP));
    }

    #[test]
    fn what_is_missing_is_started() {
        assert_eq!(decide(&[wanted()], NOW), (vec![wanted()], START_LIMIT));
    }

    #[test]
    fn what_is_starting_gets_its_time() {
        let starting = Wanted { started_at: NOW - 1, ..wanted() };
        assert_eq!(decide(&[starting], NOW), (vec![], START_LIMIT - 1));
        let stuck = Wanted { started_at: NOW - START_LIMIT, ..wanted() };
        assert_eq!(decide(&[stuck], NOW), (vec![stuck], START_LIMIT));
    }

    #[test]
    fn what_failed_waits_for_its_pause() {
        let paused = Wanted { not_before: NOW + 500, ..wanted() };
        assert_eq!(decide(&[paused], NOW), (vec![], 500));
    }
}
