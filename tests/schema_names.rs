//! Names that break careless quoting, wherever schemas are compared and made.

use std::time::Duration;

use steep_repl_testkit::{check, compare_sequences, quote_ident, quote_literal, Pair};

use crate::schema_kinds::expect_same_dump;
use crate::zoo_names::hostile_names;

const AUTO: &str = "schema_sync => 'auto'";

/// Names that break careless quoting, of everything that has one.
#[test]
fn hostile_names_of_everything() {
    let pair = Pair::new("auto_names");
    let mut sql = String::new();
    // No schema may be named like a system schema.
    for name in hostile_names().iter().filter(|name| !name.starts_with("pg_")) {
        let name = quote_ident(name);
        sql.push_str(&format!(
            "create schema {name}; create type {name}.{name} as enum ({label});
            create function {name}.{name}(int) returns int language sql immutable as 'select $1';
             create function {name}.trigger() returns trigger language plpgsql as 'begin return new; end';
             create sequence {name}.seq; create domain {name}.d as int constraint {name} check (value > 0);
             create table {name}.t ({name} int primary key default nextval('{seq}'), e {name}.{name} default {label}, d {name}.d,
                 g int generated always as ({name}.{name}(1)) stored, constraint {name} check ({name}.{name}(d) > 0));
             create index {name} on {name}.t (({name}.{name}(d))); create view {name}.v as select {name} from {name}.t;
             create trigger {name} before insert on {name}.t for each row execute function {name}.trigger();
             create policy {name} on {name}.t using ({name} > 0); comment on table {name}.t is {label};
             create table {name}.p ({name} int, primary key ({name})) partition by list ({name});
             create table {name}.p1 partition of {name}.p for values in (1);
             alter table {name}.t add constraint fk foreign key (d) references {name}.p; insert into {name}.p values (1);
             insert into {name}.t (d) select 1 from generate_series(1, 20);\n",
            label = quote_literal(&name[1..name.len() - 1]),
            seq = format!("{name}.seq").replace('\'', "''"),
        ));
    }
    pair.source.exec(&sql);
    pair.register();
    pair.synchronize(AUTO);
    expect_same_dump(&pair);
    pair.expect_equal();
    // And of the database itself.
    let pair = Pair::new("auto We\"ird; -- d'b \\ é");
    pair.source.exec("create table t (a int primary key); insert into t select generate_series(1, 10)");
    pair.register();
    pair.synchronize(AUTO);
    pair.expect_equal();
}

/// Names of schemas that are statements after a line's end, or look like the places of a query that something is put into.
const STATEMENTS: [&str; 11] = [
    "\n;select public.evil(); --",
    "a\n') is null);select public.evil(); --",
    "*/ select public.evil(); --",
    "');select public.evil(); --",
    ":filter",
    ":sizes",
    ":names",
    ":all",
    ":relids",
    ":schemas",
    ":objects",
];

/// Whoever may make a schema does not choose what is done with the rights of whoever looks at it.
#[test]
fn no_name_is_ever_carried_out() {
    let pair = Pair::new("names_done");
    let on_both = |sql: &str| {
        pair.source.exec(sql);
        pair.target.exec(sql);
    };
    on_both(
        "create table witness (id serial primary key);
         create function evil() returns void language sql as 'insert into public.witness default values'",
    );
    for name in STATEMENTS.map(quote_ident) {
        on_both(&format!("create schema {name}; create table {name}.t (id serial primary key, v int default 1)"));
        pair.source.exec(&format!("insert into {name}.t select from generate_series(1, 7)"));
    }
    pair.register();
    let expect_nothing_done = |what: &str| {
        for db in [&pair.source, &pair.target] {
            assert_eq!(db.scalar::<i64>("select count(*) from witness"), 0, "{what} was carried out on {}", db.name());
        }
    };
    for name in STATEMENTS.map(|name| quote_literal(&quote_ident(name))) {
        let compared =
            pair.target.try_exec(&format!("select steep_repl.compare_schemas('node_a', 'node_b', array[{name}])"));
        expect_nothing_done(&name);
        compared.unwrap();
    }
    let array = STATEMENTS.map(|name| quote_literal(&quote_ident(name))).join(", ");
    let expected = STATEMENTS.len() as i64;
    for query in [
        format!("select count(*) from steep_repl.compare_schemas('node_a', 'node_b', array[{array}]) where status = 'MATCH'"),
        format!("select steep_repl.capture_fingerprints(array[{array}])"),
        format!("select {expected} + count(*) from steep_repl.schema_drift"),
        format!("select {expected} + count(*) from steep_repl.schema_sync_plan('node_b', 'node_a', schemas => array[{array}])"),
    ] {
        assert_eq!(pair.target.scalar::<i64>(&query), expected, "{query}");
    }
    pair.synchronize(&format!("schema_sync => 'strict', schemas => array[{array}]"));
    check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(60));
    for name in STATEMENTS.map(quote_ident) {
        assert_eq!(pair.target.scalar::<i64>(&format!("select count(*) from {name}.t")), 7, "{name}");
    }
    // Nor is a sequence overlooked because of its schema's name.
    compare_sequences(&pair.source, &pair.target).unwrap();
    expect_nothing_done("a name");
}

/// A name may have the end of a line, and with it that of a comment.
#[test]
fn nothing_is_put_into_a_comment() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/queries");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap();
        for comment in text.lines().filter_map(|line| line.split_once("--")).map(|(_, comment)| comment) {
            let is_place =
                |(at, _): (usize, &str)| comment[at + 1..].starts_with(|letter: char| letter.is_ascii_lowercase());
            assert!(!comment.match_indices(':').any(is_place), "{}: {comment}", file.path().display());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
