//! The role that asked for an operation is dropped: whoever resumes or cancels it takes it over, and nobody else. A slot that is kept, and a
//! snapshot whose time is over, go to the owner of the node by themselves.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postgres::{Client, NoTls};
use steep_repl_testkit::{
    check, describe, quote_ident, quote_literal, root, shared, wait_until, Auth, Cluster, ClusterOptions, Pair, Role,
    SchemaState,
};

use crate::prepared::{slot_of, status, wait_for_status};
use crate::snapshots::{call, expect_gone, wait_complete};
use crate::{midway, refusal};

/// A role that a test drops itself.
fn asker(target: &Arc<Cluster>, name: &str) -> String {
    let role = format!("{name}_{}", std::process::id());
    target.connect("postgres").batch_execute(&format!("create role {role} superuser login")).unwrap();
    role
}

fn session_of(pair: &Pair, role: &str) -> Client {
    pair.target.cluster().config(pair.target.name()).user(role).connect(NoTls).unwrap()
}

/// Starts an initialization as that role.
fn init_as(pair: &Pair, role: &str) {
    let mut client = session_of(pair, role);
    client.batch_execute("set steep_repl.chunk_size = '1MB'").unwrap();
    client.batch_execute(&format!("select steep_repl.init_node('node_b', 'node_a', {})", midway::ARGS)).unwrap();
}

/// What an administrator does to be rid of a role: all it has goes to somebody else.
fn drop_role(pair: &Pair, role: &str, heir: &str) {
    let mut client = pair.target.connect();
    for sql in
        [format!("reassign owned by {role} to {heir}"), format!("drop owned by {role}"), format!("drop role {role}")]
    {
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
    }
}

fn requested_by(pair: &Pair) -> String {
    pair.target.scalar("select requested_by::text from steep_repl.operations order by id desc limit 1")
}

/// Somebody who may call the functions, and no more.
fn expect_refused(pair: &Pair, stranger: &Role) {
    let before = requested_by(pair);
    for function in ["resume_init", "cancel_init", "restore_indexes", "abandon_cleanup"] {
        let mut client = session_of(pair, stranger.name());
        let call = format!("select steep_repl.{function}('node_b')");
        assert_eq!(refusal::refused_quickly(|| client.batch_execute(&call)).code, "42501", "{call}");
    }
    assert_eq!(requested_by(pair), before);
}

/// Fails at an index of the target's own.
fn failed(pair: &Pair, role: &str) {
    pair.target.exec("create unique index large_once on large ((v / 2))");
    init_as(pair, role);
    assert_eq!(refusal::Refusal::of(&midway::until_failed(pair)).code, "23505");
}

#[test]
fn a_failed_one_is_resumed_by_the_owner_of_the_node() {
    let stranger = Role::create(&shared::target(), "stranger", "login in role pg_create_subscription");
    let owner = Role::create(&shared::target(), "nodeowner", "login in role pg_create_subscription");
    let asker = asker(&shared::target(), "asker_owner");
    let source = ClusterOptions::new("take_owner").auth(Auth::Scram).start();
    let pair = midway::filled(Pair::options("take_owner").source(source));
    pair.source.exec("create role copier superuser login password 's3cr3t-pw'");
    let database = quote_ident(pair.target.name());
    pair.target.exec(&format!("grant create on database {database} to {owner}"));
    for table in ["large", "log", "small"] {
        pair.target.exec(&format!("alter table {table} owner to {owner}"));
    }
    let password = |conninfo: String| quote_literal(&format!("{conninfo} password=s3cr3t-pw"));
    let there = pair.source_conninfo().replace("user=postgres", "user=copier");
    let mut owners = session_of(&pair, owner.name());
    for sql in [
        format!("select steep_repl.register_node('node_a', {})", password(there)),
        format!("select steep_repl.register_node('node_b', {}, is_local => true)", password(pair.target.conninfo())),
    ] {
        owners.batch_execute(&sql).unwrap();
    }
    failed(&pair, &asker);
    drop_role(&pair, &asker, owner.name());
    expect_refused(&pair, &stranger);
    owners.batch_execute("drop index large_once; select steep_repl.resume_init('node_b')").unwrap();
    assert_eq!(requested_by(&pair), owner.name());
    midway::expect_end(&pair);
    // The subscription needs its owner as long as it is there.
    let subscription = pair.target.scalar::<String>("select subname::text from pg_subscription s join pg_database d on d.oid = s.subdbid where subenabled and d.datname = current_database()");
    pair.target.exec(&format!("alter subscription {subscription} owner to postgres"));
    pair.target.exec(&format!("reassign owned by {owner} to postgres; drop owned by {owner}"));
}

#[test]
fn a_failed_one_is_cancelled_by_a_superuser() {
    let stranger = Role::create(&shared::target(), "stranger", "login in role pg_create_subscription");
    let asker = asker(&shared::target(), "asker_failed");
    let pair = midway::prepared(Pair::options("take_failed"));
    failed(&pair, &asker);
    drop_role(&pair, &asker, "postgres");
    expect_refused(&pair, &stranger);
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    midway::until_undone(&pair);
    midway::expect_emptied(&pair, &["large", "log", "small"]);
    pair.target.exec("drop index large_once");
    pair.synchronize(midway::ARGS);
    midway::expect_replicates(&pair);
}

#[test]
fn a_running_one_is_cancelled_by_a_superuser() {
    let asker = asker(&shared::target(), "asker_cancel");
    let pair = midway::prepared(Pair::options("take_cancel"));
    pair.proxy().throttle(midway::SLOW);
    init_as(&pair, &asker);
    midway::until_rows(&pair);
    drop_role(&pair, &asker, "postgres");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    midway::expect_begun_anew(&pair);
}

/// Its processes go on as long as they live. When they end there is nobody to work for: the node says so, and does not stay
/// COPYING for ever.
#[test]
fn a_running_one_fails_when_its_coordinator_ends_and_is_resumed_by_a_superuser() {
    let asker = asker(&shared::target(), "asker_run");
    let pair = midway::prepared(Pair::options("take_run"));
    pair.proxy().throttle(midway::SLOW / 4);
    init_as(&pair, &asker);
    midway::until_rows(&pair);
    drop_role(&pair, &asker, "postgres");
    pair.target.exec(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and backend_type = 'steep_repl coordinator'",
    );
    wait_until("the node is FAILED", Duration::from_secs(60), || (pair.state() == "FAILED").then_some(()));
    let refusal = refusal::Refusal::of(&pair.wait(Duration::from_secs(5)).unwrap_err()).names(&["role", "resume_init"]);
    assert_eq!(refusal.code, "42704");
    pair.target.exec("select steep_repl.resume_init('node_b')");
    assert_eq!(requested_by(&pair), "postgres");
    midway::expect_end(&pair);
}

/// A cancel that is asked for once more goes on with the rights of who asks then.
#[test]
fn a_cancel_is_taken_over() {
    let target = ClusterOptions::new("take_undo").preload().start();
    let asker = asker(&target, "asker_undo");
    let pair = midway::prepared(Pair::options("take_undo").target(Arc::clone(&target)));
    pair.proxy().throttle(midway::SLOW);
    init_as(&pair, &asker);
    midway::until_rows(&pair);
    let mut reader = pair.target.connect();
    reader.batch_execute("begin; select count(*) from large").unwrap();
    session_of(&pair, &asker).batch_execute("select steep_repl.cancel_init('node_b')").unwrap();
    wait_until("the tables are in the way", Duration::from_secs(40), || {
        let pending = pair.target.rows("select kind from steep_repl.pending_cleanup");
        (pair.state() == "UNINITIALIZED" && pending.contains(&"tables".to_string())).then_some(())
    });
    drop_role(&pair, &asker, "postgres");
    pair.target.exec(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and backend_type = 'steep_repl coordinator'",
    );
    // Nobody is left to go on, which is said once, and does not make it a failed one.
    let said = || target.log().matches("was dropped (SQLSTATE 42704)").count();
    wait_until("the log says why nobody goes on", Duration::from_secs(40), || (said() > 0).then_some(()));
    reader.batch_execute("commit").unwrap();
    let status = "select status from steep_repl.operations";
    assert_eq!((pair.state().as_str(), pair.target.rows(status)), ("UNINITIALIZED", vec!["cancelled".to_string()]));
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    assert_eq!(requested_by(&pair), "postgres");
    midway::expect_begun_anew(&pair);
}

/// Starts to generate a snapshot of node_a as that role, in `folder`/one; its identity.
fn generate_as(pair: &Pair, role: &str, folder: &Path, args: &str) -> String {
    let mut client = session_of(pair, role);
    let directory = quote_literal(&folder.display().to_string());
    client.batch_execute(&format!("set steep_repl.snapshot_directory = {directory}")).unwrap();
    client.batch_execute("set steep_repl.chunk_size = '256kB'").unwrap();
    let call = format!("select steep_repl.generate_snapshot('node_a', 'one', no_identity => 'full', {args})");
    client.query_one(&call, &[]).unwrap_or_else(|error| panic!("{}", describe(&error))).get(0)
}

/// Has a slot made on node_a as that role, for an hour; its name.
fn keep_slot_as(pair: &Pair, role: &str) -> String {
    let slot = slot_of(pair);
    let args = "no_identity => 'insert_only', expires => '1 hour'";
    let call = format!("select steep_repl.prepare_init('node_a', '{slot}', {args})");
    session_of(pair, role).batch_execute(&call).unwrap_or_else(|error| panic!("{}", describe(&error)));
    slot
}

/// What was to be kept for an hour has been.
fn pass_an_hour(pair: &Pair) {
    pair.target.exec(
        "update steep_repl.operations set created_at = created_at - interval '2 hours';
         update steep_repl.prepared_slots set expires_at = expires_at - interval '2 hours'",
    );
}

#[test]
fn a_complete_snapshot_is_dropped_by_a_superuser() {
    let stranger = Role::create(&shared::target(), "stranger", "login in role pg_create_subscription");
    let asker = asker(&shared::target(), "asker_kept");
    let pair = midway::prepared(Pair::options("take_kept"));
    let folder = root::folder("take_kept");
    let before = SchemaState::of(&pair.source);
    let id = generate_as(&pair, &asker, &folder, "targets => 2");
    wait_complete(&pair.target, &id).unwrap();
    drop_role(&pair, &asker, "postgres");
    let drop = format!("select steep_repl.drop_snapshot('{id}')");
    let refusal = refusal::refused_quickly(|| session_of(&pair, stranger.name()).batch_execute(&drop));
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    pair.target.exec(&drop);
    assert_eq!(requested_by(&pair), "postgres");
    expect_gone(&pair, &folder);
    before.assert_same(&pair.source);
    check::assert_clean(&pair.source, &pair.target);
}

/// Files are written with the rights of who asked, and then with those of who asks again.
#[test]
fn a_generation_fails_and_goes_on_for_a_superuser() {
    let asker = asker(&shared::target(), "asker_gen");
    let pair = midway::prepared(Pair::options("take_gen"));
    let folder = root::folder("take_gen");
    pair.proxy().throttle(midway::SLOW / 4);
    let id = generate_as(&pair, &asker, &folder, "parallel_workers => 2");
    wait_until("files are written", Duration::from_secs(60), || {
        (pair.target.scalar::<i64>("select count(*) from steep_repl.snapshot_files") > 0).then_some(())
    });
    drop_role(&pair, &asker, "postgres");
    let refusal = refusal::Refusal::of(&wait_complete(&pair.target, &id).expect_err("there was nobody left")).names(&[
        "role",
        "generate_snapshot",
        "drop_snapshot",
    ]);
    assert_eq!(refusal.code, "42704", "{refusal:?}");
    assert!(!refusal.text.contains("_init(node)"), "{refusal:?}");
    pair.proxy().throttle(0);
    let again = call(&pair.target, &folder, &[], "generate_snapshot('node_a', 'one')").unwrap();
    assert_eq!((again.as_str(), requested_by(&pair).as_str()), (id.as_str(), "postgres"));
    wait_complete(&pair.target, &id).unwrap();
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    expect_gone(&pair, &folder);
    check::assert_clean(&pair.source, &pair.target);
}

/// Somebody's backup counts on it: the owner of the node keeps it. It is released by a superuser, before or after that.
#[test]
fn a_kept_slot_is_released_by_a_superuser() {
    for at_once in [false, true] {
        let asker = asker(&shared::target(), &format!("asker_slot_{at_once}"));
        let pair = midway::prepared(Pair::options("take_slot"));
        let slot = keep_slot_as(&pair, &asker);
        drop_role(&pair, &asker, "postgres");
        if !at_once {
            wait_until("the owner of the node keeps it", Duration::from_secs(60), || {
                (requested_by(&pair) == "postgres" && status(&pair, &slot) == "ready").then_some(())
            });
            let said = midway::events(&pair, "init.taken_over");
            assert!(said.len() == 1 && said[0].contains("postgres"), "{said:?}");
        }
        pair.target.exec(&format!("select steep_repl.drop_init_slot('{slot}')"));
        wait_for_status(&pair, &slot, "released");
        assert_eq!(requested_by(&pair), "postgres");
        check::assert_clean(&pair.source, &pair.target);
    }
}

#[test]
fn what_expires_goes_by_the_owner_of_the_node() {
    let target = ClusterOptions::new("take_exp").preload().set("steep_repl.source_check_interval", "1s").start();
    let asker = asker(&target, "asker_exp");
    let pair = midway::prepared(Pair::options("take_exp").target(target));
    let folder = root::folder("take_exp");
    let before = SchemaState::of(&pair.source);
    let slot = keep_slot_as(&pair, &asker);
    let id = generate_as(&pair, &asker, &folder, "expires => '1 hour'");
    wait_complete(&pair.target, &id).unwrap();
    drop_role(&pair, &asker, "postgres");
    pass_an_hour(&pair);
    wait_for_status(&pair, &slot, "expired");
    expect_gone(&pair, &folder);
    before.assert_same(&pair.source);
    let said = midway::events(&pair, "init.taken_over");
    assert_eq!(said.len(), 2, "{said:?}");
    check::assert_clean(&pair.source, &pair.target);
}

/// The owner of the node is gone too: nobody's rights are used for it, and that is said.
#[test]
fn where_nobody_is_left_it_stays_until_somebody_asks() {
    let target = ClusterOptions::new("take_none").preload().set("steep_repl.source_check_interval", "1s").start();
    let asker = asker(&target, "asker_none");
    let pair = midway::filled(Pair::options("take_none").target(target));
    let folder = root::folder("take_none");
    let (there, here) = (quote_literal(&pair.source_conninfo()), quote_literal(&pair.target.conninfo()));
    session_of(&pair, &asker)
        .batch_execute(&format!(
            "select steep_repl.register_node('node_a', {there}), steep_repl.register_node('node_b', {here}, is_local => true)"
        ))
        .unwrap();
    let slot = keep_slot_as(&pair, &asker);
    let id = generate_as(&pair, &asker, &folder, "expires => '1 hour'");
    wait_complete(&pair.target, &id).unwrap();
    drop_role(&pair, &asker, "postgres");
    pass_an_hour(&pair);
    wait_for_status(&pair, &slot, "failed");
    let failed = "select details ->> 'sqlstate', details ->> 'hint' from steep_repl.events where event = 'init.failed'";
    let told = pair.target.rows(failed);
    assert!(told.len() == 1 && told[0].contains("42704") && told[0].contains("drop_init_slot"), "{told:?}");
    wait_until("it is said of the snapshot", Duration::from_secs(60), || {
        let shown = pair.target.rows("select status, sqlstate, hint from steep_repl.snapshots").concat();
        (shown.starts_with("complete | 42704") && shown.contains("drop_snapshot")).then_some(())
    });
    assert!(folder.join("one/manifest.json").exists());
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    assert_eq!(pair.source.scalar::<i64>(slots), 2);
    pair.target.exec(&format!("select steep_repl.drop_init_slot('{slot}'), steep_repl.drop_snapshot('{id}')"));
    wait_for_status(&pair, &slot, "released");
    expect_gone(&pair, &folder);
    assert_eq!(midway::events(&pair, "snapshot.neglected").len(), 1);
    check::assert_clean(&pair.source, &pair.target);
}
