//! Tables that are altered on the source while they are copied and caught up.
//!
//! Two questions, apart from each other. Are the rows that were copied still those of the source? DDL is not replicated: what it writes
//! into all rows, a new column's default or the values of another type, no WAL record brings. And what may be altered here while WAL
//! that was written before the change has still to be applied? It may bring columns that are gone by now, and NULLs.

use crate::definition::{Column, Definition};
use crate::inventory::Table;
use crate::schema_diff::{Change, Difference};

/// What was copied of a table.
#[derive(Debug, Clone, Copy)]
pub struct Copied<'a> {
    /// Columns.
    pub columns: &'a [String],
    /// Their numbers on the source.
    pub numbers: &'a [i16],
    /// Their types there.
    pub types: &'a [String],
    /// The table under the snapshot of the copy; none when no row has come.
    pub seen: Option<Seen>,
}

/// A table of the source as a snapshot shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// `relfilenode`.
    pub filenode: u32,
    /// `relnatts`.
    pub natts: i16,
}

impl Copied<'_> {
    /// Whether the source did not have a column yet when the rows were read.
    pub fn is_late(&self, number: i16) -> bool {
        self.seen.is_some_and(|seen| number > seen.natts)
    }
}

/// Why rows that were copied have to be copied again, in words. Empty where what comes by replication is all that they lack.
pub fn stale(copied: &Copied, there: &Table, here: &Table) -> Vec<String> {
    let Some(seen) = copied.seen else { return Vec::new() };
    let table = there.qualified_display();
    let mut reasons = Vec::new();
    for column in there.copied_columns() {
        let name = &column.name;
        let Some(place) = copied.columns.iter().position(|one| one == name) else {
            // A column that came after the snapshot is NULL in every row that the snapshot knows, unless it came with a default, which
            // stands in the catalog or has had the table rewritten. Once it has one, rows on their way would get it here.
            let is_null = copied.is_late(column.number)
                && seen.filenode == there.filenode
                && !column.has_missing
                && column.default.is_none()
                && column.identity.is_none();
            if !is_null {
                reasons.push(format!("column {name} of table {table} was added on the source"));
            }
            continue;
        };
        if copied.numbers.get(place) != Some(&column.number) {
            reasons.push(format!("column {name} of table {table} was replaced on the source"));
        } else if let Some(before) = copied.types.get(place).filter(|before| **before != column.type_name) {
            // Without a rewrite every value is what it was.
            if seen.filenode != there.filenode {
                reasons.push(format!(
                    "column {name} of table {table} was {before} on the source when it was copied, it is {} now",
                    column.type_name
                ));
            }
        } else if here.column(name).is_none() {
            reasons.push(format!("column {name} of table {table} was dropped on this node"));
        }
    }
    reasons
}

/// What the table here is to become while older WAL has still to be applied to it: that of the source, with the columns that are gone
/// there, and, where its rows stay, no stricter than it is. `is_late`: columns that the source did not have yet when the rows were read.
pub fn while_behind(
    there: &Definition,
    here: &Definition,
    rows_stay: bool,
    is_late: impl Fn(&str) -> bool,
) -> Definition {
    let mut wanted = there.clone();
    wanted.objects.clone_from(&here.objects);
    for column in wanted.columns.iter_mut().filter(|_| rows_stay) {
        let other = here.column(&column.name);
        if column.not_null && !other.is_some_and(|other| other.not_null) {
            column.not_null = false;
            // An identity wants NOT NULL.
            column.identity = other.and_then(|other| other.identity);
        }
        if column.generated.is_none() && is_late(&column.name) {
            // Rows written before the column came along without it, and would get the default.
            column.default = other.and_then(|other| other.default.clone());
        }
    }
    for extra in here.columns.iter().filter(|column| there.column(&column.name).is_none()) {
        let fills_itself = extra.default.is_some() || extra.identity.is_some() || extra.generated.is_some();
        wanted.columns.push(Column { not_null: extra.not_null && fills_itself, ..extra.clone() });
    }
    wanted
}

/// Whether a difference cannot be altered away while older WAL has still to be applied: it brings values for a column that would be
/// computed here.
pub fn is_beyond(difference: &Difference) -> bool {
    difference.kind == "generated" && difference.change == Change::Different && difference.b.is_none()
}

#[cfg(test)]
mod tests;
