//! A limit for calls that wait for another server.
//!
//! libpq as the server uses it waits for an answer without end, `connect_timeout` included: the server's wait loops only leave
//! on an interrupt. So a timer of the server's own asks for a cancel, and what comes back as "canceled" is told from a real
//! cancel by a mark.

use super::compat;
use crate::error::Result;
use pgrx::pg_sys;
use pgrx::pg_sys::PgTryBuilder;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

static EXPIRED: AtomicBool = AtomicBool::new(false);
/// The timer of this process, registered when it is first needed; 0 before.
static TIMER: AtomicI32 = AtomicI32::new(0);

unsafe extern "C" fn expire() {
    EXPIRED.store(true, Ordering::Relaxed);
    // SAFETY: what the server's own timeout handlers do, in a signal handler.
    unsafe {
        (&raw mut pg_sys::QueryCancelPending).write_volatile(1);
        (&raw mut pg_sys::InterruptPending).write_volatile(1);
        compat::set_my_latch();
    }
}

fn timer() -> i32 {
    let known = TIMER.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: once per process; the handler is async-signal-safe.
    let timer = unsafe { compat::register_timer(expire) };
    TIMER.store(timer, Ordering::Relaxed);
    timer
}

/// Ends the timer however the work ends.
struct Timer(i32);

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: raises no error; a timer that is not running may be stopped.
        unsafe { compat::stop_timer(self.0) };
    }
}

/// Runs work that may wait for another server, for at most so many milliseconds. None when the time was over; the transaction,
/// or what the work had begun, must be given up then.
pub fn within<T>(milliseconds: i32, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    EXPIRED.store(false, Ordering::Relaxed);
    let timer = Timer(timer());
    // SAFETY: a registered timer.
    unsafe { compat::start_timer(timer.0, milliseconds) };
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| work().map(Some)))
        .catch_others(|caught| if EXPIRED.load(Ordering::Relaxed) { Ok(None) } else { caught.rethrow() })
        .execute();
    drop(timer);
    if EXPIRED.load(Ordering::Relaxed) {
        // SAFETY: the timer may have gone off after the last wait; that must not cancel what comes next.
        unsafe { (&raw mut pg_sys::QueryCancelPending).write_volatile(0) };
    }
    outcome
}
