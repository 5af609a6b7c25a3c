SELECT pg_catalog.pg_terminate_backend(a.pid, 5000)::text
FROM pg_catalog.pg_stat_activity a
WHERE pg_catalog.starts_with(a.application_name, :prefix) AND a.usename = CURRENT_USER
  -- Where both nodes are in one cluster our own workers go by these names, too.
  AND a.backend_type IN ('client backend', 'walsender')
  AND a.pid <> pg_catalog.pg_backend_pid()
