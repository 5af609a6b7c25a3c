//! The plan of an operation: from two inventories to tables, columns, formats and publications. Nothing is changed.

use crate::catalog::operations::{PlannedTable, PublicationPlan, Published};
use crate::error::{Error, Result};
use std::collections::HashMap;
use steep_repl_core::formats::binary_is_safe;
use steep_repl_core::ident::{parse_qualified, qualified};
use steep_repl_core::inventory::{Column, Table};
use steep_repl_core::schema_match::{copy_columns, match_columns};
use steep_repl_core::selection::{self, NoIdentity, Selection};

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
}

/// What is to be done.
pub struct Plan {
    /// Tables, largest first.
    pub tables: Vec<PlannedTable>,
    /// What is to be published.
    pub publication: PublicationPlan,
    /// What was left out, in words.
    pub left_out: Vec<String>,
    /// Tables with triggers that will fire, in words.
    pub triggers: Vec<String>,
}

impl Plan {
    /// Sum of the sizes, in bytes.
    pub fn bytes_total(&self) -> i64 {
        self.tables.iter().map(|table| table.bytes_total).sum()
    }

    /// Whether a second publication is needed.
    pub fn has_insert_only(&self) -> bool {
        self.publication.entries.iter().any(|entry| entry.insert_only)
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

/// Makes the plan, or says everything that stands against it.
///
/// Errors: [`Error::Ambiguous`], [`Error::NotFound`], [`Error::SchemaMismatch`] with each difference, [`Error::NoIdentity`].
pub fn make(request: &Request, source: &[Table], target: &[Table]) -> Result<Plan> {
    let selected = selection::select(
        source,
        &Selection {
            schemas: request.schemas.map(<[String]>::to_vec),
            tables: request.tables.map(parse_tables).transpose()?,
        },
    );
    if !selected.ambiguous.is_empty() {
        return Err(Error::Ambiguous { names: selected.ambiguous.clone() });
    }
    if !selected.not_found.is_empty() {
        return Err(Error::NotFound { node: request.source.to_owned(), names: selected.not_found.clone() });
    }
    let here: HashMap<(&str, &str), &Table> =
        target.iter().map(|table| ((table.schema.as_str(), table.name.as_str()), table)).collect();
    let chosen: Vec<&Table> = selected.tables.iter().filter_map(|place| source.get(*place)).collect();
    let differences: Vec<String> = chosen
        .iter()
        .flat_map(|table| match_columns(table, here.get(&(table.schema.as_str(), table.name.as_str())).copied()))
        .filter(|difference| difference.is_blocking())
        .map(|difference| difference.to_string())
        .collect();
    if !differences.is_empty() {
        return Err(Error::SchemaMismatch {
            node: request.node.to_owned(),
            source_node: request.source.to_owned(),
            count: differences.len(),
            differences,
        });
    }
    let lacking: Vec<&Table> =
        selection::without_identity(source, &selected).into_iter().filter_map(|place| source.get(place)).collect();
    if request.no_identity == NoIdentity::Error && !lacking.is_empty() {
        return Err(Error::NoIdentity {
            node: request.source.to_owned(),
            count: lacking.len(),
            tables: lacking.iter().map(|table| table.qualified_display()).collect(),
        });
    }
    let insert_only: Vec<u32> = match request.no_identity {
        NoIdentity::InsertOnly => lacking.iter().map(|table| table.oid).collect(),
        _ => Vec::new(),
    };
    let mut tables: Vec<PlannedTable> = chosen
        .iter()
        .filter_map(|table| {
            let target = here.get(&(table.schema.as_str(), table.name.as_str()))?;
            Some(planned(table, target, request.small_below, insert_only.contains(&table.oid)))
        })
        .collect();
    tables.sort_by(|a, b| b.bytes_total.cmp(&a.bytes_total).then_with(|| a.relid.cmp(&b.relid)));
    for (place, table) in tables.iter_mut().enumerate() {
        table.ordinal = place as i32;
    }
    let publication = PublicationPlan {
        entries: selection::publication_tables(source, &selected, request.no_identity)
            .into_iter()
            .map(|entry| Published {
                oid: entry.oid,
                schema: entry.schema,
                name: entry.name,
                insert_only: entry.insert_only,
                only: entry.only,
            })
            .collect(),
        identity_full: match request.no_identity {
            NoIdentity::Full => lacking.iter().map(|table| (table.schema.clone(), table.name.clone())).collect(),
            _ => Vec::new(),
        },
    };
    Ok(Plan {
        triggers: triggers(&tables, &here),
        left_out: selected
            .left_out
            .iter()
            .filter_map(|(place, why)| {
                source.get(*place).map(|table| format!("{} ({})", table.qualified_display(), why.as_str()))
            })
            .collect(),
        tables,
        publication,
    })
}

fn planned(source: &Table, target: &Table, small_below: i64, insert_only: bool) -> PlannedTable {
    let columns = copy_columns(source, target);
    let copied: Vec<&Column> = columns.iter().filter_map(|name| source.column(name)).collect();
    // The same names with types that are equal on both sides; the fast format only where every one of them travels safely.
    let binary = !copied.is_empty() && binary_is_safe(&copied);
    PlannedTable {
        relid: target.oid,
        ordinal: 0,
        table_schema: source.schema.clone(),
        table_name: source.name.clone(),
        source_relid: source.oid,
        columns,
        format: if binary { "binary" } else { "text" }.to_owned(),
        small: source.bytes < small_below,
        heap: source.is_heap() && target.is_heap(),
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
