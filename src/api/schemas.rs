//! Fingerprints of tables, what has changed since they were captured, and what differs between nodes.

use super::checks::check_dump;
use super::init::schema_names;
use super::{given, list, SqlResult};
use crate::catalog::fingerprints::{self, Captured};
use crate::catalog::{nodes, user};
use crate::error::{Error, Result};
use crate::pg::raise::ErrorReport;
use crate::pg::remote::Connection;
use crate::pg::system::Oid;
use crate::pg::{raise, role, system};
use crate::schema::compare::{compare, Compared};
use crate::schema::side::{table_here, Filter, Reader, Side};
use crate::schema::sync::{plan_of, Dump};
use crate::schema::Request;
use crate::settings;
use crate::source::{self, dump};
use pgrx::prelude::*;
use std::collections::{BTreeSet, HashMap};
use steep_repl_core::definition::Definition;
use steep_repl_core::ident::{display_ident, parse_qualified, qualified_display};
use steep_repl_core::names::{application_name, Part, Token};
use steep_repl_core::schema_diff::{diff, Difference};
use steep_repl_core::schema_sync::Plan;
use steep_repl_core::selection::NoIdentity;

/// The argument is a regclass, so that names are looked up as everywhere.
#[pg_extern(
    name = "schema_fingerprint",
    sql = r#"CREATE FUNCTION steep_repl."schema_fingerprint"("relation" regclass) RETURNS TEXT
    LANGUAGE c AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';"#
)]
fn schema_fingerprint_of(relation: Option<Oid>) -> SqlResult<String> {
    let relid = u32::from(given("relation", relation)?);
    let named = user::names_now(&[relid])?.into_iter().next();
    let (_, schema, name) = named.ok_or_else(|| Error::NoSuchTable { table: relid.to_string() })?;
    Ok(table_here(&schema, &name)?.fingerprint())
}

#[pg_extern]
fn schema_fingerprint(table_schema: Option<&str>, table_name: Option<&str>) -> SqlResult<String> {
    let (schema, name) = (given("table_schema", table_schema)?, given("table_name", table_name)?);
    Ok(table_here(schema, name)?.fingerprint())
}

#[pg_extern]
fn capture_fingerprints(schemas: default!(Option<Vec<Option<String>>>, "NULL")) -> SqlResult<i64> {
    Ok(capture(list("schemas", schemas)?)?)
}

fn capture(schemas: Option<Vec<String>>) -> Result<i64> {
    let schemas = schemas.map(|names| schema_names(&names)).transpose()?;
    check_schemas(&[&Reader::Here], schemas.as_deref())?;
    let side = Reader::Here.read(&schemas.as_deref().map_or(Filter::All, Filter::Schemas))?;
    if let Some((schema, name)) =
        side.busy.iter().find(|(schema, _)| schemas.as_ref().is_none_or(|all| all.contains(schema)))
    {
        return Err(Error::TableBusy { table: qualified_display(schema, name) });
    }
    let captured: Vec<Captured> = side
        .tables
        .into_iter()
        .map(|table| Captured {
            table_schema: table.schema.clone(),
            table_name: table.name.clone(),
            fingerprint: table.fingerprint(),
            column_count: table.columns.len() as i32,
            definition: table,
            captured_at: None,
        })
        .collect();
    fingerprints::store(&captured, schemas.as_deref())?;
    Ok(captured.len() as i64)
}

/// What has changed since tables were captured; the view `schema_drift` is built on it.
#[pg_extern]
#[allow(clippy::type_complexity)]
pub fn drift() -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(table_schema, String),
            name!(table_name, String),
            name!(status, String),
            name!(difference, Option<String>),
            name!(captured_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let rows = drifted()?;
    Ok(TableIterator::new(rows.into_iter().map(|(schema, name, status, difference, at)| {
        (schema, name, status.to_owned(), difference, at.and_then(|at| at.parse().ok()))
    })))
}

type Drifted = (String, String, &'static str, Option<String>, Option<String>);

fn drifted() -> Result<Vec<Drifted>> {
    let captured = fingerprints::all()?;
    let schemas = fingerprints::schemas()?;
    let now = Reader::Here.read(&schemas.as_deref().map_or(Filter::All, Filter::Schemas))?;
    let index: HashMap<(&str, &str), &Definition> =
        now.tables.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table)).collect();
    let mut rows: Vec<Drifted> = Vec::new();
    for before in &captured {
        let key = (before.table_schema.as_str(), before.table_name.as_str());
        let is_busy = now.busy.iter().any(|(schema, name)| (schema.as_str(), name.as_str()) == key);
        let status = match index.get(&key) {
            _ if is_busy => "BUSY",
            None => "DROPPED",
            Some(table) if table.fingerprint() != before.fingerprint => "CHANGED",
            Some(_) => continue,
        };
        let difference = index.get(&key).filter(|_| status == "CHANGED").map(|table| {
            let mut found = diff(Some(&before.definition), Some(table), true);
            found.retain(|one| one.is_mismatch);
            words(&found, "the table as captured", "the table now")
        });
        rows.push((
            before.table_schema.clone(),
            before.table_name.clone(),
            status,
            difference,
            before.captured_at.clone(),
        ));
    }
    let known: BTreeSet<(&str, &str)> =
        captured.iter().map(|table| (table.table_schema.as_str(), table.table_name.as_str())).collect();
    for table in now.tables.iter().filter(|table| !known.contains(&(table.schema.as_str(), table.name.as_str()))) {
        rows.push((table.schema.clone(), table.name.clone(), "ADDED", None, None));
    }
    rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    Ok(rows)
}

fn words(found: &[Difference], node_a: &str, node_b: &str) -> String {
    found.iter().map(|one| one.words(node_a, node_b)).collect::<Vec<_>>().join("; ")
}

#[pg_extern]
#[allow(clippy::type_complexity)]
fn compare_schemas(
    node_a: Option<&str>,
    node_b: Option<&str>,
    schemas: default!(Option<Vec<Option<String>>>, "NULL"),
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(table_schema, String),
            name!(table_name, String),
            name!(status, String),
            name!(fingerprint_a, Option<String>),
            name!(fingerprint_b, Option<String>),
            name!(difference, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let (node_a, node_b) = (given("node_a", node_a)?, given("node_b", node_b)?);
    let schemas = list("schemas", schemas)?.map(|names| schema_names(&names)).transpose()?;
    let compared = compared(node_a, node_b, schemas.as_deref())?;
    let (node_a, node_b) = (node_a.to_owned(), node_b.to_owned());
    Ok(TableIterator::new(compared.into_iter().map(move |table| {
        let difference = words(&table.differences, &node_a, &node_b);
        (
            table.schema,
            table.name,
            table.status.as_str().to_owned(),
            table.fingerprint_a,
            table.fingerprint_b,
            (!difference.is_empty()).then_some(difference),
        )
    })))
}

fn compared(node_a: &str, node_b: &str, schemas: Option<&[String]>) -> Result<Vec<Compared>> {
    let filter = schemas.map_or(Filter::All, Filter::Schemas);
    let (a, b) = (Reader::open(node_a)?, Reader::open(node_b)?);
    check_schemas(&[&a, &b], schemas)?;
    let (mut a, mut b) = Reader::read_both(&a, &b, &filter)?;
    if let Some(schemas) = schemas {
        for side in [&mut a, &mut b] {
            side.busy.retain(|(schema, _)| schemas.contains(schema));
        }
    }
    Ok(compare(&a, &b))
}

/// Refuses a schema that no side has: no difference in what is not there would be a wrong answer.
fn check_schemas(sides: &[&Reader], schemas: Option<&[String]>) -> Result<()> {
    let mut missing = schemas.unwrap_or_default().to_vec();
    for side in sides.iter().filter(|_| schemas.is_some()) {
        let here = side.missing(&missing)?;
        missing.retain(|name| here.contains(name));
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NoSuchSchema { names: missing.iter().map(|name| display_ident(name)).collect() })
}

#[pg_extern]
#[allow(clippy::type_complexity)]
fn schema_diff(
    node_a: Option<&str>,
    node_b: Option<&str>,
    table: Option<&str>,
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(object_kind, String),
            name!(object_name, String),
            name!(change, String),
            name!(definition_a, Option<String>),
            name!(definition_b, Option<String>),
            name!(is_mismatch, bool),
            name!(ddl, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let found = differences(given("node_a", node_a)?, given("node_b", node_b)?, given("table", table)?)?;
    Ok(TableIterator::new(found.into_iter().map(|one| {
        (one.kind.to_owned(), one.name, one.change.as_str().to_owned(), one.a, one.b, one.is_mismatch, one.ddl)
    })))
}

fn differences(node_a: &str, node_b: &str, table: &str) -> Result<Vec<Difference>> {
    let (schema, name) = parse_qualified(table).map_err(|error| Error::Argument {
        argument: "table",
        value: table.to_owned(),
        hint: format!("Give a name as in SQL, such as sales.orders or \"Odd Name\": {error}."),
    })?;
    let schema = schema.unwrap_or_else(|| "public".to_owned());
    let filter = Filter::Table(&schema, &name);
    let (a, b) = Reader::read_both(&Reader::open(node_a)?, &Reader::open(node_b)?, &filter)?;
    let is_busy = |side: &Side| side.busy.iter().any(|busy| busy.0 == schema && busy.1 == name);
    if is_busy(&a) || is_busy(&b) {
        return Err(Error::TableBusy { table: qualified_display(&schema, &name) });
    }
    if a.tables.is_empty() && b.tables.is_empty() {
        return Err(Error::NoSuchTable { table: qualified_display(&schema, &name) });
    }
    Ok(diff(a.tables.first(), b.tables.first(), a.major == b.major))
}

/// What `init_node(..., schema_sync => 'auto')` would do to this database. Changes nothing.
#[pg_extern]
#[allow(clippy::type_complexity)]
fn schema_sync_plan(
    node: Option<&str>,
    source: Option<&str>,
    schemas: default!(Option<Vec<Option<String>>>, "NULL"),
    tables: default!(Option<Vec<Option<String>>>, "NULL"),
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(step, i32),
            name!(action, String),
            name!(object_kind, String),
            name!(object_name, String),
            name!(statements, Option<String>),
            name!(remark, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let schemas = list("schemas", schemas)?.map(|names| schema_names(&names)).transpose()?;
    let tables = list("tables", tables)?;
    let plan = planned(given("node", node)?, given("source", source)?, schemas.as_deref(), tables.as_deref())?;
    for (_, message, hint) in plan.warnings() {
        raise::warning_with(&message, None, hint);
    }
    Ok(TableIterator::new(plan.steps.into_iter().zip(1..).map(|(step, number)| {
        let statements = step.statements.join("\n");
        (
            number,
            step.action.as_str().to_owned(),
            step.kind,
            step.name,
            (!statements.is_empty()).then_some(statements),
            step.remark,
        )
    })))
}

fn planned(node: &str, source: &str, schemas: Option<&[String]>, tables: Option<&[String]>) -> Result<Plan> {
    let (local, from) = (nodes::get(node)?, nodes::get(source)?);
    source::require_local(&local)?;
    if from.is_local {
        return Err(Error::SourceIsLocal { node: source.to_owned() });
    }
    let me = role::current();
    check_dump(node, source, me)?;
    let (target, token) = (source::target(&from, me)?, Token::new(system::random_u64()));
    let mut connection = Connection::open(&target, &application_name(token, Part::Check))?;
    connection.limit_answers(settings::receive_timeout());
    let dump = Dump::identified(&connection, dump::definitions(&target, token, &mut || Ok(()))?)?;
    let request =
        Request { node, source, schemas, tables, no_identity: NoIdentity::Error, small_below: 0, joins: None };
    plan_of(&connection, &request, &dump)
}
