//! Sources that are not like the target: older, with another encoding, with settings and roles that get in the way.

use steep_repl_testkit::{quote_ident, shared, test_all, Pair, Role};

use crate::shop;

#[test]
fn an_older_source_under_load() {
    let pair = Pair::options("pg15").source(shared::old_source()).build();
    shop::fill(&pair.source, if test_all() { 2.0 } else { 0.3 });
    pair.prepare();
    let load = shop::load().start(&pair.source);
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 4");
    load.stop();
    pair.expect_equal();
}

/// Values whose text depends on settings, in types that go by text and types that go in binary.
const TELLING: &str = "
    create table dates (id int primary key, d date, t timestamptz, i interval, f float8, r float4, m money, b bytea, x text,
        a date[], g tstzrange, c regclass);
    insert into dates values (1, '2024-02-03', '2024-02-03 04:05:06.789+00', '1 year 2 mons -3 days 04:05:06.7', 0.1::float8 + 0.2::float8,
        1.1, '1234.56', '\\x5c00ff27', E'back\\\\slash ''quote''', '{2024-02-03,2024-03-02}', '[2024-02-03,2024-03-02)', 'dates');
    insert into dates (id, d, t, i, f) select i, date '2024-01-01' + i, timestamptz '2024-01-01 00:00+00' + i * interval '61 minutes',
        -i * interval '1 day 01:00:01', 1.0 / i from generate_series(2, 12000) i;
    create table composed (id int primary key, d dates);
    insert into composed select 1, whole from dates whole where id = 1;";

const HOSTILE_SETTINGS: [(&str, &str); 12] = [
    ("datestyle", "'SQL, DMY'"),
    ("intervalstyle", "'sql_standard'"),
    ("timezone", "'Asia/Kathmandu'"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "'escape'"),
    ("standard_conforming_strings", "off"),
    ("search_path", "evil, pg_catalog"),
    ("quote_all_identifiers", "on"),
    ("default_transaction_isolation", "'serializable'"),
    ("default_transaction_deferrable", "on"),
    ("default_transaction_read_only", "on"),
    ("client_encoding", "'SQL_ASCII'"),
];

/// Objects that stand before the catalog's in the search path.
const EVIL: &str = "
    create schema evil;
    create table evil.pg_class (oid int primary key, relname text, relfilenode int);
    create table evil.pg_publication (pubname text primary key);
    create function evil.pg_relation_filenode(oid) returns oid language sql as 'select 1::oid';
    create function evil.pg_export_snapshot() returns text language sql as $$select 'nonsense'$$;
    create function evil.pg_current_wal_lsn() returns pg_lsn language sql as $$select '0/0'::pg_lsn$$;";

#[test]
fn settings_of_the_source_database() {
    for (label, source) in [("styles", shared::source()), ("styles15", shared::old_source())] {
        let pair = Pair::options(label).source(source).build();
        pair.source.exec(TELLING);
        pair.source.exec(EVIL);
        pair.prepare();
        let name = quote_ident(pair.source.name());
        for (setting, value) in HOSTILE_SETTINGS {
            // Read-only would stop this test's own statements; it comes by role below.
            if setting != "default_transaction_read_only" {
                pair.source.exec(&format!("alter database {name} set {setting} = {value}"));
            }
        }
        pair.synchronize("method => 'parallel'");
        pair.source.exec("update public.dates set d = d + 1, t = t + interval '1 hour', i = i * 2 where id < 100");
        pair.expect_equal();
    }
}

/// A role's own limits and habits are for its people, not for a copy that takes hours.
#[test]
fn settings_of_the_source_role() {
    for (label, source) in [("role", shared::source()), ("role15", shared::old_source())] {
        let role = Role::create(&source, label, "superuser login");
        let pair = Pair::options(label).source(source).build();
        pair.source.exec(TELLING);
        pair.source.exec(EVIL);
        pair.source.exec("create table slow (id int primary key, v text); insert into slow select i, repeat(md5(i::text), 20) from generate_series(1, 30000) i");
        pair.target.copy_schema_from(&pair.source);
        let name = quote_ident(pair.source.name());
        let limits = [
            ("statement_timeout", "'100ms'"),
            ("lock_timeout", "'50ms'"),
            ("idle_in_transaction_session_timeout", "'200ms'"),
            ("idle_session_timeout", "'200ms'"),
        ];
        for (setting, value) in HOSTILE_SETTINGS.iter().chain(&limits) {
            pair.source.exec(&format!("alter role {role} in database {name} set {setting} = {value}"));
        }
        pair.register_with(&pair.source.conninfo().replace("user=postgres", &format!("user={role}")));
        pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 2");
        pair.source.exec("update dates set d = d + 1, i = i * 2 where id < 100");
        pair.expect_equal();
    }
}

#[test]
fn another_encoding() {
    for (label, source) in [("latin", shared::source()), ("latin15", shared::old_source())] {
        let create = "encoding 'LATIN1' locale 'C' template template0";
        let pair = Pair::options(label).source(source).source_create(create).build();
        pair.source.exec(
            "create type \"Größe\" as enum ('groß', 'klein');
             create table \"Straße\" (\"Nümmer\" int primary key, \"Größe\" \"Größe\", note text, c char(6), words text[], doc jsonb);
             insert into \"Straße\" select i, 'groß', 'Ärger é ÿ ' || i, 'ñ', array['ü', 'ö'], '{\"ß\": \"é\"}' from generate_series(1, 20000) i;",
        );
        pair.prepare();
        pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel'");
        pair.source.exec("update \"Straße\" set note = note || 'ß' where \"Nümmer\" < 10");
        pair.expect_equal();
    }
}
