-- What tables are on the source before their rows are read.
UPDATE steep_repl.operation_tables o SET source_filenode = t.filenode::oid, source_natts = t.natts
FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS t (relid bigint, filenode bigint, natts smallint)
WHERE o.operation_id = $1 AND o.relid = t.relid::oid
