//! Portable snapshots: generating one, applying one, waiting for one, dropping one.

use super::checks::{connect, examine, Examined, Strict, Wanted};
use super::control::{may_act, taken_up};
use super::init::{
    first_phase, parse_no_identity, parse_schema_sync, resolved, schema_names, workers, workers_planned,
};
use super::surroundings::check_space_of_files;
use super::wait::{Ended, Wait};
use super::{begin, given, list, seconds, source_only, SqlResult};
use crate::catalog::operations::{self, Files, Kind, Method, NewOperation, Operation, Options, Selection};
use crate::catalog::progress::Brief;
use crate::catalog::snapshots::{self, Known};
use crate::catalog::{events, nodes, ownership};
use crate::coordinator::phase::{Phase, Way};
use crate::error::{Error, Result, SlotError, SnapshotError};
use crate::pg::{raise, role, shmem, system};
use crate::schema::{self, Plan};
use crate::settings;
use crate::snapshot::contents;
use crate::snapshot::place::{self, Access};
use crate::source::{preflight, publication, target_slots};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use std::path::Path;
use steep_repl_core::event::Event;
use steep_repl_core::ident::qualified;
use steep_repl_core::manifest::{Compression, Manifest};
use steep_repl_core::names::{self, Token};
use steep_repl_core::selection::NoIdentity;

/// The most slots that are made for targets of one snapshot.
const MOST_TARGETS: i32 = 100;

#[pg_extern]
#[allow(clippy::too_many_arguments)]
fn generate_snapshot(
    source: Option<&str>,
    path: default!(Option<&str>, "NULL"),
    compression: default!(Option<&str>, "'zstd'"),
    parallel_workers: default!(Option<i32>, "NULL"),
    targets: default!(Option<i32>, "1"),
    schemas: default!(Option<Vec<Option<String>>>, "NULL"),
    tables: default!(Option<Vec<Option<String>>>, "NULL"),
    publication: default!(Option<&str>, "NULL"),
    no_identity: default!(Option<&str>, "'error'"),
    expires: default!(Option<Interval>, "NULL"),
) -> SqlResult<String> {
    let source = given("source", source)?;
    let token = Token::new(system::random_u64());
    let options = Options {
        parallel_workers: workers(parallel_workers)?,
        no_identity: parse_no_identity(given("no_identity", no_identity)?)?.as_str().to_owned(),
        schemas: list("schemas", schemas)?.map(|names| schema_names(&names)).transpose()?,
        tables: list("tables", tables)?,
        files: Some(Files {
            id: token.to_string(),
            path: String::new(),
            compression: parse_compression(given("compression", compression)?)?,
            targets: parse_targets(given("targets", targets)?)?,
            expires: seconds("expires", expires)?,
            encoding: system::database_encoding(),
            passing: false,
        }),
        init_timeout: 0.0,
        ..resolved()
    };
    Ok(generate(source, path, publication, token, options)?)
}

#[pg_extern]
#[allow(clippy::too_many_arguments)]
fn apply_snapshot(
    node: Option<&str>,
    path: Option<&str>,
    source: default!(Option<&str>, "NULL"),
    schema_sync: default!(Option<&str>, "NULL"),
    parallel_workers: default!(Option<i32>, "NULL"),
    force: default!(Option<bool>, "false"),
    timeout: default!(Option<Interval>, "NULL"),
) -> SqlResult<i64> {
    let (node, path) = (given("node", node)?, given("path", path)?);
    let options = Options {
        parallel_workers: workers(parallel_workers)?,
        init_timeout: seconds("timeout", timeout)?.unwrap_or_else(settings::init_timeout),
        schema_sync: parse_schema_sync(schema_sync)?,
        force: given("force", force)?,
        ..resolved()
    };
    Ok(apply(node, path, source, options)?)
}

#[pg_extern]
fn drop_snapshot(id: Option<&str>) -> SqlResult<()> {
    let id = given("id", id)?;
    shmem::require()?;
    let (known, operation) = permitted(id)?;
    if let Some(node) = snapshots::loaded_by(&known.path)? {
        return Err(Error::from(SnapshotError::Applied { id: known.id, node }).into());
    }
    let operation = taken_up(operation)?;
    if !snapshots::request_drop(known.operation)? {
        // Asked twice is asked once.
        raise::notice(&format!("snapshot \"{id}\" is being dropped already"));
    }
    Ok(shmem::wake_at_commit(operation.id, operation.requested_by)?)
}

#[pg_extern]
fn wait_for_snapshot(id: Option<&str>, timeout: default!(Option<Interval>, "NULL")) -> SqlResult<String> {
    Ok(wait(given("id", id)?, seconds("timeout", timeout)?)?)
}

/// The files of an initialization that writes and loads them.
pub(super) fn passing() -> Result<Files> {
    let id = Token::new(system::random_u64()).to_string();
    let folder = place::resolve(None, &id, Access::Write)?;
    Ok(Files {
        id,
        path: folder.display().to_string(),
        compression: Compression::default(),
        targets: 1,
        expires: None,
        encoding: system::database_encoding(),
        passing: true,
    })
}

fn parse_compression(word: &str) -> Result<Compression> {
    word.parse().map_err(|()| Error::Argument {
        argument: "compression",
        value: word.to_owned(),
        hint: "It can be zstd, lz4, gzip or none.".to_owned(),
    })
}

fn parse_targets(targets: i32) -> Result<u32> {
    if (1..=MOST_TARGETS).contains(&targets) {
        return Ok(targets.unsigned_abs());
    }
    Err(Error::Argument {
        argument: "targets",
        value: targets.to_string(),
        hint: format!("It must be between 1 and {MOST_TARGETS}."),
    })
}

/// The snapshot of that identity, with its operation, when the caller may do something about it.
fn permitted(id: &str) -> Result<(Known, Operation)> {
    let all = snapshots::all()?;
    let unknown = |all: Vec<Known>| SnapshotError::Unknown {
        id: id.to_owned(),
        known: all.into_iter().map(|known| known.id).collect(),
    };
    let Some(known) = all.iter().find(|known| known.id == id).cloned() else { return Err(unknown(all).into()) };
    let operation = operations::get(known.operation)?.ok_or_else(|| unknown(Vec::new()))?;
    ownership::require_ours(&operation)?;
    if !may_act(role::current(), &operation)? {
        return Err(SnapshotError::NotYours { id: id.to_owned(), owner: role::name_of(operation.requested_by) }.into());
    }
    Ok((known, operation))
}

fn generate(
    source: &str,
    path: Option<&str>,
    publication: Option<&str>,
    token: Token,
    mut options: Options,
) -> Result<String> {
    shmem::require()?;
    nodes::lock(source)?;
    let Some(files) = options.files.as_mut() else { return Err(Error::internal("a snapshot without files")) };
    let folder = place::resolve(path, &files.id, Access::Write)?;
    folder.display().to_string().clone_into(&mut files.path);
    if let Some(id) = place::begun(&folder)? {
        return resume(&id, source, &folder);
    }
    if let Some(other) = snapshots::all()?.into_iter().find(|known| Path::new(&known.path) == folder) {
        return Err(SnapshotError::Busy { id: other.id, path: other.path }.into());
    }
    super::checks::check_dump(source, source, role::current())?;
    let id = files.id.clone();
    let plan = examine_source(source, publication, token, &options)?;
    if let Some(files) = &options.files {
        check_space_of_files(&mut Strict, &plan, files);
    }
    options.tables = options.tables.as_ref().map(|_| plan.named.clone());
    let new = NewOperation {
        node: source,
        source,
        kind: Kind::Generate,
        method: Method::TwoPhase,
        options: &options,
        requested_by: role::current(),
        token: token.to_string(),
        slot_name: names::slot_name(token),
        publications: &begin::publications(publication, parse_no_identity(&options.no_identity)?, token),
        own_publications: publication.is_none(),
        publication_plan: &plan.publication,
        subscription: names::subscription_name(token),
        subscription_oid: None,
        bytes_total: plan.bytes_total(),
        workers_planned: options.parallel_workers,
        phase: Phase::Publication.as_str(),
        beforehand: None,
    };
    begin::operation(&new, &plan)?;
    Ok(id)
}

/// Goes on with a snapshot that was begun in that folder.
fn resume(id: &str, source: &str, folder: &Path) -> Result<String> {
    let path = folder.display().to_string();
    let Some(known) = snapshots::all()?.into_iter().find(|known| known.id == id) else {
        return Err(SnapshotError::Exists { path }.into());
    };
    let (known, operation) = permitted(&known.id)?;
    if known.source != source || Path::new(&known.path) != folder {
        return Err(SnapshotError::Exists { path }.into());
    }
    match known.status.as_str() {
        "failed" => {}
        "generating" => return Err(SnapshotError::Busy { id: known.id, path }.into()),
        "dropping" => return Err(SnapshotError::Dropping { id: known.id }.into()),
        _ => return Err(SnapshotError::Exists { path }.into()),
    }
    let asked = operation.requested_by;
    let operation = taken_up(operation)?;
    if operation.requested_by != asked {
        // As whoever begins one has to.
        super::checks::check_dump(source, source, operation.requested_by)?;
    }
    operations::resume(operation.id)?;
    let event = Event::info("init.resumed")
        .operation_id(operation.id)
        .node(&operation.node)
        .source(&operation.source)
        .message(format!("snapshot {id} goes on; what it was begun with counts"));
    events::write(&[event])?;
    raise::notice(&format!("goes on with snapshot \"{id}\", with the arguments that it was begun with"));
    shmem::wake_at_commit(operation.id, operation.requested_by)?;
    Ok(known.id)
}

/// Looks at the source and makes the plan.
fn examine_source(source: &str, publication: Option<&str>, token: Token, options: &Options) -> Result<Plan> {
    let node = nodes::get(source)?;
    let about = source_only::Wanted {
        node: &node,
        token,
        publication,
        options,
        with_sizes: true,
        at_stake: "with it what the snapshot is good for.",
    };
    let (connection, said) = source_only::check(&about)?;
    let targets = i64::from(options.files.as_ref().map_or(1, |files| files.targets));
    let (free, needed) = (said.free().0, targets + 1);
    if free < needed {
        return Err(SlotError::TooFew {
            node: source.to_owned(),
            free,
            needed,
            why: "Each target gets one. One more is there for a moment when a target takes its own, and when the exported \
                  snapshot has to be renewed.",
            instead: "ask for fewer targets",
        }
.into());
    }
    source_only::plan(&about, &connection, &said)
}

fn apply(node: &str, path: &str, source: Option<&str>, mut options: Options) -> Result<i64> {
    shmem::require()?;
    nodes::lock(node)?;
    let folder = place::resolve(Some(path), "", Access::Read)?;
    let manifest = contents::open(&folder)?;
    let source = source.unwrap_or(&manifest.source);
    check_source(source, &folder, &manifest, &options)?;
    let no_identity = match manifest.tables.iter().any(|table| table.insert_only) {
        true => NoIdentity::InsertOnly,
        false => NoIdentity::Error,
    };
    options.no_identity = no_identity.as_str().to_owned();
    options.tables = Some(manifest.tables.iter().map(|table| qualified(&table.schema, &table.name)).collect());
    options.files = Some(Files {
        id: manifest.snapshot_id.clone(),
        path: folder.display().to_string(),
        compression: manifest.compression,
        targets: 0,
        expires: None,
        encoding: manifest.encoding.clone(),
        passing: false,
    });
    // What is in the files is what there was when they were written.
    options.joining =
        Some(Selection { schemas: manifest.selected_schemas.clone(), tables: manifest.selected_tables.clone() });
    let wanted = Wanted {
        node,
        source,
        method: Method::TwoPhase,
        publication: None,
        no_identity,
        options: &options,
        joins: None,
        only: None,
    };
    let examined = examine(&mut Strict, &wanted)?.ok_or_else(|| Error::internal("a check was passed over"))?;
    store(&wanted, &manifest, &examined)
}

/// Sees that the source is the one that the snapshot is of, that its tables are what they were, and that a slot is free.
fn check_source(source: &str, folder: &Path, manifest: &Manifest, options: &Options) -> Result<()> {
    let token = Token::new(system::random_u64());
    let connection = connect(&nodes::get(source)?, token, options)?;
    let said = preflight::ask(&connection)?;
    let other = |reason: String| {
        Err(SnapshotError::OtherSource { path: folder.display().to_string(), node: source.to_owned(), reason }.into())
    };
    if said.system_identifier != manifest.system_identifier {
        return other(format!(
            "Its system identifier is {}, and the one of the node is {}.",
            manifest.system_identifier, said.system_identifier
        ));
    }
    if said.database_oid != manifest.database_oid {
        return other(format!(
            "It is of database \"{}\", and the node is database \"{}\".",
            manifest.database, said.database
        ));
    }
    let differences = crate::coordinator::differences(manifest, &schema::source_inventory(&connection, false)?);
    if !differences.is_empty() {
        return Err(SnapshotError::SourceChanged { differences }.into());
    }
    let found = target_slots::look(&connection, &manifest.slots, manifest.lsn)?;
    // One in use for a moment is waited for.
    if found.free.is_empty() && found.busy.is_empty() {
        let (id, node) = (manifest.snapshot_id.clone(), source.to_owned());
        return Err(SnapshotError::without_slot(id, node, manifest.slots.len(), found.lost, found.busy).into());
    }
    let Some(slot) = found.free.first().or(found.busy.first()) else { return Ok(()) };
    let relids: Vec<u32> = manifest.tables.iter().map(|table| table.origin.oid).collect();
    let mark = &manifest.publication_mark;
    publication::check_partitions(&connection, source, &manifest.publications, mark, &relids, slot)
}

/// Writes the operation; it begins when the transaction commits.
fn store(wanted: &Wanted, manifest: &Manifest, examined: &Examined) -> Result<i64> {
    let Wanted { node, source, options, .. } = *wanted;
    let (token, plan) = (examined.token, &examined.plan);
    let new = NewOperation {
        node,
        source,
        kind: Kind::Init,
        method: Method::TwoPhase,
        options,
        requested_by: role::current(),
        token: token.to_string(),
        slot_name: names::slot_name(token),
        publications: &manifest.publications,
        own_publications: false,
        publication_plan: &plan.publication,
        subscription: names::subscription_name(token),
        subscription_oid: None,
        bytes_total: plan.bytes_total(),
        workers_planned: workers_planned(Method::TwoPhase, options, plan)?,
        phase: first_phase(Way::Read, options.schema_sync, plan).as_str(),
        beforehand: None,
    };
    let id = begin::init(&new, plan)?;
    operations::set_publication_mark(id, &manifest.publication_mark)?;
    Ok(id)
}

/// Waits until a snapshot is complete.
fn wait(id: &str, timeout: Option<f64>) -> Result<String> {
    let (known, operation) = permitted(id)?;
    let gone = &["cancelling", "cancelled"];
    let wait = Wait { operation: operation.id, timeout, gone, words: Brief::figures };
    wait.until_ended(|ended| match ended {
        Ended::Completed { .. } => Ok("complete".to_owned()),
        Ended::Cancelled => Err(SnapshotError::Dropped { id: known.id }.into()),
        Ended::Late { waited, .. } => Err(SnapshotError::Timeout { id: known.id, waited }.into()),
    })
}
