//! Fingerprints, drift, and what differs between nodes: every change is found, equal tables match, and the DDL that is given makes
//! them match.

use std::time::{Duration, Instant};

use steep_repl_testkit::{quote_literal, seed, test_all, ClusterOptions, Db, Pair, Rng};

use crate::refusal::refused_quickly;

fn nodes(label: &str) -> Pair {
    let pair = Pair::new(label);
    pair.prepare();
    pair
}

fn compared(db: &Db) -> Vec<String> {
    db.rows(
        "select format('%I.%I %s%s', table_schema, table_name, status, ': ' || difference)
         from steep_repl.compare_schemas('node_a', 'node_b')",
    )
}

fn fingerprint(db: &Db, table: &str) -> String {
    db.scalar(&format!("select steep_repl.schema_fingerprint({})", quote_literal(table)))
}

#[test]
fn the_same_columns_have_the_same_fingerprint() {
    let pair = nodes("fingerprint");
    pair.target.exec(
        "create schema other; create type other.mood as enum ('a', 'b'); create domain other.positive as int check (value > 0);
         create table one (id bigint generated always as identity primary key, m other.mood not null default 'a', p other.positive[],
             t text collate \"C\", g int generated always as (1) stored, n numeric(10,2) default 0.5, \"Odd \"\"one\" int);
         create table other.two (\"Odd \"\"one\" int, gone text, n numeric(10,2) default 0.5, g int generated always as (1) stored,
             t text collate \"C\", p other.positive[], m other.mood not null default 'a',
             id bigint generated always as identity);
         alter table other.two drop column gone; create index on other.two (n)",
    );
    let one = fingerprint(&pair.target, "one");
    assert_eq!(one.len(), 64);
    assert_eq!(one, fingerprint(&pair.target, "other.two"));
    assert_eq!(one, pair.target.scalar::<String>("select steep_repl.schema_fingerprint('other', 'two')"));
    // The caller's search_path is of no account.
    let mut session = pair.target.connect();
    session.batch_execute("set search_path = other").unwrap();
    let two: String = session.query_one("select steep_repl.schema_fingerprint('two')", &[]).unwrap().get(0);
    assert_eq!(one, two);
    for change in [
        "alter n type numeric(12,2)",
        "alter n drop default",
        "alter n set default 0.6",
        "alter n set not null",
        "alter id drop identity",
        "alter t type text collate \"POSIX\"",
        "alter m type text",
        "drop g",
        "rename n to nn",
        "add extra int",
    ] {
        let mut session = pair.target.connect();
        session
            .batch_execute(&format!(
                "begin; alter table other.two alter m drop default; alter table other.two {change}"
            ))
            .unwrap();
        let sql = "select steep_repl.schema_fingerprint('other.two')";
        let changed: String = session.query_one(sql, &[]).unwrap().get(0);
        assert_ne!(changed, one, "{change}");
        session.batch_execute("rollback").unwrap();
    }
    let refusal = refused_quickly(|| pair.target.try_exec("select steep_repl.schema_fingerprint('public', 'nowhere')"));
    assert_eq!(refusal.names(&["public.nowhere"]).code, "42P01");
}

#[test]
fn nobody_waits_for_a_table_that_is_locked() {
    let pair = nodes("schema_busy");
    for db in [&pair.source, &pair.target] {
        db.exec("create table busy (id int primary key, v int default 5); create table idle (id int primary key)");
    }
    let mut session = pair.target.connect();
    session.batch_execute("begin; lock table busy in access exclusive mode").unwrap();
    let started = Instant::now();
    assert_eq!(compared(&pair.target), ["public.busy BUSY", "public.idle MATCH"]);
    let refusal = refused_quickly(|| pair.target.try_exec("select steep_repl.schema_fingerprint('public', 'busy')"));
    assert_eq!(refusal.names(&["public.busy"]).code, "55P03");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    session.batch_execute("rollback").unwrap();
    assert_eq!(compared(&pair.target), ["public.busy MATCH", "public.idle MATCH"]);
}

#[test]
fn what_changed_since_it_was_captured() {
    let pair = nodes("drift");
    pair.target.exec(
        "create table a (id int primary key, v int); create table b (id int); create table c (id int);
         create schema s; create table s.d (id int)",
    );
    let drift = "select format('%I.%I %s%s', table_schema, table_name, status, ': ' || difference) from steep_repl.schema_drift";
    assert_eq!(pair.target.rows(drift), [""; 0]);
    assert_eq!(pair.target.scalar::<i64>("select steep_repl.capture_fingerprints()"), 4);
    assert_eq!(pair.target.rows(drift), [""; 0]);
    let stored = "select table_schema || ' ' || table_name || ' ' || column_count from steep_repl.schema_fingerprints order by 1";
    assert_eq!(pair.target.rows(stored), ["public a 2", "public b 1", "public c 1", "s d 1"]);
    pair.target.exec("alter table a alter v type bigint; drop table b; create table e (id int); create index on c (id); alter table s.d add v int");
    let changed = [
        "public.a CHANGED: column v: integer on the table as captured, bigint on the table now",
        "public.b DROPPED",
        "public.e ADDED",
        "s.d CHANGED: column v missing on the table as captured",
    ];
    assert_eq!(pair.target.rows(drift), changed);
    assert_eq!(pair.target.scalar::<i64>("select steep_repl.capture_fingerprints(schemas => array['s'])"), 1);
    assert_eq!(pair.target.rows(drift), changed[..3]);
    pair.target.exec("select steep_repl.capture_fingerprints()");
    assert_eq!(pair.target.rows(drift), [""; 0]);
}

#[test]
fn nodes_are_compared_table_by_table() {
    let pair = nodes("compare");
    pair.source.exec(
        "create table orders (id int primary key, total numeric(10,2), loyalty_tier text); create table same (id int primary key, v text);
         create table here (id int); create table parted (id int) partition by range (id)",
    );
    pair.target.exec(
        "create table orders (total numeric(12,2), id int primary key, old_name int); create table same (v text, id int primary key);
         create table there (id int); create table parted (id int) partition by list (id)",
    );
    assert_eq!(
        compared(&pair.target),
        [
            "public.here LOCAL_ONLY: table missing on node_b",
            "public.orders MISMATCH: column old_name missing on node_a; column total: numeric(10,2) on node_a, numeric(12,2) on node_b; \
             column loyalty_tier missing on node_b",
            "public.parted MISMATCH: partition key: RANGE (id) on node_a, LIST (id) on node_b",
            "public.same MATCH",
            "public.there REMOTE_ONLY: table missing on node_a",
        ]
    );
    // Neither needs to be this database, nor have the extension.
    let third = pair.source.cluster().create_database("compare_third", "");
    third.exec("create table same (id int primary key, v text)");
    pair.target.exec(&format!("select steep_repl.register_node('node_c', {})", quote_literal(&third.conninfo())));
    let others = pair.target.rows(
        "select table_name || ' ' || status from steep_repl.compare_schemas('node_c', 'node_a', schemas => array['public']) where status <> 'REMOTE_ONLY'",
    );
    assert_eq!(others, ["same MATCH"]);
    assert_eq!(
        refused_quickly(|| pair.target.try_exec("select steep_repl.compare_schemas('node_a', 'nobody')")).code,
        "42704"
    );
    drop(third);
}

#[test]
fn differences_of_a_table_with_the_way_out() {
    let pair = nodes("schema_diff");
    pair.source.exec(
        "create table t (id int primary key, v int default 1 not null, note text); create index t_v on t (v);
         alter table t add constraint small check (v < 100); alter table t replica identity full",
    );
    pair.target.exec("create table t (id int, v bigint, extra int)");
    let diff = "select format('%s %s %s %s', object_kind, object_name, change, is_mismatch::text) from steep_repl.schema_diff('node_a', 'node_b', 't')";
    assert_eq!(
        pair.target.rows(diff),
        [
            "column extra extra true",
            "nullability id different true",
            "column v type true",
            "nullability v different true",
            "default v missing true",
            "column note missing true",
            "primary key t_pkey missing false",
            "check constraint small missing false",
            "index t_v missing false",
            "replica identity t missing false",
        ]
    );
    carry_out(&pair, "t");
    assert_eq!(pair.target.rows(diff), [""; 0]);
    assert_eq!(compared(&pair.target), ["public.t MATCH"]);
    let refusal =
        refused_quickly(|| pair.target.try_exec("select steep_repl.schema_diff('node_a', 'node_b', 'nowhere')"));
    assert_eq!(refusal.code, "42P01");
}

/// Runs the DDL of all differences, in their order.
fn carry_out(pair: &Pair, table: &str) {
    let sql = format!(
        "select ddl from steep_repl.schema_diff('node_a', 'node_b', {}) where ddl is not null",
        quote_literal(table)
    );
    for ddl in pair.target.rows(&sql) {
        pair.target.try_exec(&ddl).unwrap_or_else(|error| panic!("{ddl}: {}", steep_repl_testkit::describe(&error)));
    }
}

/// Types whose values are cast to each other, or not.
const TYPES: [&str; 17] = [
    "smallint",
    "integer",
    "bigint",
    "numeric(10,2)",
    "numeric(12,4)",
    "real",
    "double precision",
    "text",
    "varchar(20)",
    "char(5)",
    "boolean",
    "date",
    "timestamptz",
    "interval",
    "uuid",
    "jsonb",
    "bytea",
];

/// A column that may be anything.
fn draw_column(rng: &mut Rng, name: &str) -> String {
    let pick = rng.below(20);
    let base = match pick {
        17 => "int[]".to_owned(),
        18 => "public.mood".to_owned(),
        19 => "public.positive".to_owned(),
        other => TYPES[other as usize].to_owned(),
    };
    let mut text = format!("\"{name}\" {base}");
    if (base == "text" || base.starts_with("varchar")) && rng.below(3) == 0 {
        text.push_str(" collate \"C\"");
    }
    let is_number = ["smallint", "integer", "bigint"].contains(&base.as_str());
    match rng.below(6) {
        0 if is_number => {
            return format!("{text} generated {} as identity", ["always", "by default"][rng.below(2) as usize])
        }
        1 if base == "integer" || base == "bigint" => {
            return format!("{text} generated always as ({}) stored", 1 + rng.below(3));
        }
        2 if is_number => text.push_str(&format!(" default {}", rng.below(3))),
        3 if base == "text" => text.push_str(" default 'it''s'"),
        _ => {}
    }
    if rng.below(3) == 0 {
        text.push_str(" not null");
    }
    text
}

fn draw_table(rng: &mut Rng) -> Vec<String> {
    let names = ["a", "b", "C d", "e\"\"f", "g"];
    let mut columns = Vec::new();
    for name in names {
        if rng.below(5) > 0 {
            columns.push(draw_column(rng, name));
        }
    }
    columns
}

/// Pairs of tables: equal but for the order of columns, or with anything changed; what is found decides, and the DDL makes them match.
#[test]
fn any_two_tables() {
    let cluster = ClusterOptions::new("schema_any").preload().start();
    let pair = Pair::options("schema_any").target(cluster.clone()).source(cluster).build();
    for db in [&pair.source, &pair.target] {
        db.exec("create type mood as enum ('a', 'b'); create domain positive as int check (value > 0)");
    }
    pair.register();
    let mut rng = Rng::new(seed(), "any two tables");
    let cases = if test_all() { 1000 } else { 100 };
    for case in 0..cases {
        let mut one = draw_table(&mut rng);
        let same = rng.below(4) == 0;
        let two = if same { one.iter().rev().cloned().collect() } else { draw_table(&mut rng) };
        if one.is_empty() {
            one.push(draw_column(&mut rng, "a"));
        }
        let two = if same || !two.is_empty() { two } else { vec![draw_column(&mut rng, "g")] };
        let table = format!("t{case}");
        for (db, columns) in [(&pair.source, &one), (&pair.target, &two)] {
            db.exec(&format!("create table {table} ({})", columns.join(", ")));
        }
        let facts = |db: &Db| {
            db.rows(&format!(
                "select format('%s|%s|%s|%s|%s|%s|%s', attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
                     attidentity, attgenerated, nullif(attcollation, typcollation)) from pg_attribute a join pg_type y on y.oid = atttypid
                 left join pg_attrdef on adrelid = attrelid and adnum = attnum
                 where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped order by attname collate \"C\""
            ))
        };
        let equal = facts(&pair.source) == facts(&pair.target);
        let status =
            format!("select status from steep_repl.compare_schemas('node_a', 'node_b') where table_name = '{table}'");
        assert_eq!(pair.target.scalar::<String>(&status), if equal { "MATCH" } else { "MISMATCH" }, "{one:?} {two:?}");
        let prints = format!("select fingerprint_a = fingerprint_b from steep_repl.compare_schemas('node_a', 'node_b') where table_name = '{table}'");
        assert_eq!(pair.target.scalar::<bool>(&prints), equal, "{one:?} {two:?}");
        if !equal {
            // A value of one type may be none of another; then there is no cast to write down.
            let ddl = pair.target.rows(&format!(
                "select ddl from steep_repl.schema_diff('node_a', 'node_b', '{table}') where ddl is not null"
            ));
            let mut session = pair.target.connect();
            let refused = ddl.iter().find_map(|ddl| session.batch_execute(ddl).err().map(|error| (ddl, error)));
            match refused {
                None => {
                    assert_eq!(facts(&pair.source), facts(&pair.target), "{one:?} {two:?} {ddl:?}");
                    assert_eq!(pair.target.scalar::<String>(&status), "MATCH", "{one:?} {two:?}");
                }
                Some((ddl, error)) => {
                    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
                    assert_eq!(code, "42846", "{ddl}: {}\n{one:?} {two:?}", steep_repl_testkit::describe(&error));
                }
            }
        }
        for db in [&pair.source, &pair.target] {
            db.exec(&format!("drop table {table}"));
        }
    }
}
