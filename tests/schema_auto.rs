//! `schema_sync => 'auto'`: the target is made to match, all of it or nothing.

use std::time::Duration;

use steep_repl_testkit::{check, schema_text, shared, wait_until, Pair, Role, SchemaState};

use crate::refusal::Refusal;

const LONG: Duration = Duration::from_secs(120);

/// A database as people have it: extensions, types, functions, triggers, views, partitions, policies, comments, odd names.
fn realistic(owner: &str, reader: &str) -> String {
    format!(
        "create extension hstore schema public; create extension pg_trgm schema public; create extension btree_gist schema public;
         create schema sales authorization {owner}; create schema \"Odd \"\"schema\"; create schema audit;
         comment on schema sales is 'what is sold';
         set role {owner};
         create type sales.mood as enum ('sad', 'ok', 'very ''happy''');
         create domain sales.positive as numeric(12,2) check (value > 0) not null default 1;
         create type sales.address as (street text, zip varchar(10));
         create type sales.span as range (subtype = float8);
         create collation sales.german (provider = icu, locale = 'de-DE');
         create function sales.label(id bigint) returns text language sql immutable return 'nr ' || id;
         create function sales.touch() returns trigger language plpgsql as $f$begin new.at := clock_timestamp(); return new; end$f$;
         create procedure sales.nothing() language plpgsql as $p$begin null; end$p$;
         create aggregate sales.largest(bigint) (sfunc = int8larger, stype = bigint);
         create table sales.customers (
             id bigint generated always as identity (start 100 increment 10) primary key,
             name text collate sales.german not null, mail text unique, mood sales.mood default 'ok', home sales.address,
             label text generated always as (sales.label(id)) stored, tags public.hstore default '', born date default current_date,
             constraint \"Odd check\" check (length(name) > 0));
         comment on column sales.customers.mail is 'where to write';
         create index customers_trgm on sales.customers using gin (name public.gin_trgm_ops);
         create statistics sales.customers_stat (dependencies) on name, mail from sales.customers;
         create table sales.orders (
             id serial, customer bigint not null references sales.customers on delete cascade deferrable, total sales.positive,
             at timestamptz not null default now(), note varchar(20), primary key (id, at)) partition by range (at);
         create table sales.orders_old partition of sales.orders for values from (minvalue) to ('2024-01-01');
         create table sales.orders_new (note varchar(20), at timestamptz not null default now(), total sales.positive,
             customer bigint not null, id integer not null default 0);
         alter table sales.orders attach partition sales.orders_new for values from ('2024-01-01') to (maxvalue);
         create index orders_customer on sales.orders (customer) include (total) where total > 10;
         create trigger touch before update on sales.orders_new for each row execute function sales.touch();
         alter table sales.orders_new disable trigger touch;
         create view sales.open_orders with (security_barrier) as select o.*, c.name from sales.orders o join sales.customers c on c.id = o.customer;
         create materialized view sales.totals as select customer, sum(total) from sales.orders group by customer with no data;
         create unique index on sales.totals (customer);
         create rule no_delete as on delete to sales.open_orders do instead nothing;
         alter table sales.customers enable row level security;
         create policy own on sales.customers for select to {reader} using (mail = current_user);
         create policy everyone on sales.customers for all to {owner} using (true);
         grant usage on schema sales to {reader}; grant select on all tables in schema sales to {reader};
         grant update (note) on sales.orders to {reader};
         revoke execute on function sales.label from public;
         alter default privileges in schema sales grant select on tables to {reader};
         reset role;
         create table audit.log (id uuid primary key default gen_random_uuid(), what jsonb not null default '{{}}', during tstzrange,
             exclude using gist (during with &&));
         alter table audit.log replica identity full;
         create unlogged table audit.scratch (id int primary key);
         create table \"Odd \"\"schema\".\"Table; -- \" (\"Select\" int primary key, \"a'b\" text default E'x\\n;y', v int not null default 5);
         create table base (id int primary key, v int); create table derived (extra text) inherits (base);
         alter table derived add primary key (id);
         create sequence alone increment 5; grant usage on sequence alone to {reader};
         create function watch() returns event_trigger language plpgsql as $f$begin end$f$;
         create event trigger watcher on ddl_command_end execute function watch(); alter event trigger watcher disable;
         grant create on schema public to {reader};
         insert into sales.customers (name, mail, home) select 'c' || i, 'm' || i, row('s', i::text)::sales.address from generate_series(1, 3000) i;
         insert into sales.orders (customer, total, at, note)
             select 100 + 10 * (i % 3000), 1 + i % 50, '2023-12-01'::timestamptz + i * interval '1 minute', 'n' from generate_series(1, 90000) i;
         insert into audit.log (what) select jsonb_build_object('i', i) from generate_series(1, 500) i;
         insert into \"Odd \"\"schema\".\"Table; -- \" select i from generate_series(1, 100) i;
         insert into base select i from generate_series(1, 10) i; insert into derived select i, 0, 'x' from generate_series(11, 20) i;
         select setval('alone', 77)"
    )
}

/// What pg_dump says, without what is left out on purpose.
fn comparable(text: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with("--") && !line.is_empty()).map(str::to_owned).collect();
    // The order of a dump goes by OID in the last place.
    lines.retain(|line| {
        !line.contains("EVENT TRIGGER watcher") && !line.contains("watch()") && !line.starts_with("   EXECUTE")
    });
    lines.sort();
    lines
}

#[test]
fn an_empty_target_becomes_a_full_copy_with_owners_and_privileges() {
    let (source, target) = (shared::source(), shared::target());
    let owner = Role::create(&source, "auto_owner", "");
    let owner_here = owner.twin(&target, "");
    let reader = Role::create(&source, "auto_reader", "");
    let reader_here = reader.twin(&target, "");
    {
        let pair = Pair::new("auto_full");
        pair.source.exec(&format!("grant create on database {} to {owner}", pair.source.name()));
        pair.source.exec(&realistic(owner.name(), reader.name()));
        pair.register();
        let before = SchemaState::of(&pair.target);
        let plan = pair.target.rows(
            "select action || ' ' || object_kind || ' ' || object_name from steep_repl.schema_sync_plan('node_b', 'node_a')",
        );
        before.assert_same(&pair.target);
        for step in [
            "create extension hstore",
            "create schema sales",
            "create table sales.customers",
            "create view sales.open_orders",
            "leave out event trigger watcher",
            "grant privileges SCHEMA public",
        ] {
            assert!(plan.iter().any(|line| line == step), "{step} is missing in {plan:#?}");
        }
        pair.synchronize("schema_sync => 'auto', no_identity => 'full'");
        pair.source.exec(
            "update sales.customers set mood = 'sad' where id % 7 = 0; delete from sales.orders where id % 11 = 0;
             insert into sales.orders (customer, total) select 100, 5 from generate_series(1, 100);
             update audit.log set what = '{\"new\": 1}' where random() < 0.5",
        );
        pair.expect_equal();
        let (there, here) = (comparable(&schema_text(&pair.source)), comparable(&schema_text(&pair.target)));
        let only = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>();
        // The initialization itself has given the source's log its replica identity.
        assert_eq!((only(&there, &here), only(&here, &there)), (vec![], vec![]));
        let events: Vec<String> = pair.target.rows(
            "select event || ' ' || coalesce(details ->> 'message', '') from steep_repl.events where event like 'schema.%' order by id",
        );
        assert!(
            events
                .iter()
                .any(|line| line.starts_with("schema.sync_applied made table:") && line.contains("sales.orders")),
            "{events:#?}"
        );
        assert!(events.contains(&"schema.left_out left out: event trigger watcher".to_owned()), "{events:#?}");
        assert!(!events.iter().any(|line| line.contains("roles_missing")), "{events:#?}");
        assert!(pair.notices().iter().any(|line| line.contains("superuser")), "{:?}", pair.notices());
        for db in [&pair.source, &pair.target] {
            // One after the other: the privileges that go with the schema are also those of its owner.
            db.exec("drop schema sales cascade");
            db.exec(&format!("drop owned by {owner}, {reader} cascade"));
        }
    }
    drop((owner, owner_here, reader, reader_here));
}

/// Tables that differ in every way that can be altered, one that is missing, and a partitioned one.
fn different(pair: &Pair) {
    pair.source.exec(
        "create type mood as enum ('a', 'b');
         create table orders (id serial primary key, total numeric(12,2) not null default 1, name varchar(20), mood mood default 'a',
             twice int generated always as (id * 2) stored, check (total >= 0));
         create index orders_name on orders (name);
         create table missing (id int primary key, v text);
         create table zparted (id int primary key) partition by range (id);
         create table a_partition partition of zparted for values from (0) to (1000); insert into zparted values (1), (2);
         create table parted (id int, added int default 3, primary key (id)) partition by range (id);
         create table parted_1 partition of parted for values from (0) to (1000);
         insert into orders (total, name) select i, 'n' || i from generate_series(1, 500) i;
         insert into missing select i, 'v' from generate_series(1, 100) i; insert into parted select i from generate_series(1, 100) i",
    );
    pair.target.exec(
        "create table orders (total numeric(10,2), name varchar(30) not null, gone text);
         create table parted (id int, primary key (id)) partition by range (id);
         create table parted_1 partition of parted for values from (0) to (1000)",
    );
    pair.register();
}

#[test]
fn tables_that_are_here_are_altered_and_get_what_they_lack() {
    let pair = Pair::new("auto_alter");
    different(&pair);
    pair.synchronize("schema_sync => 'auto'");
    pair.source.exec("update orders set total = 7 where id % 3 = 0; delete from missing where id < 10; insert into parted values (500)");
    pair.expect_equal();
    let differing = pair.target.rows(
        "select table_name || ' ' || status from steep_repl.compare_schemas('node_a', 'node_b') where status <> 'MATCH'",
    );
    assert_eq!(differing, [""; 0]);
    let lacking = pair.target.rows(
        "select object_kind || ' ' || object_name from steep_repl.schema_diff('node_a', 'node_b', 'orders') where change = 'missing'",
    );
    assert_eq!(lacking, [""; 0]);
}

#[test]
fn a_failure_in_the_middle_leaves_nothing_and_a_cancel_takes_everything_back() {
    let pair = Pair::new("auto_cancel");
    different(&pair);
    // What comes last cannot be made: its function is not here.
    pair.source.exec("create function checked(int) returns boolean language sql immutable return $1 > 0; create view zzz as select checked(id) from orders");
    pair.target.exec("create view zz as select 1 as checked; create type zzz as (a int)");
    let before = SchemaState::of(&pair.target);
    pair.init("schema_sync => 'auto'").unwrap();
    let refusal = Refusal::of(&pair.wait(LONG).unwrap_err());
    refusal.names(&["zzz", "schema_sync_plan"]);
    assert_eq!(pair.state(), "FAILED");
    before.assert_same(&pair.target);
    pair.target.exec("drop type zzz; drop view zz");
    let before = SchemaState::of(&pair.target);
    // Somebody holds a table of the source, so that it stops after the schema was made.
    pair.source.exec("create table held (id int primary key); insert into held values (1)");
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; insert into held values (2)").unwrap();
    pair.target.exec("select steep_repl.resume_init('node_b')");
    let made = "select count(*) from pg_class where relname = 'missing'";
    wait_until("the schema is made", LONG, || (pair.target.scalar::<i64>(made) == 1).then_some(()));
    pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", LONG, || (pair.state() == "UNINITIALIZED").then_some(()));
    holder.batch_execute("rollback").unwrap();
    let left = "select kind, error from steep_repl.pending_cleanup";
    wait_until("nothing is left", LONG, || pair.target.rows(left).is_empty().then_some(()));
    before.assert_same(&pair.target);
    check::assert_clean(&pair.source, &pair.target);
    pair.synchronize("schema_sync => 'auto'");
    pair.expect_equal();
}

#[test]
fn somebody_looks_and_lets_it_go_on() {
    let pair = Pair::new("manual");
    pair.source.exec(
        "create table wide (id int primary key, v int); create table missing (id int primary key); create table same (id int primary key);
         insert into wide select i, i from generate_series(1, 500) i; insert into missing values (1); insert into same values (1)",
    );
    pair.target.exec(
        "create table wide (id bigint primary key, v int not null, note text); create table same (id int primary key)",
    );
    pair.register();
    let early = Refusal::of(&pair.target.try_exec("select steep_repl.confirm_init('node_b')").unwrap_err());
    assert_ne!(early.code, "XX000");
    pair.init("schema_sync => 'manual'").unwrap();
    assert!(
        pair.notices().iter().any(|line| line.contains("missing") && line.contains("bigint")),
        "{:?}",
        pair.notices()
    );
    let phase = "select state || ' ' || phase from steep_repl.init_progress where node = 'node_b'";
    assert_eq!(pair.target.rows(phase), ["PREPARING schema"]);
    pair.target.exec("select steep_repl.confirm_init('node_b')");
    let again = Refusal::of(&pair.target.try_exec("select steep_repl.confirm_init('node_b')").unwrap_err());
    assert_eq!(again.code, "55000");
    pair.wait(LONG).unwrap();
    pair.source.exec("update wide set v = 0 where id = 3; insert into same values (2)");
    check::wait_caught_up(&pair.source, &pair.target, LONG);
    let rows = "select count(*) || ' ' || sum(v) from wide";
    assert_eq!(pair.target.rows(rows), pair.source.rows(rows));
    assert_eq!(pair.target.rows("select id from same order by 1"), ["1", "2"]);
    let skipped = "select details ->> 'message' from steep_repl.events where event = 'schema.table_skipped'";
    assert_eq!(pair.target.rows(skipped), ["not copied: table public.missing does not exist on the target"]);
    check::assert_no_conflicts(&pair.target);
}

#[test]
fn what_somebody_has_put_into_a_new_table_is_not_thrown_away() {
    let pair = Pair::new("auto_filled");
    pair.source.exec("create table fresh (id int primary key); create table held (id int primary key)");
    pair.register();
    let mut holder = pair.source.connect();
    holder.batch_execute("begin; insert into held values (2)").unwrap();
    pair.init("schema_sync => 'auto'").unwrap();
    let made = "select count(*) from pg_class where relname in ('fresh', 'held')";
    wait_until("the schema is made", LONG, || (pair.target.scalar::<i64>(made) == 2).then_some(()));
    pair.target.exec("insert into fresh values (77); select steep_repl.cancel_init('node_b')");
    let left = "select kind || ' ' || error from steep_repl.pending_cleanup";
    wait_until("it is said what is in the way", LONG, || {
        pair.target
            .rows(left)
            .iter()
            .any(|line| line.starts_with("schema ") && line.contains("not empty"))
            .then_some(())
    });
    holder.batch_execute("rollback").unwrap();
    assert_eq!(pair.target.rows("select id from fresh"), ["77"]);
    let again = Refusal::of(&pair.init("schema_sync => 'auto'").unwrap_err());
    assert_eq!(again.code, "55006");
    pair.target.exec("delete from fresh");
    wait_until("nothing is left", LONG, || pair.target.rows(left).is_empty().then_some(()));
    assert_eq!(pair.target.scalar::<i64>(made), 0);
}

#[test]
fn what_cannot_be_read_on_the_source_is_said_before_anything_is_made() {
    let reader = Role::create(&shared::source(), "auto_blind", "login replication");
    {
        let pair = Pair::new("auto_blind");
        pair.source.exec(&format!(
            "create table hidden (id int primary key); grant create on database {} to {reader}",
            pair.source.name()
        ));
        pair.register_with(&format!("{} user={reader}", pair.source.conninfo()));
        let before = SchemaState::of(&pair.target);
        let refusal = Refusal::of(&pair.init("schema_sync => 'auto'").unwrap_err());
        assert_eq!(refusal.names(&["hidden"]).code, "42501");
        before.assert_same(&pair.target);
        pair.source.exec(&format!("drop owned by {reader}"));
    }
    drop(reader);
}

#[test]
fn thousands_of_objects_go_in_several_transactions_and_come_back_from_all() {
    let pair = Pair::new("auto_many");
    pair.source.exec(
        "do $$begin for i in 1..1100 loop
             execute format('create table t_%s (id int primary key, v text default %L)', i, i);
             if i % 100 = 0 then execute format('insert into t_%s select generate_series(1, 50)', i); end if;
         end loop; end$$",
    );
    // In the way of one of the last.
    pair.target.exec("create table t_999_pkey (id int)");
    pair.register();
    let before = SchemaState::of(&pair.target);
    pair.init("schema_sync => 'auto'").unwrap();
    let refusal = Refusal::of(&pair.wait(LONG).unwrap_err());
    assert_eq!(refusal.names(&["t_999_pkey", "t_999"]).code, "42P07");
    let changes = "select count(*) filter (where undone_at is null) || ' of ' || (count(*) >= 1000) from steep_repl.schema_changes";
    assert_eq!(pair.target.rows(changes), ["0 of true"], "it did not go in several transactions");
    before.assert_same(&pair.target);
    pair.target.exec("drop table t_999_pkey; select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    pair.source.exec("update t_500 set v = 'new'");
    pair.expect_equal();
}
