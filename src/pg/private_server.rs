//! A private server over a base backup: configured, started, looked at and stopped. It is a child of the process that has it.

use super::program::{self, failed};
use super::scratch::Place;
use crate::error::{Error, ProgramError, Result};
use rustix::process::{kill_process, Pid, Signal};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Stdio};
use steep_repl_core::private_server::{configuration, Wanted, HBA};

/// Lines of its log that an error shows.
const SHOWN: usize = 12;

/// A server that was started.
pub struct PrivateServer {
    child: Child,
    place: Place,
    node: String,
}

/// Writes the configuration of a backup, in place of what came with it.
pub fn configure(place: &Place, wanted: &Wanted) -> Result<()> {
    let data = place.data();
    let write = |name: &str, text: &str| {
        let path = data.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, &error))
    };
    write("postgresql.conf", &configuration(wanted))?;
    write("pg_hba.conf", HBA)?;
    write("pg_ident.conf", "")?;
    write("standby.signal", "")?;
    // What ALTER SYSTEM has set on the source would count for more.
    write("postgresql.auto.conf", "")?;
    for name in ["recovery.signal", "postmaster.opts"] {
        remove(&data.join(name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, &error)),
        _ => Ok(()),
    }
}

impl PrivateServer {
    /// Starts it. It ends with this process, however that ends.
    pub fn start(place: &Place, node: &str, environment: &[(&str, String)]) -> Result<PrivateServer> {
        let program = program::find("postgres")?;
        let log = place.log();
        let output = fs::File::create(&log).map_err(|error| failed(&log, &error))?;
        let complaints = output.try_clone().map_err(|error| failed(&log, &error))?;
        let arguments = ["-D".to_owned(), place.data().display().to_string()];
        let child = program::command(&program, &arguments, environment, Signal::QUIT)
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(complaints))
            .spawn()
            .map_err(|error| failed(&program, &error))?;
        Ok(PrivateServer { child, place: place.clone(), node: node.to_owned() })
    }

    /// [`ProgramError::PrivateServer`] with the end of its log when it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(Error::Program(ProgramError::PrivateServer { node: self.node.clone(), log: self.log() })),
        }
    }

    /// Whether it takes connections.
    pub fn is_open(&self) -> bool {
        let said = fs::read_to_string(self.place.data().join("postmaster.pid")).unwrap_or_default();
        said.lines().last().is_some_and(|line| matches!(line.trim(), "standby" | "ready"))
    }

    fn log(&self) -> String {
        let text =
            fs::read(self.place.log()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
    }

    /// Ends it at once: what it has is thrown away.
    pub fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            let _ = kill_process(pid, Signal::QUIT);
        }
        // A postmaster that is told so kills after five seconds what does not end by itself.
        let _ = self.child.wait();
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.stop();
    }
}
