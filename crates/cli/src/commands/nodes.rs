//! `nodes`: who is registered.

use super::Context;
use crate::args::Nodes;
use crate::failure::{Exit, Failure};
use crate::output::{many, message, word};
use crate::session::NO_NODE;

pub fn run(context: &Context, command: Nodes) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    match command {
        Nodes::List => {
            let nodes = session.nodes()?;
            if context.out.json {
                return context.out.value(&nodes);
            }
            if nodes.is_empty() {
                message(format!("hint: {NO_NODE}"));
                return Ok(());
            }
            let mut grid = context.out.table(&["NODE", "HERE", "STATE", "SOURCE", "OWNER", "CONNECTION"]);
            for node in nodes {
                grid.row(vec![
                    node.node.as_str().into(),
                    if node.is_local { "here" } else { "" }.into(),
                    word(node.known_state().unwrap_or("-")),
                    node.source.into(),
                    node.owner.into(),
                    node.conninfo.into(),
                ]);
            }
            context.out.line(grid.text())
        }
        Nodes::Add { node, conninfo, local } => {
            let conninfo = secret(conninfo)?;
            session
                .client()
                .query("SELECT steep_repl.register_node($1, $2, is_local => $3)", &[&node, &conninfo, &local])?;
            if context.out.json {
                context.out.value(&session.node(&node)?)
            } else {
                context.out.line(format!("Node {node} is registered."))
            }
        }
        Nodes::Alter { node, conninfo } => {
            session.require_function("alter_node")?;
            session.node(&node)?;
            let conninfo = secret(conninfo)?;
            let changed: i64 =
                session.client().query_one("SELECT steep_repl.alter_node($1, $2)", &[&node, &conninfo])?.try_get(0)?;
            if context.out.json {
                context.out.value(&session.node(&node)?)
            } else {
                let changed = many(usize::try_from(changed).unwrap_or_default(), "subscription");
                context.out.line(format!("Node {node} is altered, and {changed} with it."))
            }
        }
        Nodes::Remove { node } => {
            session.node(&node)?;
            context
                .confirm_by_name(&node, &format!("Node \"{node}\" will be unregistered; what replicates goes on."))?;
            session.client().query("SELECT steep_repl.unregister_node($1)", &[&node])?;
            if context.out.json {
                context.out.value(&serde_json::json!({ "node": node }))
            } else {
                context.out.line(format!("Node {node} is unregistered."))
            }
        }
    }
}

/// On a command line everybody can read a password who may list processes.
fn secret(conninfo: String) -> Result<String, Failure> {
    if conninfo == "-" {
        from_stdin()
    } else {
        Ok(conninfo)
    }
}

fn from_stdin() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| {
        Failure::new(Exit::Failed, "could not read the connection string").detail(error.to_string())
    })?;
    match line.trim() {
        "" => Err(Failure::usage("there is no connection string on stdin")),
        line => Ok(line.to_owned()),
    }
}
