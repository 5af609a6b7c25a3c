//! Somebody lays hands on the operation's own subscription: it ends equal, or FAILED with what was done and the way out.

use std::time::Duration;

use steep_repl_testkit::{describe, wait_until, Pair};

use crate::midway;
use crate::refusal::Refusal;

fn copying(label: &str) -> (Pair, String) {
    let pair = midway::prepared(Pair::options(label));
    midway::start(&pair);
    let name = midway::subscription(&pair);
    (pair, name)
}

fn failed(pair: &Pair, code: &str, words: &[&str]) -> Refusal {
    let refusal = Refusal::of(&midway::until_failed(pair)).names(words);
    assert_eq!(refusal.code, code, "{refusal:?}");
    refusal
}

/// Resuming cannot help, and is not proposed; a cancel takes away what is left, and then it works.
fn cancel_alone_helps(pair: &Pair, refusal: &Refusal) {
    assert!(refusal.text.contains("cancel_init") && !refusal.text.contains("resume_init"), "{refusal:?}");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    midway::expect_begun_anew(pair);
}

/// The statement waits for the origin, which the copy uses, and so it comes through at the worst moment.
#[test]
fn it_is_dropped_during_the_copy() {
    let (pair, name) = copying("sub_drop");
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| {
            let mut client = pair.target.connect();
            client.batch_execute(&format!("alter subscription {name} set (slot_name = none)"))?;
            client.batch_execute(&format!("drop subscription {name}"))
        });
        wait_until("it is being dropped", Duration::from_secs(20), || {
            let there = "select count(*) from pg_stat_activity where query like 'drop subscription steep%'";
            (dropping.is_finished() || pair.target.scalar::<i64>(there) > 0).then_some(())
        });
        pair.proxy().throttle(0);
        let refusal = failed(&pair, "55000", &[&name, "is gone"]);
        dropping.join().unwrap().unwrap_or_else(|error| panic!("{}", describe(&error)));
        cancel_alone_helps(&pair, &refusal);
    });
}

/// Nothing is lost in silence when it would follow another publication, or another slot.
#[test]
fn it_follows_something_else() {
    for (change, back) in [
        ("set publication elsewhere with (refresh = false)", "set publication {name} with (refresh = false)"),
        ("add publication elsewhere with (refresh = false)", "drop publication elsewhere with (refresh = false)"),
        ("set (slot_name = elsewhere)", "set (slot_name = {name})"),
        ("set (slot_name = none)", "set (slot_name = {name})"),
    ] {
        let (pair, name) = copying("sub_change");
        pair.target.exec_each(&[&format!("alter subscription {name} {change}")]);
        pair.source.exec("update small set v = 77 where id = 5");
        pair.proxy().throttle(0);
        failed(&pair, "55000", &[&name, "was changed", "resume_init"]);
        let back = back.replace("{name}", &name);
        pair.target
            .exec_each(&[&format!("alter subscription {name} {back}"), "select steep_repl.resume_init('node_b')"]);
        midway::expect_end(&pair);
    }
}

/// Its apply worker cannot have the origin, and must not have the tables.
#[test]
fn it_is_enabled_during_the_copy() {
    let (pair, name) = copying("sub_enable");
    pair.target.exec_each(&[&format!("alter subscription {name} enable")]);
    wait_until("an apply worker has tried", Duration::from_secs(30), || {
        let started = format!("apply worker for subscription \"{name}\" has started");
        pair.target.cluster().log_contains(&started).then_some(())
    });
    pair.source.exec("update large set v = 77 where id = 14000; delete from large where id = 14001");
    assert_eq!(pair.state(), "COPYING", "it came too late to disturb");
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    midway::expect_replicates_after_errors(&pair);
}

#[test]
fn it_is_dropped_during_the_catch_up() {
    let (pair, name, mut holder) = midway::catching_up("sub_late");
    pair.target.exec_each(&[
        &format!("alter subscription {name} disable"),
        &format!("alter subscription {name} set (slot_name = none)"),
        &format!("drop subscription {name}"),
    ]);
    let refusal = failed(&pair, "55000", &[&name, "is gone"]);
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    cancel_alone_helps(&pair, &refusal);
}

/// Until it is enabled again the node is not synchronized, and says what it lacks.
#[test]
fn it_is_disabled_during_the_catch_up() {
    let (pair, name, mut holder) = midway::catching_up("sub_off");
    pair.target.exec_each(&[&format!("alter subscription {name} disable")]);
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    let refusal = crate::refusal::Refusal::of(&pair.wait(Duration::from_secs(3)).unwrap_err());
    assert_eq!((refusal.code.as_str(), pair.state().as_str()), ("57014", "CATCHING_UP"), "{refusal:?}");
    pair.target.exec_each(&[&format!("alter subscription {name} enable")]);
    midway::expect_end(&pair);
}
