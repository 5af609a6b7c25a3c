//! Every kind of table: what is copied, what is left out.

use steep_repl_testkit::{compare_sequences, major, Pair, SchemaState, Tables};

use crate::outcome::initialize;

#[test]
fn partitions() {
    let pair = Pair::new("partitions");
    pair.source.exec(
        "create table parts (id int, region text, v int, primary key (id, region)) partition by list (region);
         create table parts_eu partition of parts for values in ('eu') partition by range (id);
         create table parts_eu_1 partition of parts_eu for values from (0) to (1000);
         create table parts_eu_2 partition of parts_eu default;
         create table parts_us partition of parts for values in ('us') partition by hash (id);
         create table parts_us_0 partition of parts_us for values with (modulus 2, remainder 0);
         create table parts_us_1 partition of parts_us for values with (modulus 2, remainder 1);
         create table late (v int, region text not null, gone int, id int not null);
         alter table late drop column gone;
         alter table parts attach partition late for values in ('as');
         create index on parts (v);
         insert into parts select i, (array['eu', 'us', 'as'])[1 + i % 3], i from generate_series(1, 9000) i;
         create table no_parts (id int primary key) partition by range (id);
         create schema other;
         create table other.root (id int primary key, v text) partition by range (id);
         create table public.leaf_elsewhere partition of other.root for values from (0) to (10);
         insert into other.root values (1, 'one');",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    // Roots are published, so a row that moves to another partition arrives as such.
    pair.source
        .exec("update parts set region = 'us' where region = 'as' and id % 2 = 0; delete from parts where id < 100");
    pair.expect_equal();
    assert_eq!(
        pair.target.rows("select pubviaroot from pg_publication"),
        Vec::<String>::new(),
        "the publication belongs to the source"
    );
    assert_eq!(
        pair.source.rows("select distinct pubviaroot from pg_publication where pubname like 'steep_repl%'"),
        ["f"]
    );
}

#[test]
fn one_partition_as_explicit_table() {
    let pair = Pair::new("leaf");
    pair.source.exec(
        "create table parts (id int primary key, v int) partition by range (id);
         create table parts_1 partition of parts for values from (0) to (100);
         create table parts_2 partition of parts for values from (100) to (200);
         insert into parts select i, i from generate_series(0, 199) i",
    );
    pair.prepare();
    pair.synchronize("method => 'parallel', tables => array['public.parts_2']");
    pair.source.exec("update parts set v = -v");
    pair.expect_equal_in(&Tables::only(&["parts_2"]));
    assert_eq!(pair.target.scalar::<i64>("select count(*) from parts_1"), 0);
}

#[test]
fn a_root_as_explicit_table() {
    let pair = Pair::new("root");
    pair.source.exec(
        "create table parts (id int primary key, v int) partition by range (id);
         create table parts_1 partition of parts for values from (0) to (100) partition by range (id);
         create table parts_1_1 partition of parts_1 for values from (0) to (100);
         create table parts_2 partition of parts for values from (100) to (200);
         create table other (id int primary key); insert into other values (1);
         insert into parts select i, i from generate_series(0, 199) i",
    );
    pair.prepare();
    pair.synchronize("method => 'parallel', tables => array['parts']");
    pair.expect_equal_in(&Tables::except(&["other"]));
    assert_eq!(pair.target.scalar::<i64>("select count(*) from other"), 0);
}

#[test]
fn inheritance() {
    let pair = Pair::new("inherit");
    pair.source.exec(
        "create table cities (id int primary key, name text);
         create table capitals (state text, primary key (id)) inherits (cities);
         create table old_capitals (until date, primary key (id)) inherits (capitals);
         insert into cities select i, 'city ' || i from generate_series(1, 300) i;
         insert into capitals select i, 'capital ' || i, 's' from generate_series(1001, 1300) i;
         insert into old_capitals select i, 'old ' || i, 's', '2000-01-01' from generate_series(2001, 2300) i",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    pair.source.exec("update cities set name = name || '!'; delete from only cities where id < 10");
    pair.expect_equal();
}

/// PostgreSQL 18 has generated columns that are not stored.
fn virtual_or_stored() -> &'static str {
    if major() >= 18 {
        "virtual"
    } else {
        "stored"
    }
}

#[test]
fn generated_and_identity_columns() {
    let pair = Pair::new("generated");
    let kind = virtual_or_stored();
    pair.source.exec(&format!(
        "create table generated (id int primary key, v int, stored int generated always as (v * 2) stored,
            virtual int generated always as (v * 3) {kind}, w text default 'w', first int generated always as (v + id) stored);
         create table identities (id bigint generated always as identity primary key, v int, n int generated by default as identity (start 50));
         create table only_generated (id int primary key, g int generated always as (1) stored);
         insert into generated (id, v) select i, i from generate_series(1, 1000) i; insert into generated (id, v) values (0, null);
         insert into identities (v) select i from generate_series(1, 1000) i;
         insert into only_generated (id) select generate_series(1, 10);"
    ));
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    compare_sequences(&pair.source, &pair.target).unwrap();
    pair.source.exec("update generated set v = v + 1; insert into identities (v) values (0)");
    pair.expect_equal();
}

/// Not one column is sent, and yet there are rows. PostgreSQL's own sync fails on it: its COPY has an empty list of columns.
#[test]
fn a_table_of_generated_columns_only() {
    let pair = Pair::new("only_gen");
    let kind = virtual_or_stored();
    pair.source.exec(&format!(
        "create table t (g int generated always as (7) stored, h int generated always as (8) {kind}); alter table t replica identity full;
         insert into t default values; insert into t default values"
    ));
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
}

#[test]
fn tables_without_columns_and_without_rows() {
    let pair = Pair::new("columnless");
    pair.source.exec(
        "create table nothing (); create table nothing_full (); alter table nothing_full replica identity full;
         create table dropped (a int, b int); alter table dropped drop column a, drop column b;
         insert into nothing select from generate_series(1, 100); insert into nothing_full default values;
         insert into dropped select from generate_series(1, 10);
         create table void (id int primary key);",
    );
    pair.prepare();
    let before = SchemaState::of(&pair.target);
    pair.synchronize("method => 'parallel', no_identity => 'insert_only'");
    before.assert_same(&pair.target);
    pair.source.exec("insert into nothing default values");
    pair.expect_equal();
}

/// What logical replication cannot or must not carry is left out, and that is said.
#[test]
fn what_is_left_out() {
    let pair = Pair::new("left_out");
    pair.source.exec(
        "create extension postgres_fdw; create server nowhere foreign data wrapper postgres_fdw;
         create table normal (id int primary key); insert into normal values (1);
         create unlogged table volatile (id int primary key); insert into volatile values (1);
         create foreign table far (id int) server nowhere;
         create materialized view summary as select count(*) from normal;
         create view looking as select * from normal;
         create table owned_by_extension (id int primary key); insert into owned_by_extension values (1);
         alter extension postgres_fdw add table owned_by_extension;
         create table mixed (id int primary key) partition by range (id);
         create table mixed_1 partition of mixed for values from (0) to (10);
         insert into mixed values (1);",
    );
    pair.prepare();
    pair.target.exec("refresh materialized view summary");
    initialize(&pair, "method => 'parallel'");
    assert_eq!(pair.target.rows("select * from volatile"), Vec::<String>::new());
    assert_eq!(pair.target.rows("select * from summary"), ["0"]);
    let copied = pair.target.rows("select table_name from steep_repl.table_progress order by 1");
    assert_eq!(copied, ["mixed_1", "normal"]);
    let said = format!("{:?} {:?}", pair.notices(), pair.events());
    for name in ["volatile", "far", "summary"] {
        assert!(said.contains(name), "nothing tells that {name} is left out: {said}");
    }
}

#[test]
fn triggers_fire_as_in_core() {
    let pair = Pair::new("triggers");
    pair.source.exec(
        "create table t (id int primary key, v int); create table u (id int primary key, v int); create table w (id int primary key, v int);
         create table seen (what text, n int);
         create function note() returns trigger language plpgsql as
            'begin insert into public.seen values (tg_name, new.id); return new; end';
         create trigger always after insert on t for each row execute function note(); alter table t enable always trigger always;
         create trigger replica after insert on u for each row execute function note(); alter table u enable replica trigger replica;
         create trigger origin after insert on w for each row execute function note();
         create trigger never after insert on t for each row execute function note(); alter table t disable trigger never;
         insert into t select i, i from generate_series(1, 50) i; insert into u select i, i from generate_series(1, 50) i;
         insert into w select i, i from generate_series(1, 50) i;",
    );
    pair.prepare();
    pair.synchronize("method => 'parallel', tables => array['t', 'u', 'w']");
    pair.expect_equal_in(&Tables::only(&["t", "u", "w"]));
    let fired = pair.target.rows("select what, count(*) from seen group by 1 order by 1");
    assert_eq!(fired, ["always | 50", "replica | 50"]);
    let said = format!("{:?} {:?}", pair.notices(), pair.events());
    assert!(said.contains("trigger"), "nothing warns of the triggers: {said}");
}

#[test]
fn row_level_security_hides_nothing() {
    let pair = Pair::new("rls");
    pair.source.exec(
        "create table t (id int primary key, v int); insert into t select i, i from generate_series(1, 100) i;
         alter table t enable row level security; alter table t force row level security; create policy p on t using (id < 5);",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    assert_eq!(pair.target.scalar::<i64>("select count(*) from t"), 100);
}

#[test]
fn other_tablespaces_and_access_options() {
    let pair = Pair::new("options");
    pair.source.exec(
        "create table t (id int primary key with (fillfactor = 50), v text) with (fillfactor = 60, autovacuum_enabled = off,
            toast.autovacuum_enabled = off);
         alter table t alter v set (n_distinct = 5);
         insert into t select i, repeat('x', 100) from generate_series(1, 20000) i",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
}
