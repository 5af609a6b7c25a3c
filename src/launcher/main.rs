//! The launcher's process.

use super::decide::{decide, Wanted};
use crate::error::Result;
use crate::pg::shmem::{self, Slot};
use crate::pg::worker::{self, report_activity, Assignment, Kind};
use crate::pg::{raise, system};
use steep_repl_core::retry;

/// How long between two looks through the databases, in microseconds.
const SCAN_EVERY: i64 = 3_600_000_000;
/// How long until a look that was not complete is repeated, in microseconds.
const SCAN_AGAIN: i64 = 30_000_000;
/// How long a scanner may take, in milliseconds: somebody may hold a lock on our tables.
const SCAN_LIMIT_MS: i64 = 30_000;

/// Runs as long as the server.
pub fn run(_assignment: Assignment) -> Result<()> {
    shmem::announce_launcher();
    let mut scanned_at = None;
    loop {
        system::reload_configuration_if_asked();
        let now = system::now_micros();
        if scanned_at.is_none_or(|at| now - at > SCAN_EVERY) {
            // A database that could not be looked through is tried again soon.
            scanned_at = Some(if scan()? { now } else { now - SCAN_EVERY + SCAN_AGAIN });
        }
        note_early_ends();
        let (start, mut sleep) = decide(&look(), system::now_micros());
        for entry in &start {
            start_coordinator(entry);
        }
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

fn start_coordinator(entry: &Wanted) {
    let assignment = Assignment { operation: entry.operation, database: entry.database, role: entry.role, number: 0 };
    if worker::start(Kind::Coordinator, &assignment).is_some() {
        shmem::note_started(entry.database, entry.operation);
    } else {
        raise::log_line(&format!(
            "steep_repl: no background worker for operation {}: max_worker_processes is used up; trying again",
            entry.operation
        ));
        shmem::back_off(entry.database, entry.operation, 5_000_000);
    }
}

/// Has each database looked through for unfinished operations. False when one could not be.
fn scan() -> Result<bool> {
    report_activity(Some("looking for unfinished operations"));
    let databases = worker::connectable_databases()?;
    // What a dropped database wanted, nobody wants any more.
    for entry in shmem::entries().iter().filter(|entry| !databases.contains(&entry.database)) {
        shmem::forget(entry.database, entry.operation);
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
