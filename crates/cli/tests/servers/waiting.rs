//! Servers that accept a connection and say nothing, or nonsense, or are not up yet: nobody waits for them for ever.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use steep_repl_cli::connect::{self, Prompt};
use steep_repl_cli::failure::{Exit, Failure};
use steep_repl_testkit::{root, shared};

use crate::conninfo::folder;
use crate::sides::Sides;
use crate::steep::{ran, with};

/// What a server that is none does with its first connections: it reads a request and answers, and leaves the line open.
fn impostor(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 8];
            if !answer.is_empty() && connection.read_exact(&mut request).is_ok() {
                let _ = connection.write_all(answer);
            }
            kept.push(connection);
        }
    });
    port
}

#[track_caller]
fn expect_timeout(failure: &Failure, started: Instant) {
    let text = failure.to_string();
    assert!(
        failure.exit == Exit::Connection && text.contains("timeout expired") && text.contains("connect_timeout"),
        "{text}"
    );
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn silence() {
    // Silent at once, after it was asked for TLS and refused, and after it has agreed to TLS.
    for answer in [&b""[..], b"N", b"S"] {
        let port = impostor(answer);
        let sides = Sides::string(&format!("host=127.0.0.1 port={port} connect_timeout=1"));
        let started = Instant::now();
        expect_timeout(&sides.both_out(), started);
    }
    let plain = Sides::string(&format!("host=127.0.0.1 port={} connect_timeout=1 sslmode=disable", impostor(b"")));
    expect_timeout(&plain.both_out(), Instant::now());
}

#[test]
fn silence_of_a_socket() {
    let folder = root::folder("silent");
    let _listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
    let sides = Sides::string(&format!("host={} connect_timeout=1", folder.display()));
    expect_timeout(&sides.both_out(), Instant::now());
}

#[test]
fn after_silence_the_next_server_is_asked() {
    let server = shared::source();
    let (folder, silent, port) = (folder(&server), impostor(b""), server.port());
    let string = format!("host=127.0.0.1,{folder} port={silent},{port} user=postgres connect_timeout=2");
    Sides::string(&string).both_in();
}

#[test]
fn a_session_that_is_open_may_take_its_time() {
    let server = shared::source();
    let sides = Sides::string(&format!("{} connect_timeout=2", server.conninfo_tcp("postgres", server.port())));
    let mut client = connect::open(&sides.conninfo().unwrap(), Prompt::Never).unwrap();
    client.batch_execute("select pg_sleep(2.5)").unwrap();
    client.batch_execute("select 1").unwrap();
}

/// What a server says that refuses with this SQLSTATE.
fn refusing(sqlstate: &str) -> &'static [u8] {
    let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0Mnot now\0Dwait\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
    [b"E", &length[..], fields.as_bytes()].concat().leak()
}

#[test]
fn after_a_refusal_the_next_server_is_asked_only_if_it_is_not_up_yet() {
    let server = shared::source();
    for (sqlstate, goes_on) in [("57P03", true), ("28000", false), ("3D000", false), ("53300", false)] {
        let (folder, refusing, port) = (folder(&server), impostor(refusing(sqlstate)), server.port());
        let hosts = format!("host=127.0.0.1,{folder} port={refusing},{port}");
        let sides = Sides::string(&format!("{hosts} user=postgres connect_timeout=20 sslmode=disable"));
        if goes_on {
            sides.both_in();
        } else {
            let failure = sides.both_out();
            assert_eq!((failure.exit, failure.sqlstate.as_deref()), (Exit::Connection, Some(sqlstate)));
            assert_eq!(failure.detail.as_deref(), Some("not now\nwait"));
        }
    }
}

#[test]
fn a_line_that_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let failure = Sides::string(&format!("host=127.0.0.1 port={port}")).both_out();
    assert!(failure.exit == Exit::Connection && failure.to_string().contains("server's log"), "{failure}");
}

#[test]
fn nonsense() {
    for (answer, what) in [
        (&b"HTTP/1.1 400 Bad Request"[..], "no PostgreSQL server"),
        (b"E", "with an error"),
        (b"Sthis is no TLS", "TLS failed"),
    ] {
        let sides =
            Sides::string(&format!("host=127.0.0.1 port={} connect_timeout=20 sslmode=require", impostor(answer)));
        let failure = sides.both_out();
        assert!(failure.exit == Exit::Connection && failure.to_string().contains(what), "{failure}");
    }
}

/// Not even for as long as a connection may take.
#[test]
fn the_limit_of_wait_holds_whatever_is_waited_for() {
    let started = Instant::now();
    let mut command = with("wait node_b --timeout 1s");
    command.args(["--dsn", &format!("host=127.0.0.1 port={} connect_timeout=60", impostor(b""))]);
    ran(command).fails(5, &["nothing is known of the operation on node \"node_b\"", "did not answer"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
