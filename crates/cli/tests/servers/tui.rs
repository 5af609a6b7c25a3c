//! The terminal UI from end to end: in a real terminal, with real servers.

use std::time::{Duration, Instant};

use steep_repl_testkit::{
    pass, quote_literal, shared, test_all, wait_until, Auth, ClusterOptions, Pair, Proxy, StopMode,
};

use crate::window::Window;

/// Enough to watch for a while over a throttled link.
const SCHEMA: &str = "
    create table orders (id int primary key, note text);
    create table customers (id int primary key, note text);
    create table countries (id int primary key, name text);
    insert into orders select i, repeat(md5(i::text), 8) from generate_series(1, 40000) i;
    insert into customers select i, repeat(md5(i::text), 8) from generate_series(1, 15000) i;
    insert into countries select i, md5(i::text) from generate_series(1, 200) i;
    analyze";

/// A pair whose copy takes about as many seconds.
fn slow_pair(label: &str, seconds: u64) -> Pair {
    let pair = Pair::options(label).proxied().build();
    pair.source.exec(SCHEMA);
    pair.prepare();
    pair.proxy().throttle(16_000_000 / seconds);
    pair
}

fn open(pair: &Pair, columns: u16, rows: u16) -> Window {
    Window::open(&pair.target.conninfo(), columns, rows, &[])
}

/// Asks for an initialization of node_b by these keys, up to the question whether it is meant.
fn ask_to_initialize(window: &mut Window, keys: &str) {
    window.keys(keys);
    window.wait_for(5, "initialize node_b");
    window.keys("\r");
    window.wait_for(20, "nothing speaks against it");
}

/// Percent in the row of the bar.
fn percent(screen: &str) -> Option<f64> {
    screen
        .lines()
        .find(|line| line.contains(" %") && line.contains("left"))?
        .split('%')
        .next()?
        .split_whitespace()
        .last()?
        .parse()
        .ok()
}

#[test]
fn an_initialization_is_begun_watched_cancelled_and_begun_again() {
    let pair = slow_pair("tui_init", 12);
    let mut window = open(&pair, 100, 30);
    window.wait(20, "both nodes", |screen| screen.contains("UNINITIALIZED") && screen.contains("source"));
    ask_to_initialize(&mut window, "I");
    window.wait_for(1, "select steep_repl.init_node('node_b', 'node_a');");
    window.keys("\r");
    window.wait_for(20, "COPYING");
    window.wait(30, "a table that is copied", |screen| screen.contains("public.orders") && screen.contains("copying"));
    window.wait(30, "some progress", |screen| percent(screen).is_some_and(|percent| percent > 5.0));
    let then = percent(&window.text());
    window.wait(30, "more progress", |screen| percent(screen) > then);
    println!("{}", window.text());

    window.keys("C");
    window.wait_for(5, "Type node_b and press enter");
    println!("{}", window.text());
    window.keys("node_x\r");
    window.wait_for(5, "type the name of the node first");
    window.keys("\u{7f}b\r");
    let began = Instant::now();
    window.wait_for(30, "○ UNINITIALIZED");
    println!("cancelled and shown so after {:?}", began.elapsed());
    assert_eq!(pair.state(), "UNINITIALIZED");

    pair.proxy().throttle(1_000_000_000);
    ask_to_initialize(&mut window, "I");
    window.keys("\r");
    window.wait_for(60, "● SYNCHRONIZED");
    println!("{}", window.text());
    window.keys("@");
    window.wait_for(5, "init_node");
    window.keys("\x1b");
    window.wait(5, "the operation again", |screen| screen.contains("100.0 %"));
    window.keys("q");
    window.expect_end(0);
    pair.expect_equal();
}

/// While one looks at what a cancellation will do, its operation may end and another one begin.
#[test]
fn a_cancellation_hits_no_newer_operation() {
    let pair = slow_pair("tui_newer", 12);
    pair.init("").unwrap();
    let mut window = open(&pair, 100, 30);
    window.wait_for(20, "COPYING");
    window.keys("C");
    window.wait_for(5, "Type node_b and press enter");
    window.keys("node_b");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(60), || (pair.state() == "UNINITIALIZED").then_some(()));
    pair.init("").unwrap();
    window.keys("\r");
    window.wait_for(20, "is left alone");
    println!("{}", window.text());
    pair.proxy().throttle(1_000_000_000);
    pair.expect_synchronized();
    window.keys("\rq");
    window.expect_end(0);
}

/// What is shown is at most two seconds old: from the change in the server to the cell on the screen.
#[test]
fn what_is_shown_is_never_old() {
    let pair = slow_pair("tui_age", if test_all() { 75 } else { 20 });
    let mut window = open(&pair, 100, 30);
    window.wait_for(20, "UNINITIALIZED");
    // A state that somebody else sets, on a node at which nothing happens.
    let mut oldest = Duration::ZERO;
    for state in ["DIVERGED", "SYNCHRONIZED", "DIVERGED", "UNINITIALIZED", "SYNCHRONIZED", "UNINITIALIZED"] {
        pair.target.exec(&format!("update steep_repl.nodes set state = '{state}' where node = 'node_b'"));
        let changed = Instant::now();
        window.wait_for(10, state);
        oldest = oldest.max(changed.elapsed());
    }
    println!("a change of state is shown after at most {oldest:?}");
    assert!(oldest < Duration::from_secs(2));

    // The percentage of an operation: when was it that the server knew a newer one than the one that is shown?
    pair.init("").unwrap();
    window.keys("\r");
    window.wait(30, "some progress", |screen| percent(screen).is_some_and(|percent| percent > 0.0));
    let mut client = pair.target.connect();
    let mut known: Vec<(Instant, f64)> = Vec::new();
    let mut oldest = Duration::ZERO;
    let began = Instant::now();
    let cpu = window.cpu();
    let length = Duration::from_secs(if test_all() { 60 } else { 10 });
    while began.elapsed() < length {
        let row = client
            .query_one("select overall_percent::float8 from steep_repl.init_progress where node = 'node_b'", &[])
            .unwrap();
        let now: f64 = row.get(0);
        if known.last().is_none_or(|(_, last)| *last != now) {
            known.push((Instant::now(), now));
        }
        if let Some(shown) = percent(&window.text()) {
            let newer = known.iter().find(|(_, percent)| *percent > shown + 0.05);
            oldest = oldest.max(newer.map_or(Duration::ZERO, |(at, _)| at.elapsed()));
        }
        pass(Duration::from_millis(30));
    }
    let share = 100.0 * (window.cpu() - cpu) / began.elapsed().as_secs_f64();
    println!("shown progress was at most {oldest:?} old; {share:.2} % of a core; {} values", known.len());
    assert!(known.len() > 5, "{known:?}");
    assert!(oldest < Duration::from_secs(2), "{oldest:?}");
    // Without optimization everything takes several times as long.
    assert!(share < if cfg!(debug_assertions) { 10.0 } else { 2.0 }, "{share}");
    window.keys("q");
    window.expect_end(0);
    pair.proxy().throttle(1_000_000_000);
    pair.expect_synchronized();
}

#[test]
fn lost_connections_and_a_restart_are_survived() {
    let target = ClusterOptions::new("tuidown").preload().start();
    let pair = Pair::options("tui_lost").target(target.clone()).build();
    pair.source.exec("create table t (id int primary key)");
    pair.prepare();
    pair.synchronize("");
    let mut window = open(&pair, 80, 24);
    window.wait_for(20, "SYNCHRONIZED");
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'steep-repl' and pid <> pg_backend_pid()";
    let sessions = "select pid::text from pg_stat_activity where application_name = 'steep-repl'";
    let before = pair.target.rows(sessions);
    pair.target.exec(kill);
    pair.source.exec(kill);
    wait_until("it is connected anew", Duration::from_secs(10), || {
        let now = pair.target.rows(sessions);
        (!now.is_empty() && now.iter().all(|pid| !before.contains(pid))).then_some(())
    });
    window.wait_for(5, "SYNCHRONIZED");

    target.stop(StopMode::Immediate);
    window.wait_for(15, "unreachable");
    println!("{}", window.text());
    window.wait_for(5, "when it last answered it was SYNCHRONIZED");
    // The keys work all the while.
    window.keys("?");
    window.wait_for(2, "more, j scrolls");
    window.keys("\x1b");
    window.resize(60, 15);
    window.wait(5, "a smaller screen", |screen| {
        screen.contains("unreachable") && screen.lines().all(|line| line.chars().count() <= 60)
    });
    target.start();
    window.wait_for(20, "SYNCHRONIZED since");
    println!("{}", window.text());
    // Its own backend is killed, and the server ends all others to recover.
    let ours: i32 =
        pair.target.scalar("select pid from pg_stat_activity where application_name = 'steep-repl' limit 1");
    target.signal(ours, "KILL");
    // Recovery may be quicker than the screen: it counts that it is connected again.
    wait_until("the terminal UI is connected again", Duration::from_secs(30), || {
        let count = "select count(*) from pg_stat_activity where application_name = 'steep-repl'";
        let row = target.config(pair.target.name()).connect(postgres::NoTls).ok()?.query_one(count, &[]).ok()?;
        (row.get::<_, i64>(0) > 0).then_some(())
    });
    window.wait_for(30, "SYNCHRONIZED since");
    // A signal ends it as a key does.
    let sent = std::process::Command::new("kill").args(["-TERM", &window.pid().to_string()]).status().unwrap();
    assert!(sent.success());
    window.expect_end(0);
}

#[test]
fn the_terminal_is_given_back_after_a_panic() {
    // Nobody listens there: the screen works all the same.
    let mut window = Window::open_with(
        "host=127.0.0.1 port=1 user=nobody dbname=none",
        80,
        24,
        &[],
        &[("STEEP_REPL_TEST_PANIC", "1")],
    );
    window.wait_for(10, "unreachable");
    window.keys("\x1b");
    window.wait_for(10, "a test wants it");
    window.expect_end(101);
}

#[test]
fn schemas_are_compared_and_nothing_can_be_changed_when_read_only() {
    let pair = Pair::new("tui_schema");
    pair.source.exec(
        "create table orders (id int primary key, total numeric(12,2)); create table refunds (id int primary key)",
    );
    pair.target.exec("create table orders (id int primary key, total numeric(10,2))");
    pair.register();
    let mut window = Window::open(&pair.target.conninfo(), 100, 30, &["--read-only"]);
    window.wait_for(20, "UNINITIALIZED");
    window.keys("I");
    window.wait_for(5, "started with --read-only");
    // What is pasted is no key: it would end here.
    window.keys("\x1b[200~q\x1b[201~");
    window.keys("s\r");
    window.wait_for(20, "2 of 2 tables differ");
    window.wait_for(1, "only on node_a");
    window.keys("\r");
    window.wait_for(20, "ALTER TABLE");
    println!("{}", window.text());
    window.keys("S");
    window.wait_for(5, "no node keeps a snapshot");
    window.keys("e");
    window.wait_for(5, "nothing has happened yet");
    window.keys("@");
    window.wait_for(5, "steep_repl.schema_diff('node_a', 'node_b', 'public.orders')");
    println!("{}", window.text());
    window.keys("q");
    window.expect_end(0);
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_steep-repl"))
        .args(["--dsn", "host=127.0.0.1 port=1 user=nobody dbname=none", "tui"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"));
}

/// Nodes on three databases; one of them hangs, and the others do not care.
#[test]
fn a_node_that_hangs_holds_up_no_other_and_no_secret_is_shown() {
    let pair = Pair::new("tui_three");
    pair.source.exec("create table t (id int primary key)");
    pair.prepare();
    let third = Pair::new("tui_third");
    third.source.exec("create table t (id int primary key)");
    third.prepare();
    let register = |name: &str, conninfo: &str| {
        let conninfo = quote_literal(&format!("{conninfo} password=hunter2"));
        pair.target.exec(&format!("select steep_repl.register_node('{name}', {conninfo})"));
    };
    // Its own database knows it by another name, and has the last word on its state.
    let proxy = Proxy::start(shared::target().port());
    register("node_c", &shared::target().conninfo_tcp(third.target.name(), proxy.port()));
    register("node_z", "host=127.0.0.1 port=1 user=postgres dbname=nowhere");
    let mut window = open(&pair, 120, 30);
    let row =
        |screen: &str, name: &str, state: &str| screen.lines().any(|line| line.contains(name) && line.contains(state));
    window.wait(20, "four nodes", |screen| {
        row(screen, "node_a", "source")
            && row(screen, "node_b", "UNINITIALIZED")
            && row(screen, "node_c", "UNINITIALIZED")
            && row(screen, "node_z", "unreachable")
    });
    // Over its own connection, with its own name.
    ask_to_initialize(&mut window, ":init node_c\r");
    window.keys("\r");
    window.wait_for(60, "● SYNCHRONIZED");
    window.keys("\x1b");
    window.wait(5, "the state of node_c alone", |screen| {
        row(screen, "node_c", "SYNCHRONIZED") && row(screen, "node_b", "UNINITIALIZED")
    });

    proxy.freeze();
    window.wait(15, "node_c is missed", |screen| row(screen, "node_c", "unreachable"));
    println!("{}", window.text());
    pair.target.exec("update steep_repl.nodes set state = 'DIVERGED' where node = 'node_b'");
    let changed = Instant::now();
    window.wait(5, "the others go on", |screen| row(screen, "node_b", "DIVERGED"));
    assert!(changed.elapsed() < Duration::from_secs(2));
    pair.target.exec("update steep_repl.nodes set state = 'UNINITIALIZED' where node = 'node_b'");
    proxy.thaw();
    window.wait(30, "node_c is back", |screen| row(screen, "node_c", "SYNCHRONIZED"));
    for (keys, page) in [
        ("", "nodes"),
        ("\r", "nodes › node_"),
        ("e", "› events"),
        ("@", "› sql"),
        ("G", "› sql"),
        ("k", "› sql"),
        ("S", "› snapshots"),
        ("?", "› help"),
        (":node node_z\r", "node_z"),
        (":node node_c\r", "› node_c"),
    ] {
        window.keys(keys);
        window.wait_for(10, page);
        assert!(!window.text().contains("hunter2"), "{}", window.text());
    }
    window.keys("q");
    window.expect_end(0);
}

#[test]
fn ten_thousand_tables_stay_smooth() {
    let pair = Pair::new("tui_many");
    pair.source.exec("create table t (id int primary key)");
    pair.prepare();
    pair.synchronize("");
    // As if the operation had had many more.
    pair.target.exec(
        "insert into steep_repl.operation_tables
         select (jsonb_populate_record(o, jsonb_build_object('relid', 1000000 + i, 'ordinal', i, 'table_name', 'table_' || i,
             'status', case when i < 4000 then 'done' when i < 4004 then 'copying' else 'waiting' end))).*
         from steep_repl.operation_tables o, generate_series(2, 10000) i",
    );
    let mut window = open(&pair, 120, 40);
    window.wait_for(20, "SYNCHRONIZED");
    window.keys("\r");
    window.wait_for(10, "the first 100");
    println!("{}", window.text());
    let cpu = window.cpu();
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for step in 0..60 {
        // It is drawn again with every key: another row is under the cursor.
        let before = window.colours();
        let pressed = Instant::now();
        window.keys(if step < 30 { "j" } else { "k" });
        wait_until("another row is under the cursor", Duration::from_secs(5), || {
            (window.colours() != before).then_some(())
        });
        slowest = slowest.max(pressed.elapsed());
    }
    let share = 100.0 * (window.cpu() - cpu) / began.elapsed().as_secs_f64();
    window.keys("@/table_progress\r");
    window.wait_for(5, "FROM steep_repl.table_progress");
    println!("{}", window.text());
    println!("{share:.1} % of a core while scrolling; at most {slowest:?} a key");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    window.keys("q");
    window.expect_end(0);
}

/// The question comes before the screen is taken, and once: all other connections use what was typed.
#[test]
fn a_password_is_asked_for_before_the_screen_is_taken() {
    let cluster = ClusterOptions::new("tuipw").auth(Auth::Scram).start();
    cluster.connect("postgres").batch_execute("create role asked login password 'sesame'").unwrap();
    let conninfo = format!("host=127.0.0.1 port={} user=asked dbname=postgres", cluster.port());
    let mut window = Window::open_with(&conninfo, 80, 24, &[], &[("PGPASSFILE", "/dev/null")]);
    window.wait_for(10, "Password");
    window.keys("sesame\r");
    window.wait_for(10, "a database without the extension");
    // A connection that is lost is opened again without another question.
    let kill = "select pid, pg_terminate_backend(pid) from pg_stat_activity where usename = 'asked'";
    let killed: i32 = cluster.connect("postgres").query_one(kill, &[]).unwrap().get(0);
    wait_until("it is connected anew", Duration::from_secs(10), || {
        let anew = "select count(*) from pg_stat_activity where usename = 'asked' and pid <> $1";
        let anew: i64 = cluster.connect("postgres").query_one(anew, &[&killed]).unwrap().get(0);
        (anew > 0).then_some(())
    });
    window.wait_for(10, "a database without the extension");
    assert!(!window.text().contains("sesame"));
    let there: i64 = cluster
        .connect("postgres")
        .query_one("select count(*) from pg_stat_activity where usename = 'asked'", &[])
        .unwrap()
        .get(0);
    assert_eq!(there, 1);
    window.keys("q");
    window.expect_end(0);
}

/// Many connections, two hundred in the large variant: keys are answered at once, and it costs little.
#[test]
fn many_nodes_stay_smooth() {
    let (nodes, length) = if test_all() { (200, Duration::from_secs(20)) } else { (40, Duration::from_secs(5)) };
    let source = ClusterOptions::new("tuimany").set("max_connections", "300").start();
    let pair = Pair::options("tui_200").source(source).build();
    pair.source.exec("create table t (id int primary key)");
    pair.prepare();
    let conninfo = quote_literal(&pair.source_conninfo());
    pair.target.exec(&format!(
        "select steep_repl.register_node('node_' || i, {conninfo}) from generate_series(100, {}) i",
        97 + nodes
    ));
    let mut window = open(&pair, 120, 40);
    window.wait_for(20, "UNINITIALIZED");
    window.keys("/connecting\r");
    window.wait_for(60, "no node contains");
    window.keys("\x1b");
    window.wait_for(5, "node_120");
    window.keys("g");
    let cpu = window.cpu();
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    let mut at = 0;
    while began.elapsed() < length {
        // The rule below the list names the node under the cursor.
        window.keys("j");
        let pressed = Instant::now();
        let expected = ["node_101", "node_102", "node_103"][at.min(2)];
        if at < 3 {
            window.wait(5, expected, |screen| {
                screen.lines().any(|line| line.starts_with("──") && line.contains(expected))
            });
            slowest = slowest.max(pressed.elapsed());
        }
        at += 1;
        pass(Duration::from_secs(1));
    }
    let share = 100.0 * (window.cpu() - cpu) / began.elapsed().as_secs_f64();
    println!("{nodes} nodes: {share:.2} % of a core, at most {slowest:?} a key");
    println!("{}", window.text());
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    window.keys("q");
    window.expect_end(0);
}
