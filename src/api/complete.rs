//! A node whose rows came by somebody's own backup begins to replicate: what was restored is looked at, then one row is written.
//!
//! A logical backup stands where its slot starts, since it was made under the slot's snapshot. A physical copy stands where it left the
//! timeline of the source, which its history tells; it brings along whatever the source is besides its tables, which is the
//! coordinator's to take away (`coordinator/adopt.rs`).

use super::checks::{
    check_indexes, check_nodes, check_rights_here, check_tables, connect, say_retention, Strict, Wanted,
};
use super::init::{first_phase, parse_no_identity, parse_schema_sync, resolved, schema_names};
use super::{begin, given, list, physical_copy, seconds, surroundings, SqlResult};
use crate::catalog::nodes;
use crate::catalog::operations::{Beforehand, Kind, Mark, Method, NewOperation, Options, Selection};
use crate::catalog::slots as kept;
use crate::catalog::user;
use crate::coordinator::phase::Way;
use crate::error::{Error, Result, SlotError};
use crate::pg::lsn::PgLsn;
use crate::pg::remote::Connection;
use crate::pg::{raise, role, shmem, system};
use crate::schema::Plan;
use crate::settings;
use crate::source::slots::{self, Slot};
use crate::source::state::{self, Before};
use crate::source::{preflight, publication};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use steep_repl_core::ident::{qualified, qualified_display};
use steep_repl_core::init_slot::Record;
use steep_repl_core::lsn::Lsn;
use steep_repl_core::names::{self, Token};
use steep_repl_core::selection::NoIdentity;

#[pg_extern]
#[allow(clippy::too_many_arguments)]
fn complete_init(
    node: Option<&str>,
    source: Option<&str>,
    source_lsn: default!(Option<PgLsn>, "NULL"),
    slot_name: default!(Option<&str>, "NULL"),
    publication: default!(Option<&str>, "NULL"),
    schema_sync: default!(Option<&str>, "NULL"),
    parallel_workers: default!(Option<i32>, "NULL"),
    schemas: default!(Option<Vec<Option<String>>>, "NULL"),
    tables: default!(Option<Vec<Option<String>>>, "NULL"),
    no_identity: default!(Option<&str>, "'error'"),
    verify: default!(Option<bool>, "true"),
    repair: default!(Option<bool>, "false"),
    timeout: default!(Option<Interval>, "NULL"),
) -> SqlResult<i64> {
    let no_identity = parse_no_identity(given("no_identity", no_identity)?)?;
    if given("repair", repair)? {
        Err(Error::NotYet {
            what: "repair => true".to_owned(),
            hint: "Make another backup under the snapshot of the slot: pg_dump --snapshot=...".to_owned(),
        })?;
    }
    let options = Options {
        parallel_workers: super::init::workers(parallel_workers)?,
        init_timeout: seconds("timeout", timeout)?.unwrap_or_else(settings::init_timeout),
        no_identity: no_identity.as_str().to_owned(),
        schema_sync: parse_schema_sync(schema_sync)?,
        schemas: list("schemas", schemas)?.map(|names| schema_names(&names)).transpose()?,
        tables: list("tables", tables)?,
        ..resolved()
    };
    Ok(complete(&Asked {
        node: given("node", node)?,
        source: given("source", source)?,
        lsn: source_lsn.map(|lsn| lsn.0),
        slot: slot_name,
        publication,
        verify: given("verify", verify)?,
        options,
    })?)
}

#[derive(Clone)]
struct Asked<'a> {
    node: &'a str,
    source: &'a str,
    lsn: Option<Lsn>,
    slot: Option<&'a str>,
    publication: Option<&'a str>,
    verify: bool,
    options: Options,
}

/// How this database came by its rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backup {
    /// By statements: it is a database of its own.
    Logical,
    /// File by file: it is what the source was.
    Physical,
}

fn complete(asked: &Asked) -> Result<i64> {
    shmem::require()?;
    take_name(asked)?;
    // Whoever wants to start something on the same node waits here, and is refused then.
    nodes::lock(asked.node)?;
    let from = check_nodes(&wanted(asked, NoIdentity::Error, &asked.options))?;
    let token = Token::new(system::random_u64());
    let connection = connect(&from, token, &asked.options)?;
    let said = preflight::ask(&connection)?;
    preflight::check_version(asked.source, &said)?;
    preflight::check_rights(asked.source, &said, false)?;
    preflight::check_plugin(asked.source, &said)?;
    preflight::check_walsenders(asked.source, &said)?;
    say_retention(&mut Strict, &said, "replication with it. Raise it until the node has caught up.");
    let backup = backup(asked, &connection, &said)?;
    let (record, slot, is_recorded) = slot(asked, &connection)?;
    // Whoever names the publication that the slot was made with says nothing new.
    let asked = &Asked { publication: asked.publication.filter(|_| !is_recorded), ..asked.clone() };
    let left = match backup {
        Backup::Physical => Some(physical_copy::left_at(&from, token, &asked.options, &connection)?),
        Backup::Logical => None,
    };
    let start = start(asked, left, &record, &slot)?;
    // Of a publication of the user's it is what he says.
    let no_identity = parse_no_identity(&record.no_identity)?;
    let published = slots::leaves(&connection, &record.publications)?;
    if published.is_empty() {
        return Err(SlotError::Missing {
            slot: record.slot,
            node: asked.source.to_owned(),
            why: Some(format!("Publication {} is gone, or publishes no table.", record.publications.join(", "))),
        }
        .into());
    }
    let options = Options {
        no_identity: no_identity.as_str().to_owned(),
        // What is published is what the node gets, and what it is compared by.
        tables: Some(
            asked
                .options
                .tables
                .clone()
                .unwrap_or_else(|| published.iter().map(|(schema, name)| qualified(schema, name)).collect()),
        ),
        ..asked.options.clone()
    };
    let wanted = wanted(asked, no_identity, &options);
    // The publications are there: nobody has to own the tables on the source.
    let there = Wanted { publication: record.publications.first().map(String::as_str), ..wanted };
    if backup == Backup::Logical {
        surroundings::check_databases(&mut Strict, &there, &connection)?;
    }
    let plan = check_tables(&mut Strict, &there, &connection, &said)?
        .ok_or_else(|| Error::internal("a check was passed over"))?;
    let mark = check_published(asked, backup, &connection, &record, &plan)?;
    check_rights_here(&wanted, &plan)?;
    check_indexes(&mut Strict, asked.node, &plan)?;
    surroundings::check_room(&mut Strict, asked.node, false)?;
    let snapshot = match backup {
        Backup::Physical => {
            physical_copy::check_untouched(&plan)?;
            physical_copy::check_nothing_prepared(asked.source)?;
            physical_copy::check_not_emptied(&connection, &plan)?;
            physical_copy::check_same_partitions(asked.source, &connection, &plan)?;
            check_nothing_lacks(asked, &connection, &record, &plan, &Before::Xid(user::next_xid()?))?;
            None
        }
        Backup::Logical => check_restored(asked, &connection, &record, &plan)?,
    };
    drop(connection);
    let options = Options {
        verify: snapshot.filter(|_| asked.verify && start == record.start_lsn),
        physical: backup == Backup::Physical,
        joining: joining(asked, &record),
        ..options
    };
    store(
        asked,
        token,
        &options,
        &record,
        &Beforehand { prepared: true, start_lsn: start, publication_mark: &mark },
        &plan,
    )
}

/// Refuses what the publications do not publish, or have not published since the slot was made. Gives what they were then.
fn check_published(
    asked: &Asked,
    backup: Backup,
    connection: &Connection,
    record: &Record,
    plan: &Plan,
) -> Result<Mark> {
    let now = publication::mark(connection, &record.publications)?;
    let relids: Vec<u32> = plan.chosen.iter().map(|(oid, ..)| *oid).collect();
    // A physical copy tells by itself what was a partition when it left the source.
    let slot = (backup == Backup::Logical).then_some(record.slot.as_str());
    if let Some(name) = asked.publication {
        publication::check(connection, asked.source, name, &plan.leaves())?;
        if let Some(slot) = slot {
            // What it was when the slot was made nobody has written down.
            publication::check_partitions(connection, asked.source, &record.publications, &Mark::new(), &relids, slot)?;
        }
        return Ok(now);
    }
    let mark = match &record.mark {
        Some(mark) if publication::is_unchanged(connection, &record.publications, mark)? => mark.clone(),
        Some(_) => {
            return Err(Error::PublicationChanged {
                publications: record.publications.clone(),
                node: asked.source.to_owned(),
            })
        }
        None => now,
    };
    publication::check_members(connection, asked.source, &record.publications, &mark, &relids, slot)?;
    Ok(mark)
}

/// What later tables are chosen from: what was published when the slot was made is only what there was then. None when it was asked for, or when
/// the publication is the user's.
fn joining(asked: &Asked, record: &Record) -> Option<Selection> {
    let is_open = asked.publication.is_none() && asked.options.tables.is_none() && asked.options.schemas.is_none();
    is_open.then(|| Selection { schemas: record.schemas.clone(), tables: record.tables.clone() })
}

fn wanted<'a>(asked: &'a Asked, no_identity: NoIdentity, options: &'a Options) -> Wanted<'a> {
    Wanted {
        node: asked.node,
        source: asked.source,
        method: Method::Manual,
        publication: asked.publication,
        no_identity,
        options,
        joins: None,
        only: None,
    }
}

/// Whoever begins to replicate here is this database, whatever has been restored into it: a copy of the source, or a dump of it with the
/// extension, says that it is the source. What is registered as another node is left alone.
fn take_name(asked: &Asked) -> Result<()> {
    let known = nodes::all()?;
    let is_free = known.iter().find(|node| node.is_local).is_none_or(|local| local.node == asked.source);
    let here = known.iter().find(|node| node.node == asked.node);
    let Some(here) = here.filter(|node| !node.is_local && is_free) else { return Ok(()) };
    let me = role::current();
    if !role::has_rights_of(me, here.owner) {
        return Err(Error::NodeNotYours { node: here.node.clone(), owner: role::name_of(here.owner) });
    }
    nodes::make_local(asked.node)
}

/// How the rows came here. 22023 when this is the source itself, 55000 when a copy cannot be placed.
fn backup(asked: &Asked, connection: &Connection, said: &preflight::Source) -> Result<Backup> {
    if said.system_identifier != system::system_identifier().to_string() || said.database_oid != system::database_oid()
    {
        return Ok(Backup::Logical);
    }
    let key = system::random_u64() as i64;
    user::lock_advisory(key)?;
    if slots::sees_lock(connection, key)? {
        return Err(Error::SourceIsLocal { node: asked.node.to_owned() });
    }
    let me = role::current();
    if !role::is_superuser(me) {
        return Err(Error::Rights {
            role: role::name_of(me),
            lacks: "may not take away what a physical copy of the source has brought along".to_owned(),
            node: asked.node.to_owned(),
            hint: "Use a superuser: slots, subscriptions and origins of the original have to go.".to_owned(),
        });
    }
    Ok(Backup::Physical)
}

/// The slot, with what is known of it, and whether that was written down when it was made.
fn slot(asked: &Asked, connection: &Connection) -> Result<(Record, Slot, bool)> {
    let node = || asked.source.to_owned();
    let known = slots::records(connection)?;
    let given_up = kept::given_up()?;
    let is_taken = |record: &Record| record.taken && record.taken_by.as_ref().is_some_and(|by| !given_up.contains(by));
    let name = match asked.slot {
        Some(name) => name.to_owned(),
        None => {
            let unused = |record: &Record| -> Result<bool> {
                Ok(slots::get(connection, &record.slot)?
                    .is_some_and(|slot| !slot.active && slot.confirmed == Some(record.start_lsn)))
            };
            let mut unused_ones = Vec::new();
            for (record, is_there) in &known {
                if *is_there && unused(record)? {
                    unused_ones.push(record);
                }
            }
            // Those that are taken are named only when there are no others.
            let is_free = unused_ones.iter().any(|record| !is_taken(record));
            let candidates: Vec<String> = unused_ones
                .into_iter()
                .filter(|record| !(is_free && is_taken(record)))
                .map(|record| record.slot.clone())
                .collect();
            match candidates.as_slice() {
                [one] => one.clone(),
                _ => return Err(SlotError::Unclear { node: node(), candidates }.into()),
            }
        }
    };
    let recorded = slots::record(connection, &name)?;
    let Some(slot) = slots::get(connection, &name)? else {
        let why = recorded.map(|_| "It was made by steep_repl.prepare_init, and was dropped since.".to_owned());
        return Err(SlotError::Missing { slot: name, node: node(), why }.into());
    };
    check_slot(asked, &name, &slot)?;
    let Some(confirmed) = slot.confirmed else { return Err(Error::SlotLost { slot: name, node: node() }) };
    let is_own = |record: &Record| record.publications.iter().any(|one| Some(one.as_str()) == asked.publication);
    let named = asked.publication.filter(|_| !recorded.as_ref().is_some_and(is_own));
    match (named, recorded) {
        (None, Some(record)) if confirmed > record.start_lsn => Err(SlotError::Unusable {
            slot: name,
            node: node(),
            reason: format!("It has been used up to {confirmed}; it started at {}.", record.start_lsn),
            hint: "What was confirmed is not sent again. Begin anew: steep_repl.prepare_init, then another backup."
                .to_owned(),
        }
        .into()),
        (None, Some(record)) if is_taken(&record) => Err(SlotError::Taken { slot: record.slot, node: node() }.into()),
        (None, Some(record)) => Ok((record, slot, true)),
        (None, None) => Err(SlotError::Foreign { slot: name, node: node() }.into()),
        // One of ours that somebody is at work with is his, whatever publication is named with it.
        (Some(_), Some(record)) if is_taken(&record) && confirmed == record.start_lsn => {
            Err(SlotError::Taken { slot: record.slot, node: node() }.into())
        }
        (Some(publication), _) => {
            if !publication::exists(connection, publication)? {
                return Err(Error::Publication {
                    node: node(),
                    publication: publication.to_owned(),
                    reason: "It does not exist.".to_owned(),
                    hint: "Name the one that was committed before the slot was made.".to_owned(),
                });
            }
            if !slots::is_older(connection, publication, &name)? {
                return Err(SlotError::Younger { publication: publication.to_owned(), node: node(), slot: name }.into());
            }
            // Nothing is written on a publication of the user's: only where the slot was made from here its snapshot is known.
            let kept = kept::kept()?
                .into_iter()
                .find(|kept| kept.slot == name && kept.node == asked.source && kept.start_lsn == Some(confirmed));
            let record = Record {
                slot: name,
                publications: vec![publication.to_owned()],
                no_identity: asked.options.no_identity.clone(),
                start_lsn: confirmed,
                snapshot: kept.and_then(|kept| kept.snapshot),
                taken: false,
                taken_by: None,
                mark: None,
                identities: Vec::new(),
                schemas: None,
                tables: None,
            };
            Ok((record, slot, false))
        }
    }
}

/// Refuses a slot that a subscription here could not use.
fn check_slot(asked: &Asked, name: &str, slot: &Slot) -> Result<()> {
    let refuse = |reason: &str, hint: &str| -> Result<()> {
        Err(SlotError::Unusable {
            slot: name.to_owned(),
            node: asked.source.to_owned(),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        }
        .into())
    };
    let another = "Name a logical slot of that database, made with plugin pgoutput before the backup was begun.";
    if slot.slot_type != "logical" || slot.plugin.as_deref() != Some("pgoutput") {
        return refuse("It is not a logical slot of plugin pgoutput.", another);
    }
    if !slot.is_here {
        return refuse("It is of another database.", another);
    }
    if slot.temporary {
        return refuse("It is temporary: it goes with the session that made it.", another);
    }
    if slot.two_phase {
        return refuse("It decodes prepared transactions.", "Make one without two_phase.");
    }
    if slot.active {
        return refuse(
            "Somebody replicates by it.",
            "A slot serves one node: make another one by steep_repl.prepare_init, and another backup.",
        );
    }
    if slot.wal_status.as_deref() == Some("lost") {
        return Err(Error::SlotLost { slot: name.to_owned(), node: asked.source.to_owned() });
    }
    Ok(())
}

/// Where replication has to start.
///
/// `left` is where a physical copy left the source; a logical backup stands where somebody says.
fn start(asked: &Asked, left: Option<Lsn>, record: &Record, slot: &Slot) -> Result<Lsn> {
    let node = || asked.source.to_owned();
    let name = || record.slot.clone();
    let start = match left {
        None => asked.lsn.ok_or_else(|| SlotError::NoLsn { slot: name() })?,
        Some(at) => {
            if let Some(lsn) = asked.lsn.filter(|lsn| *lsn != at) {
                return Err(SlotError::Elsewhere { lsn, node: node(), at }.into());
            }
            at
        }
    };
    if start < record.start_lsn {
        return Err(SlotError::Before { lsn: start, slot: name(), start: record.start_lsn }.into());
    }
    if start > slot.now {
        return Err(SlotError::Beyond { lsn: start, node: node(), end: slot.now }.into());
    }
    Ok(start)
}

/// Refuses to make tables empty here that held rows before replication starts: those that are not here, hold rows there now, and were there when
/// the slot was made. Where that was not written down, or a copy is younger than the slot, those that were made before a point in time.
fn check_nothing_lacks(
    asked: &Asked,
    connection: &Connection,
    record: &Record,
    plan: &Plan,
    before: &Before,
) -> Result<()> {
    let is_here = |oid: u32| plan.tables.iter().any(|table| table.source_relid == oid);
    let made: Vec<u32> = plan.chosen.iter().map(|(oid, ..)| *oid).filter(|oid| !is_here(*oid)).collect();
    let marked = record.mark.as_ref().map(publication::marked);
    let mut old: Vec<u32> =
        made.iter().copied().filter(|oid| marked.as_ref().is_some_and(|marked| marked.contains(oid))).collect();
    if marked.is_none() || matches!(before, Before::Xid(_)) {
        old.extend(state::made_before(connection, &made, before)?);
    }
    let (names, shown): (Vec<(String, String)>, Vec<String>) = plan
        .chosen
        .iter()
        .filter(|(oid, ..)| old.contains(oid))
        .map(|(_, schema, name)| ((schema.clone(), name.clone()), qualified_display(schema, name)))
        .unzip();
    let filled = slots::not_empty(connection, &names, None)?;
    let tables: Vec<String> =
        filled.into_iter().filter_map(|place| shown.get(place)).map(|name| format!("{name}: not here")).collect();
    if tables.is_empty() {
        return Ok(());
    }
    Err(SlotError::NotRestored { node: asked.source.to_owned(), tables, is_certain: true }.into())
}

/// Refuses a node that was not restored. Gives the snapshot of the slot, when it is still kept.
fn check_restored(asked: &Asked, connection: &Connection, record: &Record, plan: &Plan) -> Result<Option<String>> {
    let mut located: Vec<(u32, String, String)> =
        plan.tables.iter().map(|table| (table.relid, table.table_schema.clone(), table.table_name.clone())).collect();
    let filled = user::waiting_at_most(5000, || user::not_empty(&located))?;
    // What has still to be made here will be empty.
    let is_here = |oid: u32| plan.tables.iter().any(|table| table.source_relid == oid);
    located.extend(
        plan.chosen
            .iter()
            .filter(|(oid, ..)| !is_here(*oid))
            .map(|(_, schema, name)| (0, schema.clone(), name.clone())),
    );
    let leaves: Vec<(String, String)> =
        located.iter().map(|(_, schema, name)| (schema.clone(), name.clone())).collect();
    let under = match &record.snapshot {
        Some(snapshot) => match slots::not_empty(connection, &leaves, Some(snapshot)) {
            Ok(there) => Some(there),
            Err(Error::SnapshotLost { .. }) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let is_certain = under.is_some();
    let there = match under {
        Some(there) => there,
        None => slots::not_empty(connection, &leaves, None)?,
    };
    let lacking: Vec<String> = there
        .into_iter()
        .filter_map(|place| located.get(place))
        .filter(|(relid, ..)| !filled.contains(relid))
        .map(|(_, schema, name)| qualified_display(schema, name))
        .collect();
    if lacking.is_empty() {
        return Ok(record.snapshot.clone().filter(|_| is_certain));
    }
    if !is_certain {
        check_nothing_lacks(asked, connection, record, plan, &Before::Slot(record.slot.clone()))?;
    }
    if is_certain || filled.is_empty() {
        return Err(SlotError::NotRestored { node: asked.source.to_owned(), tables: lacking, is_certain }.into());
    }
    // They may have got their first rows since the slot was made.
    raise::warning_with(
        &format!("tables are empty here that hold rows on node \"{}\" now", asked.source),
        Some(&crate::error::listed(&lacking)),
        "That is right if their first rows came after the slot was made; if not, cancel, and restore them first.",
    );
    Ok(None)
}

/// Writes the operation; it begins when the transaction commits.
fn store(
    asked: &Asked,
    token: Token,
    options: &Options,
    record: &Record,
    beforehand: &Beforehand,
    plan: &Plan,
) -> Result<i64> {
    let Asked { node, source, .. } = *asked;
    let new = NewOperation {
        node,
        source,
        kind: Kind::Init,
        method: Method::Manual,
        options,
        requested_by: role::current(),
        token: token.to_string(),
        slot_name: record.slot.clone(),
        publications: &record.publications,
        own_publications: asked.publication.is_none(),
        publication_plan: &plan.publication,
        subscription: names::subscription_name(token),
        subscription_oid: None,
        bytes_total: plan.bytes_total(),
        workers_planned: options.parallel_workers,
        phase: first_phase(Way::Attach, options.schema_sync, plan).as_str(),
        beforehand: Some(*beforehand),
    };
    begin::init(&new, plan)
}
