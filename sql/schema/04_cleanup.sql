-- What a cancelled operation could not take away at once: the source was away, or a reader held a table. Retried until gone.

CREATE TABLE steep_repl.cleanup (
    operation_id  bigint NOT NULL REFERENCES steep_repl.operations ON DELETE CASCADE,
    kind          text NOT NULL CHECK (kind IN ('subscription', 'tables', 'constraints', 'indexes', 'schema', 'files', 'scratch', 'source')),
    attempts      integer NOT NULL DEFAULT 0,
    next_try      timestamptz NOT NULL DEFAULT now(),
    error         jsonb,
    PRIMARY KEY (operation_id, kind)
);

COMMENT ON TABLE steep_repl.cleanup IS 'Work of cancelled operations that is still to be done';
COMMENT ON COLUMN steep_repl.cleanup.operation_id IS 'The cancelled operation';
COMMENT ON COLUMN steep_repl.cleanup.kind IS 'subscription: drop it here; tables: empty them; constraints, indexes: put them back; schema: drop what was made here; files: remove the files of a snapshot; scratch: remove the directory of the base backup; source: drop slot and publications there';
COMMENT ON COLUMN steep_repl.cleanup.attempts IS 'Failed attempts';
COMMENT ON COLUMN steep_repl.cleanup.next_try IS 'Not to be tried again before this time';
COMMENT ON COLUMN steep_repl.cleanup.error IS 'What stopped the last attempt: sqlstate, message, detail, hint';
