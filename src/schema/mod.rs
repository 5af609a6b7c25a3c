//! The tables of both sides: which are to be copied, whether they match, whether they changed.
//!
//! The comparing is pure and lives in `steep_repl_core`; here it is fed with what one catalog query says on either node.

pub mod compare;
pub mod joining;
mod plan;
pub mod side;
pub mod sync;

pub use plan::{choose, Chosen, Joins, Plan, Request, Sides, LEFT_OUT};

use crate::catalog::operations::PlannedTable;
use crate::catalog::{indexes, user};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use steep_repl_core::inventory::Table;
use steep_repl_core::schema_match::match_columns;
use steep_repl_core::schema_sync::Mode;

/// The tables of the source, with sizes where they are wanted.
pub fn source_inventory(connection: &Connection, with_sizes: bool) -> Result<Vec<Table>> {
    connection.json(&user::inventory_query(with_sizes), "could not read the tables")
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

/// Compares the planned tables once more with what both sides are now; each difference in words. Other types are none where somebody
/// has let them through.
pub fn changed_since(connection: &Connection, planned: &[PlannedTable], mode: Mode) -> Result<Vec<String>> {
    let source = index(source_inventory(connection, false)?);
    let target = index(user::inventory()?);
    let mut differences = Vec::new();
    for table in planned {
        let key = (table.table_schema.clone(), table.table_name.clone());
        match source.get(&key) {
            None => differences.push(format!(
                "table {} is not on the source any more",
                steep_repl_core::ident::qualified(&key.0, &key.1)
            )),
            Some(there) => differences.extend(
                match_columns(there, target.get(&key))
                    .iter()
                    .filter(|one| if mode == Mode::Manual { one.stops_copy() } else { one.is_blocking() })
                    .map(ToString::to_string)
                    .chain(appeared(there, table))
                    .chain(replaced(there, table)),
            ),
        }
    }
    Ok(differences)
}

/// Columns that the source has now and the plan did not copy: rows copied before are without them.
fn appeared<'a>(there: &'a Table, planned: &'a PlannedTable) -> impl Iterator<Item = String> + 'a {
    there
        .copied_columns()
        .filter(|column| !planned.columns.contains(&column.name))
        .map(|column| format!("column {} of table {} was added on the source", column.name, there.qualified_display()))
}

/// Columns that were dropped and added again under their name: rows copied before have the old one's values.
fn replaced<'a>(there: &'a Table, planned: &'a PlannedTable) -> impl Iterator<Item = String> + 'a {
    planned.columns.iter().zip(&planned.column_numbers).filter_map(|(name, number)| {
        there.column(name).filter(|column| column.number != *number).map(|column| {
            format!("column {} of table {} was replaced on the source", column.name, there.qualified_display())
        })
    })
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
