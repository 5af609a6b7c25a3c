//! One throw-away PostgreSQL cluster.
//!
//! Each is made by initdb and never copied from another: a copy would have the same system identifier, and the identity of
//! a node is what the extension under test goes by.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postgres::{Client, Config, NoTls};

use crate::cluster_options::{Auth, ClusterOptions, StopMode};
use crate::database::{conninfo_value, describe, quote_ident, Db};
use crate::installation::{output, Installation};
use crate::root;

/// A running PostgreSQL cluster that ends with this value, or at the latest with the process.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    folder: PathBuf,
    port: u16,
    extra: Mutex<Vec<(String, String)>>,
}

impl Cluster {
    pub(crate) fn create(options: ClusterOptions) -> Arc<Cluster> {
        let folder = root::folder(&options.label);
        let port = free_port();
        let cluster = Cluster { options, folder, port, extra: Mutex::new(Vec::new()) };
        root::one_at_a_time(|| {
            let mut initdb = root::server_command(&cluster.installation().program("initdb"));
            initdb.arg("-D").arg(cluster.data()).args(["-U", "postgres", "-A", "trust", "--locale=C", "-E", "UTF8"]);
            output(initdb.arg("--no-sync"));
        });
        cluster.write_hba();
        cluster.append("postgresql.conf", "include 'test.conf'\n");
        cluster.start();
        Arc::new(cluster)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn append(&self, file: &str, text: &str) {
        let path = self.data().join(file);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        self.write(file, &format!("{before}{text}"));
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.data().join(file);
        if let Err(error) = std::fs::write(&path, text) {
            panic!("cannot write {}: {error}", path.display());
        }
        root::hand_over(&path);
    }

    fn write_hba(&self) {
        let method = match self.options.auth {
            Auth::Trust => "trust",
            Auth::Scram => "scram-sha-256",
        };
        let lines = ["all", "replication"]
            .map(|what| format!("local {what} all trust\nhost {what} all 127.0.0.1/32 {method}\n"))
            .concat();
        self.write("pg_hba.conf", &lines);
    }

    fn write_settings(&self) {
        let mut settings = self.options.defaults();
        settings.push(("port".into(), self.port.to_string()));
        settings.push(("unix_socket_directories".into(), self.folder.display().to_string()));
        settings.extend(self.options.settings.iter().cloned());
        settings.extend(self.extra.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        let line = |(name, value): &(String, String)| format!("{name} = '{}'\n", value.replace('\'', "''"));
        self.write("test.conf", &settings.iter().map(line).collect::<String>());
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = root::server_command(&self.installation().program("pg_ctl"));
        command.arg("-D").arg(self.data()).args(["-w", "-t", "120", "-s"]).args(arguments);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let status = command.stderr(std::process::Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("pg_ctl {arguments:?} of {}: {other:?}", self.options.label)),
        }
    }

    /// The programs this cluster runs with.
    pub fn installation(&self) -> &Installation {
        &self.options.installation
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server after [`Cluster::stop`].
    pub fn start(&self) {
        self.write_settings();
        let log = self.log_path();
        if let Err(error) = self.pg_ctl(&["-l", &log.display().to_string(), "start"]) {
            panic!("{error}\n{}", self.log_tail(None, 30));
        }
    }

    /// Stops the server.
    pub fn stop(&self, mode: StopMode) {
        if let Err(error) = self.pg_ctl(&["-m", mode.word(), "stop"]) {
            panic!("{error}\n{}", self.log_tail(None, 30));
        }
    }

    /// Stops (fast) and starts the server.
    pub fn restart(&self) {
        self.stop(StopMode::Fast);
        self.start();
    }

    /// Restarts with more settings, which stay until the next call of this function.
    pub fn restart_with(&self, settings: &[(&str, &str)]) {
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        *self.extra.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        self.restart();
    }

    /// What a power failure does to the processes: everything ends at once, and recovery follows.
    pub fn crash(&self) {
        self.stop(StopMode::Immediate);
        self.start();
    }

    /// Sends a signal (by name, as kill takes it) to one of the server's processes.
    pub fn signal(&self, pid: i32, signal: &str) {
        output(root::server_command("kill".as_ref()).args([format!("-{signal}"), pid.to_string()]));
    }

    /// How to reach a database over the socket.
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).port(self.port).user("postgres").dbname(database).application_name("tests");
        // A statement that hangs fails its test instead of hanging the run, and so does a transaction that its test left open for
        // somebody who waits. The rest protects the tests' own statements from what a test makes of a database's settings.
        let options = "-c statement_timeout=15min -c idle_in_transaction_session_timeout=3min \
            -c search_path=public -c default_transaction_read_only=off \
            -c default_transaction_isolation=read\\ committed -c standard_conforming_strings=on -c datestyle=ISO,MDY";
        config.connect_timeout(Duration::from_secs(20)).options(options);
        config
    }

    /// A new session as superuser.
    pub fn connect(&self, database: &str) -> Client {
        match self.config(database).connect(NoTls) {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to {database} of {}: {}", self.options.label, describe(&error)),
        }
    }

    /// A libpq connection string over the socket.
    pub fn conninfo(&self, database: &str) -> String {
        let host = conninfo_value(&self.folder.display().to_string());
        format!("host={host} port={} user=postgres dbname={}", self.port, conninfo_value(database))
    }

    /// A libpq connection string over TCP, to the server itself or (another port) to a proxy before it.
    pub fn conninfo_tcp(&self, database: &str, port: u16) -> String {
        format!("host=127.0.0.1 port={port} user=postgres dbname={}", conninfo_value(database))
    }

    /// A new database of a unique name that begins with `label`.
    pub fn create_database(self: &Arc<Self>, label: &str, options: &str) -> Db {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{label}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let sql = format!("create database {} {options}", quote_ident(&name));
        if let Err(error) = self.connect("postgres").batch_execute(&sql) {
            panic!("{sql}: {}", describe(&error));
        }
        Db::new(Arc::clone(self), &name)
    }

    /// The server's log file.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// The whole log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Whether a text stands in the log.
    pub fn log_contains(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// The last lines of the log; those of one database, and of background workers (which show none), when one is given.
    pub fn log_tail(&self, database: Option<&str>, lines: usize) -> String {
        let log = self.log();
        let wanted = |line: &&str| {
            database.is_none_or(|name| {
                line.contains(name) || line.contains("] steep_repl") || line.contains("] logical replication")
            })
        };
        let mut tail: Vec<&str> = log.lines().rev().filter(wanted).take(lines).collect();
        tail.reverse();
        format!("--- log of {} ---\n{}\n", self.options.label, tail.join("\n"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail(None, 40));
        }
        // A server that is already down is what we want.
        let _ = self.pg_ctl(&["-m", "immediate", "stop"]);
    }
}

/// A port that was free a moment ago, that this process gives to no other cluster, and that no outgoing connection is given: a cluster
/// that is stopped wants it back.
fn free_port() -> u16 {
    /// Below what Linux takes for outgoing connections.
    const PORTS: std::ops::Range<u32> = 12_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run at once begin at places of their own.
    let first = std::process::id().wrapping_mul(631);
    for _ in PORTS {
        let number = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free TCP port in {PORTS:?}");
}
