//! The user's own tables, sequences and subscription: as the current role, with its rights, under a pinned search_path.
//!
//! Names that come from the catalogs go through the one quoting helper; values are bound.

use super::{json, parse, rows, texts, Access, Arg};
use crate::error::{Error, Result, SubscriptionError};
use crate::pg::role;
use serde::Deserialize;
use std::collections::HashMap;
use steep_repl_core::database::Database;
use steep_repl_core::definition::{self, Definition};
use steep_repl_core::ident::{qualified, quote_ident};
use steep_repl_core::inventory::Table;
use steep_repl_core::lsn::Lsn;

/// SQLSTATE of a lock that was waited for in vain.
pub const LOCK_NOT_AVAILABLE: &str = "55P03";

pub(super) fn read<T: serde::de::DeserializeOwned>(sql: &str, args: &[Arg]) -> Result<Vec<T>> {
    parse(role::with_pinned_path(|| texts(Access::Read, sql, args))?)
}

pub(super) fn run(sql: &str) -> Result<()> {
    role::with_pinned_path(|| texts(Access::Write, sql, &[])).map(drop)
}

/// The query that lists the tables of a database, on either node.
pub fn inventory_query(with_sizes: bool) -> String {
    include_str!("../../sql/queries/inventory.sql").replace(":sizes", if with_sizes { "true" } else { "false" })
}

/// The tables of this database, and views, which may have a table's name; sizes are not asked for, since that would wait for a locked
/// table.
pub fn inventory() -> Result<Vec<Table>> {
    read(&inventory_query(false).replace("('r', 'p', 'f', 'm')", "('r', 'p', 'f', 'm', 'v')"), &[])
}

/// The query that lists tables that are locked against all others, as (schema, name), on either node.
pub const LOCKED_TABLES: &str = include_str!("../../sql/queries/locked_tables.sql");

/// The query that tells what tables are, on either node; `condition` chooses among tables c of schemas n.
pub fn definitions_query(condition: &str) -> String {
    include_str!("../../sql/queries/definitions.sql").replace(":filter", condition)
}

/// What the tables of this database are. 55P03 when somebody has locked one.
pub fn definitions(query: &str) -> Result<Vec<Definition>> {
    // Estimated as dear, done in a moment: nothing for a compiler.
    let read = || role::with_settings(&[("jit", "off")], || texts(Access::Read, query, &[]));
    parse(role::with_settings(&definition::SETTINGS, read)?)
}

/// Tables of this database that are locked against all others, as (schema, name).
pub fn locked_tables() -> Result<Vec<(String, String)>> {
    read(LOCKED_TABLES, &[])
}

/// Which of these schemas there are, as a query for either node.
pub fn schemas_query(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| steep_repl_core::ident::quote_literal(name)).collect();
    format!(
        "SELECT pg_catalog.to_jsonb(n.nspname)::text FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY (ARRAY[{}]::name[])",
        names.join(", ")
    )
}

/// Which of these schemas are here.
pub fn schemas_of(names: &[String]) -> Result<Vec<String>> {
    read(&schemas_query(names), &[])
}

/// What the objects of this database are called that a dump may have, as (kind, identity).
pub fn objects() -> Result<Vec<(String, String)>> {
    read(include_str!("../../sql/queries/objects_here.sql"), &[])
}

/// What goes along with a column that is dropped.
#[derive(Debug, Deserialize)]
pub struct OfColumn {
    /// What it is.
    pub kind: String,
    /// What it is called.
    pub identity: String,
    /// The statement that makes it again; none where another one does.
    pub statement: Option<String>,
}

/// The constraints, indexes and statistics that go along when these columns, as (schema, table, column), are dropped.
pub fn objects_of_columns(columns: &[(String, String, String)]) -> Result<Vec<OfColumn>> {
    let names: Vec<serde_json::Value> = columns
        .iter()
        .map(|(schema, table, column)| serde_json::json!({ "schema": schema, "table": table, "column": column }))
        .collect();
    read(include_str!("../../sql/queries/objects_of_columns.sql"), &[Arg::Text(&json(&names)?)])
}

/// The roles of this server, and whether the current one may give objects to them.
pub fn roles() -> Result<Vec<(String, bool)>> {
    read(
        "SELECT pg_catalog.jsonb_build_array(rolname, pg_catalog.pg_has_role(oid, 'SET') AND pg_catalog.pg_has_role(oid, 'USAGE'))::text \
         FROM pg_catalog.pg_roles",
        &[],
    )
}

/// Schemas that have the privileges they were made with by initdb, with the statements that give those back to PUBLIC.
pub fn untouched_schemas() -> Result<Vec<(String, Vec<String>)>> {
    read(include_str!("../../sql/queries/schemas_untouched.sql"), &[])
}

/// Whether the current role may have programs of the server run.
pub fn may_run_programs() -> Result<bool> {
    let rows: Vec<bool> = read("SELECT pg_catalog.pg_has_role('pg_execute_server_program', 'USAGE')::text", &[])?;
    Ok(rows.contains(&true))
}

/// The OID here of a table by its name.
pub fn table_oid(schema: &str, name: &str) -> Result<Option<u32>> {
    let found: Vec<u32> = read(
        "SELECT c.oid::bigint::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2",
        &[Arg::Text(schema), Arg::Text(name)],
    )?;
    Ok(found.into_iter().next())
}

/// Runs a statement of somebody else's that makes or alters an object, as the current role.
pub fn define(statement: &str) -> Result<()> {
    run(statement)
}

/// For the rest of the transaction, what a dump expects of the session that it is read into.
pub fn set_for_definitions() -> Result<()> {
    texts(
        Access::Write,
        "SET LOCAL check_function_bodies = off; SET LOCAL xmloption = content; SET LOCAL client_min_messages = warning; \
         SET LOCAL standard_conforming_strings = on",
        &[],
    )
    .map(drop)
}

/// The access method of tables that are made in the rest of the transaction.
pub fn set_table_access_method(name: &str) -> Result<()> {
    texts(Access::Write, &format!("SET LOCAL default_table_access_method = {}", quote_ident(name)), &[]).map(drop)
}

/// Which of the given tables hold rows. Needs SELECT on them (42501). Waits for nobody longer than the given time (55P03).
pub fn not_empty(tables: &[(u32, String, String)]) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for batch in tables.chunks(200) {
        let query = batch
            .iter()
            .map(|(relid, schema, name)| {
                format!("SELECT {relid}::text WHERE EXISTS (SELECT FROM ONLY {})", qualified(schema, name))
            })
            .collect::<Vec<_>>()
            .join(" UNION ALL ");
        found.extend(read::<u32>(&query, &[])?);
    }
    Ok(found)
}

/// Locks tables against all others until the transaction ends; 55P03 when somebody holds one for more than 5 s.
pub fn lock_exclusively(tables: &[(String, String)]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(|(schema, name)| format!("ONLY {}", qualified(schema, name))).collect();
    set_lock_timeout(5000)?;
    run(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", names.join(", ")))?;
    set_lock_timeout(0)
}

/// Does a piece of work that waits for locks at most this long, and leaves the session's own limit as it is.
pub fn waiting_at_most<T>(milliseconds: u32, work: impl FnOnce() -> T) -> T {
    role::with_settings(&[("lock_timeout", &milliseconds.to_string())], work)
}

/// Waits for locks at most this long in the rest of the transaction; 0 means for ever. In processes of our own: a session has limits
/// of its own.
pub fn set_lock_timeout(milliseconds: u32) -> Result<()> {
    // Not under a pinned path: the setting would go with it.
    texts(Access::Write, &format!("SET LOCAL lock_timeout = {milliseconds}"), &[]).map(drop)
}

/// Tables that must be truncated together with the given ones because of foreign keys among the planned tables, and tables
/// outside the plan that refer to them.
#[derive(Debug, Deserialize)]
pub struct References {
    /// Planned tables that refer, directly or not, to one of the given.
    pub inside: Vec<u32>,
    /// Given tables that a table outside the plan refers to.
    pub from_outside: Vec<u32>,
}

/// Foreign keys that point at the given tables, as far as TRUNCATE cares.
pub fn references_to(relids: &[u32], planned: &[u32]) -> Result<References> {
    read(
        include_str!("../../sql/queries/references_to.sql"),
        &[Arg::Text(&json(&relids)?), Arg::Text(&json(&planned)?)],
    )?
    .into_iter()
    .next()
    .ok_or_else(|| Error::internal("no answer about foreign keys"))
}

/// Empties tables by one TRUNCATE.
pub fn truncate(tables: &[(String, String)]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(|(schema, name)| format!("ONLY {}", qualified(schema, name))).collect();
    run(&format!("TRUNCATE TABLE {}", names.join(", ")))
}

/// Empties a table row by row: where TRUNCATE is refused because a table outside the plan refers to it.
pub fn delete_rows(schema: &str, name: &str) -> Result<()> {
    run(&format!("DELETE FROM ONLY {}", qualified(schema, name)))
}

/// Drops a NOT VALID constraint that is to be added again.
pub fn drop_constraint(relid: u32, name: &str) -> Result<()> {
    let table = regclass(relid)?;
    run(&format!("ALTER TABLE {table} DROP CONSTRAINT {}", quote_ident(name)))
}

/// Adds a constraint that was dropped, with its comment.
pub fn add_constraint(relid: u32, name: &str, definition: &str, comment: Option<&str>) -> Result<()> {
    let table = regclass(relid)?;
    run(&format!("ALTER TABLE {table} ADD CONSTRAINT {} {definition}", quote_ident(name)))?;
    if let Some(comment) = comment {
        let comment = steep_repl_core::ident::quote_literal(comment);
        run(&format!("COMMENT ON CONSTRAINT {} ON {table} IS {comment}", quote_ident(name)))?;
    }
    Ok(())
}

/// Locks a table against all others until the transaction ends.
pub fn lock_by_oid(relid: u32) -> Result<()> {
    run(&format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", regclass(relid)?))
}

fn regclass(relid: u32) -> Result<String> {
    match names_now(&[relid])?.into_iter().next() {
        Some((_, schema, name)) => Ok(qualified(&schema, &name)),
        None => Err(Error::internal(format!("table {relid} is gone"))),
    }
}

/// What the given tables are called now, as (OID, schema, name); those that somebody has dropped are left out.
pub fn names_now(relids: &[u32]) -> Result<Vec<(u32, String, String)>> {
    read(include_str!("../../sql/queries/tables_now.sql"), &[Arg::Text(&json(&relids)?)])
}

/// Starts or stops the apply worker of a subscription.
pub fn enable_subscription(name: &str, enable: bool) -> Result<()> {
    run(&format!("ALTER SUBSCRIPTION {} {}", quote_ident(name), if enable { "ENABLE" } else { "DISABLE" }))
}

/// OID of a subscription of this database.
pub fn subscription_oid(name: &str) -> Result<Option<u32>> {
    Ok(read::<u32>(
        "SELECT s.oid::bigint::text FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = pg_catalog.current_database() AND s.subname = $1",
        &[Arg::Text(name)],
    )?
    .into_iter()
    .next())
}

/// Drops a subscription here and leaves its slot on the source alone.
pub fn drop_subscription(name: &str) -> Result<()> {
    let name = quote_ident(name);
    run(&format!("ALTER SUBSCRIPTION {name} DISABLE"))?;
    run(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"))?;
    run(&format!("DROP SUBSCRIPTION {name}"))
}

/// How far a subscription is on this side.
#[derive(Debug, Clone, Deserialize)]
pub struct Applying {
    /// Whether an apply worker runs.
    pub running: bool,
    /// Whether one is to run.
    pub enabled: bool,
    /// Errors of table synchronization workers counted since the statistics were reset.
    pub sync_errors: i64,
    /// Apply errors counted since the statistics were reset.
    pub errors: i64,
    /// Conflicts counted, by kind.
    pub conflicts: Vec<String>,
    /// Tables that are not in state ready.
    pub not_ready: i64,
}

/// How far a subscription is on this side.
pub fn applying(subscription: u32, name: &str) -> Result<Applying> {
    read(include_str!("../../sql/queries/applying.sql"), &[Arg::Int(i64::from(subscription))])?
        .into_iter()
        .next()
        .ok_or_else(|| Error::Subscription(SubscriptionError::Gone { subscription: name.to_owned() }))
}

/// A subscription of this database, as it is now.
#[derive(Debug, Clone, Deserialize)]
pub struct Subscription {
    /// Its name.
    pub name: String,
    /// OID of its owner.
    pub owner: u32,
    /// Whether it is to be applied.
    pub enabled: bool,
    /// Slot on the source.
    pub slot_name: Option<String>,
    /// Publications there.
    pub publications: Vec<String>,
    /// The slot is to be synchronized to standbys of the source.
    pub failover: bool,
    /// Prepared transactions are sent as such, or are to be.
    pub two_phase: bool,
    /// A transaction is to be skipped.
    pub skips: bool,
    /// Pid of its apply worker, if one runs.
    pub apply_pid: Option<i32>,
    /// Pids of all its workers, those that synchronize tables among them.
    pub worker_pids: Vec<i32>,
    /// Its tables.
    pub tables: Vec<SubscribedTable>,
}

/// A table of a subscription: a row of pg_subscription_rel.
#[derive(Debug, Clone, Deserialize)]
pub struct SubscribedTable {
    /// OID here.
    pub relid: u32,
    /// i, d, f, s or r.
    pub state: String,
    /// What it is about, depending on the state.
    pub lsn: Option<Lsn>,
}

impl SubscribedTable {
    /// Whether PostgreSQL itself is copying it or letting it catch up.
    pub fn is_syncing(&self) -> bool {
        !matches!(self.state.as_str(), "r" | "s")
    }
}

/// A subscription of this database; none when it is gone.
pub fn subscription(oid: u32) -> Result<Option<Subscription>> {
    Ok(read(include_str!("../../sql/queries/subscription_get.sql"), &[Arg::Int(i64::from(oid))])?.into_iter().next())
}

/// Has a subscription use another slot from now on. It should be disabled.
pub fn set_slot_name(subscription: &str, slot: &str) -> Result<()> {
    let slot = steep_repl_core::ident::quote_literal(slot);
    run(&format!("ALTER SUBSCRIPTION {} SET (slot_name = {slot})", quote_ident(subscription)))
}

/// Takes an advisory lock until the transaction ends.
pub fn lock_advisory(key: i64) -> Result<()> {
    read::<bool>("SELECT (pg_catalog.pg_advisory_xact_lock($1) IS NOT NULL)::text", &[Arg::Int(key)]).map(drop)
}

/// Tables that rows were inserted into, updated or deleted in since the server's statistics began, in words.
pub fn written_to(relids: &[u32]) -> Result<Vec<String>> {
    read(include_str!("../../sql/queries/tables_written_to.sql"), &[Arg::Text(&json(&relids)?)])
}

/// The query that tells the files of tables, as (OID, relfilenode), on either node.
pub fn filenodes_query(relids: &[u32]) -> String {
    let list = relids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "SELECT pg_catalog.jsonb_build_array(c.oid::bigint, c.relfilenode::bigint)::text FROM pg_catalog.pg_class c \
         WHERE c.oid = ANY ('{{{list}}}'::oid[])"
    )
}

/// The files of tables of this database.
pub fn filenodes(relids: &[u32]) -> Result<HashMap<u32, u32>> {
    Ok(read::<(u32, u32)>(&filenodes_query(relids), &[])?.into_iter().collect())
}

/// The query that tells what tables are partitions of, as (OID, OID of the parent), on either node.
pub fn parents_query(relids: &[u32]) -> String {
    let list = relids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    format!(
        "SELECT pg_catalog.jsonb_build_array(c.oid::bigint, i.inhparent::bigint)::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid WHERE c.relispartition AND c.oid = ANY ('{{{list}}}'::oid[])"
    )
}

/// What tables of this database are partitions of.
pub fn parents(relids: &[u32]) -> Result<HashMap<u32, u32>> {
    Ok(read::<(u32, u32)>(&parents_query(relids), &[])?.into_iter().collect())
}

/// The transaction id that is given out next.
pub fn next_xid() -> Result<u32> {
    let query = "SELECT pg_catalog.to_jsonb(pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text)::text";
    let text = read::<String>(query, &[])?.into_iter().next().unwrap_or_default();
    let xid: u64 = text.parse().map_err(|_| Error::internal("the server has no transaction id"))?;
    // Catalogs have them without their epoch.
    Ok(xid as u32)
}

/// What a query counts, under settings of its own.
pub fn counted<T: serde::de::DeserializeOwned>(settings: &str, query: &str) -> Result<T> {
    run(settings)?;
    read(query, &[])?.into_iter().next().ok_or_else(|| Error::internal("nothing was counted"))
}

/// Whether a process of that pid is a session or worker of this cluster.
pub fn process_exists(pid: i32) -> Result<bool> {
    Ok(read::<bool>(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity($1::integer))::text",
        &[Arg::Int(i64::from(pid))],
    )?
    .into_iter()
    .any(|exists| exists))
}

/// Ends a session or worker. Needs the rights of its role (42501).
pub fn terminate(pid: i32) -> Result<()> {
    read::<bool>("SELECT pg_catalog.pg_terminate_backend($1::integer)::text", &[Arg::Int(i64::from(pid))]).map(drop)
}

/// Ends copy workers and keepers that a coordinator before this one left, and waits until they are gone; 55006 when one does
/// not go within 10 s.
pub fn end_leftover_workers(name_prefix: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Leftover {
        pid: i32,
        gone: bool,
    }
    let leftover: Vec<Leftover> =
        read(include_str!("../../sql/queries/end_leftover_workers.sql"), &[Arg::Text(name_prefix)])?;
    match leftover.iter().find(|worker| !worker.gone) {
        Some(worker) => Err(Error::WorkerStays { pid: worker.pid }),
        None => Ok(()),
    }
}

/// Those of the given tables that the current role does not own.
pub fn not_owned(relids: &[u32]) -> Result<Vec<String>> {
    read(include_str!("../../sql/queries/tables_not_owned.sql"), &[Arg::Text(&json(&relids)?)])
}

/// Those of the given tables that the apply worker of a subscription could not write to.
pub fn not_applicable(relids: &[u32], subscription: u32) -> Result<Vec<String>> {
    read(
        include_str!("../../sql/queries/tables_not_applicable.sql"),
        &[Arg::Text(&json(&relids)?), Arg::Int(i64::from(subscription))],
    )
}

/// What the current role needs to make a subscription here.
#[derive(Debug, Deserialize)]
pub struct SubscriptionRights {
    /// Member of pg_create_subscription.
    pub may_subscribe: bool,
    /// CREATE on this database.
    pub may_create: bool,
    /// Name of this database.
    pub database: String,
}

/// Deferred triggers that fire for copied rows, as "public.t (name)", of tables of other owners than the current role: the server
/// refuses them where it has taken on an owner's rights.
pub fn deferred_triggers(relids: &[u32]) -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.to_jsonb(pg_catalog.format('%I.%I (%s)', n.nspname, c.relname, t.tgname))::text \
         FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE NOT t.tgisinternal AND t.tginitdeferred AND t.tgenabled IN ('A', 'R') \
         AND pg_catalog.pg_get_userbyid(c.relowner) <> current_user \
         AND c.oid IN (SELECT r.value::oid FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r) \
         ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\", t.tgname COLLATE \"C\"",
        &[Arg::Text(&json(&relids)?)],
    )
}

/// Who else holds locks on the given tables, as "table public.t by pid 123 (psql)".
pub fn lock_holders(relids: &[u32]) -> Result<Vec<String>> {
    read(include_str!("../../sql/queries/lock_holders.sql"), &[Arg::Text(&json(&relids)?)])
}

/// An error about a lock that was waited for in vain, with who holds locks on the given tables; others as they are. `then` is what
/// to do about it.
pub fn with_lock_holders(error: Error, relids: &[u32], then: &str) -> Error {
    with_holders(error, || lock_holders(relids), then)
}

/// Who else holds a subscription, or the catalogs that it stands in, as "subscription s by pid 123 (psql)"; 0 is one that is being made.
pub fn subscription_holders(oid: u32) -> Result<Vec<String>> {
    read(include_str!("../../sql/queries/subscription_holders.sql"), &[Arg::Int(i64::from(oid))])
}

/// As [`with_lock_holders`], with who holds a subscription.
pub fn with_subscription_holders(error: Error, oid: u32, then: &str) -> Error {
    with_holders(error, || subscription_holders(oid), then)
}

fn with_holders(error: Error, holders: impl FnOnce() -> Result<Vec<String>>, then: &str) -> Error {
    let Error::Server(mut problem) = error else { return error };
    if problem.sqlstate == LOCK_NOT_AVAILABLE {
        if let Ok(holders) = holders().as_deref() {
            if !holders.is_empty() {
                problem.hint = Some(format!("In use: {}. {then}", holders.join(", ")));
            }
        }
    }
    Error::Server(problem)
}

/// The query that tells what a database is beside its tables, on either node.
pub const DATABASE: &str = include_str!("../../sql/queries/database.sql");

/// What this database is beside its tables.
pub fn database() -> Result<Database> {
    read(DATABASE, &[])?.into_iter().next().ok_or_else(|| Error::internal("no answer about the database"))
}

/// Those of these extensions that could be made here.
pub fn available_extensions(names: &[String]) -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.to_jsonb(e.name)::text FROM pg_catalog.pg_available_extensions() e \
         WHERE e.name IN (SELECT pg_catalog.jsonb_array_elements_text($1::jsonb))",
        &[Arg::Text(&json(&names)?)],
    )
}

/// The folders of the tablespaces that tables are in, as (OID, folder); that of the server itself is an empty name.
pub fn tablespaces_of(relids: &[u32]) -> Result<Vec<(u32, String)>> {
    read(include_str!("../../sql/queries/tablespaces_of.sql"), &[Arg::Text(&json(&relids)?)])
}

/// Tables whose rows policies hide from the current role.
pub fn under_row_security(relids: &[u32]) -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.to_jsonb(c.oid::regclass)::text FROM pg_catalog.pg_class c \
         WHERE c.oid IN (SELECT value::oid FROM pg_catalog.jsonb_array_elements_text($1::jsonb)) \
           AND pg_catalog.row_security_active(c.oid) ORDER BY 1",
        &[Arg::Text(&json(&relids)?)],
    )
}

/// What a subscription takes of this server.
#[derive(Debug, Deserialize)]
pub struct Room {
    /// Replication origins that can be in use.
    pub origins: i64,
    /// Of them in use.
    pub origins_used: i64,
    /// max_sync_workers_per_subscription.
    pub sync_workers: i64,
    /// max_logical_replication_workers.
    pub apply_workers: i64,
    /// Of them in use.
    pub apply_workers_used: i64,
}

/// What there is of it. Origins are for superusers to look at.
pub fn room() -> Result<Room> {
    rows(include_str!("../../sql/queries/room_here.sql"), &[])?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("no answer about replication origins"))
}

/// How many more background workers this cluster may have now. What processes are is for superusers to see.
pub fn free_worker_processes() -> Result<i64> {
    rows(include_str!("../../sql/queries/free_worker_processes.sql"), &[])?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("no answer about worker processes"))
}

/// Whether the current role may make a subscription here.
pub fn subscription_rights() -> Result<SubscriptionRights> {
    read(include_str!("../../sql/queries/subscription_rights.sql"), &[])?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("no answer about privileges"))
}
