//! `events`: what has happened, and what does.

use super::Context;
use crate::args::{Events, Severity};
use crate::failure::Failure;
use crate::output::word;
use crate::rows::Event;
use crate::session::Session;
use std::time::Duration;

/// How long is waited for a notification before it is looked all the same: one may have come while nobody listened.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub fn run(context: &Context, options: &Events) -> Result<(), Failure> {
    let mut session = context.connector.first()?;
    if let Some(node) = &options.node {
        session.node(node)?;
    }
    if options.follow {
        session.client().batch_execute("LISTEN steep_repl_events")?;
    }
    let mut newest = 0;
    let mut limit = options.limit;
    loop {
        let events = look(&mut session, options, newest, limit)?;
        if let Some(last) = events.last() {
            newest = last.id;
        }
        show(context, &events, options.follow)?;
        if !options.follow {
            return Ok(());
        }
        limit = i64::MAX;
        // Whatever woke us, everything new is read at once.
        let mut notifications = session.client().notifications();
        let mut waiting = notifications.timeout_iter(LOOK_AGAIN);
        postgres::fallible_iterator::FallibleIterator::next(&mut waiting)?;
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
                place,
                message(event)
            ))?;
        }
        return Ok(());
    }
    let mut grid = context.out.table(&["TIME", "SEVERITY", "EVENT", "NODE", "TABLE", "MESSAGE"]);
    for event in events {
        grid.row(vec![
            event.at.as_str().into(),
            word(&event.severity),
            event.event.as_str().into(),
            event.node.clone().into(),
            event.table_name.clone().into(),
            message(event).into(),
        ]);
    }
    context.out.line(grid.text())
}

fn message(event: &Event) -> String {
    crate::output::plain(event.details.get("message").and_then(serde_json::Value::as_str).unwrap_or_default())
        .replace('\n', " ")
}
