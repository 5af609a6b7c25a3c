//! How tables are cut into copy tasks, and what a task weighs.
//!
//! Large tables are cut into ranges of blocks so that several workers share one table; the largest go first, so that
//! the end of the copy is not one worker with one large table; small ones go last and are batched by the caller.

use std::fmt;
use std::str::FromStr;

/// Most ranges of one table: more would only cost connections' round trips.
pub const MAX_CHUNKS: i64 = 1024;

/// Large tasks a worker should get, at least: the last ones then end at nearly the same time, and nobody waits for one that
/// has a whole range to go. With one range a worker, a third of the workers' time went to waiting for the slowest.
const TASKS_PER_WORKER: i64 = 4;

/// A table above this size may be cut finer than `chunk_size` when there are too few tasks for the workers.
pub const SPLIT_ABOVE: i64 = 64 * 1024 * 1024;

/// Such a finer range is not made smaller than this: below, a task is over before it has begun.
const FINEST_CHUNK: i64 = 8 * 1024 * 1024;

/// Weight of a copied byte.
pub const COPY_WEIGHT: f64 = 1.0;
/// Weight of building the indexes of a byte of table.
pub const INDEX_WEIGHT: f64 = 0.3;
/// Weight of vacuuming a byte of table.
pub const VACUUM_WEIGHT: f64 = 0.1;
/// What a task weighs at least: one block, so that empty tables count.
pub const TASK_BASE_WEIGHT: f64 = 8192.0;

/// The size of one table, as far as the plan needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize {
    /// `pg_table_size` in bytes, TOAST included.
    pub bytes: i64,
    /// Blocks of the main fork.
    pub pages: i64,
    /// Whether the table can be cut by block at all.
    pub heap: bool,
}

/// One copy: a table, or a range of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyTask {
    /// Index into the tables that were given.
    pub table: usize,
    /// First block; `None` for a whole table.
    pub from_block: Option<u32>,
    /// First block that is not in the range any more; `None` when the range is open-ended, as the last one of each
    /// table is, since the table may grow until it is copied.
    pub to_block: Option<u32>,
    /// The task's share of the table's bytes.
    pub bytes: i64,
    /// The table is small: its indexes stay on, and it goes in a batch.
    pub small: bool,
}

/// Cuts tables into copy tasks: the largest table first, tasks of one table in block order, small tables last.
///
/// A heap table above `chunk_size` bytes is cut into even ranges of its blocks, one per started `chunk_size`, at most
/// [`MAX_CHUNKS`] and never more than it has blocks; with a `chunk_size` of 0 or less nothing is cut for size. Tables below
/// `small_below` bytes are small and never cut. When that gives fewer than a few large tasks for each of several
/// `workers`, heap tables above [`SPLIT_ABOVE`] are cut finer.
pub fn plan_copies(tables: &[TableSize], chunk_size: i64, small_below: i64, workers: u32) -> Vec<CopyTask> {
    let is_small = |size: &TableSize| size.bytes < small_below;
    let mut pieces: Vec<i64> =
        tables.iter().map(|size| if is_small(size) { 1 } else { pieces_by_size(size, chunk_size) }).collect();
    let large = || tables.iter().enumerate().filter(|(_, size)| !is_small(size));
    split_for_workers(large(), &mut pieces, workers);

    let mut order: Vec<usize> = (0..tables.len()).collect();
    // Stable, so that equal tables keep the order they were given in and a plan can be made again.
    order.sort_by_key(|index| tables.get(*index).map(|size| (is_small(size), -size.bytes.max(0))));

    let mut tasks = Vec::with_capacity(pieces.iter().map(|n| usize::try_from(*n).unwrap_or(1)).sum());
    for index in order {
        if let (Some(size), Some(count)) = (tables.get(index), pieces.get(index)) {
            tasks.extend(cut(index, size, *count, is_small(size)));
        }
    }
    tasks
}

/// Ranges that a table's size asks for.
fn pieces_by_size(size: &TableSize, chunk_size: i64) -> i64 {
    if chunk_size <= 0 || size.bytes <= chunk_size {
        return 1;
    }
    let wanted = (size.bytes - 1) / chunk_size + 1;
    wanted.min(most_pieces(size))
}

/// Ranges that a table can have.
fn most_pieces(size: &TableSize) -> i64 {
    if size.heap {
        size.pages.clamp(1, MAX_CHUNKS)
    } else {
        1
    }
}

/// Cuts the table with the largest ranges once more, until there are enough tasks or nothing is worth cutting.
fn split_for_workers<'a>(
    large: impl Iterator<Item = (usize, &'a TableSize)> + Clone,
    pieces: &mut [i64],
    workers: u32,
) {
    let count = |pieces: &[i64]| large.clone().filter_map(|(index, _)| pieces.get(index)).sum::<i64>();
    let wanted = if workers > 1 { i64::from(workers) * TASKS_PER_WORKER } else { 1 };
    for _ in count(pieces)..wanted {
        let candidate = large
            .clone()
            .filter_map(|(index, size)| Some((index, size, *pieces.get(index)?)))
            .filter(|(_, size, n)| size.bytes > SPLIT_ABOVE && *n < most_pieces(size))
            .filter(|(_, size, n)| size.bytes / (n + 1) >= FINEST_CHUNK)
            .max_by_key(|(index, size, n)| (size.bytes / n, std::cmp::Reverse(*index)));
        match candidate.and_then(|(index, ..)| pieces.get_mut(index)) {
            Some(n) => *n += 1,
            None => return,
        }
    }
}

/// The tasks of one table: `count` ranges of blocks, or the whole table.
fn cut(table: usize, size: &TableSize, count: i64, small: bool) -> Vec<CopyTask> {
    let bytes = size.bytes.max(0);
    if count <= 1 {
        return vec![CopyTask { table, from_block: None, to_block: None, bytes, small }];
    }
    // Cuts of blocks and bytes are both taken from the start, so that rounding neither loses nor doubles any.
    let part = |whole: i64, n: i64| i128::from(whole) * i128::from(n) / i128::from(count);
    // A relation has fewer than 2^32 blocks; a figure above that is wrong, and the open end makes it harmless.
    let pages = size.pages.min(i64::from(u32::MAX));
    let block = |n: i64| u32::try_from(part(pages, n)).unwrap_or(u32::MAX);
    let byte = |n: i64| i64::try_from(part(bytes, n)).unwrap_or(i64::MAX);
    (0..count)
        .map(|n| CopyTask {
            table,
            from_block: Some(block(n)),
            to_block: (n + 1 < count).then(|| block(n + 1)),
            bytes: byte(n + 1) - byte(n),
            small,
        })
        .collect()
}

/// Whether a table has next to nothing in its TOAST table: its size is that of its main fork, but for the maps that every
/// table has. `bytes` is `pg_table_size`, `pages` the blocks of the main fork.
pub fn keeps_rows_inline(pages: i64, bytes: i64) -> bool {
    let main = pages.saturating_mul(8192);
    bytes.saturating_sub(main) <= main / 64 + 128 * 1024
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// Copies rows.
    Copy,
    /// Builds an index.
    Index,
    /// Vacuums and analyzes a table.
    Vacuum,
}

/// The text is none of `copy`, `index`, `vacuum`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of task \"{0}\"")]
pub struct UnknownTaskKind(
    /// The text as given.
    pub String,
);

impl TaskKind {
    /// All kinds.
    pub const ALL: [TaskKind; 3] = [TaskKind::Copy, TaskKind::Index, TaskKind::Vacuum];

    /// The word used in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            TaskKind::Copy => "copy",
            TaskKind::Index => "index",
            TaskKind::Vacuum => "vacuum",
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TaskKind {
    type Err = UnknownTaskKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TaskKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownTaskKind(text.to_owned()))
    }
}

/// What a task weighs in the overall progress, by its share of the table's bytes (design, section 6).
pub fn weight(kind: TaskKind, bytes: i64) -> f64 {
    let factor = match kind {
        TaskKind::Copy => COPY_WEIGHT,
        TaskKind::Index => INDEX_WEIGHT,
        TaskKind::Vacuum => VACUUM_WEIGHT,
    };
    factor * bytes.max(0) as f64 + TASK_BASE_WEIGHT
}

/// Parallel workers of PostgreSQL's that an index build may have while so many copies and builds are to be done, itself included: where rows
/// lie in the order of its key, and where they do not.
///
/// Processors are divided among what there is to do. A key that rows lie in no order of takes several times as long as another: when not
/// much else is left it gets a worker beside it, so that it is not what the last processor works on while the others wait. A key that they
/// lie in order of pays more for the exchange between processes than it gains by another one that is taken from somebody else.
pub fn helpers(open: i64, processors: i64) -> (i32, i32) {
    let ordered = (processors / open.max(1) - 1).max(0);
    let scattered = if processors > 1 && open < 2 * processors { ordered.max(1) } else { ordered };
    (i32::try_from(ordered).unwrap_or(i32::MAX), i32::try_from(scattered).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests;
