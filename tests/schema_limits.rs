//! Where `schema_sync => 'auto'` has to stop: columns of tables that hold rows, and what no ALTER TABLE can make of a table.

use std::time::Duration;

use steep_repl_testkit::{check, quote_literal, wait_until, Pair, SchemaState};

use crate::refusal::{refused, Refusal};

const LONG: Duration = Duration::from_secs(120);
const AUTO: &str = "schema_sync => 'auto'";
const COLUMNS: &str =
    "select attname from pg_attribute where attrelid = 'kept'::regclass and attnum > 0 and not attisdropped order by attnum";

/// A table whose column only the target has, with rows on both sides.
fn filled(label: &str) -> Pair {
    let pair = Pair::new(label);
    pair.source.exec(
        "create table kept (id int primary key, v int); create table other (id int primary key, v int);
         insert into kept select i, i from generate_series(1, 100) i; insert into other select i, i from generate_series(1, 100) i",
    );
    pair.target
        .exec("create table kept (id int primary key, v int, mine text); insert into kept values (7, 7, 'precious')");
    pair.register();
    pair
}

#[test]
fn a_column_of_a_table_with_rows_stays_until_the_rows_are_gone() {
    let pair = filled("auto_rows");
    assert_eq!(refused(&pair, AUTO).names(&["public.kept", "force"]).code, "55000");
    assert_eq!(pair.target.rows("select id, mine from kept"), ["7 | precious"]);
    pair.target.exec("delete from kept");
    pair.synchronize(AUTO);
    pair.expect_equal();
    assert_eq!(pair.target.rows(COLUMNS), ["id", "v"]);
}

#[test]
fn by_force_the_column_goes_with_the_rows() {
    let pair = filled("auto_force");
    pair.synchronize(&format!("{AUTO}, force => true"));
    pair.expect_equal();
    assert_eq!(pair.target.rows(COLUMNS), ["id", "v"]);
    let said = "select details ->> 'message' from steep_repl.events where event = 'schema.sync_applied' and table_name = 'public.kept'";
    let said = pair.target.rows(said);
    assert!(said.len() == 1 && said[0].contains("DROP COLUMN") && said[0].contains("mine"), "{said:?}");
}

#[test]
fn force_is_for_the_tables_that_were_asked_for() {
    let pair = filled("auto_force_other");
    pair.synchronize(&format!("{AUTO}, force => true, tables => array['other']"));
    assert_eq!(pair.target.rows("select id, v, mine from kept"), ["7 | 7 | precious"]);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from other"), 100);
    check::assert_no_conflicts(&pair.target);
}

/// A table of the source, what has its name here, and how the refusal reads.
const HOPELESS: [(&str, &str, &str, &str, &[&str]); 8] = [
    ("unlogged_here", "create table % (id int primary key)", "create unlogged table % (id int primary key)", "42P15", &["unlogged"]),
    ("view_here", "create table % (id int primary key)", "create view % as select 1 as id", "42P07", &["could not create table"]),
    (
        "plain_here",
        "create table % (id int primary key) partition by range (id); create table %_1 partition of % for values from (0) to (1000)",
        "create table % (id int primary key)",
        "42809",
        &["could not", "plain_here_1"],
    ),
    (
        "parted_here",
        "create table % (id int primary key)",
        "create table % (id int primary key) partition by range (id); create table %_1 partition of % for values from (0) to (1000)",
        "42P15",
        &["a partitioned table on the target"],
    ),
    (
        "without_cast",
        "create table % (id int primary key, v int)",
        "create table % (id int primary key, v uuid)",
        "42846",
        &["could not alter table", "uuid"],
    ),
    (
        "has_view",
        "create table % (id int primary key, v bigint)",
        "create table % (id int primary key, v int); create view %_v as select v from %",
        "0A000",
        &["could not alter table", "has_view_v"],
    ),
    (
        "key_here",
        "create table % (id int primary key, v int)",
        "create table % (id int, v int primary key)",
        "42P16",
        &["could not alter table", "primary key"],
    ),
    (
        "type_here",
        "create table % (id int primary key, v text)",
        "create type % as enum ('a')",
        "42710",
        &["could not create table"],
    ),
];

#[test]
fn what_cannot_be_made_is_said_and_nothing_is_changed() {
    let pair = Pair::new("auto_hopeless");
    for (table, there, here, ..) in HOPELESS {
        pair.source.exec(&there.replace('%', table));
        pair.source.exec(&format!("insert into {table} (id) select generate_series(1, 20)"));
        pair.target.exec(&here.replace('%', table));
    }
    // Something that could be made.
    pair.source.exec("create table fine (id int primary key); insert into fine values (1)");
    pair.register();
    let before = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    for (table, _, _, code, words) in HOPELESS {
        let leaf = if table == "plain_here" { "plain_here_1" } else { table };
        let asked = [leaf, "fine"].map(|name| quote_literal(&format!("public.{name}"))).join(", ");
        pair.init(&format!("{AUTO}, tables => array[{asked}]")).unwrap();
        let refusal = Refusal::of(&pair.wait(LONG).unwrap_err());
        assert_eq!(refusal.names(&[table]).names(words).code, code, "{table}");
        assert_eq!(pair.state(), "FAILED", "{table}");
        before.1.assert_same(&pair.target);
        pair.target.exec("select steep_repl.cancel_init('node_b')");
        let left = "select kind, error from steep_repl.pending_cleanup";
        wait_until("it is cancelled", LONG, || {
            (pair.state() == "UNINITIALIZED" && pair.target.rows(left).is_empty()).then_some(())
        });
        before.1.assert_same(&pair.target);
    }
    check::assert_clean(&pair.source, &pair.target);
    before.0.assert_same(&pair.source);
    // With all of that out of the way.
    pair.target.exec(
        "drop table unlogged_here, plain_here, parted_here, without_cast, key_here; drop table has_view cascade; drop view view_here;
         drop type type_here",
    );
    pair.synchronize(AUTO);
    pair.expect_equal();
}

/// Rows of a partition fit or do not; the key above them is named and stays.
#[test]
fn another_partition_key_is_named_and_rows_stay_within_bounds() {
    let pair = Pair::new("auto_partition_key");
    let parted = |key: &str| {
        format!(
            "create table t (id int, v int, primary key (id, v)) partition by range ({key});
             create table t_1 partition of t for values from (0) to (100)"
        )
    };
    pair.source.exec(&parted("id"));
    pair.target.exec(&parted("v"));
    pair.source.exec("insert into t select i, i from generate_series(1, 50) i; insert into t values (60, 600)");
    pair.register();
    let plan = "select action, object_kind, object_name from steep_repl.schema_sync_plan('node_b', 'node_a')";
    assert_eq!(pair.target.rows(plan), ["leave out | partition key | public.t"]);
    pair.init(AUTO).unwrap();
    let refusal = Refusal::of(&pair.wait(LONG).unwrap_err());
    assert_eq!(refusal.names(&["t_1", "partition constraint"]).code, "23514");
    let left_out =
        "select severity || ' ' || (details ->> 'message') from steep_repl.events where event = 'schema.left_out'";
    assert_eq!(pair.target.rows(left_out), ["warning left out: partition key public.t"]);
    pair.source.exec("delete from t where id = 60");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", LONG, || {
        let left = pair.target.rows("select kind from steep_repl.pending_cleanup");
        (pair.state() == "UNINITIALIZED" && left.is_empty()).then_some(())
    });
    pair.synchronize(AUTO);
    pair.expect_equal();
}
