#!/usr/bin/env bash
# Which way for which database: init_node by each method and each way of large tables, over databases of several sizes and shapes. Writes a
# table in Markdown to standard output; docs/ways.md has one. A server for the target, a server of its own for each source database.
#
#   WAYS_RUNS=3                     runs of each way; the median is shown
#   WAYS_SETS='one:1 one:10'        which databases: shape, then megabytes; see `sets`
#   WAYS_ALL=                       any value: large tables by copy, pg_dump and basebackup as well
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
. bench/contenders.sh

RUNS=${WAYS_RUNS:-3}
# one: a table with its key alone; indexed: a table with a key and three more indexes; many: tables of about 10 kB each.
sets=${WAYS_SETS:-one:1 indexed:1 many:1 one:10 indexed:10 many:10 one:100 indexed:100 many:100 one:1000 indexed:1000}
ways=(parallel snapshot)
[ -z "${WAYS_ALL:-}" ] || ways+=(copy pg_dump basebackup)

bench_begin ways
scratch=$servers_dir/scratch
as_server mkdir -p "$scratch"

fill() {
    local database=$1 shape=$2 megabytes=$3
    sql source postgres -c "CREATE DATABASE $database"
    if [ "$shape" = many ]; then
        sql source "$database" -v tables="$((megabytes * 64))" <<'SQL'
SELECT format('CREATE TABLE t%s (id integer PRIMARY KEY, k integer, v text); CREATE INDEX ON t%s (k); '
              'INSERT INTO t%s SELECT i, i %% 10, md5(i::text) FROM generate_series(1, 100) i', n, n, n)
FROM generate_series(1, :tables) n
\gexec
SQL
    else
        sql source "$database" -c "CREATE TABLE t (id bigint PRIMARY KEY, k integer, a integer, v text)" \
            -c "INSERT INTO t SELECT i, (random() * 1e7)::integer, (random() * 1e7)::integer, repeat(md5(i::text), 3) FROM generate_series(1, $megabytes * 7000) i"
        [ "$shape" = one ] || sql source "$database" -c 'CREATE INDEX ON t (k)' -c 'CREATE INDEX ON t (a, k)' -c 'CREATE INDEX ON t (md5(v))'
    fi
    sql source "$database" -c 'VACUUM (FREEZE, ANALYZE)' -c CHECKPOINT
}

# Seconds of processor time of the source alone, with all its processes.
cpu_source() {
    local postmaster children=() pids=()
    postmaster=$(head -n 1 "$servers_dir/source/data/postmaster.pid")
    read -r -a children <"/proc/$postmaster/task/$postmaster/children" || true
    pids=("$postmaster" "${children[@]}")
    for pid in "${pids[@]}"; do sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null || true; done |
        awk -v hertz="$(getconf CLK_TCK)" '{ ticks += $12 + $13 + $14 + $15 } END { printf "%.2f", ticks / hertz }'
}

# Seconds, seconds of processor time of both servers, and of the source.
run_way() {
    local database=$1 way=$2 args before took
    case $way in
        parallel | snapshot) args="method => '$way'" ;;
        *) args="method => 'snapshot', large_table_threshold => '0', large_table_method => '$way'" ;;
    esac
    [ "$way" = snapshot ] && args+=", large_table_threshold => '100TB'"
    [ "$way" = snapshot ] || args+=", parallel_workers => $JOBS"
    prepare "$database"
    sql target copy -c 'CREATE EXTENSION steep_repl' -c "SELECT steep_repl.register_node('a', '$(conninfo source "$database")')" \
        -c "SELECT steep_repl.register_node('b', '$(conninfo target copy)', is_local => true)" >/dev/null
    before=$(cpu_source)
    clock_start
    sql target copy -c "SET steep_repl.scratch_directory = '$scratch'" -c "SELECT steep_repl.init_node('b', 'a', $args)" \
        -c "SELECT steep_repl.wait_for_init('b', timeout => '1 hour')" >/dev/null 2>"$servers_dir/notices" ||
        { cat "$servers_dir/notices" >&2; return 1; }
    took=$(clock_stop)
    took="$took $(awk -v a="$before" -v b="$(cpu_source)" 'BEGIN { printf "%.1f", b - a }')"
    finish "$database"
    for slot in $(sql source "$database" -c "SELECT slot_name FROM pg_replication_slots WHERE database = '$database' AND NOT active"); do
        sql source "$database" -c "SELECT pg_drop_replication_slot('$slot')" >/dev/null
    done
    printf '%s\n' "$took"
}

values() { awk -v s="$1" -v w="$2" -v f="$3" '$1 == s && $2 == w { print $f }' "$times" | sort -n; }
median() { values "$@" | awk '{ v[NR] = $1 } END { if (NR) printf "%.2f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

server_start target "${SETTINGS[@]}"
printf '| database | way | seconds | processor time of both | of the source |\n| --- | --- | --- | --- | --- |\n'
for set in $sets; do
    shape=${set%:*} megabytes=${set#*:} database=${set/:/_}
    # Fresh for each: a base backup is one of everything that is there.
    server_start source "${SETTINGS[@]}"
    fill "$database" "$shape" "$megabytes"
    for ((run = 1; run <= RUNS; run++)); do
        for way in "${ways[@]}"; do
            took=$(run_way "$database" "$way")
            printf '%s %s %s\n' "$set" "$way" "$took" >>"$times"
            printf '%s %s run %s: %s (load %s)\n' "$set" "$way" "$run" "$took" "$(cut -d ' ' -f 1 /proc/loadavg)" >&2
        done
    done
    for way in "${ways[@]}"; do
        printf '| %s, %s MB | %s | %s | %s | %s |\n' "$shape" "$megabytes" "$way" "$(median "$set" "$way" 3)" "$(median "$set" "$way" 4)" "$(median "$set" "$way" 5)"
    done
    server_down source
    rm -rf "$servers_dir/source"
done
