//! Everything that stands against an initialization, listed at once.

use super::checks::{examine, Judge, Remark, Wanted};
use super::init::{
    parse_large_table_method, parse_method, parse_no_identity, parse_schema_sync, parse_threshold, resolved,
    schema_names,
};
use super::snapshots::passing;
use super::{given, list};
use crate::catalog::operations::{Method, Options};
use crate::error::Result;
use crate::pg::raise::ErrorReport;
use pgrx::prelude::*;

/// One row.
#[derive(Default)]
struct Finding {
    check: String,
    status: &'static str,
    sqlstate: Option<String>,
    message: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
}

/// Keeps what it is shown.
#[derive(Default)]
struct Listing(Vec<Finding>);

impl Judge for Listing {
    fn judge<T>(&mut self, check: &'static str, outcome: Result<T>) -> Result<Option<T>> {
        let check = check.to_owned();
        match outcome {
            Ok(value) => {
                self.0.push(Finding { check, status: "ok", ..Finding::default() });
                Ok(Some(value))
            }
            // Somebody wants this function to end.
            Err(error) if error.is_interrupt() => Err(error),
            Err(error) => {
                let problem = error.problem();
                self.0.push(Finding {
                    check,
                    status: "error",
                    sqlstate: Some(problem.sqlstate),
                    message: Some(problem.message),
                    detail: problem.detail,
                    hint: problem.hint,
                });
                Ok(None)
            }
        }
    }

    fn remark(&mut self, check: &'static str, remark: Option<Remark>) {
        let finding = match remark {
            None => Finding { check: check.to_owned(), status: "ok", ..Finding::default() },
            Some(found) => Finding {
                check: check.to_owned(),
                status: "warning",
                message: Some(found.message),
                detail: found.detail,
                hint: Some(found.hint),
                ..Finding::default()
            },
        };
        // A check is one row: the worst that there is to say.
        match self.0.iter_mut().find(|before| before.check == check) {
            Some(before) if before.status == "ok" => *before = finding,
            Some(_) => {}
            None => self.0.push(finding),
        }
    }
}

/// What `init_node` would say, without starting anything.
#[pg_extern]
#[allow(clippy::type_complexity, clippy::too_many_arguments)]
fn preflight(
    node: Option<&str>,
    source: Option<&str>,
    method: default!(Option<&str>, "'auto'"),
    schemas: default!(Option<Vec<Option<String>>>, "NULL"),
    tables: default!(Option<Vec<Option<String>>>, "NULL"),
    publication: default!(Option<&str>, "NULL"),
    no_identity: default!(Option<&str>, "'error'"),
    force: default!(Option<bool>, "false"),
    schema_sync: default!(Option<&str>, "NULL"),
    large_table_threshold: default!(Option<&str>, "NULL"),
    large_table_method: default!(Option<&str>, "NULL"),
) -> std::result::Result<
    TableIterator<
        'static,
        (
            name!(check_name, String),
            name!(status, String),
            name!(sqlstate, Option<String>),
            name!(message, Option<String>),
            name!(detail, Option<String>),
            name!(hint, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let method = parse_method(given("method", method)?)?;
    let mut listing = Listing::default();
    let files = match method {
        Method::TwoPhase => listing.judge("snapshot_directory", passing())?,
        _ => None,
    };
    let options = Options {
        files,
        schemas: list("schemas", schemas)?.map(|names| schema_names(&names)).transpose()?,
        tables: list("tables", tables)?,
        force: given("force", force)?,
        schema_sync: parse_schema_sync(schema_sync)?,
        large_table_threshold: parse_threshold(large_table_threshold)?,
        large_table_method: parse_large_table_method(large_table_method)?,
        ..resolved()
    };
    let wanted = Wanted {
        method,
        node: given("node", node)?,
        source: given("source", source)?,
        publication,
        no_identity: parse_no_identity(given("no_identity", no_identity)?)?,
        options: &options,
        joins: None,
        only: None,
    };
    Ok(TableIterator::new(
        findings(listing, &wanted)?.into_iter().map(|found| {
            (found.check, found.status.to_owned(), found.sqlstate, found.message, found.detail, found.hint)
        }),
    ))
}

fn findings(mut listing: Listing, wanted: &Wanted) -> Result<Vec<Finding>> {
    if let Some(examined) = examine(&mut listing, wanted)? {
        for (check, message) in examined.plan.remarks() {
            listing.0.push(Finding {
                check: check.to_owned(),
                status: "notice",
                message: Some(message),
                ..Finding::default()
            });
        }
    }
    Ok(listing.0)
}
