//! TLS: whom psql trusts, we trust; whom it does not, neither do we.

use std::sync::{Arc, OnceLock};

use steep_repl_cli::failure::{Exit, Failure};
use steep_repl_testkit::{Auth, Cluster, ClusterOptions};

use crate::authority::{Authority, Issued, Request};
use crate::prompt::without_terminal;
use crate::sides::{give, Sides};

const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

const HBA: &str = "local all all trust
hostssl all shown 127.0.0.1/32 cert
hostssl all covered 127.0.0.1/32 scram-sha-256
hostnossl all bare 127.0.0.1/32 scram-sha-256
host all covered,bare,shown 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
";

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("the good one"))
}

fn other_authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("another one"))
}

/// From now on the server shows this certificate.
fn show(cluster: &Cluster, certificate: &Issued, more: &[(&str, &str)]) {
    give(cluster, "server.crt", &certificate.pem());
    give(cluster, "server.key", &certificate.key());
    cluster.restart_with(&[&[("ssl", "on"), ("ssl_ca_file", "root.crt")], more].concat());
}

fn new_server(label: &str, certificate: &Issued) -> Arc<Cluster> {
    let cluster = ClusterOptions::new(label).auth(Auth::Scram).start();
    let mut client = cluster.connect("postgres");
    for user in ["u", "shown", "covered", "bare"] {
        client.batch_execute(&format!("create user {user} password 'secret'")).unwrap();
    }
    drop(client);
    give(&cluster, "pg_hba.conf", HBA.as_bytes());
    give(&cluster, "root.crt", &authority().pem());
    show(&cluster, certificate, &[]);
    cluster
}

/// A server whose certificate is for localhost.
fn server() -> Arc<Cluster> {
    static SERVER: OnceLock<Arc<Cluster>> = OnceLock::new();
    let request = Request { name: "somebody", dns: &["localhost", "*.wild.example"], ..Request::default() };
    Arc::clone(SERVER.get_or_init(|| new_server("tls", &authority().issue(&request))))
}

fn to(cluster: &Cluster, host: &str, rest: &str) -> Sides {
    let port = cluster.port();
    let string = format!("host={host} hostaddr=127.0.0.1 port={port} dbname=postgres {rest}");
    Sides::string(&string).env("PGUSER", "u").env("PGPASSWORD", "secret")
}

/// With the good authority's certificate where libpq looks for it.
fn trusting(sides: Sides) -> Sides {
    sides.file(".postgresql/root.crt", authority().pem())
}

fn has_tls(answer: &str) -> bool {
    answer.split('|').nth(5) == Some("t")
}

#[track_caller]
fn expect(failure: &Failure, words: &[&str]) {
    let text = failure.to_string();
    assert_eq!(failure.exit, Exit::Connection, "{text}");
    assert!(!text.contains("secret"), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[test]
fn every_mode_with_every_root() {
    let server = server();
    for mode in MODES {
        for host in ["localhost", "LOCALHOST", "a.wild.example", "wrong.example"] {
            let sides = || to(&server, host, &format!("sslmode={mode}"));
            let named_well = host != "wrong.example";
            let plain = ["disable", "allow"].contains(&mode);
            if mode.starts_with("verify") {
                expect(&sides().both_out(), &["root.crt", "does not exist", "sslrootcert"]);
            } else {
                assert_eq!(has_tls(&sides().both_in()), !plain, "{mode} {host}");
            }
            if mode == "verify-full" && !named_well {
                expect(&trusting(sides()).both_out(), &["\"localhost\" (and 1 other", "wrong.example"]);
            } else {
                assert_eq!(has_tls(&trusting(sides()).both_in()), !plain, "{mode} {host}");
            }
            let distrusting = sides().file(".postgresql/root.crt", other_authority().pem());
            if plain || mode == "prefer" {
                assert!(!has_tls(&distrusting.both_in()), "{mode} {host}");
            } else {
                expect(&distrusting.both_out(), &["certificate verify failed", ".postgresql/root.crt"]);
            }
        }
    }
}

#[test]
fn files_by_parameter_and_by_variable() {
    let server = server();
    let sides = |rest: &str| {
        to(&server, "localhost", rest).file("good", authority().pem()).file("bad", other_authority().pem())
    };
    let path = |sides: &Sides, name: &str| sides.home().join(name).display().to_string();
    let by_variable = |rest: &str, name: &str| {
        let sides = sides(rest);
        let path = path(&sides, name);
        sides.env("PGSSLROOTCERT", path)
    };
    by_variable("sslmode=verify-full", "good").both_in();
    by_variable("sslmode=verify-full", "bad").both_out();
    by_variable("sslmode=verify-full", "missing").both_out();
    by_variable("sslmode=require", "missing").both_in();
    by_variable("sslmode=require", "bad").both_out();
    by_variable("", "good").env("PGSSLMODE", "verify-full").both_in();
    expect(&by_variable("sslmode=require", "empty").file("empty", "").both_out(), &["empty", "cannot be read"]);
    assert!(!has_tls(&by_variable("sslmode=prefer", "empty").file("empty", "").both_in()));
    // Trust in the system is no trust in a certificate of our own.
    expect(&trusting(sides("sslrootcert=system")).both_out(), &["certificate verify failed", "sslrootcert=system"]);
    assert_eq!(sides("sslrootcert=system sslmode=require").both_out().exit, Exit::Usage);
    let two = [other_authority().pem(), authority().pem()].concat();
    by_variable("sslmode=verify-full", "two").file("two", two).both_in();
}

/// The system's certificates are those that OpenSSL is told of, for whoever asks for them and for nobody else.
#[test]
fn trust_in_the_system() {
    let server = server();
    let sides = to(&server, "localhost", "").file("good", authority().pem()).file("bad", other_authority().pem());
    let path = |name: &str| sides.home().join(name).display().to_string();
    let said = |root: &str, mode: Option<&str>| {
        let mut environment = vec![("STEEP_PROMPT", "never".to_owned()), ("PGHOST", "localhost".to_owned())];
        environment.extend([("PGPORT", server.port().to_string()), ("PGUSER", "u".to_owned())]);
        environment.extend([("PGDATABASE", "postgres".to_owned()), ("PGPASSWORD", "secret".to_owned())]);
        environment.extend([("SSL_CERT_FILE", path("good")), ("HOME", path("")), ("PGSSLROOTCERT", root.to_owned())]);
        environment.extend(mode.map(|mode| ("PGSSLMODE", mode.to_owned())));
        without_terminal(environment)
    };
    // The second connection is to 127.0.0.1, for which the certificate is not.
    let text = said("system", None);
    assert!(text.contains("ONE IS OPEN") && text.contains("does not match host name \"127.0.0.1\""), "{text}");
    for mode in ["require", "verify-ca", "verify-full"] {
        let text = said(&path("bad"), Some(mode));
        assert!(text.contains("NONE IS OPEN") && text.contains("certificate verify failed"), "{text}");
    }
}

#[test]
fn names_in_certificates() {
    let only_common = Request { name: "localhost", ..Request::default() };
    let server = new_server("names", &authority().issue(&only_common));
    let full = |host: &str| trusting(to(&server, host, "sslmode=verify-full"));
    full("localhost").both_in();
    full("wrong.example").both_out();
    full("127.0.0.1").both_out();

    show(&server, &authority().issue(&Request { name: "127.0.0.1", ..Request::default() }), &[]);
    full("127.0.0.1").both_in();
    full("localhost").both_out();
    let nameless = format!("hostaddr=127.0.0.1 port={} user=u password=secret dbname=postgres", server.port());
    let nameless = |mode: &str| trusting(Sides::string(&format!("{nameless} sslmode={mode}")));
    expect(&nameless("verify-full").both_out(), &["host name must be specified"]);
    nameless("verify-ca").both_in();

    // An alternative name hides the common name from names, not from addresses.
    let names = Request { name: "localhost", dns: &["other.example"], ..Request::default() };
    show(&server, &authority().issue(&names), &[]);
    full("other.example").both_in();
    full("localhost").both_out();
    let address = Request { name: "127.0.0.1", dns: &["other.example"], ..Request::default() };
    show(&server, &authority().issue(&address), &[]);
    full("127.0.0.1").both_in();

    let addresses = Request { name: "localhost", addresses: &["127.0.0.1", "::1"], ..Request::default() };
    show(&server, &authority().issue(&addresses), &[]);
    full("127.0.0.1").both_in();
    full("localhost").both_in();
    full("127.0.0.2").both_out();
    let wrong = Request { name: "127.0.0.1", addresses: &["127.0.0.2"], ..Request::default() };
    show(&server, &authority().issue(&wrong), &[]);
    expect(&full("127.0.0.1").both_out(), &["\"127.0.0.2\"", "\"127.0.0.1\""]);

    show(&server, &authority().issue(&Request::default()), &[]);
    expect(&full("localhost").both_out(), &["localhost"]);
    let expired = Request { dns: &["localhost"], expired: true, ..Request::default() };
    show(&server, &authority().issue(&expired), &[]);
    expect(&full("localhost").both_out(), &["certificate has expired", "root.crt"]);
    assert!(has_tls(&to(&server, "localhost", "sslmode=require").both_in()));
    show(&server, &other_authority().issue(&Request { dns: &["localhost"], ..Request::default() }), &[]);
    full("localhost").both_out();
}

#[test]
fn revoked_certificates() {
    let request = Request { dns: &["localhost"], ..Request::default() };
    let (shown, another) = (authority().issue(&request), authority().issue(&request));
    let server = new_server("crl", &shown);
    let sides = |rest: &str| trusting(to(&server, "localhost", &format!("sslmode=verify-full {rest}")));
    let (revoked, fine) = (authority().revocation_list(&[&shown]), authority().revocation_list(&[&another]));
    sides("").file(".postgresql/root.crl", &fine).both_in();
    expect(&sides("").file(".postgresql/root.crl", &revoked).both_out(), &["revoked"]);
    let named = |bytes: &[u8]| {
        let sides = sides("").file("list", bytes);
        let path = sides.home().join("list").display().to_string();
        sides.env("PGSSLCRL", path)
    };
    named(&fine).both_in();
    expect(&named(&revoked).both_out(), &["revoked"]);
    // psql takes a list that is not there for none, and is silent about it: we are not.
    let missing = sides("sslcrl=/nonexistent/list");
    assert!(missing.psql().is_ok());
    expect(&missing.ours().unwrap_err(), &["/nonexistent/list"]);
}

#[test]
fn who_is_let_in_only_with_or_without() {
    let server = server();
    for (user, modes_in) in [("covered", &MODES[1..4]), ("bare", &MODES[..3])] {
        for mode in &MODES[..4] {
            let sides = to(&server, "localhost", &format!("user={user} sslmode={mode}"));
            if modes_in.contains(mode) {
                assert_eq!(has_tls(&sides.both_in()), user == "covered", "{user} {mode}");
            } else {
                expect(&sides.both_out(), &["pg_hba.conf rejects connection", "28000"]);
            }
        }
    }
    // Over a socket there is no TLS, whatever is asked for.
    let socket = server.conninfo("postgres");
    assert!(!has_tls(&Sides::string(&format!("{socket} sslmode=verify-full")).both_in()));
}

#[test]
fn client_certificates() {
    let server = server();
    let issued = authority().issue(&Request { name: "shown", ..Request::default() });
    let sides = |rest: &str| to(&server, "localhost", &format!("user=shown sslmode=require {rest}"));
    let with = |rest: &str, certificate: &[u8], key: &[u8], mode: u32| {
        sides(rest).file(".postgresql/postgresql.crt", certificate).file_with_mode(
            ".postgresql/postgresql.key",
            key,
            mode,
        )
    };
    let (pem, key) = (issued.pem(), issued.key());
    assert!(with("", &pem, &key, 0o600).both_in().contains("/O=tests/CN=shown"));
    with("", &pem, &issued.key_der(), 0o600).both_in();
    with("", &[pem.clone(), authority().pem()].concat(), &key, 0o600).both_in();
    with("sslcertmode=disable", &pem, &key, 0o600).both_out();
    sides("").both_out();
    // Root's files may be read by a group, other people's by nobody else.
    let mode = if is_root() { 0o640 } else { 0o600 };
    with("", &pem, &key, mode).both_in();
    for mode in [0o644, 0o660, 0o604] {
        expect(&with("", &pem, &key, mode).both_out(), &["postgresql.key", "group or world access"]);
    }
    let encrypted = issued.key_with_password("pass word");
    with("sslpassword='pass word'", &pem, &encrypted, 0o600).both_in();
    expect(&with("sslpassword=secrets", &pem, &encrypted, 0o600).both_out(), &["sslpassword"]);
    expect(&with("", &pem, &encrypted, 0o600).ours().unwrap_err(), &["is encrypted"]);
    let foreign = other_authority().issue(&Request { name: "shown", ..Request::default() });
    expect(&with("", &pem, &foreign.key(), 0o600).both_out(), &["does not match"]);
    with("", &foreign.pem(), &foreign.key(), 0o600).both_out();
    expect(&with("", b"nothing", &key, 0o600).both_out(), &["postgresql.crt", "cannot be read"]);
    expect(&with("", &pem, b"nothing", 0o600).both_out(), &["postgresql.key", "cannot be read"]);
    expect(&sides("").file(".postgresql/postgresql.crt", &pem).both_out(), &["postgresql.key"]);
    let named = sides("").file("c", &pem).file("k", &key);
    let home = named.home().display().to_string();
    named.env("PGSSLCERT", format!("{home}/c")).env("PGSSLKEY", format!("{home}/k")).both_in();
    // Where plain text is allowed, a key that cannot be used is no reason to stay out.
    let prefer = to(&server, "localhost", "user=bare").file(".postgresql/postgresql.crt", &pem);
    assert!(!has_tls(&prefer.both_in()));
}

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
}

#[test]
fn channel_binding_and_versions() {
    let server = server();
    for (rest, expected) in [
        ("channel_binding=require", true),
        ("channel_binding=require sslmode=disable", false),
        ("channel_binding=disable sslmode=require", true),
        ("channel_binding=prefer", true),
        ("ssl_max_protocol_version=TLSv1.2 sslmode=require", true),
        ("ssl_min_protocol_version=TLSv1.3 sslmode=require", true),
        ("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2", false),
        ("ssl_max_protocol_version=TLSv1.1 ssl_min_protocol_version='' sslmode=require", false),
        ("sslnegotiation=direct sslmode=require", true),
        ("sslnegotiation=direct", false),
        ("sslnegotiation=direct sslmode=require channel_binding=require", true),
        ("sslsni=0 sslmode=require", true),
    ] {
        let sides = to(&server, "localhost", rest);
        if expected {
            assert!(has_tls(&sides.both_in()), "{rest}");
        } else {
            sides.both_out();
        }
    }
    let trusting =
        trusting(to(&server, "localhost", "sslnegotiation=direct sslmode=verify-full channel_binding=require"));
    assert!(has_tls(&trusting.both_in()));
    // Where the server asks for no password there is nothing to bind.
    let issued = authority().issue(&Request { name: "shown", ..Request::default() });
    let shown = to(&server, "localhost", "user=shown sslmode=require channel_binding=require");
    let shown = shown.file(".postgresql/postgresql.crt", issued.pem()).file(".postgresql/postgresql.key", issued.key());
    expect(&shown.both_out(), &["channel binding"]);
}
