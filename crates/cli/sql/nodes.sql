SELECT n.node, n.is_local, n.state, n.source, n.health, n.operation_id, n.operation_status, n.phase, n.notice, n.sqlstate, n.last_error,
       n.detail, n.hint, n.tables_not_subscribed, n.conninfo, n.owner::text AS owner, n.updated_at
FROM steep_repl.node_status n
ORDER BY n.node
