-- What schema_sync => 'auto' has done to this database, in its order; written in the transaction that does it.
CREATE TABLE steep_repl.schema_changes (
    operation_id  bigint NOT NULL REFERENCES steep_repl.operations ON DELETE CASCADE,
    position      integer NOT NULL,
    action        text NOT NULL,
    object_kind   text NOT NULL,
    object_name   text NOT NULL,
    table_schema  text,
    table_name    text,
    undo          text[] NOT NULL,
    applied_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    undone_at     timestamptz,
    PRIMARY KEY (operation_id, position)
);

COMMENT ON TABLE steep_repl.schema_changes IS 'What schema_sync => ''auto'' has made and altered in this database; a cancelled operation takes it back';
COMMENT ON COLUMN steep_repl.schema_changes.operation_id IS 'The operation';
COMMENT ON COLUMN steep_repl.schema_changes.position IS 'Order in which it was done';
COMMENT ON COLUMN steep_repl.schema_changes.action IS 'create, alter or grant';
COMMENT ON COLUMN steep_repl.schema_changes.object_kind IS 'table, index, function, ...';
COMMENT ON COLUMN steep_repl.schema_changes.object_name IS 'The object, as pg_dump names it';
COMMENT ON COLUMN steep_repl.schema_changes.table_schema IS 'Schema of the table, where it is one';
COMMENT ON COLUMN steep_repl.schema_changes.table_name IS 'Name of the table, where it is one';
COMMENT ON COLUMN steep_repl.schema_changes.undo IS 'Statements that take it back';
COMMENT ON COLUMN steep_repl.schema_changes.applied_at IS 'When it was done';
COMMENT ON COLUMN steep_repl.schema_changes.undone_at IS 'When it was taken back';
