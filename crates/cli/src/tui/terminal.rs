//! The terminal: taken at the beginning, given back at the end, whatever the end is.

use std::io::{stdout, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use ratatui::crossterm::event::{self, DisableBracketedPaste, EnableBracketedPaste, Event};
use ratatui::crossterm::execute;
use ratatui::DefaultTerminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::message::Message;
use crate::failure::{Exit, Failure};

/// A thread has panicked; the hook has given the terminal back, so nothing may be drawn any more.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// The terminal while it is ours.
pub struct Screen {
    /// What is drawn on.
    pub terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn take() -> Result<Screen, Failure> {
        require()?;
        // This also sets a panic hook that gives it back.
        let terminal = ratatui::try_init().map_err(|error| {
            // Half of it may have been done.
            let _ = ratatui::try_restore();
            Failure::new(Exit::Failed, "could not use the terminal").detail(error.to_string())
        })?;
        let restoring = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICKED.store(true, Ordering::SeqCst);
            paste_as_keys();
            restoring(info);
        }));
        // A terminal that cannot tell what is pasted from what is typed goes on without.
        let _ = execute!(stdout(), EnableBracketedPaste);
        Ok(Screen { terminal })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        paste_as_keys();
        // When it is gone there is nothing to give back, and nowhere to say so.
        let _ = ratatui::try_restore();
    }
}

/// As it was before.
fn paste_as_keys() {
    let _ = execute!(stdout(), DisableBracketedPaste);
}

/// Whether a thread has panicked.
pub fn has_panicked() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

/// There must be a terminal to draw on and to read keys from.
///
/// # Errors
/// Exit code 2.
pub fn require() -> Result<(), Failure> {
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage("the terminal UI needs a terminal")
        .hint("For scripts there are steep-repl status --json and steep-repl events --json."))
}

/// Sends what is typed, and what the terminal says about itself.
///
/// # Errors
/// When no thread can be started.
pub fn listen(messages: &Sender<Message>) -> Result<(), Failure> {
    let keys = messages.clone();
    start("keys", move || loop {
        let message = match event::read() {
            Ok(Event::Key(key)) => Message::Key(key),
            Ok(Event::Paste(text)) => Message::Paste(text),
            Ok(Event::Resize(columns, rows)) => Message::Resize(columns, rows),
            Ok(_) => continue,
            // The terminal is gone.
            Err(_) => Message::Terminate,
        };
        let ends = matches!(message, Message::Terminate);
        if keys.send(message).is_err() || ends {
            return;
        }
    })
}

/// Sends that a signal asks to end.
///
/// # Errors
/// When the system does not allow it.
pub fn heed_signals(messages: &Sender<Message>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGTERM, SIGHUP, SIGINT]).map_err(failed)?;
    crate::interrupt::leave();
    let ends = messages.clone();
    start("signals", move || {
        for _ in signals.forever() {
            if ends.send(Message::Terminate).is_err() {
                return;
            }
        }
    })
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)?;
    Ok(())
}

fn failed(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "could not start a thread").detail(error.to_string())
}
