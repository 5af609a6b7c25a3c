//! Whole screens, as they were looked at and found good.

use std::sync::Arc;

use insta::assert_snapshot;
use jiff::SignedDuration;

use crate::tui::message::{Answer, Message, Trouble};
use crate::tui::model::{Look, Model};
use crate::tui::samples::*;
use crate::tui::snapshot::*;
use crate::tui::update::update;

const SIZES: [(u16, u16); 3] = [(60, 15), (80, 24), (120, 40)];

/// The screen in all three sizes, and once more in ASCII.
fn screens(name: &str, make: impl Fn(Look) -> Model) {
    for (columns, rows) in SIZES {
        assert_snapshot!(format!("{name}_{columns}x{rows}"), screen(&mut make(RICH), columns, rows));
    }
    let plain = screen(&mut make(PLAIN), 80, 24);
    assert!(plain.is_ascii(), "{plain}");
    assert_snapshot!(format!("{name}_ascii"), plain);
}

/// A model after some keys.
fn after(mut model: Model, keys: &str) -> Model {
    type_in(&mut model, keys);
    model
}

#[test]
fn nodes_before_anything_was_heard() {
    screens("nodes_loading", loading);
}

#[test]
fn nodes_of_a_database_without_any() {
    screens("nodes_empty", |look| {
        let mut model = loading(look);
        update(&mut model, Message::Seen(FIRST, node_look("db1.example:5432/shop", Reading::default())));
        model
    });
}

#[test]
fn nodes_that_are_well() {
    screens("nodes_healthy", |look| after(pair(look, synchronized()), "j"));
}

#[test]
fn nodes_of_every_kind() {
    screens("nodes_degraded", |look| after(zoo(look), "jjjj"));
    assert_snapshot!("nodes_diverged_80x24", screen(&mut after(zoo(RICH), "jjjjj"), 80, 24));
}

#[test]
fn the_first_connection_fails() {
    screens("nodes_unreachable", |look| {
        let mut model = loading(look);
        let reason = "connection to server at \"db1.example\" (10.0.0.7), port 5432 failed: FATAL:  password authentication failed for user \"operator\"";
        update(&mut model, Message::Seen(FIRST, no_look("db1.example:5432/shop", reason)));
        model
    });
}

#[test]
fn a_node_is_lost_that_was_there() {
    screens("nodes_lost", |look| {
        let mut model = pair(look, copying());
        update(
            &mut model,
            Message::Seen(FIRST, no_look("db1.example:5432/shop", "server closed the connection unexpectedly")),
        );
        after(model, "j")
    });
}

#[test]
fn an_initialization() {
    screens("operation_copying", |look| {
        let mut model = pair(look, copying());
        for second in 0..50 {
            let mut reading = copying();
            reading.progress.as_mut().unwrap().bytes_per_second = Some(f64::from((second * 37) % 100) * 1e6);
            let mut look = node_look("db1.example:5432/shop", reading).as_ref().clone();
            look.taken_at = ago(50 - i64::from(second));
            update(&mut model, Message::Seen(FIRST, Arc::new(look)));
        }
        after(model, "j\n")
    });
}

#[test]
fn a_long_name_of_a_table_is_shown_whole_under_the_cursor() {
    let text = screen(&mut after(pair(RICH, copying()), "G\njjj"), 80, 24);
    assert!(text.contains("tables: 3 of 12 done: public.a_table_with_quite_a_long_name_indeed"), "{text}");
}

#[test]
fn an_initialization_that_failed() {
    screens("operation_failed", |look| after(pair(look, failed()), "j\n"));
}

#[test]
fn an_initialization_that_is_over() {
    screens("operation_done", |look| {
        let mut reading = synchronized();
        reading.progress.as_mut().unwrap().operation_id = 7;
        after(pair(look, reading), "j\n")
    });
}

#[test]
fn an_operation_before_there_is_one() {
    screens("operation_none", |look| {
        let own = NodeStatus { is_local: true, ..status("node_b", "UNINITIALIZED") };
        let reading = Reading { nodes: vec![status("node_a", "UNINITIALIZED"), own], ..Reading::default() };
        after(pair(look, reading), "j\n")
    });
}

#[test]
fn an_operation_whose_node_is_lost() {
    screens("operation_lost", |look| {
        let mut model = after(pair(look, copying()), "j\n");
        update(&mut model, Message::Tick(now() + SignedDuration::from_secs(25)));
        model
    });
}

#[test]
fn the_page_of_a_source_and_of_a_refresh() {
    screens("operation_source", |look| after(pair(look, synchronized()), "g\n"));
    screens("operation_refresh", |look| {
        let mut reading = copying();
        reading.nodes[1].state = "REINITIALIZING".into();
        reading.progress.as_mut().unwrap().kind = "refresh".into();
        after(pair(look, reading), "G\n")
    });
    screens("operation_cancelled", |look| {
        let mut reading = copying();
        reading.nodes[1].state = "UNINITIALIZED".into();
        reading.nodes[1].operation_status = Some("cancelled".into());
        after(pair(look, reading), "G\n")
    });
    screens("operation_two_phase", |look| {
        let mut reading = copying();
        let progress = reading.progress.as_mut().unwrap();
        progress.method = "two_phase".into();
        progress.phase = "copy".into();
        (progress.overall_percent, progress.generation_percent, progress.application_percent) =
            (61.2, Some(100.0), Some(22.4));
        let copy = reading.phases.pop().unwrap();
        reading.phases.push(PhaseStart { phase: "files".into(), ..copy });
        reading.phases.push(PhaseStart { phase: "copy".into(), at: ago(20) });
        after(pair(look, reading), "G\n")
    });
}

#[test]
fn the_form_of_a_refresh() {
    screens("form_refresh", |look| after(pair(look, synchronized()), "GRpublic.refunds"));
    screens("preview_refresh", |look| {
        let mut model = after(pair(look, synchronized()), "G");
        let effects = type_in(&mut model, "R\n");
        answer(&mut model, &effects, Answer::Tables(vec!["public.refunds".into(), "sales.vouchers".into()]));
        model
    });
}

#[test]
fn the_form_of_an_initialization() {
    screens("form_init", |look| {
        let own = NodeStatus { is_local: true, ..status("node_b", "UNINITIALIZED") };
        let reading = Reading { nodes: vec![status("node_a", "UNINITIALIZED"), own], ..Reading::default() };
        after(pair(look, reading), "jI\t\t→")
    });
}

fn previewing(look: Look, finding: Answer, keys: &str) -> Model {
    let own = NodeStatus { is_local: true, ..status("node_b", "UNINITIALIZED") };
    let reading = Reading { nodes: vec![status("node_a", "UNINITIALIZED"), own], ..Reading::default() };
    let mut model = pair(look, reading);
    let effects = type_in(&mut model, keys);
    answer(&mut model, &effects, finding);
    model
}

fn finding(check: &str, status: &str, message: &str, hint: Option<&str>) -> Finding {
    let (message, hint) = (Some(message.into()), hint.map(Into::into));
    Finding { check_name: check.into(), status: status.into(), message, hint, ..Finding::default() }
}

#[test]
fn what_an_initialization_will_do() {
    let good = || {
        Answer::Findings(vec![
            finding("source", "ok", "", None),
            finding("large_objects", "notice", "large objects are not copied: 3", None),
        ])
    };
    screens("preview_init", |look| previewing(look, good(), "jI\t\t→\n"));
    let hint =
        "Add primary keys, or use no_identity => 'insert_only' (updates and deletes on them are not replicated).";
    let message = "1 of the tables to be copied have no replica identity on node \"node_a\"";
    let bad = || {
        Answer::Findings(vec![
            finding("source", "ok", "", None),
            finding("replica_identity", "error", message, Some(hint)),
        ])
    };
    screens("preview_refused", |look| previewing(look, bad(), "jI\n"));
    screens("preview_force", |look| {
        let mut model = previewing(look, good(), "jI\t\t\t\t\t\t→\n");
        type_in(&mut model, "node");
        model
    });
}

#[test]
fn what_a_cancellation_will_do() {
    screens("confirm_cancel", |look| after(pair(look, copying()), "jC"));
}

fn compared() -> Vec<Compared> {
    let row = |name: &str, status: &str, difference: Option<&str>| Compared {
        name: name.into(),
        status: status.into(),
        difference: difference.map(Into::into),
    };
    vec![
        row("public.audit", "REMOTE_ONLY", None),
        row("public.countries", "MATCH", None),
        row("public.customers", "MATCH", None),
        row("public.loading", "BUSY", None),
        row("public.orders", "MISMATCH", Some("column legacy missing on node_a; column total: numeric(12,2) on node_a, numeric(10,2) on node_b; column note missing on node_b")),
        row("public.refunds", "LOCAL_ONLY", None),
    ]
}

fn comparing(look: Look, given: Answer) -> Model {
    let mut model = after(pair(look, synchronized()), "j");
    let effects = type_in(&mut model, "s\n");
    answer(&mut model, &effects, given);
    model
}

#[test]
fn schemas_of_two_nodes() {
    screens("schema_form", |look| after(pair(look, synchronized()), "js"));
    screens("schema_waiting", |look| after(pair(look, synchronized()), "js\n"));
    screens("schema_differs", |look| comparing(look, Answer::Compared(compared())));
    screens("schema_matches", |look| comparing(look, Answer::Compared(compared()[1..3].to_vec())));
    let trouble = || Trouble {
        message: "could not connect to node \"node_a\" (db0.example, port 5432, database shop)".into(),
        sqlstate: Some("08001".into()),
        detail: Some("connection to server at \"db0.example\" (10.0.0.6), port 5432 failed: Connection refused".into()),
        hint: Some("Look whether the server runs.".into()),
    };
    screens("schema_failed", |look| comparing(look, Answer::Failed(trouble())));
}

#[test]
fn one_table_of_two_nodes() {
    let rows = || {
        let row =
            |kind: &str, name: &str, change: &str, a: Option<&str>, b: Option<&str>, mismatch, ddl: Option<&str>| {
                Difference {
                    object_kind: kind.into(),
                    object_name: name.into(),
                    change: change.into(),
                    definition_a: a.map(Into::into),
                    definition_b: b.map(Into::into),
                    is_mismatch: mismatch,
                    ddl: ddl.map(Into::into),
                }
            };
        let altered = "ALTER TABLE \"public\".\"orders\" DROP COLUMN IF EXISTS \"vat\";\nALTER TABLE \"public\".\"orders\" ALTER COLUMN \"total\" DROP DEFAULT, \
                       ALTER COLUMN \"total\" TYPE numeric(12,2) USING \"total\"::numeric(12,2), ALTER COLUMN \"total\" SET DEFAULT 0;";
        let index = "CREATE INDEX orders_by_time ON public.orders USING btree (placed_at)";
        vec![
            row("column", "total", "type", Some("numeric(12,2)"), Some("numeric(10,2)"), true, Some(altered)),
            row(
                "column",
                "note",
                "missing",
                Some("text DEFAULT 'none'::text"),
                None,
                true,
                Some("ALTER TABLE \"public\".\"orders\" ADD COLUMN \"note\" text DEFAULT 'none'::text;"),
            ),
            row("column", "vat", "type", Some("numeric(12,2)"), Some("numeric(10,2)"), true, None),
            row(
                "index",
                "orders_by_time",
                "missing",
                Some(index),
                None,
                false,
                Some("CREATE INDEX orders_by_time ON public.orders USING btree (placed_at);"),
            ),
        ]
    };
    screens("diff", |look| {
        let mut model = comparing(look, Answer::Compared(compared()));
        let effects = type_in(&mut model, "\n");
        answer(&mut model, &effects, Answer::Differences(rows()));
        model
    });
    screens("details_diff", |look| {
        let mut model = comparing(look, Answer::Compared(compared()));
        let effects = type_in(&mut model, "\n");
        answer(&mut model, &effects, Answer::Differences(rows()));
        after(model, "\n")
    });
    screens("diff_none", |look| {
        let mut model = comparing(look, Answer::Compared(compared()));
        let effects = type_in(&mut model, "\n");
        answer(&mut model, &effects, Answer::Differences(Vec::new()));
        model
    });
}

#[test]
fn what_happened() {
    screens("events", |look| after(pair(look, copying()), "e"));
    screens("events_filtered", |look| after(pair(look, copying()), "e/orders\n"));
    screens("events_empty", |look| after(pair(look, Reading { events: Arc::default(), ..copying() }), "e"));
}

#[test]
fn all_else() {
    screens("snapshots", |look| after(pair(look, keeping()), "S"));
    screens("snapshots_none", |look| after(pair(look, synchronized()), "S"));
    screens("snapshots_loading", |look| after(loading(look), "S"));
    screens("statements", comparing_statements);
    screens("statements_empty", |look| after(loading(look), "@"));
    screens("help", |look| after(pair(look, synchronized()), "?"));
    screens("help_filtered", |look| after(pair(look, synchronized()), "?/schema\n"));
    screens("command", |look| after(pair(look, synchronized()), ":sch"));
    screens("wrong_command", |look| after(pair(look, synchronized()), ":schme\n"));
}

#[test]
fn the_whole_of_what_is_chosen() {
    screens("details_failed", |look| after(pair(look, failed()), "j\nd"));
    screens("details_event", |look| after(pair(look, copying()), "e\n"));
    screens("details_statement", |look| after(comparing_statements(look), "d"));
    screens("details_compared", |look| after(comparing(look, Answer::Compared(compared())), "d"));
    screens("details_source", |look| {
        let mut model = pair(look, synchronized());
        let slots: Vec<String> = (1..30).map(|n| format!("steep_repl_{n}")).collect();
        let slots: Vec<(&str, i64)> = slots.iter().map(|name| (name.as_str(), 1_024)).collect();
        update(&mut model, Message::Seen(NodeId(1), source_look("db0.example:5432/shop", &slots)));
        after(model, "gdG")
    });
}

fn comparing_statements(look: Look) -> Model {
    after(comparing(look, Answer::Compared(compared())), "@")
}

#[test]
fn nothing_can_be_changed_when_read_only() {
    screens("read_only", |look| {
        let mut model = pair(look, failed());
        model.read_only = true;
        after(model, "jC")
    });
}

#[test]
fn a_long_notice_is_shown_whole() {
    screens("long_notice", |look| {
        let mut model = after(pair(look, synchronized()), "G");
        let effects = type_in(&mut model, "I\n");
        answer(&mut model, &effects, Answer::Findings(Vec::new()));
        let effects = type_in(&mut model, "\n");
        let warning = "sequences of the source are not all readable: public.orders_id_seq, public.refunds_id_seq";
        answer(&mut model, &effects, Answer::Done { value: "8".into(), warnings: vec![warning.into()] });
        model
    });
}

#[test]
fn a_call_that_is_under_way() {
    screens("preview_sent", |look| {
        let mut model = after(pair(look, failed()), "j");
        type_in(&mut model, "r\n");
        model
    });
}

#[test]
fn foreign_text_is_drawn_as_text() {
    let mut reading = failed();
    reading.nodes[1].last_error = Some("\x1b[2J\x1b]0;owned\x07evil \u{202e}txet\r\nsecond line".into());
    reading.nodes[1].node = "日本語\x1b[31m".into();
    let mut model = after(pair(RICH, reading), "j");
    let text = screen(&mut model, 80, 24);
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}') && !text.contains('\x07'), "{text}");
    assert!(text.contains("日本語"));
    assert_snapshot!("hostile_text", text);
}
