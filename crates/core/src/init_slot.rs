//! Slots that are made beforehand, for a node whose rows come by somebody's own backup: what is written down of one on the
//! source, what to do with it, and where a physical copy of the source stands.

use crate::ident::quote_literal;
use crate::lsn::Lsn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a comment of ours begins with.
const PREFIX: &str = "steep_repl init slot: ";

/// What is known of a slot; it stands in the comment of its publication, where a node that knows of nothing else finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The slot.
    pub slot: String,
    /// The publications that were committed before it was made.
    pub publications: Vec<String>,
    /// What is done with tables without replica identity.
    pub no_identity: String,
    /// Where the slot starts.
    pub start_lsn: Lsn,
    /// The exported snapshot that stands for its start; none when it is not kept any more.
    pub snapshot: Option<String>,
    /// Whether a node is about to replicate by it.
    #[serde(default)]
    pub taken: bool,
    /// Token of the operation that has taken it.
    #[serde(default)]
    pub taken_by: Option<String>,
    /// What the publications were when the slot was made: whatever was changed or has joined since lacks what was written before.
    #[serde(default)]
    pub mark: Option<BTreeMap<String, String>>,
    /// Replica identities of tables that were given FULL, as they were before: schema, name, relreplident, and the index where it is one.
    /// Whoever has used the slot up and takes it away gives them back.
    #[serde(default)]
    pub identities: Vec<(String, String, String, Option<String>)>,
    /// Schemas that were asked for; none means all.
    #[serde(default)]
    pub schemas: Option<Vec<String>>,
    /// Tables that were asked for; none means all.
    #[serde(default)]
    pub tables: Option<Vec<String>>,
}

impl Record {
    /// The comment.
    pub fn comment(&self) -> Result<String, serde_json::Error> {
        Ok(format!("{PREFIX}{}", serde_json::to_string(self)?))
    }

    /// Reads a comment; none when it is somebody else's.
    pub fn parse(comment: &str) -> Option<Record> {
        serde_json::from_str(comment.strip_prefix(PREFIX)?).ok()
    }
}

/// A slot's name as PostgreSQL takes it: 1 to 63 lower-case letters, digits and underscores.
pub fn is_slot_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What somebody needs to know who makes a backup of his own.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// The source, without secrets, as a connection string.
    pub conninfo: &'a str,
    /// Its name.
    pub source: &'a str,
    /// What is known of the slot.
    pub record: &'a Record,
    /// Tables that were named, leaves of partitioned ones, as in SQL; none is all.
    pub tables: &'a [String],
    /// Schemas that were named; none is all.
    pub schemas: &'a [String],
    /// Whether the extension is in the source.
    pub has_extension: bool,
}

/// A value for a shell, in single quotes.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The next steps, for each kind of backup: lines for a shell, and for psql in the new node.
pub fn commands(way: &Way) -> String {
    let Record { slot, start_lsn, snapshot, .. } = way.record;
    let (source, conninfo) = (quote_literal(way.source), shell(way.conninfo));
    let mut lines = String::new();
    let complete = |lsn: &str| {
        format!(
            "SELECT steep_repl.complete_init(node => 'NEW_NODE', source => {source}, {lsn}slot_name => {});",
            quote_literal(slot)
        )
    };
    let at_start = format!("source_lsn => '{start_lsn}', ");
    if let Some(snapshot) = snapshot {
        let mut options = format!("--snapshot={} --no-publications --no-subscriptions", shell(snapshot));
        if way.has_extension {
            options.push_str(" --exclude-extension=steep_repl");
        }
        let (mut parts, mut restore, mut triggers) = (String::new(), "", "");
        let is_part = !(way.schemas.is_empty() && way.tables.is_empty());
        if is_part {
            // A dump of tables has neither their schemas nor their types, one of a schema makes even schema public: so all is defined
            // first, and rows are put in as they come.
            for name in way.schemas {
                let _ = write!(parts, " --schema={}", shell(&pattern(name)));
            }
            for name in way.tables {
                let _ = write!(parts, " --table={}", shell(name));
            }
            (restore, triggers) = (" --data-only --disable-triggers", " --disable-triggers");
            let _ = writeln!(lines, "# 1. pg_dump, as long as the snapshot is kept: the definitions,");
            let _ = writeln!(lines, "pg_dump -d {conninfo} {options} --schema-only -f schema.sql");
            let _ = writeln!(lines, "# and the rows, by one of:");
            parts = format!(" --data-only{parts}");
        } else {
            let _ = writeln!(lines, "# 1. pg_dump, as long as the snapshot is kept; one of:");
        }
        let _ = writeln!(lines, "pg_dump -d {conninfo} {options}{parts}{triggers} -f node.sql");
        let _ = writeln!(lines, "pg_dump -d {conninfo} {options}{parts} -Fc -f node.dump");
        let _ = writeln!(lines, "pg_dump -d {conninfo} {options}{parts} -Fd -j 4 -f node.dir");
        if is_part {
            let _ = writeln!(lines, "# restored into an empty database, by a superuser:");
            let _ = writeln!(lines, "psql -d 'dbname=NEW_DATABASE' -X -1 -v ON_ERROR_STOP=1 -f schema.sql");
            let _ = writeln!(lines, "# and one of:");
        } else {
            let _ = writeln!(lines, "# restored into an empty database by one of:");
        }
        let _ = writeln!(lines, "psql -d 'dbname=NEW_DATABASE' -X -1 -v ON_ERROR_STOP=1 -f node.sql");
        let _ = writeln!(lines, "pg_restore -d 'dbname=NEW_DATABASE' -j 4{restore} node.dump      # or node.dir");
        let _ = writeln!(lines, "# then, in that database:");
        let _ = writeln!(lines, "CREATE EXTENSION steep_repl;");
        let _ = writeln!(lines, "SELECT steep_repl.register_node('NEW_NODE', 'host=... dbname=NEW_DATABASE');");
        let _ = writeln!(lines, "SELECT steep_repl.register_node({source}, '... as the new node reaches it ...');");
        let _ = writeln!(lines, "{}", complete(&at_start));
        let _ = writeln!(lines);
    }
    let _ = writeln!(
        lines,
        "# {}. pg_basebackup begun from now on, started as a standby, and promoted:",
        1 + u8::from(snapshot.is_some())
    );
    let _ = writeln!(lines, "pg_basebackup -d {conninfo} -D NEW_DATA_DIRECTORY -X stream -c fast -R");
    let _ = writeln!(lines, "pg_ctl -D NEW_DATA_DIRECTORY -w start && pg_ctl -D NEW_DATA_DIRECTORY promote");
    let _ = writeln!(
        lines,
        "# {}. or any streaming standby of the source: pg_ctl promote.",
        2 + u8::from(snapshot.is_some())
    );
    let _ = writeln!(lines, "# Write nothing to it. Then, in its database:");
    let _ = writeln!(lines, "CREATE EXTENSION IF NOT EXISTS steep_repl;");
    let _ = writeln!(lines, "SELECT steep_repl.register_node('NEW_NODE', 'host=... as others reach it ...');");
    let _ = writeln!(lines, "-- where it is not registered there yet:");
    let _ = writeln!(lines, "SELECT steep_repl.register_node({source}, '... as the new node reaches it ...');");
    let _ = write!(lines, "{}", complete(""));
    lines
}

/// A schema's name as a pattern of pg_dump that means it alone.
fn pattern(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Where a timeline was left for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    /// The timeline that was left.
    pub timeline: u32,
    /// Up to where it is part of the history: the first position that is not.
    pub at: Lsn,
}

/// Reads a timeline's history file: lines of timeline, position and reason.
pub fn history(text: &str) -> Vec<Switch> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let timeline = words.next()?.parse().ok()?;
            Some(Switch { timeline, at: words.next()?.parse().ok()? })
        })
        .collect()
}

/// Where a history left a timeline; none when it never was on it.
///
/// `theirs` is the history of that timeline on the server that is on it: two standbys that are promoted apart from each other give
/// their timelines the same number, and what the two were before tells them apart.
pub fn left_at(history: &[Switch], timeline: u32, theirs: &[Switch]) -> Option<Lsn> {
    let place = history.iter().position(|switch| switch.timeline == timeline)?;
    let (before, rest) = history.split_at(place);
    (before == theirs).then(|| rest.first().map(|switch| switch.at)).flatten()
}

/// Timelines that a history has been on since it left one: none when its own followed at once, or it never was on it.
pub fn timelines_after(history: &[Switch], timeline: u32) -> Vec<u32> {
    history.iter().skip_while(|switch| switch.timeline != timeline).skip(1).map(|switch| switch.timeline).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            slot: "mine".to_owned(),
            publications: vec!["steep_repl_00".to_owned()],
            no_identity: "error".to_owned(),
            start_lsn: Lsn(0x1_0000_0010),
            snapshot: Some("00000003-0000001B-1".to_owned()),
            taken: false,
            taken_by: None,
            mark: None,
            identities: Vec::new(),
            schemas: None,
            tables: None,
        }
    }

    #[test]
    fn a_record_is_found_in_its_comment_and_in_no_other() {
        let comment = record().comment().unwrap();
        assert_eq!(Record::parse(&comment), Some(record()));
        assert_eq!(Record::parse("the publication of our shop"), None);
        assert_eq!(Record::parse("steep_repl init slot: {}"), None);
        assert_eq!(Record::parse(""), None);
    }

    #[test]
    fn slot_names_are_postgresqls() {
        assert!(is_slot_name("steep_init_slot") && is_slot_name("1"));
        assert!(is_slot_name(&"a".repeat(63)));
        for wrong in ["", "Slot", "a-b", "a b", "ä", &"a".repeat(64)] {
            assert!(!is_slot_name(wrong), "{wrong}");
        }
    }

    #[test]
    fn commands_say_snapshot_position_and_slot() {
        let record = record();
        let way = Way {
            conninfo: "host='it''s'",
            source: "node_a",
            record: &record,
            tables: &["public.\"Odd\"".to_owned()],
            schemas: &[],
            has_extension: true,
        };
        let text = commands(&way);
        assert!(text.contains("--snapshot='00000003-0000001B-1'"), "{text}");
        assert!(text.contains("--exclude-extension=steep_repl"), "{text}");
        assert!(text.contains(r#"--data-only --table='public."Odd"'"#), "{text}");
        assert!(text.contains("--schema-only") && text.contains("-f schema.sql"), "{text}");
        let whole = commands(&Way { tables: &[], ..way });
        assert!(!whole.contains("-only") && !whole.contains("schema.sql"), "{whole}");
        assert!(text.contains("source_lsn => '1/10', slot_name => 'mine'"), "{text}");
        assert!(text.contains(r"-d 'host='\''it'\'''\''s'\'''"), "{text}");
        // Without the snapshot there is nothing to dump under.
        let lost = Record { snapshot: None, ..record.clone() };
        let text = commands(&Way { record: &lost, ..way });
        assert!(!text.contains("pg_dump") && text.contains("pg_basebackup"), "{text}");
    }

    #[test]
    fn a_copy_stands_where_it_left_the_sources_timeline_first() {
        let text = "1\t0/3000060\tno recovery target specified\n\n2\t0/5000000\tbefore transaction 7\n";
        let history = history(text);
        assert_eq!(history.len(), 2);
        let (first, second) = (Lsn(0x300_0060), Lsn(0x500_0000));
        assert_eq!(left_at(&history, 1, &[]), Some(first));
        assert_eq!(left_at(&history, 2, &[Switch { timeline: 1, at: first }]), Some(second));
        assert_eq!(left_at(&history, 3, &history), None);
    }

    #[test]
    fn a_timeline_of_the_same_number_may_be_another_one() {
        let history =
            history("1\t0/3000060\tno recovery target specified\n2\t0/5000000\tno recovery target specified\n");
        let promoted_later = [Switch { timeline: 1, at: Lsn(0x300_00A0) }];
        assert_eq!(left_at(&history, 2, &promoted_later), None);
        assert_eq!(left_at(&history, 2, &[]), None);
    }

    #[test]
    fn timelines_between_a_copy_and_its_source_are_known() {
        let history = history("1\t0/3000060\tpromoted\n2\t0/5000000\tpromoted\n4\t0/7000000\tpromoted\n");
        assert_eq!(timelines_after(&history, 1), [2, 4]);
        assert_eq!(timelines_after(&history, 2), [4]);
        assert!(timelines_after(&history, 4).is_empty());
        assert!(timelines_after(&history, 3).is_empty());
    }
}
