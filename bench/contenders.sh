# shellcheck shell=bash disable=SC2154
# Sourced by the benches from the repository's folder: their servers, what is copied, and the ways to copy it. Each way gets an empty
# database on the target, prints the seconds it took and those of processor time, checks the number of rows, and leaves nothing
# behind. Schemas are only looked at: that has no contender, and is measured likewise.

. scripts/lib.sh
. scripts/servers.sh

JOBS=4
# shellcheck disable=SC2034  # used by who sources this
SETTINGS=("shared_buffers = 1GB" "max_wal_size = 16GB" "checkpoint_timeout = 30min" "maintenance_work_mem = 256MB"
          "max_worker_processes = 32" "max_logical_replication_workers = 8" "max_sync_workers_per_subscription = $JOBS"
          "max_replication_slots = 20" "max_wal_senders = 20" "shared_preload_libraries = 'steep_repl'")

# Makes the folder of the servers, and in it the file of times, which is empty.
bench_begin() {
    extension_ready
    servers_begin "$1"
    times=$servers_dir/times
    : >"$times"
}

# pgbench's tables at a scale, pgbench_accounts with three indexes: on the key, on bid (few values), on abalance. As pgbench leaves
# it, abalance is 0 and every index grows at its end, the cheapest way for whoever inserts row by row; `used` gives abalance
# random values, as in a table that was in use. The history has no key and no rows, so it is left out.
fill_accounts() {
    sql source postgres -c "CREATE DATABASE $1"
    "$servers_bin/pgbench" -i -q -s "$2" "$(conninfo source "$1")" >/dev/null 2>&1
    if [ "${3:-}" = used ]; then
        sql source "$1" -c 'UPDATE pgbench_accounts SET abalance = (random() * 10000000 - 5000000)::integer' \
            -c 'VACUUM FULL pgbench_accounts'
    fi
    sql source "$1" -c 'DROP TABLE pgbench_history' -c 'CREATE INDEX ON pgbench_accounts (bid)' \
        -c 'CREATE INDEX ON pgbench_accounts (abalance)' -c 'VACUUM (FREEZE, ANALYZE)' -c CHECKPOINT
}

# That many tables of 100 rows with two indexes.
fill_many() {
    sql source postgres -c "CREATE DATABASE $1"
    sql source "$1" -v tables="$2" <<'SQL'
SELECT format('CREATE TABLE t%s (id integer PRIMARY KEY, k integer, v text); CREATE INDEX ON t%s (k); '
              'INSERT INTO t%s SELECT i, i %% 10, md5(i::text) FROM generate_series(1, 100) i', n, n, n)
FROM generate_series(1, :tables) n
\gexec
VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
SQL
}

# That many tables of 20 columns on both servers, and the two registered as nodes.
fill_schemas() {
    local name
    for name in source target; do
        sql "$name" postgres -c "CREATE DATABASE $1"
        sql "$name" "$1" -v tables="$2" <<'SQL'
SELECT format('CREATE TABLE t%s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer bigint NOT NULL, state text NOT NULL DEFAULT ''new'', '
              'total numeric(12,2) NOT NULL DEFAULT 0 CHECK (total >= 0), at timestamptz NOT NULL DEFAULT now(), '
              'until date DEFAULT current_date + 7, doc jsonb DEFAULT ''{}'', tags text[], note varchar(200), flag boolean DEFAULT false, '
              'c1 integer, c2 integer DEFAULT 1, c3 bigint, c4 text COLLATE "C", c5 uuid DEFAULT gen_random_uuid(), c6 double precision, '
              'c7 integer GENERATED ALWAYS AS (c1 + 1) STORED, c8 bytea, c9 interval DEFAULT ''1 day'', c10 inet); '
              'CREATE INDEX ON t%s (customer, at)', n, n)
FROM generate_series(1, :tables) n
\gexec
VACUUM (FREEZE, ANALYZE);
CHECKPOINT;
SQL
    done
    sql target "$1" -c 'CREATE EXTENSION steep_repl' -c "SELECT steep_repl.register_node('a', '$(conninfo source "$1")')" \
        -c "SELECT steep_repl.register_node('b', '$(conninfo target "$1")', is_local => true)" >/dev/null
}

drop_schemas() {
    local name
    for name in source target; do sql "$name" postgres -c "DROP DATABASE $1"; done
}

rows_of() {
    sql "$1" "$2" -c "SELECT sum((xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM ONLY %s', oid::regclass), false, true, '')))[1]::text::bigint)
        FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
}

# An empty database on the target, with or without the source's tables.
prepare() {
    sql target postgres -c 'SET client_min_messages = warning' -c 'DROP DATABASE IF EXISTS copy' -c 'CREATE DATABASE copy'
    [ "${2:-}" = empty ] || "$servers_bin/pg_dump" --schema-only -d "$(conninfo source "$1")" | sql target copy -f - >/dev/null
    sql target copy -c CHECKPOINT
    sql source "$1" -c CHECKPOINT
    sync
}

finish() {
    [ "$(rows_of source "$1")" = "$(rows_of target copy)" ] || die "rows are missing after the copy of $1"
    local name
    for name in $(sql target copy -c "SELECT subname FROM pg_subscription"); do
        sql target copy -c "DROP SUBSCRIPTION $name" 2>/dev/null
    done
    for name in $(sql source "$1" -c 'SELECT pubname FROM pg_publication'); do
        sql source "$1" -c "DROP PUBLICATION $name"
    done
    sql target postgres -c 'DROP DATABASE copy'
}

# Seconds of processor time that both servers, with all their processes, and the clients of this shell have used so far. Unlike
# the time on the clock it hardly depends on what else the machine does.
cpu() {
    local name postmaster children=() pids=("$BASHPID")
    for name in source target; do
        postmaster=$(head -n 1 "$servers_dir/$name/data/postmaster.pid")
        pids+=("$postmaster")
        read -r -a children <"/proc/$postmaster/task/$postmaster/children" || true
        pids+=("${children[@]}")
    done
    # After the name in parentheses: user and system time, the process's own and that of its ended children.
    for pid in "${pids[@]}"; do sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null || true; done |
        awk -v hertz="$(getconf CLK_TCK)" '{ ticks += $12 + $13 + $14 + $15 } END { printf "%.2f", ticks / hertz }'
}

# Start and stop of a measurement; the latter prints seconds on the clock and seconds of processor time.
clock_start() { clock_cpu=$(cpu); clock_began=$(date +%s.%N); }
clock_stop() {
    local ended
    ended=$(date +%s.%N)
    # Backends that served the contender are given a moment to end, or their time is not in their server's yet.
    sleep 0.3
    awk -v a="$clock_began" -v b="$ended" -v c="$clock_cpu" -v d="$(cpu)" 'BEGIN { printf "%.2f %.1f", b - a, d - c }'
}

run_ours() {
    local took
    prepare "$1"
    sql target copy -c 'CREATE EXTENSION steep_repl' -c "SELECT steep_repl.register_node('a', '$(conninfo source "$1")')" \
        -c "SELECT steep_repl.register_node('b', '$(conninfo target copy)', is_local => true)" >/dev/null
    clock_start
    sql target copy -c "SELECT steep_repl.init_node('b', 'a', method => 'parallel', parallel_workers => $JOBS)" \
        -c "SELECT steep_repl.wait_for_init('b', timeout => '1 hour')" >/dev/null 2>"$servers_dir/notices" ||
        { cat "$servers_dir/notices" >&2; return 1; }
    took=$(clock_stop)
    phases >"$servers_dir/phases.$1"
    finish "$1"
    printf '%s\n' "$took"
}

# The phases of the operation, with seconds, as a Markdown table; then its work summed over the workers.
phases() {
    printf '| phase | seconds |\n| --- | --- |\n'
    sql target copy -F ' | ' -c "
        SELECT '| ' || phase, round(extract(epoch FROM coalesce(lead(at) OVER (ORDER BY at), (SELECT max(finished_at) FROM steep_repl.operations)) - at), 2) || ' |'
        FROM (SELECT replace(details ->> 'message', 'phase ', '') AS phase, at FROM steep_repl.events
              WHERE event = 'init.phase_started' AND details ->> 'message' <> 'phase done') p ORDER BY at"
    sql target copy -c "
        SELECT format(E'\\nSummed over the workers: copy %s s, indexes %s s, vacuum and analyze %s s.',
            (SELECT round(sum(copy_ms)::numeric / 1000, 1) FROM steep_repl.operation_tables),
            (SELECT round(sum(index_ms)::numeric / 1000, 1) FROM steep_repl.operation_tables),
            (SELECT round(sum(extract(epoch FROM until - since)), 1)
             FROM (SELECT min(started_at) AS since, max(finished_at) AS until FROM steep_repl.tasks WHERE kind = 'vacuum' GROUP BY worker_pid) v))"
}

# A query about all tables of a database named schemas<number>, which must answer with their number.
time_of_tables() {
    local got took
    clock_start
    got=$(sql target "$1" -c "$2")
    took=$(clock_stop)
    [ "schemas$got" = "$1" ] || die "$got tables were seen of $1"
    printf '%s\n' "$took"
}

run_capture() { time_of_tables "$1" 'SELECT steep_repl.capture_fingerprints()'; }

run_comparison() {
    time_of_tables "$1" "SELECT count(*) FROM steep_repl.compare_schemas('a', 'b') WHERE status = 'MATCH'"
}

run_builtin() {
    local took
    prepare "$1"
    clock_start
    sql source "$1" -c 'CREATE PUBLICATION bench FOR ALL TABLES'
    sql target copy -c "CREATE SUBSCRIPTION bench CONNECTION '$(conninfo source "$1")' PUBLICATION bench" 2>/dev/null
    until [ "$(sql target copy -c "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")" = t ]; do sleep 0.05; done
    took=$(clock_stop)
    finish "$1"
    printf '%s\n' "$took"
}

run_dump() {
    local took dump=$servers_dir/dump
    prepare "$1" empty
    clock_start
    "$servers_bin/pg_dump" -Fd -j2 -f "$dump" -d "$(conninfo source "$1")"
    "$servers_bin/pg_restore" -j2 -d "$(conninfo target copy)" "$dump"
    took=$(clock_stop)
    rm -rf "$dump"
    finish "$1"
    printf '%s\n' "$took"
}

# Private memory of every copy worker of the target, in kB, with what it is at, until ended. Mappings that are shared count nothing:
# a page of shared buffers that one process alone has touched looks private otherwise.
watch_memory() {
    local pid at
    : >"$servers_dir/memory"
    while sleep 0.2; do
        while read -r pid at; do
            awk -v at="$at" '/^[0-9a-f]+-[0-9a-f]+ / { private = $2 ~ /p$/ } private && /^Private_(Clean|Dirty):/ { kb += $2 }
                END { print at, kb + 0 }' "/proc/$pid/smaps" 2>/dev/null >>"$servers_dir/memory" || true
        done < <(sql target postgres -F ' ' -c "SELECT pid, split_part(query, ' ', 1) FROM pg_stat_activity
                                                WHERE backend_type = 'steep_repl copy worker' AND query <> ''")
    done
}
