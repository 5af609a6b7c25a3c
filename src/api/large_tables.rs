//! What decides about the way of large tables, and about that of all when method auto was asked for; and what each way needs.

use super::checks::{Judge, Wanted};
use crate::catalog::operations::{Method, Transport};
use crate::catalog::user;
use crate::error::Result;
use crate::pg::remote::Connection;
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
    _source: &Source,
    plan: &Plan,
) -> Result<()> {
    if wanted.method != Method::Snapshot || !plan.has_larger_than(wanted.options.large_table_threshold) {
        return Ok(());
    }
    let outcome = match wanted.options.large_table_method {
        Transport::Copy | Transport::Server => Ok(()),
        Transport::PgDump | Transport::BaseBackup => Err(crate::error::Error::NotYet {
            what: "this large_table_method".to_owned(),
            hint: "Use large_table_method => 'copy'.".to_owned(),
        }),
    };
    judge.judge("large_tables", outcome)?;
    Ok(())
}
