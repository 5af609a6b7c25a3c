#!/usr/bin/env bash
# Builds and installs the extension, then runs the tests: the pure parts, then over real servers.
#
#   scripts/test.sh        each scenario once, small
#   scripts/test.sh all    the whole matrix
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
bash scripts/install-deps.sh tests
. scripts/pgrx-env.sh
export PG_CONFIG=$config

if [ "${1:-}" = all ]; then
    export STEEP_REPL_TEST_ALL=1
    export STEEP_REPL_SEED=${STEEP_REPL_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
    say "seed: STEEP_REPL_SEED=$STEEP_REPL_SEED"
    step 'installing the extension with failpoints' env STEEP_REPL_FAILPOINTS=1 bash scripts/install-extension.sh
    step 'tests with failpoints' cargo test --locked -p steep_repl_tests -- failpoints campaign
fi
step 'installing the extension' bash scripts/install-extension.sh
step 'unit tests of the pure parts' cargo test --locked -p steep_repl_core
# The extension's own unit tests link without a server because they call none of it.
step 'unit tests of the extension' cargo test --locked -p steep_repl --lib --no-default-features --features "pg$PG_MAJOR,failpoints"
step 'tests of the test kit' cargo test --locked -p steep_repl_testkit
step 'tests of the command line' cargo test --locked -p steep_repl_cli
step 'tests over several servers' cargo test --locked -p steep_repl_tests
say 'all tests passed'
