//! The servers that a connection string names: lists of hosts, addresses and ports, which belong together by position.

use std::net::IpAddr;

use steep_repl_core::conninfo::Conninfo;

use super::defaults::{socket_folder, PORT};
use crate::failure::Failure;

/// One server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name, an address or the folder of a socket; what a certificate and the password file are compared with.
    pub host: String,
    /// Where to connect to, if that is not to be found out from `host`.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// The user named no host, only an address.
    pub nameless: bool,
}

impl Place {
    /// Whether it is reached by a socket in the file system.
    pub fn is_socket(&self) -> bool {
        self.address.is_none() && self.host.starts_with('/')
    }

    /// `host:port`, for messages.
    pub fn describe(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// All servers, in the order in which they are written.
pub fn places(conninfo: &Conninfo) -> Result<Vec<Place>, Failure> {
    let list = |keyword| -> Vec<String> {
        let value = conninfo.get(keyword).filter(|value| !value.is_empty());
        value.map(|value| value.split(',').map(str::to_owned).collect()).unwrap_or_default()
    };
    let (mut hosts, mut addresses, mut ports) = (list("host"), list("hostaddr"), list("port"));
    let count = if addresses.is_empty() { hosts.len() } else { addresses.len() }.max(1);
    if !hosts.is_empty() && hosts.len() != count {
        return Err(mismatch(hosts.len(), "host names", count, "hostaddr values"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(mismatch(ports.len(), "port numbers", count, "hosts"));
    }
    hosts.resize(count, String::new());
    addresses.resize(count, String::new());
    let port = ports.first().cloned().unwrap_or_default();
    ports.resize(count, port);
    let each = hosts.into_iter().zip(addresses).zip(ports);
    each.map(|((host, address), port)| place(host, &address, &port)).collect()
}

fn mismatch(have: usize, what: &str, others: usize, of: &str) -> Failure {
    Failure::usage(format!("could not match {have} {what} to {others} {of}"))
}

fn place(host: String, address: &str, port: &str) -> Result<Place, Failure> {
    let port_text = if port.trim().is_empty() { PORT } else { port.trim() };
    let port = match port_text.parse::<u16>() {
        Ok(port) if port > 0 => port,
        _ => return Err(Failure::usage(format!("invalid port number: \"{port_text}\"")).hint("A port is 1 to 65535.")),
    };
    if host.starts_with('@') {
        return Err(Failure::usage("sockets in the abstract namespace (a host that begins with @) are not supported"));
    }
    let known = match address {
        "" => None,
        address => match address.parse::<IpAddr>() {
            Ok(known) => Some(known),
            Err(_) => {
                let failure = Failure::usage(format!("hostaddr \"{address}\" is not an IP address"));
                return Err(failure.hint("A name is written as host."));
            }
        },
    };
    let nameless = host.is_empty();
    let host = match (nameless, known) {
        (true, Some(address)) => address.to_string(),
        (true, None) => socket_folder(port_text).to_owned(),
        (false, _) => host,
    };
    Ok(Place { host, address: known, port, nameless })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let found = places(&Conninfo::parse(text).unwrap()).map_err(|failure| failure.message)?;
        Ok(found.iter().map(|place| format!("{} {:?}", place.describe(), place.address)).collect())
    }

    #[track_caller]
    fn reads(text: &str, expected: &[&str]) {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn lists() {
        reads("host=a", &["a:5432 None"]);
        reads("host=a,b port=1", &["a:1 None", "b:1 None"]);
        reads("host=a,b port=1,", &["a:1 None", "b:5432 None"]);
        reads("host=a,b hostaddr=::1,10.0.0.1 port=1,2", &["a:1 Some(::1)", "b:2 Some(10.0.0.1)"]);
        reads("hostaddr=::1", &["[::1]:5432 Some(::1)"]);
        reads("host=a,b hostaddr=,10.0.0.1", &["a:5432 None", "b:5432 Some(10.0.0.1)"]);
        reads("postgres://a:1,[::1]:2/d", &["a:1 None", "[::1]:2 None"]);
        reads("host=/srv port=' 7 '", &["/srv:7 None"]);
        assert_eq!(places(&Conninfo::default()).unwrap().len(), 1);
        assert!(places(&Conninfo::parse("host='' port=1").unwrap()).unwrap().iter().all(Place::is_socket));
    }

    #[test]
    fn what_does_not_belong_together() {
        for (text, message) in [
            ("host=a,b hostaddr=::1", "could not match 2 host names to 1 hostaddr values"),
            ("host=a port=1,2", "could not match 2 port numbers to 1 hosts"),
            ("host=a,b,c port=1,2", "could not match 2 port numbers to 3 hosts"),
            ("host=a port=0", "invalid port number: \"0\""),
            ("host=a port=65536", "invalid port number: \"65536\""),
            ("host=a port=x", "invalid port number: \"x\""),
            ("hostaddr=a", "hostaddr \"a\" is not an IP address"),
        ] {
            assert_eq!(read(text).unwrap_err(), message, "{text}");
        }
    }
}
