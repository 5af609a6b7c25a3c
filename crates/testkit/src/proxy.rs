//! A TCP proxy before a server, to slow the link down evenly, to freeze it, to cut it, and to make it long.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{bounded, Receiver, Sender};

/// Small pieces make a throttled link even.
const PIECE: usize = 8 * 1024;
/// Pieces under way per connection and direction; what a long link holds.
const UNDER_WAY: usize = 32;

#[derive(Default)]
struct Link {
    /// Bytes per second, both directions of all connections together; 0 is no limit.
    rate: AtomicU64,
    /// When the next byte may pass.
    next: Mutex<Option<Instant>>,
    frozen: Mutex<bool>,
    thawed: Condvar,
    latency_ms: AtomicU64,
    refusing: AtomicBool,
    closing: AtomicBool,
    passed: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// A running proxy on a port of its own; ends with this value.
pub struct Proxy {
    port: u16,
    link: Arc<Link>,
}

impl Proxy {
    /// Starts a proxy before the server at a port of this machine.
    pub fn start(server_port: u16) -> Proxy {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|error| panic!("no port for a proxy: {error}"));
        let port = listener.local_addr().map(|address| address.port()).unwrap_or_else(|error| panic!("{error}"));
        let link = Arc::new(Link::default());
        let accepting = Arc::clone(&link);
        std::thread::spawn(move || accept(&listener, server_port, &accepting));
        Proxy { port, link }
    }

    /// Where to connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets at most so many bytes per second pass, all connections together; 0 lifts the limit.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.link.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Delays every piece of data, in both directions.
    pub fn latency(&self, delay: Duration) {
        self.link.latency_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Nothing passes any more; connections stay open, new ones are accepted and hang.
    pub fn freeze(&self) {
        *lock(&self.link.frozen) = true;
    }

    /// Ends [`Proxy::freeze`].
    pub fn thaw(&self) {
        *lock(&self.link.frozen) = false;
        self.link.thawed.notify_all();
    }

    /// Cuts every connection; new ones are accepted.
    pub fn cut(&self) {
        for stream in lock(&self.link.open).drain(..) {
            // It may have been closed from the other side.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Cuts every connection and closes new ones at once, until [`Proxy::restore`].
    pub fn down(&self) {
        self.link.refusing.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Ends [`Proxy::down`].
    pub fn restore(&self) {
        self.link.refusing.store(false, Ordering::Relaxed);
    }

    /// Bytes that have passed, in both directions.
    pub fn passed(&self) -> u64 {
        self.link.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.link.closing.store(true, Ordering::Relaxed);
        self.throttle(0);
        self.thaw();
        self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, server_port: u16, link: &Arc<Link>) {
    for client in listener.incoming() {
        if link.closing.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        if link.refusing.load(Ordering::Relaxed) {
            continue;
        }
        // A server that is down looks like one: the client's connection closes.
        let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)) else {
            continue;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        for (from, to) in [(&client, &server), (&server, &client)] {
            if let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone()) {
                lock(&link.open).push(kept);
                pump(from, to, Arc::clone(link));
            }
        }
    }
}

/// One direction of a connection: one thread reads and stamps, the other waits for the stamp, the limit and the thaw, and writes.
fn pump(mut from: TcpStream, to: TcpStream, link: Arc<Link>) {
    let (sender, receiver): (Sender<(Instant, Vec<u8>)>, Receiver<_>) = bounded(UNDER_WAY);
    let writing = Arc::clone(&link);
    std::thread::spawn(move || write_pieces(&to, &receiver, &writing));
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let due = Instant::now() + Duration::from_millis(link.latency_ms.load(Ordering::Relaxed));
            if sender.send((due, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
}

fn write_pieces(mut to: &TcpStream, pieces: &Receiver<(Instant, Vec<u8>)>, link: &Link) {
    for (due, piece) in pieces {
        let allowed = reserve(link, piece.len());
        std::thread::sleep(due.max(allowed).saturating_duration_since(Instant::now()));
        let mut frozen = lock(&link.frozen);
        while *frozen {
            frozen = link.thawed.wait(frozen).unwrap_or_else(PoisonError::into_inner);
        }
        drop(frozen);
        if to.write_all(&piece).is_err() {
            break;
        }
        link.passed.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    // The end of the stream passes on too.
    let _ = to.shutdown(Shutdown::Both);
}

/// Takes a place in the one queue that all connections share; the time when the piece may pass.
fn reserve(link: &Link, bytes: usize) -> Instant {
    let now = Instant::now();
    let rate = link.rate.load(Ordering::Relaxed);
    let mut next = lock(&link.next);
    if rate == 0 {
        *next = None;
        return now;
    }
    let allowed = next.map_or(now, |time| time.max(now));
    *next = Some(allowed + Duration::from_secs_f64(bytes as f64 / rate as f64));
    allowed
}
