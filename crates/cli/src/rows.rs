//! Rows of the extension's views and functions. Each is read from JSON that the server makes, and written as JSON again by `--json`: its
//! fields are the documented schema (docs/json.md).

use crate::failure::{Exit, Failure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use steep_repl_core::ident::qualified_display;

/// Reads one of them.
///
/// # Errors
/// When the server speaks of things that this version does not know.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(Exit::Failed, "the server's answer could not be understood")
            .detail(error.to_string())
            .hint("Use a steep-repl of the extension's version.")
    })
}

/// The name of a table as one may write it on the command line.
macro_rules! named {
    ($($row:ident),+) => {
        $(impl $row {
            pub fn qualified(&self) -> String {
                qualified_display(&self.table_schema, &self.table_name)
            }
        })+
    };
}

named!(Table, Compared, Drift);

/// `steep_repl.node_status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    pub node: String,
    pub is_local: bool,
    pub state: String,
    pub source: Option<String>,
    pub health: String,
    pub operation_id: Option<i64>,
    pub operation_status: Option<String>,
    pub phase: Option<String>,
    pub notice: Option<String>,
    pub sqlstate: Option<String>,
    pub last_error: Option<String>,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub tables_not_subscribed: Option<Vec<String>>,
    pub conninfo: String,
    pub owner: String,
    pub updated_at: String,
}

impl Node {
    /// Its state, as far as the database that was asked can know: of a node elsewhere it is what that says of itself, unless it is
    /// initialized from here.
    pub fn known_state(&self) -> Option<&str> {
        (self.is_local || self.operation_id.is_some()).then_some(&self.state)
    }
}

/// `steep_repl.init_progress`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    pub operation_id: i64,
    pub node: String,
    pub source: String,
    pub kind: String,
    pub method: String,
    pub state: String,
    pub phase: String,
    pub overall_percent: f64,
    pub tables_total: i64,
    pub tables_done: i64,
    pub current_tables: Vec<String>,
    pub rows_done: i64,
    pub bytes_done: i64,
    pub bytes_total: i64,
    pub rows_per_second: Option<f64>,
    pub bytes_per_second: Option<f64>,
    pub workers_active: i64,
    pub workers_planned: i64,
    pub started_at: Option<String>,
    pub updated_at: Option<String>,
    pub eta: Option<String>,
    /// Seconds until then; the clock is the server's.
    pub eta_seconds: Option<f64>,
    pub lag_bytes: Option<i64>,
    pub error: Option<String>,
    pub generation_percent: Option<f64>,
    pub application_percent: Option<f64>,
}

/// `steep_repl.table_progress`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    pub operation_id: i64,
    pub table_schema: String,
    pub table_name: String,
    pub status: String,
    pub phase: Option<String>,
    pub percent: f64,
    pub rows_done: i64,
    pub bytes_done: i64,
    pub bytes_total: i64,
    pub attempts: i64,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub copy_ms: Option<f64>,
    pub index_ms: Option<f64>,
    pub error: Option<String>,
    pub transport: String,
}

/// `steep_repl.snapshots`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    pub id: String,
    pub source: String,
    pub path: String,
    /// generating, failed, complete or dropping.
    pub status: String,
    pub phase: String,
    pub percent: f64,
    pub lsn: Option<String>,
    pub slots: i64,
    pub slots_free: Option<i64>,
    pub wal_held_bytes: Option<i64>,
    pub looked_at: Option<String>,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub bytes: Option<i64>,
    pub tables: i64,
    pub tables_done: i64,
    pub rows_done: i64,
    pub bytes_done: i64,
    pub bytes_total: i64,
    pub bytes_per_second: Option<f64>,
    pub eta_seconds: Option<f64>,
    pub compression: String,
    pub operation_id: i64,
    pub sqlstate: Option<String>,
    pub error: Option<String>,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// An operation, as far as its end is concerned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Operation {
    pub operation_id: i64,
    pub node: String,
    pub source: String,
    pub kind: String,
    pub method: String,
    /// pending, running, cancelling, failed, cancelled or completed.
    pub status: String,
    pub state: String,
    pub rows_done: i64,
    pub bytes_done: i64,
    pub duration_seconds: Option<f64>,
    pub lag_bytes: Option<i64>,
    pub sqlstate: Option<String>,
    pub message: Option<String>,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// `steep_repl.events`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub id: i64,
    pub at: String,
    pub event: String,
    pub severity: String,
    pub operation_id: Option<i64>,
    pub node: Option<String>,
    pub source: Option<String>,
    pub table_name: Option<String>,
    pub details: serde_json::Value,
}

/// `steep_repl.preflight()`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub check_name: String,
    pub status: String,
    pub sqlstate: Option<String>,
    pub message: Option<String>,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

/// `steep_repl.compare_schemas()`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compared {
    pub table_schema: String,
    pub table_name: String,
    pub status: String,
    pub fingerprint_a: Option<String>,
    pub fingerprint_b: Option<String>,
    pub difference: Option<String>,
}

/// `steep_repl.schema_diff()`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub object_kind: String,
    pub object_name: String,
    pub change: String,
    pub definition_a: Option<String>,
    pub definition_b: Option<String>,
    pub is_mismatch: bool,
    pub ddl: Option<String>,
}

/// `steep_repl.schema_drift`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drift {
    pub table_schema: String,
    pub table_name: String,
    pub status: String,
    pub difference: Option<String>,
    pub captured_at: Option<String>,
}

/// `steep_repl.schema_fingerprints`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Captured {
    pub table_schema: String,
    pub table_name: String,
    pub fingerprint: String,
    pub column_count: i64,
    pub captured_at: String,
    pub definition: serde_json::Value,
}

/// `steep_repl.schema_sync_plan()`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanStep {
    pub step: i64,
    pub action: String,
    pub object_kind: String,
    pub object_name: String,
    pub statements: Option<String>,
    pub remark: Option<String>,
}
