//! `status`: all nodes, or one with its tables.

use super::{display, tables, Context};
use crate::failure::Failure;
use crate::output::{message, plain, word};
use crate::rows::{Node, Progress, Table};
use crate::session::{Session, NO_NODE};
use crate::words::bytes;
use serde::Serialize;

/// What `status --json` gives of each node.
#[derive(Serialize)]
pub(super) struct Status {
    #[serde(flatten)]
    node: Node,
    /// Of its newest operation.
    progress: Option<Progress>,
}

/// What `status NODE --json` gives.
#[derive(Serialize)]
pub(super) struct Detailed {
    #[serde(flatten)]
    status: Status,
    tables: Vec<Table>,
}

pub fn run(context: &Context, node: Option<&str>) -> Result<(), Failure> {
    match node {
        None => all(context),
        Some(name) => one(context, name),
    }
}

/// Nodes as the database that is connected to knows them.
fn statuses(session: &mut Session) -> Result<Vec<Status>, Failure> {
    let mut progress: Vec<Progress> = session.rows(include_str!("../../sql/progress.sql"), &[])?;
    let mut with = |node: &Node| {
        let place = progress.iter().position(|one| one.node == node.node);
        place.map(|place| progress.swap_remove(place))
    };
    Ok(session.nodes()?.into_iter().map(|node| Status { progress: with(&node), node }).collect())
}

fn all(context: &Context) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    let statuses = statuses(&mut session)?;
    if context.out.json {
        return context.out.value(&statuses);
    }
    if statuses.is_empty() {
        message(format!("hint: {NO_NODE}"));
        return Ok(());
    }
    let mut grid = context.out.table(&["NODE", "STATE", "SOURCE", "PROGRESS", "LAG", "HEALTH", "REMARK"]);
    for Status { node, progress } in &statuses {
        let progress = progress.as_ref();
        let running = progress.filter(|_| is_at_work(node));
        grid.row(vec![
            node.node.as_str().into(),
            word(node.known_state().unwrap_or("-")),
            node.source.clone().into(),
            running.map(|one| format!("{} {:.1} %", one.phase, one.overall_percent)).into(),
            progress.and_then(|one| one.lag_bytes).map(|lag| bytes(lag as f64)).into(),
            word(&node.health),
            node.last_error.as_deref().or(node.notice.as_deref()).map(|text| plain(text).replace('\n', " ")).into(),
        ]);
    }
    context.out.line(grid.text())
}

fn is_at_work(node: &Node) -> bool {
    node.operation_status.as_deref().is_some_and(|status| !matches!(status, "completed" | "cancelled"))
}

fn one(context: &Context, name: &str) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    let known = session.node(name)?;
    if !known.is_local {
        match context.connector.node(name) {
            Ok(there) => session = there,
            // A source needs no extension, and then it has nothing to say; what is known of it here is all there is.
            Err(failure) => {
                message(format!(
                    "steep-repl: warning: what is known of node \"{name}\" here is shown; {}",
                    failure.message
                ));
            }
        }
    }
    let found = statuses(&mut session)?.into_iter().find(|status| status.node.node == name);
    let status = found.unwrap_or(Status { node: known, progress: None });
    let tables: Vec<Table> = match status.node.operation_id {
        Some(operation) => session.rows(include_str!("../../sql/tables.sql"), &[&operation])?,
        None => Vec::new(),
    };
    if context.out.json {
        return context.out.value(&Detailed { status, tables });
    }
    let node = &status.node;
    let mut grid = context.out.table(&["node", &node.node]);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            grid.row(vec![name.into(), value.into()]);
        }
    };
    grid_lines(node, status.progress.as_ref(), &mut line);
    context.out.line(grid.text())?;
    if !tables.is_empty() {
        context.out.line("")?;
        tables::show(context, &tables)?;
    }
    Ok(())
}

fn grid_lines(node: &Node, progress: Option<&Progress>, line: &mut impl FnMut(&str, Option<String>)) {
    line("state", Some(node.known_state().unwrap_or("-").to_owned()));
    line("health", Some(node.health.clone()));
    line("source", node.source.clone());
    line("connection", Some(node.conninfo.clone()));
    line("notice", node.notice.clone());
    if let Some(progress) = progress {
        line("operation", Some(format!("{} ({}, {})", progress.operation_id, progress.kind, progress.method)));
        line("progress", Some(display::words(progress)));
        line("started", progress.started_at.clone());
        line("expected end", progress.eta.clone());
    }
    line(
        "last error",
        node.last_error.as_ref().map(|error| match &node.sqlstate {
            Some(sqlstate) => format!("{error} (SQLSTATE {sqlstate})"),
            None => error.clone(),
        }),
    );
    line("detail", node.detail.clone());
    line("hint", node.hint.clone());
    line(
        "not replicated",
        node.tables_not_subscribed.as_ref().filter(|tables| !tables.is_empty()).map(|tables| tables.join(", ")),
    );
}
