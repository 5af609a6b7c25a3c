//! From a place to what can be connected to.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

use super::attempt::within;
use super::reason::Reason;
use crate::conninfo::{Conninfo, Place};

/// Addresses of a place; a socket has none of its own.
pub fn of(conninfo: &Conninfo, place: &Place, limit: Option<Duration>) -> Result<Vec<Option<IpAddr>>, Reason> {
    if place.is_socket() {
        return Ok(vec![None]);
    }
    if let Some(address) = place.address.or_else(|| place.host.parse().ok()) {
        return Ok(vec![Some(address)]);
    }
    let name = (place.host.clone(), place.port);
    let found = within(limit, move || name.to_socket_addrs().map(|found| found.map(|address| address.ip()).collect()));
    let mut found: Vec<IpAddr> = found.ok_or(Reason::TimedOut)?.map_err(Reason::UnknownHost)?;
    found.dedup();
    if conninfo.get("load_balance_hosts") == Some("random") {
        shuffle(&mut found);
    }
    Ok(found.into_iter().map(Some).collect())
}

/// A random order. It need not be good, only different.
pub fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let drawn = RandomState::new().hash_one(last) % (last as u64 + 1);
        items.swap(last, usize::try_from(drawn).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_everything_and_is_not_always_the_same() {
        let orders: std::collections::HashSet<Vec<u8>> = (0..100)
            .map(|_| {
                let mut items: Vec<u8> = (0..5).collect();
                shuffle(&mut items);
                items
            })
            .collect();
        assert!(orders.len() > 10, "{orders:?}");
        assert!(orders.into_iter().all(|mut items| {
            items.sort_unstable();
            items == [0, 1, 2, 3, 4]
        }));
    }
}
