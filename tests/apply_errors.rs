//! The apply worker fails while the node catches up: it is told how often, by what kind of conflict, and which lines of the log
//! have the cause; it goes on when the cause is mended, and stops when it is not.

use std::time::Duration;

use steep_repl_testkit::{major, wait_until, Pair};

use crate::midway;
use crate::refusal::Refusal;

/// Catching up, with a row here that the source is about to bring.
fn colliding(label: &str) -> Pair {
    let (pair, _, mut holder) = midway::catching_up(label);
    pair.target.exec("insert into large values (20000, 0, 'somebody else''s')");
    pair.source.exec("insert into large values (20000, 1, 'the source''s')");
    holder.batch_execute("select pg_advisory_unlock(7)").unwrap();
    pair
}

#[test]
fn what_can_be_known_is_told_and_it_goes_on() {
    let pair = colliding("apply_once");
    let told = wait_until("the error is told", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        let sql = "select details ->> 'message', details ->> 'hint', details ->> 'sqlstate' from steep_repl.events
            where event = 'init.apply_error' and severity = 'warning'";
        pair.target.rows(sql).into_iter().next()
    });
    let oid = pair.target.scalar::<u32>("select subscription_oid from steep_repl.operations order by id desc limit 1");
    let origin = format!("replication origin \"pg_{oid}\"");
    for word in ["1 apply errors", "55000", "log of this server", &origin] {
        assert!(told.contains(word), "{word:?} is missing in: {told}");
    }
    assert!(major() < 18 || told.contains("insert_exists 1"), "{told}");
    assert!(pair.target.cluster().log_contains(&origin), "there is no such line in the log");
    pair.target.exec("delete from large where id = 20000");
    pair.expect_synchronized();
    midway::expect_replicates_after_errors(&pair);
}

#[test]
fn again_and_again_it_stops() {
    let pair = colliding("apply_often");
    pair.target.exec("update steep_repl.operations set options = options || '{\"max_retries\": 1}'");
    let refusal =
        Refusal::of(&midway::until_failed(&pair)).names(&["apply worker", "log of this server", "resume_init"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    assert!(major() < 18 || refusal.text.contains("insert_exists"), "{refusal:?}");
    pair.target.exec("delete from large where id = 20000; select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    midway::expect_replicates_after_errors(&pair);
}
