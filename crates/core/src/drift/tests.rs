use super::*;
use crate::definition;
use crate::inventory::build::{column, table};
use crate::inventory::Column as Sent;
use crate::schema_diff::diff;

const SEEN: Option<Seen> = Some(Seen { filenode: 7, natts: 3 });

/// `(name, type, number)`.
type Short = (&'static str, &'static str, i16);
const BEFORE: [Short; 2] = [("id", "bigint", 1), ("v", "integer", 3)];

fn sent((name, type_name, number): Short) -> Sent {
    Sent { number, ..column(name, type_name) }
}

fn now(columns: &[Short]) -> Table {
    Table {
        filenode: 7,
        natts: columns.iter().map(|column| column.2).max().unwrap_or(0),
        ..table(1, "s", "t").columns(columns.iter().copied().map(sent).collect())
    }
}

fn reasons(seen: Option<Seen>, there: &Table) -> Vec<String> {
    let columns: Vec<String> = BEFORE.iter().map(|column| column.0.to_owned()).collect();
    let types: Vec<String> = BEFORE.iter().map(|column| column.1.to_owned()).collect();
    let numbers: Vec<i16> = BEFORE.iter().map(|column| column.2).collect();
    stale(&Copied { columns: &columns, numbers: &numbers, types: &types, seen }, there, &now(&BEFORE))
}

fn with(number: i16, change: impl Fn(&mut Sent)) -> Table {
    let mut there = now(&[BEFORE[0], BEFORE[1], ("x", "integer", number)]);
    change(there.columns.last_mut().unwrap());
    there
}

#[test]
fn nothing_happened() {
    assert!(reasons(SEEN, &now(&BEFORE)).is_empty());
    // Another file with the same columns: VACUUM FULL, TRUNCATE.
    assert!(reasons(SEEN, &Table { filenode: 8, ..now(&BEFORE) }).is_empty());
}

#[test]
fn a_new_column_that_is_null_in_every_row_needs_no_copy() {
    assert!(reasons(SEEN, &with(4, |_| {})).is_empty());
}

#[test]
fn a_new_column_with_values_does() {
    let added = ["column x of table s.t was added on the source"];
    assert_eq!(reasons(SEEN, &with(4, |column| column.has_missing = true)), added);
    assert_eq!(reasons(SEEN, &with(4, |column| column.default = Some(String::new()))), added);
    assert_eq!(reasons(SEEN, &with(4, |column| column.identity = Some("a".to_owned()))), added);
    assert_eq!(reasons(SEEN, &Table { filenode: 8, ..with(4, |_| {}) }), added);
    // It was there when the rows were read, without it: between the plan and the snapshot, or as a generated one.
    assert_eq!(reasons(SEEN, &with(3, |_| {})), added);
    assert_eq!(reasons(SEEN, &with(2, |_| {})), added);
}

#[test]
fn a_replaced_column_and_another_type() {
    let replaced = now(&[BEFORE[0], ("v", "integer", 4)]);
    assert_eq!(reasons(SEEN, &replaced), ["column v of table s.t was replaced on the source"]);
    let retyped = now(&[BEFORE[0], ("v", "bigint", 3)]);
    assert!(reasons(SEEN, &retyped).is_empty(), "no rewrite, the same values");
    assert_eq!(
        reasons(SEEN, &Table { filenode: 8, ..retyped }),
        ["column v of table s.t was integer on the source when it was copied, it is bigint now"]
    );
}

#[test]
fn what_was_dropped_there_leaves_rows_as_they_are_and_what_was_dropped_here_does_not() {
    assert!(reasons(SEEN, &now(&BEFORE[..1])).is_empty());
    let names = ["id".to_owned(), "v".to_owned()];
    let types = ["bigint".to_owned(), "integer".to_owned()];
    let copied = Copied { columns: &names, numbers: &[1, 3], types: &types, seen: SEEN };
    let found = stale(&copied, &now(&BEFORE), &now(&BEFORE[..1]));
    assert_eq!(found, ["column v of table s.t was dropped on this node"]);
}

#[test]
fn what_was_never_copied_is_not_stale() {
    assert!(reasons(None, &with(4, |column| column.has_missing = true)).is_empty());
}

fn defined(columns: Vec<Column>) -> Definition {
    definition::build::table("s", "t", columns)
}

fn plain(name: &str) -> Column {
    definition::build::column(name, "integer")
}

fn ddl(there: &Definition, here: &Definition, rows_stay: bool, late: &str) -> Vec<String> {
    let wanted = while_behind(there, here, rows_stay, |name| name == late);
    diff(Some(&wanted), Some(here), true).into_iter().filter_map(|one| one.ddl).collect()
}

#[test]
fn a_column_that_came_is_added_and_one_that_went_stays() {
    let there = defined(vec![plain("id"), Column { not_null: true, default: Some("5".to_owned()), ..plain("x") }]);
    let here = defined(vec![plain("id"), Column { not_null: true, ..plain("gone") }]);
    assert_eq!(
        ddl(&there, &here, true, "x"),
        [
            "ALTER TABLE \"s\".\"t\" ALTER COLUMN \"gone\" DROP NOT NULL;",
            "ALTER TABLE \"s\".\"t\" ADD COLUMN \"x\" integer;"
        ]
    );
    // Where the rows go, the table becomes what the source's is.
    assert_eq!(
        ddl(&there, &here, false, ""),
        [
            "ALTER TABLE \"s\".\"t\" ALTER COLUMN \"gone\" DROP NOT NULL;",
            "ALTER TABLE \"s\".\"t\" ADD COLUMN \"x\" integer DEFAULT 5 NOT NULL;"
        ]
    );
}

#[test]
fn an_extra_column_that_fills_itself_is_left_alone() {
    let there = defined(vec![plain("id")]);
    let here = defined(vec![plain("id"), Column { not_null: true, default: Some("1".to_owned()), ..plain("own") }]);
    assert!(ddl(&there, &here, true, "").is_empty());
}

#[test]
fn nothing_becomes_stricter_while_rows_are_on_their_way() {
    let there = defined(vec![Column { not_null: true, identity: Some('a'), ..plain("id") }]);
    assert!(ddl(&there, &defined(vec![plain("id")]), true, "").is_empty());
    // Looser is fine, and so is a default of a column that every row brings.
    let there = defined(vec![Column { default: Some("7".to_owned()), ..plain("id") }]);
    let here = defined(vec![Column { not_null: true, ..plain("id") }]);
    assert_eq!(ddl(&there, &here, true, "").len(), 2);
    assert_eq!(ddl(&there, &here, true, "id").len(), 1);
}

#[test]
fn a_column_that_is_computed_now_cannot_be_followed() {
    let computed = Column { generated: Some('s'), default: Some("(id * 2)".to_owned()), ..plain("v") };
    let (there, here) = (defined(vec![plain("id"), computed]), defined(vec![plain("id"), plain("v")]));
    let beyond = |a: &Definition, b: &Definition| diff(Some(a), Some(b), true).iter().any(is_beyond);
    assert!(beyond(&there, &here));
    // The other way round it is an ordinary column from now on.
    assert!(!beyond(&here, &there));
    assert!(!beyond(&there, &there));
}
