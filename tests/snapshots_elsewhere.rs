//! Snapshots by whom and from where else: the source writes its own, an operator who is no superuser; slots whose WAL is gone, and a link that is
//! cut while one is applied.

use std::path::Path;
use std::time::Duration;

use steep_repl_testkit::{
    check, quote_ident, quote_literal, root, shared, wait_until, Auth, ClusterOptions, LoadOptions, Pair, Role,
    SchemaState,
};

use crate::midway;
use crate::prepared::{self, complete};
use crate::refusal::{contents, refused_quickly, Refusal};
use crate::shop;
use crate::snapshots::{apply, call, expect_gone, expect_synchronized, generate, wait_complete, LONG};
use crate::snapshots_faults::{apply_held, ARGS};

const SLOTS: &str = "select slot_name from pg_replication_slots where database = current_database()";
const OPERATIONS: &str = "select id, kind, status from steep_repl.operations order by id";

/// It has the extension and is a node; nobody but the source knows of the snapshot until its folder is read.
#[test]
fn the_source_generates_it_itself() {
    let source = ClusterOptions::new("kept_self").preload().start();
    let pair = Pair::options("kept_self").source(source).build();
    let folder = root::folder("kept_self");
    shop::fill(&pair.source, 0.2);
    pair.prepare();
    let before = SchemaState::of(&pair.target);
    let itself = quote_literal(&pair.source.conninfo());
    pair.source.exec("create extension steep_repl");
    pair.source.exec(&format!("select steep_repl.register_node('node_a', {itself}, is_local => true)"));
    let load = shop::load().start(&pair.source);
    let started = "generate_snapshot('node_a', 'one', parallel_workers => 3)";
    let id = call(&pair.source, &folder, &[("chunk_size", "1MB")], started).unwrap();
    wait_complete(&pair.source, &id).unwrap();
    assert_eq!(pair.source.rows("select id, status from steep_repl.snapshots"), [format!("{id} | complete")]);
    assert!(pair.target.rows("select id from steep_repl.snapshots").is_empty());
    apply(&pair.target, "node_b", &folder, "parallel_workers => 3").unwrap();
    expect_synchronized(&pair.target, "node_b");
    shop::stop_later(load, &pair.source);
    pair.expect_equal();
    before.assert_same(&pair.target);
    let state = pair.source.rows("select node, state from steep_repl.nodes");
    assert_eq!(state, ["node_a | UNINITIALIZED"], "the source takes itself for a target");
    pair.source.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    wait_until("the snapshot is gone", LONG, || {
        let left = pair.source.rows("select id from steep_repl.snapshots");
        (left.is_empty() && !folder.join("one").exists()).then_some(())
    });
    pair.source.exec("update customers set v = -5 where id < 20");
    pair.expect_equal();
}

/// A pair whose operator, of these roles, has registered both nodes, owns the table here, and uses a password there.
struct Operated {
    // Sessions go before databases, and these before the role.
    client: postgres::Client,
    pair: Pair,
    operator: Role,
}

impl Operated {
    /// Snapshots are below `folder`.
    fn new(label: &str, roles: &str, folder: &Path) -> Operated {
        let source = ClusterOptions::new(label).auth(Auth::Scram).start();
        let operator =
            Role::create(&shared::target(), "keeper", &format!("login in role pg_create_subscription, {roles}"));
        let pair = Pair::options(label).source(source).build();
        pair.source.exec(
            "create table t (id bigint primary key, v int, note text);
             insert into t select i, i, 'x' from generate_series(1, 5000) i",
        );
        pair.target.copy_schema_from(&pair.source);
        let (there, here) = (quote_ident(pair.source.name()), quote_ident(pair.target.name()));
        pair.source.exec(&format!(
            "create role copier login replication password 's3cr3t-pw'; grant create on database {there} to copier;
             alter table t owner to copier"
        ));
        pair.target.exec(&format!("grant create on database {here} to {operator}; alter table t owner to {operator}"));
        let conninfo = format!(
            "host=127.0.0.1 port={} user=copier password=s3cr3t-pw dbname={}",
            pair.source.cluster().port(),
            pair.source.name()
        );
        let mut client = pair.session();
        let directory = quote_literal(&folder.display().to_string());
        client
            .batch_execute(&format!(
                "set steep_repl.snapshot_directory = {directory}; set session authorization {operator}"
            ))
            .unwrap();
        client
            .batch_execute(&format!(
                "select steep_repl.register_node('node_a', {}), steep_repl.register_node('node_b', {}, is_local => true)",
                quote_literal(&conninfo),
                quote_literal(&pair.target.conninfo())
            ))
            .unwrap();
        Operated { client, pair, operator }
    }

    fn call(&mut self, call: &str) -> Result<String, postgres::Error> {
        self.client
            .query_one(&format!("select (steep_repl.{call})::text"), &[])?
            .try_get::<_, Option<String>>(0)
            .map(Option::unwrap_or_default)
    }

    /// Generates it at that path, which ends in `folder`, and gives its id.
    fn generate(&mut self, path: &str, folder: &Path) -> String {
        let id = self.call(&format!("generate_snapshot('node_a', '{path}')")).unwrap();
        self.call(&format!("wait_for_snapshot('{id}', timeout => '{} s')", LONG.as_secs())).unwrap();
        assert!(folder.join("manifest.json").exists());
        id
    }

    /// Applies it, and drops it when it has served.
    fn apply_and_drop(&mut self, path: &str, folder: &Path, id: &str) {
        self.call(&format!("apply_snapshot('node_b', '{path}')")).unwrap();
        self.call(&format!("wait_for_init('node_b', timeout => '{} s')", LONG.as_secs())).unwrap();
        self.client.batch_execute(&format!("select steep_repl.drop_snapshot('{id}')")).unwrap();
        wait_until("the files are gone", Duration::from_secs(30), || (!folder.exists()).then_some(()));
        let owner = "select distinct requested_by::regrole::text from steep_repl.operations";
        assert_eq!(self.pair.target.rows(owner), [self.operator.name()]);
    }

    fn load(&self) -> steep_repl_testkit::WriteLoad {
        LoadOptions::default().keyed("t").keys(5000).rate(50).start(&self.pair.source)
    }
}

#[test]
fn an_operator_who_is_not_superuser() {
    let folder = root::folder("kept_ops");
    let mut operated = Operated::new("kept_ops", "pg_execute_server_program", &folder);
    let load = operated.load();
    let one = folder.join("one");
    let id = operated.generate("one", &one);
    operated.apply_and_drop("one", &one, &id);
    load.stop();
    operated.pair.expect_equal();
}

/// Who may write files of the server writes them where he likes; reading them takes the other role.
#[test]
fn an_operator_outside_of_the_directory() {
    let (folder, elsewhere) = (root::folder("kept_opo"), root::folder("kept_opo_else"));
    let roles = "pg_execute_server_program, pg_write_server_files";
    let mut operated = Operated::new("kept_opo", roles, &folder);
    let load = operated.load();
    let one = elsewhere.join("one");
    let path = one.display().to_string();
    let id = operated.generate(&path, &one);
    let refusal = refused_quickly(|| operated.call(&format!("apply_snapshot('node_b', '{path}')")))
        .names(&[&path, "pg_read_server_files"]);
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    operated.pair.target.exec(&format!("grant pg_read_server_files to {}", operated.operator));
    operated.apply_and_drop(&path, &one, &id);
    load.stop();
    operated.pair.expect_equal();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

/// Has the source remove what its slots of this database keep.
fn lose_slots(pair: &Pair) -> Vec<String> {
    let all = pair.source.rows(SLOTS);
    assert!(!all.is_empty(), "there is no slot to be lost");
    pair.source.exec_each(&["alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()"]);
    wait_until("the slots are lost", Duration::from_secs(60), || {
        let wal = "select pg_logical_emit_message(false, 'tests', repeat('x', 1000000)) from generate_series(1, 20)";
        pair.source.exec(wal);
        pair.source.exec_each(&["select pg_switch_wal()", "checkpoint"]);
        (pair.source.rows(&format!("{SLOTS} and wal_status is distinct from 'lost'")).is_empty()).then_some(())
    });
    assert_eq!(pair.source.rows(SLOTS).len(), all.len());
    all
}

/// Known before anything is begun, whether it is named or found. Whoever keeps it sees nothing of it until then, over a link that is frozen:
/// what is lost he takes away.
#[test]
fn a_prepared_slot_whose_wal_is_gone() {
    let source = ClusterOptions::new("prep_lost").start();
    let pair = prepared::filled(Pair::options("prep_lost").source(source).proxied());
    let made = prepared::prepare(&pair);
    let target = pair.target.cluster().create_database("prep_lost_o", "");
    target.psql(&pair.source.dump(&["--no-publications", "--no-subscriptions", "--snapshot", &made.snapshot]));
    target.exec("create extension steep_repl");
    target.exec(&format!(
        "select steep_repl.register_node('node_b', {}, is_local => true), steep_repl.register_node('node_a', {})",
        quote_literal(&target.conninfo()),
        quote_literal(&pair.source.conninfo())
    ));
    pair.proxy().freeze();
    assert_eq!(lose_slots(&pair), [made.slot.as_str()]);
    let before = contents(&target);
    let named = format!(", '{}', slot_name => '{}'", made.lsn, made.slot);
    for args in [format!(", '{}'", made.lsn), named.clone()] {
        let refusal = refused_quickly(|| complete(&target, &args)).names(&[
            &made.slot,
            "node_a",
            "is lost",
            "max_slot_wal_keep_size",
        ]);
        assert_eq!(refusal.code, "55000", "{refusal:?}");
    }
    assert_eq!(before, contents(&target), "something changed");
    assert!(target.rows(OPERATIONS).is_empty(), "something was begun");
    pair.proxy().thaw();
    wait_until("it is seen that the slot is lost", LONG, || {
        (prepared::status(&pair, &made.slot) == "failed").then_some(())
    });
    check::assert_clean(&pair.source, &pair.target);
    let refusal = refused_quickly(|| complete(&target, &named)).names(&[&made.slot, "node_a"]);
    assert_eq!(refusal.code, "42704", "{refusal:?}");
    check::remove_target(&target);
}

#[test]
fn a_snapshot_whose_slots_are_lost() {
    let source = ClusterOptions::new("kept_lost").start();
    let pair = midway::prepared(Pair::options("kept_lost").source(source));
    let folder = root::folder("kept_lost");
    let there = SchemaState::of(&pair.source);
    let id = generate(&pair, &folder, &format!("targets => 2, {ARGS}"));
    let slots = lose_slots(&pair);
    assert_eq!(slots.len(), 2);
    let before = (contents(&pair.target), pair.target.rows(OPERATIONS));
    let refusal = refused_quickly(|| apply(&pair.target, "node_b", &folder, "")).names(&[
        &id,
        "node_a",
        "WAL is gone",
        "Raise max_slot_wal_keep_size",
        &slots[0],
        &slots[1],
    ]);
    assert_eq!((refusal.code.as_str(), pair.state().as_str()), ("55000", "UNINITIALIZED"), "{refusal:?}");
    assert_eq!(before, (contents(&pair.target), pair.target.rows(OPERATIONS)), "something was begun");
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    expect_gone(&pair, &folder);
    there.assert_same(&pair.source);
    check::assert_clean(&pair.source, &pair.target);
}

/// The slot that was taken: it serves nobody any more, and is not given back.
#[test]
fn a_slot_is_lost_while_the_snapshot_is_applied() {
    let source = ClusterOptions::new("kept_lostm").start();
    let pair = midway::prepared(Pair::options("kept_lostm").source(source));
    let folder = root::folder("kept_lostm");
    let before = SchemaState::of(&pair.target);
    let id = generate(&pair, &folder, ARGS);
    let mut holder = apply_held(&pair, &folder);
    let slots = lose_slots(&pair);
    holder.batch_execute("rollback").unwrap();
    let refusal = Refusal::of(&midway::until_failed(&pair)).names(&["node_a", "is lost", "max_slot_wal_keep_size"]);
    assert_eq!((refusal.code.as_str(), slots.len()), ("55000", 1), "{refusal:?}");
    assert!(refusal.text.contains(&slots[0]), "{refusal:?}");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    midway::until_undone(&pair);
    before.assert_same(&pair.target);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from large"), 0);
    assert!(pair.source.rows(SLOTS).is_empty(), "a slot that is of no use to anybody");
    let refusal = refused_quickly(|| apply(&pair.target, "node_b", &folder, "")).names(&[&id, "taken or dropped"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    pair.target.exec(&format!("select steep_repl.drop_snapshot('{id}')"));
    wait_until("the snapshot is gone", LONG, || {
        let left = pair.target.rows("select id from steep_repl.snapshots");
        (left.is_empty() && !folder.join("one").exists()).then_some(())
    });
    // Nobody knows there whether whoever took the slot still replicates by it.
    for name in pair.source.rows("select quote_ident(pubname) from pg_publication") {
        pair.source.exec(&format!("drop publication {name}"));
    }
    check::assert_clean(&pair.source, &pair.target);
}

/// A slot is copied and noted, and the original cannot be dropped: the copy is found again, and no second slot is taken.
#[test]
fn the_link_is_cut_while_the_slot_is_taken() {
    let pair = midway::prepared(Pair::options("kept_cutt"));
    let folder = root::folder("kept_cutt");
    generate(&pair, &folder, &format!("targets => 2, {ARGS}"));
    let mut holder = pair.target.connect();
    holder.batch_execute("begin; lock table steep_repl.snapshot_claims in share mode").unwrap();
    apply(&pair.target, "node_b", &folder, "").unwrap();
    wait_until("it has copied a slot", Duration::from_secs(30), || {
        let waits =
            "select count(*) from pg_locks where relation = 'steep_repl.snapshot_claims'::regclass and not granted";
        (pair.target.scalar::<i64>(waits) > 0).then_some(())
    });
    assert_eq!(pair.source.rows(SLOTS).len(), 3);
    pair.proxy().down();
    holder.batch_execute("commit").unwrap();
    wait_until("it is known that the source is away", Duration::from_secs(60), || {
        (!midway::events(&pair, "init.retry").is_empty()).then_some(())
    });
    assert_eq!(pair.source.rows(SLOTS).len(), 3);
    pair.proxy().restore();
    expect_synchronized(&pair.target, "node_b");
    midway::expect_replicates(&pair);
    assert_eq!(pair.source.rows(SLOTS).len(), 2, "its own, and one for another target");
}

/// What was written since the snapshot is under way when the link goes.
#[test]
fn the_link_is_cut_while_a_snapshot_catches_up() {
    let pair = midway::prepared(Pair::options("kept_cutc"));
    let folder = root::folder("kept_cutc");
    generate(&pair, &folder, ARGS);
    pair.source.exec("update large set v = v + 1; delete from large where id > 14000; update log set note = 'later'");
    // Millions of bytes: it lasts for many seconds.
    pair.proxy().throttle(midway::SLOW / 3);
    apply(&pair.target, "node_b", &folder, "").unwrap();
    let active = format!("{SLOTS} and active");
    wait_until("it catches up", Duration::from_secs(60), || {
        let catches_up = pair.progress()?.phase? == "catchup";
        (catches_up && !pair.source.rows(&active).is_empty()).then_some(())
    });
    pair.proxy().down();
    wait_until("nothing is sent", Duration::from_secs(60), || pair.source.rows(&active).is_empty().then_some(()));
    assert_eq!(pair.state(), "CATCHING_UP");
    pair.source.exec("update large set v = v + 1 where id < 100");
    pair.proxy().restore();
    pair.proxy().throttle(0);
    expect_synchronized(&pair.target, "node_b");
    midway::expect_replicates_after_errors(&pair);
}
