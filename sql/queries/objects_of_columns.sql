-- What goes along when columns of this database's tables are dropped, under an empty search_path, as JSON objects, each with the statement
-- that makes it again; what comes from a table above comes again with that.
SELECT DISTINCT pg_catalog.jsonb_build_object('kind', i.type, 'identity', i.identity, 'statement', o.statement)::text
FROM pg_catalog.jsonb_to_recordset($1::jsonb) AS c (schema text, "table" text, "column" text)
JOIN pg_catalog.pg_namespace n ON n.nspname = c.schema
JOIN pg_catalog.pg_class r ON r.relnamespace = n.oid AND r.relname = c."table"
JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attname = c."column" AND NOT a.attisdropped
JOIN pg_catalog.pg_depend d
  ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.oid AND d.refobjsubid = a.attnum AND d.deptype = 'a',
LATERAL (
    SELECT CASE WHEN k.conislocal AND k.conparentid = 0 THEN pg_catalog.format(
        'ALTER TABLE %I.%I ADD CONSTRAINT %I %s;', n.nspname, r.relname, k.conname, pg_catalog.pg_get_constraintdef(k.oid)) END
    FROM pg_catalog.pg_constraint k
    WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid AND k.contype IN ('p', 'u', 'c', 'x', 'f')
    UNION ALL
    -- The index of a partitioned table is told as if it were to be made without those of its partitions.
    SELECT CASE WHEN NOT x.relispartition
        THEN pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(x.oid), '^(CREATE (UNIQUE )?INDEX ("([^"]|"")+"|[^ ]+) ON) ONLY ', '\1 ') || ';' END
    FROM pg_catalog.pg_class x
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.oid = d.objid AND x.relkind IN ('i', 'I')
    UNION ALL
    SELECT pg_catalog.pg_get_statisticsobjdef(s.oid) || ';'
    FROM pg_catalog.pg_statistic_ext s
    WHERE d.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass AND s.oid = d.objid
) AS o (statement),
LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) AS i
