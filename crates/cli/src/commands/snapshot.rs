//! `snapshot`: a node in files.

use super::{init, tables, Context};
use crate::args::{Compression, Snapshot};
use crate::failure::Failure;

pub fn run(context: &Context, command: Snapshot) -> Result<(), Failure> {
    match command {
        Snapshot::Generate { source, path, compression, parallel } => {
            let mut session = context.connector.first()?;
            session.require_function("generate_snapshot")?;
            session.node(&source)?;
            let path = path.or_else(|| context.connector.config.snapshot_storage_path.clone());
            let query = "SELECT * FROM steep_repl.generate_snapshot(source => $1, path => $2, compression => coalesce($3, 'zstd'), parallel_workers => $4)";
            tables::any(
                context,
                &mut session,
                query,
                &[&source, &path, &compression.map(Compression::as_str), &parallel],
            )
        }
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
            tables::any(context, &mut session, "SELECT * FROM steep_repl.snapshots", &[])
        }
        Snapshot::Delete { id } => {
            let mut session = context.connector.first()?;
            session.require_function("drop_snapshot")?;
            context.confirm_by_name(&id, &format!("Snapshot {id} and its files will be deleted."))?;
            session.client().query("SELECT steep_repl.drop_snapshot($1::text)", &[&id])?;
            if context.out.json {
                context.out.value(&serde_json::json!({ "snapshot": id }))
            } else {
                context.out.line(format!("Snapshot {id} is deleted."))
            }
        }
    }
}
