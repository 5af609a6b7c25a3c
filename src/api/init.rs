//! Starting an initialization: everything that can be known beforehand is checked here and raised here, before anything is
//! changed; then one row is written, and the rest is the coordinator's.

use super::{given, list, seconds, SqlResult};
use crate::catalog::nodes::{self, Node};
use crate::catalog::operations::{self, NewOperation, Options};
use crate::catalog::{cleanup, events, user};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use crate::pg::{raise, role, shmem, system};
use crate::schema::{self, Plan, Request};
use crate::settings;
use crate::source::{self, preflight, publication};
use pgrx::datum::Interval;
use pgrx::prelude::*;
use steep_repl_core::event::{self, Event, Severity};
use steep_repl_core::names::{self, Part, Token};
use steep_repl_core::node_state::NodeState;
use steep_repl_core::selection::NoIdentity;

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
    check_method(given("method", method)?)?;
    check_schema_sync(schema_sync)?;
    if given("bidirectional", bidirectional)? {
        Err(Error::NotYet { what: "bidirectional => true".to_owned(), hint: "Leave it out.".to_owned() })?;
    }
    if large_table_threshold.is_some() || large_table_method.is_some() {
        raise::notice("large_table_threshold and large_table_method are ignored by method parallel");
    }
    let no_identity = no_identity.parse::<NoIdentity>().map_err(|_| Error::Argument {
        argument: "no_identity",
        value: no_identity.to_owned(),
        hint: "It can be error, insert_only or full.".to_owned(),
    })?;
    let workers = parallel_workers.unwrap_or_else(settings::parallel_workers);
    if !(1..=settings::MOST_WORKERS).contains(&workers) {
        Err(Error::Argument {
            argument: "parallel_workers",
            value: workers.to_string(),
            hint: format!("It must be between 1 and {}.", settings::MOST_WORKERS),
        })?;
    }
    let options = Options {
        parallel_workers: workers.unsigned_abs(),
        chunk_size: settings::chunk_size(),
        max_retries: settings::max_retries(),
        source_lost_timeout: settings::source_lost_timeout(),
        init_timeout: seconds("timeout", timeout)?.unwrap_or_else(settings::init_timeout),
        catchup_lag: settings::catchup_lag(),
        event_retention: settings::event_retention(),
        no_identity: no_identity.as_str().to_owned(),
        force: given("force", force)?,
        schemas: list("schemas", schemas)?.map(|names| schema_names(&names)).transpose()?,
        tables: list("tables", tables)?,
    };
    Ok(start(node, source, publication, no_identity, &options)?)
}

/// Names of schemas, parsed as in SQL.
fn schema_names(names: &[String]) -> Result<Vec<String>> {
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

fn check_method(method: &str) -> Result<()> {
    match method {
        "auto" | "parallel" => Ok(()),
        "snapshot" | "two_phase" => {
            Err(Error::NotYet { what: format!("method => '{method}'"), hint: "Use method => 'parallel'.".to_owned() })
        }
        _ => Err(Error::Argument {
            argument: "method",
            value: method.to_owned(),
            hint: "It can be auto or parallel.".to_owned(),
        }),
    }
}

fn check_schema_sync(mode: Option<&str>) -> Result<()> {
    let mode = mode.map_or_else(settings::schema_sync_mode, str::to_owned);
    match mode.as_str() {
        "strict" => Ok(()),
        "auto" | "manual" => Err(Error::NotYet {
            what: format!("schema_sync => '{mode}'"),
            hint: "Make the tables match first and use schema_sync => 'strict'.".to_owned(),
        }),
        _ => Err(Error::Argument {
            argument: "schema_sync",
            value: mode,
            hint: "It can be strict, auto or manual.".to_owned(),
        }),
    }
}

/// The local node and the source node, when an operation may be started on them.
fn check_nodes(node: &str, source: &str) -> Result<(Node, Node)> {
    let local = nodes::lock(node)?;
    let me = role::current();
    if !local.is_local {
        let target = source::parse(node, &local.conninfo)?.describe();
        return Err(Error::NodeNotLocal { node: node.to_owned(), target });
    }
    if !role::is_superuser(me) && !role::has_rights_of(me, local.owner) {
        return Err(Error::NodeNotYours { node: node.to_owned(), owner: role::name_of(local.owner) });
    }
    let from = nodes::get(source)?;
    if from.is_local {
        return Err(Error::SourceIsLocal { node: source.to_owned() });
    }
    if let Some(operation) = operations::newest_of(node)?.filter(|operation| operation.is_unfinished()) {
        return Err(Error::OperationUnfinished {
            operation: operation.id,
            node: node.to_owned(),
            status: operation.status,
        });
    }
    if let Some(operation) = cleanup::pending_here(node)? {
        return Err(Error::CleanupPending { operation, node: node.to_owned() });
    }
    if local.state()? != NodeState::Uninitialized {
        return Err(Error::WrongState {
            node: node.to_owned(),
            state: local.state,
            hint: "Only a node that is UNINITIALIZED can be initialized.".to_owned(),
        });
    }
    Ok((local, from))
}

/// What the role must have here before it may have anything done.
fn check_rights_here(node: &str, plan: &Plan) -> Result<()> {
    let name = role::name_of(role::current());
    let lacks =
        |lacks: String, hint: String| Err(Error::Rights { role: name.clone(), lacks, node: node.to_owned(), hint });
    let rights = user::subscription_rights()?;
    if !rights.may_subscribe {
        return lacks("may not create subscriptions".to_owned(), format!("GRANT pg_create_subscription TO {name};"));
    }
    if !rights.may_create {
        return lacks(
            format!("may not create a subscription in database \"{}\"", rights.database),
            format!("GRANT CREATE ON DATABASE {} TO {name};", rights.database),
        );
    }
    let relids: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let foreign = user::not_owned(&relids)?;
    if !foreign.is_empty() {
        return lacks(
            format!("does not own {}", foreign.join(", ")),
            "Use a role that owns the tables, since their indexes are suspended and rebuilt.".to_owned(),
        );
    }
    Ok(())
}

fn check_empty(node: &str, plan: &Plan) -> Result<()> {
    user::set_lock_timeout(2000)?;
    let located: Vec<(u32, String, String)> =
        plan.tables.iter().map(|table| (table.relid, table.table_schema.clone(), table.table_name.clone())).collect();
    let full = user::not_empty(&located)?;
    user::set_lock_timeout(0)?;
    if full.is_empty() {
        return Ok(());
    }
    let tables: Vec<String> = plan
        .tables
        .iter()
        .filter(|table| full.contains(&table.relid))
        .map(|table| steep_repl_core::ident::qualified(&table.table_schema, &table.table_name))
        .collect();
    Err(Error::NotEmpty { node: node.to_owned(), count: tables.len(), tables })
}

fn start(
    node: &str,
    source: &str,
    publication: Option<&str>,
    no_identity: NoIdentity,
    options: &Options,
) -> Result<i64> {
    shmem::require()?;
    let (_, from) = check_nodes(node, source)?;
    let me = role::current();
    let target = source::target(&from, me)?;
    let token = Token::new(system::random_u64());
    let connection = Connection::open(&target, &names::application_name(token, Part::Check))?;
    let said = preflight::ask(&connection)?;
    preflight::check(source, &said, publication.is_none())?;
    if said.system_identifier == system::system_identifier().to_string() && said.database_oid == system::database_oid()
    {
        return Err(Error::SourceIsLocal { node: node.to_owned() });
    }
    let plan = schema::make(
        &Request {
            node,
            source,
            schemas: options.schemas.as_deref(),
            tables: options.tables.as_deref(),
            no_identity,
            small_below: crate::coordinator::SMALL_BELOW,
        },
        &schema::source_inventory(&connection, true)?,
        &user::inventory()?,
    )?;
    let source_relids: Vec<u32> = plan.tables.iter().map(|table| table.source_relid).collect();
    preflight::check_tables(&connection, source, &said, &source_relids, publication.is_none())?;
    if let Some(name) = publication {
        let leaves: Vec<(String, String)> =
            plan.tables.iter().map(|table| (table.table_schema.clone(), table.table_name.clone())).collect();
        publication::check(&connection, source, name, &leaves)?;
    }
    drop(connection);
    check_rights_here(node, &plan)?;
    if !options.force {
        check_empty(node, &plan)?;
    }
    store(node, source, publication, token, &plan, options)
}

/// Writes the operation; it begins when the transaction commits.
fn store(
    node: &str,
    source: &str,
    publication: Option<&str>,
    token: Token,
    plan: &Plan,
    options: &Options,
) -> Result<i64> {
    let publications = match publication {
        Some(name) => vec![name.to_owned()],
        None if plan.has_insert_only() => {
            vec![names::publication_name(token), names::insert_only_publication_name(token)]
        }
        None => vec![names::publication_name(token)],
    };
    let id = operations::insert(&NewOperation {
        node,
        source,
        method: "parallel",
        options,
        requested_by: role::current(),
        system_identifier: system::system_identifier().to_string(),
        database: system::database_oid(),
        token: token.to_string(),
        slot_name: names::slot_name(token),
        publications: &publications,
        own_publications: publication.is_none(),
        publication_plan: &plan.publication,
        subscription: names::subscription_name(token),
        bytes_total: plan.bytes_total(),
        workers_planned: options.parallel_workers,
    })?;
    operations::insert_tables(id, &plan.tables)?;
    nodes::set_state(node, NodeState::Preparing, Some(source), None)?;
    let event = |name: &str| Event::info(name).operation_id(id).node(node).source(source);
    let mut noted = vec![event(event::INIT_STATE_CHANGE).message("PREPARING")];
    if !plan.left_out.is_empty() {
        let text = format!("left out: {}", plan.left_out.join(", "));
        raise::notice(&text);
        noted.push(event("init.left_out").message(text));
    }
    if !plan.triggers.is_empty() {
        let text = format!("triggers that will fire for copied rows: {}", plan.triggers.join(", "));
        raise::warning(&text);
        let mut warning = event("init.triggers").message(text);
        warning.severity = Severity::Warning;
        noted.push(warning);
    }
    if plan.tables.iter().any(|table| table.insert_only) {
        let text = "updates and deletes on tables without replica identity are not replicated";
        raise::warning(text);
        let mut warning = event("init.insert_only").message(text);
        warning.severity = Severity::Warning;
        noted.push(warning);
    }
    events::write(&noted)?;
    shmem::want_at_commit(id)?;
    super::wait::note_started(id);
    Ok(id)
}
