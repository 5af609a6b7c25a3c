//! `cancel_init` in each phase of `method => 'snapshot'`: where the server copies all, and where our workers copy a
//! large table first or pg_dump dumps it. Somebody's lock holds the phase open. Within 30 seconds the node is
//! UNINITIALIZED, both sides are as they were, and it can be begun anew. Where the lock is on the subscription itself,
//! that one goes when it is let go of.
//!
//! Elsewhere: rows under way (`method_snapshot`, `large_tables`, `large_by_dump`), catch-up of the server's way
//! (`method_snapshot`). One code: up to the slot (tried by the server); subscription, tables of large ones (by copy).
//! Phase `indexes` has nothing to do: indexes of large tables are built in `copy`.

use std::time::Duration;

use postgres::Client;
use steep_repl_testkit::{try_wait_until, wait_until, ClusterOptions, Db, Pair, PairOptions, SchemaState};

use crate::large_tables::ARGS;
use crate::method_snapshot::expect_no_leftovers;
use crate::midway;
use crate::outcome::expect_equal;
use crate::prepared_cancelled::{self, waiting_for};

/// A cancel is done within this, whatever is held.
const PROMISED: Duration = Duration::from_secs(30);

/// How the rows of tables get here.
pub type Way = &'static [&'static str];
pub const SERVER: Way = &["server"];
pub const COPY: Way = &["copy", "server"];
pub const PG_DUMP: Way = &["pg_dump", "server"];

/// What triggers and indexes of the target wait for.
pub const LOCK: &str = "select pg_advisory_xact_lock(7)";
/// Who prepares the table for its load waits for such a reader.
const READ: &str = "select from large limit 1";
/// Who sets the sequence waits.
pub const ALTER: &str = "alter sequence counter cache 1";

/// What is asked for; of the tables of [`midway`] one is large.
pub fn args(way: Way) -> String {
    match way {
        [large, _] => format!("{ARGS}, large_table_method => '{large}'"),
        _ => "method => 'snapshot', no_identity => 'full'".to_owned(),
    }
}

/// A pair with a sequence that is to be set and a constraint that is set aside; `own` is what only the target has.
pub fn prepared(options: PairOptions, own: &str) -> Pair {
    let pair = midway::filled(options);
    let both = "create sequence counter; alter table small add constraint v_small check (v < 1000000) not valid";
    pair.source.exec(&format!("{both}; select setval('counter', 41)"));
    pair.target.exec(&format!("{both}; {own}"));
    pair.register();
    pair
}

/// A trigger of the target's by which whoever brings such a change of a row waits for [`LOCK`].
pub fn held_at(change: &str, table: &str, when: &str) -> String {
    format!(
        "create function held_{table}() returns trigger language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return new; end';
         create trigger held before {change} on {table} for each row when ({when}) execute function held_{table}();
         alter table {table} enable replica trigger held;"
    )
}

/// A transaction that has done this and stays open.
pub fn hold(db: &Db, sql: &str) -> Client {
    let mut holder = db.connect();
    holder.batch_execute(&format!("begin; {sql}")).unwrap();
    holder
}

pub fn let_go(mut holder: Client) {
    holder.batch_execute("rollback").unwrap();
}

fn pid(holder: &mut Client) -> i32 {
    holder.query_one("select pg_backend_pid()", &[]).unwrap().get(0)
}

/// How many in a database wait for a lock of this kind, workers and WAL senders among them.
pub fn waiting(db: &Db, kind: &str) -> i64 {
    db.scalar(&format!(
        "select count(*) from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and wait_event = '{kind}'"
    ))
}

pub fn until(pair: &Pair, reason: &str, condition: impl Fn() -> bool) {
    wait_until(reason, Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        condition().then_some(())
    });
}

pub fn until_phase(pair: &Pair, phase: &str) {
    until(pair, &format!("it is in phase {phase}"), || is_in(pair, phase));
}

/// Waits until it is in a phase in which somebody waits for a lock of this kind.
pub fn until_held(pair: &Pair, phase: &str, db: &Db, kind: &str) {
    until(pair, &format!("phase {phase} is held open"), || is_in(pair, phase) && waiting(db, kind) > 0);
}

/// Waits until the sequence is to be set, which somebody alters.
pub fn until_sequence(pair: &Pair) {
    prepared_cancelled::until_held(pair, "sequences", &waiting_for("counter"));
}

fn is_in(pair: &Pair, phase: &str) -> bool {
    pair.progress().and_then(|row| row.phase).is_some_and(|found| found == phase)
}

/// How far the server is with a table.
pub fn sync_state(pair: &Pair, table: &str) -> String {
    pair.target
        .rows(&format!("select srsubstate from pg_subscription_rel where srrelid = '{table}'::regclass"))
        .concat()
}

/// A pair that is not initialized, and what it looked like.
struct Case {
    pair: Pair,
    way: Way,
    args: String,
    source: SchemaState,
    target: SchemaState,
}

impl Case {
    fn new(label: &str, way: Way, own: &str) -> Case {
        Case::on(Pair::options(label), way, own)
    }

    /// On a source of its own, where a transaction with an ID holds up nobody else's slot.
    fn alone(label: &str, way: Way) -> Case {
        let source = ClusterOptions::new(label).start();
        Case::on(Pair::options(label).source(source), way, "")
    }

    fn on(options: PairOptions, way: Way, own: &str) -> Case {
        let pair = prepared(options, own);
        let (source, target) = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
        Case { pair, way, args: args(way), source, target }
    }

    /// With a table that has still to be made here.
    fn lacking_a_table(mut self) -> Case {
        self.pair.source.exec("create table more (id int primary key); insert into more select generate_series(1, 10)");
        self.source = SchemaState::of(&self.pair.source);
        self.args.push_str(", schema_sync => 'auto'");
        self
    }

    fn begin(&self) {
        self.begin_with(&[]);
    }

    fn begin_with(&self, settings: &[(&str, &str)]) {
        let mut all = vec![("chunk_size", "1MB")];
        all.extend(settings);
        self.pair.init_with(&all, &self.args).unwrap();
    }

    fn until_held(&self, phase: &str, kind: &str) {
        until_held(&self.pair, phase, &self.pair.target, kind);
    }

    fn until_held_there(&self, phase: &str, kind: &str) {
        until_held(&self.pair, phase, &self.pair.source, kind);
    }

    /// Begins it, up to the tables, which somebody reads.
    fn in_tables(&self) -> Client {
        let reader = hold(&self.pair.target, READ);
        self.begin();
        self.until_held("tables", "relation");
        reader
    }

    /// Begins it, up to the sequence, which somebody alters.
    fn in_sequences(&self) -> Client {
        let altering = hold(&self.pair.target, ALTER);
        self.begin();
        until_sequence(&self.pair);
        altering
    }

    /// Whoever enables, disables or drops the subscription waits.
    fn hold_subscription(&self) -> Client {
        let name = midway::subscription(&self.pair);
        hold(&self.pair.target, &format!("comment on subscription {name} is 'looked at'"))
    }

    /// It is cancelled while it is held, all of it is taken away, and only then is it let go of.
    fn cancel_while_held(self, holder: Client) {
        self.ask();
        self.until_undone();
        let_go(holder);
        self.expect_as_before_and_works();
    }

    /// It is cancelled while somebody holds the subscription, but for that one, which goes when it is let go of. Who
    /// holds it is told, before and after.
    fn cancel_and_let_go(self, mut holder: Client) {
        let holds = format!("subscription {} by pid {}", midway::subscription(&self.pair), pid(&mut holder));
        self.until_told(&holds);
        self.ask();
        let left = "select hint from steep_repl.pending_cleanup where kind = 'subscription'";
        let hint = try_wait_until("it is cancelled, but for the subscription", PROMISED, || {
            let hint = self.pair.target.rows(left).pop()?;
            (self.pair.state() == "UNINITIALIZED").then_some(hint)
        });
        assert!(hint.as_ref().is_some_and(|hint| hint.contains(&holds)), "{hint:?} does not name {holds}");
        let_go(holder);
        self.until_undone();
        self.expect_as_before_and_works();
    }

    /// Who keeps the subscription from being changed is told, and waited for.
    fn until_told(&self, holds: &str) {
        let told = "select details ->> 'hint' from steep_repl.events where event = 'init.subscription_wait'";
        until(&self.pair, &format!("it is told: {holds}"), || self.pair.target.rows(told).concat().contains(holds));
    }

    fn ask(&self) {
        self.pair.target.exec("select steep_repl.cancel_init('node_b')");
    }

    fn until_undone(&self) {
        let left = || self.pair.target.rows("select kind, error from steep_repl.pending_cleanup");
        let undone = try_wait_until("it is cancelled and nothing is left to be taken away", PROMISED, || {
            (self.pair.state() == "UNINITIALIZED" && left().is_empty()).then_some(())
        });
        let status = || self.pair.target.rows("select status, phase from steep_repl.operations");
        assert!(undone.is_some(), "after {PROMISED:?}: {}, {:?}, {:?}", self.pair.state(), status(), left());
    }

    fn expect_as_before_and_works(&self) {
        self.expect_as_before();
        self.expect_works();
    }

    /// Nothing shows that there was an operation but what is written down of it.
    fn expect_as_before(&self) {
        let pair = &self.pair;
        assert_eq!(pair.target.rows("select status from steep_repl.operations"), ["cancelled"]);
        midway::expect_emptied(pair, &["large", "log", "small"]);
        expect_no_leftovers(pair);
        assert_eq!(pair.target.scalar::<i64>("select count(*) from pg_subscription_rel"), 0);
        let senders = "select application_name from pg_stat_activity
            where datname = current_database() and backend_type = 'walsender'";
        wait_until("no WAL sender is left on the source", Duration::from_secs(15), || {
            pair.source.rows(senders).is_empty().then_some(())
        });
        self.target.assert_same(&pair.target);
        self.source.assert_same(&pair.source);
    }

    fn expect_works(&self) {
        let pair = &self.pair;
        pair.proxy().throttle(0);
        pair.synchronize(&self.args);
        let ways = "select distinct transport from steep_repl.operation_tables
            where operation_id = (select max(id) from steep_repl.operations) order by 1";
        assert_eq!(pair.target.rows(ways), self.way, "the tables went another way");
        pair.source
            .exec("update large set v = -1 where id < 9; delete from small where id = 7; insert into log values (7)");
        expect_equal(pair);
        expect_no_leftovers(pair);
    }
}

/// Somebody makes a table of the same name.
#[test]
fn while_a_table_is_made_here() {
    let case = Case::new("wayc_schema", SERVER, "").lacking_a_table();
    let holder = hold(&case.pair.target, "create table more (id int)");
    case.begin();
    case.until_held("schema", "transactionid");
    case.cancel_while_held(holder);
}

/// Somebody works on the definition of a table there.
#[test]
fn while_the_publication_is_made() {
    let case = Case::new("wayc_pub", SERVER, "");
    let holder = hold(&case.pair.source, "lock table small in share update exclusive mode");
    case.begin();
    case.until_held_there("publication", "relation");
    case.cancel_while_held(holder);
}

/// A transaction holds the slot up, and a table was made here before that, which goes again.
#[test]
fn while_the_slot_is_made() {
    let case = Case::alone("wayc_slot", SERVER).lacking_a_table();
    let holder = hold(&case.pair.source, "select pg_current_xact_id()");
    case.begin();
    case.until_held_there("slot", "transactionid");
    assert_eq!(case.pair.target.scalar::<i64>("select count(*) from pg_class where relname = 'more'"), 1);
    case.cancel_while_held(holder);
}

/// In the middle of the transaction that makes it and puts the tables in.
fn while_the_subscription_is_made(label: &str, way: Way) {
    let case = Case::new(label, way, "");
    let mut holder = hold(&case.pair.target, "lock table pg_subscription_rel in share mode");
    case.begin();
    case.until_held("subscription", "relation");
    case.until_told(&format!("catalog pg_subscription_rel by pid {}", pid(&mut holder)));
    case.cancel_while_held(holder);
}

#[test]
fn while_the_subscription_is_made_for_the_server() {
    while_the_subscription_is_made("wayc_sub", SERVER);
}

#[test]
fn while_the_subscription_is_made_for_a_copy() {
    while_the_subscription_is_made("wayc_sub_copy", COPY);
}

#[test]
fn while_tables_are_prepared_for_the_server() {
    let case = Case::new("wayc_tab", SERVER, "");
    let reader = case.in_tables();
    case.cancel_while_held(reader);
}

#[test]
fn while_tables_are_prepared_for_a_copy() {
    let case = Case::new("wayc_tab_copy", COPY, "");
    let reader = case.in_tables();
    case.cancel_while_held(reader);
}

/// Who waits in vain and is not to try again fails, at the very time that it is cancelled: the cancel is what counts.
#[test]
fn in_the_moment_that_it_fails() {
    let case = Case::new("wayc_fails", SERVER, "");
    let reader = hold(&case.pair.target, READ);
    case.begin_with(&[("max_retries", "0")]);
    case.until_held("tables", "relation");
    case.cancel_while_held(reader);
}

/// The program has been started and waits for its table, which somebody there has.
#[test]
fn while_pg_dump_waits_for_its_table() {
    let case = Case::alone("wayc_locked", PG_DUMP);
    let reader = case.in_tables();
    // The slot is there, which would wait for this transaction as well.
    let holder = hold(&case.pair.source, "lock table large in access exclusive mode");
    let_go(reader);
    case.until_held_there("copy", "relation");
    let program = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name ~ '_dump[0-9]+$' and wait_event_type = 'Lock'";
    assert_eq!(case.pair.source.scalar::<i64>(program), 1, "somebody else waits");
    case.cancel_while_held(holder);
}

/// All rows of the large table are here.
fn while_an_index_is_built(label: &str, way: Way) {
    let own = "create function held(i int) returns int immutable language plpgsql as
            'begin perform pg_catalog.pg_advisory_xact_lock_shared(7); return i; end';
         create index large_held on large (public.held(id))";
    let case = Case::new(label, way, own);
    let holder = hold(&case.pair.target, LOCK);
    case.begin();
    case.until_held("copy", "advisory");
    case.cancel_while_held(holder);
}

#[test]
fn while_an_index_is_built_after_a_copy() {
    while_an_index_is_built("wayc_index_copy", COPY);
}

#[test]
fn while_an_index_is_built_after_pg_dump() {
    while_an_index_is_built("wayc_index_dump", PG_DUMP);
}

/// All that is ours to copy is here, and the subscription is to be enabled.
fn while_the_server_begins(label: &str, way: Way) {
    let case = Case::new(label, way, "");
    let reader = case.in_tables();
    let holder = case.hold_subscription();
    let_go(reader);
    case.until_held("copy", "object");
    case.cancel_and_let_go(holder);
}

#[test]
fn while_the_server_begins_with_all_tables() {
    while_the_server_begins("wayc_begin", SERVER);
}

#[test]
fn while_the_server_begins_after_a_copy() {
    while_the_server_begins("wayc_begin_copy", COPY);
}

#[test]
fn while_the_server_begins_after_pg_dump() {
    while_the_server_begins("wayc_begin_dump", PG_DUMP);
}

/// The server is in the middle of a table, and the apply worker in the middle of a change of the large one.
fn while_the_server_copies_the_others(label: &str, way: Way) {
    let own = [held_at("insert", "log", "true"), held_at("update", "large", "true")].concat();
    let case = Case::new(label, way, &own);
    let holder = hold(&case.pair.target, LOCK);
    case.begin();
    case.until_held("copy", "advisory");
    case.pair.source.exec("update large set v = 2 where id = 3");
    until(&case.pair, "a copy and a change are held", || waiting(&case.pair.target, "advisory") == 2);
    let large = "select status from steep_repl.operation_tables where table_name = 'large'";
    assert_eq!(case.pair.target.rows(large), ["done"]);
    case.cancel_while_held(holder);
}

#[test]
fn while_the_server_copies_what_is_not_copied() {
    while_the_server_copies_the_others("wayc_others_copy", COPY);
}

#[test]
fn while_the_server_copies_what_is_not_dumped() {
    while_the_server_copies_the_others("wayc_others_dump", PG_DUMP);
}

/// The server's worker has all rows and waits for the apply worker, which is in the middle of another table's change.
#[test]
fn while_a_table_is_handed_over() {
    let case = Case::new("wayc_over", SERVER, &held_at("update", "small", "true"));
    let pair = &case.pair;
    let holder = hold(&pair.target, LOCK);
    pair.proxy().throttle(midway::SLOW / 2);
    case.begin();
    midway::until_rows(pair);
    until(pair, "the small table is handed over", || sync_state(pair, "small") == "r");
    pair.source.exec("update small set v = 2 where id = 3");
    until(pair, "a change is held", || waiting(&pair.target, "advisory") == 1);
    pair.proxy().throttle(0);
    until(pair, "the large table is to be handed over", || sync_state(pair, "large") == "f");
    let slots = "select count(*) from pg_replication_slots
        where database = current_database() and slot_name like 'pg\\_%\\_sync\\_%'";
    assert!(pair.source.scalar::<i64>(slots) > 0, "there is no slot to be removed");
    case.cancel_while_held(holder);
}

fn while_sequences_are_set(label: &str, way: Way) {
    let case = Case::new(label, way, "");
    let altering = case.in_sequences();
    case.cancel_while_held(altering);
}

#[test]
fn while_sequences_are_set_after_the_server() {
    while_sequences_are_set("wayc_seq", SERVER);
}

#[test]
fn while_sequences_are_set_after_a_copy() {
    while_sequences_are_set("wayc_seq_copy", COPY);
}

#[test]
fn while_sequences_are_set_after_pg_dump() {
    while_sequences_are_set("wayc_seq_dump", PG_DUMP);
}

/// All tables are here, and the subscription is to be enabled, or is already and is altered all the same.
fn while_it_is_enabled(label: &str, way: Way) {
    let case = Case::new(label, way, "");
    let altering = case.in_sequences();
    let holder = case.hold_subscription();
    let_go(altering);
    case.until_held("enable", "object");
    case.cancel_and_let_go(holder);
}

#[test]
fn while_it_is_enabled_after_the_server() {
    while_it_is_enabled("wayc_enable", SERVER);
}

#[test]
fn while_it_is_enabled_after_a_copy() {
    while_it_is_enabled("wayc_enable_copy", COPY);
}

#[test]
fn while_it_is_enabled_after_pg_dump() {
    while_it_is_enabled("wayc_enable_dump", PG_DUMP);
}

/// The apply worker is in the middle of a change of the large table.
fn while_it_catches_up(label: &str, way: Way) {
    let case = Case::new(label, way, &held_at("update", "large", "true"));
    let pair = &case.pair;
    let holder = hold(&pair.target, LOCK);
    let altering = case.in_sequences();
    pair.source.exec("update large set v = 2 where id = 3");
    until(pair, "a change is held", || waiting(&pair.target, "advisory") == 1);
    let_go(altering);
    until_phase(pair, "catchup");
    assert_eq!(pair.state(), "CATCHING_UP");
    case.cancel_while_held(holder);
}

#[test]
fn while_it_catches_up_after_a_copy() {
    while_it_catches_up("wayc_apply_copy", COPY);
}

#[test]
fn while_it_catches_up_after_pg_dump() {
    while_it_catches_up("wayc_apply_dump", PG_DUMP);
}
