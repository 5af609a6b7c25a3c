//! Generating a portable snapshot: an operation whose node is its source and whose tasks write files.
//!
//! Publication, slot and exported snapshot are made as for every other copy. In `tables` the folder is made, the slots of further targets
//! are copied from the first while all stand at the same place, the definitions are dumped under the snapshot, and the tasks are planned.
//! Workers write the files. A file is on disk before its task is marked done, so that after a restart what is marked is there, and what
//! is not is written again. When the exported snapshot is lost, the unfinished tables are written whole under a later one, whose LSN
//! stands with them in the manifest; who applies it lets changes of such a table count from there on only. In `sequences` their positions
//! are read and the manifest is written, which makes a snapshot of the folder. It is dropped as every operation is undone.

use super::main::Coordinator;
use super::phase::Phase;
use super::SOURCE_LIMIT_MS;
use crate::catalog::events;
use crate::catalog::operations::{self, Files, PlannedTable};
use crate::catalog::snapshots::{self, Look, Saved};
use crate::catalog::tasks;
use crate::error::{Error, Result, SnapshotError};
use crate::pg::remote::Connection;
use crate::pg::{shmem, system, transaction};
use crate::schema;
use crate::snapshot::{contents, place};
use crate::source::{dump, preflight, publication, sequences, state, target_slots as slots};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use steep_repl_core::event::{self, Severity};
use steep_repl_core::inventory::Table;
use steep_repl_core::lsn::Lsn;
use steep_repl_core::manifest::{self, Chunk, Column, File, Manifest, Origin, SCHEMA, SEQUENCES};
use steep_repl_core::names::target_slot_name;
use steep_repl_core::schema_match::copy_columns;

impl Coordinator {
    /// Does what a phase is about.
    pub(super) fn generate(&mut self, phase: Phase) -> Result<()> {
        match phase {
            Phase::Publication => {
                self.publish()?;
                self.enter(Phase::Slot)
            }
            Phase::Tables => self.begin_files(),
            Phase::Sequences => self.seal(),
            _ => Err(Error::internal(format!("a snapshot in phase {phase}"))),
        }
    }

    fn folder(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(&self.operation.files()?.path))
    }

    /// The folder, further slots, the definitions, the tasks.
    fn begin_files(&mut self) -> Result<()> {
        let (operation, files) = (self.operation.clone(), self.operation.files()?.clone());
        let (id, token, folder) = (operation.id, operation.token()?, self.folder()?);
        // The slot is there from now on, and what it holds back is shown; nor does anything else see that its time is over.
        shmem::watch(system::database_oid());
        self.make_folder()?;
        let connection = self.source()?;
        for number in 2..=files.targets {
            let (from, to) = (&operation.slot_name, target_slot_name(token, number));
            transaction::run_without_snapshot(|| slots::copy_unless_there(connection, from, &to))?;
        }
        failpoint!(SlotsCopied)?;
        let target = self.target()?.clone();
        // Without the exported snapshot nothing is written yet, and what is dumped now is older than the next one.
        let script = dump::script(&target, token, operation.snapshot.as_deref(), &mut || still_wanted(id));
        let script = match script {
            Err(Error::NotWanted { .. }) => return Ok(()),
            script => script?,
        };
        contents::write(&folder, SCHEMA, &script)?;
        contents::sync(&folder)?;
        let planned = transaction::run(|| operations::tables(id))?;
        let copies = super::tables::copies_of(&planned, &operation.options);
        let phase = self.event(event::INIT_PHASE_STARTED).message(format!("phase {}", Phase::Copy));
        transaction::run(|| {
            tasks::insert(id, &copies)?;
            operations::set_phase(id, Phase::Copy.as_str())?;
            events::write(&[phase])?;
            failpoint!(TasksPlanned)
        })
    }

    /// Makes the folder, or takes up the one that was begun.
    pub(super) fn make_folder(&self) -> Result<()> {
        let files = self.operation.files()?;
        place::make(Path::new(&files.path), &files.id)?;
        failpoint!(FolderMade)
    }

    /// Removes what workers that were ended have left of files: on a full disk it would be in everybody's way. None of them runs any more.
    pub(super) fn remove_unfinished_files(&mut self) -> Result<()> {
        if !self.operation.is_generation() && !self.operation.saves_first() {
            return Ok(());
        }
        let files = self.operation.files()?;
        let removed = place::remove_unfinished(Path::new(&files.path), &files.id);
        self.tell_files_left(removed)
    }

    /// Removes files that have done their service. That they stay is no failure of what is complete.
    pub(super) fn remove_files(&mut self) -> Result<()> {
        let removed = self.undo_files();
        self.tell_files_left(removed)
    }

    fn tell_files_left(&mut self, removed: Result<()>) -> Result<()> {
        let Err(error) = removed else { return Ok(()) };
        let problem = error.problem();
        let mut event = self.event("init.files_left").sqlstate(&problem.sqlstate).message(problem.message);
        event.severity = Severity::Warning;
        transaction::run(|| events::write(&[event]))
    }

    /// Makes the unfinished tables ready to be written whole under a later snapshot.
    pub(super) fn renew_files(&mut self) -> Result<()> {
        let id = self.operation.id;
        let Some(unfinished) = self.left_for_later()? else { return Ok(()) };
        let planned = transaction::run(|| operations::tables(id))?;
        let relids: Vec<u32> = unfinished.iter().map(|table| table.relid).collect();
        let connection = self.source_patiently()?;
        let inventory = transaction::run(|| schema::source_inventory(connection, false))?;
        let differences: Vec<String> = planned
            .iter()
            .filter(|table| relids.contains(&table.relid))
            .filter_map(|table| difference(table, &inventory))
            .collect();
        if !differences.is_empty() {
            // Its definition would be another one than that of the tables which are written.
            return self.fail(&SnapshotError::SourceChanged { differences }.into());
        }
        transaction::run(|| {
            snapshots::restart(id, &relids)?;
            failpoint!(UnfinishedEmptied)?;
            operations::await_snapshot(id)
        })?;
        let mut event = self
            .event("init.snapshot_renewed")
            .message(format!("{} tables are written under a later snapshot", relids.len()));
        event.severity = Severity::Warning;
        transaction::run(|| events::write(&[event]))
    }

    /// Sequences and the manifest, and the end.
    fn seal(&mut self) -> Result<()> {
        let (operation, files, folder) = (self.operation.clone(), self.operation.files()?.clone(), self.folder()?);
        let (id, token) = (operation.id, operation.token()?);
        let start = operation.start_lsn.ok_or_else(|| Error::internal("no slot"))?;
        let names: Vec<String> = (1..=files.targets).map(|number| target_slot_name(token, number)).collect();
        let connection = self.source_patiently()?;
        let found = transaction::run_without_snapshot(|| slots::look(connection, &names, start))?;
        // Once it stands there, the snapshot is complete, and targets may have taken slots before that was written down here.
        let sealed = contents::open(&folder).ok().filter(|manifest| manifest.snapshot_id == files.id);
        let manifest = match sealed {
            Some(manifest) => manifest,
            None => {
                if let Some(lost) = names.iter().find(|name| !found.is_free(name)) {
                    return Err(Error::SlotLost { slot: lost.clone(), node: operation.source.clone() });
                }
                self.write_manifest(start, &names, found.held_bytes)?
            }
        };
        failpoint!(ManifestWritten)?;
        let look = Look {
            bytes: i64::try_from(manifest.bytes).ok(),
            slots_free: found.free.len() as i64,
            wal_held_bytes: Some(found.held_bytes),
        };
        let seconds = operation.age_seconds.unwrap_or(0.0);
        let complete = self
            .event("snapshot.completed")
            .percent(100.0)
            .rows(manifest.rows as i64)
            .bytes(manifest.bytes as i64)
            .duration_ms((seconds * 1000.0) as i64)
            .message(format!("snapshot {} in {}", files.id, folder.display()));
        transaction::run(|| {
            if !operations::set_status(id, "completed", None)? {
                return Ok(());
            }
            snapshots::looked(id, &look)?;
            events::write(&[complete])?;
            failpoint!(Completed)
        })?;
        shmem::watch(system::database_oid());
        self.refresh().map(drop)
    }

    /// What makes the files a snapshot.
    fn write_manifest(&mut self, start: Lsn, names: &[String], held_bytes: i64) -> Result<Manifest> {
        let (operation, files, folder) = (self.operation.clone(), self.operation.files()?.clone(), self.folder()?);
        let id = operation.id;
        let planned = transaction::run(|| operations::tables(id))?;
        let saved = transaction::run(|| snapshots::files(id))?;
        self.check_publications()?;
        let relids: Vec<u32> = planned.iter().map(|table| table.source_relid).collect();
        let schemas = operation.options.schemas.clone();
        let all = schemas.is_none() && operation.options.tables.is_none();
        // Not patiently: whoever holds a sequence there keeps nobody from dropping the snapshot.
        let connection = self.source()?;
        let (values, source) = transaction::run_without_snapshot(|| {
            Ok((sequences::read(connection, &relids, schemas.as_deref(), all)?, preflight::ask(connection)?))
        })?;
        let values = serde_json::to_vec_pretty(&values).map_err(|error| Error::internal(format!("JSON: {error}")))?;
        let sequences = contents::write(&folder, SEQUENCES, &values)?;
        let schema = whole(&folder, SCHEMA)?;
        let mark = transaction::run(|| operations::publication_mark(id))?;
        let tables = tables(&planned, &saved)?;
        let bytes = tables.iter().map(|table| table.bytes).sum::<u64>() + schema.bytes + sequences.bytes;
        let manifest = Manifest {
            format_version: manifest::FORMAT_VERSION,
            snapshot_id: files.id.clone(),
            source: operation.source.clone(),
            system_identifier: source.system_identifier,
            database: source.database,
            database_oid: source.database_oid,
            server_version: u32::try_from(source.version_num).unwrap_or_default(),
            encoding: files.encoding.clone(),
            lsn: start,
            slots: names.to_vec(),
            publications: operation.publications.clone(),
            publication_mark: mark,
            created_at: transaction::run(events::now)?,
            compression: files.compression,
            bytes,
            rows: tables.iter().map(|table| table.rows).sum(),
            schema,
            sequences,
            tables,
            selected_schemas: operation.options.schemas.clone(),
            selected_tables: operation.options.tables.clone(),
        };
        failpoint!(SequencesSet)?;
        let kept = manifest.files().map(|file| file.path.as_str()).collect();
        place::remove_others(&folder, &files.id, &kept)?;
        // Before anybody can take a slot: what is missing afterwards, a target may have.
        let look =
            Look { bytes: i64::try_from(bytes).ok(), slots_free: names.len() as i64, wal_held_bytes: Some(held_bytes) };
        transaction::run(|| snapshots::looked(id, &look))?;
        contents::seal(&folder, &manifest)?;
        Ok(manifest)
    }

    /// Shows what the slots of a snapshot hold back while it is generated.
    pub(super) fn look_at_slots_of_files(&mut self) -> Result<()> {
        if !self.operation.is_generation() {
            return Ok(());
        }
        let operation = self.operation.clone();
        let outcome = self.source().and_then(|connection| seen(&operation, operation.files()?, connection));
        match outcome {
            Ok(Some(found)) => transaction::run(|| snapshots::looked(operation.id, &found)),
            Ok(None) => Ok(()),
            Err(_) => {
                self.forget_source();
                Ok(())
            }
        }
    }

    /// Removes the files of a snapshot.
    pub(super) fn undo_files(&self) -> Result<()> {
        let files = self.operation.files()?;
        place::remove(Path::new(&files.path), &files.id)
    }

    /// Takes slots and publications away on the source. Where a target has taken a slot, the publications stay: it replicates what they
    /// publish.
    pub(super) fn undo_generation(&mut self) -> Result<()> {
        let (operation, files) = (self.operation.clone(), self.operation.files()?.clone());
        let token = operation.token()?;
        let identities = transaction::run(|| operations::identities(operation.id))?;
        let was_complete = transaction::run(|| snapshots::was_complete(operation.id))?;
        let connection = self.source()?;
        transaction::run_without_snapshot(|| {
            state::limit_statements(connection, SOURCE_LIMIT_MS)?;
            state::end_sessions(connection, &format!("{}_", operation.slot_name))?;
            if operation.own_publications {
                publication::forsake(connection, &operation.publications)?;
            }
            Ok(())
        })?;
        // What we have dropped is written down: whoever comes here again must not take it for what a target has taken.
        let mut dropped = 0;
        for number in 1..=files.targets {
            let name = target_slot_name(token, number);
            let is_dropped = transaction::run_without_snapshot(|| slots::drop_if_there(connection, &name))?;
            dropped = transaction::run(|| snapshots::slot_dropped(operation.id, is_dropped))?;
            failpoint!(SlotDropped)?;
        }
        let taken = i64::from(files.targets) - dropped;
        transaction::run_without_snapshot(|| {
            // Before it was complete nobody could take one; what is missing then was never made.
            if taken == 0 || !was_complete {
                for name in &operation.publications {
                    if operation.own_publications {
                        publication::drop(connection, name)?;
                    }
                }
                publication::restore_identities(connection, &identities)?;
            }
            failpoint!(PublicationsDropped)?;
            state::limit_statements(connection, 0)
        })?;
        if taken > 0 && was_complete && operation.own_publications {
            let event = self.event("snapshot.publication_kept").message(format!(
                "{taken} slots were taken by targets, which replicate by publication {}; it stays on node \"{}\"",
                operation.publications.join(", "),
                operation.source
            ));
            self.say_once("publication kept", event)?;
        }
        Ok(())
    }
}

/// [`Error::NotWanted`] when somebody has cancelled the operation.
fn still_wanted(id: i64) -> Result<()> {
    let now = transaction::run(|| operations::get(id))?;
    match now {
        Some(now) if matches!(now.status.as_str(), "pending" | "running") => Ok(()),
        _ => Err(Error::NotWanted { operation: id }),
    }
}

/// In which way a table is not what it was when it was planned.
fn difference(planned: &PlannedTable, inventory: &[Table]) -> Option<String> {
    let name = steep_repl_core::ident::qualified_display(&planned.table_schema, &planned.table_name);
    let now = inventory.iter().find(|table| table.schema == planned.table_schema && table.name == planned.table_name);
    let Some(now) = now.filter(|now| now.oid == planned.source_relid) else {
        return Some(format!("table {name} was dropped or replaced"));
    };
    let columns = copy_columns(now, now);
    let described: Vec<(&str, &str)> = columns
        .iter()
        .filter_map(|column| now.column(column))
        .map(|column| (column.name.as_str(), column.type_name.as_str()))
        .collect();
    let before: Vec<(&str, &str)> =
        planned.columns.iter().map(String::as_str).zip(planned.column_types.iter().map(String::as_str)).collect();
    (described != before).then(|| format!("columns of table {name} are others now"))
}

/// A file that was written already.
fn whole(folder: &Path, path: &str) -> Result<File> {
    let content = std::fs::read(folder.join(path)).map_err(|error| place::failed(&folder.join(path), &error))?;
    Ok(File { path: path.to_owned(), bytes: content.len() as u64, sha256: manifest::sha256(&content) })
}

/// The tables of the manifest.
fn tables(planned: &[PlannedTable], saved: &[Saved]) -> Result<Vec<manifest::Table>> {
    let mut by_table: BTreeMap<u32, Vec<&Saved>> = BTreeMap::new();
    for file in saved {
        by_table.entry(file.relid).or_default().push(file);
    }
    planned
        .iter()
        .map(|table| {
            let files = by_table.remove(&table.relid).unwrap_or_default();
            let Some(first) = files.first() else {
                return Err(Error::internal(format!("table {} was not written", table.table_name)));
            };
            Ok(manifest::Table {
                schema: table.table_schema.clone(),
                name: table.table_name.clone(),
                columns: columns(table),
                format: table.format.clone(),
                rows: files.iter().map(|file| file.file.rows).sum(),
                bytes: files.iter().map(|file| file.file.bytes).sum(),
                lsn: files.iter().map(|saved| saved.file.snapshot_lsn).max().unwrap_or(Lsn::INVALID),
                insert_only: table.insert_only,
                origin: Origin {
                    oid: table.source_relid,
                    filenode: first.file.source_filenode,
                    natts: first.file.source_natts,
                    pages: table.pages,
                    bytes: table.bytes_total,
                },
                files: files
                    .iter()
                    .map(|saved| Chunk {
                        file: File {
                            path: saved.file.path.clone(),
                            bytes: saved.file.bytes,
                            sha256: saved.file.sha256.clone(),
                        },
                        rows: saved.file.rows,
                        from_block: saved.from_block,
                        to_block: saved.to_block,
                    })
                    .collect(),
            })
        })
        .collect()
}

fn columns(table: &PlannedTable) -> Vec<Column> {
    let (names, types, numbers) = (&table.columns, &table.column_types, &table.column_numbers);
    names
        .iter()
        .zip(types)
        .zip(numbers)
        .map(|((name, type_name), number)| Column { name: name.clone(), type_name: type_name.clone(), number: *number })
        .collect()
}

/// Looks at what the slots of a snapshot hold back, and notes it.
pub fn look(operation: &operations::Operation, files: &Files, connection: &Connection) -> Result<()> {
    match seen(operation, files, connection)? {
        Some(found) => transaction::run(|| snapshots::looked(operation.id, &found)),
        None => Ok(()),
    }
}

/// What the slots of a snapshot hold back now; none before there is one.
fn seen(operation: &operations::Operation, files: &Files, connection: &Connection) -> Result<Option<Look>> {
    let (Some(start), token) = (operation.start_lsn, operation.token()?) else { return Ok(None) };
    let names: Vec<String> = (1..=files.targets).map(|number| target_slot_name(token, number)).collect();
    let found = transaction::run_without_snapshot(|| slots::look(connection, &names, start))?;
    Ok(Some(Look { bytes: None, slots_free: found.free.len() as i64, wal_held_bytes: Some(found.held_bytes) }))
}
