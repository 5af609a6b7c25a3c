//! A program that runs beside a test.

use std::process::{Child, Command};

/// Ended with this value, so that it outlives no test.
pub struct Running(Child);

impl Running {
    /// Starts a command of [`crate::root::server_command`].
    pub fn start(command: &mut Command) -> Running {
        match command.spawn() {
            Ok(child) => Running(child),
            Err(error) => panic!("cannot start {command:?}: {error}"),
        }
    }

    /// Whether it goes on.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
