//! One database, and the small things that tests do with it.

use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use postgres::types::FromSqlOwned;
use postgres::{Client, SimpleQueryMessage};

use crate::cluster::Cluster;
use crate::root;

/// A database of a cluster.
#[derive(Clone, Debug)]
pub struct Db {
    cluster: Arc<Cluster>,
    name: String,
}

impl Db {
    /// The database of that name, which must exist before it is used.
    pub fn new(cluster: Arc<Cluster>, name: &str) -> Self {
        Db { cluster, name: name.into() }
    }

    /// The cluster it is in.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A libpq connection string over the socket.
    pub fn conninfo(&self) -> String {
        self.cluster.conninfo(&self.name)
    }

    /// A new session as superuser.
    pub fn connect(&self) -> Client {
        self.cluster.connect(&self.name)
    }

    /// Runs statements (several make one transaction) in a session of their own.
    pub fn try_exec(&self, sql: &str) -> Result<(), postgres::Error> {
        self.connect().batch_execute(sql)
    }

    /// Runs statements that must work.
    pub fn exec(&self, sql: &str) {
        if let Err(error) = self.try_exec(sql) {
            panic!("in {}: {}\nstatement: {}", self.name, describe(&error), excerpt(sql));
        }
    }

    /// Runs each statement in a transaction of its own, as VACUUM and CREATE INDEX CONCURRENTLY need it.
    pub fn exec_each(&self, statements: &[&str]) {
        let mut client = self.connect();
        for sql in statements {
            if let Err(error) = client.batch_execute(sql) {
                panic!("in {}: {}\nstatement: {}", self.name, describe(&error), excerpt(sql));
            }
        }
    }

    /// The one value of a query that must work and give one row.
    pub fn scalar<T: FromSqlOwned>(&self, sql: &str) -> T {
        match self.connect().query_one(sql, &[]).and_then(|row| row.try_get(0)) {
            Ok(value) => value,
            Err(error) => panic!("in {}: {}\nquery: {}", self.name, describe(&error), excerpt(sql)),
        }
    }

    /// The rows of a query as text, columns joined by ` | `, nulls as `~`.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        let messages = match self.connect().simple_query(sql) {
            Ok(messages) => messages,
            Err(error) => panic!("in {}: {}\nquery: {}", self.name, describe(&error), excerpt(sql)),
        };
        let text = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or("~")).collect::<Vec<_>>().join(" | "))
            }
            _ => None,
        };
        messages.iter().filter_map(text).collect()
    }

    /// The schema as pg_dump of `programs`' version writes it.
    pub fn dump_schema(&self, programs: &Cluster, options: &[&str]) -> String {
        let mut command = root::server_command(&programs.installation().program("pg_dump"));
        command
            .args(["-s", "-E", "UTF8", "--no-publications", "--no-subscriptions", "-d", &self.conninfo()])
            .args(options);
        crate::installation::output(&mut command)
    }

    /// The whole database as pg_dump writes it.
    pub fn dump(&self, options: &[&str]) -> String {
        let mut command = root::server_command(&self.cluster.installation().program("pg_dump"));
        crate::installation::output(command.args(["-E", "UTF8", "-d", &self.conninfo()]).args(options))
    }

    /// Runs a script through psql, which must not fail.
    pub fn psql(&self, script: &str) {
        use std::io::Write;
        let mut command = root::server_command(&self.cluster.installation().program("psql"));
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-d", &self.conninfo()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run psql: {error}"));
        if let Some(mut stdin) = child.stdin.take() {
            // An error here means that psql left early, which its status tells better.
            let _ = stdin.write_all(script.as_bytes());
        }
        let result = child.wait_with_output().unwrap_or_else(|error| panic!("psql: {error}"));
        if !result.status.success() {
            panic!("psql in {}: {}", self.name, String::from_utf8_lossy(&result.stderr));
        }
    }

    /// Makes this database's schema the same as `source`'s, as pg_dump and psql do it.
    pub fn copy_schema_from(&self, source: &Db) {
        self.psql(&source.dump_schema(&self.cluster, &[]));
    }

    /// Drops the database, whoever uses it; tells what went wrong.
    pub fn drop_database(&self) -> Result<(), String> {
        let mut client = self.cluster.connect("postgres");
        let sql = format!("drop database if exists {} with (force)", quote_ident(&self.name));
        client.batch_execute(&sql).map_err(|error| format!("{sql}: {}", describe(&error)))
    }
}

/// A name as SQL takes it, quoted always.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A value as a libpq connection string takes it.
pub fn conninfo_value(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// An error with everything the server said.
pub fn describe(error: &postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        return error.to_string();
    };
    let mut text = format!("{} {}: {}", db.severity(), db.code().code(), db.message());
    for (label, part) in [("DETAIL", db.detail()), ("HINT", db.hint()), ("WHERE", db.where_())] {
        if let Some(part) = part {
            let _ = write!(text, "\n{label}: {part}");
        }
    }
    text
}

fn excerpt(sql: &str) -> String {
    if sql.chars().count() <= 600 {
        return sql.to_string();
    }
    format!("{} ...", sql.chars().take(600).collect::<String>())
}
