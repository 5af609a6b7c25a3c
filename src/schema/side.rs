//! The tables of one node, as definitions: one catalog query a side, over this database or over a connection.
//!
//! Deparsing an expression may wait for a lock on its table. A table that is locked, because it is being loaded for one, is left out and
//! named; nobody is waited for longer than two seconds.

use crate::catalog::nodes::{self, Node};
use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use crate::pg::{role, system, transaction};
use crate::settings;
use crate::source;
use steep_repl_core::definition::{Definition, SETTINGS};
use steep_repl_core::ident::quote_literal;
use steep_repl_core::names::{application_name, Part, Token};

/// How long a lock is waited for, in milliseconds.
const LOCK_LIMIT_MS: u32 = 2_000;
/// How often the tables are read again when one was locked meanwhile.
const TRIES: u32 = 3;
/// SQLSTATE of a lock that was waited for in vain.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// SQLSTATE of whatever ends an answer that was asked for beforehand.
const PROTOCOL_VIOLATION: &str = "08P01";
/// What is done, for errors.
const READING: &str = "could not read the tables";
/// Ends what [`Reader::locked`] has set.
const NO_LIMIT: &str = "SET lock_timeout = 0";

/// Which tables.
pub enum Filter<'a> {
    /// All but those of system schemas and of extensions.
    All,
    /// All of these schemas.
    Schemas(&'a [String]),
    /// One, by schema and name.
    Table(&'a str, &'a str),
}

impl Filter<'_> {
    fn condition(&self) -> String {
        match self {
            Filter::All => "true".to_owned(),
            Filter::Schemas([]) => "false".to_owned(),
            Filter::Schemas(names) => {
                format!(
                    "n.nspname IN ({})",
                    names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ")
                )
            }
            Filter::Table(schema, name) => {
                format!("n.nspname = {} AND c.relname = {}", quote_literal(schema), quote_literal(name))
            }
        }
    }
}

/// The tables of a node.
#[derive(Debug, Clone)]
pub struct Side {
    /// Major version of its server.
    pub major: u32,
    /// Its tables, by schema and name in byte order.
    pub tables: Vec<Definition>,
    /// Those that could not be read, as (schema, name).
    pub busy: Vec<(String, String)>,
}

impl Side {
    /// The table of this name.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Definition> {
        let key = (schema.as_bytes(), name.as_bytes());
        let place =
            self.tables.binary_search_by(|table| (table.schema.as_bytes(), table.name.as_bytes()).cmp(&key)).ok()?;
        self.tables.get(place)
    }
}

/// A node whose tables can be read.
pub enum Reader<'a> {
    /// This database.
    Here,
    /// Another one.
    There(Box<Connection>),
    /// Another one, over somebody else's connection.
    Over(&'a Connection),
}

impl<'a> Reader<'a> {
    /// Reads over a connection that is open.
    pub fn over(connection: &'a Connection) -> Reader<'a> {
        Reader::Over(connection)
    }

    /// Opens a node by name, with the current role's right to use its connection string.
    pub fn open(name: &str) -> Result<Reader<'static>> {
        let node: Node = nodes::get(name)?;
        if node.is_local {
            return Ok(Reader::Here);
        }
        let target = source::target(&node, role::current())?;
        let token = Token::new(system::random_u64());
        let mut connection = Connection::open(&target, &application_name(token, Part::Check))?;
        connection.limit_answers(settings::receive_timeout());
        Ok(Reader::There(Box::new(connection)))
    }

    /// Which of these schemas the node does not have.
    pub fn missing(&self, schemas: &[String]) -> Result<Vec<String>> {
        let found: Vec<String> = match self.connection() {
            None => user::schemas_of(schemas)?,
            Some(connection) => connection.json(&user::schemas_query(schemas), "could not look for schemas")?,
        };
        Ok(schemas.iter().filter(|name| !found.contains(name)).cloned().collect())
    }

    /// Reads tables.
    pub fn read(&self, filter: &Filter) -> Result<Side> {
        let major = self.major();
        let mut tries = 0;
        loop {
            let busy = self.locked()?;
            match self.definitions(filter, &busy) {
                Ok(tables) => return Ok(Side { major, tables, busy }),
                Err(error) if error.problem().sqlstate == LOCK_NOT_AVAILABLE && tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads tables of two nodes; one that is elsewhere reads its own while the other does.
    pub fn read_both(a: &Reader, b: &Reader, filter: &Filter) -> Result<(Side, Side)> {
        match (a.connection(), b.connection()) {
            (Some(connection), _) => Self::read_beside(a, connection, b, filter),
            (None, Some(connection)) => Self::read_beside(b, connection, a, filter).map(|(b, a)| (a, b)),
            (None, None) => Ok((a.read(filter)?, b.read(filter)?)),
        }
    }

    fn read_beside(asked: &Reader, connection: &Connection, other: &Reader, filter: &Filter) -> Result<(Side, Side)> {
        let busy = asked.locked()?;
        set_up(connection)?;
        match connection.ask(&query_of(filter, &busy), READING) {
            Err(error) if error.problem().sqlstate == LOCK_NOT_AVAILABLE => {
                return Ok((asked.read(filter)?, other.read(filter)?));
            }
            outcome => outcome?,
        }
        let read = other.read(filter);
        // Taken in any case: the connection may be somebody else's, and must be of use to him.
        let side = match transaction::nested(|| connection.answer::<Definition>(READING)) {
            Ok(mut tables) => {
                tables.sort_by(|a, b| {
                    (a.schema.as_bytes(), a.name.as_bytes()).cmp(&(b.schema.as_bytes(), b.name.as_bytes()))
                });
                connection.execute(NO_LIMIT, READING)?;
                Ok(Side { major: asked.major(), tables, busy })
            }
            // Perhaps a lock; asked in the ordinary way it says so.
            Err(error) if error.problem().sqlstate == PROTOCOL_VIOLATION => {
                connection.reopen()?;
                asked.read(filter)
            }
            Err(error) => Err(error),
        };
        Ok((side?, read?))
    }

    fn major(&self) -> u32 {
        self.connection().map_or_else(system::major, Connection::server_major)
    }

    fn locked(&self) -> Result<Vec<(String, String)>> {
        match self.connection() {
            None => transaction::nested(|| user::waiting_at_most(LOCK_LIMIT_MS, user::locked_tables)),
            Some(connection) => {
                let context = "could not look for locked tables";
                connection.execute(&format!("SET lock_timeout = {LOCK_LIMIT_MS}"), context)?;
                connection.json(user::LOCKED_TABLES, context)
            }
        }
    }

    fn connection(&self) -> Option<&Connection> {
        match self {
            Reader::Here => None,
            Reader::There(connection) => Some(connection),
            Reader::Over(connection) => Some(connection),
        }
    }

    fn definitions(&self, filter: &Filter, busy: &[(String, String)]) -> Result<Vec<Definition>> {
        let query = query_of(filter, busy);
        match self.connection() {
            None => transaction::nested(|| user::waiting_at_most(LOCK_LIMIT_MS, || user::definitions(&query))),
            Some(connection) => {
                set_up(connection)?;
                let tables = connection.json(&query, READING)?;
                connection.execute(NO_LIMIT, READING)?;
                Ok(tables)
            }
        }
    }
}

/// The settings under which a node tells what its tables are.
fn set_up(connection: &Connection) -> Result<()> {
    let settings: Vec<String> =
        SETTINGS.iter().map(|(name, value)| format!("SET {name} = {}", quote_literal(value))).collect();
    connection.execute(&settings.join("; "), READING)
}

fn query_of(filter: &Filter, busy: &[(String, String)]) -> String {
    let mut condition = format!("({})", filter.condition());
    if !busy.is_empty() {
        let names: Vec<String> =
            busy.iter().map(|(schema, name)| format!("({}, {})", quote_literal(schema), quote_literal(name))).collect();
        condition.push_str(&format!(" AND (n.nspname, c.relname) NOT IN ({})", names.join(", ")));
    }
    user::definitions_query(&condition)
}

/// The definition of one table of this database. 42P01 when there is none, 55P03 when somebody has locked it.
pub fn table_here(schema: &str, name: &str) -> Result<Definition> {
    let side = Reader::Here.read(&Filter::Table(schema, name))?;
    if side.busy.iter().any(|(busy_schema, busy)| busy_schema == schema && busy == name) {
        return Err(Error::TableBusy { table: steep_repl_core::ident::qualified_display(schema, name) });
    }
    side.tables
        .into_iter()
        .next()
        .ok_or_else(|| Error::NoSuchTable { table: steep_repl_core::ident::qualified_display(schema, name) })
}
