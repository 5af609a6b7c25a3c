//! Models for tests: a small world of nodes, as the readers would have seen it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Modifier;
use ratatui::Terminal;

use super::message::{Answer, Effect, Message, Ticket};
use super::model::{Look, Model};
use super::snapshot::*;
use super::update::update;

/// When all samples are.
pub fn now() -> Timestamp {
    "2026-03-01T03:12:45Z".parse().unwrap()
}

/// So many seconds before that.
pub fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// A terminal that can do all.
pub const RICH: Look = Look { unicode: true, colour: true };
/// A terminal that can do nothing.
pub const PLAIN: Look = Look { unicode: false, colour: false };

/// Before anything was heard.
pub fn loading(look: Look) -> Model {
    Model::new(look, false, "db1.example:5432/shop", now(), TimeZone::UTC)
}

/// A row of node_status.
pub fn status(node: &str, state: &str) -> NodeStatus {
    NodeStatus {
        node: node.into(),
        state: state.into(),
        health: "ok".into(),
        owner: Some("operator".into()),
        conninfo: Some(format!("host={node}.example dbname=shop user=operator password=********")),
        updated_at: Some(ago(3_720)),
        ..NodeStatus::default()
    }
}

/// A statement that was run.
pub fn statement(sql: &str, outcome: &str) -> Statement {
    Statement { at: ago(1), sql: sql.into(), micros: Some(4_200), outcome: outcome.into() }
}

/// A look at a node with the extension.
pub fn node_look(place: &str, reading: Reading) -> Arc<Snapshot> {
    let server = Server { version: 18, extension: Some("0.1.0".into()), slots: BTreeMap::new() };
    Arc::new(Snapshot {
        taken_at: now(),
        place: place.into(),
        contact: Contact::Node(server, Arc::new(reading)),
        readings: vec![statement("select ... from steep_repl.node_status", "2 rows")],
    })
}

/// A look at a source.
pub fn source_look(place: &str, slots: &[(&str, i64)]) -> Arc<Snapshot> {
    let slots =
        slots.iter().map(|(name, lag)| ((*name).into(), Slot { active: true, lag_bytes: Some(*lag) })).collect();
    let contact = Contact::Source(Server { version: 17, extension: None, slots });
    Arc::new(Snapshot { taken_at: now(), place: place.into(), contact, readings: Vec::new() })
}

/// A look at what does not answer.
pub fn no_look(place: &str, reason: &str) -> Arc<Snapshot> {
    let contact =
        Contact::Unreachable { reason: reason.into(), since: ago(95), next_try: now() + SignedDuration::from_secs(4) };
    Arc::new(Snapshot { taken_at: now(), place: place.into(), contact, readings: Vec::new() })
}

/// A node that follows node_a.
pub fn synchronized() -> Reading {
    let own = NodeStatus {
        is_local: true,
        source: Some("node_a".into()),
        operation_id: Some(1),
        operation_status: Some("completed".into()),
        phase: Some("done".into()),
        ..status("node_b", "SYNCHRONIZED")
    };
    let mut progress = copying().progress.unwrap();
    progress.state = "SYNCHRONIZED".into();
    progress.phase = "done".into();
    progress.overall_percent = 100.0;
    progress.tables_done = progress.tables_total;
    progress.bytes_done = progress.bytes_total;
    progress.rows_done = 5_000_012;
    progress.updated_at = Some(ago(3_000));
    progress.eta = None;
    let finished = ["public.orders", "public.customers", "sales.\"Line Items\""].map(finished);
    let tables = Tables {
        operation_id: 7,
        counts: BTreeMap::from([("done".into(), 12)]),
        finished: finished.to_vec(),
        ..Tables::default()
    };
    Reading {
        nodes: vec![status("node_a", "UNINITIALIZED"), own],
        progress: Some(progress),
        phases: PHASE_STARTS
            .iter()
            .map(|(phase, seconds)| PhaseStart { phase: (*phase).into(), at: ago(*seconds + 3_000) })
            .collect(),
        subscriptions: vec![Subscription { slot: Some("steep_repl_1".into()), enabled: true, running: true }],
        offers: vec!["preflight".into()],
        kept: Vec::new(),
        tables: Some(Arc::new(tables)),
        events: events(),
    }
}

const PHASE_STARTS: [(&str, i64); 10] = [
    ("publication", 131),
    ("slot", 130),
    ("subscription", 130),
    ("tables", 129),
    ("copy", 128),
    ("indexes", 60),
    ("sequences", 20),
    ("enable", 19),
    ("catchup", 18),
    ("done", 2),
];

fn finished(name: &str) -> TableRow {
    TableRow {
        name: name.into(),
        status: "done".into(),
        percent: 100.0,
        rows_done: 123_456,
        bytes_done: 9_000_000,
        bytes_total: 9_000_000,
        copy_ms: Some(2_345.4),
        index_ms: Some(640.0),
        ..TableRow::default()
    }
}

fn working(name: &str, status: &str, percent: f64, total: i64) -> TableRow {
    TableRow {
        name: name.into(),
        status: status.into(),
        percent,
        rows_done: 40_000,
        bytes_done: (total as f64 * percent / 100.0) as i64,
        bytes_total: total,
        ..TableRow::default()
    }
}

/// A node that is being initialized.
pub fn copying() -> Reading {
    let own = NodeStatus {
        is_local: true,
        source: Some("node_a".into()),
        operation_id: Some(7),
        operation_status: Some("running".into()),
        phase: Some("copy".into()),
        updated_at: Some(ago(128)),
        ..status("node_b", "COPYING")
    };
    let progress = Progress {
        operation_id: 7,
        node: "node_b".into(),
        source: "node_a".into(),
        kind: "init".into(),
        method: "parallel".into(),
        state: "COPYING".into(),
        phase: "copy".into(),
        overall_percent: 42.3,
        tables_total: 12,
        tables_done: 3,
        rows_done: 4_609_000,
        bytes_done: 7_900_000_000,
        bytes_total: 21_500_000_000,
        rows_per_second: Some(61_234.0),
        bytes_per_second: Some(104_857_600.0),
        workers_active: 3,
        workers_planned: 4,
        started_at: Some(ago(131)),
        updated_at: Some(now()),
        eta: Some(now() + SignedDuration::from_secs(130)),
        lag_bytes: None,
        error: None,
        generation_percent: None,
        application_percent: None,
    };
    let tables = Tables {
        operation_id: 7,
        counts: [("copying", 3), ("indexing", 1), ("waiting", 5), ("done", 3)].map(|(word, n)| (word.into(), n)).into(),
        active: vec![
            working("public.orders", "copying", 61.2, 12_000_000_000),
            working("sales.\"Line Items\"", "copying", 12.9, 6_400_000_000),
            working("public.a_table_with_quite_a_long_name_indeed", "copying", 3.0, 900_000_000),
            working("public.customers", "indexing", 88.0, 740_000_000),
        ],
        waiting: (1..=5).map(|n| working(&format!("archive.orders_200{n}"), "waiting", 0.0, n * 81_000_000)).collect(),
        finished: vec![finished("public.countries"), finished("public.currencies"), finished("public.units")],
    };
    Reading {
        nodes: vec![status("node_a", "UNINITIALIZED"), own],
        progress: Some(progress),
        phases: PHASE_STARTS[..5]
            .iter()
            .map(|(phase, seconds)| PhaseStart { phase: (*phase).into(), at: ago(*seconds) })
            .collect(),
        subscriptions: vec![Subscription { slot: Some("steep_repl_1".into()), enabled: false, running: false }],
        offers: vec!["preflight".into()],
        kept: Vec::new(),
        tables: Some(Arc::new(tables)),
        events: events(),
    }
}

/// A node whose initialization has failed.
pub fn failed() -> Reading {
    let mut reading = copying();
    let own = &mut reading.nodes[1];
    own.state = "FAILED".into();
    own.health = "error".into();
    own.operation_status = Some("failed".into());
    own.sqlstate = Some("42P15".into());
    own.last_error = Some("the schema of the source changed during the operation".into());
    own.detail = Some("column state of table public.orders does not exist on the target".into());
    own.hint = Some(
        "Make the same change here or take it back on the source, then use steep_repl.resume_init(node); or use \
         steep_repl.cancel_init(node), make the tables match and initialize the node again."
            .into(),
    );
    own.notice = Some("4 indexes suspended".into());
    let progress = reading.progress.as_mut().unwrap();
    progress.state = "FAILED".into();
    progress.error = own.last_error.clone();
    (progress.rows_per_second, progress.bytes_per_second, progress.eta, progress.workers_active) =
        (None, None, None, 0);
    let mut tables = reading.tables.as_deref().cloned().unwrap();
    tables.active.clear();
    tables.counts = [("failed", 1), ("waiting", 8), ("done", 3)].map(|(word, n)| (word.into(), n)).into();
    let broken = TableRow {
        error: Some("column state does not exist".into()),
        ..working("public.orders", "failed", 61.2, 12_000_000_000)
    };
    tables.waiting.insert(0, broken);
    reading.tables = Some(Arc::new(tables));
    reading
}

/// Some events.
pub fn events() -> Arc<[Arc<Event>]> {
    let rows = [
        (131, "init.state_change", "info", None, Some("PREPARING")),
        (131, "init.started", "info", None, None),
        (130, "init.phase_started", "info", None, Some("phase slot")),
        (128, "init.state_change", "info", None, Some("COPYING")),
        (128, "init.table_started", "info", Some("public.orders"), None),
        (
            90,
            "init.worker_failed",
            "warning",
            Some("sales.\"Line Items\""),
            Some("copy worker lost its connection to node \"node_a\"; tried again in 5 s"),
        ),
        (60, "init.table_complete", "info", Some("public.countries"), None),
        (
            3,
            "init.table_failed",
            "error",
            Some("public.orders"),
            Some("could not extend file \"base/16384/24576\": No space left on device"),
        ),
    ];
    rows.iter()
        .enumerate()
        .map(|(n, (seconds, event, severity, table, message))| {
            Arc::new(Event {
                id: n as i64 + 1,
                at: ago(*seconds),
                event: (*event).into(),
                severity: (*severity).into(),
                operation_id: Some(7),
                node: Some("node_b".into()),
                table_name: table.map(Into::into),
                message: message.map(Into::into),
                hint: (*severity == "error").then(|| "Make room, then use steep_repl.resume_init(node).".into()),
            })
        })
        .collect()
}

/// The first connection has seen this; node_a is a source with a slot.
pub fn pair(look: Look, reading: Reading) -> Model {
    let mut model = loading(look);
    update(&mut model, Message::Seen(FIRST, node_look("db1.example:5432/shop", reading)));
    update(&mut model, Message::Seen(NodeId(1), source_look("db0.example:5432/shop", &[("steep_repl_1", 56_320)])));
    model
}

/// One node of every kind there is.
pub fn zoo(look: Look) -> Model {
    let states = [
        ("berlin", "SYNCHRONIZED"),
        ("cairo", "COPYING"),
        ("delhi", "CATCHING_UP"),
        ("essen", "FAILED"),
        ("fez", "DIVERGED"),
        ("genoa", "REINITIALIZING"),
        ("hanoi", "PREPARING"),
        ("izmir", "UNINITIALIZED"),
    ];
    let mut first = synchronized();
    first.nodes =
        vec![NodeStatus { is_local: true, ..status("berlin", "SYNCHRONIZED") }, status("amsterdam", "UNINITIALIZED")];
    first.nodes[0].source = Some("amsterdam".into());
    first.nodes.extend(states[1..].iter().map(|(name, state)| status(name, state)));
    first.nodes.extend(["jena", "kyoto"].map(|name| status(name, "UNINITIALIZED")));
    let mut model = loading(look);
    update(&mut model, Message::Seen(FIRST, node_look("berlin.example:5432/shop", first)));
    let id = |model: &Model, name: &str| model.node_named(name).unwrap().id;
    let slots = [("steep_repl_1", 1_258_291), ("steep_repl_old", 48_000_000_000)];
    let amsterdam = id(&model, "amsterdam");
    update(&mut model, Message::Seen(amsterdam, source_look("amsterdam.example:5432/shop", &slots)));
    for (name, state) in &states[1..] {
        let mut reading = if *state == "FAILED" { failed() } else { copying() };
        let own = &mut reading.nodes[1];
        own.node = (*name).into();
        own.state = (*state).into();
        own.source = Some("amsterdam".into());
        let progress = reading.progress.as_mut().unwrap();
        match *state {
            "CATCHING_UP" => {
                (progress.overall_percent, progress.phase, progress.lag_bytes) =
                    (99.2, "catchup".into(), Some(734_003_200))
            }
            "PREPARING" => (progress.overall_percent, progress.phase, progress.eta) = (0.0, "slot".into(), None),
            "DIVERGED" => {
                own.health = "warning".into();
                own.operation_status = Some("completed".into());
                own.last_error = Some("table public.orders differs from node amsterdam".into());
                own.tables_not_subscribed = Some(vec!["public.refunds".into(), "sales.vouchers".into()]);
            }
            "UNINITIALIZED" => {
                reading = Reading {
                    nodes: vec![reading.nodes[0].clone(), NodeStatus { is_local: true, ..status(name, state) }],
                    ..Reading::default()
                }
            }
            _ => {}
        }
        let id = id(&model, name);
        update(&mut model, Message::Seen(id, node_look(&format!("{name}.example:5432/shop"), reading)));
    }
    let jena = id(&model, "jena");
    let refused = "connection to server at \"jena.example\" (10.0.0.9), port 5432 failed: Connection refused";
    update(&mut model, Message::Seen(jena, no_look("jena.example:5432/shop", refused)));
    model
}

/// A key without anything.
pub fn key(code: KeyCode) -> Message {
    Message::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// Types a text, `\n` for enter and `\x1b` for esc; returns all effects.
pub fn type_in(model: &mut Model, text: &str) -> Vec<Effect> {
    let code = |c| match c {
        '\n' => KeyCode::Enter,
        '\x1b' => KeyCode::Esc,
        '\t' => KeyCode::Tab,
        '→' => KeyCode::Right,
        c => KeyCode::Char(c),
    };
    text.chars().flat_map(|c| update(model, key(code(c)))).collect()
}

/// Number of the call among these effects.
pub fn ticket(effects: &[Effect]) -> Ticket {
    let run = effects.iter().find_map(|effect| match effect {
        Effect::Run(ticket, ..) => Some(*ticket),
        _ => None,
    });
    run.unwrap()
}

/// Answers the call among these effects.
pub fn answer(model: &mut Model, effects: &[Effect], answer: Answer) -> Vec<Effect> {
    let message = Message::Answered(ticket(effects), Box::new(answer), statement("select ...", "1 row"));
    update(model, message)
}

/// The screen as text: a line a row; `<` marks rows that are reversed from edge to edge.
pub fn screen(model: &mut Model, columns: u16, rows: u16) -> String {
    update(model, Message::Resize(columns, rows));
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| super::draw::draw(model, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..rows {
        let mut line = String::new();
        let mut skip = 0;
        let mut reversed = columns > 0;
        for x in 0..columns {
            let cell = &buffer[(x, y)];
            reversed &= cell.modifier.contains(Modifier::REVERSED);
            if skip > 0 {
                skip -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            skip = crate::words::width(cell.symbol()).saturating_sub(1);
        }
        text.push_str(&format!("|{line}|{}\n", if reversed { "<" } else { "" }));
    }
    text
}

/// A node that keeps snapshots.
pub fn keeping() -> Reading {
    let kept = |id: &str, status: &str, percent: f64| Kept {
        id: id.into(),
        source: "node_a".into(),
        path: format!("/srv/snapshots/{id}"),
        status: status.into(),
        percent,
        slots: 2,
        slots_free: (status == "complete").then_some(1),
        wal_held_bytes: (status == "complete").then_some(734_003_200),
        bytes: (status == "complete").then_some(12_884_901_888),
        compression: "zstd".into(),
        expires_at: (status == "complete").then(|| ago(-86_400)),
        error: (status == "failed").then(|| "could not use \"/srv/snapshots/x\"".into()),
    };
    let kept = vec![
        kept("5f0c2b7d9e1a4c38", "generating", 41.5),
        kept("90ab12cd34ef5678", "failed", 12.0),
        kept("0123456789abcdef", "complete", 100.0),
    ];
    Reading { kept, ..synchronized() }
}
