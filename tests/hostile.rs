//! A role that may call the functions, owns tables, even the database, and means harm: it learns no password, touches
//! nobody else's operation, and none of its code ever runs with more rights than its own.

use std::time::Duration;

use postgres::{Client, NoTls};
use steep_repl_testkit::{
    check, describe, quote_ident, quote_literal, shared, wait_until, Auth, ClusterOptions, Db, Pair, Role,
};

const SECRET: &str = "s3cr3t-pw";

/// A member of pg_create_subscription on the shared target.
fn hostile(label: &str) -> Role {
    Role::create(&shared::target(), label, "login in role pg_create_subscription")
}

/// A session of that role, with the role's own settings.
fn session_of(db: &Db, role: &Role) -> Client {
    db.cluster().config(db.name()).user(role.name()).connect(NoTls).unwrap()
}

fn code(result: Result<(), postgres::Error>) -> String {
    let Err(error) = result else { return "nothing".to_string() };
    let text = describe(&error);
    assert!(!text.contains(SECRET), "the password is in the message: {text}");
    error.code().map(|code| code.code().to_string()).unwrap_or(text)
}

/// Each of the statements is refused with 42501.
fn all_refused(client: &mut Client, statements: &[String]) {
    let mut wrong = Vec::new();
    for sql in statements {
        let code = code(client.batch_execute(sql));
        if code != "42501" {
            wrong.push(format!("{sql}: {code}"));
        }
    }
    assert!(!statements.is_empty() && wrong.is_empty(), "not refused: {wrong:#?}");
}

/// A call of each function of the schema. No text is null: a strict function is not even called with one.
fn calls(db: &Db) -> Vec<String> {
    db.rows(
        "select format('select steep_repl.%I(%s)', proname,
                (select string_agg(case t when 'text'::regtype then quote_literal('x') else 'null' end
                                   || '::' || format_type(t, null), ', ')
                   from unnest(proargtypes) t))
         from pg_proc where pronamespace = 'steep_repl'::regnamespace order by 1",
    )
}

#[test]
fn functions_are_not_for_everybody() {
    let role = Role::create(&shared::target(), "plain", "login");
    let pair = Pair::new("hos_public");
    let calls = calls(&pair.target);
    assert!(calls.len() >= 10, "{calls:?}");
    let mut client = session_of(&pair.target, &role);
    all_refused(&mut client, &calls);
    // It is not only the schema that keeps it out.
    pair.target.exec(&format!("grant usage on schema steep_repl to {role}"));
    all_refused(&mut client, &calls);
    pair.target.exec(&format!("revoke usage on schema steep_repl from {role}"));
}

#[test]
fn tables_are_for_nobody() {
    let role = hostile("taker");
    let pair = Pair::new("hos_tables");
    pair.source.exec("create table t (id int primary key); insert into t values (1)");
    pair.prepare();
    pair.synchronize("");
    let relations = pair.target.rows(
        "select format('%I.%I', relnamespace::regnamespace, relname), relkind from pg_class
         where relnamespace = 'steep_repl'::regnamespace and relkind in ('r', 'v', 'S', 'p', 'm')",
    );
    let mut statements = Vec::new();
    for (name, kind) in relations.iter().filter_map(|line| line.split_once(" | ")) {
        let public = [
            "init_progress",
            "table_progress",
            "node_status",
            "metrics",
            "events",
            "pending_cleanup",
            "init_slots",
            "snapshots",
            "schema_fingerprints",
            "schema_drift",
        ];
        if !public.iter().any(|view| name == format!("steep_repl.{view}")) {
            statements.push(format!("select * from {name}"));
        }
        match kind {
            "S" => statements.extend([format!("select nextval('{name}')"), format!("select setval('{name}', 1)")]),
            _ => statements.push(format!("do $$ begin lock table {name} in access exclusive mode; end $$")),
        }
        if kind == "r" {
            statements.extend([format!("insert into {name} default values"), format!("delete from {name}")]);
            statements.push(format!("truncate {name}"));
            statements.push(format!("alter table {name} add mine int"));
            let function = "pg_catalog.suppress_redundant_updates_trigger()";
            statements.push(format!("create trigger mine before update on {name} execute function {function}"));
        }
    }
    for write in ["nodes set conninfo = ''", "operations set requested_by = 10", "events set severity = 'info'"] {
        statements.push(format!("update steep_repl.{write}"));
    }
    statements.push("create table steep_repl.mine (id int)".into());
    statements.push("create function steep_repl.mine() returns int language sql as 'select 1'".into());
    statements.push("drop extension steep_repl".into());
    all_refused(&mut session_of(&pair.target, &role), &statements);
}

/// A pair of which the superuser registered node_a, by a role with a password, on a source that asks for it.
fn with_password(label: &str) -> Pair {
    let source = ClusterOptions::new(label).auth(Auth::Scram).start();
    let pair = Pair::options(label).source(source).build();
    pair.source.exec(&format!("create role copier superuser login password '{SECRET}'"));
    pair.source.exec("create table t (id int primary key, v text); insert into t values (1, 'private')");
    pair.target.copy_schema_from(&pair.source);
    pair
}

fn password_conninfo(pair: &Pair) -> String {
    let port = pair.source.cluster().port();
    format!("host=127.0.0.1 port={port} user=copier dbname={} password={SECRET}", pair.source.name())
}

/// The local node is the hostile role's own and the source is not, or the other way round.
#[test]
fn somebody_elses_connection_string_is_of_no_use() {
    let role = hostile("user");
    let pair = with_password("hos_use");
    let database = quote_ident(pair.target.name());
    pair.target.exec(&format!("alter table t owner to {role}; grant create on database {database} to {role}"));
    let (theirs, own) =
        (quote_literal(&password_conninfo(&pair)), quote_literal(&format!("{} password=x", pair.target.conninfo())));
    pair.target.exec(&format!("select steep_repl.register_node('node_a', {theirs})"));
    let mut client = session_of(&pair.target, &role);
    client.batch_execute(&format!("select steep_repl.register_node('node_b', {own}, is_local => true)")).unwrap();
    all_refused(
        &mut client,
        &[
            "select steep_repl.init_node('node_b', 'node_a')".to_string(),
            "select steep_repl.init_node('node_b', 'node_a', method => 'parallel', force => true)".to_string(),
            "select steep_repl.unregister_node('node_a')".to_string(),
        ],
    );
    // preflight may list it instead of raising it.
    let told =
        client.simple_query("select * from steep_repl.preflight('node_b', 'node_a')").map(|rows| format!("{rows:?}"));
    let told = told.unwrap_or_else(|error| describe(&error));
    assert!(told.contains("node_a") && told.contains("denied") && !told.contains(SECRET), "{told}");
    let kept = "select conninfo || owner from steep_repl.nodes where node = 'node_a'";
    let before = pair.target.scalar::<String>(kept);
    // Registered over it: refused, and it stays as it was.
    let over = format!("select steep_repl.register_node('node_a', {own})");
    assert_eq!(code(client.batch_execute(&over)), "42710");
    assert_eq!(pair.target.scalar::<String>(kept), before);
    // And a source of its own does not open somebody else's local node.
    client.batch_execute("select steep_repl.unregister_node('node_b')").unwrap();
    pair.target.exec(&format!("select steep_repl.register_node('node_b', {own}, is_local => true)"));
    client.batch_execute(&format!("select steep_repl.register_node('mine', {theirs})")).unwrap();
    all_refused(
        &mut client,
        &[
            "select steep_repl.init_node('node_b', 'mine')".to_string(),
            "select steep_repl.unregister_node('node_b')".to_string(),
        ],
    );
    check::assert_clean(&pair.source, &pair.target);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from t"), 0);
}

/// Before, during and after an initialization.
#[test]
fn somebody_elses_password_is_shown_nowhere() {
    let role = hostile("reader");
    let pair = with_password("hos_show");
    let mut client = session_of(&pair.target, &role);
    let mut look = || {
        for view in ["init_progress", "table_progress", "node_status", "metrics", "events", "pending_cleanup"] {
            let rows = client.simple_query(&format!("select to_jsonb(v)::text from steep_repl.{view} v")).unwrap();
            assert!(!format!("{rows:?}").contains(SECRET), "the password is in {view}");
        }
        let rows = client.simple_query("select * from pg_stat_activity").unwrap();
        assert!(!format!("{rows:?}").contains(SECRET), "the password is in pg_stat_activity");
    };
    for spelling in [
        password_conninfo(&pair),
        password_conninfo(&pair).replace(&format!("password={SECRET}"), &format!(" PGPASS  password = '{SECRET}'")),
        format!("postgresql://copier:{SECRET}@127.0.0.1:{}/{}", pair.source.cluster().port(), pair.source.name()),
        format!(
            "postgres://127.0.0.1:{}/{}?user=copier&password={SECRET}",
            pair.source.cluster().port(),
            pair.source.name()
        ),
    ] {
        pair.target.exec("delete from steep_repl.nodes");
        // One of these is no connection string.
        let registered = pair.try_register(&spelling);
        look();
        if registered.is_err() {
            assert!(spelling.contains("PGPASS"), "{spelling}: {}", code(registered));
        }
    }
    pair.init("method => 'parallel'").unwrap();
    look();
    pair.expect_synchronized();
    look();
    assert!(!pair.target.cluster().log_contains(SECRET), "the password is in the log");
}

/// Statements about an operation, from whoever is not its owner.
fn meddling(db: &Db) -> Vec<String> {
    let known = calls(db);
    let functions = ["cancel_init", "resume_init", "restore_indexes", "abandon_cleanup", "unregister_node"];
    functions
        .iter()
        .filter(|name| known.iter().any(|call| call.contains(&format!(".{name}("))))
        .map(|name| format!("select steep_repl.{name}('node_b')"))
        .collect()
}

#[test]
fn somebody_elses_operation_goes_on() {
    let role = hostile("meddler");
    let pair = Pair::options("hos_meddle").proxied().build();
    pair.source.exec(
        "create table t (id int primary key, v text);
         insert into t select i, repeat('x', 500) from generate_series(1, 8000) i",
    );
    pair.prepare();
    pair.proxy().throttle(1_000_000);
    pair.init("method => 'parallel'").unwrap();
    let mut client = session_of(&pair.target, &role);
    let statements = meddling(&pair.target);
    all_refused(&mut client, &statements);
    wait_until("it is being copied", Duration::from_secs(30), || (pair.progress()?.rows_done? > 0).then_some(()));
    all_refused(&mut client, &statements);
    // Nor can its processes be ended.
    let pids = pair.target.rows(
        "select pid from pg_stat_activity where backend_type like 'steep\\_repl%' and datname = current_database()",
    );
    all_refused(&mut client, &pids.iter().map(|pid| format!("select pg_terminate_backend({pid})")).collect::<Vec<_>>());
    pair.proxy().throttle(0);
    pair.expect_synchronized();
    all_refused(&mut client, &statements);
    all_refused(&mut client, &["select steep_repl.sync_sequences('node_b')".to_string()]);
    pair.expect_equal();
}

#[test]
fn somebody_elses_failed_operation_stays_as_it_is() {
    let role = hostile("reviver");
    let pair = Pair::new("hos_failed");
    pair.source.exec(
        "create table t (id int primary key, v int); insert into t select i, i / 2 from generate_series(1, 90000) i",
    );
    pair.prepare();
    pair.target.exec("create unique index t_once on t (v)");
    pair.init("method => 'parallel'").unwrap();
    assert_eq!(code(pair.wait(Duration::from_secs(60))), "23505");
    all_refused(&mut session_of(&pair.target, &role), &meddling(&pair.target));
    assert_eq!(pair.state(), "FAILED");
    pair.target.exec("drop index t_once; select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    pair.expect_equal();
}

/// Says in the log who it runs as, tries to become somebody else, and leaves its schema in the way of whoever is next.
const WITNESS: &str = r#"
create schema evil;
create function evil.witness(place text, i int default 0) returns void language plpgsql volatile as $f$
declare attempt text; who text;
begin
    if i operator(pg_catalog.%) 40 operator(pg_catalog.>) 1 then return; end if;
    select pg_catalog.format('%s/%s', current_user, r.rolsuper) into who
        from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) current_user;
    raise log 'witness {me} % runs as %', place, who;
    foreach attempt in array array['create role {me}_pwned superuser', 'reset role', 'set role postgres',
        'reset session authorization', 'set session authorization postgres', 'alter role {me} superuser',
        'set session_replication_role = origin', 'create temp table pwn (i int)'] loop
        begin
            execute attempt;
            select pg_catalog.format('%s/%s', current_user, r.rolsuper) into who
                from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) current_user;
            raise log 'witness {me} % after "%" runs as %', place, attempt, who;
        exception when others then null;
        end;
    end loop;
    begin
        perform pg_catalog.set_config('search_path', 'evil, pg_catalog, public', false);
    exception when others then null;
    end;
end $f$;
create function evil.shadow(place text) returns void language plpgsql volatile as $f$ begin
    if current_user operator(pg_catalog.<>) '{me}' then perform evil.witness(place); end if;
end $f$;
create function evil.seen(place text, i int) returns int language plpgsql immutable as
    $f$ begin perform evil.witness(place, i); return i; end $f$;
create function evil.fine(place text, i int) returns boolean language plpgsql volatile as
    $f$ begin perform evil.witness(place, i); return true; end $f$;
create function evil.fires() returns trigger language plpgsql as $f$ begin
    if tg_level operator(pg_catalog.<>) 'ROW' then perform evil.witness(tg_name); return null; end if;
    perform evil.witness(tg_name, new.id); return new;
end $f$;
create domain evil.watched as int check (evil.fine('domain', value));
"#;

/// Every place of a table where code can be. The plain one has nothing that only the server could see to.
const TRAPS: &str = "
alter table plain add constraint trap check (evil.fine('check', id));
create index plain_trap on plain (evil.seen('index', v));
create index plain_partial on plain (v) where evil.seen('predicate', v) > 10;
alter table fired add own_default int default evil.seen('default', 1),
    add other boolean default evil.fine('volatile', 1);
alter table fired add constraint trap check (evil.fine('check_fired', id));
alter table fired add computed int generated always as (evil.seen('generated', id)) stored;
create trigger before_row before insert or update on fired for each row execute function evil.fires();
create trigger after_row after insert or update on fired for each row execute function evil.fires();
create trigger before_statement before insert or update or delete on fired execute function evil.fires();
create trigger after_statement after insert or update or delete on fired execute function evil.fires();
create trigger on_truncate before truncate on fired execute function evil.fires();
create trigger after_truncate after truncate on fired execute function evil.fires();
do $$ declare t text; begin
    foreach t in array array['before_row', 'after_row', 'before_statement', 'after_statement', 'on_truncate',
        'after_truncate'] loop
        execute pg_catalog.format('alter table fired enable always trigger %I', t);
    end loop;
end $$;";

/// Functions and operators like the catalog's, for all who look into this schema first.
const SHADOWS: &str = r#"
do $do$
declare o record; f record; n int := 0;
begin
    for o in select oprname, oprleft, oprright, oprresult from pg_operator
        where oprnamespace = 'pg_catalog'::regnamespace and oprleft <> 0
          and oprname in ('=', '<>', '<', '>', '<=', '>=', '||', '->', '->>', '+', '-', '~', '~~', '@>', '&&') loop
        begin
            n := n + 1;
            execute format('create function evil.op_%s(l %s, r %s) returns %s language plpgsql as $f$ begin
                    perform evil.shadow(%L); return l operator(pg_catalog.%s) r; end $f$',
                n, o.oprleft::regtype, o.oprright::regtype, o.oprresult::regtype, 'operator ' || o.oprname, o.oprname);
            execute format('create operator evil.%s (function = evil.op_%s, leftarg = %s, rightarg = %s)',
                o.oprname, n, o.oprleft::regtype, o.oprright::regtype);
        exception when others then null; end;
    end loop;
    for f in select p.oid::regprocedure as sig, proname, prorettype::regtype as result,
            (select string_agg(format_type(t, null), ', ' order by i)
               from unnest(proargtypes) with ordinality a (t, i)) as args,
            (select string_agg('$' || i, ', ') from generate_series(1, pronargs) i) as given
        from pg_proc p where pronamespace = 'pg_catalog'::regnamespace and prokind = 'f' and not proretset
          and provariadic = 0 and proargnames is null and proname in ('now', 'clock_timestamp', 'lower', 'upper',
            'round', 'length', 'quote_ident', 'quote_literal', 'format_type', 'pg_get_expr', 'pg_get_indexdef',
            'pg_get_constraintdef', 'to_regclass', 'to_jsonb', 'left', 'has_table_privilege', 'pg_table_size',
            'pg_relation_filenode', 'array_length', 'current_setting', 'set_config', 'pg_has_role', 'pg_notify',
            'pg_get_userbyid', 'array_to_string', 'cardinality', 'jsonb_typeof', 'pg_backend_pid') loop
        begin
            execute format('create function evil.%I(%s) returns %s language plpgsql as $f$ begin
                    perform evil.shadow(%L); return pg_catalog.%I(%s); end $f$',
                f.proname, f.args, f.result, 'function ' || f.proname, f.proname, f.given);
        exception when others then null; end;
    end loop;
end $do$;"#;

/// What the hostile role's code said in the log.
fn witnesses(pair: &Pair, role: &Role) -> Vec<String> {
    let mark = format!("witness {role} ");
    pair.target
        .cluster()
        .log()
        .lines()
        .filter_map(|line| line.split_once(&mark))
        .map(|(_, said)| said.to_string())
        .collect()
}

/// None of its code ever ran as a superuser, or as anybody but the role.
fn expect_no_rights(pair: &Pair, role: &Role, before: usize) -> Vec<String> {
    let said = witnesses(pair, role).split_off(before);
    let own = format!(" runs as {role}/f");
    let mut wrong: Vec<&String> = said.iter().filter(|line| !line.ends_with(&own)).collect();
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "the owner's code had somebody else's rights: {:#?}", &wrong[..wrong.len().min(20)]);
    let pwned =
        format!("select rolname from pg_roles where rolname = '{role}_pwned' or rolname = '{role}' and rolsuper");
    assert!(pair.target.rows(&pwned).is_empty());
    said
}

fn expect_seen(said: &[String], places: &[&str]) {
    for place in places {
        assert!(
            said.iter().any(|line| line.starts_with(&format!("{place} runs"))),
            "{place} never ran: it tested nothing"
        );
    }
}

/// The database belongs to the role, its code is everywhere, and its schema stands before the catalog. Also how often
/// its code has run so far.
fn trapped(label: &str, role: &Role) -> (Pair, usize) {
    let pair = Pair::options(label).proxied().build();
    pair.source.exec(
        "create schema evil; create domain evil.watched as int;
         create table plain (id int primary key, v evil.watched, note text);
         create table fired (id int primary key, v int, note text); create table calm (id int primary key, v int);
         insert into plain select i, i, repeat('x', 1900) from generate_series(1, 650) i;
         insert into fired select i, i, repeat('x', 1900) from generate_series(1, 600) i;
         insert into calm select i, i from generate_series(1, 50) i",
    );
    pair.source.exec_each(&["vacuum analyze"]);
    let database = quote_ident(pair.target.name());
    pair.target.exec(&format!("alter database {database} owner to {role}; alter schema public owner to {role}"));
    // A session each, since the witness spoils the search path of its own.
    let run = |sql: &str| {
        let mut client = session_of(&pair.target, role);
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{}\n{sql}", describe(&error)));
    };
    run(&WITNESS.replace("{me}", role.name()));
    run("create table plain (id int primary key, v evil.watched, note text);
         create table fired (id int primary key, v int, note text); create table calm (id int primary key, v int)");
    run(TRAPS);
    run(SHADOWS);
    let shadows = "select count(*) from pg_proc where pronamespace = 'evil'::regnamespace";
    assert!(pair.target.scalar::<i64>(shadows) > 100, "the traps were not set");
    for whose in [format!("database {database}"), format!("role {role}"), format!("role {role} in database {database}")]
    {
        run(&format!("alter {whose} set search_path = evil, pg_catalog, public"));
    }
    pair.register();
    let before = witnesses(&pair, role).len();
    (pair, before)
}

/// As a superuser who never heard of that schema would, in a session that has the database's settings.
fn by_superuser(pair: &Pair, sql: &str) -> Result<(), postgres::Error> {
    let mut client = pair.session();
    client.batch_execute("set search_path = evil, pg_catalog, public; set steep_repl.chunk_size = '1MB'")?;
    client.batch_execute(sql)
}

const INIT: &str = "select steep_repl.init_node('node_b', 'node_a', method => 'parallel', force => true)";
const LOADED: [&str; 12] = [
    "default",
    "volatile",
    "check",
    "index",
    "predicate",
    "domain",
    "check_fired",
    "generated",
    "before_row",
    "after_row",
    "before_statement",
    "after_statement",
];

#[test]
fn code_of_the_owner_never_runs_as_superuser() {
    let role = hostile("owner");
    let (pair, before) = trapped("hos_code", &role);
    by_superuser(&pair, INIT).unwrap();
    pair.expect_synchronized();
    pair.source.exec("update plain set v = 20 where id < 9; update fired set v = 20 where id < 9; truncate calm");
    pair.expect_equal();
    expect_seen(&expect_no_rights(&pair, &role, before), &LOADED);
}

/// TRUNCATE fires the owner's triggers: for `force`, and when a cancel empties the tables.
#[test]
fn triggers_on_truncate_never_run_as_superuser() {
    let role = hostile("emptied");
    let (pair, before) = trapped("hos_empty", &role);
    session_of(&pair.target, &role)
        .batch_execute("insert into fired (id) values (7); insert into plain (id) values (7)")
        .unwrap();
    pair.proxy().throttle(600_000);
    by_superuser(&pair, INIT).unwrap();
    wait_until("rows have arrived", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.progress()?.rows_done? > 200).then_some(())
    });
    expect_seen(&expect_no_rights(&pair, &role, before), &["on_truncate", "after_truncate"]);
    by_superuser(&pair, "select steep_repl.cancel_init('node_b')").unwrap();
    wait_until("nothing is left of it", Duration::from_secs(40), || {
        let left = "select count(*) from steep_repl.pending_cleanup";
        (pair.state() == "UNINITIALIZED" && pair.target.scalar::<i64>(left) == 0).then_some(())
    });
    expect_no_rights(&pair, &role, before);
    pair.proxy().throttle(0);
    by_superuser(&pair, INIT).unwrap();
    pair.expect_synchronized();
    pair.expect_equal();
    expect_no_rights(&pair, &role, before);
}

/// What is put off to the commit runs as the owner, or the server refuses it.
#[test]
fn deferred_triggers_never_run_as_superuser() {
    let role = hostile("deferrer");
    let (pair, before) = trapped("hos_defer", &role);
    let trigger = "create constraint trigger deferred_row after insert or update on fired deferrable initially deferred
        for each row execute function evil.fires(); alter table fired enable always trigger deferred_row";
    session_of(&pair.target, &role).batch_execute(trigger).unwrap();
    by_superuser(&pair, INIT).unwrap();
    match pair.wait(Duration::from_secs(120)) {
        Ok(()) => pair.expect_equal(),
        Err(error) => {
            let text = describe(&error);
            assert!(text.contains("fired") && text.contains("deferred trigger"), "{text}");
        }
    }
    expect_no_rights(&pair, &role, before);
}

/// The other calls that a superuser makes, and the views that one reads.
#[test]
fn functions_and_views_run_nothing_of_the_owner() {
    let role = hostile("watcher");
    let (pair, before) = trapped("hos_views", &role);
    session_of(&pair.target, &role)
        .batch_execute("set search_path = pg_catalog, public; create unique index fired_once on fired ((v / 2))")
        .unwrap();
    by_superuser(&pair, "select steep_repl.preflight('node_b', 'node_a')").unwrap();
    by_superuser(&pair, INIT).unwrap();
    assert_eq!(code(pair.wait(Duration::from_secs(60))), "23505");
    for sql in [
        "table steep_repl.init_progress",
        "table steep_repl.table_progress",
        "table steep_repl.node_status",
        "table steep_repl.metrics",
        "table steep_repl.pending_cleanup",
        "select steep_repl.restore_indexes('node_b')",
        "drop index public.fired_once",
        "select steep_repl.resume_init('node_b')",
    ] {
        by_superuser(&pair, sql).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
    }
    pair.expect_synchronized();
    by_superuser(&pair, "select steep_repl.sync_sequences('node_b')").unwrap();
    pair.expect_equal();
    expect_no_rights(&pair, &role, before);
}

/// Settings that change what a statement means or how long it may take.
const SETTINGS: [&str; 19] = [
    "client_encoding = 'LATIN1'",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "statement_timeout = '10ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '10ms'",
    "idle_session_timeout = '10ms'",
    "session_replication_role = 'origin'",
    "datestyle = 'SQL, DMY'",
    "intervalstyle = 'sql_standard'",
    "extra_float_digits = -15",
    "timezone = 'Asia/Kathmandu'",
    "bytea_output = 'escape'",
    "standard_conforming_strings = off",
    "array_nulls = off",
    "search_path = evil, pg_catalog",
    "quote_all_identifiers = on",
    "row_security = off",
    "transform_null_equals = on",
];

/// Values of many kinds, in a small table, one loaded in ranges, one with a column that only the server can fill.
const VALUES: &str = "
    create type mood as enum ('fröhlich', '漢字');
    create table small (id int primary key, note text, m mood, d date, i interval, f float8, t timestamptz, b bytea);
    insert into small select n, 'Größe € 漢字 ' || chr(128512) || n,
        case n % 2 when 0 then 'fröhlich' else '漢字' end::mood,
        date '2024-02-03' + n, -n * interval '1 day 01:00:01', 1.0 / n,
        timestamptz '2024-01-01 00:00+00' + n * interval '61 minutes',
        '\\x5c00ff27' from generate_series(1, 300) n;
    create table large (like small including all); create table filled (like small including all);
    insert into large select id + n * 1000, note, m, d, i, f, t, b from small, generate_series(1, 60) n;
    alter table filled add twice text generated always as (note || note) stored,
        add a text[] default array['ß', null, 'null'];
    insert into filled (id, note, m, d, i, f, t, b)
        select id + n * 1000, note, m, d, i, f, t, b from small, generate_series(1, 40) n";

/// What the apply worker brings.
const LATER: &str = "
    update small set note = note || 'é漢' where id < 20;
    update large set d = '2024-03-04', i = '3 days 2 hours' where id % 500 = 1";

/// Everybody who works for the role that asks would have its settings.
fn with_settings(label: &str, superuser: &str) {
    let role = Role::create(&shared::target(), label, &format!("login {superuser}"));
    let pair = Pair::options(label).proxied().build();
    pair.source.exec(VALUES);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.target.copy_schema_from(&pair.source);
    // A range takes longer than any of the timeouts.
    pair.proxy().throttle(2_000_000);
    let database = quote_ident(pair.target.name());
    pair.target.exec("create schema evil; create table evil.pg_class (oid int, relname text)");
    for setting in SETTINGS.iter().copied().chain(["transaction_timeout = '300ms'"]) {
        pair.target
            .exec(&format!("alter role {role} set {setting}; alter role {role} in database {database} set {setting}"));
    }
    // Its own session is the role's business, not ours.
    let own_session = "-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c transaction_timeout=0 \
        -c idle_in_transaction_session_timeout=0 -c default_transaction_isolation=read\\ committed";
    let mut config = pair.target.cluster().config(pair.target.name());
    let mut client = config.user(role.name()).options(own_session).connect(NoTls).unwrap();
    let [source, own] =
        [pair.source_conninfo(), pair.target.conninfo()].map(|conninfo| format!("'{}'", conninfo.replace('\'', "''")));
    for sql in [
        format!("select steep_repl.register_node('node_a', {source})"),
        format!("select steep_repl.register_node('node_b', {own}, is_local => true)"),
        "set steep_repl.chunk_size = '1MB'".to_string(),
        "select steep_repl.init_node('node_b', 'node_a', method => 'parallel')".to_string(),
    ] {
        client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
    }
    pair.expect_synchronized();
    pair.source.exec(LATER);
    pair.expect_equal();
    let troubles =
        pair.target.rows("select event, details ->> 'message' from steep_repl.events where severity <> 'info'");
    assert!(troubles.is_empty(), "{troubles:?}");
}

#[test]
fn settings_of_the_role_that_asks_change_nothing() {
    with_settings("hos_role", "superuser");
}

/// And so would everybody in this database.
#[test]
fn settings_of_the_database_change_nothing() {
    let pair = Pair::new("hos_db");
    pair.source.exec(VALUES);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    let database = quote_ident(pair.target.name());
    pair.target.exec("create schema evil; create table evil.pg_class (oid int, relname text)");
    for setting in SETTINGS.iter().filter(|setting| !setting.contains("_timeout")) {
        pair.target.exec(&format!("alter database {database} set {setting}"));
    }
    pair.synchronize_with(&[("chunk_size", "1MB")], "method => 'parallel'");
    pair.source.exec(LATER);
    pair.expect_equal();
}
