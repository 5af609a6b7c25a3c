//! Tables of an operation: while it runs, and what they took in the end.

use super::Context;
use crate::failure::Failure;
use crate::output::{count, figure, many, word};
use crate::rows::{Operation, Table};
use crate::session::{Params, Session};
use crate::words::{bytes, duration};
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// What `init --json` gives at the end.
#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    operation: &'a Operation,
    tables: &'a [Table],
}

fn rate(bytes_done: i64, copy_ms: Option<f64>) -> String {
    match copy_ms.filter(|ms| *ms > 0.0) {
        Some(ms) => format!("{}/s", bytes(bytes_done as f64 * 1000.0 / ms)),
        None => String::new(),
    }
}

/// Milliseconds in words, with tenths of seconds where these tell something.
pub fn time(ms: f64) -> String {
    if ms < 60_000.0 {
        format!("{:.1}s", ms / 1000.0)
    } else {
        duration((ms / 1000.0).round() as i64)
    }
}

/// Tables, one a line.
pub fn show(context: &Context, tables: &[Table]) -> Result<(), Failure> {
    let mut grid = context.out.table(&["TABLE", "STATUS", "DONE", "ROWS", "SIZE", "COPY", "INDEX", "RATE", "ERROR"]);
    for table in tables {
        grid.row(vec![
            table.qualified().into(),
            word(&table.status),
            figure(format!("{:.1} %", table.percent)),
            figure(count(table.rows_done)),
            figure(bytes(table.bytes_total as f64)),
            figure(table.copy_ms.map(time).unwrap_or_default()),
            figure(table.index_ms.map(time).unwrap_or_default()),
            figure(rate(table.bytes_done, table.copy_ms)),
            table.error.clone().into(),
        ]);
    }
    context.out.line(grid.text())
}

/// What an operation has done.
pub fn summary(context: &Context, session: &mut Session, operation: &Operation) -> Result<(), Failure> {
    let tables: Vec<Table> = session.rows(include_str!("../../sql/tables.sql"), &[&operation.operation_id])?;
    if context.out.json {
        return context.out.value(&Summary { operation, tables: &tables });
    }
    if !tables.is_empty() {
        show(context, &tables)?;
        context.out.line("")?;
    }
    let took = operation.duration_seconds.unwrap_or_default();
    let mut words = format!(
        "Node {} is {}: {} rows, {} in {}, {}",
        operation.node,
        operation.state,
        count(operation.rows_done),
        bytes(operation.bytes_done as f64),
        many(tables.len(), "table"),
        duration((took).round() as i64)
    );
    if took > 0.0 {
        words.push_str(&format!(" ({}/s)", bytes(operation.bytes_done as f64 / took)));
    }
    if let Some(lag) = operation.lag_bytes {
        words.push_str(&format!("; {} behind its source", bytes(lag as f64)));
    }
    context.out.line(words + ".")
}

/// Rows of whatever columns, as the server gives them.
pub fn any(context: &Context, session: &mut Session, query: &str, params: Params) -> Result<(), Failure> {
    let rows: Vec<Map<String, Json>> = session.rows(query, params)?;
    if context.out.json {
        return context.out.value(&rows);
    }
    let Some(first) = rows.first() else { return context.out.line("Nothing.") };
    let names: Vec<String> = first.keys().cloned().collect();
    let mut grid = context.out.table(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &rows {
        grid.row(
            names
                .iter()
                .map(|name| match row.get(name) {
                    None | Some(Json::Null) => "".into(),
                    Some(Json::String(text)) => text.as_str().into(),
                    Some(Json::Number(number)) => figure(number),
                    Some(other) => other.to_string().into(),
                })
                .collect(),
        );
    }
    context.out.line(grid.text())
}
