SELECT d.object_kind, d.object_name, d.change, d.definition_a, d.definition_b, d.is_mismatch, d.ddl
FROM steep_repl.schema_diff($1, $2, $3) d
