WITH done AS (
    UPDATE steep_repl.tasks t SET status = 'done', finished_at = pg_catalog.clock_timestamp()
    WHERE t.id IN (SELECT r.value::bigint FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r)
    RETURNING t.operation_id, t.relid
)
UPDATE steep_repl.operation_tables o SET status = 'done', finished_at = pg_catalog.clock_timestamp()
FROM done d WHERE o.operation_id = d.operation_id AND o.relid = d.relid
RETURNING pg_catalog.jsonb_build_object('table', pg_catalog.format('%I.%I', o.table_schema, o.table_name), 'rows', o.rows_done,
                                        'bytes', o.bytes_total, 'ms', o.copy_ms + o.index_ms)::text
