//! A table by pg_dump: which program is run, and how it reads under the same snapshot as everybody else.

use crate::catalog::tasks::Task;
use crate::catalog::user;
use crate::error::{Error, ProgramError, Result};
use crate::pg::dumped::Dumped;
use crate::pg::program::{self, PrivateDirectory};
use crate::pg::remote::{Connection, Target};
use crate::pg::{role, system};
use crate::source::dump::{self, Reach};
use std::collections::BTreeSet;
use steep_repl_core::ident::{qualified, quote_ident};
use steep_repl_core::names::{application_name, Part, Token};

/// How pg_dump reaches the source, for a copy worker.
pub struct Dumping<'a> {
    /// Where the source is.
    pub target: &'a Target,
    /// Identity of the operation.
    pub token: Token,
    /// Number of the worker.
    pub number: u32,
}

/// A pg_dump of one table that runs.
pub struct Dump {
    /// Columns in the order of the rows.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Dumped,
    /// Gone after the program.
    _private: PrivateDirectory,
}

impl Dumping<'_> {
    /// Starts a pg_dump of the rows of a task's table, and waits until it begins with them.
    pub fn start(&self, task: &Task, snapshot: &str) -> Result<Dump> {
        if !user::may_run_programs()? {
            let role = role::name_of(role::current());
            return Err(Error::RightsHere {
                lacks: "may not have programs of the server run".to_owned(),
                hint: format!("GRANT pg_execute_server_program TO {role};"),
                role,
            });
        }
        let path = dump::check_program()?;
        let private = PrivateDirectory::new()?;
        let reach = Reach::of(self.target, &application_name(self.token, Part::TableDump(self.number)), &private)?;
        let arguments = arguments(task, snapshot, &system::database_encoding(), &reach.conninfo.to_string());
        let running = program::start(&path, &arguments, &reach.environment(), &private)?;
        let what = format!("dump table {}", qualified(&task.table_schema, &task.table_name));
        let mut rows = Dumped::new(running, what, self.target.node.clone());
        let columns = rows.columns()?;
        let (dumped, wanted): (BTreeSet<&String>, BTreeSet<&String>) =
            (columns.iter().collect(), task.columns.iter().collect());
        if dumped != wanted {
            let lacking = wanted.symmetric_difference(&dumped).map(|name| quote_ident(name)).collect::<Vec<_>>();
            let table = qualified(&task.table_schema, &task.table_name);
            return Err(Error::Program(ProgramError::LargeTables {
                method: "pg_dump",
                reason: format!(
                    "What pg_dump writes of table {table} and what is copied of it differ in columns {}.",
                    lacking.join(", ")
                ),
                hint: "Use large_table_method => 'copy'.".to_owned(),
            }));
        }
        Ok(Dump { columns, rows, _private: private })
    }

    /// Why a pg_dump has failed: it says that in words alone, so the source is asked for a sign of life.
    pub fn judge(&self, connection: &Connection, error: Error) -> Error {
        let by_program = matches!(&error, Error::Program(ProgramError::Failed { .. }));
        match connection.value("SELECT 1::text", "could not ask for a sign of life") {
            Err(away) if by_program => away,
            _ => error,
        }
    }
}

fn arguments(task: &Task, snapshot: &str, encoding: &str, conninfo: &str) -> Vec<String> {
    // A pattern in double quotes stands for itself alone.
    let table = format!("{}.{}", quoted(&task.table_schema), quoted(&task.table_name));
    [
        "--data-only",
        "--format=plain",
        "--no-password",
        "--no-sync",
        "--strict-names",
        &format!("--snapshot={snapshot}"),
        &format!("--encoding={encoding}"),
        &format!("--lock-wait-timeout={}", dump::LOCK_LIMIT),
        &format!("--table={table}"),
        "--dbname",
        conninfo,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn every_name_is_quoted() {
        assert_eq!(quoted("t"), "\"t\"");
        assert_eq!(quoted("We\"ird*"), "\"We\"\"ird*\"");
    }
}
