//! Rows of `steep_repl.tasks`: taking, finishing, giving back.

use super::operations::Transport;
use super::{execute, json, rows, write, Arg};
use crate::error::{Error, Result};
use crate::pg::transaction;
use serde::{Deserialize, Serialize};
use steep_repl_core::errors::Problem;
use steep_repl_core::ident::display_ident;
use steep_repl_core::lsn::Lsn;

/// A task as it is planned.
#[derive(Debug, Serialize)]
pub struct NewTask {
    /// The table here.
    pub relid: u32,
    /// copy, index, vacuum or verify.
    pub kind: &'static str,
    /// Order among its kind.
    pub position: i32,
    /// First block of a range.
    pub from_block: Option<u32>,
    /// Block after it.
    pub to_block: Option<u32>,
    /// Share of the table's size.
    pub bytes: i64,
    /// Taken in a batch.
    pub small: bool,
    /// waiting or pending.
    pub status: &'static str,
}

/// A task that a worker has taken, with what it must know of its table.
#[derive(Debug, Clone, Deserialize)]
pub struct Task {
    /// Its number.
    pub id: i64,
    /// The table here.
    pub relid: u32,
    /// Index to build.
    pub index_oid: Option<u32>,
    /// First block of a range; none for a whole table.
    pub from_block: Option<u32>,
    /// Block after it; none when open-ended.
    pub to_block: Option<u32>,
    /// Share of the table's size.
    pub bytes: i64,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Times a worker took it since its table was last empty, this one included.
    pub claims: u32,
    /// Schema.
    pub table_schema: String,
    /// Name.
    pub table_name: String,
    /// OID on the source.
    pub source_relid: u32,
    /// Columns that are copied.
    pub columns: Vec<String>,
    /// binary or text.
    pub format: String,
    /// Loaded with its indexes on.
    pub keeps_indexes: bool,
    /// Of access method heap on the source.
    pub heap: bool,
    /// The pages of the table are about full on the source.
    pub packed: bool,
    /// How its rows get here.
    pub transport: Transport,
    /// The only copy task of its table, and one that may lock it.
    pub single: bool,
    /// All rows so far were loaded frozen.
    pub frozen: bool,
    /// Blocks of the table's main fork on the source.
    pub pages: i64,
    /// Size of the table on the source, TOAST included.
    pub bytes_total: i64,
    /// Snapshot to copy under.
    pub snapshot: Option<String>,
    /// What that snapshot stands for.
    pub snapshot_lsn: Option<Lsn>,
    /// What the snapshot is, so that another one of the same name is not taken for it.
    pub snapshot_contents: Option<String>,
}

impl Task {
    /// The table's name for people.
    pub fn table(&self) -> String {
        format!("{}.{}", display_ident(&self.table_schema), display_ident(&self.table_name))
    }
}

/// What came of a copy.
#[derive(Debug, Serialize)]
pub struct Copied {
    /// The task.
    pub id: i64,
    /// Its table.
    pub relid: u32,
    /// Rows that arrived.
    pub rows: i64,
    /// Share of the table's size.
    pub bytes: i64,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// Loaded frozen.
    pub frozen: bool,
    /// What the snapshot stands for that they were read under.
    pub snapshot_lsn: Option<Lsn>,
    /// `relfilenode` of the table on the source under it.
    pub source_filenode: u32,
    /// Its `relnatts`.
    pub source_natts: i16,
}

/// What noting the end of tasks did.
#[derive(Debug, Deserialize)]
struct Ended {
    finished: usize,
    freed: usize,
}

fn ended(rows: Vec<Ended>, expected: usize) -> Result<usize> {
    match rows.into_iter().next() {
        Some(ended) if ended.finished == expected => Ok(ended.freed),
        // The transaction goes, and with it what it did: somebody else has the task now.
        _ => Err(Error::TaskTaken),
    }
}

/// Stores the tasks of an operation, and how many of each a table has.
pub fn insert(operation: i64, tasks: &[NewTask]) -> Result<()> {
    execute(include_str!("../../sql/queries/tasks_insert.sql"), &[Arg::Int(operation), Arg::Text(&json(&tasks)?)])
}

/// Stores further tasks of tables whose copies are counted already.
pub fn add(operation: i64, tasks: &[NewTask]) -> Result<()> {
    execute(
        "INSERT INTO steep_repl.tasks (operation_id, relid, kind, position, from_block, to_block, bytes, small, status) \
         SELECT $1, t.relid::oid, t.kind, t.position, t.from_block, t.to_block, t.bytes, t.small, t.status \
         FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS t (relid bigint, kind text, position integer, from_block bigint, to_block bigint, \
         bytes bigint, small boolean, status text)",
        &[Arg::Int(operation), Arg::Text(&json(&tasks)?)],
    )
}

/// Adds a build for each suspended index of the given tables.
pub fn insert_index_tasks(operation: i64, relids: &[u32]) -> Result<()> {
    execute(
        include_str!("../../sql/queries/tasks_insert_indexes.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&relids)?)],
    )
}

/// Takes the next task of a kind for the worker `pid`; small ones up to `batch` together, and no more than `builds` index builds at a time.
/// Empty when there is none now.
pub fn claim(operation: i64, kind: &str, pid: i32, batch: i64, builds: i64) -> Result<Vec<Task>> {
    if kind == "index" {
        // Builds are counted by one worker after the other: a statement does not see what another one has just taken.
        transaction::one_at_a_time(operation);
    }
    write(
        include_str!("../../sql/queries/tasks_claim.sql"),
        &[Arg::Int(operation), Arg::Text(kind), Arg::Int(i64::from(pid)), Arg::Int(batch), Arg::Int(builds)],
    )
}

/// Copies and index builds of an operation that are still to be done, or under way.
pub fn open_builds(operation: i64) -> Result<i64> {
    let found: Vec<i64> = rows(
        "SELECT count(*)::text FROM steep_repl.tasks t \
         WHERE t.operation_id = $1 AND t.kind IN ('copy', 'index') AND t.status IN ('waiting', 'pending', 'running')",
        &[Arg::Int(operation)],
    )?;
    Ok(found.into_iter().next().unwrap_or(0))
}

/// Marks copies done, in the transaction of their rows, and frees the tasks that waited for them; returns how many.
pub fn finish_copies(copied: &[Copied]) -> Result<usize> {
    let rows = write(include_str!("../../sql/queries/tasks_finish_copies.sql"), &[Arg::Text(&json(&copied)?)])?;
    ended(rows, copied.len())
}

/// Marks an index build done, in the transaction of the build, and frees the vacuum that waited for it; returns how many.
pub fn finish_index(task: i64, ms: f64) -> Result<usize> {
    let rows = write(include_str!("../../sql/queries/tasks_finish_index.sql"), &[Arg::Int(task), Arg::Float(ms)])?;
    ended(rows, 1)
}

/// Marks tables done after their vacuum; returns what they took.
pub fn finish_vacuums(tasks: &[i64]) -> Result<Vec<Finished>> {
    write(include_str!("../../sql/queries/tasks_finish_vacuums.sql"), &[Arg::Text(&json(&tasks)?)])
}

/// Marks a table compared: it holds so many rows, those of the source. None: it could not be compared.
pub fn finish_verify(task: i64, rows: Option<i64>, ms: f64) -> Result<()> {
    execute(
        include_str!("../../sql/queries/tasks_finish_verify.sql"),
        &[Arg::Int(task), Arg::MaybeInt(rows), Arg::Float(ms)],
    )
}

/// What was found of the tables that do not hold the source's rows, in words.
pub fn differing(operation: i64) -> Result<Vec<String>> {
    rows(
        "SELECT pg_catalog.to_jsonb(coalesce(t.error ->> 'detail', t.error ->> 'message'))::text FROM steep_repl.tasks t \
         WHERE t.operation_id = $1 AND t.kind = 'verify' AND t.status = 'failed' ORDER BY t.position",
        &[Arg::Int(operation)],
    )
}

/// Marks all tables done: they were here before.
pub fn finish_tables(operation: i64) -> Result<()> {
    execute(
        "UPDATE steep_repl.operation_tables SET status = 'done', finished_at = pg_catalog.clock_timestamp() \
         WHERE operation_id = $1 AND status <> 'done'",
        &[Arg::Int(operation)],
    )
}

/// Gives tasks back after an error: to be tried again after `pause_ms`, or failed for good.
pub fn give_back(tasks: &[i64], problem: &Problem, counts: bool, fails: bool, pause_ms: f64) -> Result<()> {
    execute(
        include_str!("../../sql/queries/tasks_give_back.sql"),
        &[
            Arg::Text(&json(&tasks)?),
            Arg::Text(&json(problem)?),
            Arg::Bool(counts),
            Arg::Bool(fails),
            Arg::Float(pause_ms / 1000.0),
        ],
    )
}

/// Puts the table of a task aside until there is a later snapshot: what is left of it cannot be read under this one. False when
/// it was put aside already.
pub fn defer(task: i64, problem: &Problem) -> Result<bool> {
    let newly: Vec<u32> = write(
        include_str!("../../sql/queries/tasks_defer.sql"),
        &[Arg::Text(&json(&[task])?), Arg::Text(&json(problem)?)],
    )?;
    Ok(!newly.is_empty())
}

/// Puts tables aside that were copied already, or whose copy has failed, to be copied anew. Gives those that were not put aside already.
pub fn defer_tables(operation: i64, relids: &[u32]) -> Result<Vec<u32>> {
    write(include_str!("../../sql/queries/tables_defer.sql"), &[Arg::Int(operation), Arg::Text(&json(&relids)?)])
}

/// A table that no finished copy stands for yet, and must be copied whole under a new snapshot.
#[derive(Debug, Clone, Deserialize)]
pub struct Unfinished {
    /// The table here.
    pub relid: u32,
    /// Schema.
    pub table_schema: String,
    /// Name.
    pub table_name: String,
    /// Some of its rows may be here already, or its indexes were brought back meanwhile.
    pub touched: bool,
    /// How its rows get here.
    pub transport: Transport,
    /// Put aside because it was rewritten on the source.
    pub deferred: bool,
    /// Times it was put aside.
    pub deferrals: u32,
}

/// Tables that are not wholly copied.
pub fn unfinished_tables(operation: i64) -> Result<Vec<Unfinished>> {
    rows(include_str!("../../sql/queries/tables_unfinished.sql"), &[Arg::Int(operation)])
}

/// Makes all copies of these tables pending again, to be done under a new snapshot.
pub fn restart_tables(operation: i64, relids: &[u32]) -> Result<()> {
    execute(include_str!("../../sql/queries/tables_restart.sql"), &[Arg::Int(operation), Arg::Text(&json(&relids)?)])
}

/// Notes that a table has another OID on the source now.
pub fn set_source_relid(operation: i64, relid: u32, source_relid: u32) -> Result<()> {
    execute(
        "UPDATE steep_repl.operation_tables SET source_relid = $3::oid WHERE operation_id = $1 AND relid = $2::oid",
        &[Arg::Int(operation), Arg::Int(i64::from(relid)), Arg::Int(i64::from(source_relid))],
    )
}

/// Tables that were copied under a later snapshot than the one replication starts at, with its LSN.
pub fn later_tables(operation: i64) -> Result<Vec<(u32, Lsn)>> {
    rows(include_str!("../../sql/queries/tables_later.sql"), &[Arg::Int(operation)])
}

/// What a finished table took, for its event.
#[derive(Debug, Clone, Deserialize)]
pub struct Finished {
    /// Schema-qualified.
    pub table: String,
    /// Rows.
    pub rows: i64,
    /// Size on the source.
    pub bytes: i64,
    /// Copying and index time of all workers, in milliseconds.
    pub ms: f64,
}

/// Makes tasks pending again whose worker is not among the running ones any more. Returns how many.
pub fn recover(operation: i64) -> Result<usize> {
    let ids: Vec<i64> = write(include_str!("../../sql/queries/tasks_recover.sql"), &[Arg::Int(operation)])?;
    Ok(ids.len())
}

/// A task that failed for good.
#[derive(Debug, Deserialize)]
pub struct Failed {
    /// Its table here.
    pub relid: u32,
    /// Its table, schema-qualified.
    pub table: String,
    /// copy, index or vacuum.
    pub kind: String,
    /// How the table's rows get here.
    pub transport: Transport,
    /// What stopped it.
    pub error: Problem,
}

/// The first task that failed for good.
pub fn first_failed(operation: i64) -> Result<Option<Failed>> {
    Ok(rows(include_str!("../../sql/queries/tasks_failed.sql"), &[Arg::Int(operation)])?.into_iter().next())
}

/// How many tables are not wholly copied, those that the server copies left out.
pub fn unfinished_count(operation: i64) -> Result<i64> {
    let counts: Vec<i64> = rows(
        "SELECT count(*)::text FROM steep_repl.operation_tables WHERE operation_id = $1 AND copies_left > 0 AND transport <> 'server'",
        &[Arg::Int(operation)],
    )?;
    Ok(counts.into_iter().next().unwrap_or(0))
}

/// How many copies are done, of all tables.
pub fn copies_done(operation: i64) -> Result<i64> {
    let counts: Vec<i64> = rows(
        "SELECT count(*)::text FROM steep_repl.tasks WHERE operation_id = $1 AND kind = 'copy' AND status = 'done'",
        &[Arg::Int(operation)],
    )?;
    Ok(counts.into_iter().next().unwrap_or(0))
}
