//! The newest operation of a node: how far it is, how fast, what it works on.

use ratatui::style::Style;
use steep_repl_core::node_state::NodeState;

use super::canvas::Canvas;
use super::tables::{self, operation_status};
use super::trouble::{self, cells};
use crate::tui::model::node::{Node, Standing};
use crate::tui::model::Model;
use crate::tui::snapshot::{Event, NodeId, Progress, Reading};
use crate::words::{bytes, clock, count, duration, moment, seconds_between, width};

/// Phases as the server has them; others are put where they began.
const PHASES: [&str; 11] = [
    "schema",
    "publication",
    "slot",
    "subscription",
    "tables",
    "copy",
    "indexes",
    "sequences",
    "enable",
    "catchup",
    "done",
];

/// The same of a node whose rows came by somebody's own backup.
const PHASES_OF_BACKUP: [&str; 8] =
    ["schema", "adopt", "subscription", "verify", "sequences", "enable", "catchup", "done"];

/// The same of one that writes files and then loads them.
const PHASES_OF_FILES: [&str; 12] = [
    "schema",
    "publication",
    "slot",
    "subscription",
    "tables",
    "files",
    "copy",
    "indexes",
    "sequences",
    "enable",
    "catchup",
    "done",
];

/// The same of one that loads files which were there beforehand, with slot and publication.
const PHASES_OF_SNAPSHOT: [&str; 10] =
    ["schema", "slot", "subscription", "tables", "copy", "indexes", "sequences", "enable", "catchup", "done"];

/// Draws the page.
pub fn draw(model: &Model, id: NodeId, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let Some(node) = model.node(id) else {
        canvas.text(1, 1, "this node is no longer registered; esc goes back", theme.warning());
        return;
    };
    let mut y = head(model, node, canvas);
    let Some(reading) = node.last.as_ref() else {
        super::nodes::lines(model, node, canvas, y + 1);
        return;
    };
    let Some(progress) = reading.progress.as_ref() else {
        canvas.text(1, y + 1, "Nothing was ever done to this node.", Style::new());
        if !model.read_only && matches!(node.standing(model.now), Standing::State(_)) {
            canvas.text(1, y + 2, "I initializes it from a source.", theme.good());
        }
        return;
    };
    y = figures(model, node, progress, canvas, y);
    y = phases(model, reading, progress, canvas, y);
    y = trouble(model, reading, progress, canvas, y);
    let height = canvas.height();
    let left = height.saturating_sub(y);
    let events: Vec<&Event> = reading
        .events
        .iter()
        .map(AsRef::as_ref)
        .filter(|event| event.operation_id == Some(progress.operation_id))
        .collect();
    // The log gets a third of what is left, if that is worth it.
    let log = if left >= 11 { (left / 3).min(events.len() + 1).max(2) } else { 0 };
    tables::draw(model, reading, &mut canvas.rows(y, left - log));
    if log > 0 {
        let mut below = canvas.rows(height - log, log);
        below.rule(0, "events");
        for (row, event) in events.iter().skip(events.len().saturating_sub(log - 1)).enumerate() {
            event_line(model, event, &mut below, row + 1);
        }
    }
}

/// Who, from where, and how it stands.
fn head(model: &Model, node: &Node, canvas: &mut Canvas<'_>) -> usize {
    let theme = canvas.theme;
    let standing = node.standing(model.now);
    let (mark, style) = theme.standing(standing);
    let word = model.state_word(node);
    let what = node.progress().map_or(String::new(), |progress| {
        let status = node.status().and_then(|status| status.operation_status.as_deref()).unwrap_or_default();
        let compact = canvas.width() < 70;
        let method = if compact { String::new() } else { format!(", method {}", progress.method) };
        let Progress { source, kind, operation_id, .. } = progress;
        format!("  from {source}  {kind} {operation_id}{method}, {status}")
    });
    canvas.texts(0, &[(" ", style), (mark, style), (" ", style), (&word, style), (&what, Style::new())]);
    if let Some(reason) = node.unreachable_because(model.now) {
        canvas.text(1, 1, &format!("what follows is old: {reason}"), theme.bad());
        return 2;
    }
    1
}

/// The bar, and the figures.
fn figures(model: &Model, node: &Node, progress: &Progress, canvas: &mut Canvas<'_>, y: usize) -> usize {
    let theme = canvas.theme;
    let busy = node.is_busy();
    let finished = progress.phase == "done";
    let style = match node.standing(model.now) {
        Standing::State(NodeState::Failed) | Standing::Unreachable => theme.bad(),
        _ if finished => theme.good(),
        _ => theme.busy(),
    };
    let left = match progress.eta.filter(|_| busy) {
        Some(eta) => {
            let left = seconds_between(model.now, eta);
            format!("{} left, ready {}", duration(left), moment(eta, model.now, &model.zone))
        }
        None if busy => "time left not known yet".to_owned(),
        None => String::new(),
    };
    let tail = format!(" {:>5.1} %  {left}", progress.overall_percent);
    let bar = theme.bar(progress.overall_percent, canvas.width().saturating_sub(width(&tail) + 2).clamp(10, 60));
    let x = canvas.text(1, y, &bar, style);
    canvas.text(x, y, &tail, theme.title());
    let y = parts(progress, style, canvas, y);
    let rate = |value: Option<f64>, unit: &dyn Fn(f64) -> String| {
        value.map_or("-".to_owned(), |value| format!("{}/s", unit(value)))
    };
    let took = progress
        .started_at
        .map(|at| duration(seconds_between(at, progress.updated_at.filter(|_| !busy).unwrap_or(model.now))));
    let amount = format!("{} of {}", bytes(progress.bytes_done as f64), bytes(progress.bytes_total as f64));
    let mut parts = vec![amount, format!("{} rows", count(progress.rows_done as f64))];
    if busy {
        parts.push(rate(progress.bytes_per_second, &bytes));
        parts.push(format!("{} rows", rate(progress.rows_per_second, &count)).replace("/s rows", " rows/s"));
        parts.push(format!("workers {}/{}", progress.workers_active, progress.workers_planned));
    }
    if let Some(lag) = model.lag(node) {
        parts.push(format!("lag {}", bytes(lag as f64)));
    }
    if let Some(took) = took {
        parts.push(if busy { format!("for {took}") } else { format!("took {took}") });
    }
    let mut x = 1;
    let mut row = y + 1;
    for part in parts {
        if x > 1 && x + width(&part) > canvas.width() {
            row += 1;
            x = 1;
        }
        x = canvas.text(x, row, &part, Style::new()) + 3;
    }
    // The rest of the row shows how the throughput went.
    let values: Vec<f64> = node.history.iter().map(|sample| sample.bytes).collect();
    let room = canvas.width().saturating_sub(x + 1);
    if busy && room >= 8 && values.len() > 1 {
        let line = theme.sparkline(&values, room.min(60));
        canvas.text(x, row, &line, theme.busy());
    }
    row + 1
}

/// The bars of the two parts of an operation by files. Gives the last row that is used.
fn parts(progress: &Progress, style: Style, canvas: &mut Canvas<'_>, y: usize) -> usize {
    let (Some(generation), Some(application)) = (progress.generation_percent, progress.application_percent) else {
        return y;
    };
    // Where rows are scarce the whole is enough.
    if canvas.height() < 16 {
        return y;
    }
    let mut row = y;
    for (name, percent) in [("generation", generation), ("application", application)] {
        row += 1;
        let tail = format!(" {percent:>5.1} %  {name}");
        let bar = canvas.theme.bar(percent, canvas.width().saturating_sub(width(&tail) + 2).clamp(10, 60));
        let x = canvas.text(1, row, &bar, style);
        canvas.text(x, row, &tail, Style::new());
    }
    row
}

/// Phases of an operation with a mark each: done, now, to come.
///
/// Those that have begun come in the order in which they began, whatever they are; then those that usually follow.
fn phase_list(reading: &Reading, progress: &Progress) -> Vec<(String, std::cmp::Ordering)> {
    let usual = match progress.method.as_str() {
        "manual" => &PHASES_OF_BACKUP[..],
        "two_phase" if progress.generation_percent.is_some() => &PHASES_OF_FILES[..],
        "two_phase" => &PHASES_OF_SNAPSHOT[..],
        _ => &PHASES[..],
    };
    let place = |phase: &str| usual.iter().position(|known| *known == phase);
    let mut list: Vec<&str> = Vec::new();
    for phase in reading.phases.iter().map(|start| start.phase.as_str()).chain([progress.phase.as_str()]) {
        if !list.contains(&phase) {
            list.push(phase);
        }
    }
    let last = list.iter().filter_map(|phase| place(phase)).max();
    if reading.phases.is_empty() {
        // What has begun was not read yet. Schemas are looked at in two of three modes only.
        let before = &usual[1..last.unwrap_or(1).max(1)];
        list.splice(0..0, before.iter().copied());
    }
    list.extend(&usual[last.map_or(0, |last| last + 1)..]);
    let now = list.iter().position(|phase| *phase == progress.phase).unwrap_or(0);
    let over = progress.phase == "done";
    let order = |n: usize| if over { std::cmp::Ordering::Less } else { n.cmp(&now) };
    list.iter().enumerate().map(|(n, phase)| ((*phase).to_owned(), order(n))).collect()
}

/// How long a phase took, or takes.
fn phase_time(model: &Model, reading: &Reading, progress: &Progress, phase: &str) -> Option<i64> {
    // A phase may come again, when a table is copied again: the last time counts.
    let at = reading.phases.iter().rposition(|start| start.phase == phase)?;
    let next = reading.phases.get(at + 1).map(|start| start.at);
    let end = next.or_else(|| (progress.phase == phase && progress.phase != "done").then_some(model.now))?;
    Some(seconds_between(reading.phases[at].at, end))
}

fn phases(model: &Model, reading: &Reading, progress: &Progress, canvas: &mut Canvas<'_>, y: usize) -> usize {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let theme = canvas.theme;
    let failed = matches!(operation_status(reading), "failed" | "cancelled");
    let list = phase_list(reading, progress);
    let mark = |place| match place {
        Less => (theme.done(), theme.good()),
        Equal if failed => (theme.pick("✗", "X"), theme.bad()),
        Equal => (theme.now(), theme.busy().add_modifier(ratatui::style::Modifier::BOLD)),
        Greater => (theme.to_come(), theme.quiet()),
    };
    let named: Vec<(String, Style)> = list
        .iter()
        .map(|(phase, place)| {
            let (mark, style) = mark(*place);
            let time =
                phase_time(model, reading, progress, phase).filter(|&seconds| seconds >= 2 && canvas.width() >= 110);
            let time = time.map_or(String::new(), |seconds| format!(" {}", duration(seconds)));
            (format!("{mark} {phase}{time}"), style)
        })
        .collect();
    let total: usize = named.iter().map(|(text, _)| width(text) + 2).sum();
    let lines = total.div_ceil(canvas.width().saturating_sub(12).max(1));
    let room_for_names = canvas.height() >= 16 && lines <= 2;
    let mut row = y;
    if room_for_names {
        let mut x = 1;
        for (text, style) in &named {
            if x > 1 && x + width(text) > canvas.width() {
                row += 1;
                x = 1;
            }
            x = canvas.text(x, row, text, *style) + 2;
        }
    } else {
        let mut x = canvas.text(1, row, "phase ", Style::new());
        for (_, place) in &list {
            let (mark, style) = mark(*place);
            x = canvas.text(x, row, mark, style);
        }
        let at = list.iter().filter(|(_, place)| *place != Greater).count();
        canvas.text(x, row, &format!(" {} ({at} of {})", progress.phase, list.len()), theme.title());
    }
    row + 1
}

/// What stopped it, and what to do about it.
fn trouble(model: &Model, reading: &Reading, progress: &Progress, canvas: &mut Canvas<'_>, y: usize) -> usize {
    let theme = canvas.theme;
    let columns = canvas.width().saturating_sub(2);
    let mut lines = trouble::of_node(reading.own(), Some(progress), theme, columns);
    let mut say = |text: &str, style| lines.extend(cells(text, style, columns));
    let status = operation_status(reading);
    if !model.read_only && status == "failed" {
        say("r resumes it after the last finished table; C cancels and undoes it.", theme.good());
    } else if !model.read_only && status == "running" && progress.phase == "schema" {
        say("If it waits because the schemas differ: s compares them, r lets it go on.", theme.warning());
    }
    if progress.kind != "init" && matches!(status, "running" | "pending") {
        say("Only the tables below are copied; all other tables go on replicating.", theme.quiet());
    }
    // The tables stay in sight; the details have all of it.
    let left = canvas.height().saturating_sub(y);
    let room = if status == "failed" { left.saturating_sub(3).max(left / 2) } else { left / 2 }.max(1);
    let shown = lines.len().min(room);
    canvas.rows(y, shown).lines(0, &lines);
    y + shown
}

fn event_line(model: &Model, event: &Event, canvas: &mut Canvas<'_>, y: usize) {
    let theme = canvas.theme;
    let x = canvas.text(1, y, &clock(event.at, &model.zone), theme.quiet()) + 2;
    let x = canvas.text(x, y, event.event.trim_start_matches("init."), theme.severity(&event.severity)) + 2;
    let table = event.table_name.as_deref().map_or(String::new(), |table| format!("{table}  "));
    canvas.text(
        x,
        y,
        &format!("{table}{}", event.message.as_deref().unwrap_or_default()),
        theme.severity(&event.severity),
    );
}
