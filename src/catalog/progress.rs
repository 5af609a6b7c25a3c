//! What the coordinator sees of its operation, and what it shows of it.

use super::{execute, rows, Arg};
use crate::error::{Error, Result};
use serde::Deserialize;
use steep_repl_core::errors::Problem;

/// Tasks of one kind, counted.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Counted {
    /// Tasks.
    pub tasks: i64,
    /// Their share of bytes.
    pub bytes: i64,
    /// Those of them that are done.
    pub tasks_done: i64,
    /// Bytes of those.
    pub bytes_done: i64,
    /// Pending or running: what keeps workers busy.
    pub open: i64,
    /// Failed for good.
    pub failed: i64,
}

/// A task that runs, with the server's own progress of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Running {
    /// The worker that has it.
    pub worker_pid: Option<i32>,
    /// copy, index or vacuum.
    pub kind: String,
    /// Whether the server itself does it.
    pub by_server: bool,
    /// Its share of bytes.
    pub bytes: i64,
    /// Rows it is expected to have; not positive when unknown.
    pub rows_estimated: f64,
    /// Rows that arrived.
    pub rows: i64,
    /// Bytes that arrived.
    pub bytes_arrived: i64,
    /// Share of an index build done, 0 to 1.
    pub built: f64,
    /// Its worker waits for the source.
    pub receiving: bool,
}

/// All of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Observed {
    /// Copies.
    pub copy: Counted,
    /// Index builds.
    pub index: Counted,
    /// Vacuums.
    pub vacuum: Counted,
    /// Copies that are pending or running, those of the server left out.
    pub own_copies_open: i64,
    /// Comparisons.
    pub verify: Counted,
    /// Copies that can be taken of tables that are begun.
    pub copies_begun: i64,
    /// Bytes of a base backup that are here, and in all.
    pub backup: (i64, i64),
    /// Rows of copies that are done.
    pub rows_done: i64,
    /// What runs.
    pub running: Vec<Running>,
}

/// Counts the tasks of an operation.
pub fn observe(operation: i64) -> Result<Observed> {
    rows(include_str!("../../sql/queries/progress_observe.sql"), &[Arg::Int(operation)])?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("no progress"))
}

/// What is shown.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// Rows that arrived.
    pub rows_done: i64,
    /// Share of the bytes.
    pub bytes_done: i64,
    /// Rate.
    pub rows_per_second: Option<f64>,
    /// Rate.
    pub bytes_per_second: Option<f64>,
    /// 0 to 100.
    pub overall_percent: f64,
    /// Seconds to the end.
    pub eta_seconds: Option<f64>,
    /// Behind the source, while catching up.
    pub lag_bytes: Option<i64>,
    /// Workers that run.
    pub workers_active: i64,
}

/// Shows progress.
pub fn show(operation: i64, shown: &Shown) -> Result<()> {
    execute(
        include_str!("../../sql/queries/progress_show.sql"),
        &[
            Arg::Int(operation),
            Arg::Int(shown.rows_done),
            Arg::Int(shown.bytes_done),
            Arg::MaybeFloat(shown.rows_per_second),
            Arg::MaybeFloat(shown.bytes_per_second),
            Arg::Float(shown.overall_percent),
            Arg::MaybeFloat(shown.eta_seconds),
            Arg::MaybeInt(shown.lag_bytes),
            Arg::Int(shown.workers_active),
        ],
    )
}

/// Small copies that are left, for the size of a batch.
pub fn small_tasks(operation: i64) -> Result<i64> {
    let counts: Vec<i64> = rows(
        "SELECT count(*)::text FROM steep_repl.tasks WHERE operation_id = $1 AND kind = 'copy' AND small AND status <> 'done'",
        &[Arg::Int(operation)],
    )?;
    Ok(counts.into_iter().next().unwrap_or(0))
}

/// Whether any task is neither done nor failed nor put aside: something a worker may wait for.
pub fn any_task_open(operation: i64) -> Result<bool> {
    let found: Vec<bool> = rows(include_str!("../../sql/queries/tasks_any_open.sql"), &[Arg::Int(operation)])?;
    Ok(found.into_iter().next().unwrap_or(false))
}

/// Where an operation stands, for those who wait for it.
#[derive(Debug, Clone, Deserialize)]
pub struct Brief {
    /// Status of the operation.
    pub status: String,
    /// State of its node.
    pub state: String,
    /// The step it is in.
    pub phase: String,
    /// 0 to 100.
    pub overall_percent: f64,
    /// Tables that are ready.
    pub tables_done: i64,
    /// Tables of the plan.
    pub tables_total: i64,
    /// Seconds to the end, when known.
    pub eta_seconds: Option<f64>,
    /// Behind the source, while catching up.
    pub lag_bytes: Option<i64>,
    /// What stopped it.
    pub error: Option<Problem>,
}

impl Brief {
    /// One line for a person, with the state of the node.
    pub fn words(&self) -> String {
        format!("{} {}", self.state, self.figures())
    }

    /// One line for a person.
    pub fn figures(&self) -> String {
        let mut words = format!(
            "{:.1} %, phase {}, {} of {} tables ready",
            self.overall_percent, self.phase, self.tables_done, self.tables_total
        );
        if let Some(eta) = self.eta_seconds {
            words.push_str(&format!(", about {eta:.0} s left"));
        }
        if let Some(lag) = self.lag_bytes {
            words.push_str(&format!(", {lag} bytes behind"));
        }
        words
    }
}

/// Where an operation stands.
pub fn brief(operation: i64) -> Result<Brief> {
    rows(include_str!("../../sql/queries/progress_brief.sql"), &[Arg::Int(operation)])?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("the operation is gone"))
}

/// What runs now, by table.
#[derive(Debug, Clone, Deserialize)]
pub struct Live {
    /// The operation.
    pub operation_id: i64,
    /// The table.
    pub relid: u32,
    /// Rows that arrived and are not committed.
    pub rows_arrived: i64,
    /// Bytes of the stream that arrived.
    pub bytes_arrived: i64,
    /// Share of the table's copy that runs and is done, 0 to 1.
    pub copied_share: f64,
    /// Share of an index build done, 0 to 1.
    pub index_share: f64,
}

/// What runs now, of all operations of this database.
pub fn live() -> Result<Vec<Live>> {
    rows(include_str!("../../sql/queries/progress_live.sql"), &[])
}

/// Whether tasks were ever planned: from then on rows may have been put into tables.
pub fn any_task(operation: i64) -> Result<bool> {
    let found: Vec<bool> =
        rows("SELECT EXISTS (SELECT FROM steep_repl.tasks WHERE operation_id = $1)::text", &[Arg::Int(operation)])?;
    Ok(found.into_iter().next().unwrap_or(false))
}
