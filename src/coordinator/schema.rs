//! The phase before anything is made on the source: this database gets the tables of the source (`schema_sync => 'auto'`), or somebody
//! has looked at the differences and let the operation go on ('manual'). Either way the plan is made anew then.
//!
//! What is made here is made in one transaction together with the plan, so that a failure leaves nothing. Where that would be more objects
//! than the lock table has room for, it goes in several, and what those have done is noted with what takes it back.

use super::main::Coordinator;
use super::phase::Phase;
use crate::catalog::operations::{self, Mark};
use crate::catalog::schema_changes::{self, SchemaChange};
use crate::catalog::{events, user};
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use crate::pg::{role, transaction};
use crate::schema::{self, sync, Request, Sides};
use crate::source::{dump, publication};
use std::cell::RefCell;
use steep_repl_core::event::{self, Event, Severity};
use steep_repl_core::ident::qualified_display;
use steep_repl_core::schema_sync::{Action, Mode, Plan, Step};
use steep_repl_core::selection::NoIdentity;

/// How many objects are made in one transaction: each holds up to four locks until its end, and the lock table of a server with default
/// settings has room for about 8,000.
const BATCH: usize = 1_000;
/// How many may be made in the one transaction that makes all.
const ONE_TRANSACTION: usize = 2_000;
/// How long to wait for a lock here, in milliseconds.
const LOCK_LIMIT_MS: u32 = 5_000;
/// How many statements are carried out between two looks at whether the operation is still wanted.
const LOOK_EVERY: usize = 200;

/// What an object's absence is called: whoever takes it away finds it gone already.
const GONE: [&str; 5] = ["42P01", "42704", "42883", "3F000", "42703"];

impl Coordinator {
    /// Brings this database in line with the source, as far as the mode says, and makes the plan.
    pub(super) fn match_schemas(&mut self) -> Result<()> {
        if self.operation.options.schema_sync != Mode::Auto {
            let operation = self.operation.clone();
            let connection = self.source_patiently()?;
            transaction::run(|| replan(&operation, connection))?;
            return self.refresh().map(drop);
        }
        let (operation, id) = (self.operation.clone(), self.operation.id);
        let target = self.target()?.clone();
        // Says why when the source is away; pg_dump only says something.
        self.probe_source()?;
        let wanted = || transaction::run(|| is_wanted(id));
        let dumped = dump::definitions(&target, operation.token()?, &mut || match wanted() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::NotWanted { operation: id }),
            Err(error) => Err(error),
        });
        let entries = match dumped {
            Err(Error::NotWanted { .. }) => return Ok(()),
            entries => entries?,
        };
        failpoint!(SchemaDumped)?;
        let connection = self.source_patiently()?;
        let plan = transaction::run(|| {
            let dump = sync::Dump::identified(connection, entries)?;
            sync::plan_of(connection, &request(&operation), &dump)
        })?;
        match apply(&operation, connection, &plan) {
            Ok(()) | Err(Error::NotWanted { .. }) => self.refresh().map(drop),
            Err(error) => {
                // Of several transactions some may have been committed. What cannot be taken back now is left to a cancel.
                if let Err(left) = self.undo_schema() {
                    let problem = left.problem();
                    let mut event =
                        self.event(event::SCHEMA_UNDO_FAILED).sqlstate(&problem.sqlstate).message(problem.message);
                    event.severity = Severity::Warning;
                    self.say_once("schema_undo", event)?;
                }
                Err(error)
            }
        }
    }

    /// Takes back what was made and altered here, newest first. 2BP01 when somebody has come to depend on it.
    pub(super) fn undo_schema(&mut self) -> Result<()> {
        let id = self.operation.id;
        loop {
            let changes = transaction::run(|| schema_changes::left(id, BATCH as i64))?;
            if changes.is_empty() {
                return Ok(());
            }
            transaction::run(|| {
                user::set_lock_timeout(LOCK_LIMIT_MS)?;
                // All before anything goes: what is dropped in this transaction may take others of them along.
                for change in &changes {
                    keep_rows(&self.operation.node, change)?;
                }
                for change in &changes {
                    for statement in &change.undo {
                        take_back(statement)?;
                    }
                    schema_changes::undone(id, change.position)?;
                }
                failpoint!(SchemaUndone)
            })?;
        }
    }
}

/// Whether the operation is still to be carried out.
fn is_wanted(operation: i64) -> Result<bool> {
    let now = operations::get(operation)?;
    Ok(now.is_some_and(|operation| matches!(operation.status.as_str(), "pending" | "running")))
}

fn take_back(statement: &str) -> Result<()> {
    match transaction::nested(|| user::define(statement)) {
        Err(error) if GONE.contains(&error.problem().sqlstate.as_str()) => Ok(()),
        outcome => outcome,
    }
}

/// A table that was made here and holds rows was filled by somebody else: those of the operation are gone by now.
fn keep_rows(node: &str, change: &SchemaChange) -> Result<()> {
    let (Some(schema), Some(name)) = (&change.table_schema, &change.table_name) else { return Ok(()) };
    let Some(relid) = user::table_oid(schema, name)?.filter(|_| change.action == Action::Create.as_str()) else {
        return Ok(());
    };
    if user::not_empty(&[(relid, schema.clone(), name.clone())])?.is_empty() {
        return Ok(());
    }
    Err(Error::NotEmpty { node: node.to_owned(), count: 1, tables: vec![qualified_display(schema, name)] })
}

fn request(operation: &operations::Operation) -> Request<'_> {
    Request {
        node: &operation.node,
        source: &operation.source,
        schemas: operation.options.schemas.as_deref(),
        tables: operation.options.tables.as_deref(),
        no_identity: operation.options.no_identity.parse().unwrap_or(NoIdentity::Error),
        small_below: super::SMALL_BELOW,
        joins: None,
    }
}

/// Carries a plan out, and goes to the next phase.
fn apply(operation: &operations::Operation, connection: &Connection, plan: &Plan) -> Result<()> {
    let steps: Vec<&Step> = plan.to_do().collect();
    let whole = steps.len() <= ONE_TRANSACTION;
    let (before, last) = steps.split_at(if whole { 0 } else { steps.len().saturating_sub(BATCH) });
    for batch in before.chunks(BATCH) {
        in_transaction(operation, batch, || Ok(()))?;
    }
    in_transaction(operation, last, || {
        transaction::see_own_changes();
        events::write(&applied(operation, plan))?;
        replan(operation, connection)
    })
}

/// The step that is carried out, for the error that it may end in.
#[derive(Default)]
pub(super) struct Doing(RefCell<Option<String>>);

impl Doing {
    /// Carries steps out and writes down what takes them back. In the caller's transaction.
    pub(super) fn carry_out(&self, operation: &operations::Operation, steps: &[&Step]) -> Result<()> {
        user::set_lock_timeout(LOCK_LIMIT_MS)?;
        user::set_for_definitions()?;
        for (number, step) in steps.iter().enumerate() {
            if number % LOOK_EVERY == LOOK_EVERY - 1 {
                transaction::see_own_changes();
                if !is_wanted(operation.id)? {
                    return Err(Error::NotWanted { operation: operation.id });
                }
            }
            *self.0.borrow_mut() = Some(format!("{} {} {}", step.action.as_str(), step.kind, step.name));
            carry_out(operation, step)?;
        }
        *self.0.borrow_mut() = None;
        failpoint!(SchemaApplied)?;
        let changes: Vec<SchemaChange> = steps.iter().map(|step| change(step)).collect();
        schema_changes::record(operation.id, &changes)
    }

    /// The error of the transaction, with the step that it came from.
    pub(super) fn named(self, error: Error) -> Error {
        match (error, self.0.into_inner()) {
            (Error::Server(problem), Some(what)) => Error::SchemaSync { what, problem },
            (error, _) => error,
        }
    }
}

/// Carries steps out in one transaction, with what belongs into it.
pub(super) fn in_transaction(
    operation: &operations::Operation,
    steps: &[&Step],
    then: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let doing = Doing::default();
    let outcome = transaction::run(|| {
        doing.carry_out(operation, steps)?;
        then()
    });
    outcome.map_err(|error| doing.named(error))
}

fn carry_out(operation: &operations::Operation, step: &Step) -> Result<()> {
    if let (true, Some((schema, name)), false) = (step.drops_columns, &step.table, operation.options.force) {
        user::lock_exclusively(&[(schema.clone(), name.clone())])?;
        user::set_lock_timeout(LOCK_LIMIT_MS)?;
        let relid = user::table_oid(schema, name)?.unwrap_or_default();
        if !user::not_empty(&[(relid, schema.clone(), name.clone())])?.is_empty() {
            let tables = vec![qualified_display(schema, name)];
            return Err(Error::NotEmpty { node: operation.node.clone(), count: 1, tables });
        }
    }
    if let Some(method) = &step.access_method {
        user::set_table_access_method(method)?;
    }
    step.statements.iter().try_for_each(|statement| user::define(statement))
}

fn change(step: &Step) -> SchemaChange {
    let (table_schema, table_name) = step.table.clone().unzip();
    SchemaChange {
        position: 0,
        action: step.action.as_str().to_owned(),
        object_kind: step.kind.clone(),
        object_name: step.name.clone(),
        table_schema,
        table_name,
        undo: step.undo.clone(),
    }
}

/// What was done, what was not, and for whom nothing could be done, as events.
pub(super) fn applied(operation: &operations::Operation, plan: &Plan) -> Vec<Event> {
    let about =
        |name: &str| Event::info(name).operation_id(operation.id).node(&operation.node).source(&operation.source);
    let mut said: Vec<Event> = plan
        .summary()
        .into_iter()
        .map(|(table, line)| {
            let event = about(event::SCHEMA_SYNC_APPLIED).message(line);
            match table {
                Some((schema, name)) => event.table(qualified_display(&schema, &name)),
                None => event,
            }
        })
        .collect();
    for (name, message, hint) in plan.warnings() {
        let mut event = about(name).message(message).hint(hint);
        event.severity = Severity::Warning;
        said.push(event);
    }
    said
}

/// Makes the plan of an operation anew, of the tables that are here now, and goes to the next phase.
fn replan(operation: &operations::Operation, connection: &Connection) -> Result<()> {
    let (source, here) = (schema::source_inventory(connection, true)?, user::inventory()?);
    let request = request(operation);
    let mut chosen = schema::choose(&request, &source, &here)?;
    let skipped = if operation.options.schema_sync == Mode::Manual {
        chosen.leave_out_what_cannot_be_copied()
    } else {
        chosen.check_columns(&Sides::read(connection, &chosen)?)?;
        Vec::new()
    };
    chosen.check_identity()?;
    let plan = schema::planned(&chosen)?;
    if !operation.own_publications && !operation.is_by_files() {
        let names = operation.publications.join(",");
        publication::check(connection, &operation.source, &names, &plan.leaves())?;
    }
    let relids: Vec<u32> = plan.chosen.iter().map(|(oid, ..)| *oid).collect();
    // A physical copy was asked for its partitions themselves.
    let slot = (operation.is_manual() && !operation.options.physical).then_some(operation.slot_name.as_str());
    if operation.own_publications && operation.is_manual() {
        let mark = operations::publication_mark(operation.id)?;
        publication::check_members(connection, &operation.source, &operation.publications, &mark, &relids, slot)?;
    } else if let Some(slot) = slot {
        let (source, names) = (&operation.source, &operation.publications);
        publication::check_partitions(connection, source, names, &Mark::new(), &relids, slot)?;
    }
    let relids: Vec<u32> = plan.tables.iter().map(|table| table.relid).collect();
    let foreign = user::not_owned(&relids)?;
    if !foreign.is_empty() {
        return Err(Error::Rights {
            role: role::name_of(operation.requested_by),
            lacks: format!("does not own {}", foreign.join(", ")),
            node: operation.node.clone(),
            hint: "Use a role that owns the tables, or may act as their owners.".to_owned(),
        });
    }
    operations::replan(operation.id, &plan.publication, plan.bytes_total(), &plan.tables)?;
    let next = super::way_of(operation).after(Phase::Schema);
    operations::set_phase(operation.id, next.as_str())?;
    let about =
        |name: &str| Event::info(name).operation_id(operation.id).node(&operation.node).source(&operation.source);
    let mut said: Vec<Event> = skipped
        .into_iter()
        .map(|why| {
            let mut event = about(event::SCHEMA_TABLE_SKIPPED).message(format!("not copied: {why}"));
            event.severity = Severity::Warning;
            event
        })
        .collect();
    said.push(about(event::INIT_PHASE_STARTED).message(format!("phase {next}")));
    events::write(&said)?;
    failpoint!(SchemaReplanned)
}
