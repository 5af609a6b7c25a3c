//! What can be done about an operation that has stopped, at the end of its error's hint: each kind has calls of its own. Pure.

use crate::catalog::operations::Kind;
use crate::error::{Error, SnapshotError};
use steep_repl_core::errors::Problem;

const OF_NODE: &str = "use steep_repl.resume_init(node) to go on, or steep_repl.cancel_init(node) to undo it.";
const OF_SNAPSHOT: &str =
    "call steep_repl.generate_snapshot(source, path) again to go on, or steep_repl.drop_snapshot(id) to undo it.";
/// Of one that would only fail again.
const OF_LOST_SNAPSHOT: &str = "use steep_repl.drop_snapshot(id) and generate another one.";

/// The problem that stops an operation of that kind, with what can be done about that. What was made for a slot goes by itself.
pub fn with_way_out(kind: Kind, error: &Error) -> Problem {
    let mut problem = error.problem();
    let cause = problem.hint.take();
    problem.hint = match kind {
        Kind::Init | Kind::Refresh => Some(of_node(cause)),
        Kind::Generate => Some(of_snapshot(error, cause)),
        Kind::Prepare => cause,
    };
    problem
}

fn of_node(cause: Option<String>) -> String {
    match cause {
        Some(hint) if hint.contains("_init(node)") => hint,
        cause => after(cause, OF_NODE),
    }
}

/// Some hints are about a node that is being initialized, which a snapshot has not got.
fn of_snapshot(error: &Error, cause: Option<String>) -> String {
    match error {
        Error::RoleGone { .. } => cause.unwrap_or_default(),
        Error::SlotLost { .. } => {
            let cause = "Raise max_slot_wal_keep_size (and idle_replication_slot_timeout) on the source.";
            after(Some(cause.to_owned()), OF_LOST_SNAPSHOT)
        }
        Error::PublicationChanged { .. } => after(Some("Let nobody change it.".to_owned()), OF_LOST_SNAPSHOT),
        Error::Snapshot(SnapshotError::SourceChanged { .. }) => after(None, OF_LOST_SNAPSHOT),
        Error::InitTimeout { .. } => after(None, OF_SNAPSHOT),
        _ => after(cause, OF_SNAPSHOT),
    }
}

fn after(cause: Option<String>, way_out: &str) -> String {
    match cause {
        Some(hint) => format!("{hint} Then {way_out}"),
        None => format!("Mend the cause, then {way_out}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(kind: Kind, error: &Error) -> String {
        with_way_out(kind, error).hint.unwrap_or_default()
    }

    fn full() -> Error {
        Error::File { path: "/srv/one".to_owned(), reason: "no space left".to_owned(), is_full: true }
    }

    fn lost() -> Error {
        Error::SlotLost { slot: "s".to_owned(), node: "node_a".to_owned() }
    }

    #[test]
    fn a_node_is_resumed_or_cancelled() {
        for kind in [Kind::Init, Kind::Refresh] {
            assert!(hint(kind, &full()).ends_with(OF_NODE), "{}", hint(kind, &full()));
            // It names the only one of them that helps.
            assert_eq!(Some(hint(kind, &lost())), lost().problem().hint);
        }
    }

    #[test]
    fn a_snapshot_is_generated_again_or_dropped() {
        assert!(hint(Kind::Generate, &full()).ends_with(OF_SNAPSHOT), "{}", hint(Kind::Generate, &full()));
        let changed = Error::PublicationChanged { publications: vec!["p".to_owned()], node: "node_a".to_owned() };
        let altered = Error::from(SnapshotError::SourceChanged { differences: vec!["table t was dropped".to_owned()] });
        for error in [lost(), changed, altered] {
            assert!(hint(Kind::Generate, &error).ends_with(OF_LOST_SNAPSHOT), "{}", hint(Kind::Generate, &error));
        }
        let late = Error::InitTimeout { operation: 1, limit: "1 s".to_owned() };
        for error in [full(), lost(), late] {
            assert!(!hint(Kind::Generate, &error).contains("_init(node)"), "{}", hint(Kind::Generate, &error));
        }
    }

    #[test]
    fn who_takes_it_over_is_told_once() {
        let gone = Error::RoleGone { operation: 1, way_out: "steep_repl.drop_snapshot(id)" };
        for kind in [Kind::Generate, Kind::Prepare] {
            assert_eq!(Some(hint(kind, &gone)), gone.problem().hint);
        }
    }
}
