#!/usr/bin/env bash
# Builds the extension in release mode and installs it into the server that find-postgres.sh finds. STEEP_REPL_FAILPOINTS=1 builds
# failpoints in, which the campaign of tests then draws from; never for a server that anybody uses.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/pgrx-env.sh
sudo=()
if [ ! -w "$("$config" --pkglibdir)" ] && [ "$(id -u)" != 0 ]; then
    can_be_root || die "$("$config" --pkglibdir) is not writable" \
        "Run make install as root, or set PG_CONFIG to a server of your own."
    sudo=(--sudo)
fi
features=pg$PG_MAJOR
[ -z "${STEEP_REPL_FAILPOINTS:-}" ] || features+=,failpoints
cargo pgrx install --release --pg-config "$config" --no-default-features --features "$features" "${sudo[@]}" "$@"
