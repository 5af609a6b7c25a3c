//! Columns go by name: their order, and what was dropped before, may differ.

use steep_repl_testkit::{LoadOptions, Pair};

#[test]
fn another_order_and_dropped_columns() {
    let pair = Pair::new("order");
    pair.source.exec(
        "create table t (id int primary key, gone text, v int, note text, made date default '2024-01-01', twice int generated always as (v * 2) stored);
         alter table t drop column gone;
         create table large (id int primary key, v int, note text);
         create table text_format (id int primary key, r regclass, v int, note text);
         insert into t (id, v, note) select i, -i, 'row ' || i from generate_series(1, 10000) i;
         insert into large select i, -i, repeat('x', 100) from generate_series(1, 30000) i;
         insert into text_format select i, 'pg_class', -i, 'n' from generate_series(1, 100) i",
    );
    pair.target.exec(
        "create table t (note text, a int, b int, twice int generated always as (v * 2) stored, made date default '2024-01-01', v int, c text,
            id int primary key);
         alter table t drop column a, drop column b, drop column c;
         create table large (note text, gone int, id int primary key, v int); alter table large drop column gone;
         create table text_format (v int, note text, r regclass, id int primary key)",
    );
    pair.register();
    let load = LoadOptions::default().keyed("t").keyed("large").keys(10_000).rate(100).start(&pair.source);
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel'");
    load.stop();
    pair.expect_equal();
}

#[test]
fn partitions_whose_columns_differ_from_their_root() {
    let pair = Pair::new("attached");
    pair.source.exec(
        "create table parts (id int primary key, v int, note text) partition by range (id);
         create table parts_1 (note text, gone int, v int, id int not null); alter table parts_1 drop column gone;
         alter table parts attach partition parts_1 for values from (0) to (1000);
         insert into parts select i, -i, 'row ' || i from generate_series(0, 999) i",
    );
    pair.target.exec(
        "create table parts (note text, id int primary key, v int) partition by range (id);
         create table parts_1 partition of parts for values from (0) to (1000)",
    );
    pair.register();
    pair.synchronize("method => 'parallel'");
    pair.source.exec("update parts set v = v - 1 where id % 3 = 0");
    pair.expect_equal();
}

/// The source cannot fill it, and need not: a default or null does.
#[test]
fn an_extra_nullable_column_on_the_target() {
    let pair = Pair::new("extra");
    pair.source
        .exec("create table t (id int primary key, v int); insert into t select i, i from generate_series(1, 1000) i");
    pair.target.exec("create table t (extra text, id int primary key, defaulted int default 7, v int)");
    pair.register();
    pair.synchronize("method => 'parallel'");
    pair.source.exec("insert into t values (0, 0)");
    pair.expect_equal();
    assert_eq!(pair.target.scalar::<i64>("select count(*) from t where extra is null and defaulted = 7"), 1001);
}
