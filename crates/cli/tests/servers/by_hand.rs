//! `init prepare` and `init complete`: a node that is filled by a backup of one's own.

use std::time::Duration;

use steep_repl_testkit::{check, wait_until, Pair};

use crate::steep::{ran, steep, with};

const TABLES: &str = "create table orders (id int primary key, note text); insert into orders select i, repeat('x', 200) from generate_series(1, 5000) i";

/// The database that is restored lacks everything but its tables.
#[test]
fn a_dump_is_restored_and_completed() {
    let pair = Pair::new("cli_by_hand");
    pair.source.exec(TABLES);
    pair.register();
    let prepared = steep(&pair, "init prepare --node node_a --slot cli_by_hand --expires 2h --json").json();
    let field = |name: &str| prepared[name].as_str().unwrap_or_else(|| panic!("{name} in {prepared}")).to_owned();
    let (lsn, snapshot) = (field("source_lsn"), field("snapshot"));
    assert!(field("commands").contains(&snapshot), "{prepared}");
    assert!(prepared["expires_at"].is_string() && prepared["publications"].is_array(), "{prepared}");
    pair.source.exec("update orders set note = 'later' where id < 100");
    let restored = pair.target.cluster().create_database("cli_restored", "");
    restored.psql(&pair.source.dump(&["--no-publications", "--no-subscriptions", "--snapshot", &snapshot]));
    let mut complete = with(&format!("init complete --node node_c --source node_a --source-lsn {lsn}"));
    complete.args(["--dsn", &restored.conninfo(), "--source-dsn", &pair.source.conninfo()]);
    assert!(ran(complete).works().contains("Node node_c is SYNCHRONIZED"));
    check::wait_caught_up(&pair.source, &restored, Duration::from_secs(60));
    assert_eq!(restored.scalar::<i64>("select count(*) from orders where note = 'later'"), 99);
    // Once more is refused, and what it would have made is not there.
    let mut again = with(&format!("init complete --node node_c --source node_a --source-lsn {lsn}"));
    again.args(["--dsn", &restored.conninfo()]);
    ran(again).fails(1, &["node \"node_c\" is SYNCHRONIZED"]);
    check::remove_target(&restored);
    wait_until("the slot counts as used", Duration::from_secs(30), || {
        (pair.target.scalar::<String>("select status from steep_repl.init_slots") == "used").then_some(())
    });
}

/// What a person reads, and what is said of wrong uses.
#[test]
fn a_slot_is_shown_with_the_commands_that_follow() {
    let pair = Pair::new("cli_slot");
    pair.source.exec(TABLES);
    pair.register();
    let ran_once = steep(&pair, "init prepare --node node_a");
    let said = ran_once.works();
    for words in ["slot          steep_repl_", "source LSN    0/", "snapshot      ", "pg_dump -d ", "pg_basebackup -d "]
    {
        assert!(said.contains(words), "{words:?} is missing in\n{said}");
    }
    steep(&pair, "init prepare --node node_a --slot Wrong").fails(1, &["not a valid slot name", "hint: "]);
    steep(&pair, "init prepare --node node_z").fails(2, &["node \"node_z\" is not registered"]);
    // Restored into nothing: what was begun in the database is taken back.
    let empty = pair.target.cluster().create_database("cli_nothing", "");
    let mut complete = with("init complete --node node_c --source node_a --source-lsn 0/1");
    complete.args(["--dsn", &empty.conninfo(), "--source-dsn", &pair.source.conninfo()]);
    ran(complete).fails(1, &["before the start"]);
    assert_eq!(empty.scalar::<i64>("select count(*) from pg_extension where extname = 'steep_repl'"), 0);
    empty.drop_database().unwrap();
    let slot: String = pair.target.scalar("select slot_name from steep_repl.init_slots where status = 'ready'");
    pair.target.exec(&format!("select steep_repl.drop_init_slot('{slot}')"));
    check::assert_clean(&pair.source, &pair.target);
}
