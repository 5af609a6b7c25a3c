//! Where to connect to and as whom: what libpq makes of the same options, environment and files.
//!
//! | first | then | then | then | last |
//! | --- | --- | --- | --- | --- |
//! | what is given | the service file | the environment | defaults | for the password: the password file |
//!
//! A parameter that is given as the empty string counts as given, as in libpq. Among what is given, a connection string in the place of the
//! database name (`-d`) wins over `-h`, `-p` and `-U`, as in psql; one in `--dsn` is what the options change.
//!
//! Other than libpq: where nobody says otherwise a connection may take 10 seconds and a dead link is noticed within two minutes,
//! `application_name` is `steep-repl`, and a socket is looked for in the folder of packaged servers first and then in the one of servers that were
//! built from source.

mod defaults;
mod environment;
mod methods;
mod passfile;
mod places;
mod service;
mod supported;
mod towards;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use steep_repl_core::conninfo::Conninfo as Parameters;

use crate::failure::Failure;
pub use environment::Environment;
pub use methods::Methods;
use passfile::{Entry, Passfile};
pub use places::Place;

/// What was given on the command line. `Debug` shows no connection string, because a password may be in it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `--dsn`: a URI or keywords and values. The other options win over what it says.
    pub dsn: Option<String>,
    /// `-h`.
    pub host: Option<String>,
    /// `-p`.
    pub port: Option<String>,
    /// `-U`.
    pub user: Option<String>,
    /// `-d`: a name, or a connection string, which wins over the other options.
    pub dbname: Option<String>,
}

/// Parameters of libpq, with all defaults filled in. `Debug` shows no secrets.
#[derive(Clone, Default)]
pub struct Conninfo {
    inner: Parameters,
    home: Option<PathBuf>,
    passfile: Passfile,
    /// The password file knows better than the user's own password: this is another node than the one that was asked for.
    elsewhere: bool,
    /// What the user typed, for all that was made from the same.
    typed: Arc<Mutex<Option<String>>>,
}

/// A password and whether it came from the password file.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// The password.
    pub text: String,
    /// It was found in the password file.
    pub from_file: bool,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = "********";
        let dbname = self.dbname.as_deref().map(|name| if is_connection_string(name) { hidden } else { name });
        f.debug_struct("Given")
            .field("dsn", &self.dsn.as_ref().map(|_| hidden))
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("dbname", &dbname)
            .finish()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").field("from_file", &self.from_file).finish_non_exhaustive()
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conninfo").field(&self.inner.redacted()).finish()
    }
}

impl PartialEq for Conninfo {
    fn eq(&self, other: &Conninfo) -> bool {
        self.inner == other.inner && self.passfile == other.passfile && self.elsewhere == other.elsewhere
    }
}

impl Eq for Conninfo {}

impl Conninfo {
    /// In libpq's order of precedence: what is given, then the service file, then the environment, then defaults; the password file last.
    ///
    /// A password file that others can read is ignored, with a warning on stderr.
    ///
    /// # Errors
    /// Exit code 2 for what cannot be understood, and for what libpq can do and this client cannot.
    pub fn resolve(given: &Given, environment: Environment) -> Result<Conninfo, Failure> {
        let mut inner = given.parameters()?;
        service::fill(&mut inner, environment)?;
        environment::fill(&mut inner, environment);
        let words = inner.get("options").filter(|options| !options.is_empty()).map(str::to_owned);
        let words: Vec<String> = words.into_iter().chain(environment::settings(environment)).collect();
        if !words.is_empty() {
            inner.set("options", &words.join(" "));
        }
        defaults::fill(&mut inner);
        supported::check(&inner)?;
        let home = defaults::home(environment);
        let (passfile, warning) = read_passfile(&inner, home.as_ref());
        let conninfo = Conninfo { inner, home, passfile, ..Conninfo::default() };
        conninfo.check_places()?;
        if let Some(warning) = warning.filter(|_| conninfo.own_password().is_none()) {
            crate::output::message(format!("steep-repl: warning: {warning}"));
        }
        Ok(conninfo)
    }

    fn check_places(&self) -> Result<(), Failure> {
        let sockets = self.places()?.iter().any(Place::is_socket);
        let asked = |keyword: &&str| self.get(keyword).is_some_and(|value| !value.is_empty());
        match ["requirepeer", "require_auth"].into_iter().find(asked).filter(|_| sockets) {
            None => Ok(()),
            Some(keyword) => Err(Failure::usage(format!("parameter \"{keyword}\" is not supported over a socket"))
                .detail("Whom the server runs as and how it authenticates there cannot be seen.")
                .hint("Connect over TCP, to localhost.")),
        }
    }

    /// The value of a keyword.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.inner.get(keyword)
    }

    /// The servers to try, in order.
    ///
    /// # Errors
    /// Exit code 2 when hosts, addresses and ports do not belong together.
    pub fn places(&self) -> Result<Vec<Place>, Failure> {
        places::places(&self.inner)
    }

    /// The password file, for messages.
    pub(crate) fn passfile(&self) -> String {
        self.passfile.path().display().to_string()
    }

    /// The password for a server, if one is known.
    pub fn password(&self, place: &Place) -> Option<Password> {
        let port = place.port.to_string();
        let dbname = self.get("dbname").unwrap_or_default();
        let wanted = Entry { host: &place.host, port: &port, dbname, user: self.get("user").unwrap_or_default() };
        let in_file = self.passfile.password(wanted).filter(|password| !password.is_empty());
        let in_file = in_file.map(|text| Password { text, from_file: true });
        let own = self.own_password().map(|text| Password { text, from_file: false });
        if self.elsewhere {
            in_file.or(own)
        } else {
            own.or(in_file)
        }
    }

    fn own_password(&self) -> Option<String> {
        let typed = self.typed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        typed.or_else(|| self.get("password").map(str::to_owned)).filter(|password| !password.is_empty())
    }

    /// Whether the user has typed a password, for this or for what it was made from.
    pub fn was_typed(&self) -> bool {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Takes a password that the user has typed.
    pub fn set_typed(&self, password: String) {
        *self.typed.lock().unwrap_or_else(PoisonError::into_inner) = Some(password);
    }

    /// A file below the user's home.
    pub(crate) fn in_home(&self, path: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(path))
    }

    /// A whole number; `None` when absent or empty.
    pub(crate) fn number(&self, keyword: &str) -> Result<Option<i32>, Failure> {
        supported::number(&self.inner, keyword)
    }

    /// `host:port/dbname`, for messages.
    pub fn describe(&self) -> String {
        let places = self.places().unwrap_or_default();
        let places: Vec<String> = places.iter().map(Place::describe).collect();
        format!("{}/{}", places.join(","), self.get("dbname").unwrap_or_default())
    }
}

fn read_passfile(inner: &Parameters, home: Option<&PathBuf>) -> (Passfile, Option<String>) {
    let named = inner.get("passfile").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = named.or_else(|| home.map(|home| home.join(".pgpass")));
    path.map(|path| Passfile::read(&path)).unwrap_or_default()
}

impl Given {
    /// What is given, as parameters.
    pub(crate) fn parameters(&self) -> Result<Parameters, Failure> {
        let string = self.dbname.as_deref().filter(|dbname| is_connection_string(dbname));
        if string.is_some() && self.dsn.is_some() {
            return Err(Failure::usage("--dsn and -d are both connection strings").hint("Give one of them."));
        }
        let mut parameters = read(self.dsn.as_deref().unwrap_or_default())?;
        let name = self.dbname.as_ref().filter(|_| string.is_none());
        for (keyword, value) in
            [("host", self.host.as_ref()), ("port", self.port.as_ref()), ("user", self.user.as_ref()), ("dbname", name)]
        {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                parameters.set(keyword, value);
            }
        }
        for (keyword, value) in read(string.unwrap_or_default())?.pairs() {
            parameters.set(keyword, value);
        }
        Ok(parameters)
    }
}

/// Whether libpq takes a database name for a connection string.
pub fn is_connection_string(text: &str) -> bool {
    text.contains('=') || text.starts_with("postgres://") || text.starts_with("postgresql://")
}

fn read(text: &str) -> Result<Parameters, Failure> {
    Parameters::parse(text).map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests;
