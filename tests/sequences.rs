//! Sequences stand where the source's stand, and later calls only move them forward.

use std::time::Duration;

use steep_repl_testkit::{compare_sequences, shared, wait_until, LoadOptions, Pair, Role, Tables};

use crate::refusal::refused_quickly;

const SCHEMA: &str = "
    create table t (id serial primary key, big bigint generated always as identity, v int);
    insert into t (v) select generate_series(1, 500);
    create sequence never_called; create sequence called; select nextval('called');
    create sequence down increment -1 minvalue -1000000 maxvalue -1; select nextval('down'), nextval('down');
    create sequence small as smallint; select setval('small', 32767);
    create sequence cyclic maxvalue 3 cycle; select setval('cyclic', 3, true);
    create sequence not_called; select setval('not_called', 55, false);
    create schema \"Other\"; create sequence \"Other\".\"We\"\"ird; --\" start 100; select nextval('\"Other\".\"We\"\"ird; --\"');";

#[test]
fn values_are_those_of_the_source() {
    let pair = Pair::new("seq");
    pair.source.exec(SCHEMA);
    pair.prepare();
    pair.synchronize("method => 'parallel'");
    compare_sequences(&pair.source, &pair.target).unwrap();
    pair.expect_equal();
    // A new row on the target, as after a cut-over, takes a free number.
    pair.target.exec("insert into t (v) values (1)");
}

#[test]
fn under_load_they_are_not_behind_after_a_sync() {
    let pair = Pair::new("seq_load");
    pair.source.exec(SCHEMA);
    pair.prepare();
    let load = LoadOptions::default()
        .op(1, "insert into t (v) values ({int})")
        .op(1, "select nextval('called')")
        .start(&pair.source);
    pair.synchronize("method => 'parallel'");
    load.stop();
    pair.target.exec("select steep_repl.sync_sequences('node_b')");
    compare_sequences(&pair.source, &pair.target).unwrap();
    pair.expect_equal();
}

/// It is told who it is, and the copy is not given up for it.
#[test]
fn who_alters_one_is_waited_for() {
    let pair = Pair::new("seq_held");
    pair.source.exec(SCHEMA);
    pair.prepare();
    let mut holder = pair.target.connect();
    holder.batch_execute("set application_name = 'the holder'; begin; alter sequence called cache 5").unwrap();
    pair.init("method => 'parallel'").unwrap();
    let told = "select concat_ws(' ', details ->> 'sqlstate', details ->> 'hint') from steep_repl.events where event = 'init.sequences_wait'";
    let told = wait_until("it is said who is waited for", Duration::from_secs(60), || {
        let told = pair.target.rows(told);
        (!told.is_empty()).then_some(told.concat())
    });
    assert!(told.contains("55P03") && told.contains("the holder"), "{told}");
    assert_ne!(pair.state(), "FAILED");
    holder.batch_execute("commit").unwrap();
    pair.expect_synchronized();
    compare_sequences(&pair.source, &pair.target).unwrap();
    pair.expect_equal();
}

#[test]
fn sync_moves_forward_only() {
    let pair = Pair::new("seq_sync");
    pair.source.exec(SCHEMA);
    pair.prepare();
    pair.synchronize("method => 'parallel'");
    pair.source.exec(
        "select setval('called', 100), setval('down', -500), setval('small', 5), setval('never_called', 1, true)",
    );
    pair.target.exec("select setval('called', 200), setval('down', -200)");
    pair.target.exec("select steep_repl.sync_sequences('node_b')");
    let value = |name: &str| pair.target.scalar::<i64>(&format!("select last_value from {name}"));
    assert_eq!(value("called"), 200, "a sequence went back");
    assert_eq!(value("down"), -500, "forward is downward for a negative increment");
    assert_eq!(value("small"), 32767, "a sequence went back");
    assert!(
        pair.target.scalar::<bool>("select is_called from never_called"),
        "called with the same value counts as forward"
    );
    pair.source.exec("select setval('called', 300)");
    pair.target.exec("select steep_repl.sync_sequences('node_b')");
    assert_eq!(value("called"), 300);
}

/// Sequences of tables that were not asked for are left alone.
#[test]
fn only_those_of_the_set() {
    let pair = Pair::new("seq_set");
    pair.source.exec(SCHEMA);
    pair.source
        .exec("create table other (id serial primary key); insert into other select from generate_series(1, 50)");
    pair.prepare();
    pair.synchronize("method => 'parallel', tables => array['t']");
    pair.expect_equal_in(&Tables::only(&["t"]));
    assert_eq!(pair.target.scalar::<i64>("select last_value from t_id_seq"), 500);
    assert_eq!(pair.target.rows("select last_value, is_called from other_id_seq"), ["1 | f"]);
}

#[test]
fn a_sequence_that_is_missing_on_the_target() {
    let pair = Pair::new("seq_missing");
    pair.source.exec("create table t (id serial primary key); insert into t default values; create sequence lonely; select nextval('lonely')");
    pair.target.exec("create table t (id serial primary key)");
    pair.register();
    // The rows are what matters: a sequence that is not there cannot be behind.
    match pair.init("method => 'parallel'") {
        Ok(_) => pair.expect_synchronized(),
        Err(error) => {
            crate::refusal::Refusal::of(&error).names(&["lonely"]);
        }
    }
}

/// Whether there is anything to set is not for everybody to know.
#[test]
fn rights_come_before_the_state() {
    let stranger = Role::create(&shared::target(), "seqstranger", "login in role pg_create_subscription");
    let pair = Pair::new("seq_rights");
    pair.source.exec(SCHEMA);
    pair.prepare();
    let call = "select steep_repl.sync_sequences('node_b')";
    let refused = |role: &str| {
        let mut client = pair.target.cluster().config(pair.target.name()).user(role).connect(postgres::NoTls).unwrap();
        refused_quickly(|| client.batch_execute(call)).code
    };
    assert_eq!((refused(stranger.name()).as_str(), refused("postgres").as_str()), ("42501", "55000"));
    pair.synchronize("");
    assert_eq!(refused(stranger.name()), "42501");
    pair.target.exec(call);
}
