//! `cancel`, `resume` and `confirm`.

use super::follow::{follow, operation, Followed};
use super::{init, Context};
use crate::failure::{Exit, Failure};
use std::time::{Duration, Instant};

/// A cancel is done within half a minute, whatever is in its way.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);

pub fn cancel(context: &Context, node: &str) -> Result<(), Failure> {
    let mut session = context.connector.node(node)?;
    context.confirm_by_name(
        node,
        &format!(
            "The operation on node \"{node}\" will be cancelled: what it has copied and made is taken away again."
        ),
    )?;
    let running = operation(&mut session, node)?;
    session.client().query("SELECT steep_repl.cancel_init($1)", &[&node])?;
    let what = Followed {
        node,
        operation: running.operation_id,
        deadline: Some(Instant::now() + CANCEL_LIMIT),
        may_cancel: false,
    };
    let (mut session, ended) = follow(context, session, &what)?;
    if ended.status != "cancelled" {
        return Err(Failure::new(
            Exit::Failed,
            format!("operation {} ended as {} before it could be cancelled", ended.operation_id, ended.status),
        ));
    }
    let left: i64 = session.value("SELECT count(*) FROM steep_repl.pending_cleanup WHERE node = $1", &[&node])?;
    if context.out.json {
        return context.out.value(&serde_json::json!({
            "node": node, "operation_id": ended.operation_id, "state": ended.state, "pending_cleanups": left
        }));
    }
    if left > 0 {
        return context.out.line(format!(
            "Operation {} on node {node} is cancelled. {left} things could not be taken away yet and are tried again: see steep_repl.pending_cleanup.",
            ended.operation_id
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
