//! What can be wrong with the subscription, and with the server's own workers that serve it.

/// See there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubscriptionError {
    /// Somebody has made the subscription follow something else.
    #[error("subscription \"{subscription}\" was changed during the operation")]
    Changed {
        /// Its name.
        subscription: String,
    },
    /// Somebody has dropped the subscription.
    #[error("subscription \"{subscription}\" is gone")]
    Gone {
        /// Its name.
        subscription: String,
    },
    /// The subscription that tables are to join is not applied.
    #[error("subscription \"{subscription}\" is disabled")]
    Disabled {
        /// Its name.
        subscription: String,
    },
    /// Somebody has put tables into the subscription that are being copied into it.
    #[error("subscription \"{subscription}\" has {} already", tables.join(", "))]
    Has {
        /// Its name.
        subscription: String,
        /// The tables.
        tables: Vec<String>,
    },
    /// The subscription is one that tables cannot join.
    #[error("subscription \"{subscription}\" cannot take in further tables")]
    CannotJoin {
        /// Its name.
        subscription: String,
        /// Why.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The apply worker cannot go on.
    #[error("the apply worker of subscription \"{subscription}\" fails")]
    ApplyFails {
        /// The subscription.
        subscription: String,
        /// How often.
        errors: i64,
        /// Conflicts that were counted, by kind.
        conflicts: Vec<String>,
        /// The origin that its lines in the log name.
        origin: String,
    },
    /// The server's own workers cannot copy a table.
    #[error("the initial synchronization of table {table} fails")]
    SyncFails {
        /// The table.
        table: String,
        /// Its name in the server's log.
        log_name: String,
        /// Its subscription.
        subscription: String,
        /// How often it has failed.
        failures: u32,
        /// When it last did.
        at: String,
    },
    /// Somebody has taken tables out of the subscription that are being copied.
    #[error("subscription \"{subscription}\" does not have {} any more", tables.join(", "))]
    Lacks {
        /// Its name.
        subscription: String,
        /// The tables.
        tables: Vec<String>,
    },
}

impl SubscriptionError {
    /// SQLSTATE, detail and hint.
    pub(super) fn parts(&self) -> (&'static str, Option<String>, Option<String>) {
        use SubscriptionError::*;
        match self {
            Changed { .. } => (
                "55000",
                Some("Its slot or its publications are not those of the operation any more.".to_owned()),
                Some(
                    "Change it back and use steep_repl.resume_init(node) to go on, or steep_repl.cancel_init(node) to undo it."
                        .to_owned(),
                ),
            ),
            Gone { .. } => (
                "55000",
                Some("Somebody has dropped it.".to_owned()),
                Some("Use steep_repl.cancel_init(node) to take away what is left, and initialize the node again.".to_owned()),
            ),
            Disabled { .. } => (
                "55000",
                Some("Tables are copied by a subscription, or join it, while it is applied.".to_owned()),
                Some("Enable it: ALTER SUBSCRIPTION ... ENABLE;".to_owned()),
            ),
            Has { .. } => (
                "55000",
                Some("Somebody has added them meanwhile, with ALTER SUBSCRIPTION ... REFRESH PUBLICATION for one.".to_owned()),
                Some("Use steep_repl.cancel_init(node) to take them out again, then steep_repl.refresh_tables(node) once more.".to_owned()),
            ),
            CannotJoin { reason, hint, .. } => ("55000", Some(reason.clone()), Some(hint.clone())),
            ApplyFails { errors, conflicts, origin, .. } => (
                "55000",
                Some(match conflicts.as_slice() {
                    [] => format!("{errors} apply errors were seen."),
                    some => format!("{errors} apply errors were seen; conflicts: {}.", some.join(", ")),
                }),
                Some(format!(
                    "The cause is in the log of this server, in lines of the logical replication apply worker, before \
                     \"processing remote data for replication origin \"{origin}\"\"."
                )),
            ),
            SyncFails { log_name, subscription, failures, at, .. } => (
                "55000",
                Some(format!("Failed attempts of the server so far: {failures}; the last one at {at}.")),
                Some(format!(
                    "The cause is in the log of this server: the ERROR after the line \"logical replication table synchronization worker \
                     for subscription \"{subscription}\", table \"{log_name}\" has started\", of the same process."
                )),
            ),
            Lacks { .. } => (
                "55000",
                Some("Somebody has taken them out meanwhile, with ALTER SUBSCRIPTION ... REFRESH PUBLICATION for one.".to_owned()),
                Some("Use steep_repl.cancel_init(node) and initialize the node again.".to_owned()),
            ),
        }
    }
}
