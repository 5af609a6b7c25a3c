//! Silence: copies for which nothing comes from the source any more, and what the source says of them.
//!
//! A link can die without a word, and a statement on the source can wait for somebody's lock. The worker sees the same in both
//! cases: nothing. So when it has waited for `receive_timeout`, the coordinator asks the source, over its own connection, what
//! the worker's backend does there. One that waits for a lock is left alone and its blockers are named; one that is gone, or that
//! cannot get rid of its rows, shows that the link is dead: the worker is ended and its task is done again. When the source does
//! not answer the coordinator either, it is away, which is decided as everywhere.

use super::main::Coordinator;
use crate::catalog::progress::Running;
use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::worker::Status;
use crate::pg::{system, transaction};
use crate::source::state::{self, Backend};
use std::collections::HashMap;
use steep_repl_core::event::Severity;
use steep_repl_core::names::{application_name, Part};

/// How far a copy was when it was last seen to get on.
#[derive(Debug, Clone, Copy)]
struct Still {
    bytes: i64,
    since: f64,
}

/// Since when copies get nothing. In memory only.
#[derive(Debug, Default)]
pub struct Silence {
    /// By the worker's pid.
    still: HashMap<i32, Still>,
    silent: Vec<i32>,
    heard: bool,
}

impl Silence {
    /// Takes note of the copies that run; `now` and `limit` in seconds.
    pub fn note(&mut self, now: f64, limit: f64, running: &[Running]) {
        let before = std::mem::take(&mut self.still);
        self.silent.clear();
        self.heard = false;
        // A worker has several when they are small, and one of them at a time gets anything.
        let mut workers: HashMap<i32, (i64, bool)> = HashMap::new();
        for copy in running.iter().filter(|running| running.kind == "copy") {
            let Some(pid) = copy.worker_pid else { continue };
            let worker = workers.entry(pid).or_insert((0, true));
            worker.0 += copy.bytes_arrived;
            worker.1 &= copy.receiving;
        }
        for (pid, (bytes, receiving)) in workers {
            let last = before.get(&pid).copied();
            // A worker that is busy here would not take what comes, and the source is not to blame.
            let same = last.filter(|last| receiving && last.bytes == bytes);
            let still = same.unwrap_or(Still { bytes, since: now });
            self.heard |= last.is_some_and(|last| last.bytes != bytes);
            if now - still.since > limit {
                self.silent.push(pid);
                // Asked again after as long a time.
                self.still.insert(pid, Still { since: now, ..still });
            } else {
                self.still.insert(pid, still);
            }
        }
        self.silent.sort_unstable();
    }

    /// Whether the source is to be asked about a worker.
    pub fn is_silent(&self, pid: i32) -> bool {
        self.silent.contains(&pid)
    }
}

/// What to do about a worker that gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// Its connection is of no use.
    GiveUp,
    /// It waits for a lock: tell whose.
    Blocked,
    /// It is at work.
    Leave,
}

/// By what the source says of the worker's backend.
fn judge(backend: Option<&Backend>) -> Judgement {
    match backend.map(|backend| backend.wait_event_type.as_deref()) {
        // The source has ended it, and the news did not get here.
        None => Judgement::GiveUp,
        // It waits for us, who wait for it: to take its rows, or to say what is next.
        Some(Some("Client")) => Judgement::GiveUp,
        Some(Some("Lock")) => Judgement::Blocked,
        Some(_) => Judgement::Leave,
    }
}

impl Coordinator {
    /// Asks about the copies that were found to get nothing.
    pub(super) fn watch_silence(&mut self) -> Result<()> {
        if self.silence.heard {
            self.source_is_back()?;
        }
        if self.sync.is_started {
            return self.watch_sync_silence();
        }
        if self.operation.uses_base_backup() {
            // They read from a server of ours.
            return Ok(());
        }
        let silent: Vec<u32> = self
            .workers
            .iter()
            .filter(
                |worker| matches!(worker.handle.status(), Status::Running(pid) if self.silence.silent.contains(&pid)),
            )
            .map(|worker| worker.number)
            .collect();
        if silent.is_empty() {
            return Ok(());
        }
        let token = self.operation.token()?;
        let connection = self.source()?;
        let prefix = steep_repl_core::names::slot_name(token);
        let backends = transaction::run(|| state::backends(connection, &prefix))?;
        let mut given_up = false;
        for number in silent {
            let name = application_name(token, Part::Worker(number));
            let backend = backends.iter().find(|backend| backend.application_name == name);
            match judge(backend) {
                Judgement::GiveUp => {
                    self.give_worker_up(number)?;
                    given_up = true;
                }
                Judgement::Blocked => self.say_blocked(&format!("copy worker {number}"), backend)?,
                Judgement::Leave => {}
            }
        }
        self.count_given_up(given_up)
    }

    /// What becomes of a worker of the server's that gets nothing. True when it was given up.
    pub(super) fn judge_silent(&mut self, pid: i32, table: &str, backend: Option<&Backend>) -> Result<bool> {
        match judge(backend) {
            Judgement::GiveUp => {
                self.say_given_up(&format!("table synchronization worker {pid} of table {table}"))?;
                // The server starts it again.
                transaction::run(|| user::terminate(pid))?;
                return Ok(true);
            }
            Judgement::Blocked => self.say_blocked(&format!("the copy of table {table}"), backend)?,
            Judgement::Leave => {}
        }
        Ok(false)
    }

    /// Counts rounds in which workers were given up.
    pub(super) fn count_given_up(&mut self, given_up: bool) -> Result<()> {
        if given_up {
            // Links that carry nothing again and again lead nowhere, whatever arrives between.
            self.given_up += 1;
            if self.given_up > self.operation.options.max_retries {
                let error = self.silent_source();
                return self.fail(&error);
            }
        }
        let now = system::now_secs();
        if given_up && now - *self.source_lost_since.get_or_insert(now) > self.operation.options.source_lost_timeout {
            return Err(self.silent_source());
        }
        Ok(())
    }

    fn silent_source(&self) -> Error {
        Error::SourceSilent { node: self.operation.source.clone(), seconds: self.operation.options.receive_timeout }
    }

    /// Ends a worker whose connection is dead; its task is free again when it is gone.
    fn give_worker_up(&mut self, number: u32) -> Result<()> {
        self.say_given_up(&format!("copy worker {number}"))?;
        if let Some(worker) = self.workers.iter().find(|worker| worker.number == number) {
            worker.handle.terminate();
        }
        Ok(())
    }

    fn say_given_up(&self, who: &str) -> Result<()> {
        let problem = self.silent_source().problem();
        let mut event = self
            .event("init.connection_given_up")
            .sqlstate(&problem.sqlstate)
            .message(format!("{who}: {}; its task is done again", problem.message));
        event.severity = Severity::Warning;
        transaction::run(|| crate::catalog::events::write(&[event]))
    }

    fn say_blocked(&mut self, who: &str, backend: Option<&Backend>) -> Result<()> {
        let blockers = backend.map(|backend| backend.blockers.join(", ")).unwrap_or_default();
        let mut event = self
            .event("init.source_locked")
            .message(format!("{who} waits on the source for a lock that is held by {blockers}"))
            .hint("The operation goes on when the lock is released.");
        event.severity = Severity::Warning;
        self.say_once(&format!("locked by {blockers}"), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(id: i32, bytes_arrived: i64, receiving: bool) -> Running {
        Running {
            by_server: false,
            worker_pid: Some(100 + id),
            kind: "copy".to_owned(),
            bytes: 1000,
            rows_estimated: 10.0,
            rows: 0,
            bytes_arrived,
            built: 0.0,
            receiving,
        }
    }

    #[test]
    fn who_waits_long_enough_without_a_byte_is_silent() {
        let mut silence = Silence::default();
        silence.note(0.0, 60.0, &[copy(1, 5, true), copy(2, 5, true)]);
        silence.note(50.0, 60.0, &[copy(1, 5, true), copy(2, 6, true)]);
        assert!(silence.silent.is_empty() && silence.heard);
        silence.note(61.0, 60.0, &[copy(1, 5, true), copy(2, 6, true)]);
        assert!(silence.silent == [101] && !silence.heard);
        // Not asked about at every look.
        silence.note(62.0, 60.0, &[copy(1, 5, true), copy(2, 6, true)]);
        assert!(silence.silent.is_empty());
        silence.note(122.0, 60.0, &[copy(1, 5, true), copy(2, 6, true)]);
        assert_eq!(silence.silent, [101, 102]);
    }

    #[test]
    fn a_batch_is_one_worker() {
        let mut silence = Silence::default();
        let batch = |bytes: i64| {
            [copy(1, 10, true), copy(2, bytes, true), copy(3, 0, true)]
                .map(|copy| Running { worker_pid: Some(7), ..copy })
        };
        for second in 0..200 {
            silence.note(f64::from(second), 60.0, &batch(i64::from(second / 20)));
            assert!(silence.silent.is_empty(), "after {second} s");
        }
    }

    #[test]
    fn who_is_busy_here_does_not_wait_for_the_source() {
        let mut silence = Silence::default();
        for second in 0..200 {
            silence.note(f64::from(second), 60.0, &[copy(1, 5, second % 50 != 0)]);
            assert!(silence.silent.is_empty(), "after {second} s");
        }
    }

    #[test]
    fn judged_by_what_the_source_says() {
        let backend = |wait: Option<&str>| Backend {
            application_name: "x".to_owned(),
            wait_event_type: wait.map(str::to_owned),
            blockers: Vec::new(),
        };
        assert_eq!(judge(None), Judgement::GiveUp);
        assert_eq!(judge(Some(&backend(Some("Client")))), Judgement::GiveUp);
        assert_eq!(judge(Some(&backend(Some("Lock")))), Judgement::Blocked);
        assert_eq!(judge(Some(&backend(Some("IO")))), Judgement::Leave);
        assert_eq!(judge(Some(&backend(None))), Judgement::Leave);
    }
}
