//! prepare_init and complete_init: the rows come by somebody's own backup, with no help from us in between.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{
    check, compare, describe, root, shared, wait_until, Auth, Cluster, ClusterOptions, Db, LoadOptions, Pair,
    PairOptions, Role, Tables,
};

use crate::outcome::expect_equal;
use crate::prepared_cancelled::complete_under_lock;
use crate::refusal::{refused_quickly, Refusal};
use crate::shop;

/// What prepare_init has returned.
pub struct Prepared {
    pub slot: String,
    pub lsn: String,
    pub snapshot: String,
    pub commands: String,
}

/// Tables that have been given REPLICA IDENTITY FULL; `journal` has it of its own.
const FULL: &str = "select oid::regclass from pg_class where relreplident = 'f' and relname <> 'journal'";

pub fn prepare_with(pair: &Pair, args: &str) -> Result<Prepared, postgres::Error> {
    let sql =
        format!("select slot_name, source_lsn::text, snapshot, commands from steep_repl.prepare_init('node_a'{args})");
    let row = pair.session().query_one(&sql, &[])?;
    Ok(Prepared { slot: row.get(0), lsn: row.get(1), snapshot: row.get(2), commands: row.get(3) })
}

/// A slot's name is one in the whole cluster, which tests share.
pub fn slot_of(pair: &Pair) -> String {
    format!("init_{}", pair.source.name())
}

pub fn prepare(pair: &Pair) -> Prepared {
    prepare_as(pair, &slot_of(pair))
}

pub fn prepare_as(pair: &Pair, slot: &str) -> Prepared {
    prepare_with(pair, &format!(", slot_name => '{slot}', no_identity => 'full'")).unwrap()
}

pub fn complete(target: &Db, args: &str) -> Result<i64, postgres::Error> {
    target.connect().query_one(&format!("select steep_repl.complete_init('node_b', 'node_a'{args})"), &[])?.try_get(0)
}

pub fn status(pair: &Pair, slot: &str) -> String {
    pair.target.scalar(&format!(
        "select status from steep_repl.init_slots where slot_name = '{slot}' order by operation_id desc limit 1"
    ))
}

pub fn wait_for_status(pair: &Pair, slot: &str, wanted: &str) {
    wait_until(&format!("slot {slot} is {wanted}"), Duration::from_secs(40), || {
        (status(pair, slot) == wanted).then_some(())
    });
}

/// A pair with a filled source and an empty target, whose nodes are registered.
pub fn filled(options: PairOptions) -> Pair {
    let pair = options.build();
    shop::fill(&pair.source, 0.1);
    pair.register();
    pair
}

/// Runs one of PostgreSQL's programs as the servers' user.
fn run(cluster: &Cluster, program: &str, arguments: &[&str]) {
    let mut command = root::server_command(&cluster.installation().program(program));
    let result = command.args(arguments).output().unwrap();
    assert!(result.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&result.stderr));
}

fn path(label: &str) -> PathBuf {
    root::folder(label).join("backup")
}

#[derive(Clone, Copy)]
pub enum Dump {
    Plain,
    Custom,
    Directory,
}

/// pg_dump and psql or pg_restore, as the returned commands have it.
pub fn dump_and_restore(pair: &Pair, how: Dump, snapshot: Option<&str>) {
    let file = path("dump").display().to_string();
    let (source, target) = (pair.source.conninfo(), pair.target.conninfo());
    let snapshot = snapshot.map(|name| format!("--snapshot={name}"));
    let mut arguments = vec!["--no-publications", "--no-subscriptions", "-d", &source, "-f", &file];
    arguments.extend(snapshot.as_deref());
    let restore = ["-d", &target, "-j", "4", "--exit-on-error", &file];
    match how {
        Dump::Plain => {
            run(pair.source.cluster(), "pg_dump", &arguments);
            run(
                pair.source.cluster(),
                "psql",
                &["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-d", &target, "-f", &file],
            );
        }
        Dump::Custom => {
            run(pair.source.cluster(), "pg_dump", &[&arguments[..], &["-Fc"]].concat());
            run(pair.source.cluster(), "pg_restore", &restore);
        }
        Dump::Directory => {
            run(pair.source.cluster(), "pg_dump", &[&arguments[..], &["-Fd", "-j", "4"]].concat());
            run(pair.source.cluster(), "pg_restore", &restore);
        }
    }
}

/// Makes room for another dump.
pub fn drop_tables(db: &Db) {
    db.exec(
        "do $$ declare t text; begin for t in select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'public'
         loop execute 'drop table if exists ' || t || ' cascade'; end loop; end $$",
    );
}

fn dumped_under_load(label: &str, how: Dump) {
    let pair = filled(Pair::options(label));
    let load = shop::load().start(&pair.source);
    let prepared = prepare(&pair);
    dump_and_restore(&pair, how, Some(&prepared.snapshot));
    complete(&pair.target, &format!(", '{}', slot_name => '{}'", prepared.lsn, prepared.slot)).unwrap();
    pair.expect_synchronized();
    load.stop();
    expect_equal(&pair);
    let compared = "select count(*) from steep_repl.tasks where kind = 'verify' and status = 'done'";
    assert!(pair.target.scalar::<i64>(compared) >= 12, "nothing was compared");
    let done = pair.target.rows("select distinct status, transport from steep_repl.table_progress");
    assert_eq!(done, ["done | backup"]);
    wait_for_status(&pair, &prepared.slot, "used");
    let held = "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'steep\\_repl%keeper'";
    wait_until("the snapshot is given up", Duration::from_secs(20), || {
        (pair.source.scalar::<i64>(held) == 0).then_some(())
    });
}

#[test]
fn a_plain_dump_under_load() {
    dumped_under_load("prep_plain", Dump::Plain);
}

#[test]
fn a_custom_dump_under_load() {
    dumped_under_load("prep_custom", Dump::Custom);
}

#[test]
fn a_dump_in_a_directory_by_four_jobs_under_load() {
    dumped_under_load("prep_dir", Dump::Directory);
}

#[test]
fn the_commands_name_what_was_made() {
    let pair = filled(Pair::options("prep_words"));
    let prepared = prepare(&pair);
    for words in [&prepared.slot, &prepared.lsn, &prepared.snapshot] {
        assert!(prepared.commands.contains(words.as_str()), "{words} is missing in\n{}", prepared.commands);
    }
    for program in ["pg_dump", "pg_restore", "pg_basebackup", "complete_init"] {
        assert!(prepared.commands.contains(program), "{program} is missing in\n{}", prepared.commands);
    }
    let shown = pair.target.rows(
        "select slot_name, node, status, source_lsn::text, snapshot, wal_held_bytes is null or wal_held_bytes >= 0, expires_at > now() + interval '6 days',
            error from steep_repl.init_slots",
    );
    assert_eq!(
        shown,
        [format!("{} | node_a | ready | {} | {} | t | t | ~", prepared.slot, prepared.lsn, prepared.snapshot)]
    );
    pair.target.exec(&format!("select steep_repl.drop_init_slot('{}')", prepared.slot));
    wait_for_status(&pair, &prepared.slot, "released");
    check::assert_clean(&pair.source, &pair.target);
    let identities = "select count(*) from pg_class where relreplident = 'f' and relname <> 'journal'";
    assert_eq!(pair.source.scalar::<i64>(identities), 0, "identities stay changed");
}

/// What is given to type in works as it stands, for a whole database and for parts of one.
#[test]
fn the_commands_are_run_as_they_are() {
    for (label, args) in [
        ("prep_typed", ""),
        ("prep_typed_s", ", schemas => array['public']"),
        ("prep_typed_t", ", tables => array['orders', 'measurements']"),
    ] {
        for how in ["-f node.sql", "-Fc", "-Fd"] {
            let pair = filled(Pair::options(label));
            pair.source.exec(
                "create table measurements (id int, day date, v int, primary key (id, day)) partition by range (day);
                 create table measurements_1 partition of measurements for values from ('2026-01-01') to ('2026-07-01');
                 create table measurements_2 partition of measurements for values from ('2026-07-01') to ('2027-01-01');
                 insert into measurements select i, date '2026-01-01' + i % 300, i from generate_series(1, 1000) i",
            );
            let load = shop::load().start(&pair.source);
            let prepared =
                prepare_with(&pair, &format!(", slot_name => '{}', no_identity => 'full'{args}", slot_of(&pair)))
                    .unwrap();
            let folder = root::folder(label);
            let of = |line: &&str| {
                let is_dump = line.starts_with("pg_dump ") && (line.contains(how) || line.contains("-f schema.sql"));
                let restores = match how {
                    "-f node.sql" => line.starts_with("psql "),
                    _ => line.starts_with("pg_restore ") || line.contains("-f schema.sql"),
                };
                is_dump || restores
            };
            let script: Vec<String> = prepared
                .commands
                .lines()
                .filter(of)
                .map(|line| {
                    let line = line.replace("'dbname=NEW_DATABASE'", &format!("\"{}\"", pair.target.conninfo()));
                    if how == "-Fd" {
                        line.replace("node.dump", "node.dir")
                    } else {
                        line
                    }
                })
                .collect();
            assert!(script.len() >= 2, "{}", prepared.commands);
            let programs = pair.source.cluster().installation().program("psql");
            let script = format!(
                "set -eu\nPATH='{}':$PATH\ncd '{}'\n{}",
                programs.parent().unwrap().display(),
                folder.display(),
                script.join("\n")
            );
            let result = root::server_command(Path::new("/bin/bash")).args(["-c", &script]).output().unwrap();
            assert!(result.status.success(), "{script}\n{}", String::from_utf8_lossy(&result.stderr));
            complete(&pair.target, &format!(", '{}', slot_name => '{}'", prepared.lsn, prepared.slot)).unwrap();
            pair.expect_synchronized();
            load.stop();
            check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(60));
            let published = pair.source.rows("select schemaname || '|' || tablename from pg_publication_tables");
            let published = published.iter().map(|name| name.split_once('|').unwrap());
            let published = published.map(|(schema, table)| (schema.to_owned(), table.to_owned())).collect();
            compare(&pair.source, &pair.target, &Tables::Only(published)).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }
}

#[test]
fn a_dump_without_the_snapshot_is_found_out() {
    let pair = filled(Pair::options("prep_without"));
    let prepared = prepare(&pair);
    pair.source.exec("update orders set v = v + 1 where id = 5; delete from customers where id = 7");
    dump_and_restore(&pair, Dump::Custom, None);
    let before = pair.target.scalar::<i64>("select count(*) from customers");
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["public.orders", "public.customers", "not the same", "--snapshot"]);
    assert_eq!(pair.state(), "FAILED");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    // What was restored is not ours to take away, nor is the slot, which is as it was.
    assert_eq!(pair.target.scalar::<i64>("select count(*) from customers"), before);
    assert_eq!(status(&pair, &prepared.slot), "ready");
    // A backup under it is taken in.
    drop_tables(&pair.target);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.expect_synchronized();
    expect_equal(&pair);
}

#[test]
fn what_was_not_restored_is_refused_with_its_names() {
    let pair = filled(Pair::options("prep_empty"));
    let prepared = prepare(&pair);
    pair.target.copy_schema_from(&pair.source);
    let refusal = refused_quickly(|| complete(&pair.target, &format!(", '{}'", prepared.lsn)));
    assert_eq!(refusal.code, "55000");
    refusal.names(&["public.orders", "public.customers", "Restore the backup"]);
    assert_eq!(pair.state(), "UNINITIALIZED");
}

#[test]
fn positions_and_names_that_are_wrong_are_refused() {
    let pair = filled(Pair::options("prep_wrong"));
    let prepared = prepare(&pair);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    let refused = |args: &str, code: &str, words: &[&str]| {
        let refusal = refused_quickly(|| complete(&pair.target, args));
        assert_eq!(refusal.code, code, "{args}: {refusal:?}");
        refusal.names(words);
        assert_eq!(pair.state(), "UNINITIALIZED", "{args}");
    };
    refused(", '0/1'", "22023", &["before the start", &prepared.slot]);
    refused(", 'FFFF/0'", "22023", &["beyond the end"]);
    refused("", "22023", &["source_lsn", &prepared.slot]);
    refused(", '0/1', slot_name => 'no_such_slot'", "42704", &["no_such_slot"]);
    refused(&format!(", '{}', repair => true", prepared.lsn), "0A000", &["repair"]);
    refused(&format!(", '{}', publication => 'nothing'", prepared.lsn), "55000", &["nothing", "does not exist"]);
    // A slot of another kind, of somebody else, and one that is too young for its publication.
    pair.source.exec("select pg_create_logical_replication_slot('other_plugin', 'test_decoding')");
    refused(", '0/1', slot_name => 'other_plugin'", "55000", &["pgoutput"]);
    pair.source.exec("select pg_create_physical_replication_slot('physical_one')");
    refused(", '0/1', slot_name => 'physical_one'", "55000", &["pgoutput"]);
    pair.source.exec("select pg_create_logical_replication_slot('foreign_one', 'pgoutput')");
    refused(&format!(", '{}', slot_name => 'foreign_one'", prepared.lsn), "55000", &["prepare_init", "publication =>"]);
    pair.source.exec("create publication too_late for table orders");
    refused(
        &format!(", '{}', slot_name => 'foreign_one', publication => 'too_late'", prepared.lsn),
        "55000",
        &["not older"],
    );
    for slot in ["other_plugin", "physical_one", "foreign_one"] {
        pair.source.exec(&format!("select pg_drop_replication_slot('{slot}')"));
    }
    // It is taken in all the same, once, and not twice.
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.expect_synchronized();
    expect_equal(&pair);
    let refusal = refused_quickly(|| complete(&pair.target, &format!(", '{}'", prepared.lsn)));
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    refusal.names(&["SYNCHRONIZED"]);
    let refusal = refused_quickly(|| prepare_with(&pair, &format!(", slot_name => '{}'", prepared.slot)).map(drop));
    assert_eq!(refusal.code, "42710", "{refusal:?}");
}

/// Another node finds the slot used.
#[test]
fn a_slot_serves_one_node() {
    let pair = filled(Pair::options("prep_once"));
    let prepared = prepare(&pair);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    let other = pair.target.cluster().create_database("prep_once_o", "");
    other.psql(&pair.source.dump(&["--no-publications", "--no-subscriptions", "--snapshot", &prepared.snapshot]));
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.expect_synchronized();
    other.exec("create extension steep_repl");
    other.exec(&format!(
        "select steep_repl.register_node('node_b', {0}, is_local => true), steep_repl.register_node('node_a', {1})",
        steep_repl_testkit::quote_literal(&other.conninfo()),
        steep_repl_testkit::quote_literal(&pair.source.conninfo())
    ));
    for args in [format!(", '{}'", prepared.lsn), format!(", '{}', slot_name => '{}'", prepared.lsn, prepared.slot)] {
        let refusal = refused_quickly(|| complete(&other, &args));
        assert!(["55000", "22023"].contains(&refusal.code.as_str()), "{refusal:?}");
    }
    check::remove_target(&other);
    expect_equal(&pair);
}

#[test]
fn an_expired_slot_is_taken_away_and_said() {
    let pair = filled(Pair::options("prep_expire"));
    let prepared =
        prepare_with(&pair, ", slot_name => 'short_one', expires => '2 seconds', no_identity => 'full'").unwrap();
    wait_for_status(&pair, "short_one", "expired");
    check::assert_clean(&pair.source, &pair.target);
    pair.target.copy_schema_from(&pair.source);
    let refusal =
        refused_quickly(|| complete(&pair.target, &format!(", '{}', slot_name => 'short_one'", prepared.lsn)));
    assert_eq!(refusal.code, "42704", "{refusal:?}");
    let refusal = refused_quickly(|| pair.target.try_exec("select steep_repl.drop_init_slot('short_one')"));
    assert_eq!(refusal.code, "42704", "{refusal:?}");
    // The name is free again.
    prepare_with(&pair, ", slot_name => 'short_one', no_identity => 'full'").unwrap();
    pair.target.exec("select steep_repl.drop_init_slot('short_one')");
    wait_for_status(&pair, "short_one", "released");
    // What has ended long ago is forgotten when the next one is made.
    let ended = "select status from steep_repl.init_slots order by operation_id";
    assert_eq!(pair.target.rows(ended), ["expired", "released"]);
    pair.target.exec("update steep_repl.operations set finished_at = finished_at - interval '1 year'");
    prepare_with(&pair, ", slot_name => 'short_one', no_identity => 'full'").unwrap();
    assert_eq!(pair.target.rows(ended), ["ready"]);
    pair.target.exec("select steep_repl.drop_init_slot('short_one')");
    wait_for_status(&pair, "short_one", "released");
}

#[test]
fn what_is_rolled_back_is_given_up() {
    let pair = filled(Pair::options("prep_roll"));
    let mut session = pair.session();
    session
        .batch_execute(
            "begin; select steep_repl.prepare_init('node_a', 'rolled_back', no_identity => 'full'); rollback",
        )
        .unwrap();
    wait_for_status(&pair, "rolled_back", "released");
    check::assert_clean(&pair.source, &pair.target);
    // In one that has written it would wait for itself.
    let refusal = refused_quickly(|| {
        pair.session()
            .batch_execute("begin; create table written (); select steep_repl.prepare_init('node_a', 'never')")
    });
    assert_eq!(refusal.code, "25001", "{refusal:?}");
    pair.source.exec("create table bare (v int)");
    for (args, code) in
        [("'node_a', 'Wrong-Name'", "42602"), ("'node_z'", "42704"), ("'node_a', no_identity => 'error'", "55000")]
    {
        let refusal = refused_quickly(|| pair.target.try_exec(&format!("select steep_repl.prepare_init({args})")));
        assert_eq!(refusal.code, code, "{args}: {refusal:?}");
    }
    check::assert_clean(&pair.source, &pair.target);
}

/// As psql's ON_ERROR_ROLLBACK does it, and a block with an exception clause: the transaction goes on without what a part of it has asked for.
#[test]
fn what_is_rolled_back_to_a_savepoint_is_given_up() {
    let pair = filled(Pair::options("prep_save"));
    let slot = |number: i32| format!("{}_{number}", slot_of(&pair));
    let call = |number: i32| format!("steep_repl.prepare_init('node_a', '{}', no_identity => 'full')", slot(number));
    let given_up = |number: i32, sql: &str| {
        pair.session().batch_execute(sql).unwrap();
        wait_for_status(&pair, &slot(number), "released");
        check::assert_clean(&pair.source, &pair.target);
    };
    given_up(1, &format!("begin; savepoint a; select {}; rollback to a; commit", call(1)));
    // What asked was released, into what is rolled back.
    given_up(
        2,
        &format!(
            "begin; savepoint a; savepoint b; savepoint c; select {}; release b; savepoint d; rollback to a; commit",
            call(2)
        ),
    );
    given_up(
        3,
        &format!("do $$ begin perform {}; perform 1 / 0; exception when division_by_zero then null; end $$", call(3)),
    );
    // Another part is rolled back than the one that asked.
    pair.session()
        .batch_execute(&format!(
            "begin; savepoint a; select {}; release a; savepoint a; rollback to a; commit",
            call(4)
        ))
        .unwrap();
    let committed: String = pair.target.scalar("select clock_timestamp()::text");
    wait_until("it was looked at since", Duration::from_secs(40), || {
        let seen = "select coalesce(max(seen_at), '-infinity') from steep_repl.init_slots";
        pair.target.scalar::<bool>(&format!("select ({seen}) > '{committed}'")).then_some(())
    });
    assert_eq!(status(&pair, &slot(4)), "ready");
    pair.target.exec(&format!("select steep_repl.drop_init_slot('{}')", slot(4)));
    wait_for_status(&pair, &slot(4), "released");
    check::assert_clean(&pair.source, &pair.target);
}

/// A slot is given its name by copying it.
#[test]
fn a_slot_of_a_given_name_takes_two_for_a_moment() {
    let source = ClusterOptions::new("prep_few").set("max_replication_slots", "1").start();
    let pair = filled(Pair::options("prep_few").source(source));
    let refusal = refused_quickly(|| prepare_with(&pair, ", slot_name => 'given', no_identity => 'full'").map(drop));
    assert_eq!(refusal.code, "53400", "{refusal:?}");
    refusal.names(&["1 free replication slots", "2 are needed", "max_replication_slots", "leave slot_name out"]);
    check::assert_clean(&pair.source, &pair.target);
    let prepared = prepare_with(&pair, ", no_identity => 'full'").unwrap();
    pair.target.exec(&format!("select steep_repl.drop_init_slot('{}')", prepared.slot));
    wait_for_status(&pair, &prepared.slot, "released");
    check::assert_clean(&pair.source, &pair.target);
    pair.source.cluster().restart_with(&[("max_replication_slots", "2")]);
    prepare_with(&pair, ", slot_name => 'given', no_identity => 'full'").unwrap();
    assert_eq!(status(&pair, "given"), "ready");
}

/// A transaction that runs on the source holds the slot up; who waits for it may have enough of it.
#[test]
fn who_waits_for_it_may_be_cancelled() {
    let pair = filled(Pair::options("prep_wait"));
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; update countries set v = 1").unwrap();
    let mut session = pair.session();
    let cancel = session.cancel_token();
    let waiting = std::thread::spawn(move || {
        session.batch_execute("select steep_repl.prepare_init('node_a', 'waited_for', no_identity => 'full')")
    });
    wait_until("it waits", Duration::from_secs(30), || {
        let waits = "select count(*) from pg_stat_activity where query like 'CREATE_REPLICATION_SLOT \"steep\\_repl%' and datname = current_database()";
        (pair.source.scalar::<i64>(waits) == 1).then_some(())
    });
    cancel.cancel_query(postgres::NoTls).unwrap();
    let error = waiting.join().unwrap().unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{}", describe(&error));
    wait_for_status(&pair, "waited_for", "released");
    holder.batch_execute("rollback").unwrap();
    check::assert_clean(&pair.source, &pair.target);
}

/// Those who replicate with a publication of their own.
#[test]
fn a_publication_of_the_users() {
    let pair = filled(Pair::options("prep_pub"));
    pair.source.exec("create publication mine for table orders, customers, countries");
    let prepared = prepare_with(
        &pair,
        ", slot_name => 'with_mine', publication => 'mine', tables => '{orders, customers, countries}'",
    )
    .unwrap();
    let load = LoadOptions::default().keyed("orders").keyed("customers").keys(5000).rate(100).start(&pair.source);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    let position = &prepared.lsn;
    let refusal = refused_quickly(|| complete(&pair.target, &format!(", '{position}', slot_name => 'with_mine'")));
    assert_eq!(refusal.code, "55000");
    refusal.names(&["publication =>"]);
    complete(&pair.target, &format!(", '{position}', slot_name => 'with_mine', publication => 'mine'")).unwrap();
    pair.expect_synchronized();
    load.stop();
    check::wait_caught_up(&pair.source, &pair.target, Duration::from_secs(60));
    compare(&pair.source, &pair.target, &Tables::only(&["orders", "customers", "countries"])).unwrap();
}

#[test]
fn cancelled_while_it_catches_up_and_without_the_slot_it_used() {
    let pair = filled(Pair::options("prep_cancel").proxied());
    pair.source.exec("create table keyless (v int); insert into keyless values (1)");
    let prepared = prepare(&pair);
    assert_eq!(pair.source.rows(FULL), ["keyless"]);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    pair.source.exec(
        "insert into orders (id, v, note) select i, 1, repeat('x', 500) from generate_series(1000000, 1040000) i",
    );
    let rows = pair.target.scalar::<i64>("select count(*) from customers");
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.proxy().throttle(200_000);
    wait_until("it catches up", Duration::from_secs(60), || (pair.state() == "CATCHING_UP").then_some(()));
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    pair.proxy().throttle(0);
    assert!(pair.target.scalar::<i64>("select count(*) from customers") >= rows - 1, "rows of the backup are gone");
    // Used up, it is of no use to anybody.
    wait_until("slot and publication are gone", Duration::from_secs(30), || {
        let left = "select (select count(*) from pg_replication_slots where database = current_database()) + (select count(*) from pg_publication)";
        (pair.source.scalar::<i64>(left) == 0).then_some(())
    });
    wait_until("replica identities are what they were", Duration::from_secs(30), || {
        pair.source.rows(FULL).is_empty().then_some(())
    });
    wait_until("the slot is not kept", Duration::from_secs(30), || {
        (status(&pair, &prepared.slot) != "ready").then_some(())
    });
}

/// A cancel that cannot reach the source is finished later: what somebody has made anew under the slot's name by then is not its.
#[test]
fn a_slot_made_anew_under_the_same_name_stays() {
    let pair = filled(Pair::options("prep_anew").proxied());
    let prepared = prepare(&pair);
    let slot = &prepared.slot;
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    pair.source.exec(
        "insert into orders (id, v, note) select i, 1, repeat('x', 500) from generate_series(1000000, 1040000) i",
    );
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.proxy().throttle(200_000);
    wait_until("it catches up", Duration::from_secs(60), || (pair.state() == "CATCHING_UP").then_some(()));
    pair.proxy().down();
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    let pending = || pair.target.rows("select kind from steep_repl.pending_cleanup where node = 'node_b'");
    assert_eq!(pending(), ["source"]);
    wait_until("nobody replicates by the slot", Duration::from_secs(60), || {
        pair.source.try_exec(&format!("select pg_drop_replication_slot('{slot}')")).ok()
    });
    let manager = pair.target.cluster().create_database("prep_anew_manager", "");
    manager.exec("create extension steep_repl");
    for (node, db, is_local) in [("node_m", &manager, true), ("node_a", &pair.source, false)] {
        let conninfo = steep_repl_testkit::quote_literal(&db.conninfo());
        manager.exec(&format!("select steep_repl.register_node('{node}', {conninfo}, is_local => {is_local})"));
    }
    let made = format!("select slot_name from steep_repl.prepare_init('node_a', '{slot}', no_identity => 'full')");
    assert_eq!(manager.rows(&made), [slot.as_str()]);
    pair.proxy().throttle(0);
    pair.proxy().restore();
    wait_until("the cancel is done", Duration::from_secs(90), || pending().is_empty().then_some(()));
    let there = format!("select slot_name from pg_replication_slots where slot_name = '{slot}'");
    assert_eq!(pair.source.rows(&there), [slot.as_str()]);
    // Its snapshot and publication serve.
    let publications = pair.source.rows("select pubname from pg_publication");
    assert_eq!(publications.len(), 1, "{publications:?}");
    manager.exec(&format!("select steep_repl.drop_init_slot('{slot}')"));
    wait_until("it is released", Duration::from_secs(30), || pair.source.rows(&there).is_empty().then_some(()));
    check::remove_target(&manager);
}

/// Everything that may happen to links and servers between the slot and the catch-up.
#[test]
fn the_source_goes_down_while_rows_are_compared_and_caught_up() {
    let source = ClusterOptions::new("psource").start();
    let pair = filled(Pair::options("prep_faults").source(Arc::clone(&source)).proxied());
    let load = shop::load().tolerant().start(&pair.source);
    let prepared = prepare(&pair);
    dump_and_restore(&pair, Dump::Directory, Some(&prepared.snapshot));
    pair.source.exec(
        "insert into orders (id, v, note) select i, 1, repeat('x', 300) from generate_series(2000000, 2040000) i",
    );
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    // Tables are compared under the snapshot; those that are left when it is gone are taken as they are, and that is said.
    pair.proxy().cut();
    source.restart();
    pair.proxy().restore();
    pair.proxy().throttle(300_000);
    wait_until("it catches up", Duration::from_secs(120), || (pair.state() == "CATCHING_UP").then_some(()));
    pair.proxy().cut();
    source.crash();
    pair.proxy().restore();
    pair.proxy().throttle(0);
    load.stop();
    pair.expect_synchronized();
    pair.expect_equal_rows();
}

#[test]
fn the_target_goes_down_while_rows_are_compared_and_caught_up() {
    let target = ClusterOptions::new("ptarget").preload().start();
    let pair = filled(Pair::options("prep_down").target(Arc::clone(&target)).proxied());
    let load = shop::load().start(&pair.source);
    let prepared = prepare(&pair);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.proxy().throttle(100_000);
    target.restart();
    wait_until("it catches up", Duration::from_secs(120), || (pair.state() != "PREPARING").then_some(()));
    target.crash();
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    pair.expect_equal_rows();
}

/// Who may use the source's connection string may have a slot made, and nobody else may have it taken away.
#[test]
fn slots_belong_to_who_asked() {
    let operator = Role::create(&shared::target(), "preparer", "login in role pg_create_subscription");
    let other = Role::create(&shared::target(), "otherone", "login in role pg_create_subscription");
    let pair = filled(Pair::options("prep_roles"));
    let as_role = |role: &Role, sql: &str| {
        let mut client = pair.target.connect();
        client.batch_execute(&format!("set session authorization {role}"))?;
        client.batch_execute(sql)
    };
    let prepare = "select steep_repl.prepare_init('node_a', 'of_operator', no_identity => 'full')";
    let refusal = refused_quickly(|| as_role(&operator, prepare));
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    let prepared = prepare_as(&pair, &slot_of(&pair));
    for role in [&operator, &other] {
        let refusal =
            refused_quickly(|| as_role(role, &format!("select steep_repl.drop_init_slot('{}')", prepared.slot)));
        assert_eq!(refusal.code, "42501", "{refusal:?}");
        // They may see what WAL it holds back.
        as_role(role, "select slot_name, wal_held_bytes from steep_repl.init_slots").unwrap();
    }
    pair.target.exec(&format!("select steep_repl.drop_init_slot('{}')", prepared.slot));
    wait_for_status(&pair, &prepared.slot, "released");
}

#[test]
fn an_older_source() {
    let source = ClusterOptions::old("oldsrc").start();
    let pair = Pair::options("prep_old").source(source).build();
    pair.source.exec(
        "create table orders (id bigint primary key, v int, note text);
         insert into orders select i, i, 'row ' || i from generate_series(1, 20000) i; create table log (v int, note text)",
    );
    pair.register();
    let load = LoadOptions::default().keyed("orders").appended("log").keys(20_000).rate(100).start(&pair.source);
    let prepared = prepare_with(&pair, ", slot_name => 'old_one', no_identity => 'insert_only'").unwrap();
    dump_and_restore(&pair, Dump::Directory, Some(&prepared.snapshot));
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.expect_synchronized();
    load.stop();
    expect_equal(&pair);
}

/// Whoever thinks that nobody needs the slot, while a node has just begun to, takes nothing away from it.
#[test]
fn a_slot_that_is_in_use_is_not_released() {
    let pair = filled(Pair::options("prep_late"));
    let prepared = prepare(&pair);
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    complete(&pair.target, &format!(", '{}'", prepared.lsn)).unwrap();
    pair.expect_synchronized();
    // It may be known by now.
    let released = pair.target.try_exec(&format!("select steep_repl.drop_init_slot('{}')", prepared.slot));
    assert!(released.is_ok() || status(&pair, &prepared.slot) == "used", "{released:?}");
    wait_for_status(&pair, &prepared.slot, "used");
    pair.source.exec("update orders set v = v + 1 where id < 100");
    expect_equal(&pair);
}

/// Comparing may take longer than the slot was meant to be kept.
#[test]
fn a_slot_does_not_expire_while_a_node_is_about_to_use_it() {
    let pair = filled(Pair::options("prep_taken"));
    let prepared = prepare_with(
        &pair,
        &format!(", slot_name => '{}', expires => '12 seconds', no_identity => 'full'", slot_of(&pair)),
    )
    .unwrap();
    dump_and_restore(&pair, Dump::Custom, Some(&prepared.snapshot));
    let mut holder = complete_under_lock(&pair, &prepared, "orders");
    wait_until("its time is over", Duration::from_secs(60), || {
        let over = "select expires_at < now() - interval '7 seconds' from steep_repl.init_slots";
        pair.target.scalar::<bool>(over).then_some(())
    });
    assert_eq!((status(&pair, &prepared.slot).as_str(), pair.state().as_str()), ("ready", "PREPARING"));
    holder.batch_execute("rollback").unwrap();
    pair.expect_synchronized();
    expect_equal(&pair);
}

/// Whoever may call the functions, owns the tables and uses a password needs not be a superuser on either side.
#[test]
fn an_operator_who_is_not_superuser() {
    let source = ClusterOptions::new("prep_ops").auth(Auth::Scram).start();
    let operator = Role::create(&shared::target(), "prepops", "login in role pg_create_subscription");
    let pair = Pair::options("prep_ops").source(source).build();
    let database = steep_repl_testkit::quote_ident(pair.source.name());
    pair.source.exec(&format!(
        "create role copier login replication password 's3cr3t-pw'; grant create on database {database} to copier;
         create table t (id bigint primary key, v int, note text); insert into t select i, i, 'x' from generate_series(1, 5000) i;
         alter table t owner to copier"
    ));
    let database = steep_repl_testkit::quote_ident(pair.target.name());
    pair.target.exec(&format!("grant create on database {database} to {operator}"));
    let conninfo = format!(
        "host=127.0.0.1 port={} user=copier password=s3cr3t-pw dbname={}",
        pair.source.cluster().port(),
        pair.source.name()
    );
    let mut client = pair.session();
    client.batch_execute(&format!("set session authorization {operator}")).unwrap();
    let quoted = |text: &str| steep_repl_testkit::quote_literal(text);
    client
        .batch_execute(&format!(
            "select steep_repl.register_node('node_a', {}), steep_repl.register_node('node_b', {}, is_local => true)",
            quoted(&conninfo),
            quoted(&pair.target.conninfo())
        ))
        .unwrap();
    let load = LoadOptions::default().keyed("t").keys(5000).rate(50).start(&pair.source);
    let row = client
        .query_one("select slot_name, source_lsn::text, snapshot, commands from steep_repl.prepare_init('node_a')", &[])
        .unwrap();
    let (slot, lsn, snapshot, commands): (String, String, String, String) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    assert!(!commands.contains("s3cr3t-pw"), "the password is in the commands: {commands}");
    pair.target.psql(&pair.source.dump(&[
        "--no-owner",
        "--no-publications",
        "--no-subscriptions",
        "--snapshot",
        &snapshot,
    ]));
    pair.target.exec(&format!("alter table t owner to {operator}"));
    client
        .batch_execute(&format!("select steep_repl.complete_init('node_b', 'node_a', '{lsn}', slot_name => '{slot}')"))
        .unwrap();
    pair.expect_synchronized();
    load.stop();
    expect_equal(&pair);
}
