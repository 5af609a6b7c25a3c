//! A deferred trigger that fires for copied rows of somebody else's table: the server refuses it, and that is said before.

use steep_repl_testkit::{describe, shared, Pair, Role};

use crate::midway;

const ARGS: &str = "method => 'parallel', parallel_workers => 1";
const TRIGGER: &str = "
    create function note() returns trigger language plpgsql as 'begin return null; end';
    create constraint trigger late after insert on t deferrable initially deferred
        for each row execute function note();
    alter table t enable always trigger late";

fn prepared(label: &str) -> Pair {
    let pair = Pair::new(label);
    pair.source.exec("create table t (id int primary key); insert into t select generate_series(1, 100)");
    pair.prepare();
    pair.target.exec(TRIGGER);
    pair
}

fn warnings(pair: &Pair) -> Vec<String> {
    pair.target.rows(
        "select status, message, hint is not null from steep_repl.preflight('node_b', 'node_a')
         where check_name = 'deferred_triggers'",
    )
}

#[test]
fn of_another_owners_table_it_is_told_before_and_stops_the_copy() {
    let owner = Role::create(&shared::target(), "lateowner", "");
    let pair = prepared("late_other");
    pair.target.exec(&format!("grant create on schema public to {owner}; alter table t owner to {owner}"));
    let rows = warnings(&pair);
    assert!(rows.len() == 1 && rows[0].starts_with("warning | ") && rows[0].contains("public.t (late)"), "{rows:?}");
    pair.init(ARGS).unwrap();
    assert!(pair.notices().iter().any(|notice| notice.contains("public.t (late)")), "{:?}", pair.notices());
    let error = midway::until_failed(&pair);
    let text = describe(&error);
    assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{text}");
    // The page for operators has these words.
    for word in ["copy of table public.t failed", "cannot fire deferred trigger within security-restricted operation"] {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    pair.target.exec("alter table t disable trigger late; select steep_repl.resume_init('node_b')");
    pair.expect_synchronized();
    pair.target.exec("alter table t enable always trigger late");
    pair.target.exec(&format!("reassign owned by {owner} to postgres; drop owned by {owner}"));
    pair.expect_equal();
}

#[test]
fn of_ones_own_table_it_fires() {
    let pair = prepared("late_own");
    assert!(warnings(&pair).is_empty(), "{:?}", warnings(&pair));
    pair.synchronize(ARGS);
    pair.expect_equal();
}
