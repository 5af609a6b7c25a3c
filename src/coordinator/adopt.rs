//! A physical copy of the source is what the source was, in all: its slots, its subscriptions, the positions of its origins, and the
//! publications of its nodes. What has the same name and number on both is the original's, and is taken away here before the node
//! replicates.

use super::main::Coordinator;
use crate::catalog::copied::{self, Belongings};
use crate::catalog::{events, user};
use crate::error::{Error, Result, SlotError};
use crate::pg::{subscription, system, transaction};
use steep_repl_core::event::Severity;

/// How long workers of a subscription that goes may take to end, in seconds.
const WORKERS_GONE_WITHIN: f64 = 30.0;
/// How often to look, in milliseconds.
const LOOK_MS: i64 = 50;
/// How long to wait for a lock here, in milliseconds.
const LOCK_LIMIT_MS: u32 = 5_000;

impl Coordinator {
    /// Takes away what is not the node's.
    pub(super) fn adopt_copy(&mut self) -> Result<()> {
        if !self.operation.options.physical {
            return Ok(());
        }
        self.name_what_is_left()?;
        let connection = self.source()?;
        let theirs: Belongings = transaction::run_without_snapshot(|| copied::of_source(connection))?;
        let ours = transaction::run(copied::here)?;
        let brought = ours.also_of(&theirs);
        for (oid, name) in &brought.subscriptions {
            self.end_copied_subscription(*oid, name)?;
        }
        for name in &brought.slots {
            transaction::run(|| copied::drop_slot(name)).map_err(|error| in_use(error, "slot", name))?;
        }
        for name in &brought.origins {
            let dropped = transaction::run(|| {
                user::set_lock_timeout(LOCK_LIMIT_MS)?;
                copied::drop_origin(name)
            });
            dropped.map_err(|error| in_use(error, "origin", name))?;
        }
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            for name in &brought.publications {
                copied::drop_publication(name)?;
            }
            Ok(())
        })?;
        let event = self.event("init.copy_adopted").message(brought.words());
        transaction::run(|| events::write(&[event]))
    }

    /// Says which subscriptions of the original are not this database's to take away.
    fn name_what_is_left(&mut self) -> Result<()> {
        let elsewhere = transaction::run(copied::subscriptions_elsewhere)?;
        if elsewhere.is_empty() {
            return Ok(());
        }
        let mut event = self
            .event("init.copy_subscriptions_left")
            .message(format!("other databases of this server have subscriptions of the original: {}", elsewhere.join(", ")))
            .hint(
                "Those that are enabled take the original's slots from it. In each of these databases: ALTER SUBSCRIPTION ... DISABLE; \
                 ALTER SUBSCRIPTION ... SET (slot_name = NONE); DROP SUBSCRIPTION ...;",
            );
        event.severity = Severity::Warning;
        self.say_once("subscriptions elsewhere", event)
    }

    /// Drops a subscription of the original without a word to its publisher: the slot there is the original's.
    fn end_copied_subscription(&mut self, oid: u32, name: &str) -> Result<()> {
        let Some(found) = transaction::run(|| user::subscription(oid))? else { return Ok(()) };
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            user::enable_subscription(name, false)
        })?;
        let started = system::now_secs();
        for pid in found.worker_pids {
            transaction::run(|| user::terminate(pid))?;
            while transaction::run(|| user::process_exists(pid))? {
                if system::now_secs() - started > WORKERS_GONE_WITHIN {
                    return Err(Error::WorkerStays { pid });
                }
                system::wait_latch(LOOK_MS);
            }
        }
        transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            subscription::remove_tables(oid);
            user::drop_subscription(name)
        })
    }
}

/// The error of dropping a slot or an origin, by its name where somebody uses it.
fn in_use(error: Error, what: &str, name: &str) -> Error {
    match error.problem().sqlstate.as_str() {
        "55006" => SlotError::InUse { what: format!("replication {what} \"{name}\"") }.into(),
        _ => error,
    }
}
