//! Following an operation to its end.
//!
//! What is followed is an operation, not a node: a newer operation of the node is somebody else's. It lives in the server and needs nobody
//! who watches, so a lost connection is tried again, and Ctrl-C can only cancel it by asking the server to. Whatever the watching waits for,
//! a second Ctrl-C ends it.

use super::display::Display;
use super::Context;
use crate::failure::{Exit, Failure};
use crate::rows::{Operation, Progress, Table};
use crate::session::{for_operation, Session};
use crossbeam_channel::{after, never, select, Receiver};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often is looked.
const TICK: Duration = Duration::from_millis(500);
/// How long a lost connection is tried again.
const LOST_FOR: Duration = Duration::from_secs(120);

/// What is followed.
pub struct Followed<'a> {
    /// The node.
    pub node: &'a str,
    /// Its operation.
    pub operation: i64,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Whether Ctrl-C may cancel the operation; it only ends the watching otherwise.
    pub may_cancel: bool,
    /// What becomes of it when nobody watches any more.
    pub otherwise: &'static str,
}

/// What becomes of most.
pub const GOES_ON: &str = "goes on";

/// Watches until the operation has ended, and gives how.
///
/// # Errors
/// Exit code 5 when time is over, 6 when the connection stays lost, 1 when it was interrupted.
pub fn follow(context: &Context, session: Session, what: &Followed) -> Result<(Session, Operation), Failure> {
    let interrupts = crate::interrupt::listen(detached(what));
    let mut watch = Watch {
        context,
        what,
        session,
        display: Display::new(context),
        answers: None,
        lost: None,
        is_to_be_cancelled: false,
        last: None,
    };
    let ended = watch.until_it_ends(&interrupts);
    if watch.answers.is_some() {
        // The question still stands there.
        watch.display.leave();
    }
    watch.display.clear();
    Ok((watch.session, ended?))
}

fn detached(what: &Followed) -> Failure {
    let Followed { node, operation, otherwise, .. } = what;
    Failure::new(Exit::Failed, format!("interrupted; operation {operation} on node \"{node}\" {otherwise}")).hint(
        format!(
        "Watch it with steep-repl wait {node} or steep-repl status {node}; cancel it with steep-repl cancel {node}."
    ),
    )
}

/// Somebody watching an operation.
struct Watch<'a> {
    context: &'a Context,
    what: &'a Followed<'a>,
    session: Session,
    display: Display,
    /// It was asked what Ctrl-C is to do; there the answer comes.
    answers: Option<Receiver<String>>,
    /// Since when there is no connection, and why.
    lost: Option<(Instant, Failure)>,
    /// The answer was to cancel, and the server does not know yet.
    is_to_be_cancelled: bool,
    /// The operation as it was last seen.
    last: Option<Operation>,
}

impl Watch<'_> {
    fn until_it_ends(&mut self, interrupts: &Receiver<()>) -> Result<Operation, Failure> {
        loop {
            match self.look() {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => self.lost = None,
                Err(failure) if failure.exit == Exit::Connection => self.reconnect(failure)?,
                Err(failure) => return Err(failure),
            }
            let left = self.what.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let Followed { node, operation, otherwise, .. } = self.what;
                let message = format!("operation {operation} on node \"{node}\" is not over yet");
                return Err(
                    Failure::new(Exit::Timeout, message).hint(format!("It {otherwise}; see steep-repl status {node}."))
                );
            }
            let nobody = never();
            select! {
                recv(interrupts) -> _ => self.interrupted()?,
                recv(self.answers.as_ref().unwrap_or(&nobody)) -> answer => self.answered(&answer.unwrap_or_default())?,
                recv(after(left.map_or(TICK, |left| left.min(TICK)))) -> _ => {}
            }
        }
    }

    /// One look. Gives the operation once it has ended.
    fn look(&mut self) -> Result<Option<Operation>, Failure> {
        let operation = operation(&mut self.session, self.what.node)?;
        if operation.operation_id != self.what.operation {
            return self.replaced(&operation).map(Some);
        }
        if matches!(operation.status.as_str(), "completed" | "failed" | "cancelled") {
            return Ok(Some(operation));
        }
        self.last = Some(operation);
        if std::mem::take(&mut self.is_to_be_cancelled) {
            self.cancel()?;
        }
        if self.answers.is_none() {
            self.show()?;
        }
        Ok(None)
    }

    fn show(&mut self) -> Result<(), Failure> {
        let progress: Vec<Progress> = self.session.rows(include_str!("../../sql/progress.sql"), &[])?;
        let tables: Vec<Table> = if self.display.wants_tables() {
            self.session.rows(include_str!("../../sql/active_tables.sql"), &[&self.what.operation])?
        } else {
            Vec::new()
        };
        if let Some(progress) = progress.iter().find(|one| one.operation_id == self.what.operation) {
            self.display.show(progress, &tables);
        }
        Ok(())
    }

    /// How it ended, when a newer operation has begun between two looks: by the events.
    fn replaced(&mut self, newer: &Operation) -> Result<Operation, Failure> {
        let (id, node) = (self.what.operation, self.what.node);
        let end = self.session.rows::<End>(include_str!("../../sql/end.sql"), &[&id])?.pop();
        match (self.last.take(), end) {
            (Some(last), Some(end)) => Ok(Operation {
                status: end.status,
                state: newer.state.clone(),
                sqlstate: end.sqlstate,
                message: end.message,
                hint: end.hint,
                ..last
            }),
            _ => Err(Failure::new(
                Exit::Failed,
                format!("operation {id} on node \"{node}\" was followed by operation {}", newer.operation_id),
            )
            .hint("See steep-repl events for how it ended.")),
        }
    }

    fn cancel(&mut self) -> Result<(), Failure> {
        match cancel(&mut self.session, self.what.node, self.what.operation) {
            Ok(()) => self.display.say("being cancelled; everything is put back"),
            Err(failure) if failure.exit == Exit::Connection => {
                self.is_to_be_cancelled = true;
                return Err(failure);
            }
            // It may have ended meanwhile, which the next look shows.
            Err(failure) => self.display.say(&format!("could not be cancelled: {}", failure.message)),
        }
        Ok(())
    }

    /// Tries once to get a lost connection back.
    fn reconnect(&mut self, failure: Failure) -> Result<(), Failure> {
        let (since, reason) = match self.lost.take() {
            Some(lost) => lost,
            None => {
                self.display.say(&format!("connection lost, trying again: {}", failure.message));
                (Instant::now(), failure)
            }
        };
        if since.elapsed() > LOST_FOR {
            return Err(reason.hint(format!("The operation {} without steep-repl.", self.what.otherwise)));
        }
        let reason = match self.context.connector.node(self.what.node) {
            Ok(session) => {
                self.session = session;
                reason
            }
            Err(failure) if failure.exit == Exit::Connection => failure,
            Err(failure) => return Err(failure),
        };
        self.lost = Some((since, reason));
        Ok(())
    }

    fn interrupted(&mut self) -> Result<(), Failure> {
        let was_asked = self.answers.take().is_some();
        self.display.leave();
        if was_asked || !self.what.may_cancel || !std::io::stdin().is_terminal() {
            return Err(detached(self.what));
        }
        self.answers = Some(ask(self.what.node));
        Ok(())
    }

    fn answered(&mut self, answer: &str) -> Result<(), Failure> {
        self.answers = None;
        match answer.trim() {
            "c" | "cancel" => self.is_to_be_cancelled = true,
            "d" | "detach" => return Err(detached(self.what)),
            _ => {}
        }
        Ok(())
    }
}

/// Asks what Ctrl-C is to do; the answer comes as a message, so that progress is looked at meanwhile.
fn ask(node: &str) -> Receiver<String> {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "Cancel the operation on {node} (c), leave it running (d), or go on watching (Enter)? ");
    let _ = stderr.flush();
    let (sender, receiver) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        let _ = sender.send(line);
    });
    receiver
}

/// The event an operation ended with.
#[derive(serde::Deserialize)]
struct End {
    status: String,
    sqlstate: Option<String>,
    message: Option<String>,
    hint: Option<String>,
}

/// The newest operation of a node.
///
/// # Errors
/// Exit code 1 when there is none.
pub fn operation(session: &mut Session, node: &str) -> Result<Operation, Failure> {
    session.rows::<Operation>(include_str!("../../sql/operation.sql"), &[&node])?.pop().ok_or_else(|| {
        Failure::new(Exit::Failed, format!("node \"{node}\" has no operation"))
            .hint(format!("Start one with steep-repl init {node} --from SOURCE."))
    })
}

/// Cancels an operation, and no newer one of its node.
///
/// # Errors
/// Exit code 1 when there is a newer one.
pub fn cancel(session: &mut Session, node: &str, operation: i64) -> Result<(), Failure> {
    for_operation(session.client(), node, operation, |client| {
        client.query("SELECT steep_repl.cancel_init($1)", &[&node])?;
        Ok(())
    })
}

/// How an operation ended, as a result.
///
/// # Errors
/// Exit code 4 when it was cancelled; 3, 5 or 1 when it failed.
pub fn outcome(operation: &Operation) -> Result<(), Failure> {
    let node = &operation.node;
    match operation.status.as_str() {
        "completed" => Ok(()),
        "cancelled" => Err(Failure::new(
            Exit::Cancelled,
            format!("operation {} on node \"{node}\" was cancelled", operation.operation_id),
        )),
        _ => {
            let exit = match operation.sqlstate.as_deref() {
                Some("42P15") => Exit::SchemaMismatch,
                // Of its own time limit.
                Some("57014") => Exit::Timeout,
                _ => Exit::Failed,
            };
            Err(Failure {
                exit,
                message: operation
                    .message
                    .clone()
                    .unwrap_or_else(|| format!("the operation on node \"{node}\" failed")),
                sqlstate: operation.sqlstate.clone(),
                detail: operation.detail.clone(),
                hint: operation.hint.clone(),
            })
        }
    }
}
