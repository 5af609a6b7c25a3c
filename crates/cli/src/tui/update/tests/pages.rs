//! Pages, the command line and filters.

use std::sync::Arc;

use jiff::SignedDuration;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::tui::message::{Answer, Message};
use crate::tui::model::dialog::Dialog;
use crate::tui::model::page::{events_shown, Asked, View};
use crate::tui::model::Gravity;
use crate::tui::update::update;

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
