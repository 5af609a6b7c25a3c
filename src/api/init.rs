//! Starting an initialization: everything that can be known beforehand is checked here and raised here, before anything is
//! changed; then one row is written, and the rest is the coordinator's.

use super::checks::{examine, Strict, Wanted};
use super::{begin, given, list, seconds, SqlResult};
use crate::catalog::operations::{Kind, Method, NewOperation, Options, Transport};
use crate::catalog::{events, nodes, user};
use crate::coordinator::phase::{Phase, Way};
use crate::error::{Error, Result};
use crate::pg::{raise, role, shmem};
use crate::schema::Plan;
use crate::settings;
use pgrx::datum::Interval;
use pgrx::prelude::*;
use steep_repl_core::event::Event;
use steep_repl_core::names::{self, Token};
use steep_repl_core::schema_sync::Mode;
use steep_repl_core::selection::NoIdentity;
use steep_repl_core::size;

#[pg_extern]
#[allow(clippy::too_many_arguments)]
fn init_node(
    node: Option<&str>,
    source: Option<&str>,
    method: default!(Option<&str>, "'auto'"),
    schema_sync: default!(Option<&str>, "NULL"),
    parallel_workers: default!(Option<i32>, "NULL"),
    force: default!(Option<bool>, "false"),
    schemas: default!(Option<Vec<Option<String>>>, "NULL"),
    tables: default!(Option<Vec<Option<String>>>, "NULL"),
    publication: default!(Option<&str>, "NULL"),
    no_identity: default!(Option<&str>, "'error'"),
    large_table_threshold: default!(Option<&str>, "NULL"),
    large_table_method: default!(Option<&str>, "NULL"),
    bidirectional: default!(Option<bool>, "false"),
    timeout: default!(Option<Interval>, "NULL"),
) -> SqlResult<i64> {
    let (node, source) = (given("node", node)?, given("source", source)?);
    let no_identity = given("no_identity", no_identity)?;
    let method = parse_method(given("method", method)?)?;
    let schema_sync = parse_schema_sync(schema_sync)?;
    if given("bidirectional", bidirectional)? {
        Err(Error::NotYet { what: "bidirectional => true".to_owned(), hint: "Leave it out.".to_owned() })?;
    }
    let said = Said {
        workers: parallel_workers.is_some(),
        large_tables: large_table_threshold.is_some() || large_table_method.is_some(),
    };
    let no_identity = parse_no_identity(no_identity)?;
    let parallel_workers = workers(parallel_workers)?;
    let options = Options {
        parallel_workers,
        init_timeout: seconds("timeout", timeout)?.unwrap_or_else(settings::init_timeout),
        no_identity: no_identity.as_str().to_owned(),
        schema_sync,
        force: given("force", force)?,
        schemas: list("schemas", schemas)?.map(|names| schema_names(&names)).transpose()?,
        tables: list("tables", tables)?,
        files: if method == Method::TwoPhase { Some(super::snapshots::passing()?) } else { None },
        large_table_threshold: parse_threshold(large_table_threshold)?,
        large_table_method: parse_large_table_method(large_table_method)?,
        ..resolved()
    };
    let wanted = Wanted { node, source, method, publication, no_identity, options: &options, joins: None, only: None };
    Ok(start(&wanted, said)?)
}

/// Arguments that were given and that not every method heeds.
#[derive(Clone, Copy)]
struct Said {
    /// parallel_workers.
    workers: bool,
    /// One of those about large tables.
    large_tables: bool,
}

impl Said {
    /// Tells which of them are not heeded.
    fn say_ignored(self, wanted: &Wanted, plan: &Plan) {
        if wanted.method != Method::Snapshot {
            if self.large_tables {
                raise::notice("large_table_threshold and large_table_method are ignored by method parallel");
            }
        } else if self.workers && !plan.has_larger_than(wanted.options.large_table_threshold) {
            raise::notice_with_hint(
                "parallel_workers is ignored by method snapshot",
                "max_sync_workers_per_subscription says how many tables the server copies at a time.",
            );
        }
    }
}

/// How many copy workers are asked for: as the argument says, or the setting.
pub(super) fn workers(argument: Option<i32>) -> Result<u32> {
    let workers = argument.unwrap_or_else(settings::parallel_workers);
    if (1..=settings::MOST_WORKERS).contains(&workers) {
        return Ok(workers.unsigned_abs());
    }
    Err(Error::Argument {
        argument: "parallel_workers",
        value: workers.to_string(),
        hint: format!("It must be between 1 and {}.", settings::MOST_WORKERS),
    })
}

/// What the settings of this session say; arguments are put over it.
pub(super) fn resolved() -> Options {
    Options {
        parallel_workers: settings::parallel_workers().unsigned_abs(),
        chunk_size: settings::chunk_size(),
        max_retries: settings::max_retries(),
        source_lost_timeout: settings::source_lost_timeout(),
        receive_timeout: settings::receive_timeout(),
        max_snapshot_age: settings::max_snapshot_age(),
        init_timeout: settings::init_timeout(),
        catchup_lag: settings::catchup_lag(),
        event_retention: settings::event_retention(),
        large_table_threshold: settings::large_table_threshold(),
        large_table_method: Transport::default(),
        scratch_directory: settings::scratch_directory(),
        no_identity: NoIdentity::Error.as_str().to_owned(),
        schema_sync: Mode::Strict,
        force: false,
        schemas: None,
        tables: None,
        files: None,
        joining: None,
        verify: None,
        physical: false,
    }
}

pub(super) fn parse_no_identity(word: &str) -> Result<NoIdentity> {
    word.parse::<NoIdentity>().map_err(|_| Error::Argument {
        argument: "no_identity",
        value: word.to_owned(),
        hint: "It can be error, insert_only or full.".to_owned(),
    })
}

/// Names of schemas, parsed as in SQL.
pub(super) fn schema_names(names: &[String]) -> Result<Vec<String>> {
    let invalid = |name: &str, why: String| Error::Argument {
        argument: "schemas",
        value: name.to_owned(),
        hint: format!("Give names as in SQL, such as sales or \"Odd Name\": {why}."),
    };
    names
        .iter()
        .map(|name| match steep_repl_core::ident::parse_qualified(name) {
            Ok((None, schema)) => Ok(schema),
            Ok((Some(_), _)) => Err(invalid(name, "one name is wanted".to_owned())),
            Err(error) => Err(invalid(name, error.to_string())),
        })
        .collect()
}

pub(super) fn parse_method(method: &str) -> Result<Method> {
    match method {
        "auto" => Ok(Method::Auto),
        "parallel" => Ok(Method::Parallel),
        "snapshot" => Ok(Method::Snapshot),
        "two_phase" => Ok(Method::TwoPhase),
        _ => Err(Error::Argument {
            argument: "method",
            value: method.to_owned(),
            hint: "It can be auto, parallel, snapshot or two_phase.".to_owned(),
        }),
    }
}

/// How large tables get here: as the argument says, or the setting.
pub(super) fn parse_large_table_method(method: Option<&str>) -> Result<Transport> {
    let method = method.map_or_else(settings::large_table_method, str::to_owned);
    let known = Transport::OF_LARGE_TABLES.iter().find(|(word, _)| *word == method);
    known.map(|(_, transport)| *transport).ok_or_else(|| Error::Argument {
        argument: "large_table_method",
        value: method,
        hint: "It can be copy, pg_dump or basebackup.".to_owned(),
    })
}

/// Above which size tables are large: as the argument says, or the setting; in bytes.
pub(super) fn parse_threshold(size: Option<&str>) -> Result<i64> {
    let Some(size) = size else { return Ok(settings::large_table_threshold()) };
    size::parse(size).ok_or_else(|| Error::Argument {
        argument: "large_table_threshold",
        value: size.to_owned(),
        hint: "Give a size, such as 10GB or 512MB.".to_owned(),
    })
}

/// What to do when schemas differ: as the argument says, or the setting.
pub(super) fn parse_schema_sync(mode: Option<&str>) -> Result<Mode> {
    let mode = mode.map_or_else(settings::schema_sync_mode, str::to_owned);
    mode.parse().map_err(|()| Error::Argument {
        argument: "schema_sync",
        value: mode,
        hint: "It can be strict, auto or manual.".to_owned(),
    })
}

/// Examines what is wanted, strictly, and starts it.
fn start(wanted: &Wanted, said: Said) -> Result<i64> {
    shmem::require()?;
    // Whoever wants to start something on the same node waits here, and is refused then.
    nodes::lock(wanted.node)?;
    let examined = examine(&mut Strict, wanted)?.ok_or_else(|| Error::internal("a check was passed over"))?;
    let chosen = Wanted { method: examined.method, ..*wanted };
    said.say_ignored(&chosen, &examined.plan);
    let id = store(&chosen, examined.token, &examined.plan)?;
    if wanted.method == Method::Auto {
        events::write(&[method_chosen(id, &chosen, &examined.plan)])?;
    }
    Ok(id)
}

/// Writes the operation; it begins when the transaction commits.
fn store(wanted: &Wanted, token: Token, plan: &Plan) -> Result<i64> {
    let Wanted { node, source, method, publication, options, .. } = *wanted;
    let options = &Options { tables: options.tables.as_ref().map(|_| plan.named.clone()), ..options.clone() };
    let way = if method == Method::TwoPhase { Way::Both } else { Way::Whole };
    let new = NewOperation {
        node,
        source,
        kind: Kind::Init,
        method,
        options,
        requested_by: role::current(),
        token: token.to_string(),
        slot_name: names::slot_name(token),
        publications: &begin::publications(publication, wanted.no_identity, token),
        own_publications: publication.is_none(),
        publication_plan: &plan.publication,
        subscription: names::subscription_name(token),
        subscription_oid: None,
        bytes_total: plan.bytes_total(),
        workers_planned: workers_planned(method, options, plan)?,
        phase: first_phase(way, options.schema_sync, plan).as_str(),
        beforehand: None,
    };
    begin::init(&new, plan)
}

/// How many tables or parts of them are copied at a time.
pub(super) fn workers_planned(method: Method, options: &Options, plan: &Plan) -> Result<u32> {
    Ok(match method {
        // Large tables come first.
        Method::Snapshot if !plan.has_larger_than(options.large_table_threshold) => {
            u32::try_from(user::room()?.sync_workers).unwrap_or_default()
        }
        _ => options.parallel_workers,
    })
}

/// The event about what method auto has come to.
fn method_chosen(id: i64, chosen: &Wanted, plan: &Plan) -> Event {
    let (method, than) = match chosen.method {
        Method::Snapshot => ("snapshot", "less than"),
        _ => ("parallel", "not less than"),
    };
    let sizes = (plan.chosen_bytes_total(), settings::snapshot_threshold());
    let why = if chosen.method == Method::Parallel && sizes.0 < sizes.1 {
        "the server has no room for table synchronization workers".to_owned()
    } else {
        format!("the tables take {} kB, {than} snapshot_threshold: {} kB", sizes.0 / 1024, sizes.1 / 1024)
    };
    Event::info("init.method_chosen")
        .operation_id(id)
        .node(chosen.node)
        .source(chosen.source)
        .bytes(sizes.0)
        .message(format!("method auto is {method}: {why}"))
}

/// What an operation begins with. Differences that nobody has to look at are none.
pub(super) fn first_phase(way: Way, mode: Mode, plan: &Plan) -> Phase {
    match mode {
        Mode::Auto => Phase::Schema,
        Mode::Manual if !plan.differences.is_empty() => Phase::Schema,
        Mode::Manual | Mode::Strict => way.first(),
    }
}
