//! What one catalog query tells about each table, on either node.
//!
//! The same query runs on source and target under an empty `search_path` and returns JSON of this shape, so that
//! comparing two tables is comparing two values. Unknown keys are ignored: a newer query may say more.

use serde::{Deserialize, Serialize};

use crate::ident;

/// One relation that holds rows, or a partitioned table above such relations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// `pg_class.oid` on its own node.
    pub oid: u32,
    /// Schema, unquoted.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// `relkind`: `r` table, `p` partitioned table, `f` foreign table, `m` materialized view.
    pub kind: char,
    /// `relpersistence`: `p` permanent, `u` unlogged, `t` temporary.
    pub persistence: char,
    /// Whether it is a partition of another table.
    pub is_partition: bool,
    /// Topmost partitioned ancestor; `None` when it is nobody's partition. Equals the last of `ancestors`.
    #[serde(default)]
    pub root: Option<u32>,
    /// Oids of all partitioned tables above, nearest first; empty when it is nobody's partition.
    #[serde(default)]
    pub ancestors: Vec<u32>,
    /// Table access method; `None` where the relation has no storage.
    #[serde(default)]
    pub access_method: Option<String>,
    /// Size of the main fork in blocks of 8 kB.
    pub pages: i64,
    /// `pg_table_size` in bytes: main fork, free space and visibility maps, TOAST.
    pub bytes: i64,
    /// `relfilenode`: another one after every rewrite, and after a TRUNCATE.
    #[serde(default)]
    pub filenode: u32,
    /// `relnatts`: how many columns it ever had, dropped ones among them.
    #[serde(default)]
    pub natts: i16,
    /// `reltuples`; -1 when the table was never analyzed.
    pub rows: f64,
    /// Bytes of data of a row on average, by the statistics; `None` where they were not asked for or are not there.
    #[serde(default)]
    pub width: Option<f64>,
    /// Whether it has a usable replica identity, so that UPDATE and DELETE can be published.
    pub identity: bool,
    /// Columns of its replica identity where that is an index, of its primary key otherwise: by these rows are found.
    #[serde(default)]
    pub key: Option<Vec<String>>,
    /// Whether it is of REPLICA IDENTITY FULL: rows are found by all they hold.
    #[serde(default)]
    pub sends_whole_rows: bool,
    /// The extension that owns it.
    #[serde(default)]
    pub extension: Option<String>,
    /// Whether row-level security is enabled.
    #[serde(default)]
    pub row_security: bool,
    /// Names of triggers that fire when rows are copied in: ENABLE ALWAYS or ENABLE REPLICA.
    #[serde(default)]
    pub triggers: Vec<String>,
    /// Columns in the order of the table, dropped ones left out.
    #[serde(default)]
    pub columns: Vec<Column>,
}

/// One column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name, unquoted.
    pub name: String,
    /// Its number in the table, which no later column of the same name has; 0 when unknown.
    #[serde(default)]
    pub number: i16,
    /// `format_type` with modifiers under an empty `search_path`.
    pub type_name: String,
    /// `pg_type.oid` on its own node; the same everywhere for built-in types only.
    pub type_oid: u32,
    /// Labels of an enum, in their order, also where the column is an array of it; `None` for other types.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
    /// Collation, where it is not that of the type.
    #[serde(default)]
    pub collation: Option<String>,
    /// Whether the column refuses NULL.
    #[serde(default)]
    pub not_null: bool,
    /// Default expression.
    #[serde(default)]
    pub default: Option<String>,
    /// `atthasmissing`: rows that were there before the column have a value that stands in the catalog only.
    #[serde(default)]
    pub has_missing: bool,
    /// `attidentity`: `a` always, `d` by default; `None` when it is no identity column.
    #[serde(default)]
    pub identity: Option<String>,
    /// `attgenerated`: `s` stored, `v` virtual; `None` when it is not generated.
    #[serde(default)]
    pub generated: Option<String>,
}

impl Table {
    /// `"schema"."name"`, always quoted, for SQL text.
    pub fn qualified(&self) -> String {
        ident::qualified(&self.schema, &self.name)
    }

    /// `schema.name`, quoted only where needed, for people.
    pub fn qualified_display(&self) -> String {
        ident::qualified_display(&self.schema, &self.name)
    }

    /// Whether rows can be addressed by block, that is, whether `ctid` ranges mean anything: storage of access method
    /// `heap`.
    pub fn is_heap(&self) -> bool {
        matches!(self.kind, 'r' | 'm') && self.access_method.as_deref() == Some("heap")
    }

    /// Whether its pages are about full, by its statistics: three quarters of what its rows and their headers would fill. False when
    /// nothing is known.
    pub fn is_packed(&self) -> bool {
        /// Header of a row and its pointer in the page.
        const ROW_HEADER: f64 = 28.0;
        const PAGE: f64 = 8192.0;
        let filled = |width: f64| self.rows * (width + ROW_HEADER);
        self.width.is_some_and(|width| filled(width) >= 0.75 * PAGE * self.pages as f64)
    }

    /// The columns whose values travel: all but generated ones, which the target computes itself.
    pub fn copied_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.is_generated())
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl Column {
    /// Whether the value is computed from other columns, stored or virtual.
    pub fn is_generated(&self) -> bool {
        is_set(&self.generated)
    }

    /// The enum that it is of, or is an array of, as SQL names it.
    pub fn enum_name(&self) -> &str {
        self.type_name.trim_end_matches("[]")
    }

    /// Whether the column fills itself when a row arrives without a value for it, or takes NULL.
    pub fn can_be_left_out(&self) -> bool {
        !self.not_null || self.default.is_some() || is_set(&self.identity) || self.is_generated()
    }
}

/// `attidentity` and `attgenerated` are the empty string in pg_attribute when unset; a query that passes it on as it
/// is means the same as NULL.
fn is_set(flag: &Option<String>) -> bool {
    flag.as_deref().is_some_and(|text| !text.is_empty())
}

/// Builders for the tests of this crate.
#[cfg(test)]
pub(crate) mod build {
    use super::*;

    pub(crate) fn column(name: &str, type_name: &str) -> Column {
        Column {
            number: 0,
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            type_oid: 25,
            labels: None,
            collation: None,
            not_null: false,
            default: None,
            has_missing: false,
            identity: None,
            generated: None,
        }
    }

    /// A plain permanent table `schema.name` with one column and a replica identity.
    pub(crate) fn table(oid: u32, schema: &str, name: &str) -> Table {
        Table {
            oid,
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: 'r',
            persistence: 'p',
            is_partition: false,
            root: None,
            ancestors: Vec::new(),
            access_method: Some("heap".to_owned()),
            pages: 1,
            bytes: 8192,
            filenode: 1,
            natts: 1,
            rows: 1.0,
            width: None,
            identity: true,
            key: Some(vec!["id".to_owned()]),
            sends_whole_rows: false,
            extension: None,
            row_security: false,
            triggers: Vec::new(),
            columns: vec![column("id", "bigint")],
        }
    }

    impl Table {
        pub(crate) fn kind(mut self, kind: char) -> Self {
            self.kind = kind;
            self
        }

        pub(crate) fn persistence(mut self, persistence: char) -> Self {
            self.persistence = persistence;
            self
        }

        /// A partition below these ancestors, nearest first.
        pub(crate) fn under(mut self, ancestors: &[u32]) -> Self {
            self.is_partition = !ancestors.is_empty();
            self.ancestors = ancestors.to_vec();
            self.root = ancestors.last().copied();
            self
        }

        pub(crate) fn no_identity(mut self) -> Self {
            self.identity = false;
            self
        }

        pub(crate) fn of_extension(mut self, extension: &str) -> Self {
            self.extension = Some(extension.to_owned());
            self
        }

        pub(crate) fn columns(mut self, columns: Vec<Column>) -> Self {
            self.columns = columns;
            self
        }
    }

    impl Column {
        pub(crate) fn not_null(mut self) -> Self {
            self.not_null = true;
            self
        }

        pub(crate) fn generated(mut self, how: &str) -> Self {
            self.generated = Some(how.to_owned());
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::build::{column, table};
    use super::*;

    #[test]
    fn json_of_the_query_is_read_and_unknown_keys_are_ignored() {
        let json = r#"{
            "oid": 16385, "schema": "public", "name": "orders", "kind": "r", "persistence": "p",
            "is_partition": true, "root": 16380, "ancestors": [16382, 16380], "access_method": "heap",
            "pages": 12, "bytes": 106496, "rows": 1.5e3, "identity": true, "extension": null,
            "row_security": false, "triggers": ["audit"], "owner": "joe",
            "columns": [{"name": "id", "type_name": "bigint", "type_oid": 20, "collation": null, "not_null": true,
                         "default": null, "identity": "a", "generated": null, "storage": "p"}]
        }"#;
        let table: Table = serde_json::from_str(json).unwrap();
        assert_eq!(table.kind, 'r');
        assert_eq!(table.ancestors, [16382, 16380]);
        assert_eq!(table.rows, 1500.0);
        assert_eq!(table.columns[0].identity.as_deref(), Some("a"));
        let again: Table = serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
        assert_eq!(again, table);
    }

    #[test]
    fn optional_keys_may_be_missing() {
        let json = r#"{"oid": 1, "schema": "s", "name": "t", "kind": "p", "persistence": "p", "is_partition": false,
                       "pages": 0, "bytes": 0, "rows": -1, "identity": false}"#;
        let table: Table = serde_json::from_str(json).unwrap();
        assert_eq!(table.root, None);
        assert!(table.ancestors.is_empty() && table.columns.is_empty() && table.triggers.is_empty());
    }

    #[test]
    fn full_pages_are_told_by_statistics() {
        let with = |rows, width, pages| Table { rows, width, pages, ..table(1, "s", "t") };
        assert!(with(61_000.0, Some(97.0), 1000).is_packed());
        assert!(!with(30_000.0, Some(97.0), 1000).is_packed());
        assert!(!with(61_000.0, None, 1000).is_packed());
        assert!(!with(-1.0, Some(97.0), 1000).is_packed());
    }

    #[test]
    fn names_for_sql_and_for_people() {
        let odd = table(1, "public", "We\"ird; --");
        assert_eq!(odd.qualified(), "\"public\".\"We\"\"ird; --\"");
        assert_eq!(odd.qualified_display(), "public.\"We\"\"ird; --\"");
    }

    #[test]
    fn only_heap_storage_has_blocks() {
        assert!(table(1, "s", "t").is_heap());
        assert!(!table(1, "s", "t").kind('p').is_heap());
        let mut columnar = table(1, "s", "t");
        columnar.access_method = Some("columnar".to_owned());
        assert!(!columnar.is_heap());
        columnar.access_method = None;
        assert!(!columnar.is_heap());
    }

    #[test]
    fn generated_columns_do_not_travel() {
        let t = table(1, "s", "t").columns(vec![
            column("a", "integer"),
            column("b", "integer").generated("s"),
            column("c", "integer").generated("v"),
            column("d", "integer").generated(""),
        ]);
        let copied: Vec<&str> = t.copied_columns().map(|c| c.name.as_str()).collect();
        assert_eq!(copied, ["a", "d"]);
        assert!(t.column("b").is_some() && t.column("e").is_none());
    }

    #[test]
    fn a_column_that_must_be_given() {
        let plain = column("a", "integer");
        assert!(plain.can_be_left_out());
        let required = plain.not_null();
        assert!(!required.can_be_left_out());
        let mut with_default = required.clone();
        with_default.default = Some("0".to_owned());
        assert!(with_default.can_be_left_out());
        let mut with_identity = required.clone();
        with_identity.identity = Some("d".to_owned());
        assert!(with_identity.can_be_left_out());
        assert!(required.generated("s").can_be_left_out());
    }
}
