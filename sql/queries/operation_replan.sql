-- The plan of an operation that has put nothing anywhere yet is replaced by another one.
WITH gone AS (DELETE FROM steep_repl.operation_tables WHERE operation_id = $1)
UPDATE steep_repl.operations
SET publication_plan = $2::jsonb, bytes_total = $3, updated_at = pg_catalog.clock_timestamp() WHERE id = $1
