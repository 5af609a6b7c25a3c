//! Certificates: the one this client shows, and the name in the one that the server shows.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::SslConnectorBuilder;
use openssl::x509::X509Ref;

use super::reason::Reason;
use crate::conninfo::Conninfo;

/// Loads certificate and key, if there are any.
pub fn present(builder: &mut SslConnectorBuilder, conninfo: &Conninfo) -> Result<(), Reason> {
    let path = |keyword: &str, by_default: &str| {
        let named = conninfo.get(keyword).filter(|path| !path.is_empty()).map(PathBuf::from);
        named.or_else(|| conninfo.in_home(by_default))
    };
    let certificate = path("sslcert", ".postgresql/postgresql.crt").filter(|path| path.exists());
    let Some(certificate) = certificate.filter(|_| conninfo.get("sslcertmode") != Some("disable")) else {
        return Ok(());
    };
    let unusable = |text: String| Reason::Unusable(text);
    builder
        .set_certificate_chain_file(&certificate)
        .map_err(|error| unusable(format!("certificate file \"{}\" cannot be read: {error}", certificate.display())))?;
    let Some(file) = path("sslkey", ".postgresql/postgresql.key") else {
        return Err(unusable("there is a certificate, but no private key".to_owned()));
    };
    let key = read_key(&file, conninfo.get("sslpassword").unwrap_or_default())?;
    let fits = builder.set_private_key(&key).and_then(|()| builder.check_private_key());
    fits.map_err(|error| {
        unusable(format!("certificate does not match private key file \"{}\": {error}", file.display()))
    })
}

fn read_key(file: &Path, password: &str) -> Result<PKey<Private>, Reason> {
    let unusable = |why: String| Reason::Unusable(format!("private key file \"{}\" {why}", file.display()));
    let metadata = std::fs::metadata(file).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if !metadata.is_file() {
        return Err(unusable("is not a regular file".to_owned()));
    }
    // Files of root may be read by a group, which is how a system shares a certificate.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        let allowed = "permissions should be u=rw (0600) or less, or u=rw,g=r (0640) or less if owned by root";
        return Err(unusable(format!("has group or world access; {allowed}")));
    }
    let bytes = std::fs::read(file).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    let mut asked = false;
    let read = PKey::private_key_from_pem_callback(&bytes, |buffer| {
        asked = true;
        // The library would ask on the terminal, which may be drawn on.
        match buffer.get_mut(..password.len()) {
            Some(place) => place.copy_from_slice(password.as_bytes()),
            None => return Ok(0),
        }
        Ok(password.len())
    });
    read.or_else(|error| PKey::private_key_from_der(&bytes).map_err(|_| error)).map_err(|error| match asked {
        true if password.is_empty() => unusable("is encrypted, and there is no sslpassword".to_owned()),
        true => unusable("cannot be decrypted with sslpassword".to_owned()),
        false => unusable(format!("cannot be read: {error}")),
    })
}

/// Whether the certificate is for `host`, by libpq's rules: any of the alternative names; the common name only when there is no alternative name
/// of the host's kind, name or address.
///
/// The error says whose certificate it is.
pub fn check_name(certificate: &X509Ref, host: &str) -> Result<(), String> {
    let address: Option<IpAddr> = host.parse().ok();
    let (mut seen, mut of_kind) = (Vec::new(), false);
    for name in certificate.subject_alt_names().iter().flatten() {
        if let Some(dns) = name.dnsname() {
            of_kind |= address.is_none();
            if matches(dns, host) {
                return Ok(());
            }
            seen.push(dns.to_owned());
        } else if let Some(theirs) = name.ipaddress().and_then(address_of) {
            of_kind |= address.is_some();
            if address == Some(theirs) {
                return Ok(());
            }
            seen.push(theirs.to_string());
        }
    }
    if !of_kind {
        let common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME).next();
        if let Some(common) = common.and_then(|entry| entry.data().to_string().ok()) {
            if matches(&common, host) {
                return Ok(());
            }
            seen.push(common);
        }
    }
    Err(match seen.as_slice() {
        [] => "the server's certificate has no name".to_owned(),
        [name] => format!("server certificate for \"{name}\" does not match host name \"{host}\""),
        [name, others @ ..] => {
            let others = others.len();
            format!("server certificate for \"{name}\" (and {others} other names) does not match host name \"{host}\"")
        }
    })
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The same name, or `*.` and the rest of a name: the star is one label.
fn matches(pattern: &str, host: &str) -> bool {
    if pattern.contains('\0') {
        return false;
    }
    let wildcard = pattern.strip_prefix('*').filter(|rest| rest.starts_with('.') && rest.len() > 1);
    let by_wildcard = wildcard.zip(host.split_once('.')).is_some_and(|(rest, (label, tail))| {
        !label.is_empty() && rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(tail))
    });
    by_wildcard || pattern.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn names() {
        for (pattern, host, expected) in [
            ("a.example.com", "A.Example.com", true),
            ("a.example.com", "b.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", ".example.com", false),
            ("*", "a", false),
            ("*.", "a.", false),
            ("a.*.com", "a.b.com", false),
            ("a*.example.com", "ab.example.com", false),
            ("a\0.example.com", "a\0.example.com", false),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
