//! Every kind of value arrives as it was.

use steep_repl_testkit::{test_all, Pair};

use crate::outcome::initialize;

/// After the copy, changes of the same kinds flow through the subscription.
fn touch_all(pair: &Pair, tables: &[&str]) {
    for table in tables {
        pair.source.exec(&format!("update {table} set id = id + 100000; insert into {table} (id) values (999999)"));
    }
    pair.expect_equal();
}

#[test]
fn built_in_types() {
    let pair = Pair::new("types");
    pair.source.exec(
        "create table numbers (id int primary key, a smallint, b bigint, c numeric, d numeric(20, 5), e real, f double precision,
            g money, h oid, i pg_lsn, j boolean);
         insert into numbers values (1, -32768, 9223372036854775807, 'NaN', 12345.67891, 'NaN', '-Infinity', '$12.34', 4294967295,
            'FFFFFFFF/FFFFFFFF', true),
            (2, 32767, -9223372036854775808, 'Infinity', -0.00001, '-0', 1e-307, '-$0.01', 0, '0/0', false),
            (3, 0, 0, 123456789012345678901234567890.1234567890123456789, 0, 3.4028235e38, 0.1::float8 + 0.2, 0, 1, '1/2', null),
            (5, 1, 1, -1e1000, 1, 1e-45, 1.7976931348623157e308, 1, 1, '0/1', true);
         create table texts (id int primary key, a text, b varchar(10), c char(5), d \"char\", e name, f bytea, g bit(5), h varbit,
            i text collate \"C\", j json, k jsonb, l jsonpath, m xml, n tsvector, o tsquery, p uuid);
         insert into texts values (1, E'tab\\t newline\\n return\\r back\\\\slash \\\\. \\\\N quote\\'\"', 'é漢字😀', 'a', 'x',
            'Name', '\\x00ff5c0a0d', '10101', '1', 'ß', '{\"a\" : 1,  \"a\": [ ]}', '{\"b\": 1.50, \"a\": null}', '$.a[*] ? (@ > 1)',
            '<a b=\"c\">d</a>', 'a:1A b:2', 'a & !b', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
            (2, '', '', '', '', '', '', '00000', '', '', 'null', 'null', '$', '', '', '', null),
            (4, E'\\\\.', E'\\\\N', E'\\\\', E'\\\\', '\\\\', '\\\\', '11111', '0101', E'\\x01\\x7f', '\"\\u00e9\"', '\"\\u00e9\"', '$.\"a b\"',
            '<x/>', '''a b'':3', '''a b'' <2> c', '00000000-0000-0000-0000-000000000000');
         create table times (id int primary key, a date, b time, c timetz, d timestamp, e timestamptz, f interval, g timestamptz(0),
            h interval day to second(2));
         insert into times values (1, '2024-02-29', '23:59:59.999999', '12:00+05:30', '2024-01-02 03:04:05.6', '2024-01-02 03:04:05-08',
            '-1 year 2 mons -3 days 04:05:06.7', '2024-01-02 03:04:05.6', '3 days 04:05:06.789'),
            (2, 'infinity', '24:00', '00:00-15:59', '-infinity', 'infinity', '0', '-infinity', '0'),
            (3, '4713-11-24 BC', '00:00', '23:59:59.999999+15:59', '294276-12-31 23:59:59.999999', '4713-11-24 00:00:00+00 BC',
            '178000000 years', 'infinity', '-1'), (5, '03/04/05', '1:02', '1:02 PST', '1/2/3', '1/2/3', '1-2', '1/2/3', '1-2');
         insert into times (id, a) values (4, '0001-01-01 BC');
         create table shapes (id int primary key, a point, b line, c lseg, d box, e path, f path, g polygon, h circle, i inet, j cidr,
            k macaddr, l macaddr8);
         insert into shapes values (1, '(0.1,-1e300)', '{1,2,3}', '[(1,2),(3,4)]', '(1,2),(3,4)', '[(1,2),(3,4)]', '((1,2),(3,4))',
            '((0,0),(1,1),(2,0))', '<(1,2),3>', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05'),
            (2, '(Infinity,NaN)', '{0,1,0}', '[(0,0),(0,0)]', '(0,0),(0,0)', '[(0,0)]', '((0,0))', '((0,0))', '<(0,0),0>', '::1',
            '2001:db8::/32', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00:00:00');
         create table ranges (id int primary key, a int4range, b int8range, c numrange, d daterange, e tsrange, f tstzrange, g int4multirange,
            h nummultirange, i tstzmultirange);
         insert into ranges values (1, '[1,10)', '(,5]', '[1.5,)', '[2024-01-01,2024-02-01)', '[2024-01-01 00:00,infinity)', '(,)',
            '{[1,2),[5,9)}', '{(,1.5),[2,2]}', '{[2024-01-01,2024-01-02)}'),
            (2, 'empty', 'empty', 'empty', 'empty', 'empty', 'empty', '{}', '{}', '{}');
         create table system_ids (id int primary key, a xid, b xid8, c cid, d tid, e txid_snapshot, f pg_snapshot, g aclitem, h refcursor,
            i oidvector, j int2vector, k oid[]);
         insert into system_ids values (1, '4294967295', '18446744073709551615', '7', '(4294967295,65535)', '10:20:10,14', '10:20:15',
            'postgres=r/postgres', 'cur', '1 2 3', '4 5', '{1,2}');
         create table arrays (id int primary key, a int[], b text[], c numeric[][], d timestamptz[], e bytea[], f jsonb[], g int4range[], h
            boolean[], i point[], j uuid[], k interval[], l float8[]);
         insert into arrays values (1, '{1,NULL,3}', E'{\"a,b\",\"c\\\\\"d\",\"\",NULL,\"NULL\"}', '[2:3][-1:0]={{1,NaN},{3,4}}',
            '{infinity,\"2024-01-02 03:04:05+06\"}', E'{\"\\\\\\\\x00ff\"}', E'{\"{\\\\\"a\\\\\": 1}\"}', '{\"[1,2)\",empty}', '{t,f,NULL}',
            '{\"(1,2)\",\"(3,4)\"}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{\"1 day\",\"-2 mons\"}', '{NaN,-0,1e-300}'),
            (2, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
         insert into numbers (id) values (4); insert into texts (id) values (3); insert into times (id) values (6);
         insert into shapes (id) values (3); insert into ranges (id) values (3); insert into system_ids (id) values (2);
         insert into arrays (id) values (3);",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    touch_all(&pair, &["numbers", "texts", "times", "shapes", "ranges", "system_ids", "arrays"]);
}

#[test]
fn own_types() {
    let pair = Pair::new("own_types");
    // Objects on the target first, so that no type has the same OID on both sides.
    pair.target.exec(
        "create table shift_oids (a int); drop table shift_oids; create type other as enum ('z'); drop type other",
    );
    pair.source.exec(
        "create type mood as enum ('sad', 'O''K', 'happy, \"very\"', '');
         alter type mood add value 'middle' after 'sad';
         create domain positive as int check (value > 0);
         create domain tiny_positive as positive check (value < 100);
         create domain words as text[] check (array_length(value, 1) > 0);
         create type pair as (a int, b text, feeling mood);
         create type nested as (p pair, q pair[], r positive);
         create domain checked_pair as pair check ((value).a is distinct from 13);
         create type mood_range as range (subtype = mood, multirange_type_name = mood_ranges);
         create type shrunk as (a int, gone text, b text);
         alter type shrunk drop attribute gone;
         alter type shrunk add attribute c mood;
         create table own (id int primary key, a mood, b mood[], c positive, d tiny_positive, e words, f pair, g pair[], h nested,
            i checked_pair, j mood_range, k mood_ranges, l positive[], m shrunk, n shrunk[], o mood_range[], p checked_pair[]);",
    );
    // New labels cannot be used in the transaction that adds them.
    pair.source.exec(
        "insert into own values (1, 'O''K', '{sad,\"happy, \\\"very\\\"\",\"\",NULL}', 7, 99, '{a,b}', '(1,\"x, y\",sad)',
            array['(1,a,sad)', '(,,)', null]::pair[], row(row(1, E'q\"\\\\', 'middle')::pair, array[row(2, null, '')::pair], 5)::nested,
            '(1,b,)', '[sad,middle]', '{[sad,sad],[\"O''K\",\"\"]}', '{1,2}', '(1,b,sad)', array['(1,b,)', '(,,sad)']::shrunk[],
            array['[sad,sad]', 'empty']::mood_range[], array['(1,x,sad)']::checked_pair[]),
            (3, '', '{}', 1, 1, '{NULL}', '(,,)', '{}', '(,,)', '(,,)', 'empty', '{}', '{}', '(,,)', '{}', '{}', '{}');
         insert into own (id) values (2);",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    touch_all(&pair, &["own"]);
}

/// Their binary form is a number that means something else on the other side.
#[test]
fn names_of_objects() {
    let pair = Pair::new("regtypes");
    pair.target.exec("create table shift (a int); create table shift_more (a int); drop table shift, shift_more");
    pair.source.exec(
        "create schema \"Odd Schema\";
         create table \"Odd Schema\".\"Odd.Table\" (a int primary key);
         create function \"Odd Schema\".f(int) returns int language sql as 'select $1';
         create type \"Odd Schema\".t as enum ('x');
         create text search configuration \"Odd Schema\".conf (copy = simple);
         create table regs (id int primary key, a regclass, b regproc, c regprocedure, d regoper, e regoperator, f regtype, g regrole,
            h regnamespace, i regconfig, j regdictionary, k regcollation, l regclass[], m regtype[]);
         insert into regs values (1, '\"Odd Schema\".\"Odd.Table\"', '\"Odd Schema\".f', '\"Odd Schema\".f(int)', 'pg_catalog.||/',
            'pg_catalog.+(int,int)', '\"Odd Schema\".t', 'postgres', '\"Odd Schema\"', '\"Odd Schema\".conf', 'simple', '\"C\"',
            array['regs', 'pg_class', '\"Odd Schema\".\"Odd.Table\"']::regclass[], array['int[]', '\"Odd Schema\".t']::regtype[]),
            (3, '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '{0}', '{0}');
         insert into regs (id) values (2);
         insert into regs (id, a) select i, 'regs' from generate_series(10, 30000) i;",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
}

#[test]
fn types_of_extensions() {
    let pair = Pair::new("ext_types");
    pair.source.exec(
        "create extension hstore; create extension citext; create extension ltree; create extension cube; create extension isn;
         create extension intarray;
         create table ext (id int primary key, a hstore, b citext, c ltree, d lquery, e cube, f isbn13, g citext[], h hstore[]);
         insert into ext values (1, 'a=>1, \"b c\"=>NULL', 'MiXed', 'a.b.c', 'a.*{1,2}.b', '(1,2),(3,4)', '978-0-393-04002-9',
            '{A,b}', array['x=>y']::hstore[]);
         insert into ext (id) values (2);",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    touch_all(&pair, &["ext"]);
}

#[test]
fn large_values() {
    let megabytes = if test_all() { 100 } else { 5 };
    let pair = Pair::new("large");
    pair.source.exec(&format!(
        "create table large (id int primary key, a text, b bytea, c text, d text compression lz4);
         alter table large alter a set storage external, alter b set storage external;
         insert into large values
            (1, repeat('0123456789abcdef', {megabytes} * 65536), decode(repeat('00ff5c0a', {megabytes} * 262144), 'hex'),
             repeat('compressible ', {megabytes} * 80000), repeat('lz4 ', {megabytes} * 250000)),
            (2, null, '', '', null), (3, 'small', '\\x00', 'small', 'small');
         insert into large (id, a) select i, (select string_agg(md5((i * n)::text), '') from generate_series(1, 2000) n)
            from generate_series(10, 40) i;"
    ));
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    // TOAST values that an UPDATE leaves alone are not sent again.
    pair.source.exec("update large set c = 'changed'; update large set id = -id where id > 10");
    pair.expect_equal();
}
