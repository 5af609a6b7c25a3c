//! Somebody holds a table of the target: who it is is told, nothing waits for ever, and it goes on when the lock is gone.

use std::time::Duration;

use postgres::Client;
use steep_repl_testkit::{wait_until, Pair};

use crate::midway;
use crate::refusal::{refused_quickly, Refusal};

/// How a table is held until it is released.
struct Holder {
    client: Client,
    release: String,
    /// What must be named.
    name: String,
}

impl Holder {
    fn session(pair: &Pair, sql: &str) -> Holder {
        let mut client = pair.target.connect();
        client.batch_execute(&format!("set application_name = 'who sits here'; begin; {sql}")).unwrap();
        Holder { client, release: "commit".into(), name: "who sits here".into() }
    }

    /// A transaction that nobody is connected to any more.
    fn prepared(pair: &Pair, gid: &str, sql: &str) -> Holder {
        let mut client = pair.target.connect();
        client.batch_execute(&format!("begin; {sql}; prepare transaction '{gid}'")).unwrap();
        Holder { client, release: format!("commit prepared '{gid}'"), name: format!("prepared transaction '{gid}'") }
    }

    fn release(mut self) {
        self.client.batch_execute(&self.release).unwrap();
    }
}

const EXCLUSIVE: &str = "lock table large in access exclusive mode";

/// At once or within seconds: 55P03, with the table and its holder.
fn refuses(label: &str, hold: impl Fn(&Pair) -> Holder) {
    let pair = midway::prepared(Pair::options(label));
    let holder = hold(&pair);
    let refusal = refused_quickly(|| pair.init(midway::ARGS)).names(&["large", &holder.name]);
    assert_eq!(refusal.code, "55P03", "{refusal:?}");
    let listed = pair.target.rows(
        "select check_name, sqlstate, hint from steep_repl.preflight('node_b', 'node_a', no_identity => 'full')
         where status = 'error'",
    );
    let [listed] = listed.as_slice() else { panic!("one finding was expected: {listed:?}") };
    assert!(listed.starts_with("empty | 55P03 | ") && listed.contains(&holder.name), "{listed}");
    assert_eq!(pair.state(), "UNINITIALIZED");
    holder.release();
    pair.synchronize(midway::ARGS);
    midway::expect_replicates(&pair);
}

#[test]
fn init_node_names_a_session() {
    refuses("held_init", |pair| Holder::session(pair, EXCLUSIVE));
}

#[test]
fn init_node_names_a_prepared_transaction() {
    refuses("held_init_2pc", |pair| Holder::prepared(pair, "held_init", EXCLUSIVE));
}

/// It is held from before the tables are prepared; by then `init_node` has looked.
fn held_in_phase_tables(label: &str, args: &str, rows: &str, hold: impl Fn(&Pair) -> Holder) -> (Pair, Holder) {
    let pair = midway::prepared(Pair::options(label));
    pair.target.exec(rows);
    let holder = hold(&pair);
    pair.init_with(&[("chunk_size", "1MB")], &format!("{}, {args}", midway::ARGS)).unwrap();
    let said = wait_until("who holds the table is told", Duration::from_secs(40), || {
        pair.target
            .rows(
                "select details ->> 'sqlstate', details ->> 'message', details ->> 'hint' from steep_repl.events
                 where event = 'init.retry'",
            )
            .into_iter()
            .next()
    });
    assert!(said.contains("55P03") && said.contains("large") && said.contains(&holder.name), "{said}");
    assert_eq!(pair.progress().unwrap().phase.as_deref(), Some("tables"));
    (pair, holder)
}

/// A reader does not disturb `init_node`, which only looks for rows.
const READ: &str = "select count(*) from large";
const ROW: &str = "insert into large values (0, 0, 'to be emptied')";

fn goes_on(pair: &Pair, holder: Holder) {
    holder.release();
    if pair.wait(Duration::from_secs(60)).is_err() {
        assert_eq!(pair.state(), "FAILED");
        pair.target.exec("select steep_repl.resume_init('node_b')");
    }
    midway::expect_end(pair);
}

#[test]
fn preparing_tables_names_a_session_and_goes_on() {
    let hold = |pair: &Pair| Holder::session(pair, READ);
    let (pair, holder) = held_in_phase_tables("held_tab", "force => false", "", hold);
    goes_on(&pair, holder);
}

#[test]
fn preparing_tables_names_a_prepared_transaction_and_goes_on() {
    let hold = |pair: &Pair| Holder::prepared(pair, "held_tables", READ);
    let (pair, holder) = held_in_phase_tables("held_tab_2pc", "force => false", "", hold);
    goes_on(&pair, holder);
}

#[test]
fn emptying_tables_names_a_prepared_transaction_and_goes_on() {
    let hold = |pair: &Pair| Holder::prepared(pair, "held_force", READ);
    let (pair, holder) = held_in_phase_tables("held_force", "force => true", ROW, hold);
    goes_on(&pair, holder);
}

/// It is not waited for without end: FAILED says who it was, and what to do.
#[test]
fn preparing_tables_gives_up_at_last() {
    let hold = |pair: &Pair| Holder::prepared(pair, "held_long", READ);
    let (pair, holder) = held_in_phase_tables("held_long", "force => true", ROW, hold);
    let refusal = Refusal::of(&midway::until_failed(&pair)).names(&["large", &holder.name, "resume_init"]);
    assert_eq!(refusal.code, "55P03");
    holder.release();
    pair.target.exec("select steep_repl.resume_init('node_b')");
    midway::expect_end(&pair);
}

/// Nor does a cancel hang: the node is free of the operation at once, and the tables are emptied when they can be.
#[test]
fn a_cancel_in_phase_tables_does_not_hang() {
    let hold = |pair: &Pair| Holder::prepared(pair, "held_cancel", READ);
    let (pair, holder) = held_in_phase_tables("held_cancel", "force => true", ROW, hold);
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    holder.release();
    midway::until_undone(&pair);
    pair.synchronize(&format!("{}, force => true", midway::ARGS));
    midway::expect_replicates(&pair);
}

#[test]
fn a_cancel_of_a_copy_names_a_prepared_transaction() {
    let pair = midway::prepared(Pair::options("held_undo"));
    midway::start(&pair);
    let holder = Holder::prepared(&pair, "held_undo", READ);
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    let hint = "select error, hint from steep_repl.pending_cleanup where kind = 'tables'";
    let said = wait_until("what is in the way is told", Duration::from_secs(10), || pair.target.rows(hint).pop());
    assert!(said.contains("large") && said.contains(&holder.name), "{said}");
    holder.release();
    midway::expect_begun_anew(&pair);
}

/// A copy worker waits for the table as any INSERT would; a cancel does not.
#[test]
fn a_cancel_does_not_wait_for_a_copy_that_waits() {
    let pair = midway::prepared(Pair::options("held_copy"));
    midway::start(&pair);
    let holder = Holder::session(&pair, EXCLUSIVE);
    wait_until("a copy worker waits for the table", Duration::from_secs(30), || {
        let waiting = "select count(*) from pg_stat_activity where datname = current_database()
            and backend_type = 'steep_repl copy worker' and wait_event_type = 'Lock'";
        (pair.target.scalar::<i64>(waiting) > 0).then_some(())
    });
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    holder.release();
    midway::expect_begun_anew(&pair);
}

/// A table that one worker loads whole gets new storage, for which readers must be gone.
#[test]
fn a_copy_names_who_keeps_it_from_its_table() {
    let pair = midway::prepared(Pair::options("held_load"));
    pair.source.exec(
        "create table first (id int primary key, note text);
         insert into first select i, repeat('f', 400) from generate_series(1, 12000) i",
    );
    pair.source.exec_each(&["vacuum analyze first"]);
    pair.target.exec("create table first (id int primary key, note text)");
    pair.proxy().throttle(midway::SLOW);
    pair.init("method => 'parallel', no_identity => 'full', parallel_workers => 1").unwrap();
    midway::until_rows(&pair);
    let holder = Holder::session(&pair, READ);
    pair.proxy().throttle(0);
    let said = wait_until("who holds the table is told", Duration::from_secs(40), || {
        pair.target
            .rows(
                "select table_name, details ->> 'sqlstate', details ->> 'hint' from steep_repl.events
                 where event = 'init.table_failed'",
            )
            .into_iter()
            .next()
    });
    assert!(said.starts_with("public.large | 55P03 | ") && said.contains(&holder.name), "{said}");
    holder.release();
    midway::expect_end(&pair);
}
