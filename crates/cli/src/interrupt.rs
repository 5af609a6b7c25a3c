//! Ctrl-C. Whoever waits for it is told. Otherwise it ends the program with 130, as it ends others; a terminal that was asked for a password
//! gets its echo back first.

use crate::failure::{Exit, Failure};
use crate::output::message;
use crossbeam_channel::{after, Receiver, Sender};
use rustix::termios::{tcgetattr, tcsetattr, OptionalActions, Termios};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a shell gives for a program that Ctrl-C has ended.
const ENDED: i32 = 130;

static LISTENER: Mutex<Option<(Sender<()>, Failure)>> = Mutex::new(None);
static TERMINAL: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Somebody else deals with it.
static IS_LEFT: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C is dealt with here; once in a program's life.
///
/// # Errors
/// When the system does not allow it.
pub fn install() -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failed, "could not watch for Ctrl-C").detail(error.to_string());
    let mut signals = Signals::new([SIGINT]).map_err(failed)?;
    let watch = move || signals.forever().for_each(|_| interrupted());
    std::thread::Builder::new().name("interrupts".to_owned()).spawn(watch).map_err(failed)?;
    Ok(())
}

/// Leaves Ctrl-C to whoever has the terminal and gives it back in his own way.
pub fn leave() {
    IS_LEFT.store(true, Ordering::SeqCst);
}

fn interrupted() {
    if IS_LEFT.load(Ordering::SeqCst) {
        return;
    }
    let code = match &*LISTENER.lock().unwrap_or_else(PoisonError::into_inner) {
        Some((listener, _)) if listener.try_send(()).is_ok() => return,
        Some((_, otherwise)) => {
            message(format!("\n{otherwise}"));
            otherwise.exit as i32
        }
        None => ENDED,
    };
    restore();
    std::process::exit(code);
}

/// Ends the program as Ctrl-C does: for whoever reads it as a key.
pub fn end() -> ! {
    restore();
    std::process::exit(ENDED);
}

/// Ends the program with this once that time is over, whatever it waits for then: a server that does not answer, or somebody who is to type.
pub fn end_after(limit: Duration, failure: Failure) {
    std::thread::spawn(move || {
        let _ = after(limit).recv();
        restore();
        message(format!("\n{failure}"));
        std::process::exit(failure.exit as i32);
    });
}

/// Ctrl-C, as messages. One that comes while the one before has not been looked at ends the program with what is given: it waits for a server.
pub fn listen(otherwise: Failure) -> Receiver<()> {
    let (sender, receiver) = crossbeam_channel::bounded(1);
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = Some((sender, otherwise));
    receiver
}

/// Does what turns the terminal's echo off, with its settings kept.
pub fn with_terminal_kept<T>(work: impl FnOnce() -> T) -> T {
    let kept = File::open("/dev/tty").ok().and_then(|tty| tcgetattr(&tty).ok().map(|settings| (tty, settings)));
    *TERMINAL.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    let result = work();
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner).take();
    result
}

fn restore() {
    if let Some((tty, settings)) = TERMINAL.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(&tty, OptionalActions::Now, &settings);
        message("");
    }
}
