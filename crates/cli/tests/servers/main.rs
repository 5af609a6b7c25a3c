//! Tests of `steep-repl` with real servers, in one binary, by topic.

mod conninfo;
mod sides;
mod tui;
mod window;
