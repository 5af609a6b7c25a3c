//! Where a snapshot may be: below `steep_repl.snapshot_directory`, wherever symbolic links lead, unless the role may read or write files of
//! the server anyway. Looked at once, by the function that starts an operation; what it gives is a path without links.

use super::codec::{self, UNFINISHED};
use crate::error::{Error, Result, SnapshotError};
use crate::pg::{instance, role};
use crate::settings;
use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use steep_repl_core::manifest::{DATA, MANIFEST, MANIFEST_SUM};

/// OIDs of roles that the server brings along.
const PG_READ_SERVER_FILES: u32 = 4569;
const PG_WRITE_SERVER_FILES: u32 = 4570;

/// A file with the identity of the snapshot, by which a folder is known before the manifest is there.
pub const MARK: &str = "snapshot_id";

/// What is to be done with a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A snapshot is read.
    Read,
    /// One is written, under this identity.
    Write,
}

/// The system's error about a file, as ours.
pub fn failed(path: &Path, error: &io::Error) -> Error {
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    Error::File { path: path.display().to_string(), reason: error.to_string(), is_full }
}

fn wrong(path: &Path, reason: &str) -> Error {
    SnapshotError::Path { path: path.display().to_string(), reason: reason.to_owned() }.into()
}

/// The folder that is meant by `path`, without symbolic links. A new one may have to be made yet; its parent must be there.
pub fn resolve(path: Option<&str>, id: &str, access: Access) -> Result<PathBuf> {
    let privileged = match access {
        Access::Read => PG_READ_SERVER_FILES,
        Access::Write => PG_WRITE_SERVER_FILES,
    };
    let free = role::has_rights_of(role::current(), privileged);
    let base = settings::snapshot_directory().map(PathBuf::from);
    let given = match (path, &base) {
        (Some(path), Some(base)) => base.join(path),
        (Some(path), None) if free && Path::new(path).is_absolute() => PathBuf::from(path),
        (None, Some(base)) => base.clone(),
        (_, None) => return Err(SnapshotError::NoDirectory.into()),
    };
    if !given.is_absolute() || given.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(wrong(&given, "It is no absolute path."));
    }
    if given.components().any(|part| part == Component::ParentDir) {
        return Err(wrong(&given, "It has \"..\" in it."));
    }
    let base = match &base {
        Some(base) => Some(fs::canonicalize(base).map_err(|error| failed(base, &error))?),
        None => None,
    };
    let whole = canonical(&given, access)?;
    // The directory itself is for many of them.
    let whole = if access == Access::Write && Some(&whole) == base.as_ref() { whole.join(id) } else { whole };
    let is_below = base.as_ref().is_some_and(|base| whole.starts_with(base) && whole != *base);
    if !is_below && !free {
        let role = if access == Access::Read { "pg_read_server_files" } else { "pg_write_server_files" };
        return Err(SnapshotError::Outside { path: given.display().to_string(), role }.into());
    }
    let data = instance::data_directory();
    let data = fs::canonicalize(&data).unwrap_or(data);
    if whole.starts_with(&data) || data.starts_with(&whole) {
        return Err(wrong(&given, "It is the server's data directory, or in it or around it."));
    }
    Ok(whole)
}

/// A path without links; of one that is not there yet, its parent's.
fn canonical(path: &Path, access: Access) -> Result<PathBuf> {
    match fs::canonicalize(path) {
        Ok(whole) => Ok(whole),
        Err(error) if error.kind() == ErrorKind::NotFound && access == Access::Write => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(wrong(path, "It is a symbolic link to nowhere."));
            }
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(wrong(path, "It has no name."));
            };
            let parent = fs::canonicalize(parent).map_err(|error| failed(parent, &error))?;
            Ok(parent.join(name))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(SnapshotError::Missing { path: path.display().to_string(), reason: "It does not exist.".to_owned() }
                .into())
        }
        Err(error) => Err(failed(path, &error)),
    }
}

/// The identity of the snapshot that was begun in a folder. None when nothing is there, or nothing yet.
pub fn begun(folder: &Path) -> Result<Option<String>> {
    match fs::read_to_string(folder.join(MARK)) {
        Ok(id) => return Ok(Some(id.trim_end().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(SnapshotError::Exists { path: folder.display().to_string() }.into());
        }
        Err(error) => return Err(failed(folder, &error)),
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(folder, &error)),
    };
    for entry in entries {
        // What a crash may leave of the very first file is nothing yet.
        if entry.map_err(|error| failed(folder, &error))?.file_name() != *unfinished_mark() {
            return Err(SnapshotError::Exists { path: folder.display().to_string() }.into());
        }
    }
    Ok(None)
}

/// The mark's name before it is complete.
fn unfinished_mark() -> String {
    format!("{MARK}{UNFINISHED}")
}

/// Makes the folder of a snapshot, or takes up the one that was begun.
pub fn make(folder: &Path, id: &str) -> Result<()> {
    match begun(folder)? {
        Some(other) if other != id => return Err(SnapshotError::Exists { path: folder.display().to_string() }.into()),
        _ => {}
    }
    for one in [folder.to_owned(), folder.join(DATA)] {
        match fs::DirBuilder::new().mode(0o700).create(&one) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(&one, &error)),
            _ => {}
        }
        if !fs::symlink_metadata(&one).is_ok_and(|found| found.is_dir()) {
            return Err(wrong(&one, "It is no directory."));
        }
        if one == *folder {
            let mark = folder.join(MARK);
            codec::write_whole(folder, MARK, format!("{id}\n").as_bytes()).map_err(|error| failed(&mark, &error))?;
            // Before anything else is in the folder: without it nobody knows whose that is.
            codec::sync_folder(folder).map_err(|error| failed(&mark, &error))?;
        }
    }
    let synced = folder.parent().map_or(Ok(()), codec::sync_folder).and_then(|()| codec::sync_folder(folder));
    synced.map_err(|error| failed(folder, &error))
}

/// Removes a snapshot that was begun under this identity; nothing else in the folder, and nothing when it is another's.
pub fn remove(folder: &Path, id: &str) -> Result<()> {
    match fs::read_to_string(folder.join(MARK)) {
        Ok(found) if found.trim_end() == id => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Nobody knows whose a mark is that is not complete; the folder goes when there is nothing else in it.
            let _ = fs::remove_file(folder.join(unfinished_mark()));
            return empty(folder);
        }
        Err(error) => return Err(failed(folder, &error)),
    }
    let gone = |path: PathBuf| match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&path, &error)),
        _ => Ok(()),
    };
    // What makes it a snapshot first: half of one must not be taken for one.
    for name in [MANIFEST, MANIFEST_SUM] {
        gone(folder.join(name))?;
    }
    let data = folder.join(DATA);
    for place in [&data, folder] {
        let entries = match fs::read_dir(place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(place, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed(place, &error))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name != MARK && is_ours(name.strip_suffix(UNFINISHED).unwrap_or(&name), *place == data) {
                gone(entry.path())?;
            }
        }
        if *place == data {
            empty(&data)?;
        }
    }
    gone(folder.join(MARK))?;
    gone(folder.join(unfinished_mark()))?;
    empty(folder)
}

/// Removes files with rows that nobody writes to any more and that were not completed, of a snapshot that was begun under this identity.
pub fn remove_unfinished(folder: &Path, id: &str) -> Result<()> {
    remove_rows(folder, id, |path| path.ends_with(UNFINISHED))
}

/// Removes files with rows that are none of the given ones: what an earlier attempt has left, which had cut its tables otherwise.
pub fn remove_others(folder: &Path, id: &str, kept: &HashSet<&str>) -> Result<()> {
    remove_rows(folder, id, |path| !kept.contains(path))
}

/// Removes files with rows, by their places below the folder.
fn remove_rows(folder: &Path, id: &str, is_left: impl Fn(&str) -> bool) -> Result<()> {
    // One that is not begun has none.
    if !fs::read_to_string(folder.join(MARK)).is_ok_and(|found| found.trim_end() == id) {
        return Ok(());
    }
    let data = folder.join(DATA);
    let entries = match fs::read_dir(&data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(&data, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| failed(&data, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_ours(&name, true) && is_left(&format!("{DATA}/{name}")) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
        }
    }
    Ok(())
}

/// Whether a file of that name is one that a snapshot has.
fn is_ours(name: &str, in_data: bool) -> bool {
    use steep_repl_core::manifest::{SCHEMA, SEQUENCES};
    if in_data {
        return name.contains(".copy");
    }
    [MANIFEST, MANIFEST_SUM, SCHEMA, SEQUENCES].contains(&name)
}

/// Removes a folder that is empty. One that is not, or is a mount point, stays.
fn empty(folder: &Path) -> Result<()> {
    match fs::remove_dir(folder) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound
                    | ErrorKind::DirectoryNotEmpty
                    | ErrorKind::ResourceBusy
                    | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(failed(folder, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crash may leave the first file of a folder unfinished, and nothing else.
    #[test]
    fn a_folder_that_was_hardly_begun_is_free() {
        let folder = std::env::temp_dir().join(format!("steep_repl_place_{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(unfinished_mark()), "0123").unwrap();
        assert_eq!(begun(&folder).unwrap(), None);
        // Somebody's own file is in the way, and stays.
        fs::write(folder.join("notes"), "").unwrap();
        assert!(begun(&folder).is_err());
        remove(&folder, "0123").unwrap();
        assert!(folder.join("notes").exists());
        fs::remove_file(folder.join("notes")).unwrap();
        remove(&folder, "0123").unwrap();
        assert!(!folder.exists());
    }

    /// What is left of rows goes, by whoever began the folder; what is no file of ours stays.
    #[test]
    fn what_attempts_have_left() {
        let folder = std::env::temp_dir().join(format!("steep_repl_left_{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join(DATA)).unwrap();
        fs::write(folder.join(MARK), "0123\n").unwrap();
        let files = ["data/1.0.copy.zst", "data/1.0.copy.zst.unfinished", "data/1.8.copy.zst", "data/notes"];
        for path in files {
            fs::write(folder.join(path), "").unwrap();
        }
        let left = || files.map(|path| folder.join(path).exists());
        remove_others(&folder, "4567", &HashSet::new()).unwrap();
        assert_eq!(left(), [true; 4]);
        remove_unfinished(&folder, "0123").unwrap();
        assert_eq!(left(), [true, false, true, true]);
        remove_others(&folder, "0123", &HashSet::from([files[2]])).unwrap();
        assert_eq!(left(), [false, false, true, true]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
