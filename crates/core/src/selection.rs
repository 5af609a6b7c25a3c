//! Which tables are copied, and what is published for them.
//!
//! [`select`] turns the user's wish (schemas, tables, or everything) and the source's inventory into the leaves to
//! copy; [`publication_tables`] turns these leaves into the explicit list of a publication, partition roots instead of
//! leaves wherever that publishes the same rows (design, section 3, PREPARING 2 and 3).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use crate::ident;
use crate::inventory::Table;

/// What the user asked for. Both absent: everything. Both given: what either of them names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Schemas, unquoted; all their tables.
    pub schemas: Option<Vec<String>>,
    /// Tables as `(schema, name)`, unquoted, as [`ident::parse_qualified`] returns them.
    pub tables: Option<Vec<(Option<String>, String)>>,
}

/// What a [`Selection`] means on this source. Indices are into the inventory that was given, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selected {
    /// The leaves to copy.
    pub tables: Vec<usize>,
    /// Relations that were asked for but cannot or need not be copied.
    pub left_out: Vec<(usize, LeftOut)>,
    /// Tables (`schema.name`) and schemas (`schema name`) that matched nothing.
    pub not_found: Vec<String>,
    /// The tables that were named, each with its schema, as far as they were found.
    pub named: Vec<(String, String)>,
    /// Tables given without schema that exist in several, as `name (schema.name, schema.name)`.
    pub ambiguous: Vec<String>,
}

/// Why a relation is not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// Its rows are not in the write-ahead log, so it cannot be replicated.
    Unlogged,
    /// Its rows live elsewhere.
    Foreign,
    /// Its rows are computed; refresh it on the target.
    MaterializedView,
    /// CREATE EXTENSION makes it on the target.
    ExtensionOwned,
    /// It ends with its session.
    Temporary,
}

impl LeftOut {
    /// Words for messages, to follow the table's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            LeftOut::Unlogged => "unlogged table",
            LeftOut::Foreign => "foreign table",
            LeftOut::MaterializedView => "materialized view",
            LeftOut::ExtensionOwned => "owned by an extension",
            LeftOut::Temporary => "temporary table",
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is done with tables that have no replica identity; the argument `no_identity` in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NoIdentity {
    /// Refuse: publishing them would make their UPDATEs and DELETEs fail on the source.
    #[default]
    Error,
    /// Publish inserts and truncates only; the copy is not exact from then on.
    InsertOnly,
    /// Give them REPLICA IDENTITY FULL on the source.
    Full,
}

/// The text is none of `error`, `insert_only`, `full`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for no_identity: \"{0}\"")]
pub struct UnknownNoIdentity(
    /// The text as given.
    pub String,
);

impl NoIdentity {
    /// All values.
    pub const ALL: [NoIdentity; 3] = [NoIdentity::Error, NoIdentity::InsertOnly, NoIdentity::Full];

    /// The word used in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            NoIdentity::Error => "error",
            NoIdentity::InsertOnly => "insert_only",
            NoIdentity::Full => "full",
        }
    }
}

impl fmt::Display for NoIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NoIdentity {
    type Err = UnknownNoIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NoIdentity::ALL
            .into_iter()
            .find(|value| value.as_str() == text)
            .ok_or_else(|| UnknownNoIdentity(text.to_owned()))
    }
}

/// One table of the publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationEntry {
    /// Oid on the source.
    pub oid: u32,
    /// Schema, unquoted.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// Belongs into the publication of inserts and truncates.
    pub insert_only: bool,
    /// Published as `ONLY name`: true for everything but partitioned tables, so that inheritance children do not come
    /// along by accident.
    pub only: bool,
}

/// Whether a schema holds system objects, temporary ones, or our own: such tables are never copied.
pub fn is_system_schema(schema: &str) -> bool {
    matches!(schema, "information_schema" | "steep_repl")
        // User schemas cannot begin with pg_: that prefix covers pg_catalog, pg_toast, pg_temp_N and pg_toast_temp_N.
        || schema.starts_with("pg_")
}

/// Turns the user's wish into the leaves to copy.
///
/// A schema stands for all tables in it, a partitioned table for all partitions below it at any level, whatever schema
/// they are in, since publishing it publishes them. A name without schema must exist in exactly one schema. System
/// schemas count as absent.
pub fn select(source: &[Table], selection: &Selection) -> Selected {
    let mut selected = Selected::default();
    let chosen = chosen_relations(source, selection, &mut selected);
    for index in chosen {
        let Some(table) = source.get(index) else { continue };
        match fate(table) {
            Fate::Copy => selected.tables.push(index),
            Fate::LeftOut(reason) => selected.left_out.push((index, reason)),
            Fate::NotALeaf => {}
        }
    }
    selected
}

/// Indices of all relations the wish covers, in order; what matched nothing or too much goes into `selected`.
fn chosen_relations(source: &[Table], selection: &Selection, selected: &mut Selected) -> BTreeSet<usize> {
    let visible = || source.iter().enumerate().filter(|(_, table)| !is_system_schema(&table.schema));
    if selection.schemas.is_none() && selection.tables.is_none() {
        return visible().map(|(index, _)| index).collect();
    }

    let mut named = BTreeSet::new();
    for schema in selection.schemas.iter().flatten() {
        let matches: Vec<usize> = visible().filter(|(_, t)| t.schema == *schema).map(|(index, _)| index).collect();
        if matches.is_empty() {
            push_once(&mut selected.not_found, format!("schema {}", ident::display_ident(schema)));
        }
        named.extend(matches);
    }
    for (schema, name) in selection.tables.iter().flatten() {
        let matches: Vec<(usize, &Table)> = visible()
            .filter(|(_, t)| t.name == *name && schema.as_ref().is_none_or(|schema| t.schema == *schema))
            .collect();
        match matches.as_slice() {
            [] => push_once(&mut selected.not_found, display_name(schema.as_deref(), name)),
            [(index, table)] => {
                selected.named.push((table.schema.clone(), table.name.clone()));
                named.insert(*index);
            }
            several => {
                let places: Vec<String> = several.iter().map(|(_, table)| table.qualified_display()).collect();
                let text = format!("{} ({})", ident::display_ident(name), places.join(", "));
                push_once(&mut selected.ambiguous, text);
            }
        }
    }

    let roots: BTreeSet<u32> = named.iter().filter_map(|index| source.get(*index)).map(|table| table.oid).collect();
    let below = visible().filter(|(_, table)| ancestors(table).iter().any(|oid| roots.contains(oid)));
    named.extend(below.map(|(index, _)| index));
    named
}

/// What becomes of a relation that was chosen.
enum Fate {
    Copy,
    LeftOut(LeftOut),
    /// Partitioned tables have no rows of their own.
    NotALeaf,
}

fn fate(table: &Table) -> Fate {
    match (table.kind, table.persistence) {
        ('p', _) => Fate::NotALeaf,
        (_, 't') => Fate::LeftOut(LeftOut::Temporary),
        _ if table.extension.is_some() => Fate::LeftOut(LeftOut::ExtensionOwned),
        ('f', _) => Fate::LeftOut(LeftOut::Foreign),
        ('m', _) => Fate::LeftOut(LeftOut::MaterializedView),
        (_, 'u') => Fate::LeftOut(LeftOut::Unlogged),
        ('r', 'p') => Fate::Copy,
        // The query returns no other kinds; a relation without rows of its own is nothing to report.
        _ => Fate::NotALeaf,
    }
}

/// All partitioned tables above; only the topmost when the inventory knows no more.
fn ancestors(table: &Table) -> &[u32] {
    if table.ancestors.is_empty() {
        table.root.as_slice()
    } else {
        &table.ancestors
    }
}

fn display_name(schema: Option<&str>, name: &str) -> String {
    match schema {
        Some(schema) => format!("{}.{}", ident::display_ident(schema), ident::display_ident(name)),
        None => ident::display_ident(name),
    }
}

fn push_once(list: &mut Vec<String>, text: String) {
    if !list.contains(&text) {
        list.push(text);
    }
}

/// The explicit table list of the publication, in the inventory's order of its first leaves.
///
/// A partition root stands for its leaves when that publishes exactly the selected rows in one way: all its permanent
/// leaves are selected, and they agree on having a replica identity. Unlogged and foreign leaves do not matter, they
/// publish nothing. Otherwise each leaf is published itself.
pub fn publication_tables(source: &[Table], selected: &Selected, no_identity: NoIdentity) -> Vec<PublicationEntry> {
    let wanted: BTreeSet<usize> = selected.tables.iter().copied().collect();
    let by_oid: HashMap<u32, &Table> = source.iter().map(|table| (table.oid, table)).collect();
    let mut leaves_of: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, table) in source.iter().enumerate() {
        // An extension's partition is not copied, but publishing the root would publish it: so it is counted here, and
        // being never selected keeps the root out.
        if let (Some(root), 'r', 'p') = (ancestors(table).last(), table.kind, table.persistence) {
            leaves_of.entry(*root).or_default().push(index);
        }
    }
    let root_for = |leaf: &Table| -> Option<&Table> {
        let root = by_oid.get(ancestors(leaf).last()?)?;
        let leaves = leaves_of.get(&root.oid)?;
        let all_selected = leaves.iter().all(|index| wanted.contains(index));
        let all_agree = leaves.iter().filter_map(|index| source.get(*index)).all(|t| t.identity == leaf.identity);
        (all_selected && all_agree).then_some(*root)
    };

    let mut entries = Vec::new();
    let mut seen = BTreeSet::new();
    for leaf in wanted.iter().filter_map(|index| source.get(*index)) {
        let published = root_for(leaf).unwrap_or(leaf);
        if seen.insert(published.oid) {
            entries.push(PublicationEntry {
                oid: published.oid,
                schema: published.schema.clone(),
                name: published.name.clone(),
                insert_only: !leaf.identity && no_identity == NoIdentity::InsertOnly,
                only: published.kind != 'p',
            });
        }
    }
    entries
}

/// The selected tables that have no usable replica identity.
pub fn without_identity(source: &[Table], selected: &Selected) -> Vec<usize> {
    let lacks = |index: &usize| source.get(*index).is_some_and(|table| !table.identity);
    selected.tables.iter().copied().filter(lacks).collect()
}

#[cfg(test)]
mod tests;
