SELECT p.kind, p.error FROM steep_repl.pending_cleanup p WHERE p.node = $1
