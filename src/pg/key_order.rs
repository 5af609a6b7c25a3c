//! In which order the rows of a table lie, as seen from an index that is to be built: those of a key that they do not lie in the order of have
//! to be sorted.

use super::compat::{self, guarded};
use pgrx::pg_sys;
use pgrx::prelude::*;
use std::ffi::{c_int, c_void};
use std::ptr;

/// Of a btree's operator class, in `access/nbtree.h`: the function that compares two keys.
const BTORDER_PROC: u16 = 1;
/// Blocks that are looked at.
const SAMPLE_BLOCKS: u32 = 32;
/// Pairs of rows below which a sample says nothing.
const SAMPLE_ROWS: u32 = 100;
/// Shares of pairs with the greater key first that are of no order: near 0 rows lie in that of the key, near 1 in its reverse, at a half in
/// none.
const SCATTERED: std::ops::Range<f64> = 0.1..0.9;

/// Rows of a sample, each compared with the one before it. Plain integers and pointers.
struct Sample {
    order: *mut pg_sys::FmgrInfo,
    collation: pg_sys::Oid,
    length: c_int,
    by_value: bool,
    /// None for the first.
    before: Option<pg_sys::Datum>,
    pairs: u32,
    falling: u32,
}

/// What the server calls for each row of the sample, with the values that are to be indexed.
#[pg_guard]
unsafe extern "C-unwind" fn compare_with_before(
    _index: pg_sys::Relation,
    _row: pg_sys::ItemPointer,
    values: *mut pg_sys::Datum,
    nulls: *mut bool,
    _is_alive: bool,
    sample: *mut c_void,
) {
    let sample = &mut *sample.cast::<Sample>();
    if *nulls {
        return;
    }
    let value = *values;
    if let Some(before) = sample.before {
        let order = pg_sys::FunctionCall2Coll(sample.order, sample.collation, before, value);
        sample.pairs += 1;
        // An integer, of which only the sign counts.
        sample.falling += u32::from(order.value() as i32 > 0);
        if !sample.by_value {
            pg_sys::pfree(before.cast_mut_ptr());
        }
    }
    sample.before = Some(compat::copy_datum(value, sample.by_value, sample.length));
}

/// Whether the rows of a table lie in no order of a btree's first column, by a sample of blocks.
///
/// # Safety
/// An open table of so many blocks, a btree of it, and that one's `BuildIndexInfo`, inside a transaction and as the table's owner, whose code may be run.
pub(super) unsafe fn is_scattered(
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
    info: *mut pg_sys::IndexInfo,
    blocks: u32,
) -> bool {
    let Some(scan) = (*(*heap).rd_tableam).index_build_range_scan else { return false };
    let (mut length, mut by_value) = (0, false);
    let (kind, _) = compat::type_of((*index).rd_att, 0);
    pg_sys::get_typlenbyval(kind, &mut length, &mut by_value);
    let order = pg_sys::index_getprocinfo(index, 1, BTORDER_PROC);
    let collation = *(*index).rd_indcollation;
    let mut sample =
        Sample { order, collation, length: c_int::from(length), by_value, before: None, pairs: 0, falling: 0 };
    let state = (&raw mut sample).cast::<c_void>();
    let looks = SAMPLE_BLOCKS.min(blocks);
    for number in 0..looks {
        let block = u32::try_from(u64::from(blocks) * u64::from(number) / u64::from(looks)).unwrap_or_default();
        guarded(|| {
            scan(heap, index, info, false, false, false, block, 1, Some(compare_with_before), state, ptr::null_mut())
        });
    }
    sample.pairs >= SAMPLE_ROWS && SCATTERED.contains(&(f64::from(sample.falling) / f64::from(sample.pairs)))
}
