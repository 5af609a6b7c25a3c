//! Portable snapshots: generated, applied, shared by several targets, dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use steep_repl_core::manifest::{self, Compression, Manifest};
use steep_repl_testkit::{
    check, compare, compare_sequences, describe, quote_literal, root, wait_until, ClusterOptions, Db, Pair,
    SchemaState, Tables,
};

use crate::outcome::assert_progress_is_sane;
use crate::refusal::refused_quickly;
use crate::shop;

pub const LONG: Duration = Duration::from_secs(180);

/// Calls a function in a session that may use snapshots below `folder`.
pub fn call(db: &Db, folder: &Path, settings: &[(&str, &str)], call: &str) -> Result<String, postgres::Error> {
    let mut client = db.connect();
    let directory = quote_literal(&folder.display().to_string());
    client.batch_execute(&format!("set steep_repl.snapshot_directory = {directory}"))?;
    for (name, value) in settings {
        client.batch_execute(&format!("set steep_repl.{name} = {}", quote_literal(value)))?;
    }
    client
        .query_one(&format!("select (steep_repl.{call})::text"), &[])?
        .try_get::<_, Option<String>>(0)
        .map(Option::unwrap_or_default)
}

pub fn wait_complete(db: &Db, id: &str) -> Result<(), postgres::Error> {
    let seconds = LONG.as_secs();
    db.connect().batch_execute(&format!("select steep_repl.wait_for_snapshot('{id}', timeout => '{seconds} s')"))
}

/// Generates a snapshot of node_a on the target, in `folder`/one.
pub fn generate(pair: &Pair, folder: &Path, args: &str) -> String {
    let comma = if args.is_empty() { "" } else { ", " };
    let id = match call(
        &pair.target,
        folder,
        &[("chunk_size", "1MB")],
        &format!("generate_snapshot('node_a', 'one'{comma}{args})"),
    ) {
        Ok(id) => id,
        Err(error) => panic!("generate_snapshot({args}): {}", describe(&error)),
    };
    if let Err(error) = wait_complete(&pair.target, &id) {
        panic!("wait_for_snapshot: {}\n{:?}", describe(&error), pair.target.rows("select * from steep_repl.snapshots"));
    }
    id
}

pub fn apply(db: &Db, node: &str, folder: &Path, args: &str) -> Result<String, postgres::Error> {
    let comma = if args.is_empty() { "" } else { ", " };
    call(db, folder, &[], &format!("apply_snapshot('{node}', 'one'{comma}{args})"))
}

pub fn expect_synchronized(db: &Db, node: &str) {
    let seconds = LONG.as_secs();
    let wait = format!("select steep_repl.wait_for_init('{node}', timeout => '{seconds} s')");
    if let Err(error) = db.connect().batch_execute(&wait) {
        panic!("wait_for_init: {}\n{:?}", describe(&error), db.rows("select * from steep_repl.init_progress"));
    }
}

pub fn read_manifest(folder: &Path) -> Manifest {
    let read = |name: &str| fs::read(folder.join("one").join(name)).unwrap();
    manifest::read(&read(manifest::MANIFEST), &read(manifest::MANIFEST_SUM)).unwrap()
}

/// All files of a snapshot, its own path first.
pub fn files_of(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in [folder.join("one"), folder.join("one/data")] {
        found.extend(fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    found.sort();
    found
}

/// Nothing of a snapshot is left: no file, no slot, no publication.
pub fn expect_gone(pair: &Pair, folder: &Path) {
    wait_until("the snapshot is gone", Duration::from_secs(60), || {
        let left = pair.target.rows("select id, status from steep_repl.snapshots");
        left.is_empty().then_some(())
    });
    assert!(!folder.join("one").exists(), "{:?}", fs::read_dir(folder.join("one")).map(Iterator::count));
    let slots = pair.source.rows("select slot_name from pg_replication_slots where database = current_database()");
    let publications = pair.source.rows("select pubname from pg_publication");
    assert!(slots.is_empty() && publications.is_empty(), "{slots:?} {publications:?}");
}

/// A further target on the cluster of the pair's, dropped by [`Further::drop`].
pub struct Further {
    pub db: Db,
    source: Db,
}

impl Further {
    pub fn of(pair: &Pair, label: &str) -> Further {
        Further::created(pair, label, "")
    }

    /// With options of CREATE DATABASE.
    pub fn created(pair: &Pair, label: &str, options: &str) -> Further {
        let db = pair.target.cluster().create_database(label, options);
        db.exec("create extension steep_repl");
        db.copy_schema_from(&pair.source);
        let (there, here) = (quote_literal(&pair.source_conninfo()), quote_literal(&db.conninfo()));
        db.exec(&format!(
            "select steep_repl.register_node('node_a', {there}); select steep_repl.register_node('node_c', {here}, is_local => true)"
        ));
        Further { db, source: Db::new(pair.source.cluster().clone(), pair.source.name()) }
    }

    pub fn expect_equal(&self) {
        check::wait_caught_up(&self.source, &self.db, LONG);
        compare(&self.source, &self.db, &Tables::All).unwrap();
        check::assert_no_conflicts(&self.db);
    }
}

impl Drop for Further {
    fn drop(&mut self) {
        let removed = check::drop_subscriptions(&self.db).and_then(|()| self.db.drop_database());
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

fn under_load(label: &str, compression: Compression) {
    let pair = Pair::new(label);
    let folder = root::folder(label);
    shop::fill(&pair.source, 0.4);
    pair.prepare();
    let before = SchemaState::of(&pair.target);
    let load = shop::load().start(&pair.source);
    let began = Instant::now();
    let id = generate(&pair, &folder, &format!("compression => '{compression}', parallel_workers => 3"));
    println!("{compression}: generated in {:?}", began.elapsed());
    let manifest = read_manifest(&folder);
    assert_eq!((manifest.compression, &manifest.snapshot_id, manifest.slots.len()), (compression, &id, 1));
    assert!(manifest.tables.iter().any(|table| table.files.len() > 1), "nothing was cut");
    assert!(manifest.tables.iter().all(|table| table.lsn == manifest.lsn));
    let shown = pair.target.rows(
        "select status, percent, slots, slots_free, tables = tables_done, bytes, rows_done, compression, wal_held_bytes >= 0 from steep_repl.snapshots",
    );
    let expected = format!("complete | 100.0 | 1 | 1 | t | {} | {} | {compression} | t", manifest.bytes, manifest.rows);
    assert_eq!(shown, [expected]);
    // What people and psql find.
    let whole = Path::new("sha256sum");
    let sum = root::server_command(whole)
        .arg("-c")
        .arg("manifest.json.sha256")
        .current_dir(folder.join("one"))
        .output()
        .unwrap();
    assert!(sum.status.success(), "{sum:?}");
    let monitor = pair.monitor();
    let began = Instant::now();
    let operation: i64 = apply(&pair.target, "node_b", &folder, "parallel_workers => 3").unwrap().parse().unwrap();
    expect_synchronized(&pair.target, "node_b");
    println!("{compression}: applied in {:?}", began.elapsed());
    load.stop();
    let seen = monitor.stop();
    pair.expect_equal();
    // The load went on for a while after the end.
    pair.target.exec("select steep_repl.sync_sequences('node_b')");
    compare_sequences(&pair.source, &pair.target).unwrap();
    before.assert_same(&pair.target);
    assert_progress_is_sane(&seen, operation);
    let transports =
        format!("select distinct transport from steep_repl.table_progress where operation_id = {operation}");
    assert_eq!(pair.target.rows(&transports), ["files"]);
    let parts = "select generation_percent is null, application_percent from steep_repl.init_progress";
    assert_eq!(pair.target.rows(parts), ["t | 100.0"]);
    assert_eq!(
        pair.target.rows("select method, phase, state from steep_repl.init_progress"),
        ["two_phase | done | SYNCHRONIZED"]
    );
    // The slot is the subscription's now, and the publication is in use: both stay.
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    wait_until("the files are gone", Duration::from_secs(30), || (!folder.join("one").exists()).then_some(()));
    wait_until("the snapshot is gone", Duration::from_secs(30), || {
        pair.target.rows("select id from steep_repl.snapshots").is_empty().then_some(())
    });
    pair.source.exec("update customers set v = -5 where id < 20");
    pair.expect_equal();
}

#[test]
fn under_load_by_zstd() {
    under_load("kept_zstd", Compression::Zstd);
}

#[test]
fn under_load_by_lz4() {
    under_load("kept_lz4", Compression::Lz4);
}

#[test]
fn under_load_by_gzip() {
    under_load("kept_gzip", Compression::Gzip);
}

#[test]
fn under_load_without_compression() {
    under_load("kept_none", Compression::None);
}

/// A target copies its slot before it drops it, so there is one more than there are targets.
#[test]
fn a_slot_more_than_targets_is_needed() {
    let source = ClusterOptions::new("kept_few").set("max_replication_slots", "2").start();
    let pair = Pair::options("kept_few").source(source).build();
    let folder = root::folder("kept_few");
    pair.source.exec("create table t (id int primary key); insert into t select generate_series(1, 100)");
    pair.prepare();
    let refusal = refused_quickly(|| {
        call(&pair.target, &folder, &[], "generate_snapshot('node_a', 'one', targets => 2)").map(drop)
    });
    assert_eq!(refusal.code, "53400", "{refusal:?}");
    refusal.names(&["2 free replication slots", "3 are needed", "max_replication_slots", "fewer targets"]);
    pair.source.cluster().restart_with(&[("max_replication_slots", "3")]);
    generate(&pair, &folder, "targets => 2");
    // Those are enough for both.
    let further = Further::of(&pair, "kept_few_further");
    apply(&pair.target, "node_b", &folder, "").unwrap();
    expect_synchronized(&pair.target, "node_b");
    apply(&further.db, "node_c", &folder, "").unwrap();
    expect_synchronized(&further.db, "node_c");
    pair.source.exec("update t set id = id + 1000 where id < 10");
    pair.expect_equal();
    further.expect_equal();
}

/// One operation that writes the files, loads them, and removes them.
#[test]
fn two_phases_of_one_initialization() {
    let pair = Pair::new("kept_both");
    let folder = root::folder("kept_both");
    shop::fill(&pair.source, 0.4);
    pair.prepare();
    let before = SchemaState::of(&pair.target);
    let load = shop::load().start(&pair.source);
    let monitor = pair.monitor();
    let directory = folder.display().to_string();
    let operation = pair.synchronize_with(
        &[("snapshot_directory", &directory), ("chunk_size", "1MB")],
        "method => 'two_phase', parallel_workers => 3",
    );
    load.stop();
    let seen = monitor.stop();
    pair.expect_equal();
    before.assert_same(&pair.target);
    assert_progress_is_sane(&seen, operation);
    let parts = "select generation_percent, application_percent from steep_repl.init_progress";
    assert_eq!(pair.target.rows(parts), ["100.0 | 100.0"]);
    // One after the other.
    let in_phase = |phase: &str| seen.iter().filter(|row| row.phase.as_deref() == Some(phase)).collect::<Vec<_>>();
    let (writing, loading) = (in_phase("files"), in_phase("copy"));
    assert!(!writing.is_empty() && !loading.is_empty(), "{seen:?}");
    assert!(writing.iter().all(|row| row.application_percent == Some(0.0)), "{writing:?}");
    assert!(writing.iter().any(|row| row.generation_percent > Some(0.0)), "{writing:?}");
    assert!(loading.iter().all(|row| row.generation_percent == Some(100.0)), "{loading:?}");
    let phases = pair
        .target
        .rows("select details ->> 'message' from steep_repl.events where event = 'init.phase_started' order by id");
    let expected =
        ["publication", "slot", "subscription", "tables", "files", "copy", "indexes", "sequences", "enable", "catchup"];
    assert_eq!(phases, expected.map(|phase| format!("phase {phase}")));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "files are left");
    assert!(pair.target.rows("select id from steep_repl.snapshots").is_empty());
}

/// The tables are made by the definitions of the source; one of an older major version writes the files.
#[test]
fn schemas_are_made_and_the_source_is_older() {
    let old = ClusterOptions::old("kept_old").start();
    let pair = Pair::options("kept_old").source(old).build();
    let folder = root::folder("kept_old");
    pair.source.exec(
        "create schema sales; create type sales.mood as enum ('good', 'bad');
         create table sales.orders (id int primary key, mood sales.mood, note text); create index on sales.orders (note);
         insert into sales.orders select i, 'good', 'note ' || i from generate_series(1, 20000) i;
         create table parts (id int, v text, primary key (id)) partition by range (id);
         create table parts_low partition of parts for values from (0) to (500);
         create table parts_high partition of parts default;
         insert into parts select i, repeat('p', i % 50) from generate_series(1, 2000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.register();
    generate(&pair, &folder, "parallel_workers => 2");
    let formats: Vec<(String, String)> =
        read_manifest(&folder).tables.into_iter().map(|table| (table.name, table.format)).collect();
    assert!(
        formats.contains(&("orders".into(), "text".into())) && formats.contains(&("parts_low".into(), "binary".into())),
        "{formats:?}"
    );
    // By the usual programs, without us.
    let by_hand = pair.target.cluster().create_database("kept_by_hand", "");
    by_hand.psql(&fs::read_to_string(folder.join("one/schema.sql")).unwrap());
    let manifest = read_manifest(&folder);
    for table in &manifest.tables {
        for file in &table.files {
            let path = folder.join("one").join(&file.file.path);
            let rows = std::process::Command::new("zstd").arg("-dc").arg(path).output().unwrap().stdout;
            let plain = folder.join("plain");
            fs::write(&plain, rows).unwrap();
            root::hand_over(&plain);
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            by_hand.exec(&format!(
                "copy {}.{} ({}) from '{}' with (format {})",
                table.schema,
                table.name,
                columns.join(", "),
                plain.display(),
                table.format
            ));
        }
    }
    compare(&pair.source, &by_hand, &Tables::All).unwrap();
    by_hand.drop_database().unwrap();
    pair.source.exec("update sales.orders set mood = 'bad' where id < 100; insert into parts values (100000, 'late')");
    apply(&pair.target, "node_b", &folder, "schema_sync => 'auto'").unwrap();
    expect_synchronized(&pair.target, "node_b");
    pair.expect_equal();
}
