//! The JSON object of an event: stable keys in a stable order, absent ones left out.
//!
//! The same object is the row in `steep_repl.events`, the line in the server log, and what operators' scripts parse;
//! key names and their order are the public contract. No secret may get into it: a source is named by
//! [`Conninfo::describe`](crate::conninfo::Conninfo::describe) or by its node name, never by its connection string.

use std::fmt;

use serde::Serialize;

/// An operation began.
pub const INIT_STARTED: &str = "init.started";
/// A node changed its state.
pub const INIT_STATE_CHANGE: &str = "init.state_change";
/// A phase of an operation began.
pub const INIT_PHASE_STARTED: &str = "init.phase_started";
/// The copy of a table began.
pub const INIT_TABLE_STARTED: &str = "init.table_started";
/// A table is done: rows, indexes, vacuum.
pub const INIT_TABLE_COMPLETE: &str = "init.table_complete";
/// A table's task failed, whether or not it is tried again.
pub const INIT_TABLE_FAILED: &str = "init.table_failed";
/// The operation stopped; it can be resumed or cancelled.
pub const INIT_FAILED: &str = "init.failed";
/// The operation was cancelled.
pub const INIT_CANCELLED: &str = "init.cancelled";
/// The node is synchronized.
pub const INIT_COMPLETED: &str = "init.completed";
/// While catching up, the lag grew for five minutes.
pub const INIT_CATCHUP_FALLING_BEHIND: &str = "init.catchup_falling_behind";
/// Source and target schemas differ.
pub const SCHEMA_MISMATCH_DETECTED: &str = "schema.mismatch_detected";
/// The target's schema was changed to match the source's.
pub const SCHEMA_SYNC_APPLIED: &str = "schema.sync_applied";
/// A table is not copied, since it cannot be.
pub const SCHEMA_TABLE_SKIPPED: &str = "schema.table_skipped";
/// What was made before a failure could not be taken back at once.
pub const SCHEMA_UNDO_FAILED: &str = "schema.undo_failed";
/// Objects of the source that were not made.
pub const SCHEMA_LEFT_OUT: &str = "schema.left_out";
/// Roles of the source that are not on the target, or that the caller may not give things to.
pub const SCHEMA_ROLES_MISSING: &str = "schema.roles_missing";

/// Tables of the source are in no subscription of the node.
pub const TABLES_NOT_SUBSCRIBED: &str = "schema.tables_not_subscribed";

/// How serious an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As planned.
    Info,
    /// Goes on, but somebody should look.
    Warning,
    /// Something stopped.
    Error,
}

impl Severity {
    /// The lower-case word used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event. The order of the fields is the order of the keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// RFC 3339, UTC; given by the caller, since this crate has no clock. Empty until then, and left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Name, one of the constants of this module.
    pub event: String,
    /// How serious it is.
    pub severity: Severity,
    /// `operations.id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<i64>,
    /// The local node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The source node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Qualified name, quoted where needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Rows copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    /// Bytes copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Duration in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// Overall progress, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// SQLSTATE of the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// What happened, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to do, in sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Event {
    /// An event that says that things go as planned.
    pub fn info(name: impl Into<String>) -> Self {
        Event::new(name, Severity::Info)
    }

    /// An event that somebody should look at.
    pub fn warning(name: impl Into<String>) -> Self {
        Event::new(name, Severity::Warning)
    }

    /// An event that says that something stopped.
    pub fn error(name: impl Into<String>) -> Self {
        Event::new(name, Severity::Error)
    }

    fn new(name: impl Into<String>, severity: Severity) -> Self {
        Event {
            time: String::new(),
            event: name.into(),
            severity,
            operation_id: None,
            node: None,
            source: None,
            table: None,
            rows: None,
            bytes: None,
            duration_ms: None,
            percent: None,
            sqlstate: None,
            message: None,
            hint: None,
        }
    }

    /// Sets the time: RFC 3339, UTC.
    #[must_use]
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.time = time.into();
        self
    }

    /// Sets the operation.
    #[must_use]
    pub fn operation_id(mut self, id: i64) -> Self {
        self.operation_id = Some(id);
        self
    }

    /// Sets the local node.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Sets the source node.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets the table.
    #[must_use]
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// Sets the rows copied.
    #[must_use]
    pub fn rows(mut self, rows: i64) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Sets the bytes copied.
    #[must_use]
    pub fn bytes(mut self, bytes: i64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Sets the duration in milliseconds.
    #[must_use]
    pub fn duration_ms(mut self, duration_ms: i64) -> Self {
        self.duration_ms = Some(duration_ms);
        self
    }

    /// Sets the overall progress, 0 to 100; a value that is no number is left out, JSON having none for it.
    #[must_use]
    pub fn percent(mut self, percent: f64) -> Self {
        self.percent = percent.is_finite().then_some(percent);
        self
    }

    /// Sets the SQLSTATE of the cause.
    #[must_use]
    pub fn sqlstate(mut self, sqlstate: impl Into<String>) -> Self {
        self.sqlstate = Some(sqlstate.into());
        self
    }

    /// Sets the words.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Sets the advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        // A struct of texts and numbers always serializes; the empty object is for the type system only.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_the_documented_order() {
        let json = Event::warning(INIT_TABLE_FAILED)
            .hint("h")
            .message("m")
            .sqlstate("23505")
            .percent(12.5)
            .duration_ms(4)
            .bytes(3)
            .rows(2)
            .table("public.t")
            .source("s")
            .node("n")
            .operation_id(1)
            .time("2026-01-02T03:04:05.678Z")
            .to_json();
        assert_eq!(
            json,
            concat!(
                r#"{"time":"2026-01-02T03:04:05.678Z","event":"init.table_failed","severity":"warning","#,
                r#""operation_id":1,"node":"n","source":"s","table":"public.t","rows":2,"bytes":3,"duration_ms":4,"#,
                r#""percent":12.5,"sqlstate":"23505","message":"m","hint":"h"}"#
            )
        );
    }

    #[test]
    fn absent_keys_are_left_out() {
        assert_eq!(Event::info(INIT_STARTED).to_json(), r#"{"event":"init.started","severity":"info"}"#);
        assert_eq!(
            Event::error(INIT_FAILED).percent(f64::NAN).to_json(),
            r#"{"event":"init.failed","severity":"error"}"#
        );
    }

    #[test]
    fn one_line_whatever_the_text() {
        let json = Event::info(INIT_STARTED).message("a\n\"b\"\u{1}").to_json();
        assert!(!json.contains('\n'));
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(back["message"], "a\n\"b\"\u{1}");
    }

    #[test]
    fn severity_words() {
        for severity in [Severity::Info, Severity::Warning, Severity::Error] {
            assert_eq!(serde_json::to_string(&severity).unwrap(), format!("\"{severity}\""));
        }
        assert!(Severity::Error > Severity::Warning && Severity::Warning > Severity::Info);
    }
}
