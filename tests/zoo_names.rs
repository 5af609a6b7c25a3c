//! Names that break careless quoting.

use steep_repl_testkit::{compare_sequences, quote_ident, Pair};

use crate::outcome::initialize;

/// 63 bytes is the longest name; the last of these has 63 bytes in fewer characters.
pub fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "We\"ird; --",
        "UPPER",
        "MixedCase",
        "with space",
        " leading",
        "trailing ",
        "sel'ect",
        "select",
        "user",
        "a.b",
        "tab\tname",
        "new\nline",
        "back\\slash",
        "$1",
        "$$",
        "%s%n",
        "{}",
        "[1]",
        "é漢字😀",
        "null",
        "\\N",
        "-",
        "1",
        "\"",
        "'",
        "a,b",
        "(x)",
        "E'x'",
        "pg_like",
        "=",
    ]
    .iter()
    .map(|name| name.to_string())
    .collect();
    names.push("x".repeat(63));
    names.push(format!("{}y", "é".repeat(31)));
    names
}

#[test]
fn tables_columns_and_schemas_with_hostile_names() {
    let pair = Pair::new("names");
    let names = hostile_names();
    let mut sql = String::new();
    for (number, name) in names.iter().enumerate() {
        let other = &names[(number + 7) % names.len()];
        let (name, other) = (quote_ident(name), quote_ident(other));
        sql.push_str(&format!("create table public.{name} ({name} int primary key, {other} text, \"id\" serial);\n"));
        sql.push_str(&format!("create index on public.{name} ({other});\n"));
        sql.push_str(&format!("insert into public.{name} select i, 'row ' || i from generate_series(1, 20) i;\n"));
    }
    for name in names.iter().take(8) {
        // pg_ is reserved for schemas; the rest is not.
        let name = quote_ident(name);
        sql.push_str(&format!("create schema {name}; create table {name}.{name} ({name} int primary key, a text);\n"));
        sql.push_str(&format!("insert into {name}.{name} values (1, 'x'), (2, null);\n"));
    }
    pair.source.exec(&sql);
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    compare_sequences(&pair.source, &pair.target).unwrap();
    for name in &names {
        let name = quote_ident(name);
        pair.source
            .exec(&format!("delete from public.{name} where {name} = 3; update public.{name} set {name} = -{name}"));
    }
    pair.expect_equal();
    let shown = pair.target.scalar::<i64>("select count(*) from steep_repl.table_progress");
    assert_eq!(shown, names.len() as i64 + 8);
}

/// schemas and tables are parsed like the text of a regclass.
#[test]
fn hostile_names_as_arguments() {
    let pair = Pair::new("name_args");
    pair.source.exec(
        "create schema \"We\"\"ird; --\";
         create table \"We\"\"ird; --\".\"Tab.le\" (a int primary key);
         create table \"We\"\"ird; --\".other (a int primary key);
         create table plain (a int primary key);
         create table \"Upper\" (a int primary key);
         insert into \"We\"\"ird; --\".\"Tab.le\" values (1); insert into \"We\"\"ird; --\".other values (1);
         insert into plain values (1); insert into \"Upper\" values (1)",
    );
    pair.prepare();
    pair.synchronize(
        "method => 'parallel', tables => array['\"We\"\"ird; --\".\"Tab.le\"', 'public.\"Upper\"', 'PUBLIC.Plain']",
    );
    let count = |table: &str| pair.target.scalar::<i64>(&format!("select count(*) from {table}"));
    assert_eq!(count("\"We\"\"ird; --\".\"Tab.le\""), 1);
    assert_eq!(count("public.\"Upper\""), 1);
    assert_eq!(count("public.plain"), 1);
    assert_eq!(count("\"We\"\"ird; --\".other"), 0);
}

#[test]
fn one_schema_as_argument() {
    let pair = Pair::new("schema_arg");
    pair.source.exec(
        "create schema \"Ünï code\"; create table \"Ünï code\".t (a int primary key); insert into \"Ünï code\".t values (1);
         create table public.t (a int primary key); insert into public.t values (1)",
    );
    pair.prepare();
    pair.synchronize("method => 'parallel', schemas => array['\"Ünï code\"']");
    assert_eq!(pair.target.scalar::<i64>("select count(*) from \"Ünï code\".t"), 1);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from public.t"), 0);
}

#[test]
fn databases_with_hostile_names() {
    let pair = Pair::new("We\"ird; -- d'b \\ é");
    pair.source.exec("create table t (a int primary key); insert into t select generate_series(1, 10)");
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
}
