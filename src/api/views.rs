//! Functions under the views: what the server shows to owners of the sessions only, shown to whoever may read the views.

use crate::catalog::ownership;
use crate::catalog::progress::{self, Live};
use crate::pg::{raise, shmem, system};
use crate::source;
use pgrx::prelude::*;
use steep_repl_core::instance::{Maker, Owner};

/// Progress of the copy and index tasks that run now, read with the rights of the extension's owner.
#[pg_extern]
pub fn live_progress() -> TableIterator<
    'static,
    (
        name!(operation_id, i64),
        name!(relid, i64),
        name!(rows_arrived, i64),
        name!(bytes_arrived, i64),
        name!(copied_share, f64),
        name!(index_share, f64),
    ),
> {
    let live: Vec<Live> = match progress::live() {
        Ok(live) => live,
        Err(error) => {
            raise::warning(&error.problem().message);
            Vec::new()
        }
    };
    TableIterator::new(live.into_iter().map(|live| {
        (
            live.operation_id,
            i64::from(live.relid),
            live.rows_arrived,
            live.bytes_arrived,
            live.copied_share,
            live.index_share,
        )
    }))
}

/// Whose an operation is, by what its row says of its maker; null where there is none. Not STRICT: a call with a null would be
/// answered before anybody asks whether it is allowed.
#[pg_extern(stable, parallel_safe)]
pub fn operation_owner(
    system_identifier: Option<&str>,
    database: Option<i64>,
    instance: Option<&str>,
    timeline: Option<i64>,
    disowned: Option<bool>,
) -> Option<String> {
    let (instance, database, timeline) = (instance?, database?, timeline?);
    let (system_identifier, disowned) = (system_identifier?.to_owned(), disowned?);
    let maker = (|| {
        Some(Maker {
            system_identifier,
            database: u32::try_from(database).ok()?,
            instance: instance.parse().ok()?,
            timeline: u32::try_from(timeline).ok()?,
            disowned,
        })
    })();
    Some(maker.map_or(Owner::Elsewhere, |maker| ownership::owner(&maker)).as_str().to_owned())
}

/// Operations of this database that wait because max_worker_processes is used up.
#[pg_extern]
pub fn operations_without_worker() -> SetOfIterator<'static, i64> {
    let waiting = if shmem::require().is_ok() { shmem::starved_in(system::database_oid()) } else { Vec::new() };
    SetOfIterator::new(waiting)
}

/// A connection string without its secrets.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn redact_conninfo(conninfo: &str) -> String {
    source::parse("", conninfo).map_or_else(|_| "********".to_owned(), |conninfo| conninfo.redacted())
}
