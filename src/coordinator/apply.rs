//! Applying a portable snapshot: an initialization whose rows come from files.
//!
//! One of the slots that wait on the source is taken: this operation makes a copy of it under its own name, notes that, and drops the
//! original. Dropping is what decides: of two targets that have copied the same slot one drops it, and the other takes its copy back and
//! tries the next. From there on the slot is the operation's as if it had made it. Before a table is touched every file is read and
//! compared with the manifest; it is compared again while it is loaded. What is loaded needs no source, and no snapshot there.

use super::main::Coordinator;
use super::phase::Phase;
use crate::catalog::events;
use crate::catalog::operations::{self, PlannedTable};
use crate::catalog::sequences::SequenceValue;
use crate::catalog::snapshots::{self, Described, Wanted};
use crate::catalog::tasks::{self, NewTask};
use crate::error::{Error, Result, SnapshotError};
use crate::pg::{system, transaction};
use crate::snapshot::contents;
use crate::source::{publication, state, target_slots as slots};
use std::path::PathBuf;
use steep_repl_core::inventory::Table;
use steep_repl_core::manifest::{self, Manifest};
use steep_repl_core::names;

/// What became of a slot whose copy is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Original {
    Dropped,
    /// It was not there.
    Gone,
    InUse,
}

impl Coordinator {
    /// The manifest of the snapshot that is applied: the one that was looked at when that was asked for.
    pub(super) fn manifest(&self) -> Result<(PathBuf, Manifest)> {
        let files = self.operation.files()?;
        let folder = PathBuf::from(&files.path);
        let manifest = contents::open(&folder)?;
        if manifest.snapshot_id != files.id {
            let reason = format!("It is snapshot {} now.", manifest.snapshot_id);
            return Err(SnapshotError::Path { path: files.path.clone(), reason }.into());
        }
        Ok((folder, manifest))
    }

    /// Takes one of the slots that wait on the source.
    pub(super) fn claim_slot(&mut self) -> Result<()> {
        let operation = self.operation.clone();
        let (id, mine) = (operation.id, operation.slot_name.clone());
        let (_, manifest) = self.manifest()?;
        let claimed = transaction::run(|| snapshots::claimed(id))?;
        if claimed.is_some() {
            // What an attempt that died has sent may still be at work there, and would be taken for another target's.
            let sessions = format!("{}_", names::slot_name(operation.token()?));
            let connection = self.source()?;
            transaction::run_without_snapshot(|| state::end_sessions(connection, &sessions))?;
        }
        let connection = self.source()?;
        let found =
            transaction::run_without_snapshot(|| slots::look(connection, std::slice::from_ref(&mine), manifest.lsn))?;
        if found.is_free(&mine) {
            // Of an attempt that died in between. Only after its note does it drop the original, and only somebody who comes between
            // the two can be taken for it.
            if let Some(original) = &claimed {
                if self.drop_original(original)? != Original::InUse {
                    return self.begin_with(&manifest);
                }
            }
            self.give_copy_up()?;
        }
        loop {
            let connection = self.source()?;
            let found = transaction::run_without_snapshot(|| slots::look(connection, &manifest.slots, manifest.lsn))?;
            let Some(original) = found.free.first().cloned() else {
                let (id, node) = (manifest.snapshot_id.clone(), operation.source);
                return Err(SnapshotError::without_slot(id, node, manifest.slots.len(), found.lost, found.busy).into());
            };
            let copied = transaction::run_without_snapshot(|| slots::copy_if_there(connection, &original, &mine))?;
            if !copied {
                continue;
            }
            failpoint!(ClaimCopied)?;
            transaction::run(|| snapshots::set_claimed(id, &original))?;
            failpoint!(ClaimNoted)?;
            if self.drop_original(&original)? == Original::Dropped {
                return self.begin_with(&manifest);
            }
            // Somebody else has taken it after it was copied.
            self.give_copy_up()?;
        }
    }

    /// Drops a slot that was copied, which makes the copy the one that counts.
    fn drop_original(&mut self, original: &str) -> Result<Original> {
        let connection = self.source()?;
        transaction::run_without_snapshot(|| match slots::drop_if_there(connection, original) {
            Ok(true) => Ok(Original::Dropped),
            Ok(false) => Ok(Original::Gone),
            // Somebody else may be at dropping it. Tried again it would be gone, and nobody would know by whom.
            Err(error) if error.problem().sqlstate == "55006" => Ok(Original::InUse),
            Err(error) => Err(error),
        })
    }

    /// Drops a copy of a slot that is another's.
    fn give_copy_up(&mut self) -> Result<()> {
        let (id, mine) = (self.operation.id, self.operation.slot_name.clone());
        transaction::run(|| snapshots::unset_claimed(id))?;
        let connection = self.source()?;
        transaction::run_without_snapshot(|| slots::drop_if_there(connection, &mine)).map(drop)
    }

    fn begin_with(&mut self, manifest: &Manifest) -> Result<()> {
        let id = self.operation.id;
        let event =
            self.event("snapshot.slot_taken").message(format!("slot {} at {}", self.operation.slot_name, manifest.lsn));
        transaction::run(|| {
            snapshots::set_start(id, manifest.lsn)?;
            events::write(&[event])
        })?;
        failpoint!(SlotClaimed)?;
        self.refresh()?;
        self.enter(Phase::Subscription)
    }

    /// Gives a slot back that was taken and not used, for another target. Of a snapshot that is gone nobody would ever drop it, and the files may
    /// have been copied here from where it was dropped.
    pub(super) fn give_slot_back(&mut self) -> Result<()> {
        let operation = self.operation.clone();
        let Some(original) = transaction::run(|| snapshots::claimed(operation.id))? else { return Ok(()) };
        let mine = operation.slot_name.clone();
        // Its start need not be noted yet.
        let Ok((_, manifest)) = self.manifest() else { return Ok(()) };
        if operation.enable_lsn.is_some() {
            return Ok(());
        }
        let connection = self.source()?;
        transaction::run_without_snapshot(|| {
            let found = slots::look(connection, std::slice::from_ref(&mine), manifest.lsn)?;
            if found.is_free(&mine) && !publication::is_forsaken(connection, &operation.publications)? {
                slots::copy_unless_there(connection, &mine, &original)?;
            }
            Ok(())
        })
    }

    /// Sees that the files are what was written, and puts what the manifest says of the tables into the plan. Nothing is changed before.
    pub(super) fn describe_tables(&mut self) -> Result<()> {
        let id = self.operation.id;
        let (folder, manifest) = self.manifest()?;
        let workers = i64::from(self.operation.options.parallel_workers).min(system::processors());
        contents::verify(&folder, &manifest, usize::try_from(workers).unwrap_or(1), || {
            system::check_interrupts();
            let now = transaction::run(|| operations::get(id))?;
            let wanted = now.is_some_and(|now| now.status == "running");
            wanted.then_some(()).ok_or(Error::NotWanted { operation: id })
        })?;
        failpoint!(FilesVerified)?;
        let planned = transaction::run(|| operations::tables(id))?;
        let described = planned.iter().map(|table| described(table, &manifest)).collect::<Result<Vec<_>>>()?;
        transaction::run(|| snapshots::describe(id, &described))
    }

    /// The copy tasks of what is in the files: one a file.
    pub(super) fn tasks_of_files(&self, planned: &[PlannedTable]) -> Result<Vec<NewTask>> {
        let (_, manifest) = self.manifest()?;
        let mut copies = Vec::new();
        for table in planned {
            let kept = in_manifest(table, &manifest)?;
            for chunk in &kept.files {
                copies.push(NewTask {
                    relid: table.relid,
                    kind: "copy",
                    position: i32::try_from(copies.len()).unwrap_or(i32::MAX),
                    from_block: chunk.from_block,
                    to_block: chunk.to_block,
                    bytes: share(table.bytes_total, chunk.file.bytes, kept.bytes),
                    small: table.small,
                    status: "pending",
                });
            }
        }
        Ok(copies)
    }

    /// Gives the tasks their files. In the transaction that plans them.
    pub(super) fn assign_files(&self, planned: &[PlannedTable], manifest: &Manifest) -> Result<()> {
        let mut files = Vec::new();
        for table in planned {
            let kept = in_manifest(table, manifest)?;
            for chunk in &kept.files {
                files.push(Wanted {
                    relid: table.relid,
                    from_block: chunk.from_block,
                    path: &chunk.file.path,
                    bytes: chunk.file.bytes,
                    sha256: &chunk.file.sha256,
                    rows: chunk.rows,
                    snapshot_lsn: kept.lsn,
                    source_filenode: kept.origin.filenode,
                    source_natts: kept.origin.natts,
                });
            }
        }
        snapshots::assign(self.operation.id, &files)
    }

    /// Has tables loaded once more of which nobody knows what is in them.
    pub(super) fn reload_tables(&mut self) -> Result<()> {
        let id = self.operation.id;
        let unfinished = transaction::run(|| tasks::unfinished_tables(id))?;
        let most = self.operation.options.max_retries;
        if let Some(table) = unfinished.iter().find(|table| table.deferred && table.deferrals > most) {
            let table = steep_repl_core::ident::qualified(&table.table_schema, &table.table_name);
            return self.fail(&Error::LeftOvers { table });
        }
        let deferred: Vec<u32> = unfinished.iter().filter(|table| table.deferred).map(|table| table.relid).collect();
        self.empty_again(&deferred)
    }

    /// Sets sequences to where they were when the snapshot was taken; the source is asked at the end. False when it is to be tried again.
    pub(super) fn set_sequences_of_files(&mut self) -> Result<bool> {
        let (folder, manifest) = self.manifest()?;
        let text = contents::read(&folder, &manifest.sequences)?;
        let values: Vec<SequenceValue> = serde_json::from_slice(&text).map_err(|error| {
            Error::from(SnapshotError::damaged(&folder, &manifest.sequences.path, format!("{error}.")))
        })?;
        Ok(self.move_sequences(&values)?.is_some())
    }
}

/// A share of a whole, by another whole.
fn share(whole: i64, part: u64, of: u64) -> i64 {
    let share = i128::from(whole.max(0)) * i128::from(part) / i128::from(of.max(1));
    i64::try_from(share).unwrap_or(i64::MAX)
}

fn in_manifest<'a>(table: &PlannedTable, manifest: &'a Manifest) -> Result<&'a manifest::Table> {
    manifest.table(&table.table_schema, &table.table_name).ok_or_else(|| {
        let name = steep_repl_core::ident::qualified_display(&table.table_schema, &table.table_name);
        Error::internal(format!("table {name} is not in the snapshot"))
    })
}

fn described<'a>(table: &PlannedTable, manifest: &'a Manifest) -> Result<Described<'a>> {
    let kept = in_manifest(table, manifest)?;
    Ok(Described {
        relid: table.relid,
        columns: kept.columns.iter().map(|column| column.name.as_str()).collect(),
        column_numbers: kept.columns.iter().map(|column| column.number).collect(),
        column_types: kept.columns.iter().map(|column| column.type_name.as_str()).collect(),
        format: &kept.format,
        rows: kept.rows,
        pages: kept.origin.pages,
        bytes_total: kept.origin.bytes,
        snapshot_lsn: kept.lsn,
        source_filenode: kept.origin.filenode,
        source_natts: kept.origin.natts,
        insert_only: kept.insert_only,
    })
}

/// In which ways the tables of a snapshot are not what they are on the source now; `there` is what it has.
pub fn differences(manifest: &Manifest, there: &[Table]) -> Vec<String> {
    manifest
        .tables
        .iter()
        .filter_map(|table| {
            let name = steep_repl_core::ident::qualified_display(&table.schema, &table.name);
            let now = there.iter().find(|now| now.schema == table.schema && now.name == table.name);
            let Some(now) = now.filter(|now| now.oid == table.origin.oid) else {
                return Some(format!("table {name} was dropped or replaced"));
            };
            let is_same = table.columns.iter().all(|column| {
                now.column(&column.name)
                    .is_some_and(|other| other.number == column.number && other.type_name == column.type_name)
            });
            (!is_same || now.natts != table.origin.natts).then(|| format!("columns of table {name} are others now"))
        })
        .collect()
}
