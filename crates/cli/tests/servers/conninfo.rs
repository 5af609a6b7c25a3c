//! Connection strings, options, environment, service files and password files: whatever psql makes of them, we make too.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use steep_repl_cli::connect;
use steep_repl_cli::failure::{Exit, Failure};
use steep_repl_testkit::{quote_ident, test_all, Auth, Cluster, ClusterOptions};

use crate::sides::{answer, give, Sides};

/// A server with a socket also where libpq looks for one, and users with passwords, who need them over TCP alone.
pub fn server() -> Arc<Cluster> {
    static SERVER: OnceLock<Arc<Cluster>> = OnceLock::new();
    Arc::clone(SERVER.get_or_init(|| {
        let cluster = ClusterOptions::new("conn").auth(Auth::Scram).start();
        let folders = format!("{}, /tmp", folder(&cluster));
        cluster.restart_with(&[("unix_socket_directories", &folders)]);
        let sql = r#"create user "we:\ ird" password 'p:\ ''w'; create user plain password 'secret';
            create database plain; create database "a=b"; create database app"#;
        let mut client = cluster.connect("postgres");
        sql.split(';').for_each(|sql| client.batch_execute(sql).unwrap());
        // Who names no user is the one who runs the tests.
        let user = quote_ident(&whoami::username().unwrap());
        for sql in [format!("create role {user} login"), format!("create database {user}")] {
            // It may be there already.
            let _ = client.batch_execute(&sql);
        }
        cluster
    }))
}

/// Where its socket is.
pub fn folder(cluster: &Cluster) -> String {
    let conninfo = cluster.conninfo("postgres");
    conninfo.split(['=', ' ']).nth(1).unwrap().trim_matches('\'').to_owned()
}

/// Over TCP, with what is said besides.
fn tcp(rest: &str) -> Sides {
    Sides::string(&format!("host=127.0.0.1 port={} {rest}", server().port()))
}

#[track_caller]
fn expect(failure: &Failure, exit: Exit, words: &[&str]) {
    let text = failure.to_string();
    assert_eq!(failure.exit, exit, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[test]
fn options() {
    let (server, port) = (server(), server().port());
    Sides::new().host("127.0.0.1").port(port).user("plain").dbname("app").env("PGPASSWORD", "secret").both_in();
    Sides::new().host("127.0.0.1").port(port).user("plain").env("PGPASSWORD", "secret").both_in();
    Sides::new().host("localhost").port(port).user("plain").env("PGPASSWORD", "secret").both_in();
    Sides::new().host(&folder(&server)).port(port).user("postgres").both_in();
    Sides::new().port(port).user("postgres").both_in();
    Sides::new().port(port).both_in();
    Sides::new().env("PGPORT", port).user("").dbname("").both_in();
    Sides::new().host("").port(port).both_in();
    // The string wins over the options.
    let string = format!("host=127.0.0.1 port={port} user=plain password=secret");
    Sides::new().host("nowhere.invalid").port(1).user("postgres").dbname(&string).both_in();
    let uri = format!("postgres://plain:secret@127.0.0.1:{port}/app");
    Sides::new().host("nowhere.invalid").port(1).user("postgres").dbname(&uri).both_in();
}

#[test]
fn strings() {
    let port = server().port();
    tcp("user=plain password=secret").both_in();
    tcp("user=plain password='secret' dbname = 'app'").both_in();
    tcp("user=plain password=secret dbname=app application_name='it''s' ").both_out();
    tcp(r"user=plain password=secret application_name='it\'s a \\ name'").both_in();
    tcp("user=plain password=secret application_name=''").both_in();
    tcp("user=plain password=secret fallback_application_name=x").both_in();
    tcp(r"user='we:\\ ird' password='p:\\ \'w' dbname=app").both_in();
    tcp("user=plain password=secret dbname=app connect_timeout=2 keepalives=0 keepalives_idle=1").both_in();
    tcp("user=plain password=secret options='-c work_mem=7MB -c geqo=off'").both_in();
    tcp(r"user=plain password=secret options='-c timezone=America/New\\ York'").both_out();
    tcp("user=plain password=secret gssencmode=prefer krbsrvname=x sslcompression=1 sslsni=0").both_in();
    tcp("user=plain password=secret client_encoding=UTF8 target_session_attrs=read-write").both_in();
    let escaped =
        format!("postgresql://we%3a%5C%20ird:p%3A%5c%20'w@127.0.0.1:{port}/app?application_name=a%26b&work_mem");
    Sides::string(&escaped).both_out();
    Sides::string(escaped.trim_end_matches("&work_mem")).both_in();
    Sides::string(&format!("postgres://plain@127.0.0.1:{port}?password=secret&dbname=app")).both_in();
    Sides::string(&format!("postgres://plain:secret@localhost:{port}/a%3Db")).both_in();
    Sides::string(&format!("postgres://postgres@:{port}/app")).both_in();
    Sides::string(&format!("postgres://postgres@/app?host={}&port={port}", folder(&server()))).both_in();
    Sides::string(&format!("postgres://postgres@{}:{port}/app", folder(&server()).replace('/', "%2F"))).both_in();
    Sides::string(&format!("hostaddr=127.0.0.1 port={port} user=plain password=secret")).both_in();
    Sides::string(&format!("host=nowhere.invalid hostaddr=127.0.0.1 port={port} user=plain password=secret")).both_in();
}

#[test]
fn several_hosts() {
    let port = server().port();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let by = |hosts: &str, ports: &str| Sides::string(&format!("host={hosts} port={ports} user=plain password=secret"));
    by("127.0.0.1,localhost", &port.to_string()).both_in();
    by("127.0.0.1,localhost", &format!("{free},{port}")).both_in();
    by("nowhere.invalid,localhost", &port.to_string()).both_in();
    by(&format!("/nonexistent,{},", folder(&server())), &port.to_string()).both_in();
    by(",,127.0.0.1", &format!("{free},{free},{port}")).both_in();
    by("127.0.0.1,localhost", &format!("{free},{port},{port}")).both_out();
    let uri = format!("postgres://plain:secret@127.0.0.1:{free},127.0.0.1:{port}/app?load_balance_hosts=random");
    Sides::string(&uri).both_in();
    let failure = by("127.0.0.1,/nonexistent", &free.to_string()).both_out();
    expect(&failure, Exit::Connection, &[&format!("127.0.0.1:{free},/nonexistent:{free}/plain as plain"), "refused"]);
    // Who is refused by one server does not ask the next.
    let refused = Sides::string(&format!("host=127.0.0.1,{} port={port} user=plain password=no", folder(&server())));
    expect(&refused.both_out(), Exit::Connection, &["28P01"]);
}

#[test]
fn environment() {
    let port = server().port();
    let sides = || {
        Sides::new().env("PGHOST", "127.0.0.1").env("PGPORT", port).env("PGUSER", "plain").env("PGPASSWORD", "secret")
    };
    sides().both_in();
    sides().env("PGDATABASE", "app").env("PGAPPNAME", "me").env("PGOPTIONS", "-c work_mem=9MB").both_in();
    sides().env("PGTZ", "Europe/Paris").env("PGDATESTYLE", "SQL, DMY").env("PGGEQO", "off").both_in();
    sides().env("PGTZ", "Europe/Paris").env("PGOPTIONS", "-c timezone=Asia/Tokyo").both_in();
    sides().env("PGTZ", "default").both_in();
    sides().env("PGTZ", "No/Where").both_out();
    sides().env("PGHOST", "nowhere.invalid").env("PGHOSTADDR", "127.0.0.1").both_in();
    sides().env("PGUSER", "postgres").user("plain").both_in();
    sides().env("PGHOST", "").env("PGUSER", "").env("PGDATABASE", "").both_in();
    sides().env("PGPORT", "").both_out();
    sides().env("PGSSLMODE", "").both_out();
    sides().env("PGSSLMODE", "nonsense").both_out();
    sides().env("PGSSLMODE", "require").both_out();
    sides().env("PGREQUIRESSL", "1").both_out();
    sides().env("PGREQUIRESSL", "0").both_in();
    sides().env("PGREQUIRESSL", "1").env("PGSSLMODE", "disable").both_in();
    sides().env("PGCHANNELBINDING", "require").both_out();
    sides().env("PGCONNECT_TIMEOUT", "x").both_out();
    sides().env("PGTARGETSESSIONATTRS", "standby").both_out();
    sides().env("PGTARGETSESSIONATTRS", "prefer-standby").env("PGLOADBALANCEHOSTS", "random").both_in();
    sides().env("PGTARGETSESSIONATTRS", "read-only").both_out();
    sides().env("PGTARGETSESSIONATTRS", "read-only").env("PGOPTIONS", "-c default_transaction_read_only=on").both_in();
    sides().env("PGTARGETSESSIONATTRS", "primary").both_in();
    sides().env("PGMINPROTOCOLVERSION", "3.0").env("PGMAXPROTOCOLVERSION", "latest").both_in();
}

#[test]
fn service_files() {
    let port = server().port();
    let file = format!("# all\n[tcp]\nhost=127.0.0.1\nport={port}\nuser=plain\n  password=secret  \n[app]\nhost=127.0.0.1\ndbname=app\n");
    let sides = || Sides::new().file(".pg_service.conf", &file);
    sides().dbname("service=tcp").both_in();
    sides().dbname("service=tcp dbname=app").both_in();
    sides().dbname("postgres:///app?service=tcp").both_in();
    sides().env("PGSERVICE", "tcp").both_in();
    sides().env("PGSERVICE", "tcp").env("PGUSER", "postgres").env("PGPORT", "1").both_in();
    sides().env("PGSERVICE", "tcp").user("postgres").both_out();
    sides().env("PGSERVICE", "nope").dbname("service=tcp").both_in();
    sides().dbname("service=app").env("PGPORT", port).env("PGUSER", "plain").env("PGPASSWORD", "secret").both_in();
    let nowhere = sides().dbname("service=nope").both_out();
    expect(&nowhere, Exit::Usage, &["\"nope\"", ".pg_service.conf"]);
    expect(
        &sides().env("PGSERVICEFILE", "/nonexistent").env("PGSERVICE", "tcp").both_out(),
        Exit::Usage,
        &["/nonexistent"],
    );
    sides().env("PGSERVICEFILE", "/dev/null").env("PGSERVICE", "tcp").both_out();
    // The file for all is read when the service is not in the user's own.
    let elsewhere = Sides::new().file("sys/pg_service.conf", &file).file(".pg_service.conf", "[other]\nport=1\n");
    let folder = elsewhere.home().join("sys").display().to_string();
    elsewhere.env("PGSYSCONFDIR", folder).env("PGSERVICE", "tcp").both_in();
    for wrong in ["host = 127.0.0.1", "host", "hots=a", "service=tcp"] {
        let text = format!("[tcp]\n{wrong}\n");
        let failure = Sides::new().file(".pg_service.conf", text).dbname("service=tcp").both_out();
        expect(&failure, Exit::Usage, &["line 2"]);
    }
}

#[test]
fn password_files() {
    let port = server().port();
    let sides = |line: &str| Sides::new().file(".pgpass", line).host("127.0.0.1").port(port).user("plain");
    sides("127.0.0.1:*:plain:plain:secret").both_in();
    sides(&format!("# a comment\n127.0.0.1:{port}:*:plain:secret\r\n")).both_in();
    sides("*:*:*:*:wrong\n127.0.0.1:*:*:plain:secret").both_out();
    sides("localhost:*:*:*:secret").both_out();
    sides("*:*:*:*:secret:what comes later").both_in();
    sides("*:*:*:*:").both_out();
    sides(r"*:*:*:*:s\ecret").both_in();
    sides("*:*:*:*:wrong").env("PGPASSWORD", "secret").both_in();
    sides("*:*:*:*:secret").env("PGPASSWORD", "wrong").both_out();
    sides(r"*:*:*:we\:\\ ird:p\:\\ 'w").user(r"we:\ ird").dbname("app").both_in();
    sides(r"*:*:a=b:plain:secret").dbname(&format!("postgres://127.0.0.1:{port}/a%3Db")).both_in();
    let named = |sides: Sides| {
        let path = sides.home().join("other").display().to_string();
        sides.env("PGPASSFILE", path)
    };
    named(sides("*:*:*:*:wrong").file("other", "*:*:*:*:secret")).both_in();
    named(sides("*:*:*:*:secret")).both_out();
    for mode in [0o640, 0o604, 0o660] {
        let sides = sides("").file_with_mode(".pgpass", "*:*:*:*:secret", mode);
        assert!(sides.psql().unwrap_err().contains("group or world access"));
        expect(&sides.both_out(), Exit::Connection, &["no password supplied", "~/.pgpass"]);
    }
    // A name in the file is compared with what was written, not with where it leads.
    let by_name = |hostaddr: &str| format!("host=here hostaddr={hostaddr} port={port} user=plain");
    Sides::string(&by_name("127.0.0.1")).file(".pgpass", "here:*:*:*:secret").both_in();
    Sides::string(&by_name("127.0.0.1")).file(".pgpass", "127.0.0.1:*:*:*:secret").both_out();
    // Each host has its own.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let two = format!("host=localhost,127.0.0.1 port={free},{port} user=plain");
    Sides::string(&two).file(".pgpass", format!("localhost:{free}:*:*:wrong\n127.0.0.1:{port}:*:*:secret\n")).both_in();
}

#[test]
fn refusals_are_told() {
    let port = server().port();
    let secret = "hunter2";
    let wrong = tcp(&format!("user=plain password={secret}")).both_out();
    let place = format!("127.0.0.1:{port}/plain as plain");
    expect(&wrong, Exit::Connection, &[&place, "28P01", "password authentication failed", ".pgpass"]);
    assert!(!wrong.to_string().contains(secret));
    let in_file = Sides::new().file(".pgpass", "*:*:*:*:wrong").host("127.0.0.1").port(port).user("plain").both_out();
    expect(&in_file, Exit::Connection, &["28P01", "The password is from", ".pgpass"]);
    expect(&tcp("user=plain").both_out(), Exit::Connection, &["no password supplied", "PGPASSWORD"]);
    let database = tcp("user=plain password=secret dbname=nope").both_out();
    expect(&database, Exit::Connection, &["3D000", "\"nope\" does not exist", "psql -l"]);
    expect(&Sides::new().port(port).user("nobody").both_out(), Exit::Connection, &["\"nobody\"", "28000"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = Sides::new().host("127.0.0.1").port(free).both_out();
    expect(&refused, Exit::Connection, &[&format!("127.0.0.1:{free}"), "refused", "Is the server running"]);
    expect(&Sides::new().host("/nonexistent").both_out(), Exit::Connection, &["/nonexistent:5432", "socket"]);
    expect(&Sides::new().host("nowhere.invalid").both_out(), Exit::Connection, &["nowhere.invalid", "translate"]);
    expect(&tcp("user=plain password=secret sslmode=require").both_out(), Exit::Connection, &["does not support TLS"]);
    expect(&tcp("user=plain password=secret sslmode=verify-ca").both_out(), Exit::Connection, &["root.crt"]);
    expect(&tcp("user=plain password=secret gssencmode=require").both_out(), Exit::Usage, &["gssencmode"]);
    expect(
        &tcp("user=plain password=secret channel_binding=require").both_out(),
        Exit::Connection,
        &["channel binding"],
    );
}

#[test]
fn dsn_is_what_options_change() {
    let conninfo = |given| steep_repl_cli::conninfo::Conninfo::resolve(&given, &|_| None).unwrap();
    let given = steep_repl_cli::conninfo::Given {
        dsn: Some(format!("postgres://postgres@nowhere.invalid:{}/postgres", server().port())),
        host: Some(folder(&server())),
        dbname: Some("app".into()),
        ..Default::default()
    };
    assert!(answer(&conninfo(given)).unwrap().starts_with("postgres|app||"));
}

#[test]
fn from_one_node_to_another() {
    let port = server().port();
    let ours = tcp("user=plain password=secret").conninfo().unwrap();
    let node = format!("host='127.0.0.1' port='{port}' dbname='app' user='postgres' password='********'");
    assert!(answer(&ours.towards(&node).unwrap()).unwrap().starts_with("plain|app|127.0.0.1"));
    let socket = format!("host='{}' port='{port}' dbname='app'", folder(&server()));
    assert!(answer(&ours.towards(&socket).unwrap()).unwrap().starts_with("plain|app|127.0.0.1"));
    let local = Sides::new().port(port).user("plain").conninfo().unwrap();
    assert!(answer(&local.towards(&socket).unwrap()).unwrap().starts_with("plain|app||"));
    let file = Sides::new()
        .file(".pgpass", "*:*:app:plain:secret")
        .env("PGPASSWORD", "no")
        .host("127.0.0.1")
        .port(port)
        .user("plain");
    let ours = file.conninfo().unwrap();
    expect(&answer(&ours).unwrap_err(), Exit::Connection, &["28P01"]);
    assert!(answer(&ours.towards(&node).unwrap()).is_ok());
}

#[test]
fn primaries_and_standbys() {
    // Nobody sends it anything, but it waits for that as a standby does.
    let standby = ClusterOptions::new("standby").start();
    let mut client = standby.connect("postgres");
    ["create user plain", "create database plain"].iter().for_each(|sql| client.batch_execute(sql).unwrap());
    drop(client);
    give(&standby, "standby.signal", b"");
    standby.restart();
    let (primary, ports) = (server(), [standby.port(), server().port()]);
    for order in [[0, 1], [1, 0]] {
        let [first, second] = order.map(|which| (folder([&standby, &primary][which]), ports[which]));
        let hosts = format!("host={},{} port={},{}", first.0, second.0, first.1, second.1);
        for (wanted, found) in [
            ("any", order[0]),
            ("primary", 1),
            ("standby", 0),
            ("prefer-standby", 0),
            ("read-write", 1),
            ("read-only", 0),
        ] {
            let answer = Sides::string(&format!("{hosts} user=plain target_session_attrs={wanted}")).both_in();
            assert_eq!(answer.split('|').nth(3), Some(ports[found].to_string().as_str()), "{order:?} {wanted}");
        }
    }
    let alone = format!("host={} port={} user=plain target_session_attrs=standby", folder(&primary), ports[1]);
    expect(&Sides::string(&alone).both_out(), Exit::Connection, &["not a standby"]);
}

#[test]
fn notices_are_heard() {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let conninfo = tcp("user=plain password=secret").conninfo().unwrap();
    let hearing = Arc::clone(&heard);
    let hearing: connect::Hearing = Arc::new(move |notice| hearing.lock().unwrap().push(notice.message().to_owned()));
    let mut client = connect::open_hearing(&conninfo, connect::Prompt::Never, hearing).unwrap();
    client.batch_execute("do $$ begin raise notice 'hear, hear'; end $$").unwrap();
    assert_eq!(*heard.lock().unwrap(), ["hear, hear"]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if test_all() { 600 } else { 40 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// However odd a string is, psql and we read the same from it, or nothing.
    #[test]
    fn any_string_is_read_as_psql_reads_it(
        name in r"('[a ='\\%]{0,6}'|[a =\\%&']{0,6})", between in r"( |\t| = |=|'|\\| [a-z]{1,4}=1 )?", dbname in "(app|plain|a=b|'app'|'a=b'| app)",
    ) {
        let (folder, port) = (folder(&server()), server().port());
        let pairs = Sides::string(&format!("host={folder} port={port} user=postgres application_name={name}{between} dbname={dbname}"));
        alike(&pairs)?;
        let uri = format!("postgresql://postgres@/{dbname}?host={folder}&port={port}&application_name={name}{between}");
        alike(&Sides::string(&uri))?;
    }
}

fn alike(sides: &Sides) -> Result<(), TestCaseError> {
    match (sides.psql(), sides.ours()) {
        (Ok(psql), Ok(ours)) => prop_assert_eq!(ours, psql),
        (Err(_), Err(_)) => {}
        // Bytes that are no text are refused here, whatever libpq sends.
        (Ok(_), Err(failure)) if failure.message.contains("not UTF-8") => {}
        (psql, ours) => prop_assert!(false, "psql: {:?}, ours: {:?}", psql, ours),
    }
    Ok(())
}
