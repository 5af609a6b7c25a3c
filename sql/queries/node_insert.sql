INSERT INTO steep_repl.nodes (node, conninfo, owner, is_local) VALUES ($1, $2, $3::oid::regrole, $4)
