//! Following an operation to its end: bars on a terminal, a line every few seconds elsewhere.

use super::Context;
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::output::{bytes, count, plain};
use crate::rows::{Operation, Progress, Table};
use crate::session::Session;
use crossbeam_channel::{after, never, select, Receiver};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often is looked.
const TICK: Duration = Duration::from_millis(500);
/// How often a line is written where nobody looks on.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How long a lost connection is tried again.
const LOST_FOR: Duration = Duration::from_secs(120);
/// Tables that get a bar of their own; a screen has no room for all.
const MOST_BARS: usize = 10;

/// What is followed.
pub struct Followed<'a> {
    /// The node.
    pub node: &'a str,
    /// Its operation.
    pub operation: i64,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Whether Ctrl-C may cancel the operation; it only ends the watching otherwise.
    pub may_cancel: bool,
}

/// Watches until the operation has ended, and gives how.
///
/// # Errors
/// Exit code 5 when time is over, 6 when the connection stays lost, 1 when it was interrupted.
pub fn follow(context: &Context, mut session: Session, what: &Followed) -> Result<(Session, Operation), Failure> {
    let interrupts = interrupts()?;
    let mut display = Display::new(context);
    let mut lost: Option<(Instant, Failure)> = None;
    let mut answers: Option<Receiver<String>> = None;
    loop {
        match look(&mut session, what, &mut display, answers.is_some()) {
            Ok(Some(operation)) => {
                display.clear();
                return Ok((session, operation));
            }
            Ok(None) => lost = None,
            Err(failure) if failure.exit == Exit::Connection => {
                let since = lost.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                if lost.is_none() {
                    display.say(&format!("connection lost, trying again: {}", failure.message));
                }
                if since.elapsed() > LOST_FOR {
                    display.clear();
                    return Err(failure.hint("The operation goes on without steep-repl."));
                }
                lost = Some((since, failure));
                if let Ok(again) = context.connector.node(what.node) {
                    session = again;
                    continue;
                }
            }
            Err(failure) => {
                display.clear();
                return Err(failure);
            }
        }
        let left = what.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            display.clear();
            return Err(Failure::new(
                Exit::Timeout,
                format!("operation {} on node \"{}\" is not over yet", what.operation, what.node),
            )
            .hint("The operation goes on; see steep-repl status."));
        }
        let nobody = never();
        select! {
            recv(interrupts) -> _ => {
                let asked_before = answers.is_some();
                if asked_before || !what.may_cancel || !std::io::stdin().is_terminal() {
                    display.clear();
                    return Err(detached(what));
                }
                answers = Some(ask(what.node, &display));
            }
            recv(answers.as_ref().unwrap_or(&nobody)) -> answer => {
                answers = None;
                match answer.unwrap_or_default().trim() {
                    "c" | "cancel" => {
                        session.client().query("SELECT steep_repl.cancel_init($1)", &[&what.node])?;
                        display.say("being cancelled; everything is put back");
                    }
                    "d" | "detach" => {
                        display.clear();
                        return Err(detached(what));
                    }
                    _ => {}
                }
            }
            recv(after(left.map_or(TICK, |left| left.min(TICK)))) -> _ => {}
        }
    }
}

/// Ctrl-C, as messages.
fn interrupts() -> Result<Receiver<()>, Failure> {
    let (sender, receiver) = crossbeam_channel::bounded(8);
    ctrlc::set_handler(move || {
        let _ = sender.try_send(());
    })
    .map_err(|error| Failure::new(Exit::Failed, "could not watch for Ctrl-C").detail(error.to_string()))?;
    Ok(receiver)
}

fn detached(what: &Followed) -> Failure {
    Failure::new(Exit::Failed, format!("interrupted; operation {} on node \"{}\" goes on", what.operation, what.node))
        .hint(format!(
        "Watch it with steep-repl wait {node} or steep-repl status {node}; cancel it with steep-repl cancel {node}.",
        node = what.node
    ))
}

/// Asks what Ctrl-C is to do; the answer comes as a message, so that progress is looked at meanwhile.
fn ask(node: &str, display: &Display) -> Receiver<String> {
    display.clear();
    eprint!("Cancel the operation on {node} (c), leave it running (d), or go on watching (Enter)? ");
    let (sender, receiver) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        let _ = sender.send(line);
    });
    receiver
}

/// One look. Gives the operation once it has ended.
fn look(
    session: &mut Session,
    what: &Followed,
    display: &mut Display,
    hidden: bool,
) -> Result<Option<Operation>, Failure> {
    let operation = operation(session, what.node)?;
    if operation.operation_id != what.operation {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "operation {} on node \"{}\" was followed by operation {}",
                what.operation, what.node, operation.operation_id
            ),
        )
        .hint("See steep-repl events for how it ended."));
    }
    if matches!(operation.status.as_str(), "completed" | "failed" | "cancelled") {
        return Ok(Some(operation));
    }
    if !hidden {
        let progress: Vec<Progress> = session.rows(include_str!("../../sql/progress.sql"), &[])?;
        let tables: Vec<Table> = if display.wants_tables() {
            session.rows(include_str!("../../sql/active_tables.sql"), &[&what.operation])?
        } else {
            Vec::new()
        };
        if let Some(progress) = progress.iter().find(|one| one.operation_id == what.operation) {
            display.show(progress, &tables);
        }
    }
    Ok(None)
}

/// The newest operation of a node.
///
/// # Errors
/// Exit code 1 when there is none.
pub fn operation(session: &mut Session, node: &str) -> Result<Operation, Failure> {
    session.rows::<Operation>(include_str!("../../sql/operation.sql"), &[&node])?.pop().ok_or_else(|| {
        Failure::new(Exit::Failed, format!("node \"{node}\" has no operation"))
            .hint(format!("Start one with steep-repl init {node} --from SOURCE."))
    })
}

/// How an operation ended, as a result.
///
/// # Errors
/// Exit code 4 when it was cancelled; 3, 5 or 1 when it failed.
pub fn outcome(operation: &Operation) -> Result<(), Failure> {
    let node = &operation.node;
    match operation.status.as_str() {
        "completed" => Ok(()),
        "cancelled" => Err(Failure::new(
            Exit::Cancelled,
            format!("operation {} on node \"{node}\" was cancelled", operation.operation_id),
        )),
        _ => {
            let exit = match operation.sqlstate.as_deref() {
                Some("42P15") => Exit::SchemaMismatch,
                // Of its own time limit.
                Some("57014") => Exit::Timeout,
                _ => Exit::Failed,
            };
            Err(Failure {
                exit,
                message: operation
                    .message
                    .clone()
                    .unwrap_or_else(|| format!("the operation on node \"{node}\" failed")),
                sqlstate: operation.sqlstate.clone(),
                detail: operation.detail.clone(),
                hint: operation.hint.clone(),
            })
        }
    }
}

/// Words for one moment: phase, percent, rate, ETA.
pub fn words(progress: &Progress) -> String {
    let mut words = vec![
        progress.phase.clone(),
        format!("{:.1} %", progress.overall_percent),
        format!("{}/{} tables", progress.tables_done, progress.tables_total),
        format!("{} rows", count(progress.rows_done)),
        format!("{} of {}", bytes(progress.bytes_done as f64), bytes(progress.bytes_total as f64)),
    ];
    if let (Some(rows), Some(rate)) = (progress.rows_per_second, progress.bytes_per_second) {
        words.push(format!("{} rows/s, {}/s", count(rows as i64), bytes(rate)));
    }
    if let Some(lag) = progress.lag_bytes {
        words.push(format!("{} behind", bytes(lag as f64)));
    }
    if let Some(eta) = progress.eta_seconds {
        words.push(format!("{} left", duration::words(eta)));
    }
    words.join(", ")
}

/// Where progress is shown.
enum Display {
    Bars { all: MultiProgress, overall: ProgressBar, below: ProgressBar, tables: Vec<ProgressBar> },
    Lines { next: Instant },
}

impl Display {
    fn new(context: &Context) -> Display {
        if context.out.json || !context.out.terminal || !std::io::stderr().is_terminal() {
            return Display::Lines { next: Instant::now() };
        }
        let all = MultiProgress::new();
        let overall = all.add(ProgressBar::new(1000));
        overall.set_style(style("{wide_bar} {msg}", context.out.colour));
        let below = all.add(ProgressBar::new(1));
        below.set_style(style("{msg}", false));
        Display::Bars { all, overall, below, tables: Vec::new() }
    }

    fn wants_tables(&self) -> bool {
        matches!(self, Display::Bars { .. })
    }

    fn show(&mut self, progress: &Progress, active: &[Table]) {
        match self {
            Display::Lines { next } => {
                if Instant::now() >= *next {
                    *next = Instant::now() + LINE_EVERY;
                    eprintln!("{}: {}", progress.node, words(progress));
                }
            }
            Display::Bars { all, overall, below, tables } => {
                overall.set_position((progress.overall_percent * 10.0) as u64);
                overall.set_message(format!("{:5.1} %", progress.overall_percent));
                below.set_message(words(progress));
                let shown = active.len().min(MOST_BARS);
                while tables.len() < shown {
                    let bar = all.add(ProgressBar::new(1000));
                    bar.set_style(style("  {bar:20} {msg}", false));
                    tables.push(bar);
                }
                while tables.len() > shown {
                    if let Some(bar) = tables.pop() {
                        bar.finish_and_clear();
                        all.remove(&bar);
                    }
                }
                for (bar, table) in tables.iter().zip(active) {
                    bar.set_position((table.percent * 10.0) as u64);
                    bar.set_message(format!(
                        "{:5.1} % {:6} {}.{}",
                        table.percent,
                        table.phase.as_deref().unwrap_or_default(),
                        plain(&table.table_schema),
                        plain(&table.table_name)
                    ));
                }
            }
        }
    }

    fn say(&self, text: &str) {
        match self {
            Display::Lines { .. } => eprintln!("steep-repl: {text}"),
            Display::Bars { all, .. } => {
                let _ = all.println(format!("steep-repl: {text}"));
            }
        }
    }

    fn clear(&self) {
        if let Display::Bars { all, .. } = self {
            let _ = all.clear();
        }
    }
}

fn style(template: &str, colour: bool) -> ProgressStyle {
    let template = if colour { template.replace("{wide_bar}", "{wide_bar:.cyan}") } else { template.to_owned() };
    // The templates are constants; should one be wrong, the default does as well.
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
