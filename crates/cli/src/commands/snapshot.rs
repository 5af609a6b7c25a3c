//! `snapshot`: a node in files.

use super::display::Display;
use super::{init, tables, Context};
use crate::args::{Compression, Generate, Snapshot};
use crate::failure::{Exit, Failure};
use crate::output::many;
use crate::rows::{Kept, Progress, Table};
use crate::session::Session;
use crate::words::bytes;
use crossbeam_channel::{after, select};
use std::time::{Duration, Instant};

/// How often is looked.
const TICK: Duration = Duration::from_millis(500);
/// How long it may take until a deleted snapshot is gone. What cannot be taken away by then is retried by the server.
const DELETED_WITHIN: Duration = Duration::from_secs(60);

pub fn run(context: &Context, command: Snapshot) -> Result<(), Failure> {
    match command {
        Snapshot::Generate(options) => generate(context, options),
        Snapshot::Apply { node, path } => {
            let mut session = context.connector.node(&node)?;
            session.require_function("apply_snapshot")?;
            let path = path.or_else(|| context.connector.config.snapshot_storage_path.clone());
            let operation: i64 =
                session.value("SELECT steep_repl.apply_snapshot(node => $1, path => $2)", &[&node, &path])?;
            init::started(context, session, &node, operation, false)
        }
        Snapshot::List => {
            let mut session = context.connector.first()?;
            session.require_function("generate_snapshot")?;
            if context.out.json {
                return context.out.value(&kept(&mut session, None)?);
            }
            let query = "SELECT id, source, status, percent, slots, slots_free, pg_catalog.pg_size_pretty(wal_held_bytes) AS wal_held, \
                         pg_catalog.pg_size_pretty(bytes) AS size, compression, path, coalesce(error, '') AS error FROM steep_repl.snapshots";
            tables::any(context, &mut session, query, &[])
        }
        Snapshot::Delete { id } => delete(context, &id),
    }
}

fn generate(context: &Context, options: Generate) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    session.require_function("generate_snapshot")?;
    session.node(&options.source)?;
    let path = options.path.or_else(|| context.connector.config.snapshot_storage_path.clone());
    let query = "SELECT steep_repl.generate_snapshot(source => $1, path => $2, compression => coalesce($3, 'zstd'), parallel_workers => $4, \
                 targets => coalesce($5, 1), expires => pg_catalog.make_interval(secs => $6))";
    let id: String = session.value(
        query,
        &[
            &options.source,
            &path,
            &options.compression.map(Compression::as_str),
            &options.parallel,
            &options.targets,
            &options.expires.map(|time| time.as_secs_f64()),
        ],
    )?;
    if options.detach {
        return match context.out.json {
            true => context.out.value(&serde_json::json!({ "snapshot": id })),
            false => context.out.line(format!("Snapshot {id} is under way. Watch it with steep-repl snapshot list.")),
        };
    }
    let kept = follow(context, &mut session, &id)?;
    if context.out.json {
        return context.out.value(&kept);
    }
    context.out.line(format!(
        "Snapshot {id} of node {} is complete: {}, {} in {}",
        kept.source,
        many(usize::try_from(kept.tables).unwrap_or_default(), "table"),
        bytes(kept.bytes.unwrap_or_default() as f64),
        kept.path
    ))
}

/// One snapshot, or all.
fn kept(session: &mut Session, id: Option<&str>) -> Result<Vec<Kept>, Failure> {
    session.rows(include_str!("../../sql/snapshot.sql"), &[&id])
}

fn look(session: &mut Session, id: &str) -> Result<Option<Kept>, Failure> {
    Ok(kept(session, Some(id))?.pop())
}

/// Watches until a snapshot is complete. The server needs nobody who does.
fn follow(context: &Context, session: &mut Session, id: &str) -> Result<Kept, Failure> {
    let detached = || {
        Failure::new(Exit::Failed, format!("interrupted; snapshot {id} goes on"))
            .hint(format!("Watch it with steep-repl snapshot list; end it with steep-repl snapshot delete {id}."))
    };
    let interrupts = crate::interrupt::listen(detached());
    let mut display = Display::new(context);
    let ended = loop {
        let found = look(session, id)?;
        let gone = || Failure::new(Exit::Cancelled, format!("snapshot {id} was deleted"));
        match found {
            None => break Err(gone()),
            Some(kept) if kept.status == "complete" => break Ok(kept),
            Some(kept) if kept.status == "dropping" => break Err(gone()),
            Some(kept) if kept.status == "failed" => {
                break Err(Failure {
                    exit: Exit::Failed,
                    message: kept.error.unwrap_or_else(|| format!("snapshot {id} failed")),
                    sqlstate: kept.sqlstate,
                    detail: kept.detail,
                    hint: kept.hint.or_else(|| {
                        Some("The same command goes on with it; steep-repl snapshot delete removes it.".to_owned())
                    }),
                })
            }
            Some(kept) => {
                let active: Vec<Table> = if display.wants_tables() {
                    session.rows(include_str!("../../sql/active_tables.sql"), &[&kept.operation_id])?
                } else {
                    Vec::new()
                };
                display.show(&progress(kept), &active);
            }
        }
        select! {
            recv(interrupts) -> _ => break Err(detached()),
            recv(after(TICK)) -> _ => {}
        }
    };
    display.clear();
    ended
}

/// How far it is, as of every other operation.
fn progress(kept: Kept) -> Progress {
    Progress {
        operation_id: kept.operation_id,
        node: format!("snapshot {}", kept.id),
        source: kept.source,
        kind: "generate".to_owned(),
        method: "two_phase".to_owned(),
        state: kept.status,
        phase: kept.phase,
        overall_percent: kept.percent,
        tables_total: kept.tables,
        tables_done: kept.tables_done,
        current_tables: Vec::new(),
        rows_done: kept.rows_done,
        bytes_done: kept.bytes_done,
        bytes_total: kept.bytes_total,
        rows_per_second: None,
        bytes_per_second: kept.bytes_per_second,
        workers_active: 0,
        workers_planned: 0,
        started_at: None,
        updated_at: None,
        eta: None,
        eta_seconds: kept.eta_seconds,
        lag_bytes: None,
        error: kept.error,
        generation_percent: Some(kept.percent),
        application_percent: None,
    }
}

fn delete(context: &Context, id: &str) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    session.require_function("drop_snapshot")?;
    context.confirm_by_name(id, &format!("Snapshot {id} and its files will be deleted."))?;
    session.client().query("SELECT steep_repl.drop_snapshot($1::text)", &[&id])?;
    let until = Instant::now() + DELETED_WITHIN;
    while look(&mut session, id)?.is_some() {
        if Instant::now() > until {
            return Err(Failure::new(Exit::Timeout, format!("snapshot {id} is not gone yet"))
                .hint("What is left is taken away as soon as it can be; see steep_repl.pending_cleanup."));
        }
        let _ = after(TICK / 5).recv();
    }
    if context.out.json {
        context.out.value(&serde_json::json!({ "snapshot": id }))
    } else {
        context.out.line(format!("Snapshot {id} is deleted."))
    }
}
