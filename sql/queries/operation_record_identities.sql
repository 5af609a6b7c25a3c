UPDATE steep_repl.operations o
SET identities = coalesce(o.identities, '[]'::jsonb) || coalesce((
    SELECT pg_catalog.jsonb_agg(n.identity)
    FROM pg_catalog.jsonb_array_elements($2::jsonb) AS n (identity)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(o.identities) AS k (identity)
                      WHERE k.identity -> 0 = n.identity -> 0 AND k.identity -> 1 = n.identity -> 1)), '[]'::jsonb)
WHERE o.id = $1
