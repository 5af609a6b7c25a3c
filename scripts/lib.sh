# Sourced by the other scripts: where things live, and how to say what went wrong.

PGRX_VERSION=0.18.1
PG_MAJOR=${PG_MAJOR:-18}

# Things built once per machine go where an unprivileged server process can read them too; root's home is closed to it.
if [ "$(id -u)" = 0 ]; then
    DEPS_DIR=${STEEP_REPL_DEPS:-/opt/steep_repl}
else
    DEPS_DIR=${STEEP_REPL_DEPS:-${XDG_CACHE_HOME:-$HOME/.cache}/steep_repl}
fi

say()  { printf '==> %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$1" >&2; shift; for line in "$@"; do printf 'hint: %s\n' "$line" >&2; done; exit 1; }

# Runs a command as root: directly, through a password-less sudo, or not at all.
can_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
