//! `schema`: what tables are, and what differs.

use super::Context;
use crate::args::Schema;
use crate::failure::{Exit, Failure};
use crate::output::{many, plain, word};
use crate::rows::{Captured, Compared, Difference, Drift, PlanStep};
use crate::session::Session;
use serde::Serialize;
use std::path::Path;

/// What `schema export` writes.
#[derive(Serialize)]
struct Export<'a> {
    node: &'a str,
    tables: Vec<Captured>,
}

pub fn run(context: &Context, command: Schema) -> Result<(), Failure> {
    match command {
        Schema::Compare { node_a, node_b, schemas, all } => compare(context, &node_a, &node_b, schemas.as_deref(), all),
        Schema::Diff { node_a, node_b, table } => diff(context, &node_a, &node_b, &table),
        Schema::Capture { node, schemas } => capture(context, &node, schemas.as_deref()),
        Schema::Drift { node } => drift(context, &node),
        Schema::Export { node, output } => export(context, &node, output.as_deref()),
        Schema::Plan { node, source } => {
            let Some(source) = source.source else { return Err(Failure::usage("schema plan needs --from")) };
            let mut session = context.connector.node(&node)?;
            session.node(&source)?;
            show_plan(context, &mut session, &node, &source)
        }
    }
}

fn differ(message: String) -> Result<(), Failure> {
    Err(Failure::new(Exit::Differences, message))
}

fn compare(
    context: &Context,
    node_a: &str,
    node_b: &str,
    schemas: Option<&[String]>,
    all: bool,
) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    for node in [node_a, node_b] {
        session.node(node)?;
    }
    let tables: Vec<Compared> = session.rows(include_str!("../../sql/compare.sql"), &[&node_a, &node_b, &schemas])?;
    let differing = tables.iter().filter(|table| table.status != "MATCH").count();
    if context.out.json {
        context.out.value(&tables)?;
    } else {
        let shown: Vec<&Compared> =
            tables.iter().filter(|table| all || table.status != "MATCH" || table.difference.is_some()).collect();
        if !shown.is_empty() {
            let mut grid = context.out.table(&["TABLE", "STATUS", "DIFFERENCE"]);
            for table in shown {
                grid.row(vec![
                    table.qualified().into(),
                    word(&table.status),
                    table.difference.as_ref().map(|text| text.replace("; ", "\n")).into(),
                ]);
            }
            context.out.line(grid.text())?;
        }
        context.out.line(format!(
            "{}, {} match, {differing} do not.",
            many(tables.len(), "table"),
            tables.len() - differing
        ))?;
    }
    if differing == 0 {
        Ok(())
    } else {
        differ(format!(
            "{} between {node_a} and {node_b}",
            if differing == 1 { "1 table differs".to_owned() } else { format!("{differing} tables differ") }
        ))
    }
}

fn diff(context: &Context, node_a: &str, node_b: &str, table: &str) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    for node in [node_a, node_b] {
        session.node(node)?;
    }
    let found: Vec<Difference> = session.rows(include_str!("../../sql/diff.sql"), &[&node_a, &node_b, &table])?;
    if context.out.json {
        context.out.value(&found)?;
    } else if found.is_empty() {
        context.out.line(format!("Table {table} is the same on {node_a} and {node_b}."))?;
    } else {
        let mut grid = context.out.table(&["KIND", "NAME", "CHANGE", &node_a.to_uppercase(), &node_b.to_uppercase()]);
        for one in &found {
            grid.row(vec![
                one.object_kind.as_str().into(),
                one.object_name.as_str().into(),
                if one.is_mismatch { one.change.clone() } else { format!("{} (note)", one.change) }.into(),
                one.definition_a.clone().into(),
                one.definition_b.clone().into(),
            ]);
        }
        context.out.line(grid.text())?;
        context.out.line(format!("\n-- Brings {node_b} in line:"))?;
        for one in &found {
            match &one.ddl {
                Some(ddl) => context.out.line(plain(ddl))?,
                None => context.out.line(format!(
                    "-- {} {}: no statement can do it",
                    one.object_kind,
                    plain(&one.object_name)
                ))?,
            }
        }
    }
    match found.iter().filter(|one| one.is_mismatch).count() {
        0 => Ok(()),
        count => differ(format!("table {table} has {} between {node_a} and {node_b}", many(count, "difference"))),
    }
}

fn capture(context: &Context, node: &str, schemas: Option<&[String]>) -> Result<(), Failure> {
    let mut session = context.connector.node(node)?;
    let captured: i64 = session.value("SELECT steep_repl.capture_fingerprints($1)", &[&schemas])?;
    if context.out.json {
        return context.out.value(&serde_json::json!({ "node": node, "tables": captured }));
    }
    context
        .out
        .line(format!("Captured {} of node {node}.", many(usize::try_from(captured).unwrap_or_default(), "table")))
}

fn drift(context: &Context, node: &str) -> Result<(), Failure> {
    let mut session = context.connector.node(node)?;
    let found: Vec<Drift> = session.rows(include_str!("../../sql/drift.sql"), &[])?;
    if context.out.json {
        context.out.value(&found)?;
    } else if found.is_empty() {
        context.out.line(format!("Nothing has changed on node {node} since the capture."))?;
    } else {
        let mut grid = context.out.table(&["TABLE", "STATUS", "DIFFERENCE", "CAPTURED"]);
        for one in &found {
            grid.row(vec![
                one.qualified().into(),
                word(&one.status),
                one.difference.clone().into(),
                one.captured_at.clone().into(),
            ]);
        }
        context.out.line(grid.text())?;
    }
    if found.is_empty() {
        Ok(())
    } else {
        differ(format!("since the capture {} of node {node} changed", many(found.len(), "table")))
    }
}

fn export(context: &Context, node: &str, output: Option<&Path>) -> Result<(), Failure> {
    let mut session = context.connector.node(node)?;
    let tables: Vec<Captured> = session.rows(include_str!("../../sql/captured.sql"), &[])?;
    if tables.is_empty() {
        return Err(Failure::new(Exit::Failed, format!("nothing is captured on node \"{node}\""))
            .hint(format!("Use steep-repl schema capture {node} first.")));
    }
    let export = Export { node, tables };
    let Some(path) = output else { return context.out.value(&export) };
    let text = serde_json::to_string_pretty(&export)
        .map_err(|error| Failure::new(Exit::Failed, "could not write JSON").detail(error.to_string()))?;
    std::fs::write(path, text + "\n").map_err(|error| {
        Failure::new(Exit::Failed, format!("could not write \"{}\"", path.display())).detail(error.to_string())
    })
}

/// What `schema_sync => 'auto'` would do.
pub fn show_plan(context: &Context, session: &mut Session, node: &str, source: &str) -> Result<(), Failure> {
    session.require_function("schema_sync_plan")?;
    let steps: Vec<PlanStep> = session.rows(include_str!("../../sql/plan.sql"), &[&node, &source])?;
    if context.out.json {
        return context.out.value(&steps);
    }
    if steps.is_empty() {
        return context.out.line("Nothing would be made or altered.");
    }
    let mut grid = context.out.table(&["STEP", "ACTION", "KIND", "NAME", "REMARK"]);
    for step in steps {
        grid.row(vec![
            crate::output::figure(step.step),
            step.action.into(),
            step.object_kind.into(),
            step.object_name.into(),
            step.remark.into(),
        ]);
    }
    context.out.line(grid.text())
}
