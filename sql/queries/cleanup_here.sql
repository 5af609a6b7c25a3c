SELECT DISTINCT c.operation_id::text, c.operation_id
FROM steep_repl.cleanup c JOIN steep_repl.operations o ON o.id = c.operation_id
WHERE o.node = $1 AND c.kind NOT IN ('source', 'scratch') ORDER BY c.operation_id
