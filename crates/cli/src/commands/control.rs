//! `cancel`, `resume` and `confirm`.

use super::follow::{self, follow, operation, Followed};
use super::{init, Context};
use crate::failure::{Exit, Failure};
use crate::output::{many, message, plain};
use std::time::{Duration, Instant};

/// The server needs at most half a minute, whatever is in its way.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);

/// What a cancelled operation has left behind so far.
#[derive(serde::Deserialize)]
struct Left {
    kind: String,
    error: Option<String>,
}

pub fn cancel(context: &Context, node: &str) -> Result<(), Failure> {
    let mut session = context.connector.node(node)?;
    let running = operation(&mut session, node)?;
    let id = running.operation_id;
    context.confirm_by_name(
        node,
        &format!(
            "Operation {id} on node \"{node}\" ({} from {}, {}) will be cancelled: what it has copied and made is taken away again.",
            running.kind, running.source, running.status
        ),
    )?;
    follow::cancel(&mut session, node, id)?;
    let what = Followed {
        node,
        operation: id,
        deadline: Some(Instant::now() + CANCEL_LIMIT),
        may_cancel: false,
        otherwise: "is being cancelled",
    };
    let (mut session, ended) = follow(context, session, &what)?;
    if ended.status != "cancelled" {
        return Err(Failure::new(
            Exit::Failed,
            format!("operation {} ended as {} before it could be cancelled", ended.operation_id, ended.status),
        ));
    }
    let left: Vec<Left> = session.rows(include_str!("../../sql/left.sql"), &[&node])?;
    for Left { kind, error } in &left {
        let why = plain(error.as_deref().unwrap_or("it is being tried")).replace('\n', " ");
        message(format!("steep-repl: warning: not taken away yet ({kind}): {why}"));
    }
    if context.out.json {
        return context.out.value(&serde_json::json!({
            "node": node, "operation_id": ended.operation_id, "state": ended.state, "pending_cleanups": left.len()
        }));
    }
    if !left.is_empty() {
        return context.out.line(format!(
            "Operation {id} on node {node} is cancelled. {} could not be taken away yet and will be tried again: see steep_repl.pending_cleanup.",
            many(left.len(), "thing")
        ));
    }
    context
        .out
        .line(format!("Operation {} on node {node} is cancelled, and what it had made is gone.", ended.operation_id))
}

pub fn resume(context: &Context, node: &str, follow: bool) -> Result<(), Failure> {
    let mut session = context.connector.node(node)?;
    let operation: i64 = session.value("SELECT steep_repl.resume_init($1)", &[&node])?;
    init::started(context, session, node, operation, !follow)
}

pub fn confirm(context: &Context, node: &str) -> Result<(), Failure> {
    let mut session = context.connector.node(node)?;
    let operation: i64 = session.value("SELECT steep_repl.confirm_init($1)", &[&node])?;
    init::started(context, session, node, operation, true)
}
