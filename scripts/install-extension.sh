#!/usr/bin/env bash
# Builds the extension in release mode and installs it into the server that find-postgres.sh finds.
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
cargo pgrx install --release --pg-config "$config" --no-default-features --features "pg$PG_MAJOR" "${sudo[@]}" "$@"
