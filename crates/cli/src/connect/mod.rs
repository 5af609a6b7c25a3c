//! Opening a connection as libpq opens one: several servers, each with several addresses, each with and without TLS.
//!
//! ```text
//! places ── addresses ── attempts ── line (TLS or not) ── session (does it have what is asked for)
//! ```
//! A place that cannot be reached is followed by the next one. A server that answers and refuses ends it: the next one would only hide the reason.
//! Every attempt has `connect_timeout`, from the search for the address to the server's "ready".

mod addresses;
mod attempt;
mod certificate;
mod guard;
mod line;
mod password;
mod reason;
mod session;
mod tls;

use postgres::error::DbError;
use postgres::Client;

use crate::conninfo::{Conninfo, Place};
use crate::failure::Failure;
use attempt::Attempt;
use reason::{Next, Reason, Refusal};

/// Whether a password may be asked for on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// Never (`-w`), or there is no terminal, or it draws on it.
    Never,
    /// When the server wants one and none is known.
    WhenNeeded,
    /// Before connecting (`-W`).
    Always,
}

/// What is done with a notice of the server.
pub type Hearing = std::sync::Arc<dyn Fn(DbError) + Send + Sync>;

/// Opens a connection. What must not be shown stands in no error. Notices of the server are dropped.
///
/// # Errors
/// Exit code 6, with the reason.
pub fn open(conninfo: &Conninfo, prompt: Prompt) -> Result<Client, Failure> {
    open_hearing(conninfo, prompt, std::sync::Arc::new(|_| ()))
}

/// Opens a connection whose notices go to `hearing`.
///
/// # Errors
/// Exit code 6, with the reason.
pub fn open_hearing(conninfo: &Conninfo, prompt: Prompt, hearing: Hearing) -> Result<Client, Failure> {
    if prompt == Prompt::Always && !conninfo.was_typed() {
        password::ask(conninfo)?;
    }
    match try_all(conninfo, &hearing) {
        Err(refusals) if prompt == Prompt::WhenNeeded && reason::wants_password(&refusals) => {
            password::ask(conninfo)?;
            try_all(conninfo, &hearing).map_err(|refusals| reason::failure(conninfo, &refusals))
        }
        result => result.map_err(|refusals| reason::failure(conninfo, &refusals)),
    }
}

/// All places; with `prefer-standby` first for a standby, then for whatever answers.
fn try_all(conninfo: &Conninfo, hearing: &Hearing) -> Result<Client, Vec<Refusal>> {
    let wanted = conninfo.get("target_session_attrs").unwrap_or("any");
    if wanted != "prefer-standby" {
        return try_places(conninfo, hearing, wanted);
    }
    try_places(conninfo, hearing, "standby").or_else(|_| try_places(conninfo, hearing, "any"))
}

fn try_places(conninfo: &Conninfo, hearing: &Hearing, wanted: &str) -> Result<Client, Vec<Refusal>> {
    // What was resolved has places that belong together.
    let mut places = conninfo.places().unwrap_or_default();
    if conninfo.get("load_balance_hosts") == Some("random") {
        addresses::shuffle(&mut places);
    }
    let mut refusals = Vec::new();
    for place in &places {
        match try_place(conninfo, hearing, place, wanted) {
            Ok(client) => return Ok(client),
            Err(Refused { reasons, next }) => {
                refusals.extend(reasons.into_iter().map(|reason| Refusal { place: place.clone(), reason }));
                if next == Next::Nothing {
                    break;
                }
            }
        }
    }
    Err(refusals)
}

/// Why a place refused, and what is tried after it.
struct Refused {
    reasons: Vec<Reason>,
    next: Next,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Refused {
        Refused { next: reason.next(), reasons: vec![reason] }
    }
}

fn try_place(conninfo: &Conninfo, hearing: &Hearing, place: &Place, wanted: &str) -> Result<Client, Refused> {
    let mut reasons = Vec::new();
    for address in addresses::of(conninfo, place, attempt::limit(conninfo))? {
        // Who was refused in every way has been refused by a server that is there.
        let mut next = Next::Nothing;
        for attempt in Attempt::all(conninfo, place, address) {
            let reason = match attempt.connect(hearing).and_then(|client| session::check(client, wanted)) {
                Ok(client) => return Ok(client),
                Err(reason) => reason,
            };
            let after = reason.next();
            reasons.push(reason);
            if after != Next::Method {
                next = after;
                break;
            }
        }
        if next != Next::Address {
            return Err(Refused { reasons, next });
        }
    }
    Err(Refused { reasons, next: Next::Place })
}
