SELECT pg_catalog.jsonb_build_object('phase', pg_catalog.regexp_replace(e.details ->> 'message', '^phase ', ''), 'at', e.at)::text
FROM steep_repl.events e
WHERE e.operation_id = $1 AND e.event = 'init.phase_started' AND e.details ->> 'message' IS NOT NULL
ORDER BY e.id
