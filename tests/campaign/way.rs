//! How the rows of a run come: what is made beforehand, what is asked for then, and what must be gone afterwards.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use steep_repl_testkit::{check, root, try_wait_until, wait_until, Pair, Rng, SchemaState};

use super::drive::{self, Asked, PATIENCE};
use super::fault::ask;
use super::plan::{Act, Plan};
use crate::method_snapshot::expect_no_leftovers;

/// Tables above this are large, some of the shop's.
const LARGE: &str = "500kB";
const SLOT: &str = "camp_slot";
/// How often a snapshot may fail to be generated.
const MOST_CALLS: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Parallel,
    /// By the server's own workers; large tables by this method, or none of them otherwise.
    Snapshot(Option<&'static str>),
    /// Through files that the same operation writes and loads.
    TwoPhase,
    /// `generate_snapshot` with this compression for so many targets, and `apply_snapshot`.
    Kept(&'static str, u64),
    /// `prepare_init`, pg_dump under its snapshot, and `complete_init`.
    Prepared,
}

impl Way {
    pub fn draw(rng: &mut Rng) -> Way {
        match rng.below(12) {
            0..=2 => Way::Parallel,
            3 => Way::Snapshot(None),
            4..=6 => Way::Snapshot(Some(["copy", "pg_dump", "basebackup"][rng.below(3) as usize])),
            7 => Way::TwoPhase,
            8 | 9 => Way::Kept(["none", "gzip", "lz4", "zstd"][rng.below(4) as usize], 1 + rng.below(2)),
            _ => Way::Prepared,
        }
    }

    /// Whether tables that come to the source later can join: not where the publication was made for what is in a backup or in files.
    pub fn lets_tables_join(self) -> bool {
        !matches!(self, Way::Kept(..) | Way::Prepared)
    }

    /// Counters that may be other than 0. A link that breaks under a worker counts as an error of it; a conflict would be ours.
    pub fn counters(self) -> Vec<&'static str> {
        let mut counters = vec!["apply_error_count"];
        if let Way::Snapshot(_) = self {
            counters.push("sync_error_count");
        }
        if let Way::Snapshot(_) | Way::Prepared = self {
            counters.extend(check::ORIGINS);
        }
        counters
    }
}

/// A run's way, and the folder that it may write into.
pub struct Course<'a> {
    plan: &'a Plan,
    folder: PathBuf,
    path: String,
}

/// What is there before the operation.
pub struct Ground {
    /// The call that starts it.
    pub sql: String,
    /// How often what came before was begun again.
    pub resumed: u32,
    /// Rows that the operation found here and must leave.
    rows: Option<i64>,
}

impl Course<'_> {
    pub fn of(plan: &Plan) -> Course<'_> {
        let folder = root::folder("campx");
        let path = folder.display().to_string();
        Course { plan, folder, path }
    }

    /// Settings of the session that asks for it.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        let folders = [("snapshot_directory", self.path.as_str()), ("scratch_directory", self.path.as_str())];
        [&self.plan.settings()[..], &folders].concat()
    }

    /// Makes what the operation needs.
    pub fn lay(&self, pair: &Pair) -> Ground {
        let init = |args: &str| Ground {
            sql: format!("select steep_repl.init_node('node_b', 'node_a', {}{args})", self.plan.arguments()),
            resumed: 0,
            rows: None,
        };
        match self.plan.way {
            Way::Parallel => init(", method => 'parallel'"),
            Way::Snapshot(None) => init(", method => 'snapshot'"),
            Way::Snapshot(Some(large)) => init(&format!(
                ", method => 'snapshot', large_table_threshold => '{LARGE}', large_table_method => '{large}'"
            )),
            Way::TwoPhase => init(", method => 'two_phase'"),
            Way::Kept(compression, targets) => self.generate(pair, compression, targets),
            Way::Prepared => self.dump_and_restore(pair),
        }
    }

    fn generate(&self, pair: &Pair, compression: &str, targets: u64) -> Ground {
        let (target, database) = (pair.target.cluster(), pair.target.name());
        let asked = Asked {
            begun: "kind = 'generate'",
            settings: &self.settings(),
            sql: &format!(
                "select steep_repl.generate_snapshot('node_a', 'one', compression => '{compression}', targets => {targets}, \
                 parallel_workers => {}{})",
                self.plan.workers,
                self.plan.no_identity()
            ),
        };
        drive::start(pair, &asked);
        for (moment, act) in &self.plan.before {
            moment.await_it(pair, false);
            match act {
                Act::Fault(fault) => fault.happen(pair),
                Act::Cancel | Act::CancelFrozen(..) => {
                    self.drop_snapshot(pair);
                    drive::wait_until_quiet(pair);
                    check::assert_clean(&pair.source, &pair.target);
                    drive::start(pair, &asked);
                }
            }
        }
        let mut resumed = 0;
        let complete = try_wait_until("the snapshot is complete", PATIENCE, || {
            let status = "select status from steep_repl.snapshots order by operation_id desc limit 1";
            let status = ask(target, database, status)?;
            if status == "failed" {
                // As an operator would: the same call again.
                assert!(resumed < MOST_CALLS, "{:?}", pair.target.rows("select * from steep_repl.snapshots"));
                resumed += u32::from(drive::call(pair, &asked).is_ok());
            }
            (status == "complete").then_some(())
        });
        assert!(complete.is_some(), "{:?}", pair.target.rows("select * from steep_repl.snapshots"));
        let force = if self.plan.force { ", force => true" } else { "" };
        let sql = format!(
            "select steep_repl.apply_snapshot('node_b', 'one', parallel_workers => {}{force})",
            self.plan.workers
        );
        Ground { sql, resumed, rows: None }
    }

    fn drop_snapshot(&self, pair: &Pair) {
        let (target, database) = (pair.target.cluster(), pair.target.name());
        let drop = "select steep_repl.drop_snapshot(id)::text from steep_repl.snapshots where status <> 'dropping'";
        let gone = "select 'gone' where not exists (select from steep_repl.snapshots)";
        let dropped = try_wait_until("the snapshot is dropped", PATIENCE, || {
            // The server may be down.
            ask(target, database, drop);
            ask(target, database, gone).filter(|_| !self.folder.join("one").exists())
        });
        assert!(dropped.is_some(), "{:?}", pair.target.rows("select * from steep_repl.snapshots"));
    }

    /// Faults come later: a snapshot that is lost before it was dumped is of no use to anybody.
    fn dump_and_restore(&self, pair: &Pair) -> Ground {
        let made = format!(
            "select source_lsn::text || ' ' || snapshot from steep_repl.prepare_init('node_a', '{SLOT}'{})",
            self.plan.no_identity()
        );
        let made: String = pair.target.scalar(&made);
        let (lsn, snapshot) = made.split_once(' ').unwrap();
        let options = ["--no-publications", "--no-subscriptions", "--snapshot", snapshot];
        pair.target.psql(&pair.source.dump(&options));
        let sql = format!(
            "select steep_repl.complete_init('node_b', 'node_a', '{lsn}', slot_name => '{SLOT}', parallel_workers => {}{})",
            self.plan.workers,
            self.plan.no_identity()
        );
        Ground { sql, resumed: 0, rows: Some(rows(pair)) }
    }

    /// Waits until a cancel is over, of which nothing may be left but what was there before. Something else is there for the next try, if
    /// it is of no more use.
    pub fn expect_undone(
        &self,
        pair: &Pair,
        ground: &Ground,
        here: &SchemaState,
        there: &SchemaState,
    ) -> Option<Ground> {
        drive::wait_until_undone(pair);
        here.assert_same(&pair.target);
        if self.plan.way != Way::Prepared {
            drive::wait_until_quiet(pair);
            if !self.plan.force {
                drive::assert_empty(pair);
            }
        }
        let slots = "select slot_name from pg_replication_slots where database = current_database()";
        match self.plan.way {
            Way::Prepared => {
                let kept = format!("select status = 'ready' from steep_repl.init_slots where slot_name = '{SLOT}' order by operation_id desc limit 1");
                if pair.target.scalar::<bool>(&kept) {
                    assert_eq!(pair.source.rows(slots), [SLOT]);
                    assert_eq!(Some(rows(pair)), ground.rows, "rows of the backup are gone");
                    there.assert_same(&pair.source);
                    return None;
                }
                // It was replicated by.
                check::assert_clean(&pair.source, &pair.target);
                pair.target.exec(
                    "do $$ declare t text; begin for t in select c.oid::regclass::text from pg_class c
                        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
                     loop execute 'drop table ' || t; end loop; end $$",
                );
                Some(self.dump_and_restore(pair))
            }
            Way::Kept(_, targets) => {
                assert_eq!(pair.source.rows(slots).len() as u64, targets, "a slot was not given back");
                let subscriptions = "select subname from pg_subscription s join pg_database d on d.oid = s.subdbid
                    where d.datname = current_database()";
                assert!(pair.target.rows(subscriptions).is_empty());
                there.assert_same(&pair.source);
                None
            }
            way => {
                check::assert_clean(&pair.source, &pair.target);
                there.assert_same(&pair.source);
                self.expect_emptied_folder();
                if let Way::Snapshot(_) = way {
                    expect_no_leftovers(pair);
                }
                None
            }
        }
    }

    /// After the end: takes away what was made for other targets, and expects nothing to be left but replication.
    pub fn clear_away(&self, pair: &Pair) {
        match self.plan.way {
            Way::Kept(..) => self.drop_snapshot(pair),
            Way::Prepared => {
                let used = format!("select status from steep_repl.init_slots where slot_name = '{SLOT}' order by operation_id desc limit 1");
                // Whoever keeps it may have lost the source, and looks again after half a minute.
                wait_until("the slot counts as used", PATIENCE, || {
                    (pair.target.scalar::<String>(&used) == "used").then_some(())
                });
            }
            Way::Snapshot(_) => expect_no_leftovers(pair),
            Way::Parallel | Way::TwoPhase => {}
        }
        self.expect_emptied_folder();
    }

    fn expect_emptied_folder(&self) {
        wait_until("no file is left", Duration::from_secs(30), || {
            fs::read_dir(&self.folder).unwrap().next().is_none().then_some(())
        });
    }
}

fn rows(pair: &Pair) -> i64 {
    let counts = crate::shop::LARGER.map(|table| format!("(select count(*) from {table})"));
    pair.target.scalar(&format!("select {}", counts.join(" + ")))
}

/// How the rows of the newest initialization came, for the line of a run, unless somebody restored them.
pub fn transports(pair: &Pair) -> String {
    pair.target
        .rows(
            "select ', ' || count(*) || ' ' || transport from steep_repl.operation_tables where operation_id =
                (select max(id) from steep_repl.operations where kind = 'init' and method <> 'manual') group by transport order by transport",
        )
        .concat()
}
