#!/usr/bin/env bash
# The whole thing on this machine: two throw-away servers, one of them filled and written to all the time; the other is
# initialized from it; then every row of every table is compared. Fails when anything differs.
#
#   DEMO_MB=1000        size of node_a's tables
#   DEMO_TPS=150        transactions per second that write meanwhile
#   DEMO_WORKERS=4      copy workers
#   STEEP_REPL_KEEP=1   keeps the servers' files when it fails
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
. scripts/servers.sh

MB=${DEMO_MB:-1000}
TPS=${DEMO_TPS:-150}
WORKERS=${DEMO_WORKERS:-4}
[[ $MB =~ ^[0-9]+$ && $MB -ge 10 ]] || die "DEMO_MB=$MB" "A number of megabytes, at least 10."
STARTED=$SECONDS

extension_ready
servers_begin demo
pgbench=$servers_bin/pgbench
a() { sql node_a shop "$@"; }
b() { sql node_b shop "$@"; }

fill_node_a() {
    local scale=$((MB * 45 / 100 / 13))
    [ "$scale" -gt 0 ] || scale=1
    "$pgbench" -i -q -s "$scale" --foreign-keys "$(conninfo node_a shop)" >"$servers_dir/pgbench.log" 2>&1 ||
        { cat "$servers_dir/pgbench.log" >&2; die "pgbench could not fill node_a"; }
    # A table without a key needs a replica identity, or updates and deletes on it would fail once it is published.
    a -c 'ALTER TABLE pgbench_history REPLICA IDENTITY FULL'
    a -v scale="$MB" -f scripts/demo/shop.sql
    a -c 'VACUUM ANALYZE'
}

start_load() {
    "$pgbench" -n -c 4 -j 1 -R "$TPS" -T 86400 -b tpcb-like@2 -f scripts/demo/load.sql@1 \
        -D customers=$((MB * 200)) -D orders=$((MB * 1000)) -D documents=$((MB * 8)) \
        "$(conninfo node_a shop)" >"$servers_dir/load.log" 2>&1 &
    load=$!
    servers_others+=("$load")
}

# One line a second: in place on a terminal, one after the other elsewhere.
show_progress() {
    local line state='' end=$'\n'
    [ ! -t 1 ] || end=''
    while true; do
        IFS=$'\t' read -r state line < <(b -F $'\t' -c "
            SELECT state, format('%5s %%  %-12s %s/%s tables  %8s of %8s  %9s/s  %s%s', overall_percent, phase, tables_done, tables_total,
                       pg_size_pretty(bytes_done), pg_size_pretty(bytes_total),
                       coalesce(pg_size_pretty(bytes_per_second::bigint), '-'),
                       CASE WHEN eta IS NOT NULL AND state <> 'SYNCHRONIZED' THEN 'ready in ' || greatest(ceil(extract(epoch FROM eta - clock_timestamp())), 1) || ' s' END,
                       CASE WHEN phase = 'catchup' AND lag_bytes IS NOT NULL THEN ', ' || pg_size_pretty(lag_bytes) || ' behind' END)
            FROM steep_repl.init_progress WHERE node = 'node_b'") || true
        [ -n "$state" ] || { sleep 0.2; continue; }
        if [ -z "$end" ]; then printf '\r\033[K  %s' "$line"; else printf '  %s\n' "$line"; fi
        case "$state" in SYNCHRONIZED | FAILED | UNINITIALIZED) break ;; esac
        kill -0 "$load" 2>/dev/null || { tail -n 3 "$servers_dir/load.log" >&2; die "the load has ended by itself"; }
        sleep 1
    done
    [ -n "$end" ] || printf '\n'
    # Raises the operation's own error, with its hint, when it failed.
    b -c "SELECT steep_repl.wait_for_init('node_b', timeout => '1 minute')" >/dev/null
}

stop_load() {
    kill "$load" 2>/dev/null || die "the load has ended by itself" "$(tail -n 1 "$servers_dir/load.log")"
    wait "$load" 2>/dev/null || true
    servers_others=()
    wait_until 'the last transaction of the load has ended' \
        "a -c \"SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'pgbench'\""
}

# Asks until the answer is t; says what was awaited when it takes longer than two minutes.
wait_until() {
    local started=$SECONDS
    until [ "$(eval "$2")" = t ]; do
        [ $((SECONDS - started)) -lt 120 ] || die "waited two minutes in vain until $1"
        sleep 0.2
    done
}

await_lag_zero() {
    local lsn
    lsn=$(a -c 'SELECT pg_current_wal_lsn()')
    wait_until "node_b had everything up to $lsn" \
        "a -c \"SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name LIKE 'steep\\_repl\\_%'\""
}

compare() {
    a -F '|' -f scripts/demo/rows.sql >"$servers_dir/rows.node_a" &
    local other=$!
    b -F '|' -f scripts/demo/rows.sql >"$servers_dir/rows.node_b"
    wait "$other"
}

start_both() {
    server_start node_a 'shared_buffers = 256MB' 'max_wal_size = 4GB'
    server_start node_b 'shared_buffers = 256MB' 'max_wal_size = 4GB' 'maintenance_work_mem = 128MB' \
        "shared_preload_libraries = 'steep_repl'" 'max_worker_processes = 24' 'track_commit_timestamp = on'
}
step 'starting two servers' start_both
sql node_a postgres -c 'CREATE DATABASE shop'
sql node_b postgres -c 'CREATE DATABASE shop'
step "filling node_a with about $MB MB" fill_node_a

say "writing to node_a all the time, $TPS transactions per second"
start_load

say 'giving node_b the same tables, empty: pg_dump --schema-only'
"$servers_bin/pg_dump" --schema-only -d "$(conninfo node_a shop)" | b -f - >/dev/null

say 'initializing node_b'
init="CREATE EXTENSION steep_repl;
SELECT steep_repl.register_node('node_a', '$(conninfo node_a shop)');
SELECT steep_repl.register_node('node_b', '$(conninfo node_b shop)', is_local => true);
SELECT steep_repl.init_node('node_b', 'node_a', method => 'parallel', parallel_workers => $WORKERS);"
printf '    %s\n' "${init//$'\n'/$'\n'    }"
b -f - <<<"$init" >/dev/null
show_progress
took=$(b -c "SELECT round(extract(epoch FROM finished_at - created_at), 1) FROM steep_repl.operations ORDER BY id DESC LIMIT 1")
say "node_b is SYNCHRONIZED, after $took s"

say 'stopping the load, waiting for lag 0'
stop_load
await_lag_zero
moved=$(b -c "SELECT steep_repl.sync_sequences('node_b')")
step 'comparing every row of every table' compare
DEMO_DIR=$servers_dir b -f scripts/demo/summary.sql

conflicts=$(b -c "
    SELECT string_agg(format('%s = %s', k, v), ', ')
    FROM pg_stat_subscription_stats s, jsonb_each_text(to_jsonb(s) - 'subid' - 'subname' - 'stats_reset') AS c (k, v) WHERE v <> '0'")
[ -z "$conflicts" ] || die "conflicts or errors were counted: $conflicts"
sequences() { printf "SELECT string_agg(format('%%s.%%s=%%s', schemaname, sequencename, last_value), ' ' ORDER BY 1) FROM (SELECT * FROM pg_sequences WHERE schemaname = 'shop' ORDER BY sequencename) s"; }
[ "$(a -c "$(sequences)")" = "$(b -c "$(sequences)")" ] || die 'sequences differ'
printf '\n  every row equal, conflicts and errors 0, sequences equal (%s moved at the end)\n' "$moved"
printf '  initialization %s s, with %s transactions written in all\n' "$took" \
    "$(a -c "SELECT (SELECT count(*) FROM pgbench_history) + (SELECT count(*) FROM shop.audit_log WHERE who = 'pgbench')")"
printf '  everything %d s\n' $((SECONDS - STARTED))
