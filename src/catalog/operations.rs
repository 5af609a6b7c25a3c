//! Rows of `steep_repl.operations` and of its tables.

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
        concat!(include_str!("../../sql/queries/operation_select.sql"), $rest)
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

    /// Whether it has not come to an end of whatever kind.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "running" | "cancelling" | "failed")
    }
}

/// What is to be published, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PublicationPlan {
    /// Tables and partitioned roots.
    pub entries: Vec<Published>,
    /// Tables that get REPLICA IDENTITY FULL, as (schema, name).
    pub identity_full: Vec<(String, String)>,
}

/// One member of a publication.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// OID on the source.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// Into the publication of inserts and truncates.
    pub insert_only: bool,
    /// As ONLY, without what inherits from it.
    pub only: bool,
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

/// A table of the plan, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedTable {
    /// OID here.
    pub relid: u32,
    /// Place in the plan.
    pub ordinal: i32,
    /// Schema.
    pub table_schema: String,
    /// Name.
    pub table_name: String,
    /// OID on the source.
    pub source_relid: u32,
    /// Columns that are copied.
    pub columns: Vec<String>,
    /// Their numbers on the source.
    pub column_numbers: Vec<i16>,
    /// Their types there.
    pub column_types: Vec<String>,
    /// `relfilenode` on the source under the snapshot that it was copied under.
    #[serde(default)]
    pub source_filenode: Option<u32>,
    /// Its `relnatts` there.
    #[serde(default)]
    pub source_natts: Option<i16>,
    /// binary or text.
    pub format: String,
    /// How its rows get here; decided when the plan is stored.
    #[serde(default)]
    pub transport: Transport,
    /// Copied in a batch.
    pub small: bool,
    /// Loaded with its indexes on.
    pub keeps_indexes: bool,
    /// Of access method heap on the source.
    pub heap: bool,
    /// Its pages on the source are about full.
    pub packed: bool,
    /// Only inserts are replicated.
    pub insert_only: bool,
    /// Blocks on the source.
    pub pages: i64,
    /// Size on the source.
    pub bytes_total: i64,
    /// Rows by statistics, -1 unknown.
    pub rows_estimated: f64,
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
    let ids: Vec<i64> = write(include_str!("../../sql/queries/operation_insert.sql"), &[Arg::Text(&json(&row)?)])?;
    ids.into_iter().next().ok_or_else(|| Error::internal("no operation was stored"))
}

/// Stores the plan of an operation.
pub fn insert_tables(operation: i64, tables: &[PlannedTable]) -> Result<()> {
    execute(
        include_str!("../../sql/queries/operation_tables_insert.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&tables)?)],
    )
}

/// Replaces the plan of an operation that has not begun to carry it out.
pub fn replan(operation: i64, publication: &PublicationPlan, bytes_total: i64, tables: &[PlannedTable]) -> Result<()> {
    execute(
        include_str!("../../sql/queries/operation_replan.sql"),
        &[Arg::Int(operation), Arg::Text(&json(publication)?), Arg::Int(bytes_total)],
    )?;
    insert_tables(operation, tables)
}

/// Replaces what is copied of tables whose definition has changed.
pub fn replan_tables(operation: i64, tables: &[PlannedTable]) -> Result<()> {
    execute(
        include_str!("../../sql/queries/operation_tables_replan.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&tables)?)],
    )
}

/// Lets an operation go on that waits for it. False when it does not.
pub fn confirm(operation: i64) -> Result<bool> {
    let changed: Vec<i64> = write(include_str!("../../sql/queries/operation_confirm.sql"), &[Arg::Int(operation)])?;
    Ok(!changed.is_empty())
}

/// What an operation is to publish.
pub fn publication_plan(operation: i64) -> Result<PublicationPlan> {
    maybe("SELECT publication_plan::text FROM steep_repl.operations WHERE id = $1", &[Arg::Int(operation)])?
        .ok_or_else(|| Error::internal(format!("operation {operation} is gone")))
}

/// The plan of an operation, largest table first.
pub fn tables(operation: i64) -> Result<Vec<PlannedTable>> {
    rows(include_str!("../../sql/queries/operation_tables.sql"), &[Arg::Int(operation)])
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

/// OIDs on the source of all tables that came to a node through a subscription.
pub fn source_relids_of(subscription: u32) -> Result<Vec<u32>> {
    rows(
        "SELECT t.source_relid::bigint::text FROM steep_repl.operation_tables t JOIN steep_repl.operations o ON o.id = t.operation_id \
         WHERE o.subscription_oid = $1::oid AND o.status <> 'cancelled' ORDER BY t.operation_id, t.ordinal",
        &[Arg::Int(i64::from(subscription))],
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

/// The tables of an operation, each with the LSN of the snapshot that it was copied under.
pub fn tables_with_lsn(operation: i64) -> Result<Vec<(u32, Lsn)>> {
    rows(
        "SELECT pg_catalog.jsonb_build_array(t.relid::bigint, coalesce(t.snapshot_lsn, o.start_lsn))::text \
         FROM steep_repl.operation_tables t JOIN steep_repl.operations o ON o.id = t.operation_id \
         WHERE o.id = $1 ORDER BY t.ordinal",
        &[Arg::Int(operation)],
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
        include_str!("../../sql/queries/operation_set_status.sql"),
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

/// Gives an operation to another role: the one that asked for it is gone.
pub fn take_over(operation: i64, role: u32) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET requested_by = $2::oid::regrole WHERE id = $1",
        &[Arg::Int(operation), Arg::Int(i64::from(role))],
    )
}

/// Makes a failed operation run again, its failed tasks with it. False when it is not failed.
pub fn resume(operation: i64) -> Result<bool> {
    let changed: Vec<i64> = write(include_str!("../../sql/queries/operation_resume.sql"), &[Arg::Int(operation)])?;
    Ok(!changed.is_empty())
}

/// A table's replica identity, as it was: schema, name, relreplident, and the index where it is one.
pub type Identity = (String, String, String, Option<String>);

/// Writes down what replica identities were before they are changed; of each table the first time counts.
pub fn record_identities(operation: i64, identities: &[Identity]) -> Result<()> {
    execute(
        include_str!("../../sql/queries/operation_record_identities.sql"),
        &[Arg::Int(operation), Arg::Text(&json(&identities)?)],
    )
}

/// The replica identities that were changed.
pub fn identities(operation: i64) -> Result<Vec<Identity>> {
    Ok(maybe(
        "SELECT coalesce(identities, '[]'::jsonb)::text FROM steep_repl.operations WHERE id = $1",
        &[Arg::Int(operation)],
    )?
    .unwrap_or_default())
}

/// What a keeper made.
pub struct Snapshot<'a> {
    /// The slot's start.
    pub start: Lsn,
    /// Name of the snapshot.
    pub name: &'a str,
    /// What it is.
    pub contents: &'a str,
}

/// Stores what the keeper of that number made. False when it is not wanted any more: another keeper was started.
pub fn set_snapshot(operation: i64, snapshot: &Snapshot, keeper_number: u32) -> Result<bool> {
    let stored: Vec<i64> = write(
        include_str!("../../sql/queries/operation_set_snapshot.sql"),
        &[
            Arg::Int(operation),
            Arg::Text(&snapshot.start.to_string()),
            Arg::Text(snapshot.name),
            Arg::Text(snapshot.contents),
            Arg::Int(i64::from(keeper_number)),
        ],
    )?;
    Ok(!stored.is_empty())
}

/// The number of the next keeper; those before it may not set the snapshot any more.
pub fn next_keeper(operation: i64) -> Result<u32> {
    let numbers: Vec<u32> = write(
        "UPDATE steep_repl.operations SET keeper_number = keeper_number + 1 WHERE id = $1 RETURNING keeper_number::text",
        &[Arg::Int(operation)],
    )?;
    numbers.into_iter().next().ok_or_else(|| Error::internal(format!("operation {operation} is gone")))
}

/// Notes, in the transaction that emptied the unfinished tables, that a new snapshot may be taken. What the keeper of the last
/// one said about its end is not the next one's failure.
pub fn await_snapshot(operation: i64) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET snapshot = NULL, keeper_pid = NULL, awaits_snapshot = true, error = NULL WHERE id = $1",
        &[Arg::Int(operation)],
    )
}

/// Forgets the snapshot: it is given up, or lost.
pub fn clear_snapshot(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.operations SET snapshot = NULL, keeper_pid = NULL WHERE id = $1", &[Arg::Int(operation)])
}

/// Notes that no more tables may be begun under the snapshot.
pub fn expire_snapshot(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.operations SET snapshot_expired = true WHERE id = $1", &[Arg::Int(operation)])
}

/// What publications and their members are, each as something that every change of it changes.
pub type Mark = std::collections::BTreeMap<String, String>;

/// Stores what the publications are.
pub fn set_publication_mark(operation: i64, mark: &Mark) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET publication_mark = $2::jsonb WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(&json(mark)?)],
    )
}

/// What the publications were when the slot was made.
pub fn publication_mark(operation: i64) -> Result<Mark> {
    Ok(maybe("SELECT publication_mark::text FROM steep_repl.operations WHERE id = $1", &[Arg::Int(operation)])?
        .unwrap_or_default())
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

/// Forgets a snapshot that turned out to be gone, unless there is a newer one already.
pub fn forget_snapshot(operation: i64, snapshot: &str) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET snapshot = NULL WHERE id = $1 AND snapshot = $2",
        &[Arg::Int(operation), Arg::Text(snapshot)],
    )
}

/// Leaves a message of the keeper for the coordinator: why there is no snapshot.
pub fn note_error(operation: i64, problem: &Problem) -> Result<()> {
    execute(
        "UPDATE steep_repl.operations SET error = $2::jsonb WHERE id = $1",
        &[Arg::Int(operation), Arg::Text(&json(problem)?)],
    )
}

/// Takes the keeper's message away: it was read.
pub fn clear_error(operation: i64) -> Result<()> {
    execute("UPDATE steep_repl.operations SET error = NULL WHERE id = $1", &[Arg::Int(operation)])
}
