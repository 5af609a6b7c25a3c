//! A slot for somebody's own backup: made now, kept until a node replicates by it.
//!
//! The function returns slot, position and snapshot, so the slot must be there before its transaction commits, and with it the row
//! that says whose it is. An errand commits that row; the operation is given up when the transaction is rolled back.

use super::control::{may_act, taken_up};
use super::init::{parse_no_identity, resolved, schema_names};
use super::{begin, given, list, seconds, source_only, SqlResult};
use crate::catalog::nodes::{self, Node};
use crate::catalog::operations::{self, Kind, Method, NewOperation, Operation, Options};
use crate::catalog::{events, progress, slots};
use crate::coordinator::phase::{Phase, Way};
use crate::error::{Error, Result, SlotError};
use crate::pg::lsn::PgLsn;
use crate::pg::raise::ErrorReport;
use crate::pg::{errand, raise, role, shmem, snapshot, system};
use crate::schema::Plan;
use crate::source;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use steep_repl_core::event::Event;
use steep_repl_core::ident::qualified;
use steep_repl_core::init_slot::{self, Record};
use steep_repl_core::lsn::Lsn;
use steep_repl_core::names::{self, Token};
use steep_repl_core::selection::NoIdentity;

/// How often to look whether it is made, in milliseconds.
const LOOK_MS: i64 = 50;
/// How often to tell what it waits for, in seconds.
const TELL: f64 = 10.0;

#[pg_extern]
#[allow(clippy::type_complexity, clippy::too_many_arguments)]
fn prepare_init(
    node: Option<&str>,
    slot_name: default!(Option<&str>, "NULL"),
    expires: default!(Option<Interval>, "'7 days'"),
    schemas: default!(Option<Vec<Option<String>>>, "NULL"),
    tables: default!(Option<Vec<Option<String>>>, "NULL"),
    publication: default!(Option<&str>, "NULL"),
    no_identity: default!(Option<&str>, "'error'"),
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(slot_name, String),
            name!(source_lsn, PgLsn),
            name!(snapshot, Option<String>),
            name!(publications, Vec<String>),
            name!(expires_at, Option<TimestampWithTimeZone>),
            name!(commands, String),
        ),
    >,
    ErrorReport,
> {
    let no_identity = parse_no_identity(given("no_identity", no_identity)?)?;
    let options = Options {
        no_identity: no_identity.as_str().to_owned(),
        schemas: list("schemas", schemas)?.map(|names| schema_names(&names)).transpose()?,
        tables: list("tables", tables)?,
        init_timeout: 0.0,
        ..resolved()
    };
    let expires = seconds("expires", expires)?;
    let wanted = Wanted { node: given("node", node)?, slot: slot_name, expires, publication, no_identity, options };
    let (kept, commands) = prepare(&wanted)?;
    let start = kept.start_lsn.unwrap_or(Lsn::INVALID);
    let expires_at = kept.expires_at.map(timestamp).transpose()?;
    Ok(TableIterator::once((kept.slot, PgLsn(start), kept.snapshot, kept.publications, expires_at, commands)))
}

fn timestamp(unix_micros: i64) -> Result<TimestampWithTimeZone> {
    // PostgreSQL counts from the year 2000.
    TimestampWithTimeZone::try_from(unix_micros - 946_684_800_000_000)
        .map_err(|error| Error::internal(format!("a time that is none: {error:?}")))
}

#[pg_extern]
fn drop_init_slot(slot_name: Option<&str>) -> SqlResult<()> {
    Ok(release(given("slot_name", slot_name)?)?)
}

struct Wanted<'a> {
    node: &'a str,
    slot: Option<&'a str>,
    expires: Option<f64>,
    publication: Option<&'a str>,
    no_identity: NoIdentity,
    options: Options,
}

fn prepare(wanted: &Wanted) -> Result<(slots::Prepared, String)> {
    shmem::require_room()?;
    if snapshot::has_written() {
        return Err(SlotError::HasWritten.into());
    }
    let from = node(wanted.node)?;
    let token = Token::new(system::random_u64());
    let slot = wanted.slot.map_or_else(|| names::slot_name(token), str::to_owned);
    if !init_slot::is_slot_name(&slot) {
        return Err(SlotError::Name { slot }.into());
    }
    let about = source_only::Wanted {
        node: &from,
        token,
        publication: wanted.publication,
        options: &wanted.options,
        with_sizes: false,
        at_stake: "the backup with it. Raise it until the node replicates.",
    };
    let (connection, said) = source_only::check(&about)?;
    if source::slots::get(&connection, &slot)?.is_some() {
        return Err(SlotError::Exists { slot, node: wanted.node.to_owned() }.into());
    }
    let free = said.free().0;
    if wanted.slot.is_some() && free < 2 {
        return Err(SlotError::TooFew {
            node: wanted.node.to_owned(),
            free,
            needed: 2,
            why: "It is made under a name of its own, and copied under the one that was asked for.",
            instead: "leave slot_name out",
        }
        .into());
    }
    let plan = source_only::plan(&about, &connection, &said)?;
    let request = request(wanted, token, &slot, &plan)?;
    let has_extension = source::slots::has_extension(&connection)?;
    drop(connection);
    let request = serde_json::to_string(&request).map_err(|error| Error::internal(format!("JSON: {error}")))?;
    let operation: i64 = errand::send(&request)?.parse().map_err(|_| Error::internal("an errand without an answer"))?;
    shmem::abandon_at_abort(operation);
    await_held(operation, &slot)?;
    let kept = snapshot::fresh(|| slots::get(operation))?.ok_or_else(|| Error::internal("the slot is not there"))?;
    let record = Record {
        slot: kept.slot.clone(),
        publications: kept.publications.clone(),
        no_identity: wanted.options.no_identity.clone(),
        start_lsn: kept.start_lsn.unwrap_or(Lsn::INVALID),
        snapshot: kept.snapshot.clone(),
        taken: false,
        taken_by: None,
        mark: None,
        identities: Vec::new(),
        schemas: wanted.options.schemas.clone(),
        tables: wanted.options.tables.clone(),
    };
    let nothing = Vec::new();
    // Partitions hold the rows of what was named.
    let named: Vec<String> = match &wanted.options.tables {
        Some(_) => plan.leaves().iter().map(|(schema, table)| qualified(schema, table)).collect(),
        None => Vec::new(),
    };
    let commands = init_slot::commands(&init_slot::Way {
        conninfo: &source::parse(&from.node, &from.conninfo)?.address(),
        source: wanted.node,
        record: &record,
        tables: &named,
        schemas: wanted.options.schemas.as_ref().unwrap_or(&nothing),
        has_extension,
    });
    Ok((kept, commands))
}

/// The node, when the caller may have a slot made on it.
fn node(name: &str) -> Result<Node> {
    let node = nodes::get(name)?;
    if role::has_rights_of(role::current(), node.owner) {
        return Ok(node);
    }
    Err(Error::NodeNotYours { node: node.node, owner: role::name_of(node.owner) })
}

/// What an errand commits for us.
#[derive(Serialize, Deserialize)]
struct Asked {
    operation: serde_json::Value,
    expires: Option<f64>,
    event_retention: f64,
    role: u32,
}

/// Plans the publications by the tables of the source alone: the node that they are for may not exist yet.
fn request(wanted: &Wanted, token: Token, slot: &str, plan: &Plan) -> Result<Asked> {
    let named = plan.chosen.iter().map(|(_, schema, name)| qualified(schema, name));
    let options = Options { tables: wanted.options.tables.as_ref().map(|_| named.collect()), ..wanted.options.clone() };
    let new = NewOperation {
        node: wanted.node,
        source: wanted.node,
        kind: Kind::Prepare,
        method: Method::Manual,
        options: &options,
        requested_by: role::current(),
        token: token.to_string(),
        slot_name: slot.to_owned(),
        publications: &begin::publications(wanted.publication, wanted.no_identity, token),
        own_publications: wanted.publication.is_none(),
        publication_plan: &plan.publication,
        subscription: names::subscription_name(token),
        subscription_oid: None,
        bytes_total: 0,
        workers_planned: 0,
        phase: Way::Hold.first().as_str(),
        beforehand: None,
    };
    let operation = serde_json::to_value(&new).map_err(|error| Error::internal(format!("JSON: {error}")))?;
    let event_retention = options.event_retention;
    Ok(Asked { operation, expires: wanted.expires, event_retention, role: role::current() })
}

/// Stores the operation that a session asks for, and has it begun; the answer is its number. Runs in a worker.
pub(super) fn store(request: &str) -> Result<String> {
    let asked: Asked = serde_json::from_str(request).map_err(|error| Error::internal(format!("request: {error}")))?;
    let id = crate::pg::transaction::run(|| {
        let id = operations::insert(&asked.operation)?;
        slots::insert(id, asked.expires)?;
        slots::forget_older_than(asked.event_retention)?;
        Ok(id)
    })?;
    if !shmem::want(system::database_oid(), asked.role, id) {
        // It was there when the session looked.
        crate::pg::transaction::run(|| {
            slots::end(id, "failed")?;
            operations::set_status(id, "cancelled", None)
        })?;
        return Err(Error::TooManyOperations { most: shmem::MOST_OPERATIONS });
    }
    shmem::wake_launcher();
    Ok(id.to_string())
}

/// Waits until slot and snapshot are kept, or it is known why not.
fn await_held(operation: i64, slot: &str) -> Result<()> {
    let mut told = system::now_secs();
    loop {
        let now = snapshot::fresh(|| progress::brief(operation))?;
        match (now.status.as_str(), now.phase.as_str()) {
            ("cancelled" | "failed", _) => {
                return Err(now.error.map_or_else(
                    || SlotError::Released { slot: slot.to_owned() }.into(),
                    |problem| Error::Server(Box::new(problem)),
                ));
            }
            (_, phase) if phase == Phase::Held.as_str() => return Ok(()),
            _ => {}
        }
        if system::now_secs() - told >= TELL {
            told = system::now_secs();
            raise::notice(&format!("slot {slot} is being made: phase {}", now.phase));
        }
        system::wait_latch(LOOK_MS);
    }
}

/// Has a slot taken away that nobody needs any more.
fn release(slot: &str) -> Result<()> {
    shmem::require()?;
    let mut known = Vec::new();
    for kept in slots::kept()? {
        let Some(operation) = operations::get(kept.operation)?.filter(Operation::is_ours) else { continue };
        if kept.slot != slot {
            known.push(kept.slot);
            continue;
        }
        let (me, operation) = (role::current(), controlled(operation)?);
        slots::end(operation.id, "released")?;
        operations::request_cancel(operation.id)?;
        let about = Event::info("init.slot_release_asked")
            .operation_id(operation.id)
            .node(&operation.node)
            .source(&operation.source)
            .message(format!("slot {slot} is released by {}", role::name_of(me)));
        events::write(&[about])?;
        return shmem::wake_at_commit(operation.id, operation.requested_by);
    }
    if is_ending(slot)? {
        raise::notice(&format!("slot {slot} is being released already"));
        return Ok(());
    }
    Err(SlotError::NotKept { slot: slot.to_owned(), known }.into())
}

/// Whether a slot of that name is being taken away. Asked twice is asked once; but who asked first may be gone, and who asks now takes it over.
fn is_ending(slot: &str) -> Result<bool> {
    let mut found = false;
    for ending in slots::ending()?.into_iter().filter(|ending| ending.slot == slot) {
        let Some(operation) = operations::get(ending.operation)?.filter(Operation::is_ours) else { continue };
        let operation = controlled(operation)?;
        shmem::wake_at_commit(operation.id, operation.requested_by)?;
        found = true;
    }
    Ok(found)
}

/// The operation of a slot, when the caller may do something about it.
fn controlled(operation: Operation) -> Result<Operation> {
    if may_act(role::current(), &operation)? {
        return taken_up(operation);
    }
    let owner = role::name_of(operation.requested_by);
    Err(Error::NodeNotYours { node: operation.node, owner })
}
