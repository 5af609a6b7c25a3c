//! Connection strings as libpq understands them, held so that their secrets stay secret.
//!
//! A connection string comes from a user, is stored for its owner, and goes to libpq. On the way it must never show up
//! in a log, an error, a view or a process title: so errors tell positions only, `Debug` redacts, and there is
//! deliberately no `Display`: what contains the password is called [`Conninfo::to_string`] on the type itself and
//! cannot be reached by formatting.

mod parse;

use std::fmt;

pub use parse::{ConninfoError, ConninfoErrorKind};

/// Whether libpq has a parameter of this name.
pub fn is_keyword(word: &str) -> bool {
    parse::is_known(word)
}

/// What stands for a value that must not be shown.
const HIDDEN: &str = "********";

/// Keywords whose values are secrets, or lead to some.
const SECRETS: &[&str] =
    &["password", "sslpassword", "passfile", "oauth_client_secret", "scram_client_key", "scram_server_key"];

/// Keywords that make libpq read or write files of the server it runs in.
const SERVER_FILES: &[&str] =
    &["passfile", "service", "servicefile", "sslkey", "sslcert", "sslrootcert", "sslcrl", "sslcrldir", "sslkeylogfile"];

/// What makes a dead link noticed within two minutes; used where the user said nothing (design, section 2).
const LINK_DEFAULTS: &[(&str, &str)] = &[
    ("connect_timeout", "10"),
    ("keepalives_idle", "30"),
    ("keepalives_interval", "10"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "60000"),
];

/// A connection string: keywords and values in the order in which they were first given, each keyword once.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Conninfo {
    pairs: Vec<(String, String)>,
}

impl Conninfo {
    /// Reads libpq's `keyword = value` form or a `postgres://` / `postgresql://` URI.
    ///
    /// As in libpq, a later value of a keyword replaces an earlier one, and the empty string is a connection string
    /// without any keyword.
    ///
    /// # Errors
    ///
    /// [`ConninfoError`] for what libpq refuses, unknown keywords included, and for two things that libpq takes and
    /// that are nearly always an unencoded password gone astray: an `@` in a URI where user name and
    /// password cannot end, and a
    /// port in a URI that is no number. The error holds a position and a kind, never text of the string.
    pub fn parse(text: &str) -> Result<Conninfo, ConninfoError> {
        parse::parse(text)
    }

    /// The value of a keyword; `None` when absent.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.pairs().find(|(name, _)| *name == keyword).map(|(_, value)| value)
    }

    /// Where it leads and as whom, for somebody to type: quotes only where they are needed, and nothing else of it.
    pub fn address(&self) -> String {
        let is_plain = |value: &str| {
            !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./:@%+-".contains(&byte))
        };
        ["host", "hostaddr", "port", "dbname", "user"]
            .into_iter()
            .filter_map(|keyword| {
                let value = self.get(keyword)?;
                Some(if is_plain(value) {
                    format!("{keyword}={value}")
                } else {
                    render([(keyword, value)].into_iter())
                })
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// All keywords and values, in order, secrets included.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str()))
    }

    /// Sets a keyword: in its place when present, else at the end.
    pub fn set(&mut self, keyword: &str, value: &str) {
        match self.pairs.iter_mut().find(|(name, _)| name == keyword) {
            Some(pair) => value.clone_into(&mut pair.1),
            None => self.pairs.push((keyword.to_owned(), value.to_owned())),
        }
    }

    /// Sets a keyword only when it is absent; an empty value counts as present.
    pub fn set_default(&mut self, keyword: &str, value: &str) {
        if self.get(keyword).is_none() {
            self.set(keyword, value);
        }
    }

    /// The same connection with time limits for connecting and for noticing a dead link, where absent.
    #[must_use]
    pub fn with_link_defaults(&self) -> Conninfo {
        let mut with_defaults = self.clone();
        for (keyword, value) in LINK_DEFAULTS {
            with_defaults.set_default(keyword, value);
        }
        with_defaults
    }

    /// The canonical `keyword='value'` form for libpq, **secrets included**.
    #[allow(clippy::inherent_to_string, reason = "Display would let a log line format the password by accident")]
    pub fn to_string(&self) -> String {
        render(self.pairs())
    }

    /// The same connection as a program's command line may show it, and its password apart.
    ///
    /// # Errors
    ///
    /// The keyword of another secret, for which libpq knows no other way in.
    pub fn without_password(&self) -> Result<(Conninfo, Option<String>), &'static str> {
        let (mut pairs, mut password) = (Vec::new(), None);
        for (keyword, value) in self.pairs() {
            match SECRETS.iter().find(|secret| **secret == keyword) {
                Some(&"password") => password = Some(value.to_owned()),
                // The name of a file is hidden from other people's eyes, but it is no secret.
                Some(&"passfile") => pairs.push((keyword.to_owned(), value.to_owned())),
                Some(other) if !value.is_empty() => return Err(other),
                _ if keyword == "dbname" && shown(keyword, value) == HIDDEN => return Err("dbname"),
                _ => pairs.push((keyword.to_owned(), value.to_owned())),
            }
        }
        Ok((Conninfo { pairs }, password.filter(|password| !password.is_empty())))
    }

    /// The canonical form for people: values of secrets are replaced.
    ///
    /// Hidden are passwords, client secrets, keys and the password file, values of keywords that libpq does not know,
    /// and a `dbname` that is a connection string itself.
    pub fn redacted(&self) -> String {
        render(self.pairs().map(|(keyword, value)| (keyword, shown(keyword, value))))
    }

    /// A few words for messages: `host=10.0.0.1 port=5433 dbname=app`; `default connection` when none of these is set.
    pub fn describe(&self) -> String {
        let host = if self.get("host").is_some_and(|host| !host.is_empty()) { "host" } else { "hostaddr" };
        let words: Vec<String> = ["service", host, "port", "dbname"]
            .into_iter()
            .filter_map(|keyword| Some((keyword, self.get(keyword).filter(|value| !value.is_empty())?)))
            .map(|(keyword, value)| describe_pair(keyword, shown(keyword, value)))
            .collect();
        if words.is_empty() {
            "default connection".to_owned()
        } else {
            words.join(" ")
        }
    }

    /// The keywords present that make libpq touch files of the server it runs in, in order.
    ///
    /// Whoever is not a superuser may not use them: the files are read with the server's rights. `sslrootcert=system`
    /// names no file and is not listed.
    pub fn uses_server_files(&self) -> Vec<&str> {
        self.pairs()
            .filter(|(keyword, value)| {
                SERVER_FILES.contains(keyword) && (*keyword, *value) != ("sslrootcert", "system")
            })
            .map(|(keyword, _)| keyword)
            .collect()
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Conninfo").field(&self.redacted()).finish()
    }
}

/// `keyword='value'` pairs; in libpq, backslash and single quote are escaped by a backslash.
fn render<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let quoted = pairs.map(|(keyword, value)| format!("{keyword}={}", quote(value)));
    quoted.collect::<Vec<_>>().join(" ")
}

fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn describe_pair(keyword: &str, value: &str) -> String {
    let plain = value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '\'' && c != '\\');
    if plain {
        format!("{keyword}={value}")
    } else {
        format!("{keyword}={}", quote(value))
    }
}

/// The value as people may see it.
fn shown<'a>(keyword: &str, value: &'a str) -> &'a str {
    // libpq may expand a dbname that looks like a connection string, so a password can hide there.
    let nested = keyword == "dbname" && (value.contains('=') || parse::uri_prefix(value).is_some());
    if nested || SECRETS.contains(&keyword) || !parse::is_known(keyword) {
        HIDDEN
    } else {
        value
    }
}

#[cfg(test)]
mod tests;
