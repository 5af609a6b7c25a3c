//! A server error that travels between processes: from a worker to the operation's row, from there to whoever waits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The parts of a PostgreSQL error that a user needs, as plain text.
///
/// Whoever fills it in leaves secrets out: it is stored, shown in views and written to the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Five characters, as in PostgreSQL's appendix A.
    pub sqlstate: String,
    /// Primary message: lower case, no full stop.
    pub message: String,
    /// More facts, in sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do, in sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with neither detail nor hint.
    pub fn new(sqlstate: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { sqlstate: sqlstate.into(), message: message.into(), detail: None, hint: None }
    }

    /// The same problem with this detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same problem with this hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips_and_leaves_out_what_is_absent() {
        let short = Problem::new("53100", "could not extend file");
        assert_eq!(serde_json::to_string(&short).unwrap(), r#"{"sqlstate":"53100","message":"could not extend file"}"#);
        let full = short.clone().with_detail("No space left.").with_hint("Check free disk space.");
        for problem in [short, full] {
            let json = serde_json::to_string(&problem).unwrap();
            assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
        }
    }

    #[test]
    fn null_and_unknown_fields_are_tolerated() {
        let json = r#"{"sqlstate":"XX000","message":"m","detail":null,"hint":null,"context":"x"}"#;
        assert_eq!(serde_json::from_str::<Problem>(json).unwrap(), Problem::new("XX000", "m"));
    }

    #[test]
    fn shown_as_its_message() {
        assert_eq!(Problem::new("XX000", "it broke").with_hint("Mend it.").to_string(), "it broke");
    }
}
