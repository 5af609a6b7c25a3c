//! What must hold before an initialization is started: looked at in one place, on both sides, before anything is changed.
//!
//! [`init_node`](super::init) raises the first thing that does not hold; [`preflight`](super::preflight) lists all of them. Which of
//! the two is the judge's matter ([`Judge`]); the checks and their order are the same.

use super::init::workers_planned;
use super::large_tables;
use super::surroundings;
use crate::catalog::cleanup;
use crate::catalog::nodes::{self, Node};
use crate::catalog::operations::{self, Method, Operation, Options};
use crate::catalog::ownership;
use crate::catalog::{indexes, user};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use crate::pg::{raise, role, shmem, system, transaction};
use crate::schema::{self, Plan, Request, Sides};
use crate::source::{self, dump, preflight, publication};
use steep_repl_core::names::{application_name, Part, Token};
use steep_repl_core::node_state::NodeState;
use steep_repl_core::schema_sync::Mode;
use steep_repl_core::selection::NoIdentity;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The node to be initialized.
    pub node: &'a str,
    /// Where from.
    pub source: &'a str,
    /// How.
    pub method: Method,
    /// A publication of the user's.
    pub publication: Option<&'a str>,
    /// What to do with tables without replica identity.
    pub no_identity: NoIdentity,
    /// Everything else, resolved.
    pub options: &'a Options,
    /// The initialization whose subscription the tables join; none when the node is to be initialized.
    pub joins: Option<&'a Operation>,
    /// Only these of the tables that would join it.
    pub only: Option<&'a [String]>,
}

impl Wanted<'_> {
    /// Whether the publication has still to be made: it is neither the user's nor a snapshot's.
    fn makes_publication(&self) -> bool {
        self.publication.is_none() && self.options.files.as_ref().is_none_or(|files| files.passing)
    }
}

/// What an operation is made of.
pub(super) struct Examined {
    /// Its identity; the look at the source was made under it.
    pub token: Token,
    /// How: method auto has become another one.
    pub method: Method,
    /// What is to be done.
    pub plan: Plan,
}

/// What becomes of the outcome of a check.
pub(super) trait Judge {
    /// The check's value; none when it failed and the others are to be looked at all the same.
    fn judge<T>(&mut self, check: &'static str, outcome: Result<T>) -> Result<Option<T>>;
    /// What was found, if anything, that is no reason to refuse.
    fn remark(&mut self, check: &'static str, remark: Option<Remark>);
}

/// Something to know of before one starts.
#[derive(Default)]
pub(super) struct Remark {
    /// In one line.
    pub message: String,
    /// The whole of it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: String,
    /// Whether it must not be passed over.
    pub is_warning: bool,
}

/// The first error is the answer.
pub(super) struct Strict;

impl Judge for Strict {
    fn judge<T>(&mut self, _check: &'static str, outcome: Result<T>) -> Result<Option<T>> {
        outcome.map(Some)
    }

    fn remark(&mut self, _check: &'static str, remark: Option<Remark>) {
        match remark {
            Some(found) if found.is_warning => {
                raise::warning_with(&found.message, found.detail.as_deref(), &found.hint);
            }
            Some(found) => raise::notice_with_hint(&found.message, &found.hint),
            None => {}
        }
    }
}

/// Looks at everything. None when a check failed without which the plan cannot be made.
pub(super) fn examine(judge: &mut impl Judge, wanted: &Wanted) -> Result<Option<Examined>> {
    judge.judge("launcher", shmem::require())?;
    let Some(from) = judge.judge("nodes", check_nodes(wanted))? else { return Ok(None) };
    let token = Token::new(system::random_u64());
    let Some(connection) = judge.judge("connection", connect(&from, token, wanted.options))? else { return Ok(None) };
    let said = preflight::ask(&connection)?;
    let makes_publication = wanted.makes_publication();
    let is_here = said.system_identifier == system::system_identifier().to_string()
        && said.database_oid == system::database_oid();
    let local = if is_here { Err(Error::SourceIsLocal { node: wanted.node.to_owned() }) } else { Ok(()) };
    judge.judge("source", local.and_then(|()| preflight::check_version(wanted.source, &said)))?;
    check_source(judge, wanted.source, &said, makes_publication, wanted.method == Method::Snapshot)?;
    say_retention(judge, &said, "the initialization with it. Raise it for the time of the copy.");
    surroundings::check_transactions(judge, wanted.source, &connection)?;
    if wanted.joins.is_none() {
        surroundings::check_databases(judge, wanted, &connection)?;
    }
    let Some(plan) = check_tables(judge, wanted, &connection, &said)? else { return Ok(None) };
    let wanted = &Wanted { method: large_tables::resolve(wanted, &said, &plan)?, ..*wanted };
    large_tables::check(judge, wanted, &connection, &said, &plan)?;
    if let Some(name) = wanted.publication {
        judge.judge("publication", publication::check(&connection, wanted.source, name, &plan.leaves()))?;
    }
    let source_relids: Vec<u32> = plan.chosen.iter().map(|(oid, ..)| *oid).collect();
    let index_bytes = preflight::index_bytes(&connection, &source_relids)?;
    drop(connection);
    judge.judge("rights", check_rights_here(wanted, &plan))?;
    check_indexes(judge, wanted.node, &plan)?;
    if !wanted.options.force {
        judge.judge("empty", check_empty(wanted.node, &plan))?;
    }
    surroundings::check_space(judge, &plan, &index_bytes, wanted.options.files.as_ref().filter(|files| files.passing))?;
    if wanted.joins.is_none() {
        surroundings::check_room(judge, wanted.node, wanted.method == Method::Snapshot)?;
    }
    if wanted.method == Method::Snapshot {
        surroundings::check_sync(judge, wanted, &said)?;
    }
    let (needed, free) =
        (i64::from(workers_planned(wanted.method, wanted.options, &plan)?) + 2, user::free_worker_processes()?);
    let workers = (free < needed).then(|| {
        let message = format!("{free} of max_worker_processes are free, {needed} would be used");
        let hint = "It goes on with fewer workers, down to one. Raise max_worker_processes and restart the server to give it more.";
        Remark { message, hint: hint.to_owned(), ..Remark::default() }
    });
    judge.remark("workers", workers);
    Ok(Some(Examined { token, method: wanted.method, plan }))
}

/// What the server of a source must be, and what the role must be there.
pub(super) fn check_source(
    judge: &mut impl Judge,
    node: &str,
    said: &preflight::Source,
    makes_publication: bool,
    for_sync: bool,
) -> Result<()> {
    judge.judge("source_wal", preflight::check_wal(node, said))?;
    judge.judge("source_rights", preflight::check_rights(node, said, makes_publication))?;
    judge.judge("source_slots", preflight::check_room(node, said, for_sync))?;
    judge.judge("source_plugin", preflight::check_plugin(node, said))?;
    Ok(())
}

/// Tells that the source gives up slots that fall behind; `at_stake` is what goes with ours, and what to do.
pub(super) fn say_retention(judge: &mut impl Judge, said: &preflight::Source, at_stake: &str) {
    let remark = preflight::limited_retention(said).map(|message| Remark {
        message,
        hint: format!("A slot that falls behind more than that is lost, and {at_stake}"),
        ..Remark::default()
    });
    judge.remark("source_retention", remark);
}

/// Connects to the source, to look at it.
pub(super) fn connect(from: &Node, token: Token, options: &Options) -> Result<Connection> {
    let target = source::target(from, role::current())?;
    let mut connection = Connection::open(&target, &application_name(token, Part::Check))?;
    connection.limit_answers(options.receive_timeout);
    Ok(connection)
}

/// [`connect`], for what only a walsender is asked.
pub(super) fn connect_walsender(from: &Node, token: Token, options: &Options) -> Result<Connection> {
    let target = source::target(from, role::current())?;
    let mut connection = Connection::open_walsender(&target, &application_name(token, Part::Check))?;
    connection.limit_answers(options.receive_timeout);
    Ok(connection)
}

/// Makes the plan, and says everything that stands against it.
pub(super) fn check_tables(
    judge: &mut impl Judge,
    wanted: &Wanted,
    connection: &Connection,
    said: &preflight::Source,
) -> Result<Option<Plan>> {
    let (source, here) =
        match schema::source_inventory(connection, true).and_then(|there| Ok((there, user::inventory()?))) {
            Ok(read) => read,
            Err(error) => return judge.judge("tables", Err(error)),
        };
    let mut joins = wanted.joins.map(|base| schema::joining::joins(connection, base)).transpose()?;
    if let Some(joins) = &mut joins {
        joins.only = wanted.only.map(<[String]>::to_vec);
    }
    let request = Request {
        node: wanted.node,
        source: wanted.source,
        schemas: wanted.options.schemas.as_deref(),
        tables: wanted.options.tables.as_deref(),
        no_identity: wanted.no_identity,
        small_below: crate::coordinator::SMALL_BELOW,
        joins: joins.as_ref(),
    };
    let Some(mut chosen) = judge.judge("tables", schema::choose(&request, &source, &here))? else { return Ok(None) };
    let mut differences = Vec::new();
    match wanted.options.schema_sync {
        Mode::Strict => {
            let checked = Sides::read(connection, &chosen).and_then(|sides| chosen.check_columns(&sides));
            judge.judge("schema", checked)?;
        }
        Mode::Auto => check_auto(judge, wanted)?,
        Mode::Manual => {
            differences = chosen.differences(&Sides::read(connection, &chosen)?);
            let skipped = chosen.leave_out_what_cannot_be_copied();
            say_differences(judge, wanted, &differences, skipped.len());
        }
    }
    judge.judge("replica_identity", chosen.check_identity())?;
    let plan = Plan { differences, ..schema::planned(&chosen)? };
    if wanted.options.schema_sync != Mode::Auto && !plan.not_updatable.is_empty() {
        judge.remark(
            "updates",
            Some(Remark {
                message: format!("updates and deletes cannot be applied to {}", plan.not_updatable.join(", ")),
                detail: Some("The first one on the source would stop replication of all tables.".to_owned()),
                hint: "Give these tables the primary keys of the source, or give those there REPLICA IDENTITY FULL."
                    .to_owned(),
                is_warning: true,
            }),
        );
    }
    let relids: Vec<u32> = plan.chosen.iter().map(|(oid, ..)| *oid).collect();
    let makes_publication = wanted.makes_publication();
    let readable = preflight::check_tables(connection, wanted.source, said, &relids, makes_publication);
    judge.judge("source_tables", readable)?;
    Ok(Some(plan))
}

/// What it takes to make this database match: a program of this server's, and the right to have it run.
fn check_auto(judge: &mut impl Judge, wanted: &Wanted) -> Result<()> {
    let me = role::current();
    judge.judge("schema_sync", check_dump(wanted.node, wanted.source, me))?;
    if role::is_superuser(me) {
        let message = format!(
            "what node \"{}\" defines is made here with the rights of superuser {}",
            wanted.source,
            role::name_of(me)
        );
        let hint =
            "Its functions, triggers and views are trusted. See steep_repl.schema_sync_plan(node, source).".to_owned();
        judge.remark("schema_sync", Some(Remark { message, hint, ..Remark::default() }));
    }
    Ok(())
}

/// Whether the definitions of a source can be dumped for this role.
pub(super) fn check_dump(node: &str, source: &str, me: u32) -> Result<()> {
    check_may_run_programs(node, me)?;
    dump::check_target(&source::target(&nodes::get(source)?, me)?)?;
    dump::check_program().map(drop)
}

/// 42501 when the role may not have programs of the server run.
pub(super) fn check_may_run_programs(node: &str, me: u32) -> Result<()> {
    if !user::may_run_programs()? {
        let name = role::name_of(me);
        return Err(Error::Rights {
            lacks: "may not have programs of the server run".to_owned(),
            node: node.to_owned(),
            hint: format!("GRANT pg_execute_server_program TO {name};"),
            role: name,
        });
    }
    Ok(())
}

/// Differences that somebody has to confirm.
fn say_differences(judge: &mut impl Judge, wanted: &Wanted, differences: &[String], skipped: usize) {
    if differences.is_empty() {
        return;
    }
    let tables = if skipped > 0 { format!("; tables that cannot be copied: {skipped}") } else { String::new() };
    judge.remark(
        "schema",
        Some(Remark {
            message: format!(
                "schema of node \"{}\" differs from node \"{}\" in {} places{tables}",
                wanted.node,
                wanted.source,
                differences.len()
            ),
            detail: Some(crate::error::listed(differences)),
            hint: "The operation waits for steep_repl.confirm_init(node); the tables may be changed until then."
                .to_owned(),
            is_warning: true,
        }),
    );
}

/// The source node, when an operation may be started from it.
pub(super) fn check_nodes(wanted: &Wanted) -> Result<Node> {
    let Wanted { node, source, .. } = *wanted;
    let local = nodes::get(node)?;
    let me = role::current();
    source::require_local(&local)?;
    if !role::has_rights_of(me, local.owner) {
        return Err(Error::NodeNotYours { node: node.to_owned(), owner: role::name_of(local.owner) });
    }
    let from = nodes::get(source)?;
    if from.is_local {
        return Err(Error::SourceIsLocal { node: source.to_owned() });
    }
    if let Some(operation) =
        operations::newest_of(node)?.filter(|operation| operation.is_unfinished() && operation.is_ours())
    {
        return Err(Error::OperationUnfinished {
            operation: operation.id,
            node: node.to_owned(),
            status: operation.status,
        });
    }
    for operation in cleanup::pending_here(node)? {
        if operations::get(operation)?.is_some_and(|operation| operation.is_ours()) {
            return Err(Error::CleanupPending { operation, node: node.to_owned() });
        }
    }
    let state = local.state()?;
    if wanted.joins.is_some() {
        // What a cancelled refresh takes out of a publication may be what this one counts on.
        for operation in cleanup::operations_with_source_left(node)? {
            if operations::get(operation)?.is_some_and(|operation| operation.is_ours() && operation.is_refresh()) {
                return Err(Error::CleanupPending { operation, node: node.to_owned() });
            }
        }
        return match state {
            NodeState::Synchronized | NodeState::Diverged => Ok(from),
            _ => Err(Error::WrongState {
                node: node.to_owned(),
                state: local.state,
                hint: "Only a node that is SYNCHRONIZED can take in further tables.".to_owned(),
            }),
        };
    }
    if state != NodeState::Uninitialized {
        // A state that came along with another's operation is left in another way.
        operations::newest_of(node)?.map_or(Ok(()), |operation| ownership::require_ours(&operation))?;
        return Err(Error::WrongState {
            node: node.to_owned(),
            state: local.state,
            hint: "Only a node that is UNINITIALIZED can be initialized.".to_owned(),
        });
    }
    Ok(from)
}

/// What the role must have here before it may have anything done.
pub(super) fn check_rights_here(wanted: &Wanted, plan: &Plan) -> Result<()> {
    let node = wanted.node;
    let me = role::current();
    let name = role::name_of(me);
    let lacks =
        |lacks: String, hint: String| Err(Error::Rights { role: name.clone(), lacks, node: node.to_owned(), hint });
    if let Some(base) = wanted.joins {
        let found = schema::joining::subscription_of(base)?;
        if !role::has_rights_of(me, found.owner) {
            return lacks(
                format!("does not own subscription \"{}\"", found.name),
                format!("Use the role \"{}\".", role::name_of(found.owner)),
            );
        }
    }
    let rights = user::subscription_rights()?;
    if !rights.may_subscribe && wanted.joins.is_none() {
        return lacks("may not create subscriptions".to_owned(), format!("GRANT pg_create_subscription TO {name};"));
    }
    if !rights.may_create && wanted.joins.is_none() {
        return lacks(
            format!("may not create a subscription in database \"{}\"", rights.database),
            format!("GRANT CREATE ON DATABASE {} TO {name};", rights.database),
        );
    }
    let relids: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let hidden = user::under_row_security(&relids)?;
    if !hidden.is_empty() {
        return lacks(
            format!("is subject to row-level security of {}", hidden.join(", ")),
            format!("ALTER ROLE {name} BYPASSRLS; or use a role that the policies do not hold for."),
        );
    }
    let foreign = user::not_owned(&relids)?;
    if !foreign.is_empty() {
        return lacks(
            format!("does not own {}", foreign.join(", ")),
            "Use a role that owns the tables: they are emptied when the operation is cancelled, and their indexes may be rebuilt.".to_owned(),
        );
    }
    if let Some((base, oid)) = wanted.joins.and_then(|base| Some((base, base.subscription_oid?))) {
        let out_of_reach = user::not_applicable(&relids, oid)?;
        if !out_of_reach.is_empty() {
            let owner = role::name_of(schema::joining::subscription_of(base)?.owner);
            return Err(Error::Rights {
                role: owner.clone(),
                lacks: format!("owns the subscription and cannot act as the owner of {}", out_of_reach.join(", ")),
                node: node.to_owned(),
                hint: format!("Give \"{owner}\" the role of the tables' owner, or the tables to \"{owner}\"."),
            });
        }
    }
    Ok(())
}

/// A key that is not valid stays so, and is neither enforced nor found by whoever applies changes. One that no constraint stands on
/// may be left over from a CREATE INDEX CONCURRENTLY that failed.
pub(super) fn check_indexes(judge: &mut impl Judge, node: &str, plan: &Plan) -> Result<()> {
    let relids: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let (keys, others): (Vec<_>, Vec<_>) = indexes::invalid(&relids)?.into_iter().partition(|index| index.is_key);
    let names = |indexes: Vec<indexes::Invalid>| indexes.into_iter().map(|index| index.name).collect::<Vec<_>>();
    let keys = names(keys);
    let valid = if keys.is_empty() {
        Ok(())
    } else {
        Err(Error::InvalidKeys { node: node.to_owned(), count: keys.len(), keys })
    };
    judge.judge("keys", valid)?;
    let deferred = user::deferred_triggers(&relids)?;
    if !deferred.is_empty() {
        let message =
            format!("the server will refuse deferred triggers of other owners' tables: {}", deferred.join(", "));
        let hint = "DISABLE them for the time of the copy, or have it asked for by the tables' owner.".to_owned();
        judge.remark("deferred_triggers", Some(Remark { message, hint, ..Remark::default() }));
    }
    if !others.is_empty() {
        let message = format!("unique indexes that are not valid stay so: {}", names(others).join(", "));
        let hint = "REINDEX them or drop them, before or afterwards.".to_owned();
        judge.remark("indexes", Some(Remark { message, hint, ..Remark::default() }));
    }
    Ok(())
}

fn check_empty(node: &str, plan: &Plan) -> Result<()> {
    let located: Vec<(u32, String, String)> =
        plan.tables.iter().map(|table| (table.relid, table.table_schema.clone(), table.table_name.clone())).collect();
    let relids: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let full = transaction::nested(|| user::waiting_at_most(2000, || user::not_empty(&located)))
        .map_err(|error| user::with_lock_holders(error, &relids, "End that."))?;
    if full.is_empty() {
        return Ok(());
    }
    let tables: Vec<String> = plan
        .tables
        .iter()
        .filter(|table| full.contains(&table.relid))
        .map(|table| steep_repl_core::ident::qualified_display(&table.table_schema, &table.table_name))
        .collect();
    Err(Error::NotEmpty { node: node.to_owned(), count: tables.len(), tables })
}
