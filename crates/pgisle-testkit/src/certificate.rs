//! TLS material: an authority, a server's certificate that is good or bad, clients' certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::nursery;

/// What the server's certificate is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCertificate {
    /// Signed by [`Tls::ca`], for `localhost` and `127.0.0.1`, in its time.
    Valid,
    /// As the valid one, and its time is over.
    Expired,
    /// As the valid one, and its time has not come.
    NotYetValid,
    /// As the valid one, for another host.
    WrongHost,
}

/// A client's certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file, mode 0600.
    pub key: PathBuf,
}

/// The TLS material of one cluster.
pub struct Tls {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Tls {
    pub(crate) fn make(folder: &Path, certificate: ServerCertificate) -> Self {
        nursery::make_folder(folder);
        let (ca_pem, issuer) = authority("pgisle testkit authority");
        write(&folder.join("ca.crt"), &ca_pem, 0o644);
        let (other_pem, _) = authority("pgisle testkit other authority");
        write(&folder.join("other-ca.crt"), &other_pem, 0o644);

        let tls = Self { folder: folder.to_owned(), issuer };
        let names = match certificate {
            ServerCertificate::Valid | ServerCertificate::Expired | ServerCertificate::NotYetValid => ["localhost", "127.0.0.1"],
            ServerCertificate::WrongHost => ["elsewhere.example", "192.0.2.1"],
        };
        let mut params =
            parameters(names[0], &names, ExtendedKeyUsagePurpose::ServerAuth, certificate == ServerCertificate::Expired);
        if certificate == ServerCertificate::NotYetValid {
            params.not_before = rcgen::date_time_ymd(2119, 1, 1);
        }
        let key = tls.issue("server", params).key;
        nursery::give(&key);
        tls
    }

    /// The authority that signed the server's and the clients' certificates, for `sslrootcert`.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// An authority that signed nothing here.
    #[must_use]
    pub fn other_ca(&self) -> PathBuf {
        self.folder.join("other-ca.crt")
    }

    /// Makes a certificate for a login, which the server accepts for `cert` in `pg_hba.conf`.
    #[must_use]
    pub fn client(&self, user: &str) -> ClientCertificate {
        self.issue(&format!("client-{user}"), parameters(user, &[], ExtendedKeyUsagePurpose::ClientAuth, false))
    }

    /// Makes a certificate for a login whose time is over.
    #[must_use]
    pub fn expired_client(&self, user: &str) -> ClientCertificate {
        self.issue(&format!("expired-client-{user}"), parameters(user, &[], ExtendedKeyUsagePurpose::ClientAuth, true))
    }

    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        vec![
            ("ssl".to_owned(), "on".to_owned()),
            ("ssl_cert_file".to_owned(), file("server.crt")),
            ("ssl_key_file".to_owned(), file("server.key")),
            ("ssl_ca_file".to_owned(), file("ca.crt")),
        ]
    }

    fn issue(&self, name: &str, params: CertificateParams) -> ClientCertificate {
        let key_pair = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key_pair, &self.issuer).expect("a signed certificate");
        let certificate = self.folder.join(format!("{name}.crt"));
        let key = self.folder.join(format!("{name}.key"));
        write(&certificate, &signed.pem(), 0o644);
        write(&key, &key_pair.serialize_pem(), 0o600);
        ClientCertificate { certificate, key }
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a self-signed certificate");
    (certificate.pem(), Issuer::new(params, key))
}

fn parameters(common_name: &str, names: &[&str], usage: ExtendedKeyUsagePurpose, expired: bool) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names for a certificate");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = if expired { rcgen::date_time_ymd(2021, 1, 1) } else { rcgen::date_time_ymd(2120, 1, 1) };
    params
}

fn write(path: &Path, text: &str, mode: u32) {
    let written = fs::write(path, "").and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    written.and_then(|()| fs::write(path, text)).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    if mode == 0o644 {
        nursery::give(path);
    }
}
