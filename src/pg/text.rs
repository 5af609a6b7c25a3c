//! Texts of this database, whose encoding may be another than Rust's.

use super::system::database_encoding;
use crate::error::{Error, Result};
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::pg_sys;

/// Bytes of this database's encoding as a text for Rust. A database without an encoding may hold UTF-8 as well.
///
/// Errors: [`Error::NotUtf8`].
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    let is_readable = || ["UTF8", "SQL_ASCII"].contains(&database_encoding().as_str());
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() || is_readable() => Ok(text),
        _ => Err(Error::NotUtf8 { encoding: database_encoding() }),
    }
}

/// A text as a query gives it. pgrx's own conversion panics at what it cannot read, which would be told as a bug of ours.
pub struct Text(Vec<u8>);

impl Text {
    /// The text, for Rust.
    ///
    /// Errors: [`Error::NotUtf8`].
    pub fn to_utf8(&self) -> Result<String> {
        utf8(&self.0).map(str::to_owned)
    }
}

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, typoid: pg_sys::Oid) -> Option<Self> {
        // The header of a text is that of a bytea.
        <&[u8]>::from_polymorphic_datum(datum, is_null, typoid).map(|bytes| Text(bytes.to_vec()))
    }
}

impl IntoDatum for Text {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        self.0.into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::TEXTOID
    }
}
