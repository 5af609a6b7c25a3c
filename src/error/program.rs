//! What can be wrong with programs of the server's installation, and with large tables that come by them.

/// See there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProgramError {
    /// A program of the server's installation is not there.
    #[error("{program} of PostgreSQL {major} is not in \"{directory}\"")]
    Missing {
        /// The program.
        program: &'static str,
        /// Where it should be.
        directory: String,
        /// Major version of the server.
        major: u32,
    },
    /// A program of another version than the server's.
    #[error("{program} has version {version}, this server is PostgreSQL {major}")]
    Version {
        /// The program.
        program: &'static str,
        /// What it says of itself.
        version: String,
        /// Major version of the server.
        major: u32,
    },
    /// A program has not done what it should.
    #[error("{program} could not {what} of node \"{node}\"")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it was to do.
        what: String,
        /// The node.
        node: String,
        /// The program's own words.
        complaints: String,
    },
    /// Something stands against the way that large tables were to go.
    #[error("large_table_method {method} cannot be used")]
    LargeTables {
        /// The way.
        method: &'static str,
        /// What stands against it.
        reason: String,
        /// What to do about that.
        hint: String,
    },
    /// A private server over a base backup does not come up.
    #[error("the private server over the base backup of node \"{node}\" has ended")]
    PrivateServer {
        /// The source.
        node: String,
        /// The last lines of its log.
        log: String,
    },
    /// A connection string that cannot be handed to a program without showing a secret.
    #[error("the connection string of node \"{node}\" has {keyword}, which cannot be handed to {program}")]
    Secret {
        /// The node.
        node: String,
        /// The keyword.
        keyword: &'static str,
        /// The program.
        program: &'static str,
    },
}

impl ProgramError {
    /// SQLSTATE, detail and hint.
    pub(super) fn parts(&self) -> (&'static str, Option<String>, Option<String>) {
        use ProgramError::*;
        match self {
            Missing { program, major, .. } => (
                "58P01",
                Some(match *program {
                    "pg_dump" => {
                        "schema_sync => 'auto' and large_table_method => 'pg_dump' read the source by the pg_dump that belongs to this server."
                    }
                    _ => "large_table_method => 'basebackup' uses the programs that belong to this server.",
                }
                .to_owned()),
                Some(format!(
                    "Install the client programs of PostgreSQL {major} beside the server, or use schema_sync => 'strict' with tables made \
                     by hand, and large_table_method => 'copy'."
                )),
            ),
            Version { major, .. } => (
                "58P01",
                Some("What an older one writes may lack what this server has, and what a newer one writes may not be understood.".to_owned()),
                Some(format!("Install the client programs of PostgreSQL {major} beside the server.")),
            ),
            Failed { complaints, .. } => (
                "58000",
                Some(complaints.clone()),
                Some(
                    "The role that the node's connection string names needs SELECT on all tables of the source, and the source must be \
                     of no later major version than this server. A lock that somebody holds there is waited for 60 s."
                        .to_owned(),
                ),
            ),
            LargeTables { reason, hint, .. } => ("55000", Some(reason.clone()), Some(hint.clone())),
            PrivateServer { log, .. } => (
                super::Error::PRIVATE_SERVER,
                Some(log.clone()),
                Some("Mend what its log says, or use large_table_method => 'copy'.".to_owned()),
            ),
            Secret { keyword, .. } => (
                "0A000",
                None,
                Some(format!("Take {keyword} out of the connection string, or make the tables by hand and use schema_sync => 'strict'.")),
            ),
        }
    }
}
