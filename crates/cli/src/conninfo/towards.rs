//! From the node we are connected to, to another one that it knows.
//!
//! The string that a server has for a node says how *that server* gets there, with credentials that are its own. Of it only host, hostaddr, port
//! and dbname are used; as whom, with which password and with which certificates is the user's.
//!
//! A node without a host, with the folder of a socket or with a loopback address is on the machine of the server that holds the string. So when
//! we are connected to that server over the network, its own host is where the node is. Over a socket we are on that machine ourselves and take the
//! string as it is. A loopback address of ours may be the end of a tunnel: a loopback address of theirs is then taken as it is, a socket is not.

use std::net::IpAddr;

use steep_repl_core::conninfo::Conninfo as Parameters;

use super::{Conninfo, Place};
use crate::failure::Failure;

/// What the server shows in the place of a secret.
const HIDDEN: &str = "********";

/// What another node's string is used for.
const OTHERS: [&str; 4] = ["host", "hostaddr", "port", "dbname"];

impl Conninfo {
    /// How to get to another node: host, hostaddr, port and dbname of `node` (a connection string without secrets), everything else as the user
    /// gave it for this one; the password from the password file if it has one for that node, else the user's own.
    ///
    /// # Errors
    /// Exit code 6 when `node` cannot be understood.
    pub fn towards(&self, node: &str) -> Result<Conninfo, Failure> {
        let theirs = read(node)?;
        let value = |keyword: &str| theirs.get(keyword).filter(|value| !value.is_empty() && *value != HIDDEN);
        if value("host").is_none() && value("hostaddr").is_none() && value("service").is_some() {
            let failure = Failure::connection("a node's connection string names a service of its server");
            return Err(failure.hint("Register the node with host, port and dbname."));
        }
        let mut inner = Parameters::default();
        self.inner.pairs().filter(|(keyword, _)| !OTHERS.contains(keyword)).for_each(|(k, v)| inner.set(k, v));
        let (host, hostaddr) = self.reachable(value("host"), value("hostaddr"))?;
        for (keyword, value) in [("host", host), ("hostaddr", hostaddr)] {
            if let Some(value) = value {
                inner.set(keyword, &value);
            }
        }
        // libpq takes the user's name for the name of the database.
        let dbname = value("dbname").or_else(|| value("user")).or_else(|| self.get("dbname"));
        inner.set("dbname", dbname.unwrap_or_default());
        inner.set("port", value("port").unwrap_or(super::defaults::PORT));
        super::defaults::fill(&mut inner);
        let other = Conninfo { inner, elsewhere: true, ..self.clone() };
        other.check_places().map_err(|failure| Failure { exit: crate::failure::Exit::Connection, ..failure })?;
        Ok(other)
    }

    /// Host and address of a node, seen from here.
    fn reachable(
        &self,
        host: Option<&str>,
        hostaddr: Option<&str>,
    ) -> Result<(Option<String>, Option<String>), Failure> {
        let ours = self.places()?;
        let by_tcp = ours.iter().any(|place| !place.is_socket());
        let from_afar = ours.iter().any(|place| !place.is_socket() && !is_loopback(place));
        let theirs = hostaddr.or(host).unwrap_or_default();
        let is_socket = theirs.split(',').all(|host| host.is_empty() || host.starts_with('/'));
        let beside_it = (is_socket && by_tcp) || (theirs.split(',').all(is_local) && from_afar);
        let (host, hostaddr) = if beside_it { (self.get("host"), self.get("hostaddr")) } else { (host, hostaddr) };
        Ok((host.map(str::to_owned), hostaddr.map(str::to_owned)))
    }
}

fn read(node: &str) -> Result<Parameters, Failure> {
    Parameters::parse(node).map_err(|error| {
        Failure::connection("the connection string of a node cannot be understood").detail(error.to_string())
    })
}

/// Whether a host is the machine itself, for whoever is on it.
fn is_local(host: &str) -> bool {
    let loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    host.is_empty() || host.starts_with('/') || host.eq_ignore_ascii_case("localhost") || loopback
}

fn is_loopback(place: &Place) -> bool {
    place.address.map_or_else(|| is_local(&place.host), |address| address.is_loopback())
}
