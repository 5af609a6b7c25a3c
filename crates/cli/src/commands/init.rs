//! `init`: a node is made a copy of another and kept one.

use super::follow::{follow, outcome, Followed, GOES_ON};
use super::{preflight, schema, tables, Context};
use crate::args::{ByHand, Init, LargeTableMethod, Method, NoIdentity, SchemaSync};
use crate::conninfo::Conninfo;
use crate::failure::{Exit, Failure};
use crate::output::message;
use crate::session::Session;
use serde::Serialize;
use std::time::Duration;

/// What `--json` gives of something that was started.
#[derive(Serialize)]
pub(super) struct Started<'a> {
    pub node: &'a str,
    pub operation_id: i64,
}

pub fn run(context: &Context, options: Init) -> Result<(), Failure> {
    match options.by_hand {
        None => start(context, options),
        Some(ByHand::Prepare { node, slot, expires }) => prepare(context, &node, slot.as_deref(), expires),
        Some(ByHand::Complete { node, source, source_lsn, slot, publication, no_verify, source_dsn }) => {
            let backup = Backup { lsn: source_lsn, slot, publication, verify: !no_verify };
            complete(context, &node, &source, &backup, source_dsn.as_deref())
        }
    }
}

fn start(context: &Context, options: Init) -> Result<(), Failure> {
    let (Some(node), Some(source)) = (options.node, options.source.source) else {
        return Err(Failure::usage("init needs a node and --from"));
    };
    let how = options.how.or(&context.connector.config.initialization);
    let mut session = context.connector.node(&node)?;
    session.node(&source)?;
    if options.dry_run {
        let checked = preflight::check(&mut session, &node, &source, &how)?;
        preflight::show(context, &checked)?;
        if !context.out.json && how.schema_sync == Some(SchemaSync::Auto) {
            schema::show_plan(context, &mut session, &node, &source)?;
        }
        return preflight::verdict(&checked);
    }
    if how.force {
        let question = format!("Tables of node \"{node}\" that hold rows will be emptied.");
        context.confirm_by_name(&node, &question)?;
    }
    if how.schema_sync == Some(SchemaSync::Manual) && !options.detach {
        message(format!(
            "steep-repl: should schemas differ, it waits: see steep-repl events, then use steep-repl confirm {node}"
        ));
    }
    let operation: i64 = session.value(
        include_str!("../../sql/init.sql"),
        &[
            &node,
            &source,
            &how.method.map(Method::as_str),
            &how.schemas,
            &how.tables,
            &how.publication,
            &how.no_identity.map(NoIdentity::as_str),
            &how.force,
            &how.schema_sync.map(SchemaSync::as_str),
            &how.parallel,
            &how.large_table_threshold,
            &how.large_table_method.map(LargeTableMethod::as_str),
            &how.timeout.map(|limit| limit.as_secs_f64()),
        ],
    )?;
    started(context, session, &node, operation, options.detach)
}

/// Follows what was started to its end, or says that it goes on.
pub(super) fn started(
    context: &Context,
    session: Session,
    node: &str,
    operation: i64,
    detach: bool,
) -> Result<(), Failure> {
    if detach {
        if context.out.json {
            return context.out.value(&Started { node, operation_id: operation });
        }
        return context.out.line(format!(
            "Operation {operation} on node {node} is under way. Watch it with steep-repl wait {node} or steep-repl status {node}."
        ));
    }
    let what = Followed { node, operation, deadline: None, may_cancel: true, otherwise: GOES_ON };
    let (mut session, ended) = follow(context, session, &what)?;
    if context.out.json {
        tables::summary(context, &mut session, &ended)?;
        return outcome(&ended);
    }
    outcome(&ended)?;
    tables::summary(context, &mut session, &ended)
}

/// What is said of a backup.
struct Backup {
    lsn: Option<String>,
    slot: Option<String>,
    publication: Option<String>,
    verify: bool,
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}

fn prepare(context: &Context, node: &str, slot: Option<&str>, expires: Option<Duration>) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    session.require_function("prepare_init")?;
    session.node(node)?;
    let query = "SELECT * FROM steep_repl.prepare_init(node => $1, slot_name => $2, expires => coalesce(pg_catalog.make_interval(secs => $3), '7 days'))";
    let rows: Vec<Prepared> = session.rows(query, &[&node, &slot, &seconds(expires)])?;
    let Some(prepared) = rows.into_iter().next() else {
        return Err(Failure::new(Exit::Failed, "the server returned no slot"));
    };
    if context.out.json {
        return context.out.value(&prepared);
    }
    let Prepared { slot_name, source_lsn, snapshot, publications, expires_at, commands } = &prepared;
    let until = expires_at.as_ref().map_or_else(|| "for ever".to_owned(), |time| format!("until {time}"));
    context.out.line(format!("slot          {slot_name}, kept {until}"))?;
    context.out.line(format!("source LSN    {source_lsn}"))?;
    context.out.line(format!("snapshot      {}", snapshot.as_deref().unwrap_or("-")))?;
    context.out.line(format!("publications  {}", publications.join(", ")))?;
    context.out.line(format!("\n{commands}"))
}

/// What `prepare_init` returns, and `--json` gives.
#[derive(Serialize, serde::Deserialize)]
struct Prepared {
    slot_name: String,
    source_lsn: String,
    snapshot: Option<String>,
    publications: Vec<String>,
    expires_at: Option<String>,
    commands: String,
}

/// On a restored database nothing may be there yet: the extension and the rows of both nodes are made first, all in one transaction, which
/// takes them back when the server cannot go on.
fn complete(
    context: &Context,
    node: &str,
    source: &str,
    backup: &Backup,
    source_dsn: Option<&str>,
) -> Result<(), Failure> {
    let conninfo = context.connector.configured(node)?.unwrap_or_else(|| context.connector.conninfo.clone());
    let mut session = Session::begin(&conninfo, context.connector.prompt)?;
    session.require_function("complete_init")?;
    let known = session.nodes()?;
    // A copy of the source, or a dump of it, says that it is the source; complete_init sees whether it is.
    let local = known.iter().find(|other| other.is_local);
    if let Some(other) = local.filter(|other| other.node != node && other.node != source) {
        return Err(Failure::new(
            Exit::Failed,
            format!("the database at {} is node \"{}\"", conninfo.describe(), other.node),
        )
        .hint(format!("Connect to the database that was restored as node \"{node}\".")));
    }
    if !known.iter().any(|other| other.node == node) {
        let here = address(&conninfo);
        session.client().query("SELECT steep_repl.register_node($1, $2)", &[&node, &here])?;
    }
    if !known.iter().any(|other| other.node == source) {
        let configured = context.connector.config.nodes.get(source).map(String::as_str);
        let Some(dsn) = source_dsn.or(configured) else {
            return Err(Failure::usage(format!("node \"{source}\" is not registered on node \"{node}\""))
                .hint("Say by --source-dsn how the node reaches it."));
        };
        session.client().query("SELECT steep_repl.register_node($1, $2)", &[&source, &dsn])?;
    }
    let operation: i64 = session.value(
        include_str!("../../sql/complete.sql"),
        &[&node, &source, &backup.lsn, &backup.slot, &backup.publication, &backup.verify],
    )?;
    session.client().batch_execute("COMMIT")?;
    started(context, session, node, operation, false)
}

/// How others get to a database, without anything that is a secret.
fn address(conninfo: &Conninfo) -> String {
    let mut address = steep_repl_core::conninfo::Conninfo::default();
    for keyword in ["host", "hostaddr", "port", "dbname", "user"] {
        if let Some(value) = conninfo.get(keyword) {
            address.set(keyword, value);
        }
    }
    address.to_string()
}
