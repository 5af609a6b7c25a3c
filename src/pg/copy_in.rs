//! Rows of a COPY, from the source, from a pg_dump of it or from where it was kept, into a table: most of them by [`super::heap_load`], the others
//! by the server's `CopyFrom`, with a callback that is fed by `walrcv_receive`, by the program's output or by what was kept.
//!
//! The callback is called by C with no argument of ours, so what it reads from stands in a thread-local for as long as one
//! copy runs. After the end of the stream the server calls it once more: the end is remembered.

use super::compat::guarded;
use super::dumped::Dumped;
use super::heap_load::{self, Manner, Plain, Rows};
use super::remote::Connection;
use super::role::OwnerContext;
pub use super::stream::Pieces;
use super::stream::{Next, Stream};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::cell::Cell;
use std::ffi::{c_int, c_void, CString};
use std::ptr;

/// What to load, and how.
pub struct CopyIn<'a> {
    /// The table.
    pub relid: u32,
    /// Its columns in the order of the stream; none means a stream of rows without fields.
    pub columns: &'a [String],
    /// Binary format; text otherwise.
    pub binary: bool,
    /// Whether the rows are loaded frozen.
    pub frozen: Frozen,
    /// No index of the table is to be maintained. When one is all the same, its rows go in by the server's COPY, which does that.
    pub bare: bool,
    /// Next to nothing of the rows is in a TOAST table.
    pub inline: bool,
    /// The pages are worth a place in shared buffers.
    pub cached: bool,
    /// Encoding of text in the stream, which the session has set as its client's; none is the database's.
    pub encoding: Option<&'a str>,
    /// Blocks here that are for these rows.
    pub blocks: Option<(u32, u32)>,
}

/// Whether rows are loaded frozen: visible to all from the moment they are written, and never to be written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    /// Loaded as every other row.
    No,
    /// Frozen into storage that was made new in this transaction, which takes them away when the transaction fails.
    NewStorage,
    /// Frozen into storage that other transactions load into as well. When this one fails the rows stay, and whoever tries
    /// again must take them away first ([`super::storage::remove_unfinished`]).
    Shared,
}

/// Where the rows of a load come from.
pub enum From<'a> {
    /// The COPY that was started on a connection.
    Connection(&'a Connection),
    /// A pg_dump, whose columns were read. Its rows are text.
    Program(&'a mut Dumped),
    /// One that was kept.
    Kept(&'a mut dyn Pieces),
}

/// The stream of the copy that runs, and how far its newest message was read. Plain integers and pointers.
#[derive(Clone, Copy)]
struct Feed {
    source: Source,
    position: usize,
}

/// See [`From`].
#[derive(Clone, Copy)]
enum Source {
    Stream(Stream),
    Program(*mut Dumped),
}

thread_local! {
    static FEED: Cell<Option<Feed>> = const { Cell::new(None) };
}

/// Fills the server's buffer with at least `minread` and at most `maxread` bytes, fewer only at the end of the stream.
#[pg_guard]
unsafe extern "C-unwind" fn read_feed(out: *mut c_void, minread: c_int, maxread: c_int) -> c_int {
    let Some(mut feed) = FEED.with(Cell::get) else { return 0 };
    let (least, most) = (minread.max(1) as usize, maxread as usize);
    let (position, mut stream) = match feed.source {
        Source::Stream(stream) => (&raw mut feed.position, stream),
        Source::Program(program) => {
            // SAFETY: the server's buffer has room for `most` bytes, and the program lives as long as the load.
            let (program, room) = unsafe { (&mut *program, std::slice::from_raw_parts_mut(out.cast::<u8>(), most)) };
            return match program.fill(room, least) {
                Ok(read) => read as c_int,
                Err(error) => super::raise::throw(error),
            };
        }
    };
    let stream_ptr = &raw mut stream;
    // SAFETY: the closure calls C and copies bytes within the bounds it computes; it owns nothing with a destructor.
    let read = guarded(|| fill(&mut *stream_ptr, &mut *position, out.cast(), least, most));
    feed.source = Source::Stream(stream);
    FEED.with(|cell| cell.set(Some(feed)));
    read as c_int
}

/// The loop of [`read_feed`]. One guard around the whole of it: it runs once per row.
unsafe fn fill(stream: &mut Stream, position: &mut usize, out: *mut u8, minread: usize, maxread: usize) -> usize {
    let mut read = 0;
    while read < maxread {
        let available = stream.length - *position;
        if available > 0 {
            let count = available.min(maxread - read);
            ptr::copy_nonoverlapping(stream.message.cast::<u8>().add(*position), out.add(read), count);
            *position += count;
            read += count;
            continue;
        }
        *position = 0;
        if stream.next(read < minread) != Next::Message {
            break;
        }
    }
    read
}

/// Empties [`FEED`] however the copy ends.
struct FeedGuard;

impl Drop for FeedGuard {
    fn drop(&mut self) {
        FEED.with(|cell| cell.set(None));
    }
}

fn option(name: &'static std::ffi::CStr, value: &str) -> Result<*mut pg_sys::DefElem> {
    let value = CString::new(value).map_err(|_| Error::internal("a NUL byte in a COPY option"))?;
    // SAFETY: both strings are copied or static.
    unsafe {
        let node = pg_sys::makeString(pg_sys::pstrdup(value.as_ptr()));
        Ok(pg_sys::makeDefElem(name.as_ptr().cast_mut(), node.cast(), -1))
    }
}

/// What a copy did.
pub struct CopiedIn {
    /// Rows.
    pub rows: u64,
    /// Whether they were loaded frozen. What was asked for is not done where it cannot be.
    pub frozen: bool,
}

/// Loads the rows that come from there.
///
/// The current role must have INSERT on the table; row-level security must not apply to it (42501, 0A000). The rows go in with
/// the rights of the table's owner, so that no constraint or trigger function runs with the operator's. To load frozen it must own
/// the table (42501).
pub fn copy_in(from: From, what: &CopyIn) -> Result<CopiedIn> {
    let relid = pg_sys::Oid::from(what.relid);
    let lock = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
    let names = what
        .columns
        .iter()
        .map(|name| CString::new(name.as_str()).map_err(|_| Error::internal("a NUL byte in a column name")))
        .collect::<Result<Vec<_>>>()?;
    let source = match from {
        From::Connection(connection) => Source::Stream(Stream::of(connection)?),
        From::Program(_) if what.binary => return Err(Error::internal("a dump in binary format")),
        From::Program(program) => Source::Program(program),
        // SAFETY: what it comes from is borrowed until this function returns, and the stream goes before.
        From::Kept(pieces) => Source::Stream(unsafe { Stream::kept(pieces) }),
    };
    // SAFETY: every pointer below comes from the server and stays alive until the table is closed; errors unwind through the
    // guards of the bindings, and the transaction's abort releases what was opened.
    unsafe {
        let rel = pg_sys::table_open(relid, lock);
        check_insert_allowed(relid)?;
        if what.frozen != Frozen::No {
            super::storage::check_owner(what.relid, "have rows loaded frozen")?;
        }
        let owner = OwnerContext::enter((*(*rel).rd_rel).relowner);
        let pstate = pg_sys::make_parsestate(ptr::null_mut());
        pg_sys::addRangeTableEntryForRelation(pstate, rel, lock, ptr::null_mut(), false, false);
        // Somebody may have made an index while we waited for the table.
        let bare = what.bare && !super::index::any_maintained(rel);
        let plain = if bare { Plain::of(rel, &names, what.binary)? } else { None };
        // The server freezes into storage of this transaction only.
        let frozen = if plain.is_some() { what.frozen != Frozen::No } else { what.frozen == Frozen::NewStorage };
        let manner = Manner { frozen, cached: what.cached, inline: what.inline, blocks: what.blocks };
        let rows = match (plain, source) {
            (Some(plain), Source::Stream(stream)) if what.binary => {
                heap_load::load(rel, pstate, &plain, Rows::Binary(stream), manner)
            }
            (Some(plain), source) => taken_apart(rel, pstate, (&names, what), source, false, |state| {
                heap_load::load(rel, pstate, &plain, Rows::Server(state), manner)
            })?,
            (None, source) => {
                taken_apart(rel, pstate, (&names, what), source, frozen, |state| pg_sys::CopyFrom(state))?
            }
        };
        owner.leave();
        pg_sys::free_parsestate(pstate);
        pg_sys::table_close(rel, pg_sys::NoLock as pg_sys::LOCKMODE);
        Ok(CopiedIn { rows, frozen })
    }
}

/// Has the stream taken apart by the server, for whoever puts the rows into the table.
///
/// # Safety
/// As for [`heap_load::load`].
unsafe fn taken_apart(
    rel: pg_sys::Relation,
    pstate: *mut pg_sys::ParseState,
    (names, what): (&[CString], &CopyIn),
    source: Source,
    frozen: bool,
    put: impl FnOnce(pg_sys::CopyFromState) -> u64,
) -> Result<u64> {
    let mut columns: *mut pg_sys::List = ptr::null_mut();
    for name in names {
        columns = pg_sys::lappend(columns, pg_sys::makeString(pg_sys::pstrdup(name.as_ptr())).cast());
    }
    let mut options: *mut pg_sys::List = ptr::null_mut();
    let here = super::system::database_encoding();
    options = pg_sys::lappend(options, option(c"encoding", what.encoding.unwrap_or(&here))?.cast());
    if what.binary {
        options = pg_sys::lappend(options, option(c"format", "binary")?.cast());
    }
    if frozen {
        options = pg_sys::lappend(options, option(c"freeze", "true")?.cast());
    }
    FEED.with(|cell| cell.set(Some(Feed { source, position: 0 })));
    let feed = FeedGuard;
    let state =
        pg_sys::BeginCopyFrom(pstate, rel, ptr::null_mut(), ptr::null(), false, Some(read_feed), columns, options);
    let rows = put(state);
    pg_sys::EndCopyFrom(state);
    drop(feed);
    Ok(rows)
}

/// Core's own checks for a table that replication writes to (`LogicalRepSyncTableStart`).
unsafe fn check_insert_allowed(relid: pg_sys::Oid) -> Result<()> {
    let role = pg_sys::GetUserId();
    let allowed = pg_sys::pg_class_aclcheck(relid, role, pg_sys::ACL_INSERT as pg_sys::AclMode);
    if allowed != pg_sys::AclResult::ACLCHECK_OK {
        return Err(Error::RightsHere {
            role: super::role::name_of(u32::from(role)),
            lacks: format!("may not INSERT into table {}", super::system::relation_name(u32::from(relid))),
            hint: "Grant it INSERT on the table, or use a role that owns the tables.".to_owned(),
        });
    }
    if pg_sys::check_enable_rls(relid, pg_sys::InvalidOid, false) == pg_sys::CheckEnableRlsResult::RLS_ENABLED as c_int
    {
        return Err(Error::RightsHere {
            role: super::role::name_of(u32::from(role)),
            lacks: format!(
                "cannot replicate into table {} with row-level security",
                super::system::relation_name(u32::from(relid))
            ),
            hint: "Use a role that bypasses row-level security.".to_owned(),
        });
    }
    Ok(())
}
