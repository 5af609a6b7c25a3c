//! A base backup of the source: what it takes, and making it by this server's own `pg_basebackup`.

use super::dump::{check_version, Reach};
use crate::catalog::operations::Operation;
use crate::error::{Error, ProgramError, Result};
use crate::pg::program::{self, PrivateDirectory};
use crate::pg::remote::{Connection, Target};
use crate::pg::scratch::Place;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use steep_repl_core::conninfo::Conninfo;
use steep_repl_core::ident::quote_literal;
use steep_repl_core::names::{backup_slot_name, slot_name, Token};
use steep_repl_core::private_server::AT_LEAST;

/// The program.
pub const PROGRAM: &str = "pg_basebackup";
/// WAL of the time of the backup, which is not in the sizes of databases, in bytes.
const WAL_BYTES: u64 = 64 * 1024 * 1024;

/// What the source says that a backup of it is about.
#[derive(Debug, Clone, Deserialize)]
pub struct About {
    /// Whom we are there.
    pub role: String,
    /// Whether that is a superuser.
    pub superuser: bool,
    /// In which database.
    pub database: String,
    /// Its major version.
    pub major: u32,
    /// Size of its databases, of those that we may know it of, in bytes.
    pub bytes: i64,
    /// Settings that its standbys must not have less of.
    pub at_least: Vec<(String, i64)>,
    /// Tablespaces outside of its data directory: OID and path.
    pub tablespaces: Vec<(u32, String)>,
}

/// Asks.
pub fn ask(connection: &Connection) -> Result<About> {
    let settings = AT_LEAST.map(quote_literal).join(", ");
    let query = include_str!("../../sql/queries/source_backup.sql").replace(":settings", &settings);
    connection
        .json(&query, "could not ask what a base backup takes")?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("the source said nothing about its size"))
}

/// Where the backup of an operation is put.
pub fn place(operation: &Operation) -> Result<Place> {
    Ok(Place::new(&operation.options.scratch_directory, &slot_name(operation.token()?)))
}

/// Where a private server is. It trusts whoever gets at its socket, which is us alone.
pub fn private_target(node: &str, conninfo: Conninfo) -> Target {
    Target { node: node.to_owned(), conninfo, must_use_password: false }
}

/// Refuses a scratch directory that cannot hold the backup; `free` is what is free there.
pub fn check_space(about: &About, scratch: &str, free: Option<u64>) -> Result<()> {
    let needed = about.bytes.unsigned_abs().saturating_add(WAL_BYTES);
    match free {
        Some(free) if free < needed => Err(Error::Program(ProgramError::LargeTables {
            method: "basebackup",
            reason: format!(
                "{} MB are free in steep_repl.scratch_directory \"{scratch}\", the source takes about {} MB.",
                free >> 20,
                needed >> 20
            ),
            hint: "Make room there, or use large_table_method => 'copy'.".to_owned(),
        })),
        _ => Ok(()),
    }
}

/// The programs that belong to this server.
pub fn check_programs() -> Result<PathBuf> {
    program::find("postgres")?;
    check_version(PROGRAM)
}

/// Makes the slot that keeps WAL for the backup, in place of one that an attempt before has left. Its name is known from the operation's token.
pub fn make_slot(connection: &Connection, token: Token) -> Result<()> {
    drop_slot(connection, token)?;
    let query = format!(
        "SELECT pg_catalog.pg_create_physical_replication_slot({}, true)::text",
        quote_literal(&backup_slot_name(token))
    );
    connection.value(&query, "could not create a physical replication slot").map(drop)
}

/// Takes that slot away, with whatever of ours uses it.
pub fn drop_slot(connection: &Connection, token: Token) -> Result<()> {
    super::state::drop_slot(connection, &backup_slot_name(token))
}

/// Bytes of the backup that were sent, and bytes in all as far as they are known.
pub fn progress(connection: &Connection, name: &str) -> Result<Option<(i64, i64)>> {
    #[derive(Deserialize)]
    struct Row(i64, i64);
    let query = format!(
        "SELECT pg_catalog.jsonb_build_array(coalesce(p.backup_streamed, 0), coalesce(p.backup_total, 0))::text \
         FROM pg_catalog.pg_stat_progress_basebackup p JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid WHERE a.application_name = {}",
        quote_literal(name)
    );
    let rows: Vec<Row> = connection.json(&query, "could not ask how far the base backup is")?;
    Ok(rows.into_iter().next().map(|Row(done, total)| (done, total)))
}

/// Makes the backup in `place`. `go_on` is asked about twice a second; its error ends the program.
pub fn make(
    target: &Target,
    reach: &Reach,
    private: &PrivateDirectory,
    place: &Place,
    token: Token,
    tablespaces: &[(u32, String)],
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let path = check_programs()?;
    let mut arguments: Vec<String> = [
        "--format=plain",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-manifest",
        "--no-sync",
        "--no-password",
        "--slot",
        &backup_slot_name(token),
        "--pgdata",
        &place.data().display().to_string(),
        "--dbname",
        &reach.conninfo.to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    let mapped: BTreeMap<&String, u32> = tablespaces.iter().map(|(oid, path)| (path, *oid)).collect();
    for (from, oid) in mapped {
        let to = place.tablespace(oid);
        arguments.push(format!("--tablespace-mapping={}={}", escaped(from), escaped(&to.display().to_string())));
    }
    let output = program::run(&path, &arguments, &reach.environment(), private, go_on)?;
    if output.succeeded {
        return Ok(());
    }
    Err(Error::Program(ProgramError::Failed {
        program: PROGRAM,
        what: "make a base backup".to_owned(),
        node: target.node.clone(),
        complaints: output.complaints,
    }))
}

/// A path of a mapping: an equals sign parts its two.
fn escaped(path: &str) -> String {
    path.replace('=', "\\=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_compared_with_what_the_source_takes() {
        let about = About {
            role: "r".to_owned(),
            superuser: false,
            database: "d".to_owned(),
            major: 18,
            bytes: 1 << 30,
            at_least: Vec::new(),
            tablespaces: Vec::new(),
        };
        assert!(check_space(&about, "/srv", None).is_ok());
        assert!(check_space(&about, "/srv", Some(2 << 30)).is_ok());
        let refused = check_space(&about, "/srv", Some(1 << 30));
        let problem = refused.map_err(|error| error.problem()).err();
        assert!(problem.is_some_and(|problem| problem.sqlstate == "55000"
            && problem.detail.is_some_and(|words| words.contains("1024 MB are free") && words.contains("1088 MB"))));
    }

    #[test]
    fn an_equals_sign_in_a_path_is_escaped() {
        assert_eq!(escaped("/srv/a=b"), "/srv/a\\=b");
    }
}
