-- One line a table: name, rows, and a sum over all rows that does not depend on their order.
SELECT format('SELECT %L, count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ONLY %s t', c.oid::regclass, c.oid::regclass)
FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text IN ('public', 'shop')
ORDER BY c.oid::regclass::text
\gexec
