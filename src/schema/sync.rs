//! What has to be done to this database so that it has the tables of a source: read from both sides, planned by
//! `steep_repl_core::schema_sync`. Nothing is changed here.

use super::side::{Filter, Reader, Side};
use super::{choose, source_inventory, Request};
use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::parse;
use crate::pg::remote::Connection;
use crate::source::dump;
use std::collections::{HashMap, HashSet};
use steep_repl_core::archive::Entry;
use steep_repl_core::definition::Definition;
use steep_repl_core::ident::qualified_display;
use steep_repl_core::inventory::Table;
use steep_repl_core::schema_diff::{diff, Change, Difference};
use steep_repl_core::schema_match::label_statements;
use steep_repl_core::schema_sync::{plan, Altered, Input, Plan, Wanted};

type Name = (String, String);

/// The extension itself is no part of what is synchronized.
const OWN_EXTENSION: &str = "steep_repl";

/// The source's definitions, with what its objects are called there.
pub struct Dump {
    entries: Vec<Entry>,
    identities: HashMap<i32, dump::Identity>,
}

impl Dump {
    /// Asks the source what the objects of a dump are called.
    pub fn identified(connection: &Connection, entries: Vec<Entry>) -> Result<Dump> {
        let identities = dump::identities(connection, &entries)?;
        Ok(Dump { entries, identities })
    }
}

/// Plans what brings this database in line with a dump, as far as the request goes.
pub fn plan_of(connection: &Connection, request: &Request, dump: &Dump) -> Result<Plan> {
    let source = source_inventory(connection, false)?;
    let wanted = wanted(request, &source)?;
    let (mut altered, dropped) = altered(connection, &wanted, &dump.entries)?;
    let mut here: HashSet<dump::Identity> = user::objects()?.into_iter().collect();
    for object in user::objects_of_columns(&dropped)? {
        // It is made again where the source has it, too; and when all is taken back, after the columns of all tables.
        here.remove(&(object.kind, object.identity));
        if let Some(first) = altered.first_mut() {
            first.lost.extend(object.statement);
        }
    }
    let is_own = |entry: &Entry| entry.desc == "EXTENSION" && entry.tag == OWN_EXTENSION;
    let is_here =
        |entry: &&Entry| dump.identities.get(&entry.id).is_some_and(|name| here.contains(name)) || is_own(entry);
    let (mut privileges, mut roles_needed) = (HashMap::new(), HashMap::new());
    for entry in &dump.entries {
        match entry.desc.as_str() {
            "ACL" | "DEFAULT ACL" => {
                privileges.insert(entry.id, parse::statements(&entry.definition)?);
            }
            "POLICY" => {
                let roles = parse::statements(&entry.definition)?.into_iter().flat_map(|one| one.roles).collect();
                roles_needed.insert(entry.id, roles);
            }
            _ => {}
        }
    }
    Ok(plan(&Input {
        altered,
        enums: enums(&source, &user::inventory()?, &wanted),
        existing: dump.entries.iter().filter(is_here).map(|entry| entry.id).collect(),
        entries: &dump.entries,
        wanted,
        privileges,
        roles_needed,
        roles: user::roles()?.into_iter().collect(),
        untouched_schemas: user::untouched_schemas()?.into_iter().collect(),
    }))
}

/// Enums of the columns that are copied, with the labels that they lack here.
fn enums(source: &[Table], here: &[Table], wanted: &Wanted) -> Vec<(String, Vec<String>)> {
    let here: HashMap<(&str, &str), &Table> =
        here.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table)).collect();
    let is_wanted = |table: &&Table| match wanted {
        Wanted::All => true,
        Wanted::Schemas(names) => names.contains(&table.schema),
        Wanted::Tables(names) => names.contains(&(table.schema.clone(), table.name.clone())),
    };
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for table in source.iter().filter(is_wanted) {
        let Some(here) = here.get(&(table.schema.as_str(), table.name.as_str())) else { continue };
        for (name, statements) in label_statements(table, here) {
            if !found.iter().any(|(known, _)| *known == name) {
                found.push((name, statements));
            }
        }
    }
    found
}

/// Which objects a request is about.
fn wanted(request: &Request, source: &[Table]) -> Result<Wanted> {
    // Says what is not there, as init_node does, whichever of the two was named.
    let chosen = choose(request, source, &[])?;
    if request.tables.is_none() {
        return Ok(request.schemas.map_or(Wanted::All, |schemas| Wanted::Schemas(schemas.to_vec())));
    }
    let mut names: HashSet<(String, String)> = chosen.named().collect();
    for (schema, name, _) in chosen.names() {
        if let Some(table) = source.iter().find(|table| table.schema == schema && table.name == name) {
            let above = source.iter().filter(|other| table.ancestors.contains(&other.oid));
            names.extend(above.map(|table| (table.schema.clone(), table.name.clone())));
        }
        names.insert((schema, name));
    }
    Ok(Wanted::Tables(names))
}

/// Columns of tables of this database, as (schema, table, column).
type Columns = Vec<(String, String, String)>;

/// Tables of both sides whose columns differ, or that lack a check of the source's; those that others inherit from first. And the columns
/// that are dropped, be it to be made anew.
fn altered(connection: &Connection, wanted: &Wanted, entries: &[Entry]) -> Result<(Vec<Altered>, Columns)> {
    let schemas = match wanted {
        Wanted::All => None,
        Wanted::Schemas(names) => Some(names.clone()),
        Wanted::Tables(names) => Some(names.iter().map(|(schema, _)| schema.clone()).collect()),
    };
    let filter = schemas.as_deref().map_or(Filter::All, Filter::Schemas);
    let (source, here) = Reader::read_both(&Reader::over(connection), &Reader::Here, &filter)?;
    let same_major = source.major == here.major;
    let is_in = |names: &[Name], (schema, name): &Name| names.iter().any(|(a, b)| a == schema && b == name);
    let are_wanted = |name: &&Name| match wanted {
        Wanted::All => true,
        Wanted::Schemas(schemas) => schemas.contains(&name.0),
        Wanted::Tables(names) => names.contains(*name),
    };
    // What nobody could look at must not pass for what is as it should be.
    let is_known = |side: &Side, name: &Name| side.table(&name.0, &name.1).is_some() || is_in(&side.busy, name);
    let hidden = source.busy.iter().chain(&here.busy).filter(are_wanted);
    if let Some((schema, name)) = hidden.into_iter().find(|name| is_known(&source, name) && is_known(&here, name)) {
        return Err(Error::TableBusy { table: qualified_display(schema, name) });
    }
    let is_wanted = |table: &Definition| match wanted {
        Wanted::Tables(names) => names.contains(&(table.schema.clone(), table.name.clone())),
        Wanted::All | Wanted::Schemas(_) => true,
    };
    let is_separate = |table: &Definition, one: &Difference| {
        entries.iter().any(|entry| {
            entry.desc == "CHECK CONSTRAINT"
                && entry.schema == table.schema
                && entry.tag == format!("{} {}", table.name, one.name)
        })
    };
    let there: HashMap<(&str, &str), &Definition> =
        source.tables.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table)).collect();
    let mut found: HashMap<(String, String), (Vec<Difference>, Vec<Difference>)> = HashMap::new();
    let mut dropped = Columns::new();
    for table in here.tables.iter().filter(|table| is_wanted(table)) {
        let Some(source) = there.get(&(table.schema.as_str(), table.name.as_str())) else { continue };
        let is_check = |one: &Difference, change: Change| one.kind == "check constraint" && one.change == change;
        let mut differences = diff(Some(source), Some(table), same_major);
        differences.retain(|one| one.is_mismatch || is_check(one, Change::Missing) && !is_separate(source, one));
        let mut reverse = diff(Some(table), Some(source), same_major);
        reverse.retain(|one| {
            one.is_mismatch || is_check(one, Change::Extra) && differences.iter().any(|other| other.name == one.name)
        });
        let gone = table.columns.iter().filter(|column| differences.iter().any(|one| one.drops(&column.name)));
        dropped.extend(gone.map(|column| (table.schema.clone(), table.name.clone(), column.name.clone())));
        if !differences.is_empty() {
            found.insert((table.schema.clone(), table.name.clone()), (differences, reverse));
        }
    }
    Ok((parents_first(&here.tables, found), dropped))
}

/// What is altered of a table is altered of those that inherit from it.
pub(super) fn parents_first(
    tables: &[Definition],
    mut found: HashMap<(String, String), (Vec<Difference>, Vec<Difference>)>,
) -> Vec<Altered> {
    let of_parents: HashMap<(String, String), Vec<Difference>> =
        found.iter().map(|(name, (differences, _))| (name.clone(), differences.clone())).collect();
    let mut open: Vec<&Definition> =
        tables.iter().filter(|table| found.contains_key(&(table.schema.clone(), table.name.clone()))).collect();
    let mut altered = Vec::new();
    while !open.is_empty() {
        let waits = |table: &Definition| {
            table
                .parents
                .iter()
                .any(|(schema, name)| open.iter().any(|other| other.schema == *schema && other.name == *name))
        };
        let (later, now): (Vec<&Definition>, Vec<&Definition>) = open.iter().partition(|table| waits(table));
        if now.is_empty() {
            // No table inherits from itself.
            break;
        }
        for table in now {
            let name = (table.schema.clone(), table.name.clone());
            let Some((mut differences, mut reverse)) = found.remove(&name) else { continue };
            let comes_along = |one: &Difference| {
                table.parents.iter().filter_map(|parent| of_parents.get(parent)).flatten().any(|other| {
                    other.kind == one.kind && other.name == one.name && other.change == one.change && other.a == one.a
                })
            };
            let gone: HashSet<(&'static str, String)> =
                differences.iter().filter(|one| comes_along(one)).map(|one| (one.kind, one.name.clone())).collect();
            differences.retain(|one| !gone.contains(&(one.kind, one.name.clone())));
            reverse.retain(|one| !gone.contains(&(one.kind, one.name.clone())));
            if !differences.is_empty() {
                let (schema, name) = name;
                altered.push(Altered { schema, name, differences, reverse, lost: Vec::new(), is_restored: false });
            }
        }
        open = later;
    }
    altered
}
