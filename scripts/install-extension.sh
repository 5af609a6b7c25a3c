#!/usr/bin/env bash
# Builds the extension in release mode and installs it into the server that find-postgres.sh finds.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
config=$(bash scripts/find-postgres.sh) || die "no PostgreSQL $PG_MAJOR found" "Run scripts/install-deps.sh first."
# RUSTFLAGS would replace the linker flags that cargo-pgrx passes; pgrx's own state stays in the build folder.
unset RUSTFLAGS RUST_BACKTRACE
export PGRX_HOME=${PGRX_HOME:-$PWD/target/pgrx}
if ! grep -qs "^pg$PG_MAJOR = \"$config\"" "$PGRX_HOME/config.toml"; then
    mkdir -p "$PGRX_HOME"
    cargo pgrx init --no-run "--pg$PG_MAJOR" "$config" >/dev/null 2>&1
fi
sudo=()
if [ ! -w "$("$config" --pkglibdir)" ] && [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "$("$config" --pkglibdir) is not writable" "Run make install as root."
    sudo=(--sudo)
fi
cargo pgrx install --release --pg-config "$config" --no-default-features --features "pg$PG_MAJOR" "${sudo[@]}" "$@"
