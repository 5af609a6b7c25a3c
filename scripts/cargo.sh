#!/usr/bin/env bash
# cargo, told which server the extension is built for:
#
#   scripts/cargo.sh test -p steep_repl --lib
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/pgrx-env.sh
exec cargo "$@"
