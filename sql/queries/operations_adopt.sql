UPDATE steep_repl.operations o
SET instance = $2, timeline = $3, disowned = false
FROM steep_repl.operations a
WHERE a.id = $1 AND o.node = a.node AND o.id <= a.id AND o.system_identifier = a.system_identifier AND o.database = a.database
  AND o.instance = a.instance
RETURNING o.id::text
