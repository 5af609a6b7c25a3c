//! `completions` and `man`: the command line, for shells and for readers.

use crate::args::Cli;
use crate::failure::{Exit, Failure};
use crate::output::Out;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::io::{Result, Write};

pub fn completions(out: &Out, shell: clap_complete::Shell) -> std::result::Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "steep-repl", &mut text);
    out.line(String::from_utf8_lossy(&text).trim_end())
}

/// One page with everything: what there is once for all commands, then each command with what is its own.
pub fn page(out: &Out) -> std::result::Result<(), Failure> {
    let mut text = Vec::new();
    write_page(&mut text)
        .map_err(|error| Failure::new(Exit::Failed, "could not write the manual page").detail(error.to_string()))?;
    out.line(String::from_utf8_lossy(&text).trim_end())
}

fn write_page(text: &mut Vec<u8>) -> Result<()> {
    let cli = Cli::command();
    let man = Man::new(cli.clone());
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    man.render_options_section(text)?;
    writeln!(text, ".SH COMMANDS")?;
    for command in cli.get_subcommands() {
        write_command(text, "steep-repl", command)?;
    }
    man.render_extra_section(text)?;
    man.render_version_section(text)
}

/// A command, then those below it.
fn write_command(text: &mut Vec<u8>, above: &str, command: &Command) -> Result<()> {
    let name = format!("{above} {}", command.get_name());
    let below: Vec<&Command> = command.get_subcommands().collect();
    if below.is_empty() || command.get_arguments().next().is_some() {
        let mut own = Vec::new();
        let man = Man::new(command.clone());
        man.render_description_section(&mut own)?;
        man.render_options_section(&mut own)?;
        writeln!(text, ".SS {name}")?;
        for line in String::from_utf8_lossy(&own).lines().filter(|line| !line.starts_with(".SH")) {
            writeln!(text, "{line}")?;
        }
    }
    below.into_iter().try_for_each(|command| write_command(text, &name, command))
}
