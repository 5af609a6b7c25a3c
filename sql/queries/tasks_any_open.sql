SELECT EXISTS (
    SELECT FROM steep_repl.tasks t
    JOIN steep_repl.operation_tables o ON o.operation_id = t.operation_id AND o.relid = t.relid
    WHERE t.operation_id = $1 AND t.status IN ('waiting', 'pending', 'running') AND o.status NOT IN ('deferred', 'failed') AND o.transport <> 'server')::text
