//! Why a connection was not made, what is tried next, and how it is said.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::conninfo::{Conninfo, Place};
use crate::failure::Failure;

/// What went wrong on the line, before the server was spoken to.
#[derive(Debug)]
pub enum Trouble {
    /// The socket failed.
    Io(io::Error),
    /// It took too long.
    TimedOut,
    /// The server has no TLS.
    NoTls,
    /// An answer that no server gives.
    Odd(&'static str),
    /// TLS could not be agreed on.
    Handshake(String),
    /// The certificate is not trusted.
    Untrusted {
        /// What OpenSSL says.
        what: String,
        /// What it was compared with.
        trusted: String,
    },
    /// The certificate is another server's.
    Misnamed(String),
    /// The server authenticates in a way that `require_auth` does not allow.
    Method {
        /// What it asked for.
        asked: &'static str,
        /// What would have been allowed.
        allowed: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Io(error) => error.fmt(f),
            Trouble::TimedOut => f.write_str("timeout expired"),
            Trouble::NoTls => f.write_str("server does not support TLS, but TLS was required"),
            Trouble::Odd(what) => f.write_str(what),
            Trouble::Handshake(what) => write!(f, "TLS failed: {what}"),
            Trouble::Untrusted { what, .. } => write!(f, "the server's certificate is not trusted: {what}"),
            Trouble::Misnamed(what) => f.write_str(what),
            Trouble::Method { asked, allowed } => {
                write!(f, "authentication method requirement \"{allowed}\" failed: server requested {asked}")
            }
        }
    }
}

impl Error for Trouble {}

/// What is tried after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same address, with or without TLS.
    Method,
    /// The same place at another address.
    Address,
    /// The next place.
    Place,
    /// Nothing: a server has decided.
    Nothing,
}

/// Why an attempt failed.
#[derive(Debug)]
pub enum Reason {
    /// The name cannot be found.
    UnknownHost(io::Error),
    /// It took too long.
    TimedOut,
    /// Nobody answers there.
    Unreachable(io::Error),
    /// The link broke, or what was said on it makes no sense.
    Broken(String),
    /// TLS failed.
    Line(Trouble),
    /// TLS cannot even be tried.
    Unusable(String),
    /// There is nothing to compare the certificate with.
    NoRoots(PathBuf),
    /// The server wants a password, and none is known.
    NoPassword,
    /// The two sides cannot agree on how to prove who they are.
    Authentication(String),
    /// The server says why.
    Server(Box<postgres::error::DbError>),
    /// The session is not what was asked for.
    Unsuitable(&'static str),
}

impl Reason {
    /// From the client library's error.
    pub fn of(error: postgres::Error) -> Reason {
        let text = error.to_string();
        if let Some(said) = error.as_db_error() {
            return Reason::Server(Box::new(said.clone()));
        }
        let Some(source) = error.into_source() else { return Reason::Broken(text) };
        let source = match source.downcast::<Trouble>() {
            Ok(trouble) => {
                return match *trouble {
                    Trouble::TimedOut => Reason::TimedOut,
                    Trouble::Io(error) => Reason::Broken(plain(&error)),
                    trouble => Reason::Line(trouble),
                }
            }
            Err(source) => source,
        };
        match source.downcast::<io::Error>() {
            Ok(error) if error.get_ref().is_some_and(|inner| inner.is::<Trouble>()) => match error.downcast() {
                Ok(trouble) => Reason::Line(trouble),
                Err(error) => Reason::Broken(plain(&error)),
            },
            Ok(error) if error.kind() == io::ErrorKind::TimedOut => Reason::TimedOut,
            Ok(error) if text.contains("connecting") => Reason::Unreachable(*error),
            Ok(error) => Reason::Broken(plain(&error)),
            Err(source) if source.to_string() == "password missing" => Reason::NoPassword,
            Err(source) => Reason::Authentication(source.to_string()),
        }
    }

    /// What is tried after it.
    pub fn next(&self) -> Next {
        match self {
            Reason::TimedOut | Reason::Unreachable(_) => Next::Address,
            Reason::UnknownHost(_) | Reason::Broken(_) | Reason::Unsuitable(_) => Next::Place,
            Reason::Server(said) if said.code().code() == "57P03" => Next::Place,
            Reason::Server(said) if said.code().code().starts_with("28") => Next::Method,
            Reason::Line(Trouble::NoTls | Trouble::Odd(_) | Trouble::Method { .. }) => Next::Nothing,
            Reason::Line(_) | Reason::Unusable(_) | Reason::NoRoots(_) => Next::Method,
            _ => Next::Nothing,
        }
    }

    fn text(&self) -> String {
        match self {
            Reason::UnknownHost(error) => format!("could not translate host name to address: {}", plain(error)),
            Reason::TimedOut => "timeout expired".to_owned(),
            Reason::Unreachable(error) => plain(error),
            Reason::Broken(why) | Reason::Unusable(why) | Reason::Authentication(why) => why.clone(),
            Reason::Line(trouble) => trouble.to_string(),
            Reason::NoRoots(file) => format!("root certificate file \"{}\" does not exist", file.display()),
            Reason::NoPassword => "no password supplied".to_owned(),
            Reason::Server(said) => match said.detail() {
                Some(detail) => format!("{}\n{detail}", said.message()),
                None => said.message().to_owned(),
            },
            Reason::Unsuitable(why) => (*why).to_owned(),
        }
    }

    fn hint(&self, socket: bool) -> Option<String> {
        let text = match self {
            Reason::UnknownHost(_) => "Is the host name spelled correctly?",
            Reason::TimedOut => "Does a firewall drop packets? connect_timeout is the number of seconds to wait.",
            Reason::Unreachable(_) if socket => {
                "Is the server running locally and accepting connections on that socket?"
            }
            Reason::Unreachable(_) => "Is the server running on that host and accepting TCP/IP connections?",
            Reason::Line(Trouble::NoTls) => "Set ssl = on in the server, or allow plain text with sslmode=prefer.",
            Reason::Line(Trouble::Untrusted { trusted, .. }) => {
                return Some(format!("It was checked against {trusted}."));
            }
            Reason::Line(Trouble::Misnamed(_)) => {
                "Connect by a name of the certificate (hostaddr may say where that is)."
            }
            Reason::NoRoots(_) => {
                "Provide it, name another with sslrootcert, or trust the system's with sslrootcert=system."
            }
            Reason::Broken(_) => "The server's log may say why.",
            Reason::NoPassword => super::password::HINT,
            Reason::Authentication(why) if why.contains("channel binding") => {
                "channel_binding=require needs TLS (sslmode=require) and a password that the server keeps as SCRAM."
            }
            Reason::Server(said) => return server_hint(said),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Without the number of the error and without saying twice what was tried.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    text.split(" (os error").next().unwrap_or(text).to_owned()
}

fn server_hint(said: &postgres::error::DbError) -> Option<String> {
    let ours = match said.code().code() {
        "28P01" => "Check the password in ~/.pgpass, PGPASSWORD or the connection string, or give -W.",
        "28000" => "Does the role exist, and does the server's pg_hba.conf let it in from here?",
        "3D000" => "psql -l lists the databases.",
        "57P03" => "Try again when the server is up.",
        _ => return said.hint().map(str::to_owned),
    };
    Some(said.hint().unwrap_or(ours).to_owned())
}

/// An attempt that failed.
#[derive(Debug)]
pub struct Refusal {
    /// Where.
    pub place: Place,
    /// Why.
    pub reason: Reason,
}

/// Whether a password would help.
pub fn wants_password(refusals: &[Refusal]) -> bool {
    refusals.last().is_some_and(|refusal| matches!(refusal.reason, Reason::NoPassword))
}

/// What is said in the end.
pub fn failure(conninfo: &Conninfo, refusals: &[Refusal]) -> Failure {
    let user = conninfo.get("user").unwrap_or_default();
    let mut failure = Failure::connection(format!("cannot connect to {} as {user}", conninfo.describe()));
    let Some(last) = refusals.last() else { return failure };
    let several = refusals.iter().any(|refusal| refusal.place != last.place);
    let mut lines: Vec<String> = Vec::new();
    for Refusal { place, reason } in refusals {
        let text = reason.text();
        let line = if several { format!("{}: {text}", place.describe()) } else { text };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if let Reason::Server(said) = &last.reason {
        failure.sqlstate = Some(said.code().code().to_owned());
        let from_file = conninfo.password(&last.place).is_some_and(|password| password.from_file);
        if said.code().code() == "28P01" && from_file {
            lines.push(format!("The password is from {}.", conninfo.passfile()));
        }
    }
    failure.hint = last.reason.hint(last.place.is_socket());
    failure.detail(lines.join("\n"))
}
