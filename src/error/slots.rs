//! What can be wrong with a slot that was made beforehand, and with a node that was filled by somebody's own backup.

use super::listed;
use steep_repl_core::lsn::Lsn;

/// See there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SlotError {
    /// A name that PostgreSQL would not take.
    #[error("\"{slot}\" is not a valid slot name")]
    Name {
        /// The name.
        slot: String,
    },
    /// The name is taken.
    #[error("replication slot \"{slot}\" exists already on node \"{node}\"")]
    Exists {
        /// The slot.
        slot: String,
        /// Where.
        node: String,
    },
    /// The slot would wait for the transaction that waits for it.
    #[error("cannot make a slot in a transaction that has written")]
    HasWritten,
    /// No slot of that name is kept.
    #[error("no slot \"{slot}\" is kept")]
    NotKept {
        /// The name.
        slot: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// It was given up while it was made.
    #[error("slot \"{slot}\" was released while it was made")]
    Released {
        /// The slot.
        slot: String,
    },
    /// No slot was named, and not exactly one can be meant.
    #[error("it is not clear which replication slot of node \"{node}\" is meant")]
    Unclear {
        /// The source.
        node: String,
        /// Those that may be.
        candidates: Vec<String>,
    },
    /// The slot is not there.
    #[error("node \"{node}\" has no replication slot \"{slot}\"")]
    Missing {
        /// The slot.
        slot: String,
        /// Where it should be.
        node: String,
        /// Why that may be, where it is known.
        why: Option<String>,
    },
    /// The slot cannot be used for this.
    #[error("replication slot \"{slot}\" of node \"{node}\" cannot be used")]
    Unusable {
        /// The slot.
        slot: String,
        /// Where it is.
        node: String,
        /// Why.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// Another node is about to replicate by it.
    #[error("replication slot \"{slot}\" of node \"{node}\" is taken by another node")]
    Taken {
        /// The slot.
        slot: String,
        /// Where it is.
        node: String,
    },
    /// Nothing is known of the publications of a slot.
    #[error("replication slot \"{slot}\" of node \"{node}\" was not made by steep_repl.prepare_init")]
    Foreign {
        /// The slot.
        slot: String,
        /// Where it is.
        node: String,
    },
    /// The publication is not known to be older than the slot.
    #[error("publication \"{publication}\" of node \"{node}\" is not older than replication slot \"{slot}\"")]
    Younger {
        /// The publication.
        publication: String,
        /// Where it is.
        node: String,
        /// The slot.
        slot: String,
    },
    /// The rows are older than what the slot can bring.
    #[error("source LSN {lsn} is before the start of replication slot \"{slot}\" at {start}")]
    Before {
        /// As given, or where the copy stands.
        lsn: Lsn,
        /// The slot.
        slot: String,
        /// Its start.
        start: Lsn,
    },
    /// The source has not got there.
    #[error("source LSN {lsn} is beyond the end of WAL of node \"{node}\" at {end}")]
    Beyond {
        /// As given.
        lsn: Lsn,
        /// The source.
        node: String,
        /// Where it is.
        end: Lsn,
    },
    /// A logical backup without a position.
    #[error("source_lsn is needed")]
    NoLsn {
        /// The slot.
        slot: String,
    },
    /// A physical copy stands elsewhere.
    #[error("source LSN {lsn} is not where this copy of node \"{node}\" ends, which is {at}")]
    Elsewhere {
        /// As given.
        lsn: Lsn,
        /// The source.
        node: String,
        /// Where the copy ends.
        at: Lsn,
    },
    /// A physical copy that was started as if it were the original.
    #[error("it cannot be told where this copy of node \"{node}\" ends")]
    NoTimeline {
        /// The source.
        node: String,
        /// The timeline of both.
        timeline: u32,
    },
    /// A physical copy of something else.
    #[error("this copy has no history in common with timeline {timeline} of node \"{node}\"")]
    OtherHistory {
        /// The source.
        node: String,
        /// Its timeline.
        timeline: u32,
    },
    /// Somebody has written to the copy.
    #[error("tables of this copy were written to since it was promoted")]
    Written {
        /// Them.
        tables: Vec<String>,
    },
    /// Tables of a physical copy are partitions on the source, and were not when the copy left it.
    #[error("tables have become partitions on node \"{node}\" since this copy was made")]
    Attached {
        /// The source.
        node: String,
        /// Them.
        tables: Vec<String>,
    },
    /// Whoever applies what comes would wait for what prepared transactions of a physical copy have locked.
    #[error("this copy of node \"{node}\" has prepared transactions")]
    Prepared {
        /// The source.
        node: String,
        /// Them, by their identifiers.
        gids: Vec<String>,
    },
    /// The backup was not restored, or not all of it.
    #[error("tables are empty that hold rows on node \"{node}\"")]
    NotRestored {
        /// The source.
        node: String,
        /// Them.
        tables: Vec<String>,
        /// Whether that was seen under the snapshot of the slot.
        is_certain: bool,
    },
    /// Rows of another moment.
    #[error("tables do not hold the rows that node \"{node}\" had at {lsn}")]
    OtherRows {
        /// The source.
        node: String,
        /// Where the slot starts.
        lsn: Lsn,
        /// Them, in words.
        tables: Vec<String>,
    },
    /// What a copy has brought along is at work.
    #[error("{what} of the original is in use here")]
    InUse {
        /// A slot or an origin.
        what: String,
    },
    /// A source has too few slots for what is to be made there.
    #[error("node \"{node}\" has {free} free replication slots, and {needed} are needed")]
    TooFew {
        /// Name of the node.
        node: String,
        /// How many are free.
        free: i64,
        /// How many it takes.
        needed: i64,
        /// What takes them.
        why: &'static str,
        /// What takes fewer.
        instead: &'static str,
    },
    /// No background worker is to be had.
    #[error("no background worker is free")]
    NoWorker,
}

impl SlotError {
    /// SQLSTATE, detail and hint.
    pub(super) fn parts(&self) -> (&'static str, Option<String>, Option<String>) {
        use SlotError::{
            Attached, Before, Beyond, Elsewhere, Exists, Foreign, HasWritten, InUse, Missing, Name, NoLsn, NoTimeline,
            NoWorker, NotKept, NotRestored, OtherHistory, OtherRows, Prepared, Released, Taken, TooFew, Unclear,
            Unusable, Written, Younger,
        };
        let some = |text: &str| Some(text.to_owned());
        match self {
            Name { .. } => {
                ("42602", None, some("A slot name has 1 to 63 characters: lower-case letters, digits and underscores."))
            }
            Exists { .. } => ("42710", None, some("Choose another name, or drop that slot if nobody needs it.")),
            HasWritten => (
                "25001",
                some("A slot waits for every transaction that has written, this one among them."),
                some("Commit first, then call steep_repl.prepare_init."),
            ),
            NotKept { known, .. } => (
                "42704",
                None,
                Some(if known.is_empty() {
                    "No slot is kept here now; see steep_repl.init_slots for what has become of those that were.".to_owned()
                } else {
                    format!("Kept here are: {}.", known.join(", "))
                }),
            ),
            Released { .. } => ("57014", None, some("Call steep_repl.prepare_init again.")),
            Unclear { candidates, .. } => (
                "22023",
                Some(if candidates.is_empty() {
                    "None is there that steep_repl.prepare_init has made and nobody has used.".to_owned()
                } else {
                    format!("There are: {}.", candidates.join(", "))
                }),
                some("Name it: slot_name => '...'. It must have been made before the backup was begun."),
            ),
            Missing { why, .. } => (
                "42704",
                why.clone(),
                some(
                    "Without it the changes since the backup cannot be had. Begin anew: steep_repl.prepare_init, then another backup.",
                ),
            ),
            Taken { .. } => (
                "55006",
                some("A slot serves one node, and steep_repl.complete_init is at work with it there."),
                some(
                    "Use steep_repl.cancel_init(node) there. If that node is gone for good, release the slot by \
                     steep_repl.drop_init_slot where it was made, and make another one, and another backup.",
                ),
            ),
            Unusable { reason, hint, .. } => ("55000", Some(reason.clone()), Some(hint.clone())),
            Foreign { .. } => (
                "55000",
                some("Which publication was there before it is not known; changes that came before their publication are lost."),
                some("Name the publication, committed before the slot was made: publication => '...'."),
            ),
            Younger { .. } => (
                "55000",
                some("Changes that came before their publication would be lost. Its rows in the catalog are not older than the slot's."),
                some("Make another slot, by steep_repl.prepare_init best, and another backup."),
            ),
            Before { .. } => (
                "22023",
                some("Changes between the two cannot be had by it."),
                some("The slot must be made before the backup is begun. Make another backup, or use the slot that is older."),
            ),
            Beyond { .. } => ("22023", None, some("Give the LSN that steep_repl.prepare_init has returned.")),
            NoLsn { slot } => (
                "22023",
                some("Only a physical copy of the source knows by itself where it stands."),
                Some(format!("Give the LSN that steep_repl.prepare_init has returned for slot \"{slot}\".")),
            ),
            Elsewhere { .. } => {
                ("22023", None, some("Leave source_lsn out: a physical copy knows by itself where it stands."))
            }
            NoTimeline { timeline, .. } => (
                "55000",
                Some(format!(
                    "Both are on timeline {timeline}: it was started without standby.signal or recovery.signal, or is no copy but \
                     the node itself."
                )),
                some(
                    "Make the copy anew, start it as a standby (pg_basebackup -R), let it recover, and promote it: that gives it a \
                     timeline of its own.",
                ),
            ),
            OtherHistory { .. } => (
                "55000",
                some(
                    "It was copied from another server: a timeline of the same number may be another one, where two were promoted apart \
                     from each other. Or the source was itself promoted since.",
                ),
                some("Make another copy, of the source as it is now."),
            ),
            Written { tables } => (
                "55000",
                Some(listed(tables)),
                some("Its rows are not the source's any more. Make another copy, and let nobody write to it."),
            ),
            Attached { tables, .. } => (
                "55000",
                Some(listed(tables)),
                some("What was written into them before they were attached never comes. Make another copy, or leave these out with tables =>."),
            ),
            Prepared { gids, .. } => (
                "55000",
                Some(listed(gids)),
                some(
                    "Use ROLLBACK PREPARED here for each: what it did comes by replication when it is committed on the source, and would \
                     wait without end for what it has locked here. What is rolled back counts as written: when the sessions that did it \
                     have ended, use pg_stat_reset().",
                ),
            ),
            NotRestored { tables, is_certain, .. } => (
                "55000",
                Some(format!(
                    "{}{}",
                    listed(tables),
                    if *is_certain { "" } else { "\nNot one table holds rows here." }
                )),
                some("Restore the backup first, all of it, then call steep_repl.complete_init again."),
            ),
            OtherRows { tables, .. } => (
                "55000",
                Some(listed(tables)),
                some(
                    "The backup was not made under the snapshot of the slot (pg_dump --snapshot=...), or was changed since. Make \
                     another one under it, or begin anew with steep_repl.prepare_init.",
                ),
            ),
            TooFew { node, why, instead, .. } => (
                "53400",
                Some((*why).to_owned()),
                Some(format!(
                    "Raise max_replication_slots on node \"{node}\" and restart it, drop slots that are not needed any more, \
                     or {instead}."
                )),
            ),
            InUse { .. } => ("55006", None, some("End who uses it, then resume the operation.")),
            NoWorker => (
                "53000",
                None,
                some("Raise max_worker_processes and restart the server, or try again when another worker has ended."),
            ),
        }
    }
}
