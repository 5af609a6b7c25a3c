//! `steep_repl.*` rows to structs and back: the only place with SPI.
//!
//! Every query stands in a file of its own under `sql/queries`, takes bound parameters, and returns one column of JSON per
//! row, which serde reads into a struct. The extension's tables are written and read as the extension's owner, whoever calls;
//! what concerns the user's own tables ([`user`]) runs as the current role.

pub mod base_backups;
pub mod cleanup;
pub mod copied;
pub mod events;
pub mod fingerprints;
pub mod indexes;
pub mod nodes;
pub mod operations;
pub mod ownership;
pub mod progress;
pub mod schema_changes;
pub mod sequences;
pub mod slots;
pub mod snapshots;
pub mod sync;
pub mod tasks;
pub mod user;

use crate::error::{Error, Result};
use crate::pg::text::Text;
use crate::pg::{instance, role};
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::PgBuiltInOids;
use serde::de::DeserializeOwned;
use serde::Serialize;

/// A bound parameter.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    /// bigint
    Int(i64),
    /// text; casts in the query make it what it is to be
    Text(&'a str),
    /// text or NULL
    MaybeText(Option<&'a str>),
    /// bigint or NULL
    MaybeInt(Option<i64>),
    /// double precision
    Float(f64),
    /// double precision or NULL
    MaybeFloat(Option<f64>),
    /// boolean
    Bool(bool),
}

impl Arg<'_> {
    fn datum(&self) -> DatumWithOid<'static> {
        fn null(oid: PgBuiltInOids) -> DatumWithOid<'static> {
            DatumWithOid::null_oid(PgOid::from(oid).value())
        }
        match self {
            Arg::Int(value) => DatumWithOid::from(*value),
            Arg::Text(value) => DatumWithOid::from((*value).to_owned()),
            Arg::MaybeText(value) => {
                value.map_or_else(|| null(PgBuiltInOids::TEXTOID), |value| DatumWithOid::from(value.to_owned()))
            }
            Arg::MaybeInt(value) => value.map_or_else(|| null(PgBuiltInOids::INT8OID), DatumWithOid::from),
            Arg::Float(value) => DatumWithOid::from(*value),
            Arg::MaybeFloat(value) => value.map_or_else(|| null(PgBuiltInOids::FLOAT8OID), DatumWithOid::from),
            Arg::Bool(value) => DatumWithOid::from(*value),
        }
    }
}

/// A value as JSON text, for a parameter that carries many.
fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("JSON: {error}")))
}

/// Whether a query writes. One that does not takes no transaction id.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Runs a query and gives its only column, JSON, as text; queries without rows give none.
fn texts(access: Access, sql: &str, args: &[Arg]) -> Result<Vec<String>> {
    let args: Vec<DatumWithOid> = args.iter().map(Arg::datum).collect();
    let broken = |error: spi::Error| Error::internal(format!("SPI: {error}"));
    Spi::connect_mut(|client| {
        let table = match access {
            Access::Read => client.select(sql, None, &args),
            Access::Write => client.update(sql, None, &args),
        }
        .map_err(broken)?;
        let mut rows = Vec::with_capacity(table.len());
        for row in table {
            if let Some(text) = row.get::<Text>(1).map_err(broken)? {
                rows.push(text.to_utf8()?);
            }
        }
        Ok(rows)
    })
}

fn parse<T: DeserializeOwned>(rows: Vec<String>) -> Result<Vec<T>> {
    rows.iter()
        .map(|text| serde_json::from_str(text).map_err(|error| Error::internal(format!("catalog row: {error}"))))
        .collect()
}

fn as_owner(access: Access, sql: &str, args: &[Arg]) -> Result<Vec<String>> {
    if access == Access::Write {
        check_writable()?;
    }
    role::as_extension_owner(|| texts(access, sql, args))
        .unwrap_or_else(|| Err(Error::internal("the extension steep_repl is not in this database")))
}

/// A standby answers a write with an internal error, since a transaction id is asked for before the statement is looked at.
fn check_writable() -> Result<()> {
    if instance::in_recovery() {
        return Err(Error::Standby);
    }
    Ok(())
}

/// Rows of the extension's tables.
fn rows<T: DeserializeOwned>(sql: &str, args: &[Arg]) -> Result<Vec<T>> {
    parse(as_owner(Access::Read, sql, args)?)
}

/// At most one row of the extension's tables.
fn maybe<T: DeserializeOwned>(sql: &str, args: &[Arg]) -> Result<Option<T>> {
    Ok(rows(sql, args)?.into_iter().next())
}

/// Writes the extension's tables, and gives what the statement returns.
fn write<T: DeserializeOwned>(sql: &str, args: &[Arg]) -> Result<Vec<T>> {
    parse(as_owner(Access::Write, sql, args)?)
}

/// Writes the extension's tables.
fn execute(sql: &str, args: &[Arg]) -> Result<()> {
    as_owner_count(sql, args).map(drop)
}

/// Writes the extension's tables, and gives the number of rows.
fn as_owner_count(sql: &str, args: &[Arg]) -> Result<usize> {
    check_writable()?;
    role::as_extension_owner(|| {
        let args: Vec<DatumWithOid> = args.iter().map(Arg::datum).collect();
        Spi::connect_mut(|client| {
            client
                .update(sql, None, &args)
                .map(|table| table.len())
                .map_err(|error| Error::internal(format!("SPI: {error}")))
        })
    })
    .unwrap_or_else(|| Err(Error::internal("the extension steep_repl is not in this database")))
}
