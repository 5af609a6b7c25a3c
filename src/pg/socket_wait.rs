//! Waiting for a source that sends, for as long as its connection lasts.
//!
//! A source sends about 8 kB at a time, and whoever reads faster than it sends waits for each of them. The server's `WaitLatchOrSocket`
//! makes a set of events for every wait and takes it down again, seven system calls; this one is made once.

use super::compat;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

/// What a connection waits by.
pub(super) struct SocketWait {
    set: Cell<*mut pg_sys::WaitEventSet>,
    socket: Cell<pg_sys::pgsocket>,
}

impl SocketWait {
    /// Nothing is made before the first wait.
    pub(super) fn new() -> Self {
        SocketWait { set: Cell::new(ptr::null_mut()), socket: Cell::new(-1) }
    }

    /// Changes places with that of another connection, as the connections do.
    pub(super) fn swap(&self, other: &SocketWait) {
        self.set.swap(&other.set);
        self.socket.swap(&other.socket);
    }

    /// Waits until the socket has something to read, or the latch is set, which is reset. True when it was the socket. The process ends
    /// with the postmaster.
    ///
    /// # Safety
    /// Under a guard ([`compat::guarded`]): this only calls C, and C may raise errors.
    pub(super) unsafe fn wait(&self, socket: pg_sys::pgsocket, wait_event: u32) -> bool {
        if self.set.get().is_null() || self.socket.get() != socket {
            self.make(socket);
        }
        let mut events: [pg_sys::WaitEvent; 2] = std::mem::zeroed();
        let count =
            compat::WaitEventSetWait(self.set.get(), -1, events.as_mut_ptr(), events.len() as c_int, wait_event);
        compat::ResetLatch(pg_sys::MyLatch);
        events.iter().take(count as usize).any(|event| event.events & pg_sys::WL_SOCKET_READABLE != 0)
    }

    unsafe fn make(&self, socket: pg_sys::pgsocket) {
        self.free();
        // Of no resource owner: a connection outlives transactions.
        let set = compat::CreateWaitEventSet(ptr::null_mut(), 3);
        self.set.set(set);
        let nothing = ptr::null_mut();
        compat::AddWaitEventToSet(set, pg_sys::WL_LATCH_SET, -1, pg_sys::MyLatch, nothing);
        compat::AddWaitEventToSet(set, pg_sys::WL_EXIT_ON_PM_DEATH, -1, ptr::null_mut(), nothing);
        compat::AddWaitEventToSet(set, pg_sys::WL_SOCKET_READABLE, socket, ptr::null_mut(), nothing);
        // An error on the way leaves a set that is made anew.
        self.socket.set(socket);
    }

    unsafe fn free(&self) {
        self.socket.set(-1);
        let set = self.set.replace(ptr::null_mut());
        if !set.is_null() {
            compat::FreeWaitEventSet(set);
        }
    }
}

impl Drop for SocketWait {
    fn drop(&mut self) {
        // SAFETY: the set is ours and used no more. Closing it and giving its memory back raise no error, so no guard is needed, and none
        // may be set up while unwinding.
        unsafe { self.free() };
    }
}
