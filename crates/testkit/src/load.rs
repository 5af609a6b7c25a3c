//! Writers that keep the source busy while it is copied.
//!
//! Each writer sends transactions of one to four statements, chosen by weight, at an even rate; a few are rolled back, and some
//! use a savepoint, since logical decoding has to get those right too. Errors other than deadlocks end the test.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use postgres::error::SqlState;
use postgres::Client;

use crate::database::{describe, Db};
use crate::rng::{seed, Rng};

/// What a load does. Statements may hold `{key}` (a random number from 1 to `keys`), `{fresh}` (a number never used before),
/// `{int}` (any small number) and `{text}` (a random text, to be put between quotes).
#[derive(Clone, Debug)]
pub struct LoadOptions {
    ops: Vec<(u32, String)>,
    writers: u32,
    rate: u32,
    keys: u64,
    tolerant: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { ops: Vec::new(), writers: 2, rate: 200, keys: 10_000, tolerant: false }
    }
}

impl LoadOptions {
    /// One more statement, chosen as often as its weight says.
    pub fn op(mut self, weight: u32, sql: &str) -> Self {
        self.ops.push((weight, sql.into()));
        self
    }

    /// The usual mixture on a table with primary key `id` and columns `v int` and `note text`: all kinds of changes, and an UPDATE
    /// of the key too.
    pub fn keyed(self, table: &str) -> Self {
        self.op(4, &format!("insert into {table} (id, v, note) values ({{fresh}}, {{int}}, '{{text}}')"))
            .op(4, &format!("update {table} set v = {{int}}, note = '{{text}}' where id = {{key}}"))
            .op(2, &format!("update {table} set v = v + 1 where id = {{key}}"))
            .op(1, &format!("update {table} set id = {{fresh}} where id = {{key}}"))
            .op(2, &format!("delete from {table} where id = {{key}}"))
    }

    /// All kinds of changes on a table without key but with REPLICA IDENTITY FULL and columns `v int` and `note text`.
    pub fn unkeyed(self, table: &str) -> Self {
        let one = |change: &str| {
            change.replace("{one}", "ctid = (select ctid from {table} where v >= {int} order by v limit 1)")
        };
        self.op(3, &format!("insert into {table} (v, note) values ({{int}}, '{{text}}')"))
            .op(2, &one("update {table} set note = '{text}' where {one}").replace("{table}", table))
            .op(1, &one("delete from {table} where {one}").replace("{table}", table))
    }

    /// Inserts only, into a table with columns `v int` and `note text`.
    pub fn appended(self, table: &str) -> Self {
        self.op(2, &format!("insert into {table} (v, note) values ({{int}}, '{{text}}')"))
    }

    /// Sessions that write side by side.
    pub fn writers(mut self, writers: u32) -> Self {
        self.writers = writers;
        self
    }

    /// Transactions per second, over all writers.
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// The largest `{key}`.
    pub fn keys(mut self, keys: u64) -> Self {
        self.keys = keys;
        self
    }

    /// Goes on after the server was restarted, instead of failing.
    pub fn tolerant(mut self) -> Self {
        self.tolerant = true;
        self
    }

    /// Starts writing.
    pub fn start(self, db: &Db) -> WriteLoad {
        assert!(!self.ops.is_empty(), "a load without statements");
        let options = Arc::new(self);
        let fresh = Arc::new(AtomicI64::new(1_000_000_000));
        let (stop, stopped) = bounded::<()>(0);
        let spawn = |writer: u32| {
            let state = Writer {
                options: Arc::clone(&options),
                fresh: Arc::clone(&fresh),
                rng: Rng::new(seed(), &format!("{} writer {writer}", db.name())),
                counts: LoadCounts::default(),
            };
            let (db, stopped) = (db.clone(), stopped.clone());
            std::thread::spawn(move || state.run(&db, &stopped))
        };
        WriteLoad { stop: Some(stop), threads: (0..options.writers).map(spawn).collect() }
    }
}

/// What a load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadCounts {
    /// Committed transactions.
    pub committed: u64,
    /// Transactions rolled back on purpose.
    pub rolled_back: u64,
    /// Statements sent.
    pub statements: u64,
    /// Deadlocks and, if tolerant, lost connections.
    pub retried: u64,
}

/// A running load. Stop it: dropping it stops the writers too, but hides what they met.
pub struct WriteLoad {
    stop: Option<Sender<()>>,
    threads: Vec<JoinHandle<Result<LoadCounts, String>>>,
}

impl WriteLoad {
    /// Whether a writer has ended, which it does before [`WriteLoad::stop`] only after an error.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Stops the writers and returns what they did; panics with the statement if one failed.
    pub fn stop(mut self) -> LoadCounts {
        // Receivers wake when the last sender is gone.
        self.stop = None;
        let mut total = LoadCounts::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(counts)) => {
                    total.committed += counts.committed;
                    total.rolled_back += counts.rolled_back;
                    total.statements += counts.statements;
                    total.retried += counts.retried;
                }
                Ok(Err(error)) => panic!("the write load failed (seed {}): {error}", seed()),
                Err(_) => panic!("a writer panicked"),
            }
        }
        assert!(total.committed > 0, "the write load wrote nothing");
        total
    }
}

impl Drop for WriteLoad {
    fn drop(&mut self) {
        self.stop = None;
        for thread in self.threads.drain(..) {
            if let Ok(Err(error)) = thread.join() {
                eprintln!("the write load failed: {error}");
            }
        }
    }
}

struct Writer {
    options: Arc<LoadOptions>,
    fresh: Arc<AtomicI64>,
    rng: Rng,
    counts: LoadCounts,
}

impl Writer {
    fn run(mut self, db: &Db, stopped: &Receiver<()>) -> Result<LoadCounts, String> {
        let interval = Duration::from_secs_f64(f64::from(self.options.writers) / f64::from(self.options.rate.max(1)));
        let mut client = Some(db.connect());
        let mut due = Instant::now();
        loop {
            let transaction = self.transaction();
            let mut again = true;
            while again {
                again = match client.as_mut() {
                    Some(client) => self.send(client, &transaction)?,
                    None => true,
                };
                let lost = client.as_ref().is_none_or(Client::is_closed);
                if lost {
                    if !self.options.tolerant {
                        return Err("the connection is lost".into());
                    }
                    client = db.cluster().config(db.name()).connect(postgres::NoTls).ok();
                    self.counts.retried += 1;
                }
                // Catching up after a stall is not wanted: the rate is a limit.
                due = (due + interval).max(Instant::now());
                if stopped.recv_deadline(due) != Err(RecvTimeoutError::Timeout) {
                    return Ok(self.counts);
                }
            }
        }
    }

    /// Sends one transaction; true if it is to be sent once more.
    fn send(&mut self, client: &mut Client, transaction: &Transaction) -> Result<bool, String> {
        self.counts.statements += transaction.statements;
        let Err(error) = client.batch_execute(&transaction.sql) else {
            self.counts.committed += u64::from(transaction.commits);
            self.counts.rolled_back += u64::from(!transaction.commits);
            return Ok(false);
        };
        if client.is_closed() || error.is_closed() || error.code().is_some_and(|code| code.code().starts_with("57P")) {
            return if self.options.tolerant { Ok(false) } else { Err(describe(&error)) };
        }
        if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) {
            self.counts.retried += 1;
            return client.batch_execute("rollback").map(|()| true).map_err(|error| describe(&error));
        }
        Err(format!("{}\nstatements: {}", describe(&error), transaction.sql))
    }

    fn transaction(&mut self) -> Transaction {
        let commits = self.rng.below(20) != 0;
        let statements = 1 + self.rng.below(4);
        let savepoint = self.rng.below(10) == 0;
        let mut sql = String::from("begin; ");
        for number in 0..statements {
            if savepoint && number == statements - 1 {
                let undone = self.statement();
                sql.push_str(&format!("savepoint s; {undone}; rollback to s; "));
            }
            let kept = self.statement();
            sql.push_str(&format!("{kept}; "));
        }
        sql.push_str(if commits { "commit" } else { "rollback" });
        Transaction { sql, commits, statements }
    }

    fn statement(&mut self) -> String {
        let total: u32 = self.options.ops.iter().map(|(weight, _)| weight).sum();
        let mut pick = self.rng.below(u64::from(total.max(1))) as u32;
        let mut chosen = self.options.ops[0].1.clone();
        for (weight, sql) in &self.options.ops {
            if pick < *weight {
                chosen.clone_from(sql);
                break;
            }
            pick -= weight;
        }
        while chosen.contains("{fresh}") {
            chosen = chosen.replacen("{fresh}", &self.fresh.fetch_add(1, Ordering::Relaxed).to_string(), 1);
        }
        let key = 1 + self.rng.below(self.options.keys);
        let int = self.rng.below(100_000);
        let longest = if self.rng.below(50) == 0 { 8_000 } else { 80 };
        let text = self.rng.text(longest);
        chosen.replace("{key}", &key.to_string()).replace("{int}", &int.to_string()).replace("{text}", &text)
    }
}

struct Transaction {
    sql: String,
    commits: bool,
    statements: u64,
}
