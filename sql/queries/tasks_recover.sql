UPDATE steep_repl.tasks t SET status = 'pending', worker_pid = NULL
WHERE t.operation_id = $1 AND t.status = 'running'
  AND NOT EXISTS (SELECT FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS r WHERE r.value::integer = t.worker_pid)
RETURNING t.id::text
