//! What a table is: the answer of one catalog query on either node, and its fingerprint.
//!
//! Columns are compared by name, as logical replication matches them: their order is no part of a definition, and dropped ones
//! leave no trace. Both nodes are asked under an empty `search_path`, so that every name outside `pg_catalog` is qualified, and
//! under [`SETTINGS`], so that a constant is written the same whatever the session, its role or its database prefers.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ident;

/// Settings that the text of a constant in an expression depends on, and what they are while a server is asked what its tables are.
pub const SETTINGS: [(&str, &str); 8] = [
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("timezone", "UTC"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
];

/// A table with everything that makes it what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Schema, unquoted.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// `relkind`: `r` table, `p` partitioned table.
    pub kind: char,
    /// Partition key, as `pg_get_partkeydef` has it.
    #[serde(default)]
    pub partition_key: Option<String>,
    /// Tables that it inherits from or is a partition of, as (schema, name). What is altered there is altered here too.
    #[serde(default)]
    pub parents: Vec<(String, String)>,
    /// Columns in the order of the table, dropped ones left out.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// Constraints, indexes, triggers and the replica identity.
    #[serde(default)]
    pub objects: Vec<Object>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name, unquoted.
    pub name: String,
    /// `format_type` with modifiers.
    pub type_name: String,
    /// Collation, where it is not that of the type; qualified and quoted.
    #[serde(default)]
    pub collation: Option<String>,
    /// Whether the column refuses NULL.
    #[serde(default)]
    pub not_null: bool,
    /// Default expression; the expression of a generated column.
    #[serde(default)]
    pub default: Option<String>,
    /// `a` always, `d` by default; none when it is no identity column.
    #[serde(default)]
    pub identity: Option<char>,
    /// `s` stored, `v` virtual; none when it is not generated.
    #[serde(default)]
    pub generated: Option<char>,
    /// Columns that a generated one is computed from.
    #[serde(default)]
    pub computed_from: Vec<String>,
}

/// What belongs to a table besides its columns. It does not decide whether rows can be replicated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Name, unquoted; of a replica identity that of the table.
    pub name: String,
    /// Definition, as the server deparses it.
    pub definition: String,
}

/// Kinds of [`Object`], in the order in which they can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    /// Primary key.
    #[serde(rename = "primary key")]
    PrimaryKey,
    /// Unique constraint.
    #[serde(rename = "unique constraint")]
    Unique,
    /// Check constraint.
    #[serde(rename = "check constraint")]
    Check,
    /// Exclusion constraint.
    #[serde(rename = "exclusion constraint")]
    Exclusion,
    /// Foreign key.
    #[serde(rename = "foreign key")]
    ForeignKey,
    /// Index that no constraint owns.
    #[serde(rename = "index")]
    Index,
    /// Trigger of the user's.
    #[serde(rename = "trigger")]
    Trigger,
    /// Replica identity.
    #[serde(rename = "replica identity")]
    ReplicaIdentity,
}

impl ObjectKind {
    /// The words used in SQL results.
    pub const fn as_str(self) -> &'static str {
        match self {
            ObjectKind::PrimaryKey => "primary key",
            ObjectKind::Unique => "unique constraint",
            ObjectKind::Check => "check constraint",
            ObjectKind::Exclusion => "exclusion constraint",
            ObjectKind::ForeignKey => "foreign key",
            ObjectKind::Index => "index",
            ObjectKind::Trigger => "trigger",
            ObjectKind::ReplicaIdentity => "replica identity",
        }
    }
}

/// Written before everything else, so that another rule gives another fingerprint.
const VERSION: &str = "steep_repl table 1";

impl Definition {
    /// `"schema"."name"`, always quoted, for SQL text.
    pub fn qualified(&self) -> String {
        ident::qualified(&self.schema, &self.name)
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns by name, in byte order.
    pub fn sorted_columns(&self) -> Vec<&Column> {
        let mut columns: Vec<&Column> = self.columns.iter().collect();
        columns.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        columns
    }

    /// The canonical text: every part is preceded by its length in bytes, absent ones are a mark of their own, so that no two
    /// different tables have the same. Name and schema are no part of it.
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        put(&mut text, Some(VERSION));
        put(&mut text, Some(self.kind.encode_utf8(&mut [0; 4])));
        put(&mut text, self.partition_key.as_deref());
        for column in self.sorted_columns() {
            put(&mut text, Some(&column.name));
            put(&mut text, Some(&column.type_name));
            put(&mut text, column.collation.as_deref());
            put(&mut text, column.not_null.then_some("not null"));
            put(&mut text, column.default.as_deref());
            put(&mut text, flag(column.identity).as_deref());
            put(&mut text, flag(column.generated).as_deref());
        }
        text
    }

    /// SHA-256 of the canonical text, as 64 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        Sha256::digest(self.canonical()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn flag(value: Option<char>) -> Option<String> {
    value.map(String::from)
}

/// Appends a part with its length, or the mark of an absent one.
fn put(text: &mut String, part: Option<&str>) {
    match part {
        Some(part) => {
            text.push_str(&part.len().to_string());
            text.push(':');
            text.push_str(part);
        }
        None => text.push('-'),
    }
}

/// Builders for the tests of this crate.
#[cfg(test)]
pub(crate) mod build {
    use super::*;

    pub(crate) fn column(name: &str, type_name: &str) -> Column {
        Column {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            collation: None,
            not_null: false,
            default: None,
            identity: None,
            generated: None,
            computed_from: Vec::new(),
        }
    }

    /// A plain table `schema.name` without indexes and constraints.
    pub(crate) fn table(schema: &str, name: &str, columns: Vec<Column>) -> Definition {
        Definition {
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: 'r',
            partition_key: None,
            parents: Vec::new(),
            columns,
            objects: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(name: &str) -> Column {
        build::column(name, "integer")
    }

    fn table(columns: Vec<Column>) -> Definition {
        build::table("s", "t", columns)
    }

    #[test]
    fn a_fingerprint_never_changes_from_one_version_to_the_next() {
        let known = table(vec![Column { not_null: true, default: Some("0".to_owned()), ..column("id") }]);
        assert_eq!(known.canonical(), "18:steep_repl table 11:r-2:id7:integer-8:not null1:0--");
        assert_eq!(known.fingerprint(), "215300edc11d10d3f2ea75d90c20286b44808dd9a13e9c114b3dd82c5fe0956a");
    }

    #[test]
    fn order_name_and_other_objects_are_no_part_of_it() {
        let one = table(vec![column("a"), column("b")]);
        let mut two = table(vec![column("b"), column("a")]);
        two.name = "u".to_owned();
        two.objects.push(Object {
            kind: ObjectKind::Index,
            name: "i".to_owned(),
            definition: "CREATE INDEX i ON s.u USING btree (a)".to_owned(),
        });
        assert_eq!(one.fingerprint(), two.fingerprint());
    }

    #[test]
    fn every_part_of_a_column_counts() {
        let plain = table(vec![column("a")]).fingerprint();
        for changed in [
            Column { type_name: "bigint".to_owned(), ..column("a") },
            Column { collation: Some("pg_catalog.\"C\"".to_owned()), ..column("a") },
            Column { not_null: true, ..column("a") },
            Column { default: Some(String::new()), ..column("a") },
            Column { identity: Some('a'), ..column("a") },
            Column { identity: Some('d'), ..column("a") },
            Column { generated: Some('s'), ..column("a") },
            column("A"),
        ] {
            assert_ne!(table(vec![changed.clone()]).fingerprint(), plain, "{changed:?}");
        }
        assert_ne!(table(vec![]).fingerprint(), plain);
        assert_ne!(Definition { kind: 'p', ..table(vec![column("a")]) }.fingerprint(), plain);
        let key = Some("RANGE (a)".to_owned());
        assert_ne!(Definition { partition_key: key, ..table(vec![column("a")]) }.fingerprint(), plain);
    }

    prop_compose! {
        // Few characters, so that the same texts are cut at other places.
        fn hostile()(text in "[-0-9:a\"' é]{0,6}") -> String { text }
    }

    prop_compose! {
        fn any_column()(
            name in hostile(), type_name in hostile(), collation in proptest::option::of(hostile()), not_null: bool,
            default in proptest::option::of(hostile()), identity in proptest::option::of(prop_oneof![Just('a'), Just('d')]),
            generated in proptest::option::of(prop_oneof![Just('s'), Just('v')]),
        ) -> Column {
            Column { name, type_name, collation, not_null, default, identity, generated, computed_from: Vec::new() }
        }
    }

    fn any_table() -> impl Strategy<Value = Definition> {
        (proptest::collection::vec(any_column(), 0..4), proptest::option::of(hostile())).prop_map(
            |(mut columns, key)| {
                columns.sort_by(|a, b| a.name.cmp(&b.name));
                columns.dedup_by(|a, b| a.name == b.name);
                Definition { partition_key: key, ..table(columns) }
            },
        )
    }

    proptest! {
        #[test]
        fn different_tables_have_different_texts(one in any_table(), two in any_table()) {
            prop_assert_eq!(one.canonical() == two.canonical(), one == two);
        }

        /// Parts of neighbouring columns, moved across the border between them.
        #[test]
        fn nothing_flows_from_part_to_part(a in hostile(), b in hostile(), c in hostile(), d in hostile()) {
            let with = |x: &str, y: &str| table(vec![Column {
                type_name: x.to_owned(), default: Some(y.to_owned()), ..column("a")
            }]).canonical();
            prop_assert_eq!(with(&a, &b) == with(&c, &d), (a, b) == (c, d));
        }
    }
}
