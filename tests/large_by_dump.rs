//! `large_table_method => 'pg_dump'`.

use std::fs;
use std::time::Duration;

use steep_repl_testkit::{wait_until, ClusterOptions, Installation, LoadOptions, Pair, WriteLoad};

use crate::large_tables::{
    cancelled, expect_end, expect_no_program, source_restarts, start, start_with, target_restarts, transports,
    under_load, ARGS,
};
use crate::midway::{self, events};
use crate::outcome::expect_equal;
use crate::refusal::Refusal;
use crate::shop;

/// Sessions of programs on the source.
const DUMPING: &str =
    "select count(*) from pg_stat_activity where application_name ~ '_dump[0-9]+$' and datname = current_database()";
/// Ends those that send rows.
const END_DUMPING: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
    where application_name ~ '_dump[0-9]+$' and datname = current_database() and query like 'COPY %'";

#[test]
fn under_load_by_pg_dump() {
    under_load(&Pair::new("dump_load"), "pg_dump");
}

#[test]
fn cancelled_in_the_middle() {
    cancelled("dump_cancel", "pg_dump");
}

#[test]
fn a_restart_of_the_source() {
    source_restarts("dump_source", "pg_dump");
}

#[test]
fn a_restart_of_the_target() {
    target_restarts("dump_target", "pg_dump");
}

/// Names, columns and kinds of tables that a program could take for something else.
#[test]
fn tables_of_all_kinds() {
    let pair = Pair::new("dump_kinds");
    pair.source.exec(
        "create schema \"Odd. Sch\"\"ema*\";
         create table \"Odd. Sch\"\"ema*\".\"COPY x (a) FROM stdin;\n\"\"?.|\" (\"Id\" int primary key, \"a, \"\"b)\" text, \"line\nbreak\" text, gone int);
         alter table \"Odd. Sch\"\"ema*\".\"COPY x (a) FROM stdin;\n\"\"?.|\" drop column gone;
         insert into \"Odd. Sch\"\"ema*\".\"COPY x (a) FROM stdin;\n\"\"?.|\"
            select i, '\\.' || chr(10) || '\\.', E'\\\\\\\\\\tx' || i from generate_series(1, 3000) i;
         create table computed (id int primary key, twice int generated always as (id * 2) stored, note text);
         insert into computed (id, note) select i, case when i % 3 = 0 then null when i % 3 = 1 then '' else '\\N' end from generate_series(1, 3000) i;
         create table parted (id int, v int, note text, primary key (id)) partition by range (id);
         create table parted_low partition of parted for values from (minvalue) to (1500);
         create table parted_high (note text, id int not null, v int, primary key (id));
         alter table parted attach partition parted_high for values from (1500) to (maxvalue);
         insert into parted select i, i, 'p' from generate_series(1, 3000) i;
         create table parent (id int primary key, v int);
         create table child (extra text, primary key (id)) inherits (parent);
         insert into parent select i, i from generate_series(1, 3000) i;
         insert into child select i, i, 'c' from generate_series(3001, 6000) i;
         create table wide (id int primary key, body text);
         alter table wide alter body set storage external;
         insert into wide select i, repeat(md5(i::text), 200 + i % 500) from generate_series(1, 300) i;
         create table nothing_in_it (id int primary key);",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.synchronize("method => 'snapshot', large_table_threshold => '0', large_table_method => 'pg_dump'");
    // One without a block is not larger than nothing.
    assert_eq!(transports(&pair), ["pg_dump | 7", "server | 1"]);
    pair.source.exec("update computed set note = 'later' where id < 9; delete from child where id > 5990; update parted set v = -1 where id % 100 = 0");
    pair.expect_equal();
}

fn own_programs(label: &str) -> Pair {
    let programs = Installation::current().with_own_programs(&format!("{label}p"));
    let target = ClusterOptions::new(label).programs(&programs).preload().start();
    midway::prepared(Pair::options(label).target(target))
}

/// Without the program it is refused, in `preflight` too, and the other ways go on working.
#[test]
fn without_the_program() {
    let pair = own_programs("dump_missing");
    let program = pair.target.cluster().installation().program("pg_dump");
    let aside = program.with_extension("aside");
    fs::rename(&program, &aside).unwrap();
    let args = format!("{ARGS}, large_table_method => 'pg_dump'");
    let refusal = Refusal::of(&pair.init(&args).unwrap_err()).names(&["pg_dump", "Install the client programs"]);
    assert_eq!(refusal.code, "58P01", "{refusal:?}");
    let rows = pair.target.rows(
        "select status, sqlstate from steep_repl.preflight('node_b', 'node_a', method => 'snapshot', no_identity => 'full',
            large_table_threshold => '1MB', large_table_method => 'pg_dump') where check_name = 'large_tables'",
    );
    assert_eq!(rows, ["error | 58P01"]);
    // Nothing is large.
    pair.synchronize("method => 'snapshot', no_identity => 'full', large_table_method => 'pg_dump'");
    fs::rename(&aside, &program).unwrap();
    expect_end(&pair);
}

/// A program that fails is tried again, its own words are the error, and the operation goes on when it is mended.
#[test]
fn a_program_that_fails() {
    let pair = own_programs("dump_fails");
    let program = pair.target.cluster().installation().program("pg_dump");
    let aside = program.with_extension("aside");
    let real = aside.display();
    fs::rename(&program, &aside).unwrap();
    // It breaks off after some rows, and says that it has succeeded.
    for (script, words) in [
        (
            format!("#!/bin/sh\n[ \"$1\" = --version ] && exec {real} --version\necho out of ideas >&2\nexit 1\n"),
            "out of ideas",
        ),
        (
            format!(
                "#!/bin/sh\n[ \"$1\" = --version ] && exec {real} --version\n{real} \"$@\" | head -n 9000\nexit 0\n"
            ),
            "dump table",
        ),
    ] {
        fs::write(&program, script).unwrap();
        std::os::unix::fs::chown(&program, None, None).unwrap();
        let mut mode = fs::metadata(&program).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
        fs::set_permissions(&program, mode).unwrap();
        if pair.state() == "FAILED" {
            pair.target.exec("select steep_repl.resume_init('node_b')");
        } else {
            pair.init_with(&[("max_retries", "1")], &format!("{ARGS}, large_table_method => 'pg_dump'")).unwrap();
        }
        let refusal =
            Refusal::of(&midway::until_failed(&pair)).names(&["public.large", "pg_dump could not dump", words]);
        assert_eq!(refusal.code, "58000", "{refusal:?}");
    }
    fs::rename(&aside, &program).unwrap();
    pair.target.exec("select steep_repl.resume_init('node_b')");
    expect_end(&pair);
}

/// A table that is rewritten before pg_dump has it locked cannot be read under the snapshot: it is copied under a later one.
#[test]
fn a_table_that_is_rewritten_meanwhile() {
    let pair = midway::filled(Pair::options("dump_rewritten"));
    pair.source.exec("create table other (id int primary key, note text); insert into other select i, repeat('z', 180) from generate_series(1, 12000) i");
    pair.source.exec_each(&["vacuum analyze other"]);
    pair.target.exec("create table other (id int primary key, note text)");
    pair.register();
    pair.proxy().throttle(midway::SLOW);
    let args =
        format!("{ARGS}, large_table_method => 'pg_dump'").replace("parallel_workers => 2", "parallel_workers => 1");
    pair.init(&args).unwrap();
    midway::until_rows(&pair);
    // One worker has the larger of the two.
    let load = LoadOptions::default().keyed("large").rate(20).start(&pair.source);
    pair.source.exec("update other set note = 'new' where id % 2 = 0");
    pair.source.exec_each(&["vacuum full other"]);
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    load.stop();
    assert!(!events(&pair, "init.table_deferred").is_empty(), "it was not put aside");
    expect_equal(&pair);
}

/// The program and what it has started are gone with the worker, however that ends.
#[test]
fn a_worker_that_is_ended() {
    let pair = midway::prepared(Pair::options("dump_ended"));
    start(&pair, "pg_dump");
    assert_eq!(pair.source.scalar::<i64>(DUMPING), 1);
    pair.target.exec("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'steep_repl copy worker' and datname = current_database()");
    wait_until("another one is at it", Duration::from_secs(60), || {
        let claims = "select max(claims) from steep_repl.tasks where kind = 'copy'";
        (pair.target.scalar::<i32>(claims) > 1).then_some(())
    });
    wait_until("the first one's program is gone", Duration::from_secs(10), || {
        (pair.source.scalar::<i64>(DUMPING) <= 1).then_some(())
    });
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    expect_end(&pair);
}

/// Writes into the large table that go on from the middle of its copy.
fn writing(pair: &Pair) -> WriteLoad {
    LoadOptions::default().keyed("large").keys(15_000).rate(100).start(&pair.source)
}

/// It ends SYNCHRONIZED, the writers go on for a while, and every row is equal; nothing of a program is left on either side.
fn ends_equal(pair: &Pair, load: WriteLoad) {
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    shop::stop_later(load, &pair.source);
    expect_equal(pair);
    expect_nothing_left(pair);
}

/// No program is at work on the source, and no file that it was started with is left here.
fn expect_nothing_left(pair: &Pair) {
    wait_until("the programs' sessions are gone", Duration::from_secs(20), || {
        (pair.source.scalar::<i64>(DUMPING) == 0).then_some(())
    });
    expect_no_program(pair);
    let left =
        "select name from pg_ls_dir('base/pgsql_tmp', true, false) name where name like 'pgsql\\_tmp\\_steep\\_repl%'";
    wait_until("their files are gone", Duration::from_secs(20), || pair.target.rows(left).is_empty().then_some(()));
}

/// A target of its own, whose files can be looked at, and more rows than the buffers of a link hold.
fn alone(label: &str) -> Pair {
    let pair = midway::prepared(Pair::options(label).target(ClusterOptions::new(label).preload().start()));
    pair.source.exec("insert into large select i, i, repeat('x', 200) from generate_series(15001, 100000) i");
    pair.source.exec_each(&["vacuum analyze large"]);
    pair
}

/// Every link at once, so that the snapshot is lost with them: the table is copied under a later one.
#[test]
fn links_are_cut() {
    let pair = alone("dump_cut");
    start(&pair, "pg_dump");
    let load = writing(&pair);
    pair.proxy().cut();
    ends_equal(&pair, load);
    assert!(!events(&pair, "init.snapshot_renewed").is_empty(), "the snapshot was not lost");
}

/// And the source stays out of reach for a while.
#[test]
fn links_are_down_for_a_while() {
    let pair = alone("dump_down");
    start(&pair, "pg_dump");
    let load = writing(&pair);
    pair.proxy().down();
    wait_until("it is known that the source is away", Duration::from_secs(60), || {
        let known = events(&pair, "init.retry").join("\n");
        (known.contains("node_a") || known.contains("connect")).then_some(())
    });
    expect_nothing_left(&pair);
    assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
    pair.proxy().restore();
    ends_equal(&pair, load);
}

/// The program's own link alone: it is started again under the same snapshot, from the table's first row.
#[test]
fn its_own_link_is_cut() {
    let pair = alone("dump_own");
    start(&pair, "pg_dump");
    let load = writing(&pair);
    assert_eq!(pair.source.scalar::<i64>(END_DUMPING), 1);
    ends_equal(&pair, load);
    let claims = pair.target.scalar::<i32>("select max(claims) from steep_repl.tasks where kind = 'copy'");
    assert!(claims > 1, "it was not begun again");
    assert!(events(&pair, "init.snapshot_renewed").is_empty(), "{:?}", pair.events());
}

/// As often as it is tried: the program's own words are the error, nothing of the program is left, and resume_init finishes it.
#[test]
fn its_own_link_is_cut_again_and_again() {
    let pair = alone("dump_again");
    start_with(&pair, "pg_dump", &[("max_retries", "1")]);
    let load = writing(&pair);
    wait_until("it is given up", Duration::from_secs(120), || {
        pair.source.rows(END_DUMPING);
        (pair.state() == "FAILED").then_some(())
    });
    let refusal = Refusal::of(&midway::until_failed(&pair)).names(&[
        "public.large",
        "pg_dump could not dump",
        "Dumping the contents of table \"large\" failed",
        "resume_init",
    ]);
    assert_eq!(refusal.code, "58000", "{refusal:?}");
    expect_nothing_left(&pair);
    pair.target.exec("select steep_repl.resume_init('node_b')");
    ends_equal(&pair, load);
}
