-- The nodes this database knows: itself, and the ones it copies from.

CREATE TABLE steep_repl.nodes (
    node        text PRIMARY KEY CHECK (node <> '' AND octet_length(node) <= 63),
    conninfo    text NOT NULL,
    owner       regrole NOT NULL,
    is_local    boolean NOT NULL DEFAULT false,
    state       text NOT NULL DEFAULT 'UNINITIALIZED' CHECK (state IN
                    ('UNINITIALIZED', 'PREPARING', 'COPYING', 'CATCHING_UP',
                     'SYNCHRONIZED', 'DIVERGED', 'FAILED', 'REINITIALIZING')),
    source      text,
    health      text NOT NULL DEFAULT 'ok' CHECK (health IN ('ok', 'warning', 'error')),
    last_error  jsonb,
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- A database is one node: it may be registered under one name only.
CREATE UNIQUE INDEX nodes_one_local ON steep_repl.nodes (is_local) WHERE is_local;

SELECT pg_catalog.pg_extension_config_dump('steep_repl.nodes', '');

COMMENT ON TABLE steep_repl.nodes IS 'Nodes known to this database: itself (is_local) and those it can be initialized from';
COMMENT ON COLUMN steep_repl.nodes.node IS 'Name of the node, at most 63 bytes';
COMMENT ON COLUMN steep_repl.nodes.conninfo IS 'libpq connection string; may hold a password, so read node_status instead';
COMMENT ON COLUMN steep_repl.nodes.owner IS 'Role that registered the node; only it and superusers may use the connection string';
COMMENT ON COLUMN steep_repl.nodes.is_local IS 'True for the node that is this very database';
COMMENT ON COLUMN steep_repl.nodes.state IS 'UNINITIALIZED, PREPARING, COPYING, CATCHING_UP, SYNCHRONIZED, DIVERGED, FAILED or REINITIALIZING';
COMMENT ON COLUMN steep_repl.nodes.source IS 'Node that this one was or is being initialized from';
COMMENT ON COLUMN steep_repl.nodes.health IS 'ok, warning or error';
COMMENT ON COLUMN steep_repl.nodes.last_error IS 'The error that made the node FAILED, or that stopped its refresh: sqlstate, message, detail, hint';
COMMENT ON COLUMN steep_repl.nodes.updated_at IS 'When this row last changed';

-- What a look at the source found. A table that is in no subscription stays behind in silence otherwise.
CREATE TABLE steep_repl.unsubscribed_tables (
    node          text NOT NULL REFERENCES steep_repl.nodes ON DELETE CASCADE,
    table_schema  text NOT NULL,
    table_name    text NOT NULL,
    is_here       boolean NOT NULL,
    noticed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (node, table_schema, table_name)
);

COMMENT ON TABLE steep_repl.unsubscribed_tables IS 'Tables of a node''s source that are not in its subscription, as of the last look; see node_status';
COMMENT ON COLUMN steep_repl.unsubscribed_tables.node IS 'The node that does not get them';
COMMENT ON COLUMN steep_repl.unsubscribed_tables.table_schema IS 'Schema of the table';
COMMENT ON COLUMN steep_repl.unsubscribed_tables.table_name IS 'Name of the table';
COMMENT ON COLUMN steep_repl.unsubscribed_tables.is_here IS 'True when a table of that name is on the node';
COMMENT ON COLUMN steep_repl.unsubscribed_tables.noticed_at IS 'When it was first noticed';
