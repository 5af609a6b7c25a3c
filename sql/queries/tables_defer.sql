-- Tables that were copied already, or whose copy has failed, wait for a later snapshot.
WITH given AS (
    SELECT r.value::oid AS relid FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS r
), held AS (
    UPDATE steep_repl.tasks t SET status = 'waiting', worker_pid = NULL, error = NULL
    FROM given g WHERE t.operation_id = $1 AND t.relid = g.relid AND t.kind = 'copy' AND t.status IN ('pending', 'failed')
)
-- Several ranges of a table meet the same change; it counts once.
UPDATE steep_repl.operation_tables o
SET status = 'deferred', copies_left = greatest(o.copies_left, 1), deferrals = o.deferrals + 1
FROM given g WHERE o.operation_id = $1 AND o.relid = g.relid AND o.status <> 'deferred'
RETURNING o.relid::text
