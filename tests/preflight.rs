//! Everything that stands against an initialization, listed before anything is started.

use std::time::Duration;

use steep_repl_testkit::{check, quote_literal, shared, wait_until, ClusterOptions, Pair, Role};

use crate::refusal::contents;

/// Everything that is listed.
pub fn listed(pair: &Pair, args: &str) -> Vec<String> {
    listed_after(pair, "", args)
}

/// [`listed`] after these statements in the same session.
fn listed_after(pair: &Pair, statements: &str, args: &str) -> Vec<String> {
    pair.target.rows(&format!(
        "{statements} select check_name, status, sqlstate, message, detail, hint is not null from steep_repl.preflight('node_b', 'node_a'{args})"
    ))
}

#[test]
fn a_pair_that_is_ready() {
    let pair = Pair::new("preflight_ok");
    pair.source.exec("create table t (id int primary key); create unlogged table u (id int primary key)");
    pair.prepare();
    let rows = listed(&pair, "");
    assert!(rows.len() > 8, "{rows:?}");
    // Transactions of other tests may hold a slot of this server up.
    for row in rows.iter().filter(|row| !row.starts_with("source_transactions")) {
        assert!(row.contains(" | ok | ~ | ~ | ~ | f") || row.starts_with("left_out | notice"), "{row}");
    }
    assert!(rows.iter().any(|row| row.starts_with("left_out") && row.contains("public.u")), "{rows:?}");
    check::assert_clean(&pair.source, &pair.target);
    assert_eq!(pair.state(), "UNINITIALIZED");
    pair.synchronize("");
    let rows = listed(&pair, "");
    assert!(rows.iter().any(|row| row.starts_with("nodes | error | 55000")), "{rows:?}");
    pair.expect_equal();
}

/// One call tells it all; init_node would tell one after the other.
#[test]
fn everything_at_once() {
    let pair = Pair::new("preflight");
    pair.source.exec(
        "create table bare (v int); create table differs (id int primary key, v int); create table full_one (id int primary key);
         insert into full_one values (1)",
    );
    pair.target.exec("create table bare (v int); create table differs (id int primary key, v text); create table full_one (id int primary key)");
    pair.target.exec("insert into full_one values (7)");
    pair.register();
    let before = (contents(&pair.source), contents(&pair.target));
    let rows = listed(&pair, "");
    for (check, code, word) in
        [("schema", "42P15", "differs"), ("replica_identity", "55000", "bare"), ("empty", "55000", "full_one")]
    {
        let row = rows.iter().find(|row| row.starts_with(&format!("{check} | error | {code}")));
        assert!(row.is_some_and(|row| row.contains(word) && row.ends_with(" | t")), "{check}: {rows:?}");
    }
    assert!(rows.iter().any(|row| row.starts_with("source_wal | ok")), "{rows:?}");
    assert_eq!(before, (contents(&pair.source), contents(&pair.target)), "something changed");
    // A set without the trouble.
    let rows = listed(&pair, ", tables => array['bare'], no_identity => 'insert_only'");
    assert!(!rows.iter().any(|row| row.contains("| error |")), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("insert_only | notice")), "{rows:?}");
}

/// What cannot be looked at is not listed as good.
#[test]
fn a_source_that_is_not_there() {
    let pair = Pair::new("preflight_away");
    pair.register_with("host=127.0.0.1 port=1 user=postgres dbname=x");
    let rows = listed(&pair, "");
    assert!(rows.last().is_some_and(|row| row.starts_with("connection | error | 08001")), "{rows:?}");
}

/// The one row of a check.
pub fn row(pair: &Pair, check: &str, args: &str) -> String {
    row_after(pair, "", check, args)
}

/// [`row`] after these statements in the same session.
pub fn row_after(pair: &Pair, statements: &str, check: &str, args: &str) -> String {
    let rows = listed_after(pair, statements, args);
    let found: Vec<&String> = rows.iter().filter(|row| row.starts_with(&format!("{check} | "))).collect();
    let [row] = found.as_slice() else { panic!("one row of {check} was expected: {rows:?}") };
    (*row).clone()
}

pub fn one_table(pair: &Pair) {
    pair.source.exec("create table t (id int primary key, note text)");
    pair.prepare();
}

/// What one should know of, and what does not keep the node from being initialized.
#[test]
fn databases_that_are_not_alike() {
    let options = "template template0 encoding 'SQL_ASCII' locale_provider builtin builtin_locale 'C' locale 'C'";
    let pair = Pair::options("preflight_ascii").source_create(options).build();
    one_table(&pair);
    let encoding = row(&pair, "encoding", "");
    assert!(encoding.starts_with("encoding | warning | ~ | ") && encoding.contains("SQL_ASCII"), "{encoding}");
    assert!(row(&pair, "collation", "").starts_with("collation | ok"), "both sort by bytes");

    let options = "template template0 locale_provider builtin builtin_locale 'C.UTF-8' locale 'C'";
    let pair = Pair::options("preflight_other").source_create(options).build();
    one_table(&pair);
    pair.source.exec_each(&[
        "create extension hstore",
        "create extension pg_trgm",
        "insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) values
             (1, 'unheard_of', 10, 11, false, '1')",
        "select lo_create(0) from generate_series(1, 3)",
        "create extension steep_repl",
        "update pg_extension set extversion = '0.0.9' where extname = 'steep_repl'",
        // An hour ahead.
        "set allow_system_table_mods = on; alter function pg_catalog.clock_timestamp() rename to own_clock;
         create function pg_catalog.clock_timestamp() returns timestamptz language sql
             return pg_catalog.own_clock() + '1 hour'::interval",
    ]);
    pair.target.exec("create extension hstore");
    for (check, words, args) in [
        ("collation", &["builtin C.UTF-8", "libc C"][..], ""),
        ("extensions", &["node_b", "lacks", "pg_trgm, unheard_of"], ""),
        ("extensions", &["node_b", "lacks", "node_a\": unheard_of"], ", schema_sync => 'auto'"),
        ("extension_version", &["0.0.9 on node \"node_a\"", "0.1.0"], ""),
        ("large_objects", &["3 large objects of node \"node_a\" are not replicated"], ""),
        ("clock", &["node_a\" is 36", "s ahead of that of node \"node_b\""], ""),
    ] {
        let row = row(&pair, check, args);
        assert!(row.starts_with(&format!("{check} | warning | ~ | ")) && row.ends_with("| t"), "{row}");
        assert!(words.iter().all(|word| row.contains(word)), "{row}");
    }
    assert!(row(&pair, "encoding", "").starts_with("encoding | ok"));
    pair.source.exec("insert into t values (1, 'one')");
    pair.synchronize("method => 'parallel'");
    let told = pair.notices().join("\n");
    for words in ["builtin C.UTF-8", "pg_trgm, unheard_of", "0.0.9", "3 large objects", "ahead of"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    pair.expect_equal();
}

#[test]
fn transactions_that_hold_the_slot_up() {
    let pair = Pair::new("preflight_open");
    one_table(&pair);
    let mut open = pair.source.connect();
    open.batch_execute("begin; select pg_current_xact_id()").unwrap();
    let pid: i32 = open.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    wait_until("it is old enough to be named", Duration::from_secs(60), || {
        let row = row(&pair, "source_transactions", "");
        (row.starts_with("source_transactions | warning") && row.contains(&format!("pid {pid} ("))).then_some(())
    });
    open.batch_execute("rollback").unwrap();
    assert!(!row(&pair, "source_transactions", "").contains(&format!("pid {pid} (")));
}

/// From now on the source is asked as this role.
pub fn connect_as(pair: &Pair, role: &str) {
    connect_by(pair, &pair.source.conninfo().replace("user=postgres", &format!("user={role}")));
}

/// From now on the source is what this connection string leads to.
pub fn connect_by(pair: &Pair, conninfo: &str) {
    pair.target.exec(&format!("select steep_repl.alter_node('node_a', {})", quote_literal(conninfo)));
}

/// A server may trust no plugin of ours.
#[test]
fn a_source_that_does_not_trust_the_plugin() {
    let pair = Pair::new("preflight_plugin");
    one_table(&pair);
    let setting = "select current_setting('output_plugin_libraries', true)";
    if pair.source.rows(setting) == ["~"] {
        println!("this server has no output_plugin_libraries");
        return;
    }
    let role = Role::create(
        &shared::source(),
        "untrusted",
        "login replication in role pg_read_all_data, pg_read_all_settings",
    );
    pair.source.exec(&format!(
        "create publication p for table t; alter role {role} set output_plugin_libraries = test_decoding, \"pgoutput, pgoutput\""
    ));
    connect_as(&pair, role.name());
    let publication = ", publication => 'p'";
    let found = row(&pair, "source_plugin", publication);
    assert!(
        found.starts_with("source_plugin | error | 55000") && found.contains("test_decoding, \"pgoutput, pgoutput\""),
        "{found}"
    );
    pair.source.exec(&format!("alter role {role} set output_plugin_libraries = test_decoding, pgoutput"));
    assert!(row(&pair, "source_plugin", publication).starts_with("source_plugin | ok"));
    pair.synchronize("publication => 'p'");
    pair.expect_equal();
    pair.source.exec(&format!("drop owned by {role}"));
}

/// A part of the rows would pass for all of them. The same on the target: rights.rs.
#[test]
fn rows_that_policies_hide() {
    let pair = Pair::new("preflight_rls");
    pair.source.exec("create table t (id int primary key); insert into t values (1), (2)");
    pair.prepare();
    let role = Role::create(&shared::source(), "blinkered", "login replication in role pg_read_all_data");
    pair.source.exec("create publication p for table t; alter table t enable row level security");
    connect_as(&pair, role.name());
    let publication = ", publication => 'p'";
    let found = row(&pair, "source_tables", publication);
    assert!(
        found.starts_with("source_tables | error | 42501") && found.contains("row-level security of public.t"),
        "{found}"
    );
    pair.source.exec(&format!("alter role {role} bypassrls"));
    assert!(row(&pair, "source_tables", publication).starts_with("source_tables | ok"));
}

/// A subscription needs an origin, and somebody who applies.
#[test]
fn a_target_without_room() {
    let setting =
        if steep_repl_testkit::major() >= 18 { "max_active_replication_origins" } else { "max_replication_slots" };
    let target = ClusterOptions::new("preflight_room")
        .preload()
        .set(setting, "1")
        .set("max_logical_replication_workers", "0")
        .start();
    let pair = Pair::options("preflight_room").target(target).build();
    one_table(&pair);
    assert!(row(&pair, "origins", "").starts_with("origins | ok"));
    let workers = row(&pair, "apply_workers", "");
    assert!(workers.starts_with("apply_workers | warning") && workers.contains("all 0 of max_logical"), "{workers}");
    pair.target.exec(
        "select pg_replication_origin_create('somebody'); select pg_replication_origin_advance('somebody', '0/1')",
    );
    let origins = row(&pair, "origins", "");
    assert!(origins.starts_with("origins | error | 53400") && origins.contains("all 1 are in use"), "{origins}");
    crate::refusal::refused(&pair, "method => 'parallel'").names(&["replication origin", setting]);
    check::assert_clean(&pair.source, &pair.target);
}

#[test]
fn a_disk_that_is_too_small() {
    let pair = Pair::new("preflight_disk");
    one_table(&pair);
    assert!(row(&pair, "disk_space", "").starts_with("disk_space | ok"));
    // 16 TB by statistics.
    pair.source.exec("update pg_class set relpages = 2147483647 where relname = 't_pkey'");
    let found = row(&pair, "disk_space", "");
    assert!(found.starts_with("disk_space | warning") && found.contains("about 167"), "{found}");
}

#[test]
fn both_nodes_on_one_server() {
    let pair = Pair::options("pre_same").source(shared::target()).build();
    one_table(&pair);
    let said = row(&pair, "same_server", "");
    assert!(said.contains(" | warning | ") && said.contains("of one server") && said.ends_with(" | t"), "{said}");
}

#[test]
fn owners_that_are_not_here() {
    let owner = Role::create(&shared::source(), "preowner", "");
    let pair = Pair::new("pre_owner");
    one_table(&pair);
    pair.source.exec(&format!("alter table t owner to {owner}"));
    // Only what is made here gets an owner by the source's.
    assert!(row(&pair, "roles", "").starts_with("roles | ok"), "by strict");
    let said = row(&pair, "roles", ", schema_sync => 'auto'");
    assert!(said.contains(" | warning | ") && said.contains("preowner"), "{said}");
    pair.source.exec("alter table t owner to current_user");
}
