SELECT pg_catalog.jsonb_build_object(
    'may_subscribe', pg_catalog.pg_has_role('pg_create_subscription', 'USAGE'),
    'may_create', pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
    'database', pg_catalog.current_database())::text
