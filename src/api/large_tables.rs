//! What decides about the way of large tables, and about that of all when method auto was asked for; and what each way needs.

use super::checks::{check_dump, check_may_run_programs, Judge, Wanted};
use crate::catalog::operations::{Method, Transport};
use crate::catalog::{nodes, user};
use crate::error::{Error, ProgramError, Result};
use crate::pg::remote::Connection;
use crate::pg::{role, scratch, system};
use crate::schema::Plan;
use crate::settings;
use crate::source::preflight::Source;
use crate::source::{self, backup, dump};
use steep_repl_core::names::{application_name, slot_name, Part, Token};

/// The method that is meant. Auto is the server's own synchronization where the tables are small and both servers have room for it.
pub(super) fn resolve(wanted: &Wanted, source: &Source, plan: &Plan) -> Result<Method> {
    Ok(match wanted.method {
        Method::Auto if plan.chosen_bytes_total() < settings::snapshot_threshold() && has_room(source)? => {
            Method::Snapshot
        }
        Method::Auto => Method::Parallel,
        given => given,
    })
}

/// Whether the server could synchronize tables at all.
fn has_room(source: &Source) -> Result<bool> {
    let (room, (slots, walsenders)) = (user::room()?, source.free());
    Ok(room.sync_workers >= 1
        && room.apply_workers >= 2
        && room.origins - room.origins_used >= 2
        && slots >= 2
        && walsenders >= 2)
}

/// Looks at what the way of large tables needs, when there are any.
pub(super) fn check(
    judge: &mut impl Judge,
    wanted: &Wanted,
    connection: &Connection,
    source: &Source,
    plan: &Plan,
) -> Result<()> {
    if wanted.method != Method::Snapshot || !plan.has_larger_than(wanted.options.large_table_threshold) {
        return Ok(());
    }
    let outcome = match wanted.options.large_table_method {
        Transport::Copy | Transport::Server => Ok(()),
        Transport::PgDump => check_dumping(wanted, source),
        Transport::BaseBackup => check_backup(wanted, connection, source),
    };
    judge.judge("large_tables", outcome)?;
    Ok(())
}

fn refused(method: &'static str, reason: String, hint: &str) -> Result<()> {
    Err(Error::Program(ProgramError::LargeTables { method, reason, hint: hint.to_owned() }))
}

/// Programs of this server's, a source that they can back up and whose data they can read, and a place for it.
fn check_backup(wanted: &Wanted, connection: &Connection, source: &Source) -> Result<()> {
    const METHOD: &str = "basebackup";
    const OR_COPY: &str = "Mend that, or use large_table_method => 'copy'.";
    let me = role::current();
    check_may_run_programs(wanted.node, me)?;
    backup::check_programs()?;
    let target = source::target(&nodes::get(wanted.source)?, me)?;
    dump::check_target(&target)?;
    let about = backup::ask(connection)?;
    if about.major != system::major() {
        let reason = format!(
            "A base backup can be read by its own major version only: the source is PostgreSQL {}, this server {}.",
            about.major,
            system::major()
        );
        return refused(METHOD, reason, "Use large_table_method => 'copy' or 'pg_dump'.");
    }
    let scratch = &wanted.options.scratch_directory;
    // Any token is as long as another.
    if let Some(reason) = scratch::why_not(scratch, &slot_name(Token::new(0))) {
        return refused(
            METHOD,
            reason,
            "A superuser sets steep_repl.scratch_directory to a directory on this server that its user owns.",
        );
    }
    backup::check_space(&about, scratch, scratch::free_bytes(scratch.as_ref()))?;
    // The operation's, the backup's and the one that gives the position; the backup takes two WAL senders.
    let (slots, walsenders) = source.free();
    if slots < 3 || walsenders < 3 {
        let reason = format!(
            "{slots} of max_replication_slots and {walsenders} of max_wal_senders are free on the source, 3 of each would be used."
        );
        return refused(
            METHOD,
            reason,
            "Raise them on the source and restart it, or use large_table_method => 'copy'.",
        );
    }
    match Connection::try_physical(&target, &application_name(Token::new(system::random_u64()), Part::Check)) {
        Err(Error::SourceUnreachable { reason, .. }) => refused(METHOD, reason, OR_COPY),
        other => other,
    }
}

/// A pg_dump of this server's, the right to have it run, and a source that it can read.
fn check_dumping(wanted: &Wanted, source: &Source) -> Result<()> {
    check_dump(wanted.node, wanted.source, role::current())?;
    let major = system::major();
    if source.version_num / 10_000 > i64::from(major) {
        let reason =
            format!("The pg_dump of PostgreSQL {major} reads no later version, and the source is {}.", source.version);
        return refused("pg_dump", reason, "Use large_table_method => 'copy'.");
    }
    Ok(())
}
