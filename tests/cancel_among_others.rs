//! cancel_init while somebody else uses what it takes away, or has changed it.

use steep_repl_testkit::{check, describe, quote_literal};

use crate::cancel::{Case, ARGS, WORK};
use crate::refusal::{refused_quickly, Refusal};

/// Tables are found by what they are, not by what they are called.
#[test]
fn while_its_tables_are_renamed_and_moved() {
    let case = Case::new("cancel_moved");
    case.copying();
    case.pair.target.exec_each(&[
        "create schema elsewhere",
        "alter table big set schema elsewhere",
        "alter table elsewhere.big rename to \"Big one\"",
        "alter table log rename to old_log",
        "alter index elsewhere.big_note rename to other_note",
    ]);
    case.cancel();
    case.until("nothing is left to be cleaned up", || case.pending().is_empty());
    let moved = ["elsewhere.\"Big one\"", "old_log", "tiny"].map(|table| format!("select count(*) from {table}"));
    assert_eq!(moved.map(|count| case.pair.target.scalar::<i64>(&count)), [0, 0, 0], "rows were left");
    let broken = "select indexrelid::regclass from pg_index where not (indisvalid and indisready)";
    assert!(case.pair.target.rows(broken).is_empty(), "{:?}", case.pair.target.rows(broken));
    // But for their names everything is as it was.
    case.pair.target.exec_each(&[
        "alter index elsewhere.other_note rename to big_note",
        "alter table elsewhere.\"Big one\" rename to big",
        "alter table elsewhere.big set schema public",
        "alter table old_log rename to log",
        "drop schema elsewhere",
    ]);
    case.expect_undone_and_works();
}

/// It keeps its table until it is ready; the source does not wait for it.
#[test]
fn while_somebody_reads_a_table() {
    let case = Case::new("cancel_reader");
    case.copying();
    let mut reader = case.pair.target.connect();
    reader.batch_execute("begin; select count(*) from big").unwrap();
    case.cancel();
    let pending = case.pending();
    assert!(pending.contains(&"tables | t".to_string()), "{pending:?}");
    assert!(pending.iter().all(|row| row.ends_with(" | t") && !row.starts_with("source")), "{pending:?}");
    let publications = case.pair.source.rows("select pubname from pg_publication");
    assert!(case.slots() == 0 && publications.is_empty(), "{} slots, {publications:?}", case.slots());
    let refusal = refused_quickly(|| case.init());
    assert_eq!(refusal.code, "55006", "{refusal:?}");
    reader.batch_execute("commit").unwrap();
    case.expect_undone_and_works();
}

/// Who keeps a replica identity there from being put back. If the node may start anew meanwhile, it needs the identity.
#[test]
fn while_somebody_reads_on_the_source() {
    let case = Case::new("cancel_there");
    case.copying();
    let mut reader = case.pair.source.connect();
    reader.batch_execute("begin; select count(*) from log").unwrap();
    case.cancel();
    assert_eq!((case.pending(), case.slots()), (vec!["source | t".to_string()], 0));
    case.expect_target_as_before();
    case.pair.proxy().throttle(0);
    let anew = case.init();
    reader.batch_execute("commit").unwrap();
    if let Err(error) = anew {
        assert_eq!(Refusal::of(&error).code, "55006", "{}", describe(&error));
        return case.expect_undone_and_works();
    }
    case.pair.expect_synchronized();
    case.until("the first one is cleaned up", || case.pending().is_empty());
    case.pair.source.exec(WORK);
    case.pair.expect_equal();
}

/// Another node has been initialized from the same source meanwhile: what it goes by there is not taken away.
#[test]
fn another_node_is_not_disturbed() {
    let case = Case::new("cancel_other");
    let other = case.pair.target.cluster().create_database("cancel_other_c", "");
    other.copy_schema_from(&case.pair.source);
    case.copying();
    let [source, own] = [&case.pair.source, &other].map(|db| quote_literal(&db.conninfo()));
    other.exec_each(&[
        "create extension steep_repl",
        &format!("select steep_repl.register_node('node_a', {source})"),
        &format!("select steep_repl.register_node('node_c', {own}, is_local => true)"),
        &format!("select steep_repl.init_node('node_c', 'node_a', {ARGS})"),
        "select steep_repl.wait_for_init('node_c', timeout => '1 minute')",
    ]);
    case.cancel();
    let disturbed = case.pair.source.try_exec(WORK).map_err(|error| describe(&error));
    check::remove_target(&other);
    disturbed.unwrap();
}

/// A process that was ended may have sent a last command that makes something on the source once all has been taken away.
#[test]
fn sessions_that_are_left_on_the_source() {
    let case = Case::new("sessions");
    case.copying();
    let ours: String = case.pair.source.scalar(
        "select application_name from pg_stat_activity where datname = current_database() and application_name like 'steep\\_repl%keeper'",
    );
    let mut left = case.pair.source.cluster().config(case.pair.source.name());
    let mut left = left.application_name(&ours).connect(postgres::NoTls).unwrap();
    left.batch_execute("begin").unwrap();
    case.cancel();
    case.expect_undone();
    assert!(left.batch_execute("select 1").is_err(), "a session of ours can still make something");
}
