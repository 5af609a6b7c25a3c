-- Base backups that large tables are copied from. A row an operation, while it has one; written by its snapshot keeper. What is on the disk
-- has the operation's name, so it is found without this row.

CREATE TABLE steep_repl.base_backups (
    operation_id bigint PRIMARY KEY REFERENCES steep_repl.operations ON DELETE CASCADE,
    state        text NOT NULL CHECK (state IN ('backup', 'slot', 'recovery', 'ready')),
    bytes_done   bigint NOT NULL DEFAULT 0,
    bytes_total  bigint NOT NULL DEFAULT 0,
    target_lsn   pg_lsn,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE steep_repl.base_backups IS 'Base backups of sources that large tables are being copied from';
COMMENT ON COLUMN steep_repl.base_backups.operation_id IS 'The operation';
COMMENT ON COLUMN steep_repl.base_backups.state IS 'backup: it is being made; slot: a position after it is taken; recovery: a private server replays WAL up to that; ready: tables are copied from there';
COMMENT ON COLUMN steep_repl.base_backups.bytes_done IS 'Bytes of the backup that are here';
COMMENT ON COLUMN steep_repl.base_backups.bytes_total IS 'Bytes of the backup, as the source estimates them';
COMMENT ON COLUMN steep_repl.base_backups.target_lsn IS 'LSN that tables are copied as of';
COMMENT ON COLUMN steep_repl.base_backups.started_at IS 'When it was begun';
COMMENT ON COLUMN steep_repl.base_backups.updated_at IS 'When the state or the bytes were last written';
