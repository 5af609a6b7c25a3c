//! What readers have seen, and what they have not.

use std::sync::Arc;

use jiff::SignedDuration;

use super::*;
use crate::tui::message::Message;
use crate::tui::model::node::Standing;
use crate::tui::model::Gravity;
use crate::tui::update::update;

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
