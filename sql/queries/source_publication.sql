-- Row filters and column lists exist from PostgreSQL 15 on, so they are looked up by key.
SELECT pg_catalog.jsonb_build_object(
    'inserts', p.pubinsert, 'updates', p.pubupdate, 'deletes', p.pubdelete, 'truncates', p.pubtruncate,
    'via_root', p.pubviaroot,
    'tables', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(t.schemaname, t.tablename))
        FROM pg_catalog.pg_publication_tables t WHERE t.pubname = p.pubname), '[]'::jsonb),
    'filtered', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.format('%I.%I', n.nspname, c.relname))
        FROM pg_catalog.pg_publication_rel r
        JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE r.prpubid = p.oid
          AND (pg_catalog.to_jsonb(r) ->> 'prqual' IS NOT NULL OR pg_catalog.to_jsonb(r) ->> 'prattrs' IS NOT NULL)), '[]'::jsonb))::text
FROM pg_catalog.pg_publication p WHERE p.pubname = :name
