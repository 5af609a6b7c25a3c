-- What tables are, one JSON object each; as json, which costs two thirds of what jsonb does. Runs on either node, PostgreSQL 14 and later,
-- under an empty search_path.
-- A condition chooses among the tables c of schemas n. Deparsing an expression waits for whoever has locked its table.
WITH chosen AS MATERIALIZED (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relreplident
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'steep_repl') AND n.nspname !~ '^pg_toast'
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend d
          WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0
            AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e')
      AND (:filter)
), columns AS (
    SELECT a.attrelid, pg_catalog.json_agg(pg_catalog.json_build_object(
        'name', a.attname,
        'type_name', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'collation', CASE WHEN a.attcollation <> t.typcollation THEN (
            SELECT pg_catalog.format('%I.%I', cn.nspname, co.collname)
            FROM pg_catalog.pg_collation co JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
            WHERE co.oid = a.attcollation) END,
        'not_null', a.attnotnull,
        'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
        'identity', nullif(a.attidentity, ''),
        'generated', nullif(a.attgenerated, ''),
        'computed_from', CASE WHEN a.attgenerated <> '' THEN ARRAY(
            SELECT DISTINCT b.attname FROM pg_catalog.pg_depend p
            JOIN pg_catalog.pg_attribute b ON b.attrelid = p.refobjid AND b.attnum = p.refobjsubid
            WHERE p.refclassid = 'pg_catalog.pg_class'::regclass AND p.refobjid = a.attrelid
              AND p.refobjsubid > 0 AND p.refobjsubid <> a.attnum
              AND (p.classid = 'pg_catalog.pg_class'::regclass AND p.objid = a.attrelid AND p.objsubid = a.attnum
                   OR p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid)) ELSE '{}' END)
        ORDER BY a.attnum) AS columns
    FROM chosen c
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    GROUP BY a.attrelid
), objects AS (
    SELECT o.relid, pg_catalog.json_agg(pg_catalog.json_build_object('kind', o.kind, 'name', o.name, 'definition', o.definition)
                                         ORDER BY o.kind, o.name)
               -- As a condition of the rows it would be evaluated for tables that are not chosen, and wait for their locks.
               FILTER (WHERE o.definition IS NOT NULL) AS objects
    FROM (
        -- What a partition has from its parent comes with it. NOT NULL is told with the column.
        SELECT k.conrelid AS relid,
               CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique constraint' WHEN 'c' THEN 'check constraint'
                              WHEN 'x' THEN 'exclusion constraint' ELSE 'foreign key' END AS kind,
               k.conname AS name, pg_catalog.pg_get_constraintdef(k.oid) AS definition
        FROM chosen c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid
        WHERE k.contype IN ('p', 'u', 'c', 'x', 'f') AND k.conislocal AND k.conparentid = 0
        UNION ALL
        SELECT i.indrelid, 'index', x.relname, pg_catalog.pg_get_indexdef(i.indexrelid)
        FROM chosen c JOIN pg_catalog.pg_index i ON i.indrelid = c.oid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        WHERE NOT x.relispartition
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT g.tgrelid, 'trigger', g.tgname, pg_catalog.pg_get_triggerdef(g.oid)
        FROM chosen c JOIN pg_catalog.pg_trigger g ON g.tgrelid = c.oid WHERE NOT g.tgisinternal AND g.tgparentid = 0
        UNION ALL
        SELECT c.oid, 'replica identity', c.relname,
               CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE (
                   SELECT pg_catalog.format('USING INDEX %I', x.relname) FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident) END
        FROM chosen c WHERE c.relreplident <> 'd') AS o
    GROUP BY o.relid
)
SELECT pg_catalog.json_build_object(
    'schema', c.nspname, 'name', c.relname, 'kind', c.relkind,
    'partition_key', CASE c.relkind WHEN 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END,
    'columns', coalesce(a.columns, '[]'::json), 'objects', coalesce(o.objects, '[]'::json),
    'parents', coalesce(h.parents, '[]'::json))::text
FROM chosen c LEFT JOIN columns a ON a.attrelid = c.oid LEFT JOIN objects o ON o.relid = c.oid
LEFT JOIN (
    SELECT h.inhrelid, pg_catalog.json_agg(pg_catalog.json_build_array(n.nspname, p.relname) ORDER BY h.inhseqno) AS parents
    FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class p ON p.oid = h.inhparent JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
    GROUP BY h.inhrelid) AS h ON h.inhrelid = c.oid
ORDER BY c.nspname COLLATE "C", c.relname COLLATE "C"
