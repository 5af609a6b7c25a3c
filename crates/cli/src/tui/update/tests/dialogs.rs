//! Forms, and what is to be confirmed.

use ratatui::crossterm::event::KeyCode;

use super::*;
use crate::tui::keys::{BINDINGS, COMMANDS};
use crate::tui::message::{Answer, Message, Trouble};
use crate::tui::model::dialog::Dialog;
use crate::tui::model::page::View;
use crate::tui::update::update;

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
fn names_of_tables_are_read_as_on_the_command_line() {
    let mut model = on_node_b(synchronized());
    let effects = type_in(&mut model, "Rsales.\"Odd, too\", \"a,b\"\n");
    answer(&mut model, &effects, Answer::Tables(Vec::new()));
    let call = "select steep_repl.refresh_tables('node_b', tables => array['sales.\"Odd, too\"', '\"a,b\"']);";
    assert_eq!(calls(&type_in(&mut model, "\n")), [call]);
    for wrong in ["a,,b", "\"a", ","] {
        let mut model = on_node_b(synchronized());
        assert_eq!(type_in(&mut model, &format!("R{wrong}\n")), [], "{wrong}");
        assert!(matches!(&model.dialog, Some(Dialog::Form(form)) if form.wrong.is_some()));
    }
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
fn the_same_node_twice_is_no_comparison() {
    let mut model = on_node_b(synchronized());
    assert_eq!(type_in(&mut model, "s\t→\n"), []);
    assert!(matches!(&model.dialog, Some(Dialog::Form(form)) if form.wrong.is_some()));
}
