-- The tables of a database, one JSON object each; as json, which costs two thirds of what jsonb does. Runs on either node, PostgreSQL 14 and later, under an empty search_path.
-- Sizes are told where they are wanted; asking for them would wait for a table that is locked.
SELECT pg_catalog.json_build_object(
    'oid', c.oid::bigint,
    'schema', n.nspname,
    'name', c.relname,
    'kind', c.relkind,
    'persistence', c.relpersistence,
    'is_partition', c.relispartition,
    'ancestors', CASE WHEN c.relispartition THEN ARRAY(
            SELECT a.relid::oid::bigint
            FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY AS a (relid, place)
            WHERE a.relid <> c.oid ORDER BY a.place) ELSE '{}' END,
    'root', CASE WHEN c.relispartition THEN (
            SELECT a.relid::oid::bigint
            FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY AS a (relid, place)
            ORDER BY a.place DESC LIMIT 1) END,
    'access_method', am.amname,
    'pages', CASE WHEN :sizes AND c.relkind = 'r'
        THEN coalesce(pg_catalog.pg_relation_size(c.oid), 0) / pg_catalog.current_setting('block_size')::bigint ELSE 0 END,
    'bytes', CASE WHEN :sizes AND c.relkind = 'r' THEN coalesce(pg_catalog.pg_table_size(c.oid), 0) ELSE 0 END,
    'filenode', c.relfilenode::bigint,
    'natts', c.relnatts,
    'rows', c.reltuples,
    -- Only where it matters: looked up by name, column by column.
    'width', CASE WHEN :sizes AND c.relkind = 'r' AND c.relpages >= 1024 THEN (
        SELECT sum(s.avg_width * (1 - s.null_frac)) FROM pg_catalog.pg_stats s
        WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND NOT s.inherited) END,
    'identity', CASE c.relreplident
        WHEN 'f' THEN true
        WHEN 'n' THEN false
        ELSE EXISTS (
            SELECT FROM pg_catalog.pg_index i
            WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
              AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) END,
    'key', (
        SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
          AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END),
    'sends_whole_rows', c.relreplident = 'f',
    'extension', (
        SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
          AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e' LIMIT 1),
    'row_security', c.relrowsecurity,
    'triggers', ARRAY(
        SELECT t.tgname FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R') ORDER BY t.tgname),
    'columns', coalesce((
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', a.attname,
            'number', a.attnum,
            'type_name', pg_catalog.format_type(a.atttypid, a.atttypmod),
            'type_oid', a.atttypid::bigint,
            -- Types of the user's only, and arrays of such.
            'labels', CASE WHEN t.typtype = 'e' OR t.typcategory = 'A' AND t.typelem >= 16384 THEN (
                    SELECT pg_catalog.json_agg(l.enumlabel ORDER BY l.enumsortorder)
                    FROM pg_catalog.pg_enum l WHERE l.enumtypid IN (t.oid, t.typelem)) END,
            'collation', CASE WHEN a.attcollation <> t.typcollation THEN (
                    SELECT cn.nspname || '.' || co.collname
                    FROM pg_catalog.pg_collation co JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
                    WHERE co.oid = a.attcollation) END,
            'not_null', a.attnotnull,
            'default', CASE WHEN a.atthasdef AND a.attgenerated = '' THEN '' END,
            'has_missing', a.atthasmissing,
            'identity', nullif(a.attidentity, ''),
            'generated', nullif(a.attgenerated, '')) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'::json))::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.relkind IN ('r', 'p', 'f', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'steep_repl')
  AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
