WITH given AS (
    SELECT t.operation_id, t.relid FROM steep_repl.tasks t
    WHERE t.id IN (SELECT r.value::bigint FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r)
), held AS (
    UPDATE steep_repl.tasks t SET status = 'waiting', worker_pid = NULL
    FROM given g
    WHERE t.operation_id = g.operation_id AND t.relid = g.relid AND t.kind = 'copy'
      AND (t.status = 'pending'
           OR t.id IN (SELECT r.value::bigint FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r))
)
-- Several ranges of a table find the same rewrite; it counts once.
UPDATE steep_repl.operation_tables o SET status = 'deferred', attempts = o.attempts + 1, deferrals = o.deferrals + 1, error = $2::jsonb
FROM given g WHERE o.operation_id = g.operation_id AND o.relid = g.relid AND o.status <> 'deferred'
RETURNING o.relid::text
