//! The same SQL on PostgreSQL 14 to 18: what each server said of its tables was recorded (`recorded/`, one JSON object a line, made as
//! `tests/schemas_recorded.rs` says), and has to come to the same fingerprints here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use steep_repl_core::definition::{Column, Definition};
use steep_repl_core::schema_diff::{diff, is_match, Change};

const RECORDS: [(u32, &str); 5] = [
    (14, include_str!("recorded/14.jsonl")),
    (15, include_str!("recorded/15.jsonl")),
    (16, include_str!("recorded/16.jsonl")),
    (17, include_str!("recorded/17.jsonl")),
    (18, include_str!("recorded/18.jsonl")),
];

/// An expression that servers write in another way from some major on.
struct Rewrite {
    since: u32,
    table: &'static str,
    column: &'static str,
    before: &'static str,
    after: &'static str,
}

/// All that are known among the recorded tables.
const REWRITES: [Rewrite; 1] = [Rewrite {
    since: 16,
    table: "defaults",
    column: "xml_text",
    before: "XMLSERIALIZE(CONTENT '<a/>'::xml AS text)",
    after: "XMLSERIALIZE(CONTENT '<a/>'::xml AS text NO INDENT)",
}];

fn tables(record: &str) -> Vec<Definition> {
    record.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn newest() -> (u32, Vec<Definition>) {
    let (major, record) = RECORDS[RECORDS.len() - 1];
    (major, tables(record))
}

fn column<'a>(tables: &'a mut [Definition], rewrite: &Rewrite) -> &'a mut Column {
    let table = tables.iter_mut().find(|table| table.name == rewrite.table).unwrap();
    table.columns.iter_mut().find(|column| column.name == rewrite.column).unwrap()
}

#[test]
fn each_record_is_of_the_server_that_it_is_named_after() {
    for (major, record) in RECORDS {
        let head: serde_json::Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
        let server = head["server"].as_str().unwrap();
        assert!(server.starts_with(&format!("{major}.")), "{major}: {server}");
        assert!(tables(record).len() > 20, "{major}");
    }
}

/// The older server's text is replaced by the newer one's in the places that are known, and in no other is anything different.
#[test]
fn the_same_sql_comes_to_the_same_fingerprints() {
    let (newest_major, newest) = newest();
    for (major, record) in RECORDS {
        let mut old = tables(record);
        for rewrite in REWRITES.iter().filter(|rewrite| major < rewrite.since && rewrite.since <= newest_major) {
            let column = column(&mut old, rewrite);
            assert_eq!(column.default.as_deref(), Some(rewrite.before), "{major}");
            column.default = Some(rewrite.after.to_owned());
        }
        assert_eq!(old.len(), newest.len());
        for (old, new) in old.iter().zip(&newest) {
            assert_eq!(old, new, "{major}");
            assert_eq!(old.fingerprint(), new.fingerprint(), "{major}");
        }
    }
}

#[test]
fn a_rewrite_is_a_note_between_majors() {
    let (newest_major, newest) = newest();
    for (major, record) in RECORDS {
        for (old, new) in tables(record).iter().zip(&newest) {
            let known: Vec<&str> = REWRITES
                .iter()
                .filter(|rewrite| rewrite.table == old.name && major < rewrite.since && rewrite.since <= newest_major)
                .map(|rewrite| rewrite.column)
                .collect();
            for (a, b) in [(old, new), (new, old)] {
                let found = diff(Some(a), Some(b), false);
                let named: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
                assert_eq!(named, known, "{major}");
                assert!(found.iter().all(|one| one.kind == "default" && one.change == Change::Text), "{found:?}");
                assert!(is_match(&found));
                // Where both deparse alike another text is another expression.
                assert_eq!(is_match(&diff(Some(a), Some(b), true)), known.is_empty());
                assert_eq!(a.fingerprint() == b.fingerprint(), known.is_empty());
            }
        }
    }
}

/// What is recorded covers what tables have: a file that lost half of it would pass all the same.
#[test]
fn the_tables_have_of_everything() {
    let (_, tables) = newest();
    let columns: Vec<&Column> = tables.iter().flat_map(|table| &table.columns).collect();
    let with = |wanted: fn(&Column) -> bool| columns.iter().filter(|column| wanted(column)).count();
    assert!(with(|column| column.default.is_some() && column.generated.is_none()) > 90);
    assert!(with(|column| column.generated == Some('s')) > 10);
    assert!(with(|column| column.identity == Some('a')) > 0 && with(|column| column.identity == Some('d')) > 0);
    assert!(with(|column| column.collation.is_some()) > 3);
    assert!(with(|column| column.not_null) > 10);
    assert!(with(|column| column.type_name.ends_with("[]")) > 8);
    assert!(tables.iter().filter(|table| table.partition_key.is_some()).count() > 3);
    let kinds: std::collections::BTreeSet<&str> =
        tables.iter().flat_map(|table| &table.objects).map(|object| object.kind.as_str()).collect();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}
