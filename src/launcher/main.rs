//! The launcher's process.

use super::decide::{decide, Wanted};
use super::monitor::Monitors;
use crate::error::Result;
use crate::pg::shmem::{self, Slot};
use crate::pg::worker::{self, report_activity, Assignment, Kind};
use crate::pg::{raise, role, system, transaction};
use steep_repl_core::retry;

/// How long between two looks through the databases, in microseconds.
const SCAN_EVERY: i64 = 3_600_000_000;
/// How long until a look that was not complete is repeated, in microseconds.
const SCAN_AGAIN: i64 = 30_000_000;
/// How long a scanner may take, in milliseconds: somebody may hold a lock on our tables.
const SCAN_LIMIT_MS: i64 = 30_000;

/// Coordinators that ended in a row, after which it is looked whether their database is still there.
const FAILURES_BEFORE_LOOK: u32 = 3;

/// Whether a database is there; the list is read when it is first asked for.
fn is_there(database: u32, known: &mut Option<Vec<u32>>) -> Result<bool> {
    if known.is_none() {
        *known = Some(worker::connectable_databases()?);
    }
    Ok(known.as_ref().is_some_and(|known| known.contains(&database)))
}

/// Runs as long as the server.
pub fn run(_assignment: Assignment) -> Result<()> {
    shmem::announce_launcher();
    let mut scanned_at = None;
    let mut monitors = Monitors::new(system::now_micros());
    loop {
        system::reload_configuration_if_asked();
        let now = system::now_micros();
        if scanned_at.is_none_or(|at| now - at > SCAN_EVERY) {
            // A database that could not be looked through is tried again soon.
            scanned_at = Some(if scan()? { now } else { now - SCAN_EVERY + SCAN_AGAIN });
        }
        note_early_ends();
        let (start, mut sleep) = decide(&look(), system::now_micros());
        let mut known = None;
        for entry in &start {
            // Again and again is for somebody who is not there any more.
            if entry.failures >= FAILURES_BEFORE_LOOK && !is_there(entry.database, &mut known)? {
                shmem::forget(entry.database, entry.operation);
                continue;
            }
            start_coordinator(entry)?;
        }
        sleep = sleep.min(monitors.turn(system::now_micros()));
        if let Some(at) = scanned_at {
            sleep = sleep.min((at + SCAN_EVERY - system::now_micros()).max(0));
        }
        report_activity(None);
        system::wait_latch(sleep / 1000 + 1);
    }
}

fn look() -> Vec<Wanted> {
    shmem::entries()
        .iter()
        .filter(|entry| entry.slot == Slot::Wanted)
        .map(|entry| Wanted {
            database: entry.database,
            role: entry.role,
            operation: entry.operation,
            has_coordinator: entry.coordinator != 0,
            started_at: entry.started_at,
            not_before: entry.not_before,
            failures: entry.failures,
        })
        .collect()
}

/// A coordinator that ended while its operation is still wanted is not replaced at once: what ended it may end the next too.
fn note_early_ends() {
    for entry in shmem::entries() {
        if entry.slot == Slot::Wanted && entry.ended_early {
            let pause = retry::backoff_ms(entry.failures + 1) as i64 * 1000;
            shmem::back_off(entry.database, entry.operation, pause);
        }
    }
}

fn start_coordinator(entry: &Wanted) -> Result<()> {
    // A role that was dropped can start nothing. A coordinator without one does no more than say so, and end.
    let role = if transaction::run(|| Ok(role::exists(entry.role)))? { entry.role } else { 0 };
    let assignment = Assignment { operation: entry.operation, database: entry.database, role, number: 0 };
    if worker::start(Kind::Coordinator, &assignment).is_some() {
        failpoint!(CoordinatorAsked)?;
        shmem::note_started(entry.database, entry.operation);
    } else {
        raise::log_line(&format!(
            "steep_repl: no background worker for operation {}: max_worker_processes is used up; trying again",
            entry.operation
        ));
        shmem::note_starved(entry.database, entry.operation, 5_000_000);
    }
    Ok(())
}

/// Has each database looked through for unfinished operations. False when one could not be.
fn scan() -> Result<bool> {
    report_activity(Some("looking for unfinished operations"));
    let databases = worker::connectable_databases()?;
    // What a dropped database wanted, nobody wants any more.
    for entry in shmem::entries().iter().filter(|entry| !databases.contains(&entry.database)) {
        shmem::forget(entry.database, entry.operation);
    }
    for database in shmem::watched().iter().filter(|database| !databases.contains(database)) {
        shmem::unwatch(*database);
    }
    let mut all = true;
    for database in databases {
        let assignment = Assignment { operation: 0, database, role: 0, number: 0 };
        let looked = match worker::run_to_end(Kind::Scanner, &assignment, SCAN_LIMIT_MS) {
            Ok(in_time) => in_time,
            Err(error) => {
                raise::log_line(&format!("steep_repl: {}", error.problem().message));
                false
            }
        };
        if !looked {
            raise::log_line(&format!("steep_repl: database {database} was not looked through; trying again later"));
            all = false;
        }
    }
    Ok(all)
}
