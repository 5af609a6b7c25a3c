//! One file for each command, or for those that belong together.

use crate::args::{Cli, Command};
use crate::config::Config;
use crate::connect::Prompt;
use crate::conninfo::{Conninfo, Given};
use crate::failure::{Exit, Failure};
use crate::output::Out;
use crate::session::Connector;
use std::io::{IsTerminal, Write};

mod control;
mod display;
mod events;
mod follow;
mod init;
mod manual;
mod nodes;
mod preflight;
mod reinit;
mod schema;
mod snapshot;
mod status;
mod tables;
mod wait;

/// What every command is given.
pub struct Context {
    /// Opens connections.
    pub connector: Connector,
    /// Takes results.
    pub out: Out,
    /// Nothing is asked before something is taken away.
    pub yes: bool,
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs a command.
///
/// # Errors
/// Whatever it fails with.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let out = Out::new(cli.output, &environment);
    // What needs no server.
    match cli.command {
        Command::Completions { shell } => return manual::completions(&out, shell),
        Command::Man => return manual::page(&out),
        _ => {}
    }
    let config = Config::load(cli.config.as_deref(), &environment)?;
    let connection = cli.connection;
    let at = connection
        .at
        .as_deref()
        .map(|name| {
            config.nodes.get(name).ok_or_else(|| {
                let known: Vec<&str> = config.nodes.keys().map(String::as_str).collect();
                Failure::usage(format!("node \"{name}\" is not in the configuration file"))
                    .hint(format!("It has: {}.", if known.is_empty() { "none".to_owned() } else { known.join(", ") }))
            })
        })
        .transpose()?;
    let is_explicit = connection.dsn.is_some()
        || connection.at.is_some()
        || connection.host.is_some()
        || connection.dbname.is_some()
        || connection.port.is_some()
        || ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE"].iter().any(|name| environment(name).is_some());
    let given = Given {
        dsn: at.cloned().or(connection.dsn),
        host: connection.host,
        port: connection.port,
        user: connection.user,
        dbname: connection.dbname,
    };
    let prompt = match (connection.no_password, connection.password) {
        (_, true) => Prompt::Always,
        (false, false) if std::io::stdin().is_terminal() => Prompt::WhenNeeded,
        _ => Prompt::Never,
    };
    let connector = Connector { conninfo: Conninfo::resolve(&given, &environment)?, is_explicit, config, prompt };
    let context = Context { connector, out, yes: cli.output.yes };
    match cli.command {
        Command::Init(init) => init::run(&context, init),
        Command::Reinit(reinit) => reinit::reinit(&context, reinit),
        Command::Refresh(refresh) => reinit::refresh(&context, refresh),
        Command::Cancel { node } => control::cancel(&context, &node),
        Command::Resume { node, follow } => control::resume(&context, &node, follow),
        Command::Confirm { node } => control::confirm(&context, &node),
        Command::Wait { node, timeout } => wait::run(&context, &node, timeout),
        Command::Status { node } => status::run(&context, node.as_deref()),
        Command::Nodes(command) => nodes::run(&context, command),
        Command::Events(options) => events::run(&context, &options),
        Command::Schema(command) => schema::run(&context, command),
        Command::Snapshot(command) => snapshot::run(&context, command),
        Command::Preflight(options) => preflight::run(&context, options),
        Command::Tui { read_only, ascii } => crate::tui::run(crate::tui::Options {
            conninfo: context.connector.conninfo,
            prompt: context.connector.prompt,
            read_only,
            colour: context.out.colour,
            unicode: !ascii && has_unicode(),
        }),
        Command::Completions { .. } | Command::Man => Ok(()),
    }
}

/// Whether the locale says that the terminal takes UTF-8.
fn has_unicode() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| environment(name).filter(|value| !value.is_empty()))
        .is_some_and(|locale| locale.to_lowercase().replace('-', "").contains("utf8"))
}

impl Context {
    /// Asks for the name of a node (or of whatever it is) before something is taken away. Without a terminal nobody can be asked.
    fn confirm_by_name(&self, name: &str, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage("this must be confirmed, and there is no terminal to ask")
                .detail(what)
                .hint("Add --yes when you are sure."));
        }
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{what}\nType its name, {name}, to confirm: ");
        let _ = stderr.flush();
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Failure::new(Exit::Failed, "could not read the answer").detail(error.to_string()))?;
        if answer.trim() == name {
            return Ok(());
        }
        Err(Failure::new(Exit::Cancelled, "not confirmed; nothing was changed"))
    }
}
