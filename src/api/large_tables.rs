//! What decides about the way of large tables, and about that of all when method auto was asked for; and what each way needs.

use super::checks::{check_dump, Judge, Wanted};
use crate::catalog::operations::{Method, Transport};
use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use crate::pg::{role, system};
use crate::schema::Plan;
use crate::settings;
use crate::source::preflight::Source;

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
    _connection: &Connection,
    source: &Source,
    plan: &Plan,
) -> Result<()> {
    if wanted.method != Method::Snapshot || !plan.has_larger_than(wanted.options.large_table_threshold) {
        return Ok(());
    }
    let outcome = match wanted.options.large_table_method {
        Transport::Copy | Transport::Server => Ok(()),
        Transport::PgDump => check_dumping(wanted, source),
        Transport::BaseBackup => Err(Error::NotYet {
            what: "this large_table_method".to_owned(),
            hint: "Use large_table_method => 'copy'.".to_owned(),
        }),
    };
    judge.judge("large_tables", outcome)?;
    Ok(())
}

fn refused(method: &'static str, reason: String, hint: &str) -> Result<()> {
    Err(Error::LargeTables { method, reason, hint: hint.to_owned() })
}

/// A pg_dump of this server's, the right to have it run, and a source that it can read.
fn check_dumping(wanted: &Wanted, source: &Source) -> Result<()> {
    check_dump(wanted.node, wanted.source, role::current())?;
    let major = system::major();
    if source.version_num / 10_000 > i64::from(major) {
        let reason = format!("The pg_dump of PostgreSQL {major} reads no later version, and the source is {}.", source.version);
        return refused("pg_dump", reason, "Use large_table_method => 'copy'.");
    }
    Ok(())
}
