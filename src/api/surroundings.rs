//! What is worth knowing of two servers before rows go from one to the other: none of it stands against an initialization but that here
//! is no room for a replication origin.

use super::checks::{Judge, Remark, Wanted};
use crate::catalog::operations::Files;
use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::instance;
use crate::pg::remote::Connection;
use crate::pg::scratch::free_bytes;
use crate::pg::system;
use crate::schema::Plan;
use crate::source::{preflight, state};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use steep_repl_core::database::{lacking_extensions, notes, Known, Site};
use steep_repl_core::schema_sync::Mode;

/// Seconds that a transaction of the source may be old before it is worth a word.
const OLD: f64 = 10.0;

/// Compares the databases.
pub(super) fn check_databases(judge: &mut impl Judge, wanted: &Wanted, connection: &Connection) -> Result<()> {
    let before = system::unix_secs();
    let source = preflight::database(connection)?;
    let after = system::unix_secs();
    let mut here = user::database()?;
    // The source looked at its clock at some moment in between.
    here.clock = source.clock.clamp(before, after.max(before));
    let mode = wanted.options.schema_sync;
    let (available, roles) = match mode {
        Mode::Auto => (
            user::available_extensions(&lacking_extensions(&source, &here))?,
            user::roles()?.into_iter().map(|(name, _)| name).collect(),
        ),
        Mode::Strict | Mode::Manual => (Vec::new(), Vec::new()),
    };
    let known = Known { available: &available, roles: &roles };
    let (source, here) = (Site { node: wanted.source, database: &source }, Site { node: wanted.node, database: &here });
    for (check, note) in notes(source, here, mode, known) {
        let remark = note.map(|note| Remark { message: note.message, hint: note.hint.to_owned(), ..Remark::default() });
        judge.remark(check, remark);
    }
    Ok(())
}

/// A slot is made once every transaction that runs has ended; a copy that does not begin is easier to bear when one knows why.
pub(super) fn check_transactions(judge: &mut impl Judge, node: &str, connection: &Connection) -> Result<()> {
    let blockers = state::blockers(connection)?;
    let is_unknown = blockers.iter().any(|blocker| blocker.age_seconds.is_none());
    let old: Vec<String> = blockers
        .into_iter()
        .filter_map(|blocker| match blocker.age_seconds {
            Some(age) => (age > OLD).then(|| format!("{} ({age:.0} s)", blocker.who)),
            None => Some(format!("{} (age unknown)", blocker.who)),
        })
        .collect();
    let remark = (!old.is_empty()).then(|| Remark {
        message: format!("transactions of node \"{node}\" hold up the slot: {}", old.join(", ")),
        hint: format!(
            "It is made when they have ended: wait for them, or end them.{}",
            if is_unknown { " The role there may see how old they are once it is in pg_read_all_stats." } else { "" }
        ),
        ..Remark::default()
    });
    judge.remark("source_transactions", remark);
    Ok(())
}

/// What a subscription takes of this server.
pub(super) fn check_room(judge: &mut impl Judge, node: &str, for_sync: bool) -> Result<()> {
    let room = user::room()?;
    let setting = if system::major() >= 18 { "max_active_replication_origins" } else { "max_replication_slots" };
    let free = room.origins - room.origins_used;
    let origin = if for_sync && free == 1 {
        Err(Error::TooFew { node: node.to_owned(), what: "replication origin", free, needed: 2, setting })
    } else if free > 0 {
        Ok(())
    } else {
        Err(Error::Exhausted { node: node.to_owned(), what: "replication origin", limit: room.origins, setting })
    };
    judge.judge("origins", origin)?;
    let remark = (room.apply_workers_used >= room.apply_workers).then(|| Remark {
        message: format!("all {} of max_logical_replication_workers are in use", room.apply_workers),
        hint: "Nothing is applied until one is free. Raise max_logical_replication_workers and restart the server."
            .to_owned(),
        is_warning: true,
        ..Remark::default()
    });
    judge.remark("apply_workers", remark);
    Ok(())
}

/// What the server's own table synchronization needs: without a worker for it no table would ever be copied.
pub(super) fn check_sync(judge: &mut impl Judge, wanted: &Wanted, source: &preflight::Source) -> Result<()> {
    let room = user::room()?;
    let lacks = |setting, value: i64, hint: &str| {
        Err(Error::SourceSetting {
            node: wanted.node.to_owned(),
            setting,
            value: value.to_string(),
            hint: hint.to_owned(),
        })
    };
    let outcome = if room.sync_workers < 1 {
        let hint = "The server copies no table then: set it to at least 1 and reload, or use method => 'parallel'.";
        lacks("max_sync_workers_per_subscription", room.sync_workers, hint)
    } else if room.apply_workers < 2 {
        let hint =
            "One is for the apply worker and another copies: set it to at least 2 and restart the server, or use \
                    method => 'parallel'.";
        lacks("max_logical_replication_workers", room.apply_workers, hint)
    } else {
        Ok(())
    };
    judge.judge("sync_workers", outcome)?;
    let wanted_workers = 1 + room.sync_workers;
    let (slots, walsenders) = source.free();
    let short: Vec<String> = [
        ("max_logical_replication_workers here", room.apply_workers - room.apply_workers_used),
        ("replication origins here", room.origins - room.origins_used),
        ("max_replication_slots of the source", slots),
        ("max_wal_senders of the source", walsenders),
    ]
    .into_iter()
    .filter(|(_, free)| *free < wanted_workers)
    .map(|(what, free)| format!("{free} of {what}"))
    .collect();
    let remark = (!short.is_empty()).then(|| Remark {
        message: format!("free are {}, {wanted_workers} would be used", short.join(", ")),
        hint: "Fewer tables are copied at a time, and attempts that find none are counted as failed. Raise them, or lower \
               max_sync_workers_per_subscription."
            .to_owned(),
        is_warning: true,
        ..Remark::default()
    });
    judge.remark("sync_room", remark);
    Ok(())
}

/// Compares what is free in each file system with what tables and indexes take on the source, and files with their rows. Indexes go by
/// statistics, files are counted as if they were not compressed, and nobody knows what else is written meanwhile: so it is no reason to refuse.
pub(super) fn check_space(
    judge: &mut impl Judge,
    plan: &Plan,
    index_bytes: &[(u32, i64)],
    files: Option<&Files>,
) -> Result<()> {
    let relids: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let folders: BTreeMap<u32, String> = user::tablespaces_of(&relids)?.into_iter().collect();
    let indexes: BTreeMap<u32, i64> = index_bytes.iter().copied().collect();
    let here: BTreeMap<u32, u32> = plan.tables.iter().map(|table| (table.source_relid, table.relid)).collect();
    let mut needed: Vec<(PathBuf, u64)> = Vec::new();
    for ((oid, ..), bytes) in plan.chosen.iter().zip(&plan.chosen_bytes) {
        let bytes = bytes.saturating_add(indexes.get(oid).copied().unwrap_or_default());
        // A table that has still to be made goes where others do.
        let folder = here.get(oid).and_then(|relid| folders.get(relid)).filter(|folder| !folder.is_empty());
        needed.push((folder.map_or_else(instance::data_directory, PathBuf::from), bytes.unsigned_abs()));
    }
    if let Some(files) = files {
        needed.push((Path::new(&files.path).to_owned(), plan.chosen_bytes_total().unsigned_abs()));
    }
    say_lacking(judge, &needed);
    Ok(())
}

/// The same for a snapshot, whose files are all that is written.
pub(super) fn check_space_of_files(judge: &mut impl Judge, plan: &Plan, files: &Files) {
    say_lacking(judge, &[(Path::new(&files.path).to_owned(), plan.bytes_total().unsigned_abs())]);
}

/// Says where less is free than is needed: in folders, which may be of the same file system.
fn say_lacking(judge: &mut impl Judge, needed: &[(PathBuf, u64)]) {
    let mut systems: BTreeMap<u64, (&Path, u64)> = BTreeMap::new();
    for (folder, bytes) in needed {
        // One that has still to be made is where its parent is.
        let there = folder.ancestors().find_map(|folder| Some((folder, std::fs::metadata(folder).ok()?.dev())));
        let Some((folder, device)) = there else { continue };
        let sum = &mut systems.entry(device).or_insert((folder, 0)).1;
        *sum = sum.saturating_add(*bytes);
    }
    let lacking: Vec<String> = systems
        .values()
        .filter_map(|(folder, needed)| {
            let free = free_bytes(folder)?;
            (*needed > free).then(|| {
                format!(
                    "{} MB are free in \"{}\", about {} MB will be written there",
                    free >> 20,
                    folder.display(),
                    needed >> 20
                )
            })
        })
        .collect();
    let remark = (!lacking.is_empty()).then(|| Remark {
        message: lacking.join("; "),
        detail: Some("That is what tables and indexes take on the source, and files with rows before they are compressed.".to_owned()),
        hint: "Make room first, or choose other tablespaces. Rows that are emptied for the copy, with force, give theirs back.".to_owned(),
        is_warning: true,
    });
    judge.remark("disk_space", remark);
}
