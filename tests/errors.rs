//! What is refused because of the target, the arguments or the schema.

use steep_repl_testkit::{check, describe, ClusterOptions, Pair};

use crate::refusal::{contents, refused, refused_quickly};

const SCHEMA: &str = "
    create table one (id int primary key, v int); create table two (id int primary key, v int references one);
    create table three (id int primary key);
    insert into one select i, i from generate_series(1, 100) i; insert into two select i, i from generate_series(1, 100) i;
    insert into three values (1);";

fn prepared(label: &str) -> Pair {
    let pair = Pair::new(label);
    pair.source.exec(SCHEMA);
    pair.prepare();
    pair
}

fn call(pair: &Pair, sql: &str) -> Result<(), postgres::Error> {
    pair.session().batch_execute(sql)
}

#[test]
fn tables_with_rows_need_force() {
    let pair = prepared("not_empty");
    pair.target.exec("insert into one values (5, 5); insert into two values (7, 5)");
    let refusal = refused(&pair, "method => 'parallel'").names(&["one", "two", "force"]);
    assert!(!refusal.text.contains("three"), "{refusal:?}");
    // A table outside the set may have rows.
    pair.synchronize("method => 'parallel', tables => array['three']");
    pair.expect_equal_in(&steep_repl_testkit::Tables::only(&["three"]));
    assert_eq!(pair.target.scalar::<i64>("select count(*) from one"), 1);
}

#[test]
fn force_empties_exactly_the_tables_to_be_copied() {
    let pair = prepared("force");
    pair.source.exec(
        "create table parts (id int primary key) partition by range (id);
        create table parts_1 partition of parts for values from (0) to (10);
        create table cities (id int primary key); create table capitals (primary key (id)) inherits (cities);
        insert into parts values (1); insert into cities values (1); insert into capitals values (2)",
    );
    pair.target.exec(
        "create table parts (id int primary key) partition by range (id);
        create table parts_1 partition of parts for values from (0) to (10);
        create table cities (id int primary key); create table capitals (primary key (id)) inherits (cities);
        create table ours (id int primary key, three int references three on delete cascade)",
    );
    // References from outside the set hold rows that name none.
    pair.target.exec("insert into one values (5, 5), (1000, 1000); insert into two values (7, 5); insert into three values (77);
        insert into parts values (5); insert into cities values (50); insert into capitals values (60); insert into ours values (1, 77)");
    pair.synchronize("method => 'parallel', force => true, tables => array['one', 'two', 'parts', 'cities']");
    pair.expect_equal_in(&steep_repl_testkit::Tables::only(&["one", "two", "parts_1", "cities"]));
    assert_eq!(pair.target.rows("select id from three"), ["77"]);
    assert_eq!(pair.target.rows("select id, three from ours"), ["1 | 77"]);
    // Whether a child by inheritance belongs to its parent's set or not: what is not copied is not emptied.
    let copied = pair.target.rows("select table_name from steep_repl.table_progress where table_name = 'capitals'");
    let expected = if copied.is_empty() { "60" } else { "2" };
    assert_eq!(pair.target.rows("select id from only capitals"), [expected]);
}

#[test]
fn force_is_not_needed_for_an_empty_target() {
    let pair = prepared("force_empty");
    pair.synchronize("method => 'parallel', force => true");
    pair.expect_equal();
}

#[test]
fn all_differences_of_the_schema_are_listed_at_once() {
    let pair = Pair::new("differs");
    pair.source.exec(
        "create table same (id int primary key);
         create table missing_table (id int primary key);
         create table missing_column (id int primary key, lost_column int);
         create table other_type (id int primary key, typed_column int);
         create table other_length (id int primary key, long_column varchar(20));
         create table is_a_view (id int primary key);
         create schema gone; create table gone.missing_schema (id int primary key);
         insert into same values (1)",
    );
    pair.target.exec(
        "create table same (id int primary key); create table missing_column (id int primary key);
         create table other_type (id int primary key, typed_column text);
         create table other_length (id int primary key, long_column varchar(10));
         create view is_a_view as select 1 as id",
    );
    pair.register();
    refused(&pair, "method => 'parallel'").names(&[
        "missing_table",
        "lost_column",
        "typed_column",
        "long_column",
        "missing_schema",
        "is_a_view",
        "integer",
        "text",
    ]);
}

#[test]
fn a_required_column_that_the_source_lacks_is_a_difference() {
    let pair = Pair::new("required");
    pair.source.exec("create table t (id int primary key); insert into t values (1)");
    pair.target.exec("create table t (id int primary key, must_have int not null)");
    pair.register();
    refused(&pair, "method => 'parallel'").names(&["must_have"]);
}

#[test]
fn unknown_names() {
    let pair = prepared("unknown");
    for args in [
        "method => 'parallel', tables => array['public.nowhere']",
        "method => 'parallel', tables => array['\"One\"']",
        "method => 'parallel', schemas => array['no_schema']",
    ] {
        refused(&pair, args);
    }
    for args in ["method => 'parallel', tables => array['a.b.c.d']", "method => 'parallel', tables => array['\"open']"]
    {
        refused(&pair, args);
    }
}

#[test]
fn nodes_must_be_known_and_local() {
    let pair = prepared("nodes");
    let before = contents(&pair.target);
    for (sql, word) in [
        ("select steep_repl.init_node('nobody', 'node_a')", "nobody"),
        ("select steep_repl.init_node('node_b', 'nobody')", "nobody"),
        ("select steep_repl.init_node('node_a', 'node_b')", "node_a"),
        ("select steep_repl.init_node('node_b', 'node_b')", "node_b"),
        ("select steep_repl.wait_for_init('nobody', timeout => '5 seconds')", "nobody"),
        ("select steep_repl.sync_sequences('nobody')", "nobody"),
    ] {
        refused_quickly(|| call(&pair, sql)).names(&[word]);
    }
    assert_eq!(before, contents(&pair.target));
    check::assert_clean(&pair.source, &pair.target);
}

#[test]
fn node_names_are_unique_and_one_node_is_local() {
    let pair = prepared("register");
    for sql in [
        "select steep_repl.register_node('node_c', 'dbname=x', is_local => true)".to_string(),
        "select steep_repl.register_node('', 'dbname=x')".to_string(),
        "select steep_repl.register_node(null, 'dbname=x')".to_string(),
        "select steep_repl.register_node('node_d', 'this is no conninfo s3cr3t-pw')".to_string(),
        "select steep_repl.register_node('node_d', 'nonsense=1 password=s3cr3t-pw')".to_string(),
        "select steep_repl.unregister_node('nobody')".to_string(),
    ] {
        match call(&pair, &sql) {
            Ok(()) => panic!("accepted: {sql}"),
            Err(error) => {
                let text = describe(&error);
                assert!(!text.contains("s3cr3t-pw"), "{sql}: {text}");
                assert!(error.code().is_some_and(|code| !code.code().starts_with("XX")), "{sql}: {text}");
            }
        }
    }
    assert_eq!(
        pair.target.rows("select node, is_local from steep_repl.nodes order by 1"),
        ["node_a | f", "node_b | t"]
    );
    pair.target.exec("select steep_repl.unregister_node('node_a')");
    assert_eq!(pair.target.rows("select node from steep_repl.nodes"), ["node_b"]);
}

#[test]
fn methods_and_words_that_do_not_exist() {
    let pair = prepared("methods");
    for method in ["fast", "", "PARALLEL; drop table one"] {
        let refusal = refused(&pair, &format!("method => '{method}'"));
        assert_eq!(refusal.code, "22023", "{refusal:?}");
    }
    // Files need a place first.
    let refusal = refused(&pair, "method => 'two_phase'");
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["snapshot_directory"]);
    let refusal = refused(&pair, "method => 'parallel', bidirectional => true");
    assert_eq!(refusal.code, "0A000", "{refusal:?}");
    for args in
        ["parallel_workers => 0", "parallel_workers => -1", "parallel_workers => 100000", "schema_sync => 'often'"]
    {
        refused(&pair, &format!("method => 'parallel', {args}"));
    }
}

#[test]
fn one_operation_per_node_at_a_time() {
    let pair = Pair::options("busy").proxied().build();
    pair.source.exec("create table t (id int primary key, v text); insert into t select i, repeat('x', 500) from generate_series(1, 20000) i");
    pair.prepare();
    pair.proxy().throttle(500_000);
    pair.init("method => 'parallel'").unwrap();
    let refusal = refused_quickly(|| pair.init("method => 'parallel'"));
    assert!(refusal.code.starts_with("55"), "{refusal:?}");
    for sql in ["drop extension steep_repl", "drop extension steep_repl cascade"] {
        assert!(pair.target.try_exec(sql).is_err(), "{sql} while an operation is running");
    }
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    // A node that is synchronized is not initialized again by the same call.
    let again = refused_quickly(|| pair.init("method => 'parallel'"));
    assert!(again.code.starts_with("55"), "{again:?}");
    pair.expect_equal();
}

#[test]
fn without_the_launcher_the_line_to_add_is_told() {
    let target = ClusterOptions::new("nolaunch").start();
    let pair = Pair::options("nolaunch").target(target).build();
    pair.source.exec(SCHEMA);
    pair.prepare();
    let refusal = refused(&pair, "method => 'parallel'").names(&["shared_preload_libraries", "steep_repl"]);
    assert_eq!(refusal.code, "55000");
}

#[test]
fn a_rolled_back_call_leaves_nothing() {
    let pair = prepared("rolled_back");
    let before = contents(&pair.target);
    pair.target.exec("begin; select steep_repl.init_node('node_b', 'node_a', method => 'parallel'); rollback");
    assert_eq!(pair.state(), "UNINITIALIZED");
    assert_eq!(before, contents(&pair.target));
    check::assert_clean(&pair.source, &pair.target);
    pair.synchronize("method => 'parallel'");
    pair.expect_equal();
}
