UPDATE steep_repl.tasks t SET status = 'pending', worker_pid = NULL
WHERE t.operation_id = $1 AND t.status = 'running'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a
                  WHERE a.pid = t.worker_pid AND a.backend_type = 'steep_repl copy worker')
RETURNING t.id::text
