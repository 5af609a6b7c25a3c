//! A small shop: a dozen tables with all usual kinds of indexes, its data, and the writes that go on in it.

use std::time::Duration;

use steep_repl_testkit::{wait_until, Db, LoadCounts, LoadOptions, WriteLoad};

/// Keys that the load touches.
const KEYS: u64 = 20_000;

const SCHEMA: &str = "
    create table customers (id bigint primary key, v int, note text, joined timestamptz default now(),
        email text generated always as ('c' || id || '@example.com') stored, constraint customers_email_key unique (email));
    create index customers_v on customers (v);
    create index customers_note on customers (lower(left(note, 100))) where v > 100;
    comment on index customers_v is 'by value';
    create table orders (id bigint primary key, v int, note text, amount numeric(12, 2) default 9.99, placed date default current_date);
    create index orders_v on orders (v) include (amount);
    create index orders_placed on orders using brin (placed);
    create index orders_hash on orders using hash (v);
    cluster orders using orders_v;
    create table lines (id bigint not null, v int, note text, qty int default 1, constraint lines_pkey primary key (id) include (qty));
    create index lines_v_qty on lines (v desc nulls last, qty);
    create table documents (id bigint primary key, v int, note text, body text, tags text[] default '{a,b}', extra jsonb default '{\"k\": [1, 2]}');
    alter table documents alter body set storage external;
    create index documents_words on documents using gin (to_tsvector('simple', left(note, 500)));
    create index documents_tags on documents using gin (tags);
    create index documents_extra on documents using gin (extra jsonb_path_ops);
    create table places (id bigint primary key, v int, note text, at point default '(1,2)', span int4range default '[1,5)');
    create index places_at on places using gist (at);
    create index places_span on places using spgist (span);
    create table journal (v int, note text, at timestamptz default now());
    alter table journal replica identity full;
    create index journal_v on journal (v);
    create table history (id bigint, v int, note text, primary key (id)) partition by range (id);
    create table history_low partition of history for values from (minvalue) to (10000);
    create table history_mid partition of history for values from (10000) to (1000000000);
    create table history_rest partition of history default;
    create index history_v on history (v);
    create table codes (code uuid default gen_random_uuid(), v int, note text, id bigint not null);
    create unique index codes_id on codes (id);
    alter table codes replica identity using index codes_id;
    create unique index codes_code on codes (code) nulls not distinct;
    create table countries (id int primary key, name text not null, v int);
    create table settings (name text primary key, value text);
    create table empty_one (id int primary key, note text);
    create table lonely (id serial primary key);";

/// Creates the tables in an empty database, without rows.
pub fn create(db: &Db) {
    db.exec(SCHEMA);
}

/// Creates the tables and fills them with about 50 MB per unit of `scale`.
pub fn fill(db: &Db, scale: f64) {
    create(db);
    let rows = (100_000.0 * scale) as i64;
    let keyed = [("customers", 1), ("orders", 1), ("lines", 2), ("places", 5), ("history", 2), ("codes", 5)];
    for (table, share) in keyed {
        db.exec(&format!(
            "insert into {table} (id, v, note) select i, i % 1000, 'row ' || i || repeat(' and more', (i % 7)::int) from generate_series(1, {}) i",
            rows / share
        ));
    }
    db.exec(&format!(
        "insert into documents (id, v, note, body) select i, i, 'text ' || i, repeat(md5(i::text), (i % 300)::int)
            from generate_series(1, {}) i",
        rows / 50
    ));
    db.exec("insert into journal (v, note) select i, 'entry ' || i from generate_series(1, 500) i");
    db.exec("insert into countries select i, 'country ' || i, i from generate_series(1, 200) i");
    db.exec("insert into settings values ('a', '1'), ('b', null), ('c', '')");
    db.exec("insert into lonely select from generate_series(1, 10)");
    db.exec_each(&["vacuum analyze"]);
}

/// Inserts, updates, deletes and key changes on most tables, with and without primary key.
pub fn load() -> LoadOptions {
    ["customers", "orders", "lines", "documents", "places", "history", "codes"]
        .iter()
        .fold(LoadOptions::default().keys(KEYS), |load, table| load.keyed(table))
        .unkeyed("journal")
        .op(1, "update settings set value = '{text}' where name = 'a'")
        .op(1, "update documents set body = repeat('{int}', 2000) where id = {key}")
        .op(1, "insert into empty_one values ({fresh} % 2000000000, '{text}')")
        .op(1, "insert into lonely default values")
        .rate(200)
}

/// Stops a load that has gone on for a while from now on, since what comes after the end of a copy has to arrive as well.
pub fn stop_later(load: WriteLoad, source: &Db) -> LoadCounts {
    let written = "select xact_commit from pg_stat_database where datname = current_database()";
    let before = source.scalar::<i64>(written);
    wait_until("the load went on after the end", Duration::from_secs(60), || {
        (load.has_failed() || source.scalar::<i64>(written) > before + 200).then_some(())
    });
    load.stop()
}

/// The tables that hold more than a few rows, partitions instead of their roots.
pub const LARGER: [&str; 9] =
    ["customers", "orders", "lines", "documents", "places", "history_low", "history_mid", "codes", "countries"];
