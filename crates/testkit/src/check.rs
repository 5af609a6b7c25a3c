//! What must hold at the end of a test, and how it is tidied away.

use std::time::Duration;

use postgres::Client;

use crate::database::{describe, quote_ident, Db};
use crate::{try_wait_until, wait_until};

const SUBSCRIPTIONS: &str =
    "select subname::text, subslotname::text from pg_subscription s join pg_database d on d.oid = s.subdbid
     where d.datname = current_database() order by 1";

/// Every subscription of the target has confirmed all that the source has written by now, and all its tables are ready.
pub fn wait_caught_up(source: &Db, target: &Db, timeout: Duration) {
    let mut at_source = source.connect();
    let mut at_target = target.connect();
    let slots: Vec<Option<String>> = query(&mut at_target, SUBSCRIPTIONS, |row| row.get(1));
    assert!(!slots.is_empty(), "{} has no subscription to wait for", target.name());
    // An idle slot moves when something was written after it.
    run(&mut at_source, "select pg_logical_emit_message(true, 'tests', 'caught up?')");
    let lsn: String = query(&mut at_source, "select pg_current_wal_insert_lsn()::text", |row| row.get(0)).remove(0);
    for slot in slots.iter().flatten() {
        let confirmed = format!(
            "select coalesce(confirmed_flush_lsn >= '{lsn}'::pg_lsn, false) from pg_replication_slots where slot_name = '{slot}'"
        );
        let reason = format!("slot {slot} has confirmed {lsn}");
        let done = try_wait_until(&reason, timeout, || {
            (query::<bool>(&mut at_source, &confirmed, |row| row.get(0)) == [true]).then_some(())
        });
        if done.is_none() {
            let slot =
                source.rows(&format!("select to_json(s) from pg_replication_slots s where slot_name = '{slot}'"));
            panic!(
                "waited {timeout:?} in vain until {reason}: {slot:?}\n{}",
                target.cluster().log_tail(Some(target.name()), 20)
            );
        }
    }
    let waiting = "select sr.srrelid::regclass::text || ' ' || sr.srsubstate::text from pg_subscription_rel sr
                   join pg_subscription s on s.oid = sr.srsubid join pg_database d on d.oid = s.subdbid
                   where d.datname = current_database() and sr.srsubstate <> 'r'";
    wait_until("all tables of the subscription are ready", timeout, || {
        query::<String>(&mut at_target, waiting, |row| row.get(0)).is_empty().then_some(())
    });
}

/// All error and conflict counters of the database's subscriptions are 0.
///
/// The apply worker reports its counts when it is idle and, surely, when it ends: so the subscriptions are disabled for a
/// moment.
pub fn assert_no_conflicts(target: &Db) {
    assert_no_conflicts_but(target, &[]);
}

/// What is counted when a row is changed that has not come by the subscription: one that a worker of the server's own has copied, or that
/// somebody has restored.
pub const ORIGINS: [&str; 2] = ["confl_update_origin_differs", "confl_delete_origin_differs"];

/// [`assert_no_conflicts`], whatever these counters say.
pub fn assert_no_conflicts_but(target: &Db, allowed: &[&str]) {
    let is_allowed = |count: &String| allowed.iter().any(|counter| count.contains(&format!(" {counter}=")));
    let counts: Vec<String> = conflict_counts(target).into_iter().filter(|count| !is_allowed(count)).collect();
    assert!(counts.is_empty(), "{} met errors or conflicts: {counts:?}", target.name());
}

/// The error and conflict counters of the database's subscriptions that are not 0, as `subscription counter=value`.
pub fn conflict_counts(target: &Db) -> Vec<String> {
    let mut client = target.connect();
    let names: Vec<String> = query(&mut client, SUBSCRIPTIONS, |row| row.get(0));
    assert!(!names.is_empty(), "{} has no subscription to look at", target.name());
    for name in &names {
        run(&mut client, &format!("alter subscription {} disable", quote_ident(name)));
    }
    wait_until("the apply workers are gone", Duration::from_secs(60), || {
        // A worker that ends leaves pg_stat_subscription first, then reports its counts, and leaves pg_stat_activity last.
        let workers = "select count(*) from pg_stat_activity
                       where datname = current_database() and backend_type like 'logical replication%worker'";
        (query::<i64>(&mut client, workers, |row| row.get(0)) == [0]).then_some(())
    });
    let counters = "select c.subname || ' ' || v.key || '=' || v.value
        from pg_stat_subscription_stats c join pg_subscription s on s.oid = c.subid join pg_database d on d.oid = s.subdbid,
             jsonb_each_text(to_jsonb(c)) v
        where d.datname = current_database() and (v.key like 'confl\\_%' or v.key like '%error\\_count') and v.value <> '0'";
    let counts = query(&mut client, counters, |row| row.get(0));
    for name in &names {
        run(&mut client, &format!("alter subscription {} enable", quote_ident(name)));
    }
    counts
}

/// Nothing of the extension is left: no slot, publication or session on the source, no subscription, origin or worker on
/// the target.
pub fn assert_clean(source: &Db, target: &Db) {
    let name = crate::quote_literal(source.name());
    let on_source = format!(
        "select 'slot ' || slot_name from pg_replication_slots where database = {name}
         union all select 'publication ' || pubname from pg_publication where pubname like 'steep_repl%'
         union all select 'session ' || application_name || ': ' || state from pg_stat_activity
            where datname = {name} and application_name like 'steep\\_repl%'"
    );
    let on_target = "select 'subscription ' || subname from pg_subscription s join pg_database d on d.oid = s.subdbid
            where d.datname = current_database()
         union all select 'origin ' || roname from pg_replication_origin where roname ~ '^pg_[0-9]+'
            and split_part(roname, '_', 2)::oid not in (select oid from pg_subscription)
         union all select 'worker ' || backend_type from pg_stat_activity
            where datname = current_database() and backend_type like 'steep_repl%'";
    // Sessions and workers need a moment to leave.
    let mut left = Vec::new();
    let clean = try_wait_until("nothing of the extension is left", Duration::from_secs(15), || {
        left = [source.rows(&on_source), target.rows(on_target)].concat();
        left.is_empty().then_some(())
    });
    assert!(clean.is_some(), "left behind: {left:?}");
}

/// Removes the database's subscriptions, whose source belongs to another test database; the database is then of no more use.
pub fn remove_subscriptions(target: &Db) {
    let done = drop_subscriptions(target);
    assert!(done.is_ok(), "{done:?}");
}

/// Removes the database's replication slots.
pub fn remove_slots(source: &Db) {
    let done = drop_slots(source);
    assert!(done.is_ok(), "{done:?}");
}

/// Drops the database's subscriptions without asking their sources.
pub fn drop_subscriptions(target: &Db) -> Result<(), String> {
    let exists = format!("select count(*) from pg_database where datname = {}", crate::quote_literal(target.name()));
    let mut other = target.cluster().connect("postgres");
    if query::<i64>(&mut other, &exists, |row| row.get(0)) == [0] {
        return Ok(());
    }
    let ident = quote_ident(target.name());
    run(&mut other, &format!("alter database {ident} allow_connections true"));
    let mut inside = target.connect();
    // Nobody comes in any more, and who is in goes: an operation of the extension would take up its work again.
    run(&mut other, &format!("alter database {ident} allow_connections false"));
    let names: Vec<String> = query(&mut inside, SUBSCRIPTIONS, |row| row.get(0));
    run(
        &mut inside,
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    );
    for name in names.iter().map(|name| quote_ident(name)) {
        let statements = [
            "set lock_timeout = '5s'".to_string(),
            format!("alter subscription {name} disable"),
            format!("alter subscription {name} set (slot_name = none)"),
            format!("drop subscription {name}"),
        ];
        for sql in statements {
            inside.batch_execute(&sql).map_err(|error| format!("{sql}: {}", describe(&error)))?;
        }
    }
    Ok(())
}

/// Removes a target database that does not belong to a pair, with its subscriptions.
pub fn remove_target(target: &Db) {
    let done = drop_subscriptions(target).and_then(|()| target.drop_database());
    assert!(done.is_ok(), "{done:?}");
}

/// Drops the database's replication slots, whoever uses them.
pub(crate) fn drop_slots(source: &Db) -> Result<(), String> {
    let mut client = source.cluster().connect("postgres");
    let name = crate::quote_literal(source.name());
    let users =
        format!("select pg_terminate_backend(active_pid) from pg_replication_slots where database = {name} and active");
    let drop = format!(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = {name} and not active"
    );
    let left = format!("select count(*) from pg_replication_slots where database = {name}");
    let gone = try_wait_until("the slots of a test are gone", Duration::from_secs(10), || {
        run(&mut client, &users);
        // A slot that somebody takes in between is dropped in the next round.
        let _ = client.batch_execute(&drop);
        (query::<i64>(&mut client, &left, |row| row.get(0)) == [0]).then_some(())
    });
    gone.ok_or_else(|| format!("slots of {} stay", source.name()))
}

fn query<T>(client: &mut Client, sql: &str, read: impl Fn(&postgres::Row) -> T) -> Vec<T> {
    match client.query(sql, &[]) {
        Ok(rows) => rows.iter().map(read).collect(),
        Err(error) => panic!("{}\nquery: {sql}", describe(&error)),
    }
}

fn run(client: &mut Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql) {
        panic!("{}\nstatement: {sql}", describe(&error));
    }
}
