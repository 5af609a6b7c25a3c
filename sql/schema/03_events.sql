-- What happened. A row is written in the transaction of its cause; the same JSON goes to the server log.

CREATE TABLE steep_repl.events (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    event         text NOT NULL,
    severity      text NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    operation_id  bigint,
    node          text,
    source        text,
    table_name    text,
    details       jsonb NOT NULL
);

CREATE INDEX events_at ON steep_repl.events (at);
CREATE INDEX events_operation ON steep_repl.events (operation_id, id);

COMMENT ON TABLE steep_repl.events IS 'Transitions and milestones of operations, oldest first by id; channel steep_repl_events wakes listeners';
COMMENT ON COLUMN steep_repl.events.id IS 'Number of the event';
COMMENT ON COLUMN steep_repl.events.at IS 'When it happened';
COMMENT ON COLUMN steep_repl.events.event IS 'Name of the event, such as init.started';
COMMENT ON COLUMN steep_repl.events.severity IS 'info, warning or error';
COMMENT ON COLUMN steep_repl.events.operation_id IS 'Operation it belongs to';
COMMENT ON COLUMN steep_repl.events.node IS 'Node it concerns';
COMMENT ON COLUMN steep_repl.events.source IS 'Source of that node';
COMMENT ON COLUMN steep_repl.events.table_name IS 'Table it concerns, schema-qualified';
COMMENT ON COLUMN steep_repl.events.details IS 'The event as it stands in the server log: time (UTC), event, severity, operation_id, node, source, table, rows, bytes, duration_ms, percent, sqlstate, message, hint';
