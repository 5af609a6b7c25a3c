//! Rows that came by somebody's own backup: whether they are those that the source had when the slot was made, as long as the snapshot of
//! that moment is kept. Comparing is the copy workers' work, a task a table.

use super::main::Coordinator;
use crate::catalog::operations;
use crate::catalog::progress::{self, Observed, Shown};
use crate::catalog::tasks::{self, NewTask};
use crate::error::{Result, SlotError};
use crate::pg::{system, transaction};
use steep_repl_core::lsn::Lsn;

/// Share of the bar that is for the comparison; the rest is for the catch-up, in percent.
const SHARE: f64 = 90.0;

impl Coordinator {
    /// Plans a comparison for each table.
    pub(super) fn plan_verify(&mut self) -> Result<()> {
        let id = self.operation.id;
        transaction::run(|| {
            let planned = operations::tables(id)?;
            let tasks: Vec<NewTask> = planned
                .iter()
                .enumerate()
                .map(|(place, table)| NewTask {
                    relid: table.relid,
                    kind: "verify",
                    position: place as i32,
                    from_block: None,
                    to_block: None,
                    bytes: table.bytes_total,
                    small: false,
                    status: "pending",
                })
                .collect();
            tasks::insert(id, &tasks)
        })
    }

    /// Shows how much is compared.
    pub(super) fn show_verify(&mut self, observed: &Observed) -> Result<()> {
        let now = system::now_secs();
        if now - self.shown_at < 0.4 {
            return Ok(());
        }
        self.shown_at = now;
        let verify = &observed.verify;
        let share = if verify.tasks == 0 {
            0.0
        } else if verify.bytes == 0 {
            verify.tasks_done as f64 / verify.tasks as f64
        } else {
            verify.bytes_done as f64 / verify.bytes as f64
        };
        let shown = Shown {
            rows_done: observed.rows_done,
            bytes_done: verify.bytes_done,
            overall_percent: self.operation.overall_percent.max(SHARE * share),
            workers_active: self.workers.len() as i64,
            ..Shown::default()
        };
        let id = self.operation.id;
        transaction::run(|| progress::show(id, &shown))
    }

    /// Stops the operation: rows are here that are not the source's.
    pub(super) fn fail_by_rows(&mut self) -> Result<()> {
        let (id, node) = (self.operation.id, self.operation.source.clone());
        let tables = transaction::run(|| tasks::differing(id))?;
        self.fail(&SlotError::OtherRows { node, lsn: self.operation.start_lsn.unwrap_or(Lsn::INVALID), tables }.into())
    }

    /// The tables were here before, and nothing was set aside for a load. False when it is to be tried again.
    pub(super) fn set_sequences_of_backup(&mut self) -> Result<bool> {
        if !self.set_sequences()? {
            return Ok(false);
        }
        let id = self.operation.id;
        transaction::run(|| tasks::finish_tables(id))?;
        Ok(true)
    }
}
