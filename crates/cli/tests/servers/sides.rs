//! The same connection by psql and by us: whoever gets in must get in as the same, and where one is refused so must be the other.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::SimpleQueryMessage;
use steep_repl_cli::connect::{self, Prompt};
use steep_repl_cli::conninfo::{Conninfo, Given};
use steep_repl_cli::failure::Failure;
use steep_repl_testkit::{root, Cluster, Installation};

/// All that a connection may differ in. The name of the program is the one difference there should be.
const WHO_AND_WHERE: &str = "select current_user, current_database(), inet_server_addr(), current_setting('port'),
    replace(current_setting('application_name'), 'psql', 'steep-repl'), s.ssl, s.version, s.client_dn,
    current_setting('work_mem'), current_setting('timezone'), current_setting('datestyle'), current_setting('geqo'),
    current_setting('transaction_read_only')
    from pg_stat_ssl s where s.pid = pg_backend_pid()";

/// What both are given.
pub struct Sides {
    given: Given,
    environment: BTreeMap<String, String>,
    home: PathBuf,
}

impl Sides {
    /// With a home of their own and nothing else.
    pub fn new() -> Sides {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let home = root::folder("home").join(format!("{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&home).unwrap();
        let environment = [("HOME".to_owned(), home.display().to_string())].into();
        Sides { given: Given::default(), environment, home }
    }

    /// With a connection string, as psql takes it.
    pub fn string(text: &str) -> Sides {
        Sides::new().dbname(text)
    }

    /// `-d`.
    pub fn dbname(mut self, dbname: &str) -> Sides {
        self.given.dbname = Some(dbname.to_owned());
        self
    }

    /// `-h`.
    pub fn host(mut self, host: &str) -> Sides {
        self.given.host = Some(host.to_owned());
        self
    }

    /// `-p`.
    pub fn port(mut self, port: impl ToString) -> Sides {
        self.given.port = Some(port.to_string());
        self
    }

    /// `-U`.
    pub fn user(mut self, user: &str) -> Sides {
        self.given.user = Some(user.to_owned());
        self
    }

    /// A variable.
    pub fn env(mut self, name: &str, value: impl ToString) -> Sides {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// A file below the home, for the user alone.
    pub fn file(self, name: &str, text: impl AsRef<[u8]>) -> Sides {
        self.file_with_mode(name, text, 0o600)
    }

    /// A file below the home.
    pub fn file_with_mode(self, name: &str, text: impl AsRef<[u8]>, mode: u32) -> Sides {
        let path = self.home.join(name);
        path.parent().map(std::fs::create_dir_all).transpose().unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// The home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// psql's answer, or what it says on stderr.
    pub fn psql(&self) -> Result<String, String> {
        let mut command = Command::new(Installation::current().program("psql"));
        command.env_clear().envs(&self.environment).env("LC_ALL", "C").args(["-X", "-w", "-At", "-c", WHO_AND_WHERE]);
        let options =
            [("-h", &self.given.host), ("-p", &self.given.port), ("-U", &self.given.user), ("-d", &self.given.dbname)];
        for (option, value) in options {
            command.args(value.iter().flat_map(|value| [option, value.as_str()]));
        }
        let output = command.output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        }
    }

    /// What we make of it.
    pub fn conninfo(&self) -> Result<Conninfo, Failure> {
        Conninfo::resolve(&self.given, &|name| self.environment.get(name).cloned())
    }

    /// Our answer.
    pub fn ours(&self) -> Result<String, Failure> {
        answer(&self.conninfo()?)
    }

    /// Both get in, as the same, to the same; that is the answer.
    #[track_caller]
    pub fn both_in(&self) -> String {
        let (psql, ours) = (self.psql(), self.ours());
        match (psql, ours) {
            (Ok(psql), Ok(ours)) => {
                assert_eq!(ours, psql, "ours and psql's for {:?} {:?}", self.given, self.environment);
                ours
            }
            (psql, ours) => panic!("psql: {psql:?}\nours: {ours:?}\n{:?} {:?}", self.given, self.environment),
        }
    }

    /// Neither gets in; that is our reason.
    #[track_caller]
    pub fn both_out(&self) -> Failure {
        match (self.psql(), self.ours()) {
            (Err(psql), Err(failure)) => {
                println!("{psql}\n{failure}\n");
                failure
            }
            (psql, ours) => panic!("psql: {psql:?}\nours: {ours:?}\n{:?} {:?}", self.given, self.environment),
        }
    }
}

/// What a connection says about itself.
pub fn answer(conninfo: &Conninfo) -> Result<String, Failure> {
    let mut client = connect::open(conninfo, Prompt::Never)?;
    let rows = client.simple_query(WHO_AND_WHERE).unwrap();
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap();
    Ok((0..row.len()).map(|column| row.get(column).unwrap_or_default()).collect::<Vec<_>>().join("|"))
}

/// Writes a file into a server's folder that only the server may read.
pub fn give(cluster: &Cluster, name: &str, bytes: &[u8]) {
    let folder: String = cluster.connect("postgres").query_one("show data_directory", &[]).unwrap().get(0);
    let path = Path::new(&folder).join(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    root::hand_over(&path);
}
