//! Tests of `steep-repl` with real servers, in one binary, by topic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod commands;
mod conninfo;
mod json;
mod sides;
mod steep;
