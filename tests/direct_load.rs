//! What goes straight into the heap, and what must not: every row arrives as it was, whatever the table is like.
//!
//! All tables are large enough not to keep their indexes during the load.

use std::time::Duration;

use steep_repl_testkit::{wait_until, LoadOptions, Pair, Tables};

use crate::refusal::Refusal;

/// Strings at the limit of their types, in one and in several bytes a character; what lies in a TOAST table; nulls; domains.
const VALUES: &str = "
    create domain positive as int check (value > 0); create domain named as varchar(5) not null;
    create table strings (id int primary key, c char(5), v varchar(5), t text, n numeric(8,2), p positive, d named, b bit(3));
    insert into strings select i,
        (array['abcde', 'ab', 'ééééé', 'é', '漢字仮名字', '', null])[1 + i % 7],
        (array['abcde', '', 'éàüöß', '漢字', null])[1 + i % 5],
        case i % 1000 when 0 then repeat(md5(i::text), 400) when 1 then repeat('ß', 3000) else repeat('x', i % 120) end,
        i / 7.0, nullif(i % 11, 0), (array['a', 'éàüöß'])[1 + i % 2], (i % 8)::bit(3)
        from generate_series(1, 30000) i;";

/// Columns in another order and place, with dropped ones between; a partition; a key that points at itself; an enum, which goes
/// by text; a generated column and a trigger, which the server has to see to.
const TABLES: &str = "
    create type mood as enum ('fine', 'so so');
    create table shuffled (id int primary key, gone1 int, a text, gone2 text, b int not null default 5, c date);
    alter table shuffled drop gone1, drop gone2;
    insert into shuffled select i, repeat('x', i % 50), i, date '2024-01-01' + i % 1000 from generate_series(1, 20000) i;
    create table parts (id int, v int, note text, primary key (id)) partition by range (id);
    create table parts_1 partition of parts for values from (1) to (15000);
    create table parts_2 partition of parts for values from (15000) to (maxvalue);
    insert into parts select i, i, repeat('y', 60) from generate_series(1, 30000) i;
    create table tree (id int primary key, parent int references tree, v int, note text);
    insert into tree select i, nullif(i / 2, 0), i, repeat('z', 60) from generate_series(1, 20000) i;
    create table moods (id int primary key, m mood, v int, note text);
    insert into moods select i, (array['fine', 'so so'])[1 + i % 2]::mood, i, repeat('m', 60) from generate_series(1, 30000) i;
    create table computed (id int primary key, v int, twice int generated always as (v * 2) stored, note text);
    insert into computed (id, v, note) select i, i, repeat('c', 60) from generate_series(1, 20000) i;
    create table watched (id int primary key, v int, note text);
    insert into watched select i, i, repeat('w', 60) from generate_series(1, 20000) i;";

#[test]
fn every_value_arrives() {
    for chunk_size in ["512kB", "1TB"] {
        let pair = Pair::new("direct_values");
        pair.source.exec(VALUES);
        pair.source.exec_each(&["vacuum analyze"]);
        pair.prepare();
        pair.synchronize_with(&[("chunk_size", chunk_size)], "method => 'parallel', parallel_workers => 3");
        pair.expect_equal();
    }
}

/// Autovacuum goes by them.
#[test]
fn statistics_count_every_row_once() {
    let pair = Pair::new("direct_counted");
    pair.source.exec(
        "create table large (id int primary key, note text); insert into large select i, repeat('x', 200) from generate_series(1, 15000) i;
         create table small (id int primary key); insert into small select generate_series(1, 100)",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.target.exec("insert into large select i, 'old' from generate_series(1, 500) i");
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 1, force => true");
    let processes = "select count(*) from pg_stat_activity where backend_type like 'steep_repl co%' and datname = current_database()";
    wait_until("its processes are gone", Duration::from_secs(30), || {
        (pair.target.scalar::<i64>(processes) == 0).then_some(())
    });
    let counted = "select relname, n_live_tup from pg_stat_user_tables where schemaname = 'public' order by 1";
    assert_eq!(pair.target.rows(counted), ["large | 15000", "small | 100"]);
}

#[test]
fn every_kind_of_table_arrives_and_is_frozen_where_it_can_be() {
    let pair = Pair::new("direct_tables");
    pair.source.exec(TABLES);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.copy_schema_from(&pair.source);
    pair.target.exec(
        "drop table shuffled; create table shuffled (c date, x int, b int not null default 5, y text, id int primary key, a text);
         alter table shuffled drop x, drop y;
         create extension pg_visibility; create table seen (n bigint); insert into seen values (0);
         create function count_it() returns trigger language plpgsql as
             'begin update public.seen set n = n + 1; return new; end';
         create trigger counts after insert on watched for each row execute function count_it();
         alter table watched enable always trigger counts",
    );
    pair.register();
    let load = LoadOptions::default().keyed("parts").keyed("tree_free").keys(30_000).rate(60);
    pair.source.exec(
        "create table tree_free (id int primary key, v int, note text); insert into tree_free values (1, 1, 'x')",
    );
    pair.target.exec("create table tree_free (id int primary key, v int, note text)");
    let load = load.start(&pair.source);
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 4");
    load.stop();
    let frozen = "select string_agg(table_name, ' ' order by table_name) from steep_repl.operation_tables where frozen and not small";
    assert_eq!(pair.target.scalar::<String>(frozen), "computed moods parts_1 parts_2 shuffled tree");
    // The trigger fired once a row, as it does when built-in sync copies.
    assert_eq!(pair.target.scalar::<i64>("select n from seen"), 20_000);
    pair.target.exec("drop table seen cascade; drop trigger counts on watched");
    pair.expect_equal_in(&Tables::only(&[
        "shuffled",
        "parts_1",
        "parts_2",
        "tree",
        "moods",
        "computed",
        "watched",
        "tree_free",
    ]));
}

/// What the table forbids does not get in, whichever way the rows come.
#[test]
fn constraints_are_kept() {
    for (constraint, code) in [
        ("alter table t add constraint v_small check (v < 15000)", "23514"),
        ("alter table t alter note set not null", "23502"),
        ("alter table t add constraint t_fine check (m <> 'so so')", "23514"),
    ] {
        let pair = Pair::new("direct_checks");
        pair.source.exec(
            "create type mood as enum ('fine', 'so so');
             create table t (id int primary key, v int, note text, m mood default 'fine');
             insert into t select i, i, case when i < 15000 then repeat('x', 60) end, case when i > 15000 then 'so so' else 'fine' end::mood
             from generate_series(1, 20000) i",
        );
        pair.prepare();
        pair.target.exec(constraint);
        // Only here; strict would not let it through.
        pair.init("method => 'parallel', schema_sync => 'manual'").unwrap();
        if constraint.contains("not null") {
            pair.target.exec("select steep_repl.confirm_init('node_b')");
        }
        let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
        // A row that breaks several rules is refused by one of them.
        assert_eq!(refusal.code, code, "{constraint}: {refusal:?}");
        assert_eq!(pair.state(), "FAILED");
        pair.target.exec("select steep_repl.cancel_init('node_b')");
        steep_repl_testkit::wait_until("it is cancelled", Duration::from_secs(30), || {
            (pair.state() == "UNINITIALIZED").then_some(())
        });
        assert_eq!(pair.target.scalar::<i64>("select count(*) from t"), 0);
    }
    // A partition takes only what belongs into it.
    let pair = Pair::new("direct_bounds");
    pair.source.exec(
        "create table p (id int primary key, note text) partition by range (id);
         create table p_1 partition of p for values from (1) to (30000);
         insert into p select i, repeat('x', 100) from generate_series(1, 20000) i",
    );
    pair.target.exec(
        "create table p (id int primary key, note text) partition by range (id);
         create table p_1 partition of p for values from (1) to (20000)",
    );
    pair.register();
    pair.init("method => 'parallel'").unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!(refusal.code, "23514", "{refusal:?}");
}

/// Readers of ranges of a key, and the summaries of BRIN, live on the order of the rows on disk. Space that the source wastes is
/// not copied along.
#[test]
fn ranges_keep_the_order_of_the_source() {
    let pair = Pair::new("direct_order");
    for (table, kept) in [("full_one", "true"), ("airy", "id % 3 = 0")] {
        pair.source.exec(&format!(
            "create table {table} (id int primary key, v int, note text) with (autovacuum_enabled = off);
             insert into {table} select i, i, repeat('x', 200) from generate_series(1, 60000) i; delete from {table} where not ({kept})"
        ));
    }
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let load = LoadOptions::default().keyed("full_one").keys(60_000).rate(40).start(&pair.source);
    pair.synchronize_with(&[("chunk_size", "4MB")], "method => 'parallel', parallel_workers => 4");
    load.stop();
    let packed = "select string_agg(table_name, ' ') from steep_repl.operation_tables where packed";
    assert_eq!(pair.target.scalar::<String>(packed), "full_one");
    // Rows that came by replication are at the end or in what was free.
    let disorder = "select count(*) from (select v, lag(v) over (order by ctid) as before from full_one where id <= 60000 and v = id) t where v < before";
    assert!(pair.target.scalar::<i64>(disorder) < 300, "{}", pair.target.scalar::<i64>(disorder));
    let size = "select pg_relation_size('airy')";
    let (here, there) = (pair.target.scalar::<i64>(size), pair.source.scalar::<i64>(size));
    // Each range may have been extended by some pages too many.
    assert!(here * 3 < there * 2, "{here} bytes here, {there} on the source");
    pair.expect_equal();
}

/// Somebody makes an index while ranges arrive: it waits for those under way, and the others have to fill it.
#[test]
fn an_index_that_is_made_meanwhile_knows_every_row() {
    let pair = Pair::options("direct_index").proxied().build();
    pair.source.exec(
        "create table t (id int primary key, v int, note text);
         insert into t select i, i % 1000, repeat('x', 200) from generate_series(1, 40000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.exec("create extension amcheck");
    pair.prepare();
    pair.proxy().throttle(3_000_000);
    pair.init_with(&[("chunk_size", "1MB")], "method => 'parallel', parallel_workers => 2").unwrap();
    wait_until("some of it is here", Duration::from_secs(60), || (pair.progress()?.rows_done? > 5000).then_some(()));
    pair.target.exec("create index t_v on t (v)");
    assert_eq!(pair.state(), "COPYING", "the index came too late to disturb");
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    pair.target.exec("select bt_index_check('t_v', true); select bt_index_check('t_pkey', true)");
    pair.expect_equal();
}
