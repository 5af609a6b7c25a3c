//! How a private server over a base backup is configured: it recovers to one position, stands still there, and is there for nobody but us.

use crate::conninfo::Conninfo;
use crate::lsn::Lsn;

/// Settings of the source that a server must not have less of to replay its WAL and be read meanwhile.
///
/// The last two hold the origins that a backup brings along, whichever of them the version goes by.
pub const AT_LEAST: [&str; 7] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_replication_slots",
    "max_active_replication_origins",
];

/// The port in the name of its socket; it listens nowhere else.
pub const PORT: u16 = 1;

/// Who may connect: whoever gets at the socket, whose directory is the server's own user's alone.
pub const HBA: &str = "local all all trust\n";

/// What it is to do.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Folder of its socket.
    pub socket_directory: &'a str,
    /// Where its WAL comes from, in libpq's words.
    pub primary: &'a str,
    /// Slot there that keeps it.
    pub slot: &'a str,
    /// Up to where it recovers: what begins there or later is not replayed.
    pub target: Lsn,
    /// Values of [`AT_LEAST`] on the source.
    pub at_least: &'a [(String, i64)],
}

/// The whole of its postgresql.conf.
pub fn configuration(wanted: &Wanted) -> String {
    let mut text = String::from(
        "# Made for the time of a copy. Whatever the source's own configuration says does not count here.\n",
    );
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name} = {}\n", quoted(value)));
    for (name, value) in [
        ("listen_addresses", ""),
        ("port", &PORT.to_string()),
        ("unix_socket_directories", &in_list(wanted.socket_directory)),
        ("unix_socket_permissions", "0700"),
        ("ssl", "off"),
        ("hot_standby", "on"),
        ("hot_standby_feedback", "off"),
        ("primary_conninfo", wanted.primary),
        ("primary_slot_name", wanted.slot),
        ("restore_command", ""),
        ("recovery_target_lsn", &wanted.target.to_string()),
        ("recovery_target_inclusive", "off"),
        ("recovery_target_action", "pause"),
        // Nothing is replayed once it is read from.
        ("max_standby_streaming_delay", "-1"),
        ("archive_mode", "off"),
        ("shared_preload_libraries", ""),
        ("session_preload_libraries", ""),
        ("local_preload_libraries", ""),
        ("event_triggers", "off"),
        ("max_logical_replication_workers", "0"),
        ("sync_replication_slots", "off"),
        ("autovacuum", "off"),
        // It is thrown away afterwards, and a crash throws it away too.
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off"),
        ("shared_buffers", "128MB"),
        ("huge_pages", "off"),
        ("logging_collector", "off"),
        ("log_destination", "stderr"),
        ("lc_messages", "C"),
        ("cluster_name", "steep_repl private server"),
    ] {
        line(name, value);
    }
    for (name, value) in wanted.at_least {
        line(name, &value.to_string());
    }
    text
}

/// How it is reached: a connection string without a secret.
///
/// What a role and a database have loaded, by settings that a backup brings along, counts for more than the file does, and need not be here. What
/// a session is begun with counts for more than these; only a superuser may begin one with `session_preload_libraries`.
pub fn conninfo(socket_directory: &str, role: &str, database: &str, is_superuser: bool) -> Conninfo {
    let port = PORT.to_string();
    let options = if is_superuser {
        "-c local_preload_libraries= -c session_preload_libraries="
    } else {
        "-c local_preload_libraries="
    };
    let mut conninfo = Conninfo::default();
    for (keyword, value) in [
        ("host", socket_directory),
        ("port", port.as_str()),
        ("user", role),
        ("dbname", database),
        ("options", options),
    ] {
        conninfo.set(keyword, value);
    }
    conninfo
}

/// A value as a configuration file has it: quotes doubled, and backslashes, which would mean something.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// A folder as an element of a list of folders.
fn in_list(folder: &str) -> String {
    format!("\"{}\"", folder.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Were one of these another, or said again further down, it would end its recovery or replay too much, be read by nobody or by others, or do
    /// in the source's name what the source itself does.
    #[test]
    fn it_stands_still_and_does_nothing_else() {
        let at_least: Vec<(String, i64)> = AT_LEAST.iter().map(|name| ((*name).to_owned(), 20)).collect();
        let text = configuration(&Wanted {
            socket_directory: "/srv",
            primary: "host='10.0.0.1'",
            slot: "s",
            target: Lsn(0x1_0000_0028),
            at_least: &at_least,
        });
        for (name, value) in [
            ("recovery_target_action", "pause"),
            ("recovery_target_inclusive", "off"),
            ("archive_mode", "off"),
            ("shared_preload_libraries", ""),
            ("max_logical_replication_workers", "0"),
            ("listen_addresses", ""),
            ("hot_standby", "on"),
            ("restore_command", ""),
        ] {
            let set = format!("{name} = ");
            let values: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&set)).collect();
            assert_eq!(values, [quoted(value)], "{name}: {text}");
        }
    }

    /// Settings of the role or the database would count for more than the file.
    #[test]
    fn a_session_loads_nothing() {
        let options = |is_superuser: bool| conninfo("/srv", "r", "d", is_superuser).get("options").map(str::to_owned);
        let superuser = "-c local_preload_libraries= -c session_preload_libraries=";
        assert_eq!(options(true).as_deref(), Some(superuser));
        // One that is refused would be let in nowhere.
        assert_eq!(options(false).as_deref(), Some("-c local_preload_libraries="));
        let whole = conninfo("/srv/it's here", "r", "d", true);
        assert_eq!(whole.get("host"), Some("/srv/it's here"));
        assert_eq!(Conninfo::parse(&whole.to_string()).ok(), Some(whole));
    }

    #[test]
    fn what_is_configured() {
        let at_least = vec![("max_connections".to_owned(), 321)];
        let text = configuration(&Wanted {
            socket_directory: "/srv/it's, \"here\"",
            primary: "host='10.0.0.1' password file='a\\b'",
            slot: "s",
            target: Lsn(0x1_0000_0028),
            at_least: &at_least,
        });
        for line in [
            "unix_socket_directories = '\"/srv/it''s, \"\"here\"\"\"'",
            "primary_conninfo = 'host=''10.0.0.1'' password file=''a\\\\b'''",
            "primary_slot_name = 's'",
            "recovery_target_lsn = '1/28'",
            "recovery_target_inclusive = 'off'",
            "max_connections = '321'",
            "listen_addresses = ''",
            "shared_preload_libraries = ''",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }
}
