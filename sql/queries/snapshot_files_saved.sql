WITH given AS (
    SELECT * FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS f (
        task_id bigint, path text, bytes bigint, sha256 text, rows bigint, snapshot_lsn pg_lsn, source_filenode bigint, source_natts smallint)
), stored AS (
    INSERT INTO steep_repl.snapshot_files (task_id, path, bytes, sha256, rows, snapshot_lsn, source_filenode, source_natts)
    SELECT g.task_id, g.path, g.bytes, g.sha256, g.rows, g.snapshot_lsn, g.source_filenode::oid, g.source_natts FROM given g
    ON CONFLICT (task_id) DO UPDATE
    SET path = excluded.path, bytes = excluded.bytes, sha256 = excluded.sha256, rows = excluded.rows,
        snapshot_lsn = excluded.snapshot_lsn, source_filenode = excluded.source_filenode, source_natts = excluded.source_natts
)
-- There are no indexes to be built in files.
UPDATE steep_repl.operation_tables o
SET status = 'done', finished_at = pg_catalog.clock_timestamp()
FROM steep_repl.tasks t JOIN given g ON g.task_id = t.id
WHERE o.operation_id = t.operation_id AND o.relid = t.relid AND o.copies_left = 0 AND o.status <> 'deferred'
