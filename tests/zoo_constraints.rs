//! Every kind of index and constraint survives the load as it was, and none stands in its way.

use steep_repl_testkit::{indexes_snapshot, major, Pair, SchemaState};

use crate::outcome::initialize;

#[test]
fn every_kind_of_key_and_index() {
    let pair = Pair::new("keys");
    pair.source.exec(
        "create extension btree_gist;
         create table a (id int primary key, b_id int, v int);
         create table b (id int primary key, a_id int references a deferrable initially deferred, v int unique);
         alter table a add constraint a_b foreign key (b_id) references b;
         create table self (id int primary key, parent int references self on delete set null, v int);
         create table deferred (id int primary key, v int unique deferrable initially deferred, w int, unique (w) deferrable);
         create table included (id int, v int, w text, primary key (id) include (v), unique (v) include (w));
         create table rooms (id int primary key, room int, during tsrange, exclude using gist (room with =, during with &&) where (room > 0));
         create table nulls (id int primary key, v int, unique nulls not distinct (v));
         create table expressions (id int primary key, v int, note text);
         create unique index on expressions ((v + 1), lower(note));
         create index on expressions ((v % 10)) where note is not null;
         create index on expressions (note collate \"C\" text_pattern_ops desc nulls last) with (fillfactor = 70);
         create statistics st (dependencies) on v, note from expressions;
         create table methods (id int primary key, v int, p point, t text[], r int4range, n inet);
         create index on methods using hash (v); create index on methods using gist (p); create index on methods using gin (t);
         create index on methods using spgist (r); create index on methods using brin (id); create index on methods using gist (n inet_ops);
         create table checks (id int primary key, v int check (v > 0), w text not null, constraint longer check (v > length(w)));
         comment on constraint longer on checks is 'both';
         alter table checks alter w set statistics 500;
         create table clustered (id int primary key, v int);
         create index clustered_v on clustered (v);
         cluster clustered using clustered_v;
         create table ident (a int not null, b int not null);
         create unique index ident_ab on ident (b, a);
         alter table ident replica identity using index ident_ab;",
    );
    pair.source.exec(
        "begin; set constraints all deferred;
         insert into b select i, i, i from generate_series(1, 100) i; insert into a select i, i, i from generate_series(1, 100) i; commit",
    );
    pair.source.exec(
        "insert into self select i, case when i > 1 then i - 1 end, i from generate_series(1, 100) i;
         update self set parent = 100 where id = 1;
         insert into deferred select i, i, i from generate_series(1, 100) i;
         insert into included select i, i, 'w' || i from generate_series(1, 100) i;
         insert into rooms select i, 1, tsrange(timestamp '2024-01-01' + i * interval '1 hour', timestamp '2024-01-01' + (i + 1) * interval '1 hour')
            from generate_series(1, 100) i;
         insert into nulls values (1, 1), (2, null);
         insert into expressions select i, i, case when i % 3 > 0 then 'N' || i end from generate_series(1, 20000) i;
         insert into methods select i, i, point(i, i), array['a', i::text], int4range(i, i + 3), '10.0.0.1' from generate_series(1, 5000) i;
         insert into checks select i + 10, i + 10, 'x' from generate_series(1, 100) i;
         insert into clustered select i, -i from generate_series(1, 100) i;
         insert into ident select i, i from generate_series(1, 100) i;",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    pair.source.exec(
        "update a set v = v + 1; update b set v = v + 1000; update self set v = 0; update ident set a = -a;
         delete from nulls where id = 1; update rooms set room = 2 where id > 50; update expressions set note = note || 'x' where v < 100",
    );
    pair.expect_equal();
}

/// Building and analyzing such an index reads the values back from TOAST.
#[test]
fn expressions_over_toasted_values() {
    for (rows, chunk_size) in [(30, "1MB"), (20_000, "1TB"), (20_000, "1MB")] {
        let pair = Pair::new("toasted");
        pair.source.exec(&format!(
            "create table t (id int primary key, v text, w text); alter table t alter v set storage external;
             create index on t (left(v, 20)); create index on t (length(v)) where v > 'a'; create statistics on (length(v)), (left(v, 3)) from t;
             insert into t select i, case when i % 100 < 5 then repeat(md5(i::text), 300) else 'short' end, repeat('w', 100)
                from generate_series(1, {rows}) i"
        ));
        pair.prepare();
        let before = SchemaState::of(&pair.target);
        pair.synchronize_with(&[("chunk_size", chunk_size)], "method => 'parallel'");
        before.assert_same(&pair.target);
        pair.expect_equal();
    }
}

/// PostgreSQL 18: primary keys WITHOUT OVERLAPS, and foreign keys over PERIODs of them.
#[test]
fn temporal_keys() {
    if major() < 18 {
        return;
    }
    let pair = Pair::new("temporal");
    pair.source.exec(
        "create extension btree_gist;
         create table prices (item int, valid daterange, price int, primary key (item, valid without overlaps));
         create table sales (id int primary key, item int, at daterange, foreign key (item, period at) references prices (item, period valid));
         create table slots (id int4range, valid daterange, unique (id, valid without overlaps), n int primary key);
         insert into prices select i, daterange('2024-01-01', '2024-06-01'), 1 from generate_series(1, 50) i;
         insert into prices select i, daterange('2024-06-01', null), 2 from generate_series(1, 50) i;
         insert into sales select i, i, daterange('2024-05-01', '2024-07-01') from generate_series(1, 50) i;
         insert into slots select int4range(i, i + 1), daterange('2024-01-01', null), i from generate_series(1, 50) i;",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
}

/// A referencing table that is not copied must neither stop the copy nor be touched.
#[test]
fn foreign_keys_from_outside_the_set() {
    let pair = Pair::new("outside");
    pair.source.exec(
        "create table parent (id int primary key, v int);
         create table child (id int primary key, parent int references parent);
         insert into parent select i, i from generate_series(1, 1000) i;
         insert into child select i, i from generate_series(1, 100) i",
    );
    pair.prepare();
    pair.target.exec("insert into child values (1, null)");
    let before = SchemaState::of(&pair.target);
    pair.synchronize("method => 'parallel', tables => array['parent']");
    before.assert_same(&pair.target);
    assert_eq!(pair.target.scalar::<i64>("select count(*) from parent"), 1000);
    assert_eq!(pair.target.rows("select * from child"), ["1 | ~"]);
    // The other way round: the referenced table stays empty, the referencing one is copied as core's sync copies it.
    let other = Pair::new("outside_child");
    other.source.exec(
        "create table parent (id int primary key); create table child (id int primary key, parent int references parent);
         insert into parent values (1); insert into child values (1, 1)",
    );
    other.prepare();
    other.synchronize("method => 'parallel', tables => array['child']");
    assert_eq!(other.target.rows("select * from child"), ["1 | 1"]);
}

/// An index that is invalid before is no business of ours: building it would fail on the very rows it failed on before.
#[test]
fn invalid_indexes_on_either_side() {
    let pair = Pair::new("invalid");
    pair.source.exec(
        "create table t (id int primary key, v int, w int); insert into t select i, i % 10, i from generate_series(1, 1000) i",
    );
    pair.prepare();
    for db in [&pair.source, &pair.target] {
        db.exec("insert into t values (-1, 5, -1), (-2, 5, -2)");
        assert!(db.try_exec("create unique index concurrently t_v_failed on t (v)").is_err());
        db.exec("delete from t where id < 0");
    }
    pair.target.exec_each(&["vacuum t", "create index t_w on t (w)"]);
    let before = indexes_snapshot(&pair.target);
    assert!(before.iter().any(|index| index.contains("valid=f")));
    initialize(&pair, "method => 'parallel'");
    assert_eq!(before, indexes_snapshot(&pair.target));
}

/// The source tolerates old rows that a NOT VALID constraint forbids; so must the target.
#[test]
fn constraints_not_valid_with_violating_rows() {
    let pair = Pair::new("not_valid");
    pair.source.exec(
        "create table parent (id int primary key);
         create table checked (id int primary key, v int, note text);
         insert into checked select i, -i, 'x' from generate_series(1, 500) i;
         insert into checked values (0, 0, null);
         alter table checked add constraint v_positive check (v > 0) not valid;
         comment on constraint v_positive on checked is 'since 2020; \"old\" rows stay';
         create table referring (id int primary key, parent int);
         insert into referring values (1, 77);
         alter table referring add constraint referring_parent foreign key (parent) references parent not valid;
         create table tree (id int not null, v int) partition by range (id);
         create table tree_1 partition of tree for values from (0) to (100);
         create table tree_2 partition of tree for values from (100) to (200);
         alter table tree add primary key (id);
         insert into tree select i, -1 from generate_series(0, 199) i;
         alter table tree add constraint tree_v check (v > 0) not valid;",
    );
    if major() >= 18 {
        pair.source.exec(
            "create table unenforced (id int primary key, v int, constraint never check (v > 0) not enforced);
             insert into unenforced values (1, -1);",
        );
    }
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    // New rows are checked as before.
    assert!(pair.target.try_exec("insert into checked values (9999, -5)").is_err());
    assert!(pair.target.try_exec("insert into referring values (9, 78)").is_err());
    assert!(pair.target.try_exec("insert into tree values (50, -5)").is_err());
}

/// PostgreSQL 18: NOT NULL ... NOT VALID.
#[test]
fn not_null_not_valid() {
    if major() < 18 {
        return;
    }
    let pair = Pair::new("not_null");
    pair.source.exec(
        "create table t (id int primary key, v int);
         insert into t values (1, null), (2, 2);
         alter table t add constraint v_there not null v not valid;
         comment on constraint v_there on t is 'from now on';
         create table tree (id int not null, v int) partition by range (id);
         create table tree_1 partition of tree for values from (0) to (100);
         alter table tree add primary key (id);
         insert into tree values (1, null);
         alter table tree add constraint tree_v not null v not valid;
         create table base (id int primary key, v int); create table derived (primary key (id)) inherits (base);
         insert into base values (1, null); insert into derived values (2, null);
         alter table base add constraint base_v not null v not valid;",
    );
    pair.prepare();
    initialize(&pair, "method => 'parallel'");
    assert!(pair.target.try_exec("insert into t values (9, null)").is_err());
    assert!(pair.target.try_exec("insert into tree values (9, null)").is_err());
}
