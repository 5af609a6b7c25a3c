//! cancel_init: whatever an initialization is doing, within 30 seconds the node is UNINITIALIZED and both sides are as
//! they were, and it can start anew. What cannot be done by then is in pending_cleanup, and done as soon as it can be.
//!
//! A phase is held open from outside: by a throttled link, a transaction on the source, or an advisory lock that the
//! target's own index or trigger waits for.

use std::time::{Duration, Instant};

use steep_repl_testkit::{
    check, constraints_snapshot, indexes_snapshot, major, wait_until, ClusterOptions, Pair, PairOptions, SchemaState,
};

use crate::refusal::{refused_quickly, Refusal};

/// A cancel is done within this, whatever happens.
const PROMISED: Duration = Duration::from_secs(30);
const CANCEL: &str = "select steep_repl.cancel_init('node_b')";
pub const ARGS: &str = "method => 'parallel', no_identity => 'full', parallel_workers => 2";
/// Somebody's work on the source that needs the identity of the table that has none of its own.
pub const WORK: &str =
    "update big set v = 1 where id < 9; delete from log where id > 11000; update log set v = 7 where id = 6";

/// Tables too large to keep their indexes while they are loaded, one without identity, and constraints that old rows
/// break.
const SCHEMA: &str = "
    create table big (id int primary key, code int not null, v int, note text);
    create unique index big_code on big (code) include (v); create index big_v on big (v) where v > 10;
    comment on index big_v is 'for reports'; create index big_note on big (upper(note) desc) with (fillfactor = 70);
    alter table big cluster on big_code, replica identity using index big_code;
    create table log (id int references big, v int, note text); create index log_v on log (v);
    create table tiny (id int primary key, v int unique);
    insert into big select i, -i, i, repeat('x', 200) from generate_series(1, 15000) i;
    insert into log select i, i, nullif(repeat('y', 300), repeat('y', 300 * (i % 2))) from generate_series(1, 12000) i;
    insert into tiny select i, i from generate_series(1, 100) i;
    alter table big add constraint v_small check (v < 10000) not valid;
    comment on constraint v_small on big is 'new rows only';";

/// What waits as long as somebody holds advisory lock 7.
const HELD: &str = "create function held() returns void immutable language plpgsql as
    'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); end';";

/// A pair that is not initialized, and what it looked like.
pub struct Case {
    pub pair: Pair,
    source: SchemaState,
    target: SchemaState,
}

impl Case {
    pub fn new(label: &str) -> Case {
        Case::on(Pair::options(label).proxied(), "")
    }

    /// With something that only the target has.
    pub fn on(options: PairOptions, own: &str) -> Case {
        let pair = options.build();
        pair.source.exec(SCHEMA);
        if major() >= 18 {
            pair.source.exec("alter table log add constraint note_there not null note not valid");
        }
        pair.source.exec_each(&["vacuum analyze"]);
        pair.prepare();
        pair.target.exec(own);
        let (source, target) = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
        Case { pair, source, target }
    }

    pub fn init(&self) -> Result<i64, postgres::Error> {
        self.pair.init_with(&[("chunk_size", "1MB")], ARGS)
    }

    /// Starts over a slow link and waits until rows are on the target.
    pub fn copying(&self) {
        self.pair.proxy().throttle(600_000);
        self.init().unwrap();
        self.until("rows have arrived", || self.rows() > 0);
        // There is something of each kind to be undone.
        let suspended = indexes_snapshot(&self.pair.target).iter().any(|line| line.contains("valid=false"));
        let kept = |line: &String| line.contains("v_small") && line.contains("enforced=true");
        let set_aside = !constraints_snapshot(&self.pair.target).iter().any(kept);
        let full = self.pair.source.rows("select relname from pg_class where relreplident = 'f'");
        assert_eq!((suspended, set_aside, full, self.slots()), (true, true, vec!["log".to_string()], 1));
        assert_eq!(self.pair.state(), "COPYING", "there was too little to copy");
    }

    pub fn until(&self, reason: &str, condition: impl Fn() -> bool) {
        wait_until(reason, Duration::from_secs(60), || {
            assert_ne!(self.pair.state(), "FAILED", "{:?}", self.pair.progress());
            condition().then_some(())
        });
    }

    /// Waits until it is in this phase and somebody on the target waits for the advisory lock.
    fn until_held(&self, phase: &str) {
        let waiting = "select count(*) from pg_locks join pg_database d on d.oid = database
            where locktype = 'advisory' and not granted and datname = current_database()";
        self.until("a phase is held open", || self.phase() == phase && self.pair.target.scalar::<i64>(waiting) > 0);
    }

    fn phase(&self) -> String {
        self.pair.progress().and_then(|row| row.phase).unwrap_or_default()
    }

    fn rows(&self) -> i64 {
        let tables = ["big", "log", "tiny"].map(|table| format!("(select count(*) from {table})"));
        self.pair.target.scalar(&format!("select {}", tables.join(" + ")))
    }

    pub fn slots(&self) -> i64 {
        self.pair.source.scalar("select count(*) from pg_replication_slots where database = current_database()")
    }

    /// How often an operation was cancelled.
    fn cancelled(&self) -> usize {
        self.pair.events().iter().filter(|event| event.event == "init.cancelled").count()
    }

    /// Cancels and expects the node to be free in time.
    pub fn cancel(&self) {
        let asked = Instant::now();
        self.pair.target.exec(CANCEL);
        wait_until("the operation is cancelled", PROMISED, || {
            (self.pair.state() == "UNINITIALIZED" && self.cancelled() > 0).then_some(())
        });
        assert!(asked.elapsed() < PROMISED, "cancelled only after {:?}", asked.elapsed());
    }

    /// What is not taken away yet, and whether a reason is given.
    pub fn pending(&self) -> Vec<String> {
        self.pair.target.rows("select kind, error <> '' from steep_repl.pending_cleanup where node = 'node_b'")
    }

    /// Nothing shows that there was an operation.
    pub fn expect_undone(&self) {
        self.until("nothing is left to be cleaned up", || self.pending().is_empty());
        check::assert_clean(&self.pair.source, &self.pair.target);
        self.expect_target_as_before();
        self.source.assert_same(&self.pair.source);
    }

    pub fn expect_target_as_before(&self) {
        assert_eq!(self.rows(), 0, "rows were left");
        self.target.assert_same(&self.pair.target);
        let suspended =
            self.pair.target.rows("select notice from steep_repl.node_status where notice like '%suspended%'");
        assert!(suspended.is_empty(), "{suspended:?}");
    }

    /// The node can be initialized as if nothing had been.
    fn expect_works(&self) {
        if let Some(proxy) = &self.pair.proxy {
            proxy.throttle(0);
        }
        self.pair.synchronize(ARGS);
        self.pair.source.exec(WORK);
        self.pair.expect_equal();
        self.target.assert_same(&self.pair.target);
    }

    pub fn expect_undone_and_works(&self) {
        self.expect_undone();
        self.expect_works();
    }
}

/// On a source of its own, since such a transaction holds up every slot of a cluster. It stays until all is undone.
fn in_the_slot_phase(label: &str, begin: &str, name: &str, end: &str) {
    let case = Case::on(Pair::options(label).source(ClusterOptions::new(label).start()), "");
    let mut blocker = case.pair.source.connect();
    let pid: i32 = blocker.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    blocker.batch_execute(&format!("begin; select pg_current_xact_id(); {begin}")).unwrap();
    case.init().unwrap();
    let name = name.replace("{pid}", &pid.to_string());
    case.until("who holds the slot up is named", || case.pair.events().iter().any(|event| event.json.contains(&name)));
    assert_eq!((case.phase().as_str(), case.slots()), ("slot", 1));
    case.cancel();
    case.expect_undone();
    blocker.batch_execute(end).unwrap();
    case.expect_works();
}

#[test]
fn while_an_open_transaction_holds_the_slot_up() {
    in_the_slot_phase("cancel_open", "", "pid {pid}", "rollback");
}

#[test]
fn while_a_prepared_transaction_holds_the_slot_up() {
    in_the_slot_phase("cancel_2pc", "prepare transaction 'forgotten'", "forgotten", "rollback prepared 'forgotten'");
}

#[test]
fn in_the_transaction_that_started_it() {
    let case = Case::new("cancel_start");
    case.pair.target.exec(&format!("select steep_repl.init_node('node_b', 'node_a', {ARGS}); {CANCEL}"));
    case.until("it is cancelled", || case.pair.state() == "UNINITIALIZED" && case.cancelled() > 0);
    case.expect_undone_and_works();
}

#[test]
fn while_rows_are_copied() {
    let case = Case::new("cancel_copy");
    case.copying();
    case.cancel();
    case.expect_undone_and_works();
}

#[test]
fn while_an_index_is_built() {
    let own = format!(
        "{HELD} create function held(i int) returns int immutable language plpgsql as
            'begin perform public.held(); return i; end';
         create index big_held on big (held(id))"
    );
    let case = Case::on(Pair::options("cancel_index"), &own);
    let mut holder = case.pair.target.connect();
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    case.init().unwrap();
    case.until_held("indexes");
    case.cancel();
    case.expect_undone();
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    case.expect_works();
}

/// The apply worker is in the middle of a change, and the slot in use.
#[test]
fn while_it_catches_up() {
    let own = format!(
        "{HELD} create function hold() returns trigger language plpgsql as
            'begin perform public.held(); return new; end';
         create trigger hold before update on big for each row execute function hold();
         alter table big enable replica trigger hold"
    );
    let case = Case::on(Pair::options("cancel_apply").proxied(), &own);
    let mut holder = case.pair.target.connect();
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    case.copying();
    case.pair.source.exec("update big set v = 2 where id = 3");
    case.pair.proxy().throttle(0);
    case.until_held("catchup");
    case.cancel();
    case.expect_undone();
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    case.expect_works();
}

/// A sequence on both sides, of which somebody has one while sequences are set, and takes his time.
fn while_somebody_has_a_sequence(label: &str, here: bool) {
    // Whoever drops one is a transaction that slots of its cluster wait for.
    let options = Pair::options(label).source(ClusterOptions::new(label).start()).proxied();
    let case = Case::on(options, "create sequence counter");
    case.pair.source.exec("create sequence counter; select setval('counter', 41)");
    case.copying();
    let (db, sql) = match here {
        true => (&case.pair.target, "begin; alter sequence counter cache 1"),
        false => (&case.pair.source, "begin; drop sequence counter"),
    };
    let mut holder = db.connect();
    holder.batch_execute(sql).unwrap();
    case.pair.proxy().throttle(0);
    let waiting = "select count(*) from pg_locks where relation = 'counter'::regclass and not granted";
    case.until("a sequence is waited for", || case.phase() == "sequences" && db.scalar::<i64>(waiting) > 0);
    case.cancel();
    holder.batch_execute("rollback").unwrap();
    case.until("nothing is left to be cleaned up", || case.pending().is_empty());
    check::assert_clean(&case.pair.source, &case.pair.target);
    case.expect_target_as_before();
    case.expect_works();
}

#[test]
fn while_somebody_on_the_source_has_a_sequence() {
    while_somebody_has_a_sequence("cancel_seqt", false);
}

#[test]
fn while_somebody_here_has_a_sequence() {
    while_somebody_has_a_sequence("cancel_seqh", true);
}

/// By an index of the target's own. A publication that somebody else made is not ours to drop.
#[test]
fn after_it_failed() {
    let case = Case::on(Pair::options("cancel_failed"), "create unique index big_once on big ((v / 2))");
    case.pair.source.exec("create publication chosen for table big, log, tiny");
    case.pair.init(&format!("{ARGS}, publication => 'chosen'")).unwrap();
    let refusal = Refusal::of(&case.pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!((refusal.code.as_str(), case.pair.state().as_str()), ("23505", "FAILED"), "{refusal:?}");
    assert!(case.rows() > 0 && case.slots() == 1);
    case.cancel();
    case.expect_undone();
    assert_eq!(case.pair.source.rows("select pubname from pg_publication"), ["chosen"]);
    case.pair.target.exec("drop index big_once");
    case.pair.synchronize(ARGS);
    case.pair.expect_equal();
}

#[test]
fn asked_twice_it_is_done_once() {
    let case = Case::new("cancel_twice");
    case.copying();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| case.pair.wait(Duration::from_secs(120)));
        case.pair.target.exec(&format!("{CANCEL}; {CANCEL}"));
        case.until("it is cancelled", || case.cancelled() > 0);
        let over = Instant::now();
        Refusal::of(&waiting.join().unwrap().unwrap_err()).names(&["cancelled"]);
        assert!(over.elapsed() < Duration::from_secs(5), "who waits for it is not told");
    });
    // What is over cannot be cancelled.
    assert_eq!(refused_quickly(|| case.pair.target.try_exec(CANCEL)).code, "55000");
    assert_eq!(case.cancelled(), 1);
    case.expect_undone_and_works();
}

#[test]
fn nothing_to_cancel_and_too_late() {
    let pair = Pair::new("cancel_not");
    pair.source.exec("create table t (id int primary key); insert into t values (1)");
    pair.prepare();
    assert_eq!(refused_quickly(|| pair.target.try_exec(CANCEL)).code, "55000");
    assert_eq!(pair.state(), "UNINITIALIZED");
    pair.synchronize("method => 'parallel'");
    assert_eq!(refused_quickly(|| pair.target.try_exec(CANCEL)).code, "55000");
    assert_eq!(pair.state(), "SYNCHRONIZED");
    pair.source.exec("insert into t values (2)");
    pair.expect_equal();
}
