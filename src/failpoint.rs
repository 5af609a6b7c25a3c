//! Failpoints: named moments between a commit and the next intent at which a test lets something go wrong.
//!
//! They are for tests of this extension and exist with the cargo feature `failpoints` alone: without it [`hit`] is an empty
//! function, and no name, setting or file access is compiled in. With it `steep_repl.failpoints` lists the names, and a file
//! `steep_repl.failpoints/<name>` in the data directory arms one of them. A file reaches every process at once, also one that
//! waits for a lock, and outlives the crash that it causes. What it may say:
//!
//! | | |
//! | --- | --- |
//! | `error(SQLSTATE)` | an error of this server |
//! | `source(SQLSTATE)` | an error that the source raised |
//! | `exit` | the process ends, as by FATAL |
//! | `kill` | the process is killed, and the postmaster starts everything anew |
//! | `sleep`, `sleep(ms)` | the process waits until the file is gone, or so many milliseconds |
//!
//! `2*exit` does so the first two times; the file counts down and says `0*exit` then, so a test sees that it was reached.

/// `failpoint!(SlotMade)?` stands where the process may be made to fail.
macro_rules! failpoint {
    ($point:ident) => {
        $crate::failpoint::hit($crate::failpoint::Point::$point)
    };
}

macro_rules! points {
    ($($(#[$about:meta])* $point:ident $name:literal,)*) => {
        /// The moments.
        #[derive(Clone, Copy)]
        pub enum Point {
            $($(#[$about])* $point,)*
        }

        #[cfg(feature = "failpoints")]
        impl Point {
            /// All names, for the setting.
            const NAMES: &'static str = concat!($($name, " ",)* "\0");

            fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// Launcher: a coordinator was asked for, which is not noted yet.
    CoordinatorAsked "coordinator_asked",
    /// Coordinator: a slot has the name that was asked for, and its first one too.
    SlotCopied "slot_copied",
    /// Coordinator: a slot is described on the source, which is not noted yet.
    SlotDescribed "slot_described",
    /// Coordinator: inside the transaction that notes that a kept slot is used.
    SlotUsed "slot_used",
    /// Copy worker: a table was compared, which is not noted yet.
    TableCompared "table_compared",
    /// Coordinator: the operation is taken up, tasks of dead workers are not.
    TakenUp "taken_up",
    /// Coordinator: identities and publications are committed on the source, their mark is not written down.
    PublicationsMade "publications_made",
    /// Coordinator: the mark is written down.
    PublicationsMarked "publications_marked",
    /// Coordinator: a keeper has its number and is not started.
    KeeperNumbered "keeper_numbered",
    /// Keeper: the connection that makes the slot is there.
    SlotToBeMade "slot_to_be_made",
    /// Keeper: the slot is made, its snapshot is not exported.
    SlotMade "slot_made",
    /// Keeper: the slot for the base backup is made, the backup is not begun.
    BackupSlotMade "backup_slot_made",
    /// Keeper: the backup is here, no position is taken.
    BackupMade "backup_made",
    /// Keeper: the private server is started, and nobody has looked at it.
    PrivateServerStarted "private_server_started",
    /// Keeper: the snapshot is exported and not noted.
    SnapshotExported "snapshot_exported",
    /// Keeper: slot and snapshot are noted.
    SnapshotNoted "snapshot_noted",
    /// Coordinator: the source's definitions are read, nothing is made.
    SchemaDumped "schema_dumped",
    /// Coordinator: inside a transaction that has made what the source has.
    SchemaApplied "schema_applied",
    /// Coordinator: the same, with the plan.
    SchemaReplanned "schema_replanned",
    /// Coordinator: inside the transaction that disables the subscription, since a table has to be copied again.
    CatchupStopped "catchup_stopped",
    /// Coordinator: the subscription is disabled, its apply worker may still run.
    CatchupStopCommitted "catchup_stop_committed",
    /// Coordinator: inside a transaction that has taken back what was made here.
    SchemaUndone "schema_undone",
    /// Coordinator: inside the transaction that makes the subscription.
    SubscriptionMade "subscription_made",
    /// Coordinator: the subscription is committed, the phase is still that of its making.
    SubscriptionCommitted "subscription_committed",
    /// Coordinator: tables are emptied for `force`, none is prepared.
    TablesEmptied "tables_emptied",
    /// Coordinator: inside the transaction that prepares a batch of tables.
    BatchPrepared "batch_prepared",
    /// Coordinator: all tables are prepared, no task is planned.
    TablesPrepared "tables_prepared",
    /// Coordinator: inside the transaction that plans the tasks.
    TasksPlanned "tasks_planned",
    /// Copy worker: tasks are taken, nothing of them is begun.
    TaskTaken "task_taken",
    /// Copy worker: inside the transaction of the rows, which are all here and marked done.
    RowsLoaded "rows_loaded",
    /// Copy worker: a file of a snapshot is on disk, its task is not marked done.
    ChunkWritten "chunk_written",
    /// Coordinator: the folder of a snapshot is made.
    FolderMade "folder_made",
    /// Coordinator: the slots of a snapshot's targets are made.
    SlotsCopied "slots_copied",
    /// Coordinator: the manifest is on disk, the operation is not complete.
    ManifestWritten "manifest_written",
    /// Coordinator: a slot of a snapshot is copied, which is not noted.
    ClaimCopied "claim_copied",
    /// Coordinator: it is noted that the slot is to be dropped, and it is not.
    ClaimNoted "claim_noted",
    /// Coordinator: it is dropped, and noted as taken.
    SlotClaimed "slot_claimed",
    /// Coordinator: all files of a snapshot were found to be whole.
    FilesVerified "files_verified",
    /// Copy worker: the rows are committed.
    RowsCommitted "rows_committed",
    /// Copy worker: inside the transaction of a built index.
    IndexBuilt "index_built",
    /// Copy worker: a table is vacuumed, which is not noted.
    Vacuumed "vacuumed",
    /// Copy worker: a task has failed, which is not noted.
    TaskFailed "task_failed",
    /// Coordinator: the snapshot is forgotten, the keeper does not know it yet.
    SnapshotForgotten "snapshot_forgotten",
    /// Coordinator: what replaced a table on the source is published, the publications are not marked anew.
    ReplacementPublished "replacement_published",
    /// Coordinator: inside the transaction that empties unfinished tables for a later snapshot.
    UnfinishedEmptied "unfinished_emptied",
    /// Coordinator: unfinished tables are empty and await a later snapshot.
    SnapshotAwaited "snapshot_awaited",
    /// Coordinator: inside the transaction that puts a constraint back.
    ConstraintRestored "constraint_restored",
    /// Coordinator: constraints are back and sequences set, the phase is not over.
    SequencesSet "sequences_set",
    /// Coordinator: workers are gone and the origin is released, the subscription is not enabled.
    OriginReleased "origin_released",
    /// Coordinator: inside the transaction that enables the subscription.
    SubscriptionEnabled "subscription_enabled",
    /// Coordinator: the subscription is enabled and committed.
    EnableCommitted "enable_committed",
    /// Coordinator: the apply worker that a refresh has stopped is gone.
    ApplyStopped "apply_stopped",
    /// Coordinator: where the apply worker stood is committed, the tables of a refresh have not joined.
    AppliedNoted "applied_noted",
    /// Coordinator: inside the transaction in which tables join a subscription, its origin moved back already.
    TablesJoined "tables_joined",
    /// Coordinator: that is committed.
    JoinCommitted "join_committed",
    /// Coordinator: the slot is dropped that the subscription used before tables joined it.
    ReplacedSlotDropped "replaced_slot_dropped",
    /// Coordinator: inside the transaction that completes the operation.
    Completed "completed",
    /// Coordinator: the operation is complete and committed.
    CompletionCommitted "completion_committed",
    /// Coordinator: inside the transaction that stops the operation with an error.
    Failed "failed",
    /// Coordinator: a cancel has ended the workers and undone nothing.
    CancelBegun "cancel_begun",
    /// Coordinator: inside the transaction that drops the subscription.
    SubscriptionDropped "subscription_dropped",
    /// Coordinator: inside the transaction that takes tables out of a subscription.
    TablesLeft "tables_left",
    /// Coordinator: inside the transaction that empties the tables of a cancelled operation.
    TablesUndone "tables_undone",
    /// Coordinator: inside the transaction that builds a suspended index of an emptied table.
    IndexUndone "index_undone",
    /// Coordinator: the slot is dropped, the publications are not.
    SlotDropped "slot_dropped",
    /// Coordinator: the publications are dropped, identities are not restored.
    PublicationsDropped "publications_dropped",
    /// Coordinator: a kind of work is undone, which is not noted.
    KindUndone "kind_undone",
    /// Coordinator: all was tried, the operation is not yet cancelled.
    AllUndone "all_undone",
    /// Coordinator: the cancel is committed.
    CancelCommitted "cancel_committed",
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_point: Point) -> crate::error::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub use armed::{define, hit};

#[cfg(feature = "failpoints")]
mod armed {
    use super::Point;
    use crate::error::{Error, Result};
    use crate::pg::{death, raise, system};
    use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
    use std::ffi::{CStr, CString};
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Seek, Write};
    use std::path::PathBuf;
    use std::str::FromStr;
    use steep_repl_core::errors::Problem;

    /// Relative to the data directory, where every process of a server is.
    const FOLDER: &str = "steep_repl.failpoints";
    /// How often a sleeper looks whether it may go on, in milliseconds.
    const LOOK_MS: i64 = 20;

    static NAMES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(match names() {
        Ok(names) => Some(names),
        Err(_) => None,
    });

    const fn names() -> std::result::Result<&'static CStr, std::ffi::FromBytesWithNulError> {
        CStr::from_bytes_with_nul(Point::NAMES.as_bytes())
    }

    /// Defines the setting by which a test finds out that there are failpoints, and which.
    pub fn define() {
        GucRegistry::define_string_guc(
            c"steep_repl.failpoints",
            c"Names of the failpoints.",
            c"A file of that name in steep_repl.failpoints/ below the data directory arms one.",
            &NAMES,
            GucContext::Internal,
            GucFlags::DISALLOW_IN_FILE,
        );
    }

    #[derive(Debug, PartialEq)]
    enum Action {
        Error(String),
        Source(String),
        Exit,
        Kill,
        Sleep(Option<i64>),
    }

    /// What a file says: an action, and how often.
    #[derive(Debug, PartialEq)]
    struct Armed {
        times: Option<u32>,
        action: Action,
    }

    impl FromStr for Armed {
        type Err = ();

        fn from_str(text: &str) -> std::result::Result<Self, ()> {
            let text = text.trim();
            let (times, word) = match text.split_once('*') {
                Some((times, word)) => (Some(times.parse().map_err(drop)?), word),
                None => (None, text),
            };
            let (word, argument) = match word.split_once('(') {
                Some((word, rest)) => (word, Some(rest.strip_suffix(')').ok_or(())?)),
                None => (word, None),
            };
            let action = match (word, argument) {
                ("error", Some(sqlstate)) => Action::Error(sqlstate.to_owned()),
                ("source", Some(sqlstate)) => Action::Source(sqlstate.to_owned()),
                ("exit", None) => Action::Exit,
                ("kill", None) => Action::Kill,
                ("sleep", None) => Action::Sleep(None),
                ("sleep", Some(ms)) => Action::Sleep(Some(ms.parse().map_err(drop)?)),
                _ => return Err(()),
            };
            Ok(Armed { times, action })
        }
    }

    /// Does what the point is armed with.
    pub fn hit(point: Point) -> Result<()> {
        let name = point.name();
        let Some(action) = take(&file(name)) else { return Ok(()) };
        raise::log_line(&format!("steep_repl: failpoint {name}: {action:?}"));
        let problem = |sqlstate| {
            let message = format!("failpoint {name}");
            Box::new(Problem { sqlstate, message, detail: None, hint: None })
        };
        match action {
            Action::Error(sqlstate) => Err(Error::Server(problem(sqlstate))),
            Action::Source(sqlstate) => {
                Err(Error::Source { context: "could not ask the source".to_owned(), problem: problem(sqlstate) })
            }
            Action::Exit => death::exit(name),
            Action::Kill => death::kill_myself(),
            Action::Sleep(ms) => {
                let until = ms.map_or(i64::MAX, |ms| system::now_micros() + ms * 1000);
                while system::now_micros() < until && file(name).exists() {
                    system::wait_latch(LOOK_MS);
                }
                Ok(())
            }
        }
    }

    fn file(name: &str) -> PathBuf {
        PathBuf::from(FOLDER).join(name)
    }

    /// What the file says, once less from now on. A file that cannot be read or understood arms nothing.
    fn take(path: &PathBuf) -> Option<Action> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        // Several processes may come by at once, and the first N of them are meant.
        file.lock().ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let Armed { times, action } = text.parse().ok()?;
        if let Some(times) = times {
            let left = times.checked_sub(1)?;
            let (_, word) = text.split_once('*')?;
            rewrite(&mut file, &format!("{left}*{word}")).ok()?;
        }
        Some(action)
    }

    fn rewrite(file: &mut File, text: &str) -> std::io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_a_file_may_say() {
            let armed = |times, action| Ok(Armed { times, action });
            assert_eq!("exit".parse(), armed(None, Action::Exit));
            assert_eq!("2*kill\n".parse(), armed(Some(2), Action::Kill));
            assert_eq!("1*error(40001)".parse(), armed(Some(1), Action::Error("40001".to_owned())));
            assert_eq!("source(08006)".parse(), armed(None, Action::Source("08006".to_owned())));
            assert_eq!("sleep".parse(), armed(None, Action::Sleep(None)));
            assert_eq!("0*sleep(50)".parse(), armed(Some(0), Action::Sleep(Some(50))));
            for wrong in ["", "error", "exit(1)", "x*kill", "sleep(", "sleep(a)", "kill now"] {
                assert_eq!(wrong.parse::<Armed>(), Err(()), "{wrong}");
            }
        }

        #[test]
        fn the_first_n_times_only() {
            let path = std::env::temp_dir().join(format!("steep_repl_failpoint_{}", std::process::id()));
            std::fs::write(&path, "2*exit").unwrap();
            assert_eq!([take(&path), take(&path), take(&path)], [Some(Action::Exit), Some(Action::Exit), None]);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "0*exit");
            std::fs::write(&path, "exit").unwrap();
            assert_eq!([take(&path), take(&path)], [Some(Action::Exit), Some(Action::Exit)]);
            std::fs::remove_file(&path).unwrap();
            assert_eq!(take(&path), None);
        }
    }
}
