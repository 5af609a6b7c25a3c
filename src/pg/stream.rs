//! The stream of a COPY, message by message: from the source as it sends them, or piece by piece from wherever it was kept.

use super::compat;
use super::remote::{receive_function, Connection};
use super::socket_wait::SocketWait;
use crate::error::Result;
use pgrx::pg_sys;
use std::ffi::{c_char, c_int};
use std::ptr;

type Receive =
    unsafe extern "C-unwind" fn(*mut pg_sys::WalReceiverConn, *mut *mut c_char, *mut pg_sys::pgsocket) -> c_int;

/// A stream of a COPY that was kept, in pieces that may begin and end anywhere.
pub trait Pieces {
    /// The next piece; empty at the end, and only then. None when there is no more although there should be: whoever made this value
    /// knows why. Must not panic, and must not call the server.
    fn next_piece(&mut self) -> Option<&[u8]>;
}

/// A connection over which messages come.
#[derive(Clone, Copy)]
struct Sender {
    connection: *mut pg_sys::WalReceiverConn,
    receive: Receive,
    wait: *const SocketWait,
    wait_event: u32,
}

/// Where messages come from.
#[derive(Clone, Copy)]
enum Origin {
    /// The connection to the source.
    Source(Sender),
    /// What was kept.
    Kept(*mut (dyn Pieces + 'static)),
}

/// A stream that is read. Plain integers and pointers: nothing here needs a destructor, so it may live through a jump of C.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    origin: Origin,
    ended: bool,
    /// The newest message; valid until the next one is asked for.
    pub(super) message: *mut c_char,
    /// Its bytes.
    pub(super) length: usize,
}

/// What came of asking for a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// There is one.
    Message,
    /// There is none yet.
    Nothing,
    /// The stream is at its end.
    End,
}

impl Stream {
    /// The stream of the COPY that was started on a connection.
    pub(super) fn of(connection: &Connection) -> Result<Stream> {
        // What pg_stat_activity shows while nothing comes; a name is registered once and found again after that.
        // SAFETY: a look into shared memory, under a lock that the server takes.
        let wait_event = unsafe { pg_sys::WaitEventExtensionNew(c"SteepReplReceive".as_ptr()) };
        let (receive, wait) = (receive_function()?, ptr::from_ref(connection.wait()));
        let origin = Origin::Source(Sender { connection: connection.raw(), receive, wait, wait_event });
        Ok(Stream { origin, ended: false, message: ptr::null_mut(), length: 0 })
    }

    /// A stream that was kept.
    ///
    /// # Safety
    /// The stream, and every copy of it, is used no longer than `pieces` lives, and nobody else uses that meanwhile.
    pub(super) unsafe fn kept(pieces: &mut dyn Pieces) -> Stream {
        // SAFETY: only the lifetime changes, for which the caller vouches.
        let pieces = unsafe { std::mem::transmute::<*mut (dyn Pieces + '_), *mut (dyn Pieces + 'static)>(pieces) };
        Stream { origin: Origin::Kept(pieces), ended: false, message: ptr::null_mut(), length: 0 }
    }

    /// The next message, waited for when `wait` says so. Asked after the end it is the end again.
    ///
    /// # Safety
    /// Under a guard ([`compat::guarded`]): this only calls C, and C may raise errors. The connection is open.
    pub(super) unsafe fn next(&mut self, wait: bool) -> Next {
        match self.origin {
            Origin::Source(sender) => self.receive(sender, wait),
            Origin::Kept(pieces) => self.take(pieces),
        }
    }

    /// The next piece of what was kept.
    unsafe fn take(&mut self, pieces: *mut dyn Pieces) -> Next {
        compat::interrupts();
        self.length = 0;
        if self.ended {
            return Next::End;
        }
        // The piece is taken apart at once: nothing with a destructor is left when the error is raised.
        let (message, length) = match (*pieces).next_piece() {
            Some(piece) => (piece.as_ptr(), piece.len()),
            None => (ptr::null(), 0),
        };
        if message.is_null() {
            compat::raise_broken_stream();
        }
        if length == 0 {
            self.ended = true;
            return Next::End;
        }
        (self.message, self.length) = (message.cast_mut().cast(), length);
        Next::Message
    }

    unsafe fn receive(&mut self, sender: Sender, wait: bool) -> Next {
        loop {
            if self.ended {
                return Next::End;
            }
            let mut socket: pg_sys::pgsocket = -1;
            let length = (sender.receive)(sender.connection, &mut self.message, &mut socket);
            if length > 0 {
                self.length = length as usize;
                compat::interrupts();
                return Next::Message;
            }
            self.length = 0;
            if length < 0 {
                self.ended = true;
                continue;
            }
            if !wait {
                return Next::Nothing;
            }
            if (*sender.wait).wait(socket, sender.wait_event) {
                // Part of a message: a large row takes its time, and whoever looks on must see that something comes.
                compat::show_copy_byte();
            }
            compat::interrupts();
        }
    }
}
