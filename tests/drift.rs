//! Tables are altered on the source while they are copied and caught up, with `schema_sync` in each of its modes: `auto` follows and
//! ends equal, `strict` says what differs and goes on when the same was done here, `manual` minds only what stops rows.

use std::time::Duration;

use postgres::Client;
use steep_repl_testkit::{check, describe, wait_until, Pair, SchemaState};

pub const LONG: Duration = Duration::from_secs(120);
/// Whoever holds it holds up the apply worker at its first update of `gate`.
const GATE: i64 = 4_711;

/// When the source is altered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    BetweenChunks,
    AfterLastChunk,
    CatchingUp,
}
pub use When::{AfterLastChunk, BetweenChunks, CatchingUp};

/// One operation that has come so far that its source can be altered.
pub struct Running {
    pub pair: Pair,
    gate: Client,
}

pub fn running(label: &str, when: When, mode: &str) -> Running {
    running_with(label, when, mode, |_| {})
}

pub fn running_with(label: &str, when: When, mode: &str, before: impl Fn(&Pair)) -> Running {
    let pair = Pair::options(label).proxied().build();
    let (victim, filler) = match when {
        BetweenChunks => (24_000, 2_000),
        AfterLastChunk => (14_000, 12_000),
        CatchingUp => (3_000, 1_000),
    };
    pair.source.exec(&format!(
        "create table victim (id int primary key, v int not null default 1, short varchar(10), note text);
         create index victim_v on victim (v);
         create table filler (id int primary key, v int, note text);
         create table gate (id int primary key, v int);
         insert into victim select i, i, 's' || i % 1000, repeat('x', 200) from generate_series(1, {victim}) i;
         insert into filler select i, i, repeat('x', 200) from generate_series(1, {filler}) i;
         insert into gate values (1, 1)"
    ));
    before(&pair);
    pair.source.exec_each(&["vacuum analyze"]);
    pair.prepare();
    pair.target.exec(&format!(
        "create function wait_at_the_gate() returns trigger language plpgsql as
             $f$begin perform pg_catalog.pg_advisory_xact_lock_shared({GATE}); return new; end$f$;
         create trigger waits before update on gate for each row execute function wait_at_the_gate();
         alter table gate enable always trigger waits"
    ));
    let mut gate = pair.target.connect();
    gate.batch_execute(&format!("select pg_catalog.pg_advisory_lock({GATE})")).unwrap();
    if when != CatchingUp {
        pair.proxy().throttle(1_200_000);
    }
    let settings = [("chunk_size", "1MB"), ("catchup_lag", "1kB")];
    pair.init_with(&settings, &format!("method => 'parallel', parallel_workers => 1, schema_sync => '{mode}'"))
        .unwrap();
    let reached = match when {
        BetweenChunks => {
            "select count(*) from steep_repl.table_progress where table_name = 'victim' and rows_done > 4000"
        }
        AfterLastChunk => {
            "select count(*) from steep_repl.table_progress
             where table_name = 'victim' and status not in ('waiting', 'copying')"
        }
        // The slot's start is known: what comes now is replayed.
        CatchingUp => "select count(*) from steep_repl.operations where start_lsn is not null",
    };
    wait_until("the copy has come far enough", Duration::from_secs(60), || {
        assert_ne!(pair.state(), "FAILED", "{:?}", pair.progress());
        (pair.target.scalar::<i64>(reached) == 1).then_some(())
    });
    pair.source.exec("update gate set v = 2");
    if when == CatchingUp {
        wait_until("it catches up", Duration::from_secs(60), || (pair.state() == "CATCHING_UP").then_some(()));
    } else {
        assert_eq!(pair.state(), "COPYING", "it came too late to disturb");
        gate.batch_execute(&format!("select pg_catalog.pg_advisory_unlock({GATE})")).unwrap();
    }
    Running { pair, gate }
}

impl Running {
    pub fn alter(&mut self, change: &[&str]) {
        self.pair.source.exec_each(change);
        self.pair.source.exec("insert into filler values (-1, 0, 'after'); update gate set v = 3");
        self.pair.proxy().throttle(0);
        self.gate.batch_execute(&format!("select pg_catalog.pg_advisory_unlock({GATE})")).unwrap();
    }

    pub fn is_equal(&self) {
        assert_eq!(self.pair.state(), "SYNCHRONIZED");
        self.pair
            .source
            .exec("delete from victim where id = 7; update filler set v = -1 where id = 5; update gate set v = 4");
        // What stops the apply worker is how a change is noticed while it runs. Conflicts are another matter.
        self.pair.expect_equal_but(&["apply_error_count"]);
    }

    pub fn events(&self, name: &str) -> Vec<String> {
        self.pair.events().into_iter().filter(|event| event.event == name).map(|event| format!("{event:?}")).collect()
    }

    /// FAILED with the SQLSTATE of a schema that has changed, and these words.
    pub fn stops(&self, words: &[&str]) {
        let error = self.pair.wait(LONG).expect_err("what differs was passed over");
        let text = describe(&error);
        assert_eq!(self.pair.state(), "FAILED", "{text}");
        assert_eq!(error.as_db_error().map(|error| error.code().code()), Some("42P15"), "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in: {text}");
        }
    }

    pub fn resumes(&self) {
        self.pair.target.exec("select steep_repl.resume_init('node_b')");
        self.pair.wait(LONG).unwrap_or_else(|error| panic!("resumed, but: {}", describe(&error)));
    }
}

/// `auto` follows it, and every row is equal.
fn followed(label: &str, when: When, change: &[&str]) -> Running {
    let mut running = running(label, when, "auto");
    running.alter(change);
    running.pair.wait(LONG).unwrap_or_else(|error| panic!("{when:?}: {}", describe(&error)));
    running.is_equal();
    running
}

macro_rules! followed {
    ($($name:ident: [$($change:expr),+];)+) => {
        $(mod $name {
            use super::*;

            #[test]
            fn between_two_chunks() {
                followed(concat!("dr_", stringify!($name)), BetweenChunks, &[$($change),+]);
            }

            #[test]
            fn after_the_last_chunk() {
                followed(concat!("dr_", stringify!($name)), AfterLastChunk, &[$($change),+]);
            }

            #[test]
            fn while_catching_up() {
                followed(concat!("dr_", stringify!($name)), CatchingUp, &[$($change),+]);
            }
        })+
    };
}

followed! {
    column_added_with_a_default:
        ["update victim set v = 0 where id < 5", "alter table victim add extra int not null default 5",
         "update victim set extra = 6 where id < 20"];
    column_dropped: ["update victim set v = 0 where id < 5", "alter table victim drop v", "insert into victim (id) values (-1)"];
    // The old values are gone on the source, under the same name and type.
    column_replaced:
        ["update victim set v = 0 where id < 5", "begin; alter table victim drop v; alter table victim add v int; commit",
         "update victim set v = 7 where id < 20"];
    column_renamed:
        ["update victim set v = 0 where id < 5", "alter table victim rename v to w", "update victim set w = 7 where id < 20"];
    type_widened: ["alter table victim alter short type varchar(20)", "update victim set short = 'longer than ten' where id = 5"];
    type_rewritten:
        ["update victim set v = 0 where id < 5", "alter table victim alter v type bigint using v * 2",
         "update victim set v = 5000000000 where id = 5"];
}

/// The most usual change of all costs no copy.
#[test]
fn a_column_that_is_null_in_every_row_costs_no_copy() {
    for when in [AfterLastChunk, CatchingUp] {
        let change = [
            "update victim set v = 0 where id < 5",
            "alter table victim add extra int",
            "update victim set extra = 6 where id < 20",
            "insert into victim (id, extra) values (-1, 7)",
        ];
        let running = followed("dr_null", when, &change);
        assert_eq!(running.events("init.table_deferred"), [""; 0], "{when:?}");
        assert_eq!(running.events("schema.sync_applied").len(), 1, "{when:?}");
        let compared = "select status from steep_repl.compare_schemas('node_a', 'node_b') where table_name = 'victim'";
        assert_eq!(running.pair.target.rows(compared), ["MATCH"]);
    }
}

/// Rows on their way may be what the source refuses by now.
#[test]
fn nothing_becomes_stricter_before_the_end_and_it_is_said() {
    let change = [
        "insert into victim (id, short) values (-1, null)",
        "update victim set short = 'filled' where short is null",
        "alter table victim alter short set not null",
        "alter table victim alter v drop not null, alter v set default 9",
        "insert into victim (id, v, short) values (-2, null, 'x')",
    ];
    let running = followed("dr_strict_later", CatchingUp, &change);
    let left = running.events("schema.left_out");
    assert!(left.iter().any(|event| event.contains("column short: nullability not null on node_a")), "{left:?}");
    // What it says is true: that, and nothing else, is left to be done.
    let ddl = "select ddl from steep_repl.schema_diff('node_a', 'node_b', 'victim') where ddl is not null";
    assert_eq!(
        running.pair.target.rows(ddl),
        ["ALTER TABLE \"public\".\"victim\" ALTER COLUMN \"short\" SET NOT NULL;"]
    );
}

/// A partitioned table is altered as one.
#[test]
fn partitions_are_altered_with_their_root() {
    for (when, change) in [
        (AfterLastChunk, "alter table parts add extra int default 5"),
        (CatchingUp, "alter table parts add extra int not null default 5"),
        (CatchingUp, "alter table parts add extra int"),
    ] {
        let mut running = running_with("dr_parts", when, "auto", |pair| {
            pair.source.exec(
                "create table parts (id int primary key, v int) partition by range (id);
                 create table parts_1 partition of parts for values from (0) to (500);
                 create table parts_2 partition of parts for values from (500) to (1000);
                 insert into parts select i, i from generate_series(0, 999) i",
            );
        });
        running.alter(&[
            "update parts set v = 0 where id % 7 = 0",
            change,
            "update parts set extra = 6 where id % 5 = 0",
        ]);
        running.pair.wait(LONG).unwrap_or_else(|error| panic!("{when:?} {change}: {}", describe(&error)));
        running.is_equal();
        let compared = "select table_name || ' ' || status from steep_repl.compare_schemas('node_a', 'node_b') where table_name ~ '^parts'";
        assert_eq!(running.pair.target.rows(compared), ["parts MATCH", "parts_1 MATCH", "parts_2 MATCH"]);
    }
}

/// It stops before a row is wrong, and goes on when the same was done here, whatever the change has written into all rows.
#[test]
fn strict_goes_on_when_the_same_was_done_here() {
    for (when, change, words) in [
        (
            AfterLastChunk,
            "alter table victim add extra int default 5",
            "column extra of table public.victim does not exist",
        ),
        (
            CatchingUp,
            "alter table victim add extra int default 5",
            "column extra of table public.victim does not exist",
        ),
        (
            CatchingUp,
            "alter table victim alter v type bigint using v * 2",
            "bigint on the source, integer on the target",
        ),
        (AfterLastChunk, "alter table victim alter v set default 9", "column v: default 9 on node_a, 1 on node_b"),
    ] {
        let mut running = running("dr_strict", when, "strict");
        let write = if change.contains("extra") {
            "update victim set extra = 6 where id < 20"
        } else {
            "update victim set v = 6 where id < 20"
        };
        running.alter(&["update victim set v = 0 where id < 5", change, write]);
        running.stops(&["victim", words]);
        // The same, but for the values, which nobody could repeat.
        running.pair.target.exec(&change.replace(" using v * 2", ""));
        running.resumes();
        running.is_equal();
    }
}

#[test]
fn manual_minds_what_stops_rows_and_nothing_else() {
    for when in [AfterLastChunk, CatchingUp] {
        let mut running = running("dr_manual", when, "manual");
        running.alter(&["alter table victim alter short type varchar(20), alter v set default 9"]);
        running.pair.wait(LONG).unwrap_or_else(|error| panic!("{when:?}: {}", describe(&error)));
        running.is_equal();
    }
    let mut running = running("dr_manual_stop", CatchingUp, "manual");
    running.alter(&["alter table victim add extra int default 5", "update victim set extra = 6 where id < 20"]);
    running.stops(&["column extra of table public.victim does not exist"]);
    running.pair.target.exec("alter table victim add extra int");
    running.resumes();
    running.is_equal();
}

/// What has no statement that mends it here stops in every mode.
#[test]
fn a_column_that_is_computed_now_is_not_followed() {
    let mut running = running("dr_computed", AfterLastChunk, "auto");
    running.alter(&["alter table victim drop v; alter table victim add v int generated always as (id * 2) stored"]);
    running.stops(&["victim", "generated"]);
    running.pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", LONG, || (running.pair.state() == "UNINITIALIZED").then_some(()));
}

/// The type is altered, no table is.
#[test]
fn an_enum_that_gets_a_label() {
    let moods = |pair: &Pair| {
        pair.source.exec(
            "create type mood as enum ('b', 'd'); create table moods (id int primary key, m mood, all_of_them mood[]);
             insert into moods select i, 'b', '{b,d}' from generate_series(1, 100) i",
        );
    };
    let change = [
        "alter type mood add value 'a' before 'b'",
        "alter type mood add value 'c' after 'b'",
        "update moods set m = 'c' where id < 9",
    ];
    let mut auto = running_with("dr_enum", CatchingUp, "auto", moods);
    auto.alter(&change);
    auto.pair.wait(LONG).unwrap_or_else(|error| panic!("{}", describe(&error)));
    auto.is_equal();
    assert_eq!(auto.pair.target.rows("select unnest(enum_range(null::mood))::text"), ["a", "b", "c", "d"]);
    let mut strict = running_with("dr_enum_strict", CatchingUp, "strict", moods);
    strict.alter(&change);
    strict.stops(&["column m of table public.moods: type public.mood lacks 'a', 'c' on the target"]);
    strict.pair.target.exec_each(&change[..2]);
    strict.resumes();
    strict.is_equal();
}

/// What was altered here goes back with everything else.
#[test]
fn a_cancel_takes_back_what_was_altered() {
    let mut running = running("dr_cancel", CatchingUp, "auto");
    let before = SchemaState::of(&running.pair.target);
    running.alter(&[
        "alter table victim add extra int default 5, alter short type varchar(30)",
        "update victim set extra = 6",
    ]);
    let applied = "select count(*) from steep_repl.events where event = 'schema.sync_applied'";
    wait_until("it is followed", LONG, || (running.pair.target.scalar::<i64>(applied) > 0).then_some(()));
    running.pair.target.exec("select steep_repl.cancel_init('node_b')");
    wait_until("it is cancelled", LONG, || (running.pair.state() == "UNINITIALIZED").then_some(()));
    check::assert_clean(&running.pair.source, &running.pair.target);
    before.assert_same(&running.pair.target);
}
