//! What libpq takes where nobody said anything.

use std::path::{Path, PathBuf};

use steep_repl_core::conninfo::Conninfo;

use super::environment::Environment;

/// Folders in which packaged servers and servers built from source have their sockets.
pub const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// The port of a server of which no port is known.
pub const PORT: &str = "5432";

/// Values that libpq has compiled in, and a name of our own.
const VALUES: &[(&str, &str)] = &[
    ("application_name", "steep-repl"),
    ("channel_binding", "prefer"),
    ("sslmode", "prefer"),
    ("sslnegotiation", "postgres"),
    ("sslsni", "1"),
    ("sslcertmode", "allow"),
    ("ssl_min_protocol_version", "TLSv1.2"),
    ("target_session_attrs", "any"),
    ("load_balance_hosts", "disable"),
];

/// Fills in what is absent; for user, database and place also what is empty.
pub fn fill(conninfo: &mut Conninfo) {
    if conninfo.get("sslrootcert") == Some("system") {
        conninfo.set_default("sslmode", "verify-full");
    }
    for (keyword, value) in VALUES {
        conninfo.set_default(keyword, value);
    }
    *conninfo = conninfo.with_link_defaults();
    let user = named(conninfo, "user").unwrap_or_else(|| whoami::username().unwrap_or_default());
    let dbname = named(conninfo, "dbname").unwrap_or_else(|| user.clone());
    conninfo.set("user", &user);
    conninfo.set("dbname", &dbname);
    let port = named(conninfo, "port").unwrap_or_else(|| PORT.to_owned());
    conninfo.set("port", &port);
    if named(conninfo, "host").is_none() && named(conninfo, "hostaddr").is_none() {
        conninfo.set("host", socket_folder(&port));
    }
}

fn named(conninfo: &Conninfo, keyword: &str) -> Option<String> {
    conninfo.get(keyword).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// The first folder that has the socket of a server at this port, else the first that exists.
pub fn socket_folder(port: &str) -> &'static str {
    let has = |test: &dyn Fn(&Path) -> bool| SOCKET_FOLDERS.into_iter().find(|folder| test(Path::new(folder)));
    has(&|folder| folder.join(format!(".s.PGSQL.{port}")).exists()).or_else(|| has(&Path::exists)).unwrap_or("/tmp")
}

/// The user's home: HOME, else what the system knows.
pub fn home(environment: Environment) -> Option<PathBuf> {
    let named = environment("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    named.or_else(std::env::home_dir).filter(|home| !home.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Conninfo {
        let mut conninfo = Conninfo::parse(text).unwrap();
        fill(&mut conninfo);
        conninfo
    }

    #[test]
    fn who_and_where() {
        let conninfo = filled("");
        assert_eq!(conninfo.get("user"), Some(whoami::username().unwrap().as_str()));
        assert_eq!(conninfo.get("dbname"), conninfo.get("user"));
        assert_eq!(conninfo.get("port"), Some("5432"));
        assert!(SOCKET_FOLDERS.contains(&conninfo.get("host").unwrap()));
        assert_eq!(filled("user=u").get("dbname"), Some("u"));
        assert_eq!(filled("user=u dbname='' host='' port=''").get("dbname"), Some("u"));
        assert_eq!(filled("hostaddr=::1").get("host"), None);
    }

    #[test]
    fn what_stands_empty_is_no_default() {
        assert_eq!(filled("application_name=''").get("application_name"), Some(""));
        assert_eq!(filled("connect_timeout=0").get("connect_timeout"), Some("0"));
        assert_eq!(filled("").get("connect_timeout"), Some("10"));
    }

    #[test]
    fn trust_in_all_the_world_is_strict_about_names() {
        assert_eq!(filled("sslrootcert=system").get("sslmode"), Some("verify-full"));
        assert_eq!(filled("sslrootcert=system sslmode=require").get("sslmode"), Some("require"));
        assert_eq!(filled("sslrootcert=a").get("sslmode"), Some("prefer"));
    }
}
