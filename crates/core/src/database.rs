//! What two databases are beside their tables, and what one should know of before rows go from one into the other.

use crate::schema_sync::Mode;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The extension itself, which no source needs.
const OURS: &str = "steep_repl";
/// How far clocks may be apart, in seconds, before it is worth a word.
const CLOCKS_APART: f64 = 5.0;

/// A database, by one catalog query that runs on either node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Database {
    /// server_encoding.
    pub encoding: String,
    /// Its default collation.
    pub collation: Collation,
    /// Its clock, in Unix seconds, when it was asked.
    pub clock: f64,
    /// Versions of its extensions, by name.
    pub extensions: BTreeMap<String, String>,
    /// Its cluster.
    pub system_identifier: String,
    /// Roles that own tables, views or sequences of it.
    pub owners: Vec<String>,
    /// How many large objects it has; counting ends at [`Database::MANY`].
    pub large_objects: u32,
}

impl Database {
    /// Where counting large objects ends; the query has the same figure.
    pub const MANY: u32 = 100_000;
}

/// A collation, as far as it decides what comes before what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Collation {
    /// libc, icu or builtin.
    pub provider: String,
    /// Its locale.
    pub locale: String,
    /// Version of the provider's data; none where there is none, and before PostgreSQL 15.
    pub version: Option<String>,
}

impl Collation {
    fn sorts_like(&self, other: &Collation) -> bool {
        let is_same_version = self.version == other.version || self.version.is_none() || other.version.is_none();
        // Byte order has no versions and is the same for all who provide it.
        let is_bytes = |one: &Collation| matches!(one.locale.as_str(), "C" | "POSIX");
        is_bytes(self) && is_bytes(other)
            || (&self.provider, &self.locale) == (&other.provider, &other.locale) && is_same_version
    }
}

impl std::fmt::Display for Collation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.provider, self.locale)?;
        self.version.iter().try_for_each(|version| write!(f, " {version}"))
    }
}

/// A database and what its node is called.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Name of the node.
    pub node: &'a str,
    /// Its database.
    pub database: &'a Database,
}

/// Something to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// In one line.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

/// Extensions that the source has and the other side lacks.
pub fn lacking_extensions(source: &Database, here: &Database) -> Vec<String> {
    source.extensions.keys().filter(|name| *name != OURS && !here.extensions.contains_key(*name)).cloned().collect()
}

/// What else is known of this side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// Extensions that could be made here.
    pub available: &'a [String],
    /// Roles that are here.
    pub roles: &'a [String],
}

/// Each thing that is compared, by the name of its check, with what there is to know.
pub fn notes(source: Site, here: Site, mode: Mode, known: Known) -> Vec<(&'static str, Option<Note>)> {
    vec![
        ("same_server", same_server(source, here)),
        ("encoding", encoding(source, here)),
        ("collation", collation(source, here)),
        ("clock", clock(source, here)),
        ("extensions", extensions(source, here, mode, known.available)),
        ("roles", roles(source, here, mode, known.roles)),
        ("extension_version", extension_version(source, here)),
        ("large_objects", large_objects(source)),
    ]
}

/// A copy of a server keeps its identifier.
fn same_server(source: Site, here: Site) -> Option<Note> {
    (source.database.system_identifier == here.database.system_identifier).then(|| Note {
        message: format!("nodes \"{}\" and \"{}\" are of one server, or of copies of one", source.node, here.node),
        hint:
            "On one server they share its worker processes, slots and WAL, and a slot waits for transactions of both.",
    })
}

/// By `auto` what they own here belongs to whoever asks. Otherwise who owns the tables here is no matter of the source.
fn roles(source: Site, here: Site, mode: Mode, roles: &[String]) -> Option<Note> {
    let lacking: Vec<&str> =
        source.database.owners.iter().filter(|owner| !roles.contains(*owner)).map(String::as_str).collect();
    (mode == Mode::Auto && !lacking.is_empty()).then(|| Note {
        message: format!(
            "node \"{}\" lacks roles that own something on node \"{}\": {}",
            here.node,
            source.node,
            lacking.join(", ")
        ),
        hint: "What they own there will belong to the role that asks. CREATE ROLE them first where that matters.",
    })
}

/// Everything fits into UTF-8; into what is smaller not, and what has no encoding has bytes that may be none. We read catalogs as UTF-8.
fn encoding(source: Site, here: Site) -> Option<Note> {
    let (there, ours) = (&source.database.encoding, &here.database.encoding);
    if there == ours && ours != "UTF8" {
        return Some(Note {
            message: format!("the encoding of node \"{}\" is {ours}", here.node),
            hint: "Rows may hold all of it; names, defaults and constraints with letters outside ASCII are understood in a database of \
                   encoding UTF8 only, and refused elsewhere (0A000).",
        });
    }
    let fits = there == ours || ours == "UTF8" && there != "SQL_ASCII";
    (!fits).then(|| Note {
        message: format!(
            "the encoding of node \"{}\" is {there}, that of node \"{}\" is {ours}",
            source.node, here.node
        ),
        hint: "A text that does not fit stops the copy (22P05, 22021), or later replication; names, defaults and constraints with letters \
               outside ASCII are understood in UTF8 only. UTF8 takes in all but what has no encoding.",
    })
}

fn collation(source: Site, here: Site) -> Option<Note> {
    let (there, ours) = (&source.database.collation, &here.database.collation);
    (!there.sorts_like(ours)).then(|| Note {
        message: format!("node \"{}\" sorts texts by {there}, node \"{}\" by {ours}", source.node, here.node),
        hint: "Indexes are built here in this database's order, so nothing breaks; what queries give may come in another order.",
    })
}

fn clock(source: Site, here: Site) -> Option<Note> {
    let ahead = source.database.clock - here.database.clock;
    (ahead.abs() > CLOCKS_APART).then(|| Note {
        message: format!(
            "the clock of node \"{}\" is {:.0} s {} that of node \"{}\"",
            source.node,
            ahead.abs(),
            if ahead > 0.0 { "ahead of" } else { "behind" },
            here.node
        ),
        hint: "Have both set by NTP: the times of rows and events, and who wrote last, go by the clocks.",
    })
}

fn extensions(source: Site, here: Site, mode: Mode, available: &[String]) -> Option<Note> {
    let mut lacking = lacking_extensions(source.database, here.database);
    let hint = match mode {
        Mode::Auto => {
            lacking.retain(|name| !available.contains(name));
            "They cannot be made here: install their packages on this server first."
        }
        Mode::Strict | Mode::Manual => {
            "CREATE EXTENSION here what the tables need; schema_sync => 'auto' does. Extensions are not replicated."
        }
    };
    (!lacking.is_empty()).then(|| Note {
        message: format!("node \"{}\" lacks extensions of node \"{}\": {}", here.node, source.node, lacking.join(", ")),
        hint,
    })
}

fn extension_version(source: Site, here: Site) -> Option<Note> {
    let (there, ours) = (source.database.extensions.get(OURS)?, here.database.extensions.get(OURS)?);
    (there != ours).then(|| Note {
        message: format!("{OURS} is {there} on node \"{}\", {ours} on node \"{}\"", source.node, here.node),
        hint: "ALTER EXTENSION steep_repl UPDATE on the older one; a source is only asked, so the initialization works all the same.",
    })
}

fn large_objects(source: Site) -> Option<Note> {
    let count = source.database.large_objects;
    (count > 0).then(|| Note {
        message: format!(
            "{}{count} large object{} of node \"{}\" {} not replicated",
            if count >= Database::MANY { "at least " } else { "" },
            if count == 1 { "" } else { "s" },
            source.node,
            if count == 1 { "is" } else { "are" },
        ),
        hint: "Take them over with pg_dump --large-objects once nobody writes them any more.",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        Database {
            encoding: "UTF8".into(),
            collation: Collation {
                provider: "libc".into(),
                locale: "en_US.UTF-8".into(),
                version: Some("2.36".into()),
            },
            clock: 1_000_000.0,
            extensions: [("plpgsql", "1.0"), (OURS, "0.1.0")]
                .map(|(name, version)| (name.into(), version.into()))
                .into(),
            system_identifier: "1".into(),
            owners: vec!["alice".into(), "bob".into()],
            large_objects: 0,
        }
    }

    /// What is said of a pair.
    fn said(source: &Database, here: &Database, mode: Mode, available: &[&str]) -> Vec<(&'static str, String)> {
        let available: Vec<String> = available.iter().map(|name| (*name).to_owned()).collect();
        let known = Known { available: &available, roles: &["alice".to_owned(), "bob".to_owned()] };
        let here = Database { system_identifier: "2".into(), ..here.clone() };
        let (source, here) = (Site { node: "a", database: source }, Site { node: "b", database: &here });
        notes(source, here, mode, known).into_iter().filter_map(|(check, note)| Some((check, note?.message))).collect()
    }

    fn strict(source: &Database, here: &Database) -> Vec<(&'static str, String)> {
        said(source, here, Mode::Strict, &[])
    }

    #[test]
    fn of_two_that_are_alike_there_is_nothing_to_say() {
        assert_eq!(strict(&database(), &database()), []);
        let without = Database { extensions: [("plpgsql".into(), "1.0".into())].into(), ..database() };
        assert_eq!(strict(&without, &database()), [], "a source needs no extension");
        assert_eq!(notes_count(), 8);
    }

    fn notes_count() -> usize {
        let database = database();
        let site = Site { node: "a", database: &database };
        notes(site, site, Mode::Strict, Known::default()).len()
    }

    #[test]
    fn two_databases_of_one_server() {
        let database = database();
        let (source, here) = (Site { node: "a", database: &database }, Site { node: "b", database: &database });
        let said = notes(source, here, Mode::Strict, Known::default());
        let (check, note) = &said[0];
        assert_eq!((*check, note.as_ref().unwrap().message.contains("one server")), ("same_server", true));
    }

    #[test]
    fn roles_matter_where_what_they_own_is_made() {
        let source = Database { owners: vec!["alice".into(), "carol".into()], ..database() };
        assert_eq!(strict(&source, &database()), []);
        let lacks = "node \"b\" lacks roles that own something on node \"a\": carol".to_owned();
        assert_eq!(said(&source, &database(), Mode::Auto, &[]), [("roles", lacks)]);
    }

    #[test]
    fn encodings() {
        let of = |name: &str| Database { encoding: name.into(), ..database() };
        assert_eq!(strict(&of("LATIN1"), &of("UTF8")), []);
        let same = "the encoding of node \"b\" is LATIN1".to_owned();
        assert_eq!(strict(&of("LATIN1"), &of("LATIN1")), [("encoding", same)]);
        for (there, here) in [("UTF8", "LATIN1"), ("LATIN1", "LATIN2"), ("SQL_ASCII", "UTF8"), ("UTF8", "SQL_ASCII")] {
            let said = strict(&of(there), &of(here));
            assert_eq!(
                said,
                [("encoding", format!("the encoding of node \"a\" is {there}, that of node \"b\" is {here}"))]
            );
        }
    }

    #[test]
    fn collations() {
        let of = |provider: &str, locale: &str, version: Option<&str>| Database {
            collation: Collation {
                provider: provider.into(),
                locale: locale.into(),
                version: version.map(str::to_owned),
            },
            ..database()
        };
        let (old, new) = (of("libc", "de_DE.UTF-8", Some("2.31")), of("libc", "de_DE.UTF-8", Some("2.36")));
        let said = strict(&old, &new);
        assert_eq!(
            said,
            [(
                "collation",
                "node \"a\" sorts texts by libc de_DE.UTF-8 2.31, node \"b\" by libc de_DE.UTF-8 2.36".to_owned()
            )]
        );
        assert_eq!(strict(&of("libc", "de_DE.UTF-8", None), &new), [], "PostgreSQL 14 does not tell");
        assert_eq!(strict(&of("libc", "C", None), &of("libc", "POSIX", None)), []);
        assert_eq!(strict(&of("libc", "C", None), &of("builtin", "C", None)), []);
        assert_eq!(strict(&of("icu", "de", Some("1")), &of("libc", "de", Some("1"))).len(), 1);
    }

    #[test]
    fn clocks() {
        let at = |clock: f64| Database { clock, ..database() };
        assert_eq!(strict(&at(100.0), &at(104.0)), []);
        assert_eq!(
            strict(&at(100.0), &at(160.0)),
            [("clock", "the clock of node \"a\" is 60 s behind that of node \"b\"".to_owned())]
        );
        assert_eq!(
            strict(&at(160.0), &at(100.0)),
            [("clock", "the clock of node \"a\" is 60 s ahead of that of node \"b\"".to_owned())]
        );
    }

    #[test]
    fn extensions_that_are_missing() {
        let mut source = database();
        source.extensions.insert("hstore".into(), "1.8".into());
        source.extensions.insert("postgis".into(), "3.5".into());
        let lacks = |names: &str| [("extensions", format!("node \"b\" lacks extensions of node \"a\": {names}"))];
        assert_eq!(strict(&source, &database()), lacks("hstore, postgis"));
        assert_eq!(said(&source, &database(), Mode::Auto, &["hstore"]), lacks("postgis"));
        assert_eq!(said(&source, &database(), Mode::Auto, &["hstore", "postgis"]), []);
        assert_eq!(strict(&database(), &source), [], "what only the other side has is its own");
    }

    #[test]
    fn versions_of_ours() {
        let mut source = database();
        source.extensions.insert(OURS.into(), "0.2.0".into());
        assert_eq!(
            strict(&source, &database()),
            [("extension_version", "steep_repl is 0.2.0 on node \"a\", 0.1.0 on node \"b\"".to_owned())]
        );
    }

    #[test]
    fn large_objects_are_counted() {
        let with = |large_objects: u32| Database { large_objects, ..database() };
        let says = |count: u32| strict(&with(count), &database()).pop().unwrap().1;
        assert_eq!(says(1), "1 large object of node \"a\" is not replicated");
        assert_eq!(says(2), "2 large objects of node \"a\" are not replicated");
        assert_eq!(says(Database::MANY), "at least 100000 large objects of node \"a\" are not replicated");
        assert_eq!(strict(&database(), &with(5)), []);
    }
}
