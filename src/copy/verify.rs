//! Comparing the rows of a table here with those that the source had under a snapshot: their number, and a sum over a hash of each row's
//! text, which does not depend on their order.

use crate::catalog::tasks::Task;
use crate::catalog::user;
use crate::error::{Error, Result, SlotError};
use crate::pg::remote::Connection;
use crate::pg::{system, transaction};
use crate::source::state;
use steep_repl_core::ident::{qualified, qualified_display, quote_ident};
use steep_repl_core::lsn::Lsn;

/// What values look like must not depend on how a role or a database is configured.
const SETTINGS: &str = "SET LOCAL timezone = 'UTC'; SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 3";

/// The query that counts and sums; without contents it only counts.
fn query(task: &Task, contents: bool) -> String {
    let table = qualified(&task.table_schema, &task.table_name);
    let columns = task.columns.iter().map(|column| quote_ident(column)).collect::<Vec<_>>().join(", ");
    let sum = match contents && !task.columns.is_empty() {
        true => "coalesce(pg_catalog.sum(pg_catalog.hashtextextended(r::text, 0)), 0)::text",
        false => "''",
    };
    format!("SELECT pg_catalog.jsonb_build_array(pg_catalog.count(*), {sum})::text FROM (SELECT {columns} FROM ONLY {table}) AS r")
}

/// Compares a table; returns how many rows it has. [`SlotError::OtherRows`] when they are not the source's, [`Error::SnapshotLost`]
/// when the snapshot is not kept any more.
pub fn compare(connection: &Connection, task: &Task, snapshot: &str, at: Lsn) -> Result<i64> {
    let (name, context) = (qualified_display(&task.table_schema, &task.table_name), "could not compare a table");
    let there: (i64, String) = transaction::run_without_snapshot(|| {
        connection
            .execute(&state::begin_under(snapshot), "could not use the exported snapshot")
            .map_err(|error| error.of_snapshot_import(connection.node()))?;
        connection.execute(SETTINGS, context)?;
        let encoding = connection.value("SHOW server_encoding", context)?;
        let contents = encoding.is_some_and(|encoding| encoding == system::database_encoding());
        let found = connection.json(&query(task, contents), context)?.into_iter().next();
        connection.execute("COMMIT", context)?;
        found.ok_or_else(|| Error::internal("the source counted nothing"))
    })?;
    let contents = !there.1.is_empty();
    let here: (i64, String) = transaction::run(|| user::counted(SETTINGS, &query(task, contents)))?;
    let words = match (there == here, there.0 == here.0) {
        (true, _) => return Ok(here.0),
        (false, true) => format!("table {name}: {} rows, as on the source, but not the same", here.0),
        (false, false) => format!("table {name}: {} rows here, {} on the source", here.0, there.0),
    };
    Err(SlotError::OtherRows { node: connection.node().to_owned(), lsn: at, tables: vec![words] }.into())
}
