//! Keys of the target that are not valid before anything was done: it is refused, and said; what an operation of the
//! database that this one is a copy of has suspended is built anew, however small its table is by now.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{check, compare, quote_ident, quote_literal, wait_until, Db, Pair, Tables};

use crate::refusal::{refused, Refusal};

const ARGS: &str = "method => 'parallel', parallel_workers => 2";

fn prepared(label: &str) -> Pair {
    let pair = Pair::new(label);
    pair.source.exec(
        "create table t (id int primary key, v int unique, w int); create unique index t_w on t (w);
         create table \"We\"\"ird; --\" (id int primary key); insert into t select i, i, i from generate_series(1, 100) i",
    );
    pair.prepare();
    pair
}

/// What a crash of whoever switched it off, or a copy of a database in the middle of that, leaves behind.
fn invalidate(db: &Db, index: &str) {
    db.exec(&format!(
        "set allow_system_table_mods = on;
         update pg_index set indisvalid = false, indisready = false where indexrelid = {}::regclass",
        quote_literal(index)
    ));
}

fn listed(pair: &Pair) -> Vec<String> {
    pair.target.rows(
        "select check_name, status, sqlstate, message, detail, hint from steep_repl.preflight('node_b', 'node_a')
         where check_name in ('keys', 'indexes')",
    )
}

#[test]
fn keys_that_are_not_valid_are_refused() {
    let pair = prepared("keys");
    assert!(listed(&pair).iter().all(|row| row.starts_with("keys | ok")), "{:?}", listed(&pair));
    for index in ["t_pkey", "t_v_key", "\"We\"\"ird; --_pkey\""] {
        invalidate(&pair.target, index);
    }
    let refusal = refused(&pair, ARGS).names(&["t_pkey", "t_v_key", "We\"\"ird; --_pkey", "REINDEX", "3 of the keys"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    let rows = listed(&pair);
    assert!(rows.len() == 1 && rows[0].starts_with("keys | error | 55000 | 3 of"), "{rows:?}");
    pair.target.exec_each(&["reindex table t", "reindex table \"We\"\"ird; --\""]);
    pair.synchronize(ARGS);
    pair.expect_equal();
}

/// The replica identity is a key too, though no constraint stands on its index.
#[test]
fn an_identity_that_is_not_valid_is_refused() {
    let pair = prepared("keys_ident");
    pair.source.exec("alter table t alter w set not null");
    pair.target.exec("alter table t alter w set not null, replica identity using index t_w");
    invalidate(&pair.target, "t_w");
    refused(&pair, ARGS).names(&["t_w", "REINDEX"]);
}

/// What no constraint stands on may be left over from a build that failed: it is said, and stays as it is.
#[test]
fn other_unique_indexes_are_told_of() {
    let pair = prepared("keys_other");
    invalidate(&pair.target, "t_w");
    let rows = listed(&pair);
    assert!(rows.iter().any(|row| row.starts_with("indexes | warning") && row.contains("t_w")), "{rows:?}");
    pair.synchronize(ARGS);
    assert!(pair.notices().iter().any(|notice| notice.contains("t_w")), "{:?}", pair.notices());
    pair.expect_equal();
    let invalid = pair.target.rows("select indexrelid::regclass from pg_index where not indisvalid");
    assert_eq!(invalid, ["t_w"]);
}

/// Large when its indexes were suspended in the original, small when the copy is initialized.
#[test]
fn indexes_of_a_small_table_of_a_copy_are_built() {
    let pair = Pair::new("keys_copy");
    pair.source.exec(
        "create table big (id int primary key, v int, note text); create index big_v on big (v);
         insert into big select i, i / 2, repeat('x', 200) from generate_series(1, 20000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.target.exec("create unique index big_once on big (v)");
    pair.init(ARGS).unwrap();
    assert_eq!(Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err()).code, "23505");
    let name = format!("{}_copy", pair.target.name());
    let sql = format!("create database {} template {}", quote_ident(&name), quote_ident(pair.target.name()));
    let mut other = pair.target.cluster().connect("postgres");
    wait_until("the copy is made", Duration::from_secs(60), || other.batch_execute(&sql).ok());
    let copy = Db::new(Arc::clone(pair.target.cluster()), &name);
    let broken = "select indexrelid::regclass from pg_index where not (indisvalid and indisready)";
    // The others may have been built before that one failed.
    assert!(copy.rows(broken).contains(&"big_once".to_owned()), "it is not suspended: {:?}", copy.rows(broken));
    pair.source.exec("delete from big where id > 50 or id % 2 = 1");
    pair.source.exec_each(&["vacuum full big"]);
    let own = quote_literal(&copy.conninfo());
    copy.exec_each(&[
        "select steep_repl.unregister_node('node_b')",
        &format!("select steep_repl.register_node('node_b', {own}, is_local => true)"),
        &format!("select steep_repl.init_node('node_b', 'node_a', {ARGS}, force => true)"),
        "select steep_repl.wait_for_init('node_b', timeout => '1 minute')",
    ]);
    assert!(copy.rows(broken).is_empty(), "SYNCHRONIZED, and these indexes are not valid: {:?}", copy.rows(broken));
    pair.source.exec("update big set note = 'w' where id < 9; delete from big where id = 10");
    check::wait_caught_up(&pair.source, &copy, Duration::from_secs(60));
    compare(&pair.source, &copy, &Tables::All).unwrap();
    check::remove_target(&copy);
}
