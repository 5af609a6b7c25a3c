//! Tasks of an operation that generates a snapshot, or that initializes by way of files: the stream of a COPY on the source goes into a file, as it comes.

use super::load::{noted, Loaded, Read};
use super::statement::{self, Seen};
use crate::catalog::operations::Files;
use crate::catalog::snapshots::{self, TaskFile};
use crate::catalog::tasks::{self, Copied, Task};
use crate::error::{Error, Result};
use crate::pg::copy_in::CopiedIn;
use crate::pg::copy_out::CopyOut;
use crate::pg::remote::Connection;
use crate::pg::{system, transaction};
use crate::snapshot::codec::ChunkWriter;
use crate::snapshot::contents;
use crate::snapshot::place::failed;
use std::path::Path;
use steep_repl_core::ident::qualified;
use steep_repl_core::manifest::{chunk_path, DATA};

/// Writes the given tasks under their snapshot, and marks them done once their files are on disk.
pub fn save(connection: &Connection, taken: &[Task], files: &Files) -> Result<Loaded> {
    let folder = Path::new(&files.path);
    transaction::run(|| {
        super::load::begin(connection, taken)?;
        let seen = super::load::lock(connection, taken)?;
        let (mut done, mut written, mut rewritten) = (Vec::new(), Vec::new(), Vec::new());
        for task in taken {
            let Some(seen) = seen.iter().find(|seen| seen.oid == task.source_relid && seen.is_same) else {
                rewritten.push(task.id);
                continue;
            };
            let (copied, file) = save_one(connection, task, seen, files)?;
            done.push(copied);
            written.push(file);
        }
        connection.execute("COMMIT", "could not end the transaction")?;
        let data = folder.join(DATA);
        contents::sync(&data)?;
        failpoint!(ChunkWritten)?;
        if !done.is_empty() {
            tasks::finish_copies(&done)?;
            snapshots::saved(&written)?;
        }
        failpoint!(RowsLoaded)?;
        // Nothing waits for them but the coordinator, for the last one.
        Ok(Loaded { freed: done.len(), rewritten, unclear: Vec::new() })
    })
    .map_err(|error| error.of_copy_stream(connection.node()))
}

fn save_one(connection: &Connection, task: &Task, seen: &Seen, files: &Files) -> Result<(Copied, TaskFile)> {
    let started = system::now_micros();
    let folder = Path::new(&files.path);
    let path = chunk_path(task.source_relid, task.from_block, files.compression);
    let broken = |error: &std::io::Error| failed(&folder.join(&path), error);
    let mut writer = ChunkWriter::create(folder, &path, files.compression).map_err(|error| broken(&error))?;
    let name = qualified(&task.table_schema, &task.table_name);
    connection.start_copy(&statement::copy(task), &format!("could not copy table {name}"))?;
    let mut stream = CopyOut::of(connection, task.relid)?;
    loop {
        let read = stream.read(writer.room());
        if read == 0 {
            break;
        }
        writer.added(read).map_err(|error| broken(&error))?;
    }
    // In binary format the end has a message of its own.
    let rows = stream.messages().saturating_sub(u64::from(task.format == "binary"));
    drop(stream);
    let file = writer.finish().map_err(|error| broken(&error))?;
    let copied = noted(task, &Read::now(task, seen), &CopiedIn { rows, frozen: true }, started);
    let written = TaskFile {
        task_id: task.id,
        path: file.path,
        bytes: file.bytes,
        sha256: file.sha256,
        rows,
        snapshot_lsn: task.snapshot_lsn.ok_or_else(|| Error::internal("a copy without a snapshot"))?,
        source_filenode: copied.source_filenode,
        source_natts: copied.source_natts,
    };
    Ok((copied, written))
}
