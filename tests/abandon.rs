//! `abandon_cleanup`: a source that is gone for good keeps nothing here, and what would be left on it is named.

use std::time::Duration;

use postgres::NoTls;
use steep_repl_testkit::{
    check, quote_ident, quote_literal, root, shared, wait_until, Auth, ClusterOptions, Db, Pair, Role, StopMode,
};

use crate::prepared::{complete, dump_and_restore, filled, prepare, status, Dump};
use crate::prepared_cancelled::{cancel, complete_under_lock, until_held, waiting_for};
use crate::{midway, refusal, snapshots};

const ABANDON: &str = "select steep_repl.abandon_cleanup('node_b')";

fn pending(pair: &Pair) -> Vec<String> {
    pair.target.rows("select kind from steep_repl.pending_cleanup where node = 'node_b' order by 1")
}

/// How many operations were given up.
fn abandon(pair: &Pair) -> i64 {
    pair.session().query_one(ABANDON, &[]).unwrap().get(0)
}

fn expect_no_coordinator(pair: &Pair) {
    wait_until("no process of the extension is at work", Duration::from_secs(20), || {
        let ours = "select count(*) from pg_stat_activity
            where datname = current_database() and backend_type like 'steep\\_repl%'";
        (pair.target.scalar::<i64>(ours) == 0).then_some(())
    });
}

/// A source with the same tables, from which the node is initialized instead.
fn initialize_from(pair: &Pair, other: &Db) {
    let conninfo = quote_literal(&other.conninfo());
    pair.target.exec_each(&[
        &format!("select steep_repl.register_node('node_c', {conninfo})"),
        &format!("select steep_repl.init_node('node_b', 'node_c', {})", midway::ARGS),
        "select steep_repl.wait_for_init('node_b', timeout => '2 minutes')",
    ]);
    assert_eq!(pair.state(), "SYNCHRONIZED");
    other.exec("update large set v = -1 where id < 9");
    check::wait_caught_up(other, &pair.target, Duration::from_secs(60));
    steep_repl_testkit::compare(other, &pair.target, &steep_repl_testkit::Tables::All).unwrap();
}

/// What the page for operators says to do on a source that comes back.
fn clean_by_hand(pair: &Pair, slot: &str) {
    for sql in [
        format!(
            "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '{slot}' and active"
        ),
        format!("select pg_drop_replication_slot('{slot}')"),
        format!("drop publication if exists {slot}, {slot}_ins"),
    ] {
        pair.source.exec(&sql);
    }
}

/// A pair whose source is gone while it was copied, and whose operation is cancelled; and the name of its slot.
fn gone(label: &str) -> (Pair, Db, String) {
    let cluster = ClusterOptions::new(label).start();
    let pair = midway::prepared(Pair::options(label).source(cluster.clone()));
    let other = shared::source().create_database(&format!("{label}_o"), "");
    other.psql(&pair.source.dump(&[]));
    midway::start(&pair);
    let slot = pair.source.scalar("select slot_name::text from pg_replication_slots");
    cluster.stop(StopMode::Fast);
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("what is left is known", Duration::from_secs(30), || {
        (pair.state() == "UNINITIALIZED" && pending(&pair) == ["source"]).then_some(())
    });
    (pair, other, slot)
}

fn end(pair: &Pair, other: &Db, slot: &str) {
    pair.source.cluster().start();
    clean_by_hand(pair, slot);
    check::remove_subscriptions(&pair.target);
    check::remove_slots(other);
    other.drop_database().unwrap();
}

#[test]
fn what_is_left_is_named_and_the_node_is_free() {
    let stranger = Role::create(&shared::target(), "stranger", "login in role pg_create_subscription");
    let (pair, other, slot) = gone("abandon");
    // Not for everybody who may call the function.
    let mut theirs = pair.target.cluster().config(pair.target.name()).user(stranger.name()).connect(NoTls).unwrap();
    assert_eq!(refusal::refused_quickly(|| theirs.batch_execute(ABANDON)).code, "42501");
    assert_eq!(pending(&pair), ["source"]);
    assert!(midway::events(&pair, "init.cleanup_abandoned").is_empty());

    assert_eq!(abandon(&pair), 1);
    let warnings: Vec<String> = pair.notices().into_iter().filter(|notice| notice.starts_with("WARNING")).collect();
    let [warning] = warnings.as_slice() else { panic!("one warning was expected: {warnings:?}") };
    let event = midway::events(&pair, "init.cleanup_abandoned");
    let [event] = event.as_slice() else { panic!("one event was expected: {event:?}") };
    let (slot_named, publication) = (format!("replication slot {slot}"), format!("publication {slot}"));
    for text in [warning, event] {
        for word in ["node_a", &slot_named, &publication, "REPLICA IDENTITY", "log"] {
            assert!(text.contains(word), "{word:?} is missing in: {text}");
        }
    }
    assert!(pending(&pair).is_empty());
    expect_no_coordinator(&pair);
    // What is given up is given up.
    assert_eq!(abandon(&pair), 0);
    initialize_from(&pair, &other);
    end(&pair, &other, &slot);
}

/// The pending row keeps nobody from another initialization, which the abandonment then leaves alone.
#[test]
fn after_the_node_was_initialized_from_another_source() {
    let (pair, other, slot) = gone("abandon_later");
    initialize_from(&pair, &other);
    assert_eq!(pending(&pair), ["source"]);
    assert_eq!(abandon(&pair), 1);
    assert!(pending(&pair).is_empty());
    expect_no_coordinator(&pair);
    assert_eq!(pair.state(), "SYNCHRONIZED");
    other.exec("update large set v = -2 where id < 19");
    check::wait_caught_up(&other, &pair.target, Duration::from_secs(60));
    steep_repl_testkit::compare(&other, &pair.target, &steep_repl_testkit::Tables::All).unwrap();
    end(&pair, &other, &slot);
}

/// What was made of a source for whoever comes later is the source's own.
#[test]
fn a_kept_slot_and_a_portable_snapshot() {
    let cluster = ClusterOptions::new("abandon_kept").start();
    let pair = midway::prepared(Pair::options("abandon_kept").source(cluster.clone()));
    let folder = root::folder("abandon_kept");
    let abandon = "select steep_repl.abandon_cleanup('node_a')";
    assert_eq!(refusal::refused_quickly(|| pair.target.try_exec(abandon)).code, "55000");
    let made: String = pair
        .session()
        .query_one(
            "select source_lsn::text from steep_repl.prepare_init('node_a', 'for_a_dump', no_identity => 'full')",
            &[],
        )
        .unwrap()
        .get(0);
    let snapshot = snapshots::generate(&pair, &folder, "targets => 2, no_identity => 'full'");
    let slots = pair.source.rows("select slot_name from pg_replication_slots order by 1");
    assert_eq!(slots.len(), 3, "{slots:?} {made}");
    let publications = pair.source.rows("select pubname from pg_publication");
    assert_eq!(publications.len(), 2);
    cluster.stop(StopMode::Fast);
    pair.target
        .exec(&format!("select steep_repl.drop_init_slot('for_a_dump'), steep_repl.drop_snapshot('{snapshot}')"));
    let left = || pair.target.rows("select kind from steep_repl.pending_cleanup where node = 'node_a'");
    wait_until("what is left is known", Duration::from_secs(60), || (left() == ["source", "source"]).then_some(()));
    // What has still something to take away is not forgotten, however long ago it ended.
    pair.target.exec("update steep_repl.operations set finished_at = finished_at - interval '1 year'");
    refusal::refused_quickly(|| pair.target.try_exec("select steep_repl.prepare_init('node_a')"));
    assert_eq!(left(), ["source", "source"]);
    let abandoned: i64 = pair.session().query_one(abandon, &[]).unwrap().get(0);
    assert_eq!(abandoned, 2);
    let warnings =
        pair.notices().into_iter().filter(|notice| notice.starts_with("WARNING")).collect::<Vec<_>>().join("; ");
    for word in slots.iter().chain(&publications).map(String::as_str).chain(["node_a", "REPLICA IDENTITY", "log"]) {
        assert!(warnings.contains(word), "{word:?} is missing in: {warnings}");
    }
    assert!(left().is_empty());
    expect_no_coordinator(&pair);
    assert!(pair.target.rows("select id from steep_repl.snapshots").is_empty());
    assert!(!folder.join("one").exists());
    assert_eq!(pair.target.rows("select slot_name, status from steep_repl.init_slots"), ["for_a_dump | released"]);
    // The node may be used again when its server is back.
    cluster.start();
    for slot in &slots {
        pair.source.exec(&format!("select pg_drop_replication_slot('{slot}')"));
    }
    for publication in &publications {
        pair.source.exec(&format!("drop publication {publication}"));
    }
    pair.synchronize(midway::ARGS);
    pair.expect_equal();
}

/// What only said on the source that it was about to use a slot leaves that word, and the slot as it was.
#[test]
fn a_backup_that_was_cancelled() {
    let cluster = ClusterOptions::new("abandon_backup").start();
    let pair = filled(Pair::options("abandon_backup").source(cluster.clone()));
    let prepared = prepare(&pair);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    let mut holder = complete_under_lock(&pair, &prepared, "orders");
    until_held(&pair, "verify", &waiting_for("orders"));
    cluster.stop(StopMode::Fast);
    cancel(&pair);
    holder.batch_execute("rollback").unwrap();
    wait_until("what is left is known", Duration::from_secs(30), || (pending(&pair) == ["source"]).then_some(()));
    assert_eq!(abandon(&pair), 1);
    let event = midway::events(&pair, "init.cleanup_abandoned").concat();
    let mark = format!("the mark of replication slot {}", prepared.slot);
    assert!(event.contains(&mark) && event.contains("node_a"), "{event}");
    assert!(pending(&pair).is_empty());
    cluster.start();
    wait_until("its snapshot is known to be gone", Duration::from_secs(90), || {
        (!midway::events(&pair, "init.slot_snapshot_lost").is_empty()).then_some(())
    });
    assert_eq!(status(&pair, &prepared.slot), "ready");
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.expect_synchronized();
    pair.expect_equal();
}

/// Two roles have left something on the same source: whoever owns its node may give both up, and nobody else one of them.
#[test]
fn what_several_roles_have_left() {
    let source = ClusterOptions::new("abandon_roles").auth(Auth::Scram).start();
    let owner = Role::create(&shared::target(), "abandon_owner", "login in role pg_create_subscription");
    let stranger = Role::create(&shared::target(), "abandon_stranger", "login in role pg_create_subscription");
    let pair = Pair::options("abandon_roles").source(source.clone()).build();
    pair.source.exec(&format!(
        "create role copier login replication password 'pw'; grant create on database {} to copier; create table t (id int primary key);
         alter table t owner to copier",
        quote_ident(pair.source.name())
    ));
    let conninfo =
        format!("host=127.0.0.1 port={} user=copier password=pw dbname={}", source.port(), pair.source.name());
    let session_of = |role: &Role| {
        let config = pair.target.cluster().config(pair.target.name()).user(role.name()).clone();
        config.connect(NoTls).unwrap()
    };
    let mut owners = session_of(&owner);
    let register = format!("select steep_repl.register_node('node_a', {})", quote_literal(&conninfo));
    owners.batch_execute(&register).unwrap();
    owners.batch_execute("select steep_repl.prepare_init('node_a', 'of_owner')").unwrap();
    pair.target.exec("select steep_repl.prepare_init('node_a', 'of_superuser')");
    source.stop(StopMode::Fast);
    pair.target.exec("select steep_repl.drop_init_slot('of_owner'), steep_repl.drop_init_slot('of_superuser')");
    let left = || pair.target.rows("select kind from steep_repl.pending_cleanup where node = 'node_a'");
    wait_until("what is left is known", Duration::from_secs(60), || (left() == ["source", "source"]).then_some(()));
    let abandon = "select steep_repl.abandon_cleanup('node_a')";
    let refusal = refusal::refused_quickly(|| session_of(&stranger).batch_execute(abandon));
    assert_eq!(refusal.names(&["node_a", owner.name()]).code, "42501");
    assert_eq!(left(), ["source", "source"]);
    let abandoned: i64 = owners.query_one(abandon, &[]).unwrap().get(0);
    assert_eq!(abandoned, 2);
    assert!(left().is_empty());
    let events = midway::events(&pair, "init.cleanup_abandoned");
    assert!(
        events.len() == 2 && events.iter().zip(["of_owner", "of_superuser"]).all(|(said, slot)| said.contains(slot)),
        "{events:?}"
    );
    expect_no_coordinator(&pair);
    source.start();
    check::remove_slots(&pair.source);
}

#[test]
fn where_nothing_is_left() {
    let pair = midway::prepared(Pair::options("abandon_not"));
    assert_eq!(refusal::refused_quickly(|| pair.target.try_exec(ABANDON)).code, "55000");
    pair.synchronize(midway::ARGS);
    assert_eq!(abandon(&pair), 0);
    assert!(
        midway::events(&pair, "init.cleanup_abandoned").is_empty()
            && !pair.notices().iter().any(|told| told.starts_with("WARNING"))
    );
    pair.expect_equal();
}
