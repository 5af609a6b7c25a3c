SELECT e.id, e.at, e.event, e.severity, e.operation_id, e.node, e.source, e.table_name, e.details
FROM (SELECT * FROM steep_repl.events x
      WHERE x.id > $1 AND ($2::text IS NULL OR x.node = $2) AND x.severity = ANY ($3)
      ORDER BY x.id DESC LIMIT $4) AS e
ORDER BY e.id
