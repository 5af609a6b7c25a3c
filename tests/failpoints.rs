//! Each failpoint in turn: whatever happens to a process at that moment, the operation ends equal or is cancelled without a trace.
//!
//! Only over an extension that was installed with `STEEP_REPL_FAILPOINTS=1`; any other has none, and this tests nothing.
//! `STEEP_REPL_FAILPOINT=name` takes one of them alone.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{root, test_all, wait_until, Cluster, ClusterOptions, Pair, SchemaState};

use crate::campaign::drive::{self, Asked};
use crate::campaign::fault::ask;
use crate::snapshots_moments;

const INIT: &str = "select steep_repl.init_node('node_b', 'node_a', method => 'parallel', parallel_workers => 2,
    no_identity => 'full', force => true)";
const SETTINGS: [(&str, &str); 2] = [("chunk_size", "1MB"), ("max_retries", "3")];
/// Those that only tables come to that join a subscription.
const JOINING: [&str; 6] =
    ["apply_stopped", "applied_noted", "tables_joined", "join_committed", "replaced_slot_dropped", "tables_left"];
/// Those that only an operation comes to that makes this side match.
const MATCHING: [&str; 4] = ["schema_dumped", "schema_applied", "schema_replanned", "schema_undone"];
/// Those that only an operation comes to whose source is altered while it catches up.
const FOLLOWING: [&str; 2] = ["catchup_stopped", "catchup_stop_committed"];
/// Those that only slots come to that are made for a backup of somebody's own.
const PREPARING: [&str; 4] = ["slot_copied", "slot_described", "table_compared", "slot_used"];
/// Those that only a base backup comes to.
const BACKING_UP: [&str; 3] = ["backup_slot_made", "backup_made", "private_server_started"];
/// The failpoints from this one on are those of a cancel.
const UNDOING: &str = "cancel_begun";

fn pair(source: &Arc<Cluster>, target: &Arc<Cluster>) -> Pair {
    let pair = Pair::options("fp").source(Arc::clone(source)).target(Arc::clone(target)).build();
    pair.source.exec(
        "create table big (id int primary key, v int, note text);
         create index big_v on big (v);
         insert into big select i, i % 100, repeat('x', 80) from generate_series(1, 20000) i;
         create table one (id int primary key, note text, unique (note));
         create index one_id on one (id);
         insert into one select i, repeat(md5(i::text), 4) from generate_series(1, 9000) i;
         create table checked (id int primary key);
         insert into checked select generate_series(1, 20);
         alter table checked add constraint large check (id > 10) not valid;
         create table bare (v int);
         insert into bare select generate_series(1, 20)",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.target.exec("insert into big (id) select generate_series(1, 100)");
    pair
}

/// What else must be armed for a moment to come at all.
fn provoke(target: &Cluster, point: &str) {
    match point {
        "task_failed" => target.arm("rows_loaded", "1*error(40001)"),
        "failed" => target.arm("sequences_set", "1*error(23505)"),
        // A keeper that is gone takes its snapshot along.
        "unfinished_emptied" | "snapshot_awaited" => target.arm("snapshot_noted", "1*exit"),
        "replacement_published" => target.arm("task_taken", "2*sleep"),
        _ => {}
    }
}

/// One moment, and what happens at it.
fn one(source: &Arc<Cluster>, target: &Arc<Cluster>, point: &str, action: &str, undoing: bool) {
    target.disarm();
    let pair = pair(source, target);
    let (here, there) = (SchemaState::of(&pair.target), SchemaState::of(&pair.source));
    let armed = format!("1*{action}");
    let init = Asked { begun: "kind = 'init'", settings: &SETTINGS, sql: INIT };
    target.arm(point, &armed);
    provoke(target, point);
    if undoing {
        target.arm("task_taken", "2*sleep");
    }
    drive::start(&pair, &init);
    if undoing || point == "replacement_published" {
        drive::wait_until_reached(target, "task_taken", "2*sleep");
        if undoing {
            assert!(drive::ask_to_cancel(&pair));
            drive::expect_no_trace(&pair, &here, &there);
            drive::assert_empty(&pair);
        } else {
            pair.source.exec(
                "begin; create table other (like big including all); insert into other select * from big where id % 2 = 0;
                 drop table big; alter table other rename to big; commit",
            );
        }
        // Sleepers go on.
        target.disarm_one("task_taken");
    }
    if undoing {
        assert!(drive::was_reached(target, point, &armed), "nobody came to {point}");
        drive::start(&pair, &init);
    }
    drive::finish_past(&pair, point, &armed);
    pair.expect_equal();
    here.assert_same(&pair.target);
    drive::assert_settled(&pair);
    drive::assert_sound(source);
    drive::assert_sound(target);
}

/// One moment while this side is made to match, or while that is taken back.
fn one_matching(source: &Arc<Cluster>, target: &Arc<Cluster>, point: &str, action: &str) {
    target.disarm();
    let pair = pair(source, target);
    pair.source.exec("create table absent (id int primary key, note text); insert into absent values (1, 'here')");
    let (here, there) = (SchemaState::of(&pair.target), SchemaState::of(&pair.source));
    let sql = INIT.replace("force => true", "force => true, schema_sync => 'auto'");
    let init = Asked { begun: "kind = 'init'", settings: &SETTINGS, sql: &sql };
    let armed = format!("1*{action}");
    target.arm(point, &armed);
    let undoing = point == "schema_undone";
    if undoing {
        target.arm("task_taken", "2*sleep");
    }
    drive::start(&pair, &init);
    if undoing {
        drive::wait_until_reached(target, "task_taken", "2*sleep");
        assert!(drive::ask_to_cancel(&pair));
        drive::expect_no_trace(&pair, &here, &there);
        assert!(drive::was_reached(target, point, &armed), "nobody came to {point}");
        target.disarm_one("task_taken");
        drive::start(&pair, &init);
    }
    drive::finish_past(&pair, point, &armed);
    pair.expect_equal();
    drive::assert_settled(&pair);
    drive::assert_sound(target);
}

/// One moment while replication is stopped for a table that has to be copied again.
fn one_following(source: &Arc<Cluster>, target: &Arc<Cluster>, point: &str, action: &str) {
    target.disarm();
    let pair = pair(source, target);
    let sql = INIT.replace("force => true", "force => true, schema_sync => 'auto'");
    let armed = format!("1*{action}");
    target.arm(point, &armed);
    target.arm("enable_committed", "1*sleep");
    drive::start(&pair, &Asked { begun: "kind = 'init'", settings: &SETTINGS, sql: &sql });
    drive::wait_until_reached(target, "enable_committed", "1*sleep");
    pair.source.exec("alter table big add extra int default 5");
    target.disarm_one("enable_committed");
    drive::finish_past(&pair, point, &armed);
    pair.source.exec("update big set extra = 6 where id < 100");
    pair.expect_equal();
    drive::assert_settled(&pair);
    drive::assert_sound(target);
}

/// One moment while tables join the subscription of a node that replicates.
fn one_joining(source: &Arc<Cluster>, target: &Arc<Cluster>, point: &str, action: &str) {
    target.disarm();
    let pair = pair(source, target);
    drive::start(&pair, &Asked { begun: "kind = 'init'", settings: &SETTINGS, sql: INIT });
    drive::finish(&pair);
    let table = "create table late (id int primary key, note text)";
    pair.target.exec(table);
    pair.source.exec(&format!("{table}; insert into late select i, 'late' from generate_series(1, 3000) i"));
    let here = SchemaState::of(&pair.target);
    let armed = format!("1*{action}");
    target.arm(point, &armed);
    let refresh =
        Asked { begun: "kind = 'refresh'", settings: &SETTINGS, sql: "select steep_repl.refresh_tables('node_b')" };
    let cancelled = point == "tables_left";
    if cancelled {
        target.arm("join_committed", "1*sleep");
    }
    drive::start(&pair, &refresh);
    if cancelled {
        drive::wait_until_reached(target, "join_committed", "1*sleep");
        assert!(drive::ask_to_cancel(&pair));
        target.disarm_one("join_committed");
        drive::wait_until_cleaned_up(&pair);
        drive::wait_until_quiet(&pair);
        assert_eq!(pair.target.scalar::<i64>("select count(*) from late"), 0);
        assert!(drive::was_reached(target, point, &armed), "nobody came to {point}");
        drive::start(&pair, &refresh);
    }
    drive::finish_past(&pair, point, &armed);
    pair.source.exec("update late set note = 'new' where id < 100; delete from big where id < 100");
    pair.expect_equal();
    here.assert_same(&pair.target);
    drive::assert_settled(&pair);
    drive::assert_sound(target);
}

/// One moment of a slot that is made for a dump, or of the node that the dump is restored into.
fn one_prepared(source: &Arc<Cluster>, target: &Arc<Cluster>, point: &str, action: &str) {
    target.disarm();
    let pair = Pair::options("fp").source(Arc::clone(source)).target(Arc::clone(target)).build();
    pair.source.exec(
        "create table big (id int primary key, v int, note text);
         insert into big select i, i % 100, repeat('x', 80) from generate_series(1, 20000) i;
         create table one (id int primary key, note text, unique (note));
         insert into one select i, repeat(md5(i::text), 4) from generate_series(1, 9000) i",
    );
    pair.register();
    let armed = format!("1*{action}");
    target.arm(point, &armed);
    let ready = "select source_lsn || ' ' || snapshot from steep_repl.init_slots where status = 'ready' and snapshot is not null limit 1";
    let mut made = None;
    // Whoever waits for it when the server goes down does not hear of it. One that has lost its snapshot is of no use for a dump.
    for _ in 0..3 {
        let _ = pair
            .target
            .cluster()
            .config(pair.target.name())
            .connect(postgres::NoTls)
            .map(|mut client| client.batch_execute("select steep_repl.prepare_init('node_a', 'fp_slot')"));
        made = steep_repl_testkit::try_wait_until("the slot is kept", Duration::from_secs(20), || {
            ask(pair.target.cluster(), pair.target.name(), ready)
        });
        if made.is_some() {
            break;
        }
        let _ = pair.target.try_exec("select steep_repl.drop_init_slot('fp_slot')");
        wait_until("it is released", Duration::from_secs(60), || {
            let left = "select (count(*) = 0)::text from steep_repl.init_slots where status in ('ready', 'preparing', 'ending')";
            ask(pair.target.cluster(), pair.target.name(), left).filter(|none| none == "true")
        });
    }
    let made = made.unwrap_or_else(|| panic!("no slot is kept: {:?}", pair.events()));
    let (lsn, snapshot) = made.split_once(' ').unwrap();
    pair.target.psql(&pair.source.dump(&["--no-publications", "--no-subscriptions", "--snapshot", snapshot]));
    pair.source.exec("update big set v = v + 1 where id < 1000; delete from one where id < 100");
    let complete = format!("select steep_repl.complete_init('node_b', 'node_a', '{lsn}', slot_name => 'fp_slot')");
    drive::start(&pair, &Asked { begun: "kind = 'init'", settings: &SETTINGS, sql: &complete });
    drive::finish(&pair);
    wait_until("the slot counts as used", Duration::from_secs(60), || {
        ask(pair.target.cluster(), pair.target.name(), "select 'used' from steep_repl.init_slots where status = 'used'")
    });
    drive::wait_until_quiet(&pair);
    assert!(drive::was_reached(target, point, &armed), "nobody came to {point}");
    target.disarm();
    pair.expect_equal_rows();
    drive::assert_settled(&pair);
    drive::assert_sound(source);
    drive::assert_sound(target);
}

/// One moment while large tables are copied from a base backup.
fn one_backing_up(source: &Arc<Cluster>, target: &Arc<Cluster>, point: &str, action: &str) {
    target.disarm();
    let pair = pair(source, target);
    let here = SchemaState::of(&pair.target);
    let scratch = root::folder("fpx");
    let path = scratch.display().to_string();
    let settings = [SETTINGS[0], SETTINGS[1], ("scratch_directory", path.as_str())];
    let sql = INIT.replace(
        "method => 'parallel'",
        "method => 'snapshot', large_table_threshold => '1MB', large_table_method => 'basebackup'",
    );
    let armed = format!("1*{action}");
    target.arm(point, &armed);
    drive::start(&pair, &Asked { begun: "kind = 'init'", settings: &settings, sql: &sql });
    drive::finish_past(&pair, point, &armed);
    pair.expect_equal_rows();
    here.assert_same(&pair.target);
    wait_until("the scratch directory is empty", Duration::from_secs(30), || {
        std::fs::read_dir(&scratch).unwrap().next().is_none().then_some(())
    });
    drive::assert_sound(source);
    drive::assert_sound(target);
}

#[test]
fn each_moment() {
    let target = ClusterOptions::new("fptgt").preload().start();
    let points = target.failpoints();
    let only = std::env::var("STEEP_REPL_FAILPOINT").ok();
    if points.is_empty() {
        let _ = writeln!(std::io::stderr(), "no failpoints in the extension that is installed: nothing is tested");
        return;
    }
    let source = ClusterOptions::new("fpsrc").start();
    let actions = ["exit", "error(40001)", "kill", "error(23505)", "source(08006)"];
    let most = if test_all() { actions.len() } else { 2 };
    let first_undoing = points.iter().position(|point| point == UNDOING);
    for (number, point) in points.iter().enumerate() {
        if only.as_ref().is_some_and(|only| only != point) {
            continue;
        }
        for action in &actions[..most] {
            let _ = writeln!(std::io::stderr(), "{point} {action}");
            if snapshots_moments::DROPPING.contains(&point.as_str()) {
                snapshots_moments::dropped(&source, &target, point, action);
            }
            if snapshots_moments::KEEPING.contains(&point.as_str()) {
                snapshots_moments::one(&source, &target, point, action);
            } else if PREPARING.contains(&point.as_str()) {
                one_prepared(&source, &target, point, action);
            } else if BACKING_UP.contains(&point.as_str()) {
                one_backing_up(&source, &target, point, action);
            } else if JOINING.contains(&point.as_str()) {
                one_joining(&source, &target, point, action);
            } else if FOLLOWING.contains(&point.as_str()) {
                one_following(&source, &target, point, action);
            } else if MATCHING.contains(&point.as_str()) {
                one_matching(&source, &target, point, action);
            } else {
                one(&source, &target, point, action, Some(number) >= first_undoing);
            }
        }
    }
}
