//! Tests of the plan.

use super::*;
use proptest::prelude::*;

const MB: i64 = 1024 * 1024;

fn heap(bytes: i64) -> TableSize {
    TableSize { bytes, pages: bytes / 8192, heap: true }
}

fn plan(tables: &[TableSize], chunk_size: i64, workers: u32) -> Vec<CopyTask> {
    plan_copies(tables, chunk_size, MB, workers)
}

fn whole(table: usize, bytes: i64, small: bool) -> CopyTask {
    CopyTask { table, from_block: None, to_block: None, bytes, small }
}

#[test]
fn nothing_to_copy_is_no_task() {
    assert!(plan(&[], 100 * MB, 4).is_empty());
}

#[test]
fn large_first_then_small_and_ranges_in_block_order() {
    let tables = [heap(8192), heap(10 * MB), heap(250 * MB), heap(0), heap(20 * MB)];
    let tasks = plan(&tables, 100 * MB, 1);
    let order: Vec<(usize, Option<u32>, bool)> = tasks.iter().map(|t| (t.table, t.from_block, t.small)).collect();
    assert_eq!(
        order,
        [
            (2, Some(0), false),
            (2, Some(10_666), false),
            (2, Some(21_333), false),
            (4, None, false),
            (1, None, false),
            (0, None, true),
            (3, None, true),
        ]
    );
    assert_eq!(tasks[0].to_block, Some(10_666));
    assert_eq!(tasks[2].to_block, None);
    assert_eq!(tasks[0].bytes + tasks[1].bytes + tasks[2].bytes, 250 * MB);
}

#[test]
fn exactly_the_chunk_size_is_one_task_and_a_byte_more_is_two() {
    assert_eq!(plan(&[heap(100 * MB)], 100 * MB, 1), [whole(0, 100 * MB, false)]);
    assert_eq!(plan(&[TableSize { bytes: 100 * MB + 1, pages: 12_800, heap: true }], 100 * MB, 1).len(), 2);
}

#[test]
fn other_storage_is_never_cut() {
    let columnar = TableSize { heap: false, ..heap(1000 * MB) };
    assert_eq!(plan(&[columnar], 100 * MB, 8), [whole(0, 1000 * MB, false)]);
}

#[test]
fn a_table_has_at_least_a_block_per_range() {
    // Nearly everything in TOAST: three blocks of pointers.
    let toasted = TableSize { bytes: 10_000 * MB, pages: 3, heap: true };
    let tasks = plan(&[toasted], 100 * MB, 1);
    let starts: Vec<Option<u32>> = tasks.iter().map(|t| t.from_block).collect();
    assert_eq!(starts, [Some(0), Some(1), Some(2)]);
    let no_blocks = TableSize { bytes: 10_000 * MB, pages: 0, heap: true };
    assert_eq!(plan(&[no_blocks], 100 * MB, 8), [whole(0, 10_000 * MB, false)]);
}

#[test]
fn ranges_are_capped() {
    assert_eq!(plan(&[heap(10_000 * MB)], MB, 1).len(), 1024);
    assert_eq!(plan(&[heap(100 * MB)], 0, 1), [whole(0, 100 * MB, false)]);
    assert_eq!(plan(&[heap(10 * MB)], -1, 1), [whole(0, 10 * MB, false)]);
}

#[test]
fn small_tables_stay_whole_whatever_the_chunk_size() {
    assert_eq!(plan(&[heap(MB - 1)], 8192, 8), [whole(0, MB - 1, true)]);
    assert!(!plan(&[heap(MB)], MB, 1)[0].small);
}

#[test]
fn every_worker_gets_several_ranges_of_a_large_table() {
    assert_eq!(plan(&[heap(200 * MB)], 1024 * MB, 4).len(), 16);
    assert_eq!(plan(&[heap(200 * MB), heap(8192)], 1024 * MB, 4).len(), 17);
    let tasks = plan(&[heap(300 * MB), heap(100 * MB)], 1024 * MB, 4);
    assert_eq!(tasks.iter().filter(|t| t.table == 0).count(), 12);
    assert_eq!(tasks.iter().filter(|t| t.table == 1).count(), 4);
    // Enough tasks for everybody: nothing is cut finer.
    assert_eq!(plan(&[heap(200 * MB); 16], 1024 * MB, 4).len(), 16);
    // One worker waits for nobody.
    assert_eq!(plan(&[heap(200 * MB)], 1024 * MB, 1).len(), 1);
}

#[test]
fn tables_up_to_the_limit_are_not_cut_finer() {
    assert_eq!(plan(&[heap(64 * MB)], 1024 * MB, 4).len(), 1);
    assert_eq!(plan(&[heap(65 * MB)], 1024 * MB, 4).len(), 8);
    // No range below 8 MB, however many workers there are.
    assert_eq!(plan(&[heap(65 * MB)], 1024 * MB, 100).len(), 8);
    assert_eq!(plan(&[TableSize { heap: false, ..heap(200 * MB) }], 1024 * MB, 4).len(), 1);
}

/// A table's free space and visibility maps belong to its size; what is more is in its TOAST table.
#[test]
fn tables_with_next_to_nothing_in_toast_are_told_from_others() {
    for pages in [0, 1, 1000, 100_000, 131_072_000] {
        let maps = 24_576 + pages / 4000 * 8192 + 8192 + pages / 32_672 * 8192;
        assert!(keeps_rows_inline(pages, pages * 8192 + maps), "{pages} pages");
        assert!(!keeps_rows_inline(pages, pages * 8192 + maps + pages * 8192 / 32 + 256 * 1024), "{pages} pages");
    }
}

#[test]
fn unknown_sizes_are_small_and_empty() {
    assert_eq!(plan(&[TableSize { bytes: -1, pages: -1, heap: true }], 100 * MB, 4), [whole(0, 0, true)]);
}

#[test]
fn weights_are_those_of_the_design() {
    assert_eq!(weight(TaskKind::Copy, 1000), 9192.0);
    assert_eq!(weight(TaskKind::Index, 1000), 8492.0);
    assert_eq!(weight(TaskKind::Vacuum, 1000), 8292.0);
    assert_eq!(weight(TaskKind::Copy, 0), 8192.0);
    assert_eq!(weight(TaskKind::Copy, -5), 8192.0);
}

#[test]
fn words_of_kinds_round_trip() {
    for kind in TaskKind::ALL {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    assert_eq!("COPY".parse::<TaskKind>(), Err(UnknownTaskKind("COPY".to_owned())));
}

fn any_table() -> impl Strategy<Value = TableSize> {
    let bytes = prop_oneof![-1i64..4 * MB, 0i64..100_000 * MB, Just(i64::MAX)];
    (bytes, prop_oneof![-1i64..50, 0i64..20_000_000, Just(i64::MAX)], any::<bool>())
        .prop_map(|(bytes, pages, heap)| TableSize { bytes, pages, heap })
}

proptest! {
    #[test]
    fn ranges_cover_each_table_once_and_shares_add_up(
        tables in proptest::collection::vec(any_table(), 0..12),
        chunk_size in prop_oneof![-1i64..10, 1i64..10_000 * MB],
        workers in 0u32..40,
    ) {
        let tasks = plan(&tables, chunk_size, workers);
        for (index, size) in tables.iter().enumerate() {
            let mine: Vec<&CopyTask> = tasks.iter().filter(|t| t.table == index).collect();
            prop_assert!(!mine.is_empty() && mine.len() <= 1024);
            prop_assert_eq!(mine.iter().map(|t| t.bytes).sum::<i64>(), size.bytes.max(0));
            prop_assert!(mine.iter().all(|t| t.bytes >= 0 && t.small == (size.bytes < MB)));
            prop_assert_eq!(mine[mine.len() - 1].to_block, None);
            if mine.len() == 1 {
                prop_assert_eq!(mine[0].from_block, None);
            } else {
                prop_assert!(size.heap && size.bytes >= MB);
                prop_assert_eq!(mine[0].from_block, Some(0));
                for pair in mine.windows(2) {
                    prop_assert_eq!(pair[0].to_block, pair[1].from_block);
                    prop_assert!(pair[0].from_block < pair[0].to_block);
                }
            }
        }
        let first_small = tasks.iter().position(|t| t.small).unwrap_or(tasks.len());
        prop_assert!(tasks[first_small..].iter().all(|t| t.small));
        let sizes: Vec<i64> = tasks[..first_small].iter().map(|t| tables[t.table].bytes).collect();
        prop_assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]));
    }
}

#[test]
fn processors_are_divided_among_index_builds() {
    for (open, processors, expected) in [
        (3, 1, (0, 0)),
        (1, 1, (0, 0)),
        (3, 2, (0, 1)),
        (4, 2, (0, 0)),
        (2, 2, (0, 1)),
        (1, 2, (1, 1)),
        (3, 8, (1, 1)),
        (8, 8, (0, 1)),
        (15, 8, (0, 1)),
        (16, 8, (0, 0)),
        (0, 4, (3, 3)),
    ] {
        assert_eq!(helpers(open, processors), expected, "{open} to be done, {processors} processors");
    }
}
