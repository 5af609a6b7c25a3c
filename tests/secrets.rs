//! The password of a connection string: after a run of everything that goes wrong it stands in the owner's table of nodes and in
//! PostgreSQL's own catalog of subscriptions, and nowhere else; not in a log that holds all a server can log, either.

use std::path::PathBuf;
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::{Client, NoTls};
use steep_repl_testkit::{describe, quote_literal, wait_until, Auth, Cluster, ClusterOptions, Pair, StopMode};

use crate::midway;

/// No other test has this one.
pub const SECRET: &str = "h1dd3n-pw-8261";

/// Statements that make the server write their own text into its log are no matter of ours; what they cause is.
fn discreet(pair: &Pair) -> Client {
    let mut client = pair.session();
    client
        .batch_execute(
            "set log_statement = 'none'; set log_min_duration_statement = -1; set debug_print_parse = off;
             set debug_print_plan = off",
        )
        .unwrap();
    client
}

/// What the statement answers never tells the password. Gives the SQLSTATE of an error.
fn answer(client: &mut Client, sql: &str) -> Option<String> {
    let error = client.batch_execute(sql).err()?;
    let text = format!("{}\n{error:?}", describe(&error));
    assert!(!text.contains(SECRET), "told by: {text}");
    Some(error.code().map(|code| code.code().to_string()).unwrap_or(text))
}

/// Looks all the time at what any role may see of processes, from inside and from outside the servers.
struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<(Vec<String>, usize)>,
}

impl Watch {
    fn start(clusters: [Arc<Cluster>; 2]) -> Watch {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let (mut told, mut seen) = (Vec::new(), 0);
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                let mut lines = titles();
                for cluster in &clusters {
                    // One of them is down now and then.
                    let Ok(mut client) = cluster.config("postgres").connect(NoTls) else { continue };
                    for view in
                        ["pg_stat_activity", "pg_stat_replication", "pg_stat_subscription", "pg_stat_wal_receiver"]
                    {
                        let rows = client.query(&format!("select v::text from {view} v"), &[]).unwrap_or_default();
                        lines.extend(rows.iter().map(|row| row.get::<_, String>(0)));
                    }
                }
                seen += lines.iter().filter(|line| line.contains("steep_repl")).count();
                // What the test itself says is no business of the extension's, up to the moment at which that is asked.
                let is_own = |line: &str| {
                    ["alter role copier password", "steep_repl.register_node(", "steep_repl.alter_node("]
                        .iter()
                        .any(|words| line.contains(words))
                };
                told.extend(lines.into_iter().filter(|line| line.contains(SECRET) && !is_own(line)));
            }
            (told, seen)
        });
        Watch { stop, thread }
    }

    fn expect_nothing(self) {
        let _ = self.stop.send(());
        let (told, seen) = self.thread.join().unwrap();
        assert!(told.is_empty(), "told by a process: {told:?}");
        assert!(seen > 100, "there was nothing to see: {seen} lines");
    }
}

/// What `ps` shows of every process of this machine.
pub fn titles() -> Vec<String> {
    let files = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let text = |path: PathBuf| std::fs::read(path.join("cmdline")).ok();
    files
        .filter_map(|entry| text(entry.path()))
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .collect()
}

/// Tables and views of the extension but the one that is to hold it, of every database user's kind.
pub fn expect_in_no_relation(pair: &Pair) {
    let relations = pair.target.rows(
        "select format('%I.%I', nspname, relname) from pg_class c join pg_namespace n on n.oid = relnamespace
         where nspname = 'steep_repl' and relkind in ('r', 'v', 'm') and relname <> 'nodes'",
    );
    assert!(relations.len() >= 12, "{relations:?}");
    for relation in relations {
        let rows = pair.target.rows(&format!("select to_jsonb(v)::text from {relation} v"));
        let told = rows.iter().find(|row| row.contains(SECRET));
        assert!(told.is_none(), "in {relation}: {told:?}");
    }
    let holders =
        pair.target.rows("select node from steep_repl.nodes where conninfo like '%' || 'h1dd3n' || '-pw-8261%'");
    assert_eq!(holders, ["node_a", "node_b"], "it was not there at all");
}

pub fn expect_in_no_log(cluster: &Cluster, which: &str) {
    let log = cluster.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains(SECRET)).take(5).collect();
    assert!(told.is_empty(), "in the log of the {which}: {told:#?}");
}

fn conninfo(pair: &Pair, password: &str) -> String {
    let there = pair.source_conninfo().replace("user=postgres", "user=copier");
    format!("{there} password={password}")
}

/// Errors that come at once.
fn refused(pair: &Pair) {
    let mut client = discreet(pair);
    client.batch_execute("set application_name = 'the one who registers'").unwrap();
    let own = quote_literal(&format!("{} password={SECRET}", pair.target.conninfo()));
    let port = pair.source.cluster().port();
    for (sql, code) in [
        (format!("select steep_repl.register_node('node_a', 'host=x nonsense=1 password={SECRET}')"), "42601"),
        (format!("select steep_repl.register_node('node_a', 'host=x password=''{SECRET}')"), "42601"),
        (format!("select steep_repl.register_node('node_a', 'postgresql://u:{SECRET}@[::1/x')"), "42601"),
        (format!("select steep_repl.register_node('', 'host=x password={SECRET}')"), "42602"),
        (format!("select steep_repl.register_node(null, 'host=x password={SECRET}')"), "22004"),
        // Nobody of that password, and nobody at all.
        (
            format!(
                "select steep_repl.register_node('wrong', {})",
                quote_literal(&conninfo(pair, &format!("{SECRET}x")))
            ),
            "",
        ),
        (format!("select steep_repl.register_node('nobody', 'host=127.0.0.1 port=1 dbname=x password={SECRET}')"), ""),
        (
            format!("select steep_repl.register_node('uri', 'postgresql://copier:{SECRET}@127.0.0.1:{port}/nowhere')"),
            "",
        ),
        (format!("select steep_repl.register_node('node_b', {own}, is_local => true)"), ""),
        (format!("select steep_repl.register_node('node_b', {own}, is_local => true)"), "42710"),
        (format!("select steep_repl.register_node('node_c', {own}, is_local => true)"), "42710"),
    ] {
        assert_eq!(answer(&mut client, &sql).unwrap_or_default(), code, "{}", sql.replace(SECRET, "***"));
        expect_hidden(pair, &client);
    }
    for node in ["wrong", "nobody", "uri"] {
        for call in ["select steep_repl.init_node('node_b', {})", "select * from steep_repl.preflight('node_b', {})"] {
            let code = answer(&mut client, &call.replace("{}", &quote_literal(node)));
            assert!(call.contains("preflight") || code.as_deref() == Some("08001"), "{node}: {code:?}");
        }
        let listed = pair.target.rows(&format!("select f::text from steep_repl.preflight('node_b', '{node}') f"));
        assert!(listed.iter().any(|row| row.contains("08001")) && !listed.iter().any(|row| row.contains(SECRET)));
        assert_eq!(answer(&mut client, &format!("select steep_repl.unregister_node('{node}')")), None);
    }
    let right = quote_literal(&conninfo(pair, SECRET));
    assert_eq!(answer(&mut client, &format!("select steep_repl.register_node('node_a', {right})")), None);
    for (sql, code) in [
        (format!("select steep_repl.alter_node('node_a', 'host=x nonsense=1 password={SECRET}')"), "42601"),
        (format!("select steep_repl.alter_node(null, 'host=x password={SECRET}')"), "22004"),
        (format!("select steep_repl.alter_node('stranger', 'host=x password={SECRET}')"), "42704"),
        (format!("select steep_repl.alter_node('node_a', 'host=127.0.0.1 port=1 dbname=x password={SECRET}')"), ""),
        (format!("select steep_repl.alter_node('node_a', {right})"), ""),
    ] {
        assert_eq!(answer(&mut client, &sql).unwrap_or_default(), code, "{}", sql.replace(SECRET, "***"));
        expect_hidden(pair, &client);
    }
}

/// What a session has said last stays in pg_stat_activity for as long as it is idle.
fn expect_hidden(pair: &Pair, client: &Client) {
    let said = "select query from pg_stat_activity where datname = current_database() and application_name = 'the one who registers'";
    let said = pair.target.rows(said);
    assert!(!client.is_closed() && said.len() == 1 && said[0].contains("hidden by steep_repl"), "{said:?}");
}

/// What goes wrong on the way, each followed by a look at what is told.
fn on_the_way(pair: &Pair, source: &Cluster) {
    pair.target.exec("create unique index large_once on large ((v / 2))");
    midway::start(pair);
    pair.proxy().cut();
    wait_until("the cut was noticed", Duration::from_secs(30), || {
        let troubles = "select count(*) from steep_repl.events where severity = 'warning'";
        (pair.target.scalar::<i64>(troubles) > 0).then_some(())
    });
    source.restart();
    // A password that is not right any more counts as a source that is away.
    source.connect("postgres").batch_execute("alter role copier password 'changed'").unwrap();
    pair.proxy().cut();
    wait_until("the refusal was noticed", Duration::from_secs(60), || {
        let refused = "select count(*) from steep_repl.events where details ->> 'sqlstate' = '08001'";
        (pair.target.scalar::<i64>(refused) > 0).then_some(())
    });
    expect_in_no_relation(pair);
    source.connect("postgres").batch_execute(&format!("alter role copier password '{SECRET}'")).unwrap();
    pair.proxy().throttle(0);
    assert_eq!(midway::until_failed(pair).code().map(|code| code.code()), Some("23505"));
    expect_in_no_relation(pair);
    let mut client = discreet(pair);
    assert_eq!(answer(&mut client, "select steep_repl.restore_indexes('node_b')"), None);
    source.stop(StopMode::Fast);
    assert_eq!(answer(&mut client, "drop index large_once; select steep_repl.cancel_init('node_b')"), None);
    wait_until("the source has still to be cleaned", Duration::from_secs(60), || {
        let left = pair.target.rows("select kind from steep_repl.pending_cleanup");
        (pair.state() == "UNINITIALIZED" && left == ["source"]).then_some(())
    });
    expect_in_no_relation(pair);
    source.start();
    midway::until_undone(pair);
    pair.synchronize(midway::ARGS);
    assert_eq!(answer(&mut client, "select steep_repl.sync_sequences('node_b')"), None);
    source.stop(StopMode::Fast);
    assert_eq!(answer(&mut client, "select steep_repl.sync_sequences('node_b')").as_deref(), Some("08001"));
    source.start();
    midway::expect_replicates_after_errors(pair);
}

fn all_of_it(label: &str, settings: &[(&str, &str)]) {
    let source = ClusterOptions::new(&format!("{label}_s"))
        .auth(Auth::Scram)
        .set("log_statement", "all")
        .set("log_replication_commands", "on")
        .set("log_connections", "on")
        .start();
    let mut target = ClusterOptions::new(&format!("{label}_t")).preload();
    for (name, value) in settings {
        target = target.set(name, value);
    }
    let target = target.start();
    let pair = midway::filled(Pair::options(label).source(Arc::clone(&source)).target(Arc::clone(&target)));
    // Statements that tell it to the source itself.
    source.connect("postgres").batch_execute("alter role postgres set log_statement = 'none'").unwrap();
    pair.source.exec(&format!("create role copier superuser login password '{SECRET}'"));
    let watch = Watch::start([Arc::clone(&source), Arc::clone(&target)]);
    refused(&pair);
    on_the_way(&pair, &source);
    watch.expect_nothing();
    expect_in_no_relation(&pair);
    expect_in_no_log(&target, "target");
    expect_in_no_log(&source, "source");
}

#[test]
fn it_is_told_by_nobody() {
    all_of_it("secret", &[]);
}

/// All that a server can be made to log of itself.
#[test]
fn it_is_told_by_nobody_who_logs_everything() {
    all_of_it(
        "secret_all",
        &[
            ("log_min_messages", "debug5"),
            ("log_statement", "all"),
            ("log_min_duration_statement", "0"),
            ("log_parameter_max_length", "-1"),
            ("log_parameter_max_length_on_error", "-1"),
            ("log_error_verbosity", "verbose"),
            ("log_replication_commands", "on"),
            ("log_connections", "on"),
            ("debug_print_parse", "on"),
            ("debug_print_plan", "on"),
        ],
    );
}
