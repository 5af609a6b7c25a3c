SELECT c.check_name, c.status, c.sqlstate, c.message, c.detail, c.hint
FROM steep_repl.preflight(node => $1, source => $2, method => coalesce($3, 'auto'), schemas => $4, tables => $5, publication => $6,
                          no_identity => coalesce($7, 'error'), force => $8, schema_sync => $9,
                          large_table_threshold => $10, large_table_method => $11) c
