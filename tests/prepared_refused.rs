//! `complete_init` for more than was prepared, or with less than is needed: refused before anything is begun, and the same slot serves afterwards
//! for what it can bring.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{
    check, compare, describe, quote_ident, quote_literal, shared, wait_until, Cluster, ClusterOptions, LoadOptions,
    Pair, Role, Tables, WriteLoad,
};

use crate::midway;
use crate::prepared::{complete, prepare_with, slot_of, status, Prepared};
use crate::prepared_cancelled::complete_under_lock;
use crate::refusal::{refused_quickly, Refusal};
use crate::shop;

const TABLES: &str = "
    create table t1 (id int primary key, v int, note text);
    create table t2 (id int primary key, v int, note text);
    insert into t1 select i, i, 'row ' || i from generate_series(1, 2000) i;
    insert into t2 select i, i, 'row ' || i from generate_series(1, 2000) i;";

/// A node whose rows came by a dump under the snapshot of a slot, while people write.
struct Restored {
    load: WriteLoad,
    prepared: Prepared,
    pair: Pair,
}

impl Restored {
    /// Tables and nodes are there.
    fn new(pair: Pair, args: &str) -> Restored {
        let load = LoadOptions::default().keyed("t1").keyed("t2").keys(2000).rate(100).start(&pair.source);
        let prepared = prepare_with(&pair, &format!(", slot_name => '{}'{args}", slot_of(&pair)))
            .unwrap_or_else(|error| panic!("{}", describe(&error)));
        let dump = ["--no-owner", "--no-publications", "--no-subscriptions", "--snapshot", &prepared.snapshot];
        pair.target.psql(&pair.source.dump(&dump));
        Restored { load, prepared, pair }
    }

    fn complete(&self, args: &str) -> Result<i64, postgres::Error> {
        let Prepared { slot, lsn, .. } = &self.prepared;
        complete(&self.pair.target, &format!(", '{lsn}', slot_name => '{slot}'{args}"))
    }

    /// By the function itself, with nothing begun here and the slot as it was.
    fn refused(&self, args: &str) -> Refusal {
        let (source, target) = (&self.pair.source, &self.pair.target);
        let slot = format!(
            "select active, confirmed_flush_lsn from pg_replication_slots where slot_name = '{}'",
            self.prepared.slot
        );
        let before = source.rows(&slot);
        let refusal = refused_quickly(|| self.complete(args));
        assert_eq!(self.pair.state(), "UNINITIALIZED", "{args}");
        let begun = target.rows("select id, status from steep_repl.operations where node = 'node_b'");
        assert!(begun.is_empty(), "{args}: {begun:?}");
        assert_eq!((before.len(), source.rows(&slot)), (1, before), "{args}");
        assert_eq!(status(&self.pair, &self.prepared.slot), "ready", "{args}");
        refusal
    }

    /// It ends SYNCHRONIZED with equal rows in these tables.
    fn works(self, args: &str, tables: &[&str]) {
        self.complete(args).unwrap_or_else(|error| panic!("{args}: {}", describe(&error)));
        self.pair.expect_synchronized();
        shop::stop_later(self.load, &self.pair.source);
        check::wait_caught_up(&self.pair.source, &self.pair.target, Duration::from_secs(60));
        compare(&self.pair.source, &self.pair.target, &Tables::only(tables)).unwrap();
    }
}

/// A source on which nobody else has slots or transactions: what is older than a slot is known by transaction ids.
fn alone(options: ClusterOptions) -> Arc<Cluster> {
    options.set("autovacuum", "off").start()
}

/// Whether it never was in the publication of the slot, or came into it when rows had been written already.
#[test]
fn a_table_that_was_not_prepared() {
    let pair = Pair::new("prepr_more");
    pair.source.exec(TABLES);
    pair.register();
    let restored = Restored::new(pair, ", tables => '{public.t1}'");
    let source = &restored.pair.source;
    let publication = quote_ident(&source.scalar::<String>("select pubname::text from pg_publication"));
    let expect_refused = || {
        let refusal = restored.refused(", tables => array['t1', 't2']").names(&["t2", "publication"]);
        assert_eq!(refusal.code, "55000", "{refusal:?}");
    };
    expect_refused();
    source.exec(&format!("alter publication {publication} add table t2"));
    expect_refused();
    source.exec(&format!("alter publication {publication} drop table t2"));
    restored.works(", tables => array['t1']", &["t1"]);
}

/// A table that would be made here has none of the rows that the slot does not bring.
#[test]
fn a_table_that_would_be_made() {
    let pair = Pair::new("prepr_made");
    pair.source.exec(TABLES);
    pair.register();
    let restored = Restored::new(pair, "");
    let (source, target) = (&restored.pair.source, &restored.pair.target);
    target.exec("drop table t2");
    for args in ["", ", verify => false"] {
        let refusal = restored.refused(&format!(", schema_sync => 'auto'{args}")).names(&["public.t2"]);
        assert_eq!(refusal.code, "55000", "{refusal:?}");
    }
    target.psql(&source.dump(&["--no-owner", "-t", "t2", "--snapshot", &restored.prepared.snapshot]));
    restored.works("", &["t1", "t2"]);
}

/// A table that was filled before it became a partition was not published then; one that was made as a partition was from its first row.
#[test]
fn partitions_that_have_come_since() {
    let pair = Pair::new("prepr_part_of");
    pair.source.exec(TABLES);
    pair.source.exec(
        "create table parent (id int, k int, primary key (id, k)) partition by list (k);
         create table p1 partition of parent for values in (1);
         insert into parent select i, 1 from generate_series(1, 100) i",
    );
    pair.register();
    let restored = Restored::new(pair, "");
    let both = [&restored.pair.source, &restored.pair.target];
    for db in both {
        db.exec("create table p2 partition of parent for values in (2); create table p3 (like parent including all)");
    }
    both[0].exec("insert into parent select i, 2 from generate_series(1, 100) i; insert into p3 select i, 3 from generate_series(1, 100) i");
    for db in both {
        db.exec("alter table parent attach partition p3 for values in (3)");
        // Made, filled and attached in one transaction: its rows are decoded as those of a table that is no partition yet.
        db.exec(
            "create table p4 (like parent including all); insert into p4 select i, 4 from generate_series(1, 100) i;
             alter table parent attach partition p4 for values in (4)",
        );
    }
    // One that was made and attached empty has had its rows as a partition.
    for db in both {
        db.exec(
            "create table p5 (like parent including all); alter table parent attach partition p5 for values in (5)",
        );
    }
    both[0].exec("insert into parent select i, 5 from generate_series(1, 100) i");
    let refusal = restored.refused("").names(&["public.p3", "public.p4", "did not hold"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    assert!(!["p1", "p2", "p5"].iter().any(|table| refusal.text.contains(table)), "{refusal:?}");
    for db in both {
        db.exec("drop table p3, p4");
    }
    restored.works("", &["t1", "t2", "p1", "p2", "p5"]);
}

/// The same for a publication of the user's that has the parent; what it has by itself, or by its schema, was published all the time.
#[test]
fn partitions_that_have_come_since_into_a_publication_of_the_users() {
    let pair = Pair::options("prepr_part_us").source(alone(ClusterOptions::new("prepr_part_us_s"))).build();
    pair.source.exec(TABLES);
    pair.source.exec(
        "create table parent (id int, k int, primary key (id, k)) partition by list (k);
         create table own (like parent including all);
         create publication whole for table t1, t2, parent, own",
    );
    pair.register();
    let restored = Restored::new(pair, ", publication => 'whole'");
    let both = [&restored.pair.source, &restored.pair.target];
    for db in both {
        db.exec("create table later (like parent including all)");
    }
    both[0].exec("insert into own select i, 1 from generate_series(1, 100) i; insert into later select i, 2 from generate_series(1, 100) i");
    for db in both {
        db.exec("alter table parent attach partition own for values in (1)");
        db.exec("alter table parent attach partition later for values in (2)");
    }
    let refusal = restored.refused(", publication => 'whole'").names(&["public.later", "did not hold"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    assert!(!refusal.text.contains("public.own"), "{refusal:?}");
    for db in both {
        db.exec("drop table later");
    }
    restored.works(", publication => 'whole'", &["t1", "t2", "own"]);
}

/// A dump that is not the one of the slot's snapshot is found out with a publication of the user's as well.
#[test]
fn rows_that_differ_with_a_publication_of_the_users() {
    let pair = Pair::new("prepr_differ");
    pair.source.exec(TABLES);
    pair.source.exec("create publication whole for table t1, t2");
    pair.register();
    let restored = Restored::new(pair, ", publication => 'whole'");
    let (pair, args) = (&restored.pair, ", publication => 'whole'");
    pair.target.exec("update t2 set note = 'another' where id = 7");
    restored.complete(args).unwrap_or_else(|error| panic!("{}", describe(&error)));
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err()).names(&["public.t2", "snapshot"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
    pair.target.exec("update t2 set note = 'row 7' where id = 7");
    restored.works(args, &["t1", "t2"]);
}

/// Once the snapshot of the slot is gone a table that is missing here is not made empty, unless it is younger than the slot.
#[test]
fn a_table_that_would_be_made_without_the_snapshot() {
    let pair = Pair::options("prepr_unkept").source(alone(ClusterOptions::new("prepr_unkept_s"))).build();
    pair.source.exec(TABLES);
    pair.source.exec(
        "create table parent (id int, k int, primary key (id, k)) partition by list (k);
         create table p1 partition of parent for values in (1)",
    );
    pair.register();
    let restored = Restored::new(pair, "");
    let (source, target) = (&restored.pair.source, &restored.pair.target);
    let t2 = source.dump(&["--no-owner", "-t", "t2", "--snapshot", &restored.prepared.snapshot]);
    source.exec(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like 'steep\\_repl%'",
    );
    wait_until("it is known that the snapshot is gone", Duration::from_secs(60), || {
        let lost = "select count(*) from steep_repl.init_slots where status = 'ready' and snapshot is null";
        (target.scalar::<i64>(lost) == 1).then_some(())
    });
    source.exec("create table p2 partition of parent for values in (2); insert into parent values (1, 2)");
    target.exec("drop table t2");
    let refusal = restored.refused(", schema_sync => 'auto'").names(&["public.t2: not here"]);
    assert_eq!(refusal.code, "55000", "{refusal:?}");
    assert!(!refusal.text.contains("p2"), "{refusal:?}");
    target.psql(&t2);
    restored.works(", schema_sync => 'auto'", &["t1", "t2", "p1", "p2"]);
}

/// Somebody reads from the slot while the backup is compared: what he has confirmed would never come.
#[test]
fn a_slot_that_was_read_from_meanwhile() {
    let pair = Pair::new("prepr_read");
    pair.source.exec(TABLES);
    pair.register();
    let restored = Restored::new(pair, "");
    let (pair, slot) = (&restored.pair, &restored.prepared.slot);
    let mut holder = complete_under_lock(pair, &restored.prepared, "t1");
    wait_until("its rows are to be compared", Duration::from_secs(30), || {
        let waits = "select count(*) from pg_locks where relation = 't1'::regclass and not granted";
        (pair.target.scalar::<i64>(waits) > 0).then_some(())
    });
    pair.source.exec(&format!("select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"));
    holder.batch_execute("rollback").unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err()).names(&[slot, "somebody else"]);
    assert_eq!((refusal.code.as_str(), pair.state().as_str()), ("55000", "FAILED"), "{refusal:?}");
    restored.load.stop();
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", Duration::from_secs(30), || (pair.state() == "UNINITIALIZED").then_some(()));
}

/// Publications of the user's that are older than the slot and bring a part of the changes.
#[test]
fn publications_of_a_part_of_the_changes() {
    let pair = Pair::options("prepr_part").source(alone(ClusterOptions::new("prepr_part_s"))).build();
    pair.source.exec(TABLES);
    pair.source.exec(
        "create publication whole for table t1, t2;
         create publication inserts for table t1, t2 with (publish = 'insert');
         create publication filtered for table t1 where (id > 5), t2",
    );
    pair.register();
    let restored = Restored::new(pair, ", publication => 'whole'");
    for (publication, words) in [("inserts", "updates"), ("filtered", "row filter")] {
        let refusal = restored.refused(&format!(", publication => '{publication}'")).names(&[
            &format!("publication \"{publication}\""),
            "cannot be used",
            words,
        ]);
        assert_eq!(refusal.code, "55000", "{refusal:?}");
    }
    restored.works(", publication => 'whole'", &["t1", "t2"]);
}

/// A schema that joined the user's publication after the slot was made: changes of its tables from before are not published.
#[test]
fn a_schema_that_has_joined_the_publication() {
    for (label, options) in
        [("prepr_join", ClusterOptions::new("prepr_join_s")), ("prepr_join_old", ClusterOptions::old("prepr_jold_s"))]
    {
        let source = alone(options);
        // Schemas are published from 15 on.
        if source.installation().major() < 15 {
            continue;
        }
        let pair = Pair::options(label).source(source).build();
        pair.source.exec(TABLES);
        pair.source.exec(
            "create schema s; create table s.t3 (id int primary key, v int, note text); create publication mine for table t1, t2",
        );
        pair.register();
        let restored = Restored::new(pair, ", publication => 'mine', tables => '{t1, t2}'");
        restored.pair.source.exec("alter publication mine add tables in schema s");
        let refusal = restored.refused(", publication => 'mine'").names(&[
            "publication \"mine\"",
            "is not older",
            &restored.prepared.slot,
        ]);
        assert_eq!(refusal.code, "55000", "{label}: {refusal:?}");
        restored.pair.source.exec("alter publication mine drop tables in schema s");
        restored.works(", publication => 'mine'", &["t1", "t2"]);
    }
}

/// The role on the source could make the slot, and could not replicate by it any more.
#[test]
fn a_role_that_may_not_replicate_any_more() {
    let role = Role::create(&shared::source(), "prepr_role", "login replication");
    let pair = Pair::new("prepr_role");
    pair.source.exec(TABLES);
    pair.source.exec(&format!(
        "grant create on database {} to {role}; alter table t1 owner to {role}; alter table t2 owner to {role}",
        quote_ident(pair.source.name())
    ));
    pair.register_with(&pair.source.conninfo().replace("user=postgres", &format!("user={role}")));
    let restored = Restored::new(pair, "");
    restored.pair.source.exec(&format!("alter role {role} noreplication"));
    let refusal = restored.refused("").names(&[role.name(), "REPLICATION"]);
    assert_eq!(refusal.code, "42501", "{refusal:?}");
    restored.pair.source.exec(&format!("alter role {role} replication"));
    restored.works("", &["t1", "t2"]);
}

/// While one node is at work with a slot, another is refused; given up by the first, it serves the other.
#[test]
fn a_slot_that_another_node_is_at_work_with() {
    let pair = Pair::options("ref_taken").build();
    pair.source.exec(TABLES);
    pair.register();
    let restored = Restored::new(pair, "");
    let pair = &restored.pair;
    let other = pair.target.cluster().create_database("ref_taken_o", "");
    let dump = ["--no-owner", "--no-publications", "--no-subscriptions", "--snapshot", &restored.prepared.snapshot];
    other.psql(&pair.source.dump(&dump));
    other.exec("create extension steep_repl");
    other.exec(&format!(
        "select steep_repl.register_node('node_c', {0}, is_local => true), steep_repl.register_node('node_a', {1})",
        quote_literal(&other.conninfo()),
        quote_literal(&pair.source.conninfo())
    ));
    let Prepared { slot, lsn, .. } = &restored.prepared;
    let second = |args: &str| {
        other.try_exec(&format!(
            "select steep_repl.complete_init('node_c', 'node_a', '{lsn}'{args}, no_identity => 'full')"
        ))
    };
    let mut holder = complete_under_lock(pair, &restored.prepared, "t1");
    wait_until("it is at work with the slot", Duration::from_secs(30), || {
        let taken = "select count(*) from pg_description where description like '%\"taken\":true%' and objoid in (select oid from pg_publication)";
        (pair.source.scalar::<i64>(taken) == 1).then_some(())
    });
    for args in [String::new(), format!(", slot_name => '{slot}'")] {
        let refusal = refused_quickly(|| second(&args));
        assert_eq!(refusal.code, "55006", "{refusal:?}");
        refusal.names(&[slot, "taken by another node"]);
    }
    // Whoever gives it up lets others have it.
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    holder.batch_execute("rollback").unwrap();
    midway::until_undone(pair);
    second("").unwrap();
    wait_until("it is synchronized", Duration::from_secs(60), || {
        let state = other.scalar::<String>("select state from steep_repl.nodes where node = 'node_c'");
        (state == "SYNCHRONIZED").then_some(())
    });
    let refusal = refused_quickly(|| complete(&pair.target, &format!(", '{lsn}', slot_name => '{slot}'")));
    assert!(["55000", "55006"].contains(&refusal.code.as_str()), "{refusal:?}");
    let Restored { load, pair, .. } = restored;
    shop::stop_later(load, &pair.source);
    check::wait_caught_up(&pair.source, &other, Duration::from_secs(60));
    compare(&pair.source, &other, &Tables::All).unwrap();
    check::assert_no_conflicts_but(&other, &check::ORIGINS);
    check::remove_target(&other);
}
