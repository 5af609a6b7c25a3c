//! The surface: names, comments, rights, and that no secret shows.

use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;
use postgres::Notification;
use steep_repl_testkit::{wait_until, ClusterOptions, Pair};

use crate::shop;

fn columns(pair: &Pair, relation: &str) -> Vec<(String, String)> {
    let sql = format!(
        "select attname, t.typcategory::text || ' ' || t.typname from pg_attribute a join pg_type t on t.oid = a.atttypid
         where attrelid = 'steep_repl.{relation}'::regclass and attnum > 0 and not attisdropped order by attnum"
    );
    let split = |row: String| row.split_once(" | ").map(|(name, kind)| (name.to_string(), kind.to_string()));
    pair.target.rows(&sql).into_iter().filter_map(split).collect()
}

#[test]
fn init_progress_has_the_promised_columns() {
    let pair = Pair::new("view_cols");
    // The first letter is the type's category: number, text, array, date and time, time span.
    let expected = [
        ("operation_id", "N int8"),
        ("node", "S text"),
        ("source", "S text"),
        ("kind", "S text"),
        ("method", "S text"),
        ("state", "S text"),
        ("phase", "S text"),
        ("overall_percent", "N"),
        ("tables_total", "N"),
        ("tables_done", "N"),
        ("current_tables", "A _text"),
        ("rows_done", "N int8"),
        ("bytes_done", "N int8"),
        ("bytes_total", "N int8"),
        ("rows_per_second", "N"),
        ("bytes_per_second", "N"),
        ("workers_active", "N"),
        ("workers_planned", "N"),
        ("started_at", "D timestamptz"),
        ("updated_at", "D timestamptz"),
        ("eta", ""),
        ("lag_bytes", "N"),
        ("error", "S text"),
        ("generation_percent", "N"),
        ("application_percent", "N"),
    ];
    let found = columns(&pair, "init_progress");
    assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected.map(|(name, _)| name));
    for ((name, kind), (_, wanted)) in found.iter().zip(expected) {
        assert!(kind.starts_with(wanted), "{name} is {kind}");
    }
    let eta = &found[20].1;
    assert!(eta == "T interval" || eta == "D timestamptz", "{eta}");
}

#[test]
fn table_progress_has_the_promised_columns() {
    let pair = Pair::new("view_cols_t");
    let names: Vec<String> = columns(&pair, "table_progress").into_iter().map(|(name, _)| name).collect();
    // More may stand between and behind.
    let mut found = names.iter();
    for expected in [
        "operation_id",
        "table_schema",
        "table_name",
        "status",
        "phase",
        "percent",
        "rows_done",
        "bytes_done",
        "bytes_total",
        "attempts",
        "started_at",
        "finished_at",
        "error",
        "transport",
    ] {
        assert!(found.any(|name| name == expected), "{expected} is missing or out of order: {names:?}");
    }
}

#[test]
fn the_nodes_and_events_can_be_read_by_their_names() {
    let pair = Pair::new("view_nodes");
    pair.register();
    pair.target.exec(
        "select node, conninfo, owner, is_local, state, source, health, last_error, updated_at from steep_repl.nodes",
    );
    pair.target.exec("select operation_id, event, severity, node, details from steep_repl.events");
    for relation in ["operations", "operation_tables", "tasks", "node_status", "init_progress", "table_progress"] {
        pair.target.exec(&format!("select * from steep_repl.{relation}"));
    }
    assert_eq!(
        pair.target.rows("select node, state from steep_repl.node_status order by 1"),
        ["node_a | UNINITIALIZED", "node_b | UNINITIALIZED"]
    );
}

/// \df+ and \d+ tell what everything is for.
#[test]
fn everything_has_a_comment() {
    let pair = Pair::new("comments");
    let silent = pair.target.rows(
        "select 'function ' || p.oid::regprocedure from pg_proc p where pronamespace = 'steep_repl'::regnamespace
            and obj_description(p.oid, 'pg_proc') is null
         union all select 'relation ' || c.oid::regclass from pg_class c where relnamespace = 'steep_repl'::regnamespace and relkind in ('r', 'v', 'm')
            and obj_description(c.oid, 'pg_class') is null
         union all select 'column ' || c.oid::regclass || '.' || attname from pg_class c join pg_attribute on attrelid = c.oid
            where relnamespace = 'steep_repl'::regnamespace and relkind in ('r', 'v', 'm') and attnum > 0 and not attisdropped
            and col_description(c.oid, attnum) is null
         union all select 'type ' || t.oid::regtype from pg_type t where typnamespace = 'steep_repl'::regnamespace and typtype in ('e', 'd')
            and obj_description(t.oid, 'pg_type') is null order by 1",
    );
    assert!(silent.is_empty(), "{} without a comment: {silent:#?}", silent.len());
}

#[test]
fn strangers_can_neither_call_nor_write() {
    let pair = Pair::new("rights");
    pair.source.exec("create table t (id int primary key)");
    pair.prepare();
    let open = pair.target.rows(
        "select p.oid::regprocedure from pg_proc p where pronamespace = 'steep_repl'::regnamespace and has_function_privilege('public', p.oid, 'execute')
         order by 1",
    );
    assert!(open.is_empty(), "PUBLIC may execute {open:#?}");
    let writable = pair.target.rows(
        "select c.oid::regclass, privilege_type from pg_class c, aclexplode(c.relacl)
         where relnamespace = 'steep_repl'::regnamespace and grantee <> c.relowner and privilege_type <> 'SELECT'",
    );
    assert!(writable.is_empty(), "others may write {writable:#?}");
    let role = format!("stranger_{}", pair.target.cluster().port());
    pair.target.exec(&format!("create role {role} login"));
    for statement in [
        "select steep_repl.init_node('node_b', 'node_a')",
        "select conninfo from steep_repl.nodes",
        "insert into steep_repl.nodes (node) values ('x')",
        "select steep_repl.register_node('x', 'dbname=x')",
    ] {
        let error = pair.target.try_exec(&format!("set role {role}; {statement}")).unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{statement}");
    }
    pair.target.exec(&format!("drop role {role}"));
}

/// Functions that run with the owner's rights see the catalog's objects, whatever the caller's search_path says.
#[test]
fn functions_have_a_pinned_search_path() {
    let pair = Pair::new("pinned");
    let loose = pair.target.rows(
        "select p.oid::regprocedure from pg_proc p where pronamespace = 'steep_repl'::regnamespace and prosecdef
            and not coalesce(proconfig::text like '%search_path=%', false)",
    );
    assert!(loose.is_empty(), "{loose:#?}");
    let views = pair.target.rows(
        "select c.oid::regclass from pg_class c where relnamespace = 'steep_repl'::regnamespace and relkind = 'v'
            and coalesce(reloptions::text, '') like '%security_invoker=false%'",
    );
    assert!(views.is_empty(), "{views:#?}");
    pair.source.exec("create table t (id int primary key); insert into t values (1)");
    pair.prepare();
    pair.target.exec(
        "create schema evil; create function evil.now() returns timestamptz language sql as 'select null::timestamptz';
         create table evil.nodes (node text); create table evil.pg_class (oid int); create table evil.events (id int);",
    );
    pair.target.exec("set search_path = evil, steep_repl, pg_catalog; select steep_repl.init_node('node_b', 'node_a', method => 'parallel')");
    pair.expect_synchronized();
    pair.expect_equal();
}

#[test]
fn connection_strings_are_shown_without_their_password() {
    let cluster = ClusterOptions::new("redact").preload().set("log_statement", "none").start();
    let pair = Pair::options("redact").target(cluster).build();
    let secret = "s3cr3t-pw";
    for (node, conninfo) in [
        ("plain", "host=h dbname=d password=s3cr3t-pw"),
        ("quoted", "host=h dbname=d password='s3cr3t-pw with space'"),
        ("url", "postgresql://user:s3cr3t-pw@h/d"),
        ("keys", "host=h dbname=d sslpassword=s3cr3t-pw"),
    ] {
        let quoted = steep_repl_testkit::quote_literal(conninfo);
        pair.target.exec(&format!("select steep_repl.register_node('{node}', {quoted})"));
    }
    for view in ["node_status", "init_progress", "events", "operations"] {
        let rows = pair.target.rows(&format!("select to_jsonb(v) from steep_repl.{view} v"));
        assert!(!rows.iter().any(|row| row.contains(secret)), "steep_repl.{view}: {rows:?}");
    }
    assert!(!pair.target.cluster().log_contains(secret));
}

/// Each event is a row, and one line of JSON in the server's log.
#[test]
fn events_are_rows_and_lines_of_the_log() {
    // Background workers show no database in log_line_prefix, so this log has to be this test's alone.
    let cluster = ClusterOptions::new("events").preload().start();
    let pair = Pair::options("events").target(cluster).build();
    shop::fill(&pair.source, 0.02);
    pair.prepare();
    let operation = pair.synchronize("method => 'parallel'");
    let events = pair.events();
    let of_operation: Vec<&str> =
        events.iter().filter(|event| event.operation_id == Some(operation)).map(|event| event.event.as_str()).collect();
    // The transition to PREPARING belongs to the same transaction.
    assert!(of_operation.iter().take(2).any(|event| *event == "init.started"), "{of_operation:?}");
    assert!(of_operation.contains(&"init.completed"), "{of_operation:?}");
    let tables = pair.target.scalar::<i64>("select count(*) from steep_repl.table_progress");
    assert_eq!(of_operation.iter().filter(|event| **event == "init.table_complete").count() as i64, tables);
    for event in &events {
        assert!(["debug", "info", "notice", "warning", "error"].contains(&event.severity.as_str()), "{event:?}");
    }
    let log = pair.target.cluster().log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("\"init."))
        .filter_map(|line| line.find('{').map(|start| &line[start..]))
        .collect();
    for name in &of_operation {
        assert!(lines.iter().any(|line| line.contains(&format!("\"{name}\""))), "{name} is not in the log");
    }
    for line in lines {
        let quoted = steep_repl_testkit::quote_literal(line);
        let keys = pair
            .target
            .rows(&format!("select {quoted}::jsonb ?& array['time', 'event', 'severity', 'operation_id', 'node']"));
        assert_eq!(keys, ["t"], "{line}");
    }
}

#[test]
fn the_extension_can_be_removed_and_made_again() {
    let pair = Pair::new("extension");
    pair.register();
    pair.target.exec("drop extension steep_repl");
    // The schema itself stays, as after every extension whose control file names one; nothing is in it.
    let left = "select count(*) from pg_depend where refclassid = 'pg_namespace'::regclass
        and refobjid = (select oid from pg_namespace where nspname = 'steep_repl')";
    assert_eq!(pair.target.scalar::<i64>(left), 0);
    pair.target.exec("create extension steep_repl");
    pair.register();
}

/// A listener is woken, and told no more than where to look.
#[test]
fn listeners_are_woken() {
    let pair = Pair::new("notify");
    shop::fill(&pair.source, 0.02);
    pair.prepare();
    let mut listener = pair.target.connect();
    listener.batch_execute("listen steep_repl_events").unwrap();
    pair.synchronize("method => 'parallel'");
    let payloads = wait_until("a notification came", Duration::from_secs(10), || {
        listener.batch_execute("select").unwrap();
        let mut notifications = listener.notifications();
        let payload = |notification: Notification| Ok(notification.payload().to_string());
        let payloads: Vec<String> = notifications.iter().map(payload).collect().unwrap();
        (!payloads.is_empty()).then_some(payloads)
    });
    for payload in payloads {
        assert!(payload.len() < 200 && payload.chars().any(|c| c.is_ascii_digit()), "{payload}");
    }
}

/// Nodes and settings go into a dump, running state does not: restored elsewhere it would be a lie.
#[test]
fn a_dump_carries_nodes_and_no_state() {
    let pair = Pair::new("dumped");
    pair.source.exec("create table t (id int primary key); insert into t values (1)");
    pair.prepare();
    pair.synchronize("method => 'parallel'");
    let dump = pair.target.dump(&[]);
    assert!(dump.contains("COPY steep_repl.nodes"), "no nodes in the dump");
    for table in ["operations", "operation_tables", "tasks", "events"] {
        assert!(!dump.contains(&format!("COPY steep_repl.{table} ")), "{table} in the dump");
    }
    assert!(dump.contains("CREATE EXTENSION IF NOT EXISTS steep_repl"));
}
