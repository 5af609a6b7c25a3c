//! Readers: a thread for each node, with a connection of its own, so that one that does not answer holds up nobody else.
//!
//! ```text
//! connect ──ok──> look, publish, wait a moment ──lost──> connect
//!    └─────no───> publish why, wait longer each time ───────┘
//! ```
//! A reader only ever publishes its newest look: whoever comes late for an older one has missed nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use jiff::Timestamp;
use postgres::Client;

use super::look::{prepare, Looker};
use super::snapshot::{Contact, NodeId, NodeStatus, Snapshot, Statement};
use crate::connect::{self, Prompt};
use crate::conninfo::Conninfo;
use crate::failure::{Exit, Failure};

/// Between two looks at a node on which nothing happens.
const IDLE: Duration = Duration::from_millis(1_000);
/// Between two looks at a source, of which nothing but the lag of its slots is shown.
const SOURCE: Duration = Duration::from_millis(1_800);
/// Between two looks at an operation; the server reports about twice a second.
const BUSY: Duration = Duration::from_millis(400);
/// Longest time between two attempts to connect.
const LONGEST_WAIT: u64 = 5;

/// By the node, and which of its readers has looked.
type Looks = BTreeMap<(NodeId, u32), Arc<Snapshot>>;

/// Newest looks that were not taken over yet, and a bell.
#[derive(Clone)]
pub struct Mailbox {
    looks: Arc<Mutex<Looks>>,
    bell: Sender<()>,
}

impl Mailbox {
    /// An empty one, and what hears its bell.
    pub fn new() -> (Mailbox, Receiver<()>) {
        let (bell, hears) = bounded(1);
        (Mailbox { looks: Arc::default(), bell }, hears)
    }

    /// Puts a look in, in place of an older one of the same reader.
    fn put(&self, reader: (NodeId, u32), look: Snapshot) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(reader, Arc::new(look));
        // When it rings already, that is enough.
        let _ = self.bell.try_send(());
    }

    /// Takes everything out.
    pub fn take(&self) -> Looks {
        std::mem::take(&mut self.looks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A thread that looks at one node until nobody wants to know any more.
pub struct Reader {
    /// How to get there.
    pub conninfo: Result<Conninfo, Failure>,
    /// Which of several readers of the same node it is: the looks of those before it do not count.
    pub generation: u32,
    shared: Arc<Shared>,
    wakes: Sender<()>,
}

/// What a reader and its thread tell each other.
#[derive(Default)]
struct Shared {
    /// Somebody looks at the tables.
    focused: AtomicBool,
    /// It is on its way to the server, which has a time limit of its own for each address.
    connects: AtomicBool,
}

impl Reader {
    /// Starts it, over a connection that is there already if there is one.
    pub fn start(
        id: NodeId,
        generation: u32,
        conninfo: Result<Conninfo, Failure>,
        client: Option<Client>,
        is_focused: bool,
        mailbox: &Mailbox,
    ) -> Reader {
        let (wakes, woken) = bounded(1);
        let shared = Arc::new(Shared { focused: AtomicBool::new(is_focused), connects: AtomicBool::new(false) });
        let place = conninfo.as_ref().map_or(String::new(), Conninfo::describe);
        let task =
            Task { reader: (id, generation), place, mailbox: mailbox.clone(), woken, shared: Arc::clone(&shared) };
        let wanted = conninfo.clone();
        let started =
            std::thread::Builder::new().name(format!("reader {}", id.0)).spawn(move || task.run(&wanted, client));
        if let Err(error) = started {
            let failure = Failure::new(Exit::Failed, format!("could not start a thread: {error}"));
            let place = conninfo.as_ref().map_or(String::new(), Conninfo::describe);
            mailbox.put((id, generation), unreachable(&place, &failure, Timestamp::now(), 3_600));
        }
        Reader { conninfo, generation, shared, wakes }
    }

    /// Says whether somebody looks at the tables.
    pub fn focus(&self, focused: bool) {
        self.shared.focused.store(focused, Ordering::SeqCst);
        self.look_now();
    }

    /// Whether it is silent because it has not reached the server yet. Another one would begin with the first address again.
    pub fn connects(&self) -> bool {
        self.shared.connects.load(Ordering::SeqCst)
    }

    /// Makes it look at once; it ends when the value is dropped.
    pub fn look_now(&self) {
        // When it is to be woken already, that is enough: it looks after what was said before.
        let _ = self.wakes.try_send(());
    }
}

struct Task {
    reader: (NodeId, u32),
    place: String,
    mailbox: Mailbox,
    woken: Receiver<()>,
    shared: Arc<Shared>,
}

/// Nobody wants to know any more.
struct Dismissed;

impl Task {
    fn run(self, conninfo: &Result<Conninfo, Failure>, mut client: Option<Client>) {
        let mut attempts = 0;
        let mut since = None;
        loop {
            let failure = match self.once(conninfo, client.take(), &mut attempts, &mut since) {
                Ok(Dismissed) => return,
                Err(failure) => failure,
            };
            attempts += 1;
            let since = *since.get_or_insert_with(Timestamp::now);
            if attempts == 1 {
                // It was lost, or could not be had at first: once more at once, before anybody is alarmed.
                continue;
            }
            let wait = attempts.min(LONGEST_WAIT);
            self.mailbox.put(self.reader, unreachable(&self.place, &failure, since, wait));
            if self.wait(Duration::from_secs(wait)).is_err() {
                return;
            }
        }
    }

    /// Connects, and looks until the connection is lost.
    fn once(
        &self,
        conninfo: &Result<Conninfo, Failure>,
        client: Option<Client>,
        attempts: &mut u64,
        since: &mut Option<Timestamp>,
    ) -> Result<Dismissed, Failure> {
        let conninfo = conninfo.as_ref().map_err(Clone::clone)?;
        let mut client = match client {
            Some(client) => client,
            None => {
                self.shared.connects.store(true, Ordering::SeqCst);
                let client = connect::open(conninfo, Prompt::Never);
                self.shared.connects.store(false, Ordering::SeqCst);
                client?
            }
        };
        prepare(&mut client)?;
        let mut looker = Looker::default();
        loop {
            looker.focused = self.shared.focused.load(Ordering::SeqCst);
            let (contact, readings) = looker.look(&mut client)?;
            (*attempts, *since) = (0, None);
            let rest = rest_after(&contact);
            self.publish(contact, readings);
            if self.wait(rest).is_err() {
                return Ok(Dismissed);
            }
        }
    }

    fn publish(&self, contact: Contact, readings: Vec<Statement>) {
        let look = Snapshot { taken_at: Timestamp::now(), place: self.place.clone(), contact, readings };
        self.mailbox.put(self.reader, look);
    }

    /// Waits until it is time to look again, or somebody wants it at once.
    fn wait(&self, time: Duration) -> Result<(), Dismissed> {
        match self.woken.recv_timeout(time) {
            Err(RecvTimeoutError::Disconnected) => Err(Dismissed),
            Ok(()) | Err(RecvTimeoutError::Timeout) => Ok(()),
        }
    }
}

fn rest_after(contact: &Contact) -> Duration {
    let Contact::Node(_, reading) = contact else { return SOURCE };
    if reading.own().is_some_and(NodeStatus::is_busy) {
        BUSY
    } else {
        IDLE
    }
}

fn unreachable(place: &str, failure: &Failure, since: Timestamp, wait: u64) -> Snapshot {
    let now = Timestamp::now();
    let next_try = now + jiff::SignedDuration::from_secs(i64::try_from(wait).unwrap_or(0));
    let mut reason = failure.message.clone();
    for more in [&failure.detail, &failure.hint].into_iter().flatten() {
        reason.push('\n');
        reason.push_str(more);
    }
    let contact = Contact::Unreachable { reason, since, next_try };
    Snapshot { taken_at: now, place: place.to_owned(), contact, readings: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often it is told something while it waits for its server: it looks once, and at what was said last.
    #[test]
    fn nothing_that_is_said_to_a_busy_reader_is_lost() {
        let (wakes, woken) = bounded(1);
        let shared = Arc::new(Shared::default());
        let (mailbox, _bell) = Mailbox::new();
        let task = Task { reader: (NodeId(1), 0), place: String::new(), mailbox, woken, shared: Arc::clone(&shared) };
        let reader = Reader { conninfo: Err(Failure::connection("none")), generation: 0, shared, wakes };
        for n in 0..101 {
            reader.focus(n % 2 == 0);
        }
        assert!(task.wait(Duration::from_secs(60)).is_ok() && task.shared.focused.load(Ordering::SeqCst));
        assert!(task.woken.is_empty());
        drop(reader);
        assert!(task.wait(Duration::from_secs(60)).is_err());
    }

    /// A server that takes the connection and says nothing: the reader is on its way, and is not replaced by one that begins anew.
    #[test]
    fn a_reader_that_connects_is_known_as_such() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dsn = format!("host=127.0.0.1 port={port} user=u dbname=d connect_timeout=30");
        let given = crate::conninfo::Given { dsn: Some(dsn), ..Default::default() };
        let (mailbox, bell) = Mailbox::new();
        let reader = Reader::start(NodeId(1), 0, Conninfo::resolve(&given, &|_| None), None, false, &mailbox);
        let (connection, _) = listener.accept().unwrap();
        assert!(reader.connects());
        drop((connection, listener));
        bell.recv_timeout(Duration::from_secs(30)).expect("it says why");
        assert!(!mailbox.take().is_empty() && !reader.connects());
    }
}
