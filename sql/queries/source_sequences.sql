SELECT pg_catalog.jsonb_build_object('schema', n.nspname, 'name', c.relname)::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence = 'p'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'steep_repl')
  -- The order of conditions is the planner's; asked of anything but a sequence, the function raises an error.
  AND CASE WHEN c.relkind = 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT') END
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  AND (:all
       OR n.nspname = ANY (:schemas)
       OR EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = ANY ('{:relids}'::oid[])))
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
