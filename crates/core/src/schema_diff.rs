//! What differs between two definitions of a table: each difference in words, and as the DDL that takes it away.
//!
//! `a` is the reference, `b` is brought in line with it. Columns, and the key of a partitioned table, decide whether the two match.
//! Everything else is a note: it does not keep rows from being replicated.
//!
//! The DDL of all differences, carried out in their order, makes `b` like `a`. A column that was renamed is one that is missing and one
//! that is extra: nobody can know more.

use std::fmt;

use crate::definition::{Column, Definition, Object, ObjectKind};
use crate::ident::{display_ident, quote_ident};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is about: `table`, `column`, `collation`, `nullability`, `default`, `identity`, `generated`, `partition key`, or a kind of
    /// [`Object`].
    pub kind: &'static str,
    /// Name of the column or object.
    pub name: String,
    /// How it differs.
    pub change: Change,
    /// What it is on `a`; none where it is not there.
    pub a: Option<String>,
    /// What it is on `b`; none where it is not there.
    pub b: Option<String>,
    /// Statements that bring `b` in line; none where there is no way but to make the table anew.
    pub ddl: Option<String>,
    /// Whether the tables do not match because of it; otherwise it is a note.
    pub is_mismatch: bool,
}

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Not on `b`.
    Missing,
    /// On `b` only.
    Extra,
    /// Another type.
    Type,
    /// Another definition.
    Different,
    /// Another text of what may be the same expression, since the servers' majors differ.
    Text,
}

impl Change {
    /// The word used in SQL results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Change::Missing => "missing",
            Change::Extra => "extra",
            Change::Type => "type",
            Change::Different => "different",
            Change::Text => "text",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Difference {
    /// The difference in words, with the nodes' names.
    pub fn words(&self, node_a: &str, node_b: &str) -> String {
        let subject = if self.is_of_column() {
            format!("column {}", display_ident(&self.name))
        } else {
            format!("{} {}", self.kind, display_ident(&self.name))
        };
        let on = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let both = format!("{} on {node_a}, {} on {node_b}", on(&self.a), on(&self.b));
        match (self.kind, self.change) {
            ("table", Change::Missing) => format!("table missing on {node_b}"),
            ("table", Change::Extra) => format!("table missing on {node_a}"),
            ("column", Change::Missing) => format!("{subject} missing on {node_b}"),
            ("column", Change::Extra) => format!("{subject} missing on {node_a}"),
            ("column", _) => format!("{subject}: {both}"),
            ("default", Change::Text) => format!("{subject}: default text differs: {both}"),
            ("generated", Change::Text) => format!("{subject}: text of its expression differs: {both}"),
            _ if self.is_of_column() => format!("{subject}: {} {both}", self.kind),
            ("partition key", _) => format!("partition key: {both}"),
            (_, Change::Missing) => format!("{subject} missing on {node_b}"),
            (_, Change::Extra) => format!("{subject} missing on {node_a}"),
            _ => format!("{subject}: {both}"),
        }
    }

    /// Whether the DDL drops a column that may hold values which nothing brings back.
    pub fn loses_data(&self) -> bool {
        match self.kind {
            "column" => self.change == Change::Extra,
            "generated" => self.ddl.is_some() && self.b.is_none(),
            _ => false,
        }
    }

    /// Whether the DDL drops a column of this name, be it to make it anew.
    pub fn drops(&self, column: &str) -> bool {
        let action = drop_column(column);
        self.ddl
            .iter()
            .flat_map(|ddl| ddl.lines())
            .any(|line| line.starts_with("ALTER TABLE") && line.contains(&action))
    }

    fn is_of_column(&self) -> bool {
        matches!(self.kind, "column" | "collation" | "nullability" | "default" | "identity" | "generated")
    }
}

/// Everything that differs. `same_major`: both servers deparse expressions alike, so that another text is another expression.
pub fn diff(a: Option<&Definition>, b: Option<&Definition>, same_major: bool) -> Vec<Difference> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (Some(a), None) => return vec![whole_table(a, Change::Missing)],
        (None, Some(b)) => return vec![whole_table(b, Change::Extra)],
        (None, None) => return Vec::new(),
    };
    let mut found = Vec::new();
    if a.kind != b.kind || a.partition_key != b.partition_key {
        found.push(Difference {
            kind: "partition key",
            name: a.name.clone(),
            change: Change::Different,
            a: a.partition_key.clone(),
            b: b.partition_key.clone(),
            ddl: None,
            is_mismatch: true,
        });
    }
    // What is in the way of a change is taken away first, what needs another comes after it.
    let objects = objects(a, b);
    let (before, after): (Vec<_>, Vec<_>) = objects.into_iter().partition(|one| one.change == Change::Extra);
    found.extend(before);
    let sides = Sides { a, b, same_major };
    let is_generated = |column: &&Column| column.generated.is_some();
    let extra = b.columns.iter().filter(|column| a.column(&column.name).is_none());
    let (computed, plain): (Vec<&Column>, Vec<&Column>) = extra.partition(is_generated);
    found.extend(computed.into_iter().chain(plain).map(|column| sides.extra(column)));
    // Generated ones last: they are computed from the others.
    let (computed, plain): (Vec<&Column>, Vec<&Column>) = a.columns.iter().partition(is_generated);
    for columns in [plain, computed] {
        let (mut common, missing): (Vec<&Column>, Vec<&Column>) =
            columns.into_iter().partition(|column| b.column(&column.name).is_some());
        // Where values do not fit, what cannot fail has been done before; in one transaction all of it is taken back.
        common.sort_by_key(|column| {
            b.column(&column.name).is_some_and(|other| narrows(&other.type_name, &column.type_name))
        });
        for column in common {
            found.extend(b.column(&column.name).into_iter().flat_map(|other| sides.column(column, other)));
        }
        found.extend(missing.into_iter().map(|column| sides.missing(column)));
    }
    found.extend(after);
    found
}

/// Whether values of one type may not fit into another, as far as their names tell.
fn narrows(from: &str, to: &str) -> bool {
    const WHOLE: [&str; 3] = ["smallint", "integer", "bigint"];
    let rank = |name: &str| WHOLE.iter().position(|whole| *whole == name);
    if from == to || to == "text" || to == "numeric" && rank(from).is_some() {
        return false;
    }
    if let (Some(from), Some(to)) = (rank(from), rank(to)) {
        return to < from;
    }
    let split = |name: &str| -> Option<(String, Vec<i64>)> {
        let (base, rest) = name.split_once('(')?;
        let numbers = rest.trim_end_matches(')').split(',').map(|number| number.trim().parse().ok()).collect();
        Some((base.to_owned(), numbers)).and_then(|(base, numbers): (_, Option<Vec<i64>>)| Some((base, numbers?)))
    };
    match (split(from), split(to)) {
        (Some((base, from)), Some((other, to))) if base == other => match (from.as_slice(), to.as_slice()) {
            ([from], [to]) => to < from,
            // Digits before the point must not become fewer, nor those behind it.
            ([precision, scale], [to_precision, to_scale]) => {
                to_scale < scale || to_precision - to_scale < precision - scale
            }
            _ => true,
        },
        // A limit goes away.
        (Some((base, _)), None) if base == to => false,
        _ => true,
    }
}

/// Whether rows of `a` and `b` are of one kind: nothing but notes among the differences.
pub fn is_match(differences: &[Difference]) -> bool {
    !differences.iter().any(|difference| difference.is_mismatch)
}

fn whole_table(table: &Definition, change: Change) -> Difference {
    let text = Some(format!("{} columns", table.columns.len()));
    let missing = change == Change::Missing;
    Difference {
        kind: "table",
        name: table.name.clone(),
        change,
        // What a partition is of its parent is not known here.
        ddl: match missing {
            true => table.parents.is_empty().then(|| create_table(table)),
            false => Some(format!("DROP TABLE {};", table.qualified())),
        },
        a: text.clone().filter(|_| missing),
        b: text.filter(|_| !missing),
        is_mismatch: true,
    }
}

/// The table with its columns and what belongs to it, as statements.
pub fn create_table(table: &Definition) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| format!("\n    {}", clause(column))).collect();
    let key = table.partition_key.as_ref().map(|key| format!(" PARTITION BY {key}")).unwrap_or_default();
    let mut statements: Vec<String> = table
        .columns
        .iter()
        .filter_map(sequence)
        .map(|sequence| format!("CREATE SEQUENCE IF NOT EXISTS {sequence};"))
        .collect();
    statements.push(format!("CREATE TABLE {} ({}\n){key};", table.qualified(), columns.join(",")));
    let mut objects: Vec<&Object> = table.objects.iter().collect();
    objects.sort();
    statements.extend(objects.into_iter().map(|object| make(table, object)));
    statements.join("\n")
}

/// The sequence that a column takes its default from, as SQL names it.
fn sequence(column: &Column) -> Option<String> {
    let name = column.default.as_ref()?.strip_prefix("nextval('")?.strip_suffix("'::regclass)")?;
    Some(name.replace("''", "'"))
}

/// A column as in CREATE TABLE.
fn clause(column: &Column) -> String {
    let mut text = format!("{} {}", quote_ident(&column.name), column.type_name);
    if let Some(collation) = &column.collation {
        text.push_str(&format!(" COLLATE {collation}"));
    }
    match (column.generated, &column.default, column.identity) {
        (Some(how), Some(expression), _) => {
            text.push_str(&format!(" GENERATED ALWAYS AS ({expression}) {}", storage(how)));
        }
        (_, _, Some(kind)) => text.push_str(&format!(" GENERATED {} AS IDENTITY", always(kind))),
        (_, Some(expression), None) => text.push_str(&format!(" DEFAULT {expression}")),
        _ => {}
    }
    if column.not_null {
        text.push_str(" NOT NULL");
    }
    text
}

fn drop_column(name: &str) -> String {
    format!("DROP COLUMN IF EXISTS {}", quote_ident(name))
}

fn storage(generated: char) -> &'static str {
    if generated == 'v' {
        "VIRTUAL"
    } else {
        "STORED"
    }
}

fn always(identity: char) -> &'static str {
    if identity == 'a' {
        "ALWAYS"
    } else {
        "BY DEFAULT"
    }
}

struct Sides<'a> {
    a: &'a Definition,
    b: &'a Definition,
    same_major: bool,
}

impl Sides<'_> {
    fn alter(&self, action: &str) -> String {
        format!("ALTER TABLE {} {action};", self.b.qualified())
    }

    /// Generated columns of both that are computed from a column of `b`: they are in its way.
    fn computed_from<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Column> {
        self.b.columns.iter().filter(move |column| {
            column.generated.is_some()
                && column.computed_from.iter().any(|base| base == name)
                && self.a.column(&column.name).is_some()
        })
    }

    /// Statements that bring back those of them that are not made anew for another reason.
    fn add_computed<'s>(&'s self, name: &'s str) -> impl Iterator<Item = String> + 's {
        self.computed_from(name)
            .filter_map(|other| self.a.column(&other.name).filter(|column| !self.must_be_made_anew(column, other)))
            .map(|column| self.alter(&format!("ADD COLUMN {}", clause(column))))
    }

    /// One of them may have gone with another.
    fn drop_columns<'s>(&self, columns: impl Iterator<Item = &'s Column>) -> String {
        let actions: Vec<String> = columns.map(|column| drop_column(&column.name)).collect();
        self.alter(&actions.join(", "))
    }

    /// Whether no ALTER COLUMN leads from one to the other: what a generated column is computed by has changed, or whether it is one.
    fn must_be_made_anew(&self, a: &Column, b: &Column) -> bool {
        a.generated != b.generated || a.generated.is_some() && a.default != b.default && self.same_major
    }

    fn missing(&self, column: &Column) -> Difference {
        Difference {
            kind: "column",
            name: column.name.clone(),
            change: Change::Missing,
            a: Some(clause(column)),
            b: None,
            ddl: Some(self.alter(&format!("ADD COLUMN {}", clause(column)))),
            is_mismatch: true,
        }
    }

    fn extra(&self, column: &Column) -> Difference {
        Difference {
            kind: "column",
            name: column.name.clone(),
            change: Change::Extra,
            a: None,
            b: Some(clause(column)),
            ddl: Some(self.drop_columns(self.computed_from(&column.name).chain([column]))),
            is_mismatch: true,
        }
    }

    /// What differs between a column and the one of its name, in an order in which it can be altered.
    fn column(&self, a: &Column, b: &Column) -> Vec<Difference> {
        let anew = self.must_be_made_anew(a, b);
        let mut found = Vec::new();
        let name = quote_ident(&a.name);
        let mut push = |kind, change, of_a: Option<String>, of_b: Option<String>, ddl: Option<String>, is_mismatch| {
            found.push(Difference { kind, name: a.name.clone(), change, a: of_a, b: of_b, ddl, is_mismatch });
        };
        // The first difference carries the statements that make the column anew, the others need none.
        let mut whole = anew.then(|| {
            let mut statements = vec![
                self.drop_columns(self.computed_from(&a.name).chain([b])),
                self.alter(&format!("ADD COLUMN {}", clause(a))),
            ];
            statements.extend(self.add_computed(&a.name));
            statements.join("\n")
        });
        let mut ddl = |action: String| if anew { whole.take() } else { Some(self.alter(&action)) };
        if a.generated != b.generated || a.generated.is_some() && a.default != b.default {
            let of = |column: &Column| {
                column.generated.map(|how| format!("{} {}", column.default.as_deref().unwrap_or(""), storage(how)))
            };
            let is_mismatch = self.must_be_made_anew(a, b);
            let change = if is_mismatch { Change::Different } else { Change::Text };
            let statements = if is_mismatch { ddl(String::new()) } else { None };
            push("generated", change, of(a), of(b), statements, is_mismatch);
        }
        let collates = a.collation != b.collation;
        let retypes = a.type_name != b.type_name || collates;
        let identity = |column: &Column| column.identity.map(|kind| always(kind).to_lowercase());
        if a.identity != b.identity && a.identity.is_none() {
            push("identity", Change::Extra, None, identity(b), ddl(format!("ALTER COLUMN {name} DROP IDENTITY")), true);
        }
        if retypes {
            let collation = match (&a.collation, collates) {
                (Some(collation), _) => format!(" COLLATE {collation}"),
                (None, _) => String::new(),
            };
            let statements = if anew { ddl(String::new()) } else { Some(self.retype(a, b, &collation)) };
            if a.type_name != b.type_name {
                let types = (Some(a.type_name.clone()), Some(b.type_name.clone()));
                push("column", Change::Type, types.0, types.1, statements, true);
            } else {
                let of = |column: &Column| Some(column.collation.clone().unwrap_or_else(|| "default".to_owned()));
                push("collation", Change::Different, of(a), of(b), statements, true);
            }
        }
        let both_plain = a.generated.is_none() && b.generated.is_none();
        if both_plain && a.default != b.default && b.default.is_some() && a.default.is_none() {
            let statements = ddl(format!("ALTER COLUMN {name} DROP DEFAULT"));
            push("default", Change::Extra, None, b.default.clone(), statements, true);
        }
        if a.not_null != b.not_null {
            let action = if a.not_null { "SET" } else { "DROP" };
            let of = |column: &Column| Some(if column.not_null { "not null" } else { "null" }.to_owned());
            push(
                "nullability",
                Change::Different,
                of(a),
                of(b),
                ddl(format!("ALTER COLUMN {name} {action} NOT NULL")),
                true,
            );
        }
        if both_plain && a.default != b.default {
            if let Some(default) = &a.default {
                let change = match (&b.default, self.same_major) {
                    (None, _) => Change::Missing,
                    (Some(_), true) => Change::Different,
                    (Some(_), false) => Change::Text,
                };
                let statements = ddl(format!("ALTER COLUMN {name} SET DEFAULT {default}"));
                push("default", change, a.default.clone(), b.default.clone(), statements, change != Change::Text);
            }
        }
        if let (Some(kind), true) = (a.identity, a.identity != b.identity) {
            let (change, action) = match b.identity {
                None => (Change::Missing, format!("ALTER COLUMN {name} ADD GENERATED {} AS IDENTITY", always(kind))),
                Some(_) => (Change::Different, format!("ALTER COLUMN {name} SET GENERATED {}", always(kind))),
            };
            push("identity", change, identity(a), identity(b), ddl(action), true);
        }
        found
    }

    /// Statements that give a column another type: its default is cast by nobody, and generated columns that are computed from it
    /// have to go meanwhile.
    fn retype(&self, a: &Column, b: &Column, collation: &str) -> String {
        let name = quote_ident(&a.name);
        let computed: Vec<&Column> = self.computed_from(&a.name).collect();
        let mut statements = Vec::new();
        if !computed.is_empty() {
            statements.push(self.drop_columns(computed.iter().copied()));
        }
        let mut actions = Vec::new();
        if b.default.is_some() && b.generated.is_none() {
            actions.push(format!("ALTER COLUMN {name} DROP DEFAULT"));
        }
        let using = if b.generated.is_some() { String::new() } else { format!(" USING {name}::{}", a.type_name) };
        actions.push(format!("ALTER COLUMN {name} TYPE {}{collation}{using}", a.type_name));
        if let (Some(default), None) = (&a.default, a.generated) {
            if b.identity.is_none() {
                actions.push(format!("ALTER COLUMN {name} SET DEFAULT {default}"));
            }
        }
        statements.push(self.alter(&actions.join(", ")));
        statements.extend(self.add_computed(&a.name));
        statements.join("\n")
    }
}

/// What differs besides the columns; extra ones, which may stand in the way, in the opposite order of their making.
fn objects(a: &Definition, b: &Definition) -> Vec<Difference> {
    let find = |side: &Definition, one: &Object| {
        side.objects.iter().find(|other| other.kind == one.kind && other.name == one.name).cloned()
    };
    let note = |object: &Object, change, of_a, of_b, ddl| Difference {
        kind: object.kind.as_str(),
        name: object.name.clone(),
        change,
        a: of_a,
        b: of_b,
        ddl,
        is_mismatch: false,
    };
    let mut sorted: (Vec<&Object>, Vec<&Object>) = (a.objects.iter().collect(), b.objects.iter().collect());
    sorted.0.sort();
    sorted.1.sort();
    let mut found = Vec::new();
    for object in sorted.1.iter().rev().filter(|object| find(a, object).is_none()) {
        found.push(note(object, Change::Extra, None, Some(object.definition.clone()), Some(drop_object(b, object))));
    }
    for object in sorted.0 {
        match find(b, object) {
            None => {
                let ddl = Some(make(b, object));
                found.push(note(object, Change::Missing, Some(object.definition.clone()), None, ddl));
            }
            Some(other) if other.definition != object.definition => {
                let ddl = match object.kind {
                    ObjectKind::ReplicaIdentity => make(b, object),
                    _ => format!("{}\n{}", drop_object(b, &other), make(b, object)),
                };
                let texts = (Some(object.definition.clone()), Some(other.definition));
                found.push(note(object, Change::Different, texts.0, texts.1, Some(ddl)));
            }
            Some(_) => {}
        }
    }
    found
}

fn make(table: &Definition, object: &Object) -> String {
    match object.kind {
        ObjectKind::Index | ObjectKind::Trigger => format!("{};", object.definition),
        ObjectKind::ReplicaIdentity => {
            format!("ALTER TABLE {} REPLICA IDENTITY {};", table.qualified(), object.definition)
        }
        _ => format!(
            "ALTER TABLE {} ADD CONSTRAINT {} {};",
            table.qualified(),
            quote_ident(&object.name),
            object.definition
        ),
    }
}

fn drop_object(table: &Definition, object: &Object) -> String {
    match object.kind {
        ObjectKind::Index => format!("DROP INDEX {}.{};", quote_ident(&table.schema), quote_ident(&object.name)),
        ObjectKind::Trigger => format!("DROP TRIGGER {} ON {};", quote_ident(&object.name), table.qualified()),
        ObjectKind::ReplicaIdentity => format!("ALTER TABLE {} REPLICA IDENTITY DEFAULT;", table.qualified()),
        _ => format!("ALTER TABLE {} DROP CONSTRAINT {};", table.qualified(), quote_ident(&object.name)),
    }
}

#[cfg(test)]
mod tests;
