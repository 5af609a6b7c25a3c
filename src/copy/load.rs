//! One load: a task, or a batch of small ones, in one transaction on either side.

use super::dump::{Dump, Dumping};
use super::statement::{self, Seen};
use crate::catalog::operations::Transport;
use crate::catalog::tasks::{self, Copied, Task};
use crate::catalog::{indexes, user};
use crate::error::{Error, Result};
use crate::pg::copy_in::{copy_in, CopiedIn, CopyIn, From, Frozen};
use crate::pg::remote::Connection;
use crate::pg::{storage, system, transaction};
use crate::source::state;
use steep_repl_core::lsn::Lsn;
use steep_repl_core::plan::keeps_rows_inline;

/// What came of a load.
pub struct Loaded {
    /// Tasks that wait no more.
    pub freed: usize,
    /// Tasks whose tables were rewritten on the source and must be copied whole under a later snapshot.
    pub rewritten: Vec<i64>,
    /// The same, of tables in which something is left that nobody knows.
    pub unclear: Vec<i64>,
}

/// Copies the given tasks under their snapshot, and marks them done in the transaction of their rows.
///
/// `cached`: what the operation copies fits into shared buffers. `dumping`: how pg_dump reaches the source.
pub fn load(connection: &Connection, taken: &[Task], cached: bool, dumping: &Dumping) -> Result<Loaded> {
    transaction::run(|| {
        let snapshot = begin(connection, taken)?;
        let is_dumped = taken.iter().any(|task| task.transport == Transport::PgDump);
        let mut seen = Vec::new();
        if !is_dumped {
            seen = lock(connection, taken)?;
        }
        let (mut done, mut rewritten, mut unclear) = (Vec::new(), Vec::new(), Vec::new());
        for task in taken {
            let mut dump = None;
            if is_dumped {
                // What it has locked stays as it is until it has read all; our own lock could wait for somebody who waits for it.
                dump = Some(dumping.start(task, &snapshot).map_err(|error| dumping.judge(connection, error))?);
                seen = look(connection, std::slice::from_ref(task))?;
            }
            let Some(seen) = seen.iter().find(|seen| seen.oid == task.source_relid && seen.is_same) else {
                rewritten.push(task.id);
                continue;
            };
            match way(task)? {
                Some(frozen) => match dump {
                    Some(mut dump) => {
                        let copied = load_dumped(&mut dump, task, seen, frozen, cached);
                        done.push(copied.map_err(|error| dumping.judge(connection, error))?);
                    }
                    None => done.push(load_one(connection, task, seen, frozen, cached)?),
                },
                None => unclear.push(task.id),
            }
        }
        connection.execute("COMMIT", "could not end the transaction")?;
        let freed = if done.is_empty() { 0 } else { tasks::finish_copies(&done)? };
        failpoint!(RowsLoaded)?;
        Ok(Loaded { freed, rewritten, unclear })
    })
    .map_err(|error| error.of_copy_stream(connection.node()))
}

/// Begins a transaction on the source under the tasks' snapshot, and gives its name.
pub(super) fn begin(connection: &Connection, taken: &[Task]) -> Result<String> {
    let Some(snapshot) = taken.first().and_then(|task| task.snapshot.clone()) else {
        return Err(Error::internal("a copy without a snapshot"));
    };
    if taken.iter().any(|task| task.transport == Transport::BaseBackup) {
        // A private server stands still: each of its snapshots is the same.
        connection.execute(state::BEGIN, "could not begin to read")?;
    } else {
        connection
            .execute(&state::begin_under(&snapshot), "could not use the exported snapshot")
            .map_err(|error| error.of_snapshot_import(connection.node()))?;
    }
    let contents = connection.value("SELECT pg_catalog.pg_current_snapshot()::text", "could not read the snapshot")?;
    if contents != taken.first().and_then(|task| task.snapshot_contents.clone()) {
        // After a restart of the source its names begin anew.
        return Err(Error::SnapshotLost { node: connection.node().to_owned() });
    }
    Ok(snapshot)
}

/// Locks the tables of tasks on the source, and says what they are.
pub(super) fn lock(connection: &Connection, taken: &[Task]) -> Result<Vec<Seen>> {
    connection.execute(&statement::lock(taken), "could not lock tables")?;
    look(connection, taken)
}

fn look(connection: &Connection, taken: &[Task]) -> Result<Vec<Seen>> {
    connection.json(&statement::seen(taken), "could not check tables")
}

fn load_one(connection: &Connection, task: &Task, seen: &Seen, frozen: Frozen, cached: bool) -> Result<Copied> {
    let started = system::now_micros();
    let name = steep_repl_core::ident::qualified(&task.table_schema, &task.table_name);
    connection.start_copy(&statement::copy(task), &format!("could not copy table {name}"))?;
    let how = how(task, &task.columns, task.format == "binary", frozen, cached);
    let copied = copy_in(From::Connection(connection), &how)?;
    Ok(noted(task, &Read::now(task, seen), &copied, started))
}

/// Loads what pg_dump writes of a table, to its end.
fn load_dumped(dump: &mut Dump, task: &Task, seen: &Seen, frozen: Frozen, cached: bool) -> Result<Copied> {
    let started = system::now_micros();
    let columns = std::mem::take(&mut dump.columns);
    let copied = copy_in(From::Program(&mut dump.rows), &how(task, &columns, false, frozen, cached))?;
    dump.rows.end()?;
    Ok(noted(task, &Read::now(task, seen), &copied, started))
}

fn how<'a>(task: &Task, columns: &'a [String], binary: bool, frozen: Frozen, cached: bool) -> CopyIn<'a> {
    CopyIn {
        relid: task.relid,
        columns,
        binary,
        frozen,
        bare: !task.keeps_indexes,
        inline: keeps_rows_inline(task.pages, task.bytes_total),
        cached,
        encoding: None,
        blocks: blocks(task),
    }
}

/// What the rows of a task are: the table on the source, under the snapshot that they were read under.
pub(super) struct Read {
    pub snapshot_lsn: Option<Lsn>,
    pub filenode: u32,
    pub natts: i16,
}

impl Read {
    pub(super) fn now(task: &Task, seen: &Seen) -> Read {
        let (filenode, natts) = (seen.filenode.unwrap_or_default(), seen.natts.unwrap_or_default());
        Read { snapshot_lsn: task.snapshot_lsn, filenode, natts }
    }
}

/// What is noted of a task that was begun at `started`, and is done now.
pub(super) fn noted(task: &Task, read: &Read, copied: &CopiedIn, started: i64) -> Copied {
    Copied {
        id: task.id,
        relid: task.relid,
        rows: i64::try_from(copied.rows).unwrap_or(i64::MAX),
        bytes: task.bytes,
        ms: (system::now_micros() - started) as f64 / 1000.0,
        frozen: copied.frozen,
        snapshot_lsn: read.snapshot_lsn,
        source_filenode: read.filenode,
        source_natts: read.natts,
    }
}

/// How the rows of a task are loaded; docs/decisions/0003 says why ranges may be loaded frozen. None when the table must be
/// emptied first.
pub(super) fn way(task: &Task) -> Result<Option<Frozen>> {
    if task.keeps_indexes || !task.heap {
        return Ok(Some(Frozen::No));
    }
    if task.single {
        return Ok(Some(if prepare_frozen(task)? { Frozen::NewStorage } else { Frozen::No }));
    }
    if !keeps_rows_inline(task.pages, task.bytes_total) {
        return Ok(Some(Frozen::No));
    }
    if task.claims == 1 {
        return Ok(Some(if indexes::any_maintained(task.relid)? { Frozen::No } else { Frozen::Shared }));
    }
    // Whoever had it before may have left rows, whatever has become of the indexes since.
    Ok(storage::remove_unfinished(task.relid)?.map(|_| Frozen::No))
}

/// The blocks of a range are for its rows here as well, where they were about full on the source: workers that load side by side
/// then leave the table in the order of the source, which its indexes are built faster from and its readers know.
pub(super) fn blocks(task: &Task) -> Option<(u32, u32)> {
    let from = task.from_block?;
    let to = task.to_block.or(u32::try_from(task.pages).ok())?;
    (task.packed && from < to).then_some((from, to))
}

/// Gives the table new storage, so that its rows can be loaded frozen: only a table that one task loads, that is empty, and
/// whose indexes are all suspended. Readers wait for it until the load commits, so large tables, which go in chunks, are
/// never locked like this.
fn prepare_frozen(task: &Task) -> Result<bool> {
    if task.keeps_indexes || !task.single || !task.heap {
        return Ok(false);
    }
    let name = (task.table_schema.clone(), task.table_name.clone());
    user::lock_exclusively(std::slice::from_ref(&name))?;
    let holds_rows = !user::not_empty(&[(task.relid, name.0, name.1)])?.is_empty();
    if holds_rows || indexes::any_maintained(task.relid)? {
        return Ok(false);
    }
    storage::make_new(task.relid)?;
    Ok(true)
}
