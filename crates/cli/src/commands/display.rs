//! How far an operation is: bars on a terminal, a line every few seconds elsewhere.

use super::Context;
use crate::output::{count, message, plain};
use crate::rows::{Progress, Table};
use crate::words::{bytes, duration};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a line is written where nobody looks on.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Tables that get a bar of their own; a screen has no room for all.
const MOST_BARS: usize = 10;

/// Words for one moment: phase, percent, rate, ETA.
pub fn words(progress: &Progress) -> String {
    let mut words = vec![
        progress.phase.clone(),
        format!("{:.1} %", progress.overall_percent),
        format!("{}/{} tables", progress.tables_done, progress.tables_total),
        format!("{} rows", count(progress.rows_done)),
        format!("{} of {}", bytes(progress.bytes_done as f64), bytes(progress.bytes_total as f64)),
    ];
    words.extend(parts(progress).iter().map(|(name, percent)| format!("{name} {percent:.1} %")));
    if let (Some(rows), Some(rate)) = (progress.rows_per_second, progress.bytes_per_second) {
        words.push(format!("{} rows/s, {}/s", count(rows as i64), bytes(rate)));
    }
    if let Some(lag) = progress.lag_bytes {
        words.push(format!("{} behind", bytes(lag as f64)));
    }
    if let Some(eta) = progress.eta_seconds {
        words.push(format!("{} left", duration((eta).round() as i64)));
    }
    words.join(", ")
}

/// What an operation by files does one after the other, and how far each is; nothing when it does but one of them.
fn parts(progress: &Progress) -> Vec<(&'static str, f64)> {
    match (progress.generation_percent, progress.application_percent) {
        (Some(generation), Some(application)) => vec![("generation", generation), ("application", application)],
        _ => Vec::new(),
    }
}

/// Where progress is shown.
pub enum Display {
    /// On a terminal.
    Bars(Bars),
    /// Elsewhere.
    Lines { next: Instant },
}

/// Bars, and words below the first ones: of the whole, and of its two parts where it has two.
pub struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    parts: Vec<ProgressBar>,
    below: ProgressBar,
    tables: Vec<ProgressBar>,
    colour: bool,
}

impl Display {
    pub fn new(context: &Context) -> Display {
        if context.out.json || !context.out.terminal || !std::io::stderr().is_terminal() {
            Display::Lines { next: Instant::now() }
        } else {
            Display::Bars(Bars::new(context.out.colour))
        }
    }

    /// Whether it has room for tables.
    pub fn wants_tables(&self) -> bool {
        matches!(self, Display::Bars(_))
    }

    pub fn show(&mut self, progress: &Progress, active: &[Table]) {
        match self {
            Display::Bars(bars) => bars.show(progress, active),
            Display::Lines { next } if Instant::now() >= *next => {
                *next = Instant::now() + LINE_EVERY;
                message(format!("{}: {}", progress.node, words(progress)));
            }
            Display::Lines { .. } => {}
        }
    }

    pub fn say(&self, text: &str) {
        match self {
            Display::Lines { .. } => message(format!("steep-repl: {text}")),
            Display::Bars(bars) => {
                let _ = bars.all.println(format!("steep-repl: {text}"));
            }
        }
    }

    /// Takes the bars away.
    pub fn clear(&self) {
        if let Display::Bars(bars) = self {
            let _ = bars.all.clear();
        }
    }

    /// Leaves the bars on the screen as they are, and goes on below. A terminal that has written `^C` has moved its cursor to where they
    /// could not be taken away any more.
    pub fn leave(&mut self) {
        if let Display::Bars(bars) = self {
            bars.all.set_draw_target(ProgressDrawTarget::hidden());
            *bars = Bars::new(bars.colour);
            message("");
        }
    }
}

impl Bars {
    fn new(colour: bool) -> Bars {
        let all = MultiProgress::new();
        let overall = all.add(ProgressBar::new(1000));
        overall.set_style(style("{wide_bar} {msg}", colour));
        let below = all.add(ProgressBar::new(1));
        below.set_style(style("{msg}", false));
        Bars { all, overall, parts: Vec::new(), below, tables: Vec::new(), colour }
    }

    fn show(&mut self, progress: &Progress, active: &[Table]) {
        self.overall.set_position((progress.overall_percent * 10.0) as u64);
        self.overall.set_message(format!("{:5.1} %", progress.overall_percent));
        let parts = parts(progress);
        while self.parts.len() < parts.len() {
            let bar = self.all.insert_before(&self.below, ProgressBar::new(1000));
            bar.set_style(style("{wide_bar} {msg}", self.colour));
            self.parts.push(bar);
        }
        for (bar, (name, percent)) in self.parts.iter().zip(parts) {
            bar.set_position((percent * 10.0) as u64);
            bar.set_message(format!("{percent:5.1} % {name}"));
        }
        self.below.set_message(words(progress));
        let shown = active.len().min(MOST_BARS);
        while self.tables.len() < shown {
            let bar = self.all.add(ProgressBar::new(1000));
            bar.set_style(style("  {bar:20} {msg}", false));
            self.tables.push(bar);
        }
        while self.tables.len() > shown {
            if let Some(bar) = self.tables.pop() {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
        }
        for (bar, table) in self.tables.iter().zip(active) {
            bar.set_position((table.percent * 10.0) as u64);
            bar.set_message(format!(
                "{:5.1} % {:6} {}",
                table.percent,
                table.phase.as_deref().unwrap_or_default(),
                // A bar is one line, whatever the name.
                plain(&table.qualified()).replace('\n', "\u{fffd}"),
            ));
        }
    }
}

fn style(template: &str, colour: bool) -> ProgressStyle {
    let template = if colour { template.replace("{wide_bar}", "{wide_bar:.cyan}") } else { template.to_owned() };
    // The templates are constants; should one be wrong, the default does as well.
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
