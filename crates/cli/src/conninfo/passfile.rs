//! The password file: one line for each `host:port:database:user:password`, the first that fits counts.
//!
//! It is read once, so that what is wrong with it is said once and not for each of many nodes.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::defaults::{PORT, SOCKET_FOLDERS};

/// The lines of a password file. `Debug` shows only where it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Passfile {
    path: PathBuf,
    text: Arc<str>,
}

impl fmt::Debug for Passfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passfile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Whose password is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Host name, address or folder of a socket.
    pub host: &'a str,
    /// The port, as it was given.
    pub port: &'a str,
    /// The database.
    pub dbname: &'a str,
    /// The user.
    pub user: &'a str,
}

impl Passfile {
    /// Reads the file. One that cannot be read is none at all; one that others can read is refused, with a warning for the user.
    pub fn read(path: &Path) -> (Passfile, Option<String>) {
        let refused = |why: &str| (Passfile::default(), Some(format!("password file \"{}\" {why}", path.display())));
        let Ok(metadata) = std::fs::metadata(path) else { return (Passfile::default(), None) };
        // Asked before it is opened: opening a pipe waits for who writes into it.
        if !metadata.is_file() {
            return refused("is not a plain file");
        }
        let Ok(mut file) = std::fs::File::open(path) else { return (Passfile::default(), None) };
        if file.metadata().map_or(0, |metadata| metadata.mode()) & 0o077 != 0 {
            return refused("has group or world access; permissions should be u=rw (0600) or less");
        }
        let mut bytes = Vec::new();
        if file.read_to_end(&mut bytes).is_err() {
            return (Passfile::default(), None);
        }
        (Passfile { path: path.to_owned(), text: String::from_utf8_lossy(&bytes).into() }, None)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The password of the first line that fits.
    pub fn password(&self, wanted: Entry) -> Option<String> {
        if wanted.dbname.is_empty() || wanted.user.is_empty() {
            return None;
        }
        // A socket where it is by default is written as localhost.
        let local = wanted.host.is_empty() || SOCKET_FOLDERS.contains(&wanted.host);
        let host = if local { "localhost" } else { wanted.host };
        let port = if wanted.port.is_empty() { PORT } else { wanted.port };
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.trim_end_matches('\r')).find_map(|line| {
            let fields = [host, port, wanted.dbname, wanted.user];
            let password = fields.iter().try_fold(line, |rest, field| after(rest, field))?;
            Some(unescaped(password))
        })
    }
}

/// What follows the first field of `line`, if that is `*` or, without its escapes, `field`.
fn after<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    if let Some(rest) = line.strip_prefix("*:") {
        return Some(rest);
    }
    let (mut wanted, mut written) = (field.chars(), line.chars());
    loop {
        let mut c = written.next()?;
        let escaped = c == '\\';
        if escaped {
            c = written.next()?;
        }
        match wanted.next() {
            None if c == ':' && !escaped => return Some(written.as_str()),
            Some(expected) if expected == c => {}
            _ => return None,
        }
    }
}

/// The password, up to the next colon that no backslash precedes: more fields may come one day.
fn unescaped(written: &str) -> String {
    let mut password = String::new();
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' => break,
            '\\' => password.push(chars.next().unwrap_or('\\')),
            c => password.push(c),
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn found(text: &str, [host, port, dbname, user]: [&str; 4]) -> Option<String> {
        Passfile { text: text.into(), ..Passfile::default() }.password(Entry { host, port, dbname, user })
    }

    #[test]
    fn the_first_line_that_fits() {
        let text = "# h:1:d:u:no\nh:1:d:u:one\nh:*:d:u:two\r\n*:*:*:u:three\n\nh:1:d:v\nh:1:d:v:\n";
        assert_eq!(found(text, ["h", "1", "d", "u"]).as_deref(), Some("one"));
        assert_eq!(found(text, ["h", "2", "d", "u"]).as_deref(), Some("two"));
        assert_eq!(found(text, ["i", "2", "d", "u"]).as_deref(), Some("three"));
        assert_eq!(found(text, ["h", "1", "d", "v"]).as_deref(), Some(""));
        assert_eq!(found(text, ["h", "1", "d", "w"]), None);
        assert_eq!(found(text, ["h", "1", "", "u"]), None);
    }

    #[test]
    fn escapes() {
        assert_eq!(
            found(r"\:\:1:5432:a\:b:u\\v:p\:q\\r\s:more", ["::1", "5432", "a:b", r"u\v"]).as_deref(),
            Some(r"p:q\rs")
        );
        assert_eq!(found(r"\*:1:d:u:p", ["x", "1", "d", "u"]), None);
        assert_eq!(found(r"\*:1:d:u:p", ["*", "1", "d", "u"]).as_deref(), Some("p"));
        assert_eq!(found(r"h:1:d:u:p\", ["h", "1", "d", "u"]).as_deref(), Some(r"p\"));
        assert_eq!(found("*x:1:d:u:p", ["*x", "1", "d", "u"]).as_deref(), Some("p"));
        assert_eq!(found("h*:1:d:u:p", ["h", "1", "d", "u"]), None);
    }

    #[test]
    fn sockets_where_they_are_by_default_are_localhost() {
        let text = "localhost:5432:d:u:p\n/srv/pg:5432:d:u:q";
        for (host, port) in [("", ""), ("/tmp", "5432"), ("/var/run/postgresql", ""), ("localhost", "5432")] {
            assert_eq!(found(text, [host, port, "d", "u"]).as_deref(), Some("p"), "{host}");
        }
        assert_eq!(found(text, ["/srv/pg", "", "d", "u"]).as_deref(), Some("q"));
        assert_eq!(found(text, ["127.0.0.1", "", "d", "u"]), None);
    }

    #[test]
    fn only_a_file_of_ones_own() {
        let folder = std::env::temp_dir().join(format!("steep-passfile-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("pgpass");
        assert_eq!(Passfile::read(&path), (Passfile::default(), None));
        std::fs::write(&path, "*:*:*:*:hunter2").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let (passfile, warning) = Passfile::read(&path);
            assert_eq!(passfile, Passfile::default(), "{mode:o}");
            assert!(warning.unwrap().contains("group or world access"));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (passfile, warning) = Passfile::read(&path);
        assert_eq!(warning, None);
        assert_eq!(
            passfile.password(Entry { host: "h", port: "1", dbname: "d", user: "u" }).as_deref(),
            Some("hunter2")
        );
        assert!(!format!("{passfile:?}").contains("hunter"));
        assert!(Passfile::read(&folder).1.unwrap().contains("is not a plain file"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// What a program that writes the file has to do.
    fn escaped(field: &str) -> String {
        field.replace('\\', r"\\").replace(':', r"\:")
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            host in r"[a-z:\\*./]{1,8}", port in "[0-9]{1,5}", dbname in r"[ -~é]{1,8}", user in r"[ -~é]{1,8}",
            password in r"[ -~é]{1,12}", before in r"[ -~\n]{0,30}",
        ) {
            // A star alone stands for everything, with or without what libpq would need to write it otherwise.
            let text = format!(
                "{}:{port}:{}:{}:{}\n{before}", escaped(&host), escaped(&dbname), escaped(&user), escaped(&password)
            );
            prop_assume!(!text.starts_with('#'));
            prop_assert_eq!(found(&text, [&host, &port, &dbname, &user]), Some(password));
        }

        #[test]
        fn any_text_is_read(text in r"[:\\*a-c\n\r]{0,40}") {
            found(&text, ["a", "b", "c", "a"]);
        }
    }
}
