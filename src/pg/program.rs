//! Programs of this server's own installation, run as child processes: found beside the server's executable and nowhere else, without
//! the server's environment, ended when whoever waits for them is interrupted.

use crate::error::{Error, ProgramError, Result};
use pgrx::pg_sys;
use rustix::process::{kill_process_group, Pid, Signal};
use std::ffi::CStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// How often whoever waits for a program looks around, in milliseconds.
const LOOK_MS: i64 = 500;
/// How much of what a program complained about is kept, in bytes.
const MOST_COMPLAINTS: usize = 8_192;

/// Where `pg_config --bindir` points to: the directory of the server's executable, as `get_configdata()` has it.
fn directory() -> PathBuf {
    // SAFETY: set by the postmaster before anything else, NUL-terminated, and never changed.
    let path = unsafe { CStr::from_ptr((&raw const pg_sys::my_exec_path).cast()) };
    Path::new(path.to_string_lossy().as_ref()).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// A program of the server's installation. 58P01 when it is not there.
pub fn find(name: &'static str) -> Result<PathBuf> {
    let path = directory().join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Program(ProgramError::Missing {
        program: name,
        directory: directory().display().to_string(),
        major: super::system::major(),
    }))
}

/// A directory for files with secrets: of nobody else's, gone with this value, not part of a base backup, and taken away at the server's next
/// start when its process had no time to.
pub struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    /// Makes one.
    pub fn new() -> Result<PrivateDirectory> {
        // Whoever starts the server removes what begins so in this folder, with all that is in it.
        let parent = Path::new("base/pgsql_tmp");
        let path = parent.join(format!("pgsql_tmp_steep_repl_{:016x}", super::system::random_u64()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|error| failed(parent, &error))?;
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed(&path, &error))?;
        // Programs are not started in this folder for ever.
        let whole = fs::canonicalize(&path).map_err(|error| failed(&path, &error));
        match whole {
            Ok(whole) => Ok(PrivateDirectory(whole)),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    /// Writes a file that nobody else may read; its path.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_bytes()))
            .map_err(|error| failed(&path, &error))?;
        Ok(path)
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::File {
        path: path.display().to_string(),
        reason: error.to_string(),
        is_full: error.kind() == ErrorKind::StorageFull,
    }
}

/// What a program has written.
pub struct Output {
    /// To its standard output.
    pub stdout: Vec<u8>,
    /// To its standard error, the last of it.
    pub complaints: String,
    /// Whether it said that it had succeeded.
    pub succeeded: bool,
}

/// A program that runs; its output is read while it does. Ended and waited for, however the work around it ends.
pub struct Running {
    child: Child,
    output: ChildStdout,
    complaints: PathBuf,
    program: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // With what it has started itself. All of this fails only for a program that has ended and was waited for.
        end_group(&self.child, Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a child that leads a group of processes, and to all of these.
pub(super) fn end_group(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

/// Prepares a program: a group of its own, nothing of the server's environment; ended by `at_death` when this process is gone.
pub(super) fn command(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, String)],
    at_death: Signal,
) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null());
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec this only makes a system call. A process of the server that leaves by a FATAL error runs no destructor.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(at_death)).map_err(std::io::Error::from)
        });
    }
    #[cfg(not(target_os = "linux"))]
    let _ = at_death;
    command
}

/// Starts a program. Its complaints go to a file in `private`, which must live as long as it runs.
pub fn start(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, String)],
    private: &PrivateDirectory,
) -> Result<Running> {
    // Only the output is waited for; complaints go to a file meanwhile.
    let complaints = private.write("complaints", "")?;
    let to_complaints =
        fs::OpenOptions::new().append(true).open(&complaints).map_err(|error| failed(&complaints, &error))?;
    let mut child = command(program, arguments, environment, Signal::KILL)
        .stdout(Stdio::piped())
        .stderr(to_complaints)
        .spawn()
        .map_err(|error| failed(program, &error))?;
    let Some(output) = child.stdout.take() else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::internal("a program without output"));
    };
    Ok(Running { child, output, complaints, program: program.to_owned() })
}

impl Running {
    /// Reads what it has written, 0 bytes at its end; waits for something, or for `LOOK_MS`: none then. Answers to interrupts.
    pub fn read(&mut self, piece: &mut [u8]) -> Result<Option<usize>> {
        if !wait_readable(&self.output) {
            return Ok(None);
        }
        match self.output.read(piece) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(failed(Path::new("pipe"), &error)),
        }
    }

    /// Waits for its end, which follows the end of its output. Its complaints, the last of them, and whether it says that it has succeeded.
    pub fn end(&mut self) -> Result<(String, bool)> {
        let status = self.child.wait().map_err(|error| failed(&self.program, &error))?;
        let complaints = fs::read(&self.complaints).map_err(|error| failed(&self.complaints, &error))?;
        let tail = complaints.get(complaints.len().saturating_sub(MOST_COMPLAINTS)..).unwrap_or_default();
        Ok((String::from_utf8_lossy(tail).replace('\0', " ").trim().to_owned(), status.success()))
    }
}

/// Runs a program to its end. `go_on` is asked about twice a second; its error ends the program.
pub fn run(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, String)],
    private: &PrivateDirectory,
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Output> {
    let mut running = start(program, arguments, environment, private)?;
    let mut stdout = Vec::new();
    let mut piece = vec![0; 65_536];
    let mut looked_at = super::system::now_secs();
    loop {
        match running.read(&mut piece)? {
            Some(0) => break,
            Some(count) => stdout.extend(piece.iter().take(count)),
            None => {}
        }
        let now = super::system::now_secs();
        if now - looked_at >= LOOK_MS as f64 / 1000.0 {
            looked_at = now;
            go_on()?;
        }
    }
    let (complaints, succeeded) = running.end()?;
    Ok(Output { stdout, complaints, succeeded })
}

/// Waits until there is something to read, or something else to do. Answers to interrupts.
fn wait_readable(output: &ChildStdout) -> bool {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_SOCKET_READABLE | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: the process's own latch, and a file descriptor that is open.
    let came = unsafe {
        let came = pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as i32,
            output.as_raw_fd(),
            LOOK_MS,
            pg_sys::PG_WAIT_EXTENSION,
        );
        if came as u32 & pg_sys::WL_LATCH_SET != 0 {
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        came as u32
    };
    pgrx::check_for_interrupts!();
    came & pg_sys::WL_SOCKET_READABLE != 0
}
