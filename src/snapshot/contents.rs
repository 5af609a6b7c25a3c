//! A snapshot as a whole: reading its manifest, seeing that its files are there, and writing the manifest at the end.

use super::codec::{self, Trouble};
use super::place::failed;
use crate::error::{Error, Result, SnapshotError};
use crate::pg::threads;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use steep_repl_core::manifest::{self, File, Manifest, MANIFEST, MANIFEST_SUM};

/// What is wrong with a file of the snapshot in `folder`, as an error that names it.
pub fn trouble(folder: &Path, file: &str, trouble: Trouble) -> Error {
    match trouble {
        Trouble::Corrupt(reason) => SnapshotError::damaged(folder, file, reason).into(),
        Trouble::Io(error) if error.kind() == ErrorKind::NotFound => {
            SnapshotError::damaged(folder, file, "It is missing.").into()
        }
        Trouble::Io(error) if error.raw_os_error().is_none() => {
            SnapshotError::damaged(folder, file, format!("{error}.")).into()
        }
        Trouble::Io(error) => failed(&folder.join(file), &error),
    }
}

/// Reads the manifest, and sees that every file it names is there and as large as it should be.
pub fn open(folder: &Path) -> Result<Manifest> {
    let path = || folder.display().to_string();
    let read = |name: &str| match fs::read(folder.join(name)) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(SnapshotError::Missing { path: path(), reason: format!("{name} is not there.") }.into())
        }
        Err(error) => Err(failed(&folder.join(name), &error)),
    };
    let manifest = manifest::read(&read(MANIFEST)?, &read(MANIFEST_SUM)?)
        .map_err(|why| SnapshotError::Manifest { path: path(), why })?;
    for file in manifest.files() {
        codec::check_size(folder, file).map_err(|found| trouble(folder, &file.path, found))?;
    }
    Ok(manifest)
}

/// Sees that every file is what it should be, byte for byte, several of them at a time. `look` is asked every now and then; its error ends the
/// work.
pub fn verify(folder: &Path, manifest: &Manifest, at_once: usize, look: impl FnMut() -> Result<()>) -> Result<()> {
    /// What ended the look at a file.
    enum Ended {
        Trouble(Trouble),
        Stopped,
    }
    impl From<Trouble> for Ended {
        fn from(found: Trouble) -> Self {
            Ended::Trouble(found)
        }
    }
    let files: Vec<&File> = manifest.files().collect();
    let next = AtomicUsize::new(0);
    let read = |stop: &AtomicBool| {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let go_on = |_| if stop.load(Ordering::Relaxed) { Err(Ended::Stopped) } else { Ok(()) };
            match codec::check_whole(folder, file, go_on) {
                Ok(()) => {}
                Err(Ended::Trouble(found)) => return Err((*file, found)),
                Err(Ended::Stopped) => break,
            }
        }
        Ok(())
    };
    threads::run(at_once.clamp(1, files.len().max(1)), read, look).map_err(|end| match end {
        threads::End::NotStarted(error) => failed(folder, &error),
        threads::End::Work((file, found)) => trouble(folder, &file.path, found),
        threads::End::Look(error) => error,
    })
}

/// Reads a small file that the manifest names.
pub fn read(folder: &Path, file: &File) -> Result<Vec<u8>> {
    codec::read_whole(folder, file).map_err(|found| trouble(folder, &file.path, found))
}

/// Writes a small file that the manifest is going to name; its entry in the folder is on disk after [`sync`].
pub fn write(folder: &Path, path: &str, content: &[u8]) -> Result<File> {
    codec::write_whole(folder, path, content).map_err(|error| failed(&folder.join(path), &error))
}

/// Has the entries of the folder on disk.
pub fn sync(folder: &Path) -> Result<()> {
    codec::sync_folder(folder).map_err(|error| failed(folder, &error))
}

/// Writes the manifest, which makes a snapshot of a folder, and has all that is in the folder on disk. A crash of the machine may leave the
/// manifest without a file that was written before it; the snapshot is complete only after this, and what is not is written again.
pub fn seal(folder: &Path, manifest: &Manifest) -> Result<()> {
    let broken = |why| Error::internal(format!("a manifest that cannot be written: {why}"));
    let (text, sum) = manifest::write(manifest).map_err(broken)?;
    // Nobody may be kept from reading it later by what stands in it.
    manifest::read(&text, &sum).map_err(broken)?;
    write(folder, MANIFEST_SUM, &sum)?;
    write(folder, MANIFEST, &text)?;
    sync(folder)
}
