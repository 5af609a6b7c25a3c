//! Tests of `steep-repl` with real servers, in one binary, by topic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod authority;
mod by_hand;
mod commands;
mod conninfo;
mod json;
mod methods;
mod prompt;
mod sides;
mod snapshots;
mod steep;
mod terminal;
mod tls;
mod tui;
mod waiting;
mod ways;
mod window;
