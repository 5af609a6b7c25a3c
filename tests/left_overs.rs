//! Frozen rows of a range that was interrupted, when the server has forgotten how their transaction ended: they cannot be told from
//! others, so the table is emptied and copied again, and that is said.

use std::time::Duration;

use steep_repl_testkit::{wait_until, Cluster, ClusterOptions, Db, Pair};

/// What the state of transactions is removed by: a file of `pg_xact` has that of so many.
const FILE: i64 = 1 << 20;

fn next_transaction(db: &Db) -> i64 {
    db.scalar("select pg_current_xact_id()::text::int8")
}

/// Uses up transaction numbers until this one.
fn burn_until(db: &Db, last: i64) {
    db.exec("create unlogged table if not exists public.burnt (i int)");
    let left = last - next_transaction(db);
    db.exec(&format!(
        "do $$ begin for i in 1..{left} loop
             begin insert into public.burnt values (i); exception when others then raise; end;
         end loop; end $$; truncate public.burnt"
    ));
}

/// Makes the server forget how the transactions of its first file ended.
fn forget(target: &Cluster) {
    let mut other = target.connect("postgres");
    other.batch_execute("update pg_database set datallowconn = true").unwrap();
    for row in other.query("select datname::text from pg_database", &[]).unwrap() {
        target.connect(row.get(0)).batch_execute("vacuum (freeze)").unwrap();
    }
    // The last one may have been before a transaction that ran beside it.
    wait_until("the first file is gone", Duration::from_secs(20), || {
        other.batch_execute("vacuum (freeze)").unwrap();
        let files = "select count(*) from pg_ls_dir('pg_xact') f where f = '0000'";
        (other.query_one(files, &[]).unwrap().get::<_, i64>(0) == 0).then_some(())
    });
}

#[test]
fn rows_that_cannot_be_told_from_others() {
    let target = ClusterOptions::new("left").preload().set("autovacuum", "off").set("fsync", "off").start();
    let spare = target.create_database("left_spare", "");
    burn_until(&spare, FILE - 3_000);
    let pair = Pair::options("left").target(target.clone()).proxied().build();
    pair.source.exec(
        "create table narrow (id int primary key, v int, note text);
         insert into narrow select i, i, repeat('x', 100) from generate_series(1, 80000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.proxy().throttle(1_500_000);
    pair.init_with(&[("chunk_size", "3MB")], "method => 'parallel', parallel_workers => 2").unwrap();
    // One statement, one snapshot: a range that ends in between is in both figures.
    let ghosts = "select (select count(*) from narrow)
        - (select coalesce(sum(rows_done), 0)::int8 from steep_repl.tasks where kind = 'copy' and status = 'done')";
    wait_until("rows are here of ranges that are not done", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.target.scalar::<i64>(ghosts) > 2000).then_some(())
    });
    assert!(next_transaction(&pair.target) < FILE, "the rows are too new to be forgotten");
    // Nobody comes again before they are forgotten, and the snapshot is kept.
    pair.proxy().freeze();
    pair.target.exec(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity
         where datname = current_database() and backend_type = 'steep_repl copy worker'",
    );
    burn_until(&spare, FILE + 1_000);
    forget(&target);
    pair.proxy().thaw();
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    let said = pair.target.rows(
        "select event, table_name, details ->> 'message' from steep_repl.events
         where event in ('init.table_deferred', 'init.snapshot_renewed') order by id",
    );
    let told = "init.table_deferred | public.narrow | rows of an interrupted load of table public.narrow cannot be told from others";
    assert!(said.first().is_some_and(|first| first == told), "{said:?}");
    assert!(said.iter().any(|row| row.starts_with("init.snapshot_renewed")), "{said:?}");
    pair.source.exec("update narrow set v = -1 where id < 9; delete from narrow where id = 10");
    pair.expect_equal();
    drop(pair);
    spare.drop_database().unwrap();
}
