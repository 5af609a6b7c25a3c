//! Whose rights are used: the asking role's for the work, the table owner's for code that runs on the rows.

use steep_repl_testkit::{quote_literal, shared, Auth, ClusterOptions, Pair, Role};

/// A function in a CHECK or an index must never run with the rights of the superuser who asks for a copy.
#[test]
fn code_of_a_table_runs_as_its_owner() {
    let owner = Role::create(&shared::target(), "tblowner", "");
    let pair = Pair::new("as_owner");
    let objects = |body: &str| {
        format!(
            "create function public.whoami(i int) returns int language plpgsql immutable as $$begin {body} return i; end$$;
             create table t (id int primary key, v int, constraint seen check (public.whoami(v) is not null));
             create index t_whoami on t (public.whoami(v));
             create table large (id int primary key, v int, note text, constraint seen check (public.whoami(v) is not null));
             create index large_whoami on large (public.whoami(v));"
        )
    };
    pair.source.exec(&objects(""));
    pair.source.exec(
        "insert into t select i, i from generate_series(1, 100) i;
         insert into large select i, i, repeat('x', 100) from generate_series(1, 30000) i",
    );
    pair.target.exec(&objects(&format!(
        "if current_user <> '{owner}' then raise exception 'runs as %', current_user; end if;"
    )));
    pair.target.exec(&format!(
        "grant create on schema public to {owner}; alter table t owner to {owner}; alter table large owner to {owner}"
    ));
    pair.register();
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel'");
    pair.expect_equal();
}

/// Whoever may call the functions and owns the tables needs not be a superuser, but has to use a password.
#[test]
fn an_operator_who_is_not_superuser() {
    let source = ClusterOptions::new("ops").auth(Auth::Scram).start();
    let operator = Role::create(&shared::target(), "operator", "login in role pg_create_subscription");
    let pair = Pair::options("operator").source(source).build();
    pair.source.exec(
        "create role copier superuser login password 's3cr3t-pw';
         create table t (id int primary key, v text); insert into t select i, repeat('x', 50) from generate_series(1, 30000) i;
         create table s (id int primary key); insert into s values (1)",
    );
    pair.target.copy_schema_from(&pair.source);
    let database = steep_repl_testkit::quote_ident(pair.target.name());
    pair.target.exec(&format!(
        "alter table t owner to {operator}; alter table s owner to {operator}; grant create on database {database} to {operator};
         grant usage on schema steep_repl to {operator}; grant execute on all functions in schema steep_repl to {operator}"
    ));
    let mut client = pair.session();
    client.batch_execute(&format!("set session authorization {operator}")).unwrap();
    let conninfo =
        format!("host=127.0.0.1 port={} user=copier dbname={}", pair.source.cluster().port(), pair.source.name());
    let mut call = |sql: &str| client.batch_execute(sql);
    // Without a password of the conninfo's own, the server's user would vouch for the operator.
    for dangerous in
        ["", "passfile=/tmp/x", "service=x", "password=x sslkey=/tmp/x", "password=x sslcert=/tmp/x sslkey=/tmp/y"]
    {
        let quoted = quote_literal(&format!("{conninfo} {dangerous}"));
        let error = call(&format!("select steep_repl.register_node('node_a', {quoted})")).unwrap_err();
        let code = error.code().map(|code| code.code().to_string()).unwrap_or_default();
        assert!(
            ["42501", "2F003", "28000", "22023"].contains(&code.as_str()),
            "{dangerous}: {}",
            steep_repl_testkit::describe(&error)
        );
    }
    let good = quote_literal(&format!("{conninfo} password=s3cr3t-pw"));
    let own = quote_literal(&format!("{} password=unused", pair.target.conninfo()));
    for statement in [
        format!("select steep_repl.register_node('node_a', {good})"),
        format!("select steep_repl.register_node('node_b', {own}, is_local => true)"),
    ] {
        call(&statement).unwrap_or_else(|error| panic!("{statement}: {}", steep_repl_testkit::describe(&error)));
    }
    // Policies that hold for the owner too would hide rows from the check whether the table is empty.
    pair.target.exec("alter table t enable row level security, force row level security");
    let error = call("select steep_repl.init_node('node_b', 'node_a', method => 'parallel')").unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42501"));
    assert!(steep_repl_testkit::describe(&error).contains("is subject to row-level security of public.t"), "{error:?}");
    pair.target.exec("alter table t disable row level security, no force row level security");
    for statement in [
        "select steep_repl.init_node('node_b', 'node_a', method => 'parallel')",
        "select steep_repl.wait_for_init('node_b', timeout => '2 minutes')",
    ] {
        if let Err(error) = call(statement) {
            panic!("{statement}: {}", steep_repl_testkit::describe(&error));
        }
    }
    assert_eq!(pair.state(), "SYNCHRONIZED");
    pair.expect_equal();
    // Neither for tables that come later.
    for db in [&pair.target, &pair.source] {
        db.exec("create table late (id int primary key, v text)");
    }
    pair.source.exec("insert into late values (1, 'a')");
    let mine = format!("alter table late owner to {operator}");
    let refresh = "select steep_repl.refresh_tables('node_b')";
    let error = call(refresh).unwrap_err();
    assert!(steep_repl_testkit::describe(&error).contains("does not own public.late"), "{error:?}");
    pair.target.exec(&mine);
    for statement in [refresh, "select steep_repl.wait_for_init('node_b', timeout => '2 minutes')"] {
        call(statement).unwrap_or_else(|error| panic!("{statement}: {}", steep_repl_testkit::describe(&error)));
    }
    pair.expect_equal();
    assert_eq!(pair.target.scalar::<i64>("select count(*) from late"), 1);
    pair.target.exec(&format!("reassign owned by {operator} to postgres; drop owned by {operator}"));
}

/// Somebody else's table cannot be filled by a role that may not write to it.
#[test]
fn tables_of_others_are_out_of_reach() {
    let source = ClusterOptions::new("others").auth(Auth::Scram).start();
    let operator = Role::create(&shared::target(), "outsider", "login in role pg_create_subscription");
    let pair = Pair::options("others").source(source).build();
    pair.source.exec("create role copier superuser login password 's3cr3t-pw'; create table t (id int primary key); insert into t values (1)");
    pair.target.copy_schema_from(&pair.source);
    let database = steep_repl_testkit::quote_ident(pair.target.name());
    pair.target.exec(&format!(
        "grant create on database {database} to {operator}; grant usage on schema steep_repl to {operator};
         grant execute on all functions in schema steep_repl to {operator}"
    ));
    let mut client = pair.session();
    client.batch_execute(&format!("set session authorization {operator}")).unwrap();
    let good = quote_literal(&format!(
        "host=127.0.0.1 port={} user=copier dbname={} password=s3cr3t-pw",
        pair.source.cluster().port(),
        pair.source.name()
    ));
    let own = quote_literal(&format!("{} password=unused", pair.target.conninfo()));
    client.batch_execute(&format!("select steep_repl.register_node('node_a', {good})")).unwrap();
    client.batch_execute(&format!("select steep_repl.register_node('node_b', {own}, is_local => true)")).unwrap();
    let error = client
        .batch_execute("select steep_repl.init_node('node_b', 'node_a', method => 'parallel')")
        .and_then(|()| client.batch_execute("select steep_repl.wait_for_init('node_b', timeout => '30 seconds')"))
        .unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{}", steep_repl_testkit::describe(&error));
    assert_eq!(pair.target.scalar::<i64>("select count(*) from t"), 0);
    pair.target.exec(&format!("drop owned by {operator}"));
}
