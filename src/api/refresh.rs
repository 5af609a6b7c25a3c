//! Tables that are new on the source: which there are, and having them join the subscription.

use super::checks::{examine, Strict, Wanted};
use super::init::{parse_no_identity, resolved};
use super::{begin, given, list, SqlResult};
use crate::catalog::nodes::{self, Node, Unsubscribed};
use crate::catalog::operations::{self, Kind, Method, NewOperation, Operation, Options, Selection};
use crate::catalog::ownership;
use crate::catalog::{events, user};
use crate::coordinator::phase::Phase;
use crate::error::{Error, Result, SubscriptionError};
use crate::pg::raise::ErrorReport;
use crate::pg::remote::Connection;
use crate::pg::{raise, role, shmem};
use crate::schema::joining::{self, joins, subscription_of};
use crate::schema::{self, Plan};
use crate::settings;
use crate::source;
use pgrx::prelude::*;
use steep_repl_core::ident::qualified_display;
use steep_repl_core::names::{self, application_name, Part, Token};
use steep_repl_core::selection::NoIdentity;

#[pg_extern]
fn refresh_tables(
    node: Option<&str>,
    tables: default!(Option<Vec<Option<String>>>, "NULL"),
    force: default!(Option<bool>, "false"),
    no_identity: default!(Option<&str>, "NULL"),
) -> SqlResult<Option<i64>> {
    Ok(refresh(given("node", node)?, list("tables", tables)?.as_deref(), given("force", force)?, no_identity)?)
}

/// The tables of the source that are not replicated, as it is now.
#[pg_extern]
#[allow(clippy::type_complexity)]
fn tables_not_subscribed(
    node: Option<&str>,
) -> std::result::Result<
    TableIterator<'static, (name!(table_schema, String), name!(table_name, String), name!(is_here, bool))>,
    ErrorReport,
> {
    let tables = look(given("node", node)?)?;
    Ok(TableIterator::new(tables.into_iter().map(|table| (table.table_schema, table.table_name, table.is_here))))
}

/// The node, which must be this database, and the initialization that made it what it is.
fn initialized(name: &str) -> Result<(Node, Operation)> {
    let node = nodes::get(name)?;
    source::require_local(&node)?;
    let me = role::current();
    if !role::has_rights_of(me, node.owner) {
        return Err(Error::NodeNotYours { node: name.to_owned(), owner: role::name_of(node.owner) });
    }
    let base = operations::origin_of(name)?.ok_or_else(|| Error::WrongState {
        node: name.to_owned(),
        state: node.state.clone(),
        hint: "Initialize the node first: steep_repl.init_node(node, source).".to_owned(),
    })?;
    ownership::require_ours(&base)?;
    Ok((node, base))
}

/// Looks at the source and stores what it found, for `node_status`.
fn look(name: &str) -> Result<Vec<Unsubscribed>> {
    let (_, base) = initialized(name)?;
    let target = source::target(&nodes::get(&base.source)?, role::current())?;
    let mut connection = Connection::open(&target, &application_name(base.token()?, Part::Check))?;
    connection.limit_answers(settings::receive_timeout());
    let found =
        joining::unsubscribed(&base, &joins(&connection, &base)?, &schema::source_inventory(&connection, false)?)?;
    joining::note_unsubscribed(&base, &found)?;
    Ok(found)
}

fn refresh(name: &str, only: Option<&[String]>, force: bool, no_identity: Option<&str>) -> Result<Option<i64>> {
    shmem::require()?;
    // Whoever wants to start something on the same node waits here, and is refused then.
    nodes::lock(name)?;
    let (_, base) = initialized(name)?;
    let no_identity = parse_no_identity(no_identity.unwrap_or(&base.options.no_identity))?;
    if no_identity == NoIdentity::InsertOnly && base.own_publications && base.publications.len() < 2 {
        return Err(Error::Argument {
            argument: "no_identity",
            value: no_identity.as_str().to_owned(),
            hint: "The node was initialized without it; use error or full.".to_owned(),
        });
    }
    check_subscription(&base)?;
    let Selection { schemas, tables } = base.selection();
    let options = Options { force, no_identity: no_identity.as_str().to_owned(), schemas, tables, ..resolved() };
    let publication = base.publications.first().map(String::as_str).filter(|_| !base.own_publications);
    let wanted = Wanted {
        method: Method::Parallel,
        node: name,
        source: &base.source,
        publication,
        no_identity,
        options: &options,
        joins: Some(&base),
        only,
    };
    let examined = examine(&mut Strict, &wanted)?.ok_or_else(|| Error::internal("a check was passed over"))?;
    if examined.plan.tables.is_empty() {
        say_nothing_to_do(&base)?;
        return Ok(None);
    }
    store(&wanted, &base, examined.token, &examined.plan).map(Some)
}

/// Tells the caller that no table can join; those that are in the subscription and come no more are another matter.
fn say_nothing_to_do(base: &Operation) -> Result<()> {
    let left = look(&base.node)?;
    if left.is_empty() {
        raise::notice(&format!("all tables of node \"{}\" are replicated to node \"{}\"", base.source, base.node));
        return Ok(());
    }
    let names: Vec<String> =
        left.iter().map(|table| qualified_display(&table.table_schema, &table.table_name)).collect();
    raise::warning(&format!(
        "there is nothing to bring in; these are not replicated: {}. One that was dropped and made again on the source is in the \
         subscription here and published no more: take it out with ALTER SUBSCRIPTION ... REFRESH PUBLICATION, then try again",
        names.join(", ")
    ));
    Ok(())
}

/// What the subscription must be for tables to join it.
fn check_subscription(base: &Operation) -> Result<()> {
    let found = subscription_of(base)?;
    let cannot = |reason: &str, hint: &str| {
        Err(Error::Subscription(SubscriptionError::CannotJoin {
            subscription: found.name.clone(),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        }))
    };
    if !found.enabled {
        return Err(Error::Subscription(SubscriptionError::Disabled { subscription: found.name }));
    }
    if found.two_phase {
        return Err(Error::two_phase(found.name));
    }
    if found.tables.iter().any(user::SubscribedTable::is_syncing) {
        return cannot("The server is synchronizing tables of it now.", "Wait until it has done so.");
    }
    Ok(())
}

/// Writes the operation; it begins when the transaction commits.
fn store(wanted: &Wanted, base: &Operation, token: Token, plan: &Plan) -> Result<i64> {
    let Wanted { node, source, options, .. } = *wanted;
    let new = NewOperation {
        node,
        source,
        kind: Kind::Refresh,
        method: Method::Parallel,
        options,
        requested_by: role::current(),
        token: token.to_string(),
        slot_name: names::slot_name(token),
        publications: &base.publications,
        own_publications: base.own_publications,
        publication_plan: &plan.publication,
        subscription: base.subscription.clone(),
        subscription_oid: base.subscription_oid,
        bytes_total: plan.bytes_total(),
        workers_planned: options.parallel_workers,
        phase: Phase::Publication.as_str(),
        beforehand: None,
    };
    let id = begin::operation(&new, plan)?;
    events::write(&begin::say_remarks(id, &new, plan))?;
    Ok(id)
}
