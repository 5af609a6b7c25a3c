-- What objects are called, under an empty search_path. It is asked of rows (number, catalog, OID); what is gone meanwhile is left out.
SELECT pg_catalog.jsonb_build_object('id', o.id, 'kind', i.type, 'identity', i.identity)::text
FROM (VALUES :objects) AS o (id, class, oid), LATERAL pg_catalog.pg_identify_object(o.class::bigint::oid, o.oid::bigint::oid, 0) AS i
WHERE i.identity IS NOT NULL
