//! What a cluster is started with.

use std::sync::Arc;

use crate::cluster::Cluster;
use crate::installation::Installation;

/// How clients that come over TCP prove who they are; the socket always trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Everybody is believed.
    Trust,
    /// By password (SCRAM).
    Scram,
}

/// The three ways to stop a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for the sessions.
    Smart,
    /// Ends the sessions.
    Fast,
    /// Ends everything; the next start recovers. What a crash looks like.
    Immediate,
}

impl StopMode {
    pub(crate) fn word(self) -> &'static str {
        match self {
            StopMode::Smart => "smart",
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        }
    }
}

/// What a cluster is started with.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub(crate) label: String,
    pub(crate) installation: Installation,
    pub(crate) auth: Auth,
    pub(crate) preload: bool,
    pub(crate) settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// A cluster of the version under test; `label` names its folder.
    pub fn new(label: &str) -> Self {
        Self::with_installation(label, Installation::current())
    }

    /// A cluster of the older version that serves as a source.
    pub fn old(label: &str) -> Self {
        Self::with_installation(label, Installation::old())
    }

    fn with_installation(label: &str, installation: &Installation) -> Self {
        let installation = installation.clone();
        ClusterOptions { label: label.into(), installation, auth: Auth::Trust, preload: false, settings: Vec::new() }
    }

    /// Runs with these programs.
    pub fn programs(mut self, installation: &Installation) -> Self {
        self.installation = installation.clone();
        self
    }

    /// Loads the extension at server start, as a target needs.
    pub fn preload(mut self) -> Self {
        assert!(self.installation.has_extension(), "steep_repl is not installed in this server: run make install");
        self.preload = true;
        self
    }

    /// How TCP clients log in.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// One more setting, or another value for one of the defaults.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Makes and starts the cluster.
    pub fn start(self) -> Arc<Cluster> {
        Cluster::create(self)
    }

    pub(crate) fn defaults(&self) -> Vec<(String, String)> {
        let mut settings = vec![
            ("wal_level", "logical"),
            ("max_worker_processes", "64"),
            ("max_replication_slots", "64"),
            ("max_wal_senders", "64"),
            ("max_logical_replication_workers", "32"),
            ("max_sync_workers_per_subscription", "4"),
            ("max_connections", "200"),
            ("max_prepared_transactions", "20"),
            ("shared_buffers", "256MB"),
            ("max_wal_size", "4GB"),
            ("track_commit_timestamp", "on"),
            ("fsync", "off"),
            ("listen_addresses", "127.0.0.1"),
            ("log_line_prefix", "%m [%p] %b %d %a: "),
            ("log_min_messages", "info"),
            ("log_checkpoints", "off"),
            ("timezone", "UTC"),
        ];
        if self.installation.major() >= 18 {
            settings.push(("max_active_replication_origins", "64"));
            settings.push(("io_method", "sync"));
        }
        if self.preload {
            settings.push(("shared_preload_libraries", "steep_repl"));
        }
        settings.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }
}
