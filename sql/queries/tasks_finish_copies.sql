-- The table's row is locked by the update, so of two workers that finish its last two ranges at once one sees the other's.
WITH given AS (
    SELECT * FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS t (
        id bigint, relid bigint, rows bigint, bytes bigint, ms double precision, frozen boolean, snapshot_lsn pg_lsn,
        source_filenode bigint, source_natts smallint)
), done AS (
    UPDATE steep_repl.tasks t
    SET status = 'done', rows_done = g.rows, finished_at = pg_catalog.clock_timestamp()
    -- Only who has the task may finish it: it may have been given to somebody else meanwhile.
    FROM given g
    WHERE t.id = g.id AND t.status = 'running' AND t.worker_pid = pg_catalog.pg_backend_pid()
    RETURNING t.id, t.operation_id, t.relid
), counted AS (
    UPDATE steep_repl.operation_tables o
    SET copies_left = o.copies_left - 1,
        rows_done = o.rows_done + g.rows,
        bytes_done = o.bytes_done + g.bytes,
        copy_ms = o.copy_ms + g.ms,
        frozen = o.frozen AND g.frozen,
        snapshot_lsn = g.snapshot_lsn,
        source_filenode = g.source_filenode::oid,
        source_natts = g.source_natts,
        status = CASE WHEN o.status = 'deferred' THEN 'deferred' WHEN o.copies_left > 1 THEN 'copying' WHEN o.indexes_left > 0 THEN 'indexing' ELSE 'vacuuming' END
    FROM done d JOIN given g ON g.id = d.id
    WHERE o.operation_id = d.operation_id AND o.relid = d.relid
    RETURNING o.operation_id, o.relid, o.copies_left, o.indexes_left
), freed AS (
    UPDATE steep_repl.tasks t SET status = 'pending'
    FROM counted c
    WHERE c.copies_left = 0 AND t.operation_id = c.operation_id AND t.relid = c.relid AND t.status = 'waiting'
      AND (t.kind = 'index' OR t.kind = 'vacuum' AND c.indexes_left = 0)
    RETURNING t.id
)
SELECT pg_catalog.jsonb_build_object('finished', (SELECT count(*) FROM done), 'freed', (SELECT count(*) FROM freed))::text
