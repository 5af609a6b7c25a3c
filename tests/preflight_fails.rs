//! Each check of `preflight` fails or warns when it should, and says so in a row of its own; those that are not here are in `preflight`, or
//! with what they are about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use steep_repl_testkit::{
    major, quote_ident, quote_literal, root, shared, wait_until, Auth, ClusterOptions, Pair, Role,
};

use crate::copies::standby;
use crate::preflight::{connect_as, connect_by, listed, one_table, row, row_after};
use crate::shop;

const AS_CLERK: &str = "set session authorization clerk;";

/// Both databases on a server of their own, and a clerk who may call our functions, owns nodes and tables, and may do nothing else.
fn with_clerk(label: &str, settings: &[(&str, &str)]) -> Pair {
    let options = ClusterOptions::new(label).preload().auth(Auth::Scram);
    let server = settings.iter().fold(options, |options, (name, value)| options.set(name, value)).start();
    let pair = Pair::options(label).source(Arc::clone(&server)).target(Arc::clone(&server)).build();
    pair.source.exec(
        "create table t (id int primary key); create role clerk login;
         create role copier superuser login password 's3cr3t-pw'",
    );
    pair.target.copy_schema_from(&pair.source);
    let there =
        format!("host=127.0.0.1 port={} user=copier password=s3cr3t-pw dbname={}", server.port(), pair.source.name());
    pair.target.exec(&format!(
        "alter table t owner to clerk; grant usage on schema steep_repl to clerk;
         grant execute on all functions in schema steep_repl to clerk; {AS_CLERK}
         select steep_repl.register_node('node_a', {}); select steep_repl.register_node('node_b', {}, is_local => true)",
        quote_literal(&there),
        quote_literal(&pair.target.conninfo())
    ));
    pair
}

/// A row of this kind, with a way out, in which these words stand.
fn expect(row: &str, begins: &str, words: &[&str]) {
    assert!(row.starts_with(&format!("{begins} | ")) && row.ends_with(" | t"), "{begins:?} was expected: {row}");
    for word in words {
        assert!(row.contains(word), "{word:?} is missing in: {row}");
    }
}

#[test]
fn a_target_without_the_launcher() {
    let pair = Pair::options("pf_launcher").target(shared::source()).build();
    one_table(&pair);
    expect(&row(&pair, "launcher", ""), "launcher | error | 55000", &["is not loaded"]);
    assert!(row(&pair, "rights", "").starts_with("rights | ok"), "the rest is looked at all the same");
}

#[test]
fn a_source_that_leads_here() {
    let pair = Pair::new("pf_itself");
    pair.target.exec("create table t (id int primary key)");
    pair.register_with(&pair.target.conninfo());
    expect(&row(&pair, "source", ""), "source | error | 22023", &["from itself"]);
}

#[test]
fn a_source_that_is_a_standby() {
    let primary = ClusterOptions::new("pf_primary").start();
    let pair = Pair::options("pf_standby").source(Arc::clone(&primary)).build();
    one_table(&pair);
    assert!(row(&pair, "source", "").starts_with("source | ok"));
    let standby = standby(&primary, "pf_standby");
    connect_by(&pair, &standby.conninfo(pair.source.name()));
    expect(&row(&pair, "source", ""), "source | error | 55000", &["pg_is_in_recovery() = true"]);
}

#[test]
fn a_source_that_keeps_too_little_wal() {
    let mut options = ClusterOptions::new("pf_wal").set("wal_level", "replica").set("max_slot_wal_keep_size", "64MB");
    let mut limits = vec!["max_slot_wal_keep_size = 64MB"];
    if major() >= 18 {
        options = options.set("idle_replication_slot_timeout", "2h");
        limits.push("idle_replication_slot_timeout = 2h");
    }
    let pair = Pair::options("pf_wal").source(options.start()).build();
    one_table(&pair);
    expect(&row(&pair, "source_retention", ""), "source_retention | warning", &limits);
    expect(&row(&pair, "source_wal", ""), "source_wal | error | 55000", &["wal_level = replica"]);
}

#[test]
fn a_source_role_that_may_not_make_what_is_needed() {
    let role = Role::create(&shared::source(), "pf_maker", "login in role pg_read_all_data");
    let pair = Pair::new("pf_maker");
    one_table(&pair);
    connect_as(&pair, role.name());
    let refused = |words: &[&str]| expect(&row(&pair, "source_rights", ""), "source_rights | error | 42501", words);
    refused(&[role.name(), "may not create replication slots"]);
    pair.source.exec(&format!("alter role {role} replication"));
    let database = format!("may not create a publication in database \"{}\"", pair.source.name());
    refused(&[role.name(), &database]);
    pair.source.exec(&format!("grant create on database {} to {role}", quote_ident(pair.source.name())));
    assert!(row(&pair, "source_rights", "").starts_with("source_rights | ok"));
}

/// Who may not see how old a transaction is, sees that there is one.
#[test]
fn a_transaction_of_unknown_age() {
    let pair = Pair::options("pf_age").source(ClusterOptions::new("pf_age").start()).build();
    one_table(&pair);
    pair.source.exec("create role watcher login replication");
    connect_as(&pair, "watcher");
    let mut open = pair.source.connect();
    open.batch_execute("begin; select pg_current_xact_id()").unwrap();
    let named = format!("pid {}", open.query_one("select pg_backend_pid()", &[]).unwrap().get::<_, i32>(0));
    expect(&row(&pair, "source_transactions", ""), "source_transactions | warning", &[&named]);
    open.batch_execute("rollback").unwrap();
    let found = row(&pair, "source_transactions", "");
    assert!(!found.contains(&named), "it is told though it is over: {found}");
}

#[test]
fn a_table_of_the_source_that_is_locked() {
    let pair = Pair::new("pf_locked");
    one_table(&pair);
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; lock table t in access exclusive mode").unwrap();
    let found = row(&pair, "tables", "");
    expect(&found, "tables | error", &["public.t"]);
    assert!(["55P03", "55006"].iter().any(|code| found.starts_with(&format!("tables | error | {code}"))), "{found}");
    holder.batch_execute("commit").unwrap();
    assert!(row(&pair, "tables", "").starts_with("tables | ok"));
}

#[test]
fn a_publication_that_is_not_there() {
    let pair = Pair::new("pf_nowhere");
    one_table(&pair);
    let found = row(&pair, "publication", ", publication => 'nowhere'");
    expect(&found, "publication | error | 55000", &["nowhere", "does not exist"]);
}

/// It runs for every row that comes.
#[test]
fn a_trigger_that_fires_for_copied_rows() {
    let pair = Pair::new("pf_trigger");
    one_table(&pair);
    pair.target.exec(
        "create function note() returns trigger language plpgsql as 'begin return null; end';
         create trigger fires after insert on t for each row execute function note();
         alter table t enable always trigger fires",
    );
    let found = row(&pair, "triggers", "");
    assert!(found.starts_with("triggers | notice | ") && found.contains("\"public\".\"t\" (fires)"), "{found}");
}

#[test]
fn a_role_here_that_may_not_subscribe() {
    let pair = with_clerk("pf_rights", &[]);
    let refused = |check: &str, args: &str, words: &[&str]| {
        expect(&row_after(&pair, AS_CLERK, check, args), &format!("{check} | error | 42501"), words);
    };
    refused("schema_sync", ", schema_sync => 'auto'", &["clerk", "programs of the server"]);
    refused("rights", "", &["clerk", "may not create subscriptions"]);
    pair.target.exec("grant pg_create_subscription to clerk");
    let database = format!("may not create a subscription in database \"{}\"", pair.target.name());
    refused("rights", "", &["clerk", &database]);
    pair.target.exec(&format!("grant create on database {} to clerk", quote_ident(pair.target.name())));
    assert!(row_after(&pair, AS_CLERK, "rights", "").starts_with("rights | ok"));
}

/// Whoever asks: what a role may see of other sessions makes no workers free.
#[test]
fn a_target_with_few_workers() {
    let settings = [("max_worker_processes", "6"), ("max_sync_workers_per_subscription", "0")];
    let pair = with_clerk("pf_workers", &settings);
    for who in ["", AS_CLERK] {
        let statements = format!("set steep_repl.parallel_workers = 4; {who}");
        wait_until(&format!("two launchers are all that takes workers ({who})"), Duration::from_secs(60), || {
            let found = row_after(&pair, &statements, "workers", ", method => 'parallel'");
            expect(&found, "workers | warning", &["of max_worker_processes are free, 6 would be used"]);
            found.contains(" | 4 of").then_some(())
        });
    }
    let found = row(&pair, "sync_workers", ", method => 'snapshot'");
    expect(&found, "sync_workers | error | 55000", &["max_sync_workers_per_subscription = 0"]);
}

/// A base backup takes three of each.
#[test]
fn a_source_with_too_few_slots_or_wal_senders() {
    let source = ClusterOptions::new("pf_slots").set("max_replication_slots", "2").set("max_wal_senders", "3").start();
    let pair = Pair::options("pf_slots").source(Arc::clone(&source)).build();
    one_table(&pair);
    pair.source.exec("insert into t values (1, 'one'); select pg_create_physical_replication_slot('taken')");
    let scratch = quote_literal(&root::folder("pf_scratch").display().to_string());
    let found = |check: &str| {
        let args = ", method => 'snapshot', large_table_threshold => '1kB', large_table_method => 'basebackup'";
        row_after(&pair, &format!("set steep_repl.scratch_directory = {scratch};"), check, args)
    };
    expect(&found("source_slots"), "source_slots | error | 53400", &["1 free replication slots"]);
    pair.source.exec("select pg_drop_replication_slot('taken')");
    let free = |slots: u32, senders: u32| {
        format!("{slots} of max_replication_slots and {senders} of max_wal_senders are free")
    };
    expect(&found("large_tables"), "large_tables | error | 55000", &[&free(2, 3)]);
    source.restart_with(&[("max_replication_slots", "3"), ("max_wal_senders", "2")]);
    expect(&found("large_tables"), "large_tables | error | 55000", &[&free(3, 2)]);
    source.restart_with(&[("max_replication_slots", "3")]);
    assert!(found("large_tables").starts_with("large_tables | ok"));
}

#[test]
fn files_without_a_place() {
    let pair = Pair::new("pf_files");
    one_table(&pair);
    let found = row(&pair, "snapshot_directory", ", method => 'two_phase'");
    expect(&found, "snapshot_directory | error | 55000", &["steep_repl.snapshot_directory"]);
}

#[test]
fn no_check_is_listed_twice() {
    let pair = Pair::new("pf_twice");
    pair.source.exec("create unlogged table u (id int primary key)");
    one_table(&pair);
    let rows = listed(&pair, ", schema_sync => 'auto'");
    assert!(rows.iter().any(|row| row.contains(" | warning | ") && row.contains("rights of superuser")), "{rows:?}");
    let mut checks: Vec<&str> = rows.iter().filter_map(|row| row.split(" | ").next()).collect();
    checks.sort_unstable();
    checks.dedup();
    assert_eq!(checks.len(), rows.len(), "{rows:#?}");
}

/// It is asked by somebody who waits for it.
#[test]
fn it_takes_less_than_two_seconds() {
    let pair = Pair::new("pf_fast");
    shop::create(&pair.source);
    pair.prepare();
    let mut took: Vec<Duration> = (0..3)
        .map(|_| {
            let started = Instant::now();
            let rows = listed(&pair, "");
            assert!(!rows.iter().any(|row| row.contains(" | error | ")), "{rows:?}");
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    assert!(took[1] < Duration::from_secs(2), "{took:?}");
}
