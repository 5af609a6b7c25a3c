//! `schema_sync => 'manual'`: what waits, for whom and for how long, and what counts once somebody has confirmed.

use std::time::Duration;

use steep_repl_testkit::{check, describe, shared, wait_until, Pair, Role, SchemaState, Tables};

use crate::refusal::{refused_quickly, Refusal};

const LONG: Duration = Duration::from_secs(120);
const MANUAL: &str = "schema_sync => 'manual'";
const CONFIRM: &str = "select steep_repl.confirm_init('node_b')";

fn expect_waiting(pair: &Pair) {
    let phase = "select state || ' ' || phase from steep_repl.init_progress where node = 'node_b'";
    assert_eq!(pair.target.rows(phase), ["PREPARING schema"]);
}

fn until_cancelled(pair: &Pair) {
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || {
        let left = pair.target.rows("select kind from steep_repl.pending_cleanup");
        (pair.state() == "UNINITIALIZED" && left.is_empty()).then_some(())
    });
}

/// A column that nobody fills and an index are differences that nobody has to look at.
#[test]
fn where_nothing_differs_nobody_is_asked() {
    let pair = Pair::new("manual_same");
    pair.source.exec("create table t (id int primary key, v int); create index on t (v); insert into t values (1, 1)");
    pair.target.exec("create table t (v int, id int primary key, extra text)");
    pair.register();
    pair.synchronize(MANUAL);
    // But of transactions of other tests on the same server.
    let told: Vec<String> = pair.notices().into_iter().filter(|notice| !notice.contains("hold up the slot")).collect();
    assert_eq!(told, [""; 0]);
    pair.source.exec("insert into t values (2, 2)");
    pair.expect_equal();
    assert_eq!(pair.target.rows("select event from steep_repl.events where event like 'schema.%'"), [""; 0]);
    assert_eq!(refused_quickly(|| pair.target.try_exec(CONFIRM)).code, "55000");
}

#[test]
fn what_is_there_at_the_confirmation_counts() {
    let pair = Pair::new("manual_meanwhile");
    pair.source.exec(
        "create table comes (id int primary key, v text); create table mended (id int primary key, v int);
         create table goes (id int primary key); create table stays (id int primary key);
         insert into comes values (1, 'x'); insert into mended values (1, 1); insert into goes values (1); insert into stays values (1)",
    );
    pair.target.exec(
        "create table mended (id int primary key); create table goes (id int primary key); create table stays (id int primary key)",
    );
    pair.register();
    pair.init(MANUAL).unwrap();
    expect_waiting(&pair);
    pair.target.exec("create table comes (id int primary key, v text); alter table mended add v int; drop table goes");
    pair.source
        .exec("create table late (id int primary key); insert into late values (1); insert into stays values (2)");
    pair.target.exec(CONFIRM);
    pair.expect_synchronized();
    let skipped = "select details ->> 'message' from steep_repl.events where event = 'schema.table_skipped' order by 1";
    assert_eq!(
        pair.target.rows(skipped),
        [
            "not copied: table public.goes does not exist on the target",
            "not copied: table public.late does not exist on the target"
        ]
    );
    pair.source.exec("update mended set v = 2; insert into comes values (2, 'y'); insert into late values (2); insert into goes values (2)");
    pair.expect_equal_in(&Tables::only(&["comes", "mended", "stays"]));
}

#[test]
fn a_value_that_does_not_fit_stops_it() {
    let pair = Pair::new("manual_value");
    pair.source.exec("create table t (id int primary key, v bigint); insert into t values (1, 1), (2, 5000000000)");
    pair.target.exec("create table t (id int primary key, v int)");
    pair.register();
    let before = SchemaState::of(&pair.target);
    pair.init(MANUAL).unwrap();
    pair.target.exec(CONFIRM);
    let refusal = Refusal::of(&pair.wait(LONG).unwrap_err());
    assert_eq!(refusal.names(&["public.t", "5000000000"]).code, "22003");
    assert_eq!((pair.state().as_str(), pair.target.scalar::<i64>("select count(*) from t")), ("FAILED", 0));
    // What fits goes through; the column is mended where the value has to stay.
    pair.source.exec("delete from t where id = 2");
    until_cancelled(&pair);
    before.assert_same(&pair.target);
    check::assert_clean(&pair.source, &pair.target);
    pair.init(MANUAL).unwrap();
    pair.target.exec(CONFIRM);
    pair.expect_synchronized();
    pair.expect_equal();
}

/// Nobody has to answer by any time, and "no" is a cancel.
#[test]
fn it_waits_beyond_its_timeout_and_is_cancelled_like_any_other() {
    let pair = Pair::new("manual_no");
    pair.source.exec("create table t (id int primary key, v int); insert into t values (1, 1)");
    pair.target.exec("create table t (id int primary key)");
    pair.register();
    let before = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    pair.init(&format!("{MANUAL}, timeout => '1 second'")).unwrap();
    wait_until("its timeout is long over", LONG, || {
        let age = "select clock_timestamp() - created_at > interval '4 seconds' from steep_repl.operations";
        pair.target.scalar::<bool>(age).then_some(())
    });
    expect_waiting(&pair);
    // A second one is refused as long as nobody has said anything.
    assert_eq!(refused_quickly(|| pair.init("")).code, "55006");
    let waited = pair.wait(Duration::from_secs(1)).unwrap_err();
    assert!(describe(&waited).contains("57014"), "{}", describe(&waited));
    until_cancelled(&pair);
    assert_eq!(refused_quickly(|| pair.target.try_exec(CONFIRM)).code, "55000");
    before.0.assert_same(&pair.source);
    before.1.assert_same(&pair.target);
    check::assert_clean(&pair.source, &pair.target);
}

/// Whoever may call the function may still have no say over the node.
#[test]
fn only_who_may_act_for_the_node_confirms() {
    let stranger = Role::create(&shared::target(), "confirmer", "login");
    {
        let pair = Pair::new("manual_whose");
        pair.source.exec("create table t (id int primary key, v int); insert into t values (1, 1)");
        pair.target.exec("create table t (id int primary key, v bigint)");
        pair.target.exec(&format!(
            "grant usage on schema steep_repl to {stranger}; grant execute on all functions in schema steep_repl to {stranger}"
        ));
        pair.register();
        pair.init(MANUAL).unwrap();
        let refusal =
            refused_quickly(|| pair.target.try_exec(&format!("set session authorization {stranger}; {CONFIRM}")));
        assert_eq!(refusal.names(&["node_b"]).code, "42501");
        expect_waiting(&pair);
        for (call, code) in [("null", "22004"), ("'nobody'", "42704"), ("'node_a'", "55000")] {
            let sql = format!("select steep_repl.confirm_init({call})");
            assert_eq!(refused_quickly(|| pair.target.try_exec(&sql)).code, code, "{call}");
        }
        pair.target.exec(CONFIRM);
        pair.expect_synchronized();
        pair.expect_equal();
        pair.target.exec(&format!("drop owned by {stranger}"));
    }
    drop(stranger);
}
