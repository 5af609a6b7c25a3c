//! Tests of the selection and of the publication's list.

use super::*;
use crate::inventory::build::table;
use proptest::prelude::*;

/// 0 public.plain, 1 public.sales (root), 2 public.sales_2024 (mid), 3..=5 leaves, 6 other.plain,
/// 7 other."Upper", then what is left out.
fn source() -> Vec<Table> {
    vec![
        table(100, "public", "plain"),
        table(200, "public", "sales").kind('p'),
        table(210, "public", "sales_2024").kind('p').under(&[200]),
        table(211, "archive", "sales_2024_1").under(&[210, 200]),
        table(212, "public", "sales_2024_2").under(&[210, 200]),
        table(220, "public", "sales_rest").under(&[200]),
        table(300, "other", "plain"),
        table(301, "other", "Upper"),
        table(400, "public", "cache").persistence('u'),
        table(401, "public", "remote").kind('f'),
        table(402, "public", "totals").kind('m'),
        table(403, "public", "spatial_ref_sys").of_extension("postgis"),
        table(404, "pg_temp_3", "scratch").persistence('t'),
        table(405, "pg_catalog", "pg_class"),
        table(406, "information_schema", "sql_features"),
        table(407, "steep_repl", "operations"),
        table(408, "pg_toast", "pg_toast_1"),
    ]
}

fn tables(names: &[(Option<&str>, &str)]) -> Selection {
    let owned = names.iter().map(|(schema, name)| (schema.map(str::to_owned), (*name).to_owned()));
    Selection { schemas: None, tables: Some(owned.collect()) }
}

fn schemas(names: &[&str]) -> Selection {
    Selection { schemas: Some(names.iter().map(|s| (*s).to_owned()).collect()), tables: None }
}

#[test]
fn everything_means_all_permanent_leaves_outside_system_schemas() {
    let selected = select(&source(), &Selection::default());
    assert_eq!(selected.tables, [0, 3, 4, 5, 6, 7]);
    assert_eq!(
        selected.left_out,
        [(8, LeftOut::Unlogged), (9, LeftOut::Foreign), (10, LeftOut::MaterializedView), (11, LeftOut::ExtensionOwned),]
    );
    assert!(selected.not_found.is_empty() && selected.ambiguous.is_empty());
}

#[test]
fn temporary_tables_are_left_out_wherever_they_show_up() {
    let source = [table(1, "public", "t").persistence('t')];
    assert_eq!(select(&source, &Selection::default()).left_out, [(0, LeftOut::Temporary)]);
}

#[test]
fn a_schema_stands_for_its_tables_and_for_partitions_of_its_tables_elsewhere() {
    assert_eq!(select(&source(), &schemas(&["other"])).tables, [6, 7]);
    assert_eq!(select(&source(), &schemas(&["public"])).tables, [0, 3, 4, 5]);
    assert_eq!(select(&source(), &schemas(&["archive"])).tables, [3]);
}

#[test]
fn schemas_and_tables_add_up() {
    let mut selection = tables(&[(Some("public"), "plain")]);
    selection.schemas = Some(vec!["other".to_owned()]);
    assert_eq!(select(&source(), &selection).tables, [0, 6, 7]);
}

#[test]
fn an_empty_list_selects_nothing() {
    assert_eq!(select(&source(), &tables(&[])), Selected::default());
    assert_eq!(select(&source(), &schemas(&[])), Selected::default());
}

#[test]
fn a_partitioned_table_stands_for_all_levels_below() {
    assert_eq!(select(&source(), &tables(&[(Some("public"), "sales")])).tables, [3, 4, 5]);
    assert_eq!(select(&source(), &tables(&[(Some("public"), "sales_2024")])).tables, [3, 4]);
    assert_eq!(select(&source(), &tables(&[(None, "sales_rest")])).tables, [5]);
}

#[test]
fn the_topmost_table_is_enough_when_levels_are_unknown() {
    let mut source = source();
    for table in &mut source {
        table.ancestors.clear();
    }
    assert_eq!(select(&source, &tables(&[(None, "sales")])).tables, [3, 4, 5]);
}

#[test]
fn a_bare_name_must_be_unique() {
    let selected = select(&source(), &tables(&[(None, "Upper"), (None, "plain")]));
    assert_eq!(selected.tables, [7]);
    assert_eq!(selected.ambiguous, ["plain (public.plain, other.plain)"]);
}

#[test]
fn what_matches_nothing_is_named_once() {
    let mut selection =
        tables(&[(Some("public"), "Nope"), (None, "gone"), (None, "gone"), (Some("pg_catalog"), "pg_class")]);
    selection.schemas = Some(vec!["void".to_owned(), "steep_repl".to_owned(), "void".to_owned()]);
    let selected = select(&source(), &selection);
    assert!(selected.tables.is_empty());
    assert_eq!(
        selected.not_found,
        ["schema void", "schema steep_repl", "public.\"Nope\"", "gone", "pg_catalog.pg_class"]
    );
}

#[test]
fn what_is_left_out_was_found() {
    let selected = select(&source(), &tables(&[(Some("public"), "cache")]));
    assert!(selected.tables.is_empty() && selected.not_found.is_empty());
    assert_eq!(selected.left_out, [(8, LeftOut::Unlogged)]);
}

#[test]
fn system_schemas() {
    for schema in ["pg_catalog", "pg_toast", "pg_temp_1", "pg_toast_temp_2", "information_schema", "steep_repl"] {
        assert!(is_system_schema(schema), "{schema}");
    }
    for schema in ["public", "pgbench", "steep_repl_test", "Information_Schema"] {
        assert!(!is_system_schema(schema), "{schema}");
    }
}

/// `(name, insert_only, only)` of the publication for a wish.
fn published(source: &[Table], selection: &Selection, no_identity: NoIdentity) -> Vec<(String, bool, bool)> {
    let selected = select(source, selection);
    let entries = publication_tables(source, &selected, no_identity);
    entries.into_iter().map(|e| (format!("{}.{}", e.schema, e.name), e.insert_only, e.only)).collect()
}

fn entry(name: &str, insert_only: bool, only: bool) -> (String, bool, bool) {
    (name.to_owned(), insert_only, only)
}

#[test]
fn the_root_is_published_when_all_its_leaves_are_selected() {
    assert_eq!(
        published(&source(), &Selection::default(), NoIdentity::Error),
        [
            entry("public.plain", false, true),
            entry("public.sales", false, false),
            entry("other.plain", false, true),
            entry("other.Upper", false, true),
        ]
    );
}

#[test]
fn leaves_are_published_when_some_are_missing() {
    assert_eq!(
        published(&source(), &tables(&[(None, "sales_2024")]), NoIdentity::Error),
        [entry("archive.sales_2024_1", false, true), entry("public.sales_2024_2", false, true)]
    );
}

#[test]
fn unlogged_and_foreign_leaves_do_not_matter() {
    let mut source = source();
    source.push(table(230, "public", "sales_tmp").persistence('u').under(&[200]));
    source.push(table(231, "public", "sales_far").kind('f').under(&[200]));
    assert_eq!(
        published(&source, &tables(&[(None, "sales")]), NoIdentity::Error),
        [entry("public.sales", false, false)]
    );
}

#[test]
fn a_leaf_of_an_extension_keeps_the_root_out() {
    let mut source = source();
    source.push(table(230, "public", "sales_ext").of_extension("x").under(&[200]));
    let names = published(&source, &tables(&[(None, "sales")]), NoIdentity::Error);
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|(_, _, only)| *only));
}

#[test]
fn leaves_that_disagree_on_identity_are_published_one_by_one() {
    let mut source = source();
    source[4].identity = false;
    assert_eq!(
        published(&source, &tables(&[(None, "sales")]), NoIdentity::InsertOnly),
        [
            entry("archive.sales_2024_1", false, true),
            entry("public.sales_2024_2", true, true),
            entry("public.sales_rest", false, true),
        ]
    );
}

#[test]
fn a_root_whose_leaves_all_lack_identity_is_insert_only_on_demand() {
    let mut source = source();
    for index in [3, 4, 5] {
        source[index].identity = false;
    }
    let wish = tables(&[(None, "sales")]);
    assert_eq!(published(&source, &wish, NoIdentity::InsertOnly), [entry("public.sales", true, false)]);
    assert_eq!(published(&source, &wish, NoIdentity::Full), [entry("public.sales", false, false)]);
    assert_eq!(published(&source, &wish, NoIdentity::Error), [entry("public.sales", false, false)]);
}

#[test]
fn a_root_that_the_inventory_lacks_is_not_published() {
    let source = [table(1, "s", "leaf").under(&[99])];
    assert_eq!(published(&source, &Selection::default(), NoIdentity::Error), [entry("s.leaf", false, true)]);
}

#[test]
fn tables_without_identity_are_found_among_the_selected() {
    let source = [table(1, "s", "a").no_identity(), table(2, "s", "b"), table(3, "t", "c").no_identity()];
    assert_eq!(without_identity(&source, &select(&source, &schemas(&["s"]))), [0]);
    assert_eq!(without_identity(&source, &select(&source, &Selection::default())), [0, 2]);
}

#[test]
fn words_of_no_identity_round_trip() {
    for value in NoIdentity::ALL {
        assert_eq!(value.to_string().parse(), Ok(value));
    }
    assert_eq!("FULL".parse::<NoIdentity>(), Err(UnknownNoIdentity("FULL".to_owned())));
    assert_eq!(NoIdentity::default(), NoIdentity::Error);
}

proptest! {
    /// Whatever the forest and the wish: what the publication covers is what was selected, no more and no less.
    #[test]
    fn the_publication_covers_exactly_the_selected_leaves(
        shape in proptest::collection::vec((0u32..3, any::<bool>(), 0u8..4), 1..20),
        wish in proptest::collection::vec(0usize..20, 0..8),
    ) {
        let mut source: Vec<Table> = (0..3).map(|r| table(1 + r, "s", &format!("root{r}")).kind('p')).collect();
        for (n, (root, identity, what)) in shape.iter().enumerate() {
            let oid = 100 + n as u32;
            let mut leaf = table(oid, "s", &format!("leaf{n}"));
            leaf.identity = *identity;
            source.push(match what {
                0 => leaf,
                1 => leaf.persistence('u').under(&[1 + root]),
                _ => leaf.under(&[1 + root]),
            });
        }
        let names: Vec<_> = wish.iter().filter_map(|i| source.get(*i)).map(|t| (None, t.name.clone())).collect();
        let selected = select(&source, &Selection { schemas: None, tables: Some(names) });
        let entries = publication_tables(&source, &selected, NoIdentity::InsertOnly);
        let mut covered = Vec::new();
        for (index, t) in source.iter().enumerate() {
            let entry = entries.iter().find(|e| e.oid == t.oid || t.root == Some(e.oid));
            if let (Some(entry), 'r', 'p') = (entry, t.kind, t.persistence) {
                covered.push(index);
                prop_assert_eq!(entry.insert_only, !t.identity);
            }
        }
        prop_assert_eq!(covered, selected.tables);
    }
}
