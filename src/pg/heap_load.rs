//! Rows straight into the heap, without the executor between: what most of a load consists of.
//!
//! A COPY in binary format sends one message a row: a count of fields, then each field's length and bytes. Here each field goes
//! through its type's receive function; a stream in text format is taken apart by the server's `NextCopyFrom`. The row is checked
//! against the table's constraints, formed, and put into the heap by `heap_multi_insert` with a few hundred others. This is what
//! the server's `CopyFrom` does with them, less what a load never needs, and with two things that it does not allow: rows may be
//! frozen in storage that other transactions load into as well, and pages may stay in shared buffers, where the index builds
//! that follow find them.
//!
//! What is not so plain goes through `CopyFrom` ([`super::copy_in`]): triggers that fire, columns that the stream does not have,
//! indexes that are maintained. [`Plain::of`] knows which is which.

use super::compat::{self, guarded};
use super::stream::{Next, Stream};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use std::ffi::{c_char, c_int};
use std::ptr;

/// Rows of a batch, at most.
const BATCH_ROWS: usize = 1000;
/// Bytes of a batch after which it is put into the heap. As large as a processor keeps close at hand.
const BATCH_BYTES: usize = 64 * 1024;
/// What a binary stream begins with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Bytes of the count of fields that marks the end.
const END_MARKER: usize = 2;
/// Bytes that a type modifier of a string type is larger than the number of its characters.
const MODIFIER_HEADER: i32 = 4;

/// A column of the stream.
#[derive(Clone, Copy)]
struct Column {
    /// Its place in the row, from 0.
    place: usize,
    receive: pg_sys::FmgrInfo,
    parameter: pg_sys::Oid,
    modifier: i32,
    /// Characters that a value has at most, or exactly when it is padded; 0 when its type knows no such thing.
    characters: usize,
    padded: bool,
}

impl Column {
    unsafe fn at(descriptor: pg_sys::TupleDesc, place: usize) -> Self {
        let (type_oid, modifier) = compat::type_of(descriptor, place as c_int);
        let (mut function, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::getTypeBinaryInputInfo(type_oid, &mut function, &mut parameter);
        let mut receive: pg_sys::FmgrInfo = std::mem::zeroed();
        pg_sys::fmgr_info(function, &mut receive);
        let padded = type_oid == pg_sys::BPCHAROID;
        let counts = (padded || type_oid == pg_sys::VARCHAROID) && modifier > MODIFIER_HEADER;
        let characters = if counts { (modifier - MODIFIER_HEADER) as usize } else { 0 };
        Column { place, receive, parameter, modifier, characters, padded }
    }
}

/// How the rows go in.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// `HEAP_INSERT_FROZEN`: visible to all from the moment they are written.
    pub frozen: bool,
    /// The pages stay in shared buffers; otherwise a small ring of them is used again and again, as by every bulk write.
    pub cached: bool,
    /// Next to nothing of the rows is in a TOAST table, where several loads meet and the free space map keeps them apart.
    pub inline: bool,
    /// Blocks that are for these rows, so that several loads side by side leave the table in the order of its source.
    pub blocks: Option<(u32, u32)>,
}

impl Manner {
    fn options(self) -> c_int {
        let mut options = 0;
        if self.frozen {
            options |= pg_sys::TABLE_INSERT_FROZEN;
        }
        if self.inline {
            // No page that others have filled is worth looking for.
            options |= pg_sys::TABLE_INSERT_SKIP_FSM;
        }
        options as c_int
    }
}

/// A table that can be loaded like this.
pub(super) struct Plain {
    columns: *mut Column,
    count: usize,
    /// Rows are checked against CHECK and NOT NULL constraints, or against the bounds of the partition.
    checked: bool,
}

impl Plain {
    /// The table's columns in the order of the stream, when it can be loaded like this.
    ///
    /// # Safety
    /// An open relation, inside a transaction. What is returned lives in the current memory context.
    pub(super) unsafe fn of(rel: pg_sys::Relation, names: &[std::ffi::CString], binary: bool) -> Result<Option<Plain>> {
        let (class, descriptor) = ((*rel).rd_rel, (*rel).rd_att);
        if (*class).relam != pg_sys::HEAP_TABLE_AM_OID || any_trigger_fires(rel) {
            return Ok(None);
        }
        let constraints = (*descriptor).constr;
        let live = (0..(*descriptor).natts).filter(|place| compat::takes_values(descriptor, *place)).count();
        if live != names.len() || names.is_empty() {
            return Ok(None);
        }
        let checked = !constraints.is_null() || (*class).relispartition;
        if !binary {
            return Ok(Some(Plain { columns: ptr::null_mut(), count: 0, checked }));
        }
        let columns = pg_sys::palloc(std::mem::size_of::<Column>() * names.len()).cast::<Column>();
        for (number, name) in names.iter().enumerate() {
            let attribute = pg_sys::get_attnum((*rel).rd_id, name.as_ptr());
            if attribute <= 0 {
                return Err(Error::internal(format!("no column {name:?}")));
            }
            columns.add(number).write(Column::at(descriptor, usize::from(attribute.unsigned_abs()) - 1));
        }
        Ok(Some(Plain { columns, count: names.len(), checked }))
    }
}

/// Whether a trigger fires for rows that replication writes. Those of foreign keys, for one, do not.
unsafe fn any_trigger_fires(rel: pg_sys::Relation) -> bool {
    let triggers = (*rel).trigdesc;
    !triggers.is_null()
        && (0..(*triggers).numtriggers as usize).any(|place| {
            let enabled = (*(*triggers).triggers.add(place)).tgenabled as u8;
            matches!(enabled, b'A' | b'R')
        })
}

/// Where the rows come from.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    /// A stream in binary format.
    Binary(Stream),
    /// A copy that the server takes apart, begun with all columns of the table.
    Server(pg_sys::CopyFromState),
}

/// Loads all rows, and returns their number.
///
/// # Safety
/// An open relation under RowExclusiveLock whose indexes are all suspended, inside a transaction with an active snapshot; `pstate`
/// has the relation as its first and only range table entry.
pub(super) unsafe fn load(
    rel: pg_sys::Relation,
    pstate: *mut pg_sys::ParseState,
    plain: &Plain,
    from: Rows,
    manner: Manner,
) -> u64 {
    if matches!(from, Rows::Binary(_)) {
        pg_sys::pgstat_progress_start_command(pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY, (*rel).rd_id);
    }
    let before = pg_sys::CurrentMemoryContext;
    let batch_context = pg_sys::AllocSetContextCreateInternal(
        before,
        c"steep_repl batch".as_ptr(),
        0,
        BATCH_BYTES as pg_sys::Size,
        pg_sys::ALLOCSET_DEFAULT_MAXSIZE as pg_sys::Size,
    );
    let slots = pg_sys::palloc(std::mem::size_of::<*mut pg_sys::TupleTableSlot>() * BATCH_ROWS)
        .cast::<*mut pg_sys::TupleTableSlot>();
    for place in 0..BATCH_ROWS {
        slots.add(place).write(pg_sys::MakeSingleTupleTableSlot((*rel).rd_att, &raw const pg_sys::TTSOpsHeapTuple));
    }
    let row = pg_sys::MakeSingleTupleTableSlot((*rel).rd_att, &raw const pg_sys::TTSOpsVirtual);
    for place in 0..(*(*rel).rd_att).natts as usize {
        // Dropped columns stay like this.
        (*row).tts_values.add(place).write(pg_sys::Datum::from(0usize));
        (*row).tts_isnull.add(place).write(true);
    }
    let checks = if plain.checked { Checks::begin(rel, pstate) } else { Checks::none() };
    let blocks = manner.blocks.map(|(from, to)| from..to);
    if let Some(blocks) = &blocks {
        super::storage::extend(rel, blocks.end, manner.cached);
    }
    let bulk = compat::bulk_insert(rel, !manner.cached, blocks);
    let mut loader = Loader {
        rel,
        descriptor: (*rel).rd_att,
        columns: plain.columns,
        count: plain.count,
        row,
        checks,
        slots,
        filled: 0,
        bytes: 0,
        batch_context,
        command: pg_sys::GetCurrentCommandId(true),
        options: manner.options(),
        bulk,
        rows: 0,
        received: matches!(from, Rows::Binary(_)).then_some(0),
        begun: false,
        ended: false,
        carry: pg_sys::makeStringInfo(),
    };
    let loader_ptr = &raw mut loader;
    // One guard around all of it. The loops only call C and move integers and pointers; nothing in them has a destructor.
    guarded(|| match from {
        Rows::Binary(stream) => (*loader_ptr).run_binary(stream),
        Rows::Server(state) => (*loader_ptr).run_server(state),
    });
    pg_sys::CurrentMemoryContext = before;
    super::storage::give_back(rel, compat::blocks_left(bulk));
    pg_sys::FreeBulkInsertState(bulk);
    checks.end();
    for place in 0..BATCH_ROWS {
        pg_sys::ExecDropSingleTupleTableSlot(*slots.add(place));
    }
    pg_sys::ExecDropSingleTupleTableSlot(row);
    pg_sys::MemoryContextDelete(batch_context);
    if matches!(from, Rows::Binary(_)) {
        pg_sys::pgstat_progress_end_command();
    }
    loader.rows
}

/// What the executor needs to check and to complete rows.
#[derive(Clone, Copy)]
struct Checks {
    estate: *mut pg_sys::EState,
    result: *mut pg_sys::ResultRelInfo,
    computed: bool,
    constraints: bool,
    partition: bool,
}

impl Checks {
    fn none() -> Self {
        Checks {
            estate: ptr::null_mut(),
            result: ptr::null_mut(),
            computed: false,
            constraints: false,
            partition: false,
        }
    }

    unsafe fn begin(rel: pg_sys::Relation, pstate: *mut pg_sys::ParseState) -> Self {
        let estate = pg_sys::CreateExecutorState();
        compat::init_range_table(estate, pstate);
        let result = pg_sys::palloc0(std::mem::size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
        (*result).type_ = pg_sys::NodeTag::T_ResultRelInfo;
        pg_sys::ExecInitResultRelation(estate, result, 1);
        Checks {
            estate,
            result,
            computed: compat::has_stored_columns((*rel).rd_att),
            constraints: !(*(*rel).rd_att).constr.is_null(),
            partition: (*(*rel).rd_rel).relispartition,
        }
    }

    unsafe fn end(&self) {
        if !self.estate.is_null() {
            pg_sys::ExecCloseResultRelations(self.estate);
            pg_sys::ExecCloseRangeTableRelations(self.estate);
            pg_sys::FreeExecutorState(self.estate);
        }
    }

    /// Fills in what is computed from other columns, and raises the server's own error when the row may not go in.
    unsafe fn check(&self, row: *mut pg_sys::TupleTableSlot) {
        if self.estate.is_null() {
            return;
        }
        if self.computed {
            compat::ExecComputeStoredGenerated(self.result, self.estate, row, pg_sys::CmdType::CMD_INSERT);
        }
        if self.constraints {
            compat::ExecConstraints(self.result, row, self.estate);
        }
        if self.partition {
            compat::ExecPartitionCheck(self.result, row, self.estate, true);
        }
        let expressions = (*self.estate).es_per_tuple_exprcontext;
        if !expressions.is_null() {
            compat::MemoryContextReset((*expressions).ecxt_per_tuple_memory);
        }
    }
}

/// A load that runs. Plain integers and pointers.
struct Loader {
    rel: pg_sys::Relation,
    descriptor: pg_sys::TupleDesc,
    columns: *mut Column,
    count: usize,
    row: *mut pg_sys::TupleTableSlot,
    checks: Checks,
    slots: *mut *mut pg_sys::TupleTableSlot,
    filled: usize,
    bytes: usize,
    batch_context: pg_sys::MemoryContext,
    command: pg_sys::CommandId,
    options: c_int,
    bulk: pg_sys::BulkInsertState,
    rows: u64,
    received: Option<i64>,
    begun: bool,
    ended: bool,
    carry: pg_sys::StringInfo,
}

/// What was found where a row should be.
enum Found {
    /// A row of so many bytes.
    Row(usize),
    /// The rest of it is in the next message.
    Part,
    /// The end of the data.
    End,
}

impl Loader {
    /// Everything that the server takes apart. Under a guard.
    unsafe fn run_server(&mut self, state: pg_sys::CopyFromState) {
        loop {
            compat::interrupts();
            let before = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.batch_context;
            // No column is left to a default, so no expression is evaluated.
            let row = self.row;
            let more = compat::NextCopyFrom(state, ptr::null_mut(), (*row).tts_values, (*row).tts_isnull);
            pg_sys::CurrentMemoryContext = before;
            if !more {
                break;
            }
            self.add();
        }
        self.flush();
    }

    /// Everything until the end of the stream. Under a guard.
    unsafe fn run_binary(&mut self, mut stream: Stream) {
        while stream.next(true) == Next::Message {
            if self.ended {
                compat::raise_bad_copy_format();
            }
            self.received = self.received.map(|received| received + stream.length as i64);
            // The source sends whole rows; whatever stands between may cut the stream elsewhere.
            let (data, length) = if (*self.carry).len > 0 {
                compat::appendBinaryStringInfo(self.carry, stream.message.cast(), stream.length as c_int);
                ((*self.carry).data, (*self.carry).len as usize)
            } else {
                (stream.message, stream.length)
            };
            let used = self.rows_of(data.cast(), length);
            self.keep(data, used, length);
        }
        if (*self.carry).len > 0 || !self.ended {
            compat::raise_bad_copy_format();
        }
        self.flush();
    }

    /// Keeps what no whole row was made of yet.
    unsafe fn keep(&mut self, data: *mut c_char, used: usize, length: usize) {
        let left = length - used;
        if (*self.carry).len > 0 {
            ptr::copy(data.add(used), (*self.carry).data, left);
            (*self.carry).len = left as c_int;
        } else if left > 0 {
            compat::appendBinaryStringInfo(self.carry, data.add(used).cast(), left as c_int);
        }
    }

    /// Takes all whole rows, and returns how many bytes they had.
    unsafe fn rows_of(&mut self, data: *const u8, length: usize) -> usize {
        let mut used = 0;
        if !self.begun {
            match header(std::slice::from_raw_parts(data, length)) {
                Some(0) => compat::raise_bad_copy_format(),
                Some(bytes) => used = bytes,
                None => return 0,
            }
            self.begun = true;
        }
        while used < length {
            match self.row_of(data.add(used), length - used) {
                Found::Row(bytes) => used += bytes,
                Found::Part => break,
                Found::End => {
                    self.ended = true;
                    if used + END_MARKER < length {
                        compat::raise_bad_copy_format();
                    }
                    return length;
                }
            }
        }
        used
    }

    /// Takes one row.
    unsafe fn row_of(&mut self, data: *const u8, length: usize) -> Found {
        let Some(size) = row_size(std::slice::from_raw_parts(data, length)) else { return Found::Part };
        let fields = i16::from_be_bytes([*data, *data.add(1)]);
        if fields == -1 {
            return Found::End;
        }
        if fields as usize != self.count {
            compat::raise_bad_copy_format();
        }
        let before = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = self.batch_context;
        let row = self.row;
        let mut at = 2;
        for number in 0..self.count {
            let column = &mut *self.columns.add(number);
            let field = i32::from_be_bytes([*data.add(at), *data.add(at + 1), *data.add(at + 2), *data.add(at + 3)]);
            at += 4;
            if field < -1 {
                compat::raise_bad_copy_format();
            }
            (*row).tts_isnull.add(column.place).write(field < 0);
            let value = if field < 0 {
                // A domain may forbid nulls.
                compat::ReceiveFunctionCall(&mut column.receive, ptr::null_mut(), column.parameter, column.modifier)
            } else {
                let value = receive(column, data.add(at), field as usize);
                at += field as usize;
                value
            };
            (*row).tts_values.add(column.place).write(value);
        }
        pg_sys::CurrentMemoryContext = before;
        self.add();
        Found::Row(size)
    }

    /// Checks the row whose values were found, and adds it to the batch.
    unsafe fn add(&mut self) {
        let before = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = self.batch_context;
        let row = self.row;
        compat::ExecStoreVirtualTuple(row);
        (*row).tts_tableOid = (*self.rel).rd_id;
        self.checks.check(row);
        let tuple = compat::heap_form_tuple(self.descriptor, (*row).tts_values, (*row).tts_isnull);
        compat::ExecStoreHeapTuple(tuple, *self.slots.add(self.filled), true);
        compat::clear_slot(row);
        pg_sys::CurrentMemoryContext = before;
        self.filled += 1;
        self.bytes += (*tuple).t_len as usize;
        if self.filled == BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Puts the batch into the heap.
    unsafe fn flush(&mut self) {
        if self.filled > 0 {
            let before = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.batch_context;
            let filled = self.filled as c_int;
            compat::heap_multi_insert(self.rel, self.slots, filled, self.command, self.options, self.bulk);
            pg_sys::CurrentMemoryContext = before;
            for place in 0..self.filled {
                compat::clear_slot(*self.slots.add(place));
            }
            compat::MemoryContextReset(self.batch_context);
        }
        self.rows += self.filled as u64;
        self.filled = 0;
        self.bytes = 0;
        compat::show_copy_progress(self.rows as i64, self.received);
    }
}

/// One value through its type's receive function.
unsafe fn receive(column: &mut Column, data: *const u8, length: usize) -> pg_sys::Datum {
    // Counting characters is much of what a string costs, and it is needed only where one may have several bytes. The length
    // that the type asks for is looked at either way.
    let fits = if column.padded { length == column.characters } else { length <= column.characters };
    let known = column.characters > 0 && fits && std::slice::from_raw_parts(data, length).is_ascii();
    let modifier = if known { -1 } else { column.modifier };
    // Read-only: the functions of the types that travel in binary neither write to it nor look behind its end.
    let mut buffer =
        pg_sys::StringInfoData { data: data.cast_mut().cast(), len: length as c_int, maxlen: 0, cursor: 0 };
    let value = compat::ReceiveFunctionCall(&mut column.receive, &mut buffer, column.parameter, modifier);
    if buffer.cursor != buffer.len {
        compat::raise_bad_copy_format();
    }
    value
}

/// Bytes of the stream's header; 0 when it is not one, none when there is more of it to come.
fn header(data: &[u8]) -> Option<usize> {
    let fixed = SIGNATURE.len() + 8;
    if data.len() < fixed {
        return if data.starts_with(&SIGNATURE[..data.len().min(SIGNATURE.len())]) { None } else { Some(0) };
    }
    let number = |at: usize| u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
    // No flag of the upper half may be set, and no source we know has an extension of the header.
    if !data.starts_with(SIGNATURE) || number(SIGNATURE.len()) != 0 || number(SIGNATURE.len() + 4) != 0 {
        return Some(0);
    }
    Some(fixed)
}

/// Bytes of the row at the start of the data; none when it is not all there.
fn row_size(data: &[u8]) -> Option<usize> {
    let fields = i16::from_be_bytes([*data.first()?, *data.get(1)?]);
    let mut at: usize = 2;
    for _ in 0..fields.max(0) {
        let length = i32::from_be_bytes([*data.get(at)?, *data.get(at + 1)?, *data.get(at + 2)?, *data.get(at + 3)?]);
        at = at.checked_add(4)?.checked_add(length.max(0) as usize)?;
    }
    (at <= data.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = (fields.len() as i16).to_be_bytes().to_vec();
        for field in fields {
            bytes.extend(field.map_or(-1, |field| field.len() as i32).to_be_bytes());
            bytes.extend(field.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn a_row_is_measured_when_all_of_it_is_there() {
        for bytes in [row(&[]), row(&[None]), row(&[Some(b""), None, Some(b"abc")])] {
            assert_eq!(row_size(&bytes), Some(bytes.len()));
            let longer = [bytes.clone(), row(&[Some(b"next")])].concat();
            assert_eq!(row_size(&longer), Some(bytes.len()));
            for part in 0..bytes.len() {
                assert_eq!(row_size(&bytes[..part]), None, "{part} bytes of {bytes:?}");
            }
        }
        assert_eq!(row_size(&(-1i16).to_be_bytes()), Some(2));
        assert_eq!(row_size(&[0, 1, 0x7f, 0xff, 0xff, 0xff, 0]), None);
    }

    #[test]
    fn a_header_is_known_by_its_first_bytes() {
        let good = [SIGNATURE, &[0; 8]].concat();
        assert_eq!(header(&good), Some(19));
        assert_eq!(header(&[good.clone(), row(&[None])].concat()), Some(19));
        for part in 0..good.len() {
            assert_eq!(header(&good[..part]), None);
        }
        assert_eq!(header(b"nonsense"), Some(0));
        let flagged = [SIGNATURE, &[0, 1, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(header(&flagged), Some(0));
    }
}
