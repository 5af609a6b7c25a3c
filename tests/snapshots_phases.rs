//! `apply_snapshot` cancelled before it loads anything, in phases that a lock or a link holds open: what it has made
//! here goes, and the slot of the snapshot waits for the next try, which ends equal. Its later phases are in
//! `snapshots_cancelled`.
//!
//! And both halves of `method => 'two_phase'`: cancelled, nothing is left on disk and on either side; when a server
//! restarts in them, the rows are equal all the same.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use postgres::Client;
use steep_repl_testkit::{
    quote_literal, root, wait_until, ClusterOptions, LoadOptions, Pair, PairOptions, Running, SchemaState, WriteLoad,
};

use crate::midway::{self, events};
use crate::prepared_cancelled::{
    cancel, cancel_and_let_go, expect_nothing_here, pending, until_held, waiting_for, WAITING_FOR_ADVISORY,
};
use crate::shop;
use crate::snapshots::{apply, call, expect_synchronized, files_of, generate, read_manifest};
use crate::snapshots_faults::ARGS;

const MINUTE: Duration = Duration::from_secs(60);
const AUTO: &str = "schema_sync => 'auto'";
/// A target that has none of the tables.
const EMPTY: &str = "drop table large, log, small";
/// Where is written down which slot is being taken.
const CLAIMS: &str = "steep_repl.snapshot_claims";

/// A snapshot that is complete, writers on its source, and a target that it was not applied to.
struct Generated {
    pair: Pair,
    folder: PathBuf,
    load: WriteLoad,
    target: SchemaState,
    made: Vec<String>,
    files: Vec<PathBuf>,
}

impl Generated {
    /// `own` is done on the target first.
    fn new(label: &str, options: PairOptions, own: &str) -> Generated {
        let pair = midway::filled(options);
        pair.target.exec(own);
        // Over a dead link nobody waits for long.
        pair.register_with(&format!("{} connect_timeout=3", pair.source_conninfo()));
        let folder = root::folder(label);
        let load = LoadOptions::default().keyed("large").keys(15_000).rate(50).start(&pair.source);
        generate(&pair, &folder, ARGS);
        let (target, made, files) = (SchemaState::of(&pair.target), made(&pair), files_of(&folder));
        Generated { pair, folder, load, target, made, files }
    }

    /// Asks for it to be applied, and has something happen before that begins.
    fn apply_after(&self, args: &str, before: impl FnOnce()) {
        let mut session = self.pair.target.connect();
        let directory = quote_literal(&self.folder.display().to_string());
        session.batch_execute(&format!("set steep_repl.snapshot_directory = {directory}")).unwrap();
        session.batch_execute(&format!("begin; select steep_repl.{}", applying(args))).unwrap();
        before();
        session.batch_execute("commit").unwrap();
    }

    fn apply(&self, args: &str) {
        apply(&self.pair.target, "node_b", &self.folder, args).unwrap();
    }

    /// Applies it up to where the slot is copied and that is about to be noted: the session that is returned is in the
    /// way of that.
    fn apply_until_slot_copied(&self, args: &str, settings: &[(&str, &str)]) -> Client {
        let mut holder = self.pair.target.connect();
        holder.batch_execute(&format!("begin; lock table {CLAIMS} in share mode")).unwrap();
        call(&self.pair.target, &self.folder, settings, &applying(args)).unwrap();
        until_held(&self.pair, "slot", &waiting_for(CLAIMS));
        assert_eq!(slots(&self.pair).len(), 2, "the slot was not copied");
        holder
    }

    /// After a cancel: nothing of it is here, files and slot are as they were.
    fn expect_as_before(&self) {
        midway::until_undone(&self.pair);
        expect_nothing_here(&self.pair);
        self.target.assert_same(&self.pair.target);
        assert_eq!(made(&self.pair), self.made, "slot and publication of the snapshot are not what they were");
        assert_eq!(files_of(&self.folder), self.files, "files of the snapshot are not what they were");
    }

    fn expect_as_before_and_applies(self, args: &str) {
        self.expect_as_before();
        self.expect_applies(args);
    }

    fn expect_applies(self, args: &str) {
        self.apply(args);
        expect_synchronized(&self.pair.target, "node_b");
        shop::stop_later(self.load, &self.pair.source);
        midway::expect_replicates(&self.pair);
    }

    /// The source does not answer any more. It does again when the cancel is over.
    fn cancelled_over_a_frozen_link(self) {
        let pair = &self.pair;
        wait_until("it is known that the source is silent", MINUTE, || (!retried(pair).is_empty()).then_some(()));
        assert_eq!(phase(pair), "slot");
        cancel(pair);
        expect_source_pending(pair);
        pair.proxy().thaw();
        self.expect_as_before_and_applies("");
    }
}

fn applying(args: &str) -> String {
    let comma = if args.is_empty() { "" } else { ", " };
    format!("apply_snapshot('node_b', 'one'{comma}{args})")
}

fn slots(pair: &Pair) -> Vec<String> {
    pair.source.rows("select slot_name from pg_replication_slots where database = current_database() order by 1")
}

/// What the snapshot has on the source.
fn made(pair: &Pair) -> Vec<String> {
    pair.source.rows(
        "select 'slot ' || slot_name || ' ' || confirmed_flush_lsn || ' ' || active from pg_replication_slots
            where database = current_database()
         union all select 'publication ' || pubname from pg_publication order by 1",
    )
}

fn phase(pair: &Pair) -> String {
    pair.progress().and_then(|row| row.phase).unwrap_or_default()
}

/// What the newest operation has tried again.
fn retried(pair: &Pair) -> Vec<String> {
    pair.target.rows(
        "select details ->> 'message' from steep_repl.events
         where event = 'init.retry' and operation_id = (select max(id) from steep_repl.operations)",
    )
}

fn expect_source_pending(pair: &Pair) {
    let left = pending(pair);
    assert!(left.iter().any(|row| row.starts_with("source | ")), "the source was reached: {left:?}");
}

/// Somebody has a table of the source, for which pg_dump waits.
#[test]
fn cancelled_while_definitions_are_dumped() {
    let source = ClusterOptions::new("phase_dump_s").start();
    let generated = Generated::new("phase_dump", Pair::options("phase_dump").source(source), EMPTY);
    let pair = &generated.pair;
    let mut holder = pair.source.connect();
    // What is looked at before it begins would wait for the table, too.
    generated.apply_after(AUTO, || holder.batch_execute("begin; lock table small").unwrap());
    let waits = "select count(*) from pg_stat_activity where datname = current_database()
        and application_name like 'steep\\_repl%dump' and wait_event_type = 'Lock'";
    wait_until("pg_dump waits for the table", MINUTE, || (pair.source.scalar::<i64>(waits) > 0).then_some(()));
    assert_eq!(phase(pair), "schema");
    cancel(pair);
    generated.expect_as_before();
    holder.batch_execute("rollback").unwrap();
    generated.expect_applies(AUTO);
}

/// Somebody reads a table here that has to be altered, in the transaction that makes the others.
#[test]
fn cancelled_while_tables_are_made() {
    let own = "drop table large, log; alter table small alter id type bigint";
    let generated = Generated::new("phase_make", Pair::options("phase_make"), own);
    let pair = &generated.pair;
    let mut reader = pair.target.connect();
    reader.batch_execute("begin; select count(*) from small").unwrap();
    generated.apply(AUTO);
    until_held(pair, "schema", &waiting_for("small"));
    cancel(pair);
    generated.expect_as_before();
    reader.batch_execute("rollback").unwrap();
    generated.expect_applies(AUTO);
}

/// It has the slot when it hears of the cancel, and has made the tables before.
#[test]
fn cancelled_while_the_slot_is_taken() {
    let generated = Generated::new("phase_take", Pair::options("phase_take"), EMPTY);
    let pair = &generated.pair;
    let holder = generated.apply_until_slot_copied(AUTO, &[]);
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(pair.target.scalar::<i64>(tables), 3, "the tables are not made yet");
    cancel_and_let_go(pair, holder);
    generated.expect_as_before_and_applies(AUTO);
}

/// Whoever reads by the only slot keeps it from being taken.
#[test]
fn cancelled_while_somebody_else_has_the_slot() {
    let generated = Generated::new("phase_busy", Pair::options("phase_busy"), "");
    let pair = &generated.pair;
    let slot = slots(pair).concat();
    let publications = format!("publication_names={}", read_manifest(&generated.folder).publications.join(","));
    let mut reader = root::server_command(&pair.source.cluster().installation().program("pg_recvlogical"));
    // It leaves the slot where it is: it never says how far it has come.
    reader
        .args(["--start", "--no-loop", "--file=-", "--status-interval=0", "--fsync-interval=0", "--slot", &slot])
        .args(["--option=proto_version=1", "--option", &publications, "--dbname", &pair.source.conninfo()]);
    let reader = Running::start(reader.stdout(Stdio::null()));
    let until_active = |wanted: i64| {
        let active = "select count(*) from pg_replication_slots where database = current_database() and active";
        wait_until(&format!("{wanted} slots are in use"), MINUTE, || {
            (pair.source.scalar::<i64>(active) == wanted).then_some(())
        });
    };
    until_active(1);
    let settings = [("max_retries", "100")];
    call(&pair.target, &generated.folder, &settings, &applying("")).unwrap();
    wait_until("it is told which slot is in use", MINUTE, || {
        retried(pair).iter().any(|message| message.contains(&slot)).then_some(())
    });
    assert_eq!(phase(pair), "slot");
    cancel(pair);
    assert_eq!(slots(pair), [slot.as_str()]);
    drop(reader);
    until_active(0);
    generated.expect_as_before_and_applies("");
}

/// Before it has seen any slot.
#[test]
fn cancelled_while_it_looks_for_a_slot_over_a_frozen_link() {
    let generated = Generated::new("phase_look", Pair::options("phase_look"), "");
    generated.apply_after("", || generated.pair.proxy().freeze());
    generated.cancelled_over_a_frozen_link();
}

/// Its copy of the slot is noted, and the original cannot be dropped: the copy goes, and the original stays.
#[test]
fn cancelled_while_the_slot_is_taken_over_a_frozen_link() {
    let generated = Generated::new("phase_frozen", Pair::options("phase_frozen"), "");
    let mut holder = generated.apply_until_slot_copied("", &[("receive_timeout", "3s")]);
    generated.pair.proxy().freeze();
    holder.batch_execute("commit").unwrap();
    generated.cancelled_over_a_frozen_link();
}

/// The original was dropped on the source, and that never becomes known here: the one slot that is there has the name
/// of what is cancelled.
#[test]
fn cancelled_when_the_answer_is_lost_that_the_slot_is_taken() {
    let generated = Generated::new("phase_lost", Pair::options("phase_lost"), "");
    let pair = &generated.pair;
    let original = slots(pair).concat();
    let mut holder = generated.apply_until_slot_copied("", &[]);
    // Time to cut the link between the drop and its answer.
    pair.proxy().latency(Duration::from_millis(1500));
    holder.batch_execute("commit").unwrap();
    wait_until("the original is dropped", MINUTE, || (!slots(pair).contains(&original)).then_some(()));
    pair.proxy().down();
    pair.proxy().latency(Duration::ZERO);
    let start = pair.target.rows("select start_lsn from steep_repl.operations where kind = 'init'");
    assert_eq!(start, ["~"], "the answer was not lost");
    cancel(pair);
    expect_source_pending(pair);
    pair.proxy().restore();
    generated.expect_as_before_and_applies("");
}

/// One operation that writes files and loads them, with writers on the source. Whoever has advisory lock 7 here keeps
/// it from loading.
struct TwoPhase {
    pair: Pair,
    folder: PathBuf,
    load: WriteLoad,
    source: SchemaState,
    target: SchemaState,
}

impl TwoPhase {
    fn new(label: &str, options: PairOptions) -> TwoPhase {
        let pair = midway::prepared(options);
        pair.target.exec(
            "create function held() returns trigger language plpgsql as
                'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
             create trigger held before insert on large for each row execute function held();
             alter table large enable replica trigger held",
        );
        let (source, target) = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
        let load = LoadOptions::default().keyed("large").keys(15_000).rate(50).tolerant().start(&pair.source);
        TwoPhase { pair, folder: root::folder(label), load, source, target }
    }

    /// Starts it, over a link of so many bytes a second.
    fn start(&self, rate: u64) {
        self.pair.proxy().throttle(rate);
        let directory = self.folder.display().to_string();
        let settings = [("snapshot_directory", directory.as_str()), ("chunk_size", "256kB")];
        self.pair.init_with(&settings, &format!("method => 'two_phase', {ARGS}")).unwrap();
    }

    fn hold(&self) -> Client {
        let mut holder = self.pair.target.connect();
        holder.batch_execute("select pg_advisory_lock(7)").unwrap();
        holder
    }

    /// Some files are written, and most are not.
    fn until_files(&self) {
        wait_until("files are written", MINUTE, || {
            assert_ne!(self.pair.state(), "FAILED", "{:?}", self.pair.progress());
            let done = "select count(*) from steep_repl.snapshot_files f join steep_repl.tasks t on t.id = f.task_id
                where t.operation_id = (select max(id) from steep_repl.operations)";
            (self.pair.target.scalar::<i64>(done) > 1).then_some(())
        });
        assert_eq!(phase(&self.pair), "files", "there was too little to write");
    }

    fn until_loading(&self) {
        until_held(&self.pair, "copy", WAITING_FOR_ADVISORY);
        assert!(self.files() > 0, "there is nothing to load");
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.folder).unwrap().count()
    }

    /// Cancelled, whatever is held: no file, no row, and nothing on the source.
    fn expect_nothing_left(&self) {
        midway::until_undone(&self.pair);
        midway::expect_emptied(&self.pair, &["large", "log", "small"]);
        self.target.assert_same(&self.pair.target);
        assert_eq!(self.files(), 0, "files are left");
    }

    fn expect_begun_anew(self) {
        self.source.assert_same(&self.pair.source);
        self.start(0);
        self.expect_end();
    }

    fn expect_end(self) {
        self.pair.expect_synchronized();
        assert_eq!(self.files(), 0, "files are left");
        self.target.assert_same(&self.pair.target);
        shop::stop_later(self.load, &self.pair.source);
        midway::expect_replicates(&self.pair);
    }
}

/// A copy worker waits for somebody who has a table of the source, and the cancel does not.
#[test]
fn two_phases_cancelled_while_files_are_written() {
    let source = ClusterOptions::new("phase_write_s").start();
    let both = TwoPhase::new("phase_write", Pair::options("phase_write").source(source));
    let pair = &both.pair;
    both.start(midway::SLOW);
    both.until_files();
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; lock table small").unwrap();
    pair.proxy().throttle(0);
    wait_until("a copy waits for the table", MINUTE, || {
        (pair.source.scalar::<i64>(&waiting_for("small")) > 0).then_some(())
    });
    assert_eq!(phase(pair), "files");
    cancel(pair);
    both.expect_nothing_left();
    holder.batch_execute("rollback").unwrap();
    both.expect_begun_anew();
}

#[test]
fn two_phases_cancelled_while_files_are_loaded() {
    let both = TwoPhase::new("phase_load", Pair::options("phase_load"));
    let mut holder = both.hold();
    both.start(0);
    both.until_loading();
    cancel(&both.pair);
    both.expect_nothing_left();
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    both.expect_begun_anew();
}

/// Shut down in order; a crash while files are written is in `snapshots_faults`.
#[test]
fn two_phases_and_restarts_of_the_target_in_both() {
    let target = ClusterOptions::new("phase_tgt").preload().start();
    let both = TwoPhase::new("phase_tgt", Pair::options("phase_tgt").target(target));
    let pair = &both.pair;
    both.start(midway::SLOW);
    both.until_files();
    pair.target.cluster().restart();
    let holder = both.hold();
    pair.proxy().throttle(0);
    both.until_loading();
    // It ends the session that holds the lock, too.
    pair.target.cluster().restart();
    drop(holder);
    pair.expect_synchronized();
    assert_eq!(events(pair, "init.taken_up").len(), 2, "{:?}", events(pair, "init.taken_up"));
    both.expect_end();
}

/// What is not written yet is written under a later snapshot; what is in files needs no source.
#[test]
fn two_phases_and_restarts_of_the_source_in_both() {
    let source = ClusterOptions::new("phase_src").start();
    let both = TwoPhase::new("phase_src", Pair::options("phase_src").source(source));
    let pair = &both.pair;
    let mut holder = both.hold();
    both.start(midway::SLOW);
    both.until_files();
    pair.source.cluster().restart();
    pair.source.exec("delete from small where id > 90");
    pair.proxy().throttle(0);
    both.until_loading();
    let renewed = events(pair, "init.snapshot_renewed").len();
    assert!(renewed > 0, "the snapshot was not lost");
    pair.source.cluster().restart();
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    pair.expect_synchronized();
    assert_eq!(events(pair, "init.snapshot_renewed").len(), renewed, "files were written once more");
    both.expect_end();
}
