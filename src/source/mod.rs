//! What is asked of the source, and what is made there.
//!
//! Everything goes over plain connections of [`crate::pg::remote`]; the SQL stands in `sql/queries/source_*.sql` and runs on
//! PostgreSQL 14 and later without the extension. Names are quoted by the one helper; the source has no bound parameters over
//! this protocol.

pub mod backup;
pub mod dump;
pub mod preflight;
pub mod publication;
pub mod sequences;
pub mod slots;
pub mod state;
pub mod target_slots;

use crate::catalog::nodes::Node;
use crate::catalog::operations::Operation;
use crate::error::{Error, Result};
use crate::pg::remote::{Connection, Target};
use crate::pg::role;
use steep_repl_core::conninfo::Conninfo;
use steep_repl_core::names::{application_name, Part};

/// How to reach a node as the given role. 42501 when the node is somebody else's.
pub fn target(node: &Node, role: u32) -> Result<Target> {
    let superuser = role::is_superuser(role);
    if !role::has_rights_of(role, node.owner) {
        return Err(Error::NodeNotYours { node: node.node.clone(), owner: role::name_of(node.owner) });
    }
    let conninfo = parse(&node.node, &node.conninfo)?;
    check_conninfo(&node.node, &conninfo, superuser)?;
    Ok(Target { node: node.node.clone(), conninfo, must_use_password: !superuser })
}

/// Refuses a node that is not this database, with where to connect instead. 55000.
pub fn require_local(node: &Node) -> Result<()> {
    if node.is_local {
        return Ok(());
    }
    let target = parse(&node.node, &node.conninfo)?.describe();
    Err(Error::NodeNotLocal { node: node.node.clone(), target })
}

/// A connection string, or what is wrong with it; never a value of it.
pub fn parse(node: &str, conninfo: &str) -> Result<Conninfo> {
    Conninfo::parse(conninfo).map_err(|error| Error::Conninfo { node: node.to_owned(), reason: format!("{error}.") })
}

/// What a role that is no superuser may not put into a connection string, and what it must.
pub fn check_conninfo(node: &str, conninfo: &Conninfo, superuser: bool) -> Result<()> {
    if superuser {
        return Ok(());
    }
    let keywords: Vec<String> = conninfo.uses_server_files().into_iter().map(str::to_owned).collect();
    if !keywords.is_empty() {
        return Err(Error::ConninfoFiles { node: node.to_owned(), keywords });
    }
    if conninfo.get("password").is_none_or(str::is_empty) {
        return Err(Error::PasswordRequired { node: node.to_owned() });
    }
    Ok(())
}

/// Opens a plain connection to the source of an operation for one of its processes.
pub fn open(operation: &Operation, target: &Target, part: Part) -> Result<Connection> {
    Connection::open(target, &application_name(operation.token()?, part))
}
