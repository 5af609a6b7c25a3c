//! Snapshots when something goes wrong, and what several want of one.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use steep_repl_core::lsn::Lsn;
use steep_repl_testkit::{check, root, shared, wait_until, ClusterOptions, Pair, Role, Running, SchemaState};

use crate::exhaustion::Disk;
use crate::midway;
use crate::refusal::{refused_quickly, Refusal};
use crate::shop;
use crate::snapshots::{
    apply, call, expect_gone, expect_synchronized, files_of, generate, read_manifest, wait_complete, Further, LONG,
};

pub const ARGS: &str = "no_identity => 'full', parallel_workers => 2";

/// Starts a generation over a slow link and waits until files are there.
pub fn begin(pair: &Pair, folder: &Path) -> String {
    pair.proxy().throttle(midway::SLOW);
    let started = format!("generate_snapshot('node_a', 'one', {ARGS})");
    let id = call(&pair.target, folder, &[("chunk_size", "256kB")], &started).unwrap();
    wait_until("files are written", Duration::from_secs(60), || {
        assert_ne!(status(pair), "failed", "{:?}", pair.target.rows("select error, detail from steep_repl.snapshots"));
        let done = "select count(*) from steep_repl.snapshot_files";
        (pair.target.scalar::<i64>(done) > 1).then_some(())
    });
    assert_eq!(status(pair), "generating", "there was too little to write");
    id
}

fn status(pair: &Pair) -> String {
    pair.target.rows("select status from steep_repl.snapshots").concat()
}

/// Applies it, up to the middle of the load, where a table is held as long as the session that is returned is there.
pub fn apply_held(pair: &Pair, folder: &Path) -> postgres::Client {
    let mut holder = pair.target.connect();
    holder.batch_execute("begin; lock table small in share mode").unwrap();
    apply(&pair.target, "node_b", folder, "").unwrap();
    wait_until("it waits for the table", Duration::from_secs(30), || {
        let waits = "select count(*) from pg_locks where relation = 'small'::regclass and not granted";
        (pair.target.scalar::<i64>(waits) > 0).then_some(())
    });
    holder
}

/// It can be applied, and what was written meanwhile arrives.
fn expect_good(pair: &Pair, folder: &Path) {
    apply(&pair.target, "node_b", folder, "").unwrap();
    expect_synchronized(&pair.target, "node_b");
    midway::expect_replicates(pair);
}

/// A partition that was none for a while: what was written into it then is neither in the files nor published.
#[test]
fn a_partition_that_was_detached_meanwhile() {
    let pair = Pair::new("kept_detached");
    let folder = root::folder("kept_detached");
    pair.source.exec(
        "create table parent (id int, k int, primary key (id, k)) partition by list (k);
         create table p1 partition of parent for values in (1); create table p2 partition of parent for values in (2);
         insert into parent select i, 1 + i % 2 from generate_series(1, 1000) i",
    );
    pair.prepare();
    let id = generate(&pair, &folder, "");
    pair.source.exec("alter table parent detach partition p2; insert into p2 values (0, 2)");
    pair.source.exec("alter table parent attach partition p2 for values in (2)");
    let refusal = refused_quickly(|| apply(&pair.target, "node_b", &folder, "")).names(&["public.p2", "did not hold"]);
    assert_eq!((refusal.code.as_str(), pair.state().as_str()), ("55000", "UNINITIALIZED"), "{refusal:?}");
    assert!(!refusal.text.contains("p1"), "{refusal:?}");
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    expect_gone(&pair, &folder);
}

#[test]
fn several_targets_and_one_too_many() {
    let pair = Pair::new("kept_two");
    let folder = root::folder("kept_two");
    shop::fill(&pair.source, 0.1);
    pair.prepare();
    let load = shop::load().start(&pair.source);
    let id = generate(&pair, &folder, "targets => 2");
    assert_eq!(read_manifest(&folder).slots.len(), 2);
    let (second, third) = (Further::of(&pair, "kept_two_c"), Further::of(&pair, "kept_two_d"));
    // At the same moment: they look at the same slots.
    std::thread::scope(|scope| {
        for (db, node) in [(&pair.target, "node_b"), (&second.db, "node_c")] {
            let folder = &folder;
            scope.spawn(move || {
                apply(db, node, folder, "").unwrap();
                expect_synchronized(db, node);
            });
        }
    });
    let refusal = refused_quickly(|| apply(&third.db, "node_c", &folder, "")).names(&[&id, "node_a", "targets"]);
    assert_eq!(refusal.code, "55000");
    load.stop();
    pair.expect_equal();
    second.expect_equal();
    assert_eq!(third.db.scalar::<i64>("select count(*) from customers"), 0);
    // The publication is in use by both.
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    wait_until("the snapshot is gone", Duration::from_secs(30), || {
        (status(&pair).is_empty() && !folder.join("one").exists()).then_some(())
    });
    pair.source.exec("update customers set v = -5 where id < 20");
    pair.expect_equal();
    second.expect_equal();
}

/// Somebody else is at taking the slot that a target has just copied: it takes another.
#[test]
fn a_slot_that_somebody_else_takes_meanwhile() {
    let pair = Pair::new("kept_taken");
    let folder = root::folder("kept_taken");
    shop::fill(&pair.source, 0.1);
    pair.prepare();
    generate(&pair, &folder, "targets => 2");
    let slots = || {
        pair.source.rows(
            "select slot_name from pg_replication_slots where database = current_database() order by length(slot_name), slot_name",
        )
    };
    let [first, second] = slots().try_into().unwrap();
    let mut holder = pair.target.connect();
    holder.batch_execute("begin; lock table steep_repl.snapshot_claims in share mode").unwrap();
    apply(&pair.target, "node_b", &folder, "").unwrap();
    wait_until("it has chosen a slot", Duration::from_secs(30), || {
        let waits =
            "select count(*) from pg_locks where relation = 'steep_repl.snapshot_claims'::regclass and not granted";
        (pair.target.scalar::<i64>(waits) > 0).then_some(())
    });
    let taker = take(&pair, &first);
    let is_active = format!("select count(*) from pg_replication_slots where active and slot_name = '{first}'");
    wait_until("the slot is in use", Duration::from_secs(30), || {
        (pair.source.scalar::<i64>(&is_active) > 0).then_some(())
    });
    holder.batch_execute("commit").unwrap();
    expect_synchronized(&pair.target, "node_b");
    pair.expect_equal();
    assert_eq!(pair.source.scalar::<i64>(&is_active), 1);
    assert!(!slots().contains(&second), "it took the slot that was in use");
    drop(taker);
}

/// pg_recvlogical, which uses a slot until it is dropped and leaves it where it is: it says nothing of how far it has come.
fn take(pair: &Pair, slot: &str) -> Running {
    pair.source.exec("create publication taken");
    let mut command = root::server_command(&pair.source.cluster().installation().program("pg_recvlogical"));
    command
        .args(["--start", "--no-loop", "--file=-", "--status-interval=0", "--fsync-interval=0", "--slot", slot])
        .args(["--option=proto_version=1", "--option=publication_names=taken", "--dbname", &pair.source.conninfo()]);
    Running::start(command.stdout(Stdio::null()))
}

#[test]
fn cancelled_while_it_is_generated() {
    let pair = midway::prepared(Pair::options("kept_cancel"));
    let folder = root::folder("kept_cancel");
    let source = SchemaState::of(&pair.source);
    let id = begin(&pair, &folder);
    let asked = Instant::now();
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    expect_gone(&pair, &folder);
    assert!(asked.elapsed() < Duration::from_secs(30), "cancelled only after {:?}", asked.elapsed());
    source.assert_same(&pair.source);
    check::assert_clean(&pair.source, &pair.target);
    pair.proxy().throttle(0);
    generate(&pair, &folder, ARGS);
    expect_good(&pair, &folder);
}

/// The tables that were not finished are written under a later snapshot, and count from there on.
#[test]
fn the_source_restarts_while_it_is_generated() {
    let source = ClusterOptions::new("kept_srcs").start();
    let pair = midway::prepared(Pair::options("kept_srcs").source(Arc::clone(&source)));
    let folder = root::folder("kept_srcs");
    // One is wholly there before.
    pair.source.exec("create table first (id int primary key, note text); insert into first select i, repeat('f', 50) from generate_series(1, 20000) i");
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.exec("create table first (id int primary key, note text)");
    let id = begin(&pair, &folder);
    source.restart();
    pair.source.exec("update large set v = v + 1; insert into large select i, i, 'later' from generate_series(20001, 20500) i; update first set note = 'changed' where id < 500");
    pair.proxy().throttle(0);
    wait_complete(&pair.target, &id).unwrap();
    let manifest = read_manifest(&folder);
    let lsns: Vec<Lsn> = manifest.tables.iter().map(|table| table.lsn).collect();
    assert!(lsns.iter().any(|lsn| *lsn > manifest.lsn), "no table is of a later snapshot: {lsns:?}");
    pair.source.exec("update large set v = v + 1 where id % 3 = 0; delete from large where id > 20400");
    expect_good(&pair, &folder);
}

#[test]
fn the_target_restarts_while_it_is_generated_and_applied() {
    let target = ClusterOptions::new("kept_tgt").preload().start();
    let pair = midway::prepared(Pair::options("kept_tgt").target(Arc::clone(&target)));
    let folder = root::folder("kept_tgt");
    let id = begin(&pair, &folder);
    target.crash();
    pair.source.exec("update large set v = v + 1");
    pair.proxy().throttle(0);
    wait_complete(&pair.target, &id).unwrap();
    drop(apply_held(&pair, &folder));
    target.crash();
    expect_synchronized(&pair.target, "node_b");
    midway::expect_replicates(&pair);
}

/// What is in the files needs no source; the end of it does.
#[test]
fn the_source_restarts_while_it_is_applied() {
    let source = ClusterOptions::new("kept_srca").start();
    let pair = midway::prepared(Pair::options("kept_srca").source(Arc::clone(&source)));
    let folder = root::folder("kept_srca");
    generate(&pair, &folder, ARGS);
    let mut holder = apply_held(&pair, &folder);
    source.restart();
    holder.batch_execute("rollback").unwrap();
    expect_synchronized(&pair.target, "node_b");
    midway::expect_replicates(&pair);
}

#[test]
fn cancelled_while_it_is_applied_the_slot_is_free_again() {
    let pair = midway::prepared(Pair::options("kept_undo"));
    let folder = root::folder("kept_undo");
    let before = SchemaState::of(&pair.target);
    let id = generate(&pair, &folder, ARGS);
    let mut holder = apply_held(&pair, &folder);
    // Its files are in use.
    let refusal = refused_quickly(|| pair.target.try_exec(&format!("select steep_repl.drop_snapshot('{id}')")))
        .names(&[&id, "node_b"]);
    assert_eq!(refusal.code, "55006", "{refusal:?}");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    holder.batch_execute("rollback").unwrap();
    midway::until_undone(&pair);
    before.assert_same(&pair.target);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from large"), 0);
    expect_good(&pair, &folder);
    assert!(!id.is_empty());
}

/// What a drop could not undo on the source is undone by a later attempt: slots that it has dropped itself are not taken for a target's.
#[test]
fn what_could_not_be_undone_at_once() {
    let pair = Pair::new("kept_again");
    pair.source.exec("create table log (v int); insert into log select i from generate_series(1, 100) i");
    pair.prepare();
    let folder = root::folder("kept_again");
    let before = SchemaState::of(&pair.source);
    let id = generate(&pair, &folder, "targets => 2, no_identity => 'full'");
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; select count(*) from log").unwrap();
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    wait_until("an attempt fails", LONG, || {
        let failed = "select count(*) from steep_repl.pending_cleanup where kind = 'source' and attempts > 0";
        (pair.target.scalar::<i64>(failed) > 0).then_some(())
    });
    holder.batch_execute("rollback").unwrap();
    wait_until("it is gone", LONG, || {
        (pair.target.scalar::<i64>("select count(*) from steep_repl.snapshots") == 0).then_some(())
    });
    before.assert_same(&pair.source);
    check::assert_clean(&pair.source, &pair.target);
    let kept = "select count(*) from steep_repl.events where event = 'snapshot.publication_kept'";
    assert_eq!(pair.target.scalar::<i64>(kept), 0);
}

/// A target that gives up gives its slot to nobody when the snapshot was dropped meanwhile, though its own copy of the files is good.
#[test]
fn cancelled_while_applied_after_the_snapshot_was_dropped() {
    let pair = midway::prepared(Pair::options("kept_gone"));
    let (folder, elsewhere) = (root::folder("kept_gone"), root::folder("kept_gone_copy"));
    let id = generate(&pair, &folder, "targets => 2, no_identity => 'full'");
    let copied = root::server_command(Path::new("/bin/cp"))
        .args(["-r", &folder.join("one").display().to_string(), &elsewhere.display().to_string()])
        .status();
    assert!(copied.unwrap().success());
    let mut holder = apply_held(&pair, &elsewhere);
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    wait_until("it is gone", LONG, || {
        (pair.target.scalar::<i64>("select count(*) from steep_repl.snapshots") == 0).then_some(())
    });
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    assert_eq!(pair.source.scalar::<i64>(slots), 1);
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    holder.batch_execute("rollback").unwrap();
    midway::until_undone(&pair);
    assert_eq!(pair.source.scalar::<i64>(slots), 0, "a slot that nobody will ever drop");
    let names: Vec<String> = pair.source.rows("select quote_ident(pubname) from pg_publication");
    for name in names {
        pair.source.exec(&format!("drop publication {name}"));
    }
}

#[test]
fn the_disk_is_full_while_it_is_generated() {
    let Some(disk) = Disk::mount(3) else { return };
    let target = ClusterOptions::new("kept_disk").preload().set("steep_repl.source_check_interval", "1s").start();
    let pair = Pair::options("kept_disk").target(target).build();
    pair.source.exec(
        "create table large (id int primary key, v int, note text); create table small (id int primary key, v int); create table log (v int primary key);
         insert into large select i, i, md5(i::text) || md5((i + 1)::text) from generate_series(1, 60000) i; insert into small select i, i from generate_series(1, 100) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let start = "generate_snapshot('node_a', 'one', compression => 'none')";
    let id = call(&pair.target, &disk.path, &[], start).unwrap();
    let refusal = Refusal::of(&wait_complete(&pair.target, &id).expect_err("there was room enough")).names(&[
        "large",
        &disk.path.display().to_string(),
        "generate_snapshot",
        "drop_snapshot",
    ]);
    assert_eq!((refusal.code.as_str(), status(&pair).as_str()), ("53100", "failed"), "{refusal:?}");
    let unfinished = files_of(&disk.path).into_iter().filter(|path| path.to_string_lossy().contains("unfinished"));
    assert_eq!(unfinished.count(), 0, "what cannot be completed is in the way");
    wait_until("it is seen what its slot holds back", LONG, || {
        let held = "select coalesce(bool_and(wal_held_bytes >= 0 and slots_free = 1), false) from steep_repl.snapshots";
        pair.target.scalar::<bool>(held).then_some(())
    });
    disk.resize(60);
    // As an attempt leaves them that was killed and had cut its tables otherwise.
    let data = disk.path.join("one/data");
    let stray = ["1.0000000007.copy", "1.0000000009.copy.unfinished"].map(|name| data.join(name));
    for path in &stray {
        std::fs::write(path, "left").unwrap();
    }
    // The same call goes on with what is there.
    assert_eq!(call(&pair.target, &disk.path, &[], start).unwrap(), id);
    wait_complete(&pair.target, &id).unwrap();
    assert!(stray.iter().all(|path| !path.exists()), "what is not of the snapshot is in its folder");
    apply(&pair.target, "node_b", &disk.path, "").unwrap();
    expect_synchronized(&pair.target, "node_b");
    pair.source.exec("update large set v = -1 where id < 9");
    pair.expect_equal();
}

#[test]
fn places() {
    let pair = midway::prepared(Pair::options("kept_places"));
    let folder = root::folder("kept_places");
    let elsewhere = root::folder("kept_else");
    let refused = |path: &str, code: &str, words: &[&str]| {
        for what in [format!("generate_snapshot('node_a', '{path}')"), format!("apply_snapshot('node_b', '{path}')")] {
            let refusal = refused_quickly(|| call(&pair.target, &folder, &[], &what));
            assert!(code.split(' ').any(|code| code == refusal.code), "{what}: {refusal:?}");
            refusal.names(words);
        }
    };
    refused("../x", "22023", &[".."]);
    refused(&format!("{}/../x", folder.display()), "22023", &[".."]);
    let data: String = pair.target.scalar("select current_setting('data_directory')");
    refused(&data, "22023", &["data directory"]);
    refused(&format!("{data}/base"), "22023", &["data directory"]);
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/precious"), "x").unwrap();
    let full = refused_quickly(|| call(&pair.target, &folder, &[], "generate_snapshot('node_a', 'full')"));
    assert_eq!(full.code, "58P02", "{full:?}");
    let gone = refused_quickly(|| call(&pair.target, &folder, &[], "apply_snapshot('node_b', 'nothing')"));
    assert_eq!(gone.code, "58P01", "{gone:?}");
    let none = refused_quickly(|| call(&pair.target, &folder, &[], "apply_snapshot('node_b', 'full')"));
    assert_eq!(none.code, "58P01", "{none:?}");
    let unset = refused_quickly(|| {
        let mut client = pair.target.connect();
        client.batch_execute("select steep_repl.generate_snapshot('node_a', 'one')")
    });
    assert_eq!(unset.code, "55000", "{unset:?}");
    for bad in [
        "compression => 'zip'",
        "targets => 0",
        "targets => 1000",
        "parallel_workers => 0",
        "compression => null",
        "expires => '-1 s'",
    ] {
        let what = format!("generate_snapshot('node_a', 'one', {bad})");
        let refusal = refused_quickly(|| call(&pair.target, &folder, &[], &what));
        assert!(["22023", "22004"].contains(&refusal.code.as_str()), "{bad}: {refusal:?}");
    }
    // A superuser may go elsewhere; by a link it is where that leads.
    std::os::unix::fs::symlink(&elsewhere, folder.join("out")).unwrap();
    let id = call(&pair.target, &folder, &[], &format!("generate_snapshot('node_a', 'out/two', {ARGS})")).unwrap();
    wait_complete(&pair.target, &id).unwrap();
    assert!(elsewhere.join("two/manifest.json").exists());
    let mode =
        |path: &Path| std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777;
    assert_eq!((mode(&elsewhere.join("two")), mode(&elsewhere.join("two/data"))), (0o700, 0o700));
    assert_eq!(mode(&elsewhere.join("two/manifest.json")), 0o600);
    let busy = refused_quickly(|| {
        call(&pair.target, &folder, &[], &format!("generate_snapshot('node_a', 'out/two', {ARGS})"))
    });
    assert_eq!(busy.code, "58P02", "{busy:?}");
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    expect_gone(&pair, &folder);
    assert!(!elsewhere.join("two").exists() && elsewhere.exists());
    assert_eq!(check_unknown(&pair, &id), "42704");
    assert_eq!(check_unknown(&pair, "nonsense"), "42704");
    assert!(folder.join("full/precious").exists());
}

fn check_unknown(pair: &Pair, id: &str) -> String {
    refused_quickly(|| pair.target.try_exec(&format!("select steep_repl.drop_snapshot('{id}')"))).names(&[id]).code
}

/// Outside of the directory, by whatever link, only for those who may read and write files of the server anyway.
#[test]
fn an_operator_stays_in_the_directory() {
    let operator = Role::create(&shared::target(), "keeper", "login in role pg_create_subscription");
    let pair = midway::prepared(Pair::options("kept_role"));
    let folder = root::folder("kept_role");
    let elsewhere = root::folder("kept_role_else");
    std::os::unix::fs::symlink(&elsewhere, folder.join("out")).unwrap();
    let directory = folder.display().to_string();
    let mut client = pair.target.connect();
    client.batch_execute(&format!("set steep_repl.snapshot_directory = '{directory}'; set role {operator}")).unwrap();
    for path in [elsewhere.join("x").display().to_string(), "out/x".to_owned(), "out".to_owned()] {
        for call in [format!("generate_snapshot('node_a', '{path}')"), format!("apply_snapshot('node_b', '{path}')")] {
            let refusal = refused_quickly(|| client.batch_execute(&format!("select steep_repl.{call}")));
            let missing = call.starts_with("apply") && path.ends_with('x');
            assert_eq!(refusal.code, if missing { "58P01" } else { "42501" }, "{call}: {refusal:?}");
        }
    }
    let denied = client.batch_execute("set steep_repl.snapshot_directory = '/'").unwrap_err();
    assert_eq!(denied.code().map(|code| code.code()), Some("42501"));
    // The node is somebody else's.
    let refusal = refused_quickly(|| client.batch_execute("select steep_repl.generate_snapshot('node_a', 'one')"));
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    assert!(!folder.join("one").exists());
}

#[test]
fn a_snapshot_expires() {
    let target = ClusterOptions::new("kept_exp").preload().set("steep_repl.source_check_interval", "1s").start();
    let pair = midway::prepared(Pair::options("kept_exp").target(target));
    let folder = root::folder("kept_exp");
    let id = call(&pair.target, &folder, &[], &format!("generate_snapshot('node_a', 'one', expires => '4 s', {ARGS})"))
        .unwrap();
    wait_complete(&pair.target, &id).unwrap();
    assert!(folder.join("one/manifest.json").exists());
    pair.source.exec("select pg_logical_emit_message(false, 'tests', repeat('x', 1000000))");
    wait_until("what it holds back is seen", Duration::from_secs(20), || {
        let seen = pair.target.rows("select wal_held_bytes > 900000 from steep_repl.snapshots");
        (seen.is_empty() || seen == ["t"]).then_some(())
    });
    expect_gone(&pair, &folder);
    let told = pair.target.rows("select count(*) from steep_repl.events where event = 'snapshot.expired'");
    assert_eq!(told, ["1"]);
    assert!(LONG > Duration::from_secs(1));
}

/// In either half; nothing is left, and it can be begun again.
#[test]
fn two_phases_cancelled_and_restarted() {
    let target = ClusterOptions::new("kept_phase").preload().start();
    let pair = midway::prepared(Pair::options("kept_phase").target(Arc::clone(&target)));
    let folder = root::folder("kept_phase");
    let directory = folder.display().to_string();
    let start = |slow: u64| {
        pair.proxy().throttle(slow);
        let settings = [("snapshot_directory", directory.as_str()), ("chunk_size", "256kB")];
        pair.init_with(&settings, &format!("method => 'two_phase', {ARGS}")).unwrap();
    };
    let until_files = || {
        wait_until("files are written", Duration::from_secs(60), || {
            let done = "select count(*) from steep_repl.snapshot_files f join steep_repl.tasks t on t.id = f.task_id
                where t.operation_id = (select max(id) from steep_repl.operations)";
            (pair.target.scalar::<i64>(done) > 1).then_some(())
        });
    };
    let before = SchemaState::of(&pair.target);
    start(midway::SLOW);
    until_files();
    assert_eq!(pair.progress().unwrap().phase.as_deref(), Some("files"));
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    midway::until_undone(&pair);
    before.assert_same(&pair.target);
    midway::expect_emptied(&pair, &["large", "log", "small"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "files are left");
    start(midway::SLOW);
    until_files();
    target.crash();
    pair.source.exec("update large set v = v + 1");
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "files are left");
    before.assert_same(&pair.target);
    midway::expect_replicates(&pair);
}

/// Without a directory there is nowhere to write.
#[test]
fn two_phases_need_a_directory() {
    let pair = midway::prepared(Pair::options("kept_nodir"));
    let refusal =
        crate::refusal::refused(&pair, &format!("method => 'two_phase', {ARGS}")).names(&["snapshot_directory"]);
    assert_eq!(refusal.code, "55000");
}

/// What was written stays; what was being written is written again, under a later snapshot.
#[test]
fn links_are_cut_while_it_is_generated() {
    let pair = midway::prepared(Pair::options("kept_cut"));
    let folder = root::folder("kept_cut");
    let id = begin(&pair, &folder);
    pair.proxy().cut();
    pair.source.exec("update large set v = v + 1");
    pair.proxy().down();
    wait_until("it is known that the source is away", Duration::from_secs(60), || {
        let known = "select count(*) from steep_repl.events where event in ('init.retry', 'init.snapshot_renewed')";
        (pair.target.scalar::<i64>(known) > 0).then_some(())
    });
    pair.proxy().restore();
    pair.proxy().throttle(0);
    wait_complete(&pair.target, &id).unwrap();
    expect_good(&pair, &folder);
}

#[test]
fn the_disk_is_full_while_it_is_applied() {
    let Some(disk) = Disk::mount(20) else { return };
    let target = ClusterOptions::new("kept_room").preload().start();
    let pair = Pair::options("kept_room").target(Arc::clone(&target)).build();
    let folder = root::folder("kept_room");
    pair.source.exec(
        "create table large (id int primary key, v int, note text); create table small (id int primary key);
         insert into large select i, i, left(repeat(md5(i::text), 13), 400) from generate_series(1, 25000) i;
         insert into small select generate_series(1, 100)",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.target.exec_each(&[
        &format!("create tablespace tight location '{}'", disk.path.display()),
        "create table ballast (note text) tablespace tight",
        "insert into ballast select repeat(md5(i::text), 30) from generate_series(1, 12000) i",
        "alter table large set tablespace tight",
    ]);
    generate(&pair, &folder, "");
    apply(&pair.target, "node_b", &folder, "").unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(120)).expect_err("there was room enough"))
        .names(&["large", "resume_init"]);
    assert_eq!(refusal.code, "53100", "{refusal:?}");
    assert_eq!(pair.state(), "FAILED");
    pair.target.exec("drop table ballast");
    pair.target.exec_each(&["checkpoint"]);
    pair.target.exec("select steep_repl.resume_init('node_b')");
    expect_synchronized(&pair.target, "node_b");
    pair.source.exec("update large set v = -1 where id < 9");
    pair.expect_equal();
}
