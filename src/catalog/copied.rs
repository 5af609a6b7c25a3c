//! What a physical copy of a server has brought along besides tables. Read by the same query on either side.

use super::user::{read, run};
use super::Arg;
use crate::error::{Error, Result};
use crate::pg::remote::Connection;
use serde::Deserialize;
use steep_repl_core::ident::quote_ident;

/// What a server has, each by its name and, where it has one, its OID.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Belongings {
    /// Subscriptions of the database.
    pub subscriptions: Vec<(u32, String)>,
    /// Replication slots of the cluster.
    pub slots: Vec<String>,
    /// Replication origins of the cluster, but for those of other databases' subscriptions.
    pub origins: Vec<String>,
    /// Publications of the extension's operations.
    pub publications: Vec<String>,
}

const QUERY: &str = include_str!("../../sql/queries/belongings.sql");

impl Belongings {
    /// Those that the other one has too.
    pub fn also_of(self, other: &Belongings) -> Belongings {
        Belongings {
            subscriptions: self.subscriptions.into_iter().filter(|one| other.subscriptions.contains(one)).collect(),
            slots: self.slots.into_iter().filter(|one| other.slots.contains(one)).collect(),
            origins: self.origins.into_iter().filter(|one| other.origins.contains(one)).collect(),
            publications: self.publications.into_iter().filter(|one| other.publications.contains(one)).collect(),
        }
    }

    /// What they are.
    pub fn words(&self) -> String {
        let subscriptions: Vec<String> = self.subscriptions.iter().map(|(_, name)| name.clone()).collect();
        let kinds = [
            ("subscriptions", &subscriptions),
            ("replication slots", &self.slots),
            ("replication origins", &self.origins),
            ("publications", &self.publications),
        ];
        let some: Vec<String> = kinds
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| format!("{kind} {}", names.join(", ")))
            .collect();
        if some.is_empty() {
            return "the original had no slot, subscription or origin that came along".to_owned();
        }
        format!("taken away, being the original's: {}", some.join("; "))
    }
}

/// What the source has.
pub fn of_source(connection: &Connection) -> Result<Belongings> {
    connection
        .json(QUERY, "could not read what the source has")?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("the source said nothing of what it has"))
}

/// What this server has.
pub fn here() -> Result<Belongings> {
    read(QUERY, &[])?.into_iter().next().ok_or_else(|| Error::internal("this server said nothing of what it has"))
}

/// Subscriptions in other databases of this cluster.
pub fn subscriptions_elsewhere() -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.to_jsonb(pg_catalog.format('%I in database %I', s.subname, d.datname))::text FROM pg_catalog.pg_subscription s \
         JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname <> pg_catalog.current_database() ORDER BY d.datname, s.subname",
        &[],
    )
}

/// Prepared transactions of this database.
pub fn prepared_transactions() -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.to_jsonb(p.gid)::text FROM pg_catalog.pg_prepared_xacts p \
         WHERE p.database = pg_catalog.current_database() ORDER BY p.prepared, p.gid",
        &[],
    )
}

/// Drops a replication slot. 55006 when somebody uses it.
pub fn drop_slot(name: &str) -> Result<()> {
    read::<bool>(
        "SELECT (pg_catalog.pg_drop_replication_slot(s.slot_name) IS NOT NULL)::text FROM pg_catalog.pg_replication_slots s \
         WHERE s.slot_name = $1",
        &[Arg::Text(name)],
    )
    .map(drop)
}

/// Drops a replication origin.
pub fn drop_origin(name: &str) -> Result<()> {
    read::<bool>(
        "SELECT (pg_catalog.pg_replication_origin_drop(o.roname) IS NOT NULL)::text FROM pg_catalog.pg_replication_origin o \
         WHERE o.roname = $1",
        &[Arg::Text(name)],
    )
    .map(drop)
}

/// Drops a publication.
pub fn drop_publication(name: &str) -> Result<()> {
    run(&format!("DROP PUBLICATION IF EXISTS {}", quote_ident(name)))
}
