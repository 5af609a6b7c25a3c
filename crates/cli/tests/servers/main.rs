//! Tests of `steep-repl` with real servers, in one binary, by topic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authority;
mod conninfo;
mod methods;
mod prompt;
mod sides;
mod tui;
mod window;
mod tls;
mod waiting;
