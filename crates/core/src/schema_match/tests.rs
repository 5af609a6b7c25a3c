//! Tests of the match of two tables.

use super::*;
use crate::inventory::build::{column, table};
use proptest::prelude::*;

fn with(columns: Vec<Column>) -> Table {
    table(1, "public", "orders").columns(columns)
}

fn words(source: &Table, target: &Table) -> Vec<String> {
    match_columns(source, Some(target)).iter().map(ToString::to_string).collect()
}

#[test]
fn equal_tables_have_no_difference_whatever_the_order() {
    let source = with(vec![column("a", "integer"), column("b", "text")]);
    let target = with(vec![column("b", "text"), column("a", "integer")]);
    assert_eq!(match_columns(&source, Some(&target)), []);
    assert_eq!(copy_columns(&source, &target), ["a", "b"]);
    assert_eq!(copy_columns(&target, &source), ["b", "a"]);
}

#[test]
fn a_missing_table_is_the_only_difference() {
    let source = with(vec![column("a", "integer")]);
    assert_eq!(match_columns(&source, None), [Difference::TableMissing { table: "public.orders".to_owned() }]);
}

#[test]
fn rows_go_into_tables_only() {
    let source = with(vec![column("a", "integer")]);
    let mut unlogged = source.clone();
    unlogged.persistence = 'u';
    assert_eq!(words(&source, &unlogged), ["table public.orders is unlogged or temporary on the target"]);
    assert_eq!(words(&source, &source.clone().kind('v')), ["public.orders is a view on the target, not a table"]);
    for kind in ['p', 'f', 'm', 'S'] {
        let differences = match_columns(&source, Some(&source.clone().kind(kind)));
        assert_eq!(differences, [Difference::NotATable { table: "public.orders".to_owned(), kind }]);
    }
}

#[test]
fn differences_in_words() {
    let mut source = with(vec![
        column("gone", "text"),
        column("total", "numeric(10,2)"),
        column("name", "text"),
        column("sum", "integer"),
    ]);
    source.columns[2].collation = Some("pg_catalog.\"C\"".to_owned());
    let target = with(vec![
        column("total", "numeric(12,2)"),
        column("name", "text"),
        column("sum", "integer").generated("s"),
        column("must", "text").not_null(),
    ]);
    assert_eq!(
        words(&source, &target),
        [
            "column gone of table public.orders does not exist on the target",
            "column total of table public.orders: numeric(10,2) on the source, numeric(12,2) on the target",
            "column name of table public.orders: collation pg_catalog.\"C\" on the source, default on the target",
            "column sum of table public.orders is an ordinary column on the source, but generated on the target",
            "column must of table public.orders gets no value from the source, but is NOT NULL without a default \
             on the target",
        ]
    );
    assert_eq!(copy_columns(&source, &target), ["total", "name"]);
}

#[test]
fn only_collations_do_not_block() {
    let mut source = with(vec![column("a", "text")]);
    source.columns[0].collation = Some("x".to_owned());
    let differences = match_columns(&source, Some(&with(vec![column("a", "text")])));
    assert_eq!(differences.len(), 1);
    assert!(!differences[0].is_blocking());
    assert_eq!(differences[0].table(), "public.orders");
    assert!(match_columns(&source, None)[0].is_blocking());
}

#[test]
fn generated_columns_of_the_source_need_nothing() {
    let source = with(vec![column("a", "integer"), column("g", "integer").generated("s")]);
    for target in [
        with(vec![column("a", "integer")]),
        with(vec![column("a", "integer"), column("g", "integer")]),
        with(vec![column("a", "integer"), column("g", "text").generated("s").not_null()]),
        with(vec![column("a", "integer"), column("g", "integer").generated("v")]),
    ] {
        assert_eq!(match_columns(&source, Some(&target)), []);
        assert_eq!(copy_columns(&source, &target), ["a"]);
    }
    // No value comes for it, so NOT NULL would refuse every row.
    let target = with(vec![column("a", "integer"), column("g", "integer").not_null()]);
    assert_eq!(
        match_columns(&source, Some(&target)),
        [Difference::NotNullExtra { table: "public.orders".to_owned(), column: "g".to_owned() }]
    );
}

#[test]
fn extra_columns_are_fine_when_they_fill_themselves() {
    let source = with(vec![column("a", "integer")]);
    let mut with_default = column("d", "integer").not_null();
    with_default.default = Some("0".to_owned());
    let mut with_identity = column("i", "integer").not_null();
    with_identity.identity = Some("a".to_owned());
    let target = with(vec![
        column("a", "integer"),
        column("n", "integer"),
        with_default,
        with_identity,
        column("g", "integer").not_null().generated("s"),
    ]);
    assert_eq!(match_columns(&source, Some(&target)), []);
}

#[test]
fn nothing_in_common_is_one_line() {
    let source = with(vec![column("a", "integer"), column("b", "integer")]);
    let target = with(vec![column("c", "integer")]);
    assert_eq!(
        match_columns(&source, Some(&target)),
        [Difference::NoColumnInCommon { table: "public.orders".to_owned() }]
    );
    assert!(copy_columns(&source, &target).is_empty());
}

#[test]
fn a_table_without_columns_can_be_copied() {
    let empty = with(Vec::new());
    assert_eq!(match_columns(&empty, Some(&empty)), []);
}

#[test]
fn names_are_compared_exactly() {
    let source = with(vec![column("Total", "integer")]);
    let target = with(vec![column("total", "integer")]);
    assert!(matches!(match_columns(&source, Some(&target))[..], [Difference::NoColumnInCommon { .. }]));
}

proptest! {
    /// When nothing blocks, every column that the source sends is copied.
    #[test]
    fn without_a_blocking_difference_all_columns_are_copied(
        left in proptest::collection::btree_map("[a-d]", (0u8..2, any::<bool>()), 0..4),
        right in proptest::collection::btree_map("[a-d]", (0u8..2, any::<bool>()), 0..4),
    ) {
        let build = |map: &std::collections::BTreeMap<String, (u8, bool)>| {
            with(map.iter().map(|(name, (kind, generated))| {
                let c = column(name, if *kind == 0 { "integer" } else { "text" });
                if *generated { c.generated("s") } else { c }
            }).collect())
        };
        let (source, target) = (build(&left), build(&right));
        let blocked = match_columns(&source, Some(&target)).iter().any(Difference::is_blocking);
        let copied = copy_columns(&source, &target);
        if !blocked {
            let sent: Vec<String> = source.copied_columns().map(|c| c.name.clone()).collect();
            prop_assert_eq!(copied, sent);
        }
    }
}

fn of_mood(labels: &[&str]) -> Column {
    Column { labels: Some(labels.iter().map(|label| (*label).to_owned()).collect()), ..column("m", "s.mood[]") }
}

#[test]
fn an_enum_that_lacks_labels_does_not_take_all_rows() {
    let (there, here) = (with(vec![of_mood(&["a", "it's", "b"])]), with(vec![of_mood(&["b"])]));
    let found = match_columns(&there, Some(&here));
    assert_eq!(found.len(), 1);
    assert!(found[0].is_blocking() && !found[0].stops_copy());
    assert_eq!(found[0].to_string(), "column m of table public.orders: type s.mood lacks 'a', 'it''s' on the target");
    assert!(match_columns(&here, Some(&there)).is_empty(), "more labels are in nobody's way");
}

#[test]
fn labels_come_where_the_source_has_them() {
    let statements = |there: &[&str], here: &[&str]| {
        label_statements(&with(vec![of_mood(there)]), &with(vec![of_mood(here)]))
            .into_iter()
            .flat_map(|(_, statements)| statements)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        statements(&["a", "b", "c", "d"], &["c"]),
        [
            "ALTER TYPE s.mood ADD VALUE IF NOT EXISTS 'a' BEFORE 'c';",
            "ALTER TYPE s.mood ADD VALUE IF NOT EXISTS 'b' AFTER 'a';",
            "ALTER TYPE s.mood ADD VALUE IF NOT EXISTS 'd' AFTER 'c';"
        ]
    );
    assert_eq!(statements(&["a"], &[]), ["ALTER TYPE s.mood ADD VALUE IF NOT EXISTS 'a';"]);
    assert_eq!(statements(&["a", "b"], &["b", "a"]), [""; 0]);
}

#[test]
fn rows_are_found_by_a_key_that_the_source_sends() {
    let keyed = |key: Option<&[&str]>| Table {
        key: key.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        identity: key.is_some(),
        ..with(Vec::new())
    };
    let id = keyed(Some(&["id"]));
    assert_eq!(why_not_updatable(&id, &id), None);
    assert_eq!(
        why_not_updatable(&id, &keyed(None)).as_deref(),
        Some("public.orders (no primary key or replica identity here)")
    );
    assert_eq!(
        why_not_updatable(&id, &keyed(Some(&["Tenant", "id"]))).as_deref(),
        Some("public.orders (the key here has \"Tenant\", which the source's has not)")
    );
    assert_eq!(why_not_updatable(&keyed(Some(&["id", "tenant"])), &id), None, "a part of what is sent will do");
    assert_eq!(why_not_updatable(&Table { sends_whole_rows: true, ..keyed(None) }, &keyed(None)), None);
    assert_eq!(why_not_updatable(&keyed(None), &keyed(None)), None, "no_identity deals with it");
}
