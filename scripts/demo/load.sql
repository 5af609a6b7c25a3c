-- One transaction of the demo's load, run by pgbench all the time: every table of the shop is written to.
\set customer random(1, :customers)
\set product random(1, 1000)
\set other random(1, 1000)
\set day random(0, 999)
\set old random(1, :orders)
\set warehouse random(1, 4)
\set document random(1, :documents)
BEGIN;
WITH placed AS (
    INSERT INTO shop.orders (customer, placed, total) VALUES (:customer, date '2023-01-01' + :day, :product)
    RETURNING id, placed
)
INSERT INTO shop.order_items SELECT id, placed, line, product, 1, 1.50 FROM placed, (VALUES (1, :product), (2, :other)) AS l (line, product);
UPDATE shop.stock SET pieces = pieces - 1 WHERE product = :product AND warehouse = :warehouse;
UPDATE shop.products SET attributes = jsonb_set(attributes, '{size}', to_jsonb(:other)) WHERE id = :product;
UPDATE shop.customers SET settings = settings || jsonb_build_object('last', :product), tags = tags[2:] || 'active'::text WHERE id = :customer;
UPDATE shop.documents SET customer = :customer WHERE id = md5('document ' || :document)::uuid;
UPDATE shop.documents SET body = body || ' ' || :product WHERE id = md5('document ' || :other % 50 + 1)::uuid;
DELETE FROM shop.orders WHERE id = :old;
INSERT INTO shop.audit_log (who, what) VALUES ('pgbench', jsonb_build_object('customer', :customer, 'deleted', :old));
COMMIT;
