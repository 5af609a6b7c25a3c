//! What is seen of tables before anything begins: keys that changes would need, names that something else has, locks.

use steep_repl_testkit::Pair;

use crate::refusal::{refused, refused_quickly};

#[test]
fn a_table_whose_changes_could_not_be_applied_is_named() {
    let pair = Pair::new("st_keys");
    pair.source.exec(
        "create table bare (id int primary key, v int); create table other_key (id int primary key, v int not null);
         create table narrower (id int, v int, primary key (id, v)); create table whole (id int primary key);
         alter table whole replica identity full; create table fine (id int primary key)",
    );
    pair.target.exec(
        "create table bare (id int not null, v int); create table other_key (id int, v int, primary key (id, v));
         create table narrower (id int primary key, v int not null); create table whole (id int not null);
         create table fine (id int primary key)",
    );
    pair.register();
    let named = "public.bare (no primary key or replica identity here), public.other_key (the key here has v, which the source's has not)";
    let checks = pair.target.rows(
        "select status || ' ' || message from steep_repl.preflight('node_b', 'node_a') where check_name = 'updates'",
    );
    assert_eq!(checks, [format!("warning updates and deletes cannot be applied to {named}")]);
    pair.init("method => 'parallel'").unwrap();
    let notices = pair.notices();
    assert!(notices.iter().any(|notice| notice.contains(named) && notice.contains("primary key")), "{notices:#?}");
    pair.expect_synchronized();
    pair.source.exec("insert into bare values (1, 1); insert into narrower values (1, 1); update narrower set v = 2; update whole set id = 3; delete from fine");
    pair.expect_equal();
}

#[test]
fn a_view_of_a_tables_name_is_no_missing_table() {
    let pair = Pair::new("st_view");
    pair.source.exec("create table t (id int primary key)");
    pair.target.exec("create view t as select 1 as id");
    pair.register();
    assert_eq!(refused(&pair, "").names(&["public.t is a view on the target"]).code, "42P15");
}

#[test]
fn a_table_that_is_locked_on_the_source_is_named_in_seconds() {
    let pair = Pair::new("st_lock");
    pair.source.exec("create table t (id int primary key); create table free (id int primary key)");
    pair.prepare();
    let mut session = pair.source.connect();
    session.batch_execute("begin; lock table t in access exclusive mode").unwrap();
    let refusal = refused_quickly(|| pair.init(""));
    assert_eq!(refusal.names(&["table public.t on node \"node_a\" is locked"]).code, "55P03");
    session.batch_execute("rollback").unwrap();
    pair.synchronize("");
    pair.expect_equal();
}
