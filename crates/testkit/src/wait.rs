//! Waiting: the only place where tests sleep. A wait has a reason and a deadline, and says both when it gives up.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// A wait longer than this prints its reason, so that a hanging run tells what it hangs on.
const WORTH_TELLING: Duration = Duration::from_secs(10);

/// Lets time pass where a length of time is what is tested, as between two keys that somebody types, or while a link is down. For all else
/// there is something to wait for.
pub fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// Polls until `condition` gives a value; `None` when the deadline passes first.
pub fn try_wait_until<T>(reason: &str, timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if started.elapsed() >= timeout {
            return None;
        }
        if !told && started.elapsed() >= WORTH_TELLING {
            eprintln!("still waiting until {reason} (at most {timeout:?})");
            told = true;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Polls until `condition` gives a value, and panics with the reason when the deadline passes first.
pub fn wait_until<T>(reason: &str, timeout: Duration, condition: impl FnMut() -> Option<T>) -> T {
    match try_wait_until(reason, timeout, condition) {
        Some(value) => value,
        None => panic!("waited {timeout:?} in vain until {reason}"),
    }
}
