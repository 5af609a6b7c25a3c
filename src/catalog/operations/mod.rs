//! Rows of `steep_repl.operations`: what is done, how far it is, whose it is. What it copies is in `plan`, what it copies under in
//! `snapshot`.

mod plan;
mod snapshot;

pub use plan::*;
pub use snapshot::*;

use super::{execute, json, maybe, ownership, rows, write, Arg};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use steep_repl_core::errors::Problem;
use steep_repl_core::instance::{Maker, Owner};
use steep_repl_core::lsn::Lsn;
use steep_repl_core::manifest::Compression;
use steep_repl_core::names::Token;
use steep_repl_core::schema_sync::Mode;

/// Arguments and settings of an operation as they were resolved when it was requested: what a session had set then counts,
/// not what the worker's session happens to have.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Options {
    /// Copy workers.
    pub parallel_workers: u32,
    /// Tables above this size are copied in ranges of about this size, in bytes.
    pub chunk_size: i64,
    /// Failed attempts that a task may have.
    pub max_retries: u32,
    /// How long to try while the source is away, in seconds.
    pub source_lost_timeout: f64,
    /// How long the source may be silent before it is asked why, in seconds; 0 never asks.
    pub receive_timeout: f64,
    /// How old a snapshot may get before tables that are not begun wait for a later one, in seconds; 0 is for ever.
    pub max_snapshot_age: f64,
    /// How long the whole may take, in seconds; 0 is for ever.
    pub init_timeout: f64,
    /// Lag at which a node counts as synchronized, in bytes.
    pub catchup_lag: i64,
    /// Events older than this are deleted, in seconds.
    pub event_retention: f64,
    /// What to do with tables without replica identity: error, insert_only or full.
    pub no_identity: String,
    /// What to do when schemas differ.
    #[serde(default)]
    pub schema_sync: Mode,
    /// By method snapshot tables larger than this are copied by `large_table_method`, in bytes.
    #[serde(default)]
    pub large_table_threshold: i64,
    /// copy, pg_dump or basebackup.
    #[serde(default)]
    pub large_table_method: Transport,
    /// Where a base backup is put.
    #[serde(default)]
    pub scratch_directory: String,
    /// Empty tables that are not.
    pub force: bool,
    /// Schemas asked for.
    pub schemas: Option<Vec<String>>,
    /// Tables asked for, as given.
    pub tables: Option<Vec<String>>,
    /// Snapshot of the source under which the rows that are here are compared with the source's; none does not compare.
    #[serde(default)]
    pub verify: Option<String>,
    /// This database is a physical copy of the source's.
    #[serde(default)]
    pub physical: bool,
    /// The snapshot that is written or read.
    #[serde(default)]
    pub files: Option<Files>,
    /// What tables that come later are chosen from; none when it is `schemas` and `tables`.
    #[serde(default)]
    pub joining: Option<Selection>,
}

/// Which tables of a source are asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Selection {
    /// Schemas; none means all.
    pub schemas: Option<Vec<String>>,
    /// Tables; none means all.
    pub tables: Option<Vec<String>>,
}

/// A portable snapshot, as an operation needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Files {
    /// Its identity.
    pub id: String,
    /// Its folder.
    pub path: String,
    /// How its files are compressed.
    pub compression: Compression,
    /// Slots that are made for targets.
    pub targets: u32,
    /// How long it is kept, in seconds; none is for ever.
    pub expires: Option<f64>,
    /// Encoding of text in it.
    pub encoding: String,
    /// Whether an initialization writes it itself, and removes it at its end.
    #[serde(default)]
    pub passing: bool,
}

/// The query that reads operations, with a condition and an order.
macro_rules! select {
    ($rest:literal) => {
        concat!(include_str!("../../../sql/queries/operation_select.sql"), $rest)
    };
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A node is initialized.
    Init,
    /// Tables that are new on the source join the subscription of a node that is initialized.
    Refresh,
    /// A slot is made and kept, with its snapshot, for somebody's own backup.
    Prepare,
    /// A portable snapshot is written.
    Generate,
}

/// How tables get here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Whichever of the next two suits the size of the tables. It is decided before anything is stored.
    Auto,
    /// By copy workers of ours, under one snapshot.
    Parallel,
    /// By the server's own table synchronization workers, each under a snapshot of its own.
    Snapshot,
    /// They are here already, by somebody's own backup.
    Manual,
    /// By a portable snapshot.
    TwoPhase,
}

/// How the rows of a table get here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// By copy workers of ours, from the source.
    #[default]
    Copy,
    /// By the server's own table synchronization workers.
    Server,
    /// By pg_dump, whose output a copy worker loads.
    #[serde(rename = "pg_dump")]
    PgDump,
    /// By copy workers of ours, from a base backup of the source.
    BaseBackup,
}

impl Transport {
    /// Those that large tables can go by.
    pub const OF_LARGE_TABLES: [(&'static str, Transport); 3] =
        [("copy", Transport::Copy), ("pg_dump", Transport::PgDump), ("basebackup", Transport::BaseBackup)];
}

/// An operation.
#[derive(Debug, Clone, Deserialize)]
pub struct Operation {
    /// Its number.
    pub id: i64,
    /// What is done.
    pub kind: Kind,
    /// How.
    pub method: Method,
    /// The node that is worked on.
    pub node: String,
    /// Where the data comes from.
    pub source: String,
    /// pending, running, cancelling, failed, cancelled or completed.
    pub status: String,
    /// The step it is in.
    pub phase: String,
    /// How it is to be done.
    pub options: Options,
    /// OID of the role that asked.
    pub requested_by: u32,
    /// Who made it.
    #[serde(flatten)]
    pub maker: Maker,
    /// Its identity.
    pub token: String,
    /// Slot on the source.
    pub slot_name: String,
    /// Publications on the source.
    pub publications: Vec<String>,
    /// Whether it makes them itself.
    pub own_publications: bool,
    /// Whether slot and publications were made beforehand.
    pub prepared: bool,
    /// Whether somebody has to look at the differences of the schemas first.
    pub awaits_confirmation: bool,
    /// Subscription here.
    pub subscription: String,
    /// OID of the subscription, once made.
    pub subscription_oid: Option<u32>,
    /// Where replication starts.
    pub start_lsn: Option<Lsn>,
    /// Exported snapshot that the workers import.
    pub snapshot: Option<String>,
    /// No table holds rows of an earlier snapshot, so a new one may be taken.
    pub awaits_snapshot: bool,
    /// Only tables that are begun are still copied under the snapshot.
    pub snapshot_expired: bool,
    /// Seconds since the newest snapshot was taken.
    pub snapshot_age_seconds: Option<f64>,
    /// Source LSN when the subscription was enabled.
    pub enable_lsn: Option<Lsn>,
    /// A refresh has the subscription disabled.
    pub apply_stopped: bool,
    /// Up to where the subscription's other tables were then.
    pub applied_lsn: Option<Lsn>,
    /// Slot that the subscription used before the tables of a refresh joined it.
    pub replaced_slot: Option<String>,
    /// How the tables get here that the server does not copy itself; none when it copies all.
    pub own_transport: Option<Transport>,
    /// Size of its tables when it was planned, in bytes.
    pub bytes_total: i64,
    /// Share done, 0 to 100.
    pub overall_percent: f64,
    /// Times a coordinator took it up so far.
    pub attempts: u32,
    /// Seconds since work began.
    pub age_seconds: Option<f64>,
    /// What stopped it.
    pub error: Option<Problem>,
}

impl Operation {
    /// Its identity as a number.
    pub fn token(&self) -> Result<Token> {
        self.token.parse().map_err(|_| Error::internal(format!("operation {} has no token", self.id)))
    }

    /// Which tables its node is to have, those that come later among them.
    pub fn selection(&self) -> Selection {
        let Options { schemas, tables, joining, .. } = &self.options;
        joining.clone().unwrap_or_else(|| Selection { schemas: schemas.clone(), tables: tables.clone() })
    }

    /// Whose it is. A copy of the database or of the server carries the row too, and must not act on it.
    pub fn owner(&self) -> Owner {
        ownership::owner(&self.maker)
    }

    /// Whether it is this database's.
    pub fn is_ours(&self) -> bool {
        self.owner() == Owner::Ours
    }

    /// Whether its tables join a subscription that replicates others already.
    pub fn is_refresh(&self) -> bool {
        self.kind == Kind::Refresh
    }

    /// Whether a portable snapshot is written. Its node is its source, whose state is no matter of it.
    pub fn is_generation(&self) -> bool {
        self.kind == Kind::Generate
    }

    /// Whether the tables are loaded from the files of a portable snapshot.
    pub fn is_by_files(&self) -> bool {
        self.kind == Kind::Init && self.method == Method::TwoPhase
    }

    /// Whether it has written these files itself, before it loads them.
    pub fn saves_first(&self) -> bool {
        self.is_by_files() && self.options.files.as_ref().is_some_and(|files| files.passing)
    }

    /// Whether copy workers write files now.
    pub fn is_saving(&self) -> bool {
        self.is_generation() || self.saves_first() && self.phase == "files"
    }

    /// The snapshot that is written or read.
    pub fn files(&self) -> Result<&Files> {
        self.options.files.as_ref().ok_or_else(|| Error::internal(format!("operation {} has no files", self.id)))
    }

    /// Whether it changes the node that it is about; the others only read from it.
    pub fn works_on_node(&self) -> bool {
        matches!(self.kind, Kind::Init | Kind::Refresh)
    }

    /// Whether it is about a slot alone.
    pub fn is_preparation(&self) -> bool {
        self.kind == Kind::Prepare
    }

    /// Whether the rows came by somebody's own backup.
    pub fn is_manual(&self) -> bool {
        self.method == Method::Manual
    }

    /// Whether the slot that was made for it beforehand is still as it was: nothing was replicated by it.
    pub fn leaves_slot_unused(&self) -> bool {
        self.prepared && self.enable_lsn.is_none()
    }

    /// Whether a table whose rows lack what was written into all of them on the source meanwhile cannot be copied once more.
    pub fn is_copied_once(&self) -> bool {
        self.is_manual() || self.is_by_files()
    }

    /// Whether the server itself copies the tables, all that are not large.
    pub fn is_by_server(&self) -> bool {
        self.method == Method::Snapshot
    }

    /// Whether tables are copied under the snapshot of the operation's slot.
    pub fn uses_slot_snapshot(&self) -> bool {
        matches!(self.own_transport, Some(Transport::Copy | Transport::PgDump))
    }

    /// Whether tables are copied from a base backup of the source.
    pub fn uses_base_backup(&self) -> bool {
        self.own_transport == Some(Transport::BaseBackup)
    }

    /// Whether the tables of a refresh have joined the subscription.
    pub fn has_joined(&self) -> bool {
        self.replaced_slot.is_some()
    }

    /// The calls by which another role takes it over, for a hint.
    pub fn taken_over_by(&self) -> &'static str {
        let is_ending = matches!(self.status.as_str(), "cancelling" | "cancelled" | "completed");
        match self.kind {
            Kind::Init | Kind::Refresh if is_ending => "steep_repl.cancel_init(node)",
            Kind::Init | Kind::Refresh => "steep_repl.resume_init(node) or steep_repl.cancel_init(node)",
            Kind::Prepare => "steep_repl.drop_init_slot(slot_name)",
            Kind::Generate if is_ending => "steep_repl.drop_snapshot(id)",
            Kind::Generate => "steep_repl.generate_snapshot(source, path) or steep_repl.drop_snapshot(id)",
        }
    }

    /// Whether it has not come to an end of whatever kind.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "running" | "cancelling" | "failed")
    }
}

/// What a new operation is made of.
#[derive(Debug, Serialize)]
pub struct NewOperation<'a> {
    /// The node that is worked on.
    pub node: &'a str,
    /// Where the data comes from.
    pub source: &'a str,
    /// What is done.
    pub kind: Kind,
    /// How.
    pub method: Method,
    /// As resolved.
    pub options: &'a Options,
    /// OID of the role that asks.
    pub requested_by: u32,
    /// Random identity.
    pub token: String,
    /// Slot it will make.
    pub slot_name: String,
    /// Publications it will use.
    pub publications: &'a [String],
    /// Whether it makes them.
    pub own_publications: bool,
    /// What they are to hold.
    pub publication_plan: &'a PublicationPlan,
    /// Subscription it will make, or that its tables join.
    pub subscription: String,
    /// OID of the latter.
    pub subscription_oid: Option<u32>,
    /// Sum of the sizes of its tables.
    pub bytes_total: i64,
    /// Copy workers.
    pub workers_planned: u32,
    /// The step it begins with.
    pub phase: &'a str,
    /// Slot and publications that were made beforehand; none when it makes them.
    #[serde(flatten)]
    pub beforehand: Option<Beforehand<'a>>,
}

/// A slot that was made beforehand.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Beforehand<'a> {
    /// Always true.
    pub prepared: bool,
    /// Where replication is to start.
    pub start_lsn: Lsn,
    /// What the publications were then.
    pub publication_mark: &'a Mark,
}

/// Stores a new operation, a [`NewOperation`] or the JSON of one, as this instance's; returns its number. 55006 through [`Error::OperationUnfinished`] is the caller's to check
/// first.
pub fn insert(new: &impl Serialize) -> Result<i64> {
    #[derive(Serialize)]
    struct Row<'a, T: Serialize> {
        #[serde(flatten)]
        new: &'a T,
        #[serde(flatten)]
        maker: Maker,
    }
    // Before anything new: what a copy has brought along is told from what it begins itself.
    ownership::settle()?;
    let row = Row { new, maker: ownership::this_instance()? };
    let ids: Vec<i64> = write(include_str!("../../../sql/queries/operation_insert.sql"), &[Arg::Text(&json(&row)?)])?;
    ids.into_iter().next().ok_or_else(|| Error::internal("no operation was stored"))
}

/// Lets an operation go on that waits for it. False when it does not.
pub fn confirm(operation: i64) -> Result<bool> {
    let changed: Vec<i64> = write(include_str!("../../../sql/queries/operation_confirm.sql"), &[Arg::Int(operation)])?;
    Ok(!changed.is_empty())
}

/// The operation of that number.
pub fn get(operation: i64) -> Result<Option<Operation>> {
    maybe(select!("WHERE o.id = $1"), &[Arg::Int(operation)])
}

/// The newest operation that works on a node.
pub fn newest_of(node: &str) -> Result<Option<Operation>> {
    maybe(select!("WHERE o.node = $1 AND o.kind IN ('init', 'refresh') ORDER BY o.id DESC LIMIT 1"), &[Arg::Text(node)])
}

/// The operation that made a node what it is: its newest initialization that is complete.
pub fn origin_of(node: &str) -> Result<Option<Operation>> {
    maybe(
        select!("WHERE o.node = $1 AND o.kind = 'init' AND o.status = 'completed' ORDER BY o.id DESC LIMIT 1"),
        &[Arg::Text(node)],
    )
}

/// The operations that have made subscriptions to a source, cancelled ones left out.
pub fn subscribed_to(source: &str) -> Result<Vec<Operation>> {
    rows(
        select!(
            "WHERE o.source = $1 AND o.kind = 'init' AND o.subscription_oid IS NOT NULL AND o.status <> 'cancelled' ORDER BY o.id"
        ),
        &[Arg::Text(source)],
    )
}

/// Notes that a refresh is about to disable the subscription, or has enabled it again.
pub fn set_apply_stopped(operation: i64, stopped: bool) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET apply_stopped = $2 WHERE id = $1",
        &[Arg::Int(operation), Arg::Bool(stopped)],
    )
}

/// Notes up to where the other tables of a stopped subscription are; the furthest counts, since the origin is moved back after it.
pub fn set_applied(operation: i64, applied: Lsn) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET applied_lsn = greatest(applied_lsn, $2::pg_lsn) WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(&applied.to_string())],
    )
}

/// Forgets that, once the origin is back there.
pub fn clear_applied(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.operations SET applied_lsn = NULL WHERE id = $1", &[Arg::Int(operation)])
}

/// Notes, in the transaction in which it happens, that the tables of a refresh have joined the subscription.
pub fn set_joined(operation: i64, replaced_slot: &str) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET apply_stopped = false, replaced_slot = $2 WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(replaced_slot)],
    )
}

/// Unfinished operations that want a coordinator, whoever made them.
pub fn wanting_a_coordinator() -> Result<Vec<Operation>> {
    rows(
        select!(
            "WHERE o.status IN ('pending', 'running', 'cancelling') \
         OR EXISTS (SELECT FROM steep_repl.cleanup c WHERE c.operation_id = o.id) ORDER BY o.id"
        ),
        &[],
    )
}

/// All operations that have not come to an end.
pub fn unfinished() -> Result<Vec<Operation>> {
    rows(select!("WHERE o.status IN ('pending', 'running', 'cancelling', 'failed') ORDER BY o.id"), &[])
}

/// An operation of this database that has failed and was neither resumed nor cancelled.
pub fn failed_here() -> Result<Option<i64>> {
    Ok(unfinished()?
        .into_iter()
        .find(|operation| operation.status == "failed" && operation.is_ours())
        .map(|found| found.id))
}

/// Notes that a coordinator took the operation up.
pub fn take_up(operation: i64) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET status = 'running', attempts = attempts + 1, error = NULL, \
         started_at = coalesce(started_at, pg_catalog.clock_timestamp()), updated_at = pg_catalog.clock_timestamp() \
         WHERE id = $1 AND status IN ('pending', 'running')",
        &[Arg::Int(operation)],
    )
}

/// Says how many workers there are to be from now on.
pub fn set_workers_planned(operation: i64, workers: u32) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET workers_planned = $2 WHERE id = $1",
        &[Arg::Int(operation), Arg::Int(i64::from(workers))],
    )
}

/// Moves an operation to its next step.
pub fn set_phase(operation: i64, phase: &str) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET phase = $2, updated_at = pg_catalog.clock_timestamp() WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(phase)],
    )
}

/// Ends an operation, or stops it with an error. False when it is being cancelled and this is not the end of that.
pub fn set_status(operation: i64, status: &str, error: Option<&Problem>) -> Result<bool> {
    let error = error.map(json).transpose()?;
    let changed: Vec<i64> = write(
        include_str!("../../../sql/queries/operation_set_status.sql"),
        &[Arg::Int(operation), Arg::Text(status), Arg::MaybeText(error.as_deref())],
    )?;
    Ok(!changed.is_empty())
}

/// Asks for an operation to be cancelled. False when there is nothing to cancel any more.
pub fn request_cancel(operation: i64) -> Result<bool> {
    let changed: Vec<i64> = write(
        "UPDATE steep_repl.operations SET status = 'cancelling', updated_at = pg_catalog.clock_timestamp() \
         WHERE id = $1 AND status IN ('pending', 'running', 'failed') RETURNING id::text",
        &[Arg::Int(operation)],
    )?;
    Ok(!changed.is_empty())
}

/// Gives an operation to another role: the one that asked for it is gone. That nobody was left to undo it is not so any more.
pub fn take_over(operation: i64, role: u32) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET requested_by = $2::oid::regrole, \
         error = CASE WHEN status = 'cancelling' THEN NULL ELSE error END WHERE id = $1",
        &[Arg::Int(operation), Arg::Int(i64::from(role))],
    )
}

/// Makes a failed operation run again, its failed tasks with it. False when it is not failed.
pub fn resume(operation: i64) -> Result<bool> {
    let changed: Vec<i64> = write(include_str!("../../../sql/queries/operation_resume.sql"), &[Arg::Int(operation)])?;
    Ok(!changed.is_empty())
}

/// Stores the subscription's OID.
pub fn set_subscription(operation: i64, subscription: u32) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET subscription_oid = $2::oid WHERE id = $1",
        &[Arg::Int(operation), Arg::Int(i64::from(subscription))],
    )
}

/// Stores where the source was when the subscription was enabled.
pub fn set_enable_lsn(operation: i64, lsn: Lsn) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET enable_lsn = $2::pg_lsn WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(&lsn.to_string())],
    )
}
