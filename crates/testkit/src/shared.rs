//! The clusters that all tests of a process share, started when the first test wants one.
//!
//! They are held by statics, which are never dropped: the watchdog of [`mod@crate::root`] ends them with the process.

use std::sync::{Arc, OnceLock};

use crate::cluster::Cluster;
use crate::cluster_options::ClusterOptions;

/// A source of the version under test, without the extension.
pub fn source() -> Arc<Cluster> {
    static CLUSTER: OnceLock<Arc<Cluster>> = OnceLock::new();
    Arc::clone(CLUSTER.get_or_init(|| ClusterOptions::new("src").start()))
}

/// A target: the extension is preloaded.
pub fn target() -> Arc<Cluster> {
    static CLUSTER: OnceLock<Arc<Cluster>> = OnceLock::new();
    Arc::clone(CLUSTER.get_or_init(|| ClusterOptions::new("tgt").preload().start()))
}

/// A source of an older version.
pub fn old_source() -> Arc<Cluster> {
    static CLUSTER: OnceLock<Arc<Cluster>> = OnceLock::new();
    Arc::clone(CLUSTER.get_or_init(|| ClusterOptions::old("old").start()))
}

/// A second server of the version under test without the extension, as the target of the kit's own tests.
pub fn plain() -> Arc<Cluster> {
    static CLUSTER: OnceLock<Arc<Cluster>> = OnceLock::new();
    Arc::clone(CLUSTER.get_or_init(|| ClusterOptions::new("plain").start()))
}
