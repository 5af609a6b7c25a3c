//! Snapshots that somebody has to do something about: their node is to go, they have failed, or they are in the way of others.

use std::time::Duration;

use steep_repl_testkit::{check, quote_literal, root, wait_until, ClusterOptions, Pair};

use crate::midway;
use crate::prepared::{slot_of, wait_for_status};
use crate::refusal::{refused_quickly, Refusal};
use crate::snapshots::{call, expect_gone, generate, wait_complete};
use crate::snapshots_faults::{begin, ARGS};

const MINUTE: Duration = Duration::from_secs(60);
const TABLE: &str = "create table t (id int primary key); insert into t select generate_series(1, 100)";

/// What was made of a node can be taken away only while it is known how to reach it.
#[test]
fn a_node_stays_while_something_of_it_is_kept() {
    let pair = Pair::new("left_node");
    let folder = root::folder("left_node");
    pair.source.exec(TABLE);
    pair.register();
    let slot = slot_of(&pair);
    pair.target.exec(&format!("select steep_repl.prepare_init('node_a', '{slot}')"));
    let id = generate(&pair, &folder, "");
    let (drop_slot, drop) = (format!("drop_init_slot('{slot}')"), format!("drop_snapshot('{id}')"));
    let unregister = "select steep_repl.unregister_node('node_a')";
    let refused = |words: &[&str]| {
        let refusal = refused_quickly(|| pair.target.try_exec(unregister)).names(words);
        assert_eq!(refusal.code, "55006", "{refusal:?}");
        refusal.text
    };
    refused(&["node_a", &drop_slot, &drop]);
    pair.target.exec(&format!("select steep_repl.{drop_slot}"));
    wait_for_status(&pair, &slot, "released");
    let text = refused(&["node_a", &drop]);
    assert!(!text.contains(&slot), "{text}");
    pair.target.exec(&format!("select steep_repl.{drop}"));
    expect_gone(&pair, &folder);
    pair.target.exec(unregister);
    check::assert_clean(&pair.source, &pair.target);
}

/// There is no node that could be resumed, or initialized again.
#[test]
fn one_that_has_failed_names_its_own_ways_out() {
    let pair = midway::prepared(Pair::options("left_hint"));
    let folder = root::folder("left_hint");
    let id = begin(&pair, &folder);
    let publication: String = pair.source.scalar("select quote_ident(pubname) from pg_publication");
    pair.source.exec(&format!("drop publication {publication}"));
    pair.proxy().throttle(0);
    let refusal = Refusal::of(&wait_complete(&pair.target, &id).expect_err("its publication is gone"))
        .names(&["publication", "drop_snapshot"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    assert!(!refusal.text.contains("_init(node)"), "{refusal:?}");
    let shown: String = pair.target.scalar("select hint from steep_repl.snapshots where status = 'failed'");
    assert!(shown.contains("drop_snapshot(id)"), "{shown}");
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    expect_gone(&pair, &folder);
    check::assert_clean(&pair.source, &pair.target);
}

/// `init_timeout` is about initializations.
#[test]
fn a_generation_takes_the_time_it_takes() {
    let pair = midway::prepared(Pair::options("left_time"));
    let folder = root::folder("left_time");
    pair.proxy().throttle(midway::SLOW);
    let start = format!("generate_snapshot('node_a', 'one', {ARGS})");
    let settings = [("chunk_size", "256kB"), ("init_timeout", "1s")];
    let id = call(&pair.target, &folder, &settings, &start).unwrap();
    wait_until("it has taken two seconds", MINUTE, || {
        let late = "select coalesce(now() - started_at > interval '2 s', false) from steep_repl.operations";
        pair.target.scalar::<bool>(late).then_some(())
    });
    pair.proxy().throttle(0);
    wait_complete(&pair.target, &id).unwrap();
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    expect_gone(&pair, &folder);
}

/// One whose node is not known any more, as earlier versions have let it go, keeps nobody from looking after the others.
#[test]
fn one_that_cannot_be_looked_after_is_not_in_the_way() {
    let target = ClusterOptions::new("left_look").preload().set("steep_repl.source_check_interval", "1s").start();
    let pair = Pair::options("left_look").target(target).build();
    let folder = root::folder("left_look");
    pair.source.exec(TABLE);
    pair.register();
    let conninfo = quote_literal(&pair.source_conninfo());
    let register = format!("select steep_repl.register_node('node_c', {conninfo})");
    pair.target.exec(&register);
    let made = |node: &str, path: &str, args: &str| {
        let start = format!("generate_snapshot('{node}', '{path}'{args})");
        let id = call(&pair.target, &folder, &[], &start).unwrap();
        wait_complete(&pair.target, &id).unwrap();
        id
    };
    let (first, second) = (made("node_c", "one", ""), made("node_a", "two", ", expires => '1 hour'"));
    pair.target.exec("delete from steep_repl.nodes where node = 'node_c'");
    pair.target.exec(&format!(
        "update steep_repl.operations set created_at = created_at - interval '2 hours' where token = '{second}'"
    ));
    wait_until("the other has expired", MINUTE, || {
        (pair.target.rows("select id from steep_repl.snapshots") == [first.clone()]).then_some(())
    });
    assert!(!folder.join("two").exists());
    let wrong = pair.target.rows("select status, error from steep_repl.snapshots").concat();
    assert!(wrong.starts_with("complete | ") && wrong.contains("node_c"), "{wrong}");
    let told = midway::events(&pair, "snapshot.neglected");
    assert!(told.len() == 1 && told[0].contains(&first) && told[0].contains("node_c"), "{told:?}");
    pair.target.exec(&register);
    wait_until("nothing is wrong with it any more", MINUTE, || {
        (pair.target.rows("select error is null from steep_repl.snapshots") == ["t"]).then_some(())
    });
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{first}')"));
    expect_gone(&pair, &folder);
    check::assert_clean(&pair.source, &pair.target);
}
