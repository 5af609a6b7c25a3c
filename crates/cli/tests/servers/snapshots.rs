//! `snapshot`: generated, listed, applied and deleted from the command line.

use steep_repl_testkit::{root, Pair};

use crate::steep::steep;

#[test]
fn from_generate_to_delete() {
    let pair = Pair::new("cli_kept");
    let folder = root::folder("cli_kept");
    pair.source.exec("create table orders (id int primary key, note text); insert into orders select i, repeat('x', 200) from generate_series(1, 5000) i");
    pair.prepare();
    let missing = steep(&pair, "snapshot generate --source node_a --path one");
    missing.fails(1, &["steep_repl.snapshot_directory is not set"]);
    let name = steep_repl_testkit::quote_ident(pair.target.name());
    pair.target.exec(&format!("alter database {name} set steep_repl.snapshot_directory = '{}'", folder.display()));
    let done = steep(
        &pair,
        "snapshot generate --source node_a --path one --compression lz4 --parallel 2 --targets 2 --expires 3d",
    );
    let said = done.works();
    assert!(said.contains("is complete: 1 table,") && said.contains("/one"), "{said}");
    let id: String = pair.target.scalar("select id from steep_repl.snapshots where status = 'complete' and slots = 2 and compression = 'lz4' and expires_at > now()");
    let listed = steep(&pair, "snapshot list").works().to_owned();
    assert!(listed.contains(&id) && listed.contains("complete"), "{listed}");
    let json = steep(&pair, "snapshot list --json").works().to_owned();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json[0]["id"].as_str(), json[0]["slots_free"].as_i64()), (Some(id.as_str()), Some(2)));
    steep(&pair, "snapshot apply node_b --path one").works();
    pair.expect_equal();
    steep(&pair, "snapshot apply node_b --path one").fails(1, &["SYNCHRONIZED"]);
    steep(&pair, "snapshot delete nonsense --yes").fails(1, &["snapshot \"nonsense\" does not exist", &id]);
    steep(&pair, &format!("snapshot delete {id}")).fails(2, &["--yes"]);
    steep(&pair, &format!("snapshot delete {id} --yes")).works();
    assert!(!folder.join("one").exists());
    let listed = steep(&pair, "snapshot list").works().to_owned();
    assert!(!listed.contains(&id), "{listed}");
}

/// Both halves of one initialization, by the word of the command line.
#[test]
fn two_phases() {
    let pair = Pair::new("cli_both");
    let folder = root::folder("cli_both");
    pair.source.exec("create table orders (id int primary key, note text); insert into orders select i, repeat('x', 200) from generate_series(1, 5000) i");
    pair.prepare();
    let name = steep_repl_testkit::quote_ident(pair.target.name());
    pair.target.exec(&format!("alter database {name} set steep_repl.snapshot_directory = '{}'", folder.display()));
    steep(&pair, "init node_b --from node_a --method two-phase").works();
    pair.expect_equal();
    assert_eq!(pair.target.rows("select method from steep_repl.init_progress"), ["two_phase"]);
}
