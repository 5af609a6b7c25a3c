SELECT t.operation_id, t.table_schema, t.table_name, t.status, t.phase, t.percent, t.rows_done, t.bytes_done, t.bytes_total, t.attempts,
       t.started_at, t.finished_at, t.copy_ms, t.index_ms, t.error, t.transport
FROM steep_repl.table_progress t
WHERE t.operation_id = $1
