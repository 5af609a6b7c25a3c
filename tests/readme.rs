//! What README.md says to do for roles that are no superusers is done, word by word.

use postgres::{Client, NoTls};
use steep_repl_testkit::{check, describe, quote_ident, Auth, ClusterOptions, Db, Pair};

use crate::refusal::refused_quickly;

const SECRET: &str = "s3cr3t-pw";

/// The blocks of code of the section about rights, a line each.
fn recipe() -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## Rights\n").expect("README.md has no section about rights");
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let mut blocks: Vec<Vec<String>> = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        match line.strip_prefix("    ") {
            Some(code) if inside => blocks.last_mut().unwrap().push(code.into()),
            Some(code) => blocks.push(vec![code.into()]),
            None => {}
        }
        inside = line.starts_with("    ");
    }
    assert_eq!(blocks.len(), 3, "{blocks:#?}");
    blocks
}

/// A pair on clusters of its own, since roles belong to a cluster, with the tables of the recipe.
fn pair(label: &str, auth: Auth) -> Pair {
    let (source, target) = (format!("{label}_s"), format!("{label}_t"));
    let source = ClusterOptions::new(&source).auth(auth).start();
    let pair = Pair::options(label).source(source).target(ClusterOptions::new(&target).preload().start()).build();
    pair.source.exec(
        "create table a (id int primary key, v int, note text); create index a_v on a (v);
         create table b (id int primary key, v int);
         create table c (id int, v int, primary key (id)) partition by range (id);
         create table c1 partition of c for values from (0) to (500);
         create table c2 partition of c for values from (500) to (1001);
         insert into a select i, i, repeat('x', 200) from generate_series(1, 9000) i;
         insert into b select i, i from generate_series(1, 100) i; insert into c select i, i from generate_series(1, 1000) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.copy_schema_from(&pair.source);
    pair
}

/// What stands for something in the recipe: the database's name, a password, and where the servers are.
fn filled_in(text: &str, here: &Db, pair: &Pair) -> String {
    let place = |db: &Db| format!("host=127.0.0.1 port={} dbname={}", db.cluster().port(), db.name());
    text.replace("password '...'", &format!("password '{SECRET}'"))
        .replace("password=...", &format!("password={SECRET}"))
        .replace("on database shop", &format!("on database {}", quote_ident(here.name())))
        .replace("'node_a', 'host=... dbname=shop", &format!("'node_a', '{}", place(&pair.source)))
        .replace("'node_b', 'host=... dbname=shop", &format!("'node_b', '{}", place(&pair.target)))
}

fn run(client: &mut Client, text: &str) {
    assert!(!text.contains("..."), "something was not filled in: {text}");
    client.batch_execute(text).unwrap_or_else(|error| panic!("{}\n{text}", describe(&error)));
}

fn own(db: &Db, role: &str) {
    for table in ["a", "b", "c", "c1", "c2"] {
        db.exec(&format!("alter table {table} owner to {role}"));
    }
}

/// What the administrator of the target does, and what is left to the operator.
fn prepare_target(pair: &Pair, lines: &[String]) -> (Client, Vec<String>) {
    let end = lines.iter().position(|line| line.contains("as operator")).expect("no line says what the operator does");
    run(&mut pair.target.connect(), &filled_in(&lines[..end].join("\n"), &pair.target, pair));
    own(&pair.target, "operator");
    let client = pair.target.cluster().config(pair.target.name()).user("operator").connect(NoTls).unwrap();
    let steps = lines[end + 1..].iter().map(|line| filled_in(line, &pair.target, pair)).collect();
    (client, steps)
}

fn expect_equal(pair: &Pair) {
    assert_eq!(pair.state(), "SYNCHRONIZED");
    pair.source
        .exec("update a set v = -1 where id < 9; delete from b where id = 7; update c set id = 0 where id = 900");
    pair.expect_equal();
    let superusers = pair.target.rows(
        "select subname from pg_subscription s join pg_roles r on r.oid = subowner where rolsuper or not subpasswordrequired",
    );
    assert!(superusers.is_empty(), "{superusers:?}");
}

/// The operator does what is left to do, and it replicates.
fn steps_end_synchronized(pair: &Pair, client: &mut Client, steps: &[String]) {
    for step in steps {
        run(client, step);
    }
    expect_equal(pair);
}

#[test]
fn a_role_that_owns_the_tables() {
    let blocks = recipe();
    let pair = pair("recipe", Auth::Scram);
    run(&mut pair.source.connect(), &filled_in(&blocks[0].join("\n"), &pair.source, &pair));
    own(&pair.source, "replicator");
    let (mut client, steps) = prepare_target(&pair, &blocks[2]);
    // Without the password it would be the server that proves who it is.
    let without = steps[0].replace(&format!(" password={SECRET}"), "");
    assert_ne!(without, steps[0]);
    assert_eq!(refused_quickly(|| client.batch_execute(&without)).code, "2F003", "{without}");
    steps_end_synchronized(&pair, &mut client, &steps);
}

#[test]
fn a_role_that_owns_nothing() {
    let blocks = recipe();
    let pair = pair("recipe_pub", Auth::Scram);
    let role = blocks[0].iter().find(|line| line.starts_with("create role")).unwrap();
    run(&mut pair.source.connect(), &filled_in(role, &pair.source, &pair));
    let (call, grants): (Vec<&String>, Vec<&String>) = blocks[1].iter().partition(|line| line.starts_with("-- select"));
    let grants: Vec<&str> = grants.into_iter().map(String::as_str).collect();
    run(&mut pair.source.connect(), &grants.join("\n"));
    let (mut client, mut steps) = prepare_target(&pair, &blocks[2]);
    let init = steps.iter_mut().find(|step| step.contains("init_node")).unwrap();
    *init = call[0].trim_start_matches("-- ").to_string();
    // Each partition needs the SELECT, as the text says.
    let (last, first) = steps.split_last().unwrap();
    let refusal = refused_quickly(|| first.iter().try_for_each(|step| client.batch_execute(step))).names(&["c1", "c2"]);
    assert_eq!(refusal.code, "42501");
    run(&mut pair.source.connect(), "grant select on c1, c2 to replicator");
    steps_end_synchronized(&pair, &mut client, &[first[2].clone(), last.clone()]);
}

/// The source would believe anybody who comes from the target's machine: the server's identity is not lent to the role.
#[test]
fn a_source_that_asks_for_no_password() {
    let blocks = recipe();
    let pair = pair("recipe_trust", Auth::Trust);
    run(&mut pair.source.connect(), &filled_in(&blocks[0].join("\n"), &pair.source, &pair));
    own(&pair.source, "replicator");
    let (mut client, steps) = prepare_target(&pair, &blocks[2]);
    for step in &steps[..2] {
        run(&mut client, step);
    }
    let error = client.batch_execute(&steps[2]).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("2F003"), "{}", describe(&error));
    assert_eq!(pair.state(), "UNINITIALIZED");
    check::assert_clean(&pair.source, &pair.target);
}
