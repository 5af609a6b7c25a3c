//! Whether the rows of a source table fit into the target's table of that name.
//!
//! This is the question that decides whether a copy and the changes after it can arrive at all; whether two schemas
//! are *equal* is the fingerprint's. Columns go by name, as in logical replication: neither order nor dropped columns
//! matter.

use std::fmt;

use crate::ident::{display_ident, quote_literal};
use crate::inventory::{Column, Table};

/// One thing in the way of rows, or worth a note. Tables are named for people (`schema.name`, quoted where needed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The target has no such table.
    TableMissing {
        /// The table.
        table: String,
    },
    /// What has the table's name on the target cannot take rows.
    NotATable {
        /// The table.
        table: String,
        /// Its `relkind` on the target.
        kind: char,
    },
    /// The target's table is unlogged: it would be empty after a crash while replication believes it complete.
    NotPermanent {
        /// The table.
        table: String,
    },
    /// The target has no such column.
    ColumnMissing {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The column's type, or its modifier, is another one.
    TypeDiffers {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Type on the source.
        source: String,
        /// Type on the target.
        target: String,
    },
    /// The column is of an enum that lacks labels on the target: rows that have them do not arrive.
    LabelsMissing {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The enum.
        type_name: String,
        /// The labels.
        labels: Vec<String>,
    },
    /// The column's collation is another one. Rows arrive all the same; order and uniqueness may differ.
    CollationDiffers {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Collation on the source; `None` for the type's own.
        source: Option<String>,
        /// Collation on the target; `None` for the type's own.
        target: Option<String>,
    },
    /// An ordinary column on the source is computed on the target, so its values cannot be stored there.
    GeneratedOnTarget {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The target wants a value that no row brings: NOT NULL, and no default, identity or generation.
    NotNullExtra {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The two tables share no column that could be copied.
    NoColumnInCommon {
        /// The table.
        table: String,
    },
}

impl Difference {
    /// Whether rows cannot arrive while this stands; otherwise it is a note.
    pub fn is_blocking(&self) -> bool {
        !matches!(self, Difference::CollationDiffers { .. })
    }

    /// Whether no row can be copied while this stands. Values of another type may fit all the same, as text.
    pub fn stops_copy(&self) -> bool {
        self.is_blocking() && !matches!(self, Difference::TypeDiffers { .. } | Difference::LabelsMissing { .. })
    }

    /// The column it is about.
    pub fn column(&self) -> Option<&String> {
        match self {
            Difference::ColumnMissing { column, .. }
            | Difference::TypeDiffers { column, .. }
            | Difference::LabelsMissing { column, .. }
            | Difference::CollationDiffers { column, .. }
            | Difference::GeneratedOnTarget { column, .. }
            | Difference::NotNullExtra { column, .. } => Some(column),
            Difference::TableMissing { .. }
            | Difference::NotATable { .. }
            | Difference::NotPermanent { .. }
            | Difference::NoColumnInCommon { .. } => None,
        }
    }

    /// The table it is about.
    pub fn table(&self) -> &str {
        match self {
            Difference::TableMissing { table }
            | Difference::NotATable { table, .. }
            | Difference::NotPermanent { table }
            | Difference::ColumnMissing { table, .. }
            | Difference::TypeDiffers { table, .. }
            | Difference::LabelsMissing { table, .. }
            | Difference::CollationDiffers { table, .. }
            | Difference::GeneratedOnTarget { table, .. }
            | Difference::NotNullExtra { table, .. }
            | Difference::NoColumnInCommon { table } => table,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::TableMissing { table } => write!(f, "table {table} does not exist on the target"),
            Difference::NotATable { table, kind } => {
                write!(f, "{table} is a {} on the target, not a table", kind_name(*kind))
            }
            Difference::NotPermanent { table } => write!(f, "table {table} is unlogged or temporary on the target"),
            Difference::ColumnMissing { table, column } => {
                write!(f, "column {column} of table {table} does not exist on the target")
            }
            Difference::TypeDiffers { table, column, source, target } => {
                write!(f, "column {column} of table {table}: {source} on the source, {target} on the target")
            }
            Difference::LabelsMissing { table, column, type_name, labels } => {
                let labels: Vec<String> = labels.iter().map(|label| quote_literal(label)).collect();
                write!(
                    f,
                    "column {column} of table {table}: type {type_name} lacks {} on the target",
                    labels.join(", ")
                )
            }
            Difference::CollationDiffers { table, column, source, target } => write!(
                f,
                "column {column} of table {table}: collation {} on the source, {} on the target",
                source.as_deref().unwrap_or("default"),
                target.as_deref().unwrap_or("default"),
            ),
            Difference::GeneratedOnTarget { table, column } => write!(
                f,
                "column {column} of table {table} is an ordinary column on the source, but generated on the target"
            ),
            Difference::NotNullExtra { table, column } => write!(
                f,
                "column {column} of table {table} gets no value from the source, but is NOT NULL without a default on \
                 the target"
            ),
            Difference::NoColumnInCommon { table } => {
                write!(f, "table {table} has no column in common with the target's")
            }
        }
    }
}

fn kind_name(kind: char) -> &'static str {
    match kind {
        'p' => "partitioned table",
        'f' => "foreign table",
        'm' => "materialized view",
        'v' => "view",
        'S' => "sequence",
        'i' | 'I' => "index",
        'c' => "composite type",
        _ => "relation of another kind",
    }
}

/// Everything that is in the way of the rows of `source` arriving in `target`, and what is worth a note: columns in
/// the source's order, then extra columns in the target's.
///
/// The target must be an ordinary, permanent table: rows are loaded into its own storage. Generated columns of the source are not
/// copied and need nothing on the target; where the target has an ordinary column of that name, it must do without a
/// value, like any extra column.
pub fn match_columns(source: &Table, target: Option<&Table>) -> Vec<Difference> {
    let table = source.qualified_display();
    let Some(target) = target else {
        return vec![Difference::TableMissing { table }];
    };
    if target.kind != 'r' {
        return vec![Difference::NotATable { table, kind: target.kind }];
    }
    if target.persistence != 'p' {
        return vec![Difference::NotPermanent { table }];
    }

    let mut differences: Vec<Difference> = Vec::new();
    // One line instead of one per column. A table without columns has rows too, and those can be copied.
    let mut copied = source.copied_columns().peekable();
    if copied.peek().is_some() && copied.all(|column| target.column(&column.name).is_none()) {
        differences.push(Difference::NoColumnInCommon { table: table.clone() });
    } else {
        for column in source.copied_columns() {
            differences.extend(match_column(&table, column, target.column(&column.name)));
        }
    }
    for extra in target.columns.iter().filter(|column| !arrives(source, column) && !column.can_be_left_out()) {
        differences.push(Difference::NotNullExtra { table: table.clone(), column: extra.name.clone() });
    }
    differences
}

/// The columns to copy, in the source's order: those that the source sends and the target stores.
///
/// Empty for tables without columns; leave the column list out of the COPY then.
pub fn copy_columns(source: &Table, target: &Table) -> Vec<String> {
    let stored = |column: &&Column| target.column(&column.name).is_some_and(|other| !other.is_generated());
    source.copied_columns().filter(stored).map(|column| column.name.clone()).collect()
}

/// Whether the source sends values for this column of the target.
fn arrives(source: &Table, column: &Column) -> bool {
    source.copied_columns().any(|sent| sent.name == column.name)
}

/// Why updates and deletes of the source's rows cannot be applied to the target: nothing by which they would be found there. After
/// `logicalrep_rel_mark_updatable` of `replication/logical/relation.c`. What the source does not publish at all is no matter here.
pub fn why_not_updatable(source: &Table, target: &Table) -> Option<String> {
    if source.sends_whole_rows || !source.identity {
        return None;
    }
    let table = source.qualified_display();
    let Some(key) = &target.key else { return Some(format!("{table} (no primary key or replica identity here)")) };
    let sent = source.key.as_deref().unwrap_or_default();
    let unsent: Vec<String> = key.iter().filter(|name| !sent.contains(name)).map(|name| display_ident(name)).collect();
    (!unsent.is_empty())
        .then(|| format!("{table} (the key here has {}, which the source's has not)", unsent.join(", ")))
}

/// Labels of the source's enum that the target's lacks.
fn lacking(source: &Column, target: &Column) -> Vec<String> {
    let (Some(there), Some(here)) = (&source.labels, &target.labels) else { return Vec::new() };
    there.iter().filter(|label| !here.contains(label)).cloned().collect()
}

/// Statements that give the enums of a table's columns the labels that they lack, each where the source has it; by the name of the enum.
pub fn label_statements(source: &Table, target: &Table) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for column in source.copied_columns() {
        let Some(other) = target.column(&column.name).filter(|other| other.type_name == column.type_name) else {
            continue;
        };
        let name = column.enum_name();
        let missing = lacking(column, other);
        if missing.is_empty() || found.iter().any(|(known, _)| known == name) {
            continue;
        }
        let there = column.labels.as_deref().unwrap_or_default();
        let first = other.labels.as_ref().and_then(|labels| labels.first());
        let statements = missing.iter().map(|label| {
            let before = there.iter().take_while(|one| *one != label).last();
            let place = match (before, first) {
                // Everything before it is there by now.
                (Some(before), _) => format!(" AFTER {}", quote_literal(before)),
                (None, Some(first)) => format!(" BEFORE {}", quote_literal(first)),
                (None, None) => String::new(),
            };
            format!("ALTER TYPE {name} ADD VALUE IF NOT EXISTS {}{place};", quote_literal(label))
        });
        let statements = statements.collect();
        found.push((name.to_owned(), statements));
    }
    found
}

/// What differs in one column that the source sends.
fn match_column(table: &str, source: &Column, target: Option<&Column>) -> Vec<Difference> {
    let (table, column) = (table.to_owned(), source.name.clone());
    let Some(target) = target else {
        return vec![Difference::ColumnMissing { table, column }];
    };
    if target.is_generated() {
        return vec![Difference::GeneratedOnTarget { table, column }];
    }
    if source.type_name != target.type_name {
        return vec![Difference::TypeDiffers {
            table,
            column,
            source: source.type_name.clone(),
            target: target.type_name.clone(),
        }];
    }
    let labels = lacking(source, target);
    if !labels.is_empty() {
        let type_name = source.enum_name().to_owned();
        return vec![Difference::LabelsMissing { table, column, type_name, labels }];
    }
    if source.collation != target.collation {
        return vec![Difference::CollationDiffers {
            table,
            column,
            source: source.collation.clone(),
            target: target.collation.clone(),
        }];
    }
    Vec::new()
}

#[cfg(test)]
mod tests;
