//! A source that says nothing: it is asked why, and what is dead is given up.

use std::time::Duration;

use steep_repl_testkit::{wait_until, LoadOptions, Pair, Tables};

/// `first` is copied before `second`, by one worker.
fn throttled(label: &str, rows: u32, bytes_per_second: u64) -> Pair {
    let pair = Pair::options(label).proxied().build();
    pair.source.exec(&format!(
        "create table first (id int primary key, v int, note text); create table second (id int primary key, v int, note text);
         insert into first select i, i, repeat('x', 1000) from generate_series(1, {rows}) i;
         insert into second select i, i, repeat('x', 200) from generate_series(1, 10000) i"
    ));
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.proxy().throttle(bytes_per_second);
    pair.init_with(&[("receive_timeout", "2s"), ("chunk_size", "1TB")], "method => 'parallel', parallel_workers => 1")
        .unwrap();
    wait_until("the first table is being copied", Duration::from_secs(30), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.progress()?.rows_done? > 500).then_some(())
    });
    pair
}

/// One table that is being copied by two workers.
fn being_copied(label: &str, settings: &[(&str, &str)]) -> Pair {
    let pair = Pair::options(label).proxied().build();
    pair.source.exec(
        "create table t (id int primary key, v int, note text);
         insert into t select i, i, repeat('x', 200) from generate_series(1, 20000) i",
    );
    pair.prepare();
    pair.proxy().throttle(1_000_000);
    pair.init_with(settings, "method => 'parallel', parallel_workers => 2").unwrap();
    wait_until("it is being copied", Duration::from_secs(30), || (pair.progress()?.rows_done? > 500).then_some(()));
    pair
}

fn events(pair: &Pair, name: &str) -> Vec<String> {
    pair.target.rows(&format!("select details ->> 'message' from steep_repl.events where event = '{name}' order by id"))
}

#[test]
fn who_waits_for_a_lock_is_left_alone_and_the_holder_named() {
    let pair = throttled("locked", 5_000, 2_000_000);
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; lock table second in access exclusive mode").unwrap();
    let pid: i32 = holder.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    pair.proxy().throttle(0);
    let said = wait_until("the holder of the lock is named", Duration::from_secs(30), || {
        events(&pair, "init.source_locked").into_iter().next()
    });
    assert!(said.contains(&format!("pid {pid}")), "{said}");
    assert_eq!(pair.state(), "COPYING");
    holder.batch_execute("commit").unwrap();
    pair.expect_synchronized();
    assert!(events(&pair, "init.connection_given_up").is_empty());
    pair.expect_equal();
}

/// The rest of the source answers, so it is the link of this one worker that is dead.
#[test]
fn a_dead_connection_is_given_up() {
    // More than fits into the buffers on the way.
    let pair = throttled("dead", 40_000, 4_000_000);
    let load = LoadOptions::default().keyed("second").keys(10_000).rate(40).writers(1).start(&pair.source);
    let backend = "select pid from pg_stat_activity where datname = current_database()
        and application_name like 'steep\\_repl\\_%\\_worker1' and wait_event = 'ClientWrite'";
    let pid = wait_until("the source waits for the link", Duration::from_secs(30), || {
        pair.source.rows(backend).first().and_then(|pid| pid.parse::<i32>().ok())
    });
    pair.source.cluster().signal(pid, "STOP");
    let said = wait_until("the connection is given up", Duration::from_secs(30), || {
        events(&pair, "init.connection_given_up").into_iter().next()
    });
    pair.proxy().throttle(0);
    let synchronized = pair.wait(Duration::from_secs(60));
    pair.source.cluster().signal(pid, "CONT");
    synchronized.unwrap();
    load.stop();
    assert!(said.contains("worker 1"), "{said}");
    pair.expect_equal_in(&Tables::only(&["first", "second"]));
}

/// Nobody answers, the connections stay open: it waits, says so, and goes on by itself.
#[test]
fn a_frozen_network_thaws() {
    let pair = throttled("frozen_net", 5_000, 1_000_000);
    let load = LoadOptions::default().keyed("second").keys(10_000).rate(40).writers(1).start(&pair.source);
    pair.proxy().freeze();
    let said = wait_until("it is said that nothing comes", Duration::from_secs(40), || {
        events(&pair, "init.retry").into_iter().next()
    });
    assert!(said.contains("node_a"), "{said}");
    assert_eq!(pair.state(), "COPYING");
    pair.proxy().thaw();
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    pair.expect_equal();
}

/// And when it does not, the operation stops when its time is over, and can be resumed.
#[test]
fn a_frozen_network_is_not_waited_for_for_ever() {
    let pair = being_copied("frozen_end", &[("receive_timeout", "1s"), ("source_lost_timeout", "2s")]);
    pair.proxy().freeze();
    let error = pair.wait(Duration::from_secs(60)).unwrap_err();
    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    assert!(code.starts_with("08"), "{}", steep_repl_testkit::describe(&error));
    assert_eq!(pair.state(), "FAILED");
    pair.proxy().thaw();
    pair.proxy().throttle(0);
    pair.target.exec("select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    pair.expect_equal();
}

/// It is told that the source is away, once, and that it is back, once, with how long it took.
#[test]
fn a_source_that_is_back_is_told() {
    let pair = being_copied("back_again", &[("chunk_size", "1MB")]);
    pair.proxy().down();
    let (away, back) = ("init.retry", "init.source_back");
    wait_until("it is told that the source is away", Duration::from_secs(30), || events(&pair, away).first().map(drop));
    assert!(events(&pair, back).is_empty() && pair.state() == "COPYING");
    pair.proxy().restore();
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    let said = events(&pair, back);
    let [said] = said.as_slice() else { panic!("it is told once: {said:?}") };
    let seconds = said.strip_prefix("the source was away for ").and_then(|rest| rest.strip_suffix(" s"));
    assert!(seconds.is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|away| away < 120)), "{said}");
    let order = pair.target.rows(
        "select event from steep_repl.events where event in ('init.retry', 'init.source_back')
        order by id",
    );
    assert_eq!(order.last().map(String::as_str), Some(back), "{order:?}");
    pair.expect_equal();
}

/// A slow link is not a silent one: not with rows of a megabyte, and not while changes go over it too.
#[test]
fn a_slow_network_is_no_silence() {
    let pair = Pair::options("slow_net").proxied().build();
    pair.source.exec(
        "create table small (id int primary key, v int, note text); create table wide (id int primary key, note text);
         create table large (id int primary key, v int, note text); create index large_v on large (v);
         insert into small select i, i, 's' from generate_series(1, 100) i;
         insert into large select i, i, repeat('x', 180) from generate_series(1, 6000) i;
         insert into wide select i, (select string_agg(md5((i * 100000 + j)::text), '') from generate_series(1, 32768) j)
            from generate_series(1, 2) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let load = LoadOptions::default().keyed("large").keys(6_000).rate(30).writers(1).start(&pair.source);
    let rate = 300_000;
    pair.proxy().throttle(rate);
    pair.proxy().latency(Duration::from_millis(20));
    let (begun, before) = (std::time::Instant::now(), pair.proxy().passed());
    let settings = [("receive_timeout", "2s"), ("chunk_size", "1MB")];
    pair.synchronize_with(&settings, "method => 'parallel', parallel_workers => 3");
    let (took, passed) = (begun.elapsed().as_secs_f64(), pair.proxy().passed() - before);
    assert!(took > 6.0 && passed as f64 <= (took + 2.0) * rate as f64, "{passed} bytes in {took} s were not slow");
    load.stop();
    let troubles = "select event, details ->> 'message' from steep_repl.events where severity <> 'info'";
    assert!(pair.target.rows(troubles).is_empty(), "{:?}", pair.target.rows(troubles));
    pair.proxy().throttle(0);
    pair.expect_equal();
}
