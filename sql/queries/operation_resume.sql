WITH resumed AS (
    UPDATE steep_repl.operations o
    SET status = 'pending', error = NULL, finished_at = NULL, resumed_at = pg_catalog.clock_timestamp(),
        updated_at = pg_catalog.clock_timestamp()
    WHERE o.id = $1 AND o.status = 'failed'
    RETURNING o.id
), tasks AS (
    UPDATE steep_repl.tasks t
    -- Of a table that is put aside nothing is copied before there is a later snapshot.
    SET status = CASE WHEN t.kind = 'copy' AND EXISTS (
            SELECT FROM steep_repl.operation_tables o
            WHERE o.operation_id = t.operation_id AND o.relid = t.relid AND o.status = 'deferred') THEN 'waiting' ELSE 'pending' END,
        attempts = 0, not_before = '-infinity', error = NULL
    FROM resumed r WHERE t.operation_id = r.id AND t.status = 'failed'
), tables AS (
    UPDATE steep_repl.operation_tables t
    SET attempts = 0, deferrals = 0, error = NULL,
        status = CASE WHEN t.status <> 'failed' THEN t.status WHEN t.copies_left > 0 THEN 'copying'
                      WHEN t.indexes_left > 0 THEN 'indexing' ELSE 'vacuuming' END
    FROM resumed r WHERE t.operation_id = r.id AND (t.status IN ('failed', 'deferred') OR t.attempts > 0)
)
SELECT r.id::text FROM resumed r
