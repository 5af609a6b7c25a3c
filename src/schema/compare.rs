//! Two nodes, table by table.

use super::side::Side;
use std::collections::BTreeSet;
use steep_repl_core::definition::Definition;
use steep_repl_core::schema_diff::{diff, is_match, Difference};

/// What came of comparing a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Rows of one fit into the other.
    Match,
    /// They do not.
    Mismatch,
    /// Only the first node has it.
    LocalOnly,
    /// Only the second node has it.
    RemoteOnly,
    /// Somebody has it locked.
    Busy,
}

impl Status {
    /// The word used in SQL results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Match => "MATCH",
            Status::Mismatch => "MISMATCH",
            Status::LocalOnly => "LOCAL_ONLY",
            Status::RemoteOnly => "REMOTE_ONLY",
            Status::Busy => "BUSY",
        }
    }
}

/// A table of either node.
pub struct Compared {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// What came of it.
    pub status: Status,
    /// Its fingerprint on the first node.
    pub fingerprint_a: Option<String>,
    /// Its fingerprint on the second node.
    pub fingerprint_b: Option<String>,
    /// What differs, notes about other things than columns left out.
    pub differences: Vec<Difference>,
}

/// Compares all tables of two sides, by schema and name in byte order.
pub fn compare(a: &Side, b: &Side) -> Vec<Compared> {
    let busy: BTreeSet<(&str, &str)> =
        a.busy.iter().chain(&b.busy).map(|(schema, name)| (schema.as_str(), name.as_str())).collect();
    let names: BTreeSet<(&str, &str)> = a
        .tables
        .iter()
        .chain(&b.tables)
        .map(|table| (table.schema.as_str(), table.name.as_str()))
        .chain(busy.iter().copied())
        .collect();
    names
        .into_iter()
        .map(|key| {
            let (of_a, of_b) = (a.table(key.0, key.1), b.table(key.0, key.1));
            let mut differences = diff(of_a, of_b, a.major == b.major);
            differences.retain(|one| one.is_mismatch || matches!(one.kind, "default" | "generated"));
            let status = match (of_a, of_b) {
                _ if busy.contains(&key) => Status::Busy,
                (Some(_), None) => Status::LocalOnly,
                (None, _) => Status::RemoteOnly,
                _ if is_match(&differences) => Status::Match,
                _ => Status::Mismatch,
            };
            if status == Status::Busy {
                differences.clear();
            }
            Compared {
                schema: key.0.to_owned(),
                name: key.1.to_owned(),
                status,
                fingerprint_a: of_a.map(Definition::fingerprint),
                fingerprint_b: of_b.map(Definition::fingerprint),
                differences,
            }
        })
        .collect()
}
