//! Whose the objects are that `schema_sync => 'auto'` makes: the source's owners' where that is possible, else whoever's who asked; and who
//! may ask.

use std::sync::Arc;

use postgres::Client;
use steep_repl_testkit::{quote_ident, quote_literal, shared, Auth, Cluster, ClusterOptions, Pair, Role, SchemaState};

use crate::refusal::refused_quickly;

const AUTO: &str = "schema_sync => 'auto'";
const OWNERS: &str =
    "select format('%I.%I %s', nspname, relname, pg_get_userbyid(relowner)) from pg_class c join pg_namespace n
    on n.oid = relnamespace where nspname = 'shop' and relkind in ('r', 'v', 'S') order by 1";

fn owned_by(rows: &[(&str, &str)]) -> Vec<String> {
    rows.iter().map(|(name, owner)| format!("shop.{name} {owner}")).collect()
}

/// The events about roles: severity and message.
fn about_roles(pair: &Pair) -> Vec<String> {
    pair.target.rows(
        "select severity || ' ' || (details ->> 'message') from steep_repl.events where event = 'schema.roles_missing' order by id",
    )
}

#[test]
fn roles_that_are_not_here_are_named_in_one_warning() {
    let (source, target) = (shared::source(), shared::target());
    let [owner, reader] = ["gone_owner", "gone_reader"].map(|label| Role::create(&source, label, ""));
    let here = Role::create(&source, "here_too", "");
    let here_twin = here.twin(&target, "");
    {
        let pair = Pair::new("auto_roles");
        pair.source.exec(&format!(
            "create schema shop authorization {owner}; create table shop.orders (id serial primary key, v text default 'x');
             create function shop.one() returns int language sql as 'select 1'; create view shop.seen as select id from shop.orders;
             alter table shop.orders owner to {owner}; alter function shop.one() owner to {owner};
             create table shop.theirs (id int primary key); alter table shop.theirs owner to {here};
             grant usage on schema shop to {reader}, {here}; grant select on shop.orders to {reader}, {here};
             grant update (v) on shop.orders to {reader};
             alter table shop.orders enable row level security;
             create policy mine on shop.orders to {reader} using (v = 'x'); create policy all_of_it on shop.orders using (true);
             insert into shop.orders select from generate_series(1, 200); insert into shop.theirs values (1)"
        ));
        pair.register();
        let mut asking = pair.session();
        asking.batch_execute("select * from steep_repl.schema_sync_plan('node_b', 'node_a')").unwrap();
        let warned = pair.notices().into_iter().filter(|line| line.contains("roles of the source")).collect::<Vec<_>>();
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].contains(owner.name()) && warned[0].contains(reader.name()), "{warned:?}");
        pair.synchronize(AUTO);
        pair.source.exec("update shop.orders set v = 'y' where id < 9; insert into shop.theirs values (2)");
        pair.expect_equal();
        let expected = format!("warning roles of the source that are not here: \"{owner}\", \"{reader}\"");
        assert_eq!(about_roles(&pair), [expected]);
        let expected =
            [("orders", "postgres"), ("orders_id_seq", "postgres"), ("seen", "postgres"), ("theirs", here.name())];
        assert_eq!(pair.target.rows(OWNERS), owned_by(&expected));
        let others = "select pg_get_userbyid(nspowner), (select pg_get_userbyid(proowner) from pg_proc where pronamespace = n.oid)
            from pg_namespace n where nspname = 'shop'";
        assert_eq!(pair.target.rows(others), ["postgres | postgres"]);
        // The privileges of the one who is here came along.
        let may = format!(
            "select has_schema_privilege('{here}', 'shop', 'usage'), has_table_privilege('{here}', 'shop.orders', 'select'),
                 has_table_privilege('{here}', 'shop.orders', 'insert')"
        );
        assert_eq!(pair.target.rows(&may), ["t | t | f"]);
        // A policy for all would let more through than the one for somebody who is missing.
        assert_eq!(pair.target.rows("select polname from pg_policy"), ["all_of_it"]);
        let left_out = "select details ->> 'message' from steep_repl.events where event = 'schema.left_out'";
        let left_out = pair.target.rows(left_out);
        assert!(left_out.len() == 1 && left_out[0].contains("policy") && left_out[0].contains("mine"), "{left_out:?}");
    }
    drop((owner, reader, here, here_twin));
}

/// Somebody who may do everything on the target that an initialization needs, but is no superuser.
struct Operator<'a> {
    role: &'a Role,
    pair: &'a Pair,
}

impl Operator<'_> {
    fn session(&self) -> Client {
        let mut client = self.pair.session();
        client.batch_execute(&format!("set session authorization {}", self.role)).unwrap();
        client
    }

    fn prepare(&self) {
        let (role, database) = (self.role, quote_ident(self.pair.target.name()));
        self.pair.target.exec(&format!(
            "grant create on database {database} to {role}; grant create on schema public to {role};
             grant usage on schema steep_repl to {role}; grant execute on all functions in schema steep_repl to {role};
             grant select on all tables in schema steep_repl to {role}"
        ));
        let source = self.pair.source.cluster();
        let there = source.conninfo_tcp(self.pair.source.name(), source.port()).replace("user=postgres", "user=copier");
        let there = quote_literal(&format!("{there} password=s3cr3t-pw"));
        let own = quote_literal(&format!("{} password=unused", self.pair.target.conninfo()));
        let mut client = self.session();
        for call in [
            format!("select steep_repl.register_node('node_a', {there})"),
            format!("select steep_repl.register_node('node_b', {own}, is_local => true)"),
        ] {
            client.batch_execute(&call).unwrap();
        }
    }
}

fn by_password(label: &str) -> Arc<Cluster> {
    let source = ClusterOptions::new(label).auth(Auth::Scram).start();
    source.connect("postgres").batch_execute("create role copier superuser login password 's3cr3t-pw'").unwrap();
    source
}

/// pg_dump runs as the server's own user: that is for who may have programs run.
#[test]
fn whoever_may_not_run_programs_is_told_so() {
    let role = Role::create(&shared::target(), "no_programs", "login in role pg_create_subscription");
    let pair = Pair::options("no_programs").source(by_password("no_programs")).build();
    pair.source.exec("create table t (id int primary key); insert into t values (1)");
    let operator = Operator { role: &role, pair: &pair };
    operator.prepare();
    let before = SchemaState::of(&pair.target);
    let grant = format!("GRANT pg_execute_server_program TO {role};");
    for call in [
        format!("select steep_repl.init_node('node_b', 'node_a', {AUTO})"),
        "select * from steep_repl.schema_sync_plan('node_b', 'node_a')".to_owned(),
    ] {
        let refusal = refused_quickly(|| operator.session().batch_execute(&call));
        assert_eq!(refusal.names(&[role.name(), "programs", "node_b", &grant]).code, "42501", "{call}");
    }
    assert_eq!(pair.target.scalar::<i64>("select count(*) from steep_repl.operations"), 0);
    before.assert_same(&pair.target);
    // What the hint says is what helps.
    pair.target.exec(&grant);
    let mut client = operator.session();
    client.batch_execute(&format!("select steep_repl.init_node('node_b', 'node_a', {AUTO})")).unwrap();
    client.batch_execute("select steep_repl.wait_for_init('node_b', timeout => '2 minutes')").unwrap();
    pair.expect_equal();
    assert_eq!(pair.target.rows("select pg_get_userbyid(relowner) from pg_class where relname = 't'"), [role.name()]);
    drop(client);
    drop(pair);
}

#[test]
fn an_operator_owns_what_cannot_be_given_away() {
    let (source, target) = (by_password("auto_ops"), shared::target());
    let member_of = Role::create(&source, "ops_owner", "");
    let stranger = Role::create(&source, "ops_stranger", "");
    let absent = Role::create(&source, "ops_absent", "");
    let twins = [&member_of, &stranger].map(|role| role.twin(&target, ""));
    let options = format!("login in role pg_create_subscription, pg_execute_server_program, {member_of}");
    let role = Role::create(&target, "ops", &options);
    {
        let pair = Pair::options("auto_ops").source(source).build();
        pair.source.exec(&format!(
            "create schema shop authorization {member_of};
             create table shop.given (id serial primary key, v text default 'x'); alter table shop.given owner to {member_of};
             create table shop.strangers (id int primary key); alter table shop.strangers owner to {stranger};
             create table shop.absents (id int primary key); alter table shop.absents owner to {absent};
             create table shop.admins (id int primary key); create view shop.seen as select 1 as one;
             grant select on shop.given to {stranger}; grant select on shop.given to {absent};
             insert into shop.given select from generate_series(1, 200); insert into shop.strangers values (1);
             insert into shop.absents values (1); insert into shop.admins values (1)"
        ));
        let operator = Operator { role: &role, pair: &pair };
        operator.prepare();
        let mut client = operator.session();
        client.batch_execute(&format!("select steep_repl.init_node('node_b', 'node_a', {AUTO})")).unwrap();
        let told = pair.notices();
        assert!(!told.iter().any(|line| line.contains("superuser")), "{told:?}");
        client.batch_execute("select steep_repl.wait_for_init('node_b', timeout => '2 minutes')").unwrap();
        pair.source.exec(
            "update shop.given set v = 'y' where id < 9; insert into shop.strangers values (2); insert into shop.absents values (2);
             delete from shop.admins",
        );
        pair.expect_equal();
        let (member_of, name) = (member_of.name(), role.name());
        let expected = [
            ("absents", name),
            ("admins", name),
            ("given", member_of),
            ("given_id_seq", member_of),
            ("seen", name),
            ("strangers", name),
        ];
        assert_eq!(pair.target.rows(OWNERS), owned_by(&expected));
        let schema = "select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'shop'";
        assert_eq!(pair.target.rows(schema), [member_of]);
        let said = about_roles(&pair);
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(said[0], format!("warning roles of the source that are not here: \"{absent}\""));
        assert!(said[1].contains("may not be given to") && said[1].contains(stranger.name()), "{said:?}");
        let may = format!("select has_table_privilege('{stranger}', 'shop.given', 'select')");
        assert!(pair.target.scalar::<bool>(&may));
    }
    drop((member_of, stranger, absent, role, twins));
}
