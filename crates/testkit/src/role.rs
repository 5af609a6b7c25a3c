//! A role of a cluster for one test. Made before a test's databases, so that it goes after them.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::database::describe;

/// A role that is dropped with this value.
pub struct Role {
    cluster: Arc<Cluster>,
    name: String,
}

impl Role {
    /// Creates a role of a unique name that begins with `label`, with the options of CREATE ROLE.
    pub fn create(cluster: &Arc<Cluster>, label: &str, options: &str) -> Role {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{label}_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self::named(cluster, name, options)
    }

    /// The role of the same name in another cluster.
    pub fn twin(&self, cluster: &Arc<Cluster>, options: &str) -> Role {
        Self::named(cluster, self.name.clone(), options)
    }

    fn named(cluster: &Arc<Cluster>, name: String, options: &str) -> Role {
        let sql = format!("create role {name} {options}");
        if let Err(error) = cluster.connect("postgres").batch_execute(&sql) {
            panic!("{sql}: {}", describe(&error));
        }
        Role { cluster: Arc::clone(cluster), name }
    }

    /// Its name, which needs no quotes.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let sql = format!("drop role {}", self.name);
        if let Err(error) = self.cluster.connect("postgres").batch_execute(&sql) {
            panic!("{sql}: {}", describe(&error));
        }
    }
}
