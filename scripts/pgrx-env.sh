# shellcheck shell=bash
# Sourced after lib.sh, from the repository's folder, by what calls cargo: tells pgrx which server to build for. Sets $config.
config=$(bash scripts/find-postgres.sh) || die "no PostgreSQL $PG_MAJOR found" "Run make deps first."
# RUSTFLAGS would replace the linker flags that cargo-pgrx passes; RUST_BACKTRACE in a server's environment puts backtraces
# into the DETAIL of its errors.
unset RUSTFLAGS RUST_BACKTRACE
# pgrx's own state stays in the build folder, one per major, so that changing the major rebuilds nothing.
export PGRX_HOME=${PGRX_HOME:-$PWD/target/pgrx-$PG_MAJOR}
if ! grep -qsxF "pg$PG_MAJOR = \"$config\"" "$PGRX_HOME/config.toml"; then
    mkdir -p "$PGRX_HOME"
    said=$(cargo pgrx init --no-run "--pg$PG_MAJOR" "$config" 2>&1) || die "cargo pgrx init failed: $said" "Run make deps first."
fi
