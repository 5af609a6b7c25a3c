//! Tests of connection strings.

use super::*;
use proptest::prelude::*;
use ConninfoErrorKind::*;

fn parsed(text: &str) -> Vec<(String, String)> {
    let conninfo = Conninfo::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    conninfo.pairs().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[track_caller]
fn reads(text: &str, expected: &[(&str, &str)]) {
    let pairs = parsed(text);
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(pairs, expected, "{text}");
}

#[track_caller]
fn refuses(text: &str, kind: ConninfoErrorKind, position: usize) {
    assert_eq!(Conninfo::parse(text), Err(ConninfoError { position, kind }), "{text}");
}

#[test]
fn keyword_value_form() {
    reads("", &[]);
    reads("  \t\n", &[]);
    reads("host=a port=1", &[("host", "a"), ("port", "1")]);
    reads(" host = a\tport\n=\r1 ", &[("host", "a"), ("port", "1")]);
    reads("password='a b' user=u", &[("password", "a b"), ("user", "u")]);
    reads(r"password='it\'s \\ \x' user=u\ v\\", &[("password", r"it's \ x"), ("user", r"u v\")]);
    reads("password='' user=", &[("password", ""), ("user", "")]);
    reads("host='a'port=1", &[("host", "a"), ("port", "1")]);
    reads("host=a'b'", &[("host", "a'b'")]);
    reads("password=a=b", &[("password", "a=b")]);
    reads("host=a host=b port=1", &[("host", "b"), ("port", "1")]);
    reads("dbname=größe", &[("dbname", "größe")]);
    reads("requiressl=1", &[("sslmode", "require")]);
    reads(r"user=x\", &[("user", "x")]);
    // libpq skips the space and takes the next word for the value.
    reads("host= port=5", &[("host", "port=5")]);
}

#[test]
fn malformed_keyword_value_strings() {
    refuses("app", MissingEqualSign, 1);
    refuses("host=a app", MissingEqualSign, 8);
    refuses("host=a app port=1", MissingEqualSign, 8);
    refuses("password='abc", UnterminatedQuote, 10);
    refuses(r"password='abc\'", UnterminatedQuote, 10);
    refuses(r"password='abc\", UnterminatedQuote, 10);
    refuses("hots=a", UnknownKeyword, 1);
    refuses("=a", UnknownKeyword, 1);
    refuses("HOST=a", UnknownKeyword, 1);
    refuses("password=ü x", MissingEqualSign, 12);
    refuses("mysql://host/db", MissingEqualSign, 1);
}

#[test]
fn uris() {
    reads("postgresql://", &[]);
    reads("postgres://localhost", &[("host", "localhost")]);
    reads("postgresql://localhost:5433", &[("host", "localhost"), ("port", "5433")]);
    reads("postgresql://localhost/mydb", &[("host", "localhost"), ("dbname", "mydb")]);
    reads("postgresql://user@localhost", &[("user", "user"), ("host", "localhost")]);
    reads(
        "postgresql://user:secret@localhost:5432/db?connect_timeout=10&application_name=myapp",
        &[
            ("user", "user"),
            ("password", "secret"),
            ("host", "localhost"),
            ("port", "5432"),
            ("dbname", "db"),
            ("connect_timeout", "10"),
            ("application_name", "myapp"),
        ],
    );
    reads(
        "postgresql:///mydb?host=localhost&port=5433",
        &[("dbname", "mydb"), ("host", "localhost"), ("port", "5433")],
    );
    reads("postgresql://[2001:db8::1234]/db", &[("host", "2001:db8::1234"), ("dbname", "db")]);
    reads("postgresql://[::1]:5433?user=u", &[("host", "::1"), ("port", "5433"), ("user", "u")]);
    reads("postgresql://%2Fvar%2Flib%2Fpostgresql/dbname", &[("host", "/var/lib/postgresql"), ("dbname", "dbname")]);
    reads("postgresql:///db?host=/var/run/postgresql", &[("dbname", "db"), ("host", "/var/run/postgresql")]);
    reads("postgresql://h?ssl=true", &[("host", "h"), ("sslmode", "require")]);
    reads("postgresql://h/?", &[("host", "h")]);
    reads("postgresql://h?user=u&", &[("host", "h"), ("user", "u")]);
    reads("postgresql://h/db?dbname=other", &[("host", "h"), ("dbname", "other")]);
}

#[test]
fn several_hosts_keep_the_lists_in_step() {
    reads(
        "postgresql://host1:123,host2:456/somedb?target_session_attrs=any",
        &[("host", "host1,host2"), ("port", "123,456"), ("dbname", "somedb"), ("target_session_attrs", "any")],
    );
    reads("postgresql://h1,h2:5,[::1]/", &[("host", "h1,h2,::1"), ("port", ",5,")]);
    reads("postgresql://h1,h2", &[("host", "h1,h2"), ("port", ",")]);
}

#[test]
fn empty_parts_of_a_uri_are_absent() {
    reads("postgresql://@", &[]);
    reads("postgresql://:@:/", &[]);
    reads("postgresql://user:@host", &[("user", "user"), ("host", "host")]);
    reads("postgresql://:pw@host", &[("password", "pw"), ("host", "host")]);
    reads("postgresql://:5432/", &[("port", "5432")]);
}

#[test]
fn percent_encoding() {
    reads(
        "postgresql://u%40x:p%3a%2f%25@h/d%20b",
        &[("user", "u@x"), ("password", "p:/%"), ("host", "h"), ("dbname", "d b")],
    );
    reads("postgresql://h/%C3%A9", &[("host", "h"), ("dbname", "é")]);
    reads("postgresql://h?app%6Cication_name=a%26b%3Dc", &[("host", "h"), ("application_name", "a&b=c")]);
    reads("postgresql://h/a+b", &[("host", "h"), ("dbname", "a+b")]);
    reads("postgresql://u:p?q@h", &[("user", "u"), ("password", "p?q"), ("host", "h")]);
    reads("postgresql://h/db ", &[("host", "h"), ("dbname", "db")]);
    refuses("postgresql://h/%4", InvalidPercentEncoding, 16);
    refuses("postgresql://h/%zz", InvalidPercentEncoding, 16);
    refuses("postgresql://h/%+1", InvalidPercentEncoding, 16);
    refuses("postgresql://h/%é", InvalidPercentEncoding, 16);
    refuses("postgresql://h/a%00", InvalidPercentEncoding, 17);
    refuses("postgresql://u:%FF@h", InvalidUtf8, 16);
    refuses("postgresql://h/a b", UnencodedSpace, 17);
}

#[test]
fn malformed_uris() {
    refuses("postgresql://[::1", UnterminatedAddress, 15);
    refuses("postgresql://[]/", EmptyAddress, 15);
    refuses("postgresql://[::1]x", TextAfterAddress, 19);
    refuses("postgresql://h?a", MissingEqualSign, 16);
    refuses("postgresql://h?user=u&&port=1", MissingEqualSign, 23);
    refuses("postgresql://h?user=a=b", ExtraEqualSign, 22);
    refuses("postgresql://h?uzer=a", UnknownKeyword, 16);
    refuses("postgresql://h:54x2/", InvalidPort, 16);
}

#[test]
fn a_password_that_should_have_been_encoded_does_not_end_up_in_the_host() {
    refuses("postgresql://u:p@ss@host/db", UnencodedAt, 20);
    refuses("postgresql://u:p/ss@host/db", InvalidPort, 16);
    refuses("postgresql://u:12/ss@host/db", UnencodedAt, 21);
    refuses("postgresql://h?password=p@ss", UnencodedAt, 26);
}

#[test]
fn errors_show_nothing_of_the_string() {
    for text in [
        "password=hunter2 hunter3",
        "password='hunter2",
        "password=a hunter2=b",
        "postgresql://u:hunter2%zz@h",
        "postgresql://u:x@hunter2@h",
        "postgresql://u:hunter2/x@h",
        "postgresql://h?password=hunter2=x",
        "postgresql://h?hunter2=x",
    ] {
        let error = Conninfo::parse(text).unwrap_err();
        assert!(!error.to_string().contains("hunter"), "{error}");
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
    assert_eq!(
        Conninfo::parse("host=a app").unwrap_err().to_string(),
        "invalid connection string: missing \"=\" after the word at position 8"
    );
}

#[test]
fn names_of_parameters() {
    assert!(is_keyword("host") && is_keyword("target_session_attrs"));
    assert!(!is_keyword("hots") && !is_keyword("Host") && !is_keyword(""));
}

#[test]
fn getting_and_setting() {
    let mut conninfo = Conninfo::parse("host=a user=''").unwrap();
    assert_eq!(conninfo.get("host"), Some("a"));
    assert_eq!(conninfo.get("port"), None);
    conninfo.set("host", "b");
    conninfo.set("port", "1");
    conninfo.set_default("port", "2");
    conninfo.set_default("user", "u");
    conninfo.set_default("dbname", "d'\\");
    assert_eq!(conninfo.to_string(), r"host='b' user='' port='1' dbname='d\'\\'");
}

#[test]
fn secrets_are_hidden() {
    let secrets = "password=hunter2 sslpassword=hunter2 passfile=/hunter2 oauth_client_secret=hunter2 \
                   scram_client_key=hunter2 scram_server_key=hunter2";
    let mut conninfo = Conninfo::parse(&format!("host=a {secrets} user=u")).unwrap();
    conninfo.set("a_keyword_of_the_future", "hunter2");
    conninfo.set("dbname", "host=x password=hunter2");
    let redacted = conninfo.redacted();
    assert!(redacted.starts_with("host='a' password='********' sslpassword='********' "), "{redacted}");
    assert_eq!(redacted.matches("'********'").count(), 8, "{redacted}");
    for text in [redacted, format!("{conninfo:?}"), format!("{conninfo:#?}"), conninfo.describe()] {
        assert!(!text.contains("hunter"), "{text}");
    }
    assert!(conninfo.to_string().contains("password='hunter2'"));
    // A redacted string is still a connection string.
    conninfo = Conninfo::parse("host=a password=x").unwrap();
    assert_eq!(Conninfo::parse(&conninfo.redacted()).unwrap().get("password"), Some("********"));
}

#[test]
fn link_defaults_leave_what_is_there() {
    let conninfo = Conninfo::parse("host=a connect_timeout=3 keepalives_count=''").unwrap();
    assert_eq!(
        conninfo.with_link_defaults().to_string(),
        "host='a' connect_timeout='3' keepalives_count='' keepalives_idle='30' keepalives_interval='10' \
         tcp_user_timeout='60000'"
    );
    assert_eq!(conninfo.get("keepalives_idle"), None);
}

#[test]
fn short_words_for_people() {
    let words = |text: &str| Conninfo::parse(text).unwrap().describe();
    assert_eq!(words("user=u password=p dbname=app port=5433 host=10.0.0.1"), "host=10.0.0.1 port=5433 dbname=app");
    assert_eq!(words("hostaddr=10.0.0.1 dbname='my app'"), "hostaddr=10.0.0.1 dbname='my app'");
    assert_eq!(words("host='' hostaddr=::1"), "hostaddr=::1");
    assert_eq!(words("service=prod"), "service=prod");
    assert_eq!(words("dbname=postgres://u:p@h/db"), "dbname=********");
    assert_eq!(words("user=u"), "default connection");
}

#[test]
fn server_files() {
    let files = |text: &str| {
        let conninfo = Conninfo::parse(text).unwrap();
        conninfo.uses_server_files().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        files("host=a sslkey=k passfile=p service=s servicefile=f sslcert=c sslrootcert=r sslcrl=l user=u"),
        ["sslkey", "passfile", "service", "servicefile", "sslcert", "sslrootcert", "sslcrl"]
    );
    assert_eq!(files("sslcrldir=d sslkeylogfile=l"), ["sslcrldir", "sslkeylogfile"]);
    assert!(files("host=a sslmode=verify-full sslrootcert=system password=p").is_empty());
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        values in proptest::collection::btree_map(
            proptest::sample::select(vec!["host", "port", "user", "password", "dbname", "options", "sslmode"]),
            "[^\\x00]{0,12}|[ '\\\\=%@a]{0,8}",
            0..7,
        )
    ) {
        let mut conninfo = Conninfo::default();
        for (keyword, value) in &values {
            conninfo.set(keyword, value);
        }
        prop_assert_eq!(Conninfo::parse(&conninfo.to_string()).map_err(|e| e.to_string()), Ok(conninfo));
    }

    #[test]
    fn an_encoded_uri_reads_back(
        user in "[^\\x00]{1,8}", password in "[^\\x00]{1,8}", host in "[a-z.]{1,8}", port: u16, dbname in "[^\\x00]{1,8}",
    ) {
        let encode = |s: &str| s.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let uri = format!("postgres://{}:{}@{host}:{port}/{}", encode(&user), encode(&password), encode(&dbname));
        let conninfo = Conninfo::parse(&uri).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let port = port.to_string();
        let expected = [("user", &user), ("password", &password), ("host", &host), ("port", &port), ("dbname", &dbname)];
        for (keyword, value) in expected {
            prop_assert_eq!(conninfo.get(keyword), Some(value.as_str()));
        }
    }

    /// Whatever comes after the password: no output for people shows it.
    #[test]
    fn nothing_for_people_shows_the_password(
        before in "(host=h |postgres://u:|postgres://h\\?password=)?", after in "[ '\\\\=%@/:?&,a\\[\\]]{0,10}",
    ) {
        let text = if before.contains("://") {
            format!("{before}hunter2{after}")
        } else {
            format!("{before}password=hunter2{after}")
        };
        match Conninfo::parse(&text) {
            Err(error) => {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains("hunter"), "{}: {}", text, shown);
            }
            Ok(conninfo) => {
                let shown = format!("{} {conninfo:?} {}", conninfo.redacted(), conninfo.describe());
                prop_assert!(!shown.contains("hunter"), "{}: {}", text, shown);
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(postgres://)?[ '\\\\=%@/:?&,a-c0-2\\[\\]é]*") {
        if let Ok(conninfo) = Conninfo::parse(&text) {
            prop_assert_eq!(Conninfo::parse(&conninfo.to_string()), Ok(conninfo));
        }
    }
}
