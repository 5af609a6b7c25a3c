//! What every refusal has in common: it comes quickly, says what to do, and leaves no trace.

use std::time::{Duration, Instant};

use steep_repl_testkit::{check, describe, schema_text, Db, Pair};

/// A good refusal, for a closer look.
#[derive(Debug)]
pub struct Refusal {
    /// SQLSTATE.
    pub code: String,
    /// Message, detail and hint together.
    pub text: String,
}

impl Refusal {
    /// Checks the form of an error: a user's mistake is never an internal error, and comes with advice.
    pub fn of(error: &postgres::Error) -> Refusal {
        let text = describe(error);
        let Some(db) = error.as_db_error() else { panic!("not an answer of the server: {text}") };
        let code = db.code().code().to_string();
        assert!(!code.starts_with("XX"), "an internal error: {text}");
        assert!(db.hint().is_some_and(|hint| !hint.trim().is_empty()), "no hint: {text}");
        assert!(!db.message().ends_with('.'), "a message has no full stop: {text}");
        assert!(!text.contains("s3cr3t-pw"), "the password is in the message: {text}");
        Refusal { code, text }
    }

    /// Each of these words stands in it.
    pub fn names(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.text.contains(word), "{word:?} is missing in: {}", self.text);
        }
        self
    }
}

/// Initializes and expects to be refused, at once or by wait_for_init, with both databases as they were.
pub fn refused(pair: &Pair, args: &str) -> Refusal {
    refused_with(pair, &[], args)
}

/// [`refused`] with settings.
pub fn refused_with(pair: &Pair, settings: &[(&str, &str)], args: &str) -> Refusal {
    let before = (contents(&pair.source), contents(&pair.target));
    let refusal = refused_quickly(|| {
        pair.init_with(settings, args)?;
        pair.wait(Duration::from_secs(15))
    });
    assert_eq!(before, (contents(&pair.source), contents(&pair.target)), "something changed");
    check::assert_clean(&pair.source, &pair.target);
    let state = pair.target.rows("select state from steep_repl.nodes where node = 'node_b'");
    assert!(state.iter().all(|state| state == "UNINITIALIZED" || state == "FAILED"), "{state:?}");
    refusal
}

/// Expects an error within seconds.
pub fn refused_quickly<T>(work: impl FnOnce() -> Result<T, postgres::Error>) -> Refusal {
    let started = Instant::now();
    let Err(error) = work() else { panic!("not refused") };
    let took = started.elapsed();
    assert!(took < Duration::from_secs(15), "refused only after {took:?}: {}", describe(&error));
    Refusal::of(&error)
}

/// Schema and number of rows of every table.
pub fn contents(db: &Db) -> (String, Vec<String>) {
    let tables = db.rows(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where relkind = 'r' and nspname !~ '^(pg_|information_schema$|steep_repl$)' order by 1",
    );
    let count =
        |table: &String| format!("{table}: {}", db.scalar::<i64>(&format!("select count(*) from only {table}")));
    (schema_text(db), tables.iter().map(count).collect())
}
