//! The configuration file: nodes, and what an initialization is started with when the command line does not say.

use crate::args::{How, LargeTableMethod, Method, SchemaSync};
use crate::conninfo::Given;
use crate::duration;
use crate::failure::Failure;
use crate::output::message;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What the file says; nothing when there is none.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Connection strings by name of node, for `--at` and for nodes that are named on the command line.
    pub nodes: BTreeMap<String, String>,
    /// `[replication.initialization]`, as far as the command line has the same.
    pub initialization: How,
    /// Where snapshots are written and looked for, on the server.
    pub snapshot_storage_path: Option<String>,
}

/// Keys of `[replication.initialization]`.
const INITIALIZATION: [&str; 7] = [
    "method",
    "parallel_workers",
    "schema_sync",
    "large_table_threshold",
    "large_table_method",
    "timeout",
    "snapshot_storage_path",
];

impl Config {
    /// Reads the file that is named, or else the first of the usual places that has one.
    ///
    /// # Errors
    /// Exit code 2: a named file that cannot be read, and whatever in it is not understood.
    pub fn load(named: Option<&Path>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, Failure> {
        let path_in = |name: &str| environment(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let named = named.map(Path::to_owned).or_else(|| path_in("STEEP_REPL_CONFIG"));
        let path = match &named {
            Some(path) => path.clone(),
            None => {
                let home = path_in("HOME").map(|home| home.join(".config"));
                let Some(folder) = path_in("XDG_CONFIG_HOME").or(home) else {
                    return Ok(Config::default());
                };
                folder.join("steep/config.toml")
            }
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let config =
                    Config::parse(&text).map_err(|problem| problem.detail(format!("In {}.", path.display())))?;
                if config.holds_password() && is_open_to_others(&path) {
                    message(format!(
                        "steep-repl: warning: configuration file \"{}\" holds a password and has group or world access; \
                         permissions should be u=rw (0600) or less",
                        path.display()
                    ));
                }
                Ok(config)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(Config::default()),
            Err(error) => Err(Failure::usage(format!("could not read configuration file \"{}\"", path.display()))
                .detail(error.to_string())),
        }
    }

    fn holds_password(&self) -> bool {
        self.nodes.values().any(|dsn| {
            let given = Given { dsn: Some(dsn.clone()), ..Given::default() };
            given.parameters().is_ok_and(|parameters| parameters.get("password").is_some())
        })
    }

    fn parse(text: &str) -> Result<Config, Failure> {
        let root: Table = text.parse().map_err(|error: toml::de::Error| {
            // The message without the excerpt: a line may hold a password.
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Failure::usage(format!("configuration file, line {line}: {}", error.message()))
        })?;
        known("", &root, &["nodes", "replication"])?;
        let mut config = Config::default();
        for (name, value) in section(&root, "", "nodes")?.into_iter().flatten() {
            let place = format!("nodes.{name}");
            let dsn = match value {
                Value::String(dsn) => dsn,
                Value::Table(node) => {
                    known(&place, node, &["dsn"])?;
                    text_of(node, &place, "dsn")?
                        .ok_or_else(|| Failure::usage(format!("configuration: {place} has no dsn")))?
                }
                _ => return Err(wrong(&place, "a connection string, or a table with one as dsn")),
            };
            config.nodes.insert(name.clone(), dsn.clone());
        }
        let Some(replication) = section(&root, "", "replication")? else { return Ok(config) };
        known("replication", replication, &["initialization"])?;
        let Some(table) = section(replication, "replication", "initialization")? else { return Ok(config) };
        let place = "replication.initialization";
        known(place, table, &INITIALIZATION)?;
        let text = |key| text_of(table, place, key).map(Option::<&String>::cloned);
        config.initialization = How {
            method: word::<Method>(table, place, "method", Method::as_str)?,
            schema_sync: word::<SchemaSync>(table, place, "schema_sync", SchemaSync::as_str)?,
            large_table_method: word::<LargeTableMethod>(table, place, "large_table_method", LargeTableMethod::as_str)?,
            large_table_threshold: text("large_table_threshold")?,
            parallel: match table.get("parallel_workers") {
                None => None,
                Some(value) => Some(
                    value
                        .as_integer()
                        .and_then(|number| i32::try_from(number).ok())
                        .filter(|number| *number > 0)
                        .ok_or_else(|| wrong(&format!("{place}.parallel_workers"), "a number above 0"))?,
                ),
            },
            timeout: text("timeout")?
                .map(|text| duration::parse(&text))
                .transpose()
                .map_err(|hint| wrong(&format!("{place}.timeout"), "a time").hint(hint))?,
            ..How::default()
        };
        config.snapshot_storage_path = text("snapshot_storage_path")?;
        Ok(config)
    }
}

fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o077 != 0)
}

impl How {
    /// With what is not given taken from the configuration.
    #[must_use]
    pub fn or(self, other: &How) -> How {
        let other = other.clone();
        How {
            method: self.method.or(other.method),
            parallel: self.parallel.or(other.parallel),
            schema_sync: self.schema_sync.or(other.schema_sync),
            large_table_threshold: self.large_table_threshold.or(other.large_table_threshold),
            large_table_method: self.large_table_method.or(other.large_table_method),
            timeout: self.timeout.or(other.timeout),
            ..self
        }
    }
}

fn path_of(place: &str, key: &str) -> String {
    if place.is_empty() {
        key.to_owned()
    } else {
        format!("{place}.{key}")
    }
}

fn wrong(place: &str, expected: &str) -> Failure {
    Failure::usage(format!("configuration: {place} must be {expected}"))
}

/// Refuses keys that are not known: a misspelt one would be without effect, and nobody would see it.
fn known(place: &str, table: &Table, keys: &[&str]) -> Result<(), Failure> {
    let Some(key) = table.keys().find(|key| !keys.contains(&key.as_str())) else { return Ok(()) };
    let failure = Failure::usage(format!("configuration: unknown key \"{}\"", path_of(place, key)));
    Err(failure.hint(match nearest(key, keys.iter().copied()) {
        Some(near) => format!("Perhaps \"{}\" is meant.", path_of(place, near)),
        None => format!("Known here: {}.", keys.join(", ")),
    }))
}

fn section<'a>(table: &'a Table, place: &str, key: &str) -> Result<Option<&'a Table>, Failure> {
    table.get(key).map(|value| value.as_table().ok_or_else(|| wrong(&path_of(place, key), "a table"))).transpose()
}

fn text_of<'a>(table: &'a Table, place: &str, key: &str) -> Result<Option<&'a String>, Failure> {
    match table.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(&path_of(place, key), "a text in quotes")),
    }
}

/// A word as the server spells it, or the command line.
fn word<T: ValueEnum>(
    table: &Table,
    place: &str,
    key: &str,
    as_str: fn(T) -> &'static str,
) -> Result<Option<T>, Failure> {
    let Some(text) = text_of(table, place, key)? else { return Ok(None) };
    let found = T::value_variants().iter().find(|variant| as_str((*variant).clone()) == text.replace('-', "_"));
    match found {
        Some(variant) => Ok(Some(variant.clone())),
        None => {
            let words: Vec<&str> = T::value_variants().iter().map(|variant| as_str(variant.clone())).collect();
            Err(wrong(&path_of(place, key), &format!("one of {}", words.join(", "))))
        }
    }
}

/// The name that was probably meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|other| (strsim::normalized_damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase()), other))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn everything_at_once() {
        let config = Config::parse(
            "[nodes]\nnode_a = 'host=a'\n[nodes.node_b]\ndsn = 'host=b'\n[replication.initialization]\nmethod = 'two-phase'\n\
             parallel_workers = 8\nschema_sync = 'auto'\nlarge_table_threshold = '10GB'\nlarge_table_method = 'pg_dump'\n\
             timeout = '12h'\nsnapshot_storage_path = '/snapshots'\n",
        )
        .unwrap();
        assert_eq!(
            config.nodes.into_iter().map(|(name, dsn)| name + "=" + &dsn).collect::<Vec<_>>(),
            ["node_a=host=a", "node_b=host=b"]
        );
        let how = config.initialization;
        assert_eq!(
            (how.method, how.parallel, how.schema_sync),
            (Some(Method::TwoPhase), Some(8), Some(SchemaSync::Auto))
        );
        assert_eq!(
            (how.large_table_threshold.as_deref(), how.large_table_method),
            (Some("10GB"), Some(LargeTableMethod::PgDump))
        );
        assert_eq!(
            (how.timeout, config.snapshot_storage_path.as_deref()),
            (Some(Duration::from_secs(43_200)), Some("/snapshots"))
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, message, hint) in [
            ("[node]\n", "configuration: unknown key \"node\"", "Perhaps \"nodes\" is meant."),
            (
                "[replication.initialization]\nparalel_workers = 3",
                "configuration: unknown key \"replication.initialization.paralel_workers\"",
                "Perhaps \"replication.initialization.parallel_workers\" is meant.",
            ),
            ("[nodes.a]\ndns = ''", "configuration: unknown key \"nodes.a.dns\"", "Perhaps \"nodes.a.dsn\" is meant."),
            ("zzz = 1", "configuration: unknown key \"zzz\"", "Known here: nodes, replication."),
            (
                "[replication.initialization]\nmethod = 'fast'",
                "configuration: replication.initialization.method must be one of auto, parallel, snapshot, two_phase",
                "",
            ),
            (
                "[replication.initialization]\nparallel_workers = '4'",
                "configuration: replication.initialization.parallel_workers must be a number above 0",
                "",
            ),
            (
                "[replication.initialization]\ntimeout = 5",
                "configuration: replication.initialization.timeout must be a text in quotes",
                "",
            ),
            ("nodes = 3", "configuration: nodes must be a table", ""),
            ("[nodes.a]\n", "configuration: nodes.a has no dsn", ""),
        ] {
            let failure = Config::parse(text).unwrap_err();
            assert_eq!((failure.message.as_str(), failure.hint.as_deref().unwrap_or_default()), (message, hint));
        }
        let failure = Config::parse("[nodes]\na = 'host=a'\nb = 'password=secret").unwrap_err();
        assert!(
            failure.message.starts_with("configuration file, line 3:") && !failure.to_string().contains("secret"),
            "{failure}"
        );
    }

    #[test]
    fn the_command_line_comes_first() {
        let given = How { parallel: Some(2), force: true, ..How::default() };
        let all = given.or(&How { parallel: Some(8), method: Some(Method::Parallel), ..How::default() });
        assert_eq!((all.parallel, all.method, all.force), (Some(2), Some(Method::Parallel), true));
    }

    #[test]
    fn places() {
        let nowhere = Config::load(None, &|_| None).unwrap();
        assert!(nowhere.nodes.is_empty());
        let failure = Config::load(Some(Path::new("/does/not/exist")), &|_| None).unwrap_err();
        assert_eq!(failure.exit, crate::failure::Exit::Usage);
        let named = |name: &str| (name == "STEEP_REPL_CONFIG").then(|| "/does/not/exist".to_owned());
        assert!(Config::load(None, &named).is_err());
        let empty = |name: &str| (name == "STEEP_REPL_CONFIG").then(String::new);
        assert!(Config::load(None, &empty).is_ok());
        let home = |name: &str| (name == "HOME").then(|| "/does/not/exist".to_owned());
        assert!(Config::load(None, &home).is_ok());
    }
}
