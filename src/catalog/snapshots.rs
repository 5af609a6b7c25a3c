//! Portable snapshots: which there are, and the files of their tasks.

use super::{execute, json, maybe, rows, write, Arg};
use crate::error::Result;
use serde::{Deserialize, Serialize};
use steep_repl_core::lsn::Lsn;

/// A snapshot of this node, as `steep_repl.snapshots` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Known {
    /// Its identity.
    pub id: String,
    /// The operation that generates it, or has.
    pub operation: i64,
    /// Where it is.
    pub path: String,
    /// generating, failed, complete or dropping.
    pub status: String,
    /// Its source.
    pub source: String,
    /// Whether it is to be dropped by now.
    pub expired: bool,
}

/// The snapshots of this node, oldest first.
pub fn all() -> Result<Vec<Known>> {
    rows(
        "SELECT pg_catalog.jsonb_build_object('id', s.id, 'operation', s.operation_id, 'path', s.path, 'status', s.status, 'source', s.source, \
         'expired', coalesce(s.expires_at <= pg_catalog.clock_timestamp(), false))::text FROM steep_repl.snapshots s ORDER BY s.operation_id",
        &[],
    )
}

/// Asks for a snapshot to be dropped, whatever has become of it so far. False when that was asked for already.
pub fn request_drop(operation: i64) -> Result<bool> {
    let changed: Vec<i64> = write(
        "UPDATE steep_repl.operations SET status = 'cancelling', error = CASE WHEN status = 'failed' THEN error END, \
         finished_at = NULL, updated_at = pg_catalog.clock_timestamp() \
         WHERE id = $1 AND kind = 'generate' AND status IN ('pending', 'running', 'failed', 'completed') RETURNING id::text",
        &[Arg::Int(operation)],
    )?;
    Ok(!changed.is_empty())
}

/// The node of this database that is being filled from a snapshot's files, or could go on with that; none when none is.
pub fn loaded_by(path: &str) -> Result<Option<String>> {
    maybe(
        "SELECT pg_catalog.to_json(o.node)::text FROM steep_repl.operations o \
         WHERE o.kind = 'init' AND o.status IN ('pending', 'running', 'failed') \
         AND steep_repl.operation_owner(o.system_identifier, o.database::bigint, o.instance, o.timeline, o.disowned) = 'ours' AND o.options -> 'files' ->> 'path' = $1 \
         ORDER BY o.id LIMIT 1",
        &[Arg::Text(path)],
    )
}

/// The file of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskFile {
    /// The task.
    pub task_id: i64,
    /// Its place in the snapshot.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Rows in it.
    pub rows: u64,
    /// LSN of the snapshot that they were read under.
    pub snapshot_lsn: Lsn,
    /// `relfilenode` of the table on the source then.
    pub source_filenode: u32,
    /// Its `relnatts`.
    pub source_natts: i16,
}

/// Notes the files that tasks have written, in the transaction that marks them done; their tables are complete with their last task.
pub fn saved(files: &[TaskFile]) -> Result<()> {
    execute(include_str!("../../sql/queries/snapshot_files_saved.sql"), &[Arg::Text(&json(&files)?)])
}

/// The file of a task.
pub fn file_of(task: i64) -> Result<Option<TaskFile>> {
    maybe(include_str!("../../sql/queries/snapshot_file_of.sql"), &[Arg::Int(task)])
}

/// A file that a finished task has written, with its range.
#[derive(Debug, Clone, Deserialize)]
pub struct Saved {
    /// Its table.
    pub relid: u32,
    /// First block of the range.
    pub from_block: Option<u32>,
    /// Block after it.
    pub to_block: Option<u32>,
    /// The file.
    #[serde(flatten)]
    pub file: TaskFile,
}

/// All files of an operation, by table and range.
pub fn files(operation: i64) -> Result<Vec<Saved>> {
    rows(include_str!("../../sql/queries/snapshot_files.sql"), &[Arg::Int(operation)])
}

/// Makes the tasks of unfinished tables pending again, to be done under a later snapshot; what they have written does not count.
pub fn restart(operation: i64, relids: &[u32]) -> Result<()> {
    execute(
        "DELETE FROM steep_repl.snapshot_files f USING steep_repl.tasks t WHERE t.id = f.task_id AND t.operation_id = $1 \
         AND t.relid IN (SELECT r.value::oid FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS r)",
        &[Arg::Int(operation), Arg::Text(&json(&relids)?)],
    )?;
    super::tasks::restart_tables(operation, relids)
}

/// A file of a snapshot that is to be applied.
#[derive(Debug, Serialize)]
pub struct Wanted<'a> {
    /// Its table here.
    pub relid: u32,
    /// First block of the range.
    pub from_block: Option<u32>,
    /// Its place in the snapshot.
    pub path: &'a str,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: &'a str,
    /// Rows in it.
    pub rows: u64,
    /// LSN that they stand for.
    pub snapshot_lsn: Lsn,
    /// `relfilenode` of the table on the source then.
    pub source_filenode: u32,
    /// Its `relnatts`.
    pub source_natts: i16,
}

/// Gives the copy tasks of an operation their files.
pub fn assign(operation: i64, files: &[Wanted]) -> Result<()> {
    execute(
        include_str!("../../sql/queries/snapshot_files_assign.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&files)?)],
    )
}

/// A table of the plan, as the manifest has it.
#[derive(Debug, Serialize)]
pub struct Described<'a> {
    /// The table here.
    pub relid: u32,
    /// Columns that are in the files.
    pub columns: Vec<&'a str>,
    /// Their numbers on the source.
    pub column_numbers: Vec<i16>,
    /// Their types there.
    pub column_types: Vec<&'a str>,
    /// text or binary.
    pub format: &'a str,
    /// Rows.
    pub rows: u64,
    /// Blocks on the source.
    pub pages: i64,
    /// Size there.
    pub bytes_total: i64,
    /// LSN that the rows stand for.
    pub snapshot_lsn: Lsn,
    /// `relfilenode` there.
    pub source_filenode: u32,
    /// `relnatts` there.
    pub source_natts: i16,
    /// Its updates and deletes are not published.
    pub insert_only: bool,
}

/// Puts what the manifest says of tables into the plan.
pub fn describe(operation: i64, tables: &[Described]) -> Result<()> {
    execute(include_str!("../../sql/queries/snapshot_describe.sql"), &[Arg::Int(operation), Arg::Text(&json(&tables)?)])
}

/// Stores the slot's start of an operation that takes a slot which was made beforehand.
pub fn set_start(operation: i64, start: Lsn) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET start_lsn = $2::pg_lsn, snapshot_lsn = $2::pg_lsn, awaits_snapshot = false WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(&start.to_string())],
    )
}

/// Notes which of a snapshot's slots an operation is about to drop, having copied it.
pub fn set_claimed(operation: i64, slot: &str) -> Result<()> {
    execute(
        "INSERT INTO steep_repl.snapshot_claims (operation_id, slot_name) VALUES ($1, $2) \
         ON CONFLICT (operation_id) DO UPDATE SET slot_name = excluded.slot_name",
        &[Arg::Int(operation), Arg::Text(slot)],
    )
}

/// Takes that note back: somebody else has taken it.
pub fn unset_claimed(operation: i64) -> Result<()> {
    execute("DELETE FROM steep_repl.snapshot_claims WHERE operation_id = $1", &[Arg::Int(operation)])
}

/// The slot that an operation was about to drop, or has dropped.
pub fn claimed(operation: i64) -> Result<Option<String>> {
    maybe(
        "SELECT pg_catalog.to_jsonb(slot_name)::text FROM steep_repl.snapshot_claims WHERE operation_id = $1",
        &[Arg::Int(operation)],
    )
}

/// What a look at the source and the folder has found.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Bytes of the folder; none leaves what is known.
    pub bytes: Option<i64>,
    /// Slots that nobody has taken.
    pub slots_free: i64,
    /// WAL that they hold back.
    pub wal_held_bytes: Option<i64>,
}

/// Whether a snapshot was complete once, whatever has become of it since.
pub fn was_complete(operation: i64) -> Result<bool> {
    Ok(maybe(
        "SELECT (bytes IS NOT NULL)::text FROM steep_repl.snapshot_looks WHERE operation_id = $1",
        &[Arg::Int(operation)],
    )?
    .unwrap_or(false))
}

/// Counts a slot of a snapshot that was complete, which was dropped with it. Returns how many were.
pub fn slot_dropped(operation: i64, dropped: bool) -> Result<i64> {
    write(
        "UPDATE steep_repl.snapshot_looks SET slots_dropped = slots_dropped + $2 WHERE operation_id = $1 RETURNING slots_dropped::text",
        &[Arg::Int(operation), Arg::Int(i64::from(dropped))],
    )
    .map(|counts| counts.into_iter().next().unwrap_or_default())
}

/// Stores it.
pub fn looked(operation: i64, look: &Look) -> Result<()> {
    execute(
        include_str!("../../sql/queries/snapshot_looked.sql"),
        &[
            Arg::Int(operation),
            Arg::MaybeInt(look.bytes),
            Arg::Int(look.slots_free),
            Arg::MaybeInt(look.wal_held_bytes),
        ],
    )
}
