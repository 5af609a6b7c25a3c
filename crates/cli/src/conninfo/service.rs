//! Service files: named groups of parameters, in the user's own file or in one for all.
//!
//! A service fills in what was not given, before the environment does. libpq reads `PGSERVICEFILE`, or the file in the user's home if it
//! exists; and only when the service is not in it, `pg_service.conf` in `PGSYSCONFDIR`.

use std::path::{Path, PathBuf};

use steep_repl_core::conninfo::{is_keyword, Conninfo};

use super::defaults::home;
use super::environment::Environment;
use crate::failure::Failure;

/// Where distributions have the file for all; libpq knows the one folder it was built with.
const SYSTEM_FOLDERS: [&str; 2] = ["/etc/postgresql-common", "/etc"];

/// libpq reads lines of fewer bytes.
const LONGEST_LINE: usize = 1023;

/// Fills in what is absent from the service that is asked for, if one is.
pub fn fill(conninfo: &mut Conninfo, environment: Environment) -> Result<(), Failure> {
    let Some(service) = conninfo.get("service").map(str::to_owned).or_else(|| environment("PGSERVICE")) else {
        return Ok(());
    };
    let files = files(environment);
    for (file, must_exist) in &files {
        let text = match std::fs::read(file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if *must_exist || file.exists() => return Err(unreadable(file, &error)),
            Err(_) => continue,
        };
        if let Some(pairs) = group(&text, &service).map_err(|(line, what)| malformed(file, line, what))? {
            pairs.iter().for_each(|(keyword, value)| conninfo.set_default(keyword, value));
            return Ok(());
        }
    }
    let looked: Vec<String> = files.iter().map(|(file, _)| file.display().to_string()).collect();
    Err(Failure::usage(format!("definition of service \"{service}\" not found"))
        .detail(format!("Looked for [{service}] in {}.", looked.join(" and ")))
        .hint("PGSERVICEFILE names another file."))
}

/// The files to look at, in order, and whether it is an error when there is none.
fn files(environment: Environment) -> Vec<(PathBuf, bool)> {
    let mut files = Vec::new();
    match environment("PGSERVICEFILE") {
        Some(file) => files.push((PathBuf::from(file), true)),
        None => files.extend(home(environment).map(|home| (home.join(".pg_service.conf"), false))),
    }
    match environment("PGSYSCONFDIR") {
        Some(folder) => files.push((Path::new(&folder).join("pg_service.conf"), false)),
        None => files.extend(SYSTEM_FOLDERS.map(|folder| (Path::new(folder).join("pg_service.conf"), false))),
    }
    files
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::usage(format!("service file \"{}\" cannot be read", file.display()));
    failure.detail(error.to_string())
}

fn malformed(file: &Path, line: usize, what: &str) -> Failure {
    let failure = Failure::usage(format!("{what} in service file \"{}\", line {line}", file.display()));
    failure.hint("A line is keyword=value, without spaces around the equal sign and without quotes.")
}

/// Keywords and values, in the order of the file.
type Pairs = Vec<(String, String)>;

/// A line's number and what is wrong with it.
type Wrong = (usize, &'static str);

/// What a service says; `None` when the text has no such group.
fn group(text: &str, service: &str) -> Result<Option<Pairs>, Wrong> {
    let mut found = None::<Pairs>;
    for (number, line) in (1..).zip(text.lines()) {
        if line.len() >= LONGEST_LINE {
            return Err((number, "line too long"));
        }
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if name.strip_prefix(service).is_some_and(|rest| rest.starts_with(']')) {
                found = Some(Vec::new());
            }
        } else if let Some(pairs) = &mut found {
            match line.split_once('=') {
                Some(("service", _)) => return Err((number, "nested service specification")),
                Some((keyword, value)) if is_keyword(keyword) => pairs.push((keyword.to_owned(), value.to_owned())),
                _ => return Err((number, "syntax error")),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "# ours\n[a]\nhost=h1\n\n  port=1  \nport=2\n[ab] for b\ndbname=a b\n[empty]\n[bad]\nhost = x\n";

    fn read(service: &str) -> Result<Option<Pairs>, Wrong> {
        group(FILE, service)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Option<Pairs> {
        Some(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn groups() {
        assert_eq!(read("a"), Ok(pairs(&[("host", "h1"), ("port", "1"), ("port", "2")])));
        assert_eq!(read("ab"), Ok(pairs(&[("dbname", "a b")])));
        assert_eq!(read("empty"), Ok(pairs(&[])));
        assert_eq!(read("A"), Ok(None));
        assert_eq!(read("bad"), Err((11, "syntax error")));
        assert_eq!(group("[a]\nservice=b\n", "a"), Err((2, "nested service specification")));
        assert_eq!(group("[a]\nunknown=b\n", "a"), Err((2, "syntax error")));
        assert_eq!(group("[a]\r\nhost=b\r\n", "a"), Ok(pairs(&[("host", "b")])));
        assert_eq!(group(&format!("[a]\nhost={}\n", "x".repeat(2000)), "a"), Err((2, "line too long")));
    }

    #[test]
    fn what_is_given_stays_and_the_first_line_counts() {
        let folder = std::env::temp_dir().join(format!("steep-service-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("pg_service.conf"), FILE).unwrap();
        let environment = |name: &str| match name {
            "PGSYSCONFDIR" | "HOME" => Some(folder.display().to_string()),
            "PGSERVICE" => Some("ab".to_owned()),
            _ => None,
        };
        let mut conninfo = Conninfo::parse("service=a host=mine").unwrap();
        fill(&mut conninfo, &environment).unwrap();
        assert_eq!((conninfo.get("host"), conninfo.get("port")), (Some("mine"), Some("1")));
        let mut conninfo = Conninfo::default();
        fill(&mut conninfo, &environment).unwrap();
        assert_eq!(conninfo.get("dbname"), Some("a b"));
        let failure = fill(&mut Conninfo::parse("service=nope").unwrap(), &environment).unwrap_err();
        assert_eq!(failure.exit, crate::failure::Exit::Usage);
        let text = failure.to_string();
        for word in ["\"nope\"", "/.pg_service.conf and ", "/pg_service.conf."] {
            assert!(text.contains(word), "{text}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            values in proptest::collection::vec("[!-~]([ -~]{0,20}[!-~])?", 1..5), before in "[ -~\n]{0,40}",
        ) {
            let keywords = ["host", "port", "user", "dbname", "options"];
            let lines: String = keywords.iter().zip(&values).map(|(k, v)| format!("{k}={v}\n")).collect();
            let text = format!("{before}\n[the one]\n{lines}[other]\nx\n");
            let expected = keywords.iter().zip(&values).map(|(k, v)| ((*k).to_owned(), v.clone())).collect::<Vec<_>>();
            prop_assert_eq!(group(&text, "the one"), Ok(Some(expected)));
        }
    }
}
