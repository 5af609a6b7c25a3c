SELECT steep_repl.complete_init(node => $1, source => $2, source_lsn => $3::text::pg_lsn, slot_name => $4, publication => $5, verify => $6)
