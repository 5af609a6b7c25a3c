//! The tables of both sides: which are to be copied, whether they match, whether they changed.
//!
//! The comparing is pure and lives in `steep_repl_core`; here it is fed with what one catalog query says on either node.

pub mod compare;
pub mod drift;
pub mod joining;
mod plan;
pub mod side;
pub mod sync;

pub use plan::{choose, Chosen, Joins, Plan, Request, Sides, LEFT_OUT};

use crate::catalog::operations::PlannedTable;
use crate::catalog::sync::AsIs;
use crate::catalog::{indexes, user};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use steep_repl_core::inventory::Table;

/// How long a lock on the source is waited for while sizes are asked for, in milliseconds.
const LOCK_LIMIT_MS: u32 = 5_000;

/// The tables of the source, with sizes where they are wanted. 55P03 when somebody has one of them locked then.
pub fn source_inventory(connection: &Connection, with_sizes: bool) -> Result<Vec<Table>> {
    let (query, context) = (user::inventory_query(with_sizes), "could not read the tables");
    if !with_sizes {
        return connection.json(&query, context);
    }
    connection.execute(&format!("SET lock_timeout = {LOCK_LIMIT_MS}"), context)?;
    let outcome = connection.json(&query, context);
    connection.execute("SET lock_timeout = 0", context)?;
    outcome.map_err(|error| match connection.json(user::LOCKED_TABLES, context) {
        Ok(locked) if error.problem().sqlstate == user::LOCK_NOT_AVAILABLE => busy(&locked, connection.node(), error),
        _ => error,
    })
}

/// The error of a lock that was waited for in vain, with the tables that are locked.
fn busy(locked: &[(String, String)], node: &str, error: Error) -> Error {
    let names: Vec<String> =
        locked.iter().map(|(schema, name)| steep_repl_core::ident::qualified_display(schema, name)).collect();
    if names.is_empty() {
        return error;
    }
    Error::TableBusy { table: format!("{} on node \"{node}\"", names.join(", ")) }
}

/// The plan of what is chosen, with what this database says of its tables.
pub fn planned(chosen: &Chosen) -> Result<Plan> {
    let mut plan = chosen.plan();
    let relids: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let suspended = indexes::suspended_elsewhere(&relids)?;
    // However little they hold now: their indexes have to be built.
    for table in plan.tables.iter_mut().filter(|table| suspended.contains(&table.relid)) {
        (table.small, table.keeps_indexes) = (false, false);
    }
    Ok(plan)
}

fn index(tables: Vec<Table>) -> std::collections::HashMap<(String, String), Table> {
    tables.into_iter().map(|table| ((table.schema.clone(), table.name.clone()), table)).collect()
}

/// OIDs that the planned tables have on the source now, in their order.
pub fn oids_now(connection: &Connection, planned: &[PlannedTable]) -> Result<Vec<u32>> {
    let source = index(source_inventory(connection, false)?);
    planned
        .iter()
        .map(|table| {
            source
                .get(&(table.table_schema.clone(), table.table_name.clone()))
                .map(|table| table.oid)
                .ok_or_else(|| Error::internal(format!("table {} is gone", table.table_name)))
        })
        .collect()
}

/// What the planned tables are on the source now; those that it does not have are left out.
pub fn as_is(connection: &Connection, planned: &[PlannedTable]) -> Result<Vec<AsIs>> {
    let source = index(source_inventory(connection, false)?);
    Ok(planned
        .iter()
        .filter_map(|table| {
            let there = source.get(&(table.table_schema.clone(), table.table_name.clone()))?;
            Some(AsIs { relid: table.relid, filenode: there.filenode, natts: there.natts })
        })
        .collect())
}

/// Planned tables that are not the ones here any more that rows were copied into, in words.
pub fn replaced_here(planned: &[PlannedTable]) -> Result<Vec<String>> {
    let relids: Vec<u32> = planned.iter().map(|table| table.relid).collect();
    let now = user::names_now(&relids)?;
    Ok(planned
        .iter()
        .filter(|table| {
            !now.iter().any(|(relid, schema, name)| {
                *relid == table.relid && *schema == table.table_schema && *name == table.table_name
            })
        })
        .map(|table| {
            let name = steep_repl_core::ident::qualified_display(&table.table_schema, &table.table_name);
            format!("table {name} was renamed, or dropped and made again, on this node")
        })
        .collect())
}
