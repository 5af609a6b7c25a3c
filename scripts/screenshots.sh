#!/usr/bin/env bash
# Pictures of the terminal UI for the README, made from a real run: docs/pictures/*.svg.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
bash scripts/install-deps.sh
. scripts/pgrx-env.sh
export PG_CONFIG=$config
bash scripts/install-extension.sh
cargo build --locked --quiet -p steep_repl_cli --bin steep-repl
program=$(cargo metadata --locked --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/debug/steep-repl
cargo run --locked --quiet -p steep_repl_cli --example screenshots -- "$program" docs/pictures
