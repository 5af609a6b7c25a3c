//! What the extension's views tell, as plain values, and a thread that reads them all the time.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{bounded, RecvTimeoutError, Sender};
use postgres::Client;

use crate::database::{describe, Db};

/// A row of `steep_repl.init_progress`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are the view's
pub struct Progress {
    pub operation_id: Option<i64>,
    pub node: String,
    pub state: String,
    pub phase: Option<String>,
    pub overall_percent: Option<f64>,
    pub tables_total: Option<i64>,
    pub tables_done: Option<i64>,
    pub rows_done: Option<i64>,
    pub bytes_done: Option<i64>,
    pub bytes_total: Option<i64>,
    pub workers_active: Option<i64>,
    pub workers_planned: Option<i64>,
    /// Seconds until the end that `eta` promises, whether it is a time or an interval.
    pub eta_seconds: Option<f64>,
    pub lag_bytes: Option<i64>,
    pub error: Option<String>,
    pub generation_percent: Option<f64>,
    pub application_percent: Option<f64>,
}

impl Progress {
    /// Reads the row of the local node.
    pub fn read(client: &mut Client, node: &str) -> Result<Option<Progress>, postgres::Error> {
        // eta is an interval or a time; adding 0 to a time difference works for both through text.
        let sql = "select operation_id::int8, node::text, state::text, phase::text, overall_percent::float8, tables_total::int8,
                tables_done::int8, rows_done::int8, bytes_done::int8, bytes_total::int8, workers_active::int8,
                workers_planned::int8,
                case when eta is null then null when pg_typeof(eta) = 'interval'::regtype
                     then extract(epoch from (eta::text)::interval)::float8
                     else extract(epoch from (eta::text)::timestamptz - clock_timestamp())::float8 end,
                lag_bytes::int8, error::text, generation_percent::float8, application_percent::float8
            from steep_repl.init_progress where node = $1";
        let row = client.query_opt(sql, &[&node])?;
        Ok(row.map(|row| Progress {
            operation_id: row.get(0),
            node: row.get(1),
            state: row.get(2),
            phase: row.get(3),
            overall_percent: row.get(4),
            tables_total: row.get(5),
            tables_done: row.get(6),
            rows_done: row.get(7),
            bytes_done: row.get(8),
            bytes_total: row.get(9),
            workers_active: row.get(10),
            workers_planned: row.get(11),
            eta_seconds: row.get(12),
            lag_bytes: row.get(13),
            error: row.get(14),
            generation_percent: row.get(15),
            application_percent: row.get(16),
        }))
    }
}

/// A row of `steep_repl.events`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are the table's
pub struct Event {
    pub operation_id: Option<i64>,
    pub event: String,
    pub severity: String,
    /// The whole row as JSON text.
    pub json: String,
}

impl Event {
    /// All events, oldest first.
    pub fn read(db: &Db) -> Vec<Event> {
        let sql = "select operation_id::int8, event::text, severity::text, to_jsonb(e)::text from steep_repl.events e order by id";
        match db.connect().query(sql, &[]) {
            Ok(rows) => rows
                .iter()
                .map(|row| Event {
                    operation_id: row.get(0),
                    event: row.get(1),
                    severity: row.get(2),
                    json: row.get(3),
                })
                .collect(),
            Err(error) => panic!("cannot read the events: {}", describe(&error)),
        }
    }
}

/// Reads `init_progress` every 50 ms until it is told to stop.
pub struct Monitor {
    stop: Sender<()>,
    thread: JoinHandle<Result<Vec<Progress>, String>>,
}

impl Monitor {
    /// Starts reading.
    pub fn start(db: &Db, node: &str) -> Monitor {
        let (stop, stopped) = bounded(1);
        let (db, node) = (Arc::new(db.clone()), node.to_string());
        let thread = std::thread::spawn(move || {
            let mut client = db.connect();
            let mut seen = Vec::new();
            loop {
                let row = Progress::read(&mut client, &node).map_err(|error| describe(&error))?;
                seen.extend(row);
                if stopped.recv_timeout(Duration::from_millis(50)) != Err(RecvTimeoutError::Timeout) {
                    return Ok(seen);
                }
            }
        });
        Monitor { stop, thread }
    }

    /// Stops and returns everything seen, oldest first.
    pub fn stop(self) -> Vec<Progress> {
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => panic!("reading init_progress failed: {error}"),
            Err(_) => panic!("the thread that reads init_progress panicked"),
        }
    }
}
