-- One task, or a batch of small ones. A task that failed once is tried alone, so that it cannot take others with it again.
-- The operation's row is locked while a copy is taken: whoever lets no more tables be begun waits for those that are being begun.
WITH gate AS MATERIALIZED (
    SELECT p.snapshot_expired FROM steep_repl.operations p WHERE p.id = $1 AND $2 = 'copy'
      -- The files of a snapshot are there as long as they are.
      AND (p.snapshot IS NOT NULL OR p.kind = 'init' AND p.method = 'two_phase' AND p.phase <> 'files') FOR SHARE
), next AS (
    SELECT t.id, t.small AND t.attempts = 0 AS batched
    FROM steep_repl.tasks t
    WHERE t.operation_id = $1 AND t.kind = $2 AND t.status = 'pending' AND t.not_before <= pg_catalog.clock_timestamp()
      -- A table is copied under one snapshot: under one that is too old only what is begun. What the server copies is not for us.
      AND (t.kind <> 'copy'
           OR EXISTS (SELECT FROM gate g, steep_repl.operation_tables o
                      WHERE o.operation_id = $1 AND o.relid = t.relid AND o.transport <> 'server' AND (NOT g.snapshot_expired OR o.status <> 'waiting')))
      -- A vacuum sees the transactions of other loads and builds as running, and could mark none of what came after them.
      AND (t.kind <> 'vacuum'
           OR (SELECT o.frozen FROM steep_repl.operation_tables o WHERE o.operation_id = $1 AND o.relid = t.relid)
           OR NOT EXISTS (SELECT FROM steep_repl.tasks k
                          JOIN steep_repl.operation_tables o ON o.operation_id = k.operation_id AND o.relid = k.relid AND o.transport <> 'server'
                          WHERE k.operation_id = $1 AND k.status <> 'done' AND k.kind IN ('copy', 'index'))
              -- Nor what came after the start of an analyze that still runs.
              AND NOT EXISTS (SELECT FROM steep_repl.tasks k
                              WHERE k.operation_id = $1 AND k.status = 'running' AND k.kind = 'vacuum'
                                AND k.started_at < (SELECT max(f.finished_at) FROM steep_repl.tasks f
                                                    WHERE f.operation_id = $1 AND f.kind IN ('copy', 'index'))))
      -- More builds at a time than processors only take them from each other.
      AND (t.kind <> 'index'
           OR (SELECT count(*) FROM steep_repl.tasks k
               WHERE k.operation_id = $1 AND k.kind = 'index' AND k.status = 'running') < $5)
    ORDER BY t.position, t.id LIMIT 1 FOR UPDATE SKIP LOCKED
), others AS (
    SELECT t.id
    FROM steep_repl.tasks t
    WHERE t.operation_id = $1 AND t.kind = $2 AND t.status = 'pending' AND t.small AND t.attempts = 0
      AND t.id NOT IN (SELECT next.id FROM next) AND (SELECT next.batched FROM next)
      AND (t.kind <> 'copy' OR EXISTS (SELECT FROM gate g, steep_repl.operation_tables o
                                       WHERE o.operation_id = $1 AND o.relid = t.relid AND o.transport <> 'server' AND NOT g.snapshot_expired))
    ORDER BY t.position LIMIT $4 - 1 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE steep_repl.tasks t
    SET status = 'running', claims = t.claims + 1, worker_pid = $3::integer, started_at = pg_catalog.clock_timestamp(), error = NULL
    WHERE t.id IN (SELECT next.id FROM next UNION ALL SELECT others.id FROM others)
    RETURNING t.*
), touched AS (
    UPDATE steep_repl.operation_tables o
    SET started_at = coalesce(o.started_at, pg_catalog.clock_timestamp()),
        status = CASE WHEN k.kind = 'copy' THEN 'copying' ELSE o.status END
    FROM taken k
    WHERE o.operation_id = k.operation_id AND o.relid = k.relid AND o.status = 'waiting'
)
SELECT pg_catalog.jsonb_build_object(
    'id', k.id, 'relid', k.relid::bigint, 'index_oid', k.index_oid::bigint, 'from_block', k.from_block, 'to_block', k.to_block,
    'bytes', k.bytes, 'attempts', k.attempts, 'claims', k.claims, 'table_schema', o.table_schema, 'table_name', o.table_name,
    'source_relid', o.source_relid::bigint, 'columns', o.columns, 'format', o.format, 'keeps_indexes', o.keeps_indexes, 'heap', o.heap, 'packed', o.packed,
    'transport', o.transport,
    -- What another program copies is large as a rule, and must not be locked for that time.
    'single', k.from_block IS NULL AND o.transport <> 'pg_dump', 'snapshot', p.snapshot,
    'snapshot_lsn', p.snapshot_lsn, 'snapshot_contents', p.snapshot_contents, 'frozen', o.frozen, 'rows_done', o.rows_done,
    'pages', o.pages, 'bytes_total', o.bytes_total)::text
FROM taken k
JOIN steep_repl.operations p ON p.id = k.operation_id
JOIN steep_repl.operation_tables o ON o.operation_id = k.operation_id AND o.relid = k.relid
ORDER BY k.relid
