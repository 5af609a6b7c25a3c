//! complete_init on a physical copy of the source: a base backup or a standby that was promoted, and what of the source it must not take for its own.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{check, wait_until, Cluster, ClusterOptions, Db, LoadOptions, Pair, StopMode};

use crate::copies::{base_backup, wait_until_replayed};
use crate::midway::events;
use crate::outcome::expect_equal;
use crate::prepared::{complete, filled, prepare, prepare_as, status};
use crate::refusal::refused_quickly;
use crate::shop;

/// The base backup of the source's server that was promoted takes the target's place in the pair.
pub fn promoted(pair: &mut Pair, copy: Arc<Cluster>) {
    copy.connect("postgres").batch_execute("select pg_promote()").unwrap();
    let source = pair.source.name().to_string();
    pair.target = Db::new(copy, &source);
}

/// The slot that no copy has used is released, and its database is removed.
fn let_go(manager: &Db) {
    manager.exec("select steep_repl.drop_init_slot('init_slot')");
    wait_until("it is released", Duration::from_secs(30), || {
        (manager.scalar::<String>("select status from steep_repl.init_slots") == "released").then_some(())
    });
    check::remove_target(manager);
}

/// Registers both nodes in a physical copy of a source without the extension.
pub fn register_in_copy(pair: &Pair) {
    let quoted = |db: &Db| steep_repl_testkit::quote_literal(&db.conninfo());
    pair.target.exec("create extension if not exists steep_repl");
    pair.target.exec(&format!("select steep_repl.register_node('node_b', {}, is_local => true)", quoted(&pair.target)));
    pair.target.exec(&format!("select steep_repl.register_node('node_a', {})", quoted(&pair.source)));
}

#[test]
fn a_base_backup_that_is_promoted_under_load() {
    let source = ClusterOptions::new("psource").start();
    let mut pair = filled(Pair::options("prep_base").source(Arc::clone(&source)));
    let manager = pair.target.clone();
    let load = shop::load().start(&pair.source);
    prepare_as(&pair, "init_slot");
    let copy = base_backup(&source, ClusterOptions::new("pcopy").preload(), &["-R"]);
    copy.start();
    promoted(&mut pair, copy);
    register_in_copy(&pair);
    complete(&pair.target, ", slot_name => 'init_slot'").unwrap();
    pair.expect_synchronized();
    load.stop();
    expect_equal(&pair);
    wait_until("the slot counts as used", Duration::from_secs(30), || {
        (manager.scalar::<String>("select status from steep_repl.init_slots") == "used").then_some(())
    });
    check::remove_target(&manager);
}

/// The source has the extension, is a node, subscribes to another one, and has slots: none of it is the copy's.
#[test]
fn a_standby_that_is_promoted_does_not_believe_that_it_is_the_source() {
    let source = ClusterOptions::new("psource").preload().start();
    let upstream = ClusterOptions::new("upstream").start().create_database("prep_up", "");
    upstream.exec("create table from_upstream (id int primary key); insert into from_upstream select generate_series(1, 100); create publication up for all tables");
    let mut pair = Pair::options("prep_stand").source(Arc::clone(&source)).build();
    shop::fill(&pair.source, 0.1);
    pair.source.exec("create table from_upstream (id int primary key); create extension steep_repl");
    pair.source.exec_each(&[&format!(
        "create subscription brought_along connection {} publication up",
        steep_repl_testkit::quote_literal(&upstream.conninfo())
    )]);
    pair.source.exec("select pg_replication_origin_create('somebody_else')");
    wait_until("the source has its rows", Duration::from_secs(30), || {
        (pair.source.scalar::<i64>("select count(*) from from_upstream") == 100).then_some(())
    });
    let quoted = |db: &Db| steep_repl_testkit::quote_literal(&db.conninfo());
    pair.source.exec(&format!("select steep_repl.register_node('node_a', {}, is_local => true)", quoted(&pair.source)));
    let manager = pair.target.clone();
    // It is made by the source itself.
    let made =
        pair.source.rows("select slot_name from steep_repl.prepare_init('node_a', 'init_slot', no_identity => 'full')");
    assert_eq!(made, ["init_slot"]);
    let load = shop::load().start(&pair.source);
    // Nobody may apply here what the source's subscription is sent.
    let copy = base_backup(
        &source,
        ClusterOptions::new("pcopy").preload().set("max_logical_replication_workers", "0"),
        &["-R"],
    );
    copy.start();
    wait_until_replayed(&source, &copy);
    promoted(&mut pair, Arc::clone(&copy));
    // As whoever promotes such a copy has to: enabled, it would take the slot there from the source.
    pair.target.exec("alter subscription brought_along disable");
    copy.restart_with(&[("max_logical_replication_workers", "32")]);
    pair.target.exec(&format!("select steep_repl.register_node('node_b', {})", quoted(&pair.target)));
    complete(&pair.target, ", slot_name => 'init_slot'").unwrap();
    pair.expect_synchronized();
    load.stop();
    expect_equal(&pair);
    let local = pair.target.rows("select node, is_local::text, state from steep_repl.nodes order by node");
    assert_eq!(local, ["node_a | false | UNINITIALIZED", "node_b | true | SYNCHRONIZED"]);
    let subscriptions = pair.target.rows("select subname from pg_subscription where subname = 'brought_along'");
    let origins = pair.target.rows("select roname from pg_replication_origin where roname = 'somebody_else'");
    assert!(subscriptions.is_empty() && origins.is_empty(), "{subscriptions:?} {origins:?}");
    // The source goes on with what is its own.
    upstream.exec("insert into from_upstream values (1000)");
    wait_until("the source still gets its rows", Duration::from_secs(30), || {
        (pair.source.scalar::<i64>("select count(*) from from_upstream where id = 1000") == 1).then_some(())
    });
    expect_equal(&pair);
    pair.source.exec_each(&["drop subscription brought_along"]);
    check::remove_target(&manager);
}

/// What other databases of the server subscribe to is theirs, with the origins that it stands on.
#[test]
fn subscriptions_of_other_databases_are_left_with_their_origins() {
    let source = ClusterOptions::new("psource").start();
    let upstream = ClusterOptions::new("upstream").start().create_database("prep_up", "");
    upstream
        .exec("create table t (id int primary key); insert into t values (1); create publication up for all tables");
    let mut pair = filled(Pair::options("prep_others").source(Arc::clone(&source)));
    let manager = pair.target.clone();
    let other = source.create_database("prep_elsewhere", "");
    other.exec("create table t (id int primary key)");
    other.exec_each(&[&format!(
        "create subscription of_another connection {} publication up",
        steep_repl_testkit::quote_literal(&upstream.conninfo())
    )]);
    wait_until("its table is copied", Duration::from_secs(30), || {
        let ready = "select (select count(*) from t) = 1 and not exists (select from pg_subscription_rel where srsubstate <> 'r')";
        other.scalar::<bool>(ready).then_some(())
    });
    prepare_as(&pair, "init_slot");
    let copy = base_backup(&source, ClusterOptions::new("pcopy").preload(), &["-R"]);
    copy.start();
    promoted(&mut pair, Arc::clone(&copy));
    // The copy's worker is let in by the end of the original's, and holds its origin from then on.
    other.exec_each(&["alter subscription of_another disable"]);
    wait_until("the original's worker is gone", Duration::from_secs(30), || {
        let workers = "select count(*) from pg_stat_subscription where subname = 'of_another' and pid is not null";
        (other.scalar::<i64>(workers) == 0).then_some(())
    });
    let other = Db::new(copy, other.name());
    let arrives = |id: i32| {
        upstream.exec(&format!("insert into t values ({id})"));
        wait_until("the other database gets its rows", Duration::from_secs(60), || {
            (other.scalar::<i64>(&format!("select count(*) from t where id = {id}")) == 1).then_some(())
        });
    };
    arrives(2);
    register_in_copy(&pair);
    complete(&pair.target, ", slot_name => 'init_slot'").unwrap();
    pair.expect_synchronized();
    expect_equal(&pair);
    let left = events(&pair, "init.copy_subscriptions_left");
    assert!(left.concat().contains(&format!("of_another in database {}", other.name())), "{left:?}");
    let origins = "select count(*) from pg_replication_origin o join pg_subscription s on o.roname = 'pg_' || s.oid
        where s.subname = 'of_another'";
    assert_eq!(other.scalar::<i64>(origins), 1);
    arrives(3);
    check::remove_target(&manager);
}

/// A transaction that is prepared when the copy leaves the source keeps its locks here, and whoever applies it would wait for itself.
#[test]
fn a_copy_with_prepared_transactions_is_refused() {
    let source = ClusterOptions::new("psource").set("max_prepared_transactions", "5").start();
    let mut pair = filled(Pair::options("prep_twophase").source(Arc::clone(&source)));
    let manager = pair.target.clone();
    prepare_as(&pair, "init_slot");
    pair.source.exec_each(&["begin; update orders set v = -7 where id = 5", "prepare transaction 'booked'"]);
    // One of another database is in nobody's way.
    let other = source.create_database("prep_twophase_other", "");
    other.exec("create table t (id int)");
    other.exec_each(&["begin; insert into t values (1)", "prepare transaction 'of_another'"]);
    let copy =
        base_backup(&source, ClusterOptions::new("pcopy").preload().set("max_prepared_transactions", "5"), &["-R"]);
    copy.start();
    promoted(&mut pair, copy);
    register_in_copy(&pair);
    let refusal = refused_quickly(|| complete(&pair.target, ", slot_name => 'init_slot'"));
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    let refusal = refusal.names(&["booked", "ROLLBACK PREPARED"]);
    assert!(!refusal.text.contains("of_another"), "{refusal:?}");
    assert_eq!(pair.state(), "UNINITIALIZED");
    pair.target.exec("rollback prepared 'booked'");
    wait_until("it counts as written", Duration::from_secs(20), || {
        let seen = "select n_tup_upd > 0 from pg_stat_user_tables where relname = 'orders'";
        pair.target.scalar::<bool>(seen).then_some(())
    });
    pair.target.exec("select pg_stat_reset()");
    complete(&pair.target, ", slot_name => 'init_slot'").unwrap();
    pair.expect_synchronized();
    pair.source.exec("commit prepared 'booked'");
    expect_equal(&pair);
    assert_eq!(pair.target.scalar::<i32>("select v from orders where id = 5"), -7);
    check::remove_target(&manager);
}

/// The server does not know what was written before its last promotion, and says so.
#[test]
fn a_copy_of_a_copy_is_taken_with_a_warning() {
    let source = ClusterOptions::new("psource").start();
    let mut pair = filled(Pair::options("prep_twice").source(Arc::clone(&source)));
    let manager = pair.target.clone();
    prepare_as(&pair, "init_slot");
    let standby = |label: &str, of: &Cluster| {
        let copy = base_backup(of, ClusterOptions::new(label).preload(), &["-R"]);
        copy.start();
        copy
    };
    let first = standby("pfirst", &source);
    promoted(&mut pair, Arc::clone(&first));
    let second = standby("psecond", &first);
    promoted(&mut pair, second);
    register_in_copy(&pair);
    pair.session()
        .batch_execute("select steep_repl.complete_init('node_b', 'node_a', slot_name => 'init_slot')")
        .unwrap();
    let told = pair.notices().join("\n");
    assert!(told.contains("other timelines since it left timeline 1: 2"), "{told}");
    pair.expect_synchronized();
    expect_equal(&pair);
    check::remove_target(&manager);
}

#[test]
fn a_copy_without_a_timeline_of_its_own_cannot_be_placed() {
    let source = ClusterOptions::new("psource").start();
    let mut pair = filled(Pair::options("prep_noline").source(Arc::clone(&source)));
    let manager = pair.target.clone();
    prepare_as(&pair, "init_slot");
    let copy = base_backup(&source, ClusterOptions::new("pcopy").preload(), &[]);
    copy.start();
    pair.target = Db::new(copy, pair.source.name());
    register_in_copy(&pair);
    let refusal = refused_quickly(|| complete(&pair.target, ", slot_name => 'init_slot'"));
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["standby.signal", "promote"]);
    assert_eq!(pair.state(), "UNINITIALIZED");
    let_go(&manager);
}

/// Two standbys of one server are promoted apart from each other: both are on a timeline 2, and a copy of the one is none of the other.
#[test]
fn a_copy_of_another_timeline_of_the_same_number_is_refused() {
    let origin = ClusterOptions::new("porigin").start();
    let mut pair = filled(Pair::options("prep_split").source(Arc::clone(&origin)));
    let manager = pair.target.clone();
    let database = pair.source.name().to_string();
    let standby = |label: &str, of: &Cluster| {
        let copy = base_backup(of, ClusterOptions::new(label).preload(), &["-R"]);
        copy.start();
        copy
    };
    let source = standby("psource", &origin);
    promoted(&mut pair, Arc::clone(&source));
    // What the one has written before its promotion is not in the other.
    origin.connect(&database).batch_execute("create table later ()").unwrap();
    let other = standby("pother", &origin);
    promoted(&mut pair, Arc::clone(&other));
    let ahead = pair.target.clone();
    pair.source = Db::new(Arc::clone(&source), &database);
    manager.exec(&format!(
        "select steep_repl.alter_node('node_a', conninfo => {})",
        steep_repl_testkit::quote_literal(&pair.source.conninfo())
    ));
    manager.exec("select steep_repl.prepare_init('node_a', 'init_slot', no_identity => 'full')");
    // Where the copy leaves the other's timeline lies between the start of the slot and the end of the source.
    ahead.exec_each(&["create table ahead ()", "select pg_switch_wal()", "create table further ()"]);
    let copy = standby("pcopy", &other);
    promoted(&mut pair, copy);
    for _ in 0..8 {
        pair.source.exec_each(&["create table if not exists beyond ()", "drop table beyond", "select pg_switch_wal()"]);
    }
    for target in [ahead, pair.target.clone()] {
        pair.target = target;
        register_in_copy(&pair);
        let refusal = refused_quickly(|| complete(&pair.target, ", slot_name => 'init_slot'"));
        assert_eq!(refusal.code, "55000", "{refusal:?}");
        refusal.names(&["timeline 2 of node", "same number"]);
        assert_eq!(pair.state(), "UNINITIALIZED");
    }
    // A copy of the source itself is taken.
    let load = shop::load().start(&pair.source);
    let copy = standby("pown", &source);
    promoted(&mut pair, copy);
    register_in_copy(&pair);
    complete(&pair.target, ", slot_name => 'init_slot'").unwrap();
    pair.expect_synchronized();
    load.stop();
    expect_equal(&pair);
    check::remove_target(&manager);
}

#[test]
fn a_copy_that_was_written_to_or_is_older_than_the_slot_is_refused() {
    let source = ClusterOptions::new("psource").start();
    let mut pair = filled(Pair::options("prep_written").source(Arc::clone(&source)));
    let manager = pair.target.clone();
    // Promoted before there is a slot.
    let copy = base_backup(&source, ClusterOptions::new("pcopy").preload(), &["-R"]);
    copy.start();
    promoted(&mut pair, Arc::clone(&copy));
    register_in_copy(&pair);
    manager.exec("select steep_repl.prepare_init('node_a', 'init_slot', no_identity => 'full')");
    let refusal = refused_quickly(|| complete(&pair.target, ", slot_name => 'init_slot'"));
    assert_eq!(refusal.code, "22023", "{refusal:?}");
    refusal.names(&["before the start", "init_slot"]);
    // And one that is young enough, and has been written to.
    copy.stop(StopMode::Fast);
    let copy = base_backup(&source, ClusterOptions::new("pcopy").preload(), &["-R"]);
    copy.start();
    promoted(&mut pair, copy);
    pair.target.exec("update orders set v = v + 1 where id < 10");
    register_in_copy(&pair);
    let refused = |target: &Db| refused_quickly(|| complete(target, ", slot_name => 'init_slot'"));
    wait_until("the statistics know it", Duration::from_secs(20), || {
        let seen = "select n_tup_upd > 0 from pg_stat_user_tables where relname = 'orders'";
        pair.target.scalar::<bool>(seen).then_some(())
    });
    let refusal = refused(&pair.target);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["public.orders", "written"]);
    // And one that has had a table emptied, which counts as no row.
    pair.target.cluster().stop(StopMode::Fast);
    let copy = base_backup(&source, ClusterOptions::new("pcopy").preload(), &["-R"]);
    copy.start();
    promoted(&mut pair, copy);
    pair.target.exec("truncate orders");
    register_in_copy(&pair);
    let refusal = refused(&pair.target);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["public.orders: emptied", "written"]);
    let_go(&manager);
}

/// What became a partition after the copy had left the source, or is not in the copy any more, would lack rows.
#[test]
fn a_copy_without_a_table_or_partition_of_the_source_is_refused() {
    let source = ClusterOptions::new("psource").start();
    let mut pair = filled(Pair::options("prep_parts").source(Arc::clone(&source)));
    let manager = pair.target.clone();
    pair.source.exec(
        "create table parent (id int, k int, primary key (id, k)) partition by list (k);
         create table p1 partition of parent for values in (1); create table p2 (like parent including all);
         create table plain (id int primary key); insert into plain values (1); insert into p2 values (1, 2)",
    );
    prepare_as(&pair, "init_slot");
    let copy = base_backup(&source, ClusterOptions::new("pcopy").preload(), &["-R"]);
    copy.start();
    wait_until_replayed(&source, &copy);
    promoted(&mut pair, copy);
    register_in_copy(&pair);
    pair.source.exec("insert into p2 values (2, 2)");
    pair.source.exec("alter table parent attach partition p2 for values in (2)");
    let refused = |args: &str| refused_quickly(|| complete(&pair.target, &format!(", slot_name => 'init_slot'{args}")));
    let refusal = refused("");
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["public.p2", "become partitions"]);
    pair.source.exec("alter table parent detach partition p2");
    pair.target.exec("drop table plain");
    let refusal = refused(", schema_sync => 'auto'");
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["public.plain: not here"]);
    assert_eq!(pair.state(), "UNINITIALIZED");
    let_go(&manager);
}

/// Restarts on either side take the snapshot, not the slot.
#[test]
fn a_restart_takes_the_snapshot_and_not_the_slot() {
    let source = ClusterOptions::new("psource").start();
    let target = ClusterOptions::new("ptarget").preload().start();
    let mut pair = filled(Pair::options("prep_restart").source(Arc::clone(&source)).target(Arc::clone(&target)));
    let prepared = prepare(&pair);
    target.restart();
    wait_until("it is known that the snapshot is gone", Duration::from_secs(60), || {
        let lost = "select count(*) from steep_repl.init_slots where status = 'ready' and snapshot is null and wal_held_bytes > 0";
        (pair.target.scalar::<i64>(lost) == 1).then_some(())
    });
    source.restart();
    wait_until("it is looked at again", Duration::from_secs(90), || {
        pair.target
            .scalar::<bool>("select seen_at > now() - interval '6 seconds' from steep_repl.init_slots")
            .then_some(())
    });
    assert_eq!(status(&pair, &prepared.slot), "ready");
    assert!(prepared.commands.contains(&prepared.snapshot));
    let load = LoadOptions::default().keyed("orders").keys(5000).rate(50).start(&pair.source);
    let manager = pair.target.clone();
    let copy = base_backup(&source, ClusterOptions::new("pcopy").preload(), &["-R"]);
    copy.start();
    promoted(&mut pair, copy);
    register_in_copy(&pair);
    complete(&pair.target, "").unwrap();
    pair.expect_synchronized();
    load.stop();
    expect_equal(&pair);
    check::remove_target(&manager);
}
