//! Tests of who wins: options, strings, service files, environment and defaults.

use super::*;
use crate::failure::Exit;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

/// A folder that is removed again.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(label: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("steep-conninfo-{label}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn resolve(given: &Given, environment: &[(&str, &str)]) -> Result<Conninfo, Failure> {
    // A home without files, unless the test has one.
    let variables: BTreeMap<&str, &str> =
        [("HOME", "/nonexistent")].into_iter().chain(environment.iter().copied()).collect();
    Conninfo::resolve(given, &|name| variables.get(name).map(|value| (*value).to_owned()))
}

fn dsn(text: &str) -> Given {
    Given { dsn: Some(text.to_owned()), ..Given::default() }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn options_win_over_dsn_and_a_string_as_database_over_options() {
    let options = Given { host: some("h"), port: some("1"), user: some("u"), ..Given::default() };
    let all =
        Given { dsn: some("host=x port=2 user=y dbname=z sslmode=disable"), dbname: some("d"), ..options.clone() };
    assert_eq!(resolve(&all, &[]).unwrap().describe(), "h:1/d");
    assert_eq!(resolve(&all, &[]).unwrap().get("sslmode"), Some("disable"));
    let string = Given { dbname: some("postgres://y@x:2/z"), ..options.clone() };
    assert_eq!(resolve(&string, &[]).unwrap().describe(), "x:2/z");
    let string = Given { dbname: some("dbname=z"), ..options.clone() };
    assert_eq!(resolve(&string, &[]).unwrap().describe(), "h:1/z");
    let both = Given { dsn: some("host=x"), dbname: some("host=y"), ..Given::default() };
    assert_eq!(resolve(&both, &[]).unwrap_err().exit, Exit::Usage);
    let empty = Given { host: some(""), port: some(""), ..dsn("host=x port=2") };
    assert!(resolve(&empty, &[]).unwrap().describe().starts_with("x:2/"));
}

#[test]
fn a_service_stands_between_what_is_given_and_the_environment() {
    let folder = Folder::new("service");
    let file = folder.write("services", "[s]\nhost=from-service\nport=2\n[t]\nhost=other\n");
    let environment =
        [("PGSERVICEFILE", file.as_str()), ("PGHOST", "from-env"), ("PGPORT", "3"), ("PGDATABASE", "env")];
    assert_eq!(resolve(&dsn("service=s port=1"), &environment).unwrap().describe(), "from-service:1/env");
    assert_eq!(resolve(&dsn("service=s"), &environment).unwrap().describe(), "from-service:2/env");
    assert_eq!(resolve(&dsn(""), &environment).unwrap().describe(), "from-env:3/env");
    let by_variable = [&environment[..], &[("PGSERVICE", "t")]].concat();
    assert_eq!(resolve(&dsn(""), &by_variable).unwrap().describe(), "other:3/env");
    assert_eq!(resolve(&dsn("service=s"), &by_variable).unwrap().describe(), "from-service:2/env");
    let failure = resolve(&dsn("service=u"), &environment).unwrap_err();
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Usage, "definition of service \"u\" not found"));
    assert!(failure.detail.unwrap().contains(&file));
    let failure = resolve(&dsn("service=u"), &[("PGSERVICEFILE", "/nonexistent")]).unwrap_err();
    assert!(failure.message.contains("\"/nonexistent\""), "{failure}");
}

#[test]
fn settings_of_the_session_join_the_options() {
    let conninfo = resolve(&dsn("options='-c a=b'"), &[("PGTZ", "UTC")]).unwrap();
    assert_eq!(conninfo.get("options"), Some("-c a=b -c timezone=UTC"));
    assert_eq!(resolve(&dsn(""), &[("PGTZ", "UTC")]).unwrap().get("options"), Some("-c timezone=UTC"));
    assert_eq!(resolve(&dsn("options=''"), &[("PGOPTIONS", "-c a=b")]).unwrap().get("options"), Some(""));
}

#[test]
fn what_cannot_be_understood_is_usage_and_shows_no_secret() {
    for text in [
        "host=a hunter2",
        "password=hunter2 port=x",
        "password=hunter2 sslmode=x",
        "password=hunter2 scram_client_key=hunter2",
    ] {
        let failure = resolve(&dsn(text), &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{text}");
        assert!(!failure.to_string().contains("hunter"), "{failure}");
    }
    let conninfo = resolve(&dsn("password=hunter2"), &[]).unwrap();
    assert!(!format!("{conninfo:?} {}", conninfo.describe()).contains("hunter"));
    assert!(resolve(&dsn("host=/tmp requirepeer=x"), &[]).unwrap_err().message.contains("requirepeer"));
    assert!(resolve(&dsn("host=a requirepeer=x"), &[]).is_ok());
    assert!(resolve(&dsn("host=/tmp require_auth=md5"), &[]).unwrap_err().message.contains("require_auth"));
    assert!(resolve(&dsn("host=a require_auth=md5"), &[]).is_ok());
}

fn password(conninfo: &Conninfo) -> Vec<Option<String>> {
    conninfo.places().unwrap().iter().map(|place| conninfo.password(place).map(|found| found.text)).collect()
}

#[test]
fn the_password_file_comes_last_and_knows_each_host() {
    let folder = Folder::new("password");
    let file = folder.write(".pgpass", "a:*:*:u:for-a\nb:1:d:u:for-b\nother:*:*:*:for-other\n");
    let home = folder.0.display().to_string();
    for variable in [("PGPASSFILE", file.as_str()), ("HOME", home.as_str())] {
        let conninfo = resolve(&dsn("host=a,b,c port=1 user=u dbname=d"), &[variable]).unwrap();
        assert_eq!(password(&conninfo), [some("for-a"), some("for-b"), None]);
    }
    let named = format!("host=a user=u passfile={file}");
    assert_eq!(password(&resolve(&dsn(&named), &[]).unwrap()), [some("for-a")]);
    assert_eq!(password(&resolve(&dsn(&named), &[("PGPASSWORD", "p")]).unwrap()), [some("p")]);
    assert_eq!(password(&resolve(&dsn(&format!("{named} password=q")), &[("PGPASSWORD", "p")]).unwrap()), [some("q")]);
    // As in libpq, the empty password is none.
    assert_eq!(password(&resolve(&dsn(&named), &[("PGPASSWORD", "")]).unwrap()), [some("for-a")]);
}

#[test]
fn another_node_gets_the_users_credentials() {
    let folder = Folder::new("towards");
    let file = folder.write(".pgpass", "b:5:app:me:for-b\n");
    let given = "host=a user=me password=mine dbname=d sslmode=disable application_name=x options='-c a=b'";
    let conninfo = resolve(&dsn(&format!("{given} passfile={file}")), &[]).unwrap();
    let node =
        "host='b' port='5' dbname='app' user='repl' password='********' sslmode='verify-full' passfile='********' \
        service='s' options='-c role=repl' application_name='y'";
    let other = conninfo.towards(node).unwrap();
    assert_eq!(other.describe(), "b:5/app");
    for (keyword, value) in [("user", "me"), ("sslmode", "disable"), ("application_name", "x"), ("options", "-c a=b")] {
        assert_eq!(other.get(keyword), Some(value), "{keyword}");
    }
    assert_eq!(password(&other), [some("for-b")]);
    let third = other.towards("host=c dbname=app password=theirs").unwrap();
    assert_eq!((third.describe().as_str(), password(&third)), ("c:5432/app", vec![some("mine")]));
    assert!(!format!("{third:?}").contains("theirs"));
    // What was typed is known to all that come from the same, before and after.
    conninfo.set_typed("typed".to_owned());
    assert_eq!(password(&third), [some("typed")]);
    assert_eq!(password(&other), [some("for-b")]);
}

#[test]
fn a_node_beside_the_server_is_reached_as_the_server_is() {
    let towards = |ours: &str, node: &str| resolve(&dsn(ours), &[]).unwrap().towards(node).unwrap();
    for (ours, node, expected) in [
        ("host=far port=1 dbname=d", "port=7 dbname=n", "far:7/n"),
        ("host=far port=1 dbname=d", "host=/var/run/postgresql dbname=n", "far:5432/n"),
        ("host=far port=1 dbname=d", "host=localhost port=7 dbname=n", "far:7/n"),
        ("host=far port=1 dbname=d", "host=other port=7 dbname=n", "other:7/n"),
        ("host=far port=1 dbname=d", "hostaddr=127.0.0.1 port=7 dbname=n", "far:7/n"),
        ("host=localhost port=1 dbname=d", "host=127.0.0.1 port=7 dbname=n", "127.0.0.1:7/n"),
        ("host=localhost port=1 dbname=d", "host=/srv/pg port=7 dbname=n", "localhost:7/n"),
        ("host=/srv/pg port=1 dbname=d", "host=/srv/other port=7 dbname=n", "/srv/other:7/n"),
        ("host=/srv/pg port=1 dbname=d", "host=localhost port=7 dbname=n", "localhost:7/n"),
        ("host=far port=1 dbname=d", "host=other user=repl", "other:5432/repl"),
        ("host=far port=1 dbname=d", "host=other", "other:5432/d"),
    ] {
        assert_eq!(towards(ours, node).describe(), expected, "{ours} -> {node}");
    }
    let other = towards("host=far hostaddr=10.0.0.1 port=1 dbname=d", "host=other port=7 dbname=n");
    assert_eq!(other.places().unwrap()[0].address, None);
    let other = towards("host=far hostaddr=10.0.0.1 port=1 dbname=d", "port=7 dbname=n");
    assert_eq!(other.places().unwrap()[0].address, Some("10.0.0.1".parse().unwrap()));
}

#[test]
fn nodes_that_cannot_be_understood() {
    let conninfo = resolve(&dsn("host=a"), &[]).unwrap();
    for node in ["no string", "service=s", "host=a,b port=1,2,3", "host=a port=x"] {
        assert_eq!(conninfo.towards(node).unwrap_err().exit, Exit::Connection, "{node}");
    }
}

/// A value from each source, or none.
type Sources = [Option<String>; 4];

proptest! {
    #[test]
    fn the_first_source_that_has_a_value_counts(
        [host, application_name, dbname] in proptest::array::uniform3(
            proptest::array::uniform4(proptest::option::of("[a-z]{1,8}"))
        ),
    ) {
        let folder = Folder::new("precedence");
        let keywords: [(&str, &str, &Sources); 3] =
            [("host", "PGHOST", &host), ("application_name", "PGAPPNAME", &application_name), ("dbname", "PGDATABASE", &dbname)];
        let pairs = |source: usize, between: &str| -> String {
            keywords.iter().filter_map(|(k, _, v)| Some(format!("{k}={}{between}", v[source].as_ref()?))).collect()
        };
        let file = folder.write("services", &format!("[s]\n{}", pairs(2, "\n")));
        let mut environment = vec![("PGSERVICE", "s"), ("PGSERVICEFILE", file.as_str()), ("PGUSER", "the user")];
        environment.extend(keywords.iter().filter_map(|(_, name, v)| Some((*name, v[3].as_deref()?))));
        let given = Given { host: host[0].clone(), dbname: dbname[0].clone(), ..dsn(&pairs(1, " ")) };
        let conninfo = resolve(&given, &environment).unwrap();
        for (keyword, _, values) in keywords {
            // There is no option for the application's name.
            let first = usize::from(keyword == "application_name");
            let by_default = match keyword {
                "host" => defaults::socket_folder("5432"),
                "dbname" => "the user",
                _ => "steep-repl",
            };
            let expected = values[first..].iter().flatten().next().map_or(by_default, String::as_str);
            prop_assert_eq!(conninfo.get(keyword), Some(expected), "{}", keyword);
        }
    }

    /// Whatever a server says about a node, only where it is comes from there.
    #[test]
    fn nothing_else_comes_from_a_node(
        values in proptest::collection::btree_map(
            proptest::sample::select(vec!["user", "password", "passfile", "sslmode", "sslkey", "options", "service", "sslrootcert"]),
            "[ -~]{0,10}",
            0..8,
        )
    ) {
        let conninfo = resolve(&dsn("host=a user=me dbname=d"), &[]).unwrap();
        let mut node = Parameters::parse("host=b port=7 dbname=n").unwrap();
        values.iter().for_each(|(keyword, value)| node.set(keyword, value));
        let plain = conninfo.towards("host=b port=7 dbname=n").unwrap();
        prop_assert_eq!(conninfo.towards(&node.to_string()).unwrap(), plain.clone());
        prop_assert_eq!(plain.password(&plain.places().unwrap()[0]), None);
    }
}

#[test]
fn what_was_given_is_not_shown_either() {
    let given = Given { dbname: some("postgres://u:hunter2@h"), ..dsn("password=hunter2") };
    let shown = format!("{given:?} {:?}", Given { dbname: some("app"), ..Given::default() });
    assert!(!shown.contains("hunter") && shown.contains("\"app\""), "{shown}");
}
