//! Reading connection strings in libpq's `keyword = value` form, after `conninfo_parse` of its fe-connect.c; what both
//! forms share, errors and keywords, is here too.

mod uri;

use std::fmt;

use super::Conninfo;

/// Every keyword that libpq knows (`PQconninfoOptions` up to PostgreSQL 18, and `servicefile` of 19).
///
/// Unknown ones are refused here as libpq refuses them, because of where they come from: an unquoted password with a
/// space and an equal sign in it. libpq would quote it in its error.
const KEYWORDS: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Why, and where, a connection string cannot be read. Holds nothing of the string itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid connection string: {kind} at position {position}")]
pub struct ConninfoError {
    /// Character, counted from 1, at which the trouble begins.
    pub position: usize,
    /// What the trouble is.
    pub kind: ConninfoErrorKind,
}

/// What is wrong with a connection string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConninfoErrorKind {
    /// A word is followed by no `=`.
    MissingEqualSign,
    /// A query parameter of a URI has two.
    ExtraEqualSign,
    /// A quoted value that never ends.
    UnterminatedQuote,
    /// libpq has no such keyword.
    UnknownKeyword,
    /// `%` without two hexadecimal digits, or `%00`.
    InvalidPercentEncoding,
    /// Percent-encoded bytes that are not UTF-8.
    InvalidUtf8,
    /// A space inside a part of a URI.
    UnencodedSpace,
    /// An `@` that is not the one after the user name and password.
    UnencodedAt,
    /// `[` without `]`.
    UnterminatedAddress,
    /// `[]`.
    EmptyAddress,
    /// Something other than a port, host, path or query after `]`.
    TextAfterAddress,
    /// A port in a URI that is no number.
    InvalidPort,
}

impl fmt::Display for ConninfoErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConninfoErrorKind::MissingEqualSign => "missing \"=\" after the word",
            ConninfoErrorKind::ExtraEqualSign => "second \"=\" in a query parameter",
            ConninfoErrorKind::UnterminatedQuote => "unterminated quoted value",
            ConninfoErrorKind::UnknownKeyword => "unknown keyword",
            ConninfoErrorKind::InvalidPercentEncoding => "invalid percent-encoding",
            ConninfoErrorKind::InvalidUtf8 => "percent-encoded bytes that are not UTF-8",
            ConninfoErrorKind::UnencodedSpace => "space that is not percent-encoded as %20",
            ConninfoErrorKind::UnencodedAt => "\"@\" that is not percent-encoded as %40",
            ConninfoErrorKind::UnterminatedAddress => "missing \"]\" after an IPv6 address",
            ConninfoErrorKind::EmptyAddress => "empty IPv6 address",
            ConninfoErrorKind::TextAfterAddress => "unexpected character after an IPv6 address",
            ConninfoErrorKind::InvalidPort => "port that is not a number",
        })
    }
}

/// Whether libpq knows this keyword.
pub(super) fn is_known(keyword: &str) -> bool {
    KEYWORDS.contains(&keyword)
}

/// The prefix that makes the text a URI.
pub(super) fn uri_prefix(text: &str) -> Option<&'static str> {
    ["postgresql://", "postgres://"].into_iter().find(|prefix| text.starts_with(prefix))
}

pub(super) fn parse(text: &str) -> Result<Conninfo, ConninfoError> {
    let mut parser = Parser { text, at: 0, read: Conninfo::default() };
    match uri_prefix(text) {
        Some(prefix) => {
            parser.at = prefix.len();
            parser.uri()?;
        }
        None => parser.pairs()?,
    }
    Ok(parser.read)
}

/// `isspace` in the C locale.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

struct Parser<'a> {
    text: &'a str,
    /// Byte offset of what is read next; always between characters.
    at: usize,
    read: Conninfo,
}

/// A piece of the string and where it began, for the position of an error in it.
type Piece<'a> = (usize, &'a str);

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Steps over `expected` if it comes next.
    fn eat(&mut self, expected: char) -> bool {
        let comes = self.peek() == Some(expected);
        if comes {
            self.at += expected.len_utf8();
        }
        comes
    }

    /// Everything up to one of these characters, or to the end.
    fn until(&mut self, stop: impl Fn(char) -> bool) -> Piece<'a> {
        let (start, rest) = (self.at, self.rest());
        let (piece, _) = rest.split_at(rest.find(stop).unwrap_or(rest.len()));
        self.at += piece.len();
        (start, piece)
    }

    fn error(&self, at: usize, kind: ConninfoErrorKind) -> ConninfoError {
        let before = self.text.get(..at).unwrap_or_default();
        ConninfoError { position: before.chars().count() + 1, kind }
    }

    fn store(&mut self, at: usize, keyword: &str, value: &str) -> Result<(), ConninfoError> {
        match (keyword, value) {
            // The spelling of PostgreSQL 7.3, which libpq still takes.
            ("requiressl", value) => {
                self.read.set("sslmode", if value.starts_with('1') { "require" } else { "prefer" })
            }
            (keyword, value) if is_known(keyword) => self.read.set(keyword, value),
            _ => return Err(self.error(at, ConninfoErrorKind::UnknownKeyword)),
        }
        Ok(())
    }

    /// The `keyword = value` form.
    fn pairs(&mut self) -> Result<(), ConninfoError> {
        loop {
            self.until(|c| !is_space(c));
            if self.peek().is_none() {
                return Ok(());
            }
            let (at, keyword) = self.until(|c| c == '=' || is_space(c));
            self.until(|c| !is_space(c));
            if !self.eat('=') {
                return Err(self.error(at, ConninfoErrorKind::MissingEqualSign));
            }
            // As in libpq, spaces after the equal sign are skipped even when no value follows before the next word.
            self.until(|c| !is_space(c));
            let value = if self.peek() == Some('\'') { self.quoted_value()? } else { self.plain_value() };
            self.store(at, keyword, &value)?;
        }
    }

    /// A value up to white space; a backslash keeps the next character.
    fn plain_value(&mut self) -> String {
        let mut value = String::new();
        while let Some(c) = self.peek().filter(|c| !is_space(*c)) {
            self.next();
            value.extend(if c == '\\' { self.next() } else { Some(c) });
        }
        value
    }

    /// A value in single quotes; a backslash keeps the next character.
    fn quoted_value(&mut self) -> Result<String, ConninfoError> {
        let start = self.at;
        self.next();
        let mut value = String::new();
        loop {
            match self.next() {
                None => return Err(self.error(start, ConninfoErrorKind::UnterminatedQuote)),
                Some('\'') => return Ok(value),
                Some('\\') => value.extend(self.next()),
                Some(c) => value.push(c),
            }
        }
    }
}
