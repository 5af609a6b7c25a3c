//! `schema_sync => 'auto'` onto an empty database, of every kind of object: afterwards pg_dump says the same of twin.

use steep_repl_testkit::{major, schema_text, Db, Pair};

const AUTO: &str = "schema_sync => 'auto', no_identity => 'full'";

/// What pg_dump says, without order: that goes by OID in the last place.
fn said(db: &Db) -> Vec<String> {
    let text = schema_text(db);
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with("--") && !line.is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines
}

pub fn expect_same_dump(pair: &Pair) {
    let (there, here) = (said(&pair.source), said(&pair.target));
    let only = |a: &[String], b: &[String]| a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>();
    assert_eq!((only(&there, &here), only(&here, &there)), (vec![], vec![]));
    assert_eq!(there.len(), here.len());
}

/// Everything that has no rows of its own.
const OBJECTS: &str = r#"
    create function add_one(int) returns int language sql immutable as 'select $1 + 1';
    create function "Mixed "" name"(a int default 1, variadic b text[] default '{}', out c int, out d text) language plpgsql
        security definer set search_path = pg_catalog set work_mem = '1MB' cost 7 parallel safe as $f$begin c := a; d := '$$'; end$f$;
    create function of_rows() returns table (a int, b text) language sql rows 5 stable as $$select 1, E'\\x'$$;
    create function atomic(a int) returns int language sql begin atomic select a + 1; end;
    create procedure done(inout a int) language plpgsql as 'begin a := 1; end';
    create aggregate product(int) (sfunc = int4mul, stype = int, initcond = '1');
    create function eq3(int, int) returns bool language sql immutable as 'select $1 % 3 = $2 % 3';
    create operator === (leftarg = int, rightarg = int, function = eq3, commutator = ===);
    create type rgb as enum ('r', 'g', 'it''s b'); alter type rgb add value 'first' before 'r';
    create type pair as (a int, b text collate "C", c rgb[]);
    create type float_span as range (subtype = float8, subtype_diff = float8mi);
    create domain even as int default 2 not null constraint is_even check (value % 2 = 0) constraint small check (value < 1000);
    alter domain even add constraint later check (value <> 12) not valid;
    create function rgb_of(int) returns rgb language sql immutable as $$select 'r'::rgb$$;
    create cast (int as rgb) with function rgb_of(int) as assignment;
    create function less(pair, pair) returns int language sql immutable as 'select btint4cmp($1.a, $2.a)';
    create text search dictionary words (template = simple, stopwords = english);
    create text search configuration conf (copy = simple); alter text search configuration conf alter mapping for asciiword with words;
    create collation german (provider = icu, locale = 'de-DE', deterministic = false);
    create foreign data wrapper nothing; create server away foreign data wrapper nothing options (host 'a''b');
    create foreign table far (id int options (x 'y') not null, v text default 'x') server away options (t 'T');
"#;

/// Tables with all that may belong to one, views that are in a circle with keys, and privileges of every kind.
const TABLES: &str = r#"
    create table base (id int primary key, v int not null, n numeric(5,2) default 1.5, note text storage external collate "C",
    mood rgb default 'first',
        e even, p pair, made timestamptz default now(), constraint "Check ""me" check (v > 0) no inherit) with (fillfactor = 70,
        autovacuum_enabled = off);
    alter table base alter v set statistics 500, alter note set (n_distinct = -0.5), cluster on base_pkey,
    alter note set compression pglz;
    alter table base add constraint late check (n < 100) not valid;
    create unique index base_v on base (v desc nulls first) include (note) nulls not distinct where id > 0;
    create index base_low on base (lower(note), (v + 1)); alter index base_low alter column 2 set statistics 300;
    create index only_c on base (note collate "POSIX" text_pattern_ops); create statistics base_st (mcv) on v, (lower(note)) from base;
    comment on table base is 'it''s "base"'; comment on column base.v is E'a\nb'; comment on index base_v is 'i';
    comment on constraint late on base is 'c';
    create table other (base int references base on update cascade on delete set null deferrable initially deferred,
    v int unique deferrable, primary key (v));
    alter table base add constraint back foreign key (v) references other (v) not valid;
    create table self (id int primary key, parent int references self, excl int4range, exclude using gist (excl with &&));
    create table child (own text) inherits (base); alter table child alter v set default 9, add primary key (id);
    create table twin (id int, v int, primary key (id)); create table merged (extra int) inherits (twin);
    alter table merged add primary key (id);
    create table parted (id int, r text, v int default 3, primary key (id, r)) partition by list (r);
    create table parted_a partition of parted for values in ('a', null) partition by range (id);
    create table parted_a1 partition of parted_a (v default 4) for values from (minvalue) to (10) with (fillfactor = 50);
    create table parted_d partition of parted default; create index parted_v on parted (v);
    create table ident (a bigint generated always as identity (start 5 increment -1 minvalue -100 maxvalue 10 cache 3 cycle),
    b int not null,
        s text generated always as (repeat('x', 2)) stored, t bigserial, primary key (b)); create unique index ident_ab on ident (b, t);
    alter table ident replica identity using index ident_ab;
    create unlogged table scratch (id int primary key); create table nocols (); alter table nocols replica identity full;
    create table typed of pair (a with options not null default 1, primary key (a));
    create view by_key as select id, v, count(*) from base group by id;
    create view rec as with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) select n from r;
    create view checked with (security_barrier, security_invoker) as select * from base where v > 1 with cascaded check option;
    create materialized view mat as select v, count(*) c from base group by v with no data; create unique index on mat (v);
    create view over_mat as select * from mat; alter view checked alter column v set default 8; comment on view checked is 'v';
    create rule note_it as on update to twin do also select 1; create rule none as on delete to twin do instead nothing;
    alter table twin disable rule none;
    create function fired() returns trigger language plpgsql as 'begin return new; end';
    create trigger a before insert or update of v on base for each row when (new.v > 1) execute function fired('x', 'it''s');
    create trigger b after update on base referencing old table as o new table as n for each statement execute function fired();
    create constraint trigger c after insert on base deferrable initially deferred for each row execute function fired();
    create trigger d instead of insert on checked for each row execute function fired(); alter table base enable replica trigger a;
    create trigger p after insert on parted for each row execute function fired(); alter table parted_d disable trigger p;
    alter table base enable row level security; alter table base force row level security;
    create policy everyone on base as restrictive for update using (v > 0) with check (v > 1);
    grant select (id), update (v) on base to pg_monitor with grant option; revoke execute on function add_one from public;
    grant usage on schema public to pg_monitor; grant all on sequence ident_t_seq to pg_monitor; grant usage on type rgb to pg_monitor;
    revoke usage on type pair from public; grant usage on foreign server away to pg_monitor;
    alter default privileges grant select on tables to pg_monitor;
    alter default privileges in schema public revoke execute on functions from public;
    create sequence counter as smallint start 7 maxvalue 100 cycle; select setval('counter', 50);
"#;

/// Rows, once all is made.
const ROWS: &str = "
    set session_replication_role = replica; set row_security = off;
    insert into base (id, v, e) select i, i, 2 * (i % 400) from generate_series(1, 500) i where i % 400 <> 6;
    insert into other select i, i from generate_series(1, 500) i;
    insert into self select i, i, int4range(i, i + 1) from generate_series(1, 50) i;
    insert into child (id, v, e) select i, i, 2 from generate_series(1000, 1100) i; insert into twin values (1, 1);
    insert into merged values (2, 2, 2);
    insert into parted select i, 'a' from generate_series(-5, 9) i; insert into parted values (100, 'z');
    insert into ident (b) select i from generate_series(1, 20) i;
    insert into nocols default values; insert into typed values (1, 'x', '{r}'); insert into scratch values (1)";

#[test]
fn every_kind_of_object() {
    let pair = Pair::new("auto_kinds");
    pair.source.exec(OBJECTS);
    pair.source.exec(TABLES);
    if major() >= 18 {
        pair.source.exec(
            "create extension btree_gist;
             create table of_18 (id int primary key, v int constraint \"named \"\"one\" not null,
             w int generated always as (v * 2) virtual,
                 o int, constraint nowhere check (o > 0) not enforced, during int4range, unique (id, during without overlaps));
             alter table of_18 add constraint later not null o not valid",
        );
    }
    pair.source.exec(ROWS);
    pair.register();
    pair.synchronize(AUTO);
    expect_same_dump(&pair);
    pair.source.exec(
        "update base set note = 'x' where id < 9; delete from self where id = 50; insert into parted values (200, 'y')",
    );
    pair.expect_equal();
    assert_eq!(
        pair.target
            .rows("select event from steep_repl.events where event in ('schema.left_out', 'schema.roles_missing')"),
        [""; 0]
    );
}
