//! The table of contents of a `pg_dump` archive in the custom format, version 1.16 (PostgreSQL 17 and 18).
//!
//! The plain format is a script for psql, meta-commands included, in which names and statements would have to be found by reading text. The
//! archive has each object by itself: what makes it, what takes it away, whose it is, what it depends on, and its OID on the server that was
//! dumped. Only archives without data are read. The format is that of `WriteHead` and `WriteToc` in `pg_backup_archiver.c`.

use std::fmt;

/// One object of an archive, in the order in which objects can be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// Number within the archive.
    pub id: i32,
    /// OID of the catalog that has the object on the source; 0 where there is none of its own.
    pub class: u32,
    /// Its OID there.
    pub oid: u32,
    /// Name, for people and for ALTER; functions with their arguments.
    pub tag: String,
    /// What it is, in upper case: TABLE, FK CONSTRAINT, ACL, ...
    pub desc: String,
    /// Statements that make it.
    pub definition: String,
    /// Statement that takes it away; empty where it goes with another.
    pub drop: String,
    /// Schema, unquoted; empty where it has none.
    pub schema: String,
    /// Table access method; empty where it has none.
    pub access_method: String,
    /// `relkind`, of relations; `\0` otherwise.
    pub relkind: char,
    /// Owner, unquoted.
    pub owner: String,
    /// Numbers of objects that have to be there first.
    pub depends_on: Vec<i32>,
}

/// Why an archive cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveError {
    /// It is something else.
    NotAnArchive,
    /// Another version of the format, as (major, minor).
    Version(u8, u8),
    /// It ends too early, or holds what cannot be.
    Damaged,
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArchiveError::NotAnArchive => f.write_str("it is no archive in the custom format"),
            ArchiveError::Version(major, minor) => write!(f, "its format has version {major}.{minor}, wanted is 1.16"),
            ArchiveError::Damaged => f.write_str("it ends too early or is damaged"),
        }
    }
}

impl std::error::Error for ArchiveError {}

/// The format's number of "custom".
const CUSTOM: u8 = 1;

/// Reads the entries of an archive.
pub fn read(bytes: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
    let mut reader = Reader { rest: bytes, int_size: 0 };
    if reader.take(5).ok() != Some(b"PGDMP") {
        return Err(ArchiveError::NotAnArchive);
    }
    let (major, minor) = (reader.byte()?, reader.byte()?);
    if (major, minor) != (1, 16) {
        return Err(ArchiveError::Version(major, minor));
    }
    let _revision = reader.byte()?;
    reader.int_size = usize::from(reader.byte()?);
    let offset_size = usize::from(reader.byte()?);
    if reader.byte()? != CUSTOM {
        return Err(ArchiveError::NotAnArchive);
    }
    let _compression = reader.byte()?;
    for _part_of_the_date in 0..7 {
        reader.int()?;
    }
    for _name_and_versions in 0..3 {
        reader.string()?;
    }
    let count = reader.int()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(reader.entry(offset_size)?);
    }
    Ok(entries)
}

struct Reader<'a> {
    rest: &'a [u8],
    int_size: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ArchiveError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(ArchiveError::Damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, ArchiveError> {
        self.take(1)?.first().copied().ok_or(ArchiveError::Damaged)
    }

    /// A sign, then the bytes of the amount, lowest first.
    fn int(&mut self) -> Result<i32, ArchiveError> {
        let negative = self.byte()? != 0;
        let amount = self.take(self.int_size)?.iter().rev().try_fold(0_i64, |sum, byte| {
            sum.checked_mul(256).and_then(|sum| sum.checked_add(i64::from(*byte))).ok_or(ArchiveError::Damaged)
        })?;
        i32::try_from(if negative { -amount } else { amount }).map_err(|_| ArchiveError::Damaged)
    }

    fn string(&mut self) -> Result<Option<String>, ArchiveError> {
        let Ok(length) = usize::try_from(self.int()?) else { return Ok(None) };
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| ArchiveError::Damaged)?;
        Ok(Some(text.to_owned()))
    }

    fn text(&mut self) -> Result<String, ArchiveError> {
        self.string().map(Option::unwrap_or_default)
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, ArchiveError> {
        self.text()?.parse().map_err(|_| ArchiveError::Damaged)
    }

    fn entry(&mut self, offset_size: usize) -> Result<Entry, ArchiveError> {
        let id = self.int()?;
        let _has_data = self.int()?;
        let (class, oid) = (self.number()?, self.number()?);
        let (tag, desc) = (self.text()?, self.text()?);
        let _section = self.int()?;
        let (definition, drop) = (self.text()?, self.text()?);
        let _copy_statement = self.string()?;
        let schema = self.text()?;
        let _tablespace = self.string()?;
        let access_method = self.text()?;
        let relkind = u8::try_from(self.int()?).map_err(|_| ArchiveError::Damaged)?.into();
        let owner = self.text()?;
        let _with_oids = self.string()?;
        let mut depends_on = Vec::new();
        while let Some(number) = self.string()? {
            depends_on.push(number.parse().map_err(|_| ArchiveError::Damaged)?);
        }
        let _offset_of_data = self.take(1 + offset_size)?;
        Ok(Entry { id, class, oid, tag, desc, definition, drop, schema, access_method, relkind, owner, depends_on })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn int(to: &mut Vec<u8>, value: i32) {
        to.push(u8::from(value < 0));
        to.extend(value.unsigned_abs().to_le_bytes());
    }

    fn string(to: &mut Vec<u8>, text: Option<&str>) {
        int(to, text.map_or(-1, |text| text.len() as i32));
        to.extend(text.unwrap_or_default().as_bytes());
    }

    /// An archive as pg_dump writes it to a pipe.
    fn write(entries: &[Entry]) -> Vec<u8> {
        let mut to = b"PGDMP\x01\x10\x00\x04\x08\x01\x01".to_vec();
        for part in [1, 2, 3, 4, 5, 126, 0] {
            int(&mut to, part);
        }
        for text in ["shop", "15.4", "18.4"] {
            string(&mut to, Some(text));
        }
        int(&mut to, entries.len() as i32);
        for entry in entries {
            int(&mut to, entry.id);
            int(&mut to, 0);
            string(&mut to, Some(&entry.class.to_string()));
            string(&mut to, Some(&entry.oid.to_string()));
            string(&mut to, Some(&entry.tag));
            string(&mut to, Some(&entry.desc));
            int(&mut to, 2);
            string(&mut to, Some(&entry.definition));
            string(&mut to, Some(&entry.drop));
            string(&mut to, None);
            string(&mut to, (!entry.schema.is_empty()).then_some(&entry.schema));
            string(&mut to, None);
            string(&mut to, Some(&entry.access_method));
            int(&mut to, entry.relkind as i32);
            string(&mut to, Some(&entry.owner));
            string(&mut to, Some("false"));
            for id in &entry.depends_on {
                string(&mut to, Some(&id.to_string()));
            }
            string(&mut to, None);
            to.extend([3, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        to
    }

    fn orders() -> Entry {
        Entry {
            id: 215,
            class: 1259,
            oid: 16_385,
            tag: "Odd \"orders\"; -- é".to_owned(),
            desc: "TABLE".to_owned(),
            definition: "CREATE TABLE ...;\n".to_owned(),
            drop: "DROP TABLE ...;\n".to_owned(),
            schema: "public".to_owned(),
            access_method: "heap".to_owned(),
            relkind: 'r',
            owner: "shop".to_owned(),
            depends_on: vec![5, 214],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let all = vec![orders(), Entry { id: 216, relkind: '\0', ..Entry::default() }];
        assert_eq!(read(&write(&all)), Ok(all));
        assert_eq!(read(&write(&[])), Ok(Vec::new()));
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(read(b""), Err(ArchiveError::NotAnArchive));
        assert_eq!(read(b"--\n-- PostgreSQL database dump\n"), Err(ArchiveError::NotAnArchive));
        let mut later = write(&[orders()]);
        later[6] = 17;
        assert_eq!(read(&later), Err(ArchiveError::Version(1, 17)));
        let mut directory = write(&[orders()]);
        directory[10] = 5;
        assert_eq!(read(&directory), Err(ArchiveError::NotAnArchive));
    }

    #[test]
    fn what_ends_too_early_is_refused_wherever_it_ends() {
        let whole = write(&[orders(), orders()]);
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0_usize..200, byte: u8) {
            let mut header = write(&[]);
            header.extend(&bytes);
            let _ = read(&header);
            let _ = read(&bytes);
            let mut damaged = write(&[orders()]);
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = read(&damaged);
        }
    }
}
