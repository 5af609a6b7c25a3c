# shellcheck shell=bash disable=SC2154
# Sourced by bench/run.sh: portable snapshots against pg_dump and pg_restore in directory format, with the same number of jobs. Files are
# written on the target's server, as pg_dump would be run there. What is written is on disk when the clock stops, for all of them.

kept_dir() { printf '%s/kept' "$servers_dir"; }

# A target that knows the source, and may keep snapshots.
kept_ready() {
    prepare "$1"
    as_server mkdir -p "$(kept_dir)"
    sql target copy -c 'CREATE EXTENSION steep_repl' -c "SELECT steep_repl.register_node('a', '$(conninfo source "$1")')" \
        -c "SELECT steep_repl.register_node('b', '$(conninfo target copy)', is_local => true)" >/dev/null
}

# Pages for files come from memory that was just given back. What a virtual machine has not used for long comes from its host first, which takes
# longer than a fast disk does, and would let the order of the runs decide: everybody who writes files finds as much at hand.
kept_memory() {
    as_server dd if=/dev/zero of="$servers_dir/zeros" bs=1M count="$((SCALE * 6))" conv=fsync status=none
    rm -f "$servers_dir/zeros"
    sync
}

kept_generate() {
    sql target copy -c "SET steep_repl.snapshot_directory = '$(kept_dir)'" \
        -c "SELECT steep_repl.generate_snapshot('a', 'one', compression => '$1', parallel_workers => $JOBS)" >/dev/null
    sql target copy -c "SELECT steep_repl.wait_for_snapshot(id, timeout => '1 hour') FROM steep_repl.snapshots" >/dev/null
}

kept_drop() {
    sql target copy -c "SELECT steep_repl.drop_snapshot(id) FROM steep_repl.snapshots" >/dev/null
    until [ "$(sql target copy -c 'SELECT count(*) FROM steep_repl.snapshots')" = 0 ]; do sleep 0.05; done
}

generated() {
    local took
    kept_ready "$2"
    kept_memory
    clock_start
    kept_generate "$1"
    took=$(clock_stop)
    printf '%s %s\n' "$1" "$(du -sm "$(kept_dir)/one" | cut -f 1)" >>"$servers_dir/kept_sizes"
    kept_drop
    for name in $(sql source "$2" -c 'SELECT pubname FROM pg_publication'); do sql source "$2" -c "DROP PUBLICATION $name"; done
    sql target postgres -c 'DROP DATABASE copy'
    printf '%s\n' "$took"
}

run_generate_zstd() { generated zstd "$1"; }
run_generate_lz4() { generated lz4 "$1"; }
run_generate_none() { generated none "$1"; }

dumped() {
    local took
    sql source "$2" -c CHECKPOINT
    kept_memory
    clock_start
    "$servers_bin/pg_dump" -Fd "-j$JOBS" "-Z$1" -f "$servers_dir/dump" -d "$(conninfo source "$2")"
    took=$(clock_stop)
    printf 'dump-%s %s\n' "$1" "$(du -sm "$servers_dir/dump" | cut -f 1)" >>"$servers_dir/kept_sizes"
    rm -rf "$servers_dir/dump"
    printf '%s\n' "$took"
}

run_dump_zstd() { dumped zstd "$1"; }
run_dump_lz4() { dumped lz4 "$1"; }
run_dump_none() { dumped 0 "$1"; }

# As many sessions as there are jobs, each a part of the table in binary format: to nowhere, the most that COPY gives; or into files, by psql,
# with no checksums: the most that COPY gives of what is to be kept.
copied_out() {
    local took pages n to pids=()
    pages=$(sql source "$2" -c "SELECT pg_relation_size('pgbench_accounts') / 8192")
    sql source "$2" -c CHECKPOINT
    kept_memory
    clock_start
    for ((n = 0; n < JOBS; n++)); do
        to=/dev/null
        [ "$1" = nowhere ] || to=$servers_dir/copied.$n
        sql source "$2" -c "COPY (SELECT * FROM pgbench_accounts WHERE ctid >= '($((pages * n / JOBS)),0)' AND ctid < '($((pages * (n + 1) / JOBS)),0)')
            TO STDOUT (FORMAT binary)" >"$to" &
        pids+=($!)
    done
    wait "${pids[@]}"
    [ "$1" = nowhere ] || sync "$servers_dir"/copied.*
    took=$(clock_stop)
    rm -f "$servers_dir"/copied.*
    printf '%s\n' "$took"
}

run_copy_out() { copied_out nowhere "$1"; }
run_copy_files() { copied_out files "$1"; }

# What the disk takes of as many bytes.
run_dd() {
    local took
    kept_memory
    clock_start
    as_server dd if=/dev/zero of="$servers_dir/zeros" bs=1M count="$(kept_size none)" conv=fsync status=none
    took=$(clock_stop)
    rm -f "$servers_dir/zeros"
    printf '%s\n' "$took"
}

applied() {
    local took
    kept_ready "$2"
    kept_generate "$1"
    sync
    clock_start
    sql target copy -c "SET steep_repl.snapshot_directory = '$(kept_dir)'" \
        -c "SELECT steep_repl.apply_snapshot('b', 'one', parallel_workers => $JOBS)" >/dev/null
    sql target copy -c "SELECT steep_repl.wait_for_init('b', timeout => '1 hour')" >/dev/null
    took=$(clock_stop)
    phases >"$servers_dir/phases.apply"
    kept_drop
    finish "$2"
    printf '%s\n' "$took"
}

run_apply_zstd() { applied zstd "$1"; }
run_apply_none() { applied none "$1"; }

restored() {
    local took
    "$servers_bin/pg_dump" -Fd "-j$JOBS" "-Z$1" -f "$servers_dir/dump" -d "$(conninfo source "$2")"
    prepare "$2" empty
    clock_start
    "$servers_bin/pg_restore" "-j$JOBS" -d "$(conninfo target copy)" "$servers_dir/dump"
    took=$(clock_stop)
    rm -rf "$servers_dir/dump"
    finish "$2"
    printf '%s\n' "$took"
}

run_restore_zstd() { restored zstd "$1"; }
run_restore_none() { restored 0 "$1"; }

kept_size() { awk -v what="$1" '$1 == what { mb = $2 } END { printf "%s", mb }' "$servers_dir/kept_sizes"; }

kept_results() {
    local way
    header "Portable snapshots of $((SCALE * 50000)) pgbench_accounts rows"
    for way in zstd lz4 none; do
        row "generate_snapshot, $way, $(kept_size "$way") MB" kept "generate_$way" ''
        row "pg_dump -Fd -j$JOBS, $way, $(kept_size "dump-${way/none/0}") MB" kept "dump_$way" \
            "$(ratio "$(median kept "generate_$way")" "$(median kept "dump_$way")") times as fast"
    done
    row "COPY to nowhere, binary, $JOBS sessions" kept copy_out "$(ratio "$(median kept generate_none)" "$(median kept copy_out)") times as fast, uncompressed"
    row "COPY into files, binary, $JOBS sessions" kept copy_files "$(ratio "$(median kept generate_none)" "$(median kept copy_files)") times as fast, uncompressed"
    row 'dd of as many bytes' kept dd "$(ratio "$(median kept generate_none)" "$(median kept dd)") times as fast, uncompressed"
    for way in zstd none; do
        row "apply_snapshot, $way" kept "apply_$way" ''
        row "pg_restore -j$JOBS, $way" kept "restore_$way" "$(ratio "$(median kept "apply_$way")" "$(median kept "restore_$way")") times as fast"
    done
    printf '\nAimed at: generated as fast as by pg_dump with the same compression: %s; uncompressed 0.9 of what COPY or dd gives, whichever is less: %s; applied 1.5 times as fast as by pg_restore: %s with zstd, %s uncompressed.\n' \
        "$(verdict "$(ratio "$(median kept generate_zstd)" "$(median kept dump_zstd)")" 1)" \
        "$(verdict "$(ratio "$(median kept generate_none)" "$(printf '%s\n' "$(median kept copy_out)" "$(median kept dd)" | sort -n | tail -n 1)")" 0.9)" \
        "$(verdict "$(ratio "$(median kept apply_zstd)" "$(median kept restore_zstd)")" 1.5)" \
        "$(verdict "$(ratio "$(median kept apply_none)" "$(median kept restore_none)")" 1.5)"
    printf '\nWhere the last application spent its time, after the generation'\''s five phases, of which the last is counted up to the next call:\n\n%s\n' "$(cat "$servers_dir/phases.apply")"
}
