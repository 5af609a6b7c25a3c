//! Threads beside a background worker's own, for work that needs nothing of the server: to read files, to compute.
//!
//! The server knows one thread a process. These take none of its signals, whose handlers belong to that one, and must call nothing of the
//! server, which pgrx sees to.

use pgrx::pg_sys;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::thread::{Builder, Scope};
use std::time::Duration;

/// How often the worker's own thread looks up.
const LOOK: Duration = Duration::from_millis(250);

/// What ended the work early.
pub enum End<W, L> {
    /// The system gives not one thread.
    NotStarted(io::Error),
    /// One that worked.
    Work(W),
    /// The one that looks.
    Look(L),
}

/// Has the others stop however this one ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` in so many threads, and `look` in this one every now and then, until all have come to their end. The first error is the
/// end of all of them: who works is to look at its argument often enough. Where the system gives fewer, those have to do.
pub fn run<W: Send, L>(
    count: usize,
    work: impl Fn(&AtomicBool) -> Result<(), W> + Sync,
    mut look: impl FnMut() -> Result<(), L>,
) -> Result<(), End<W, L>> {
    let stop = AtomicBool::new(false);
    let (ended, ends) = channel();
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        for started in 0..count {
            let (work, stop, ended) = (&work, &stop, ended.clone());
            // Nobody hears of what the last of them has found once the receiver is gone, and then it is not to be heard.
            match start(scope, move || drop(ended.send(work(stop)))) {
                Ok(()) => {}
                Err(error) if started == 0 => return Err(End::NotStarted(error)),
                Err(_) => break,
            }
        }
        drop(ended);
        loop {
            match ends.recv_timeout(LOOK) {
                Ok(outcome) => outcome.map_err(End::Work)?,
                Err(RecvTimeoutError::Timeout) => look().map_err(End::Look)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })
}

/// Starts a thread that takes no signals: it has the mask of the one that starts it.
fn start<'scope>(scope: &'scope Scope<'scope, '_>, work: impl FnOnce() + Send + 'scope) -> io::Result<()> {
    // SAFETY: system calls; a background worker has its signals unblocked but for this moment.
    unsafe { pg_sys::BackgroundWorkerBlockSignals() };
    let started = Builder::new().spawn_scoped(scope, work);
    // SAFETY: as above.
    unsafe { pg_sys::BackgroundWorkerUnblockSignals() };
    started.map(drop)
}
