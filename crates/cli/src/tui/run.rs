//! The loop that ties it together: messages in, the next model, effects out, the screen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{select, unbounded, Receiver, Sender};
use jiff::tz::TimeZone;
use jiff::Timestamp;

use super::caller::Caller;
use super::draw::draw;
use super::message::{Effect, Message};
use super::model::{Look, Model};
use super::reader::{Mailbox, Reader};
use super::snapshot::{Contact, NodeId, FIRST};
use super::terminal::{self, Screen};
use super::update::update;
use super::Options;
use crate::connect::{self, Prompt};
use crate::conninfo::Conninfo;
use crate::failure::{Exit, Failure};

/// Shortest time between two drawings that nobody has asked for by a key.
const REST: Duration = Duration::from_millis(200);
/// While something turns on the screen.
const TURN: Duration = Duration::from_millis(250);

/// Runs it until it is quit.
///
/// # Errors
/// When the terminal cannot be used.
pub fn run(options: &Options) -> Result<(), Failure> {
    terminal::require()?;
    let client = ask_password(options);
    // Unbounded, since a call that cannot even begin is answered by the drawing thread itself, which must not wait.
    let (messages, incoming) = unbounded();
    // Before the screen is taken: a signal that nobody listens to would leave it as it is.
    terminal::heed_signals(&messages)?;
    let mut screen = Screen::take()?;
    terminal::listen(&messages)?;
    let look = Look { unicode: options.unicode, colour: options.colour };
    let place = options.conninfo.describe();
    let mut model = Model::new(look, options.read_only, &place, Timestamp::now(), TimeZone::system());
    if let Ok(size) = screen.terminal.size() {
        model.size = (size.width, size.height);
    }
    let mut runtime = Runtime::new(&options.conninfo, &messages);
    let first = Reader::start(FIRST, 0, Ok(options.conninfo.clone()), client, false, &runtime.mailbox);
    runtime.readers.insert(FIRST, first);
    runtime.run(&mut model, &mut screen, &incoming)
}

/// A password is asked for before the screen is taken; afterwards nobody could see the question.
fn ask_password(options: &Options) -> Option<postgres::Client> {
    let known = || {
        let places = options.conninfo.places().unwrap_or_default();
        places.iter().any(|place| options.conninfo.password(place).is_some())
    };
    if options.prompt == Prompt::Never || (options.prompt == Prompt::WhenNeeded && known()) {
        return None;
    }
    // Should it fail, the screen says why and goes on trying.
    connect::open(&options.conninfo, options.prompt).ok()
}

struct Runtime {
    conninfo: Conninfo,
    mailbox: Mailbox,
    bell: Receiver<()>,
    readers: BTreeMap<NodeId, Reader>,
    focus: Option<NodeId>,
    caller: Caller,
    repaint: bool,
}

impl Runtime {
    fn new(conninfo: &Conninfo, messages: &Sender<Message>) -> Runtime {
        let (mailbox, bell) = Mailbox::new();
        let caller = Caller::new(messages.clone());
        Runtime {
            conninfo: conninfo.clone(),
            mailbox,
            bell,
            readers: BTreeMap::new(),
            focus: None,
            caller,
            repaint: false,
        }
    }

    fn run(&mut self, model: &mut Model, screen: &mut Screen, incoming: &Receiver<Message>) -> Result<(), Failure> {
        let lost = |error: std::io::Error| {
            Failure::new(Exit::Failed, "could not draw on the terminal").detail(error.to_string())
        };
        let mut drawn_at = Instant::now();
        let (mut now, mut soon) = (true, false);
        loop {
            if now || (soon && drawn_at.elapsed() >= REST) {
                if terminal::has_panicked() {
                    return Err(Failure::new(Exit::Failed, "the terminal UI has ended because of an error in it"));
                }
                if std::mem::take(&mut self.repaint) {
                    screen.terminal.clear().map_err(lost)?;
                }
                screen.terminal.draw(|frame| draw(model, frame)).map_err(lost)?;
                #[cfg(debug_assertions)]
                panic_when_tested(model);
                drawn_at = Instant::now();
                (now, soon) = (false, false);
            }
            let mut batch: Vec<Message> = Vec::new();
            let wait = if soon { REST.saturating_sub(drawn_at.elapsed()) } else { until_tick(model) };
            select! {
                recv(incoming) -> message => batch.extend(message.ok()),
                recv(self.bell) -> _ => {}
                default(wait) => {}
            }
            batch.extend(incoming.try_iter().take(256));
            // Whoever types wants to see it at once.
            now |= batch.iter().any(|message| !matches!(message, Message::Tick(_)));
            for ((id, generation), look) in self.mailbox.take() {
                if self.readers.get(&id).is_some_and(|reader| reader.generation == generation) {
                    soon |= changes_something(model, id, &look.contact);
                    batch.push(Message::Seen(id, look));
                }
            }
            let clock = Timestamp::now();
            let turned = !model.calls.is_empty() && clock.as_millisecond() / 250 != model.now.as_millisecond() / 250;
            now |= turned || clock.as_second() != model.now.as_second();
            batch.insert(0, Message::Tick(clock));
            for message in batch {
                for effect in update(model, message) {
                    if effect == Effect::Quit {
                        return Ok(());
                    }
                    self.perform(effect);
                }
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Quit => {}
            Effect::Repaint => self.repaint = true,
            Effect::Watch(id, conninfo) => {
                let generation = self.readers.get(&id).map_or(0, |reader| reader.generation + 1);
                let conninfo = self.conninfo.towards(&conninfo);
                // One that is there already gives way, and its looks do not count any more.
                let reader = Reader::start(id, generation, conninfo, None, self.focus == Some(id), &self.mailbox);
                self.readers.insert(id, reader);
            }
            Effect::Rewatch(id) => {
                // One that is still connecting gets to its end.
                if self.readers.get(&id).is_none_or(Reader::connects) {
                    return;
                }
                let Some(old) = self.readers.remove(&id) else { return };
                // The thread of the old one ends when what it waits for has come to an end.
                let (generation, conninfo) = (old.generation + 1, old.conninfo.clone());
                let reader = Reader::start(id, generation, conninfo, None, self.focus == Some(id), &self.mailbox);
                self.readers.insert(id, reader);
            }
            Effect::Unwatch(id) => {
                self.readers.remove(&id);
            }
            Effect::Focus(focus) => {
                for id in [self.focus, focus].into_iter().flatten() {
                    if let Some(reader) = self.readers.get(&id).filter(|_| self.focus != focus) {
                        reader.focus(Some(id) == focus);
                    }
                }
                self.focus = focus;
            }
            Effect::Run(ticket, id, call) => {
                let gone = || Err(Failure::connection("the node is no longer there"));
                let conninfo = self.readers.get(&id).map_or_else(gone, |reader| reader.conninfo.clone());
                self.caller.run(ticket, conninfo, call);
            }
            Effect::Abandon(ticket) => self.caller.abandon(ticket),
            Effect::LookNow(id) => {
                if let Some(reader) = self.readers.get(&id) {
                    reader.look_now();
                }
            }
        }
    }
}

/// So that a test can see what becomes of the terminal then. It is in no release.
#[cfg(debug_assertions)]
#[allow(clippy::panic)]
fn panic_when_tested(model: &Model) {
    if model.notice.is_some() && std::env::var_os("STEEP_REPL_TEST_PANIC").is_some() {
        panic!("a test wants it");
    }
}

/// Until the text of the clock changes, or something on the screen has to turn.
fn until_tick(model: &Model) -> Duration {
    let period: i64 = if model.calls.is_empty() { 1_000 } else { TURN.as_millis().try_into().unwrap_or(250) };
    let into = Timestamp::now().as_millisecond().rem_euclid(period);
    // A little later, so that the clock has certainly changed.
    Duration::from_millis(u64::try_from(period - into).unwrap_or(1_000) + 2)
}

/// A look that is like the last one need not be drawn.
fn changes_something(model: &Model, id: NodeId, contact: &Contact) -> bool {
    let before = model.node(id).and_then(|node| node.snapshot.as_deref()).map(|snapshot| &snapshot.contact);
    match (before, contact) {
        (Some(Contact::Source(before)), Contact::Source(after)) => before != after,
        // When it is tried again changes with the clock, and so does the screen.
        (Some(Contact::Unreachable { reason: before, .. }), Contact::Unreachable { reason: after, .. }) => {
            before != after
        }
        (Some(Contact::Node(server, before)), Contact::Node(server_after, after)) => {
            server != server_after || before != after
        }
        _ => true,
    }
}
