//! An older node against one of the version under test: what the same SQL makes on both matches, and every change is found all the same.
//! Only the text of an expression says nothing between majors, since each deparses in its own way.

use steep_repl_testkit::{major, quote_literal, shared, Db, Pair};

/// Tables as people make them; see the head of the file.
pub const TABLES: &str = include_str!("../crates/core/tests/recorded/tables.sql");

fn nodes(label: &str) -> Pair {
    let pair = Pair::options(label).source(shared::old_source()).build();
    pair.register();
    pair
}

fn on_both(pair: &Pair, sql: &str) {
    pair.source.exec(sql);
    pair.target.exec(sql);
}

fn compared(db: &Db, nodes: &str) -> Vec<String> {
    db.rows(&format!(
        "select format('%I.%I %s%s', table_schema, table_name, status, ': ' || difference) from steep_repl.compare_schemas({nodes})"
    ))
}

/// Whether the older server writes an expression in a way of its own that is in [`TABLES`]: since 16 XMLSERIALIZE tells its indentation.
fn writes_otherwise(pair: &Pair) -> bool {
    pair.source.cluster().installation().major() < 16
}

#[test]
fn the_same_sql_makes_the_same_tables() {
    let pair = nodes("majors");
    on_both(&pair, TABLES);
    let count: i64 = pair.source.scalar("select count(*) from pg_class where relkind in ('r', 'p') and relnamespace::regnamespace::text !~ '^(pg_|information_schema)'");
    assert!(count > 20, "{count}");
    // Either may be the reference.
    for (nodes, texts) in [
        ("'node_a', 'node_b'", ["'<a/>'::xml AS text) on node_a", "'<a/>'::xml AS text NO INDENT) on node_b"]),
        ("'node_b', 'node_a'", ["'<a/>'::xml AS text NO INDENT) on node_b", "'<a/>'::xml AS text) on node_a"]),
    ] {
        let rows = compared(&pair.target, nodes);
        assert_eq!(rows.len() as i64, count, "{rows:?}");
        let note = format!(
            ": column xml_text: default text differs: XMLSERIALIZE(CONTENT {}, XMLSERIALIZE(CONTENT {}",
            texts[0], texts[1]
        );
        for row in rows {
            let (table, rest) = row.split_once(" MATCH").unwrap_or_else(|| panic!("{row}"));
            let is_noted = table == "shop.defaults" && writes_otherwise(&pair);
            assert_eq!(rest, if is_noted { &note } else { "" }, "{row}");
        }
    }
    let others = pair.target.rows(
        "select table_name from steep_repl.compare_schemas('node_a', 'node_b') where fingerprint_a is distinct from fingerprint_b",
    );
    assert_eq!(others, if writes_otherwise(&pair) { &["defaults"][..] } else { &[] });
    // What decides nothing is the same as well: keys, checks, indexes, triggers, the replica identity.
    for table in pair
        .target
        .rows("select format('%I.%I', table_schema, table_name) from steep_repl.compare_schemas('node_a', 'node_b')")
    {
        let found = pair.target.rows(&format!(
            "select object_kind, object_name, change, is_mismatch from steep_repl.schema_diff('node_a', 'node_b', {})",
            quote_literal(&table)
        ));
        let is_noted = table == "shop.defaults" && writes_otherwise(&pair);
        assert_eq!(found, if is_noted { &["default | xml_text | text | f"][..] } else { &[] }, "{table}");
    }
}

/// A table of both nodes, what is done to it on the newer one, and what is said then.
struct Change {
    columns: &'static str,
    then: &'static str,
    said: &'static str,
}

const fn change(columns: &'static str, then: &'static str, said: &'static str) -> Change {
    Change { columns, then, said }
}

/// `%` stands for the table.
const CHANGES: [Change; 27] = [
    change("(a int)", "alter table % add b int", "MISMATCH: column b missing on node_a"),
    change("(a int, b int)", "alter table % drop b", "MISMATCH: column b missing on node_b"),
    change(
        "(a int, b int)",
        "alter table % rename b to c",
        "MISMATCH: column c missing on node_a; column b missing on node_b",
    ),
    change("(a int)", "alter table % alter a type bigint", "MISMATCH: column a: integer on node_a, bigint on node_b"),
    change(
        "(a numeric(10,2))",
        "alter table % alter a type numeric(10,3)",
        "MISMATCH: column a: numeric(10,2) on node_a, numeric(10,3) on node_b",
    ),
    change(
        "(a varchar(10))",
        "alter table % alter a type varchar(11)",
        "MISMATCH: column a: character varying(10) on node_a, character varying(11) on node_b",
    ),
    change(
        "(a timestamp)",
        "alter table % alter a type timestamptz",
        "MISMATCH: column a: timestamp without time zone on node_a, timestamp with time zone on node_b",
    ),
    change(
        "(a int[])",
        "alter table % alter a type bigint[]",
        "MISMATCH: column a: integer[] on node_a, bigint[] on node_b",
    ),
    change(
        "(a public.mood)",
        "alter table % alter a type public.other_mood using null",
        "MISMATCH: column a: public.mood on node_a, public.other_mood on node_b",
    ),
    change(
        "(a public.positive)",
        "alter table % alter a type int",
        "MISMATCH: column a: public.positive on node_a, integer on node_b",
    ),
    change(
        "(a text)",
        "alter table % alter a type text collate \"C\"",
        "MISMATCH: column a: collation default on node_a, pg_catalog.\"C\" on node_b",
    ),
    change(
        "(a int)",
        "alter table % alter a set not null",
        "MISMATCH: column a: nullability null on node_a, not null on node_b",
    ),
    change(
        "(a int not null)",
        "alter table % alter a drop not null",
        "MISMATCH: column a: nullability not null on node_a, null on node_b",
    ),
    change(
        "(a int primary key)",
        "alter table % drop constraint %_pkey, alter a drop not null",
        "MISMATCH: column a: nullability not null on node_a, null on node_b",
    ),
    change("(a int)", "alter table % alter a set default 1", "MISMATCH: column a: default none on node_a, 1 on node_b"),
    change(
        "(a int default 1)",
        "alter table % alter a drop default",
        "MISMATCH: column a: default 1 on node_a, none on node_b",
    ),
    change(
        "(a int default 1)",
        "alter table % alter a set default 2",
        "MATCH: column a: default text differs: 1 on node_a, 2 on node_b",
    ),
    change(
        "(a int not null)",
        "alter table % alter a add generated always as identity",
        "MISMATCH: column a: identity none on node_a, always on node_b",
    ),
    change(
        "(a int generated by default as identity)",
        "alter table % alter a set generated always",
        "MISMATCH: column a: identity by default on node_a, always on node_b",
    ),
    change(
        "(a int generated always as identity)",
        "alter table % alter a drop identity",
        "MISMATCH: column a: identity always on node_a, none on node_b",
    ),
    change(
        "(a int, b int generated always as (a + 1) stored)",
        "alter table % alter b drop expression",
        "MISMATCH: column b: generated (a + 1) STORED on node_a, none on node_b",
    ),
    change(
        "(a int, b int)",
        "alter table % drop b, add b int generated always as (a + 1) stored",
        "MISMATCH: column b: generated none on node_a, (a + 1) STORED on node_b",
    ),
    change(
        "(a int, b int generated always as (a + 1) stored)",
        "alter table % drop b, add b int generated always as (a + 2) stored",
        "MATCH: column b: text of its expression differs: (a + 1) STORED on node_a, (a + 2) STORED on node_b",
    ),
    change(
        "(a int, b int) partition by range (a)",
        "drop table %; create table % (a int, b int) partition by range (b)",
        "MISMATCH: partition key: RANGE (a) on node_a, RANGE (b) on node_b",
    ),
    change(
        "(a int) partition by list (a)",
        "drop table %; create table % (a int)",
        "MISMATCH: partition key: LIST (a) on node_a, none on node_b",
    ),
    change("(a int)", "drop table %", "LOCAL_ONLY: table missing on node_b"),
    // What decides nothing is not told here.
    change(
        "(a int, b int)",
        "alter table % add primary key (a), add check (b > 0); create index on % (b)",
        "MISMATCH: column a: nullability null on node_a, not null on node_b",
    ),
];

#[test]
fn every_change_is_found_between_majors() {
    let pair = nodes("majors_changes");
    on_both(
        &pair,
        "create type mood as enum ('a', 'b'); create type other_mood as enum ('a', 'b'); create domain positive as int check (value > 0);
         create cast (other_mood as mood) with inout",
    );
    let name = |place: usize| format!("t{place:02}");
    for (place, change) in CHANGES.iter().enumerate() {
        on_both(&pair, &format!("create table {} {}", name(place), change.columns));
    }
    let rows = compared(&pair.target, "'node_a', 'node_b'");
    assert!(rows.iter().all(|row| row.ends_with(" MATCH")), "{rows:?}");
    for (place, change) in CHANGES.iter().enumerate() {
        pair.target.exec(&change.then.replace('%', &name(place)));
    }
    let expected: Vec<String> =
        CHANGES.iter().enumerate().map(|(place, change)| format!("public.{} {}", name(place), change.said)).collect();
    assert_eq!(compared(&pair.target, "'node_a', 'node_b'"), expected);
    // The DDL of the newer version's node makes them match, but where a table has to be made anew.
    for place in 0..CHANGES.len() {
        let ddl = format!(
            "select ddl from steep_repl.schema_diff('node_a', 'node_b', '{}') where ddl is not null",
            name(place)
        );
        for statement in pair.target.rows(&ddl) {
            pair.target.exec(&statement);
        }
    }
    let left: Vec<String> = compared(&pair.target, "'node_a', 'node_b'");
    let left: Vec<&String> = left.iter().filter(|row| !row.contains(" MATCH")).collect();
    assert!(left.iter().all(|row| row.contains("MISMATCH: partition key")) && left.len() == 2, "{left:?}");
}

#[test]
fn a_virtual_column_is_no_stored_one() {
    if major() < 18 {
        println!("virtual columns need PostgreSQL 18");
        return;
    }
    let pair = nodes("majors_virtual");
    pair.source.exec("create table t (id int primary key, v int generated always as (id * 2) stored)");
    pair.target.exec("create table t (id int primary key, v int generated always as (id * 2) virtual)");
    let said = "column v: generated (id * 2) STORED on node_a, (id * 2) VIRTUAL on node_b";
    assert_eq!(compared(&pair.target, "'node_a', 'node_b'"), [format!("public.t MISMATCH: {said}")]);
    for statement in pair.target.rows("select ddl from steep_repl.schema_diff('node_a', 'node_b', 't')") {
        pair.target.exec(&statement);
    }
    assert_eq!(compared(&pair.target, "'node_a', 'node_b'"), ["public.t MATCH"]);
}
