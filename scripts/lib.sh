# shellcheck shell=bash
# Sourced by the other scripts: where things live, and how to say what went wrong.

# shellcheck disable=SC2034  # used by who sources this
PGRX_VERSION=0.18.1
# shellcheck disable=SC2034
CARGO_DENY_VERSION=0.20.2
# What the dependencies need.
# shellcheck disable=SC2034
RUST_MIN=1.89.0
export PG_MAJOR=${PG_MAJOR:-18}

# Things built once per machine go where an unprivileged server process can read them too; root's home is closed to it.
# shellcheck disable=SC2034
SHARED_DEPS_DIR=/opt/steep_repl
if [ "$(id -u)" = 0 ]; then
    DEPS_DIR=${STEEP_REPL_DEPS:-$SHARED_DEPS_DIR}
else
    DEPS_DIR=${STEEP_REPL_DEPS:-${XDG_CACHE_HOME:-$HOME/.cache}/steep_repl}
fi

say()  { printf '==> %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$1" >&2; shift; for line in "$@"; do printf 'hint: %s\n' "$line" >&2; done; exit 1; }

# Runs a command as root: directly, through a password-less sudo, or not at all.
can_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Says what is being done, and how long it took.
step() {
    local what=$1 started=$SECONDS
    shift
    say "$what"
    "$@" || { local code=$?; printf 'error: %s failed after %d s\n' "$what" $((SECONDS - started)) >&2; return "$code"; }
    printf '    %s: %d s\n' "$what" $((SECONDS - started)) >&2
}
