//! What to do next. Pure: a struct of what was seen in, a step out.

use super::phase::Phase;

/// Where the snapshot keeper stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// Not asked for, or ended.
    None,
    /// Asked for or running.
    Running,
}

/// What was seen of an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// The step it is in.
    pub phase: Phase,
    /// Whether the server itself copies the tables, all that are not large.
    pub by_server: bool,
    /// Whether they are loaded from files.
    pub by_files: bool,
    /// Tables not wholly copied that the server does not copy; of any operation.
    pub own_unfinished: i64,
    /// Whether this process has seen to it that it does.
    pub sync_started: bool,
    /// Whether somebody has to look at the differences of the schemas first.
    pub awaits_confirmation: bool,
    /// Whether its slot exists: its start is known.
    pub has_slot: bool,
    /// Whether there is a snapshot to copy under.
    pub has_snapshot: bool,
    /// Whether a new one may be taken: no table holds rows of an earlier one.
    pub awaits_snapshot: bool,
    /// Whether it is older than it should get, and something was copied under it.
    pub snapshot_too_old: bool,
    /// Whether no more tables may be begun under it.
    pub snapshot_expired: bool,
    /// The process that keeps it.
    pub keeper: Keeper,
    /// Whether the last keeper left an error.
    pub keeper_failed: bool,
    /// Copies that are pending or running.
    pub copies_open: i64,
    /// Copies that are pending, of tables that are begun.
    pub copies_begun: i64,
    /// Copies that run.
    pub copies_running: i64,
    /// Copies that are done.
    pub copies_done: i64,
    /// Tables not wholly copied, those that were put aside among them; those that the server has not handed over, when it copies.
    pub tables_unfinished: i64,
    /// Whether rows that came by a backup can be compared with the source's.
    pub may_verify: bool,
    /// Comparisons of tables that are planned.
    pub verifies: i64,
    /// Those of them that are pending or running.
    pub verifies_open: i64,
    /// Index builds and vacuums not done, waiting ones among them.
    pub builds_left: i64,
    /// Those of them that can be done now.
    pub builds_open: i64,
    /// A task failed for good.
    pub task_failed: bool,
    /// Workers that run or start.
    pub workers: u32,
    /// Workers that the operation may have.
    pub workers_planned: u32,
    /// It took longer than it may.
    pub timed_out: bool,
    /// It is time to try the source again.
    pub may_try_source: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Do what the phase is about, then go to the next.
    DoPhase,
    /// The phase's work is done: go to the next.
    NextPhase,
    /// Start a keeper: the slot, or a later snapshot, is needed.
    StartKeeper,
    /// Empty the unfinished tables and forget the snapshot, before a later one is made.
    RenewSnapshot,
    /// Let no more tables be begun under the snapshot.
    ExpireSnapshot,
    /// Wait for the keeper; look what holds it up.
    AwaitSnapshot,
    /// Start that many workers.
    StartWorkers(u32),
    /// Give the snapshot up: what was to be copied under it is here.
    GiveSnapshotUp,
    /// Let the server copy the tables.
    StartSync,
    /// Look how far the server is with them.
    WatchSync,
    /// Plan a comparison for each table.
    PlanVerify,
    /// Look how far replication is.
    WatchCatchup,
    /// Look whether the slot is still wanted.
    WatchHeld,
    /// Wait for workers.
    Wait,
    /// A task failed: stop with its error.
    FailByTask,
    /// The time is over.
    FailByTimeout,
    /// The keeper could not do it: try again or stop.
    HandleKeeperError,
    /// Nothing is left.
    Finished,
}

/// The next step.
pub fn decide(seen: &Seen) -> Step {
    if seen.phase == Phase::Done {
        return Step::Finished;
    }
    if seen.phase == Phase::Schema && seen.awaits_confirmation {
        // However long it takes: nothing is held anywhere. The clock starts again with the confirmation.
        return Step::Wait;
    }
    if seen.timed_out {
        return Step::FailByTimeout;
    }
    match seen.phase {
        Phase::Slot if seen.has_slot => Step::NextPhase,
        // One that waits there is taken.
        Phase::Slot if seen.by_files => Step::DoPhase,
        Phase::Slot => snapshot_needed(seen),
        Phase::Copy if seen.by_server => large_ones_first(seen),
        // What loads is another kind of worker.
        Phase::Files => match copy(seen) {
            Step::NextPhase if seen.workers > 0 => Step::Wait,
            step => step,
        },
        Phase::Copy => copy(seen),
        Phase::Verify => verify(seen),
        Phase::Indexes => {
            if seen.task_failed {
                Step::FailByTask
            } else if seen.builds_left == 0 {
                if seen.workers == 0 {
                    Step::NextPhase
                } else {
                    Step::Wait
                }
            } else {
                workers_for(seen, seen.builds_open)
            }
        }
        Phase::Catchup => Step::WatchCatchup,
        Phase::Held => Step::WatchHeld,
        _ => Step::DoPhase,
    }
}

/// All tables are compared before one that differs stops the operation: whoever has to make another backup wants to know them all.
fn verify(seen: &Seen) -> Step {
    if seen.verifies == 0 {
        return if seen.may_verify { Step::PlanVerify } else { Step::NextPhase };
    }
    if seen.verifies_open > 0 {
        return workers_for(seen, seen.verifies_open);
    }
    match (seen.workers, seen.task_failed) {
        (1.., _) => Step::Wait,
        (0, true) => Step::FailByTask,
        (0, false) => Step::NextPhase,
    }
}

fn copy(seen: &Seen) -> Step {
    if seen.task_failed {
        return Step::FailByTask;
    }
    if seen.tables_unfinished == 0 {
        return Step::NextPhase;
    }
    if seen.by_files {
        // Nothing on the source is needed. What was put aside is loaded once more.
        return match seen.copies_open {
            0 if seen.copies_running == 0 => Step::RenewSnapshot,
            _ => workers_for(seen, seen.copies_open + seen.builds_open),
        };
    }
    if seen.awaits_snapshot {
        return snapshot_needed(seen);
    }
    let all_begun_are_done = seen.snapshot_expired && seen.copies_begun == 0;
    if !seen.has_snapshot || seen.keeper == Keeper::None || seen.copies_open == 0 || all_begun_are_done {
        // The snapshot or its keeper is gone or too old, or all that is left was put aside. Copies that still run end first:
        // what they note is noted under the snapshot they had.
        return if seen.copies_running > 0 { Step::Wait } else { Step::RenewSnapshot };
    }
    if seen.snapshot_too_old && !seen.snapshot_expired {
        return Step::ExpireSnapshot;
    }
    workers_for(seen, seen.copies_open + seen.builds_open)
}

/// Large tables are ours. They are copied and indexed before the server is let at the others: the apply worker that it takes for that brings
/// the changes of all tables, and there is one from then on.
fn large_ones_first(seen: &Seen) -> Step {
    if seen.task_failed {
        Step::FailByTask
    } else if seen.own_unfinished > 0 {
        copy(&Seen { tables_unfinished: seen.own_unfinished, ..*seen })
    } else if seen.has_snapshot {
        Step::GiveSnapshotUp
    } else if seen.builds_left > 0 {
        workers_for(seen, seen.builds_open)
    } else if seen.workers > 0 {
        Step::Wait
    } else {
        sync(seen)
    }
}

/// Whether the server copies is looked at anew by each process: it may have been stopped by a failure, or by somebody.
fn sync(seen: &Seen) -> Step {
    if seen.task_failed {
        Step::FailByTask
    } else if !seen.sync_started {
        Step::StartSync
    } else if seen.tables_unfinished == 0 {
        Step::NextPhase
    } else {
        Step::WatchSync
    }
}

fn snapshot_needed(seen: &Seen) -> Step {
    match seen.keeper {
        Keeper::Running => Step::AwaitSnapshot,
        Keeper::None if seen.keeper_failed => Step::HandleKeeperError,
        Keeper::None if seen.may_try_source => Step::StartKeeper,
        Keeper::None => Step::Wait,
    }
}

fn workers_for(seen: &Seen, tasks: i64) -> Step {
    let useful = u32::try_from(tasks.max(0)).unwrap_or(u32::MAX).min(seen.workers_planned);
    if useful > seen.workers && seen.may_try_source {
        Step::StartWorkers(useful - seen.workers)
    } else {
        Step::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copying() -> Seen {
        Seen {
            phase: Phase::Copy,
            by_server: false,
            by_files: false,
            own_unfinished: 5,
            sync_started: false,
            awaits_confirmation: false,
            has_slot: true,
            has_snapshot: true,
            awaits_snapshot: false,
            snapshot_too_old: false,
            snapshot_expired: false,
            keeper: Keeper::Running,
            keeper_failed: false,
            copies_open: 10,
            copies_begun: 0,
            copies_running: 0,
            copies_done: 0,
            tables_unfinished: 5,
            may_verify: false,
            verifies: 0,
            verifies_open: 0,
            builds_left: 20,
            builds_open: 0,
            task_failed: false,
            workers: 0,
            workers_planned: 4,
            timed_out: false,
            may_try_source: true,
        }
    }

    #[test]
    fn as_many_workers_as_there_is_work_for() {
        assert_eq!(decide(&copying()), Step::StartWorkers(4));
        assert_eq!(decide(&Seen { workers: 3, ..copying() }), Step::StartWorkers(1));
        assert_eq!(decide(&Seen { workers: 4, ..copying() }), Step::Wait);
        assert_eq!(decide(&Seen { copies_open: 1, ..copying() }), Step::StartWorkers(1));
        assert_eq!(decide(&Seen { may_try_source: false, ..copying() }), Step::Wait);
    }

    #[test]
    fn the_snapshot_is_given_up_when_the_last_row_is_here_and_not_before() {
        assert_eq!(decide(&Seen { tables_unfinished: 0, copies_open: 0, ..copying() }), Step::NextPhase);
        assert_ne!(decide(&Seen { copies_open: 1, copies_running: 1, ..copying() }), Step::NextPhase);
    }

    #[test]
    fn a_lost_snapshot_is_renewed_after_running_copies_ended() {
        let lost = Seen { keeper: Keeper::None, copies_running: 2, ..copying() };
        assert_eq!(decide(&lost), Step::Wait);
        assert_eq!(decide(&Seen { copies_running: 0, ..lost }), Step::RenewSnapshot);
        // A coordinator that finds no snapshot does not know what the tables hold: they are emptied first, always.
        assert_eq!(decide(&Seen { has_snapshot: false, ..copying() }), Step::RenewSnapshot);
        let renewing = Seen { has_snapshot: false, awaits_snapshot: true, keeper: Keeper::None, ..copying() };
        assert_eq!(decide(&renewing), Step::StartKeeper);
        assert_eq!(decide(&Seen { keeper: Keeper::Running, ..renewing }), Step::AwaitSnapshot);
        assert_eq!(decide(&Seen { keeper_failed: true, ..renewing }), Step::HandleKeeperError);
        assert_eq!(decide(&Seen { may_try_source: false, ..renewing }), Step::Wait);
    }

    #[test]
    fn tables_that_were_put_aside_get_a_later_snapshot() {
        let aside = Seen { copies_open: 0, tables_unfinished: 1, ..copying() };
        assert_eq!(decide(&aside), Step::RenewSnapshot);
    }

    #[test]
    fn under_an_old_snapshot_only_what_is_begun_is_finished() {
        let old = Seen { snapshot_too_old: true, workers: 4, ..copying() };
        assert_eq!(decide(&old), Step::ExpireSnapshot);
        let expired = Seen { snapshot_expired: true, copies_begun: 1, ..old };
        assert_eq!(decide(&expired), Step::Wait);
        assert_eq!(decide(&Seen { copies_begun: 0, copies_running: 1, ..expired }), Step::Wait);
        assert_eq!(decide(&Seen { copies_begun: 0, ..expired }), Step::RenewSnapshot);
        // The end of the copy needs no other snapshot.
        assert_eq!(decide(&Seen { copies_begun: 0, tables_unfinished: 0, ..expired }), Step::NextPhase);
    }

    #[test]
    fn the_server_copies_by_itself_once_it_is_told_to() {
        let server = Seen {
            by_server: true,
            own_unfinished: 0,
            builds_left: 0,
            has_snapshot: false,
            keeper: Keeper::None,
            ..copying()
        };
        assert_eq!(decide(&server), Step::StartSync);
        // No worker, keeper or snapshot of ours is wanted for it.
        let started = Seen { sync_started: true, ..server };
        assert_eq!(decide(&started), Step::WatchSync);
        assert_eq!(decide(&Seen { copies_open: 0, ..started }), Step::WatchSync);
        assert_eq!(decide(&Seen { tables_unfinished: 0, ..started }), Step::NextPhase);
        assert_eq!(decide(&Seen { task_failed: true, ..started }), Step::FailByTask);
        assert_eq!(decide(&Seen { timed_out: true, ..started }), Step::FailByTimeout);
        // A process that finds all tables copied has still to see that nobody has stopped replication.
        assert_eq!(decide(&Seen { tables_unfinished: 0, ..server }), Step::StartSync);
        // Everything else goes as it does for workers of ours.
        let before = Seen { phase: Phase::Slot, has_slot: false, ..server };
        assert_eq!(decide(&before), Step::StartKeeper);
        assert_eq!(decide(&Seen { phase: Phase::Indexes, builds_left: 0, ..started }), Step::NextPhase);
        assert_eq!(decide(&Seen { phase: Phase::Enable, ..started }), Step::DoPhase);
    }

    #[test]
    fn files_need_neither_keeper_nor_snapshot() {
        let files =
            Seen { by_files: true, has_snapshot: false, awaits_snapshot: true, keeper: Keeper::None, ..copying() };
        assert_eq!(decide(&files), Step::StartWorkers(4));
        assert_eq!(decide(&Seen { workers: 4, ..files }), Step::Wait);
        assert_eq!(decide(&Seen { tables_unfinished: 0, ..files }), Step::NextPhase);
        assert_eq!(decide(&Seen { task_failed: true, ..files }), Step::FailByTask);
        // All that is left was put aside.
        assert_eq!(decide(&Seen { copies_open: 0, ..files }), Step::RenewSnapshot);
        assert_eq!(decide(&Seen { phase: Phase::Slot, has_slot: false, ..files }), Step::DoPhase);
        // While they are written both are.
        let saving = Seen { phase: Phase::Files, ..copying() };
        assert_eq!(decide(&saving), Step::StartWorkers(4));
        assert_eq!(decide(&Seen { keeper: Keeper::None, ..saving }), Step::RenewSnapshot);
        let saved = Seen { tables_unfinished: 0, copies_open: 0, ..saving };
        assert_eq!(decide(&saved), Step::NextPhase);
        assert_eq!(decide(&Seen { workers: 1, ..saved }), Step::Wait);
    }

    #[test]
    fn large_tables_are_copied_and_indexed_before_the_server_begins() {
        let large = Seen { by_server: true, own_unfinished: 1, ..copying() };
        assert_eq!(decide(&large), Step::StartWorkers(4));
        assert_eq!(decide(&Seen { task_failed: true, ..large }), Step::FailByTask);
        assert_eq!(decide(&Seen { keeper: Keeper::None, ..large }), Step::RenewSnapshot);
        // Nothing on the source is held for index builds.
        let copied = Seen { own_unfinished: 0, copies_open: 0, workers: 1, ..large };
        assert_eq!(decide(&copied), Step::GiveSnapshotUp);
        let released = Seen { has_snapshot: false, keeper: Keeper::None, builds_open: 3, ..copied };
        assert_eq!(decide(&released), Step::StartWorkers(2));
        // Workers have joined the origin that the apply worker takes.
        let built = Seen { builds_left: 0, builds_open: 0, ..released };
        assert_eq!(decide(&built), Step::Wait);
        assert_eq!(decide(&Seen { workers: 0, ..built }), Step::StartSync);
        // One that has to be copied again, after it was rewritten, goes the same way.
        let again = Seen { sync_started: false, own_unfinished: 1, has_snapshot: false, workers: 0, ..built };
        assert_eq!(decide(&again), Step::RenewSnapshot);
    }

    #[test]
    fn a_failed_task_stops_the_operation() {
        assert_eq!(decide(&Seen { task_failed: true, ..copying() }), Step::FailByTask);
        assert_eq!(decide(&Seen { task_failed: true, phase: Phase::Indexes, ..copying() }), Step::FailByTask);
    }

    #[test]
    fn the_slot_is_made_by_the_keeper() {
        let before =
            Seen { phase: Phase::Slot, has_slot: false, has_snapshot: false, keeper: Keeper::None, ..copying() };
        assert_eq!(decide(&before), Step::StartKeeper);
        assert_eq!(decide(&Seen { keeper: Keeper::Running, ..before }), Step::AwaitSnapshot);
        assert_eq!(decide(&Seen { has_slot: true, ..before }), Step::NextPhase);
    }

    #[test]
    fn builds_end_before_the_next_phase_and_so_do_their_workers() {
        let building =
            Seen { phase: Phase::Indexes, copies_open: 0, tables_unfinished: 0, builds_open: 3, ..copying() };
        assert_eq!(decide(&building), Step::StartWorkers(3));
        let built = Seen { builds_left: 0, builds_open: 0, workers: 1, ..building };
        assert_eq!(decide(&built), Step::Wait);
        assert_eq!(decide(&Seen { workers: 0, ..built }), Step::NextPhase);
    }

    #[test]
    fn every_table_is_compared_before_one_of_them_stops_it() {
        let planned = Seen { phase: Phase::Verify, may_verify: true, ..copying() };
        assert_eq!(decide(&planned), Step::PlanVerify);
        assert_eq!(decide(&Seen { may_verify: false, ..planned }), Step::NextPhase);
        let comparing = Seen { verifies: 10, verifies_open: 3, task_failed: true, ..planned };
        assert_eq!(decide(&comparing), Step::StartWorkers(3));
        let over = Seen { verifies_open: 0, workers: 1, ..comparing };
        assert_eq!(decide(&over), Step::Wait);
        assert_eq!(decide(&Seen { workers: 0, ..over }), Step::FailByTask);
        assert_eq!(decide(&Seen { workers: 0, task_failed: false, ..over }), Step::NextPhase);
    }

    #[test]
    fn whoever_has_to_look_has_all_the_time() {
        let waiting = Seen { phase: Phase::Schema, awaits_confirmation: true, timed_out: true, ..copying() };
        assert_eq!(decide(&waiting), Step::Wait);
        assert_eq!(decide(&Seen { awaits_confirmation: false, ..waiting }), Step::FailByTimeout);
        assert_eq!(decide(&Seen { awaits_confirmation: false, timed_out: false, ..waiting }), Step::DoPhase);
    }

    #[test]
    fn time_is_over_in_every_phase_but_the_last() {
        assert_eq!(decide(&Seen { timed_out: true, ..copying() }), Step::FailByTimeout);
        assert_eq!(decide(&Seen { timed_out: true, phase: Phase::Done, ..copying() }), Step::Finished);
    }
}
