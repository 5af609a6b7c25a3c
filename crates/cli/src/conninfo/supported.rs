//! What a parameter may be, and which of libpq's parameters this client cannot honour.
//!
//! What protects the user and cannot be done is refused; what would only have been nice (Kerberos names, compression) is let pass.

use steep_repl_core::conninfo::Conninfo;

use super::methods::Methods;
use crate::failure::Failure;

/// Words that a parameter may be.
const WORDS: &[(&str, &[&str])] = &[
    ("channel_binding", &["disable", "prefer", "require"]),
    ("sslmode", &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
    ("sslnegotiation", &["postgres", "direct"]),
    ("sslcertmode", &["disable", "allow", "require"]),
    ("gssencmode", &["disable", "prefer", "require"]),
    ("target_session_attrs", &["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]),
    ("load_balance_hosts", &["disable", "random"]),
];

/// Versions of TLS, the oldest first; the empty string is no limit.
const TLS_VERSIONS: [&str; 4] = ["tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3"];

/// Parameters that are whole numbers.
const NUMBERS: [&str; 6] =
    ["connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"];

/// What is asked for and cannot be done: a parameter, the values that ask for nothing, and why not.
const REFUSED: &[(&str, &[&str], &str)] = &[
    ("gssencmode", &["disable", "prefer"], "GSSAPI is not supported"),
    ("sslcertmode", &["disable", "allow"], "it cannot be found out whether the server asked for a certificate"),
    ("scram_client_key", &[], "SCRAM keys are not supported"),
    ("scram_server_key", &[], "SCRAM keys are not supported"),
    ("sslkeylogfile", &[], "TLS secrets are not logged"),
    ("replication", &["false", "off", "no", "0"], "replication connections are not supported"),
    ("min_protocol_version", &["3.0"], "protocol version 3.0 is spoken"),
];

/// Checks everything that can be checked before connecting.
pub fn check(conninfo: &Conninfo) -> Result<(), Failure> {
    for (keyword, words) in WORDS {
        if let Some(value) = conninfo.get(keyword).filter(|value| !words.contains(value)) {
            return Err(invalid(keyword, value).hint(format!("One of {}.", words.join(", "))));
        }
    }
    for keyword in NUMBERS {
        number(conninfo, keyword)?;
    }
    Methods::parse(conninfo.get("require_auth"))?;
    check_versions(conninfo)?;
    check_tls(conninfo)?;
    for (keyword, harmless, why) in REFUSED {
        let value = conninfo.get(keyword).unwrap_or_default();
        if !value.is_empty() && !harmless.contains(&value) {
            return Err(Failure::usage(format!("parameter \"{keyword}\" is not supported")).detail(format!("{why}.")));
        }
    }
    Ok(())
}

fn invalid(keyword: &str, value: &str) -> Failure {
    Failure::usage(format!("invalid {keyword} value: \"{value}\""))
}

/// A whole number, with white space around it as libpq allows; `None` when absent or empty.
pub fn number(conninfo: &Conninfo, keyword: &str) -> Result<Option<i32>, Failure> {
    match conninfo.get(keyword) {
        None | Some("") => Ok(None),
        Some(value) => value.trim().parse().map(Some).map_err(|_| {
            Failure::usage(format!("invalid integer value \"{value}\" for connection option \"{keyword}\""))
        }),
    }
}

fn check_versions(conninfo: &Conninfo) -> Result<(), Failure> {
    let place = |keyword: &str| match conninfo.get(keyword) {
        None | Some("") => Ok(None),
        Some(value) => match TLS_VERSIONS.iter().position(|version| version.eq_ignore_ascii_case(value)) {
            Some(position) => Ok(Some(position)),
            None => Err(invalid(keyword, value).hint("One of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3.")),
        },
    };
    match (place("ssl_min_protocol_version")?, place("ssl_max_protocol_version")?) {
        (Some(least), Some(most)) if least > most => Err(Failure::usage("invalid SSL protocol version range")),
        _ => Ok(()),
    }
}

/// Combinations that would be weaker than they look.
fn check_tls(conninfo: &Conninfo) -> Result<(), Failure> {
    let sslmode = conninfo.get("sslmode").unwrap_or("prefer");
    let weak = |what: &str, instead: &str| {
        let message = format!("weak sslmode \"{sslmode}\" may not be used with {what}");
        Err(Failure::usage(message).hint(format!("Use sslmode={instead}.")))
    };
    if conninfo.get("sslnegotiation") == Some("direct") && ["disable", "allow", "prefer"].contains(&sslmode) {
        return weak("sslnegotiation=direct", "require, verify-ca or verify-full");
    }
    if conninfo.get("sslrootcert") == Some("system") && sslmode != "verify-full" {
        return weak("sslrootcert=system", "verify-full");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn says(text: &str) -> String {
        match check(&Conninfo::parse(text).unwrap()) {
            Ok(()) => String::new(),
            Err(failure) => {
                assert_eq!(failure.exit, Exit::Usage);
                failure.message
            }
        }
    }

    #[test]
    fn harmless() {
        for text in [
            "",
            "gssencmode=prefer krbsrvname=x gsslib=y gssdelegation=1 sslcompression=1 client_encoding=latin1",
            "connect_timeout=' 5 ' keepalives=0 tcp_user_timeout=''",
            "sslmode=verify-full sslrootcert=system sslnegotiation=direct",
            "ssl_min_protocol_version=TLSv1.2 ssl_max_protocol_version=tlsv1.3",
            "require_auth=!none replication=off min_protocol_version=3.0 max_protocol_version=latest",
        ] {
            assert_eq!(says(text), "", "{text}");
        }
    }

    #[test]
    fn wrong_values() {
        for (text, message) in [
            ("sslmode=on", "invalid sslmode value: \"on\""),
            ("sslmode=''", "invalid sslmode value: \"\""),
            ("target_session_attrs=master", "invalid target_session_attrs value: \"master\""),
            ("connect_timeout=5s", "invalid integer value \"5s\" for connection option \"connect_timeout\""),
            ("ssl_min_protocol_version=1.2", "invalid ssl_min_protocol_version value: \"1.2\""),
            ("ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2", "invalid SSL protocol version range"),
            (
                "sslrootcert=system sslmode=verify-ca",
                "weak sslmode \"verify-ca\" may not be used with sslrootcert=system",
            ),
            ("sslnegotiation=direct", "weak sslmode \"prefer\" may not be used with sslnegotiation=direct"),
        ] {
            assert_eq!(says(text), message, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (keyword, value) in [
            ("gssencmode", "require"),
            ("sslcertmode", "require"),
            ("scram_client_key", "a"),
            ("sslkeylogfile", "a"),
            ("replication", "database"),
            ("min_protocol_version", "3.2"),
        ] {
            assert_eq!(says(&format!("{keyword}={value}")), format!("parameter \"{keyword}\" is not supported"));
        }
    }
}
