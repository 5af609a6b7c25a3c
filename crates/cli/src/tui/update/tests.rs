//! Keys, dialogs and messages, without a server.

use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::update;
use crate::tui::call::Call;
use crate::tui::keys::{BINDINGS, COMMANDS};
use crate::tui::message::{Answer, Effect, Message, Trouble};
use crate::tui::model::dialog::Dialog;
use crate::tui::model::node::Standing;
use crate::tui::model::page::{events_shown, Asked, View};
use crate::tui::model::{Gravity, Model};
use crate::tui::samples::*;
use crate::tui::snapshot::*;

fn uninitialized() -> Reading {
    let own = NodeStatus { is_local: true, ..status("node_b", "UNINITIALIZED") };
    Reading { nodes: vec![status("node_a", "UNINITIALIZED"), own], ..Reading::default() }
}

/// With the cursor on node_b.
fn on_node_b(reading: Reading) -> Model {
    let mut model = pair(PLAIN, reading);
    type_in(&mut model, "G");
    assert_eq!(model.chosen().unwrap().name, "node_b");
    model
}

fn calls(effects: &[Effect]) -> Vec<String> {
    let shown = |effect: &Effect| match effect {
        Effect::Run(_, _, call) => Some(call.shown()),
        _ => None,
    };
    effects.iter().filter_map(shown).collect()
}

/// A call about node_b that is meant for one operation.
fn only(function: &str, operation: i64) -> String {
    format!("begin; select steep_repl.{function}('node_b'); commit; -- rollback unless it was operation {operation}")
}

fn notice(model: &Model) -> &str {
    model.notice.as_ref().map_or("", |notice| notice.text.as_str())
}

#[test]
fn other_nodes_are_found_and_watched_through_the_first() {
    let mut model = loading(PLAIN);
    assert_eq!(model.nodes[0].standing(model.now), Standing::Connecting);
    let effects = update(&mut model, Message::Seen(FIRST, node_look("db1", uninitialized())));
    let conninfo = "host=node_a.example dbname=shop user=operator password=********";
    assert_eq!(effects, [Effect::Watch(NodeId(1), conninfo.into())]);
    let names: Vec<&str> = model.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node_a", "node_b"]);
    assert_eq!(update(&mut model, Message::Seen(FIRST, node_look("db1", uninitialized()))), []);

    // One moves, one comes, one goes.
    let mut reading = uninitialized();
    reading.nodes[0].conninfo = Some("host=elsewhere".into());
    reading.nodes.push(status("node_c", "UNINITIALIZED"));
    let effects = update(&mut model, Message::Seen(FIRST, node_look("db1", reading.clone())));
    assert_eq!(effects[0], Effect::Watch(NodeId(1), "host=elsewhere".into()));
    assert!(matches!(effects[1], Effect::Watch(NodeId(2), _)));
    assert_eq!(effects.len(), 2);
    reading.nodes.remove(0);
    assert_eq!(update(&mut model, Message::Seen(FIRST, node_look("db1", reading))), [Effect::Unwatch(NodeId(1))]);
    // A look that was on its way belongs to nobody.
    assert_eq!(update(&mut model, Message::Seen(NodeId(1), source_look("db0", &[]))), []);
}

#[test]
fn the_cursor_stays_on_its_node_when_others_come() {
    let mut model = on_node_b(uninitialized());
    let mut reading = uninitialized();
    reading.nodes.insert(0, status("a_new_one", "UNINITIALIZED"));
    update(&mut model, Message::Seen(FIRST, node_look("db1", reading)));
    assert_eq!(model.chosen().unwrap().name, "node_b");
}

#[test]
fn a_node_that_says_nothing_for_long_is_unreachable_and_gets_a_new_reader() {
    let mut model = on_node_b(copying());
    let at = |seconds| Message::Tick(now() + SignedDuration::from_secs(seconds));
    assert_eq!(update(&mut model, at(5)), []);
    assert!(matches!(model.node(FIRST).unwrap().standing(model.now), Standing::State(_)));
    update(&mut model, at(9));
    assert_eq!(model.node(FIRST).unwrap().standing(model.now), Standing::Unreachable);
    assert_eq!(model.node(FIRST).unwrap().unreachable_because(model.now).unwrap(), "no answer for 9s");
    let effects = update(&mut model, at(31));
    assert_eq!(effects, [Effect::Rewatch(NodeId(1)), Effect::Rewatch(FIRST)]);
    assert_eq!(update(&mut model, at(32)), [], "it gets as much time as the first one");
}

#[test]
fn a_clock_that_is_set_back_makes_no_node_unreachable() {
    let mut model = on_node_b(copying());
    let look_at = |at| {
        let mut look = node_look("db1", copying()).as_ref().clone();
        look.taken_at = at;
        Message::Seen(FIRST, Arc::new(look))
    };
    let back = now() - SignedDuration::from_secs(3_600);
    let is_there =
        |model: &Model| matches!(model.node(FIRST).map(|node| node.standing(model.now)), Some(Standing::State(_)));
    model.say(Gravity::Info, "done");
    let samples = model.node(FIRST).unwrap().history.len();
    update(&mut model, Message::Tick(back));
    assert_eq!(model.now, back);
    update(&mut model, look_at(back + SignedDuration::from_secs(1)));
    assert!(is_there(&model));
    assert_eq!(model.node(FIRST).unwrap().history.len(), samples + 1);
    // From there on it is missed as soon as ever.
    update(&mut model, Message::Tick(back + SignedDuration::from_secs(10)));
    assert!(!is_there(&model) && model.notice.is_none());
}

/// The name of a node may stand for another database before it is confirmed what is to be done to it.
#[test]
fn what_was_meant_for_a_node_is_not_done_to_another_one() {
    let mut first = synchronized();
    first.nodes.push(status("node_c", "FAILED"));
    for keys in ["r", "C", "R\n"] {
        let mut model = pair(PLAIN, first.clone());
        let id = model.node_named("node_c").unwrap().id;
        let mut reading = failed();
        reading.nodes[1].node = "node_c".into();
        update(&mut model, Message::Seen(id, node_look("db3", reading)));
        let asked = type_in(&mut model, &format!("G{keys}"));
        assert!(model.dialog.is_some());
        let mut moved = first.clone();
        moved.nodes[2].conninfo = Some("host=elsewhere".into());
        let effects = update(&mut model, Message::Seen(FIRST, node_look("db1", moved)));
        assert!(model.dialog.is_none() && notice(&model).contains("no longer where it was"), "{keys}");
        assert_eq!(effects.iter().any(|effect| matches!(effect, Effect::Abandon(_))), !calls(&asked).is_empty());
        assert!(calls(&type_in(&mut model, "node_c\n")).is_empty());
    }
}

#[test]
fn lag_is_what_the_slot_on_the_source_says() {
    let model = on_node_b(synchronized());
    assert_eq!(model.lag(model.chosen().unwrap()), Some(56_320));
    let mut reading = copying();
    reading.subscriptions.clear();
    reading.progress.as_mut().unwrap().lag_bytes = Some(7);
    let model = on_node_b(reading);
    assert_eq!(model.lag(model.chosen().unwrap()), Some(7));
}

#[test]
fn an_initialization_goes_through_form_and_preview() {
    let mut model = on_node_b(uninitialized());
    assert_eq!(type_in(&mut model, "I"), []);
    // method, schema_sync, parallel_workers, no_identity, publication, force
    let effects = type_in(&mut model, "\t→\ta\t8\ti\tmy_pub\n");
    let preflight =
        "select * from steep_repl.preflight('node_b', 'node_a', method => 'parallel', schema_sync => 'auto', \
                     no_identity => 'insert_only', publication => 'my_pub');";
    assert_eq!(calls(&effects), [preflight]);
    assert_eq!(type_in(&mut model, "\n"), [], "not before the check has answered");
    assert_eq!(notice(&model), "wait for the check");
    answer(&mut model, &effects, Answer::Findings(Vec::new()));
    let effects = type_in(&mut model, "\n");
    let init = "select steep_repl.init_node('node_b', 'node_a', method => 'parallel', schema_sync => 'auto', parallel_workers => 8, \
                no_identity => 'insert_only', publication => 'my_pub');";
    assert_eq!(calls(&effects), [init]);
    assert_eq!(type_in(&mut model, "\n"), [], "once only");
    let effects = answer(&mut model, &effects, Answer::Done { value: "3".into(), warnings: Vec::new() });
    assert_eq!(model.page().view, View::Operation(FIRST));
    assert_eq!(effects, [Effect::Focus(Some(FIRST)), Effect::LookNow(FIRST)]);
    assert_eq!(notice(&model), "initialize node_b from node_a: operation 3");
    assert_eq!(model.statements.len(), 2);
}

#[test]
fn rows_are_deleted_only_when_the_name_was_typed() {
    let mut model = on_node_b(uninitialized());
    let effects = type_in(&mut model, "I\t\t\t\t\t\t→\n");
    answer(&mut model, &effects, Answer::Findings(Vec::new()));
    assert_eq!(type_in(&mut model, "\n"), []);
    assert_eq!(type_in(&mut model, "y\n"), []);
    assert_eq!(notice(&model), "type the name of the node first");
    update(&mut model, key(KeyCode::Backspace));
    let effects = type_in(&mut model, "node_b\n");
    assert_eq!(calls(&effects), ["select steep_repl.init_node('node_b', 'node_a', force => true);"]);
}

#[test]
fn what_preflight_refuses_is_not_begun() {
    let mut model = on_node_b(uninitialized());
    let effects = type_in(&mut model, "I\n");
    let finding = Finding { check_name: "source".into(), status: "error".into(), ..Finding::default() };
    answer(&mut model, &effects, Answer::Findings(vec![finding]));
    assert_eq!(type_in(&mut model, "\n"), []);
    // Back to the form, with what was filled in.
    type_in(&mut model, "\x1b");
    assert!(matches!(&model.dialog, Some(Dialog::Form(form)) if form.value("source") == "node_a"));
    // A server without preflight does not stop anybody.
    let effects = type_in(&mut model, "\n");
    let missing = Trouble { sqlstate: Some("42883".into()), ..Trouble::default() };
    answer(&mut model, &effects, Answer::Failed(missing));
    assert_eq!(calls(&type_in(&mut model, "\n")).len(), 1);
}

#[test]
fn wrong_numbers_of_workers_stay_in_the_form() {
    let mut model = on_node_b(uninitialized());
    assert_eq!(type_in(&mut model, "I\t\t\tx99\n"), []);
    assert!(
        matches!(&model.dialog, Some(Dialog::Form(form)) if form.wrong.is_some() && form.value("parallel_workers") == "99")
    );
}

#[test]
fn a_field_is_changed_where_the_cursor_is() {
    let mut model = on_node_b(synchronized());
    type_in(&mut model, "Rorders,refunds");
    let value = |model: &Model| match &model.dialog {
        Some(Dialog::Form(form)) => form.value("tables").to_owned(),
        _ => String::new(),
    };
    for code in [KeyCode::Home, KeyCode::Delete, KeyCode::Char('b'), KeyCode::Right, KeyCode::Right] {
        update(&mut model, key(code));
    }
    assert_eq!(value(&model), "brders,refunds");
    for code in [KeyCode::Left, KeyCode::Char('o'), KeyCode::End, KeyCode::Backspace] {
        update(&mut model, key(code));
    }
    assert_eq!(value(&model), "broders,refund");
    // Another field, and back: the cursor is where it was.
    type_in(&mut model, "\t");
    update(&mut model, key(KeyCode::Up));
    type_in(&mut model, "s");
    assert_eq!(value(&model), "broders,refunds");
    // So are the line after a colon and the name that is typed.
    let mut model = on_node_b(copying());
    type_in(&mut model, ":vents");
    update(&mut model, key(KeyCode::Home));
    type_in(&mut model, "e\n");
    assert_eq!(model.page().view, View::Events);
    let mut model = on_node_b(copying());
    type_in(&mut model, "Code_b");
    update(&mut model, key(KeyCode::Home));
    assert_eq!(calls(&type_in(&mut model, "n\n")).len(), 1);
}

#[test]
fn what_is_pasted_is_text_and_never_keys() {
    let paste = |model: &mut Model, text: &str| update(model, Message::Paste(text.into()));
    let mut model = on_node_b(failed());
    assert_eq!(paste(&mut model, "ry\n:quit\nq"), []);
    assert!(model.dialog.is_none() && model.pages.len() == 1);
    type_in(&mut model, "r");
    assert_eq!(paste(&mut model, "y\ny"), []);
    type_in(&mut model, "\x1bR");
    paste(&mut model, "orders,\nrefunds\n");
    assert!(matches!(&model.dialog, Some(Dialog::Form(form)) if form.value("tables") == "orders, refunds"));
    // A field of which one of several is chosen.
    type_in(&mut model, "\t");
    paste(&mut model, "full");
    assert!(matches!(&model.dialog, Some(Dialog::Form(form)) if form.value("no_identity") == "as before"));
    type_in(&mut model, "\x1bC");
    paste(&mut model, "node_b\n");
    assert_eq!(calls(&type_in(&mut model, "\n")), [only("cancel_init", 7)]);
}

#[test]
fn a_long_line_shows_where_it_is_typed() {
    let mut model = on_node_b(synchronized());
    type_in(&mut model, &format!("R{}end", "x".repeat(90)));
    assert!(screen(&mut model, 60, 15).contains("xend▏") || screen(&mut model, 60, 15).contains("xend_"));
    update(&mut model, key(KeyCode::Home));
    let text = screen(&mut model, 60, 15);
    assert!(!text.contains("end") && text.contains("tables        xxx"), "{text}");
}

/// A name of 63 bytes is as long as the line.
#[test]
fn a_long_name_is_seen_while_it_is_typed() {
    let name = "n".repeat(60) + "end";
    let mut reading = copying();
    reading.nodes[1].node = name.clone();
    let mut model = pair(PLAIN, reading);
    type_in(&mut model, &format!("gC{name}"));
    let text = screen(&mut model, 60, 15);
    assert!(text.contains("nnend_"), "{text}");
    assert_eq!(calls(&type_in(&mut model, "\n")).len(), 1);
}

#[test]
fn pages_of_text_are_scrolled_no_further_than_they_go() {
    for keys in ["?", "jd"] {
        let mut model = on_node_b(failed());
        update(&mut model, Message::Resize(60, 15));
        type_in(&mut model, keys);
        let top = screen(&mut model, 60, 15);
        type_in(&mut model, "G");
        let bottom = screen(&mut model, 60, 15);
        assert!(bottom != top && !bottom.contains("more, j scrolls"), "{bottom}");
        type_in(&mut model, "jjjk");
        assert!(screen(&mut model, 60, 15).contains("1 more, j scrolls"));
        type_in(&mut model, "g");
        assert_eq!(screen(&mut model, 60, 15), top);
    }
}

#[test]
fn details_belong_to_the_page_they_were_opened_on() {
    let mut model = on_node_b(failed());
    for keys in ["d", "\nd", "\n\n", "e\n", "ed", "@\n"] {
        type_in(&mut model, ":nodes\n");
        type_in(&mut model, keys);
        assert!(matches!(model.page().view, View::Details(_)), "{keys}");
        let below = model.pages[model.pages.len() - 2].view.clone();
        type_in(&mut model, "\x1b");
        assert_eq!(model.page().view, below, "{keys}");
    }
    // From there to another page: one comes back to where it was opened.
    type_in(&mut model, ":nodes\n");
    type_in(&mut model, "ede");
    assert_eq!(model.page().view, View::Events);
    type_in(&mut model, "d?\x1b");
    assert_eq!(model.page().view, View::Events);
    // An event stays the one it was when others come.
    type_in(&mut model, "gd");
    let View::Details(about) = model.page().view.clone() else { panic!("no details") };
    update(&mut model, Message::Seen(FIRST, node_look("db1", copying())));
    assert_eq!(model.page().view, View::Details(about));
}

/// A filter may hide the node one looks at; what is typed on another page is not meant for its neighbour.
#[test]
fn a_command_is_about_the_node_one_came_through() {
    let mut model = zoo(PLAIN);
    type_in(&mut model, "/COPYING\n\ne");
    let id = model.node_named("cairo").unwrap().id;
    let mut reading = failed();
    reading.nodes[1].node = "cairo".into();
    update(&mut model, Message::Seen(id, node_look("cairo", reading)));
    assert!(model.nodes_shown().is_empty());
    let resume = |model: &mut Model| {
        type_in(model, ":resume\n");
        matches!(&model.dialog, Some(Dialog::Preview(preview)) if preview.node == id)
    };
    assert!(resume(&mut model), "{}", notice(&model));
}

#[test]
fn a_filter_works_wherever_it_can_be_typed() {
    let mut model = on_node_b(synchronized());
    let effects = type_in(&mut model, "s\n");
    let row = Compared { name: "public.b".into(), status: "MISMATCH".into(), difference: None };
    answer(&mut model, &effects, Answer::Compared(vec![row]));
    let effects = type_in(&mut model, "\n");
    let row = |name: &str| Difference { object_name: name.into(), ..Difference::default() };
    answer(&mut model, &effects, Answer::Differences(vec![row("total"), row("note")]));
    type_in(&mut model, "/not\n");
    let text = screen(&mut model, 80, 24);
    assert!(text.contains("note") && !text.contains("total"), "{text}");
    type_in(&mut model, "?/confirm\n");
    let text = screen(&mut model, 80, 24);
    assert!(text.contains("confirm what waits") && !text.contains("this page"), "{text}");
    // Where there is nothing to filter the key does nothing.
    type_in(&mut model, "S/");
    assert!(model.prompt.is_none());
}

#[test]
fn scrolling_ends_where_the_text_does() {
    let mut model = on_node_b(uninitialized());
    update(&mut model, Message::Resize(60, 15));
    let effects = type_in(&mut model, "I\n");
    answer(&mut model, &effects, Answer::Findings(Vec::new()));
    let top = screen(&mut model, 60, 15);
    for _ in 0..50 {
        update(&mut model, key(KeyCode::Down));
    }
    let bottom = screen(&mut model, 60, 15);
    assert!(bottom != top && bottom.contains("nothing speaks against it") && !bottom.contains("more, down scrolls"));
    update(&mut model, key(KeyCode::Up));
    assert!(screen(&mut model, 60, 15).contains("1 more, down scrolls"));
}

#[test]
fn what_fails_is_said_where_it_was_asked_for() {
    let mut model = on_node_b(uninitialized());
    let effects = type_in(&mut model, "I\n");
    answer(&mut model, &effects, Answer::Findings(Vec::new()));
    let effects = type_in(&mut model, "\n");
    let trouble = Trouble { message: "no free replication slot".into(), ..Trouble::default() };
    answer(&mut model, &effects, Answer::Failed(trouble));
    assert!(screen(&mut model, 80, 24).contains("error: no free replication slot"));
    assert_eq!(type_in(&mut model, "\x1b"), []);
    assert!(matches!(&model.dialog, Some(Dialog::Form(_))));
}

#[test]
fn a_cancellation_wants_the_name() {
    let mut model = on_node_b(copying());
    assert_eq!(type_in(&mut model, "C\n"), []);
    assert_eq!(type_in(&mut model, "node_a\n"), []);
    for _ in 0..6 {
        update(&mut model, key(KeyCode::Backspace));
    }
    let effects = type_in(&mut model, "node_b\n");
    assert_eq!(calls(&effects), [only("cancel_init", 7)]);
    answer(&mut model, &effects, Answer::Done { value: String::new(), warnings: Vec::new() });
    assert_eq!(notice(&model), "cancel operation 7 on node_b: done");
    // Where there is nothing to cancel it says so.
    let mut model = on_node_b(synchronized());
    type_in(&mut model, "C");
    assert!(model.dialog.is_none());
    assert_eq!(notice(&model), "nothing to cancel: no operation is under way on node_b");
}

#[test]
fn what_is_confirmed_is_meant_for_the_operation_that_was_shown() {
    for (reading, keys, function) in [(copying(), "C", "cancel_init"), (failed(), "r", "resume_init")] {
        let mut model = on_node_b(reading.clone());
        type_in(&mut model, keys);
        let mut newer = reading;
        newer.nodes[1].operation_id = Some(8);
        newer.progress.as_mut().unwrap().operation_id = 8;
        update(&mut model, Message::Seen(FIRST, node_look("db1", newer)));
        let typed = if keys == "C" { "node_b\n" } else { "\n" };
        assert_eq!(calls(&type_in(&mut model, typed)), [only(function, 7)]);
    }
}

#[test]
fn resuming_and_confirming_are_one_key() {
    let mut model = on_node_b(failed());
    type_in(&mut model, "r");
    assert_eq!(calls(&type_in(&mut model, "y")), [only("resume_init", 7)]);
    let mut waiting = copying();
    waiting.progress.as_mut().unwrap().phase = "schema".into();
    let mut model = on_node_b(waiting);
    type_in(&mut model, "\nr");
    assert_eq!(calls(&type_in(&mut model, "\n")), [only("confirm_init", 7)]);
    let mut model = on_node_b(copying());
    type_in(&mut model, "r");
    assert_eq!(notice(&model), "nothing to resume: operation 7 on node_b has not failed");
}

#[test]
fn new_tables_are_brought_in() {
    let mut model = on_node_b(synchronized());
    let effects = type_in(&mut model, "Rrefunds, sales.\"Odd Name\"\n");
    assert_eq!(calls(&effects), ["select * from steep_repl.tables_not_subscribed('node_b');"]);
    answer(&mut model, &effects, Answer::Tables(vec!["public.refunds".into()]));
    assert!(screen(&mut model, 80, 24).contains("this server does not offer it"));
    let effects = type_in(&mut model, "\n");
    let call = "select steep_repl.refresh_tables('node_b', tables => array['refunds', 'sales.\"Odd Name\"']);";
    assert_eq!(calls(&effects), [call]);
    let done = Answer::Done { value: String::new(), warnings: vec!["1 table has no key".into()] };
    answer(&mut model, &effects, done);
    assert_eq!(notice(&model), "there are no tables to bring in; 1 table has no key");
}

#[test]
fn nothing_is_done_to_what_cannot_do_it() {
    let mut model = pair(PLAIN, uninitialized());
    type_in(&mut model, "gI");
    assert_eq!(notice(&model), "node_a is a source: it has no extension that could do it");
    let mut model = loading(PLAIN);
    type_in(&mut model, "I");
    assert_eq!(notice(&model), "db1.example:5432/shop has not answered yet");
    update(&mut model, Message::Seen(FIRST, no_look("db1", "gone")));
    type_in(&mut model, "C");
    assert_eq!(notice(&model), "db1.example:5432/shop cannot be reached");
}

#[test]
fn read_only_refuses_every_change() {
    let keys = BINDINGS.iter().filter(|binding| binding.changes).map(|binding| binding.shown.to_owned());
    let commands = COMMANDS.iter().filter(|(.., changes)| *changes).map(|(name, ..)| format!(":{name} node_b\n"));
    let all: Vec<String> = keys.chain(commands).collect();
    assert_eq!(all.len(), 10);
    for text in all {
        for reading in [uninitialized(), copying(), failed(), synchronized()] {
            let mut model = on_node_b(reading);
            model.read_only = true;
            let effects = type_in(&mut model, &text);
            assert!(calls(&effects).is_empty() && model.dialog.is_none(), "{text}");
            assert_eq!(notice(&model), "started with --read-only: nothing can be changed", "{text}");
            assert!(!screen(&mut model, 200, 24).contains("C cancel"));
        }
    }
    // Even if a dialog were there.
    let mut model = on_node_b(failed());
    type_in(&mut model, "r");
    model.read_only = true;
    assert_eq!(calls(&type_in(&mut model, "\n")).len(), 0);
}

#[test]
fn a_comparison_can_be_stopped_and_its_late_answer_is_dropped() {
    let mut model = on_node_b(synchronized());
    let effects = type_in(&mut model, "s\n");
    assert_eq!(calls(&effects), ["select * from steep_repl.compare_schemas('node_a', 'node_b');"]);
    let stopped = type_in(&mut model, "\x1b");
    assert_eq!(stopped, [Effect::Abandon(ticket(&effects))]);
    answer(&mut model, &effects, Answer::Compared(Vec::new()));
    assert!(matches!(&model.page().view, View::Schema(comparison) if comparison.rows == Asked::GivenUp));
    // Again, and away from it altogether.
    let effects = type_in(&mut model, "r");
    assert_eq!(calls(&effects).len(), 1);
    let left = type_in(&mut model, ":nodes\n");
    assert!(left.contains(&Effect::Abandon(ticket(&effects))));
    assert_eq!(model.pages.len(), 1);
}

#[test]
fn a_table_is_compared_and_one_comes_back_to_the_list() {
    let mut model = on_node_b(synchronized());
    let effects = type_in(&mut model, "s\n");
    let row = |name: &str, status: &str| Compared { name: name.into(), status: status.into(), difference: None };
    let rows = vec![row("public.a", "MATCH"), row("public.b", "MISMATCH")];
    answer(&mut model, &effects, Answer::Compared(rows));
    let effects = type_in(&mut model, "\n");
    assert_eq!(calls(&effects), ["select * from steep_repl.schema_diff('node_a', 'node_b', 'public.b');"]);
    answer(&mut model, &effects, Answer::Differences(Vec::new()));
    type_in(&mut model, "\x1b");
    assert!(matches!(&model.page().view, View::Schema(comparison) if matches!(comparison.rows, Asked::Here(_))));
}

#[test]
fn the_same_node_twice_is_no_comparison() {
    let mut model = on_node_b(synchronized());
    assert_eq!(type_in(&mut model, "s\t→\n"), []);
    assert!(matches!(&model.dialog, Some(Dialog::Form(form)) if form.wrong.is_some()));
}

#[test]
fn commands_know_short_forms_and_the_nearest_name() {
    let mut model = on_node_b(synchronized());
    assert_eq!(type_in(&mut model, ":q\n"), [Effect::Quit]);
    type_in(&mut model, ":evnts\n");
    assert_eq!(notice(&model), "there is no command :evnts; did you mean :events?");
    type_in(&mut model, ":xyzzy\n");
    assert_eq!(notice(&model), "there is no command :xyzzy");
    type_in(&mut model, ":quit node_b\n");
    assert_eq!(notice(&model), ":quit takes no name");
    type_in(&mut model, ":node node_c\n");
    assert!(notice(&model).starts_with("there is no node node_c; did you mean node_"));
    let effects = type_in(&mut model, ":schema node_b node_a\n");
    assert_eq!(calls(&effects), ["select * from steep_repl.compare_schemas('node_b', 'node_a');"]);
    type_in(&mut model, ":events failed\n");
    assert_eq!((model.page().filter.as_str(), &model.page().view), ("failed", &View::Events));
    type_in(&mut model, ":node node_a\n");
    assert_eq!(model.page().view, View::Operation(NodeId(1)));
}

#[test]
fn a_filter_works_while_it_is_typed_and_esc_takes_it_back() {
    let mut model = zoo(PLAIN);
    type_in(&mut model, "/FAI");
    assert_eq!(model.nodes_shown().len(), 1);
    type_in(&mut model, "\x1b");
    assert_eq!(model.nodes_shown().len(), 11);
    type_in(&mut model, "gjj/FAI\x1b");
    assert_eq!(model.page().cursor, 2, "the cursor is where it was");
    type_in(&mut model, "/nowhere\n");
    assert_eq!(model.chosen().map(|node| node.name.clone()), None);
    type_in(&mut model, "IC\n");
    type_in(&mut model, "\x1b");
    assert_eq!(model.nodes_shown().len(), 11);
}

#[test]
fn of_many_events_the_newest_are_shown_in_order() {
    let event = |n: i64| {
        let sample = events()[0].as_ref().clone();
        Arc::new(Event { id: n, at: ago(n * 37 % 4_001), ..sample })
    };
    let model = pair(PLAIN, Reading { events: (1..=4_000).map(event).collect(), ..copying() });
    let shown = events_shown(&model);
    assert_eq!(shown.len(), 3_000);
    assert!(shown.is_sorted_by_key(|(_, event)| (event.at, event.id)));
    assert_eq!((shown[0].1.at, shown[2_999].1.at), (ago(3_000), ago(1)));
}

#[test]
fn events_follow_until_one_looks_further_up() {
    let mut model = on_node_b(copying());
    type_in(&mut model, "e");
    assert!(model.page().follow);
    type_in(&mut model, "k");
    assert!(!model.page().follow);
    assert_eq!(model.page().cursor, 6);
    type_in(&mut model, "G");
    assert!(model.page().follow);
}

#[test]
fn esc_goes_back_and_q_and_signals_end() {
    let mut model = on_node_b(copying());
    assert_eq!(type_in(&mut model, "\n"), [Effect::Focus(Some(FIRST))]);
    type_in(&mut model, "e");
    assert_eq!(model.pages.len(), 3);
    assert_eq!(type_in(&mut model, "\x1b"), [Effect::Focus(Some(FIRST))]);
    assert_eq!(type_in(&mut model, "\x1b"), [Effect::Focus(None)]);
    assert_eq!(type_in(&mut model, "\x1b"), []);
    assert_eq!(notice(&model), "q quits");
    assert_eq!(type_in(&mut model, "q"), [Effect::Quit]);
    assert_eq!(update(&mut model, Message::Terminate), [Effect::Quit]);
    // Also while something is typed.
    type_in(&mut model, ":q");
    let control_c = Message::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert_eq!(update(&mut model, control_c), [Effect::Quit]);
}

#[test]
fn a_notice_goes_away_by_itself() {
    let mut model = loading(PLAIN);
    model.say(Gravity::Info, "done");
    update(&mut model, Message::Tick(now() + SignedDuration::from_secs(7)));
    assert!(model.notice.is_some());
    update(&mut model, Message::Tick(now() + SignedDuration::from_secs(8)));
    assert!(model.notice.is_none());
}

#[test]
fn throughput_is_sampled_once_a_second_and_begins_anew_with_the_operation() {
    let mut model = on_node_b(copying());
    for tenth in 0..50 {
        let mut look = node_look("db1", copying()).as_ref().clone();
        look.taken_at = now() + SignedDuration::from_millis(tenth * 100);
        update(&mut model, Message::Seen(FIRST, Arc::new(look)));
    }
    assert!((5..=6).contains(&model.node(FIRST).unwrap().history.len()));
    let mut reading = copying();
    reading.progress.as_mut().unwrap().operation_id = 8;
    update(&mut model, Message::Seen(FIRST, node_look("db1", reading)));
    assert_eq!(model.node(FIRST).unwrap().history.len(), 1);
}

#[test]
fn many_nodes_and_tables_are_drawn_quickly() {
    let mut first = synchronized();
    first.nodes = vec![NodeStatus { is_local: true, ..status("node_000", "SYNCHRONIZED") }];
    first.nodes.extend((1..200).map(|n| status(&format!("node_{n:03}"), "UNINITIALIZED")));
    let mut model = loading(RICH);
    update(&mut model, Message::Seen(FIRST, node_look("db0", first)));
    assert_eq!(model.nodes.len(), 200);
    for id in 1..200 {
        let mut reading = copying();
        reading.nodes[1].node = format!("node_{id:03}");
        update(&mut model, Message::Seen(NodeId(id), node_look("db", reading)));
    }
    let began = std::time::Instant::now();
    for step in 0..20 {
        update(&mut model, Message::Tick(now() + SignedDuration::from_millis(step)));
        type_in(&mut model, "j");
        screen(&mut model, 120, 40);
    }
    type_in(&mut model, "e");
    screen(&mut model, 120, 40);
    // A generous limit: without optimization, on a machine that has other things to do.
    assert!(began.elapsed().as_millis() < 4_000, "{:?}", began.elapsed());
}

/// Answers of all kinds, right or wrong for the call.
fn some_answer(kind: u8) -> Answer {
    let trouble = Trouble { message: "x\u{1b}[2J".repeat(40), detail: Some("d\nd".into()), ..Trouble::default() };
    match kind % 6 {
        0 => Answer::Done { value: "3".into(), warnings: vec!["careful".into()] },
        1 => Answer::Findings(vec![Finding {
            status: "error".into(),
            message: Some("m".repeat(300)),
            ..Finding::default()
        }]),
        2 => Answer::Tables(vec!["a.b".into(); 80]),
        3 => Answer::Compared(vec![
            Compared {
                name: "t".repeat(90),
                status: "MISMATCH".into(),
                difference: Some("a; b".into())
            };
            70
        ]),
        4 => Answer::Differences(vec![
            Difference {
                ddl: Some("alter\n".repeat(60)),
                definition_a: Some("y".repeat(400)),
                ..Difference::default()
            };
            30
        ]),
        _ => Answer::Failed(trouble),
    }
}

fn some_key(n: u8) -> KeyCode {
    const KEYS: &[KeyCode] = &[
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::BackTab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Left,
        KeyCode::Right,
        KeyCode::PageUp,
        KeyCode::PageDown,
        KeyCode::Home,
        KeyCode::End,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::F(5),
    ];
    let letters = ":/@?jkgGdsSeIRCrfqny 1äœ日";
    let n = usize::from(n) % (KEYS.len() + letters.chars().count());
    KEYS.get(n).copied().unwrap_or_else(|| KeyCode::Char(letters.chars().nth(n - KEYS.len()).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var("STEEP_REPL_TEST_ALL").is_ok() { 3_000 } else { 60 }))]

    /// Whatever is typed, whatever comes, however large the terminal is.
    #[test]
    fn nothing_makes_it_panic(
        world in 0..7_u8, unicode: bool, read_only: bool,
        steps in prop::collection::vec((any::<u8>(), any::<u8>(), 1_u16..140, 1_u16..50), 1..60),
    ) {
        let look = if unicode { RICH } else { PLAIN };
        let mut model = match world {
            0 => loading(look),
            1 => zoo(look),
            2 => pair(look, copying()),
            3 => pair(look, failed()),
            4 => pair(look, synchronized()),
            5 => pair(look, Reading::default()),
            _ => pair(look, uninitialized()),
        };
        model.read_only = read_only;
        let mut asked: Vec<Effect> = Vec::new();
        for (n, (what, kind, columns, rows)) in steps.into_iter().enumerate() {
            let effects = match what {
                0..8 => update(&mut model, Message::Tick(now() + SignedDuration::from_secs(n as i64 * 7))),
                8..16 => update(&mut model, Message::Seen(FIRST, no_look("x", "gone\u{7}"))),
                16..24 => update(&mut model, Message::Seen(FIRST, node_look("x", if kind % 2 == 0 { failed() } else { Reading::default() }))),
                24..28 => update(&mut model, Message::Seen(NodeId(1), node_look("y", copying()))),
                62 => update(&mut model, Message::Paste("a\u{1b}\nb".repeat(usize::from(kind)))),
                28..60 if !asked.is_empty() => {
                    let call = asked.remove(0);
                    answer(&mut model, &[call], some_answer(kind))
                }
                _ => update(&mut model, key(some_key(kind))),
            };
            prop_assert!(!read_only || effects.iter().all(|effect| !changes(effect)));
            asked.extend(effects.into_iter().filter(|effect| matches!(effect, Effect::Run(..))));
            prop_assert!(!model.pages.is_empty());
            let text = screen(&mut model, columns, rows);
            prop_assert!(!text.contains(['\x1b', '\x07']), "{}", text);
            prop_assert!(unicode || text.chars().all(|c| c.is_ascii() || "äœ日".contains(c)), "{}", text);
        }
    }
}

/// Whether an effect changes something in a server.
fn changes(effect: &Effect) -> bool {
    const READS: [&str; 4] = ["preflight", "tables_not_subscribed", "compare_schemas", "schema_diff"];
    matches!(effect, Effect::Run(_, _, Call { function, .. }) if !READS.contains(function))
}
