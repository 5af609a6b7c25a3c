//! Rows of `steep_repl.events`, and their line in the server log.

use super::{execute, json, rows, Arg};
use crate::error::Result;
use crate::pg::raise;
use steep_repl_core::event::Event;

/// Writes events in the current transaction, and their lines to the server log.
///
/// The log lines are written at once: an event of a transaction that is rolled back after all shows what was tried.
pub fn write(events: &[Event]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let now = now()?;
    let stamped: Vec<Event> = events.iter().map(|event| event.clone().time(now.clone())).collect();
    execute(include_str!("../../sql/queries/event_insert.sql"), &[Arg::Text(&json(&stamped)?)])?;
    for event in &stamped {
        raise::log_line(&format!("steep_repl event: {}", event.to_json()));
    }
    Ok(())
}

/// Writes an event, unless its operation has one of that name and with these words already: what is found again and again is said once.
pub fn write_once(event: Event) -> Result<()> {
    let known: Vec<bool> = rows(
        "SELECT EXISTS (SELECT FROM steep_repl.events \
         WHERE operation_id = $1 AND event = $2 AND details ->> 'message' = $3)::text",
        &[Arg::MaybeInt(event.operation_id), Arg::Text(&event.event), Arg::MaybeText(event.message.as_deref())],
    )?;
    if known.contains(&true) {
        return Ok(());
    }
    write(&[event])
}

/// The time, as events have it: RFC 3339, UTC.
pub fn now() -> Result<String> {
    let now: Vec<String> = rows(include_str!("../../sql/queries/now_utc.sql"), &[])?;
    Ok(now.into_iter().next().unwrap_or_default())
}

/// Id of the newest event, 0 when there is none.
pub fn newest() -> Result<i64> {
    let ids: Vec<i64> = rows("SELECT coalesce(max(id), 0)::text FROM steep_repl.events", &[])?;
    Ok(ids.into_iter().next().unwrap_or(0))
}

/// Wakes the listeners of `steep_repl_events`: the payload is the id of the newest event.
///
/// In a transaction of its own: NOTIFY takes a cluster-wide lock until after commit, and a full queue is an error.
pub fn notify(newest: i64) -> Result<()> {
    execute("SELECT pg_catalog.pg_notify('steep_repl_events', $1::text)", &[Arg::Int(newest)])
}

/// Deletes events that are older than that many seconds.
pub fn forget_older_than(seconds: f64) -> Result<()> {
    execute(
        "DELETE FROM steep_repl.events WHERE at < pg_catalog.now() - pg_catalog.make_interval(secs => $1)",
        &[Arg::Float(seconds)],
    )
}
