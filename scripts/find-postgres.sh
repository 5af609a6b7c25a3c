#!/usr/bin/env bash
# Prints the path of the pg_config to build for, and nothing else; exits 1 in silence when there is none.
# A server that the user has comes first: PG_CONFIG, PATH, the usual package locations, then the one install-deps.sh built.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# A pg_config counts when its server and its headers are there too: distributions package the three apart.
usable() {
    local config=$1 version
    [ -x "$config" ] || return 1
    version=$("$config" --version 2>/dev/null) || return 1
    case "$version" in "PostgreSQL $PG_MAJOR"[!0-9]*) ;; *) return 1 ;; esac
    [ -x "$("$config" --bindir)/postgres" ] && [ -f "$("$config" --includedir-server)/postgres.h" ]
}

if [ -n "${PG_CONFIG:-}" ]; then
    usable "$PG_CONFIG" || die "PG_CONFIG=$PG_CONFIG is not the pg_config of a PostgreSQL $PG_MAJOR with server and headers" \
        "Set PG_MAJOR=17 for a PostgreSQL 17, or unset PG_CONFIG."
    printf '%s\n' "$PG_CONFIG"
    exit 0
fi

built=postgresql-$PG_MAJOR${PG_FLAVOUR:+-$PG_FLAVOUR}/bin/pg_config
candidates=("$DEPS_DIR/$built" "$SHARED_DEPS_DIR/$built")
# An assert-enabled server is one that was built for that; a packaged one is not what was asked for then.
if [ -z "${PG_FLAVOUR:-}" ]; then
    candidates=("$(command -v pg_config || true)" "/usr/lib/postgresql/$PG_MAJOR/bin/pg_config" "/usr/pgsql-$PG_MAJOR/bin/pg_config"
                /usr/local/pgsql/bin/pg_config "${candidates[@]}")
fi
for config in "${candidates[@]}"; do
    if [ -n "$config" ] && usable "$config"; then
        printf '%s\n' "$config"
        exit 0
    fi
done
exit 1
