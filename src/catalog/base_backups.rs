//! Rows of `steep_repl.base_backups`: how far the base backup of an operation is.

use super::{execute, maybe, Arg};
use crate::error::Result;
use steep_repl_core::lsn::Lsn;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is being made: bytes here, of bytes in all.
    Backup(i64, i64),
    /// A position after it is taken.
    Slot,
    /// A private server replays WAL up to there.
    Recovery(Lsn),
    /// Tables are copied from there.
    Ready(Lsn),
}

/// Notes how far it is.
pub fn note(operation: i64, stage: Stage) -> Result<()> {
    let (state, done, total, target) = match stage {
        Stage::Backup(done, total) => ("backup", done, total, None),
        Stage::Slot => ("slot", 0, 0, None),
        Stage::Recovery(target) => ("recovery", 0, 0, Some(target)),
        Stage::Ready(target) => ("ready", 0, 0, Some(target)),
    };
    let target = target.map(|lsn| lsn.to_string());
    execute(
        include_str!("../../sql/queries/base_backup_note.sql"),
        &[Arg::Int(operation), Arg::Text(state), Arg::Int(done), Arg::Int(total), Arg::MaybeText(target.as_deref())],
    )
}

/// Its state: backup, slot, recovery or ready; none before it is begun.
pub fn state(operation: i64) -> Result<Option<String>> {
    maybe(
        "SELECT pg_catalog.to_jsonb(state)::text FROM steep_repl.base_backups WHERE operation_id = $1",
        &[Arg::Int(operation)],
    )
}

/// Forgets it: it is gone.
pub fn forget(operation: i64) -> Result<()> {
    execute("DELETE FROM steep_repl.base_backups WHERE operation_id = $1", &[Arg::Int(operation)])
}
