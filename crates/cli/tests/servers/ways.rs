//! `init` by the ways that the server's own synchronization knows, under load and to the end.

use steep_repl_testkit::{check, LoadOptions, Pair};

use crate::steep::steep;

const TABLES: &str = "
    create table large (id int primary key, v int, note text);
    create table small (id int primary key, v int, note text);
    insert into large select i, i, repeat('x', 200) from generate_series(1, 15000) i;
    insert into small select i, i, 's' from generate_series(1, 100) i;";

/// The rows came by method snapshot, each table as these transports say.
fn initialized(label: &str, options: &str, transports: &[&str]) {
    let pair = Pair::new(label);
    pair.source.exec(TABLES);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let load = LoadOptions::default().keyed("large").keyed("small").keys(15_000).rate(100).start(&pair.source);
    let ran = steep(&pair, &format!("init node_b --from node_a --method snapshot {options}"));
    let said = ran.works();
    assert!(said.contains("public.large") && said.contains("Node node_b is SYNCHRONIZED"), "{said}");
    load.stop();
    assert_eq!(pair.target.rows("select method from steep_repl.init_progress"), ["snapshot"]);
    let ways = "select table_name, transport from steep_repl.operation_tables order by 1";
    assert_eq!(pair.target.rows(ways), transports);
    // Rows that the server itself has copied carry no origin of ours.
    pair.expect_equal_but(&check::ORIGINS);
}

#[test]
fn by_the_server_itself() {
    initialized("cli_sync", "", &["large | server", "small | server"]);
}

#[test]
fn large_tables_by_copy() {
    let options = "--large-table-method copy --large-table-threshold 1MB";
    initialized("cli_large", options, &["large | copy", "small | server"]);
}
