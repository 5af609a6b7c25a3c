//! What has to be done to a database so that it has the tables of another one: which objects of a [dump](crate::archive) to make, in which
//! order, what to alter, what to leave out, and what takes each step back.
//!
//! What is there already stays as it is, but for the columns of tables: those are brought in line, and what a table lacks (indexes,
//! constraints, triggers) is added. Nothing is ever dropped but columns, and those are the caller's matter.

mod planner;

pub use planner::plan;

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::archive::Entry;
use crate::ident::quote_ident;
use crate::schema_diff::Difference;

/// What is done about schemas that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Any difference stops the operation.
    #[default]
    Strict,
    /// The target is made to match.
    Auto,
    /// Somebody looks at the differences and lets the operation go on.
    Manual,
}

impl std::str::FromStr for Mode {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "strict" => Ok(Mode::Strict),
            "auto" => Ok(Mode::Auto),
            "manual" => Ok(Mode::Manual),
            _ => Err(()),
        }
    }
}

/// Which objects are wanted, besides all that they need.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// All of the database.
    All,
    /// All of these schemas.
    Schemas(Vec<String>),
    /// These tables, as (schema, name), with what belongs to them.
    Tables(HashSet<(String, String)>),
}

/// One statement of an entry about privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The statement.
    pub text: String,
    /// Roles that it names.
    pub roles: Vec<String>,
}

/// A table of both sides whose definitions differ.
#[derive(Debug, Clone)]
pub struct Altered {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// What is to be altered, in this order.
    pub differences: Vec<Difference>,
    /// What takes that back.
    pub reverse: Vec<Difference>,
    /// Statements that make again what goes along with columns that are dropped.
    pub lost: Vec<String>,
    /// Whether they are carried out at once: no dump of the source brings it.
    pub is_restored: bool,
}

/// What is known of both sides.
#[derive(Debug)]
pub struct Input<'a> {
    /// The source's dump.
    pub entries: &'a [Entry],
    /// What is wanted of it.
    pub wanted: Wanted,
    /// Numbers of the entries that are on the target already.
    pub existing: HashSet<i32>,
    /// The statements of the entries about privileges, by number.
    pub privileges: HashMap<i32, Vec<Statement>>,
    /// Roles that an object's statement names, by number of its entry, where that is known.
    pub roles_needed: HashMap<i32, Vec<String>>,
    /// Tables to alter; a table after those it inherits from.
    pub altered: Vec<Altered>,
    /// Enums that lack labels, each with the statements that add them. Nothing takes a label back.
    pub enums: Vec<(String, Vec<String>)>,
    /// Roles of the target, and whether objects may be given to them.
    pub roles: HashMap<String, bool>,
    /// Schemas of the target whose privileges nobody has changed yet, with the statements that make them so again.
    pub untouched_schemas: HashMap<String, Vec<String>>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// An object is made.
    #[default]
    Create,
    /// A table is altered.
    Alter,
    /// Privileges are given or taken.
    Grant,
    /// Nothing is done: it has to be done by hand.
    LeaveOut,
}

impl Action {
    /// The word used in SQL results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Create => "create",
            Action::Alter => "alter",
            Action::Grant => "grant",
            Action::LeaveOut => "leave out",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// What kind of object it is about, in lower case.
    pub kind: String,
    /// The object, for people.
    pub name: String,
    /// Statements, in this order.
    pub statements: Vec<String>,
    /// Statements that take it back, in this order.
    pub undo: Vec<String>,
    /// Table access method that CREATE TABLE is to use.
    pub access_method: Option<String>,
    /// The table that is made or altered, as (schema, name).
    pub table: Option<(String, String)>,
    /// Whether a column goes with it, and what it holds.
    pub drops_columns: bool,
    /// Why it is left out, or what it does without.
    pub remark: Option<String>,
}

/// The steps that alter tables, and nothing else.
pub fn altering(altered: Vec<Altered>, enums: Vec<(String, Vec<String>)>) -> Plan {
    plan(&Input {
        entries: &[],
        wanted: Wanted::Tables(HashSet::new()),
        existing: HashSet::new(),
        privileges: HashMap::new(),
        roles_needed: HashMap::new(),
        altered,
        enums,
        roles: HashMap::new(),
        untouched_schemas: HashMap::new(),
    })
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The steps in order, those that are left out among them.
    pub steps: Vec<Step>,
    /// Roles of the source that are not on the target, and own or may do something there.
    pub missing_roles: BTreeSet<String>,
    /// Roles of the target that own something on the source, and that the caller may not give things to.
    pub foreign_roles: BTreeSet<String>,
}

impl Plan {
    /// The steps that do something.
    pub fn to_do(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.action != Action::LeaveOut)
    }

    /// What is done, in a line for each table that is altered and for each kind of object that is made, with its table where it is
    /// about one.
    pub fn summary(&self) -> Vec<(Option<(String, String)>, String)> {
        const MOST: usize = 50;
        let mut lines = Vec::new();
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for step in self.to_do() {
            if step.action == Action::Alter {
                lines.push((
                    step.table.clone(),
                    format!("altered {} {}: {}", step.kind, step.name, step.statements.join(" ")),
                ));
                continue;
            }
            match groups.iter_mut().find(|(kind, _)| *kind == step.kind) {
                Some((_, names)) => names.push(&step.name),
                None => groups.push((&step.kind, vec![&step.name])),
            }
        }
        lines.extend(groups.into_iter().map(|(kind, names)| {
            let more = names.len().saturating_sub(MOST);
            let named = names.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            (None, format!("made {kind}: {named}{rest}"))
        }));
        lines
    }

    /// What one should know of, each once: event, message and hint.
    pub fn warnings(&self) -> Vec<(&'static str, String, &'static str)> {
        let list = |roles: &BTreeSet<String>| roles.iter().map(|role| quote_ident(role)).collect::<Vec<_>>().join(", ");
        let mut warnings = Vec::new();
        if !self.missing_roles.is_empty() {
            warnings.push((
                crate::event::SCHEMA_ROLES_MISSING,
                format!("roles of the source that are not here: {}", list(&self.missing_roles)),
                "What they own belongs to whoever makes it; their privileges and policies are left out. Make the roles, then ALTER ... OWNER TO and GRANT.",
            ));
        }
        if !self.foreign_roles.is_empty() {
            warnings.push((
                crate::event::SCHEMA_ROLES_MISSING,
                format!("roles that objects may not be given to: {}", list(&self.foreign_roles)),
                "What they own on the source belongs to whoever makes it. Have it asked for by a role that may SET ROLE to them, or by a superuser.",
            ));
        }
        let left_out = self.left_out();
        if !left_out.is_empty() {
            warnings.push((
                crate::event::SCHEMA_LEFT_OUT,
                format!("left out: {}", left_out.join(", ")),
                "Make them by hand where they are wanted.",
            ));
        }
        warnings
    }

    /// What is left out, in words.
    pub fn left_out(&self) -> Vec<String> {
        let left = self.steps.iter().filter(|step| step.action == Action::LeaveOut);
        left.map(|step| format!("{} {}", step.kind, step.name)).collect()
    }
}

#[cfg(test)]
mod tests;
