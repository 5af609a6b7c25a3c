INSERT INTO steep_repl.snapshot_files (task_id, path, bytes, sha256, rows, snapshot_lsn, source_filenode, source_natts)
SELECT t.id, f.path, f.bytes, f.sha256, f.rows, f.snapshot_lsn, f.source_filenode::oid, f.source_natts
FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS f (
    relid bigint, from_block bigint, path text, bytes bigint, sha256 text, rows bigint, snapshot_lsn pg_lsn, source_filenode bigint,
    source_natts smallint)
JOIN steep_repl.tasks t ON t.operation_id = $1 AND t.kind = 'copy' AND t.relid = f.relid::oid AND t.from_block IS NOT DISTINCT FROM f.from_block
