//! libpq's environment variables.

use steep_repl_core::conninfo::Conninfo;

/// What libpq calls the process's environment, as a function, so that tests have one of their own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Keywords that have a variable, in the order of libpq's own table.
const VARIABLES: &[(&str, &str)] = &[
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("dbname", "PGDATABASE"),
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("client_encoding", "PGCLIENTENCODING"),
    ("options", "PGOPTIONS"),
    ("application_name", "PGAPPNAME"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslcompression", "PGSSLCOMPRESSION"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcrl", "PGSSLCRL"),
    ("sslcrldir", "PGSSLCRLDIR"),
    ("sslsni", "PGSSLSNI"),
    ("requirepeer", "PGREQUIREPEER"),
    ("require_auth", "PGREQUIREAUTH"),
    ("min_protocol_version", "PGMINPROTOCOLVERSION"),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    ("gssencmode", "PGGSSENCMODE"),
    ("krbsrvname", "PGKRBSRVNAME"),
    ("gsslib", "PGGSSLIB"),
    ("gssdelegation", "PGGSSDELEGATION"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
];

/// Variables that are settings of the session and no parameters of the connection.
const SETTINGS: &[(&str, &str)] = &[("datestyle", "PGDATESTYLE"), ("timezone", "PGTZ"), ("geqo", "PGGEQO")];

/// Fills in what is absent. A variable that is set counts, even to the empty string, as in libpq.
pub fn fill(conninfo: &mut Conninfo, environment: Environment) {
    for (keyword, variable) in VARIABLES {
        if conninfo.get(keyword).is_some() {
            continue;
        }
        if let Some(value) = environment(variable) {
            conninfo.set(keyword, &value);
        } else if *keyword == "sslmode" && environment("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            conninfo.set("sslmode", "require");
        }
    }
}

/// The settings, as words for the server's command line: libpq sends them apart, for which the client library has no place.
///
/// They stand behind the user's own options: the server applies what libpq sends apart after them too.
pub fn settings(environment: Environment) -> Vec<String> {
    let given = SETTINGS.iter().filter_map(|(name, variable)| Some((name, environment(variable)?)));
    let kept = given.filter(|(_, value)| !value.eq_ignore_ascii_case("default"));
    kept.map(|(name, value)| format!("-c {name}={}", escaped(&value))).collect()
}

/// The server splits its options at white space that no backslash precedes.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        if c.is_ascii_whitespace() || c == '\\' {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        let mut conninfo = Conninfo::parse("host=a user=''").unwrap();
        fill(&mut conninfo, &|name| Some(format!("from {name}")));
        assert_eq!(conninfo.get("host"), Some("a"));
        assert_eq!(conninfo.get("user"), Some(""));
        assert_eq!(conninfo.get("port"), Some("from PGPORT"));
        assert_eq!(conninfo.get("target_session_attrs"), Some("from PGTARGETSESSIONATTRS"));
    }

    #[test]
    fn the_old_spelling_of_sslmode() {
        let read = |sslmode: Option<&'static str>, requiressl: &'static str| {
            let mut conninfo = Conninfo::default();
            fill(&mut conninfo, &|name| match name {
                "PGSSLMODE" => sslmode.map(str::to_owned),
                "PGREQUIRESSL" => Some(requiressl.to_owned()),
                _ => None,
            });
            conninfo.get("sslmode").map(str::to_owned)
        };
        assert_eq!(read(None, "1").as_deref(), Some("require"));
        assert_eq!(read(None, "0"), None);
        assert_eq!(read(Some("disable"), "1").as_deref(), Some("disable"));
    }

    #[test]
    fn settings_become_options() {
        let environment = |name: &str| match name {
            "PGTZ" => Some("Europe/Paris".to_owned()),
            "PGDATESTYLE" => Some("SQL, DMY".to_owned()),
            "PGGEQO" => Some("DEFAULT".to_owned()),
            _ => None,
        };
        assert_eq!(settings(&environment), [r"-c datestyle=SQL,\ DMY", "-c timezone=Europe/Paris"]);
    }
}
