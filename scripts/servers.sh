# shellcheck shell=bash
# Sourced after lib.sh by the demo and the bench: throw-away servers in one temporary folder, reached over sockets in that
# folder only, so that no port is taken. All of it is gone when the script ends, however it ends.

# shellcheck disable=SC2034  # used by who sources this
servers_bin=
servers_dir=
servers_as=()

# Finds the server, makes the folder, and sees to its removal. $1 is a word for the folder's name.
servers_begin() {
    local config user
    config=$(bash scripts/find-postgres.sh) || die "no PostgreSQL $PG_MAJOR found" "Run make deps first."
    servers_bin=$("$config" --bindir)
    servers_dir=$(mktemp -d "${TMPDIR:-/tmp}/steep-$1.XXXXXX")
    trap servers_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # PostgreSQL refuses to run as root.
    if [ "$(id -u)" = 0 ]; then
        for user in postgres nobody ''; do
            ! id "$user" >/dev/null 2>&1 || break
        done
        [ -n "$user" ] || die "there is no user postgres or nobody to run servers as" "Run this as a user that is not root."
        chown "$user" "$servers_dir"
        servers_as=(setpriv "--reuid=$(id -u "$user")" "--regid=$(id -g "$user")" --clear-groups)
    fi
    # Clients run as whoever called, and need the way to the sockets.
    chmod 711 "$servers_dir"
    "${servers_as[@]}" test -w "$servers_dir" ||
        die "${user:-you} cannot write to $servers_dir" "Set TMPDIR to a folder that every user can reach, such as /tmp."
    export PGUSER=postgres PGPORT=5432 PGCONNECT_TIMEOUT=10 PGOPTIONS='' PGAPPNAME="steep_repl $1"
    unset PGHOST PGDATABASE PGPASSWORD PGSERVICE PGSSLMODE
}

# Runs a program as the servers' user, with little of the caller's environment.
as_server() { (cd "$servers_dir" && env -i PATH="$PATH" LC_ALL=C.UTF-8 HOME="$servers_dir" "${servers_as[@]}" "$@"); }

# Makes and starts a server: its name, then lines for its configuration.
server_start() {
    local name=$1 data=$servers_dir/$1
    shift
    as_server mkdir -p "$data"
    chmod 711 "$data"
    as_server "$servers_bin/initdb" -D "$data/data" -U postgres -A trust -E UTF8 --no-sync --no-instructions >"$servers_dir/initdb.log" 2>&1 ||
        { cat "$servers_dir/initdb.log" >&2; die "initdb failed"; }
    {
        printf "listen_addresses = ''\nunix_socket_directories = '%s'\nport = 5432\n" "$data"
        printf "wal_level = logical\nlc_messages = 'C'\nlog_line_prefix = '%%m [%%p] '\n"
        printf '%s\n' "$@"
    } >> "$data/data/postgresql.conf"
    server_up "$name"
}

# Starts a server that was made.
server_up() {
    local data=$servers_dir/$1
    as_server "$servers_bin/pg_ctl" start -D "$data/data" -w -t 120 -s -l "$data/log" ||
        { tail -n 20 "$data/log" >&2; die "the server $1 did not start"; }
}

server_down() { as_server "$servers_bin/pg_ctl" stop -D "$servers_dir/$1/data" -m fast -w -t 120 -s; }

# How to reach a database of a server.
conninfo() { printf 'host=%s port=5432 dbname=%s user=postgres' "$servers_dir/$1" "$2"; }

# psql on a server's database: name, database, then psql's own arguments.
sql() {
    local name=$1 database=$2
    shift 2
    "$servers_bin/psql" -XqAt -P pager=off -v ON_ERROR_STOP=1 -d "$(conninfo "$name" "$database")" "$@"
}

# Processes of ours that are not servers: ended before the servers.
servers_others=()

servers_end() {
    local code=$? pid data
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    # What the servers had to say, when something went wrong and nobody stopped it by hand.
    if [ "$code" != 0 ] && [ "$code" -lt 128 ]; then
        for data in "$servers_dir"/*/log; do
            [ ! -f "$data" ] || ! grep -qE 'ERROR|FATAL|PANIC|terminated|shut' "$data" ||
                { printf -- '--- last lines of %s\n' "${data#"$servers_dir/"}"; grep -vE 'checkpoint|steep_repl event' "$data" | tail -n 15; } >&2
        done
    fi
    for pid in "${servers_others[@]}"; do kill "$pid" && wait "$pid"; done 2>/dev/null
    for data in "$servers_dir"/*/data; do
        [ -f "$data/postmaster.pid" ] || continue
        as_server "$servers_bin/pg_ctl" stop -D "$data" -m fast -w -t 60 -s >/dev/null 2>&1 ||
            as_server "$servers_bin/pg_ctl" stop -D "$data" -m immediate -w -t 60 -s >/dev/null 2>&1
    done
    if [ "$code" != 0 ] && [ -n "${STEEP_REPL_KEEP:-}" ]; then
        printf 'kept: %s\n' "$servers_dir" >&2
    else
        rm -rf "$servers_dir"
    fi
    exit "$code"
}

# Whether the extension is installed in that server and not older than what it is built from.
extension_is_current() {
    local config library file
    config=$(bash scripts/find-postgres.sh) || return 1
    library=$("$config" --pkglibdir)/steep_repl.so
    [ -f "$library" ] && [ -f "$("$config" --sharedir)/extension/steep_repl.control" ] || return 1
    file=$(find src sql crates/core/src Cargo.toml Cargo.lock steep_repl.control -newer "$library" -type f -print -quit)
    [ -z "$file" ]
}

# Installs what is missing. STEEP_REPL_INSTALLED=1 takes what is installed as it is.
extension_ready() {
    bash scripts/install-deps.sh
    if [ -z "${STEEP_REPL_INSTALLED:-}" ] && ! extension_is_current; then
        step 'building and installing the extension' bash scripts/install-extension.sh >/dev/null
    fi
}
