//! What to do after an error: one table by origin and SQLSTATE, never by message text.
//!
//! The table is the design's section 8. Only what can change by itself is tried again; what needs a person (a full
//! disk, a broken rule, a missing right) stops at once, because trying it `max_retries` times only hides the cause.

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Try the task again, at most `max_retries` times, after [`backoff_ms`].
    RetryTask,
    /// The source is away: keep trying for `source_lost_timeout`.
    RetrySource,
    /// The exported snapshot is gone: unfinished tables need a new one.
    SnapshotLost,
    /// Stop; a person has to do something.
    Fail,
}

/// Which server raised the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The source, or the connection to it.
    Source,
    /// The local server.
    Target,
}

/// What to do after an error with this SQLSTATE from this server.
///
/// A code that is not in the table, or is no SQLSTATE at all, is tried again: `max_retries` bounds it.
///
/// The codes of a lost snapshot mean that in a copy task only. Elsewhere the source raises them for other reasons, which
/// the caller tells apart by the statement: 22023 and 42704 for a SET it does not know, 55000 for `CREATE_REPLICATION_SLOT`
/// without `wal_level = logical`.
pub fn verdict(origin: Origin, sqlstate: &str) -> Verdict {
    match (origin, sqlstate) {
        // The server is full; retrying would fill it again.
        (_, "53100") => Verdict::Fail,
        // Damaged data does not mend itself.
        (_, "XX001" | "XX002") => Verdict::Fail,
        // Lost races: serialization, deadlock, lock not available, object in use, cancelled by somebody.
        (_, "40001" | "40P01" | "55P03" | "55006" | "57014") => Verdict::RetryTask,
        // The database was dropped.
        (_, "57P04") => Verdict::Fail,

        // Shut down, crashed, starting up, session ended, too many connections: the source comes back.
        (Origin::Source, "57P01" | "57P02" | "57P03" | "57P05" | "53300") => Verdict::RetrySource,
        // SET TRANSACTION SNAPSHOT of a snapshot that is gone (snapmgr.c): 22023 up to PostgreSQL 16, 42704 since 17,
        // and 55000 when its file is still there but the process that exported it is not.
        (Origin::Source, "22023" | "42704" | "55000") => Verdict::SnapshotLost,
        // Something of ours that an attempt before has left; the next one takes it away first.
        (Origin::Source, "42710") => Verdict::RetryTask,
        // A stream that broke in the middle can look like a malformed one.
        (_, "22P04") => Verdict::RetryTask,

        _ => by_class(sqlstate),
    }
}

/// The rule of the code's class, its first two characters.
fn by_class(sqlstate: &str) -> Verdict {
    match sqlstate.get(..2) {
        // Connection exceptions. The target's workers have no other connection than the one to the source, so these
        // mean the source even when they were raised locally, as libpqwalreceiver does.
        Some("08") => Verdict::RetrySource,
        // Feature not supported, data exception, constraint violation, invalid authorization, invalid catalog or
        // schema name, syntax error or access rule, WITH CHECK OPTION, program limit: the same rows and the same
        // rules give the same error.
        Some("0A" | "22" | "23" | "28" | "3D" | "3F" | "42" | "44" | "54") => Verdict::Fail,
        // Everything else, among it out of memory and out of slots (53), system errors (58) and internal errors (XX).
        _ => Verdict::RetryTask,
    }
}

/// Milliseconds to wait after the `attempt`-th failure in a row, counted from 1: 500, 1000, 2000, ... up to 30,000.
///
/// 0 counts as 1. The caller adds jitter if it wants some; this crate draws no random numbers.
pub fn backoff_ms(attempt: u32) -> u64 {
    const FIRST: u64 = 500;
    const LONGEST: u64 = 30_000;
    // Six doublings already exceed the longest wait; the bound keeps the shift from overflowing.
    let doublings = attempt.saturating_sub(1).min(6);
    (FIRST << doublings).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::*;

    /// (SQLSTATE, verdict when the source raised it, verdict when the target did)
    const TABLE: &[(&str, Verdict, Verdict)] = &[
        ("08000", RetrySource, RetrySource),
        ("08001", RetrySource, RetrySource),
        ("08003", RetrySource, RetrySource),
        ("08006", RetrySource, RetrySource),
        ("08P01", RetrySource, RetrySource),
        ("57P01", RetrySource, RetryTask),
        ("57P02", RetrySource, RetryTask),
        ("57P03", RetrySource, RetryTask),
        ("57P04", Fail, Fail),
        ("57P05", RetrySource, RetryTask),
        ("53000", RetryTask, RetryTask),
        ("53100", Fail, Fail),
        ("53200", RetryTask, RetryTask),
        ("53300", RetrySource, RetryTask),
        ("53400", RetryTask, RetryTask),
        ("40001", RetryTask, RetryTask),
        ("40P01", RetryTask, RetryTask),
        ("55P03", RetryTask, RetryTask),
        ("55006", RetryTask, RetryTask),
        ("57014", RetryTask, RetryTask),
        ("22023", SnapshotLost, Fail),
        ("42704", SnapshotLost, Fail),
        ("55000", SnapshotLost, RetryTask),
        ("22021", Fail, Fail),
        ("22P02", Fail, Fail),
        ("22P04", RetryTask, RetryTask),
        ("23502", Fail, Fail),
        ("23505", Fail, Fail),
        ("23514", Fail, Fail),
        ("28000", Fail, Fail),
        ("28P01", Fail, Fail),
        ("0A000", Fail, Fail),
        ("3D000", Fail, Fail),
        ("3F000", Fail, Fail),
        ("42501", Fail, Fail),
        ("42601", Fail, Fail),
        ("42710", RetryTask, Fail),
        ("42703", Fail, Fail),
        ("42P01", Fail, Fail),
        ("44000", Fail, Fail),
        ("54000", Fail, Fail),
        ("58030", RetryTask, RetryTask),
        ("58P01", RetryTask, RetryTask),
        ("XX000", RetryTask, RetryTask),
        ("XX001", Fail, Fail),
        ("XX002", Fail, Fail),
        ("P0001", RetryTask, RetryTask),
        ("25P02", RetryTask, RetryTask),
        ("ZZ999", RetryTask, RetryTask),
        ("", RetryTask, RetryTask),
        ("0", RetryTask, RetryTask),
        ("é", RetryTask, RetryTask),
    ];

    #[test]
    fn verdicts_by_sqlstate() {
        for (sqlstate, source, target) in TABLE {
            assert_eq!(verdict(Origin::Source, sqlstate), *source, "{sqlstate} from the source");
            assert_eq!(verdict(Origin::Target, sqlstate), *target, "{sqlstate} from the target");
        }
    }

    #[test]
    fn only_the_source_loses_snapshots() {
        for (sqlstate, _, target) in TABLE {
            assert_ne!(*target, SnapshotLost, "{sqlstate}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_half_a_minute() {
        let waits: Vec<u64> = (0..=9).map(backoff_ms).collect();
        assert_eq!(waits, [500, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff_ms(u32::MAX), 30_000);
    }
}
