//! Somebody's lock on the subscription: an ALTER or COMMENT ON SUBSCRIPTION whose transaction is open, or a lock on the catalogs that subscriptions
//! stand in. It is waited for in portions, so that a cancel is heard of between them, and who holds it is told.

use super::main::Coordinator;
use super::LOCK_LIMIT_MS;
use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::transaction;
use steep_repl_core::event::Severity;

impl Coordinator {
    /// Changes the subscription, in a transaction of its own. None when somebody's lock is in the way: that is said, and it is to be tried again.
    /// What others wait for is to be written after the change: it would be held as long as the lock is waited for.
    pub(super) fn change_subscription<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        let changed = transaction::run(|| {
            user::set_lock_timeout(LOCK_LIMIT_MS)?;
            work()
        });
        match changed {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.say_locked(error).map(|()| None),
        }
    }

    /// Says who holds the subscription, when that is what an error is about. Any other one is given back.
    pub(super) fn say_locked(&mut self, error: Error) -> Result<()> {
        if error.problem().sqlstate != user::LOCK_NOT_AVAILABLE {
            return Err(error);
        }
        let oid = self.operation.subscription_oid.unwrap_or_default();
        let named = transaction::run(|| Ok(user::with_subscription_holders(error, oid, "It is tried again.")))?;
        let problem = named.problem();
        // Nobody holds the subscription where it is a row of the operation or of its node that somebody has locked.
        let words = match &problem.hint {
            Some(_) => format!("subscription {} cannot be changed now", self.operation.subscription),
            None => "the operation or its node is locked by an open transaction".to_owned(),
        };
        let mut event = self
            .event("init.subscription_wait")
            .sqlstate(&problem.sqlstate)
            .message(format!("{words}: {}", problem.message));
        event.severity = Severity::Warning;
        event.hint = problem.hint;
        self.say_once("subscription_wait", event)
    }
}
