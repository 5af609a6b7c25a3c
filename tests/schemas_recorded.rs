//! What servers say of the tables in `crates/core/tests/recorded/tables.sql`. `crates/core` compares the records across majors, with no server
//! at hand; here it is seen that they still are what a server says.
//!
//! With `STEEP_REPL_RECORD=1` they are written anew instead: for the version under test, and for the server of
//! `STEEP_REPL_OLD_BINDIR`, of which initdb, postgres and pg_ctl are enough. So once for each version:
//!
//!     STEEP_REPL_RECORD=1 STEEP_REPL_OLD_BINDIR=/usr/lib/postgresql/14/bin scripts/cargo.sh test -p steep_repl_tests recorded

use std::path::PathBuf;
use std::sync::Arc;

use steep_repl_core::definition::{Definition, SETTINGS};
use steep_repl_testkit::{quote_literal, shared, Cluster};

use crate::schemas_majors::TABLES;

const QUERY: &str = include_str!("../sql/queries/definitions.sql");

/// A line about the record, then a line for each table.
fn record(cluster: &Arc<Cluster>) -> Vec<String> {
    let db = cluster.create_database("recorded", "");
    db.exec(TABLES);
    let mut session = db.connect();
    let settings: Vec<String> =
        SETTINGS.iter().map(|(name, value)| format!("set {name} = {}", quote_literal(value))).collect();
    session.batch_execute(&format!("set search_path = ''; {}", settings.join("; "))).unwrap();
    let server: String =
        session.query_one("select split_part(current_setting('server_version'), ' ', 1)", &[]).unwrap().get(0);
    let head = format!(
        r#"{{"server": "{server}", "what": "the answer of sql/queries/definitions.sql about tables.sql", "how": "see tests/schemas_recorded.rs"}}"#
    );
    let tables = session.query(&QUERY.replace(":filter", "true"), &[]).unwrap();
    // As one line each, whatever line breaks the server puts between.
    let line = |row: &postgres::Row| serde_json::from_str::<serde_json::Value>(row.get(0)).unwrap().to_string();
    let lines = std::iter::once(head).chain(tables.iter().map(line)).collect();
    drop(session);
    db.drop_database().unwrap();
    lines
}

#[test]
fn the_records_are_what_servers_say() {
    let anew = std::env::var("STEEP_REPL_RECORD").is_ok_and(|value| value == "1");
    for cluster in [shared::old_source(), shared::source()] {
        let major = cluster.installation().major();
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../crates/core/tests/recorded/{major}.jsonl"));
        let lines = record(&cluster);
        if anew {
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let recorded: Vec<&str> = text.lines().collect();
        assert_eq!(recorded.len(), lines.len(), "PostgreSQL {major}: if that is meant to be, record anew");
        for (was, is) in recorded.iter().zip(&lines).skip(1) {
            let table = |line: &str| serde_json::from_str::<Definition>(line).unwrap();
            assert_eq!(table(was), table(is), "PostgreSQL {major}: if that is meant to be, record anew");
        }
    }
}
