-- A constraint is inherited: it is set aside where it was declared, and its children follow. An in-place switch concerns each
-- table by itself. pg_constraint.conenforced exists from PostgreSQL 18 on, where NOT NULL constraints are rows of it too.
WITH RECURSIVE given AS (
    SELECT r.value::oid AS relid FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r
), tree AS (
    SELECT c.oid, c.conrelid, c.conname, c.contype, c.coninhcount, c.conislocal
    FROM pg_catalog.pg_constraint c JOIN given g ON g.relid = c.conrelid
    WHERE c.contype IN ('c', 'n') AND NOT c.convalidated
      -- What the user declared NOT ENFORCED is checked against nothing.
      AND coalesce((pg_catalog.to_jsonb(c) ->> 'conenforced')::boolean, true)
    UNION
    SELECT p.oid, p.conrelid, p.conname, p.contype, p.coninhcount, p.conislocal
    FROM tree t
    JOIN pg_catalog.pg_inherits h ON h.inhrelid = t.conrelid
    JOIN pg_catalog.pg_constraint p ON p.conrelid = h.inhparent AND p.contype = t.contype AND p.conname = t.conname
    WHERE t.coninhcount > 0 AND NOT p.convalidated
)
SELECT pg_catalog.jsonb_build_object(
    'relid', t.conrelid::bigint, 'constraint_oid', t.oid::bigint, 'constraint_name', t.conname, 'contype', t.contype,
    'definition', pg_catalog.pg_get_constraintdef(t.oid),
    'comment', pg_catalog.obj_description(t.oid, 'pg_constraint'),
    'how', CASE WHEN t.contype = 'c' AND pg_catalog.current_setting('server_version_num')::integer >= 180000
                THEN 'not_enforced' ELSE 'dropped' END)::text
FROM tree t
WHERE CASE WHEN t.contype = 'c' AND pg_catalog.current_setting('server_version_num')::integer >= 180000
           THEN t.conrelid IN (SELECT g.relid FROM given g)
           ELSE t.coninhcount = 0 END
ORDER BY t.oid
