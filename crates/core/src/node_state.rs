//! The states of a node and the only function that decides whether one may follow another.
//!
//! The states are the words of `steep_repl.nodes.state`; the transitions are those of the design's section 3. A
//! caller that changes a state asks [`transition`] first, and writes the new state in the transaction of its cause.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// State of a node, as stored in `steep_repl.nodes.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeState {
    /// Registered; nothing was copied, or a cancel put everything back.
    Uninitialized,
    /// Publication, slot, snapshot and subscription are being made.
    Preparing,
    /// Tables are being copied and their indexes built.
    Copying,
    /// The subscription is enabled and works off what happened since the snapshot.
    CatchingUp,
    /// The node follows its source within the allowed lag.
    Synchronized,
    /// The node followed its source once; now data or schema differ.
    Diverged,
    /// An operation stopped; it can be resumed or cancelled.
    Failed,
    /// Tables of a node that was in use are being copied again.
    Reinitializing,
}

/// The text is none of the eight states.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown node state \"{0}\"")]
pub struct UnknownState(
    /// The text as given.
    pub String,
);

/// A transition that the state machine does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node cannot go from {from} to {to}")]
pub struct IllegalTransition {
    /// The state the node is in.
    pub from: NodeState,
    /// The state that was asked for.
    pub to: NodeState,
}

impl NodeState {
    /// All states, in the order in which a node usually meets them.
    pub const ALL: [NodeState; 8] = [
        NodeState::Uninitialized,
        NodeState::Preparing,
        NodeState::Copying,
        NodeState::CatchingUp,
        NodeState::Synchronized,
        NodeState::Diverged,
        NodeState::Failed,
        NodeState::Reinitializing,
    ];

    /// The upper-case word used in SQL, events and views.
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeState::Uninitialized => "UNINITIALIZED",
            NodeState::Preparing => "PREPARING",
            NodeState::Copying => "COPYING",
            NodeState::CatchingUp => "CATCHING_UP",
            NodeState::Synchronized => "SYNCHRONIZED",
            NodeState::Diverged => "DIVERGED",
            NodeState::Failed => "FAILED",
            NodeState::Reinitializing => "REINITIALIZING",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NodeState {
    type Err = UnknownState;

    /// Accepts exactly the upper-case word, as the database stores it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NodeState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// Returns `to` when a node may go from `from` to `to`.
///
/// Staying in a state is no transition, so equal states are an error too: a caller that writes a state twice has lost
/// track of what it did.
///
/// # Errors
///
/// [`IllegalTransition`] for every pair that the design's section 3 does not list.
pub fn transition(from: NodeState, to: NodeState) -> Result<NodeState, IllegalTransition> {
    use NodeState::*;
    let allowed = match from {
        Uninitialized => matches!(to, Preparing),
        // CatchingUp: a manual initialization or an applied snapshot brings its rows along.
        Preparing => matches!(to, Copying | CatchingUp | Failed | Uninitialized),
        Copying => matches!(to, CatchingUp | Failed | Uninitialized),
        // Copying: a table was altered on the source, and its rows have to be copied again.
        CatchingUp => matches!(to, Synchronized | Copying | Failed | Uninitialized),
        Synchronized => matches!(to, Diverged | Reinitializing),
        Diverged => matches!(to, Synchronized | Reinitializing),
        // Resume goes back to the phase that failed; cancel to the start.
        Failed => matches!(to, Preparing | Copying | CatchingUp | Reinitializing | Uninitialized),
        // Cancel goes back to what the node was, or to Diverged when a table is half done.
        Reinitializing => matches!(to, Copying | CatchingUp | Failed | Synchronized | Diverged),
    };
    if allowed {
        Ok(to)
    } else {
        Err(IllegalTransition { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written from the design's text, one line per state, not from the code above.
    const ALLOWED: &[(&str, &[&str])] = &[
        ("UNINITIALIZED", &["PREPARING"]),
        ("PREPARING", &["COPYING", "CATCHING_UP", "FAILED", "UNINITIALIZED"]),
        ("COPYING", &["CATCHING_UP", "FAILED", "UNINITIALIZED"]),
        ("CATCHING_UP", &["COPYING", "SYNCHRONIZED", "FAILED", "UNINITIALIZED"]),
        ("SYNCHRONIZED", &["DIVERGED", "REINITIALIZING"]),
        ("DIVERGED", &["SYNCHRONIZED", "REINITIALIZING"]),
        ("FAILED", &["REINITIALIZING", "PREPARING", "COPYING", "CATCHING_UP", "UNINITIALIZED"]),
        ("REINITIALIZING", &["COPYING", "CATCHING_UP", "FAILED", "SYNCHRONIZED", "DIVERGED"]),
    ];

    #[test]
    fn every_pair_of_states_is_allowed_or_refused_as_designed() {
        let mut pairs = 0;
        for from in NodeState::ALL {
            let row = ALLOWED.iter().find(|(name, _)| *name == from.as_str()).unwrap();
            for to in NodeState::ALL {
                pairs += 1;
                let expected = row.1.contains(&to.as_str());
                assert_eq!(transition(from, to).is_ok(), expected, "{from} -> {to}");
            }
        }
        assert_eq!(pairs, 64);
        assert_eq!(ALLOWED.iter().map(|(_, to)| to.len()).sum::<usize>(), 26);
    }

    #[test]
    fn a_transition_returns_the_new_state_or_names_both() {
        assert_eq!(transition(NodeState::Uninitialized, NodeState::Preparing), Ok(NodeState::Preparing));
        let error = transition(NodeState::Synchronized, NodeState::Copying).unwrap_err();
        assert_eq!(error.from, NodeState::Synchronized);
        assert_eq!(error.to, NodeState::Copying);
        assert_eq!(error.to_string(), "a node cannot go from SYNCHRONIZED to COPYING");
    }

    #[test]
    fn words_round_trip_through_text_and_json() {
        for state in NodeState::ALL {
            assert_eq!(state.as_str().parse::<NodeState>(), Ok(state));
            assert_eq!(state.to_string(), state.as_str());
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["", "copying", "COPYING ", "CATCHINGUP", "DONE"] {
            assert_eq!(text.parse::<NodeState>(), Err(UnknownState(text.to_owned())));
        }
    }
}
