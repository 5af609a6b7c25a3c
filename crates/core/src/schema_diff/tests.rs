use super::*;
use crate::definition::build::{self, column};

fn table(columns: Vec<Column>) -> Definition {
    build::table("public", "orders", columns)
}

fn words(a: &Definition, b: &Definition) -> Vec<String> {
    diff(Some(a), Some(b), true).iter().map(|one| one.words("node_a", "node_b")).collect()
}

fn statements(a: &Definition, b: &Definition) -> Vec<String> {
    diff(Some(a), Some(b), true).into_iter().filter_map(|one| one.ddl).collect()
}

#[test]
fn equal_ones_have_no_differences_whatever_the_order() {
    let a = table(vec![column("a", "integer"), column("b", "text")]);
    let b = table(vec![column("b", "text"), column("a", "integer")]);
    assert_eq!(diff(Some(&a), Some(&b), true), []);
    assert_eq!(diff(None, None, true), []);
}

#[test]
fn columns_in_words() {
    let a = table(vec![column("total", "numeric(10,2)"), column("loyalty_tier", "text"), column("id", "integer")]);
    let b = table(vec![column("total", "numeric(12,2)"), column("id", "integer"), column("Old", "text")]);
    assert_eq!(
        words(&a, &b),
        [
            "column \"Old\" missing on node_a",
            "column total: numeric(10,2) on node_a, numeric(12,2) on node_b",
            "column loyalty_tier missing on node_b",
        ]
    );
    assert_eq!(
        statements(&a, &b),
        [
            "ALTER TABLE \"public\".\"orders\" DROP COLUMN IF EXISTS \"Old\";",
            "ALTER TABLE \"public\".\"orders\" ALTER COLUMN \"total\" TYPE numeric(10,2) USING \"total\"::numeric(10,2);",
            "ALTER TABLE \"public\".\"orders\" ADD COLUMN \"loyalty_tier\" text;",
        ]
    );
}

#[test]
fn defaults_nullability_identity_and_collation() {
    let a = table(vec![
        Column { default: Some("1".to_owned()), not_null: true, ..column("a", "integer") },
        Column { identity: Some('a'), not_null: true, ..column("b", "bigint") },
        Column { collation: Some("\"C\"".to_owned()), ..column("c", "text") },
        column("d", "integer"),
    ]);
    let b = table(vec![
        Column { default: Some("0".to_owned()), ..column("a", "integer") },
        Column { identity: Some('d'), not_null: true, ..column("b", "bigint") },
        column("c", "text"),
        Column { default: Some("5".to_owned()), ..column("d", "integer") },
    ]);
    assert_eq!(
        words(&a, &b),
        [
            "column a: nullability not null on node_a, null on node_b",
            "column a: default 1 on node_a, 0 on node_b",
            "column b: identity always on node_a, by default on node_b",
            "column c: collation \"C\" on node_a, default on node_b",
            "column d: default none on node_a, 5 on node_b",
        ]
    );
}

#[test]
fn a_default_is_taken_along_to_another_type() {
    let a = table(vec![Column { default: Some("'0'::text".to_owned()), ..column("a", "text") }]);
    let b = table(vec![Column { default: Some("0".to_owned()), ..column("a", "integer") }]);
    assert_eq!(
        statements(&a, &b)[0],
        "ALTER TABLE \"public\".\"orders\" ALTER COLUMN \"a\" DROP DEFAULT, ALTER COLUMN \"a\" TYPE text USING \"a\"::text, \
         ALTER COLUMN \"a\" SET DEFAULT '0'::text;"
    );
}

#[test]
fn a_generated_column_is_made_anew_once() {
    let computed = |expression: &str, type_name: &str| Column {
        generated: Some('s'),
        default: Some(expression.to_owned()),
        computed_from: vec!["a".to_owned()],
        ..column("g", type_name)
    };
    let a = table(vec![column("a", "integer"), computed("(a + 1)", "bigint")]);
    let b = table(vec![column("a", "integer"), computed("(a + 2)", "integer")]);
    let found = diff(Some(&a), Some(&b), true);
    let kinds: Vec<(&str, bool)> = found.iter().map(|one| (one.kind, one.ddl.is_some())).collect();
    assert_eq!(kinds, [("generated", true), ("column", false)]);
    assert_eq!(
        found[0].ddl.as_deref(),
        Some(
            "ALTER TABLE \"public\".\"orders\" DROP COLUMN IF EXISTS \"g\";\n\
             ALTER TABLE \"public\".\"orders\" ADD COLUMN \"g\" bigint GENERATED ALWAYS AS ((a + 1)) STORED;"
        )
    );
    // What it is computed from cannot change its type while it is there.
    let wider = table(vec![column("a", "bigint"), computed("(a + 2)", "integer")]);
    let ddl = statements(&wider, &b).concat();
    assert!(ddl.starts_with("ALTER TABLE \"public\".\"orders\" DROP COLUMN IF EXISTS \"g\";\nALTER"), "{ddl}");
    assert!(ddl.ends_with("ADD COLUMN \"g\" integer GENERATED ALWAYS AS ((a + 2)) STORED;"), "{ddl}");
}

#[test]
fn another_text_is_a_note_where_the_majors_differ() {
    let a = table(vec![Column { default: Some("x".to_owned()), ..column("a", "integer") }]);
    let b = table(vec![Column { default: Some("(x)".to_owned()), ..column("a", "integer") }]);
    let found = diff(Some(&a), Some(&b), false);
    assert!(is_match(&found));
    assert_eq!(found[0].words("one", "two"), "column a: default text differs: x on one, (x) on two");
    assert!(!is_match(&diff(Some(&a), Some(&b), true)));
    // That there is one on one side only is a difference everywhere.
    let none = table(vec![column("a", "integer")]);
    assert!(!is_match(&diff(Some(&a), Some(&none), false)) && !is_match(&diff(Some(&none), Some(&a), false)));
}

#[test]
fn other_objects_are_notes() {
    let object =
        |kind, name: &str, definition: &str| Object { kind, name: name.to_owned(), definition: definition.to_owned() };
    let mut a = table(vec![column("id", "integer")]);
    let mut b = a.clone();
    a.objects.push(object(ObjectKind::Index, "i", "CREATE INDEX i ON public.orders USING btree (id)"));
    a.objects.push(object(ObjectKind::PrimaryKey, "orders_pkey", "PRIMARY KEY (id)"));
    b.objects.push(object(ObjectKind::Check, "small", "CHECK ((id < 5))"));
    b.objects.push(object(ObjectKind::ReplicaIdentity, "orders", "FULL"));
    let found = diff(Some(&a), Some(&b), true);
    assert!(is_match(&found));
    let said: Vec<String> = found.iter().map(|one| one.words("node_a", "node_b")).collect();
    assert_eq!(
        said,
        [
            "replica identity orders missing on node_a",
            "check constraint small missing on node_a",
            "primary key orders_pkey missing on node_b",
            "index i missing on node_b",
        ]
    );
    assert_eq!(
        found[2].ddl.as_deref(),
        Some("ALTER TABLE \"public\".\"orders\" ADD CONSTRAINT \"orders_pkey\" PRIMARY KEY (id);")
    );
}

#[test]
fn a_table_that_is_not_there_is_made_with_all_that_belongs_to_it() {
    let mut a = table(vec![
        Column { identity: Some('d'), not_null: true, ..column("id", "bigint") },
        Column { collation: Some("\"C\"".to_owned()), default: Some("'x'::text".to_owned()), ..column("t", "text") },
    ]);
    a.kind = 'p';
    a.partition_key = Some("RANGE (id)".to_owned());
    a.objects.push(Object {
        kind: ObjectKind::PrimaryKey,
        name: "orders_pkey".to_owned(),
        definition: "PRIMARY KEY (id)".to_owned(),
    });
    let found = diff(Some(&a), None, true);
    assert_eq!(found[0].words("node_a", "node_b"), "table missing on node_b");
    assert_eq!(
        found[0].ddl.as_deref(),
        Some(
            "CREATE TABLE \"public\".\"orders\" (\n    \"id\" bigint GENERATED BY DEFAULT AS IDENTITY NOT NULL,\n    \
             \"t\" text COLLATE \"C\" DEFAULT 'x'::text\n) PARTITION BY RANGE (id);\n\
             ALTER TABLE \"public\".\"orders\" ADD CONSTRAINT \"orders_pkey\" PRIMARY KEY (id);"
        )
    );
    assert_eq!(diff(None, Some(&a), true)[0].words("node_a", "node_b"), "table missing on node_a");
}

#[test]
fn what_always_fits_is_altered_before_what_may_not() {
    for (from, to) in [
        ("smallint", "bigint"),
        ("integer", "numeric"),
        ("character varying(10)", "character varying(20)"),
        ("character varying(10)", "character varying"),
        ("character varying(10)", "text"),
        ("numeric(10,2)", "numeric(12,2)"),
        ("numeric(10,2)", "numeric"),
    ] {
        assert!(!super::narrows(from, to), "{from} {to}");
        assert!(super::narrows(to, from), "{to} {from}");
    }
    assert!(super::narrows("numeric(10,2)", "numeric(10,4)"));
    let with = |types: [&str; 2]| table(vec![column("a", types[0]), column("b", types[1])]);
    let order: Vec<String> = diff(Some(&with(["smallint", "bigint"])), Some(&with(["integer", "integer"])), true)
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(order, ["b", "a"]);
}
