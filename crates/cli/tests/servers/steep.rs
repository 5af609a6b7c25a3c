//! Runs `steep-repl` as a script would: without a terminal, and with nothing of the environment that says where to connect to.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use steep_repl_testkit::Pair;

/// What a run has left.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The program.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steep-repl"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG") || name.starts_with("STEEP_")) {
        command.env_remove(name);
    }
    // No configuration and no password file of whoever runs the tests.
    command.env("HOME", nowhere()).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
    command
}

/// A folder with nothing in it.
fn nowhere() -> PathBuf {
    PathBuf::from("/nonexistent")
}

/// The program with these arguments, separated by blanks.
pub fn with(arguments: &str) -> Command {
    let mut command = program();
    command.args(arguments.split_whitespace());
    command
}

/// The program, connected to the target of a pair.
pub fn at(pair: &Pair, arguments: &str) -> Command {
    let mut command = with(arguments);
    command.args(["--dsn", &pair.target.conninfo()]);
    command
}

/// Runs to the end.
pub fn ran(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs on a pair.
pub fn steep(pair: &Pair, arguments: &str) -> Ran {
    ran(at(pair, arguments))
}

/// Starts without waiting for the end.
pub fn started(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of what was started.
pub fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// It ended with this code, and says these words on stderr.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for words in words {
            assert!(self.stderr.contains(words), "\"{words}\" is missing:\n{}", self.stderr);
        }
        assert!(self.stderr.lines().any(|line| line.starts_with("steep-repl: error: ")), "{}", self.stderr);
    }

    /// It ended well; gives what it wrote.
    #[track_caller]
    pub fn works(&self) -> &str {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        &self.stdout
    }

    /// It ended well and wrote JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.works()).unwrap()
    }
}
