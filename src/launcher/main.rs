//! The launcher's process.

use super::decide::{decide, Wanted};
use crate::error::Result;
use crate::pg::shmem::{self, Slot};
use crate::pg::worker::{self, report_activity, Assignment, Kind};
use crate::pg::{raise, system};
use steep_repl_core::retry;

/// How long between two looks through the databases, in microseconds.
const SCAN_EVERY: i64 = 3_600_000_000;

/// Runs as long as the server.
pub fn run(_assignment: Assignment) -> Result<()> {
    shmem::announce_launcher();
    let mut scanned_at = None;
    loop {
        system::reload_configuration_if_asked();
        let now = system::now_micros();
        if scanned_at.is_none_or(|at| now - at > SCAN_EVERY) {
            scan()?;
            scanned_at = Some(now);
        }
        note_early_ends();
        let (start, sleep) = decide(&look(), system::now_micros());
        for entry in &start {
            start_coordinator(entry);
        }
        report_activity(None);
        system::wait_latch(sleep / 1000);
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

/// Has each database looked through for unfinished operations.
fn scan() -> Result<()> {
    report_activity(Some("looking for unfinished operations"));
    for database in worker::connectable_databases()? {
        let assignment = Assignment { operation: 0, database, role: 0, number: 0 };
        if let Err(error) = worker::run_to_end(Kind::Scanner, &assignment) {
            raise::log_line(&format!(
                "steep_repl: database {database} was not looked through: {}",
                error.problem().message
            ));
        }
    }
    Ok(())
}
