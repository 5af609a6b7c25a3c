//! `schema_sync => 'auto'` with `schemas =>` or `tables =>`: those, with all that they need, and nothing else.

use steep_repl_testkit::{check, major, shared, Pair, Tables};

use crate::refusal::refused_quickly;
use crate::schemas_majors::TABLES;

/// Schema sales needs things of types and lib; geo and public have nothing to do with it but a foreign key.
const SOURCE: &str = "
    create schema types; create schema lib; create schema geo; create schema sales;
    create extension hstore schema types;
    create type types.mood as enum ('sad', 'ok'); create type types.unused as enum ('a');
    create domain types.amount as numeric(12,2) check (value >= 0);
    create function lib.label(bigint) returns text language sql immutable return 'nr ' || $1;
    create function lib.touch() returns trigger language plpgsql as 'begin return new; end';
    create function lib.unused() returns int language sql as 'select 1';
    create table geo.regions (id int primary key); create table geo.unused (id int primary key);
    create sequence lib.numbers;
    create table sales.customers (id bigint primary key, mood types.mood default 'ok',
        label text generated always as (lib.label(id)) stored, tags types.hstore default '');
    create table sales.orders (id serial primary key, customer bigint references sales.customers, total types.amount default 1,
        number bigint default nextval('lib.numbers'), region int references geo.regions, later text);
    create index orders_customer on sales.orders (customer);
    create trigger touch before update on sales.orders for each row execute function lib.touch();
    create table sales.parted (id int primary key) partition by range (id);
    create table sales.parted_1 partition of sales.parted for values from (0) to (100);
    create table sales.parted_2 partition of sales.parted for values from (100) to (200);
    create view sales.open as select id, total from sales.orders; create view geo.busy as select region from sales.orders;
    create function sales.total() returns numeric language sql as 'select sum(total) from sales.orders';
    create table plain (id int primary key); create view plain_view as select * from plain;
    insert into geo.regions values (1); insert into geo.unused values (1); insert into plain values (1);
    insert into sales.customers (id, mood) select i, 'sad' from generate_series(1, 50) i;
    insert into sales.orders (customer, region) select i, 1 from generate_series(1, 50) i;
    insert into sales.parted select generate_series(0, 199)";

/// All that there is now: schemas, relations, types, functions, extensions, constraints and triggers.
fn objects(pair: &Pair) -> Vec<String> {
    pair.target.rows(
        "with n as (select oid, nspname from pg_namespace where nspname !~ '^(pg_|information_schema$|steep_repl$)')
         select 'schema ' || nspname from n
         union all select case relkind when 'v' then 'view ' when 'S' then 'sequence ' when 'i' then 'index ' when 'I' then 'index '
             else 'table ' end || nspname || '.' || relname from pg_class join n on n.oid = relnamespace where relkind <> 'c'
         union all select 'type ' || nspname || '.' || typname from pg_type t join n on n.oid = typnamespace
             where typtype in ('e', 'd') and not exists (select from pg_depend where objid = t.oid and deptype = 'e')
         union all select 'function ' || nspname || '.' || proname from pg_proc p join n on n.oid = pronamespace
             where not exists (select from pg_depend where objid = p.oid and deptype = 'e')
         union all select 'extension ' || extname from pg_extension where extname not in ('plpgsql', 'steep_repl')
         union all select 'reference ' || conname from pg_constraint where contype = 'f'
         union all select 'trigger ' || tgname from pg_trigger where not tgisinternal
         order by 1",
    )
}

fn expect_objects(pair: &Pair, before: &[String], mut expected: Vec<&str>) {
    let made: Vec<String> = objects(pair).into_iter().filter(|object| !before.contains(object)).collect();
    expected.sort_unstable();
    let mut made: Vec<&str> = made.iter().map(String::as_str).collect();
    made.sort_unstable();
    assert_eq!(made, expected);
}

/// Names of what the plan makes, and what is done.
fn planned(pair: &Pair, args: &str) -> Vec<String> {
    pair.target.rows(&format!(
        "select action || ' ' || object_kind || ' ' || object_name from steep_repl.schema_sync_plan('node_b', 'node_a', {args})"
    ))
}

const ORDERS: [&str; 11] = [
    "function lib.touch",
    "index sales.orders_customer",
    "index sales.orders_pkey",
    "schema lib",
    "schema sales",
    "schema types",
    "sequence lib.numbers",
    "sequence sales.orders_id_seq",
    "table sales.orders",
    "trigger touch",
    "type types.amount",
];
const PARTED: [&str; 6] = [
    "index sales.parted_1_pkey",
    "index sales.parted_2_pkey",
    "index sales.parted_pkey",
    "table sales.parted",
    "table sales.parted_1",
    "table sales.parted_2",
];
const OTHERS: [&str; 8] = [
    "extension hstore",
    "function lib.label",
    "function sales.total",
    "index sales.customers_pkey",
    "reference orders_customer_fkey",
    "table sales.customers",
    "type types.mood",
    "view sales.open",
];

fn pair(label: &str) -> (Pair, Vec<String>) {
    let pair = Pair::new(label);
    pair.source.exec(SOURCE);
    pair.register();
    let before = objects(&pair);
    (pair, before)
}

#[test]
fn a_schema_comes_with_all_that_it_needs() {
    let (pair, before) = pair("auto_schemas");
    let plan = planned(&pair, "schemas => array['sales']");
    assert!(plan.contains(&"create table sales.orders".to_owned()), "{plan:#?}");
    assert!(
        !plan.iter().any(|line| line.contains("geo") || line.contains("plain") || line.contains("unused")),
        "{plan:#?}"
    );
    assert!(plan.contains(&"leave out fk constraint sales.orders orders_region_fkey".to_owned()), "{plan:#?}");
    pair.synchronize("schema_sync => 'auto', schemas => array['sales']");
    // A reference to a table outside would bring that without its rows.
    expect_objects(&pair, &before, ORDERS.iter().chain(&PARTED).chain(&OTHERS).copied().collect());
    pair.source.exec(
        "insert into sales.orders (customer) values (1); update sales.customers set mood = 'ok' where id = 3;
         delete from sales.parted where id = 150; insert into plain values (2)",
    );
    let sales = ["customers", "orders", "parted_1", "parted_2"].map(|name| ("sales".to_owned(), name.to_owned()));
    pair.expect_equal_in(&Tables::Only(sales.to_vec()));
    let compared = pair
        .target
        .rows("select distinct status from steep_repl.compare_schemas('node_a', 'node_b', schemas => array['sales'])");
    assert_eq!(compared, ["MATCH"]);
}

#[test]
fn tables_come_with_all_that_they_need() {
    let (pair, before) = pair("auto_tables");
    // One that is there and differs, and one that nobody asked for.
    pair.target.exec(
        "create schema geo; create table geo.regions (id bigint primary key, mine text); create table geo.unused (id text, mine text)",
    );
    let own = ["index geo.regions_pkey", "schema geo", "table geo.regions", "table geo.unused"];
    pair.synchronize("schema_sync => 'auto', tables => array['sales.orders', 'sales.parted', 'geo.regions']");
    let expected = ORDERS.iter().chain(&PARTED).chain(&own).copied();
    // A reference to a table that comes, too, is kept; the one to customers would bring them.
    expect_objects(&pair, &before, expected.chain(["reference orders_region_fkey"]).collect());
    pair.source.exec("insert into sales.orders (customer) values (1); insert into geo.regions values (2)");
    let chosen = [("sales", "orders"), ("sales", "parted_1"), ("sales", "parted_2"), ("geo", "regions")]
        .map(|(schema, name)| (schema.to_owned(), name.to_owned()));
    pair.expect_equal_in(&Tables::Only(chosen.to_vec()));
    let columns = "select attrelid::regclass || ' ' || attname || ' ' || format_type(atttypid, -1) from pg_attribute
        where attrelid in ('geo.regions'::regclass, 'geo.unused'::regclass) and attnum > 0 and not attisdropped order by 1";
    assert_eq!(pair.target.rows(columns), ["geo.regions id integer", "geo.unused id text", "geo.unused mine text"]);
}

#[test]
fn what_the_source_does_not_have_cannot_be_chosen() {
    let (pair, before) = pair("auto_nowhere");
    for args in ["tables => array['sales.nowhere']", "schemas => array['nowhere']"] {
        let refusal = refused_quickly(|| pair.init(&format!("schema_sync => 'auto', {args}")));
        assert_eq!(refusal.names(&["nowhere"]).code, "42P01", "{args}");
        let sql = format!("select * from steep_repl.schema_sync_plan('node_b', 'node_a', {args})");
        let refusal = refused_quickly(|| pair.target.try_exec(&sql));
        assert_eq!(refusal.names(&["nowhere"]).code, "42P01", "{args}");
    }
    expect_objects(&pair, &before, vec![]);
    check::assert_clean(&pair.source, &pair.target);
}

/// The newer server's pg_dump reads an older one.
#[test]
fn an_empty_target_gets_what_an_older_source_has() {
    let pair = Pair::options("auto_older").source(shared::old_source()).build();
    assert!(pair.source.cluster().installation().major() < major());
    pair.source.exec(TABLES);
    pair.source.exec(SOURCE);
    pair.register();
    pair.synchronize("schema_sync => 'auto', no_identity => 'full'");
    pair.source.exec(
        "insert into sales.orders (customer) values (1); update sales.customers set mood = 'ok' where id = 3;
         delete from sales.parted where id = 150; insert into shop.defaults default values",
    );
    pair.expect_equal();
    let tables = "select count(*) from pg_class where relkind in ('r', 'p') and relnamespace::regnamespace::text !~ '^(pg_|information_schema|steep_repl)'";
    let compared = "select count(*) from steep_repl.compare_schemas('node_a', 'node_b') where status = 'MATCH'";
    let there = pair.source.scalar::<i64>(tables);
    assert!(there > 25, "{there}");
    assert_eq!((pair.target.scalar::<i64>(tables), pair.target.scalar::<i64>(compared)), (there, there));
    let differing = pair.target.rows(
        "select table_name, difference from steep_repl.compare_schemas('node_a', 'node_b') where difference not like '%XMLSERIALIZE%'",
    );
    assert_eq!(differing, [""; 0]);
}
