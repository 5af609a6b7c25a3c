//! Whose an operation is: this server's, the server's that this one is a copy of, or somebody else's altogether.
//!
//! A base backup has the system identifier and the OIDs of its original. What it has not is the original's data directory:
//! a file there that is never rewritten tells one instance from another. A promoted standby is another instance too, and goes on
//! with what its primary began: it is known by having been a standby, and by its later timeline. A restored backup has a later
//! timeline as well, so that alone says nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instance: a data directory, by the inode and the time of birth of its file `PG_VERSION`. Whoever copies the directory makes
/// another file; a restart, a crash, another owner and another place in the tree leave it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance {
    /// Number of the file on its file system.
    pub inode: u64,
    /// When the file was made, in nanoseconds since 1970; none where the file system does not keep it.
    pub born: Option<u128>,
}

impl Instance {
    /// Whether both are the same. One that was looked at when the time of birth could not be had (an older kernel) is known by its
    /// number alone.
    pub fn is(&self, other: &Instance) -> bool {
        self.inode == other.inode
            && match (self.born, other.born) {
                (Some(born), Some(other)) => born == other,
                _ => true,
            }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.born {
            Some(born) => write!(f, "{}/{born}", self.inode),
            None => write!(f, "{}", self.inode),
        }
    }
}

/// The text names no instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid instance \"{0}\"")]
pub struct InvalidInstance(
    /// The text as given.
    pub String,
);

impl FromStr for Instance {
    type Err = InvalidInstance;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidInstance(text.to_owned());
        let (inode, born) = match text.split_once('/') {
            Some((inode, born)) => (inode, Some(born.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        Ok(Instance { inode: inode.parse().map_err(|_| invalid())?, born })
    }
}

impl Serialize for Instance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Who made an operation, as its row says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// Cluster.
    pub system_identifier: String,
    /// OID of the database.
    pub database: u32,
    /// Instance that has the operation.
    pub instance: Instance,
    /// Timeline that instance was on.
    pub timeline: u32,
    /// A copy has found the row in itself and knows that the operation is not its own.
    pub disowned: bool,
}

/// Where one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// Cluster.
    pub system_identifier: String,
    /// OID of the database.
    pub database: u32,
    /// Instance.
    pub instance: Instance,
    /// Timeline that is written to; none during recovery, when nothing is.
    pub timeline: Option<u32>,
    /// This instance was started as a standby once.
    pub was_standby: bool,
}

/// Whose an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This database's, to go on with.
    Ours,
    /// The original's: this server was made from its files. It can be adopted when the original is gone for good.
    Original,
    /// Another database's or another cluster's.
    Elsewhere,
}

impl Owner {
    /// As the views say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Owner::Ours => "ours",
            Owner::Original => "original",
            Owner::Elsewhere => "elsewhere",
        }
    }
}

/// Whose an operation is.
pub fn owner(maker: &Maker, here: &Here) -> Owner {
    if maker.system_identifier != here.system_identifier || maker.database != here.database {
        return Owner::Elsewhere;
    }
    if maker.disowned {
        return Owner::Original;
    }
    match here.timeline {
        // A standby shows what its primary does.
        None => Owner::Ours,
        Some(_) if maker.instance.is(&here.instance) => Owner::Ours,
        Some(timeline) if here.was_standby && timeline > maker.timeline => Owner::Ours,
        Some(_) => Owner::Original,
    }
}

/// What is to be written into an operation's row, so that copies of this server made from now on can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// This instance has it, on this timeline.
    Own,
    /// It was the original's when this server was made from it, and stays so in whatever is made from this server.
    Disown,
}

/// What is to be written, if anything.
pub fn settle(maker: &Maker, here: &Here) -> Option<Settlement> {
    let timeline = here.timeline?;
    match owner(maker, here) {
        Owner::Ours if maker.instance != here.instance || maker.timeline != timeline => Some(Settlement::Own),
        Owner::Original if !maker.disowned => Some(Settlement::Disown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Instance = Instance { inode: 17, born: Some(1_700_000_000_123_456_789) };
    const SECOND: Instance = Instance { inode: 18, born: Some(1_700_000_001_123_456_789) };

    fn made_by_first() -> Maker {
        Maker { system_identifier: "7".to_owned(), database: 5, instance: FIRST, timeline: 1, disowned: false }
    }

    fn on(instance: Instance, timeline: u32) -> Here {
        Here { system_identifier: "7".to_owned(), database: 5, instance, timeline: Some(timeline), was_standby: false }
    }

    fn promoted(instance: Instance, timeline: u32) -> Here {
        Here { was_standby: true, ..on(instance, timeline) }
    }

    fn decide(maker: &Maker, here: &Here) -> (Owner, Option<Settlement>) {
        (owner(maker, here), settle(maker, here))
    }

    #[test]
    fn text_and_back() {
        for instance in [FIRST, Instance { born: None, ..FIRST }] {
            assert_eq!(instance.to_string().parse(), Ok(instance));
        }
        for text in ["", "/", "17/", "/17", "17/x", "-1", "17/1/2"] {
            assert_eq!(text.parse::<Instance>(), Err(InvalidInstance(text.to_owned())));
        }
    }

    #[test]
    fn a_reused_number_is_another_file() {
        assert!(FIRST.is(&FIRST) && !FIRST.is(&SECOND));
        assert!(!FIRST.is(&Instance { inode: FIRST.inode, ..SECOND }));
        assert!(FIRST.is(&Instance { born: None, ..FIRST }));
        assert!(!FIRST.is(&Instance { born: None, ..SECOND }));
    }

    #[test]
    fn the_maker_itself() {
        assert_eq!(decide(&made_by_first(), &on(FIRST, 1)), (Owner::Ours, None));
    }

    #[test]
    fn another_database_or_cluster() {
        let template = Maker { database: 6, ..made_by_first() };
        let cluster = Maker { system_identifier: "8".to_owned(), ..made_by_first() };
        for maker in [template, cluster] {
            assert_eq!(decide(&maker, &promoted(FIRST, 9)), (Owner::Elsewhere, None));
        }
    }

    #[test]
    fn a_backup_beside_the_original() {
        assert_eq!(decide(&made_by_first(), &on(SECOND, 1)), (Owner::Original, Some(Settlement::Disown)));
        let disowned = Maker { disowned: true, ..made_by_first() };
        assert_eq!(decide(&disowned, &on(SECOND, 1)), (Owner::Original, None));
    }

    #[test]
    fn a_backup_restored_from_the_archive_has_a_later_timeline() {
        assert_eq!(decide(&made_by_first(), &on(SECOND, 2)), (Owner::Original, Some(Settlement::Disown)));
    }

    #[test]
    fn a_standby_that_is_promoted() {
        assert_eq!(decide(&made_by_first(), &promoted(SECOND, 2)), (Owner::Ours, Some(Settlement::Own)));
    }

    #[test]
    fn a_standby_that_is_opened_without_promotion() {
        assert_eq!(decide(&made_by_first(), &promoted(SECOND, 1)), (Owner::Original, Some(Settlement::Disown)));
    }

    #[test]
    fn a_standby_looks_on() {
        let standby = Here { timeline: None, ..promoted(SECOND, 1) };
        assert_eq!(decide(&made_by_first(), &standby), (Owner::Ours, None));
    }

    #[test]
    fn a_standby_of_a_copy_is_a_copy() {
        let disowned = Maker { disowned: true, ..made_by_first() };
        let third = Instance { inode: 19, born: None };
        assert_eq!(decide(&disowned, &promoted(third, 2)), (Owner::Original, None));
        assert_eq!(decide(&disowned, &Here { timeline: None, ..promoted(third, 2) }), (Owner::Original, None));
    }

    /// Switched over and back: whoever is promoted next counts from the timeline of the last.
    #[test]
    fn the_timeline_moves_on_with_its_owner() {
        assert_eq!(decide(&made_by_first(), &promoted(FIRST, 3)), (Owner::Ours, Some(Settlement::Own)));
    }

    #[test]
    fn a_time_of_birth_that_can_be_had_at_last_is_written_down() {
        let unborn = Maker { instance: Instance { born: None, ..FIRST }, ..made_by_first() };
        assert_eq!(decide(&unborn, &on(FIRST, 1)), (Owner::Ours, Some(Settlement::Own)));
    }
}
