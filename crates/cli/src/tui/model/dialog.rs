//! What stands before the page: a form to fill in, or what will be done, to be confirmed.

use crate::tui::call::Call;
use crate::tui::message::{Ticket, Trouble};
use crate::tui::snapshot::{Finding, NodeId};

use super::line::Line;
use super::page::Asked;

/// What stands before the page.
#[derive(Debug, Clone, PartialEq)]
pub enum Dialog {
    /// A form.
    Form(Form),
    /// What will be done.
    Preview(Box<Preview>),
}

/// What a form is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `init_node`.
    Init,
    /// `refresh_tables`.
    Refresh,
    /// `compare_schemas`.
    Compare,
}

/// A form.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// What it is for.
    pub purpose: Purpose,
    /// Connection over which it will be done.
    pub node: NodeId,
    /// Name of that node in its own database.
    pub name: String,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Field that is filled in.
    pub at: usize,
    /// What is wrong with it.
    pub wrong: Option<String>,
}

/// A field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, that of the argument.
    pub name: &'static str,
    /// What it does, for the line below the form.
    pub about: &'static str,
    /// Its value.
    pub input: Input,
}

/// A value to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// One of several.
    Choice {
        /// Which there are.
        options: Vec<String>,
        /// Which it is.
        chosen: usize,
    },
    /// Any text.
    Text {
        /// As typed.
        line: Line,
        /// What nothing stands for.
        empty: &'static str,
        /// Only digits.
        digits: bool,
    },
}

impl Field {
    /// One of several; the first one to begin with.
    pub fn choice(name: &'static str, options: &[&str], about: &'static str) -> Field {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Field { name, about, input: Input::Choice { options, chosen: 0 } }
    }

    /// Any text.
    pub fn text(name: &'static str, empty: &'static str, about: &'static str) -> Field {
        Field { name, about, input: Input::Text { line: Line::default(), empty, digits: false } }
    }

    /// A whole number.
    pub fn number(name: &'static str, empty: &'static str, about: &'static str) -> Field {
        Field { name, about, input: Input::Text { line: Line::default(), empty, digits: true } }
    }

    /// What was chosen or typed; for a choice whose first option is the default, empty.
    pub fn value(&self) -> &str {
        match &self.input {
            Input::Choice { options, chosen } => options.get(*chosen).map_or("", String::as_str),
            Input::Text { line, .. } => line.text().trim(),
        }
    }

    /// Whether it is as it was at first.
    pub fn is_default(&self) -> bool {
        match &self.input {
            Input::Choice { chosen, .. } => *chosen == 0,
            Input::Text { line, .. } => line.text().trim().is_empty(),
        }
    }
}

impl Form {
    /// Whether the field that is filled in takes any text.
    pub fn takes_text(&self) -> bool {
        self.fields.get(self.at).is_some_and(|field| matches!(field.input, Input::Text { .. }))
    }

    /// A field by its name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Value of a field by its name.
    pub fn value(&self, name: &str) -> &str {
        self.field(name).map_or("", Field::value)
    }
}

/// What will be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// Over which connection.
    pub node: NodeId,
    /// In a few words.
    pub title: String,
    /// In sentences.
    pub says: Vec<String>,
    /// The call.
    pub call: Call,
    /// What the server says beforehand.
    pub check: Check,
    /// Name of the node, to be typed before anything is taken away.
    pub type_name: Option<String>,
    /// What was typed of it.
    pub typed: Line,
    /// Lines scrolled down.
    pub scroll: usize,
    /// Form to go back to.
    pub form: Option<Form>,
    /// The call, once it is made.
    pub sent: Option<Ticket>,
    /// What came of it, when it failed.
    pub failed: Option<Trouble>,
}

/// What the server says beforehand.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    /// Nothing is asked.
    None,
    /// `preflight`.
    Preflight(Asked<Vec<Finding>>),
    /// `tables_not_subscribed`.
    Tables(Asked<Vec<String>>),
}

impl Check {
    /// The call that is waited for.
    pub fn ticket(&self) -> Option<Ticket> {
        match self {
            Check::Preflight(Asked::Waiting(ticket)) | Check::Tables(Asked::Waiting(ticket)) => Some(*ticket),
            _ => None,
        }
    }

    /// Why the call would be refused, when the check has found that.
    pub fn refuses(&self) -> bool {
        /// The check itself is not there, or was not allowed, or was given up: it says nothing about the call.
        const SAYS_NOTHING: [&str; 3] = ["42883", "42501", "57014"];
        match self {
            Check::Preflight(Asked::Here(findings)) => findings.iter().any(|finding| finding.status == "error"),
            Check::Preflight(Asked::Failed(trouble)) | Check::Tables(Asked::Failed(trouble)) => {
                trouble.sqlstate.as_deref().is_some_and(|sqlstate| !SAYS_NOTHING.contains(&sqlstate))
            }
            _ => false,
        }
    }
}

impl Preview {
    /// Whether the call may be made now.
    pub fn is_ready(&self) -> bool {
        let waits = self.check.ticket().is_some() || self.sent.is_some();
        let named = self.type_name.as_ref().is_none_or(|name| name == self.typed.text());
        !waits && named && !self.check.refuses() && self.failed.is_none()
    }
}
