WITH added AS (
    INSERT INTO steep_repl.tasks (operation_id, relid, kind, position, index_oid, bytes, status)
    SELECT $1, t.relid, 'index', t.ordinal, s.index_oid, t.bytes_total, 'waiting'
    FROM steep_repl.suspended_indexes s
    JOIN steep_repl.operation_tables t ON t.operation_id = s.operation_id AND t.relid = s.relid
    WHERE s.operation_id = $1 AND s.restored_at IS NULL
      AND s.relid IN (SELECT r.value::oid FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS r)
      AND NOT EXISTS (SELECT FROM steep_repl.tasks k WHERE k.operation_id = $1 AND k.index_oid = s.index_oid)
    -- Keys mostly come in the order of the rows, and are built soonest: what takes longest must not begin last.
    ORDER BY s.is_unique, s.index_oid
    RETURNING relid
)
UPDATE steep_repl.operation_tables t SET indexes_left = t.indexes_left + a.indexes
FROM (SELECT relid, count(*) AS indexes FROM added GROUP BY relid) AS a
WHERE t.operation_id = $1 AND t.relid = a.relid
