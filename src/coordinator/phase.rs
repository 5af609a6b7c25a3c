//! The steps of an operation, and which of them it goes through.

use std::fmt;
use std::str::FromStr;

/// The steps an operation goes through, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The target's tables are made to match, or somebody looks at the differences.
    Schema,
    /// What a physical copy of the source has brought along, and is not the node's, is taken away.
    Adopt,
    /// Publications are made on the source and committed.
    Publication,
    /// The slot is made, with its snapshot.
    Slot,
    /// Slot and snapshot are kept until somebody has made use of them.
    Held,
    /// The subscription is made here, disabled.
    Subscription,
    /// Rows that came by a backup are compared with the source's.
    Verify,
    /// Target tables are emptied, indexes suspended, tasks planned.
    Tables,
    /// Rows are written into files.
    Files,
    /// Rows are copied; indexes of finished tables are built when workers are free. By method snapshot the subscription is enabled
    /// and the server copies.
    Copy,
    /// All rows are here and the snapshot is given up; indexes are built and tables vacuumed.
    Indexes,
    /// Constraints are put back, sequences set.
    Sequences,
    /// The subscription is told where each table stands, and enabled.
    Enable,
    /// Changes since the snapshot are replayed.
    Catchup,
    /// The end.
    Done,
}

impl Phase {
    const ALL: [(Phase, &'static str); 15] = [
        (Phase::Schema, "schema"),
        (Phase::Adopt, "adopt"),
        (Phase::Publication, "publication"),
        (Phase::Slot, "slot"),
        (Phase::Held, "held"),
        (Phase::Subscription, "subscription"),
        (Phase::Verify, "verify"),
        (Phase::Tables, "tables"),
        (Phase::Files, "files"),
        (Phase::Copy, "copy"),
        (Phase::Indexes, "indexes"),
        (Phase::Sequences, "sequences"),
        (Phase::Enable, "enable"),
        (Phase::Catchup, "catchup"),
        (Phase::Done, "done"),
    ];

    /// The word in `operations.phase`.
    pub fn as_str(self) -> &'static str {
        Phase::ALL.iter().find(|(phase, _)| *phase == self).map_or("", |(_, word)| word)
    }
}

/// Which of the phases an operation goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Everything is made and copied.
    Whole,
    /// Slot and publications were made beforehand, and the rows came by somebody's own backup.
    Attach,
    /// A slot is made and kept.
    Hold,
    /// A portable snapshot is written.
    Write,
    /// One is read: a slot of it is taken.
    Read,
    /// Everything is made, and rows come by way of files.
    Both,
}

impl Way {
    /// Its phases, in their order.
    pub fn phases(self) -> &'static [Phase] {
        use Phase::{
            Adopt, Catchup, Copy, Done, Enable, Files, Held, Indexes, Publication, Schema, Sequences, Slot,
            Subscription, Tables, Verify,
        };
        match self {
            Way::Whole => {
                &[Schema, Publication, Slot, Subscription, Tables, Copy, Indexes, Sequences, Enable, Catchup, Done]
            }
            Way::Attach => &[Schema, Adopt, Subscription, Verify, Sequences, Enable, Catchup, Done],
            Way::Hold => &[Publication, Slot, Held, Done],
            Way::Write => &[Publication, Slot, Tables, Copy, Sequences, Done],
            Way::Both => &[
                Schema,
                Publication,
                Slot,
                Subscription,
                Tables,
                Files,
                Copy,
                Indexes,
                Sequences,
                Enable,
                Catchup,
                Done,
            ],
            Way::Read => &[Schema, Slot, Subscription, Tables, Copy, Indexes, Sequences, Enable, Catchup, Done],
        }
    }

    /// The phase after one of them.
    pub fn after(self, phase: Phase) -> Phase {
        self.phases().iter().copied().find(|next| *next > phase).unwrap_or(Phase::Done)
    }

    /// The first one, when nobody has to look at schemas.
    pub fn first(self) -> Phase {
        match self {
            Way::Hold | Way::Write => Phase::Publication,
            _ => self.after(Phase::Schema),
        }
    }
}

impl FromStr for Phase {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Phase::ALL.iter().find(|(_, known)| *known == word).map(|(phase, _)| *phase).ok_or(())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(way: Way) -> String {
        let mut phase = way.first();
        let mut words = vec![phase.as_str()];
        while phase != Phase::Done {
            phase = way.after(phase);
            words.push(phase.as_str());
        }
        words.join(" ")
    }

    #[test]
    fn phases_are_words_in_order() {
        assert_eq!(
            words(Way::Whole),
            "publication slot subscription tables copy indexes sequences enable catchup done"
        );
        assert_eq!(words(Way::Attach), "adopt subscription verify sequences enable catchup done");
        assert_eq!(words(Way::Hold), "publication slot held done");
        assert_eq!(words(Way::Write), "publication slot tables copy sequences done");
        assert_eq!(
            words(Way::Both),
            "publication slot subscription tables files copy indexes sequences enable catchup done"
        );
        assert_eq!(words(Way::Read), "slot subscription tables copy indexes sequences enable catchup done");
        for (phase, word) in Phase::ALL {
            assert_eq!(word.parse(), Ok(phase));
        }
        for way in [Way::Whole, Way::Attach, Way::Hold, Way::Write, Way::Read, Way::Both] {
            assert!(way.phases().is_sorted(), "{way:?}");
            assert_eq!(way.after(Phase::Done), Phase::Done);
        }
        assert_eq!(Way::Whole.after(Phase::Schema), Phase::Publication);
    }
}
