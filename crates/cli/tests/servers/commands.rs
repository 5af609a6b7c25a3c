//! Every command, and every exit code.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use steep_repl_testkit::{check, wait_until, ClusterOptions, Pair, Role};

use crate::steep::{at, ended, program, ran, started, steep, with};

const TABLES: &str = "create table orders (id int primary key, note text); insert into orders select i, repeat('x', 200) from generate_series(1, 5000) i;
    create table items (id int primary key, price numeric(10,2) default 0); insert into items select i from generate_series(1, 100) i;";

/// Two nodes with the same tables, rows on the source only.
fn ready(label: &str) -> Pair {
    let pair = Pair::options(label).proxied().build();
    pair.source.exec(TABLES);
    pair.prepare();
    pair
}

fn copying(pair: &Pair) {
    wait_until("it is being copied", Duration::from_secs(60), || (pair.progress()?.rows_done? > 100).then_some(()));
}

/// Waits until a `steep-repl` has got the answer to a query with these words.
fn asked(pair: &Pair, words: &str) {
    let sessions = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'steep-repl'
             and state = 'idle' and strpos(query, '{words}') > 0"
    );
    wait_until("it has asked", Duration::from_secs(30), || (pair.target.scalar::<i64>(&sessions) > 0).then_some(()));
}

/// What a program writes, line by line.
type Lines = std::io::Lines<std::io::BufReader<std::process::ChildStdout>>;

fn lines(child: &mut std::process::Child) -> Lines {
    std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()))
}

/// The next lines, up to one that is waited for.
fn until(lines: &mut Lines, last: &str) -> Vec<String> {
    let mut read: Vec<String> = Vec::new();
    while !read.last().is_some_and(|line| line.contains(last)) {
        read.push(lines.next().unwrap_or_else(|| panic!("it ended before: {read:?}")).unwrap());
    }
    read
}

#[test]
fn nodes_are_registered_listed_and_unregistered() {
    let pair = Pair::new("cli_nodes");
    let none = steep(&pair, "nodes list");
    assert_eq!((none.works(), none.stderr.contains("nodes add NODE CONNINFO")), ("", true));
    let mut add = at(&pair, "nodes add node_a -");
    add.stdin(Stdio::piped());
    let mut child = started(add);
    // The password comes by stdin, where nobody else sees it, and is shown nowhere.
    std::io::Write::write_all(
        child.stdin.as_mut().unwrap(),
        format!("{} password=sesame\n", pair.source.conninfo()).as_bytes(),
    )
    .unwrap();
    drop(child.stdin.take());
    ended(child).works();
    let mut add = at(&pair, "nodes add node_b --local");
    add.arg(pair.target.conninfo());
    ran(add).works();
    let listed = steep(&pair, "nodes list");
    let lines: Vec<&str> = listed.works().lines().collect();
    assert!(
        lines[0].starts_with("NODE") && lines[1].starts_with("node_a") && lines[2].starts_with("node_b  here"),
        "{lines:?}"
    );
    // Whether node_a was ever initialized is for node_a to say.
    for shown in [&listed, &steep(&pair, "status"), &steep(&pair, "status node_a")] {
        let of_source = shown.stdout.lines().find(|line| line.starts_with("node_a ") || line.starts_with("state "));
        assert!(of_source.is_some_and(|line| line.contains('-') && !line.contains("UNINIT")), "{}", shown.stdout);
    }
    assert!(!listed.stdout.contains("sesame") && !steep(&pair, "nodes list --json").stdout.contains("sesame"));
    let altered = |node: &str| {
        let mut alter = at(&pair, &format!("nodes alter {node}"));
        alter.arg(format!("{} connect_timeout=7", pair.source.conninfo()));
        ran(alter)
    };
    altered("node_c").fails(2, &["node \"node_c\" is not registered"]);
    assert!(altered("node_a").works().contains("0 subscriptions"));
    assert!(steep(&pair, "nodes list").works().contains("connect_timeout='7'"));
    steep(&pair, "nodes remove node_a").fails(2, &["no terminal to ask", "--yes"]);
    steep(&pair, "nodes remove node_a --yes").works();
    assert_eq!(steep(&pair, "nodes list --json").json().as_array().unwrap().len(), 1);
    steep(&pair, "nodes remove node_c --yes")
        .fails(2, &["node \"node_c\" is not registered", "Perhaps \"node_b\" is meant"]);
}

#[test]
fn a_node_is_initialized_and_shown() {
    let pair = ready("cli_init");
    let dry = steep(&pair, "init node_b --from node_a --dry-run");
    assert!(dry.works().contains("replica_identity"), "{}", dry.stdout);
    assert_eq!(pair.state(), "UNINITIALIZED");
    assert!(steep(&pair, "preflight node_b --from node_a").works().lines().count() > 10);
    let ran = steep(&pair, "init node_b --from node_a --method parallel --parallel 2");
    let said = ran.works();
    assert!(said.contains("public.orders") && said.contains("Node node_b is SYNCHRONIZED: 5,100 rows"), "{said}");
    assert!(ran.stderr.contains("node_b: "), "nothing was said on the way: {}", ran.stderr);
    pair.expect_equal();
    let all = steep(&pair, "status");
    assert!(all.works().lines().any(|line| line.starts_with("node_b  SYNCHRONIZED  node_a")), "{}", all.stdout);
    let one = steep(&pair, "status node_b");
    assert!(one.works().contains("public.items   done    100.0 %"), "{}", one.stdout);
    // A source has no extension; what is known of it is what the target knows.
    steep(&pair, "status node_a").works();
    assert!(steep(&pair, "wait node_b").works().contains("SYNCHRONIZED"));
    let events = steep(&pair, "events --node node_b -n 2");
    assert_eq!(events.works().lines().count(), 3, "{}", events.stdout);
    assert!(events.stdout.contains("init.completed"));
    steep(&pair, "init node_b --from node_a").fails(1, &["node \"node_b\" is SYNCHRONIZED (SQLSTATE 55000)", "hint: "]);
    assert_eq!(steep(&pair, "refresh node_b").works(), "Node node_b replicates all tables of its source already.\n");
    pair.source.exec("create table late (id int primary key); insert into late values (1)");
    pair.target.exec("create table late (id int primary key)");
    assert!(steep(&pair, "refresh node_b").works().contains("public.late"));
    pair.expect_equal();
}

#[test]
fn an_operation_is_cancelled() {
    let pair = ready("cli_cancel");
    pair.proxy().throttle(100_000);
    assert!(steep(&pair, "init node_b --from node_a --detach").works().contains("steep-repl wait node_b"));
    copying(&pair);
    steep(&pair, "wait node_b --timeout 500ms").fails(5, &["is not over yet", "It goes on"]);
    let waiting = started(at(&pair, "wait node_b"));
    steep(&pair, "cancel node_b").fails(2, &["no terminal to ask"]);
    assert!(steep(&pair, "cancel node_b --yes").works().contains("what it had made is gone"));
    assert_eq!(pair.state(), "UNINITIALIZED");
    check::assert_clean(&pair.source, &pair.target);
    ended(waiting).fails(4, &["was cancelled"]);
    steep(&pair, "wait node_b").fails(4, &["was cancelled"]);
    steep(&pair, "cancel node_b --yes").fails(1, &["55000"]);
}

/// A newer operation of the node is not what was waited for, and says nothing about how that one ended.
#[test]
fn an_operation_that_was_replaced() {
    let pair = ready("cli_replaced");
    pair.proxy().throttle(100_000);
    steep(&pair, "init node_b --from node_a --detach").works();
    let waiting = started(at(&pair, "wait node_b --json"));
    copying(&pair);
    asked(&pair, "steep_repl.init_progress");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("a new one can begin", Duration::from_secs(60), || {
        pair.target.try_exec("select steep_repl.init_node('node_b', 'node_a')").ok()
    });
    let waited = ended(waiting);
    waited.fails(4, &["operation 1 on node \"node_b\" was cancelled"]);
    let ended: serde_json::Value = serde_json::from_str(&waited.stdout).unwrap();
    assert_eq!((ended["operation_id"].as_i64(), ended["status"].as_str()), (Some(1), Some("cancelled")));
    pair.proxy().throttle(0);
    steep(&pair, "wait node_b").works();
}

/// Messages that nobody reads any more stop nothing.
#[test]
fn messages_into_a_broken_pipe() {
    let pair = ready("cli_stderr");
    let mut following = started(at(&pair, "init node_b --from node_a"));
    drop(following.stderr.take());
    assert!(ended(following).works().contains("is SYNCHRONIZED"));
}

/// What the server remarks is not lost.
#[test]
fn notices_are_shown() {
    let pair = ready("cli_notices");
    let ran = steep(&pair, "init node_b --from node_a --method parallel --large-table-threshold 1MB");
    ran.works();
    assert!(ran.stderr.contains("steep-repl: notice: large_table_threshold"), "{}", ran.stderr);
}

/// Names as in SQL, and shown so that they cannot be mistaken for others, nor do anything to a terminal.
#[test]
fn odd_names() {
    let pair = Pair::new("cli_names");
    let tables =
        "create table \"We\"\"ird, too\" (id int primary key); create table \"\u{1b}[31mred\" (id int primary key)";
    pair.source.exec(tables);
    pair.prepare();
    let mut init = at(&pair, "init node_b --from node_a");
    init.args(["--tables", "\"We\"\"ird, too\",\"\u{1b}[31mred\""]);
    let ran = ran(init);
    assert!(ran.works().contains("public.\"We\"\"ird, too\"") && ran.stdout.contains("in 2 tables"), "{}", ran.stdout);
    for arguments in ["status node_b", "events", "events --follow -n 99", "schema compare node_a node_b --all"] {
        let said = if arguments.contains("--follow") {
            let mut child = started(at(&pair, arguments));
            let lines = until(&mut lines(&mut child), "init.completed");
            child.kill().unwrap();
            child.wait().unwrap();
            lines.join("\n")
        } else {
            steep(&pair, arguments).stdout
        };
        assert!(said.contains("[31mred") && !said.contains('\u{1b}'), "{arguments}: {said}");
    }
}

#[test]
fn roles_with_few_rights() {
    let pair = ready("cli_rights");
    let cluster = pair.target.cluster();
    let (nobody, monitor) =
        (Role::create(cluster, "nobody", "login"), Role::create(cluster, "monitor", "login in role pg_monitor"));
    let as_role = |role: &Role, arguments: &str| {
        let mut command = at(&pair, arguments);
        command.args(["-U", role.name()]);
        ran(command)
    };
    as_role(&nobody, "status").fails(1, &["SQLSTATE 42501", "hint: Members of pg_monitor may look"]);
    assert!(as_role(&monitor, "status").works().contains("node_b"));
    as_role(&monitor, "cancel node_b --yes").fails(1, &["no operation"]);
    as_role(&monitor, "init node_b --from node_a").fails(1, &["SQLSTATE 42501", "pg_create_subscription may act"]);
}

/// Somebody else cancels what `init` follows.
#[test]
fn init_says_that_it_was_cancelled() {
    let pair = ready("cli_cancelled");
    pair.proxy().throttle(100_000);
    let following = started(at(&pair, "init node_b --from node_a"));
    copying(&pair);
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    ended(following).fails(4, &["was cancelled"]);
}

/// Without a terminal Ctrl-C ends the watching, and nothing else.
#[test]
fn an_interrupt_leaves_the_operation_alone() {
    let pair = ready("cli_interrupt");
    pair.proxy().throttle(100_000);
    let following = started(at(&pair, "init node_b --from node_a"));
    copying(&pair);
    let pid = following.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    ended(following).fails(1, &["interrupted; operation", "goes on", "steep-repl cancel node_b"]);
    assert_eq!(pair.state(), "COPYING");
    pair.proxy().throttle(0);
    let ran = steep(&pair, "wait node_b --timeout 2m");
    assert!(ran.works().contains("SYNCHRONIZED"));
    pair.expect_equal();
}

/// A restart of the node's server is a pause for whoever follows.
#[test]
fn a_restart_is_survived() {
    let server = ClusterOptions::new("cli_restart").preload().start();
    let pair = Pair::options("cli_restart").target(server.clone()).proxied().build();
    pair.source.exec(TABLES);
    pair.prepare();
    pair.proxy().throttle(100_000);
    let following = started(at(&pair, "init node_b --from node_a"));
    copying(&pair);
    server.restart();
    pair.proxy().throttle(0);
    let ran = ended(following);
    assert!(ran.works().contains("is SYNCHRONIZED"), "{}", ran.stderr);
    assert!(ran.stderr.contains("connection lost, trying again"), "{}", ran.stderr);
    pair.expect_equal();
}

#[test]
fn a_failed_operation_is_resumed() {
    let pair = ready("cli_resume");
    pair.target.exec("create unique index items_price on items (price)");
    steep(&pair, "init node_b --from node_a").fails(1, &["items_price", "SQLSTATE 23505", "resume_init"]);
    steep(&pair, "wait node_b").fails(1, &["SQLSTATE 23505"]);
    assert!(steep(&pair, "status").works().contains("FAILED"));
    let waited = steep(&pair, "wait node_b --json");
    waited.fails(1, &["SQLSTATE 23505"]);
    let ended: serde_json::Value = serde_json::from_str(&waited.stdout).unwrap();
    assert_eq!((ended["status"].as_str(), ended["sqlstate"].as_str()), (Some("failed"), Some("23505")));
    pair.source.exec("update items set price = id");
    pair.target.exec("drop index items_price");
    assert!(steep(&pair, "resume node_b --follow").works().contains("is SYNCHRONIZED"));
    pair.expect_equal();
}

#[test]
fn schemas_that_differ() {
    let pair = ready("cli_schemas");
    assert!(steep(&pair, "schema compare node_a node_b").works().contains("2 tables, 2 match, 0 do not."));
    assert!(steep(&pair, "schema diff node_a node_b items").works().contains("is the same"));
    steep(&pair, "schema export node_b").fails(1, &["nothing is captured", "schema capture node_b"]);
    assert!(steep(&pair, "schema capture node_b").works().contains("2 tables"));
    assert!(steep(&pair, "schema drift node_b").works().contains("Nothing has changed"));
    assert_eq!(steep(&pair, "schema export node_b").json()["tables"].as_array().unwrap().len(), 2);
    pair.source.exec("alter table items alter price type numeric(12,2)");
    pair.target.exec("alter table orders add extra int");
    let compared = steep(&pair, "schema compare node_a node_b");
    compared.fails(8, &["2 tables differ between node_a and node_b"]);
    assert!(
        compared.stdout.contains("column price: numeric(12,2) on node_a, numeric(10,2) on node_b"),
        "{}",
        compared.stdout
    );
    let diff = steep(&pair, "schema diff node_a node_b public.items");
    diff.fails(8, &["has 1 difference between"]);
    assert!(diff.stdout.contains("ALTER TABLE") && diff.stdout.contains("numeric(12,2)"), "{}", diff.stdout);
    steep(&pair, "schema drift node_b").fails(8, &["since the capture 1 table of node node_b changed"]);
    steep(&pair, "schema diff node_a node_b nope").fails(1, &["42P01"]);
    assert!(steep(&pair, "schema plan node_b --from node_a").works().contains("items"));
    steep(&pair, "init node_b --from node_a").fails(3, &["SQLSTATE 42P15", "price"]);
    steep(&pair, "preflight node_b --from node_a").fails(7, &["schema"]);
    steep(&pair, "init node_b --from node_a --dry-run").fails(7, &["schema"]);
    assert!(steep(&pair, "init node_b --from node_a --schema-sync auto").works().contains("is SYNCHRONIZED"));
}

#[test]
fn a_waiting_operation_is_confirmed() {
    let pair = ready("cli_confirm");
    pair.target.exec("alter table items drop price");
    steep(&pair, "init node_b --from node_a --schema-sync manual --detach").works();
    wait_until("it waits", Duration::from_secs(60), || {
        steep(&pair, "events --node node_b").works().contains("schema.mismatch_detected").then_some(())
    });
    pair.target.exec("alter table items add price numeric(10,2) default 0");
    steep(&pair, "confirm node_b").works();
    steep(&pair, "wait node_b --timeout 2m").works();
    pair.expect_equal();
}

/// What the server does not have yet is said, and nothing is changed.
#[test]
fn functions_of_later_versions() {
    let pair = ready("cli_later");
    for (arguments, function) in [
        ("reinit --node node_b --tables orders,items --yes", "reinit_tables"),
        ("reinit --node node_b --schema public --yes", "reinit_schema"),
        ("reinit --node node_b --full --yes", "reinit_node"),
    ] {
        steep(&pair, arguments).fails(
            1,
            &[&format!("the server does not have steep_repl.{function}() yet"), "ALTER EXTENSION steep_repl UPDATE"],
        );
    }
    // A database that was restored has no extension. What was begun there is taken back when the source cannot be reached.
    let mut complete = with("init complete --node node_a --source node_b --source-lsn 0/1234ABCD --source-dsn host=x");
    let restored = pair.target.cluster().create_database("cli_restored", "");
    complete.args(["--dsn", &restored.conninfo()]);
    ran(complete).fails(6, &["could not connect to node \"node_b\""]);
    assert_eq!(restored.scalar::<i64>("select count(*) from pg_extension where extname = 'steep_repl'"), 0);
    restored.drop_database().unwrap();
}

#[test]
fn connections_that_cannot_be() {
    let pair = Pair::new("cli_connections");
    let mut nobody = program();
    nobody.args(["status", "-h", "127.0.0.1", "-p", "1", "-U", "me"]);
    ran(nobody).fails(6, &["127.0.0.1"]);
    let mut wrong = at(&pair, "status");
    wrong.args(["-d", "no such database"]);
    ran(wrong).fails(6, &["no such database"]);
    let mut without = with("status");
    without.args(["--dsn", &pair.source.conninfo()]);
    ran(without).fails(1, &["does not have the extension steep_repl", "hint: "]);
    // A node is another database than it is registered as.
    pair.register();
    pair.target.exec("select steep_repl.unregister_node('node_b')");
    let mut add = at(&pair, "nodes add node_c --local");
    add.arg(pair.target.conninfo());
    ran(add).works();
    let mut add = at(&pair, "nodes add node_b");
    add.arg(pair.target.conninfo());
    ran(add).works();
    steep(&pair, "init node_b --from node_a").fails(1, &["is node \"node_c\", not \"node_b\""]);
    steep(&pair, "schema capture node_a").fails(1, &["does not have the extension"]);
}

#[test]
fn wrong_usage() {
    let pair = ready("cli_usage");
    assert_eq!(ran(with("init")).code, 2);
    ran(with("frobnicate")).fails(2, &["frobnicate"]);
    ran(with("stats")).fails(2, &["hint: a similar subcommand exists: 'status'"]);
    steep(&pair, "nodes add node_d -").fails(2, &["no connection string on stdin"]);
    steep(&pair, "schema plan node_b --from node_c").fails(2, &["node \"node_c\" is not registered"]);
    assert_eq!(ran(with("init node_b --from node_a --method fast")).code, 2);
    steep(&pair, "init node_c --from node_a").fails(2, &["node \"node_c\" is not registered", "hint: Perhaps \"node_"]);
    steep(&pair, "init node_b --from node").fails(2, &["node \"node\" is not registered", "hint: Perhaps"]);
    steep(&pair, "status zzz").fails(2, &["hint: Registered nodes: node_a, node_b."]);
    steep(&pair, "init node_b --from node_a --force").fails(2, &["no terminal to ask", "will be emptied"]);
    for help in ["--help", "-?", "init --help", "--version"] {
        assert!(ran(with(help)).works().contains("steep-repl"), "{help}");
    }
}

#[test]
fn completions_and_manual_page() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(ran(with(&format!("completions {shell}"))).works().contains("preflight"), "{shell}");
    }
    let page = ran(with("man"));
    // Every command stands there with its own options.
    for words in [".TH steep-repl 1", ".SS steep-repl init complete", "schema\\-sync", ".SS steep-repl snapshot delete"]
    {
        assert!(page.works().contains(words), "{words}");
    }
}

/// A reader that has had enough is no error.
#[test]
fn a_pipe_that_breaks() {
    let pair = ready("cli_pipe");
    let mut child = started(at(&pair, "schema compare node_a node_b --json"));
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn events_are_followed() {
    let pair = ready("cli_follow");
    let mut follow = at(&pair, "events --follow --json");
    follow.stdout(Stdio::piped());
    let mut child = follow.spawn().unwrap();
    pair.synchronize("method => 'parallel'");
    let seen: Vec<String> = until(&mut lines(&mut child), "init.completed")
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned())
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen.contains(&"init.started".to_owned()), "{seen:?}");
}

/// `-n 0` shows all that is new, and nothing of what was, not even when it looks again.
#[test]
fn only_new_events() {
    let pair = ready("cli_new_events");
    steep(&pair, "init node_b --from node_a").works();
    // Their numbers are given before their transactions end, in whatever order.
    let mut early = pair.target.cluster().connect(pair.target.name());
    let insert = |name: &str| {
        format!("insert into steep_repl.events (event, severity, details) values ('{name}', 'info', '{{}}')")
    };
    early.batch_execute(&format!("begin; {}", insert("early"))).unwrap();
    let mut child = started(at(&pair, "events --follow -n 0"));
    asked(&pair, "FROM steep_repl.events");
    pair.target.exec(&insert("late"));
    let name = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
    let mut shown = lines(&mut child);
    let first = until(&mut shown, "late");
    early.batch_execute("commit").unwrap();
    let second = until(&mut shown, "early");
    child.kill().unwrap();
    child.wait().unwrap();
    let names: Vec<String> = first.iter().chain(&second).filter_map(|line| name(line)).collect();
    assert_eq!(names, ["late", "early"]);
}

/// Connected to any node, the others are found.
#[test]
fn from_one_node_to_the_other() {
    let pair = ready("cli_from");
    // The source has the extension as well, and knows the target.
    let third = pair.target.cluster().create_database("cli_from_third", "");
    third.exec("create extension steep_repl");
    let register =
        format!("select steep_repl.register_node('node_b', '{}')", pair.target.conninfo().replace('\'', "''"));
    third.exec(&register);
    let at_third = |arguments: &str| {
        let mut command = with(arguments);
        command.args(["--dsn", &third.conninfo()]);
        ran(command)
    };
    assert!(at_third("init node_b --from node_a").stderr.contains("node \"node_b\"") || pair.state() == "SYNCHRONIZED");
    pair.expect_equal();
    assert!(at_third("status node_b").works().contains("SYNCHRONIZED"));
    third.drop_database().unwrap();
}

/// Defaults and nodes of the configuration file.
#[test]
fn a_configuration_file() {
    let pair = ready("cli_config");
    let folder = std::env::temp_dir().join(format!("steep-cli-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("config.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let configured = |arguments: &str| {
        let mut command = with(arguments);
        command.env("STEEP_REPL_CONFIG", &file);
        ran(command)
    };
    let dsn = pair.target.conninfo();
    let text = format!(
        "[nodes]\nnode_b = \"{dsn}\"\n[replication.initialization]\nparallel_workers = 3\nmethod = 'parallel'\n"
    );
    write(&text);
    assert!(configured("status --at node_b").works().contains("node_a"));
    // A warning for those who keep a password where others can read it, and only for them.
    let exposed = |text: &str, mode: u32| {
        write(text);
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let ran = configured("status --at node_b");
        assert!(!format!("{}{}", ran.works(), ran.stderr).contains("sesame"), "{}", ran.stderr);
        ran.stderr.contains("has group or world access")
    };
    let secret = format!("nodes.node_b = \"{dsn} password=sesame\"");
    let plain = format!("nodes.node_b = \"{dsn}\"");
    assert_eq!([exposed(&secret, 0o600), exposed(&secret, 0o640), exposed(&plain, 0o644)], [false, true, false]);
    write(&text);
    configured("status --at node_c").fails(2, &["node \"node_c\" is not in the configuration file", "node_b"]);
    configured("init node_b --from node_a").works();
    assert_eq!(pair.target.scalar::<i64>("select workers_planned::bigint from steep_repl.init_progress"), 3);
    write("[replication.initialisation]\n");
    configured("status")
        .fails(2, &["unknown key \"replication.initialisation\"", "Perhaps \"replication.initialization\" is meant."]);
    std::fs::remove_dir_all(&folder).unwrap();
}
