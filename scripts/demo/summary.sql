-- What came of it, a line a table. The comparisons were written to two files: table, rows, sum.
CREATE TEMP TABLE on_a (name text PRIMARY KEY, rows bigint, sum numeric);
CREATE TEMP TABLE on_b (LIKE on_a INCLUDING ALL);
\copy on_a FROM PROGRAM 'cat "$DEMO_DIR/rows.node_a"' WITH (DELIMITER '|')
\copy on_b FROM PROGRAM 'cat "$DEMO_DIR/rows.node_b"' WITH (DELIMITER '|')
\pset format aligned
\pset tuples_only off
\pset footer off
\pset null '-'
SELECT coalesce(a.name, b.name) AS "table",
       coalesce(a.rows, b.rows) AS rows,
       pg_size_pretty(t.bytes_total) AS size,
       round(t.copy_ms::numeric / 1000, 1) AS "copy s",
       round(t.index_ms::numeric / 1000, 1) AS "index s",
       CASE WHEN t.copy_ms >= 100 THEN round((t.bytes_total / 1048576.0 / (t.copy_ms / 1000))::numeric, 1) END AS "MB/s",
       CASE WHEN a IS NOT DISTINCT FROM b THEN 'equal' ELSE 'DIFFERENT' END AS "every row"
FROM on_a a
FULL JOIN on_b b USING (name)
LEFT JOIN steep_repl.table_progress t ON format('%I.%I', t.table_schema, t.table_name)::regclass::text = coalesce(a.name, b.name)
ORDER BY t.bytes_total DESC NULLS FIRST, 1;
SELECT count(*) FILTER (WHERE a IS DISTINCT FROM b) = 0 AND count(*) > 0 AS all_equal
FROM on_a a FULL JOIN on_b b USING (name) \gset
\pset tuples_only on
\pset format unaligned
\if :all_equal
\else
DO $$ BEGIN RAISE EXCEPTION 'tables differ' USING ERRCODE = 'data_exception'; END $$;
\endif
