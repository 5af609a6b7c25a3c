//! Snapshots that are not what was written: every kind of damage is an error that names the file, and leaves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use steep_repl_core::manifest::{self, Manifest, MANIFEST, MANIFEST_SUM};
use steep_repl_testkit::{root, wait_until, Pair, SchemaState};

use crate::midway;
use crate::refusal::{contents, refused_quickly, Refusal};
use crate::snapshots::{apply, expect_gone, expect_synchronized, files_of, generate, read_manifest};

struct Kept {
    pair: Pair,
    folder: PathBuf,
    id: String,
}

/// A pair with a snapshot of its source.
fn kept(label: &str, args: &str) -> Kept {
    let pair = midway::prepared(Pair::options(label));
    let folder = root::folder(label);
    let id = generate(&pair, &folder, &format!("no_identity => 'full', {args}"));
    Kept { pair, folder, id }
}

impl Kept {
    fn slots(&self) -> Vec<String> {
        self.pair.source.rows("select slot_name, confirmed_flush_lsn from pg_replication_slots where database = current_database() order by 1")
    }

    /// Applies it and expects to be refused, at once or by wait_for_init; then everything is as it was, the slot too.
    fn refused(&self, what: &str) -> Refusal {
        let (before, slots) = (contents(&self.pair.target), self.slots());
        let refusal = refused_quickly(|| {
            apply(&self.pair.target, "node_b", &self.folder, "")?;
            self.pair.wait(Duration::from_secs(15))
        });
        assert_eq!(before.1, contents(&self.pair.target).1, "{what}: rows are there");
        if self.pair.state() != "UNINITIALIZED" {
            assert_eq!(self.pair.state(), "FAILED", "{what}");
            self.pair.target.exec("select steep_repl.cancel_init('node_b')");
            midway::until_undone(&self.pair);
        }
        assert_eq!(before, contents(&self.pair.target), "{what}: something changed");
        assert_eq!(slots, self.slots(), "{what}: the slot did not come back");
        eprintln!("{what}: {}", refusal.text);
        refusal
    }

    fn one(&self, name: &str) -> PathBuf {
        self.folder.join("one").join(name)
    }

    /// Changes a file for a while.
    fn with(&self, path: &Path, change: impl FnOnce(&Path), look: impl FnOnce()) {
        let good = fs::read(path).unwrap();
        change(path);
        look();
        fs::write(path, good).unwrap();
        root::hand_over(path);
    }

    /// It is as good as before all that.
    fn applies(self) {
        apply(&self.pair.target, "node_b", &self.folder, "").unwrap();
        expect_synchronized(&self.pair.target, "node_b");
        self.pair.source.exec("update large set v = -1 where id < 9; delete from small where id = 7");
        self.pair.expect_equal();
    }

    fn write(&self, manifest: &Manifest) {
        let (text, sum) = manifest::write(manifest).unwrap();
        fs::write(self.one(MANIFEST), text).unwrap();
        fs::write(self.one(MANIFEST_SUM), sum).unwrap();
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn every_file_flipped_cut_and_gone() {
    let kept = kept("kept_broken", "compression => 'zstd'");
    let large = read_manifest(&kept.folder).table("public", "large").unwrap().files[2].file.path.clone();
    let small = read_manifest(&kept.folder).table("public", "small").unwrap().files[0].file.path.clone();
    for name in [large.as_str(), small.as_str(), manifest::SCHEMA, manifest::SEQUENCES, MANIFEST, MANIFEST_SUM] {
        let path = kept.one(name);
        // What the sum is of is what is not believed.
        let named = name_of(&path);
        let flip = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            let place = bytes.len() / 3;
            bytes[place] ^= 4;
            fs::write(path, bytes).unwrap();
        };
        let refused = |what: &str| kept.refused(&format!("{name} {what}")).names(&[named.as_str(), "kept_broken"]);
        kept.with(&path, flip, || assert_eq!(refused("flipped").code, "22P04"));
        let cut = |path: &Path| fs::write(path, &fs::read(path).unwrap()[1..]).unwrap();
        kept.with(&path, cut, || assert_eq!(refused("cut").code, "22P04"));
        let longer = |path: &Path| fs::write(path, [fs::read(path).unwrap(), b"x".to_vec()].concat()).unwrap();
        kept.with(&path, longer, || assert_eq!(refused("longer").code, "22P04"));
        kept.with(&path, |path| fs::remove_file(path).unwrap(), || drop(refused("gone")));
        let linked = |path: &Path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", path).unwrap();
        };
        kept.with(&path, linked, || {
            refused("linked");
            fs::remove_file(&path).unwrap();
        });
    }
    kept.applies();
}

#[test]
fn manifests_of_others() {
    let kept = kept("kept_other", "compression => 'none'");
    let good = read_manifest(&kept.folder);
    kept.write(&Manifest { system_identifier: "1234".to_owned(), ..good.clone() });
    assert_eq!(kept.refused("another server").names(&["1234", "node_a"]).code, "55000");
    kept.write(&Manifest { database_oid: 5, database: "postgres".to_owned(), ..good.clone() });
    assert_eq!(kept.refused("another database").names(&["postgres", "node_a"]).code, "55000");
    kept.write(&Manifest { source: "node_x".to_owned(), ..good.clone() });
    assert_eq!(kept.refused("another node").names(&["node_x"]).code, "42704");
    kept.write(&Manifest { format_version: 2, ..good.clone() });
    assert_eq!(kept.refused("a later version").names(&["format version 2", MANIFEST]).code, "0A000");
    let mut outside = good.clone();
    outside.sequences.path = "../../../etc/passwd".to_owned();
    kept.write(&outside);
    assert_eq!(kept.refused("a path outside").names(&["../../../etc/passwd"]).code, "22P04");
    kept.write(&Manifest { slots: vec!["steep_repl_0123456789abcdef".to_owned()], ..good.clone() });
    assert_eq!(kept.refused("other slots").names(&["replication slot", "targets"]).code, "55000");
    kept.write(&good);
    kept.pair.source.exec("alter table small add column more int default 5");
    kept.pair.target.exec("alter table small add column more int default 5");
    assert_eq!(kept.refused("an altered table").names(&["public.small"]).code, "42P15");
    let Kept { pair, folder, id } = kept;
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    expect_gone(&pair, &folder);
}

/// What changes after all files were looked at is found while it is loaded.
#[test]
fn a_file_that_changes_while_it_is_loaded() {
    changed_while_loaded("kept_late", |bytes| bytes.iter().position(|byte| *byte == b'x').unwrap() + 5);
}

/// The same when PostgreSQL finds it first, which knows of no file.
#[test]
fn a_file_that_holds_no_rows_any_more() {
    changed_while_loaded("kept_late_v", |_| 0);
}

fn changed_while_loaded(label: &str, place: fn(&[u8]) -> usize) {
    let kept = kept(label, "compression => 'none'");
    let before = SchemaState::of(&kept.pair.target);
    // The load waits for somebody who reads the table, after its files were found to be whole.
    let mut reader = kept.pair.target.connect();
    reader.batch_execute("begin; select from large limit 1").unwrap();
    apply(&kept.pair.target, "node_b", &kept.folder, "parallel_workers => 1").unwrap();
    wait_until("the tables are being prepared", Duration::from_secs(30), || {
        let waits = "select count(*) from pg_locks where relation = 'large'::regclass and not granted";
        (kept.pair.target.scalar::<i64>(waits) > 0).then_some(())
    });
    let manifest = read_manifest(&kept.folder);
    let chunk = &manifest.table("public", "large").unwrap().files[1].file.path;
    let path = kept.one(chunk);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[place(&good)] ^= 0x20;
    fs::write(&path, &bad).unwrap();
    reader.batch_execute("rollback").unwrap();
    let refusal = Refusal::of(&midway::until_failed(&kept.pair)).names(&[chunk, "public.large", "resume_init"]);
    assert_eq!(refusal.code, "22P04", "{refusal:?}");
    fs::write(&path, &good).unwrap();
    kept.pair.target.exec("select steep_repl.resume_init('node_b')");
    expect_synchronized(&kept.pair.target, "node_b");
    before.assert_same(&kept.pair.target);
    kept.pair.source.exec("update large set v = -1 where id < 9");
    kept.pair.expect_equal();
    assert!(!files_of(&kept.folder).is_empty());
}
