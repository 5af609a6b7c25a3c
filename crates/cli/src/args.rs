//! The command line. What `--help`, the manual page and the completions say stands here.

use crate::duration;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 3 schema mismatch, 4 cancelled, 5 timeout, 6 connection, 7 preflight failed, 8 differences found.

A node is named as it is in steep_repl.nodes. Connect to any node that has the extension: the others are found there, and connected to \
with your own user and password.";

/// Makes a PostgreSQL database a synchronized logical-replication node, and shows how far it is.
#[derive(Debug, Parser)]
#[command(name = "steep-repl", version, disable_help_flag = true, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub output: Output,
    /// Configuration file [default: $STEEP_REPL_CONFIG, then ~/.config/steep/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print help
    #[arg(long, global = true, short = '?', action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(subcommand)]
    pub command: Command,
}

/// As psql has them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Server's host name, or folder of its socket
    #[arg(short = 'h', long, global = true)]
    pub host: Option<String>,
    /// Server's port
    #[arg(short = 'p', long, global = true)]
    pub port: Option<String>,
    /// User name
    #[arg(short = 'U', long = "username", global = true)]
    pub user: Option<String>,
    /// Database, or a connection string
    #[arg(short = 'd', long = "dbname", global = true)]
    pub dbname: Option<String>,
    /// Connection string: a postgresql:// URI, or keywords and values
    #[arg(long, global = true, value_name = "CONNINFO")]
    pub dsn: Option<String>,
    /// Connect to this node of the configuration file
    #[arg(long, global = true, value_name = "NODE", conflicts_with_all = ["dsn", "host", "dbname"])]
    pub at: Option<String>,
    /// Never ask for a password
    #[arg(short = 'w', long, global = true, conflicts_with = "password")]
    pub no_password: bool,
    /// Ask for a password before connecting
    #[arg(short = 'W', long, global = true)]
    pub password: bool,
}

/// How results are written.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Write JSON to stdout (docs/json.md)
    #[arg(long, global = true)]
    pub json: bool,
    /// No colours; so does NO_COLOR
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Do not ask for the node's name before something is taken away
    #[arg(short = 'y', long, global = true)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Initialize a node from another one
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Init(Init),
    /// Copy tables of a node again while the others replicate
    Reinit(Reinit),
    /// Bring in tables that came to the source since
    Refresh(Refresh),
    /// Cancel an initialization, and put back everything it has made
    Cancel { node: String },
    /// Go on with an initialization that has failed
    Resume {
        node: String,
        /// Follow it to its end
        #[arg(long)]
        follow: bool,
    },
    /// Let an initialization go on that waits since schemas differ (--schema-sync manual)
    Confirm { node: String },
    /// Wait for the end of a node's operation
    Wait {
        node: String,
        /// Give up after this time, such as 90s, 1h or 1h30m
        #[arg(long, value_parser = duration::parse)]
        timeout: Option<Duration>,
    },
    /// How nodes are
    Status {
        /// One node, with its tables
        node: Option<String>,
    },
    /// List, register and unregister nodes
    #[command(subcommand)]
    Nodes(Nodes),
    /// What has happened
    Events(Events),
    /// Compare and capture schemas
    #[command(subcommand)]
    Schema(Schema),
    /// Portable snapshots
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Check whether a node can be initialized, and change nothing
    Preflight(Preflight),
    /// Terminal UI
    Tui {
        /// Show everything and change nothing
        #[arg(long)]
        read_only: bool,
        /// Draw with ASCII characters only
        #[arg(long)]
        ascii: bool,
    },
    /// Write completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Write the manual page
    Man,
}

#[derive(Debug, Args)]
pub struct Init {
    /// Node to initialize
    #[arg(required = true)]
    pub node: Option<String>,
    #[command(flatten)]
    pub source: From,
    #[command(flatten)]
    pub how: How,
    /// Only run the checks, and show what would be done to schemas
    #[arg(long)]
    pub dry_run: bool,
    /// Return as soon as it is started
    #[arg(long)]
    pub detach: bool,
    #[command(subcommand)]
    pub by_hand: Option<ByHand>,
}

#[derive(Debug, Args)]
pub struct From {
    /// Node the data comes from
    #[arg(long = "from", value_name = "NODE", required = true)]
    pub source: Option<String>,
}

/// Names of tables or schemas. An alias, since one argument holds them all.
pub type Names = Vec<String>;

/// Names between commas; a comma in double quotes is part of a name.
///
/// # Errors
/// In words, when a quote has no end or a name is missing.
pub fn names(text: &str) -> Result<Names, String> {
    let mut is_quoted = false;
    let parts = text.split(|one| {
        is_quoted ^= one == '"';
        one == ',' && !is_quoted
    });
    let names: Names = parts.map(|name| name.trim().to_owned()).collect();
    if is_quoted {
        return Err("a double quote has no other end".to_owned());
    }
    if names.iter().any(String::is_empty) {
        return Err("a name is missing".to_owned());
    }
    Ok(names)
}

/// What `init` and `preflight` have in common. What is not given comes from the configuration file, then from the server.
#[derive(Debug, Clone, Default, Args)]
pub struct How {
    /// How rows are copied
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Copy workers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub parallel: Option<i32>,
    /// What is done when schemas differ
    #[arg(long, value_enum)]
    pub schema_sync: Option<SchemaSync>,
    /// What is done about tables without a replica identity
    #[arg(long, value_enum)]
    pub no_identity: Option<NoIdentity>,
    /// Publication of the source to subscribe to; one is made otherwise
    #[arg(long, value_name = "NAME")]
    pub publication: Option<String>,
    /// Schemas, separated by commas
    #[arg(long, value_parser = names, value_name = "NAMES", conflicts_with = "tables")]
    pub schemas: Option<Names>,
    /// Tables, separated by commas
    #[arg(long, value_parser = names, value_name = "NAMES")]
    pub tables: Option<Names>,
    /// Tables larger than this, such as 10GB, go by --large-table-method
    #[arg(long, value_name = "SIZE")]
    pub large_table_threshold: Option<String>,
    /// How large tables are copied
    #[arg(long, value_enum)]
    pub large_table_method: Option<LargeTableMethod>,
    /// The operation fails when it takes longer, such as 12h
    #[arg(long, value_parser = duration::parse)]
    pub timeout: Option<Duration>,
    /// Empty tables of the node that hold rows
    #[arg(long)]
    pub force: bool,
}

/// A word of the command line, and the one that the server knows it by; that one is understood too.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub enum $name {
            $(
                $(#[$of])*
                #[value(alias = $word)]
                $variant
            ),+
        }

        impl $name {
            /// As the server spells it.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }
    };
}

words!(
    /// `init_node(method)`.
    Method { Auto => "auto", Parallel => "parallel", Snapshot => "snapshot", TwoPhase => "two_phase" });
words!(
    /// `init_node(schema_sync)`.
    SchemaSync { Strict => "strict", Auto => "auto", Manual => "manual" });
words!(
    /// `init_node(no_identity)`.
    NoIdentity { Error => "error", InsertOnly => "insert_only", Full => "full" });
words!(
    /// `init_node(large_table_method)`.
    LargeTableMethod { Copy => "copy", PgDump => "pg_dump", Basebackup => "basebackup" });

/// Initialization from a backup of one's own.
#[derive(Debug, Subcommand)]
pub enum ByHand {
    /// Make a slot on a node before it is backed up
    Prepare {
        #[arg(long)]
        node: String,
        /// Name of the slot; one is made up without it
        #[arg(long)]
        slot: Option<String>,
        /// Give the slot up after this time, such as 2d
        #[arg(long, value_parser = duration::parse)]
        expires: Option<Duration>,
    },
    /// Replicate into a node that was restored from the backup
    Complete {
        #[arg(long)]
        node: String,
        #[arg(long)]
        source: String,
        /// Where the backup stands, such as 0/1234ABCD; a physical copy knows it by itself
        #[arg(long, value_name = "LSN", value_parser = lsn)]
        source_lsn: Option<String>,
        /// The slot that was made for it; needed where there are several
        #[arg(long)]
        slot: Option<String>,
        /// Publication that was there before a slot of your own
        #[arg(long)]
        publication: Option<String>,
        /// Take the rows as they are, without comparing them with the source's
        #[arg(long)]
        no_verify: bool,
        /// Connection string by which the node reaches its source, when it does not know it yet
        #[arg(long, value_name = "CONNINFO")]
        source_dsn: Option<String>,
    },
}

/// Wrong usage as everything else that is wrong is said.
pub fn usage(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.trim_end().lines().filter(|line| !line.is_empty());
    let lines = lines.map(|line| match line.trim_start().strip_prefix("tip: ") {
        Some(tip) => format!("hint: {tip}"),
        None => line.to_owned(),
    });
    format!("steep-repl: {}", lines.collect::<Vec<_>>().join("\n"))
}

fn lsn(text: &str) -> Result<String, String> {
    text.parse::<steep_repl_core::lsn::Lsn>()
        .map(|lsn| lsn.to_string())
        .map_err(|_| "an LSN is two hexadecimal numbers with a slash between, such as 0/1234ABCD".to_owned())
}

#[derive(Debug, Args)]
pub struct Reinit {
    #[arg(long)]
    pub node: String,
    #[command(flatten)]
    pub what: ReinitWhat,
    /// Return as soon as it is started
    #[arg(long)]
    pub detach: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ReinitWhat {
    /// Tables, separated by commas
    #[arg(long, value_parser = names, value_name = "NAMES")]
    pub tables: Option<Names>,
    /// All tables of a schema
    #[arg(long, value_name = "NAME")]
    pub schema: Option<String>,
    /// The whole node
    #[arg(long)]
    pub full: bool,
}

#[derive(Debug, Args)]
pub struct Refresh {
    pub node: String,
    /// Only these tables, separated by commas
    #[arg(long, value_parser = names, value_name = "NAMES")]
    pub tables: Option<Names>,
    /// What is done about tables without a replica identity
    #[arg(long, value_enum)]
    pub no_identity: Option<NoIdentity>,
    /// Empty tables of the node that hold rows
    #[arg(long)]
    pub force: bool,
    /// Return as soon as it is started
    #[arg(long)]
    pub detach: bool,
}

#[derive(Debug, Subcommand)]
pub enum Nodes {
    /// All registered nodes
    List,
    /// Register a node
    Add {
        node: String,
        /// Connection string by which the server reaches it; may hold a password, which no view shows. `-` reads it from stdin
        #[arg(value_name = "CONNINFO")]
        conninfo: String,
        /// It is the database that is connected to
        #[arg(long)]
        local: bool,
    },
    /// Give a node another connection string: another address or password of the same server
    Alter {
        node: String,
        /// Connection string by which the server reaches it. `-` reads it from stdin
        #[arg(value_name = "CONNINFO")]
        conninfo: String,
    },
    /// Unregister a node; what replicates goes on
    Remove { node: String },
}

#[derive(Debug, Args)]
pub struct Events {
    /// Only those of this node
    #[arg(long)]
    pub node: Option<String>,
    /// Only those of this severity and worse
    #[arg(long, value_enum)]
    pub severity: Option<Severity>,
    /// The newest so many
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..))]
    pub limit: i64,
    /// Wait for more; Ctrl-C ends it
    #[arg(short, long)]
    pub follow: bool,
}

words!(
    /// `events.severity`.
    Severity { Info => "info", Warning => "warning", Error => "error" });

#[derive(Debug, Subcommand)]
pub enum Schema {
    /// Compare the tables of two nodes
    Compare {
        node_a: String,
        node_b: String,
        /// Only these schemas, separated by commas
        #[arg(long, value_parser = names, value_name = "NAMES")]
        schemas: Option<Names>,
        /// Tables that match as well
        #[arg(long)]
        all: bool,
    },
    /// What differs in a table, and the DDL that brings node_b in line
    Diff { node_a: String, node_b: String, table: String },
    /// Store what the tables of a node are
    Capture {
        node: String,
        /// Only these schemas, separated by commas
        #[arg(long, value_parser = names, value_name = "NAMES")]
        schemas: Option<Names>,
    },
    /// What has changed on a node since the capture
    Drift { node: String },
    /// Write what was captured as JSON
    Export {
        node: String,
        /// To a file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// What `--schema-sync auto` would do to a node
    Plan {
        node: String,
        #[command(flatten)]
        source: From,
    },
}

#[derive(Debug, Args)]
pub struct Generate {
    #[arg(long, value_name = "NODE")]
    pub source: String,
    /// Folder on the server, below steep_repl.snapshot_directory
    #[arg(long)]
    pub path: Option<String>,
    #[arg(long, value_enum)]
    pub compression: Option<Compression>,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub parallel: Option<i32>,
    /// Nodes that are to be initialized from it: each takes a replication slot
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub targets: Option<i32>,
    /// Delete it after this time, such as 12h or 3d
    #[arg(long, value_parser = duration::parse)]
    pub expires: Option<Duration>,
    /// Return as soon as it is started
    #[arg(long)]
    pub detach: bool,
}

#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Write a snapshot of a node
    Generate(Generate),
    /// Initialize a node from a snapshot
    Apply {
        node: String,
        /// Folder on the server
        #[arg(long)]
        path: Option<String>,
    },
    /// Snapshots, and the WAL that each holds back
    List,
    /// Delete a snapshot, and release what it holds back
    Delete { id: String },
}

words!(
    /// `generate_snapshot(compression)`.
    Compression { Zstd => "zstd", Lz4 => "lz4", Gzip => "gzip", None => "none" });

#[derive(Debug, Args)]
pub struct Preflight {
    pub node: String,
    #[command(flatten)]
    pub source: From,
    #[command(flatten)]
    pub how: How,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// Spellings that scripts rely on.
    #[test]
    fn spellings() {
        for line in [
            "init node_b --from node_a",
            "init node_b --from node_a --method snapshot --parallel 4 --schema-sync strict --no-identity error --publication p --force",
            "init node_b --from node_a --method two-phase --schema-sync auto --no-identity insert-only --dry-run",
            "init node_b --from node_a --method two_phase --no-identity insert_only --large-table-method pg_dump",
            "init node_b --from node_a --method auto --schema-sync manual --no-identity full --detach",
            "init prepare --node node_a --slot steep_init_slot",
            "init complete --node node_b --source node_a --source-lsn 0/1234ABCD",
            "reinit --node node_b --tables orders,line_items",
            "reinit --node node_b --schema sales",
            "reinit --node node_b --full",
            "cancel node_b",
            "resume node_b",
            "wait node_b --timeout 1h",
            "status",
            "status node_b",
            "nodes list",
            "nodes add node_a host=a",
            "nodes remove node_a",
            "events --follow",
            "schema compare node_a node_b",
            "schema diff node_a node_b public.orders",
            "schema capture node_b",
            "schema export node_b",
            "snapshot generate --source node_a",
            "snapshot apply node_b --path x",
            "snapshot list",
            "snapshot delete 3",
            "preflight node_b --from node_a",
            "tui",
            "tui --read-only",
            "completions bash",
            "completions zsh",
            "completions fish",
            "man",
            "-h localhost -p 5433 -U me -d shop -w status",
            "status -h localhost -W --json",
        ] {
            let words = std::iter::once("steep-repl").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}: {}", Cli::try_parse_from(std::iter::once("steep-repl").chain(line.split(' '))).unwrap_err());
        }
    }

    #[test]
    fn names_between_commas() {
        let read = |text: &str| names(text).map(|names| names.join("|"));
        assert_eq!(read("orders, sales.items").as_deref(), Ok("orders|sales.items"));
        assert_eq!(read("\"a,b\",\"We\"\"ird, too\".t").as_deref(), Ok("\"a,b\"|\"We\"\"ird, too\".t"));
        for text in ["", "a,", ",a", "\"a,b"] {
            assert!(names(text).is_err(), "{text}");
        }
    }

    #[test]
    fn usage_is_said_like_everything_else() {
        let error = Cli::try_parse_from(["steep-repl", "stats"]).unwrap_err();
        let said = usage(&error);
        assert!(said.starts_with("steep-repl: error: unrecognized subcommand 'stats'\nhint: a similar"), "{said}");
    }

    #[test]
    fn refused() {
        for line in [
            "init node_b",
            "init --from node_a",
            "reinit --node node_b",
            "reinit --node node_b --full --schema x",
            "init node_b --from node_a --parallel 0",
            "init node_b --from node_a --method fast",
            "init complete --node node_b --source node_a --source-lsn 12",
            "wait node_b --timeout soon",
            "-w -W status",
        ] {
            let words = std::iter::once("steep-repl").chain(line.split(' '));
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
