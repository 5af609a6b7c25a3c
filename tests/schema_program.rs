//! `schema_sync => 'auto'` needs the pg_dump of the server's own version beside the server: without it nothing is begun.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use steep_repl_testkit::{check, Cluster, ClusterOptions, Installation, Pair, SchemaState};

use crate::refusal::{refused_quickly, Refusal};

/// A target whose programs nobody else uses.
fn own_server(label: &str) -> Arc<Cluster> {
    let programs = Installation::current().with_own_programs(&format!("{label}p"));
    ClusterOptions::new(label).programs(&programs).preload().start()
}

fn pg_dump(pair: &Pair) -> PathBuf {
    pair.target.cluster().installation().program("pg_dump")
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Everything that needs the program is refused with these words; nothing is left behind, and what does without it works.
fn expect_refused(pair: &Pair, words: &[&str]) {
    let expect = |refusal: Refusal| {
        assert_eq!(refusal.names(words).code, "58P01");
    };
    expect(refused_quickly(|| pair.init("schema_sync => 'auto'")));
    expect(refused_quickly(|| pair.target.try_exec("select * from steep_repl.schema_sync_plan('node_b', 'node_a')")));
    assert_eq!(pair.state(), "UNINITIALIZED");
    let left =
        "select (select count(*) from steep_repl.operations) + (select count(*) from steep_repl.pending_cleanup)";
    assert_eq!(pair.target.scalar::<i64>(left), 0);
    let files = "select name from pg_ls_dir('base/pgsql_tmp', true, false) name";
    assert_eq!(pair.target.rows(files), [""; 0]);
    check::assert_clean(&pair.source, &pair.target);
    // Strict does not ask for it.
    let strict = refused_quickly(|| pair.init("schema_sync => 'strict'"));
    assert_eq!(strict.names(&["public.t"]).code, "42P15");
}

#[test]
fn without_pg_dump_or_with_another_ones_nothing_is_begun() {
    let pair = Pair::options("no_pg_dump").target(own_server("no_pg_dump")).build();
    pair.source
        .exec("create table t (id int primary key, v text default 'x'); insert into t select generate_series(1, 100)");
    pair.register();
    let before = (SchemaState::of(&pair.source), SchemaState::of(&pair.target));
    let (program, aside) = (pg_dump(&pair), pg_dump(&pair).with_extension("aside"));
    fs::rename(&program, &aside).unwrap();
    let (major, folder) = (steep_repl_testkit::major(), program.parent().unwrap().display().to_string());
    let installed = format!("HINT: Install the client programs of PostgreSQL {major} beside the server");
    expect_refused(&pair, &[&format!("pg_dump of PostgreSQL {major} is not in \"{folder}\""), &installed, "strict"]);

    // That of an older server, which may well be what is first in an operator's PATH.
    let older = Installation::old();
    fs::copy(older.program("pg_dump"), &program).unwrap();
    expect_refused(
        &pair,
        &[
            &format!("pg_dump has version {}.", older.major()),
            &format!("this server is PostgreSQL {major}"),
            &installed,
        ],
    );

    // What is no program at all says nothing of a version.
    write_script(&program, "#!/bin/sh\nexit 3\n");
    expect_refused(&pair, &["pg_dump has version unknown", &installed]);

    // It is looked for anew each time: no restart is needed.
    fs::rename(&aside, &program).unwrap();
    before.0.assert_same(&pair.source);
    before.1.assert_same(&pair.target);
    pair.synchronize("schema_sync => 'auto'");
    pair.expect_equal();
}

/// Between the start and the dump, and when it fails: the operation stops with the reason, and goes on when it is there again.
#[test]
fn a_pg_dump_that_goes_or_fails_after_the_start() {
    let pair = Pair::options("bad_pg_dump").target(own_server("bad_pg_dump")).build();
    pair.source.exec("create table t (id int primary key, v text); insert into t select generate_series(1, 100)");
    pair.register();
    let before = SchemaState::of(&pair.target);
    let (program, aside) = (pg_dump(&pair), pg_dump(&pair).with_extension("aside"));
    fs::rename(&program, &aside).unwrap();
    // It tells its version as it should, and then fails as one does whose source has something that it does not know.
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec {} --version\necho 'pg_dump: error: it does not want to' >&2\nexit 1\n",
        aside.display()
    );
    write_script(&program, &script);
    pair.init_with(&[("max_retries", "0")], "schema_sync => 'auto'").unwrap();
    let refusal = Refusal::of(&pair.wait(Duration::from_secs(60)).unwrap_err());
    assert_eq!(refusal.names(&["pg_dump", "node_a", "it does not want to"]).code, "58000");
    assert_eq!(pair.state(), "FAILED");
    fs::rename(&aside, &program).unwrap();
    before.assert_same(&pair.target);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from pg_ls_dir('base/pgsql_tmp', true, false)"), 0);
    pair.target.exec("select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    pair.expect_equal();
}
