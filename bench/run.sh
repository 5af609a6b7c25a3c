#!/usr/bin/env bash
# How fast, compared with PostgreSQL's own ways, on this machine: medians of interleaved runs, written to bench/RESULTS.md.
# Fails when 5 million rows are not copied at least twice as fast as by built-in sync; at less than full size it only tells.
#
#   BENCH_RUNS=5      runs of each contender
#   BENCH_SCALE=100   percent of the full size
#   BENCH_ONLY='idle accounts tables large used kept schemas'   which parts
#   BENCH_RESULTS=bench/RESULTS.md   the whole file is written; name another one to try a part
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
. bench/contenders.sh
. bench/kept.sh

RUNS=${BENCH_RUNS:-5}
SCALE=${BENCH_SCALE:-100}
ONLY=${BENCH_ONLY:-idle accounts tables large used kept schemas}
RESULTS=${BENCH_RESULTS:-bench/RESULTS.md}
SETTINGS+=("track_commit_timestamp = on")

bench_begin bench

wanted() { [[ " $ONLY " == *" $1 "* ]]; }

# Writes seconds of a contender down. The load average from before the run tells whether the machine was quiet.
measure() {
    local part=$1 contender=$2 run=$3 database=$4 load took
    load=$(cut -d ' ' -f 1 /proc/loadavg)
    took=$("run_$contender" "$database")
    printf '%s %s %s %s %s\n' "$part" "$contender" "$run" "$took" "$load" >>"$times"
    printf '    %-9s %-9s run %s: %8.2f s, %5.1f s of processor time   (load before: %s)\n' "$part" "$contender" "$run" \
        "${took% *}" "${took#* }" "$load" >&2
}

# Every contender once, then every contender again: what the machine does besides hits all alike.
compare() {
    local part=$1 database=$2 runs=$3 run contender
    shift 3
    for ((run = 1; run <= runs; run++)); do
        for contender in "$@"; do measure "$part" "$contender" "$run" "$database"; done
    done
}

# Of a part's contender: the seconds (column 4) or those of processor time (column 5), sorted; their median; least and most.
values() { awk -v p="$1" -v c="$2" -v f="${3:-4}" '$1 == p && $2 == c { print $f }' "$times" | sort -n; }
median() { values "$@" | awk '{ v[NR] = $1 } END { if (NR) printf "%.2f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { values "$@" | awk 'NR == 1 { low = $1 } { high = $1 } END { if (NR) printf "%.2f to %.2f", low, high }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (a > 0) printf "%.2f", b / a; else printf "0" }'; }
verdict() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }' && echo met || echo MISSED; }

# Part: idle. A server of its own, with nothing in it but the extension.
idle() {
    local pid xid before seconds=60
    server_start idle "${SETTINGS[@]}" 'shared_buffers = 128MB' 'autovacuum = off'
    sql idle postgres -c 'CREATE EXTENSION steep_repl'
    sleep 5
    pid=$(sql idle postgres -c "SELECT pid FROM pg_stat_activity WHERE backend_type = 'steep_repl launcher'")
    [ -n "$pid" ] || die 'no launcher is running'
    wakeups() { awk '$1 == "voluntary_ctxt_switches:" { print $2 }' "/proc/$pid/status"; }
    before=$(wakeups)
    xid=$(sql idle postgres -c 'SELECT pg_snapshot_xmax(pg_current_snapshot())')
    sleep "$seconds"
    idle_wakeups=$(($(wakeups) - before))
    idle_xids=$(($(sql idle postgres -c 'SELECT pg_snapshot_xmax(pg_current_snapshot())') - xid))
    server_down idle
}

machine() {
    printf -- '- %s CPUs (%s), %s of memory\n' "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
        "$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo)"
    printf -- '- %s, %s file system\n' "$(. /etc/os-release 2>/dev/null; echo "${PRETTY_NAME:-unknown system}"), kernel $(uname -r)" \
        "$(stat -f -c %T "$servers_dir")"
    printf -- '- %s; steep_repl %s\n' "$("$servers_bin/postgres" --version)" "$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
    printf -- '- load average before the runs: %s\n' "$(awk '{ print $6 }' "$times" | sort -n |
        awk '{ v[NR] = $1 } END { if (NR) printf "median %s, highest %s%s", v[int((NR + 1) / 2)], v[NR],
                (v[int((NR + 1) / 2)] > 3 ? ": NOT a quiet machine, others worked on it; the figures are worse than they would be" : ""); else printf "not taken" }')"
}

header() { printf '\n## %s\n\n| contender | median | spread | processor time | steep_repl is |\n| --- | --- | --- | --- | --- |\n' "$1"; }
row() { printf '| %s | %s s | %s s | %s s | %s |\n' "$1" "$(median "$2" "$3")" "$(spread "$2" "$3")" "$(median "$2" "$3" 5)" "$4"; }

# The most private memory of a copy worker while it was at something, in MB.
highest() { awk -v at="$1" '$1 == at && $2 > most { most = $2 } END { printf "%.0f", most / 1024 }' "$servers_dir/memory"; }

# The table of a part that copies pgbench_accounts.
accounts_results() {
    local part=$1 ours
    ours=$(median "$part" ours)
    header "$((SCALE * 50000)) pgbench_accounts rows, $2"
    row "steep_repl, $JOBS workers" "$part" ours ''
    row 'built-in sync' "$part" builtin "$(ratio "$ours" "$(median "$part" builtin)") times as fast"
    row 'pg_dump, pg_restore' "$part" dump "$(ratio "$ours" "$(median "$part" dump)") times as fast"
    printf '\nWhere the last run of steep_repl spent its time:\n\n%s\n' "$(cat "$servers_dir/phases.$part")"
}

# What the schemas of that many tables take: part, what is measured, its name, aimed at how many seconds.
schemas_row() {
    local took
    took=$(median "schemas$1" "$2")
    printf '| %s, %s tables of 20 columns | %s s | %s s | %s s | %s s: %s |\n' "$3" "$1" "$took" "$(spread "schemas$1" "$2")" \
        "$(median "schemas$1" "$2" 5)" "$4" "$(verdict "$4" "$took")"
}

write_results() {
    local ours base tables
    cat <<END
# Results

Written by \`make bench\` on $(date -u +%Y-%m-%d). $RUNS interleaved runs of each contender, at $SCALE % of the full size. Source and
target are two servers on one machine, so they share its processors and its disk.

$(machine)

Both servers, for all contenders: fsync on, $(printf '%s, ' "${SETTINGS[@]}" | sed 's/, $//').

Times run from the call to the end: for steep_repl from \`init_node\` to SYNCHRONIZED (publication, slot, rows, indexes,
VACUUM (FREEZE, ANALYZE) and catch-up included), for built-in sync from CREATE PUBLICATION to the last table \`ready\`
($JOBS sync workers; it does no VACUUM or ANALYZE), for pg_dump from its start to the end of pg_restore (2 jobs each, directory
format, no replication). Processor time is that of both servers and the clients together; it depends little on what else the
machine does. The load average counts the runs before as well.
END
    if finished accounts; then
        accounts_results accounts 'as pgbench leaves them, 3 indexes'
        printf '\nAimed at: 2.5 times as fast as built-in sync: %s; faster than pg_dump: %s.\n' \
            "$(verdict "$(ratio "$(median accounts ours)" "$(median accounts builtin)")" 2.5)" \
            "$(verdict "$(ratio "$(median accounts ours)" "$(median accounts dump)")" 1)"
    fi
    ! finished kept || kept_results
    ! finished used || accounts_results used 'with random balances, 3 indexes'
    if finished tables; then
        ours=$(median tables ours)
        base=$(median tables builtin)
        header "$((SCALE * 10)) tables of 100 rows, 2 indexes each"
        row "steep_repl, $JOBS workers" tables ours ''
        row 'built-in sync' tables builtin "$(ratio "$ours" "$base") times as fast"
        printf '\nAimed at: 5 times as fast as built-in sync: %s.\n' "$(verdict "$(ratio "$ours" "$base")" 5)"
        printf '\nWhere the last run spent its time:\n\n%s\n' "$(cat "$servers_dir/phases.many")"
    fi
    if finished large; then
        ours=$(median large ours)
        printf '\n## A large table\n\n%s of pgbench_accounts in %s s. 10 GB are extrapolated from it, not measured: %s minutes (aimed at: 30).\n' \
            "$large_size" "$ours" "$(awk -v s="$ours" -v mb="$large_mb" 'BEGIN { printf "%.1f", s * 10240 / mb / 60 }')"
        printf '\nPrivate memory of a copy worker, at most: %s MB while it copies (aimed at: below 100), %s MB while it builds an index, which\n' \
            "$large_memory" "$large_memory_index"
        printf 'maintenance_work_mem allows. Sampled from its smaps every 0.2 s, shared mappings left out.\n'
    fi
    if finished idle; then
        printf '\n## Idle\n\nOver 60 s with nothing to do: %s transaction ids taken, the launcher woke up %s times.\n' "$idle_xids" "$idle_wakeups"
    fi
    if finished schemas; then
        printf '\n## Schemas\n\n| what | median | spread | processor time | aimed at |\n| --- | --- | --- | --- | --- |\n'
        for tables in "${schemas_tables[@]}"; do
            # A second for every thousand.
            schemas_row "$tables" capture capture_fingerprints "$(ratio 1000 "$tables")"
            schemas_row "$tables" comparison compare_schemas "$(ratio 1000 "$tables")"
        done
        printf '\nEach table has a key, an index, a check and nine defaults. Each run is the first call of its session.\n'
    fi
}

finished_parts=
finished() { [[ " $finished_parts " == *" $1 "* ]]; }
# Results are written after each part, so that a bench that is stopped leaves what it has.
finish_part() {
    finished_parts+=" $1"
    write_results >"$servers_dir/results"
    cp "$servers_dir/results" "$RESULTS"
}

if wanted idle; then
    step 'idle launcher, one minute' idle
    finish_part idle
fi
start_both() { server_start source "${SETTINGS[@]}"; server_start target "${SETTINGS[@]}"; }
step 'starting two servers' start_both
if wanted accounts; then
    step 'filling: accounts' fill_accounts accounts "$((SCALE * 50 / 100))"
    compare accounts accounts "$RUNS" ours builtin dump
    finish_part accounts
fi
if wanted tables; then
    step 'filling: many tables' fill_many many "$((SCALE * 10))"
    compare tables many "$RUNS" ours builtin
    finish_part tables
fi
if wanted large; then
    step 'filling: a large table' fill_accounts large "$((SCALE * 150 / 100))"
    large_size=$(sql source large -c "SELECT pg_size_pretty(pg_table_size('pgbench_accounts'))")
    large_mb=$(sql source large -c "SELECT pg_table_size('pgbench_accounts') / 1048576")
    watch_memory &
    watcher=$!
    servers_others+=("$watcher")
    compare large large 1 ours
    kill "$watcher"
    large_memory=$(highest copying)
    large_memory_index=$(highest building)
    sql source postgres -c 'DROP DATABASE large'
    finish_part large
fi
if wanted used; then
    step 'filling: accounts with random balances' fill_accounts used "$((SCALE * 50 / 100))" used
    compare used used "$RUNS" ours builtin dump
    finish_part used
fi
if wanted kept; then
    step 'filling: accounts for snapshots' fill_accounts kept "$((SCALE * 50 / 100))" used
    compare kept kept "$RUNS" generate_zstd dump_zstd generate_lz4 dump_lz4 generate_none dump_none copy_out copy_files dd \
        apply_zstd restore_zstd apply_none restore_none
    sql source postgres -c 'DROP DATABASE kept'
    finish_part kept
fi
if wanted schemas; then
    schemas_tables=("$((SCALE * 10))" "$((SCALE * 100))")
    for tables in "${schemas_tables[@]}"; do
        step "filling: $tables tables of 20 columns on both" fill_schemas "schemas$tables" "$tables"
        compare "schemas$tables" "schemas$tables" "$RUNS" capture comparison
        drop_schemas "schemas$tables"
    done
    finish_part schemas
fi

cat "$RESULTS"
if wanted accounts && [ "$SCALE" -ge 100 ]; then
    got=$(ratio "$(median accounts ours)" "$(median accounts builtin)")
    [ "$(verdict "$got" 2.0)" = met ] || die "only $got times as fast as built-in sync, 2.0 is the least"
fi
