//! From what is known of both sides to the steps.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Action, Input, Plan, Statement, Step, Wanted};
use crate::archive::Entry;
use crate::ident::{display_ident, qualified_display, quote_ident};
use crate::schema_diff::Difference;

/// Settings of the dump, what is asked of pg_dump not to be there, and data.
const NO_OBJECTS: [&str; 14] = [
    "ENCODING",
    "STDSTRINGS",
    "SEARCHPATH",
    "DATABASE",
    "DATABASE PROPERTIES",
    "PUBLICATION",
    "PUBLICATION TABLE",
    "PUBLICATION TABLES IN SCHEMA",
    "SUBSCRIPTION",
    "SUBSCRIPTION TABLE",
    "TABLE DATA",
    "SEQUENCE SET",
    "MATERIALIZED VIEW DATA",
    "STATISTICS DATA",
];

/// What comes and goes with the object that it is about.
const ATTRIBUTES: [&str; 9] = [
    "COMMENT",
    "SECURITY LABEL",
    "DEFAULT",
    "ROW SECURITY",
    "POLICY",
    "RULE",
    "SEQUENCE OWNED BY",
    "TABLE ATTACH",
    "INDEX ATTACH",
];

/// What belongs to a table and may be added to one that is there.
const PARTS: [&str; 6] = ["CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT", "INDEX", "TRIGGER", "STATISTICS"];

fn is_relation(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "TABLE" | "FOREIGN TABLE" | "VIEW" | "MATERIALIZED VIEW")
}

fn is_privilege(entry: &Entry) -> bool {
    matches!(entry.desc.as_str(), "ACL" | "DEFAULT ACL")
}

/// The sequence of an identity column is made by altering its table.
fn is_identity(entry: &Entry) -> bool {
    entry.desc == "SEQUENCE" && entry.definition.starts_with("ALTER TABLE")
}

fn is_attribute(entry: &Entry) -> bool {
    ATTRIBUTES.contains(&entry.desc.as_str()) || is_identity(entry)
}

fn is_part(entry: &Entry) -> bool {
    PARTS.contains(&entry.desc.as_str())
}

/// Makes the plan.
pub fn plan(input: &Input) -> Plan {
    let by_id: HashMap<i32, &Entry> = input.entries.iter().map(|entry| (entry.id, entry)).collect();
    let mut planner = Planner {
        input,
        wanted: wanted(input, &by_id),
        by_id,
        made: HashSet::new(),
        sequences: HashMap::new(),
        plan: Plan::default(),
    };
    let is_altered = |entry: &Entry| {
        entry.desc == "TABLE"
            && input.altered.iter().any(|table| table.schema == entry.schema && table.name == entry.tag)
    };
    // Attached to a table that is here, a partition is given the indexes of that which it does not have yet; so it gets its own before.
    let joins_existing =
        |entry: &&Entry| entry.desc == "TABLE ATTACH" && entry.depends_on.iter().any(|id| input.existing.contains(id));
    let mut joining: Vec<&Entry> = input.entries.iter().filter(joins_existing).collect();
    for (name, statements) in &input.enums {
        planner.plan.steps.push(Step {
            action: Action::Alter,
            kind: "type".to_owned(),
            name: name.clone(),
            statements: statements.clone(),
            ..Step::default()
        });
    }
    let mut altered = input.altered.is_empty();
    for entry in input.entries.iter().filter(|entry| !is_privilege(entry)) {
        if !altered && is_altered(entry) {
            // New columns may be of a type, and call a function, that stands behind; and new defaults may want sequences.
            let mut needed = HashSet::new();
            for table in input.entries.iter().filter(|entry| is_altered(entry)) {
                with_needs(table.id, &planner.by_id, &mut needed);
            }
            let is_early = |entry: &&Entry| {
                needed.contains(&entry.id) && !is_altered(entry) || entry.desc == "SEQUENCE" && !is_identity(entry)
            };
            for entry in input.entries.iter().filter(is_early) {
                planner.take(entry);
            }
            planner.alter();
            altered = true;
        }
        if entry.desc == "INDEX ATTACH" {
            joining.drain(..).for_each(|partition| planner.take(partition));
        }
        if !joins_existing(&entry) {
            planner.take(entry);
        }
    }
    joining.into_iter().for_each(|partition| planner.take(partition));
    planner.leave_out_references();
    if !altered {
        planner.alter();
    }
    for entry in input.entries.iter().filter(|entry| is_privilege(entry)) {
        planner.grant(entry);
    }
    planner.plan
}

/// Numbers of the entries that are wanted.
fn wanted(input: &Input, by_id: &HashMap<i32, &Entry>) -> HashSet<i32> {
    let is_base = |entry: &&Entry| match &input.wanted {
        Wanted::All => true,
        Wanted::Schemas(names) => {
            let is_in = names.contains(&entry.schema) && entry.desc != "FK CONSTRAINT";
            is_in || entry.desc == "SCHEMA" && names.contains(&entry.tag)
        }
        Wanted::Tables(names) => is_relation(entry) && names.contains(&(entry.schema.clone(), entry.tag.clone())),
    };
    let mut wanted = HashSet::new();
    for entry in input.entries.iter().filter(is_base) {
        with_needs(entry.id, by_id, &mut wanted);
    }
    // Schemas are no dependencies of what is in them.
    let schemas: HashSet<&str> =
        wanted.iter().filter_map(|id| by_id.get(id)).map(|entry| entry.schema.as_str()).collect();
    let needed: Vec<i32> = input
        .entries
        .iter()
        .filter(|entry| entry.desc == "SCHEMA" && schemas.contains(entry.tag.as_str()))
        .map(|entry| entry.id)
        .collect();
    wanted.extend(needed);
    for entry in input.entries.iter().filter(|entry| is_part(entry) || is_attribute(entry) || is_privilege(entry)) {
        let mut needs = entry.depends_on.iter().filter_map(|id| by_id.get(id)).peekable();
        let is_of_wanted = entry.depends_on.iter().any(|id| wanted.contains(id));
        // A foreign key must not bring the table that it refers to: nobody copies its rows, and the key would be taken for valid.
        let stays_inside = needs.all(|need| {
            wanted.contains(&need.id) || input.existing.contains(&need.id) || !is_relation(need) && !is_part(need)
        });
        if is_of_wanted && stays_inside {
            with_needs(entry.id, by_id, &mut wanted);
        }
    }
    wanted
}

fn with_needs(id: i32, by_id: &HashMap<i32, &Entry>, wanted: &mut HashSet<i32>) {
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if let (Some(entry), true) = (by_id.get(&id), wanted.insert(id)) {
            open.extend(&entry.depends_on);
        }
    }
}

struct Planner<'a> {
    input: &'a Input<'a>,
    by_id: HashMap<i32, &'a Entry>,
    wanted: HashSet<i32>,
    /// Numbers of the entries that are made by the plan.
    made: HashSet<i32>,
    /// Places of the steps that make sequences.
    sequences: HashMap<i32, usize>,
    plan: Plan,
}

impl Planner<'_> {
    fn needs(&self, entry: &Entry) -> Vec<&Entry> {
        entry.depends_on.iter().filter_map(|id| self.by_id.get(id).copied()).collect()
    }

    /// Whether an object is made by the plan that this one comes with.
    fn comes_with_made(&self, entry: &Entry) -> bool {
        let made = |entry: &&Entry| self.made.contains(&entry.id);
        let needs = self.needs(entry);
        match entry.desc.as_str() {
            "DEFAULT" | "ROW SECURITY" | "POLICY" | "RULE" | "SEQUENCE" => {
                needs.iter().filter(|need| is_relation(need)).any(made)
            }
            "SEQUENCE OWNED BY" => needs.iter().filter(|need| need.desc == "SEQUENCE").any(made),
            _ => needs.iter().any(made),
        }
    }

    fn is_to_be_made(&self, entry: &Entry) -> bool {
        if !self.wanted.contains(&entry.id) || NO_OBJECTS.contains(&entry.desc.as_str()) || entry.definition.is_empty()
        {
            return false;
        }
        // pg_dump has no CREATE for the schema public, only a comment.
        if self.input.existing.contains(&entry.id) || entry.definition.starts_with("--") {
            return false;
        }
        if self.made.contains(&entry.id) {
            return false;
        }
        !is_attribute(entry) || self.comes_with_made(entry)
    }

    fn take(&mut self, entry: &Entry) {
        if !self.is_to_be_made(entry) {
            return;
        }
        let why = match entry.desc.as_str() {
            "EVENT TRIGGER" => Some("event triggers are the database's own".to_owned()),
            "USER MAPPING" => Some("it may hold a password".to_owned()),
            _ => {
                let roles = self.input.roles_needed.get(&entry.id).map_or(&[][..], Vec::as_slice);
                let lacking: Vec<&String> = roles.iter().filter(|role| !self.input.roles.contains_key(*role)).collect();
                self.plan.missing_roles.extend(lacking.iter().map(|role| (*role).clone()));
                lacking.first().map(|role| format!("there is no role {}", quote_ident(role)))
            }
        };
        if why.is_some() {
            let step = Step { remark: why, ..self.step(Action::LeaveOut, entry, Vec::new()) };
            self.plan.steps.push(step);
            return;
        }
        self.made.insert(entry.id);
        let mut statements = vec![entry.definition.trim_end().to_owned()];
        let mut remark = None;
        if entry.relkind == 'p' && !entry.access_method.is_empty() && entry.access_method != "heap" {
            let (table, method) = (object(entry).unwrap_or_default(), quote_ident(&entry.access_method));
            statements.push(format!("ALTER {table} SET ACCESS METHOD {method};"));
        }
        match self.new_owner(entry) {
            Ok(Some(statement)) => statements.push(statement),
            Ok(None) => {}
            Err(why) => remark = Some(why),
        }
        let mut step = self.step(Action::Create, entry, statements);
        step.remark = remark;
        step.table = (entry.desc == "TABLE").then(|| (entry.schema.clone(), entry.tag.clone()));
        step.access_method = Some(entry.access_method.clone())
            .filter(|method| !method.is_empty() && entry.desc != "INDEX" && entry.relkind != 'p');
        // What belongs to a new table goes with it. Foreign keys would stand in the way of the tables that they refer to.
        let goes_along = entry.desc != "FK CONSTRAINT"
            && (is_part(entry) || is_attribute(entry))
            && self.needs(entry).iter().any(|need| is_relation(need) && self.made.contains(&need.id));
        if !goes_along && !entry.drop.trim().is_empty() {
            step.undo.push(entry.drop.trim().to_owned());
        }
        if entry.desc == "SEQUENCE OWNED BY" {
            // It goes with its table, whose default would stand in its way.
            for need in &entry.depends_on {
                if let Some(place) = self.sequences.get(need) {
                    self.plan.steps.get_mut(*place).into_iter().for_each(|made| made.undo.clear());
                }
            }
        }
        if entry.desc == "SEQUENCE" {
            self.sequences.insert(entry.id, self.plan.steps.len());
        }
        self.plan.steps.push(step);
    }

    /// Foreign keys of tables that are wanted which refer to tables that are not.
    fn leave_out_references(&mut self) {
        let is_left = |entry: &&Entry| {
            let own = |need: &&Entry| {
                self.wanted.contains(&need.id)
                    && need.schema == entry.schema
                    && entry.tag.strip_prefix(need.tag.as_str()).is_some_and(|rest| rest.starts_with(' '))
            };
            entry.desc == "FK CONSTRAINT"
                && !self.wanted.contains(&entry.id)
                && !self.input.existing.contains(&entry.id)
                && self.needs(entry).iter().any(|need| is_relation(need) && own(need))
        };
        let left: Vec<Step> = self
            .input
            .entries
            .iter()
            .filter(is_left)
            .map(|entry| Step {
                remark: Some("it refers to a table that is not asked for".to_owned()),
                ..self.step(Action::LeaveOut, entry, Vec::new())
            })
            .collect();
        self.plan.steps.extend(left);
    }

    /// The statement that gives an object to its owner, or why it stays with whoever makes it.
    fn new_owner(&mut self, entry: &Entry) -> Result<Option<String>, String> {
        let Some(object) = object(entry).filter(|_| !entry.owner.is_empty() && !entry.drop.trim().is_empty()) else {
            return Ok(None);
        };
        let owner = quote_ident(&entry.owner);
        match self.input.roles.get(&entry.owner) {
            Some(true) => Ok(Some(format!("ALTER {object} OWNER TO {owner};"))),
            Some(false) => {
                self.plan.foreign_roles.insert(entry.owner.clone());
                Err(format!("its owner on the source is {owner}"))
            }
            None => {
                self.plan.missing_roles.insert(entry.owner.clone());
                Err(format!("its owner on the source is {owner}, which is no role here"))
            }
        }
    }

    fn alter(&mut self) {
        for table in &self.input.altered {
            let (without, with): (Vec<&Difference>, Vec<&Difference>) =
                table.differences.iter().partition(|one| one.kind == "partition key");
            for one in &without {
                self.plan.steps.push(Step {
                    action: Action::LeaveOut,
                    kind: one.kind.to_owned(),
                    name: qualified_display(&table.schema, &table.name),
                    remark: Some("the table has to be made anew".to_owned()),
                    ..Step::default()
                });
            }
            if with.is_empty() {
                continue;
            }
            let ddl = |differences: &[Difference]| -> Vec<String> {
                differences.iter().filter_map(|one| one.ddl.clone()).collect()
            };
            self.plan.steps.push(Step {
                action: Action::Alter,
                kind: "table".to_owned(),
                name: qualified_display(&table.schema, &table.name),
                statements: ddl(&table.differences)
                    .into_iter()
                    .chain(table.lost.iter().filter(|_| table.is_restored).cloned())
                    .collect(),
                undo: ddl(&table.reverse).into_iter().chain(table.lost.iter().cloned()).collect(),
                table: Some((table.schema.clone(), table.name.clone())),
                drops_columns: table.differences.iter().any(Difference::loses_data),
                ..Step::default()
            });
        }
    }

    fn grant(&mut self, entry: &Entry) {
        if !self.wanted.contains(&entry.id) {
            return;
        }
        let is_due = if entry.desc == "DEFAULT ACL" {
            !self.input.existing.contains(&entry.id)
        } else {
            self.needs(entry).iter().any(|need| self.made.contains(&need.id)) || self.untouched(entry).is_some()
        };
        let Some(all) = self.input.privileges.get(&entry.id).filter(|_| is_due) else { return };
        let (possible, lacking): (Vec<&Statement>, Vec<&Statement>) =
            all.iter().partition(|statement| statement.roles.iter().all(|role| self.input.roles.contains_key(role)));
        let roles: BTreeSet<&String> = lacking
            .iter()
            .flat_map(|statement| &statement.roles)
            .filter(|role| !self.input.roles.contains_key(*role))
            .collect();
        self.plan.missing_roles.extend(roles.iter().map(|role| (*role).clone()));
        self.made.insert(entry.id);
        if possible.is_empty() {
            return;
        }
        let statements = possible.iter().map(|statement| statement.text.clone()).collect();
        let mut step = self.step(Action::Grant, entry, statements);
        // What was made takes its privileges along when it goes. A schema that was there stays.
        if let Some((schema, back)) = self.untouched(entry) {
            let roles: BTreeSet<&String> = possible.iter().flat_map(|statement| &statement.roles).collect();
            let name = quote_ident(schema);
            step.undo.extend(
                roles.into_iter().map(|role| format!("REVOKE ALL ON SCHEMA {name} FROM {};", quote_ident(role))),
            );
            step.undo.extend(back.iter().cloned());
        }
        self.plan.steps.push(step);
    }

    /// The schema of the target that an entry gives privileges on, when it has those it was made with; and what gives them back. The
    /// schema itself is no entry, since every database has it.
    fn untouched(&self, entry: &Entry) -> Option<(&String, &Vec<String>)> {
        let name = entry.tag.strip_prefix("SCHEMA ").filter(|_| entry.desc == "ACL")?;
        self.input.untouched_schemas.get_key_value(name)
    }

    fn step(&self, action: Action, entry: &Entry, statements: Vec<String>) -> Step {
        let schema = match entry.schema.as_str() {
            "" => String::new(),
            name => format!("{}.", display_ident(name)),
        };
        let name = match (entry.desc.as_str(), entry.tag.split_once(' ')) {
            // Of a table's privileges the tag is `TABLE name`.
            ("ACL", Some((kind, name))) => format!("{kind} {schema}{name}"),
            ("USER MAPPING", _) => entry.tag.trim_start_matches("USER MAPPING ").to_owned(),
            _ => format!("{schema}{}", entry.tag),
        };
        Step {
            action,
            kind: match entry.desc.as_str() {
                "ACL" => "privileges".to_owned(),
                "DEFAULT ACL" => "default privileges".to_owned(),
                other => other.to_lowercase(),
            },
            name,
            statements,
            ..Step::default()
        }
    }
}

/// An object as ALTER ... OWNER TO names it, where it has an owner of its own: `_getObjectDescription` of `pg_backup_archiver.c`.
fn object(entry: &Entry) -> Option<String> {
    match entry.desc.as_str() {
        "COLLATION"
        | "CONVERSION"
        | "DOMAIN"
        | "FOREIGN TABLE"
        | "MATERIALIZED VIEW"
        | "STATISTICS"
        | "TABLE"
        | "TEXT SEARCH DICTIONARY"
        | "TEXT SEARCH CONFIGURATION"
        | "TYPE"
        | "VIEW"
        | "PROCEDURAL LANGUAGE"
        | "SCHEMA"
        | "FOREIGN DATA WRAPPER"
        | "SERVER" => Some(named(entry)),
        "SEQUENCE" if !is_identity(entry) => Some(named(entry)),
        "AGGREGATE" | "FUNCTION" | "OPERATOR" | "OPERATOR CLASS" | "OPERATOR FAMILY" | "PROCEDURE" => {
            let object = entry.drop.trim().trim_end_matches(';').strip_prefix("DROP ")?;
            Some(object.to_owned())
        }
        _ => None,
    }
}

fn named(entry: &Entry) -> String {
    let name = quote_ident(&entry.tag);
    if entry.schema.is_empty() {
        format!("{} {name}", entry.desc)
    } else {
        format!("{} {}.{name}", entry.desc, quote_ident(&entry.schema))
    }
}
