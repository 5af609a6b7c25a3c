//! Tables without replica identity: publishing them would make every UPDATE and DELETE fail on the source.

use steep_repl_testkit::{LoadOptions, Pair, Tables};

use crate::refusal::refused;

/// Kinds of tables that have no usable identity, and one that has.
const SCHEMA: &str = "
    create table keyed (id int primary key, v int, note text);
    create table bare (v int, note text);
    create table unique_only (v int not null unique, note text);
    create table deferred_key (id int primary key deferrable, v int, note text);
    create table nothing_set (id int primary key, v int, note text); alter table nothing_set replica identity nothing;
    create table full_set (v int, note text); alter table full_set replica identity full;
    insert into keyed select i, i, 'x' from generate_series(1, 1000) i;
    insert into bare select i, 'x' from generate_series(1, 1000) i;
    insert into unique_only select i, 'x' from generate_series(1, 100) i;
    insert into deferred_key select i, i, 'x' from generate_series(1, 100) i;
    insert into nothing_set select i, i, 'x' from generate_series(1, 100) i;
    insert into full_set select i, 'x' from generate_series(1, 100) i;";

const WITHOUT: [&str; 4] = ["bare", "unique_only", "deferred_key", "nothing_set"];

#[test]
fn the_default_stops_before_anything_is_made() {
    for args in ["method => 'parallel'", "method => 'parallel', no_identity => 'error'"] {
        let pair = Pair::new("ident_error");
        pair.source.exec(SCHEMA);
        pair.prepare();
        let refusal = refused(&pair, args).names(&WITHOUT);
        assert!(!refusal.text.contains("full_set"), "{refusal:?}");
        assert!(refusal.text.contains("no_identity"), "{refusal:?}");
        pair.source.exec("update bare set v = v + 1; delete from bare where v < 10");
    }
}

#[test]
fn a_wrong_word_is_refused() {
    let pair = Pair::new("ident_word");
    pair.source.exec(SCHEMA);
    pair.prepare();
    let refusal = refused(&pair, "method => 'parallel', no_identity => 'maybe'");
    assert_eq!(refusal.code, "22023");
}

#[test]
fn insert_only_carries_inserts_and_lets_the_source_update() {
    let pair = Pair::new("ident_insert");
    pair.source.exec(SCHEMA);
    pair.prepare();
    let load =
        LoadOptions::default().keyed("keyed").unkeyed("full_set").appended("bare").keys(1000).start(&pair.source);
    pair.synchronize("method => 'parallel', no_identity => 'insert_only'");
    load.stop();
    pair.expect_equal();
    let identities = "select count(*) from pg_class where relname = 'bare' and relreplident = 'd'";
    assert_eq!(pair.source.scalar::<i64>(identities), 1);
    // The point of it: the source's application does not notice.
    pair.source
        .exec("update bare set note = 'changed' where v = 5; delete from nothing_set; update deferred_key set v = 0");
    pair.source.exec("insert into bare values (-1, 'late')");
    pair.expect_equal_in(&Tables::only(&["keyed", "full_set", "unique_only"]));
    assert_eq!(pair.target.scalar::<i64>("select count(*) from bare where v = -1"), 1);
    // TRUNCATE is published too.
    pair.source.exec("truncate bare");
    pair.expect_equal_in(&Tables::only(&["bare"]));
}

#[test]
fn full_carries_everything() {
    let pair = Pair::new("ident_full");
    pair.source.exec(SCHEMA);
    pair.prepare();
    let load = LoadOptions::default().keyed("keyed").appended("bare").keys(1000).start(&pair.source);
    pair.synchronize("method => 'parallel', no_identity => 'full'");
    load.stop();
    for table in WITHOUT {
        let identity = format!("select relreplident::text from pg_class where relname = '{table}'");
        assert_eq!(pair.source.scalar::<String>(&identity), "f", "{table}");
    }
    pair.source.exec(
        "update bare set note = 'changed' where v < 50; delete from bare where v > 900; update nothing_set set v = 0",
    );
    pair.source.exec("update deferred_key set id = id + 1; delete from unique_only where v = 1");
    pair.expect_equal();
}
