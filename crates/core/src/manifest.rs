//! The table of contents of a portable snapshot, `manifest.json`, and what must hold before it is believed.
//!
//! docs/snapshots.md describes the folder for whoever reads it without us. The manifest is written last, and its SHA-256 stands beside
//! it in `manifest.json.sha256`, in the form that `sha256sum -c` reads: a folder without both is not a snapshot. Everything else in
//! the folder is named in the manifest with its size and its SHA-256.

use crate::lsn::Lsn;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The version of the format that is written, and the newest that is read.
pub const FORMAT_VERSION: u32 = 1;
/// Name of the manifest's file.
pub const MANIFEST: &str = "manifest.json";
/// Name of the file with its SHA-256.
pub const MANIFEST_SUM: &str = "manifest.json.sha256";
/// The definitions of the source's database, for people and psql.
pub const SCHEMA: &str = "schema.sql";
/// The positions of the sequences.
pub const SEQUENCES: &str = "sequences.json";
/// The folder with the rows.
pub const DATA: &str = "data";

/// How the files with rows are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// lz4, frame format.
    Lz4,
    /// zstd.
    #[default]
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 4] = [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::None];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// What the name of a file ends with, after `.copy`.
    pub const fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Lz4 => ".lz4",
            Compression::Zstd => ".zst",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Compression::ALL.into_iter().find(|one| one.as_str() == word).ok_or(())
    }
}

/// A file of the snapshot, as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its place below the snapshot's folder.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, as they lie on disk, in hexadecimal digits.
    pub sha256: String,
}

/// Rows of a table, or of a range of its blocks: the stream of one COPY.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Where they are.
    #[serde(flatten)]
    pub file: File,
    /// How many.
    pub rows: u64,
    /// First block of the range on the source; none for a whole table.
    pub from_block: Option<u32>,
    /// Block after it; none when open-ended.
    pub to_block: Option<u32>,
}

/// A column whose values are in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as `format_type()` has it.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its number on the source.
    pub number: i16,
}

/// What a table was on the source when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its OID.
    pub oid: u32,
    /// Its `relfilenode`.
    pub filenode: u32,
    /// Its `relnatts`.
    pub natts: i16,
    /// Blocks of its main fork.
    pub pages: i64,
    /// `pg_table_size()`, in bytes.
    pub bytes: i64,
}

/// A table of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The columns of its rows, in their order.
    pub columns: Vec<Column>,
    /// `text` or `binary`, as of COPY.
    pub format: String,
    /// Rows of all files.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Source LSN that the rows stand for. Changes after it are still to be applied, those before are in the rows.
    pub lsn: Lsn,
    /// Updates and deletes are not published.
    pub insert_only: bool,
    /// What it was on the source.
    pub origin: Origin,
    /// The files with its rows.
    pub files: Vec<Chunk>,
}

/// A replication slot that waits for a target.
pub type SlotName = String;

/// The table of contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of whoever wrote it.
    pub format_version: u32,
    /// Identity of the snapshot.
    pub snapshot_id: String,
    /// Node that it was taken of.
    pub source: String,
    /// System identifier of the source.
    pub system_identifier: String,
    /// Name of the source's database.
    pub database: String,
    /// OID of the source's database.
    pub database_oid: u32,
    /// server_version_num of the source.
    pub server_version: u32,
    /// Encoding of all text in the files with rows.
    pub encoding: String,
    /// Where the slots stand: replication begins here.
    pub lsn: Lsn,
    /// The slots on the source, one a target.
    pub slots: Vec<SlotName>,
    /// The publications on the source.
    pub publications: Vec<String>,
    /// What the publications were when the slot was made, in terms of the source's catalogs.
    pub publication_mark: BTreeMap<String, String>,
    /// When it was complete, RFC 3339, UTC.
    pub created_at: String,
    /// How the files with rows are compressed.
    pub compression: Compression,
    /// Bytes of all files but the manifest and its sum.
    pub bytes: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// The definitions of the source's database.
    pub schema: File,
    /// The positions of its sequences.
    pub sequences: File,
    /// The tables, largest first.
    pub tables: Vec<Table>,
    /// Schemas that were asked for; none means all.
    #[serde(default)]
    pub selected_schemas: Option<Vec<String>>,
    /// Tables that were asked for; none means all.
    #[serde(default)]
    pub selected_tables: Option<Vec<String>>,
}

/// Why a manifest is not believed. The message goes on after "the snapshot in ...: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its bytes are not those that were written.
    #[error("{MANIFEST} does not match {MANIFEST_SUM}")]
    Sum,
    /// The file with the sum is not one.
    #[error("{MANIFEST_SUM} is not the SHA-256 of {MANIFEST}")]
    NoSum,
    /// It is no manifest.
    #[error("{MANIFEST} cannot be read: {0}")]
    Form(String),
    /// It was written by a later version.
    #[error("{MANIFEST} has format version {0}, and the newest that is known here is {FORMAT_VERSION}")]
    Newer(u32),
    /// It contradicts itself.
    #[error("{MANIFEST} contradicts itself: {0}")]
    Contradiction(String),
}

/// SHA-256 as hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of `manifest.json` and of `manifest.json.sha256`.
///
/// # Errors
/// When it cannot be written as JSON, which no manifest does.
pub fn write(manifest: &Manifest) -> Result<(Vec<u8>, Vec<u8>), Broken> {
    let mut text = serde_json::to_vec_pretty(manifest).map_err(|error| Broken::Form(error.to_string()))?;
    text.push(b'\n');
    let sum = format!("{}  {MANIFEST}\n", sha256(&text));
    Ok((text, sum.into_bytes()))
}

/// Reads a manifest from the bytes of its two files.
///
/// # Errors
/// When they are not what [`write()`] has made, are of a later version, or contradict themselves.
pub fn read(text: &[u8], sum: &[u8]) -> Result<Manifest, Broken> {
    let expected = format!("  {MANIFEST}\n");
    let digits = std::str::from_utf8(sum).ok().and_then(|sum| sum.strip_suffix(&expected)).ok_or(Broken::NoSum)?;
    if digits.len() != 64 || !digits.bytes().all(is_hex_digit) {
        return Err(Broken::NoSum);
    }
    if digits != sha256(text) {
        return Err(Broken::Sum);
    }
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let form = |error: serde_json::Error| Broken::Form(error.to_string());
    let version: Version = serde_json::from_slice(text).map_err(form)?;
    if version.format_version > FORMAT_VERSION {
        return Err(Broken::Newer(version.format_version));
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(form)?;
    manifest.check()?;
    Ok(manifest)
}

fn is_hex_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// Whether a path is one that a manifest may name: a plain name, or one in the folder with the rows. Whoever can write a manifest must
/// not be able to have other files of the server read.
pub fn is_safe_path(path: &str) -> bool {
    let name = path.strip_prefix("data/").unwrap_or(path);
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 128
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The file with the rows of a table, by its OID on the source and the first block of the range.
pub fn chunk_path(table: u32, from_block: Option<u32>, compression: Compression) -> String {
    format!("{DATA}/{table}.{:010}.copy{}", from_block.unwrap_or(0), compression.suffix())
}

/// None when it is too large to be one.
fn sum(mut numbers: impl Iterator<Item = u64>) -> Option<u64> {
    numbers.try_fold(0u64, u64::checked_add)
}

impl Manifest {
    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        [&self.schema, &self.sequences]
            .into_iter()
            .chain(self.tables.iter().flat_map(|table| table.files.iter().map(|chunk| &chunk.file)))
    }

    /// The table of that name.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name)
    }

    /// Whether it agrees with itself.
    fn check(&self) -> Result<(), Broken> {
        let wrong = |what: String| Err(Broken::Contradiction(what));
        let mut paths = BTreeSet::new();
        for file in self.files() {
            if !is_safe_path(&file.path) {
                return wrong(format!("{:?} is no name of a file of a snapshot", file.path));
            }
            if !paths.insert(file.path.as_str()) {
                return wrong(format!("{} is named twice", file.path));
            }
            if file.sha256.len() != 64 || !file.sha256.bytes().all(is_hex_digit) {
                return wrong(format!("{} has no SHA-256", file.path));
            }
        }
        if paths.contains(MANIFEST) || paths.contains(MANIFEST_SUM) {
            return wrong(format!("it names {MANIFEST} itself"));
        }
        let mut names = BTreeSet::new();
        for table in &self.tables {
            let name = format!("table {}.{}", table.schema, table.name);
            if !names.insert((&table.schema, &table.name)) {
                return wrong(format!("{name} is there twice"));
            }
            if !matches!(table.format.as_str(), "text" | "binary") {
                return wrong(format!("{name} has format {:?}", table.format));
            }
            if table.files.is_empty() {
                return wrong(format!("{name} has no file"));
            }
            if sum(table.files.iter().map(|chunk| chunk.rows)) != Some(table.rows)
                || sum(table.files.iter().map(|chunk| chunk.file.bytes)) != Some(table.bytes)
            {
                return wrong(format!("rows or bytes of {name} are not the sum of its files"));
            }
            if table.lsn < self.lsn {
                return wrong(format!("{name} is older than the slot"));
            }
            if table.files.len() > 1 && table.files.iter().any(|chunk| chunk.from_block.is_none()) {
                return wrong(format!("{name} has several files, and one of them is the whole table"));
            }
        }
        if sum(self.files().map(|file| file.bytes)) != Some(self.bytes)
            || sum(self.tables.iter().map(|table| table.rows)) != Some(self.rows)
        {
            return wrong("rows or bytes are not the sum of the tables".to_owned());
        }
        if self.publications.is_empty() || !self.lsn.is_valid() {
            return wrong("it has no publication or no LSN".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
