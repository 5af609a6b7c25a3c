//! Driving an operation to its end while servers and processes go down under it at any moment.

use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{check, describe, try_wait_until, wait_until, Cluster, Pair, SchemaState};

use super::fault::ask;

/// How long an end may take, pauses between retries included.
pub const PATIENCE: Duration = Duration::from_secs(240);
/// How often a run may fail: each failpoint that is armed can do it twice, and so can a source that was away too often.
const MOST_RESUMES: u32 = 8;

/// Whether a failpoint was hit: its file has counted down.
pub fn was_reached(target: &Arc<Cluster>, point: &str, what: &str) -> bool {
    target.hits_left(point).is_some_and(|left| !what.starts_with(&format!("{left}*")))
}

/// Waits until a process has come to a failpoint.
pub fn wait_until_reached(target: &Arc<Cluster>, point: &str, what: &str) {
    wait_until(&format!("somebody comes to {point}"), Duration::from_secs(60), || {
        was_reached(target, point, what).then_some(())
    });
}

/// Lets the operation end, on the way to which that failpoint must have been reached, and disarms all of them.
pub fn finish_past(pair: &Pair, point: &str, what: &str) {
    finish(pair);
    wait_until_quiet(pair);
    assert!(was_reached(pair.target.cluster(), point, what), "nobody came to {point}");
    pair.target.cluster().disarm();
}

/// What is asked for, and what of the operations shows that it was heard.
pub struct Asked<'a> {
    /// A condition.
    pub begun: &'a str,
    /// Settings of the session.
    pub settings: &'a [(&'a str, &'a str)],
    /// The call.
    pub sql: &'a str,
}

/// Asks for it.
pub fn call(pair: &Pair, asked: &Asked) -> Result<(), postgres::Error> {
    let mut client = pair.target.cluster().config(pair.target.name()).connect(postgres::NoTls)?;
    let set = |(name, value): &(&str, &str)| format!("set steep_repl.{name} = '{value}'; ");
    let settings: String = asked.settings.iter().map(set).collect();
    client.batch_execute(&settings)?;
    client.batch_execute(asked.sql)
}

/// Starts an operation. A failpoint may bring the server down before it can answer, so it is asked whether it has begun.
pub fn start(pair: &Pair, asked: &Asked) {
    let begun =
        format!("select 'begun' from steep_repl.operations where status <> 'cancelled' and {} limit 1", asked.begun);
    let mut last = None;
    let done = try_wait_until("it has begun", PATIENCE, || {
        if ask(pair.target.cluster(), pair.target.name(), &begun).is_some() {
            return Some(());
        }
        last = call(pair, asked).err();
        None
    });
    assert!(done.is_some(), "{}: {:?}", asked.sql, last.as_ref().map(describe));
}

/// Cancels if it is not too late.
pub fn ask_to_cancel(pair: &Pair) -> bool {
    let (target, database) = (pair.target.cluster(), pair.target.name());
    let asked = try_wait_until("it can be cancelled", Duration::from_secs(60), || {
        let mut client = target.config(database).connect(postgres::NoTls).ok()?;
        match client.batch_execute("select steep_repl.cancel_init('node_b')") {
            Ok(()) => Some(true),
            Err(error) if error.code().is_some_and(|code| code.code() == "55000") => {
                // It may be that it was heard, and the answer lost.
                let status = "select status from steep_repl.operations order by id desc limit 1";
                Some(ask(target, database, status)? == "cancelled")
            }
            Err(_) => None,
        }
    });
    match asked {
        Some(in_time) => in_time,
        None => panic!("cancel_init does not get through"),
    }
}

/// Waits until no coordinator is there any more, and the server is up: a failpoint may have the last word.
pub fn wait_until_quiet(pair: &Pair) {
    let (target, database) = (pair.target.cluster(), pair.target.name());
    let quiet = "select 'quiet' where not exists (select from pg_stat_activity where datname = current_database()
        and backend_type = 'steep_repl coordinator')";
    let mut times = 0;
    let done = try_wait_until("no coordinator is there", PATIENCE, || {
        times = if ask(target, database, quiet).is_some() { times + 1 } else { 0 };
        (times > 5).then_some(())
    });
    assert!(done.is_some(), "a coordinator stays: {:?}", pair.events());
}

/// Waits until nothing is left to do of a cancel.
pub fn wait_until_undone(pair: &Pair) {
    let sql = "select 'done' from steep_repl.nodes where node = 'node_b' and state = 'UNINITIALIZED'
        and not exists (select from steep_repl.pending_cleanup)";
    let done = try_wait_until("it is cancelled without a rest", PATIENCE, || {
        ask(pair.target.cluster(), pair.target.name(), sql)
    });
    assert!(
        done.is_some(),
        "not cancelled: {:?}\n{:?}\n{:?}",
        pair.target.rows("select * from steep_repl.pending_cleanup"),
        pair.progress(),
        pair.events()
    );
}

/// What was cancelled has left nothing behind on either side.
pub fn expect_no_trace(pair: &Pair, here: &SchemaState, there: &SchemaState) {
    wait_until_undone(pair);
    wait_until_quiet(pair);
    check::assert_clean(&pair.source, &pair.target);
    here.assert_same(&pair.target);
    there.assert_same(&pair.source);
}

/// Waits until nothing is left to do of a cancelled refresh.
pub fn wait_until_cleaned_up(pair: &Pair) {
    let sql = "select 'done' where not exists (select from steep_repl.pending_cleanup)
        and (select status from steep_repl.operations order by id desc limit 1) = 'cancelled'
        and (select bool_and(subenabled) from pg_subscription s join pg_database d on d.oid = s.subdbid
             where d.datname = current_database())";
    let done = try_wait_until("it is cancelled without a rest", PATIENCE, || {
        ask(pair.target.cluster(), pair.target.name(), sql)
    });
    assert!(done.is_some(), "not cancelled: {:?}\n{:?}", pair.progress(), pair.events());
}

/// Nothing is in the target's tables.
pub fn assert_empty(pair: &Pair) {
    let sql = "select c.oid::regclass::text from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace";
    for table in pair.target.rows(sql) {
        let rows: i64 = pair.target.scalar(&format!("select count(*) from {table}"));
        assert_eq!(rows, 0, "the cancel has left rows in {table}");
    }
}

/// What is needed for replication is left, and nothing else.
pub fn assert_settled(pair: &Pair) {
    let database = pair.source.name();
    let on_source = format!(
        "select 'slot ' || slot_name from (select slot_name, row_number() over (order by temporary, slot_name) as n
            from pg_replication_slots where database = '{database}') s where n > 1
         union all select 'session ' || application_name || ': ' || state from pg_stat_activity where datname = '{database}'
            and application_name like 'steep\\_repl%' and backend_type <> 'walsender'"
    );
    let on_target = "select 'worker ' || backend_type from pg_stat_activity
            where datname = current_database() and backend_type like 'steep_repl%'
         union all select 'origin ' || roname from pg_replication_origin where roname ~ '^pg_[0-9]+'
            and split_part(roname, '_', 2)::oid not in (select oid from pg_subscription)
         union all select 'cleanup ' || kind from steep_repl.cleanup";
    let mut left = Vec::new();
    let settled = try_wait_until("only replication is left", Duration::from_secs(30), || {
        left = [pair.source.rows(&on_source), pair.target.rows(on_target)].concat();
        left.is_empty().then_some(())
    });
    assert!(settled.is_some(), "left behind: {left:?}");
}

/// No process of the server has ended by itself in a way that only a bug explains; after that it would have recovered, unseen.
pub fn assert_sound(cluster: &Cluster) {
    let log = cluster.log();
    let signs = ["TRAP: ", "PANIC: ", "was terminated by signal 6", "was terminated by signal 11"];
    let found: Vec<&str> = log.lines().filter(|line| signs.iter().any(|sign| line.contains(sign))).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// Resumes what is FAILED; whether that was heard.
pub fn resume(pair: &Pair) -> bool {
    // A failure must say why and what to do.
    let told = "select coalesce('told ' || last_error || hint, 'not told') from steep_repl.node_status
        where node = 'node_b' and operation_status = 'failed'";
    let told = ask(pair.target.cluster(), pair.target.name(), told);
    assert!(told.as_deref() != Some("not told"), "FAILED without a reason");
    let Ok(mut client) = pair.target.cluster().config(pair.target.name()).connect(postgres::NoTls) else {
        return false;
    };
    client.batch_execute("select steep_repl.resume_init('node_b')").is_ok()
}

/// Waits for the end, and resumes what is FAILED; how often.
pub fn finish(pair: &Pair) -> u32 {
    let mut resumed = 0;
    let ended = try_wait_until("it is synchronized", PATIENCE, || {
        let sql = "select status from steep_repl.operations order by id desc limit 1";
        match ask(pair.target.cluster(), pair.target.name(), sql)?.as_str() {
            "completed" => Some(()),
            "failed" => {
                assert!(resumed < MOST_RESUMES, "failed again after it was resumed: {:?}", pair.progress());
                resumed += u32::from(resume(pair));
                None
            }
            _ => None,
        }
    });
    assert!(ended.is_some(), "it does not end: {:?}\n{:?}", pair.progress(), pair.events());
    resumed
}
