//! A certification authority for the tests, which makes good certificates and bad ones.

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509Name, X509NameRef, X509};

/// Who signs.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// What a certificate says.
#[derive(Default)]
pub struct Request<'a> {
    /// The common name; empty for none.
    pub name: &'a str,
    /// Alternative names.
    pub dns: &'a [&'a str],
    /// Alternative addresses.
    pub addresses: &'a [&'a str],
    /// Its time is over.
    pub expired: bool,
}

/// A certificate with its key.
pub struct Issued {
    certificate: X509,
    key: PKey<Private>,
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn named(name: &str) -> X509Name {
    let mut builder = X509Name::builder().unwrap();
    builder.append_entry_by_nid(Nid::ORGANIZATIONNAME, "tests").unwrap();
    if !name.is_empty() {
        builder.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    }
    builder.build()
}

fn begun(name: &X509NameRef, issuer: &X509NameRef, key: &PKey<Private>, expired: bool) -> X509Builder {
    let day = 24 * 60 * 60;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let at = |days: i64| Asn1Time::from_unix(now + days * day).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    builder.set_subject_name(name).unwrap();
    builder.set_issuer_name(issuer).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&at(-2)).unwrap();
    builder.set_not_after(&at(if expired { -1 } else { 2 })).unwrap();
    builder
}

impl Authority {
    /// A new one.
    pub fn new(name: &str) -> Authority {
        let (name, key) = (named(name), new_key());
        let mut builder = begun(&name, &name, &key, false);
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Authority { certificate: builder.build(), key }
    }

    /// Its own certificate.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// A certificate for somebody.
    pub fn issue(&self, request: &Request) -> Issued {
        let key = new_key();
        let mut builder = begun(&named(request.name), self.certificate.subject_name(), &key, request.expired);
        if !request.dns.is_empty() || !request.addresses.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in request.dns {
                names.dns(name);
            }
            for address in request.addresses {
                names.ip(address);
            }
            let names = names.build(&builder.x509v3_context(Some(&self.certificate), None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        Issued { certificate: builder.build(), key }
    }

    /// A list of certificates that count no more. OpenSSL's Rust side writes none, so it is put together by hand: version 1 of RFC 5280.
    pub fn revocation_list(&self, revoked: &[&Issued]) -> Vec<u8> {
        let algorithm = der(0x30, &[&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]]);
        let (past, future) = (der(0x17, &[b"200101000000Z"]), der(0x17, &[b"490101000000Z"]));
        let entries: Vec<Vec<u8>> =
            revoked.iter().map(|issued| der(0x30, &[&serial(&issued.certificate), &past])).collect();
        let entries = der(0x30, &entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let issuer = self.certificate.subject_name().to_der().unwrap();
        let list = der(0x30, &[&algorithm, &issuer, &past, &future, &entries]);
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(&list).unwrap();
        let signed = der(0x30, &[&list, &algorithm, &der(0x03, &[&[0], &signature])]);
        let text = openssl::base64::encode_block(&signed);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", lines.join("\n")).into_bytes()
    }
}

fn serial(certificate: &X509) -> Vec<u8> {
    let mut number = certificate.serial_number().to_bn().unwrap().to_vec();
    number.insert(0, 0);
    while number.len() > 1 && number[0] == 0 && number[1] < 0x80 {
        number.remove(0);
    }
    der(0x02, &[&number])
}

/// Tag, length and value.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = value.len();
    let mut written = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => written.push(short),
        _ => written.extend([0x82, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 0xff).unwrap()]),
    }
    written.extend(value);
    written
}

impl Issued {
    /// The certificate.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    /// Its key.
    pub fn key(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().unwrap()
    }

    /// Its key in the other format.
    pub fn key_der(&self) -> Vec<u8> {
        self.key.private_key_to_der().unwrap()
    }

    /// Its key, encrypted.
    pub fn key_with_password(&self, password: &str) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), password.as_bytes()).unwrap()
    }
}
