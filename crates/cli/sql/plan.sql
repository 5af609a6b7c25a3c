SELECT p.step, p.action, p.object_kind, p.object_name, p.statements, p.remark FROM steep_repl.schema_sync_plan($1, $2) p
