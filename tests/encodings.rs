//! Source and target of different encodings: whichever way the rows take, what is outside ASCII arrives as the same characters, in names as
//! well as in values; what cannot arrive is an error.

use steep_repl_testkit::{compare_sequences, root, ClusterOptions, LoadOptions, Pair, PairOptions, SchemaState};

use crate::midway;
use crate::outcome::expect_equal;
use crate::prepared::{complete, dump_and_restore, prepare, Dump};
use crate::refusal::Refusal;
use crate::shop;
use crate::snapshots::{apply, expect_synchronized, generate, Further};

const LATIN1: &str = "encoding 'LATIN1' locale 'C' template template0";
const UTF8: &str = "";

/// Values that fit into LATIN1, whose bytes are no UTF-8.
const VALUES: &str = "
    create table street (id int primary key, v int, note text, c char(6), words text[], doc jsonb, raw bytea default '\\xe9ff');
    create index street_note on street (lower(left(note, 50)));
    create sequence counter; select setval('counter', 41);
    insert into street (id, v, note, c, words, doc)
        select i, i, 'Ärger é ÿ ' || i || repeat('ö', i % 150), 'ñ', array['ü', 'ö'], '{\"ß\": \"é\"}' from generate_series(1, 20000) i;";

/// Names and definitions too.
const NAMES: &str = "
    create schema \"Fähre\"; create sequence \"Fähre\".\"Zähler\"; select setval('\"Fähre\".\"Zähler\"', 41);
    create type \"Größe\" as enum ('groß', 'klein');
    create table \"Straße\" (id int primary key, v int, note text, \"Nümmer\" int default 7, \"Größe\" \"Größe\" default 'groß');
    create index \"Straße_ö\" on \"Straße\" (lower(left(note, 50))) where note <> 'ÿ';
    create table \"Fähre\".kurz (id int primary key, v int, note text default 'ÀÿÆ', constraint \"für\" check (note <> 'ß'));
    insert into \"Straße\" (id, v, note) select i, i, 'Ärger é ÿ ' || i || repeat('ö', i % 150) from generate_series(1, 20000) i;
    insert into \"Fähre\".kurz (id, v) select i, i from generate_series(1, 200) i;";

fn filled(options: PairOptions, schema: &str) -> Pair {
    let pair = options.build();
    pair.source.exec(schema);
    pair.source.exec_each(&["vacuum analyze"]);
    pair
}

fn load(schema: &str) -> LoadOptions {
    let load = LoadOptions::default().rate(100).keys(20_000);
    if schema.contains("street") {
        return load.keyed("street").op(3, "update street set note = 'Übermäßig ÿ {int}', c = 'ÿ' where id = {key}");
    }
    load.keyed("\"Straße\"")
        .keyed("\"Fähre\".kurz")
        .op(3, "update \"Straße\" set note = 'Übermäßig ÿ {int}', \"Größe\" = 'klein' where id = {key}")
}

/// From LATIN1 to UTF8 with names and all, and the other way round with values.
fn both(way: impl Fn(&str, PairOptions, &str)) {
    for (label, source, target, schema) in [("enc_lu", LATIN1, UTF8, NAMES), ("enc_ul", UTF8, LATIN1, VALUES)] {
        eprintln!("{label}");
        let options = Pair::options(label).source_create(source).target_create(target);
        way(label, options, schema);
    }
}

/// By init_node, with these arguments.
fn by(settings: &[(&str, &str)], args: &str) {
    both(|_, options, schema| {
        let pair = filled(options, schema);
        pair.prepare();
        initialized(&pair, schema, settings, args);
    });
}

fn initialized(pair: &Pair, schema: &str, settings: &[(&str, &str)], args: &str) {
    let before = SchemaState::of(&pair.target);
    let load = load(schema).start(&pair.source);
    pair.synchronize_with(&[&[("chunk_size", "1MB")], settings].concat(), args);
    shop::stop_later(load, &pair.source);
    ends_equal(pair);
    before.assert_same(&pair.target);
}

fn ends_equal(pair: &Pair) {
    expect_equal(pair);
    compare_sequences(&pair.source, &pair.target).unwrap();
}

#[test]
fn by_parallel() {
    by(&[], "method => 'parallel'");
}

#[test]
fn by_the_server_itself() {
    by(&[], "method => 'snapshot'");
}

#[test]
fn large_tables_by_copy() {
    by(&[], "method => 'snapshot', large_table_threshold => '1MB', large_table_method => 'copy'");
}

#[test]
fn large_tables_by_pg_dump() {
    by(&[], "method => 'snapshot', large_table_threshold => '1MB', large_table_method => 'pg_dump'");
}

#[test]
fn large_tables_by_base_backup() {
    let source = ClusterOptions::new("enc_back_s").start();
    let scratch = root::folder("enc_back_x").display().to_string();
    both(|_, options, schema| {
        let pair = filled(options.source(source.clone()), schema);
        pair.prepare();
        let args = "method => 'snapshot', large_table_threshold => '1MB', large_table_method => 'basebackup'";
        initialized(&pair, schema, &[("scratch_directory", &scratch)], args);
    });
}

#[test]
fn in_two_phases() {
    let directory = root::folder("enc_two").display().to_string();
    by(&[("snapshot_directory", &directory)], "method => 'two_phase'");
}

/// What a node of one encoding has written, targets of either can read.
#[test]
fn by_a_portable_snapshot() {
    both(|label, options, schema| {
        let pair = filled(options, schema);
        let folder = root::folder(label);
        pair.prepare();
        // Names outside ASCII are for UTF8 alone.
        let second = if schema == NAMES { UTF8 } else { LATIN1 };
        let (same, other) = (Further::created(&pair, "enc_second", second), Further::created(&pair, "enc_other", UTF8));
        let load = load(schema).start(&pair.source);
        generate(&pair, &folder, "targets => 3");
        for (db, node) in [(&pair.target, "node_b"), (&same.db, "node_c"), (&other.db, "node_c")] {
            apply(db, node, &folder, "").unwrap();
            expect_synchronized(db, node);
        }
        shop::stop_later(load, &pair.source);
        pair.expect_equal();
        same.expect_equal();
        other.expect_equal();
    });
}

/// What a node of UTF8 has written of a source of UTF8, one of LATIN1 reads.
#[test]
fn by_a_portable_snapshot_of_another_encoding() {
    let pair = filled(Pair::options("enc_utf"), VALUES);
    let folder = root::folder("enc_utf");
    pair.prepare();
    let other = Further::created(&pair, "enc_latin", LATIN1);
    let load = load(VALUES).start(&pair.source);
    generate(&pair, &folder, "");
    apply(&other.db, "node_c", &folder, "").unwrap();
    expect_synchronized(&other.db, "node_c");
    shop::stop_later(load, &pair.source);
    other.expect_equal();
}

#[test]
fn by_a_dump_of_somebodys_own() {
    both(|_, options, schema| {
        let pair = filled(options, schema);
        pair.register();
        let load = load(schema).start(&pair.source);
        let prepared = prepare(&pair);
        dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
        complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
        pair.expect_synchronized();
        shop::stop_later(load, &pair.source);
        ends_equal(&pair);
    });
}

/// Definitions outside ASCII are made in a target of UTF8, and refused elsewhere before anything is.
#[test]
fn schemas_that_are_made() {
    let pair = filled(Pair::options("enc_make").source_create(LATIN1), NAMES);
    pair.register();
    let load = load(NAMES).start(&pair.source);
    pair.synchronize("method => 'parallel', schema_sync => 'auto'");
    shop::stop_later(load, &pair.source);
    pair.expect_equal();
    let pair = filled(Pair::options("enc_makel").target_create(LATIN1), NAMES);
    pair.register();
    let refusal = crate::refusal::refused(&pair, "method => 'parallel', schema_sync => 'auto'").names(&["LATIN1"]);
    assert_eq!(refusal.code, "22P05", "{refusal:?}");
}

/// A character that the target has not: whichever way it would come, it is an error that names the table, and nothing is left after a cancel.
#[test]
fn what_does_not_fit() {
    let ways = [
        ("parallel", ""),
        ("snapshot", ", large_table_threshold => '1MB', large_table_method => 'copy'"),
        ("snapshot", ", large_table_threshold => '1MB', large_table_method => 'pg_dump'"),
        ("two_phase", ""),
    ];
    let directory = root::folder("enc_unfit").display().to_string();
    let pair = filled(Pair::options("enc_unfit").target_create(LATIN1), VALUES);
    pair.source.exec("update street set note = '漢' where id = 19999");
    pair.prepare();
    let before = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    for (method, more) in ways {
        let settings = [("snapshot_directory", directory.as_str()), ("max_retries", "1")];
        pair.init_with(&settings, &format!("method => '{method}'{more}")).unwrap();
        let refusal = Refusal::of(&midway::until_failed(&pair));
        let refusal = refusal.names(&["street", "LATIN1"]);
        assert!(["22P05", "08P01", "58000"].contains(&refusal.code.as_str()), "{method}{more}: {refusal:?}");
        pair.target.exec("select steep_repl.cancel_init('node_b')");
        midway::until_undone(&pair);
        midway::expect_emptied(&pair, &["street"]);
        before.0.assert_same(&pair.source);
        before.1.assert_same(&pair.target);
    }
    pair.source.exec("update street set note = 'ä' where id = 19999");
    initialized(&pair, VALUES, &[], "method => 'parallel'");
}

/// Names outside ASCII are not understood in a database that is not UTF8, which is said beforehand.
#[test]
fn what_is_not_understood_is_said() {
    for (label, source) in [("enc_said_u", UTF8), ("enc_said_l", LATIN1)] {
        let pair = filled(Pair::options(label).source_create(source).target_create(LATIN1), VALUES);
        pair.prepare();
        let checks = "select status, hint from steep_repl.preflight('node_b', 'node_a') where check_name = 'encoding'";
        let said = pair.target.rows(checks).concat();
        assert!(said.starts_with("warning") && said.contains("outside ASCII"), "{said}");
    }
}

/// Where there are such names, it is an error of its own that says what to do: of any table here, and of the definitions of those asked for.
#[test]
fn what_is_not_understood_is_refused() {
    for (label, source) in [("enc_none_u", UTF8), ("enc_none_l", LATIN1)] {
        let pair = filled(Pair::options(label).source_create(source).target_create(LATIN1), VALUES);
        pair.prepare();
        let expect_refused = |check: &str| {
            let query = format!(
                "select sqlstate, hint, message, detail from steep_repl.preflight('node_b', 'node_a') where check_name = '{check}' and status = 'error'"
            );
            let said = pair.target.rows(&query).concat();
            assert!(said.starts_with("0A000") && said.contains("UTF8"), "{check}: {said}");
            for way in
                ["method => 'parallel', tables => array['street']", "method => 'snapshot', schema_sync => 'manual'"]
            {
                let refusal = crate::refusal::refused(&pair, way).names(&["LATIN1", "outside ASCII", "UTF8"]);
                assert_eq!(refusal.code, "0A000", "{way}: {refusal:?}");
            }
        };
        pair.target.exec("create table elsewhere (id int primary key, \"Größe\" int)");
        expect_refused("tables");
        pair.target.exec("drop table elsewhere");
        for db in [&pair.source, &pair.target] {
            db.exec("alter table street alter note set default 'Straße'");
        }
        expect_refused("schema");
        let error = pair.target.try_exec("select steep_repl.capture_fingerprints()").unwrap_err();
        assert_eq!(Refusal::of(&error).code, "0A000");
    }
}
