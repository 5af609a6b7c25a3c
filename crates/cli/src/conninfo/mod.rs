//! Where to connect to and as whom: what libpq makes of the same options, environment and files.

use crate::failure::Failure;

/// What was given on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `--dsn`, or a `-d` that is a connection string: a URI or keywords and values.
    pub dsn: Option<String>,
    /// `-h`.
    pub host: Option<String>,
    /// `-p`.
    pub port: Option<String>,
    /// `-U`.
    pub user: Option<String>,
    /// `-d`.
    pub dbname: Option<String>,
}

/// Parameters of libpq, with all defaults filled in. `Debug` shows no secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conninfo {
    inner: steep_repl_core::conninfo::Conninfo,
}

impl Conninfo {
    /// In libpq's order of precedence: what is given, then the environment, then the service file, then defaults; the password file last.
    ///
    /// # Errors
    /// Exit code 2 for what cannot be understood.
    pub fn resolve(given: &Given, environment: &dyn Fn(&str) -> Option<String>) -> Result<Conninfo, Failure> {
        let _ = (given, environment);
        Ok(Conninfo::default())
    }

    /// The value of a keyword.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.inner.get(keyword)
    }

    /// How to get to another node: host, hostaddr, port and dbname of `node` (a connection string without secrets), everything else as the user
    /// gave it for this one; the password from the password file if it has one for that node.
    ///
    /// # Errors
    /// Exit code 6 when `node` cannot be understood.
    pub fn towards(&self, node: &str) -> Result<Conninfo, Failure> {
        let _ = node;
        Ok(self.clone())
    }

    /// `host:port/dbname`, for messages.
    pub fn describe(&self) -> String {
        String::new()
    }
}
