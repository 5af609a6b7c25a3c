//! What goes wrong in a run.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{Cluster, Db, Pair, Rng};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    TargetRestart,
    TargetCrash,
    SourceRestart,
    SourceCrash,
    /// SIGTERM of a process of ours, by the end of its backend_type.
    Terminate(&'static str),
    /// SIGKILL of one, which makes the target's postmaster start everything anew.
    Kill(&'static str),
    /// Ends our sessions on the source.
    EndSourceSessions,
    CutLink,
    LinkDown(u64),
    FreezeLink(u64),
    VacuumFull,
    TruncateAndRefill,
    /// A transaction on the source that has written and is not over, which the creation of a slot waits for.
    LongTransaction(u64),
    /// Somebody holds a table on the source, or reads one here.
    LockOnSource(u64),
    ReaderOnTarget(u64),
}

const OURS: [&str; 3] = ["coordinator", "copy worker", "snapshot keeper"];

impl Fault {
    pub fn draw(rng: &mut Rng) -> Fault {
        let ours = OURS[rng.below(3) as usize];
        let ms = 500 + rng.below(3000);
        match rng.below(18) {
            0 => Fault::TargetRestart,
            1 | 2 => Fault::TargetCrash,
            3 => Fault::SourceRestart,
            4 => Fault::SourceCrash,
            5 | 6 => Fault::Terminate(ours),
            7 => Fault::Terminate("launcher"),
            8 | 9 => Fault::Kill(ours),
            10 => Fault::EndSourceSessions,
            11 => Fault::CutLink,
            12 => Fault::LinkDown(ms),
            13 => Fault::FreezeLink(ms),
            14 => Fault::VacuumFull,
            15 => Fault::TruncateAndRefill,
            16 => Fault::LongTransaction(ms),
            _ => [Fault::LockOnSource(ms), Fault::ReaderOnTarget(ms)][rng.below(2) as usize],
        }
    }

    pub fn happen(self, pair: &Pair) {
        let (source, target) = (pair.source.cluster(), pair.target.cluster());
        match self {
            Fault::TargetRestart => target.restart(),
            Fault::TargetCrash => target.crash(),
            Fault::SourceRestart => source.restart(),
            Fault::SourceCrash => source.crash(),
            Fault::Terminate(kind) => signal(target, kind, "TERM"),
            Fault::Kill(kind) => signal(target, kind, "KILL"),
            Fault::EndSourceSessions => drop(pair.source.try_exec(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'steep\\_repl%'",
            )),
            Fault::CutLink => pair.proxy().cut(),
            Fault::LinkDown(ms) => {
                pair.proxy().down();
                pass(ms);
                pair.proxy().restore();
            }
            Fault::FreezeLink(ms) => {
                pair.proxy().freeze();
                pass(ms);
                pair.proxy().thaw();
            }
            // Deadlocks with the load are the load's, and what it cannot do now it does not do at all.
            Fault::VacuumFull => drop(pair.source.try_exec("vacuum full orders")),
            Fault::TruncateAndRefill => drop(pair.source.try_exec(
                "begin; truncate lines; insert into lines (id, v, note) select i, i, 'new' from generate_series(1, 3000) i; commit",
            )),
            Fault::LongTransaction(ms) => held(&pair.source, "insert into lonely default values", ms),
            Fault::LockOnSource(ms) => held(&pair.source, "lock table orders", ms),
            Fault::ReaderOnTarget(ms) => held(&pair.target, "select count(*) from orders", ms),
        }
    }
}

/// A transaction that has done this and ends some time later. It does not happen where the server has just gone down.
fn held(db: &Db, sql: &str, ms: u64) {
    let Ok(mut client) = db.cluster().config(db.name()).connect(postgres::NoTls) else { return };
    if client.batch_execute(&format!("set lock_timeout = '3s'; begin; {sql}")).is_ok() {
        pass(ms);
        let _ = client.batch_execute("commit");
    }
}

/// A signal for one of our processes, if there is such a one now.
fn signal(target: &Arc<Cluster>, kind: &str, name: &str) {
    let sql = format!(
        "select pid::text from pg_stat_activity where backend_type = 'steep_repl {kind}' order by random() limit 1"
    );
    if let Some(pid) = ask(target, "postgres", &sql).and_then(|pid| pid.parse().ok()) {
        // It may have ended by itself since.
        let _ = std::panic::catch_unwind(|| target.signal(pid, name));
    }
}

/// A question to a server that may be down.
pub fn ask(cluster: &Arc<Cluster>, database: &str, sql: &str) -> Option<String> {
    let mut client = cluster.config(database).connect(postgres::NoTls).ok()?;
    client.query_opt(sql, &[]).ok()??.try_get(0).ok()
}

pub fn pass(ms: u64) {
    steep_repl_testkit::pass(Duration::from_millis(ms));
}
