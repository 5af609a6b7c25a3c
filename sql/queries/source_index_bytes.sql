-- How large the indexes of tables are by the server's statistics, in bytes, as (oid, bytes). Asking for the real sizes would wait for a
-- table that is locked.
SELECT pg_catalog.jsonb_build_array(i.indrelid::bigint,
    sum(greatest(x.relpages, 0)::bigint * pg_catalog.current_setting('block_size')::bigint)::bigint)::text
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
WHERE i.indrelid = ANY ('{:relids}'::oid[])
GROUP BY i.indrelid
