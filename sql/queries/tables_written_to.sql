SELECT pg_catalog.to_jsonb(pg_catalog.format('%I.%I: %s rows', n.nspname, c.relname, w.rows))::text
FROM pg_catalog.jsonb_array_elements_text($1::jsonb) AS t
JOIN pg_catalog.pg_class c ON c.oid = t.value::oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT pg_catalog.pg_stat_get_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_tuples_updated(c.oid)
                           + pg_catalog.pg_stat_get_tuples_deleted(c.oid) AS rows) w
WHERE w.rows > 0 ORDER BY n.nspname, c.relname
