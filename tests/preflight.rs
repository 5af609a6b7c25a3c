//! Everything that stands against an initialization, listed before anything is started.

use steep_repl_testkit::{check, Pair};

use crate::refusal::contents;

fn listed(pair: &Pair, args: &str) -> Vec<String> {
    pair.target.rows(&format!(
        "select check_name, status, sqlstate, message, detail, hint is not null from steep_repl.preflight('node_b', 'node_a'{args})"
    ))
}

#[test]
fn a_pair_that_is_ready() {
    let pair = Pair::new("preflight_ok");
    pair.source.exec("create table t (id int primary key); create unlogged table u (id int primary key)");
    pair.prepare();
    let rows = listed(&pair, "");
    assert!(rows.len() > 8, "{rows:?}");
    for row in &rows {
        assert!(row.contains(" | ok | ~ | ~ | ~ | f") || row.starts_with("left_out | notice"), "{row}");
    }
    assert!(rows.iter().any(|row| row.starts_with("left_out") && row.contains("public.u")), "{rows:?}");
    check::assert_clean(&pair.source, &pair.target);
    assert_eq!(pair.state(), "UNINITIALIZED");
    pair.synchronize("");
    let rows = listed(&pair, "");
    assert!(rows.iter().any(|row| row.starts_with("nodes | error | 55000")), "{rows:?}");
    pair.expect_equal();
}

/// One call tells it all; init_node would tell one after the other.
#[test]
fn everything_at_once() {
    let pair = Pair::new("preflight");
    pair.source.exec(
        "create table bare (v int); create table differs (id int primary key, v int); create table full_one (id int primary key);
         insert into full_one values (1)",
    );
    pair.target.exec("create table bare (v int); create table differs (id int primary key, v text); create table full_one (id int primary key)");
    pair.target.exec("insert into full_one values (7)");
    pair.register();
    let before = (contents(&pair.source), contents(&pair.target));
    let rows = listed(&pair, "");
    for (check, code, word) in
        [("schema", "42P15", "differs"), ("replica_identity", "55000", "bare"), ("empty", "55000", "full_one")]
    {
        let row = rows.iter().find(|row| row.starts_with(&format!("{check} | error | {code}")));
        assert!(row.is_some_and(|row| row.contains(word) && row.ends_with(" | t")), "{check}: {rows:?}");
    }
    assert!(rows.iter().any(|row| row.starts_with("source_wal | ok")), "{rows:?}");
    assert_eq!(before, (contents(&pair.source), contents(&pair.target)), "something changed");
    // A set without the trouble.
    let rows = listed(&pair, ", tables => array['bare'], no_identity => 'insert_only'");
    assert!(!rows.iter().any(|row| row.contains("| error |")), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("insert_only | notice")), "{rows:?}");
}

/// What cannot be looked at is not listed as good.
#[test]
fn a_source_that_is_not_there() {
    let pair = Pair::new("preflight_away");
    pair.register_with("host=127.0.0.1 port=1 user=postgres dbname=x");
    let rows = listed(&pair, "");
    assert!(rows.last().is_some_and(|row| row.starts_with("connection | error | 08001")), "{rows:?}");
}
