//! Where the PostgreSQL programs of a version are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::root;

/// The programs of one PostgreSQL version.
#[derive(Clone, Debug)]
pub struct Installation {
    bindir: PathBuf,
    major: u32,
}

impl Installation {
    /// The server that the extension is built for: `PG_CONFIG`, or what `scripts/find-postgres.sh` finds.
    pub fn current() -> &'static Installation {
        static CURRENT: OnceLock<Installation> = OnceLock::new();
        CURRENT.get_or_init(|| {
            let pg_config = match std::env::var_os("PG_CONFIG") {
                Some(path) if !path.is_empty() => PathBuf::from(path),
                _ => PathBuf::from(output(Command::new("bash").arg(workspace_root().join("scripts/find-postgres.sh")))),
            };
            Installation::at(PathBuf::from(output(Command::new(pg_config).arg("--bindir"))))
        })
    }

    /// An older server, for sources: `STEEP_REPL_OLD_BINDIR`, or a PostgreSQL 14 to 16 at the distribution's place.
    pub fn old() -> &'static Installation {
        static OLD: OnceLock<Installation> = OnceLock::new();
        OLD.get_or_init(|| {
            let found = match std::env::var_os("STEEP_REPL_OLD_BINDIR") {
                Some(path) => Some(PathBuf::from(path)),
                None => (14..=16)
                    .map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")))
                    .find(|bindir| bindir.join("postgres").exists()),
            };
            let Some(bindir) = found else {
                panic!("no PostgreSQL 14 to 16 found: run scripts/install-deps.sh tests, or set STEEP_REPL_OLD_BINDIR");
            };
            Installation::at(bindir)
        })
    }

    fn at(bindir: PathBuf) -> Installation {
        let version = output(Command::new(bindir.join("postgres")).arg("--version"));
        let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
        let major = digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|text| text.parse().ok());
        let Some(major) = major else { panic!("cannot read a version from {version:?}") };
        Installation { bindir, major }
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of one of the installation's programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// The same server with programs of its own, which a test may take away or replace. Everything else is the original's: a server looks for
    /// that relative to where its program is, so the programs lie at the same path below a folder of their own.
    pub fn with_own_programs(&self, label: &str) -> Installation {
        let folder = root::folder(label);
        let below = |path: &Path| folder.join(path.strip_prefix("/").unwrap_or(path));
        let bindir = below(&self.bindir);
        let made = fs::create_dir_all(&bindir).and_then(|()| {
            for entry in fs::read_dir(&self.bindir)? {
                // A program that is a link is found where the link points to.
                let entry = entry?;
                fs::copy(entry.path(), bindir.join(entry.file_name()))?;
            }
            for option in ["--sharedir", "--pkglibdir"] {
                let original = PathBuf::from(output(Command::new(self.program("pg_config")).arg(option)));
                let link = below(&original);
                if !link.exists() {
                    link.parent().map_or(Ok(()), fs::create_dir_all)?;
                    symlink(&original, &link)?;
                }
            }
            Ok(())
        });
        if let Err(error) = made {
            panic!("cannot copy the programs in {}: {error}", self.bindir.display());
        }
        Installation { bindir, major: self.major }
    }

    /// Whether the extension under test was installed into this server.
    pub fn has_extension(&self) -> bool {
        let sharedir = output(Command::new(self.program("pg_config")).arg("--sharedir"));
        Path::new(&sharedir).join("extension/steep_repl.control").exists()
    }
}

/// The folder with the workspace's Cargo.toml.
pub fn workspace_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs a program that must work, and returns its trimmed output.
pub(crate) fn output(command: &mut Command) -> String {
    let result = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    if !result.status.success() {
        panic!(
            "{command:?} failed ({}):\n{}{}",
            result.status,
            String::from_utf8_lossy(&result.stdout),
            String::from_utf8_lossy(&result.stderr)
        );
    }
    String::from_utf8_lossy(&result.stdout).trim().to_string()
}
