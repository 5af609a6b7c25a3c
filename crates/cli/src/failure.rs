//! What goes wrong, as it is said and as the exit code tells scripts.

use crate::output::plain;
use std::fmt;

/// Exit codes. A script decides by them, so they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// It was asked for in a way that cannot be understood.
    Usage = 2,
    /// Schemas do not match (SQLSTATE 42P15).
    SchemaMismatch = 3,
    /// It was cancelled, by whomever.
    Cancelled = 4,
    /// It was not over within the time that was given.
    Timeout = 5,
    /// No connection, or it was lost.
    Connection = 6,
    /// A check before an initialization has found an error.
    Preflight = 7,
    /// What was compared differs.
    Differences = 8,
}

/// Why a command ends with another exit code than 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What scripts are told.
    pub exit: Exit,
    /// What happened: lower case, no full stop.
    pub message: String,
    /// SQLSTATE, when a server has said it.
    pub sqlstate: Option<String>,
    /// More about it, in sentences.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), sqlstate: None, detail: None, hint: None }
    }

    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// No connection.
    pub fn connection(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Connection, message)
    }

    /// With a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Failure {
        self.detail = Some(detail.into());
        self
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

/// Who may do what, for whoever may not.
const RIGHTS: &str = "Members of pg_monitor may look, members of pg_create_subscription may act as well.";

/// As it is written to stderr: `steep-repl: error: ...`, then `detail:` and `hint:` lines.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "steep-repl: error: {}", plain(&self.message))?;
        if let Some(sqlstate) = &self.sqlstate {
            write!(f, " (SQLSTATE {sqlstate})")?;
        }
        for (word, text) in [("detail", &self.detail), ("hint", &self.hint)] {
            for line in text.iter().flat_map(|text| text.lines()) {
                write!(f, "\n{word}: {}", plain(line))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Exit code by SQLSTATE alone; never by the text of a message.
fn exit_of(sqlstate: &str) -> Exit {
    match sqlstate {
        "42P15" => Exit::SchemaMismatch,
        // A link that is lost, refused, not authorized, or a server that goes down or is not up yet.
        "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "3D000" => Exit::Connection,
        _ if sqlstate.starts_with("08") || sqlstate.starts_with("28") => Exit::Connection,
        _ => Exit::Failed,
    }
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Failure {
        let Some(said) = error.as_db_error() else {
            let exit = if error.is_closed()
                || std::error::Error::source(&error).is_some_and(|source| source.is::<std::io::Error>())
            {
                Exit::Connection
            } else {
                Exit::Failed
            };
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            let mut failure = Failure::new(exit, error.to_string());
            failure.detail = reason.filter(|reason| !failure.message.contains(reason));
            return failure;
        };
        let sqlstate = said.code().code();
        Failure {
            exit: exit_of(sqlstate),
            message: said.message().to_owned(),
            sqlstate: Some(sqlstate.to_owned()),
            detail: said.detail().map(str::to_owned),
            hint: said.hint().or_else(|| (sqlstate == "42501").then_some(RIGHTS)).map(str::to_owned),
        }
    }
}
