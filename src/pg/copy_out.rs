//! The stream of a COPY on the source, for whoever keeps it: its bytes as they come, and nothing is made of them.

use super::compat::{self, guarded};
use super::remote::Connection;
use super::stream::{Next, Stream};
use crate::error::Result;
use pgrx::pg_sys;
use std::marker::PhantomData;
use std::ptr;

/// A COPY that was started on a connection and is taken to its end.
pub struct CopyOut<'a> {
    stream: Stream,
    /// Open for as long as this is used.
    connection: PhantomData<&'a Connection>,
    /// Bytes of the newest message that were taken.
    taken: usize,
    messages: u64,
    bytes: u64,
}

impl<'a> CopyOut<'a> {
    /// The COPY that was started on a connection, of the source's table `relid`, which `pg_stat_progress_copy` shows.
    pub fn of(connection: &'a Connection, relid: u32) -> Result<CopyOut<'a>> {
        let stream = Stream::of(connection)?;
        // SAFETY: writes to this process's own status.
        unsafe {
            pg_sys::pgstat_progress_start_command(
                pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY,
                pg_sys::Oid::from(relid),
            );
        }
        Ok(CopyOut { stream, connection: PhantomData, taken: 0, messages: 0, bytes: 0 })
    }

    /// Fills the buffer as far as there is something without waiting, at least with one byte; 0 at the end.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let (whole, this) = (into.len(), ptr::from_mut(self));
        let out = into.as_mut_ptr();
        // SAFETY: the closure calls C and copies bytes within the bounds of `into`; nothing in it has a destructor. One guard around
        // many messages, since there is one a row.
        unsafe {
            guarded(|| {
                let this = &mut *this;
                let mut read = 0;
                while read < whole {
                    let left = this.stream.length - this.taken;
                    if left > 0 {
                        let count = left.min(whole - read);
                        ptr::copy_nonoverlapping(
                            this.stream.message.cast::<u8>().add(this.taken),
                            out.add(read),
                            count,
                        );
                        this.taken += count;
                        read += count;
                        continue;
                    }
                    this.taken = 0;
                    if this.stream.next(read == 0) != Next::Message {
                        break;
                    }
                    this.messages += 1;
                }
                this.bytes += read as u64;
                compat::show_copy_progress(this.messages as i64, Some(this.bytes as i64));
                read
            })
        }
    }

    /// Messages so far: the source sends one a row, and in binary format one more at the end.
    pub fn messages(&self) -> u64 {
        self.messages
    }
}

impl Drop for CopyOut<'_> {
    fn drop(&mut self) {
        // An error has its own way to take it back, and nothing may be guarded while unwinding.
        if !std::thread::panicking() {
            // SAFETY: writes to this process's own status.
            unsafe { pg_sys::pgstat_progress_end_command() };
        }
    }
}
