//! One moment of a snapshot that is generated and applied: whatever happens to a process then, the rows are equal in the end, and every slot
//! that was made is either taken or free.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{check, root, wait_until, Cluster, Pair, SchemaState};

use crate::campaign::drive::{self, Asked};
use crate::campaign::fault::ask;
use crate::snapshots::{call, generate};

/// Those that only snapshots come to.
pub const KEEPING: [&str; 8] = [
    "chunk_written",
    "folder_made",
    "slots_copied",
    "manifest_written",
    "claim_noted",
    "claim_copied",
    "slot_claimed",
    "files_verified",
];

/// Those that a snapshot comes to when it is dropped, as well as what is cancelled.
pub const DROPPING: [&str; 2] = ["slot_dropped", "publications_dropped"];

/// A snapshot that is dropped leaves nothing on the source, however often it has to begin.
pub fn dropped(source: &Arc<Cluster>, target: &Arc<Cluster>, point: &str, action: &str) {
    target.disarm();
    let pair = Pair::options("fp_drop").source(Arc::clone(source)).target(Arc::clone(target)).build();
    let folder = root::folder("fp_dropped");
    pair.source.exec("create table log (v int); insert into log select i from generate_series(1, 1000) i");
    pair.prepare();
    let before = SchemaState::of(&pair.source);
    generate(&pair, &folder, "targets => 2, no_identity => 'full'");
    let armed = format!("1*{action}");
    target.arm(point, &armed);
    pair.target.exec("select steep_repl.drop_snapshot(id) from steep_repl.snapshots");
    wait_until("the snapshot is gone", Duration::from_secs(90), || {
        let left = "select count(*)::text from steep_repl.snapshots";
        let left = ask(pair.target.cluster(), pair.target.name(), left)?;
        (left == "0" && !folder.join("one").exists()).then_some(())
    });
    assert!(drive::was_reached(target, point, &armed), "nobody came to {point}");
    target.disarm();
    drive::assert_sound(source);
    drive::assert_sound(target);
    before.assert_same(&pair.source);
    check::assert_clean(&pair.source, &pair.target);
}

pub fn one(source: &Arc<Cluster>, target: &Arc<Cluster>, point: &str, action: &str) {
    target.disarm();
    let pair = Pair::options("fp").source(Arc::clone(source)).target(Arc::clone(target)).build();
    let folder = root::folder("fp_kept");
    pair.source.exec(
        "create table big (id int primary key, v int, note text); create index big_v on big (v);
         insert into big select i, i % 100, repeat('x', 80) from generate_series(1, 20000) i;
         create table one (id int primary key, note text, unique (note));
         insert into one select i, repeat(md5(i::text), 4) from generate_series(1, 9000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let armed = format!("1*{action}");
    target.arm(point, &armed);
    let start = "generate_snapshot('node_a', 'one', targets => 2, parallel_workers => 2)";
    call(&pair.target, &folder, &[("chunk_size", "1MB")], start).unwrap();
    wait_until("the snapshot is complete", Duration::from_secs(90), || {
        let status = ask(pair.target.cluster(), pair.target.name(), "select status from steep_repl.snapshots")?;
        if status == "failed" {
            // As an operator would: the same call again.
            let _ = call(&pair.target, &folder, &[], start);
        }
        (status == "complete").then_some(())
    });
    pair.source.exec("update big set v = v + 1 where id < 1000; delete from one where id < 100");
    let directory = folder.display().to_string();
    let settings = [("snapshot_directory", directory.as_str())];
    let sql = "select steep_repl.apply_snapshot('node_b', 'one', parallel_workers => 2)";
    drive::start(&pair, &Asked { begun: "kind = 'init'", settings: &settings, sql });
    drive::finish_past(&pair, point, &armed);
    pair.expect_equal_rows();
    drive::assert_sound(source);
    drive::assert_sound(target);
    // Of the two slots one is taken, and the other is as it was.
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    assert_eq!(pair.source.scalar::<i64>(slots), 2, "after {point} {action}");
    let drop = "select steep_repl.drop_snapshot(id) from steep_repl.snapshots";
    pair.target.exec(drop);
    wait_until("the snapshot is gone", Duration::from_secs(60), || {
        let left: i64 = pair.target.scalar("select count(*) from steep_repl.snapshots");
        (left == 0 && !folder.join("one").exists()).then_some(())
    });
    assert_eq!(pair.source.scalar::<i64>(slots), 1);
}
