WITH RECURSIVE given AS (
    SELECT r.value::oid AS relid FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS r
), planned AS (
    SELECT r.value::oid AS relid FROM pg_catalog.jsonb_array_elements_text($2::jsonb) AS r
), pointing AS (
    SELECT g.relid FROM given g
    UNION
    SELECT k.conrelid FROM pg_catalog.pg_constraint k JOIN pointing p ON p.relid = k.confrelid
    WHERE k.contype = 'f' AND k.conrelid IN (SELECT relid FROM planned)
)
SELECT pg_catalog.jsonb_build_object(
    'inside', coalesce((SELECT pg_catalog.jsonb_agg(p.relid::bigint ORDER BY p.relid) FROM pointing p), '[]'::jsonb),
    'from_outside', coalesce((
        SELECT pg_catalog.jsonb_agg(DISTINCT k.confrelid::bigint)
        FROM pg_catalog.pg_constraint k JOIN pointing p ON p.relid = k.confrelid
        WHERE k.contype = 'f' AND k.conrelid NOT IN (SELECT relid FROM planned)), '[]'::jsonb))::text
