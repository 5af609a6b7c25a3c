//! The directory of an operation below `steep_repl.scratch_directory`: made for a base backup and the private server over it, and taken away
//! with whatever runs there.

use super::program::failed;
use super::system;
use crate::error::{Error, Result};
use rustix::fs::{access, Access};
use rustix::process::{kill_process, test_kill_process, Pid, Signal};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The longest path of a socket that systems take (`sun_path`), its end not counted, in bytes.
const SOCKET_PATH: usize = 107;
/// How long a server may take to end when it is told to do so at once, in seconds.
const ENDS_WITHIN: f64 = 10.0;
/// How often to look, in milliseconds.
const LOOK_MS: i64 = 50;

/// Where the things of an operation are.
#[derive(Debug, Clone)]
pub struct Place {
    /// The operation's own directory. The socket is in it.
    pub directory: PathBuf,
}

impl Place {
    /// Below the scratch directory, by the operation's name.
    pub fn new(scratch: &str, name: &str) -> Place {
        Place { directory: Path::new(scratch).join(name) }
    }

    /// The backup.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// What the private server says.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Where a tablespace of the source goes, by its OID.
    pub fn tablespace(&self, oid: u32) -> PathBuf {
        self.directory.join("tablespaces").join(oid.to_string())
    }

    /// Makes the directory, for nobody else.
    pub fn make(&self) -> Result<()> {
        fs::DirBuilder::new().mode(0o700).create(&self.directory).map_err(|error| failed(&self.directory, &error))
    }

    /// Ends what runs in the directory, and removes it with all that is in it. Nothing happens when it is not there.
    pub fn clear(&self) -> Result<()> {
        end_server(&self.data())?;
        // A program that was ended a moment ago may still have made a file.
        for _ in 0..3 {
            match fs::remove_dir_all(&self.directory) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => system::wait_latch(LOOK_MS),
                Err(error) => return Err(failed(&self.directory, &error)),
            }
        }
        fs::remove_dir_all(&self.directory).map_err(|error| failed(&self.directory, &error))
    }
}

/// Why a directory cannot be the scratch directory, in words.
pub fn why_not(scratch: &str, name: &str) -> Option<String> {
    let path = Path::new(scratch);
    if scratch.is_empty() {
        return Some("steep_repl.scratch_directory is not set.".to_owned());
    }
    if !path.is_absolute() {
        return Some(format!("steep_repl.scratch_directory must be an absolute path: \"{scratch}\"."));
    }
    let found = match fs::canonicalize(path) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => return Some(format!("steep_repl.scratch_directory is no directory: \"{scratch}\".")),
        Err(error) => return Some(format!("steep_repl.scratch_directory cannot be used: \"{scratch}\": {error}.")),
    };
    if access(&found, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Some(format!("The server's user may not write into steep_repl.scratch_directory: \"{scratch}\"."));
    }
    let data = super::instance::data_directory();
    if fs::canonicalize(&data).is_ok_and(|data| found.starts_with(data)) {
        return Some(
            "steep_repl.scratch_directory is inside the data directory, whose backups would hold it.".to_owned(),
        );
    }
    let socket = path.join(name).join(format!(".s.PGSQL.{}", steep_repl_core::private_server::PORT));
    let length = socket.as_os_str().len();
    (length > SOCKET_PATH)
        .then(|| format!("The path of a socket below steep_repl.scratch_directory would have {length} bytes, more than {SOCKET_PATH}."))
}

/// What may still be written to a file system. None where it does not tell.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let said = rustix::fs::statvfs(folder).ok()?;
    Some(said.f_bavail.saturating_mul(said.f_frsize))
}

/// The server of a data directory, when it is one that runs there: its pid file names it, and it stands in that directory.
fn server_of(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let stands_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (Some(stands_in) == fs::canonicalize(data).ok()).then(|| Pid::from_raw(pid)).flatten()
}

/// Ends the server of a data directory at once, and waits until it is gone.
fn end_server(data: &Path) -> Result<()> {
    let started = system::now_secs();
    let mut signal = Signal::QUIT;
    while let Some(pid) = server_of(data) {
        // It may be a child of ours that has ended and is not waited for: that stands nowhere.
        if test_kill_process(pid).is_err() {
            return Ok(());
        }
        let _ = kill_process(pid, signal);
        if system::now_secs() - started > 2.0 * ENDS_WITHIN {
            return Err(Error::WorkerStays { pid: pid.as_raw_nonzero().get() });
        }
        if system::now_secs() - started > ENDS_WITHIN {
            signal = Signal::KILL;
        }
        system::wait_latch(LOOK_MS);
    }
    Ok(())
}
