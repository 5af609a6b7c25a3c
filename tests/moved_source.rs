//! The source answers at another address: a copy goes on, and so does replication, once the node's connection string says so.

use std::time::Duration;

use steep_repl_testkit::{quote_literal, wait_until, Pair, Role};

use crate::midway;
use crate::refusal::{refused_quickly, Refusal};

/// Tells where the source is now; gives how many subscriptions go by it.
fn moved(pair: &Pair) -> i64 {
    let direct = quote_literal(&pair.source.conninfo());
    pair.target.scalar(&format!("select steep_repl.alter_node('node_a', {direct})"))
}

#[test]
fn in_the_middle_of_a_copy() {
    let pair = midway::prepared(Pair::options("moved_copy"));
    midway::start(&pair);
    pair.proxy().down();
    wait_until("the source was missed", Duration::from_secs(60), || {
        let missed = "select exists (select from steep_repl.events where details ->> 'sqlstate' like '08%')";
        pair.target.scalar::<bool>(missed).then_some(())
    });
    // The subscription is made, and disabled as yet.
    assert_eq!(moved(&pair), 1);
    pair.expect_synchronized();
    midway::expect_replicates(&pair);
}

#[test]
fn when_it_replicates() {
    let pair = midway::prepared(Pair::options("moved_sync"));
    pair.synchronize(midway::ARGS);
    pair.proxy().down();
    pair.source.exec("insert into small values (1000, 1, 'while it was away')");
    assert_eq!(moved(&pair), 1);
    midway::expect_replicates_after_errors(&pair);
    // What asks the source itself goes by it too.
    pair.target.exec("select steep_repl.sync_sequences('node_b')");
    let shown = pair.target.rows("select conninfo from steep_repl.node_status where node = 'node_a'");
    assert!(!shown[0].contains(&pair.proxy().port().to_string()), "{shown:?}");
}

/// A failed one goes on when it is resumed; what a cancelled one has left on the source is taken away.
#[test]
fn after_it_has_failed_or_was_cancelled() {
    let pair = midway::prepared(Pair::options("moved_failed"));
    pair.proxy().throttle(midway::SLOW);
    pair.init_with(&[("chunk_size", "1MB"), ("source_lost_timeout", "1s")], midway::ARGS).unwrap();
    midway::until_rows(&pair);
    pair.proxy().down();
    wait_until("it has failed", Duration::from_secs(60), || (pair.state() == "FAILED").then_some(()));
    moved(&pair);
    pair.target.exec("select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    midway::expect_replicates(&pair);

    let pair = midway::prepared(Pair::options("moved_cancelled"));
    midway::start(&pair);
    pair.proxy().down();
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("the source is left", Duration::from_secs(60), || {
        let left = pair.target.rows("select kind from steep_repl.pending_cleanup where error <> ''");
        (pair.state() == "UNINITIALIZED" && left == ["source"]).then_some(())
    });
    // Its subscription is gone.
    assert_eq!(moved(&pair), 0);
    midway::until_undone(&pair);
    assert_eq!(pair.source.rows("select pubname from pg_publication"), [""; 0]);
}

#[test]
fn what_is_refused() {
    let pair = Pair::new("moved_refused");
    pair.register();
    let before = pair.target.rows("select node, conninfo from steep_repl.nodes order by 1");
    for (call, code) in [
        ("alter_node('node_x', 'host=x')", "42704"),
        ("alter_node('node_a', 'host=x nonsense=1')", "42601"),
        ("alter_node('node_a', null)", "22004"),
    ] {
        let refusal = refused_quickly(|| pair.target.try_exec(&format!("select steep_repl.{call}")));
        assert_eq!(refusal.code, code, "{refusal:?}");
    }
    let role = Role::create(pair.target.cluster(), "stranger", "login in role pg_create_subscription");
    let mut session = pair.target.connect();
    session.batch_execute(&format!("set session authorization {role}")).unwrap();
    let error = session.batch_execute("select steep_repl.alter_node('node_a', 'host=x password=y')").unwrap_err();
    assert_eq!(Refusal::of(&error).names(&["node_a", "postgres"]).code, "42501");
    // What belongs to somebody who is no superuser gets no files of the server, whoever gives them.
    pair.target.exec(&format!("update steep_repl.nodes set owner = '{role}'::regrole where node = 'node_a'"));
    for (conninfo, code) in [("host=x password=y passfile=/tmp/z", "42501"), ("host=x", "2F003")] {
        let call = format!("select steep_repl.alter_node('node_a', '{conninfo}')");
        assert_eq!(refused_quickly(|| pair.target.try_exec(&call)).code, code, "{conninfo}");
    }
    assert_eq!(before, pair.target.rows("select node, conninfo from steep_repl.nodes order by 1"));
    // This database may be told anew where it is.
    let own = quote_literal(&format!("{} connect_timeout=7", pair.target.conninfo()));
    assert_eq!(pair.target.scalar::<i64>(&format!("select steep_repl.alter_node('node_b', {own})")), 0);
    pair.target.exec("select steep_repl.unregister_node('node_a')");
}
