//! What goes to stdout: tables for people, JSON for programs. Messages go to stderr.

use crate::failure::{Exit, Failure};
use crate::words::deceives;
use comfy_table::{presets, Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};

/// Where results go, and how they look there.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// JSON instead of tables.
    pub json: bool,
    /// Colours.
    pub colour: bool,
    /// Somebody looks on.
    pub terminal: bool,
}

/// How good or bad what a word says is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
    /// Nothing to say.
    Plain,
}

/// The tone of a state, status, health or severity.
pub fn tone(word: &str) -> Tone {
    match word {
        "SYNCHRONIZED" | "ok" | "MATCH" | "completed" | "done" => Tone::Good,
        "PREPARING" | "COPYING" | "CATCHING_UP" | "REINITIALIZING" | "running" | "copying" | "indexing"
        | "vacuuming" => Tone::Busy,
        "DIVERGED" | "warning" | "BUSY" | "CHANGED" | "ADDED" | "cancelling" | "cancelled" => Tone::Warning,
        "FAILED" | "error" | "failed" | "MISMATCH" | "LOCAL_ONLY" | "REMOTE_ONLY" | "DROPPED" => Tone::Bad,
        _ => Tone::Plain,
    }
}

impl Out {
    /// By the options, the environment and what stdout is.
    pub fn new(options: crate::args::Output, environment: &dyn Fn(&str) -> Option<String>) -> Out {
        let terminal = std::io::stdout().is_terminal();
        let is_set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
        let dumb = environment("TERM").is_some_and(|term| term == "dumb");
        Out {
            json: options.json,
            colour: terminal && !options.no_color && !is_set("NO_COLOR") && !dumb,
            terminal: terminal && !dumb,
        }
    }

    /// Writes text and a line feed.
    ///
    /// # Errors
    /// What the file or pipe fails with. A reader that has had enough ends the program in silence.
    pub fn line(&self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        match stdout
            .write_all(text.as_ref().as_bytes())
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush())
        {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(Failure::new(Exit::Failed, "could not write the result").detail(error.to_string())),
        }
    }

    /// Writes a value as JSON: indented for a terminal, one line otherwise.
    ///
    /// # Errors
    /// As [`Out::line`].
    pub fn value(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if self.terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(text.map_err(|error| Failure::new(Exit::Failed, "could not write JSON").detail(error.to_string()))?)
    }

    /// Starts a table with these columns.
    pub fn table(&self, columns: &[&str]) -> Grid {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(if self.terminal {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        });
        let header = columns.iter().map(|name| {
            let cell = Cell::new(name);
            if self.colour {
                cell.add_attribute(Attribute::Bold)
            } else {
                cell
            }
        });
        table.set_header(header);
        let columns = columns.iter().map(|name| Column { width: width(name), is_text: false }).collect();
        Grid { table, colour: self.colour, columns }
    }
}

/// A table that is being filled.
pub struct Grid {
    table: Table,
    colour: bool,
    columns: Vec<Column>,
}

struct Column {
    /// Of its widest line.
    width: usize,
    /// Its lines may be broken.
    is_text: bool,
}

/// Text is not broken to less than this: a narrow terminal breaks whole lines, which is easier to read than pieces of words.
const NARROWEST: usize = 16;

fn width(text: &str) -> usize {
    text.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap_or_default()
}

/// What stands in a cell.
pub enum Value {
    /// Text.
    Text(String),
    /// A word whose colour tells how good it is.
    Word(String),
    /// A figure, to the right.
    Figure(String),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or_else(|| Value::Text(String::new()), Into::into)
    }
}

/// A word with a tone.
pub fn word(text: &str) -> Value {
    Value::Word(text.to_owned())
}

/// A figure.
pub fn figure(text: impl ToString) -> Value {
    Value::Figure(text.to_string())
}

impl Grid {
    /// Adds a row.
    pub fn row(&mut self, values: Vec<Value>) {
        let colour = self.colour;
        for (column, value) in self.columns.iter_mut().zip(&values) {
            let (Value::Text(text) | Value::Word(text) | Value::Figure(text)) = value;
            column.width = column.width.max(width(text));
            column.is_text |= matches!(value, Value::Text(text) if !text.is_empty());
        }
        self.table.add_row(values.into_iter().map(|value| match value {
            Value::Text(text) => Cell::new(plain(&text)),
            Value::Figure(text) => Cell::new(text).set_alignment(CellAlignment::Right),
            Value::Word(text) => {
                let cell = Cell::new(plain(&text));
                match tone(&text) {
                    _ if !colour => cell,
                    Tone::Good => cell.fg(Color::Green),
                    Tone::Busy => cell.fg(Color::Cyan),
                    Tone::Warning => cell.fg(Color::Yellow),
                    Tone::Bad => cell.fg(Color::Red),
                    Tone::Plain => cell,
                }
            }
        }));
    }

    /// The whole table, without blanks at the ends of lines.
    pub fn text(mut self) -> String {
        let last = self.columns.len().saturating_sub(1);
        for (place, (column, of)) in self.table.column_iter_mut().zip(&self.columns).enumerate() {
            let padding = if place < last { 2 } else { 0 };
            column.set_padding((0, padding));
            let least = if of.is_text { of.width.min(NARROWEST) } else { of.width };
            let least = u16::try_from(least).unwrap_or(u16::MAX).saturating_add(padding);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
        self.table.trim_fmt()
    }
}

/// Writes a message to stderr. Nobody may be there any more to read it, which stops nothing.
pub fn message(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// A number of things, such as `1 table` and `2 tables`.
pub fn many(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(i64::try_from(number).unwrap_or(i64::MAX)), if number == 1 { "" } else { "s" })
}

/// Text of a server as one may show it: characters that deceive ([`deceives`]) are made visible. Line feeds stay,
/// and a tab, which libpq's messages have, becomes a blank.
pub fn plain(text: &str) -> String {
    let seen = |one: char| match one {
        '\n' => one,
        '\t' => ' ',
        _ if deceives(one) => '\u{fffd}',
        _ => one,
    };
    text.chars().map(seen).collect()
}

/// A number with its thousands apart.
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 {
        format!("-{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!([count(0), count(999), count(1000), count(-1_234_567)], ["0", "999", "1,000", "-1,234,567"]);
        assert_eq!([many(0, "table"), many(1, "table"), many(2000, "table")], ["0 tables", "1 table", "2,000 tables"]);
    }

    #[test]
    fn a_table() {
        let out = Out { json: false, colour: false, terminal: false };
        let mut grid = out.table(&["node", "rows"]);
        grid.row(vec!["a\u{1b}[31m\tb".into(), figure(5)]);
        grid.row(vec!["long name".into(), figure(12345)]);
        assert_eq!(grid.text(), "node       rows\na\u{fffd}[31m b       5\nlong name  12345");
    }
}
