//! A source and a target database, fresh for one test and gone after it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postgres::Client;

use crate::check;
use crate::cluster::Cluster;
use crate::compare::{compare, Tables};
use crate::database::{describe, quote_literal, Db};
use crate::progress::{Event, Monitor, Progress};
use crate::proxy::Proxy;
use crate::{shared, try_wait_until};

/// How a [`Pair`] differs from the usual one.
pub struct PairOptions {
    label: String,
    source: Option<Arc<Cluster>>,
    target: Option<Arc<Cluster>>,
    source_create: String,
    target_create: String,
    proxied: bool,
}

impl PairOptions {
    /// On these clusters instead of the shared ones.
    pub fn source(mut self, cluster: Arc<Cluster>) -> Self {
        self.source = Some(cluster);
        self
    }

    /// On this cluster instead of the shared one.
    pub fn target(mut self, cluster: Arc<Cluster>) -> Self {
        self.target = Some(cluster);
        self
    }

    /// Options of the source's CREATE DATABASE.
    pub fn source_create(mut self, options: &str) -> Self {
        self.source_create = options.into();
        self
    }

    /// Options of the target's CREATE DATABASE.
    pub fn target_create(mut self, options: &str) -> Self {
        self.target_create = options.into();
        self
    }

    /// The target reaches the source through a [`Proxy`].
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Creates the databases and, on the target, the extension.
    pub fn build(self) -> Pair {
        let source_cluster = self.source.unwrap_or_else(shared::source);
        let target_cluster = self.target.unwrap_or_else(shared::target);
        let source = source_cluster.create_database(&format!("{}_s", self.label), &self.source_create);
        let target = target_cluster.create_database(&format!("{}_t", self.label), &self.target_create);
        target.exec("create extension steep_repl");
        let proxy = self.proxied.then(|| Proxy::start(source_cluster.port()));
        Pair { source, target, proxy, notices: Arc::default() }
    }
}

/// `node_a` is the source, `node_b` the target. Dropping it removes every trace from both clusters.
pub struct Pair {
    /// The database that is copied.
    pub source: Db,
    /// The database with the extension.
    pub target: Db,
    /// Stands between the two, if asked for.
    pub proxy: Option<Proxy>,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Pair {
    /// On the shared clusters.
    pub fn new(label: &str) -> Pair {
        Pair::options(label).build()
    }

    /// For what is not the usual pair.
    pub fn options(label: &str) -> PairOptions {
        let label = label.to_string();
        let (source_create, target_create) = (String::new(), String::new());
        PairOptions { label, source: None, target: None, source_create, target_create, proxied: false }
    }

    /// The proxy of a pair that was built with one.
    pub fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap_or_else(|| panic!("this pair has no proxy"))
    }

    /// The connection string of node_a: over the socket, or through the proxy.
    pub fn source_conninfo(&self) -> String {
        match &self.proxy {
            Some(proxy) => self.source.cluster().conninfo_tcp(self.source.name(), proxy.port()),
            None => self.source.conninfo(),
        }
    }

    /// Registers both nodes.
    pub fn register(&self) {
        self.register_with(&self.source_conninfo());
    }

    /// Registers both nodes, node_a with this connection string.
    pub fn register_with(&self, source_conninfo: &str) {
        if let Err(error) = self.try_register(source_conninfo) {
            panic!("register_node: {}", describe(&error));
        }
    }

    /// Registers both nodes and says what the extension answered.
    pub fn try_register(&self, source_conninfo: &str) -> Result<(), postgres::Error> {
        let mut client = self.target.connect();
        let (source, target) = (quote_literal(source_conninfo), quote_literal(&self.target.conninfo()));
        client.batch_execute(&format!("select steep_repl.register_node('node_a', {source})"))?;
        client.batch_execute(&format!("select steep_repl.register_node('node_b', {target}, is_local => true)"))
    }

    /// Gives the target the source's schema, and registers the nodes.
    pub fn prepare(&self) {
        self.target.copy_schema_from(&self.source);
        self.register();
    }

    /// A session on the target that keeps the notices it gets for [`Pair::notices`].
    pub fn session(&self) -> Client {
        let mut config = self.target.cluster().config(self.target.name());
        let notices = Arc::clone(&self.notices);
        config.notice_callback(move |notice| {
            let text = format!("{}: {} {}", notice.severity(), notice.message(), notice.detail().unwrap_or_default());
            notices.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        });
        match config.connect(postgres::NoTls) {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to the target: {}", describe(&error)),
        }
    }

    /// Every notice and warning that [`Pair::init`] and [`Pair::wait`] got.
    pub fn notices(&self) -> Vec<String> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `init_node('node_b', 'node_a', <args>)`: the operation's id.
    pub fn init(&self, args: &str) -> Result<i64, postgres::Error> {
        self.init_with(&[], args)
    }

    /// [`Pair::init`] after `set steep_repl.<name> = <value>` in the same session.
    pub fn init_with(&self, settings: &[(&str, &str)], args: &str) -> Result<i64, postgres::Error> {
        let mut client = self.session();
        for (name, value) in settings {
            client.batch_execute(&format!("set steep_repl.{name} = {}", quote_literal(value)))?;
        }
        let comma = if args.is_empty() { "" } else { ", " };
        client.query_one(&format!("select steep_repl.init_node('node_b', 'node_a'{comma}{args})"), &[])?.try_get(0)
    }

    /// `wait_for_init`.
    pub fn wait(&self, timeout: Duration) -> Result<(), postgres::Error> {
        let seconds = timeout.as_secs_f64();
        self.session()
            .batch_execute(&format!("select steep_repl.wait_for_init('node_b', timeout => '{seconds} seconds')"))
    }

    /// Initializes, waits, and expects to end SYNCHRONIZED.
    pub fn synchronize(&self, args: &str) -> i64 {
        self.synchronize_with(&[], args)
    }

    /// [`Pair::synchronize`] with settings.
    pub fn synchronize_with(&self, settings: &[(&str, &str)], args: &str) -> i64 {
        let operation = match self.init_with(settings, args) {
            Ok(operation) => operation,
            Err(error) => panic!("init_node({args}): {}", describe(&error)),
        };
        self.expect_synchronized();
        operation
    }

    /// Waits for a running initialization, which must end SYNCHRONIZED.
    pub fn expect_synchronized(&self) {
        if let Err(error) = self.wait(Duration::from_secs(300)) {
            panic!("wait_for_init: {}\nprogress: {:?}", describe(&error), self.progress());
        }
        assert_eq!(self.state(), "SYNCHRONIZED");
    }

    /// The target caught up, equals the source in every row, and met no conflict on the way.
    pub fn expect_equal(&self) {
        self.expect_equal_in(&Tables::All);
    }

    /// [`Pair::expect_equal`] for some tables.
    pub fn expect_equal_in(&self, tables: &Tables) {
        self.expect_equal_rows_in(tables);
        check::assert_no_conflicts(&self.target);
    }

    /// [`Pair::expect_equal`], whatever these counters say.
    pub fn expect_equal_but(&self, counters: &[&str]) {
        self.expect_equal_rows();
        check::assert_no_conflicts_but(&self.target, counters);
    }

    /// The target caught up and equals the source in every row, whatever is counted: counters keep the errors of an apply worker.
    pub fn expect_equal_rows(&self) {
        self.expect_equal_rows_in(&Tables::All);
    }

    fn expect_equal_rows_in(&self, tables: &Tables) {
        check::wait_caught_up(&self.source, &self.target, Duration::from_secs(180));
        if let Err(difference) = compare(&self.source, &self.target, tables) {
            panic!("{difference}");
        }
    }

    /// The state of node_b.
    pub fn state(&self) -> String {
        self.target.scalar("select state::text from steep_repl.nodes where node = 'node_b'")
    }

    /// The row of init_progress.
    pub fn progress(&self) -> Option<Progress> {
        match Progress::read(&mut self.target.connect(), "node_b") {
            Ok(row) => row,
            Err(error) => panic!("cannot read init_progress: {}", describe(&error)),
        }
    }

    /// Reads the progress all the time.
    pub fn monitor(&self) -> Monitor {
        Monitor::start(&self.target, "node_b")
    }

    /// All events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        Event::read(&self.target)
    }

    fn remove(&self) -> Result<(), String> {
        check::drop_subscriptions(&self.target)?;
        self.target.drop_database()?;
        check::drop_slots(&self.source)?;
        self.source.drop_database()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A server that a test stopped and could not start again has nothing to remove.
            eprintln!("{}", self.target.cluster().log_tail(Some(self.target.name()), 60));
            eprintln!("{}", self.source.cluster().log_tail(Some(self.source.name()), 25));
            // Connections panic when a server is down, which would abort the process here.
            let quiet = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.remove()));
            if !matches!(quiet, Ok(Ok(()))) {
                eprintln!("the databases of this test stay: {quiet:?}");
            }
            return;
        }
        let mut last = Ok(());
        let done = try_wait_until("the databases of a test are removed", Duration::from_secs(30), || {
            last = self.remove();
            last.is_ok().then_some(())
        });
        if done.is_none() {
            panic!("cannot clean up after a test: {last:?}");
        }
    }
}
