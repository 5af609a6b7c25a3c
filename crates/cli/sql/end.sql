SELECT pg_catalog.split_part(e.event, '.', 2) AS status, e.details ->> 'sqlstate' AS sqlstate, e.details ->> 'message' AS message,
       e.details ->> 'hint' AS hint
FROM steep_repl.events e
WHERE e.operation_id = $1 AND e.event IN ('init.completed', 'init.failed', 'init.cancelled')
ORDER BY e.id DESC
LIMIT 1
