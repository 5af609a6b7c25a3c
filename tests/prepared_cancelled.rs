//! `complete_init` cancelled in each of its phases, which a lock or a link holds open: the rows of the backup stay, nothing of the operation does,
//! and the slot is there for another try unless something was replicated by it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::Client;
use steep_repl_testkit::{check, wait_until, ClusterOptions, Pair, PairOptions, WriteLoad};

use crate::copies::base_backup;
use crate::midway::events;
use crate::outcome::expect_equal;
use crate::prepared::{
    complete, drop_tables, dump_and_restore, filled, prepare, prepare_as, status, wait_for_status, Dump, Prepared,
};
use crate::prepared_copies::{promoted, register_in_copy};
use crate::refusal::Refusal;
use crate::shop;

/// A cancel is done within this, whatever is held.
const PROMISED: Duration = Duration::from_secs(30);

/// How many wait for an advisory lock.
pub const WAITING_FOR_ADVISORY: &str = "select count(*) from pg_locks join pg_database d on d.oid = database
    where locktype = 'advisory' and not granted and datname = current_database()";

/// A node whose rows came by a dump, and what the source has for it.
struct Restored {
    pair: Pair,
    prepared: Prepared,
    load: WriteLoad,
    made: Vec<String>,
    rows: i64,
}

impl Restored {
    fn new(options: PairOptions) -> Restored {
        let pair = filled(options);
        let load = shop::load().start(&pair.source);
        let prepared = prepare(&pair);
        dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
        let (made, rows) = (made(&pair), rows(&pair));
        assert!(made.len() >= 3, "{made:?}");
        Restored { pair, prepared, load, made, rows }
    }

    /// On a target of its own, where catalogs can be locked.
    fn alone(label: &str) -> Restored {
        Restored::new(Pair::options(label).target(ClusterOptions::new(label).preload().start()))
    }

    fn complete(&self) {
        complete(&self.pair.target, &format!(", '{}'", self.prepared.lsn)).unwrap();
    }

    /// Both sides are as they were before `complete_init`, which can be called again.
    fn expect_as_before_and_works(self) {
        wait_until("nothing is left to be cleaned up", Duration::from_secs(30), || {
            pending(&self.pair).is_empty().then_some(())
        });
        expect_nothing_here(&self.pair);
        assert_eq!(rows(&self.pair), self.rows, "rows of the backup are gone");
        wait_until("the source is as it was", Duration::from_secs(20), || {
            (made(&self.pair) == self.made).then_some(())
        });
        assert_eq!(status(&self.pair, &self.prepared.slot), "ready");
        self.complete();
        self.pair.expect_synchronized();
        shop::stop_later(self.load, &self.pair.source);
        expect_equal(&self.pair);
        wait_for_status(&self.pair, &self.prepared.slot, "used");
    }

    /// The rows stay, and of what was made on the source nothing does, since something was replicated. Another slot and another dump work.
    fn expect_used_up_and_works(self) {
        wait_for_status(&self.pair, &self.prepared.slot, "gone");
        check::assert_clean(&self.pair.source, &self.pair.target);
        assert!(rows(&self.pair) > 0, "rows of the backup are gone");
        drop_tables(&self.pair.target);
        let prepared = prepare_as(&self.pair, &format!("{}_2", self.prepared.slot));
        dump_and_restore(&self.pair, Dump::Custom, Some(&prepared.snapshot));
        complete(&self.pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
        self.pair.expect_synchronized();
        shop::stop_later(self.load, &self.pair.source);
        expect_equal(&self.pair);
    }
}

/// What is on the source for whoever replicates: slots that stand still, publications, and the session that keeps the snapshot.
fn made(pair: &Pair) -> Vec<String> {
    pair.source.rows(
        "select 'slot ' || slot_name || ' ' || confirmed_flush_lsn || ' ' || active from pg_replication_slots where database = current_database()
         union all select 'publication ' || pubname || ' of ' || count(r.*) from pg_publication p left join pg_publication_rel r on r.prpubid = p.oid
            group by pubname
         union all select 'session ' || application_name from pg_stat_activity where datname = current_database() and application_name like 'steep\\_repl%'
         order by 1",
    )
}

fn rows(pair: &Pair) -> i64 {
    pair.target.scalar("select (select count(*) from customers) + (select count(*) from orders)")
}

pub fn pending(pair: &Pair) -> Vec<String> {
    pair.target.rows("select kind, error from steep_repl.pending_cleanup where node = 'node_b'")
}

fn phase(pair: &Pair) -> String {
    pair.target.rows("select phase from steep_repl.init_progress where node = 'node_b'").concat()
}

/// Waits until it is in a phase, and somebody waits there: a query that counts them.
pub fn until_held(pair: &Pair, wanted: &str, waiting: &str) {
    wait_until(&format!("phase {wanted} is held open"), Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (phase(pair) == wanted && pair.target.scalar::<i64>(waiting) > 0).then_some(())
    });
}

pub fn waiting_for(relation: &str) -> String {
    format!("select count(*) from pg_locks where relation = '{relation}'::regclass and not granted")
}

pub fn cancel(pair: &Pair) {
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    until_cancelled(pair);
}

/// Asks for a cancel while the coordinator itself waits for a lock, which is then given up.
pub fn cancel_and_let_go(pair: &Pair, mut holder: Client) {
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    holder.batch_execute("rollback").unwrap();
    until_cancelled(pair);
}

fn until_cancelled(pair: &Pair) {
    let asked = Instant::now();
    wait_until("it is cancelled", PROMISED, || (pair.state() == "UNINITIALIZED").then_some(()));
    assert!(asked.elapsed() < PROMISED, "cancelled only after {:?}", asked.elapsed());
}

/// No subscription, no origin and no worker that compares or applies.
pub fn expect_nothing_here(pair: &Pair) {
    let left = "select 'subscription ' || subname from pg_subscription s join pg_database d on d.oid = s.subdbid where d.datname = current_database()
            and subname like 'steep\\_repl%'
        union all select 'origin ' || roname from pg_replication_origin where roname ~ '^pg_[0-9]+'
            and split_part(roname, '_', 2)::oid not in (select oid from pg_subscription)
        union all select 'worker ' || backend_type from pg_stat_activity where datname = current_database()
            and (backend_type = 'steep_repl copy worker' or backend_type like 'logical replication%worker')";
    let mut found = Vec::new();
    let clean = steep_repl_testkit::try_wait_until("nothing of it is left", Duration::from_secs(15), || {
        found = pair.target.rows(left);
        found.is_empty().then_some(())
    });
    assert!(clean.is_some(), "left behind: {found:?}");
}

/// Somebody has to look at a difference, and does not like it.
#[test]
fn while_it_waits_for_a_confirmation() {
    let restored = Restored::new(Pair::options("prepc_conf"));
    let pair = &restored.pair;
    pair.target.exec("alter table countries alter v type bigint");
    complete(&pair.target, &format!(", '{}', schema_sync => 'manual'", restored.prepared.lsn)).unwrap();
    until_held(pair, "schema", "select count(*) from pg_class where relname = 'countries'");
    // That may take days: the slot does not expire meanwhile, and nobody else begins with it.
    wait_until("the slot is claimed", Duration::from_secs(30), || {
        let claimed =
            "select count(*) from pg_publication where obj_description(oid, 'pg_publication') like '%\"taken\":true%'";
        (pair.source.scalar::<i64>(claimed) == 1).then_some(())
    });
    cancel(pair);
    pair.target.exec("alter table countries alter v type int");
    restored.expect_as_before_and_works();
}

/// The operation begins when its transaction commits, and that lets somebody have the lock that a table is to be read under.
pub fn complete_under_lock(pair: &Pair, prepared: &Prepared, table: &str) -> Client {
    let mut session = pair.target.connect();
    session
        .batch_execute(&format!("begin; select steep_repl.complete_init('node_b', 'node_a', '{}')", prepared.lsn))
        .unwrap();
    let mut holder = pair.target.connect();
    let lock = format!("begin; lock table {table}");
    let holding = std::thread::spawn(move || {
        holder.batch_execute(&lock).unwrap();
        holder
    });
    wait_until("somebody waits for the lock", Duration::from_secs(30), || {
        let waits = format!("select count(*) from pg_locks where relation = '{table}'::regclass and not granted");
        (pair.target.scalar::<i64>(&waits) == 1).then_some(())
    });
    session.batch_execute("commit").unwrap();
    holding.join().unwrap()
}

/// Somebody has the table here.
#[test]
fn while_rows_are_compared_here() {
    let restored = Restored::new(Pair::options("prepc_here"));
    let mut holder = complete_under_lock(&restored.pair, &restored.prepared, "orders");
    until_held(&restored.pair, "verify", &waiting_for("orders"));
    cancel(&restored.pair);
    holder.batch_execute("rollback").unwrap();
    restored.expect_as_before_and_works();
}

/// Somebody has the table there, and goes on having it until the cancel is done.
fn compared_there(label: &str) -> (Restored, Client) {
    let restored = Restored::new(Pair::options(label));
    let pair = &restored.pair;
    let mut session = pair.target.connect();
    let lsn = &restored.prepared.lsn;
    session.batch_execute(&format!("begin; select steep_repl.complete_init('node_b', 'node_a', '{lsn}')")).unwrap();
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; lock table countries").unwrap();
    session.batch_execute("commit").unwrap();
    wait_until("a comparison waits for the lock", Duration::from_secs(60), || {
        (phase(pair) == "verify" && pair.source.scalar::<i64>(&waiting_for("countries")) > 0).then_some(())
    });
    (restored, holder)
}

#[test]
fn while_rows_are_compared_there() {
    let (restored, mut holder) = compared_there("prepc_there");
    cancel(&restored.pair);
    holder.batch_execute("rollback").unwrap();
    restored.expect_as_before_and_works();
}

#[test]
fn no_session_is_left_that_waits_there() {
    let (restored, mut holder) = compared_there("prepc_waits");
    let pair = &restored.pair;
    cancel(pair);
    wait_until("nobody waits for it any more", Duration::from_secs(30), || {
        (pair.source.scalar::<i64>(&waiting_for("countries")) == 0).then_some(())
    });
    holder.batch_execute("rollback").unwrap();
    restored.expect_as_before_and_works();
}

/// The source says nothing any more: what is there waits until it does.
#[test]
fn while_rows_are_compared_over_a_dead_link() {
    let restored = Restored::new(Pair::options("prepc_dead").proxied());
    let pair = &restored.pair;
    let mut holder = complete_under_lock(pair, &restored.prepared, "orders");
    until_held(pair, "verify", &waiting_for("orders"));
    pair.proxy().freeze();
    holder.batch_execute("rollback").unwrap();
    cancel(pair);
    pair.proxy().thaw();
    pair.proxy().cut();
    wait_until("nothing is left to be cleaned up", Duration::from_secs(90), || pending(pair).is_empty().then_some(()));
    expect_nothing_here(pair);
    assert_eq!(rows(pair), restored.rows, "rows of the backup are gone");
    // The snapshot went with its link; the slot stands where it stood.
    wait_until("it is known that the snapshot is gone", Duration::from_secs(60), || {
        (!events(pair, "init.slot_snapshot_lost").is_empty()).then_some(())
    });
    let slot = |made: &[String]| made.iter().filter(|line| !line.starts_with("session")).cloned().collect::<Vec<_>>();
    assert_eq!(slot(&made(pair)), slot(&restored.made));
    assert_eq!(status(pair, &restored.prepared.slot), "ready");
    restored.complete();
    pair.expect_synchronized();
    shop::stop_later(restored.load, &restored.pair.source);
    expect_equal(&restored.pair);
}

/// The session that keeps the snapshot has ended this moment, which is not known here yet: the dump is taken as it is.
#[test]
fn a_snapshot_that_is_lost_unnoticed() {
    let restored = Restored::new(Pair::options("prepc_lost"));
    let keeper = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and application_name like 'steep\\_repl%keeper'";
    assert_eq!(restored.pair.source.scalar::<i64>(keeper), 1);
    restored.complete();
    restored.pair.expect_synchronized();
    shop::stop_later(restored.load, &restored.pair.source);
    expect_equal(&restored.pair);
}

/// Holds whoever makes, changes or drops a subscription.
pub fn lock_subscriptions(pair: &Pair) -> Client {
    let mut holder = pair.target.connect();
    holder.batch_execute("begin; lock table pg_subscription in share mode").unwrap();
    holder
}

#[test]
fn while_the_subscription_is_made() {
    let restored = Restored::alone("prepc_sub");
    let holder = lock_subscriptions(&restored.pair);
    restored.complete();
    until_held(&restored.pair, "subscription", &waiting_for("pg_subscription"));
    cancel_and_let_go(&restored.pair, holder);
    restored.expect_as_before_and_works();
}

/// Held by whoever alters a sequence that has to be moved.
fn in_sequences(label: &str) -> (Restored, Client) {
    let restored = Restored::alone(label);
    restored.pair.source.exec("select setval('lonely_id_seq', 100000)");
    let mut holder = restored.pair.target.connect();
    holder.batch_execute("begin; alter sequence lonely_id_seq cache 1").unwrap();
    restored.complete();
    until_held(&restored.pair, "sequences", &waiting_for("lonely_id_seq"));
    (restored, holder)
}

#[test]
fn while_sequences_are_set() {
    let (restored, holder) = in_sequences("prepc_seq");
    cancel_and_let_go(&restored.pair, holder);
    restored.expect_as_before_and_works();
}

#[test]
fn a_cancel_does_not_wait_for_who_has_a_sequence() {
    let (restored, mut holder) = in_sequences("prepc_deaf");
    cancel(&restored.pair);
    expect_nothing_here(&restored.pair);
    holder.batch_execute("rollback").unwrap();
    restored.expect_as_before_and_works();
}

/// The subscription was enabled before the cancel was heard of: the slot counts as used.
#[test]
fn while_the_subscription_is_enabled() {
    let (restored, mut of_sequence) = in_sequences("prepc_enable");
    let holder = lock_subscriptions(&restored.pair);
    of_sequence.batch_execute("rollback").unwrap();
    until_held(&restored.pair, "enable", &waiting_for("pg_subscription"));
    cancel_and_let_go(&restored.pair, holder);
    restored.expect_used_up_and_works();
}

/// The apply worker is in the middle of a change.
#[test]
fn while_it_catches_up() {
    let restored = Restored::new(Pair::options("prepc_apply"));
    let pair = &restored.pair;
    pair.target.exec(
        "create function held() returns trigger language plpgsql as 'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
         create trigger held before update on countries for each row execute function held();
         alter table countries enable replica trigger held",
    );
    let mut holder = pair.target.connect();
    holder.batch_execute("select pg_advisory_lock(7)").unwrap();
    pair.source.exec("update countries set v = -1 where id = 3");
    restored.complete();
    until_held(pair, "catchup", WAITING_FOR_ADVISORY);
    cancel(pair);
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    assert_eq!(pair.target.scalar::<i64>("select count(*) from countries where v = -1"), 0, "half a change is here");
    restored.expect_used_up_and_works();
}

/// The slot waits for a transaction when the source goes away, and is given up before it is back: what was made for it goes when it is.
#[test]
fn a_preparation_that_fails_without_its_source() {
    let source = ClusterOptions::new("prepc_away").start();
    let pair = filled(Pair::options("prepc_away").source(source).proxied());
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; select pg_current_xact_id()").unwrap();
    let refusal = std::thread::scope(|scope| {
        let preparing = scope.spawn(|| {
            let mut session = pair.target.connect();
            session.batch_execute("set steep_repl.source_lost_timeout = '2s'")?;
            session.batch_execute("select steep_repl.prepare_init('node_a', 'never', no_identity => 'full')")
        });
        let (publications, waiting) = (
            "select count(*) from pg_publication",
            "select count(*) from pg_locks where locktype = 'transactionid' and not granted",
        );
        wait_until("the slot waits", Duration::from_secs(30), || {
            let (made, waits): (i64, i64) = (pair.source.scalar(publications), pair.source.scalar(waiting));
            ((made > 0 && waits > 0) || preparing.is_finished()).then_some(())
        });
        pair.proxy().down();
        Refusal::of(&preparing.join().unwrap().unwrap_err())
    });
    assert!(refusal.code.starts_with("08"), "{refusal:?}");
    let left = || pair.target.rows("select kind from steep_repl.pending_cleanup where node = 'node_a'");
    assert_eq!(left(), ["source"]);
    assert_eq!(status(&pair, "never"), "failed");
    holder.batch_execute("rollback").unwrap();
    pair.proxy().restore();
    wait_until("nothing is left to be cleaned up", Duration::from_secs(90), || left().is_empty().then_some(()));
    check::assert_clean(&pair.source, &pair.target);
    prepare_as(&pair, "never");
}

/// What a physical copy has brought along is being taken away, and somebody works on a part of it.
#[test]
fn while_a_physical_copy_is_adopted() {
    let source = ClusterOptions::new("prepc_src").start();
    let mut pair = filled(Pair::options("prepc_adopt").source(Arc::clone(&source)));
    pair.source.exec(
        "create subscription brought_along connection 'dbname=nowhere' publication nothing with (connect = false, slot_name = none)",
    );
    pair.source.exec("select pg_replication_origin_create('somebody_else')");
    let manager = pair.target.clone();
    let load = shop::load().start(&pair.source);
    prepare_as(&pair, "init_slot");
    let before = made(&pair);
    let copy = base_backup(&source, ClusterOptions::new("prepc_copy").preload(), &["-R"]);
    copy.start();
    promoted(&mut pair, copy);
    register_in_copy(&pair);
    let mut holder = pair.target.connect();
    holder.batch_execute("begin; comment on subscription brought_along is 'still looking at it'").unwrap();
    let there = rows(&pair);
    complete(&pair.target, ", slot_name => 'init_slot'").unwrap();
    let waiting = "select count(*) from pg_locks where classid = 'pg_subscription'::regclass and not granted";
    until_held(&pair, "adopt", waiting);
    cancel(&pair);
    holder.batch_execute("rollback").unwrap();
    expect_nothing_here(&pair);
    assert!(pending(&pair).is_empty(), "{:?}", pending(&pair));
    assert_eq!(rows(&pair), there);
    assert_eq!(made(&pair), before);
    assert_eq!(pair.target.rows("select subname from pg_subscription where subname = 'brought_along'").len(), 1);
    complete(&pair.target, ", slot_name => 'init_slot'").unwrap();
    pair.expect_synchronized();
    shop::stop_later(load, &pair.source);
    expect_equal(&pair);
    let brought = "select subname::text from pg_subscription where subname = 'brought_along'
        union all select roname from pg_replication_origin where roname = 'somebody_else'";
    assert!(pair.target.rows(brought).is_empty(), "{:?}", pair.target.rows(brought));
    pair.source.exec_each(&["drop subscription brought_along"]);
    check::remove_target(&manager);
}
