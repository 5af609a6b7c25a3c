//! One attempt: one address, with or without TLS.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use postgres::config::{ChannelBinding, SslMode, SslNegotiation};
use postgres::{Client, Config, NoTls};

use super::line::{Connector, Wish};
use super::reason::Reason;
use super::tls::Tls;
use super::Hearing;
use crate::conninfo::{Conninfo, Methods, Place};

/// How long a connection may take; `None` is forever.
pub fn limit(conninfo: &Conninfo) -> Option<Duration> {
    let seconds = conninfo.number("connect_timeout").ok().flatten()?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// Does `work` in a thread of its own and waits for it that long; `None` when it is not done by then. What cannot be stopped is left behind: the
/// search for a name, or a socket whose server does not answer.
pub fn within<T: Send + 'static>(limit: Option<Duration>, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let Some(limit) = limit else { return Some(work()) };
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result.recv_timeout(limit).ok()
}

/// What is connected to, and how.
pub struct Attempt {
    config: Config,
    /// None over a socket.
    connector: Option<Result<Connector, Reason>>,
    limit: Option<Duration>,
}

impl Attempt {
    /// The attempts that `sslmode` allows for an address, in order.
    pub fn all(conninfo: &Conninfo, place: &Place, address: Option<IpAddr>) -> Vec<Attempt> {
        let limit = limit(conninfo);
        let password = conninfo.password(place);
        let mut config = config(conninfo, limit);
        config.port(place.port);
        if let Some(password) = &password {
            config.password(&password.text);
        }
        let Some(address) = address else {
            config.host_path(Path::new(&place.host)).ssl_mode(SslMode::Disable);
            return vec![Attempt { config, connector: None, limit }];
        };
        // The line negotiates by itself, so the client library is told that there is nothing to negotiate.
        config.host(&place.host).hostaddr(address).ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        // What cannot be read has been refused when it was resolved.
        let methods = Methods::parse(conninfo.get("require_auth")).unwrap_or_default();
        let connector = |wish| Connector::new(wish, methods.clone());
        let each = wishes(conninfo, place).into_iter().map(|wish| wish.map(connector));
        each.map(|connector| Attempt { config: config.clone(), connector: Some(connector), limit }).collect()
    }

    /// Connects.
    pub fn connect(self, hearing: &Hearing) -> Result<Client, Reason> {
        let Attempt { mut config, connector, limit } = self;
        let hearing = Arc::clone(hearing);
        config.notice_callback(move |notice| hearing(notice));
        let result = match connector {
            None => within(limit, move || config.connect(NoTls)).ok_or(Reason::TimedOut)?,
            Some(connector) => {
                let mut connector = connector?;
                connector.deadline = limit.map(|limit| Instant::now() + limit);
                let result = config.connect(connector.clone());
                connector.opened();
                result
            }
        };
        result.map_err(Reason::of)
    }
}

/// With and without TLS, in libpq's order. Where plain text is allowed, TLS that cannot even be set up is only an attempt that failed.
fn wishes(conninfo: &Conninfo, place: &Place) -> Vec<Result<Wish, Reason>> {
    let direct = conninfo.get("sslnegotiation") == Some("direct");
    let tls = |or_plain| Tls::new(conninfo, place).map(|tls| Wish::Tls { tls, direct, or_plain });
    match conninfo.get("sslmode").unwrap_or("prefer") {
        "disable" => vec![Ok(Wish::Plain)],
        "allow" => vec![Ok(Wish::Plain), tls(false)],
        "prefer" => vec![tls(true), Ok(Wish::Plain)],
        _ => vec![tls(false)],
    }
}

/// Everything that is the same for all attempts.
fn config(conninfo: &Conninfo, limit: Option<Duration>) -> Config {
    let mut config = Config::new();
    let text = |keyword| conninfo.get(keyword).filter(|value| !value.is_empty());
    let number = |keyword| conninfo.number(keyword).ok().flatten();
    let positive = |keyword| number(keyword).and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0);
    let seconds = |keyword| positive(keyword).map(|value| Duration::from_secs(value.into()));
    config.user(text("user").unwrap_or_default()).dbname(text("dbname").unwrap_or_default());
    if let Some(options) = text("options") {
        config.options(options);
    }
    if let Some(name) = text("application_name") {
        config.application_name(name);
    }
    if let Some(limit) = limit {
        config.connect_timeout(limit);
    }
    config.channel_binding(match conninfo.get("channel_binding") {
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        _ => ChannelBinding::Prefer,
    });
    config.keepalives(number("keepalives") != Some(0));
    if let Some(idle) = seconds("keepalives_idle") {
        config.keepalives_idle(idle);
    }
    if let Some(interval) = seconds("keepalives_interval") {
        config.keepalives_interval(interval);
    }
    if let Some(count) = positive("keepalives_count") {
        config.keepalives_retries(count);
    }
    if let Some(milliseconds) = positive("tcp_user_timeout") {
        config.tcp_user_timeout(Duration::from_millis(milliseconds.into()));
    }
    config
}
