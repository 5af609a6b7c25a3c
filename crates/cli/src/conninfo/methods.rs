//! `require_auth`: the methods by which a server may have the user prove who they are.

use crate::failure::Failure;

/// All there are. `none` is a server that asks for nothing.
const NAMES: [&str; 7] = ["password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none"];

/// The methods that are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Methods {
    text: String,
    allowed: Vec<&'static str>,
}

impl Methods {
    /// Reads libpq's list: what is allowed or, with `!` before each, what is not. Without a list everything is; an empty one allows a server only to
    /// ask for nothing, as in libpq.
    ///
    /// # Errors
    /// Exit code 2 for what libpq refuses: mixed lists, unknown methods, and methods that stand there twice.
    pub fn parse(text: Option<&str>) -> Result<Option<Methods>, Failure> {
        let text = match text {
            None => return Ok(None),
            Some("") => return Ok(Some(Methods { text: String::new(), allowed: vec!["none"] })),
            Some(text) => text,
        };
        let negated = text.starts_with('!');
        let mut named = Vec::new();
        for item in text.split(',') {
            if item.starts_with('!') != negated {
                let message = format!("require_auth method \"{item}\" cannot be mixed with what stands before it");
                return Err(Failure::usage(message).hint("Either all methods have a ! before them or none has."));
            }
            let method = item.strip_prefix('!').unwrap_or(item);
            let Some(name) = NAMES.into_iter().find(|name| *name == method) else {
                let failure = Failure::usage(format!("invalid require_auth value: \"{method}\""));
                return Err(failure.hint(format!("One of {}.", NAMES.join(", "))));
            };
            if named.contains(&name) {
                return Err(Failure::usage(format!("require_auth method \"{item}\" is specified more than once")));
            }
            named.push(name);
        }
        let allowed = NAMES.into_iter().filter(|name| named.contains(name) != negated).collect();
        Ok(Some(Methods { text: text.to_owned(), allowed }))
    }

    /// Whether a method is allowed.
    pub fn allow(&self, method: &str) -> bool {
        self.allowed.contains(&method)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> Result<Vec<&'static str>, String> {
        Methods::parse(Some(text)).map(|methods| methods.unwrap().allowed).map_err(|failure| failure.message)
    }

    #[test]
    fn lists() {
        assert_eq!(Methods::parse(None), Ok(None));
        assert_eq!(allowed(""), Ok(vec!["none"]));
        assert_eq!(allowed("md5"), Ok(vec!["md5"]));
        assert_eq!(allowed("scram-sha-256,none"), Ok(vec!["scram-sha-256", "none"]));
        assert_eq!(allowed("!password,!none"), Ok(vec!["md5", "gss", "sspi", "scram-sha-256", "oauth"]));
        for text in ["nonsense", "md5,", ",", "!", "md5,md5", "!md5,!md5", "md5,!none", "!md5,none", "MD5", "md5, none"]
        {
            assert!(allowed(text).is_err(), "{text}");
        }
    }
}
