//! Names of what an operation makes on either node, built and read back in this one place.
//!
//! Everything that an operation creates remotely carries its random token, so that resume, cancel and clean-up find
//! what is theirs and nothing else. The `pg_...` names are PostgreSQL's own (tablesync.c, origin.c): a tablesync
//! worker finds a slot and an origin that were made for it by these names only.
//!
//! Every name stays below 63 bytes, PostgreSQL's limit for identifiers (`NAMEDATALEN` - 1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What every name of ours begins with.
const PREFIX: &str = "steep_repl_";

/// Hexadecimal digits of a token.
const TOKEN_DIGITS: usize = 16;

/// The random identity of one operation; 16 lower-case hexadecimal digits as text.
///
/// Text, not a number, in JSON and in the database: PostgreSQL has no unsigned 64-bit integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(
    /// The random bits; the caller draws them.
    pub u64,
);

/// The text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid operation token \"{0}\"")]
pub struct InvalidToken(
    /// The text as given.
    pub String,
);

impl Token {
    /// A token of these random bits.
    pub const fn new(bits: u64) -> Self {
        Token(bits)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    /// Accepts exactly what [`Display`](fmt::Display) writes, so that one token has one name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == TOKEN_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let bits = if well_formed { u64::from_str_radix(text, 16).ok() } else { None };
        bits.map(Token).ok_or_else(|| InvalidToken(text.to_owned()))
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The part of an operation that holds a connection to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Preflight and other short looks.
    Check,
    /// Keeps the exported snapshot alive.
    Keeper,
    /// Publication, slot, lag.
    Coordinator,
    /// The program that dumps the schema.
    Dump,
    /// The program that dumps a table for a copy worker, by the worker's number.
    TableDump(u32),
    /// The program that makes a base backup.
    BaseBackup,
    /// A copy worker, by its number.
    Worker(u32),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Check => f.write_str("check"),
            Part::Keeper => f.write_str("keeper"),
            Part::Coordinator => f.write_str("coordinator"),
            Part::Dump => f.write_str("dump"),
            Part::TableDump(n) => write!(f, "dump{n}"),
            Part::BaseBackup => f.write_str("backup"),
            Part::Worker(n) => write!(f, "worker{n}"),
        }
    }
}

/// The operation's replication slot on the source.
pub fn slot_name(token: Token) -> String {
    format!("{PREFIX}{token}")
}

/// The slot of a portable snapshot for its `n`-th target, from 1. The first is the operation's own, which the others are copies of.
pub fn target_slot_name(token: Token, n: u32) -> String {
    if n <= 1 {
        slot_name(token)
    } else {
        format!("{PREFIX}{token}_target{n}")
    }
}

/// The operation's publication on the source.
pub fn publication_name(token: Token) -> String {
    format!("{PREFIX}{token}")
}

/// The publication of tables without replica identity, which publishes inserts and truncates only.
pub fn insert_only_publication_name(token: Token) -> String {
    format!("{PREFIX}{token}_ins")
}

/// The operation's subscription on the target.
pub fn subscription_name(token: Token) -> String {
    format!("{PREFIX}{token}")
}

/// Whether a name is that of a subscription of ours, of whichever operation.
pub fn is_subscription_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|token| token.parse::<Token>().is_ok())
}

/// The `n`-th temporary slot, made for a further snapshot after the first one was lost or grew too old.
pub fn temporary_slot_name(token: Token, n: u32) -> String {
    format!("{PREFIX}{token}_tmp{n}")
}

/// The physical slot that keeps WAL for a base backup.
pub fn backup_slot_name(token: Token) -> String {
    format!("{PREFIX}{token}_backup")
}

/// `application_name` of a connection to the source; our own backends there are found by it.
pub fn application_name(token: Token, part: Part) -> String {
    format!("{PREFIX}{token}_{part}")
}

/// The slot a tablesync worker expects: `ReplicationSlotNameForTablesync` in tablesync.c.
pub fn tablesync_slot_name(subid: u32, relid: u32, system_identifier: u64) -> String {
    format!("pg_{subid}_sync_{relid}_{system_identifier}")
}

/// The replication origin of a subscription: `ReplicationOriginNameForLogicalRep` without a relation.
pub fn origin_name(subid: u32) -> String {
    format!("pg_{subid}")
}

/// The replication origin of a tablesync worker: `ReplicationOriginNameForLogicalRep` with a relation.
pub fn tablesync_origin_name(subid: u32, relid: u32) -> String {
    format!("pg_{subid}_{relid}")
}

/// The token in a name of ours, `steep_repl_<token>` alone or with `_` and a suffix of `[a-z0-9_]`.
///
/// `None` for every other name. Whoever deletes by name must compare the token with one it recorded itself: anybody
/// can make an object with such a name.
pub fn owner_token(name: &str) -> Option<Token> {
    let rest = name.strip_prefix(PREFIX)?;
    let (digits, suffix) = (rest.get(..TOKEN_DIGITS)?, rest.get(TOKEN_DIGITS..)?);
    let ours = match suffix.strip_prefix('_') {
        None => suffix.is_empty(),
        Some(word) => {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        }
    };
    if ours {
        digits.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: Token = Token(0x0123_4567_89ab_cdef);

    fn all_of_ours(token: Token, n: u32) -> Vec<String> {
        vec![
            slot_name(token),
            publication_name(token),
            subscription_name(token),
            insert_only_publication_name(token),
            temporary_slot_name(token, n),
            target_slot_name(token, n),
            application_name(token, Part::Check),
            application_name(token, Part::Keeper),
            application_name(token, Part::Coordinator),
            application_name(token, Part::Worker(n)),
            application_name(token, Part::TableDump(n)),
            application_name(token, Part::BaseBackup),
            backup_slot_name(token),
        ]
    }

    #[test]
    fn names_read_as_documented() {
        assert_eq!(
            all_of_ours(TOKEN, 3),
            [
                "steep_repl_0123456789abcdef",
                "steep_repl_0123456789abcdef",
                "steep_repl_0123456789abcdef",
                "steep_repl_0123456789abcdef_ins",
                "steep_repl_0123456789abcdef_tmp3",
                "steep_repl_0123456789abcdef_target3",
                "steep_repl_0123456789abcdef_check",
                "steep_repl_0123456789abcdef_keeper",
                "steep_repl_0123456789abcdef_coordinator",
                "steep_repl_0123456789abcdef_worker3",
                "steep_repl_0123456789abcdef_dump3",
                "steep_repl_0123456789abcdef_backup",
                "steep_repl_0123456789abcdef_backup",
            ]
        );
    }

    #[test]
    fn core_names_are_those_of_tablesync() {
        assert_eq!(
            tablesync_slot_name(16394, 16385, 6_979_586_071_634_123_412),
            "pg_16394_sync_16385_6979586071634123412"
        );
        assert_eq!(origin_name(16394), "pg_16394");
        assert_eq!(tablesync_origin_name(16394, 16385), "pg_16394_16385");
    }

    #[test]
    fn the_longest_names_stay_below_the_limit() {
        let mut names = all_of_ours(Token(u64::MAX), u32::MAX);
        names.push(tablesync_slot_name(u32::MAX, u32::MAX, u64::MAX));
        names.push(origin_name(u32::MAX));
        names.push(tablesync_origin_name(u32::MAX, u32::MAX));
        for name in names {
            assert!(name.len() < 63, "{name} has {} bytes", name.len());
        }
    }

    #[test]
    fn slot_names_have_only_characters_that_slots_allow() {
        for name in all_of_ours(TOKEN, u32::MAX) {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        }
    }

    #[test]
    fn names_of_others_have_no_token() {
        for name in [
            "",
            "steep_repl_",
            "steep_repl_0123",
            "steep_repl_0123456789ABCDEF",
            "steep_repl_0123456789abcdeg",
            "steep_repl_0123456789abcdef0",
            "steep_repl_0123456789abcdef_",
            "steep_repl_0123456789abcdef-x",
            "steep_repl_0123456789abcdef_X",
            "steep_repl_0123456789abcdef_a b",
            "Xsteep_repl_0123456789abcdef",
            "steep_repl_+123456789abcdef",
            "steep_repl_0123456789abcdé",
            "steep_repl_0123456789abcdeé",
            "pg_16394",
        ] {
            assert_eq!(owner_token(name), None, "{name}");
        }
    }

    #[test]
    fn token_is_text_in_json() {
        assert_eq!(serde_json::to_string(&Token(10)).unwrap(), "\"000000000000000a\"");
        assert_eq!(serde_json::from_str::<Token>("\"000000000000000a\"").unwrap(), Token::new(10));
        assert!("A".repeat(16).parse::<Token>().is_err());
        assert!("a".parse::<Token>().is_err());
    }

    proptest! {
        #[test]
        fn every_name_leads_back_to_its_token(bits: u64, n: u32) {
            prop_assert_eq!(Token(bits).to_string().parse(), Ok(Token(bits)));
            for name in all_of_ours(Token(bits), n) {
                prop_assert_eq!(owner_token(&name), Some(Token(bits)));
            }
        }

        #[test]
        fn any_name_is_read_without_panic(name in "(steep_repl_)?\\PC*") {
            let _ = owner_token(&name);
        }
    }
}
