//! Tests of steep_repl over several real servers, in one binary, by topic.
//!
//! They are written from the contract (what an operator is promised), not from the code. Every test takes a pair of fresh
//! databases on clusters that all share, so tests run side by side and each can be run alone. `STEEP_REPL_TEST_ALL=1` turns on
//! the large variants; `STEEP_REPL_SEED` repeats a run's random choices.

mod abandon;
mod apply_errors;
mod campaign;
mod cancel;
mod cancel_among_others;
mod cancel_without_source;
mod columns;
mod concurrency;
mod copies;
mod ddl;
mod deferred_triggers;
mod direct_load;
mod drift;
mod drop_extension;
mod errors;
mod errors_source;
mod eta;
mod exhaustion;
mod failpoints;
mod failures;
mod foreign_source;
mod frozen;
mod headline;
mod hostile;
mod identity;
mod idle;
mod invalid_keys;
mod launcher;
mod leaks;
mod left_overs;
mod locks_here;
mod meddling;
mod midway;
mod outcome;
mod preflight;
mod readme;
mod refresh;
mod refresh_meddling;
mod refusal;
mod restore_indexes;
mod rewrites;
mod rights;
mod scale;
mod schema_auto;
mod schemas;
mod schemas_formats;
mod schemas_majors;
mod schemas_recorded;
mod schemas_rights;
mod schemas_speed;
mod secrets;
mod sequences;
mod shop;
mod silence;
mod snapshot_age;
mod take_over;
mod views;
mod waiting;
mod zoo_constraints;
mod zoo_names;
mod zoo_tables;
mod zoo_types;
