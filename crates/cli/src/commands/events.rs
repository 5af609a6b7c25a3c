//! `events`: what has happened, and what does.

use super::tables::time;
use super::Context;
use crate::args::{Events, Severity};
use crate::failure::Failure;
use crate::output::{count, message, plain, word};
use crate::rows::Event;
use crate::session::Session;
use crate::words::bytes;
use postgres::fallible_iterator::FallibleIterator;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long is waited for a notification before it is looked all the same: one may have come while nobody listened.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How far behind the newest one an event is still looked for: it has its number before its transaction ends, so it may come later than
/// one with a higher number.
const LATE: i64 = 1000;

pub fn run(context: &Context, options: &Events) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    if let Some(node) = &options.node {
        session.node(node)?;
    }
    if options.follow {
        session.client().batch_execute("LISTEN steep_repl_events")?;
    }
    // What is there already is not new, shown or not.
    let there = session.client().query("SELECT e.id FROM steep_repl.events e ORDER BY e.id DESC LIMIT $1", &[&LATE])?;
    let mut seen: BTreeSet<i64> = there.iter().map(|row| row.get(0)).collect();
    let mut events = look(&mut session, options, 0, options.limit)?;
    seen.extend(events.iter().map(|event| event.id));
    loop {
        show(context, &events, options.follow)?;
        if !options.follow {
            return Ok(());
        }
        // Whatever woke us, everything new is read at once.
        session.client().notifications().timeout_iter(LOOK_AGAIN).next()?;
        let after = seen.last().map_or(0, |newest| newest - LATE);
        events = look(&mut session, options, after, i64::MAX)?;
        events.retain(|event| seen.insert(event.id));
        seen = seen.split_off(&after);
    }
}

fn look(session: &mut Session, options: &Events, after: i64, limit: i64) -> Result<Vec<Event>, Failure> {
    let severities: &[&str] = match options.severity {
        None | Some(Severity::Info) => &["info", "warning", "error"],
        Some(Severity::Warning) => &["warning", "error"],
        Some(Severity::Error) => &["error"],
    };
    session.rows(include_str!("../../sql/events.sql"), &[&after, &options.node, &severities, &limit])
}

fn show(context: &Context, events: &[Event], follow: bool) -> Result<(), Failure> {
    if context.out.json && !follow {
        return context.out.value(&events);
    }
    if events.is_empty() {
        if !follow {
            message("steep-repl: no events");
        }
        return Ok(());
    }
    if context.out.json {
        // One to a line, so that whoever reads along can take them one by one.
        for event in events {
            context.out.line(serde_json::to_string(event).unwrap_or_default())?;
        }
        return Ok(());
    }
    if follow {
        for event in events {
            let place = [event.node.as_deref(), event.table_name.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ");
            context.out.line(format!(
                "{}  {:7}  {:24}  {}  {}",
                event.at,
                event.severity,
                event.event,
                plain(&place).replace('\n', " "),
                words(event)
            ))?;
        }
        return Ok(());
    }
    let mut grid = context.out.table(&["TIME", "SEVERITY", "EVENT", "NODE", "TABLE", "MESSAGE"]);
    for event in events {
        grid.row(vec![
            word(&event.at),
            word(&event.severity),
            word(&event.event),
            event.node.clone().into(),
            event.table_name.clone().into(),
            words(event).into(),
        ]);
    }
    context.out.line(grid.text())
}

/// What the event says, and its figures where it says nothing.
fn words(event: &Event) -> String {
    let text = |key: &str| event.details.get(key).and_then(serde_json::Value::as_str);
    let number = |key: &str| event.details.get(key).and_then(serde_json::Value::as_i64);
    if let Some(message) = text("message") {
        return plain(message).replace('\n', " ");
    }
    let figures = [
        number("rows").map(|rows| format!("{} rows", count(rows))),
        number("bytes").map(|size| bytes(size as f64)),
        number("duration_ms").map(|ms| time(ms as f64)),
    ];
    figures.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
