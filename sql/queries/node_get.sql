SELECT pg_catalog.jsonb_build_object('node', node, 'conninfo', conninfo, 'owner', owner::oid::bigint, 'is_local', is_local,
                                     'state', state)::text
FROM steep_repl.nodes WHERE node = $1
