WITH given AS (
    SELECT * FROM pg_catalog.jsonb_to_recordset($2::jsonb) AS t (
        relid bigint, kind text, position integer, from_block bigint, to_block bigint, bytes bigint, small boolean, status text)
), added AS (
    INSERT INTO steep_repl.tasks (operation_id, relid, kind, position, from_block, to_block, bytes, small, status)
    SELECT $1, g.relid::oid, g.kind, g.position, g.from_block, g.to_block, g.bytes, g.small, g.status FROM given g
)
UPDATE steep_repl.operation_tables t SET copies_left = c.copies
FROM (SELECT relid::oid AS relid, count(*) FILTER (WHERE kind = 'copy') AS copies FROM given GROUP BY relid) AS c
WHERE t.operation_id = $1 AND t.relid = c.relid
