-- What tables were when somebody last captured them.

CREATE TABLE steep_repl.schema_fingerprints (
    table_schema  text NOT NULL,
    table_name    text NOT NULL,
    fingerprint   text NOT NULL,
    column_count  integer NOT NULL,
    captured_at   timestamptz NOT NULL DEFAULT now(),
    definition    jsonb NOT NULL,
    PRIMARY KEY (table_schema, table_name)
);

-- A schema may have had no table when it was captured.
CREATE TABLE steep_repl.captured_schemas (
    schema_name   text PRIMARY KEY,
    captured_at   timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE steep_repl.captured_schemas IS 'Schemas that capture_fingerprints() was asked for: tables that come to them are ADDED in schema_drift';
COMMENT ON COLUMN steep_repl.captured_schemas.schema_name IS 'Name of the schema; empty for all of the database';
COMMENT ON COLUMN steep_repl.captured_schemas.captured_at IS 'When they were captured';

COMMENT ON TABLE steep_repl.schema_fingerprints IS 'Tables of this database as they were at the last capture_fingerprints(); schema_drift shows what has changed since';
COMMENT ON COLUMN steep_repl.schema_fingerprints.table_schema IS 'Schema of the table';
COMMENT ON COLUMN steep_repl.schema_fingerprints.table_name IS 'Name of the table';
COMMENT ON COLUMN steep_repl.schema_fingerprints.fingerprint IS 'SHA-256 of its columns, as schema_fingerprint() computes it; 64 hexadecimal digits';
COMMENT ON COLUMN steep_repl.schema_fingerprints.column_count IS 'Number of its columns';
COMMENT ON COLUMN steep_repl.schema_fingerprints.captured_at IS 'When it was captured';
COMMENT ON COLUMN steep_repl.schema_fingerprints.definition IS 'Columns, constraints, indexes and triggers as they were';
