//! A connection to a node that has the extension, and the way from there to the others.

use crate::config::{nearest, Config};
use crate::connect::{self, Hearing, Prompt};
use crate::conninfo::{Conninfo, Given};
use crate::failure::{Exit, Failure};
use crate::output::{message, plain};
use crate::rows::{read, Node};
use postgres::error::DbError;
use postgres::types::ToSql;
use postgres::{Client, IsolationLevel, Transaction};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A query's parameters.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An open connection.
pub struct Session {
    client: Client,
    conninfo: Conninfo,
    /// Version of the extension there.
    extension: String,
}

/// What stands in `sql/server.sql`.
#[derive(serde::Deserialize)]
struct Server {
    extension_version: Option<String>,
    is_available: bool,
}

impl Session {
    /// Connects, and looks whether the extension is there. Notices of the server are dropped.
    ///
    /// # Errors
    /// Exit code 6 without a connection, 1 without the extension.
    pub fn open(conninfo: &Conninfo, prompt: Prompt) -> Result<Session, Failure> {
        Session::open_hearing(conninfo, prompt, Arc::new(|_| ()))
    }

    /// Connects, and looks whether the extension is there. Notices of the server go to `hearing`.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_hearing(conninfo: &Conninfo, prompt: Prompt, hearing: Hearing) -> Result<Session, Failure> {
        let (mut session, server) = Session::connect(conninfo, prompt, hearing)?;
        let Some(version) = server.extension_version else {
            return Err(without_extension(conninfo, &server));
        };
        session.extension = version;
        Ok(session)
    }

    /// Connects, begins a transaction, and makes the extension in it when it is not there.
    ///
    /// # Errors
    /// As [`Session::open`], and what CREATE EXTENSION fails with.
    pub fn begin(conninfo: &Conninfo, prompt: Prompt) -> Result<Session, Failure> {
        let (mut session, server) = Session::connect(conninfo, prompt, Arc::new(say))?;
        session.client.batch_execute("BEGIN")?;
        if server.extension_version.is_none() {
            if !server.is_available {
                return Err(without_extension(conninfo, &server));
            }
            session.client.batch_execute("CREATE EXTENSION steep_repl")?;
        }
        let server: Vec<Server> = session.rows(include_str!("../sql/server.sql"), &[])?;
        session.extension = server.into_iter().find_map(|server| server.extension_version).unwrap_or_default();
        Ok(session)
    }

    fn connect(conninfo: &Conninfo, prompt: Prompt, hearing: Hearing) -> Result<(Session, Server), Failure> {
        let client = connect::open_hearing(conninfo, prompt, hearing)?;
        let mut session = Session { client, conninfo: conninfo.clone(), extension: String::new() };
        // What is read must not depend on the role's settings.
        session
            .client
            .batch_execute("SET datestyle = 'ISO'; SET search_path = pg_catalog; SET statement_timeout = 0")?;
        let mut server: Vec<Server> = session.rows(include_str!("../sql/server.sql"), &[])?;
        let server = server.pop().ok_or_else(|| Failure::new(Exit::Failed, "the server did not say what it is"))?;
        Ok((session, server))
    }

    /// Where it is connected to.
    pub fn conninfo(&self) -> &Conninfo {
        &self.conninfo
    }

    /// Version of the extension.
    pub fn extension_version(&self) -> &str {
        &self.extension
    }

    /// The connection itself.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Runs a query, and reads its rows.
    ///
    /// # Errors
    /// What the server says.
    pub fn rows<T: DeserializeOwned>(&mut self, query: &str, params: Params) -> Result<Vec<T>, Failure> {
        let query = format!("SELECT pg_catalog.row_to_json(r)::text FROM (\n{query}\n) AS r");
        self.client.query(&query, params)?.iter().map(|row| read(row.try_get(0)?)).collect()
    }

    /// The value of a function that returns one.
    ///
    /// # Errors
    /// What the server says.
    pub fn value<T: postgres::types::FromSqlOwned>(&mut self, query: &str, params: Params) -> Result<T, Failure> {
        Ok(self.client.query_one(query, params)?.try_get(0)?)
    }

    /// Refuses what the server's version of the extension does not have.
    ///
    /// # Errors
    /// Exit code 1.
    pub fn require_function(&mut self, name: &str) -> Result<(), Failure> {
        if !self.client.query(include_str!("../sql/functions.sql"), &[&name])?.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, format!("the server does not have steep_repl.{name}() yet"))
            .detail(format!("Its extension has version {}.", self.extension))
            .hint("It comes with a later version: install that on the server, then run ALTER EXTENSION steep_repl UPDATE."))
    }

    /// Registered nodes, by name.
    ///
    /// # Errors
    /// What the server says.
    pub fn nodes(&mut self) -> Result<Vec<Node>, Failure> {
        self.rows(include_str!("../sql/nodes.sql"), &[])
    }

    /// One of them.
    ///
    /// # Errors
    /// Exit code 2 when there is none of this name, with the name that was probably meant.
    pub fn node(&mut self, name: &str) -> Result<Node, Failure> {
        let nodes = self.nodes()?;
        match nodes.iter().find(|node| node.node == name) {
            Some(node) => Ok(node.clone()),
            None => Err(unknown_node(name, nodes.iter().map(|node| node.node.as_str()))),
        }
    }
}

/// Does something to the newest operation of a node, provided that it is this one: cancel_init and the like take whichever is the newest, and
/// another one may have begun since somebody looked. They lock the node until the transaction ends, so whichever is the newest afterwards is
/// the one they took.
///
/// # Errors
/// What `work` fails with; exit code 1 when it is another one, to which nothing was done then.
pub fn for_operation<T>(
    client: &mut Client,
    node: &str,
    operation: i64,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    const NEWEST: &str = "SELECT p.operation_id FROM steep_repl.init_progress p WHERE p.node = $1";
    // What is looked at afterwards must be what there is then, whatever the role's settings are.
    let mut transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start()?;
    let done = work(&mut transaction)?;
    let newest: i64 = transaction.query_one(NEWEST, &[&node])?.try_get(0)?;
    if newest != operation {
        transaction.rollback()?;
        return Err(Failure::new(
            Exit::Failed,
            format!("operation {operation} on node \"{node}\" has ended meanwhile; operation {newest} is left alone"),
        ));
    }
    transaction.commit()?;
    Ok(done)
}

/// Writes a notice of the server to stderr.
fn say(notice: DbError) {
    let severity = if notice.severity() == "WARNING" { "warning" } else { "notice" };
    message(format!("steep-repl: {severity}: {}", plain(notice.message())));
    for (word, text) in [("detail", notice.detail()), ("hint", notice.hint())] {
        for line in text.into_iter().flat_map(str::lines) {
            message(format!("{word}: {}", plain(line)));
        }
    }
}

fn without_extension(conninfo: &Conninfo, server: &Server) -> Failure {
    let failure = Failure::new(
        Exit::Failed,
        format!("the database at {} does not have the extension steep_repl", conninfo.describe()),
    );
    failure.hint(if server.is_available {
        "Run CREATE EXTENSION steep_repl there, or connect to a node that has it."
    } else {
        "Install it on that server first, or connect to a node that has it."
    })
}

/// What to do where no node is registered.
pub const NO_NODE: &str = "No node is registered: use steep-repl nodes add NODE CONNINFO.";

/// What is said of a node that nobody knows.
pub fn unknown_node<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Failure {
    let failure = Failure::usage(format!("node \"{name}\" is not registered"));
    let all = known.clone().collect::<Vec<_>>();
    failure.hint(match nearest(name, known) {
        Some(near) if all.len() == 1 => format!("Perhaps \"{near}\" is meant."),
        Some(near) => format!("Perhaps \"{near}\" is meant. Registered nodes: {}.", all.join(", ")),
        None if all.is_empty() => NO_NODE.to_owned(),
        None => format!("Registered nodes: {}.", all.join(", ")),
    })
}

/// Everything that opens connections.
pub struct Connector {
    /// As the command line, the environment and the files say.
    pub conninfo: Conninfo,
    /// The command line or the environment says where to connect to.
    pub is_explicit: bool,
    /// The configuration file.
    pub config: Config,
    /// Whether a password may be asked for.
    pub prompt: Prompt,
}

impl Connector {
    /// Connects to where the options say.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn first(&self) -> Result<Session, Failure> {
        self.open(&self.conninfo)
    }

    fn open(&self, conninfo: &Conninfo) -> Result<Session, Failure> {
        let session = Session::open_hearing(conninfo, self.prompt, Arc::new(say))?;
        compare_versions(session.extension_version());
        Ok(session)
    }

    /// How the configuration file gets to a node; none when it does not have the node, or the command line says where to connect to.
    ///
    /// # Errors
    /// As [`Conninfo::resolve`].
    pub fn configured(&self, name: &str) -> Result<Option<Conninfo>, Failure> {
        let Some(dsn) = self.config.nodes.get(name).filter(|_| !self.is_explicit) else { return Ok(None) };
        let given = Given { dsn: Some(dsn.clone()), ..Given::default() };
        Conninfo::resolve(&given, &|name| std::env::var(name).ok()).map(Some)
    }

    /// Connects to the database that a node is: by the configuration file when that has the node and the command line does not say where to
    /// connect to; otherwise from where the options say on to the node's host, port and database.
    ///
    /// # Errors
    /// As [`Session::open`] and [`Session::node`].
    pub fn node(&self, name: &str) -> Result<Session, Failure> {
        if let Some(conninfo) = self.configured(name)? {
            let mut session = self.open(&conninfo)?;
            expect_local(&mut session, name)?;
            return Ok(session);
        }
        let mut session = self.first()?;
        let node = session.node(name)?;
        if node.is_local {
            return Ok(session);
        }
        let mut there = self.open(&session.conninfo.towards(&node.conninfo)?)?;
        expect_local(&mut there, name)?;
        Ok(there)
    }
}

/// Refuses a database that does not know itself by this name.
fn expect_local(session: &mut Session, name: &str) -> Result<(), Failure> {
    let nodes = session.nodes()?;
    let local = nodes.iter().find(|node| node.is_local);
    match local {
        Some(local) if local.node == name => Ok(()),
        Some(local) => Err(Failure::new(
            Exit::Failed,
            format!("the database at {} is node \"{}\", not \"{name}\"", session.conninfo.describe(), local.node),
        )
        .hint("Give a node the same name everywhere.")),
        None => Err(Failure::new(
            Exit::Failed,
            format!("the database at {} does not know that it is node \"{name}\"", session.conninfo.describe()),
        )
        .hint(format!("Connect to it and use steep-repl nodes add {name} CONNINFO --local."))),
    }
}

/// Tells of an extension of another version: this program was made for its own.
fn compare_versions(extension: &str) {
    if let Some(warning) = warning_of(extension, env!("CARGO_PKG_VERSION")) {
        message(format!("steep-repl: warning: {warning}"));
    }
}

/// Versions that differ in the last place only understand each other.
fn warning_of(extension: &str, own: &str) -> Option<String> {
    let series = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    (series(extension) != series(own))
        .then(|| format!("the server's extension has version {extension}, steep-repl has {own}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_probably_meant() {
        let hint = |name: &str, known: &[&str]| unknown_node(name, known.iter().copied()).hint.unwrap_or_default();
        assert_eq!(
            hint("node_c", &["node_a", "other"]),
            "Perhaps \"node_a\" is meant. Registered nodes: node_a, other."
        );
        assert_eq!(hint("Node_B", &["node_b"]), "Perhaps \"node_b\" is meant.");
        assert_eq!(hint("zzz", &["node_a", "other"]), "Registered nodes: node_a, other.");
        assert_eq!(hint("zzz", &[]), "No node is registered: use steep-repl nodes add NODE CONNINFO.");
    }

    #[test]
    fn versions_are_compared() {
        assert_eq!(warning_of("1.2.3", "1.2.9"), None);
        assert_eq!(warning_of("0.1.0", "0.1.0"), None);
        for other in ["1.3.0", "2.2.3", "1", ""] {
            assert!(warning_of(other, "1.2.3").is_some(), "{other}");
        }
    }
}
