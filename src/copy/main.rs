//! A copy worker.
//!
//! It takes a task, does it, notes it, and takes the next: copies first, so that the snapshot on the source is held as short
//! as possible, then index builds, then vacuums. When nothing can be taken but something is still waiting for others, it
//! waits for its latch; when nothing is left, it ends. An error of a task is noted with the task, and decides by its kind
//! whether the task is tried again; the worker itself goes on unless its connection is gone.

use super::dump::Dumping;
use super::{from_file, load, to_file, verify};
use crate::catalog::operations::{self, Operation, Transport};
use crate::catalog::tasks::{self, Task};
use crate::catalog::{events, progress, user};
use crate::error::{Error, Result};
use crate::pg::index::{self, Helpers};
use crate::pg::remote::{Connection, Target};
use crate::pg::role::override_setting;
use crate::pg::worker::{report_activity, report_name, Assignment};
use crate::pg::{origin, shmem, system, transaction, vacuum};
use crate::source::{self, backup};
use steep_repl_core::event::{self, Event};
use steep_repl_core::names::{application_name, origin_name, Part};
use steep_repl_core::plan;
use steep_repl_core::retry::{self, Verdict};

/// Tables of a batch, at most.
const BATCH: i64 = 100;
/// How long to wait for others' tasks before looking again, in milliseconds.
const IDLE_MS: i64 = 250;

struct Worker {
    operation: Operation,
    target: Target,
    number: u32,
    coordinator: i32,
    batch: i64,
    cached: bool,
    connection: Option<Connection>,
}

/// Runs until no task is left.
pub fn run(assignment: Assignment) -> Result<()> {
    let number = assignment.number;
    let mut worker = match transaction::run(|| prepare(assignment))? {
        Some(worker) => worker,
        None => return Ok(()),
    };
    report_name(&application_name(worker.operation.token()?, Part::Worker(number)));
    loop {
        system::reload_configuration_if_asked();
        match worker.claim()? {
            Claimed::Tasks(kind, taken) => {
                worker.work(kind, &taken)?;
                // A vacuum says how many rows there are; what is told of them afterwards would count them twice.
                system::report_statistics();
            }
            Claimed::Wait => {
                report_activity(None);
                system::wait_latch(IDLE_MS);
            }
            Claimed::Nothing => return Ok(()),
        }
    }
}

/// Reads the operation and joins its origin. None when there is nothing to do for it any more.
fn prepare(assignment: Assignment) -> Result<Option<Worker>> {
    let Some(operation) = operations::get(assignment.operation)? else {
        return Ok(None);
    };
    if operation.status != "running" || !operation.is_ours() {
        return Ok(None);
    }
    let Some(coordinator) = shmem::coordinator_of(system::database_oid(), operation.id) else {
        return Ok(None);
    };
    let node = crate::catalog::nodes::get(&operation.source)?;
    let target = source::target(&node, operation.requested_by)?;
    if !operation.is_generation() && !join_origin(&operation, coordinator)? {
        return Ok(None);
    }
    if operation.is_by_files() {
        // Text in the files is taken for the client's.
        override_setting("client_encoding", &operation.files()?.encoding);
    }
    let small = progress::small_tasks(operation.id)?;
    // Batches small enough that every worker gets several.
    let batch = (small / (4 * i64::from(operation.options.parallel_workers.max(1)))).clamp(1, BATCH);
    // Index builds read soon what was just written. More than fits would only drive out what others need.
    let cached = operation.bytes_total <= system::shared_buffers_bytes() / 4 * 3;
    let number = assignment.number;
    Ok(Some(Worker { number, operation, target, coordinator, batch, cached, connection: None }))
}

/// Joins the origin that the rows of an operation get. False when there is none any more.
fn join_origin(operation: &Operation, coordinator: i32) -> Result<bool> {
    let Some(subscription) = operation.subscription_oid else {
        return Ok(false);
    };
    // Into a subscription that replicates already, rows come with its apply worker's origin.
    let holder = if operation.is_refresh() {
        user::subscription(subscription)?.and_then(|found| found.apply_pid)
    } else {
        Some(coordinator)
    };
    let Some(holder) = holder else {
        return Ok(false);
    };
    origin::tag_session(&origin_name(subscription), Some(holder))?;
    Ok(true)
}

enum Kind {
    Verify,
    Copy,
    Index,
    Vacuum,
}

enum Claimed {
    Tasks(Kind, Vec<Task>),
    Wait,
    Nothing,
}

impl Worker {
    fn claim(&self) -> Result<Claimed> {
        let (operation, me, builds) = (self.operation.id, system::my_pid(), system::processors());
        transaction::run(|| {
            for (kind, name) in
                [(Kind::Verify, "verify"), (Kind::Copy, "copy"), (Kind::Index, "index"), (Kind::Vacuum, "vacuum")]
            {
                let taken = tasks::claim(operation, name, me, self.batch, builds)?;
                if !taken.is_empty() {
                    if matches!(kind, Kind::Copy) {
                        let started: Vec<Event> = taken
                            .iter()
                            .filter(|task| task.from_block.unwrap_or(0) == 0)
                            .map(|task| self.event(event::INIT_TABLE_STARTED, task).bytes(task.bytes_total))
                            .collect();
                        events::write(&started)?;
                    }
                    return Ok(Claimed::Tasks(kind, taken));
                }
            }
            Ok(if progress::any_task_open(operation)? { Claimed::Wait } else { Claimed::Nothing })
        })
    }

    fn event(&self, name: &str, task: &Task) -> Event {
        Event::info(name)
            .operation_id(self.operation.id)
            .node(&self.operation.node)
            .source(&self.operation.source)
            .table(task.table())
    }

    /// Does what was taken, and notes what came of it.
    fn work(&mut self, kind: Kind, taken: &[Task]) -> Result<()> {
        let Some(first) = taken.first() else { return Ok(()) };
        failpoint!(TaskTaken)?;
        let name = first.table();
        let more = if taken.len() > 1 { format!(" and {} more", taken.len() - 1) } else { String::new() };
        let (verb, outcome) = match kind {
            Kind::Copy => {
                report_activity(Some(&format!("copying {name}{more}")));
                ("copy", self.copy(taken))
            }
            Kind::Verify => {
                report_activity(Some(&format!("comparing {name}")));
                ("verify", self.verify(first))
            }
            Kind::Index => {
                report_activity(Some(&format!("building index {} of {name}", first.index_oid.unwrap_or(0))));
                ("index", build_index(self.operation.id, first))
            }
            Kind::Vacuum => {
                report_activity(Some(&format!("vacuuming {name}{more}")));
                ("vacuum", self.vacuum(taken))
            }
        };
        match outcome {
            Ok(freed) => {
                if freed > 0 {
                    // Others may be waiting for just these tasks; the coordinator wakes them.
                    system::wake(self.coordinator);
                }
                Ok(())
            }
            Err(error) => self.give_back(verb, taken, &error),
        }
    }

    fn copy(&mut self, taken: &[Task]) -> Result<usize> {
        if self.operation.is_by_files() && !self.operation.is_saving() {
            let loaded = from_file::load(taken, self.operation.files()?, self.cached)?;
            failpoint!(RowsCommitted)?;
            self.defer(taken, &loaded.unclear, |table| Error::LeftOvers { table })?;
            return Ok(loaded.freed);
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let from = self.from(taken)?;
                transaction::run_without_snapshot(|| source::open(&self.operation, &from, Part::Worker(self.number)))?
            }
        };
        let loaded = if self.operation.is_saving() {
            to_file::save(&connection, taken, self.operation.files()?)?
        } else {
            let dumping = Dumping { target: &self.target, token: self.operation.token()?, number: self.number };
            load::load(&connection, taken, self.cached, &dumping)?
        };
        failpoint!(RowsCommitted)?;
        // Kept only after success: an error may have left it in any state.
        self.connection = Some(connection);
        self.defer(taken, &loaded.rewritten, |table| Error::Rewritten { table })?;
        self.defer(taken, &loaded.unclear, |table| Error::LeftOvers { table })?;
        Ok(loaded.freed)
    }

    /// Where rows are read: the source, or the private server over a backup of it.
    fn from(&self, taken: &[Task]) -> Result<Target> {
        let from_backup = taken.first().filter(|task| task.transport == Transport::BaseBackup);
        let Some(conninfo) = from_backup.and_then(|task| task.snapshot.as_deref()) else {
            return Ok(self.target.clone());
        };
        Ok(backup::private_target(&self.target.node, source::parse(&self.target.node, conninfo)?))
    }

    /// Compares a table with the source's. One that cannot be compared any more is said, and passed over.
    fn verify(&mut self, task: &Task) -> Result<usize> {
        let (Some(snapshot), Some(at)) = (self.operation.options.verify.clone(), self.operation.start_lsn) else {
            return Err(Error::internal("a comparison without a snapshot"));
        };
        let started = system::now_micros();
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => transaction::run_without_snapshot(|| {
                source::open(&self.operation, &self.target, Part::Worker(self.number))
            })?,
        };
        let (rows, said) = match verify::compare(&connection, task, &snapshot, at) {
            Ok(rows) => {
                self.connection = Some(connection);
                (Some(rows), Vec::new())
            }
            Err(Error::SnapshotLost { .. }) => {
                let mut event = self.event("init.table_not_compared", task).message(
                    "its rows are taken as they are: the snapshot that they could be compared under is not kept any more",
                );
                event.severity = event::Severity::Warning;
                (None, vec![event])
            }
            Err(error) => return Err(error),
        };
        failpoint!(TableCompared)?;
        let ms = (system::now_micros() - started) as f64 / 1000.0;
        transaction::run(|| {
            tasks::finish_verify(task.id, rows, ms)?;
            events::write(&said)
        })?;
        Ok(0)
    }

    /// Puts tables aside that cannot be read under this snapshot any more.
    fn defer(&self, taken: &[Task], aside: &[i64], why: fn(String) -> Error) -> Result<()> {
        if aside.is_empty() {
            return Ok(());
        }
        transaction::run(|| {
            let tables: Vec<&Task> = taken.iter().filter(|task| aside.contains(&task.id)).collect();
            let mut noted = Vec::new();
            for task in &tables {
                let problem = why(task.table()).problem();
                if !tasks::defer(task.id, &problem)? {
                    continue;
                }
                let mut event = self.event("init.table_deferred", task).message(problem.message);
                event.severity = event::Severity::Warning;
                noted.push(event);
            }
            events::write(&noted)
        })?;
        system::wake(self.coordinator);
        Ok(())
    }

    /// Vacuums, or only analyzes what was loaded frozen.
    fn vacuum(&self, taken: &[Task]) -> Result<usize> {
        for frozen in [true, false] {
            let relids: Vec<u32> = taken.iter().filter(|task| task.frozen == frozen).map(|task| task.relid).collect();
            if !relids.is_empty() {
                vacuum::vacuum(&relids, !frozen)?;
            }
        }
        failpoint!(Vacuumed)?;
        let ids: Vec<i64> = taken.iter().map(|task| task.id).collect();
        transaction::run(|| {
            let finished = tasks::finish_vacuums(&ids)?;
            let complete: Vec<Event> = finished
                .iter()
                .map(|table| {
                    Event::info(event::INIT_TABLE_COMPLETE)
                        .operation_id(self.operation.id)
                        .node(&self.operation.node)
                        .source(&self.operation.source)
                        .table(&table.table)
                        .rows(table.rows)
                        .bytes(table.bytes)
                        .duration_ms(table.ms as i64)
                })
                .collect();
            events::write(&complete)
        })?;
        Ok(ids.len())
    }

    /// Notes an error with its tasks; what happens to them next depends on its kind.
    fn give_back(&mut self, kind: &str, taken: &[Task], error: &Error) -> Result<()> {
        let relids: Vec<u32> = taken.iter().map(|task| task.relid).collect();
        let error = &transaction::run(|| Ok(user::with_lock_holders(error.clone(), &relids, "End that.")))?;
        let problem = error.problem();
        let verdict = error.verdict();
        let attempts = taken.iter().map(|task| task.attempts).max().unwrap_or(0) + 1;
        let counts = verdict == Verdict::RetryTask;
        // A batch is split by its first failure, which therefore is nobody's fault yet.
        let fails = match verdict {
            Verdict::Fail => taken.len() == 1,
            Verdict::RetryTask => taken.len() == 1 && attempts > self.operation.options.max_retries,
            Verdict::RetrySource | Verdict::SnapshotLost => false,
        };
        let counts = counts || verdict == Verdict::Fail;
        let pause = if taken.len() > 1 { 0 } else { retry::backoff_ms(attempts) };
        let ids: Vec<i64> = taken.iter().map(|task| task.id).collect();
        self.connection = None;
        failpoint!(TaskFailed)?;
        transaction::run(|| {
            tasks::give_back(&ids, &problem, counts, fails, pause as f64)?;
            if verdict == Verdict::SnapshotLost {
                if let Some(snapshot) = taken.first().and_then(|task| task.snapshot.as_deref()) {
                    operations::forget_snapshot(self.operation.id, snapshot)?;
                }
            }
            let mut event = match taken {
                [one] => self.event(event::INIT_TABLE_FAILED, one),
                _ => Event::info(event::INIT_TABLE_FAILED)
                    .operation_id(self.operation.id)
                    .node(&self.operation.node)
                    .source(&self.operation.source),
            };
            event.severity = if fails { event::Severity::Error } else { event::Severity::Warning };
            let what = format!("{kind} failed: {}", problem.message);
            event = event.sqlstate(&problem.sqlstate).message(what);
            if let Some(hint) = &problem.hint {
                event = event.hint(hint);
            }
            events::write(&[event])
        })?;
        system::wake(self.coordinator);
        if verdict == Verdict::RetrySource {
            // The coordinator decides when the source is worth another try.
            return Err(error.clone());
        }
        Ok(())
    }
}

fn build_index(operation: i64, task: &Task) -> Result<usize> {
    let Some(index) = task.index_oid else {
        return Err(Error::internal("an index build without an index"));
    };
    let started = system::now_micros();
    transaction::run(|| {
        let (ordered, scattered) = plan::helpers(tasks::open_builds(operation)?, system::processors());
        index::rebuild(task.relid, index, Some(Helpers { ordered, scattered }))?;
        failpoint!(IndexBuilt)?;
        tasks::finish_index(task.id, (system::now_micros() - started) as f64 / 1000.0)
    })
}
