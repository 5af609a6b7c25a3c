//! What an error means for who goes on after it.

use super::{Error, ProgramError, SnapshotError};
use steep_repl_core::retry::{self, Verdict};

impl Error {
    /// This error as what it means when it ends a copy from `node`.
    ///
    /// libpqwalreceiver gives whatever the source says during a COPY as a protocol violation of a "WAL stream"; there is no
    /// such stream here, and the source's own words come after the colon.
    pub fn of_copy_stream(self, node: &str) -> Error {
        match self {
            Error::Server(mut problem) if problem.sqlstate == "08P01" => {
                if let Some((_, words)) = problem.message.split_once("WAL stream: ") {
                    problem.message = words.trim_start_matches("ERROR:  ").to_owned();
                }
                Error::Source { context: format!("node \"{node}\" ended the COPY"), problem }
            }
            other => other,
        }
    }

    /// This error as what it means when it answers the import of a snapshot on `node`.
    pub fn of_snapshot_import(self, node: &str) -> Error {
        match &self {
            Error::Source { problem, .. }
                if retry::verdict(retry::Origin::Source, &problem.sqlstate) == Verdict::SnapshotLost =>
            {
                Error::SnapshotLost { node: node.to_owned() }
            }
            _ => self,
        }
    }

    /// Whether it is an order to stop what runs, and not a failure of it.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Error::Server(problem) if matches!(problem.sqlstate.as_str(), "57014" | "57P01"))
    }

    /// Whether to try again, and what.
    pub fn verdict(&self) -> Verdict {
        match self {
            Error::SourceUnreachable { .. } | Error::SourceSilent { .. } => Verdict::RetrySource,
            Error::SnapshotLost { .. } | Error::Rewritten { .. } | Error::LeftOvers { .. } => Verdict::SnapshotLost,
            // The codes of a lost snapshot mean that only where a snapshot is imported, which says SnapshotLost itself.
            // The codes of a broken protocol are what libpqwalreceiver gives to whatever the source says during a COPY or the
            // creation of a slot; a broken link is 08006.
            Error::Source { problem, .. } | Error::Server(problem) if problem.sqlstate == "08P01" => Verdict::RetryTask,
            Error::Source { problem, .. } => match retry::verdict(retry::Origin::Source, &problem.sqlstate) {
                Verdict::SnapshotLost => Verdict::Fail,
                verdict => verdict,
            },
            Error::TaskTaken | Error::NotWanted { .. } | Error::TakenOver { .. } | Error::WorkerStays { .. } => {
                Verdict::RetryTask
            }
            Error::Snapshot(SnapshotError::SlotsBusy { .. }) => Verdict::RetryTask,
            Error::Server(problem) | Error::SchemaSync { problem, .. } => {
                retry::verdict(retry::Origin::Target, &problem.sqlstate)
            }
            // It does not say why; whether the source is away is asked over our own connection before it is run again.
            Error::Program(ProgramError::Failed { .. }) => Verdict::RetryTask,
            _ => Verdict::Fail,
        }
    }
}
