//! `reinit` and `refresh`: tables of a node that is in use.

use super::{init, Context};
use crate::args::{NoIdentity, Refresh, Reinit};
use crate::failure::Failure;

pub fn reinit(context: &Context, options: Reinit) -> Result<(), Failure> {
    let node = options.node;
    let mut session = context.connector.node(&node)?;
    let (function, what) = match (&options.what.tables, &options.what.schema) {
        (Some(tables), _) => (
            "reinit_tables",
            format!("Tables {} of node \"{node}\" will be emptied and copied again.", tables.join(", ")),
        ),
        (_, Some(schema)) => (
            "reinit_schema",
            format!("All tables of schema {schema} of node \"{node}\" will be emptied and copied again."),
        ),
        _ => ("reinit_node", format!("All tables of node \"{node}\" will be emptied and copied again.")),
    };
    session.require_function(function)?;
    context.confirm_by_name(&node, &what)?;
    let operation: i64 = match (options.what.tables, options.what.schema) {
        (Some(tables), _) => session.value("SELECT steep_repl.reinit_tables($1, $2)", &[&node, &tables])?,
        (_, Some(schema)) => session.value("SELECT steep_repl.reinit_schema($1, $2)", &[&node, &schema])?,
        _ => session.value("SELECT steep_repl.reinit_node($1)", &[&node])?,
    };
    init::started(context, session, &node, operation, options.detach)
}

pub fn refresh(context: &Context, options: Refresh) -> Result<(), Failure> {
    let node = options.node;
    let mut session = context.connector.node(&node)?;
    if options.force {
        context.confirm_by_name(
            &node,
            &format!("Tables of node \"{node}\" that hold rows and are to join will be emptied."),
        )?;
    }
    let operation: Option<i64> = session.value(
        "SELECT steep_repl.refresh_tables(node => $1, tables => $2, force => $3, no_identity => $4)",
        &[&node, &options.tables, &options.force, &options.no_identity.map(NoIdentity::as_str)],
    )?;
    match operation {
        Some(operation) => init::started(context, session, &node, operation, options.detach),
        None if context.out.json => context.out.value(&serde_json::json!({ "node": node, "operation_id": null })),
        None => context.out.line(format!("Node {node} replicates all tables of its source already.")),
    }
}
