//! pgbench as a load generator.

use std::process::Stdio;
use std::time::Duration;

use crate::database::Db;
use crate::installation::output;
use crate::{root, wait_until, Running};

/// A running pgbench, ended with this value.
pub struct Pgbench {
    program: Running,
    db: Db,
}

impl Pgbench {
    /// Creates and fills pgbench's tables (100,000 accounts per unit of scale). pgbench_history gets REPLICA IDENTITY FULL.
    pub fn fill(db: &Db, scale: u32) {
        let mut command = root::server_command(&db.cluster().installation().program("pgbench"));
        output(command.args(["-i", "-q", "-s", &scale.to_string(), "-d", &db.conninfo()]));
        db.exec("alter table pgbench_history replica identity full");
    }

    /// Starts the standard script at a rate of transactions per second.
    pub fn start(db: &Db, clients: u32, rate: u32) -> Pgbench {
        let mut command = root::server_command(&db.cluster().installation().program("pgbench"));
        command.args(["-n", "-T", "3600", "-c", &clients.to_string(), "-R", &rate.to_string(), "-d", &db.conninfo()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Pgbench { program: Running::start(&mut command), db: db.clone() }
    }

    /// Ends it and waits until its last transactions are over; panics if it had ended by itself.
    pub fn stop(mut self) {
        assert!(self.program.is_running(), "pgbench ended early");
        let Pgbench { program, db } = self;
        drop(program);
        let sessions =
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'pgbench'";
        wait_until("pgbench's sessions are gone", Duration::from_secs(30), || {
            (db.scalar::<i64>(sessions) == 0).then_some(())
        });
    }
}
