//! The definitions of all that is in the source's database, by this server's own `pg_dump`; and what the objects are called there.

use crate::error::{Error, ProgramError, Result};
use crate::pg::program::{self, PrivateDirectory};
use crate::pg::remote::{Connection, Target};
use crate::pg::system;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;
use steep_repl_core::archive::{self, Entry};
use steep_repl_core::conninfo::Conninfo;
use steep_repl_core::names::{application_name, Part, Token};

const PROGRAM: &str = "pg_dump";
/// How long pg_dump may wait for a lock on the source.
pub const LOCK_LIMIT: &str = "60s";

/// Sees that there is a pg_dump that belongs to this server. 58P01 when there is none, or another one.
pub fn check_program() -> Result<PathBuf> {
    check_version(PROGRAM)
}

/// Sees that there is a program of that name that belongs to this server. 58P01 when there is none, or another one.
pub fn check_version(name: &'static str) -> Result<PathBuf> {
    let path = program::find(name)?;
    let said = program::run(&path, &["--version".to_owned()], &[], &PrivateDirectory::new()?, &mut || Ok(()))?;
    // "pg_dump (PostgreSQL) 18.4 (Debian 18.4-1)"
    let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let version = text.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    let digits = version.and_then(|version| version.split(|letter: char| !letter.is_ascii_digit()).next());
    if digits.and_then(|digits| digits.parse().ok()) == Some(system::major()) {
        return Ok(path);
    }
    Err(Error::Program(ProgramError::Version {
        program: name,
        version: version.unwrap_or("unknown").to_owned(),
        major: system::major(),
    }))
}

/// Sees that a connection string can be handed to pg_dump. 0A000 when it has a secret that cannot.
pub fn check_target(target: &Target) -> Result<()> {
    split(target).map(drop)
}

/// The connection string as a command line may show it, and the password.
fn split(target: &Target) -> Result<(Conninfo, Option<String>)> {
    let secret =
        |keyword| Error::Program(ProgramError::Secret { node: target.node.clone(), keyword, program: PROGRAM });
    target.conninfo.with_link_defaults().without_password().map_err(secret)
}

/// What a program of the server's needs to connect to a source: a connection string that a command line may show, and an environment.
pub struct Reach {
    /// The connection string.
    pub conninfo: Conninfo,
    /// The environment.
    pub environment: Vec<(String, String)>,
}

impl Reach {
    /// For a program that calls itself `name` on the source. The password goes into a file in `private`.
    pub fn of(target: &Target, name: &str, private: &PrivateDirectory) -> Result<Reach> {
        let (mut conninfo, password) = split(target)?;
        conninfo.set("application_name", name);
        // libpq in this process has the same defaults.
        let inherited = |name: &str| name == "HOME" || name.starts_with("KRB5") || name.starts_with("PG");
        let mut environment: Vec<(String, String)> = std::env::vars().filter(|(name, _)| inherited(name)).collect();
        if let Some(password) = password {
            let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
            let file = private.write("passfile", &format!("*:*:*:*:{escaped}\n"))?;
            environment.retain(|(name, _)| name != "PGPASSFILE" && name != "PGPASSWORD");
            environment.push(("PGPASSFILE".to_owned(), file.display().to_string()));
        }
        Ok(Reach { conninfo, environment })
    }

    /// The environment as a program takes it.
    pub fn environment(&self) -> Vec<(&str, String)> {
        self.environment.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
    }
}

fn failed(node: &str, complaints: String) -> Error {
    Error::Program(ProgramError::Failed {
        program: PROGRAM,
        what: "dump the schema".to_owned(),
        node: node.to_owned(),
        complaints,
    })
}

/// Dumps the definitions of a source's database. `go_on` is asked about twice a second; its error ends the dump.
pub fn definitions(target: &Target, token: Token, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Entry>> {
    // No script: see steep_repl_core::archive.
    let dumped = dump(target, token, &["--format=custom"], go_on)?;
    let node = &target.node;
    let entries = archive::read(&dumped).map_err(|error| failed(node, error.to_string()))?;
    let encoding = system::database_encoding();
    let is_ascii = |entry: &Entry| entry.tag.is_ascii() && entry.definition.is_ascii() && entry.schema.is_ascii();
    if encoding != "UTF8" && !entries.iter().all(is_ascii) {
        return Err(Error::SchemaEncoding { node: node.clone(), encoding });
    }
    Ok(entries)
}

/// The same as a script for psql, in UTF-8, as of an exported snapshot where one is given.
pub fn script(
    target: &Target,
    token: Token,
    snapshot: Option<&str>,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<u8>> {
    let snapshot = snapshot.map(|name| format!("--snapshot={name}"));
    let options: Vec<&str> = ["--format=plain"].into_iter().chain(snapshot.as_deref()).collect();
    dump(target, token, &options, go_on)
}

/// What pg_dump writes of the definitions of a source's database.
fn dump(target: &Target, token: Token, options: &[&str], go_on: &mut dyn FnMut() -> Result<()>) -> Result<Vec<u8>> {
    let path = check_program()?;
    let node = &target.node;
    let private = PrivateDirectory::new()?;
    let reach = Reach::of(target, &application_name(token, Part::Dump), &private)?;
    let arguments: Vec<String> = [
        "--schema-only",
        "--no-publications",
        "--no-subscriptions",
        "--no-tablespaces",
        "--no-password",
        "--encoding=UTF8",
        &format!("--lock-wait-timeout={LOCK_LIMIT}"),
        "--dbname",
        &reach.conninfo.to_string(),
    ]
    .iter()
    .chain(options)
    .map(|option| (*option).to_owned())
    .collect();
    let output = program::run(&path, &arguments, &reach.environment(), &private, go_on)?;
    if !output.succeeded {
        return Err(failed(node, output.complaints));
    }
    Ok(output.stdout)
}

/// What an object is called, the same on every node: `pg_identify_object()`.
pub type Identity = (String, String);

/// What the objects of a dump are called, by their number in it.
pub fn identities(connection: &Connection, entries: &[Entry]) -> Result<HashMap<i32, Identity>> {
    #[derive(Deserialize)]
    struct Row {
        id: i32,
        kind: String,
        identity: String,
    }
    let objects: Vec<String> = entries
        .iter()
        .filter(|entry| entry.class != 0 && entry.oid != 0)
        .map(|entry| format!("({}, {}, {})", entry.id, entry.class, entry.oid))
        .collect();
    let mut found = HashMap::new();
    for batch in objects.chunks(5_000) {
        let query = include_str!("../../sql/queries/source_identify.sql").replace(":objects", &batch.join(", "));
        let rows: Vec<Row> = connection.json(&query, "could not ask what objects are called")?;
        found.extend(rows.into_iter().map(|row| (row.id, (row.kind, row.identity))));
    }
    Ok(found)
}
