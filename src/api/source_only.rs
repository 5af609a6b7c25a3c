//! What must hold of a source when something is made of it for whoever comes later: a slot for a backup, a portable snapshot. There is no
//! node yet that it could be compared with.

use super::checks::{check_source, connect, say_retention, Strict};
use super::init::parse_no_identity;
use super::surroundings::check_transactions;
use crate::catalog::nodes::Node;
use crate::catalog::operations::Options;
use crate::error::Result;
use crate::pg::raise;
use crate::pg::remote::Connection;
use crate::schema::{self, Plan, Request};
use crate::source::{preflight, publication};
use steep_repl_core::names::Token;

/// A source that something is to be made of.
pub(super) struct Wanted<'a> {
    /// The node.
    pub node: &'a Node,
    /// The operation that does it.
    pub token: Token,
    /// A publication of the user's.
    pub publication: Option<&'a str>,
    /// Everything else, resolved.
    pub options: &'a Options,
    /// Whether sizes are needed: no table may be locked then.
    pub with_sizes: bool,
    /// What is lost when the slot is.
    pub at_stake: &'static str,
}

/// Connects, and looks at the server.
pub(super) fn check(wanted: &Wanted) -> Result<(Connection, preflight::Source)> {
    let connection = connect(wanted.node, wanted.token, wanted.options)?;
    let said = preflight::ask(&connection)?;
    let node = wanted.node.node.as_str();
    preflight::check_version(node, &said)?;
    check_source(&mut Strict, node, &said, wanted.publication.is_none(), false)?;
    say_retention(&mut Strict, &said, wanted.at_stake);
    Ok((connection, said))
}

/// Makes the plan: the tables as they are there.
pub(super) fn plan(wanted: &Wanted, connection: &Connection, said: &preflight::Source) -> Result<Plan> {
    let (node, options) = (wanted.node.node.as_str(), wanted.options);
    check_transactions(&mut Strict, node, connection)?;
    let inventory = schema::source_inventory(connection, wanted.with_sizes)?;
    let request = Request {
        node,
        source: node,
        schemas: options.schemas.as_deref(),
        tables: options.tables.as_deref(),
        no_identity: parse_no_identity(&options.no_identity)?,
        small_below: crate::coordinator::SMALL_BELOW,
        joins: None,
    };
    let chosen = schema::choose(&request, &inventory, &inventory)?;
    chosen.check_identity()?;
    let plan = chosen.plan();
    let relids: Vec<u32> = plan.chosen.iter().map(|(oid, ..)| *oid).collect();
    preflight::check_tables(connection, node, said, &relids, wanted.publication.is_none())?;
    if let Some(name) = wanted.publication {
        publication::check(connection, node, name, &plan.leaves())?;
    }
    if !plan.left_out.is_empty() {
        raise::notice(&format!("left out: {}", plan.left_out.join(", ")));
    }
    Ok(plan)
}
