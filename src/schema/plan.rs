//! The plan of an operation: from two inventories to tables, columns, formats and publications. Nothing is changed.

use super::side::{Filter, Reader, Side};
use crate::catalog::operations::{PlannedTable, PublicationPlan, Published, Transport};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use std::collections::{BTreeSet, HashMap};
use steep_repl_core::formats::binary_is_safe;
use steep_repl_core::ident::{parse_qualified, qualified};
use steep_repl_core::inventory::{Column, Table};
use steep_repl_core::schema_diff::{diff, Change, Difference};
use steep_repl_core::schema_match::{copy_columns, match_columns, why_not_updatable};
use steep_repl_core::selection::{self, NoIdentity, Selection};

/// The word for tables that are not part of the plan.
pub const LEFT_OUT: &str = "left_out";

/// What is asked for.
pub struct Request<'a> {
    /// The node to be initialized.
    pub node: &'a str,
    /// Where from.
    pub source: &'a str,
    /// Schemas; none is all.
    pub schemas: Option<&'a [String]>,
    /// Tables, parsed like regclass input.
    pub tables: Option<&'a [String]>,
    /// What to do with tables without replica identity.
    pub no_identity: NoIdentity,
    /// Tables below this size keep their indexes, in bytes.
    pub small_below: i64,
    /// The subscription that the tables join, if there is one already.
    pub joins: Option<&'a Joins>,
}

/// A subscription that replicates tables already.
#[derive(Debug, Default)]
pub struct Joins {
    /// OIDs here of its tables.
    pub subscribed: Vec<u32>,
    /// OIDs on the source of what its publications hold.
    pub published: Vec<u32>,
    /// Only these of the others, parsed like regclass input; none is all.
    pub only: Option<Vec<String>>,
}

/// The tables of both nodes, as definitions.
pub struct Sides {
    /// Of the source.
    pub source: Side,
    /// Of this database.
    pub here: Side,
}

impl Sides {
    /// Reads both, as far as tables are chosen.
    pub fn read(connection: &Connection, chosen: &Chosen) -> Result<Sides> {
        Sides::of_schemas(connection, chosen.tables().map(|table| table.schema.as_str()).collect())
    }

    /// Reads all tables of these schemas.
    pub fn of_schemas(connection: &Connection, schemas: BTreeSet<&str>) -> Result<Sides> {
        let schemas: Vec<String> = schemas.into_iter().map(str::to_owned).collect();
        let filter = Filter::Schemas(&schemas);
        let (source, here) = Reader::read_both(&Reader::over(connection), &Reader::Here, &filter)?;
        Ok(Sides { source, here })
    }
}

/// What is to be done.
pub struct Plan {
    /// Tables, largest first.
    pub tables: Vec<PlannedTable>,
    /// The tables that were named, each with its schema, as in SQL: another one of the name may come.
    pub named: Vec<String>,
    /// What is to be published.
    pub publication: PublicationPlan,
    /// What was left out, in words.
    pub left_out: Vec<String>,
    /// Tables with triggers that will fire, in words.
    pub triggers: Vec<String>,
    /// Tables that updates and deletes cannot be applied to, in words.
    pub not_updatable: Vec<String>,
    /// What somebody has to look at before it begins, in words.
    pub differences: Vec<String>,
    /// The tables that are chosen as they are on the source, by OID, schema and name; some may have still to be made here.
    pub chosen: Vec<(u32, String, String)>,
    /// Their sizes on the source, in bytes.
    pub chosen_bytes: Vec<i64>,
}

impl Plan {
    /// The chosen tables by schema and name.
    pub fn leaves(&self) -> Vec<(String, String)> {
        self.chosen.iter().map(|(_, schema, name)| (schema.clone(), name.clone())).collect()
    }

    /// Sum of the sizes, in bytes.
    pub fn bytes_total(&self) -> i64 {
        self.tables.iter().map(|table| table.bytes_total).sum()
    }

    /// Sum of the sizes of all that is chosen, in bytes, what has still to be made here included.
    pub fn chosen_bytes_total(&self) -> i64 {
        self.chosen_bytes.iter().sum()
    }

    /// Whether any of the chosen tables is larger than that many bytes.
    pub fn has_larger_than(&self, bytes: i64) -> bool {
        self.chosen_bytes.iter().any(|size| *size > bytes)
    }

    /// What one should know of, with a word for what it is about.
    pub fn remarks(&self) -> Vec<(&'static str, String)> {
        let mut remarks = Vec::new();
        if !self.left_out.is_empty() {
            remarks.push((LEFT_OUT, format!("left out: {}", self.left_out.join(", "))));
        }
        if !self.triggers.is_empty() {
            remarks
                .push(("triggers", format!("triggers that will fire for copied rows: {}", self.triggers.join(", "))));
        }
        if self.tables.iter().any(|table| table.insert_only) {
            let text = "updates and deletes on tables without replica identity are not replicated";
            remarks.push(("insert_only", text.to_owned()));
        }
        remarks
    }
}

fn parse_tables(names: &[String]) -> Result<Vec<(Option<String>, String)>> {
    names
        .iter()
        .map(|name| {
            parse_qualified(name).map_err(|error| Error::Argument {
                argument: "tables",
                value: name.clone(),
                hint: format!("Give names as in SQL, such as sales.orders or \"Odd Name\": {error}."),
            })
        })
        .collect()
}

/// The tables that are asked for, with those of the same name here.
pub struct Chosen<'a> {
    request: &'a Request<'a>,
    source: &'a [Table],
    here: HashMap<(&'a str, &'a str), &'a Table>,
    selected: selection::Selected,
    /// Those that are replicated already among them.
    all: selection::Selected,
    lacking: Vec<&'a Table>,
}

/// Chooses the tables. Errors: [`Error::Ambiguous`], [`Error::NotFound`].
pub fn choose<'a>(request: &'a Request, source: &'a [Table], target: &'a [Table]) -> Result<Chosen<'a>> {
    let mut selected = selection::select(
        source,
        &Selection {
            schemas: request.schemas.map(<[String]>::to_vec),
            tables: request.tables.map(parse_tables).transpose()?,
        },
    );
    if !selected.ambiguous.is_empty() {
        return Err(Error::Ambiguous { names: selected.ambiguous });
    }
    // What was named when the node was initialized may be gone since.
    if !selected.not_found.is_empty() && request.joins.is_none() {
        return Err(Error::NotFound { node: request.source.to_owned(), names: selected.not_found });
    }
    let here: HashMap<(&str, &str), &Table> =
        target.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table)).collect();
    let all = selected.clone();
    if let Some(joins) = request.joins {
        selected.left_out.clear();
        selected.tables.retain(|place| {
            let here = source.get(*place).and_then(|table| here.get(&(table.schema.as_str(), table.name.as_str())));
            here.is_none_or(|table| !joins.subscribed.contains(&table.oid))
        });
        if let Some(only) = &joins.only {
            let asked = selection::select(source, &Selection { schemas: None, tables: Some(parse_tables(only)?) });
            if !asked.ambiguous.is_empty() {
                return Err(Error::Ambiguous { names: asked.ambiguous });
            }
            if !asked.not_found.is_empty() {
                return Err(Error::NotFound { node: request.source.to_owned(), names: asked.not_found });
            }
            selected.tables.retain(|place| asked.tables.contains(place));
        }
    }
    let lacking =
        selection::without_identity(source, &selected).into_iter().filter_map(|place| source.get(place)).collect();
    Ok(Chosen { request, source, here, selected, all, lacking })
}

impl Chosen<'_> {
    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.selected.tables.iter().filter_map(|place| self.source.get(*place))
    }

    fn here(&self, table: &Table) -> Option<&Table> {
        self.here.get(&(table.schema.as_str(), table.name.as_str())).copied()
    }

    /// The tables by name, each with whether one of that name is here.
    pub fn names(&self) -> Vec<(String, String, bool)> {
        self.tables().map(|table| (table.schema.clone(), table.name.clone(), self.here(table).is_some())).collect()
    }

    /// Tables that are in the subscription and whose changes nobody publishes any more, by name, as [`Self::names`] has them.
    pub fn unpublished(&self) -> Vec<(String, String, bool)> {
        let Some(joins) = self.request.joins else { return Vec::new() };
        let is_published = |table: &Table| {
            joins.published.contains(&table.oid) || table.ancestors.iter().any(|oid| joins.published.contains(oid))
        };
        self.all
            .tables
            .iter()
            .filter_map(|place| self.source.get(*place))
            .filter(|table| self.here(table).is_some_and(|here| joins.subscribed.contains(&here.oid)))
            .filter(|table| !is_published(table))
            .map(|table| (table.schema.clone(), table.name.clone(), true))
            .collect()
    }

    /// [`Error::SchemaMismatch`] with every difference that strictness stands against.
    pub fn check_columns(&self, sides: &Sides) -> Result<()> {
        let differences = self.differences(sides);
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::SchemaMismatch {
            node: self.request.node.to_owned(),
            source_node: self.request.source.to_owned(),
            count: differences.len(),
            differences,
        })
    }

    /// Every difference of the tables that are chosen, in words.
    pub fn differences(&self, sides: &Sides) -> Vec<String> {
        let nodes = (self.request.source, self.request.node);
        self.tables().flat_map(|table| differences_of(table, self.here(table), sides, nodes)).collect()
    }

    /// Leaves out what cannot be copied, whatever the differences of the others; says what and why.
    pub fn leave_out_what_cannot_be_copied(&mut self) -> Vec<String> {
        let why = |place: &usize| -> Option<String> {
            let table = self.source.get(*place)?;
            let found = match_columns(table, self.here(table));
            found.iter().find(|one| one.stops_copy()).map(ToString::to_string)
        };
        let skipped: Vec<(usize, String)> =
            self.selected.tables.iter().filter_map(|place| Some((*place, why(place)?))).collect();
        let is_skipped = |place: &usize| skipped.iter().any(|(other, _)| other == place);
        self.selected.tables.retain(|place| !is_skipped(place));
        self.all.tables.retain(|place| !is_skipped(place));
        self.lacking = selection::without_identity(self.source, &self.selected)
            .into_iter()
            .filter_map(|place| self.source.get(place))
            .collect();
        skipped.into_iter().map(|(_, why)| why).collect()
    }

    /// The tables that were named, each with its schema.
    pub fn named(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.selected.named.iter().cloned()
    }

    /// [`Error::NoIdentity`] when tables lack one and nothing was said about that.
    pub fn check_identity(&self) -> Result<()> {
        if self.request.no_identity != NoIdentity::Error || self.lacking.is_empty() {
            return Ok(());
        }
        Err(Error::NoIdentity {
            node: self.request.source.to_owned(),
            count: self.lacking.len(),
            tables: self.lacking.iter().map(|table| table.qualified_display()).collect(),
        })
    }

    /// The plan, of the tables that are on both sides.
    pub fn plan(&self) -> Plan {
        let insert_only: Vec<u32> = match self.request.no_identity {
            NoIdentity::InsertOnly => self.lacking.iter().map(|table| table.oid).collect(),
            _ => Vec::new(),
        };
        let mut tables: Vec<PlannedTable> = self
            .tables()
            .filter_map(|table| {
                let target = self.here(table).filter(|target| target.kind == 'r')?;
                let mut planned = planned(table, target, self.request.small_below, insert_only.contains(&table.oid));
                // The apply worker opens what it is sent changes of, and must not find it locked for the time of a load.
                planned.keeps_indexes |= self.request.joins.is_some();
                Some(planned)
            })
            .collect();
        tables.sort_by(|a, b| b.bytes_total.cmp(&a.bytes_total).then_with(|| a.relid.cmp(&b.relid)));
        for (place, table) in tables.iter_mut().enumerate() {
            table.ordinal = place as i32;
        }
        Plan {
            triggers: triggers(&tables, &self.here),
            named: self.selected.named.iter().map(|(schema, name)| qualified(schema, name)).collect(),
            left_out: self.left_out(),
            not_updatable: self
                .tables()
                .filter(|table| !insert_only.contains(&table.oid))
                .filter_map(|table| why_not_updatable(table, self.here(table)?))
                .collect(),
            publication: self.publication(),
            differences: Vec::new(),
            chosen: self.tables().map(|table| (table.oid, table.schema.clone(), table.name.clone())).collect(),
            chosen_bytes: self.tables().map(|table| table.bytes).collect(),
            tables,
        }
    }

    fn publication(&self) -> PublicationPlan {
        PublicationPlan {
            entries: selection::publication_tables(self.source, &self.all, self.request.no_identity)
                .into_iter()
                .filter(|entry| self.is_to_be_published(entry.oid))
                .map(|entry| Published {
                    oid: entry.oid,
                    schema: entry.schema,
                    name: entry.name,
                    insert_only: entry.insert_only,
                    only: entry.only,
                })
                .collect(),
            identity_full: match self.request.no_identity {
                NoIdentity::Full => {
                    self.lacking.iter().map(|table| (table.schema.clone(), table.name.clone())).collect()
                }
                _ => Vec::new(),
            },
        }
    }

    /// Whether a table or root publishes something that is chosen, and is not published yet.
    fn is_to_be_published(&self, oid: u32) -> bool {
        let Some(joins) = self.request.joins else { return true };
        let is_published = |oid: u32| joins.published.contains(&oid);
        let above =
            self.source.iter().find(|table| table.oid == oid).map_or(&[][..], |table| table.ancestors.as_slice());
        let is_wanted = self.tables().any(|table| table.oid == oid || table.ancestors.contains(&oid));
        is_wanted && !is_published(oid) && !above.iter().copied().any(is_published)
    }

    fn left_out(&self) -> Vec<String> {
        self.selected
            .left_out
            .iter()
            .filter_map(|(place, why)| {
                self.source.get(*place).map(|table| format!("{} ({})", table.qualified_display(), why.as_str()))
            })
            .collect()
    }
}

/// Every difference of a table that strictness stands against, in words; `nodes` are the names of the source and of this node.
pub(super) fn differences_of(there: &Table, here: Option<&Table>, sides: &Sides, nodes: (&str, &str)) -> Vec<String> {
    let blocking: Vec<_> = match_columns(there, here).into_iter().filter(|one| one.is_blocking()).collect();
    let mut found: Vec<String> = blocking.iter().map(ToString::to_string).collect();
    // A table that somebody has locked could not be read whole; whether rows fit is known all the same.
    let a = sides.source.table(&there.schema, &there.name);
    let Some(b) = sides.here.table(&there.schema, &there.name).filter(|_| a.is_some()) else { return found };
    let is_said = |one: &Difference| match (one.kind, one.change) {
        ("column", Change::Missing | Change::Type) => true,
        // A column that only this side has is in nobody's way, as long as it needs no value: then it is said already.
        ("column", Change::Extra) => true,
        ("generated", _) => blocking.iter().any(|other| other.column() == Some(&one.name)),
        _ => false,
    };
    found.extend(
        diff(a, Some(b), sides.source.major == sides.here.major)
            .iter()
            .filter(|one| one.is_mismatch && !is_said(one))
            .map(|one| format!("table {}: {}", there.qualified_display(), one.words(nodes.0, nodes.1))),
    );
    found
}

/// A table of the plan.
pub(super) fn planned(source: &Table, target: &Table, small_below: i64, insert_only: bool) -> PlannedTable {
    let columns = copy_columns(source, target);
    let copied: Vec<&Column> = columns.iter().filter_map(|name| source.column(name)).collect();
    // The fast format only where types are equal on both sides and every one of them travels safely.
    let same_types = copied
        .iter()
        .all(|column| target.column(&column.name).is_some_and(|other| other.type_name == column.type_name));
    let binary = !copied.is_empty() && same_types && binary_is_safe(&copied);
    PlannedTable {
        relid: target.oid,
        ordinal: 0,
        table_schema: source.schema.clone(),
        table_name: source.name.clone(),
        source_relid: source.oid,
        column_numbers: copied.iter().map(|column| column.number).collect(),
        column_types: copied.iter().map(|column| column.type_name.clone()).collect(),
        source_filenode: None,
        source_natts: None,
        columns,
        format: if binary { "binary" } else { "text" }.to_owned(),
        transport: Transport::default(),
        small: source.bytes < small_below,
        keeps_indexes: source.bytes < small_below,
        heap: source.is_heap() && target.is_heap(),
        packed: source.is_packed(),
        insert_only,
        pages: source.pages,
        bytes_total: source.bytes,
        rows_estimated: source.rows,
    }
}

fn triggers(tables: &[PlannedTable], here: &HashMap<(&str, &str), &Table>) -> Vec<String> {
    tables
        .iter()
        .filter_map(|table| here.get(&(table.table_schema.as_str(), table.table_name.as_str())))
        .filter(|table| !table.triggers.is_empty())
        .map(|table| format!("{} ({})", qualified(&table.schema, &table.name), table.triggers.join(", ")))
        .collect()
}
