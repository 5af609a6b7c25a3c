-- Everything that is not one of the server's own kinds of process is a background worker.
SELECT greatest(pg_catalog.current_setting('max_worker_processes')::bigint - count(*), 0)::text
FROM pg_catalog.pg_stat_activity a
WHERE a.backend_type NOT IN ('client backend', 'autovacuum launcher', 'autovacuum worker', 'background writer', 'checkpointer',
                             'walwriter', 'walsender', 'walreceiver', 'startup', 'archiver', 'walsummarizer', 'slotsync worker',
                             'io worker', 'standalone backend')
