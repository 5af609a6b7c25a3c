//! Tasks of an operation that applies a snapshot: the stream of a COPY comes from a file. Its rows commit only when all of the file was
//! found to be what was written.

use super::load::{blocks, noted, way, Loaded, Read};
use crate::catalog::operations::Files;
use crate::catalog::snapshots;
use crate::catalog::tasks::{self, Copied, Task};
use crate::error::{Error, Result};
use crate::pg::copy_in::{copy_in, CopyIn, From, Frozen, Pieces};
use crate::pg::{system, transaction};
use crate::snapshot::codec::ChunkReader;
use crate::snapshot::contents::trouble;
use std::cell::RefCell;
use std::path::Path;
use steep_repl_core::manifest::File;
use steep_repl_core::plan::keeps_rows_inline;

/// A file that is read, and where is noted what is wrong with it.
struct Kept<'a> {
    reader: ChunkReader,
    folder: &'a Path,
    path: &'a str,
    wrong: &'a RefCell<Option<Error>>,
}

impl Pieces for Kept<'_> {
    fn next_piece(&mut self) -> Option<&[u8]> {
        match self.reader.next_piece() {
            Ok(piece) => Some(piece),
            Err(found) => {
                *self.wrong.borrow_mut() = Some(trouble(self.folder, self.path, found));
                None
            }
        }
    }
}

/// Loads the files of the given tasks, and marks them done in the transaction of their rows.
pub fn load(taken: &[Task], files: &Files, cached: bool) -> Result<Loaded> {
    let (wrong, current) = (RefCell::new(None), RefCell::new(None));
    let outcome = transaction::run(|| {
        let (mut done, mut unclear) = (Vec::new(), Vec::new());
        for task in taken {
            match way(task)? {
                Some(frozen) => done.push(load_one(task, files, frozen, cached, &wrong, &current)?),
                None => unclear.push(task.id),
            }
        }
        let freed = if done.is_empty() { 0 } else { tasks::finish_copies(&done)? };
        failpoint!(RowsLoaded)?;
        Ok(Loaded { freed, rewritten: Vec::new(), unclear })
    });
    outcome.map_err(|error| {
        // The server only knows that the stream has ended, or that a value is none: that may be the file's fault, or the table's.
        let is_value = error.problem().sqlstate.starts_with("22");
        let file = current.take().filter(|_| is_value);
        wrong.take().or_else(|| damage(Path::new(&files.path), &file?, files)).unwrap_or(error)
    })
}

/// What is wrong with a file, read to its end.
fn damage(folder: &Path, file: &File, files: &Files) -> Option<Error> {
    let found = |trouble_of| Some(trouble(folder, &file.path, trouble_of));
    let mut reader = match ChunkReader::open(folder, file, files.compression) {
        Ok(reader) => reader,
        Err(error) => return found(error),
    };
    loop {
        system::check_interrupts();
        match reader.next_piece() {
            Ok([]) => return None,
            Ok(_) => {}
            Err(error) => return found(error),
        }
    }
}

fn load_one(
    task: &Task,
    files: &Files,
    frozen: Frozen,
    cached: bool,
    wrong: &RefCell<Option<Error>>,
    current: &RefCell<Option<File>>,
) -> Result<Copied> {
    let started = system::now_micros();
    let folder = Path::new(&files.path);
    let kept = snapshots::file_of(task.id)?.ok_or_else(|| Error::internal("a task without its file"))?;
    let file = File { path: kept.path, bytes: kept.bytes, sha256: kept.sha256 };
    *current.borrow_mut() = Some(file.clone());
    let reader =
        ChunkReader::open(folder, &file, files.compression).map_err(|found| trouble(folder, &file.path, found))?;
    let mut kept_stream = Kept { reader, folder, path: &file.path, wrong };
    let copied = copy_in(
        From::Kept(&mut kept_stream),
        &CopyIn {
            relid: task.relid,
            columns: &task.columns,
            binary: task.format == "binary",
            frozen,
            bare: !task.keeps_indexes,
            inline: keeps_rows_inline(task.pages, task.bytes_total),
            cached,
            encoding: Some(&files.encoding),
            blocks: blocks(task),
        },
    )?;
    let read = Read { snapshot_lsn: Some(kept.snapshot_lsn), filenode: kept.source_filenode, natts: kept.source_natts };
    Ok(noted(task, &read, &copied, started))
}
