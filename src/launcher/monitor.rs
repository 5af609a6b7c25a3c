//! The monitor: looks at the source of a database that replicates, for tables that came after its initialization, and ends.
//!
//! One runs at a time, however many databases there are and however slow their sources. It writes only what has changed, so that a node for which all is well takes no transaction id.

use crate::catalog::operations::{self, Operation};
use crate::catalog::snapshots::{self, Known};
use crate::catalog::{events, nodes, ownership};
use crate::coordinator::{self, heir};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use crate::pg::worker::{self, Assignment, Handle, Kind, Status};
use crate::pg::{raise, role, shmem, transaction};
use crate::schema::{self, joining};
use crate::settings;
use crate::source::{self, publication};
use steep_repl_core::event::Event;
use steep_repl_core::names::{application_name, Part};
use steep_repl_core::retry::Verdict;

/// How long a monitor may take, in microseconds.
const MONITOR_LIMIT: i64 = 60_000_000;
/// How long a source may take to answer, in seconds.
const ANSWER_LIMIT: f64 = 30.0;

/// The launcher's account of them.
pub struct Monitors {
    looked_at: i64,
    due: Vec<u32>,
    running: Option<(Handle, i64)>,
}

impl Monitors {
    /// The first look comes one interval from now.
    pub fn new(now: i64) -> Self {
        Monitors { looked_at: now, due: Vec::new(), running: None }
    }

    /// Starts what is due; returns how long to sleep, in microseconds. Who asks is woken when one ends.
    pub fn turn(&mut self, now: i64) -> i64 {
        let (watched, every) = (shmem::watched(), settings::source_check_interval());
        let every = if watched.is_empty() { 0 } else { every };
        if every == 0 {
            self.due.clear();
        } else if now - self.looked_at >= every {
            self.looked_at = now;
            self.due = watched;
        }
        if let Some((handle, deadline)) = &self.running {
            if handle.status() != Status::Stopped {
                if now >= *deadline {
                    handle.terminate();
                }
                return (*deadline - now).max(1_000_000);
            }
        }
        self.running = None;
        if let Some(database) = self.due.pop() {
            let assignment = Assignment { operation: 0, database, role: 0, number: 0 };
            match worker::start(Kind::Monitor, &assignment) {
                Some(handle) => self.running = Some((handle, now + MONITOR_LIMIT)),
                None => raise::log_line(&format!(
                    "steep_repl: the source of database {database} was not looked at: max_worker_processes is used up"
                )),
            }
        }
        match every {
            0 => i64::MAX,
            _ if self.running.is_some() => MONITOR_LIMIT,
            // What could not be started is tried again with the next round, not at once.
            _ => (self.looked_at + every - now).max(1_000_000),
        }
    }
}

/// Runs once.
pub fn run(assignment: Assignment) -> Result<()> {
    let replicating =
        transaction::run(|| if role::extension_exists() { nodes::replicating() } else { Ok(Vec::new()) })?;
    let kept = transaction::run(|| if role::extension_exists() { snapshots::all() } else { Ok(Vec::new()) })?;
    if replicating.is_empty() && kept.is_empty() {
        shmem::unwatch(assignment.database);
    }
    for known in kept {
        match look_after(assignment.database, &known) {
            Err(error) if error.is_interrupt() => return Err(error),
            // The others are looked after all the same.
            Err(error) => note_neglected(&known, &error)?,
            Ok(()) => {}
        }
    }
    for node in replicating {
        look(&node)?;
    }
    Ok(())
}

/// Drops a snapshot whose time is over; looks at what others hold back.
fn look_after(database: u32, known: &Known) -> Result<()> {
    let found = transaction::run(|| Ok(operations::get(known.operation)?.filter(Operation::is_ours)))?;
    let Some(operation) = found else { return Ok(()) };
    // Its files are in use until a node of this database has been filled from them.
    let is_over = known.expired
        && known.status != "dropping"
        && transaction::run(|| snapshots::loaded_by(&known.path))?.is_none();
    if is_over {
        return expire(database, &operation, known);
    }
    if known.status == "dropping" {
        return Ok(());
    }
    let target = transaction::run(|| {
        let Some(asks) = ownership::successor(&operation)? else { return Ok(None) };
        source::target(&nodes::get(&operation.source)?, asks).map(Some)
    })?;
    let Some(target) = target else { return Ok(()) };
    let name = application_name(operation.token()?, Part::Check);
    // That a source is away is told where it matters.
    let Ok(mut connection) = transaction::run_without_snapshot(|| Connection::open(&target, &name)) else {
        return Ok(());
    };
    connection.limit_answers(ANSWER_LIMIT);
    coordinator::look(&operation, operation.files()?, &connection)?;
    if known.status == "complete" && operation.error.is_some() {
        transaction::run(|| operations::clear_error(operation.id))?;
    }
    Ok(())
}

/// Has a snapshot dropped whose time is over, with the rights of who asked for it, or of the owner of its source when that one cannot.
fn expire(database: u32, operation: &Operation, known: &Known) -> Result<()> {
    let event = Event::info("snapshot.expired")
        .operation_id(operation.id)
        .source(&operation.source)
        .message(format!("snapshot {} is dropped: its time is over", known.id));
    let drops = transaction::run(|| {
        let Some(drops) = ownership::successor(operation)? else {
            return Err(Error::RoleGone { operation: operation.id, way_out: operation.taken_over_by() });
        };
        if drops != operation.requested_by {
            heir::give(operation, drops)?;
        }
        snapshots::request_drop(operation.id)?;
        events::write(&[event])?;
        Ok(drops)
    })?;
    shmem::want(database, drops, operation.id);
    // One that is at work has still to learn of it.
    shmem::wake_coordinator(database, operation.id);
    shmem::wake_launcher();
    Ok(())
}

/// Says what keeps a snapshot from being looked after, or from being dropped when its time is over.
fn note_neglected(known: &Known, error: &Error) -> Result<()> {
    // That a source is away is told where it matters.
    if error.verdict() == Verdict::RetrySource {
        return Ok(());
    }
    let problem = error.problem();
    let mut event = Event::warning("snapshot.neglected")
        .operation_id(known.operation)
        .source(&known.source)
        .sqlstate(&problem.sqlstate)
        .message(format!("snapshot {}: {}", known.id, problem.message));
    event.hint.clone_from(&problem.hint);
    transaction::run(|| {
        // Of others the error is what has stopped them.
        if known.status == "complete" {
            operations::note_error(known.operation, &problem)?;
        }
        events::write_once(event)
    })
}

fn look(node: &str) -> Result<()> {
    let prepared = transaction::run(|| {
        let Some(base) = operations::origin_of(node)?.filter(operations::Operation::is_ours) else { return Ok(None) };
        // Whoever had the node initialized may have gone.
        let local = nodes::get(node)?;
        let asks = if role::exists(base.requested_by) { base.requested_by } else { local.owner };
        let target = source::target(&nodes::get(&base.source)?, asks)?;
        Ok(Some((base, target)))
    })?;
    let Some((base, target)) = prepared else { return Ok(()) };
    let name = application_name(base.token()?, Part::Check);
    let mut connection = transaction::run_without_snapshot(|| Connection::open(&target, &name))?;
    connection.limit_answers(ANSWER_LIMIT);
    let inventory = transaction::run_without_snapshot(|| schema::source_inventory(&connection, false))?;
    let published = transaction::run_without_snapshot(|| publication::members(&connection, &base.publications))?;
    transaction::run(|| {
        let joins = joining::with_members(published, &base)?;
        joining::note_unsubscribed(&base, &joining::unsubscribed(&base, &joins, &inventory)?)
    })
}
