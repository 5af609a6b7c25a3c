//! What is refused because of the source: not there, not willing, not set up for it.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{check, root, shared, wait_until, Auth, Cluster, ClusterOptions, Pair, Role, Running};

use crate::refusal::{contents, refused, refused_quickly, Refusal};

const SCHEMA: &str =
    "create table one (id int primary key, v int); insert into one select i, i from generate_series(1, 100) i";

fn pair_with(label: &str, source: Option<Arc<Cluster>>) -> Pair {
    let options = Pair::options(label);
    let pair = match source {
        Some(cluster) => options.source(cluster),
        None => options,
    }
    .build();
    pair.source.exec(SCHEMA);
    pair.target.copy_schema_from(&pair.source);
    pair
}

/// Refused by register_node or init_node, whichever looks first; nothing is changed either way.
fn refused_conninfo(pair: &Pair, conninfo: &str) -> Refusal {
    let before = (contents(&pair.source), contents(&pair.target));
    let refusal = refused_quickly(|| {
        pair.try_register(conninfo)?;
        pair.init("method => 'parallel'")?;
        pair.wait(Duration::from_secs(15))
    });
    assert_eq!(before, (contents(&pair.source), contents(&pair.target)));
    check::assert_clean(&pair.source, &pair.target);
    pair.target.exec("delete from steep_repl.nodes");
    refusal
}

#[test]
fn nobody_answers_there() {
    let pair = pair_with("noone", None);
    let name = pair.source.name().to_string();
    let port = pair.source.cluster().port();
    for conninfo in [
        format!("host=127.0.0.1 port=1 user=postgres dbname={name}"),
        format!("host=no-such-host.invalid port={port} user=postgres dbname={name}"),
        format!("host=/no/such/folder port={port} user=postgres dbname={name}"),
        format!("host=127.0.0.1 port={port} user=postgres dbname=no_such_database"),
        format!("host=127.0.0.1 port={port} user=no_such_user dbname={name}"),
        format!("host=127.0.0.1 port={port} user=postgres dbname={name} sslmode=require"),
    ] {
        let refusal = refused_conninfo(&pair, &conninfo);
        assert!(["08", "28", "3D"].iter().any(|class| refusal.code.starts_with(class)), "{conninfo}: {refusal:?}");
    }
}

/// An address that answers to nothing costs connect_timeout, not minutes.
#[test]
fn a_host_that_swallows_everything() {
    let pair = Pair::options("blackhole").proxied().build();
    pair.source.exec(SCHEMA);
    pair.prepare();
    pair.proxy().freeze();
    let refusal = refused(&pair, "method => 'parallel'");
    assert!(refusal.code.starts_with("08"), "{refusal:?}");
    pair.proxy().thaw();
    pair.synchronize("method => 'parallel'");
    pair.expect_equal();
}

#[test]
fn passwords() {
    let source = ClusterOptions::new("scram").auth(Auth::Scram).start();
    let pair = pair_with("scram", Some(source));
    pair.source.exec("create role copier superuser login password 's3cr3t-pw'");
    let conninfo = |password: &str| {
        let name = pair.source.name();
        format!("host=127.0.0.1 port={} user=copier dbname={name} {password}", pair.source.cluster().port())
    };
    for password in ["password=wrong", ""] {
        let refusal = refused_conninfo(&pair, &conninfo(password));
        assert!(refusal.code.starts_with("28") || refusal.code.starts_with("08"), "{refusal:?}");
    }
    pair.register_with(&conninfo("password=s3cr3t-pw"));
    pair.synchronize("method => 'parallel'");
    pair.expect_equal();
    assert_secret_stays_secret(&pair);
}

/// The password is in no log, view, event or process title; only the owner's table of nodes holds it.
fn assert_secret_stays_secret(pair: &Pair) {
    let secret = "s3cr3t-pw";
    assert!(!pair.target.cluster().log_contains(secret), "the password is in the target's log");
    let views = pair.target.rows(
        "select format('%I.%I', nspname, relname) from pg_class c join pg_namespace n on n.oid = relnamespace
         where nspname = 'steep_repl' and (relkind = 'v' or relkind = 'r' and relname <> 'nodes')",
    );
    assert!(views.len() > 5, "{views:?}");
    for view in views {
        let rows = pair.target.rows(&format!("select to_jsonb(v)::text from {view} v"));
        assert!(!rows.iter().any(|row| row.contains(secret)), "the password is in {view}");
    }
    let activity = pair.target.rows("select a::text from pg_stat_activity a where a.query not like '%s3cr3t%'");
    assert!(!activity.iter().any(|row| row.contains(secret)));
}

#[test]
fn a_source_without_logical_wal() {
    let source = ClusterOptions::new("replica").set("wal_level", "replica").start();
    let pair = pair_with("replica", Some(Arc::clone(&source)));
    pair.register();
    let refusal = refused(&pair, "method => 'parallel'").names(&["wal_level"]);
    assert!(refusal.code.starts_with("55"), "{refusal:?}");
    source.restart_with(&[("wal_level", "logical")]);
    pair.synchronize("method => 'parallel'");
    pair.expect_equal();
}

#[test]
fn a_source_without_free_slot_or_walsender() {
    let source = ClusterOptions::new("scarce").set("max_replication_slots", "1").set("max_wal_senders", "1").start();
    let pair = pair_with("scarce", Some(Arc::clone(&source)));
    pair.register();
    pair.source.exec("select pg_create_physical_replication_slot('taken')");
    let refusal = refused(&pair, "method => 'parallel'").names(&["max_replication_slots"]);
    assert!(refusal.code.starts_with("53") || refusal.code.starts_with("55"), "{refusal:?}");
    pair.source.exec("select pg_drop_replication_slot('taken')");
    let receiver = receive(&source);
    let senders = "select count(*) from pg_stat_replication";
    wait_until("the only walsender is taken", Duration::from_secs(20), || {
        (pair.source.scalar::<i64>(senders) == 1).then_some(())
    });
    let refusal = refused(&pair, "method => 'parallel'").names(&["max_wal_senders"]);
    assert!(refusal.code.starts_with("53") || refusal.code.starts_with("55"), "{refusal:?}");
    drop(receiver);
    wait_until("the walsender is free again", Duration::from_secs(20), || {
        (pair.source.scalar::<i64>(senders) == 0).then_some(())
    });
    pair.synchronize("method => 'parallel'");
    pair.expect_equal();
}

/// pg_receivewal, which takes a walsender until it is dropped.
fn receive(source: &Cluster) -> Running {
    let mut command = root::server_command(&source.installation().program("pg_receivewal"));
    Running::start(command.arg("-D").arg(root::folder("wal")).args(["-d", &source.conninfo("postgres")]))
}

fn conninfo_of(pair: &Pair, role: &Role) -> String {
    pair.source.conninfo().replace("user=postgres", &format!("user={role}"))
}

#[test]
fn a_source_user_without_rights() {
    for options in ["login", "login replication"] {
        let role = Role::create(&shared::source(), "weak", options);
        let pair = pair_with("norights", None);
        let refusal = refused_conninfo(&pair, &conninfo_of(&pair, &role));
        assert!(refusal.code == "42501", "{options}: {refusal:?}");
    }
}

/// Who owns no table can copy with a publication that somebody else made, if every table may be read.
#[test]
fn a_source_user_who_owns_nothing() {
    let role = Role::create(&shared::source(), "reader", "login replication");
    let pair = pair_with("reader", None);
    pair.source.exec("create table two (id int primary key); insert into two values (1); create publication chosen for table one, two");
    pair.target.exec("create table two (id int primary key)");
    pair.source.exec(&format!("grant select on one to {role}"));
    pair.register_with(&conninfo_of(&pair, &role));
    let refusal = refused(&pair, "method => 'parallel', publication => 'chosen'").names(&["two"]);
    assert!(refusal.code == "42501", "{refusal:?}");
    pair.source.exec(&format!("grant select on two to {role}"));
    pair.synchronize("method => 'parallel', publication => 'chosen'");
    pair.expect_equal();
}

#[test]
fn a_publication_that_does_not_hold_the_plan() {
    let pair = pair_with("pubs", None);
    pair.register();
    pair.source.exec("create table two (id int primary key); create publication chosen for table two");
    pair.target.exec("create table two (id int primary key)");
    refused(&pair, "method => 'parallel', publication => 'nowhere'").names(&["nowhere"]);
    refused(&pair, "method => 'parallel', publication => 'chosen'").names(&["one"]);
    pair.source.exec("alter publication chosen add table one");
    pair.synchronize("method => 'parallel', publication => 'chosen'");
    pair.expect_equal();
    assert_eq!(pair.source.rows("select pubname from pg_publication"), ["chosen"]);
}
