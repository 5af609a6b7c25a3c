//! Who may look at what tables are: catalogs are open to everybody, so a schema without USAGE hides nothing of them; a connection to
//! another node is for its owner; rows are for those who may read them, which is said before anything is begun.

use steep_repl_testkit::{describe, quote_ident, shared, Pair, Role};

use crate::refusal::{refused, refused_quickly, Refusal};

/// A table that only superusers reach, on both nodes.
const SECRET: &str = "
    create schema secret; create table secret.t (id int primary key, v numeric(10,2) default 0.5, g int generated always as (1) stored);
    revoke all on schema secret from public; create table open (id int primary key)";

/// May call every function and nothing else.
fn may_call(pair: &Pair, role: &Role) {
    pair.target.exec(&format!(
        "grant usage on schema steep_repl to {role}; grant execute on all functions in schema steep_repl to {role}"
    ));
}

#[test]
fn a_schema_without_usage_is_read_from_the_catalogs() {
    let looker = Role::create(&shared::target(), "looker", "login");
    let there = Role::create(&shared::source(), "lookerthere", "login");
    let pair = Pair::new("no_usage");
    for db in [&pair.source, &pair.target] {
        db.exec(SECRET);
    }
    may_call(&pair, &looker);
    // Neither has the connection's role any rights on the other node's tables.
    pair.register_with(&pair.source.conninfo().replace("user=postgres", &format!("user={there}")));
    let fingerprint: String = pair.target.scalar("select steep_repl.schema_fingerprint('secret', 't')");
    assert_eq!(
        pair.target.rows("select table_schema || '.' || table_name || ' ' || status from steep_repl.compare_schemas('node_a', 'node_b')"),
        ["public.open MATCH", "secret.t MATCH"]
    );
    pair.source.exec("alter table secret.t add w text");
    assert_eq!(
        pair.target.rows("select object_name, change from steep_repl.schema_diff('node_a', 'node_b', 'secret.t')"),
        ["w | missing"]
    );
    let mut session = pair.session();
    session.batch_execute(&format!("set session authorization {looker}")).unwrap();
    let one = session.query_one("select steep_repl.schema_fingerprint('secret', 't')", &[]).unwrap();
    assert_eq!(one.get::<_, String>(0), fingerprint);
    // A name that is looked up as a regclass is the server's matter, which says whose door is closed.
    let error = session.batch_execute("select steep_repl.schema_fingerprint('secret.t'::regclass)").unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{}", describe(&error));
    assert!(describe(&error).contains("schema secret"), "{}", describe(&error));
    // By number it needs no look-up of a schema.
    let number: u32 = pair.target.scalar("select 'secret.t'::regclass::oid");
    let one = session.query_one(&format!("select steep_repl.schema_fingerprint({number}::regclass)"), &[]).unwrap();
    assert_eq!(one.get::<_, String>(0), fingerprint);
    assert_eq!(session.query_one("select steep_repl.capture_fingerprints()", &[]).unwrap().get::<_, i64>(0), 2);
    pair.target.exec("alter table secret.t drop g");
    let drift = "select table_name, difference from steep_repl.schema_drift";
    assert_eq!(pair.target.rows(drift), ["t | column g missing on the table now"]);
    drop(session);
    pair.target.exec(&format!("drop owned by {looker}"));
}

#[test]
fn another_ones_node_is_not_looked_into() {
    let stranger = Role::create(&shared::target(), "lookstranger", "login");
    let pair = Pair::new("not_yours");
    for db in [&pair.source, &pair.target] {
        db.exec(SECRET);
    }
    may_call(&pair, &stranger);
    pair.register();
    let mut session = pair.session();
    session.batch_execute(&format!("set session authorization {stranger}")).unwrap();
    for call in [
        "compare_schemas('node_a', 'node_b')",
        "compare_schemas('node_b', 'node_a')",
        "compare_schemas('node_b', 'node_a', schemas => array['public'])",
        "schema_diff('node_a', 'node_b', 'open')",
    ] {
        let refusal = refused_quickly(|| session.batch_execute(&format!("select steep_repl.{call}")));
        assert_eq!(refusal.names(&["node_a"]).code, "42501", "{call}");
    }
    // Without the right to call the functions there is nothing at all.
    pair.target.exec(&format!("revoke all on all functions in schema steep_repl from {stranger}"));
    for call in [
        "compare_schemas('node_a', 'node_b')",
        "schema_diff('node_a', 'node_b', 'open')",
        "schema_fingerprint('secret', 't')",
        "schema_fingerprint(1259::regclass)",
        "capture_fingerprints()",
    ] {
        let error = session.batch_execute(&format!("select steep_repl.{call}")).unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{call}: {}", describe(&error));
    }
    drop(session);
    pair.target.exec(&format!("drop owned by {stranger}"));
}

/// Rows are another matter than catalogs.
#[test]
fn an_initialization_names_what_its_source_role_may_not_read() {
    let copier = Role::create(&shared::source(), "halfcopier", "login replication");
    let pair = Pair::new("half_rights");
    pair.source.exec(&format!(
        "grant create on database {} to {copier}; create schema secret; create table open (id int primary key);
         create table secret.t (id int primary key); alter table open owner to {copier}; alter table secret.t owner to {copier}",
        quote_ident(pair.source.name())
    ));
    pair.target.exec(
        "create schema secret; create table open (id int primary key); create table secret.t (id int primary key)",
    );
    pair.register_with(&pair.source.conninfo().replace("user=postgres", &format!("user={copier}")));
    let expect = |refusal: Refusal| {
        assert_eq!(refusal.names(&["secret.t", copier.name(), "USAGE"]).code, "42501");
    };
    expect(refused(&pair, ""));
    // The way in without the table, and the table without the way in.
    pair.source.exec(&format!(
        "grant usage on schema secret to {copier}; alter table secret.t owner to postgres; revoke all on secret.t from {copier}"
    ));
    expect(refused(&pair, ""));
    pair.source.exec(&format!("alter table secret.t owner to {copier}"));
    pair.synchronize("");
    pair.expect_equal();
    pair.source.exec(&format!("reassign owned by {copier} to postgres; drop owned by {copier}"));
}

/// Nobody can know that a column was renamed, so it is never taken for the one that it was.
#[test]
fn a_renamed_column_is_missing_and_extra() {
    let pair = Pair::new("renamed");
    let table = "create table t (id int primary key, name text not null default 'x', \"Odd \"\"one\" int)";
    pair.source.exec(&format!("{table}; insert into t values (1, 'a', 2)"));
    pair.target
        .exec(&format!("{table}; alter table t rename name to title; alter table t rename \"Odd \"\"one\" to plain"));
    pair.register();
    assert_eq!(
        pair.target.rows("select status, difference from steep_repl.compare_schemas('node_a', 'node_b')"),
        ["MISMATCH | column title missing on node_a; column plain missing on node_a; column name missing on node_b; \
          column \"Odd \"\"one\" missing on node_b"]
    );
    assert_eq!(
        pair.target.rows(
            "select object_kind, object_name, change, is_mismatch from steep_repl.schema_diff('node_a', 'node_b', 't')"
        ),
        [
            "column | title | extra | t",
            "column | plain | extra | t",
            "column | name | missing | t",
            "column | Odd \"one | missing | t",
        ]
    );
    let refusal = refused(&pair, "schema_sync => 'strict'");
    let missing = ["column name of table public.t does not exist on the target", "Odd"];
    assert_eq!(refusal.names(&missing).code, "42P15");
    assert_eq!(pair.target.scalar::<i64>("select count(*) from t"), 0);
}
