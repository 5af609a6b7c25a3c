//! TLS as libpq sets it up: whose certificates are trusted, what is checked, and what this client shows of itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509VerifyResult, X509};
use postgres::tls::TlsConnect;
use postgres::Socket;
use postgres_openssl::{TlsConnector, TlsStream};

use super::certificate;
use super::reason::{Reason, Trouble};
use crate::conninfo::{Conninfo, Place};

/// How PostgreSQL calls its protocol within TLS.
const ALPN: &[u8] = b"\x0apostgresql";

/// A TLS client for one place.
#[derive(Clone)]
pub struct Tls {
    connector: SslConnector,
    host: String,
    sni: bool,
    trusted: Trusted,
    /// What was wrong with the name in the server's certificate.
    misnamed: Arc<Mutex<Option<String>>>,
}

/// Whose certificates are trusted.
#[derive(Clone, PartialEq, Eq)]
enum Trusted {
    /// Everybody's: nothing is verified.
    All,
    /// Those of the operating system.
    System,
    /// Those in a file.
    File(PathBuf),
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trusted::All => f.write_str("nothing"),
            Trusted::System => f.write_str("the system's root certificates (sslrootcert=system)"),
            Trusted::File(path) => write!(f, "the root certificates in {}", path.display()),
        }
    }
}

impl Tls {
    /// Reads all files that are needed.
    pub fn new(conninfo: &Conninfo, place: &Place) -> Result<Tls, Reason> {
        let sslmode = conninfo.get("sslmode").unwrap_or_default();
        if sslmode == "verify-full" && place.nameless {
            return Err(Reason::Unusable("host name must be specified for a verified TLS connection".to_owned()));
        }
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(broken)?;
        limit_versions(&mut builder, conninfo).map_err(broken)?;
        builder.set_alpn_protos(ALPN).map_err(broken)?;
        let trusted = trust(&mut builder, conninfo, sslmode)?;
        certificate::present(&mut builder, conninfo)?;
        let misnamed = Arc::<Mutex<Option<String>>>::default();
        match (&trusted, sslmode) {
            (Trusted::All, _) => builder.set_verify(SslVerifyMode::NONE),
            (_, "verify-full") => verify_name(&mut builder, &place.host, Arc::clone(&misnamed)),
            _ => builder.set_verify(SslVerifyMode::PEER),
        }
        let sni = conninfo.get("sslsni").is_some_and(|sni| sni.starts_with('1'));
        Ok(Tls { connector: builder.build(), host: place.host.clone(), sni, trusted, misnamed })
    }

    /// Begins TLS on a socket.
    pub async fn handshake(&self, socket: Socket) -> Result<TlsStream<Socket>, Trouble> {
        let mut configuration = self.connector.configure().map_err(|error| Trouble::Handshake(error.to_string()))?;
        // The name is checked by the callback, which knows libpq's rules.
        configuration.set_verify_hostname(false);
        configuration.set_use_server_name_indication(self.sni);
        TlsConnector::new(configuration, &self.host).connect(socket).await.map_err(|error| {
            let text = error.to_string();
            let misnamed = self.misnamed.lock().unwrap_or_else(PoisonError::into_inner).take();
            match misnamed {
                Some(what) => Trouble::Misnamed(what),
                None if text.contains("certificate verify failed") => {
                    Trouble::Untrusted { what: text, trusted: self.trusted.to_string() }
                }
                None => Trouble::Handshake(text),
            }
        })
    }
}

fn broken(error: ErrorStack) -> Reason {
    Reason::Unusable(format!("TLS cannot be set up: {error}"))
}

fn limit_versions(builder: &mut SslConnectorBuilder, conninfo: &Conninfo) -> Result<(), ErrorStack> {
    let version = |keyword| match conninfo.get(keyword).unwrap_or_default().to_ascii_lowercase().as_str() {
        "tlsv1" => Some(SslVersion::TLS1),
        "tlsv1.1" => Some(SslVersion::TLS1_1),
        "tlsv1.2" => Some(SslVersion::TLS1_2),
        "tlsv1.3" => Some(SslVersion::TLS1_3),
        _ => None,
    };
    builder.set_min_proto_version(version("ssl_min_protocol_version"))?;
    builder.set_max_proto_version(version("ssl_max_protocol_version"))
}

/// Loads the root certificates. A file that is there is used even where `sslmode` asks for no verification, as libpq does.
fn trust(builder: &mut SslConnectorBuilder, conninfo: &Conninfo, sslmode: &str) -> Result<Trusted, Reason> {
    // A store of our own, because the library's trusts the whole system.
    let mut store = X509StoreBuilder::new().map_err(broken)?;
    let named = conninfo.get("sslrootcert").filter(|file| !file.is_empty());
    let file = named.map(PathBuf::from).or_else(|| conninfo.in_home(".postgresql/root.crt"));
    let trusted = match file {
        _ if named == Some("system") => {
            store.set_default_paths().map_err(broken)?;
            Trusted::System
        }
        Some(file) if file.exists() => {
            for certificate in read_roots(&file)? {
                store.add_cert(certificate).map_err(broken)?;
            }
            revoke(&mut store, conninfo)?;
            Trusted::File(file)
        }
        file if sslmode.starts_with("verify") => {
            let file = file.unwrap_or_else(|| PathBuf::from("~/.postgresql/root.crt"));
            return Err(Reason::NoRoots(file));
        }
        _ => Trusted::All,
    };
    builder.set_cert_store(store.build());
    Ok(trusted)
}

fn read_roots(file: &Path) -> Result<Vec<X509>, Reason> {
    let unreadable =
        |why: String| Reason::Unusable(format!("root certificate file \"{}\" cannot be read: {why}", file.display()));
    let bytes = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    match X509::stack_from_pem(&bytes) {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        Ok(_) => Err(unreadable("there is no certificate in it".to_owned())),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// Loads revocation lists. Named ones must be there: who names one would not know that nothing is checked against it.
fn revoke(store: &mut X509StoreBuilder, conninfo: &Conninfo) -> Result<(), Reason> {
    let named = |keyword| conninfo.get(keyword).filter(|path| !path.is_empty());
    let (file, folder) = (named("sslcrl").map(PathBuf::from), named("sslcrldir"));
    let by_default = || conninfo.in_home(".postgresql/root.crl").filter(|file| file.exists());
    let file = file.or_else(|| by_default().filter(|_| folder.is_none()));
    if file.is_none() && folder.is_none() {
        return Ok(());
    }
    if let Some(file) = file {
        let lookup = store.add_lookup(X509Lookup::file()).map_err(broken)?;
        lookup.load_crl_file(&file, SslFiletype::PEM).map_err(|error| {
            Reason::Unusable(format!("certificate revocation list \"{}\" cannot be read: {error}", file.display()))
        })?;
    }
    if let Some(folder) = folder {
        if !Path::new(folder).is_dir() {
            return Err(Reason::Unusable(format!(
                "folder of certificate revocation lists \"{folder}\" does not exist"
            )));
        }
        let lookup = store.add_lookup(X509Lookup::hash_dir()).map_err(broken)?;
        lookup.add_dir(folder, SslFiletype::PEM).map_err(broken)?;
    }
    store.set_flags(X509VerifyFlags::CRL_CHECK | X509VerifyFlags::CRL_CHECK_ALL).map_err(broken)
}

/// Checks the name too, when the server's own certificate has been found good.
fn verify_name(builder: &mut SslConnectorBuilder, host: &str, misnamed: Arc<Mutex<Option<String>>>) {
    let host = host.to_owned();
    builder.set_verify_callback(SslVerifyMode::PEER, move |good, context| {
        if !good || context.error_depth() > 0 {
            return good;
        }
        let checked = match context.current_cert() {
            Some(certificate) => certificate::check_name(certificate, &host),
            None => Err("the server has no certificate".to_owned()),
        };
        if let Err(what) = checked {
            *misnamed.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
            context.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
            return false;
        }
        true
    });
}
