//! Many tables, and none.

use std::time::{Duration, Instant};

use steep_repl_testkit::{test_all, LoadOptions, Pair, SchemaState};

#[test]
fn no_tables_at_all() {
    let pair = Pair::new("zero");
    pair.register();
    pair.synchronize("method => 'parallel'");
    let progress = pair.progress().unwrap();
    assert_eq!(progress.overall_percent, Some(100.0));
    assert_eq!(progress.tables_total, Some(0));
    let left_out = Pair::new("zero_left");
    left_out.source.exec("create unlogged table u (a int); create view v as select 1");
    left_out.prepare();
    left_out.synchronize("method => 'parallel'");
}

#[test]
fn many_small_tables() {
    let tables = if test_all() { 2000 } else { 300 };
    let pair = Pair::new("many");
    // In batches, or one transaction takes more locks than the server has room for.
    let batches: Vec<String> = (0..tables)
        .step_by(100)
        .map(|first| {
            format!(
                "do $$ begin for i in {first}..{} loop
                    execute format('create table t%s (id int primary key, v int, note text)', i);
                    execute format('create index on t%s (v)', i); execute format('create index on t%s (left(note, 50))', i);
                    execute format('insert into t%s select n, n, ''row '' || n from generate_series(1, 100) n', i);
                 end loop; end $$",
                first + 99
            )
        })
        .collect();
    pair.source.exec_each(&batches.iter().map(String::as_str).collect::<Vec<_>>());
    pair.prepare();
    let before = SchemaState::of(&pair.target);
    let load = (0..tables)
        .step_by(10)
        .fold(LoadOptions::default().keys(100).rate(100), |load, i| load.keyed(&format!("t{i}")));
    let load = load.start(&pair.source);
    let started = Instant::now();
    pair.synchronize("method => 'parallel', parallel_workers => 4");
    let took = started.elapsed();
    load.stop();
    pair.expect_equal();
    before.assert_same(&pair.target);
    println!("{tables} tables in {took:?}");
    assert!(took < Duration::from_secs(120), "{tables} small tables took {took:?}");
    let shown = pair.target.scalar::<i64>("select count(*) from steep_repl.table_progress");
    assert_eq!(shown, tables);
}
