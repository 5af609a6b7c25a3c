//! Which instance this is: the data directory that the server runs on.
//!
//! What is decided with it is pure ([`steep_repl_core::instance`]); here it is looked up. Whether an instance was a standby
//! cannot be seen any more once it is promoted, so it is written down when the server is started as one, in a file beside
//! those of other extensions. The file names the instance: in a copy it means nothing.

use super::{raise, system};
use pgrx::pg_sys;
use std::ffi::CStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;
use steep_repl_core::instance::{Here, Instance};

/// Says which instance was started as a standby. PostgreSQL leaves other people's files in this folder alone.
const STANDBY_NOTE: &str = "pg_stat/steep_repl.standby";

/// The data directory.
pub fn data_directory() -> PathBuf {
    // SAFETY: set before any library is loaded, and a string as long as the process lives.
    let name = unsafe { CStr::from_ptr(pg_sys::DataDir) };
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())).to_owned()
}

fn look() -> std::io::Result<Instance> {
    // Written by initdb and never again; not even pg_rewind touches it.
    let file = std::fs::metadata(data_directory().join("PG_VERSION"))?;
    let born = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(Instance { inode: file.ino(), born: born.map(|since| since.as_nanos()) })
}

/// This instance. None when it cannot be told, which the server would not have survived itself: it reads the same file.
pub fn this() -> Option<Instance> {
    static THIS: OnceLock<Option<Instance>> = OnceLock::new();
    *THIS.get_or_init(|| {
        look()
            .map_err(|error| raise::log_line(&format!("steep_repl: file PG_VERSION cannot be looked at: {error}")))
            .ok()
    })
}

/// Notes, when the server is started as a standby, that this instance is one; at preload only.
pub fn note_standby() {
    let folder = data_directory();
    if !folder.join("standby.signal").exists() {
        return;
    }
    let Some(this) = this() else { return };
    if noted() == Some(this) {
        return;
    }
    let written = std::fs::File::create(folder.join(STANDBY_NOTE)).and_then(|mut file| {
        file.write_all(this.to_string().as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written {
        raise::log_line(&format!(
            "steep_repl: file {STANDBY_NOTE} cannot be written: {error}; when this standby is promoted it does not go on with \
             operations of its primary"
        ));
    }
}

fn noted() -> Option<Instance> {
    std::fs::read_to_string(data_directory().join(STANDBY_NOTE)).ok()?.parse().ok()
}

/// Whether this server is a standby, or not recovered yet.
pub fn in_recovery() -> bool {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Timeline that is written to; none during recovery.
fn timeline() -> Option<u32> {
    // SAFETY: reads shared memory; it may be asked for when recovery is over.
    (!in_recovery()).then(|| unsafe { pg_sys::GetWALInsertionTimeLine() })
}

/// What is written down of the timelines before one; none when that cannot be read.
pub fn timeline_history(timeline: u32) -> Option<String> {
    std::fs::read_to_string(data_directory().join(format!("pg_wal/{timeline:08X}.history"))).ok()
}

/// Where this process is. None when that cannot be told.
pub fn here() -> Option<Here> {
    // Written before this process was, or never.
    static WAS_STANDBY: OnceLock<bool> = OnceLock::new();
    let instance = this()?;
    Some(Here {
        system_identifier: system::system_identifier().to_string(),
        database: system::database_oid(),
        instance,
        timeline: timeline(),
        was_standby: *WAS_STANDBY.get_or_init(|| noted().is_some_and(|noted| noted.is(&instance))),
    })
}
