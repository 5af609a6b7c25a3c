//! The snapshot keeper: makes the slot, and keeps its snapshot alive for the copy workers.
//!
//! It is a process of its own because making a slot waits for every transaction that runs on the source, for hours if need
//! be, and the coordinator must be able to look on, to say what it waits for, and to be cancelled.
//!
//! The walsender that made the slot exports the snapshot N; a plain connection imports it and exports it again as K; the
//! walsender is closed (holding a snapshot it is "idle in transaction", cannot be probed, and dies of timeouts); workers
//! import K. The slot's name stands in the operation's row before the slot is made. When replication has a start already,
//! this is a later snapshot for unfinished tables, and its slot is a temporary one: only its start and its snapshot count. Where large tables are
//! copied from a base backup a private server stands in for the snapshot ([`super::backup`]).

use super::backup::{self, Readable};
use crate::catalog::operations::{self, Operation};
use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::remote::{Connection, Target};
use crate::pg::worker::{report_activity, report_name, Assignment};
use crate::pg::{shmem, system, transaction};
use crate::source::{self, state};
use steep_repl_core::lsn::Lsn;
use steep_repl_core::names::{application_name, slot_name, temporary_slot_name, Part};

/// How often the snapshot's connection is asked for a sign of life, in milliseconds: more often than a firewall forgets.
const PING_MS: i64 = 20_000;
/// How often a private server is looked at, in milliseconds.
const SERVER_LOOK_MS: i64 = 1_000;

/// Runs until the snapshot is given up or lost.
pub fn run(assignment: Assignment) -> Result<()> {
    let prepared = transaction::run(|| {
        let Some(operation) = operations::get(assignment.operation)? else {
            return Ok(None);
        };
        let node = crate::catalog::nodes::get(&operation.source)?;
        let target = source::target(&node, operation.requested_by)?;
        Ok(Some((operation, target)))
    })?;
    let Some((operation, target)) = prepared else {
        return Ok(());
    };
    report_name(&application_name(operation.token()?, Part::Keeper));
    let kept = match make(&operation, &target, assignment.number) {
        Ok(Some(kept)) => kept,
        Ok(None) => return Ok(()),
        Err(error) => {
            let problem = error.problem();
            transaction::run(|| operations::note_error(operation.id, &problem))?;
            shmem::wake_coordinator(system::database_oid(), operation.id);
            return Err(error);
        }
    };
    shmem::wake_coordinator(system::database_oid(), operation.id);
    let mut kept = kept;
    let outcome = keep(&operation, &mut kept);
    if let Err(error) = &outcome {
        let problem = error.problem();
        transaction::run(|| {
            operations::forget_snapshot(operation.id, &kept.snapshot)?;
            operations::note_error(operation.id, &problem)
        })?;
    }
    if let Held::Backup(readable) = kept.held {
        readable.end()?;
    }
    shmem::wake_coordinator(system::database_oid(), operation.id);
    outcome
}

/// What tables are copied under, and its name.
struct Kept {
    held: Held,
    snapshot: String,
}

/// What holds it.
enum Held {
    /// The connection that has exported it.
    Snapshot(Connection),
    /// A private server that stands still.
    Backup(Box<Readable>),
}

/// None when another keeper has been started meanwhile.
fn make(operation: &Operation, target: &Target, number: u32) -> Result<Option<Kept>> {
    report_activity(Some("creating the replication slot"));
    let name = application_name(operation.token()?, Part::Keeper);
    let main = operation.start_lsn.is_none();
    let slot = match main {
        // Under a name that is nobody else's, so that what is left of an attempt is known for ours; it gets the one that was asked for later.
        true => slot_name(operation.token()?),
        false => temporary_slot_name(operation.token()?, number),
    };
    let connection = transaction::run_without_snapshot(|| {
        let connection = Connection::open(target, &name)?;
        if main {
            // One of ours from an attempt that died before it could be noted: its snapshot is gone, so it is of no use.
            state::end_sessions(&connection, &name)?;
            state::drop_slot(&connection, &slot)?;
        }
        Ok(connection)
    })?;
    if !main && operation.uses_base_backup() {
        let readable = Box::new(backup::make(operation, target, connection, number)?);
        let made = operations::Snapshot { start: readable.lsn, name: &readable.conninfo, contents: &readable.contents };
        let wanted = transaction::run(|| operations::set_snapshot(operation.id, &made, number))?;
        let snapshot = readable.conninfo.clone();
        if !wanted {
            readable.end()?;
            return Ok(None);
        }
        return Ok(Some(Kept { held: Held::Backup(readable), snapshot }));
    }
    // As the one that the subscription of a refresh uses now.
    let failover = main && operation.is_refresh() && failover(operation)?;
    let (start, snapshot, contents) =
        export(&connection, target, &name, &slot, Lasting { temporary: !main, failover })?;
    failpoint!(SnapshotExported)?;
    let made = operations::Snapshot { start, name: &snapshot, contents: &contents };
    let wanted = transaction::run(|| operations::set_snapshot(operation.id, &made, number))?;
    failpoint!(SnapshotNoted)?;
    Ok(wanted.then_some(Kept { held: Held::Snapshot(connection), snapshot }))
}

/// How long a slot is to last.
#[derive(Clone, Copy)]
struct Lasting {
    /// As long as its connection.
    temporary: bool,
    /// Beyond the source, on its standbys.
    failover: bool,
}

/// Whether the subscription that an operation's tables join has its slot synchronized to standbys of the source.
fn failover(operation: &Operation) -> Result<bool> {
    let Some(subscription) = operation.subscription_oid else { return Ok(false) };
    Ok(transaction::run(|| user::subscription(subscription))?.is_some_and(|found| found.failover))
}

/// Makes the slot over a walsender of its own, and carries its snapshot over to the plain connection.
fn export(
    connection: &Connection,
    target: &Target,
    name: &str,
    slot: &str,
    lasting: Lasting,
) -> Result<(Lsn, String, String)> {
    // Outside of any transaction of ours: source and target may be one cluster, and the slot would wait for us.
    let walsender = transaction::run_without_snapshot(|| Connection::open_walsender(target, name))?;
    failpoint!(SlotToBeMade)?;
    let created =
        transaction::run_without_snapshot(|| walsender.create_slot(slot, lasting.temporary, lasting.failover))?;
    failpoint!(SlotMade)?;
    let snapshot = transaction::run_without_snapshot(|| {
        connection.execute(&state::begin_under(&created.snapshot), "could not import the slot's snapshot")?;
        let context = "could not export the snapshot";
        let snapshot = connection.value("SELECT pg_catalog.pg_export_snapshot()", context)?;
        let contents = connection.value("SELECT pg_catalog.pg_current_snapshot()::text", context)?;
        Ok(snapshot.zip(contents))
    })?;
    drop(walsender);
    let (snapshot, contents) = snapshot.ok_or_else(|| Error::internal("the source exported no snapshot"))?;
    Ok((created.lsn, snapshot, contents))
}

/// Holds the snapshot until the operation's row says that it is not wanted any more.
fn keep(operation: &Operation, kept: &mut Kept) -> Result<()> {
    report_activity(None);
    loop {
        system::wait_latch(if matches!(kept.held, Held::Backup(_)) { SERVER_LOOK_MS } else { PING_MS });
        system::reload_configuration_if_asked();
        let wanted = transaction::run(|| {
            let Some(now) = operations::get(operation.id)? else {
                return Ok(false);
            };
            Ok(now.snapshot.as_deref() == Some(kept.snapshot.as_str()) && now.status == "running")
        })?;
        if !wanted {
            return Ok(());
        }
        let connection = match &mut kept.held {
            Held::Snapshot(connection) => &*connection,
            Held::Backup(readable) => {
                readable.check()?;
                &readable.connection
            }
        };
        transaction::run_without_snapshot(|| connection.value("SELECT 1::text", "could not keep the snapshot"))?;
    }
}
