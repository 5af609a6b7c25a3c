//! A snapshot that is dropped while it is generated, and an initialization from one that is cancelled, in each phase that a lock or a link can hold
//! open: nothing is left, a slot that nothing was replicated by is free again, and it works the next time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postgres::Client;
use steep_repl_testkit::{check, root, wait_until, ClusterOptions, LoadOptions, Pair, SchemaState, WriteLoad};

use crate::exhaustion::Disk;
use crate::midway;
use crate::prepared_cancelled::{
    cancel, cancel_and_let_go, expect_nothing_here, lock_subscriptions, until_held, waiting_for, WAITING_FOR_ADVISORY,
};
use crate::refusal::refused_quickly;
use crate::shop;
use crate::snapshots::{apply, call, expect_gone, expect_synchronized, generate, wait_complete};

const ARGS: &str = "no_identity => 'full', parallel_workers => 2";
const PROMISED: Duration = Duration::from_secs(30);

/// A pair whose snapshots are in a folder, with writers on the source.
struct Kept {
    pair: Pair,
    folder: PathBuf,
    load: WriteLoad,
}

impl Kept {
    /// On a source of its own, since an open transaction holds every slot of a cluster up; and on a target of its own, for its catalogs.
    fn new(label: &str) -> Kept {
        let source = ClusterOptions::new(&format!("{label}_s")).start();
        let target = ClusterOptions::new(&format!("{label}_t")).preload().start();
        let pair = midway::filled(Pair::options(label).source(source).target(target));
        let sequence = "create sequence counter; create table more (id int primary key, v int, note text)";
        pair.source.exec(&format!("{sequence}; select setval('counter', 41)"));
        pair.target.exec(sequence);
        pair.register();
        let load = LoadOptions::default().keyed("large").keyed("more").keys(15_000).rate(50).start(&pair.source);
        Kept { pair, folder: root::folder(label), load }
    }

    fn phase(&self) -> String {
        let newest = "select phase from steep_repl.operations where kind = 'generate' order by id desc limit 1";
        self.pair.target.rows(newest).concat()
    }

    /// Starts to generate one, and waits until somebody on the source waits in this phase.
    fn begin(&self, phase: &str, waiting: &str) -> String {
        let start = format!("generate_snapshot('node_a', 'one', {ARGS})");
        let id = call(&self.pair.target, &self.folder, &[("chunk_size", "256kB")], &start).unwrap();
        self.until(phase, waiting);
        id
    }

    fn until(&self, phase: &str, waiting: &str) {
        wait_until(&format!("phase {phase} is held open"), Duration::from_secs(60), || {
            (self.phase() == phase && self.pair.source.scalar::<i64>(waiting) > 0).then_some(())
        });
    }

    /// Drops it, which is done in time although it is still held.
    fn drop_held(&self, id: &str) {
        self.pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
        self.pair.proxy().throttle(0);
        self.until_dropped();
    }

    fn until_dropped(&self) {
        let asked = Instant::now();
        expect_gone(&self.pair, &self.folder);
        assert!(asked.elapsed() < PROMISED, "dropped only after {:?}", asked.elapsed());
        check::assert_clean(&self.pair.source, &self.pair.target);
    }

    /// Another one is generated and applied.
    fn expect_works(self) {
        self.pair.proxy().throttle(0);
        generate(&self.pair, &self.folder, ARGS);
        self.expect_applies();
    }

    fn expect_applies(self) {
        apply(&self.pair.target, "node_b", &self.folder, "").unwrap();
        expect_synchronized(&self.pair.target, "node_b");
        shop::stop_later(self.load, &self.pair.source);
        midway::expect_replicates(&self.pair);
    }
}

/// Whoever makes a publication of the table waits.
#[test]
fn dropped_while_the_publication_is_made() {
    let kept = Kept::new("keptc_pub");
    let mut holder = kept.pair.source.connect();
    holder.batch_execute("begin; lock table small in share update exclusive mode").unwrap();
    let id = kept.begin("publication", &waiting_for("small"));
    kept.drop_held(&id);
    holder.batch_execute("rollback").unwrap();
    kept.expect_works();
}

/// A transaction that runs holds the slot up.
#[test]
fn dropped_while_the_slot_is_made() {
    let kept = Kept::new("keptc_slot");
    let mut holder = kept.pair.source.connect();
    holder.batch_execute("begin; update small set v = 7 where id = 7").unwrap();
    let id = kept.begin("slot", MAKING_A_SLOT);
    kept.drop_held(&id);
    holder.batch_execute("rollback").unwrap();
    kept.expect_works();
}

const MAKING_A_SLOT: &str = "select count(*) from pg_stat_activity
    where query like 'CREATE_REPLICATION_SLOT \"steep\\_repl%' and datname = current_database()";
const DUMPING: &str = "select count(*) from pg_stat_activity
    where application_name like 'steep\\_repl%dump%' and datname = current_database()";

/// The definitions come over a link that hardly lets anything pass.
#[test]
fn dropped_while_the_definitions_are_dumped() {
    let kept = Kept::new("keptc_dump");
    let mut holder = kept.pair.source.connect();
    holder.batch_execute("begin; update small set v = 7 where id = 7").unwrap();
    let id = kept.begin("slot", MAKING_A_SLOT);
    kept.pair.proxy().throttle(20_000);
    holder.batch_execute("rollback").unwrap();
    kept.until("tables", DUMPING);
    kept.drop_held(&id);
    kept.expect_works();
}

/// All files are written, and somebody has a sequence.
fn reading_sequences(label: &str) -> (Kept, String, Client) {
    let kept = Kept::new(label);
    kept.pair.proxy().throttle(midway::SLOW);
    let id = kept.begin("copy", "select 1::int8");
    let mut holder = kept.pair.source.connect();
    holder.batch_execute("begin; drop sequence counter").unwrap();
    kept.pair.proxy().throttle(0);
    kept.until("sequences", &waiting_for("counter"));
    assert!(kept.folder.join("one/data").exists());
    (kept, id, holder)
}

#[test]
fn dropped_while_sequences_are_read() {
    let (kept, id, mut holder) = reading_sequences("keptc_seq");
    kept.pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    holder.batch_execute("rollback").unwrap();
    kept.until_dropped();
    kept.expect_works();
}

#[test]
fn dropping_does_not_wait_for_who_has_a_sequence() {
    let (kept, id, mut holder) = reading_sequences("keptc_deaf");
    kept.drop_held(&id);
    holder.batch_execute("rollback").unwrap();
    kept.expect_works();
}

#[test]
fn dropped_after_it_has_failed() {
    let Some(disk) = Disk::mount(2) else { return };
    let mut kept = Kept::new("keptc_fail");
    kept.folder.clone_from(&disk.path);
    let start = format!("generate_snapshot('node_a', 'one', compression => 'none', {ARGS})");
    let id = call(&kept.pair.target, &kept.folder, &[], &start).unwrap();
    wait_complete(&kept.pair.target, &id).expect_err("there was room enough");
    assert!(kept.folder.join("one").exists());
    kept.drop_held(&id);
    assert_eq!(fs::read_dir(&disk.path).unwrap().count(), 0, "files are left");
    disk.resize(60);
    kept.expect_works();
}

/// What a target looks like that takes a snapshot, and how many slots are left for it.
struct Applied {
    kept: Kept,
    before: SchemaState,
    files: usize,
}

impl Applied {
    /// A snapshot is there; `own` is what the target has besides its tables.
    fn new(label: &str, own: &str) -> Applied {
        let kept = Kept::new(label);
        kept.pair.target.exec(own);
        generate(&kept.pair, &kept.folder, ARGS);
        let before = SchemaState::of(&kept.pair.target);
        let files = count_files(&kept.folder);
        Applied { kept, before, files }
    }

    fn begin(&self, phase: &str, waiting: &str) {
        apply(&self.kept.pair.target, "node_b", &self.kept.folder, "").unwrap();
        until_held(&self.kept.pair, phase, waiting);
    }

    /// After a cancel and the end of what was held: as before, with the slot for somebody else.
    fn expect_undone(&self) {
        let pair = &self.kept.pair;
        midway::until_undone(pair);
        expect_nothing_here(pair);
        self.before.assert_same(&pair.target);
        let rows = "select (select count(*) from large) + (select count(*) from log) + (select count(*) from small)";
        assert_eq!(pair.target.scalar::<i64>(rows), 0, "rows are left");
        assert_eq!(count_files(&self.kept.folder), self.files, "files of the snapshot are gone");
    }

    fn expect_undone_and_works(self) {
        self.expect_undone();
        let free = "select count(*) from pg_replication_slots where database = current_database() and not active";
        assert_eq!(self.kept.pair.source.scalar::<i64>(free), 1, "the slot did not come back");
        self.kept.expect_applies();
    }

    /// Something was replicated by the slot: nobody else can begin with it, which is said. The files can be dropped.
    fn drop_used_up(&self) {
        self.expect_undone();
        let pair = &self.kept.pair;
        let refusal =
            refused_quickly(|| apply(&pair.target, "node_b", &self.kept.folder, "")).names(&["slot", "node_a"]);
        assert_eq!(refusal.code, "55000", "{refusal:?}");
        pair.target.exec("select steep_repl.drop_snapshot(id) from steep_repl.snapshots");
    }

    /// And another snapshot works. The publication stays, for the target that took the slot; that is said.
    fn expect_used_up_and_works(self) {
        self.drop_used_up();
        let pair = &self.kept.pair;
        wait_until("the snapshot is gone", PROMISED, || {
            pair.target.rows("select id from steep_repl.snapshots").is_empty().then_some(())
        });
        assert!(!self.kept.folder.join("one").exists(), "files are left");
        let kept = pair.source.rows("select quote_ident(pubname) from pg_publication");
        assert_eq!((kept.len(), midway::events(pair, "snapshot.publication_kept").len()), (1, 1), "{kept:?}");
        pair.source.exec(&format!("drop publication {}", kept[0]));
        check::assert_clean(&pair.source, &pair.target);
        self.kept.expect_works();
    }
}

fn count_files(folder: &Path) -> usize {
    crate::snapshots::files_of(folder).len()
}

/// What waits as long as somebody holds advisory lock 7.
fn hold(pair: &Pair) -> Client {
    let mut holder = pair.target.connect();
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    holder
}

/// Cancelled while it is held in a phase by advisory lock 7, for which `own` waits.
fn cancelled_while_held(label: &str, own: &str, phase: &str) {
    let applied = Applied::new(label, own);
    let mut holder = hold(&applied.kept.pair);
    applied.begin(phase, WAITING_FOR_ADVISORY);
    cancel(&applied.kept.pair);
    applied.expect_undone();
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    applied.expect_undone_and_works();
}

/// A trigger on every row of a kind that is written into the large table.
fn trigger(on: &str) -> String {
    format!(
        "create function held() returns trigger language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
         create trigger held before {on} on large for each row execute function held();
         alter table large enable replica trigger held"
    )
}

#[test]
fn cancelled_while_the_subscription_is_made() {
    let applied = Applied::new("keptc_sub", "");
    let holder = lock_subscriptions(&applied.kept.pair);
    applied.begin("subscription", &waiting_for("pg_subscription"));
    cancel_and_let_go(&applied.kept.pair, holder);
    applied.expect_undone_and_works();
}

#[test]
fn cancelled_while_files_are_loaded() {
    cancelled_while_held("keptc_load", &trigger("insert"), "copy");
}

#[test]
fn cancelled_while_an_index_is_built() {
    let own = "create function held(i int) returns int immutable language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return i; end';
         create index large_held on large (public.held(id))";
    cancelled_while_held("keptc_index", own, "indexes");
}

fn alter_sequence(pair: &Pair) -> Client {
    let mut holder = pair.target.connect();
    holder.batch_execute("begin; alter sequence counter cache 1").unwrap();
    holder
}

#[test]
fn cancelled_while_sequences_are_set() {
    let applied = Applied::new("keptc_set", "");
    let holder = alter_sequence(&applied.kept.pair);
    applied.begin("sequences", &waiting_for("counter"));
    cancel_and_let_go(&applied.kept.pair, holder);
    applied.expect_undone_and_works();
}

#[test]
fn cancelled_while_it_is_enabled() {
    let applied = Applied::new("keptc_enable", "");
    let pair = &applied.kept.pair;
    let mut of_sequence = alter_sequence(pair);
    applied.begin("sequences", &waiting_for("counter"));
    let holder = lock_subscriptions(pair);
    of_sequence.batch_execute("rollback").unwrap();
    until_held(pair, "enable", &waiting_for("pg_subscription"));
    cancel_and_let_go(pair, holder);
    applied.expect_used_up_and_works();
}

/// Cancelled in the catch-up, while the apply worker is in the middle of a change.
fn caught_up_and_cancelled(label: &str) -> Applied {
    let applied = Applied::new(label, &trigger("update"));
    let pair = &applied.kept.pair;
    let mut holder = hold(pair);
    pair.source.exec("update large set v = 2 where id = 3");
    applied.begin("catchup", WAITING_FOR_ADVISORY);
    cancel(pair);
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    applied
}

#[test]
fn cancelled_while_it_catches_up() {
    caught_up_and_cancelled("keptc_apply").expect_used_up_and_works();
}
