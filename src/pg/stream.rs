//! The stream of a COPY on the source, message by message.

use super::compat;
use super::remote::{receive_function, Connection};
use crate::error::Result;
use pgrx::pg_sys;
use std::ffi::{c_char, c_int};
use std::ptr;

type Receive =
    unsafe extern "C-unwind" fn(*mut pg_sys::WalReceiverConn, *mut *mut c_char, *mut pg_sys::pgsocket) -> c_int;

/// A stream that is read. Plain integers and pointers: nothing here needs a destructor, so it may live through a jump of C.
#[derive(Clone, Copy)]
pub(super) struct Stream {
    connection: *mut pg_sys::WalReceiverConn,
    receive: Receive,
    wait_event: u32,
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
        Ok(Stream {
            connection: connection.raw(),
            receive: receive_function()?,
            wait_event,
            ended: false,
            message: ptr::null_mut(),
            length: 0,
        })
    }

    /// The next message, waited for when `wait` says so. Asked after the end it is the end again.
    ///
    /// # Safety
    /// Under a guard ([`compat::guarded`]): this only calls C, and C may raise errors. The connection is open.
    pub(super) unsafe fn next(&mut self, wait: bool) -> Next {
        loop {
            if self.ended {
                return Next::End;
            }
            let mut socket: pg_sys::pgsocket = -1;
            let length = (self.receive)(self.connection, &mut self.message, &mut socket);
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
            let woken = compat::WaitLatchOrSocket(
                pg_sys::MyLatch,
                (pg_sys::WL_SOCKET_READABLE | pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH) as c_int,
                socket,
                -1,
                self.wait_event,
            );
            compat::ResetLatch(pg_sys::MyLatch);
            if woken & pg_sys::WL_SOCKET_READABLE as c_int != 0 {
                // Part of a message: a large row takes its time, and whoever looks on must see that something comes.
                compat::show_copy_byte();
            }
            compat::interrupts();
        }
    }
}
