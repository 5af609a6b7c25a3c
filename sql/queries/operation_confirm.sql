UPDATE steep_repl.operations
SET confirmed_at = pg_catalog.clock_timestamp(), resumed_at = pg_catalog.clock_timestamp(), updated_at = pg_catalog.clock_timestamp()
WHERE id = $1 AND phase = 'schema' AND options ->> 'schema_sync' = 'manual' AND confirmed_at IS NULL AND status IN ('pending', 'running')
RETURNING id::text
