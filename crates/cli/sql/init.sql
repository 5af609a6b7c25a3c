SELECT steep_repl.init_node(node => $1, source => $2, method => coalesce($3, 'auto'), schemas => $4, tables => $5, publication => $6,
                            no_identity => coalesce($7, 'error'), force => $8, schema_sync => $9, parallel_workers => $10,
                            large_table_threshold => $11, large_table_method => $12,
                            timeout => pg_catalog.make_interval(secs => $13))
