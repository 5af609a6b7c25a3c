//! What must hold on the source before anything is made: asked once, by the function that starts an operation.

use crate::catalog::user;
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use serde::Deserialize;
use steep_repl_core::database::Database;
use steep_repl_core::ident::list_elements;

/// What the source says of itself.
#[derive(Debug, Clone, Deserialize)]
pub struct Source {
    /// server_version_num.
    pub version_num: i64,
    /// server_version.
    pub version: String,
    /// wal_level.
    pub wal_level: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// max_replication_slots.
    pub slots: i64,
    /// Of them in use.
    pub slots_used: i64,
    /// max_wal_senders.
    pub walsenders: i64,
    /// Of them in use.
    pub walsenders_used: i64,
    /// max_slot_wal_keep_size, with its unit.
    pub slot_keep_size: Option<String>,
    /// idle_replication_slot_timeout, with its unit; none before PostgreSQL 18.
    pub slot_idle_timeout: Option<String>,
    /// output_plugin_libraries; none where the server has no such setting, or the role may not read it.
    pub output_plugins: Option<String>,
    /// The role that connected.
    pub role: String,
    /// Whether it is a superuser.
    pub is_superuser: bool,
    /// Whether it is a superuser or has REPLICATION.
    pub may_replicate: bool,
    /// Whether it may create publications in the database.
    pub may_create: bool,
    /// The database that was connected to.
    pub database: String,
    /// OID of that database.
    pub database_oid: u32,
    /// Its cluster.
    pub system_identifier: String,
}

/// Asks the source what it is. The transaction of the caller is needed for the catalog look-ups of the client side.
pub fn ask(connection: &Connection) -> Result<Source> {
    connection
        .json(include_str!("../../sql/queries/source_preflight.sql"), "could not read the configuration")?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("the source said nothing about itself"))
}

/// What its database is beside its tables.
pub fn database(connection: &Connection) -> Result<Database> {
    connection
        .json(user::DATABASE, "could not read what the database is")?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("the source said nothing about its database"))
}

/// Refuses a source that is too old or a standby.
pub fn check_version(node: &str, source: &Source) -> Result<()> {
    if source.version_num < 140_000 {
        return Err(Error::SourceVersion { node: node.to_owned(), version: source.version.clone() });
    }
    if source.in_recovery {
        return Err(Error::SourceSetting {
            node: node.to_owned(),
            setting: "pg_is_in_recovery()",
            value: "true".to_owned(),
            hint: "Publications can be made on a primary only: name the primary as the source.".to_owned(),
        });
    }
    Ok(())
}

/// Refuses a source whose WAL cannot be decoded.
pub fn check_wal(node: &str, source: &Source) -> Result<()> {
    if source.wal_level != "logical" {
        return Err(Error::SourceSetting {
            node: node.to_owned(),
            setting: "wal_level",
            value: source.wal_level.clone(),
            hint: "Set wal_level = logical on the source and restart it.".to_owned(),
        });
    }
    Ok(())
}

/// Refuses a role that may not make what is needed on the source.
pub fn check_rights(node: &str, source: &Source, makes_publication: bool) -> Result<()> {
    if !source.may_replicate {
        return Err(Error::Rights {
            role: source.role.clone(),
            lacks: "may not create replication slots".to_owned(),
            node: node.to_owned(),
            hint: format!("On the source: ALTER ROLE {} REPLICATION;", source.role),
        });
    }
    if makes_publication && !source.may_create {
        return Err(Error::Rights {
            role: source.role.clone(),
            lacks: format!("may not create a publication in database \"{}\"", source.database),
            node: node.to_owned(),
            hint: format!(
                "On the source: GRANT CREATE ON DATABASE {} TO {}; or have one made and use publication => 'name'.",
                source.database, source.role
            ),
        });
    }
    Ok(())
}

/// The plugin that decodes what a publication publishes.
const PLUGIN: &str = "pgoutput";

/// Refuses a source that does not let the role decode with the plugin; superusers are asked nothing there.
pub fn check_plugin(node: &str, source: &Source) -> Result<()> {
    let Some(trusted) = source.output_plugins.as_deref().filter(|_| !source.is_superuser) else { return Ok(()) };
    if list_elements(trusted).iter().any(|name| name == PLUGIN) {
        return Ok(());
    }
    Err(Error::SourceSetting {
        node: node.to_owned(),
        setting: "output_plugin_libraries",
        value: trusted.to_owned(),
        hint: format!("Add {PLUGIN} to output_plugin_libraries on the source and reload its configuration."),
    })
}

impl Source {
    /// Slots and WAL senders that are free.
    pub fn free(&self) -> (i64, i64) {
        (self.slots - self.slots_used, self.walsenders - self.walsenders_used)
    }
}

/// Refuses a source without a free WAL sender.
pub fn check_walsenders(node: &str, source: &Source) -> Result<()> {
    if source.walsenders_used < source.walsenders {
        return Ok(());
    }
    Err(Error::Exhausted {
        node: node.to_owned(),
        what: "WAL sender",
        limit: source.walsenders,
        setting: "max_wal_senders",
    })
}

/// Refuses a source without a free slot or WAL sender; `for_sync`: the server copies, and a table takes one besides the subscription.
pub fn check_room(node: &str, source: &Source, for_sync: bool) -> Result<()> {
    if source.slots_used >= source.slots {
        return Err(Error::Exhausted {
            node: node.to_owned(),
            what: "replication slot",
            limit: source.slots,
            setting: "max_replication_slots",
        });
    }
    check_walsenders(node, source)?;
    let too_few = |what, free, setting| Error::TooFew { node: node.to_owned(), what, free, needed: 2, setting };
    match source.free() {
        (free @ ..2, _) if for_sync => Err(too_few("replication slot", free, "max_replication_slots")),
        (_, free @ ..2) if for_sync => Err(too_few("WAL sender", free, "max_wal_senders")),
        _ => Ok(()),
    }
}

/// Says when the source does not keep WAL for as long as it is needed.
pub fn limited_retention(source: &Source) -> Option<String> {
    let limits: Vec<String> = [
        ("max_slot_wal_keep_size", source.slot_keep_size.as_deref(), "-1"),
        ("idle_replication_slot_timeout", source.slot_idle_timeout.as_deref(), "0"),
    ]
    .into_iter()
    .filter_map(|(setting, value, unlimited)| {
        Some(format!("{setting} = {}", value.filter(|value| *value != unlimited)?))
    })
    .collect();
    (!limits.is_empty()).then(|| format!("the source has {}", limits.join(" and ")))
}

/// How large the indexes of these tables are, by the source's statistics, in bytes, as (OID, bytes).
pub fn index_bytes(connection: &Connection, relids: &[u32]) -> Result<Vec<(u32, i64)>> {
    let list = relids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let query = include_str!("../../sql/queries/source_index_bytes.sql").replace(":relids", &list);
    connection.json(&query, "could not read the sizes of the indexes")
}

/// Tables of the plan that the role cannot read, or of which policies would hide rows, or that it cannot publish because it does not own them.
#[derive(Debug, Deserialize)]
struct Lacking {
    unreadable: Vec<String>,
    not_owned: Vec<String>,
    row_security: Vec<String>,
}

/// Refuses tables that could not be read or published: better now than in the middle.
pub fn check_tables(
    connection: &Connection,
    node: &str,
    source: &Source,
    relids: &[u32],
    makes_publication: bool,
) -> Result<()> {
    let list = relids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let query = include_str!("../../sql/queries/source_rights.sql").replace(":relids", &list);
    let lacking: Vec<Lacking> = connection.json(&query, "could not check privileges")?;
    let Some(lacking) = lacking.into_iter().next() else {
        return Ok(());
    };
    let role = source.role.clone();
    let node = node.to_owned();
    if !lacking.unreadable.is_empty() {
        return Err(Error::Rights {
            role,
            lacks: format!("may not read {}", lacking.unreadable.join(", ")),
            node,
            hint: "Grant it USAGE on the schemas and SELECT on the tables.".to_owned(),
        });
    }
    if !lacking.row_security.is_empty() {
        return Err(Error::Rights {
            hint: format!("On the source: ALTER ROLE {role} BYPASSRLS; a part of the rows would be no copy."),
            role,
            lacks: format!("is subject to row-level security of {}", lacking.row_security.join(", ")),
            node,
        });
    }
    if makes_publication && !lacking.not_owned.is_empty() {
        return Err(Error::Rights {
            role,
            lacks: format!("does not own {}, so cannot publish them", lacking.not_owned.join(", ")),
            node,
            hint: "Use a role that owns the tables, or have a publication made and use publication => 'name'."
                .to_owned(),
        });
    }
    Ok(())
}
