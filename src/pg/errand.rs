//! Errands: something that is to be committed whatever becomes of the session's transaction.
//!
//! A function that answers only when others have done their work cannot have them see a row of its own transaction. It has a short-lived
//! worker write and commit the row. The request goes there, and the answer comes back, in a segment of dynamic shared memory.

use super::worker::{self, Assignment, Kind, Status};
use super::{role, system};
use crate::error::{Error, Result, SlotError};
use pgrx::pg_sys;
use std::ptr;
use steep_repl_core::errors::Problem;

/// Room for the answer, in bytes: a number, or an error.
const ANSWER_ROOM: usize = 64 * 1024;
/// How long a worker may take to be started and to do it, in seconds.
const LIMIT: f64 = 30.0;

/// What stands at the beginning of the segment; request and answer follow, in this order.
#[repr(C)]
struct Header {
    request_length: usize,
    answer_length: usize,
    state: State,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Done,
    Failed,
}

/// A segment that this process has mapped.
struct Segment(*mut pg_sys::dsm_segment);

impl Segment {
    fn header(&self) -> *mut Header {
        // SAFETY: mapped until dropped.
        unsafe { pg_sys::dsm_segment_address(self.0).cast() }
    }

    fn body(&self) -> *mut u8 {
        // SAFETY: every segment is larger than its header.
        unsafe { self.header().add(1).cast() }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: mapped by us, and used no more.
        unsafe { pg_sys::dsm_detach(self.0) };
    }
}

/// Interrupts wait until this is dropped.
struct Undisturbed;

impl Undisturbed {
    fn new() -> Self {
        // SAFETY: as HOLD_INTERRUPTS().
        unsafe { pg_sys::InterruptHoldoffCount += 1 };
        Undisturbed
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        // SAFETY: as RESUME_INTERRUPTS(); an error that was raised meanwhile has set it to zero.
        unsafe { pg_sys::InterruptHoldoffCount = pg_sys::InterruptHoldoffCount.saturating_sub(1) };
    }
}

/// Sends a worker, which works as the current role, and gives its answer. 53000 when there is no worker to be had. The session cannot be
/// cancelled meanwhile: it would not know what has become of its request.
pub fn send(request: &str) -> Result<String> {
    let size = std::mem::size_of::<Header>() + request.len() + ANSWER_ROOM;
    // SAFETY: inside a transaction, whose resource owner gives the segment up if we do not.
    let segment = Segment(unsafe { pg_sys::dsm_create(size, 0) });
    // SAFETY: the segment is large enough, and nobody else knows of it yet.
    unsafe {
        segment.header().write(Header { request_length: request.len(), answer_length: 0, state: State::Asked });
        ptr::copy_nonoverlapping(request.as_ptr(), segment.body(), request.len());
    }
    // SAFETY: mapped.
    let handle = unsafe { pg_sys::dsm_segment_handle(segment.0) };
    let assignment =
        Assignment { operation: i64::from(handle), database: system::database_oid(), role: role::current(), number: 0 };
    let undisturbed = Undisturbed::new();
    let Some(sent) = worker::start(Kind::Errand, &assignment) else { return Err(SlotError::NoWorker.into()) };
    let started = system::now_secs();
    while sent.status() != Status::Stopped {
        if system::now_secs() - started > LIMIT {
            sent.terminate();
        }
        // The postmaster sets the latch when it has ended.
        system::wait_latch(1000);
    }
    // SAFETY: the worker has ended, which the postmaster has told us: what it wrote is there.
    let (state, answer) = unsafe {
        let header = segment.header();
        let length = (*header).answer_length.min(ANSWER_ROOM);
        let answer = std::slice::from_raw_parts(segment.body().add((*header).request_length), length);
        ((*header).state, String::from_utf8_lossy(answer).into_owned())
    };
    drop(undisturbed);
    match state {
        State::Done => Ok(answer),
        State::Failed => Err(serde_json::from_str::<Problem>(&answer)
            .map_or_else(|_| Error::internal("an errand failed"), |problem| Error::Server(Box::new(problem)))),
        State::Asked => Err(SlotError::NoWorker.into()),
    }
}

/// Body of the worker: does what is asked for by `work`, and answers. Nobody is answered who has gone.
pub fn run(assignment: Assignment, work: fn(&str) -> Result<String>) -> Result<()> {
    let handle = assignment.operation as pg_sys::dsm_handle;
    let request = super::transaction::run_without_snapshot(|| {
        let Some(segment) = attach(handle) else { return Ok(None) };
        // SAFETY: written before this process was asked for.
        let bytes = unsafe { std::slice::from_raw_parts(segment.body(), (*segment.header()).request_length) };
        Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
    })?;
    let Some(request) = request else { return Ok(()) };
    let outcome = work(&request);
    let (state, answer) = match &outcome {
        Ok(answer) => (State::Done, answer.clone()),
        Err(error) => (State::Failed, serde_json::to_string(&error.problem()).unwrap_or_default()),
    };
    super::transaction::run_without_snapshot(|| {
        let Some(segment) = attach(handle) else { return Ok(()) };
        let answer = &answer.as_bytes()[..answer.len().min(ANSWER_ROOM)];
        // SAFETY: whoever reads it waits for the end of this process.
        unsafe {
            let header = segment.header();
            ptr::copy_nonoverlapping(answer.as_ptr(), segment.body().add((*header).request_length), answer.len());
            (*header).answer_length = answer.len();
            (*header).state = state;
        }
        Ok(())
    })
}

fn attach(handle: pg_sys::dsm_handle) -> Option<Segment> {
    // SAFETY: inside a transaction; a segment that is gone gives null.
    let segment = unsafe { pg_sys::dsm_attach(handle) };
    (!segment.is_null()).then_some(Segment(segment))
}
