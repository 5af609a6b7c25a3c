//! Forms, and what will be done.

use ratatui::style::Style;

use super::canvas::Canvas;
use super::table::Cell;
use super::theme::Theme;
use super::trouble;
use crate::tui::model::dialog::{Check, Dialog, Form, Input, Preview, Purpose};
use crate::tui::model::page::Asked;
use crate::tui::model::Model;
use crate::words::{width, wrap};

/// Columns of a dialog, however wide the terminal is.
const WIDEST: usize = 92;

/// Draws what stands before the page, in the middle of it.
pub fn draw(model: &Model, dialog: &Dialog, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let outer = canvas.width().min(WIDEST);
    let columns = outer.saturating_sub(4);
    match dialog {
        Dialog::Form(form) => {
            let title = match form.purpose {
                Purpose::Init => format!("initialize {}", form.name),
                Purpose::Refresh => format!("bring new tables into {}", form.name),
                Purpose::Compare => "compare schemas".to_owned(),
            };
            draw_form(form, &title, outer, canvas);
        }
        Dialog::Preview(preview) => {
            let lines = preview_lines(model, preview, theme, columns);
            let foot = foot(model, preview, theme, columns);
            let height = (lines.len() + foot.lines.len() + 3).min(canvas.height());
            let mut inside = framed(&preview.title, outer, height, canvas);
            let room = inside.height().saturating_sub(foot.lines.len());
            let first = preview.scroll.min(lines.len().saturating_sub(room));
            for (y, (text, style)) in lines.iter().skip(first).take(room).enumerate() {
                inside.text(0, y, text, *style);
            }
            for (n, (text, style)) in foot.lines.iter().enumerate() {
                inside.text(0, room + n, text, *style);
            }
            if let Some(x) = foot.typed_at {
                inside.typed(x, room + foot.lines.len() - 1, &preview.typed, theme.warning());
            }
            let below = lines.len().saturating_sub(first + room);
            if below > 0 {
                inside.rows(room, 1).text_right(0, &format!(" {below} more, down scrolls "), theme.chosen());
            }
        }
    }
}

/// A frame in the middle; what was there before is gone.
fn framed<'a>(title: &str, width: usize, height: usize, canvas: &'a mut Canvas<'_>) -> FrameInside<'a> {
    let (x, y) = ((canvas.width().saturating_sub(width)) / 2, (canvas.height().saturating_sub(height)) / 2);
    canvas.rows(y, height).clear();
    canvas.part(x, y, width, height).framed(title);
    let border = if width < 6 || height < 3 { (0, 0) } else { (2, 1) };
    canvas.part(x + border.0, y + border.1, width.saturating_sub(2 * border.0), height.saturating_sub(2 * border.1))
}

type FrameInside<'a> = Canvas<'a>;

fn draw_form(form: &Form, title: &str, outer: usize, canvas: &mut Canvas<'_>) {
    let theme = canvas.theme;
    let columns = outer.saturating_sub(4);
    let about = wrap(form.fields.get(form.at).map_or("", |field| field.about), columns);
    let height = (form.fields.len() + about.len().max(2) + 4).min(canvas.height());
    let mut inside = framed(title, outer, height, canvas);
    // The text below stays in sight; of the fields as many as fit, the current one among them.
    let room = inside.height().saturating_sub(about.len() + 1).max(1);
    let first = super::table::first_visible(form.at, form.fields.len(), room);
    let label = form.fields.iter().map(|field| width(field.name)).max().unwrap_or(0) + 4;
    for (y, (n, field)) in form.fields.iter().enumerate().skip(first).take(room).enumerate() {
        let current = n == form.at;
        let style = if current { theme.key() } else { Style::new() };
        let mark = if current { theme.pick("▸ ", "> ") } else { "  " };
        inside.texts(y, &[(mark, style), (field.name, style)]);
        let danger = field.name == "force" && !field.is_default();
        match &field.input {
            Input::Choice { options, chosen } => {
                let mut x = label;
                for (option_number, option) in options.iter().enumerate() {
                    let chosen = option_number == *chosen;
                    // When not all of them fit, the chosen one alone is shown.
                    let all: usize = options.iter().map(|option| width(option) + 3).sum();
                    if label + all > inside.width() && !chosen {
                        continue;
                    }
                    let style = match (chosen, current) {
                        (true, _) if danger => theme.bad(),
                        (true, true) => theme.chosen(),
                        (true, false) => theme.title(),
                        (false, _) => theme.quiet(),
                    };
                    // Brackets tell which one it is where there are no colours.
                    let text = if chosen { format!("[{option}]") } else { format!(" {option} ") };
                    x = inside.text(x, y, &text, style) + 1;
                }
            }
            Input::Text { line, empty, .. } if current => {
                let x = inside.typed(label + 1, y, line, theme.title());
                if line.text().is_empty() {
                    inside.text(x + 1, y, &format!("({empty})"), theme.quiet());
                }
            }
            Input::Text { line, empty, .. } if line.text().is_empty() => {
                inside.text(label + 1, y, empty, theme.quiet());
            }
            Input::Text { line, .. } => {
                inside.text(label + 1, y, line.text(), theme.title());
            }
        }
    }
    let y = inside.height().saturating_sub(about.len());
    match &form.wrong {
        Some(wrong) => {
            inside.text(0, y, wrong, theme.bad());
        }
        None => {
            for (n, line) in about.iter().enumerate() {
                inside.text(0, y + n, line, theme.quiet());
            }
        }
    }
}

fn preview_lines(model: &Model, preview: &Preview, theme: Theme, columns: usize) -> Vec<Cell> {
    let mut lines: Vec<Cell> = Vec::new();
    if let Some(trouble) = &preview.failed {
        lines.extend(trouble::lines(trouble, theme, columns));
        return lines;
    }
    let check = check_lines(model, preview, theme, columns);
    // What stands in the way is the first thing to know.
    if preview.check.refuses() {
        lines.extend(check);
        lines.push(Cell::default());
        lines.extend(intended(preview, theme, columns));
    } else {
        lines.extend(intended(preview, theme, columns));
        if !check.is_empty() {
            lines.push(Cell::default());
            lines.extend(check);
        }
    }
    lines
}

/// What the call will do, and the call.
fn intended(preview: &Preview, theme: Theme, columns: usize) -> Vec<Cell> {
    let mut lines: Vec<Cell> = Vec::new();
    for text in &preview.says {
        let style = if text.contains("DELETED") { theme.bad() } else { Style::new() };
        lines.extend(wrap(text, columns).into_iter().map(|line| (line, style)));
    }
    lines.push(Cell::default());
    lines.extend(wrap(&preview.call.shown(), columns).into_iter().map(|line| (line, theme.key())));
    lines
}

/// What the server has said beforehand.
fn check_lines(model: &Model, preview: &Preview, theme: Theme, columns: usize) -> Vec<Cell> {
    let mut lines: Vec<Cell> = Vec::new();
    let spinner = theme.spinner(model.now.as_millisecond());
    let mut say = |text: &str, style: Style| lines.extend(wrap(text, columns).into_iter().map(|line| (line, style)));
    match &preview.check {
        Check::None => {}
        Check::Preflight(Asked::Here(findings)) => {
            let errors = findings.iter().filter(|finding| finding.status == "error").count();
            match errors {
                0 => say(&format!("{} preflight: nothing speaks against it", theme.done()), theme.good()),
                n => say(
                    &format!(
                        "{} preflight: {n} of {} checks say that it cannot work",
                        theme.pick("✗", "X"),
                        findings.len()
                    ),
                    theme.bad(),
                ),
            }
            let mut order: Vec<_> = findings.iter().filter(|finding| finding.status != "ok").collect();
            order.sort_by_key(|finding| match finding.status.as_str() {
                "error" => 0,
                "warning" => 1,
                _ => 2,
            });
            for finding in order {
                let message = finding.message.as_deref().unwrap_or_default();
                say(&format!("{}: {}: {message}", finding.status, finding.check_name), theme.severity(&finding.status));
                for (label, text) in [("detail", &finding.detail), ("hint", &finding.hint)] {
                    if let Some(text) = text {
                        say(&format!("  {label}: {text}"), Style::new());
                    }
                }
            }
        }
        Check::Tables(Asked::Here(tables)) => match tables.len() {
            0 => say("All tables of the source are replicated already: there is nothing to bring in.", theme.good()),
            n => say(&format!("{n} not replicated now: {}", crate::words::first_of(tables, 50)), theme.warning()),
        },
        Check::Preflight(Asked::Waiting(_)) => {
            say(&format!("{spinner} preflight is asked what speaks against it ..."), theme.busy());
        }
        Check::Tables(Asked::Waiting(_)) => {
            say(&format!("{spinner} the source is asked which tables are new ..."), theme.busy());
        }
        Check::Preflight(Asked::Failed(trouble)) | Check::Tables(Asked::Failed(trouble)) => {
            if trouble.sqlstate.as_deref() == Some("42883") {
                lines.push((
                    "this server cannot check beforehand: it does not have that function yet".to_owned(),
                    theme.warning(),
                ));
            } else {
                lines.extend(trouble::lines(trouble, theme, columns));
            }
        }
        Check::Preflight(_) | Check::Tables(_) => {}
    }
    lines
}

/// How far down a preview can be scrolled on a part of the screen of this size.
pub fn furthest(model: &Model, preview: &Preview, columns: usize, height: usize) -> usize {
    let (theme, columns) = (Theme::new(model.look), columns.min(WIDEST).saturating_sub(4));
    let foot = foot(model, preview, theme, columns).lines.len();
    preview_lines(model, preview, theme, columns).len().saturating_sub(height.saturating_sub(foot + 2))
}

/// What stands below, whatever is scrolled.
struct Foot {
    lines: Vec<Cell>,
    /// Column of the last line at which the name is typed.
    typed_at: Option<usize>,
}

/// What to press.
fn foot(model: &Model, preview: &Preview, theme: Theme, columns: usize) -> Foot {
    let mut lines = vec![Cell::default()];
    let mut typed_at = None;
    if preview.failed.is_some() {
        lines.push(("It was not done. esc goes back.".to_owned(), theme.warning()));
    } else if preview.sent.is_some() {
        lines.push((format!("{} under way ...", theme.spinner(model.now.as_millisecond())), theme.busy()));
    } else if preview.check.refuses() {
        lines.push(("The server would refuse it. esc goes back.".to_owned(), theme.bad()));
    } else if let Some(name) = &preview.type_name {
        let asks = wrap(&format!("Type {name} and press enter:"), columns);
        let after = asks.last().map_or(0, |line| width(line) + 1);
        lines.extend(asks.into_iter().map(|line| (line, theme.warning())));
        // A long name is typed on a line of its own.
        let fits = after + width(name) + 2 <= columns;
        if !fits {
            lines.push(Cell::default());
        }
        typed_at = Some(if fits { after } else { 0 });
    } else if preview.check.ticket().is_none() {
        lines.push(("enter does it, esc goes back".to_owned(), theme.title()));
    }
    Foot { lines, typed_at }
}
