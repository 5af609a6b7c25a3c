//! What has become of an operation's tables on the source since they were planned, and what is to be done about it in its mode. Nothing
//! is changed here; `steep_repl_core::drift` says what may be.

use super::plan::{differences_of, planned as plan_of, Sides};
use super::sync::parents_first;
use super::{index, source_inventory};
use crate::catalog::operations::{Operation, PlannedTable};
use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use std::collections::{BTreeSet, HashMap, HashSet};
use steep_repl_core::definition::Definition;
use steep_repl_core::drift::{is_beyond, stale, while_behind, Copied, Seen};
use steep_repl_core::ident::{display_ident, qualified_display};
use steep_repl_core::inventory::Table;
use steep_repl_core::schema_diff::{diff, Difference};
use steep_repl_core::schema_match::{label_statements, match_columns, Difference as InTheWay};
use steep_repl_core::schema_sync::{Altered, Mode};

type Name = (String, String);

/// What has become of the tables.
pub struct Drift {
    /// What stands in the way in this mode, in words.
    pub differences: Vec<String>,
    /// Tables that the source does not have any more, in words.
    pub gone: Vec<String>,
    /// Tables whose rows have to be copied again, with why.
    pub stale: Vec<(u32, String)>,
    /// What is to be altered here.
    pub altered: Vec<Altered>,
    /// Enums that lack labels here, each with the statements that add them.
    pub enums: Vec<(String, Vec<String>)>,
    /// Columns that were copied and that the source has no more, in words.
    pub kept: Vec<String>,
    source: HashMap<Name, Table>,
}

impl Drift {
    /// The plans of those tables that are copied in another way from now on, by what this database's tables are in this moment.
    pub fn replanned(&self, planned: &[PlannedTable]) -> Result<Vec<PlannedTable>> {
        let here = index(user::inventory()?);
        Ok(planned
            .iter()
            .filter_map(|table| {
                let (there, here) = (self.source.get(&name(table))?, here.get(&name(table))?);
                let now = plan_of(there, here, 0, table.insert_only);
                let is_same = now.columns == table.columns
                    && now.column_numbers == table.column_numbers
                    && now.column_types == table.column_types
                    && now.format == table.format;
                (!is_same).then(|| PlannedTable {
                    columns: now.columns,
                    column_numbers: now.column_numbers,
                    column_types: now.column_types,
                    format: now.format,
                    ..table.clone()
                })
            })
            .collect())
    }
}

/// Looks at tables of an operation: `all` of the plan, those that it is about, and whether the rows of these stay or are about to go.
pub struct Question<'a> {
    /// The plan.
    pub all: &'a [PlannedTable],
    /// The tables in question.
    pub about: &'a [PlannedTable],
    /// Whether they keep the rows that were copied.
    pub rows_stay: bool,
}

/// What has become of them. 55P03 through [`Error::TableBusy`] when a table differs and somebody's lock hides how.
pub fn drift(connection: &Connection, operation: &Operation, question: &Question) -> Result<Drift> {
    let (source, here) = (index(source_inventory(connection, false)?), index(user::inventory()?));
    let mode = operation.options.schema_sync;
    let mut found = Drift {
        differences: Vec::new(),
        gone: Vec::new(),
        stale: Vec::new(),
        altered: Vec::new(),
        enums: Vec::new(),
        kept: Vec::new(),
        source,
    };
    let sides = match mode {
        Mode::Manual => None,
        Mode::Strict | Mode::Auto => Some(Sides::of_schemas(connection, schemas(&found.source, question.all))?),
    };
    for table in question.about {
        let Some(there) = found.source.get(&name(table)) else {
            found.gone.push(format!(
                "table {} is not on the source any more",
                qualified_display(&table.table_schema, &table.table_name)
            ));
            continue;
        };
        let here = here.get(&name(table));
        found.differences.extend(match (mode, &sides) {
            (Mode::Strict, Some(sides)) => differences_of(there, here, sides, (&operation.source, &operation.node)),
            (Mode::Auto, Some(sides)) => not_to_be_altered(there, here, sides)?,
            _ => match_columns(there, here).iter().filter(|one| one.stops_copy()).map(ToString::to_string).collect(),
        });
        found.kept.extend(kept(table, there));
        let lacking = here.filter(|_| mode == Mode::Auto).map(|here| label_statements(there, here)).unwrap_or_default();
        for (name, statements) in lacking {
            if !found.enums.iter().any(|(known, _)| *known == name) {
                found.enums.push((name, statements));
            }
        }
        let Some(here) = here.filter(|_| question.rows_stay) else { continue };
        let reasons = stale(&copied(table), there, here);
        if !reasons.is_empty() {
            found.stale.push((table.relid, reasons.join(", ")));
        }
    }
    if let (Mode::Auto, Some(sides)) = (mode, &sides) {
        let (mut altered, beyond) = alterations(sides, &found, question, (&operation.source, &operation.node));
        for table in &mut altered {
            // A generated column is made anew, and its indexes with it.
            let columns = sides.here.table(&table.schema, &table.name).into_iter().flat_map(|here| &here.columns);
            let dropped: Vec<(String, String, String)> = columns
                .filter(|column| table.differences.iter().any(|one| one.drops(&column.name)))
                .map(|column| (table.schema.clone(), table.name.clone(), column.name.clone()))
                .collect();
            if !dropped.is_empty() {
                table.lost = user::objects_of_columns(&dropped)?.into_iter().filter_map(|one| one.statement).collect();
                table.is_restored = true;
            }
        }
        found.altered = altered;
        found.differences.extend(beyond);
    }
    Ok(found)
}

/// What still differs of a plan's tables where they were altered while replication was behind, in words.
pub fn left(connection: &Connection, operation: &Operation, planned: &[PlannedTable]) -> Result<Vec<String>> {
    let (source, here) = (index(source_inventory(connection, false)?), index(user::inventory()?));
    let sides = Sides::of_schemas(connection, schemas(&source, planned))?;
    let nodes = (operation.source.as_str(), operation.node.as_str());
    Ok(planned
        .iter()
        .filter_map(|table| Some((source.get(&name(table))?, here.get(&name(table)))))
        .flat_map(|(there, here)| differences_of(there, here, &sides, nodes))
        .collect())
}

fn name(table: &PlannedTable) -> Name {
    (table.table_schema.clone(), table.table_name.clone())
}

fn copied(table: &PlannedTable) -> Copied<'_> {
    Copied {
        columns: &table.columns,
        numbers: &table.column_numbers,
        types: &table.column_types,
        seen: table.source_filenode.zip(table.source_natts).map(|(filenode, natts)| Seen { filenode, natts }),
    }
}

/// The schemas of tables and of the partitioned tables above them.
fn schemas<'a>(source: &'a HashMap<Name, Table>, planned: &'a [PlannedTable]) -> BTreeSet<&'a str> {
    let above: HashSet<u32> =
        planned.iter().filter_map(|table| source.get(&name(table))).flat_map(|table| table.ancestors.clone()).collect();
    let roots = source.values().filter(|table| above.contains(&table.oid)).map(|table| table.schema.as_str());
    planned.iter().map(|table| table.table_schema.as_str()).chain(roots).collect()
}

/// Columns that were copied and are not on the source any more.
fn kept<'a>(table: &'a PlannedTable, there: &'a Table) -> impl Iterator<Item = String> + 'a {
    table
        .columns
        .iter()
        .filter(|column| there.column(column).is_none())
        .map(|column| format!("column {} of table {}", display_ident(column), there.qualified_display()))
}

/// What no ALTER TABLE here mends.
fn not_to_be_altered(there: &Table, here: Option<&Table>, sides: &Sides) -> Result<Vec<String>> {
    let found = match_columns(there, here);
    if here.is_none_or(|here| here.kind != 'r' || here.persistence != 'p') {
        return Ok(found.iter().filter(|one| one.is_blocking()).map(ToString::to_string).collect());
    }
    let is_hidden = |side: &super::side::Side| side.table(&there.schema, &there.name).is_none();
    let by_altering = |one: &InTheWay| one.is_blocking() && !matches!(one, InTheWay::LabelsMissing { .. });
    if found.iter().any(by_altering) && (is_hidden(&sides.source) || is_hidden(&sides.here)) {
        return Err(Error::TableBusy { table: there.qualified_display() });
    }
    Ok(Vec::new())
}

/// What is to be altered here, tables that others inherit from first; and what would have to be and cannot, in words.
fn alterations(sides: &Sides, found: &Drift, question: &Question, nodes: (&str, &str)) -> (Vec<Altered>, Vec<String>) {
    let tables = &sides.here.tables;
    let families = families(tables);
    let family = |name: &Name| families.get(name).copied();
    let about: HashSet<Name> = question.about.iter().map(name).collect();
    let stale: HashSet<u32> = found.stale.iter().map(|(relid, _)| *relid).collect();
    let stale: HashSet<Name> = question.all.iter().filter(|table| stale.contains(&table.relid)).map(name).collect();
    let planned: HashSet<Name> = question.all.iter().map(name).collect();
    // What is altered of one is altered of all that inherit from it: it goes by the family.
    let (mut concerned, mut staying, mut late) = (HashSet::new(), HashSet::new(), HashSet::new());
    for table in question.all {
        let name = name(table);
        let Some(family) = family(&name) else { continue };
        if about.contains(&name) {
            concerned.insert(family);
        }
        if question.rows_stay || !about.contains(&name) {
            staying.insert(family);
        }
        let numbers = found.source.get(&name).into_iter().flat_map(|there| &there.columns);
        late.extend(
            numbers.filter(|column| copied(table).is_late(column.number)).map(|column| (family, column.name.clone())),
        );
    }
    let (mut altered, mut beyond) = (HashMap::new(), Vec::new());
    for here in tables {
        let name = (here.schema.clone(), here.name.clone());
        let Some(family) = family(&name).filter(|family| concerned.contains(family)) else { continue };
        let is_ours = about.contains(&name) || here.kind == 'p' && !planned.contains(&name);
        let Some(there) = sides.source.table(&here.schema, &here.name).filter(|_| is_ours && !stale.contains(&name))
        else {
            continue;
        };
        let wanted =
            while_behind(there, here, staying.contains(&family), |column| late.contains(&(family, column.to_owned())));
        let same_major = sides.source.major == sides.here.major;
        let between = |a: &Definition, b: &Definition| -> Vec<Difference> {
            let mut found = diff(Some(a), Some(b), same_major);
            // Another key is in nobody's way as long as the rows fit: they go into partitions.
            found.retain(|one| one.is_mismatch && one.kind != "partition key");
            found
        };
        let differences = between(&wanted, here);
        let (hopeless, differences): (Vec<Difference>, Vec<Difference>) = differences.into_iter().partition(is_beyond);
        let table = qualified_display(&here.schema, &here.name);
        beyond.extend(hopeless.iter().map(|one| format!("table {table}: {}", one.words(nodes.0, nodes.1))));
        if !differences.is_empty() {
            altered.insert(name, (differences, between(here, &wanted)));
        }
    }
    (parents_first(tables, altered), beyond)
}

/// A number for each table, the same for those that inherit from each other.
fn families(tables: &[Definition]) -> HashMap<Name, usize> {
    let mut families: HashMap<Name, usize> =
        tables.iter().enumerate().map(|(place, table)| ((table.schema.clone(), table.name.clone()), place)).collect();
    loop {
        let mut changed = false;
        for table in tables.iter().filter(|table| !table.parents.is_empty()) {
            let own = (table.schema.clone(), table.name.clone());
            let members: Vec<&Name> =
                table.parents.iter().chain([&own]).filter(|name| families.contains_key(*name)).collect();
            let Some(least) = members.iter().filter_map(|name| families.get(*name).copied()).min() else { continue };
            let members: Vec<Name> = members.into_iter().cloned().collect();
            for member in members {
                changed |= families.insert(member, least) != Some(least);
            }
        }
        if !changed {
            return families;
        }
    }
}
