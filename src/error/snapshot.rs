//! What can go wrong with portable snapshots.

use super::listed;
use std::path::Path;
use steep_repl_core::manifest::Broken;

/// An error of a portable snapshot. [`super::Error::problem`] asks it for SQLSTATE, detail and hint.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// Nobody has said where snapshots may be.
    #[error("steep_repl.snapshot_directory is not set")]
    NoDirectory,
    /// Outside of where snapshots may be.
    #[error("\"{path}\" is not below steep_repl.snapshot_directory")]
    Outside {
        /// The path.
        path: String,
        /// The role that gives the right to use others.
        role: &'static str,
    },
    /// A path that cannot be a snapshot's.
    #[error("\"{path}\" cannot be the folder of a snapshot")]
    Path {
        /// The path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// There is something else.
    #[error("\"{path}\" exists already")]
    Exists {
        /// The path.
        path: String,
    },
    /// There is no snapshot.
    #[error("there is no complete snapshot in \"{path}\"")]
    Missing {
        /// The path.
        path: String,
        /// What is missing.
        reason: String,
    },
    /// The manifest is not believed.
    #[error("the snapshot in \"{path}\" cannot be used: {why}")]
    Manifest {
        /// The folder.
        path: String,
        /// Why.
        why: Broken,
    },
    /// A file is not what the manifest says.
    #[error("file \"{path}\" of the snapshot is damaged")]
    Damaged {
        /// The file.
        path: String,
        /// In which way.
        reason: String,
    },
    /// No snapshot of that name.
    #[error("snapshot \"{id}\" does not exist")]
    Unknown {
        /// What was given.
        id: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// Not the caller's.
    #[error("permission denied for snapshot \"{id}\"")]
    NotYours {
        /// The snapshot.
        id: String,
        /// Whose it is.
        owner: String,
    },
    /// It is being removed.
    #[error("snapshot \"{id}\" is being dropped")]
    Dropping {
        /// The snapshot.
        id: String,
    },
    /// It was removed while somebody waited for it.
    #[error("snapshot \"{id}\" was dropped")]
    Dropped {
        /// The snapshot.
        id: String,
    },
    /// Somebody generates it.
    #[error("snapshot \"{id}\" is being generated in \"{path}\"")]
    Busy {
        /// The snapshot.
        id: String,
        /// Where.
        path: String,
    },
    /// A node is being filled from it.
    #[error("snapshot \"{id}\" is being applied to node \"{node}\"")]
    Applied {
        /// The snapshot.
        id: String,
        /// The node.
        node: String,
    },
    /// The wait ended before the work.
    #[error("snapshot \"{id}\" is not complete after {waited}")]
    Timeout {
        /// The snapshot.
        id: String,
        /// How long.
        waited: String,
    },
    /// The node is another server than the one the snapshot is of.
    #[error("the snapshot in \"{path}\" is not one of node \"{node}\"")]
    OtherSource {
        /// The folder.
        path: String,
        /// The node.
        node: String,
        /// What differs.
        reason: String,
    },
    /// All slots are taken.
    #[error("snapshot \"{id}\" has no free replication slot on node \"{node}\"")]
    NoSlot {
        /// The snapshot.
        id: String,
        /// The source.
        node: String,
        /// What was found.
        reason: String,
        /// Whether some were given up for the WAL that they hold back.
        is_lost: bool,
    },
    /// Somebody uses those that are left, or is taking them.
    #[error("every free replication slot of snapshot \"{id}\" on node \"{node}\" is in use")]
    SlotsBusy {
        /// The snapshot.
        id: String,
        /// The source.
        node: String,
        /// Them.
        slots: Vec<String>,
    },
    /// The tables of the source are others now.
    #[error("the source has changed since the snapshot was taken")]
    SourceChanged {
        /// In which ways.
        differences: Vec<String>,
    },
}

impl SnapshotError {
    /// SQLSTATE, detail and hint.
    pub(super) fn parts(&self) -> (&'static str, Option<String>, Option<String>) {
        use SnapshotError::*;
        let anew = || Some("Take another snapshot: steep_repl.generate_snapshot(source, path).".to_owned());
        match self {
            NoDirectory => (
                "55000",
                Some("Snapshots are kept below that directory, on this server.".to_owned()),
                Some(
                    "Have a superuser set it: ALTER SYSTEM SET steep_repl.snapshot_directory = '/...'; SELECT pg_reload_conf();"
                        .to_owned(),
                ),
            ),
            Outside { role, .. } => (
                "42501",
                Some("Symbolic links are followed to where they lead.".to_owned()),
                Some(format!("Give a path below it, or use a role that is a member of {role}.")),
            ),
            Path { reason, .. } => {
                ("22023", Some(reason.clone()), Some("Give an absolute path, or a name below steep_repl.snapshot_directory.".to_owned()))
            }
            Exists { .. } => (
                "58P02",
                Some("It is no snapshot that was begun here and not completed.".to_owned()),
                Some("Give a path where nothing is yet, or remove what is there.".to_owned()),
            ),
            Missing { reason, .. } => (
                "58P01",
                Some(reason.clone()),
                Some("Give the folder with manifest.json; a snapshot has one when it is complete.".to_owned()),
            ),
            Manifest { why: Broken::Newer(_), .. } => (
                "0A000",
                Some("It was written by a later version of steep_repl.".to_owned()),
                Some("Use that version here too.".to_owned()),
            ),
            Manifest { .. } => ("22P04", Some("It is not what was written.".to_owned()), anew()),
            Damaged { reason, .. } => (
                "22P04",
                Some(reason.clone()),
                Some("Copy the file again from where it is whole, or take another snapshot.".to_owned()),
            ),
            Unknown { known, .. } => (
                "42704",
                None,
                Some(if known.is_empty() {
                    "This node has no snapshots.".to_owned()
                } else {
                    format!("Snapshots of this node: {}.", known.join(", "))
                }),
            ),
            NotYours { owner, .. } => {
                ("42501", None, Some(format!("Only \"{owner}\", the owner of its source and superusers may use it.")))
            }
            Dropping { .. } => ("55006", None, Some("See steep_repl.pending_cleanup for what it waits for.".to_owned())),
            Dropped { .. } => ("57014", None, anew()),
            Busy { .. } => (
                "55006",
                None,
                Some("Watch it in steep_repl.snapshots, or end it with steep_repl.drop_snapshot(id).".to_owned()),
            ),
            Applied { .. } => (
                "55006",
                Some("Its files are needed until the node is synchronized.".to_owned()),
                Some("Wait for the node with steep_repl.wait_for_init(node), or call steep_repl.cancel_init(node) first.".to_owned()),
            ),
            Timeout { .. } => ("57014", None, Some("It goes on; see steep_repl.snapshots.".to_owned())),
            OtherSource { reason, .. } => (
                "55000",
                Some(reason.clone()),
                Some("Name the node that is registered for the snapshot's source: source => '...'.".to_owned()),
            ),
            NoSlot { reason, is_lost: true, .. } => (
                "55000",
                Some(reason.clone()),
                Some("Raise max_slot_wal_keep_size on the source, then generate the snapshot anew.".to_owned()),
            ),
            NoSlot { reason, .. } => (
                "55000",
                Some(reason.clone()),
                Some("Each target takes one: generate the snapshot with targets => as many as there are.".to_owned()),
            ),
            SlotsBusy { slots, .. } => (
                "55006",
                Some(format!("In use: {}.", slots.join(", "))),
                Some("See pg_replication_slots.active_pid on the source.".to_owned()),
            ),
            SourceChanged { differences } => ("42P15", Some(listed(differences)), anew()),
        }
    }

    /// No slot is there to be taken: of so many some are lost, some in use, and the others taken or dropped.
    pub fn without_slot(id: String, node: String, made: usize, lost: Vec<String>, busy: Vec<String>) -> Self {
        if !busy.is_empty() {
            return SnapshotError::SlotsBusy { id, node, slots: busy };
        }
        let is_lost = !lost.is_empty();
        let reason = if lost.is_empty() {
            format!("All {made} that were made are taken or dropped.")
        } else {
            format!("Their WAL is gone: {}.", lost.join(", "))
        };
        SnapshotError::NoSlot { id, node, reason, is_lost }
    }

    /// A file that is not what it should be.
    pub fn damaged(folder: &Path, path: &str, reason: impl Into<String>) -> Self {
        SnapshotError::Damaged { path: folder.join(path).display().to_string(), reason: reason.into() }
    }
}
