//! Large tables from a base backup: what the snapshot keeper does instead of exporting a snapshot.
//!
//! The order is what makes it exact. First the backup; then a logical slot, whose start X2 therefore lies after the backup's end and can be a
//! target of its recovery; then a record of WAL past X2, since a recovery that stops before its target notices that only by the record after it.
//! A private server replays up to X2 and stands still. What committed before X2 is in it and nothing else; the apply worker passes over changes
//! of its tables from before X2 and applies all others (state `'s'` at X2), as it does for every later snapshot.
//!
//! What is durable: the directory and the physical slot, both by the operation's name, so that whoever comes next takes them away. The server is
//! this process's child and ends with it.

use super::main::Coordinator;
use crate::catalog::base_backups::{self, Stage};
use crate::catalog::events;
use crate::catalog::operations::{self, Operation};
use crate::catalog::user;
use crate::error::{Error, ProgramError, Result};
use crate::pg::private_server::{configure, PrivateServer};
use crate::pg::program::PrivateDirectory;
use crate::pg::remote::{Connection, Target};
use crate::pg::scratch::{self, Place};
use crate::pg::worker::report_activity;
use crate::pg::{role, system, transaction};
use crate::source::dump::Reach;
use crate::source::{backup, state};
use steep_repl_core::event::{Event, Severity};
use steep_repl_core::lsn::Lsn;
use steep_repl_core::names::{application_name, slot_name, temporary_slot_name, Part};
use steep_repl_core::private_server::{self, Wanted};
use steep_repl_core::retry::{self, Verdict};

/// How often the private server is looked at while it recovers, in milliseconds.
const LOOK_MS: i64 = 200;
/// How long it may let nobody in once it is open, in seconds.
const LETS_IN_WITHIN: f64 = 60.0;

/// A backup that can be read from. Its server ends and its directory goes with it.
pub struct Readable {
    /// To the private server.
    pub connection: Connection,
    /// What tables are copied as of.
    pub lsn: Lsn,
    /// Where it is, for whoever copies from it: a connection string without a secret.
    pub conninfo: String,
    /// What a transaction there sees.
    pub contents: String,
    server: PrivateServer,
    place: Place,
    operation: i64,
}

impl Readable {
    /// [`ProgramError::PrivateServer`] when its server has ended.
    pub fn check(&mut self) -> Result<()> {
        self.server.check()
    }

    /// Stops the server and takes everything away.
    pub fn end(mut self) -> Result<()> {
        self.server.stop();
        self.place.clear()?;
        let operation = self.operation;
        transaction::run(|| base_backups::forget(operation))
    }
}

/// Makes a backup and a server over it that stands still at a position after it; `number` is the keeper's.
pub fn make(operation: &Operation, target: &Target, connection: Connection, number: u32) -> Result<Readable> {
    let place = backup::place(operation)?;
    place.clear()?;
    let outcome = attempt(operation, target, &connection, &place, number);
    let Err(error) = outcome else { return outcome };
    let cleared = place.clear();
    if let Ok(token) = operation.token() {
        // The next attempt, or whoever cancels, takes away what cannot be now.
        let _ = transaction::run_without_snapshot(|| backup::drop_slot(&connection, token));
    }
    // A program says in words alone why it has failed, so the source is asked for a sign of life.
    let alive =
        transaction::run_without_snapshot(|| connection.value("SELECT 1::text", "could not ask for a sign of life"));
    let error = match (&error, alive) {
        (Error::Program(ProgramError::Failed { .. }), Err(away)) => away,
        _ => error,
    };
    cleared.and(Err(error))
}

fn attempt(
    operation: &Operation,
    target: &Target,
    connection: &Connection,
    place: &Place,
    number: u32,
) -> Result<Readable> {
    let (id, token) = (operation.id, operation.token()?);
    transaction::run(require_right)?;
    let name = application_name(token, Part::BaseBackup);
    let about = transaction::run_without_snapshot(|| {
        state::end_sessions(connection, &name)?;
        backup::ask(connection)
    })?;
    let scratch = &operation.options.scratch_directory;
    if let Some(reason) = scratch::why_not(scratch, &slot_name(token)) {
        return Err(Error::Program(ProgramError::LargeTables {
            method: "basebackup",
            reason,
            hint: "Mend that, or cancel the operation and use large_table_method => 'copy'.".to_owned(),
        }));
    }
    backup::check_space(&about, scratch, scratch::free_bytes(scratch.as_ref()))?;
    place.make()?;
    let private = PrivateDirectory::new()?;
    let reach = Reach::of(target, &name, &private)?;
    note(operation, Stage::Backup(0, 0), "making a base backup of the source")?;
    transaction::run_without_snapshot(|| backup::make_slot(connection, token))?;
    failpoint!(BackupSlotMade)?;
    let mut look = || {
        let seen = transaction::run_without_snapshot(|| backup::progress(connection, &name))?;
        let Some((done, total)) = seen else { return Ok(()) };
        report_activity(Some(&format!("base backup: {} of {} MB", done >> 20, total >> 20)));
        transaction::run(|| base_backups::note(id, Stage::Backup(done, total)))
    };
    backup::make(target, &reach, &private, place, token, &about.tablespaces, &mut look)?;
    failpoint!(BackupMade)?;
    note(operation, Stage::Slot, "the base backup is here; taking a position after it")?;
    let walsender = transaction::run_without_snapshot(|| {
        Connection::open_walsender(target, &application_name(token, Part::Keeper))
    })?;
    let lsn =
        transaction::run_without_snapshot(|| walsender.create_slot(&temporary_slot_name(token, number), true, false))?
            .lsn;
    // The operation's slot keeps all WAL that is needed.
    drop(walsender);
    insist(operation, connection, &mut || Ok(()), &|| state::nudge(connection))?;
    note(operation, Stage::Recovery(lsn), &format!("a private server replays WAL up to {lsn}"))?;
    configure(
        place,
        &Wanted {
            socket_directory: &place.directory.display().to_string(),
            primary: &reach.conninfo.to_string(),
            slot: &steep_repl_core::names::backup_slot_name(token),
            target: lsn,
            at_least: &about.at_least,
        },
    )?;
    let mut server = PrivateServer::start(place, &target.node, &reach.environment())?;
    failpoint!(PrivateServerStarted)?;
    let socket = place.directory.display().to_string();
    let conninfo = private_server::conninfo(&socket, &about.role, &about.database, about.superuser);
    let here = backup::private_target(&target.node, conninfo);
    let there = await_target(&mut server, &here, &application_name(token, Part::Keeper))?;
    insist(operation, connection, &mut || server.check(), &|| {
        // It needs no more WAL, and would go on to fetch it.
        state::end_sessions(connection, &name)?;
        backup::drop_slot(connection, token)
    })?;
    let contents = transaction::run_without_snapshot(|| {
        there.value("SELECT pg_catalog.pg_current_snapshot()::text", "could not read the snapshot")
    })?
    .ok_or_else(|| Error::internal("the private server has no snapshot"))?;
    note(operation, Stage::Ready(lsn), &format!("tables are copied from the private server, as of {lsn}"))?;
    let conninfo = here.conninfo.to_string();
    Ok(Readable { connection: there, lsn, conninfo, contents, server, place: place.clone(), operation: id })
}

fn require_right() -> Result<()> {
    if user::may_run_programs()? {
        return Ok(());
    }
    let role = role::name_of(role::current());
    Err(Error::RightsHere {
        lacks: "may not have programs of the server run".to_owned(),
        hint: format!("GRANT pg_execute_server_program TO {role};"),
        role,
    })
}

/// Notes how far it is, and says so.
fn note(operation: &Operation, stage: Stage, words: &str) -> Result<()> {
    report_activity(Some(words));
    let event = Event::info("init.base_backup")
        .operation_id(operation.id)
        .node(&operation.node)
        .source(&operation.source)
        .message(words.to_owned());
    transaction::run(|| {
        base_backups::note(operation.id, stage)?;
        events::write(&[event])
    })
}

/// Asks the source for something that must not cost the backup. The connection has been idle for as long as all the rest took: where it is broken
/// it is made anew, and a source that is away is waited for. That it is away is seen and said by the coordinator, which asks it meanwhile.
fn insist(
    operation: &Operation,
    connection: &Connection,
    go_on: &mut dyn FnMut() -> Result<()>,
    ask: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let (started, mut failures) = (system::now_secs(), 0);
    loop {
        let asked = transaction::run_without_snapshot(|| {
            if failures > 0 {
                connection.reopen()?;
            }
            ask()
        });
        let Err(error) = asked else { break };
        let waited = system::now_secs() - started;
        if error.verdict() != Verdict::RetrySource || waited > operation.options.source_lost_timeout {
            return Err(error);
        }
        let problem = error.problem();
        transaction::run(|| operations::note_error(operation.id, &problem))?;
        failures += 1;
        system::wait_latch(retry::backoff_ms(failures) as i64);
        go_on()?;
    }
    if failures > 0 {
        transaction::run(|| operations::clear_error(operation.id))?;
    }
    Ok(())
}

/// What it means that a private server which runs lets nobody in: another backup would not either, and the source is not to blame.
fn shut(error: &Error) -> Error {
    let problem = error.problem();
    let words = problem.detail.unwrap_or(problem.message);
    Error::Program(ProgramError::LargeTables {
        method: "basebackup",
        reason: format!("The private server over the backup lets nobody in: {words}"),
        hint: "Install here the libraries that settings of the source load, or have its node connect as a superuser, for whom they are not \
               loaded. Or cancel the operation and use large_table_method => 'copy'."
            .to_owned(),
    })
}

/// Waits until the server has replayed up to its target and can be read from.
fn await_target(server: &mut PrivateServer, target: &Target, name: &str) -> Result<Connection> {
    loop {
        server.check()?;
        if server.is_open() {
            break;
        }
        system::wait_latch(LOOK_MS);
    }
    let opened = system::now_secs();
    let connection = loop {
        match transaction::run_without_snapshot(|| Connection::open(target, name)) {
            Ok(connection) => break connection,
            Err(error) if system::now_secs() - opened > LETS_IN_WITHIN => return Err(shut(&error)),
            // It may have very much else to do.
            Err(_) => {}
        }
        server.check()?;
        system::wait_latch(LOOK_MS);
    };
    // Where nobody could read at the target, because too many subtransactions ran, it has become a primary there: that stands still as well.
    let question =
        "SELECT (NOT pg_catalog.pg_is_in_recovery() OR pg_catalog.pg_get_wal_replay_pause_state() = 'paused')::text";
    loop {
        server.check()?;
        let stands =
            transaction::run_without_snapshot(|| connection.value(question, "could not look at the private server"))?;
        if stands.as_deref() == Some("true") {
            return Ok(connection);
        }
        system::wait_latch(LOOK_MS);
    }
}

impl Coordinator {
    /// Ends what is left of a private server and removes its directory. The keeper has ended.
    pub(super) fn clear_scratch(&mut self) -> Result<()> {
        if !self.operation.uses_base_backup() || self.operation.options.scratch_directory.is_empty() {
            return Ok(());
        }
        let id = self.operation.id;
        backup::place(&self.operation)?.clear()?;
        transaction::run(|| base_backups::forget(id))
    }

    /// The same where it must not stand in the way of something else.
    pub(super) fn try_to_clear_scratch(&mut self) -> Result<()> {
        let Err(error) = self.clear_scratch() else { return Ok(()) };
        let problem = error.problem();
        let mut event = self
            .event("init.scratch_left")
            .sqlstate(&problem.sqlstate)
            .message(format!("the directory of the base backup was not removed: {}", problem.message))
            .hint("Remove it when nothing runs in it.");
        event.severity = Severity::Warning;
        transaction::run(|| events::write(&[event]))
    }
}
