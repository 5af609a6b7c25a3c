//! The indexes of an operation that waits for somebody: they can be had back before it is resumed.

use std::time::Duration;

use steep_repl_testkit::{describe, Pair};

use crate::refusal::Refusal;

/// Valid indexes of the tables, by name.
const VALID: &str = "select string_agg(indexrelid::regclass::text, ' ' order by indexrelid::regclass::text)
    from pg_index where indrelid in ('good'::regclass, 'bad'::regclass) and indisvalid and indisready";

/// `bad` fails by an index of the target's own.
fn failed(label: &str) -> Pair {
    let pair = Pair::new(label);
    pair.source.exec(
        "create table good (id int primary key, v int, note text); create index good_v on good (v);
         create table bad (id int primary key, v int, note text);
         insert into good select i, i, repeat('x', 100) from generate_series(1, 20000) i;
         insert into bad select i, i / 2, repeat('x', 100) from generate_series(1, 20000) i",
    );
    pair.prepare();
    pair.target.exec("create unique index bad_once on bad (v)");
    pair.init("method => 'parallel'").unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!(refusal.code, "23505", "{refusal:?}");
    pair
}

#[test]
fn what_can_be_built_is_built() {
    let pair = failed("restore");
    let mut session = pair.session();
    let restored: i64 = session.query_one("select steep_repl.restore_indexes('node_b')", &[]).unwrap().get(0);
    assert_eq!(pair.target.scalar::<String>(VALID), "bad_pkey good_pkey good_v");
    let warned = pair.notices();
    assert!(warned.iter().any(|notice| notice.contains("bad_once") && notice.contains("(v)=(")), "{warned:?}");
    // Those that were built before the failure are not built again.
    let again: i64 = session.query_one("select steep_repl.restore_indexes('node_b')", &[]).unwrap().get(0);
    assert!(restored <= 3 && again == 0, "{restored} {again}");
    pair.target.exec("drop index bad_once");
    pair.target.exec("select steep_repl.resume_init('node_b')");
    pair.wait(Duration::from_secs(60)).unwrap();
    pair.expect_equal();
}

#[test]
fn and_cancelled_they_are_as_before() {
    let pair = failed("restored");
    pair.target.exec_each(&["select steep_repl.restore_indexes('node_b')", "select steep_repl.cancel_init('node_b')"]);
    steep_repl_testkit::wait_until("it is cancelled", Duration::from_secs(30), || {
        (pair.state() == "UNINITIALIZED"
            && pair.target.scalar::<i64>("select count(*) from steep_repl.pending_cleanup") == 0)
            .then_some(())
    });
    assert_eq!(pair.target.scalar::<String>(VALID), "bad_once bad_pkey good_pkey good_v");
}

#[test]
fn only_of_a_failed_one() {
    let pair = Pair::new("unfailed");
    pair.source.exec("create table t (id int primary key)");
    pair.prepare();
    let refusal = Refusal::of(&pair.target.try_exec("select steep_repl.restore_indexes('node_b')").unwrap_err());
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    pair.synchronize("");
    let error = pair.target.try_exec("select steep_repl.restore_indexes('node_b')").unwrap_err();
    assert_eq!(Refusal::of(&error).code, "55000", "{}", describe(&error));
    pair.expect_equal();
}
