//! TLS by rustls with ring, given explicitly so that no process-wide default decides.
//!
//! `require` encrypts and does not look who the server is, unless `postgres_sslrootcert` was given: then it checks the chain, as
//! libpq does, because whoever names an authority means it. `verify-ca` checks the chain, `verify-full` the name too.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use pgisle_core::spec::SslMode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;

/// Who may vouch for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Nobody was named: the system's authorities where a check is demanded.
    Default,
    /// The system's authorities.
    System,
    /// The authorities in a PEM file.
    File(PathBuf),
}

/// The client's certificate and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// How far TLS is demanded, and with which files.
#[derive(Clone)]
pub struct TlsOptions {
    mode: SslMode,
    roots: Roots,
    identity: Option<ClientIdentity>,
    /// The files are read once, however many connections follow.
    loaded: Arc<OnceLock<MakeRustlsConnect>>,
}

impl std::fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mode, roots, identity, loaded: _ } = self;
        f.debug_struct("TlsOptions").field("mode", mode).field("roots", roots).field("identity", identity).finish_non_exhaustive()
    }
}

impl TlsOptions {
    /// Makes options; no file is read before the first connection.
    #[must_use]
    pub fn new(mode: SslMode, roots: Roots, identity: Option<ClientIdentity>) -> Self {
        Self { mode, roots, identity, loaded: Arc::default() }
    }

    /// No TLS.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new(SslMode::Disable, Roots::Default, None)
    }

    /// The mode.
    #[must_use]
    pub fn mode(&self) -> SslMode {
        self.mode
    }

    /// Who may vouch for the server.
    pub(super) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The client's certificate, when there is one.
    pub(super) fn identity(&self) -> Option<&ClientIdentity> {
        self.identity.as_ref()
    }

    /// The same without the client's certificate.
    #[must_use]
    pub(super) fn without_identity(&self) -> Self {
        if self.identity.is_none() { self.clone() } else { Self::new(self.mode, self.roots.clone(), None) }
    }

    /// The connector; none when TLS is off.
    pub(crate) fn connector(&self) -> Result<Option<MakeRustlsConnect>, TlsFileError> {
        if self.mode == SslMode::Disable {
            return Ok(None);
        }
        if let Some(connector) = self.loaded.get() {
            return Ok(Some(connector.clone()));
        }
        let connector = MakeRustlsConnect::new(client_config(self)?);
        Ok(Some(self.loaded.get_or_init(|| connector).clone()))
    }
}

/// Why a file that TLS needs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("{purpose} file \"{}\" cannot be read", path.display())]
    Read {
        /// What it is for.
        purpose: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// It holds nothing of the kind.
    #[error("{purpose} file \"{}\" holds no {wanted}", path.display())]
    Empty {
        /// What it is for.
        purpose: &'static str,
        /// Where.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// What it holds cannot be used.
    #[error("{purpose} file \"{}\" cannot be used", path.display())]
    Content {
        /// What it is for.
        purpose: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Others may read the key.
    #[error("private key file \"{}\" has mode {mode:04o}, so others may read it", path.display())]
    KeyMode {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system has no authorities.
    #[error("no certificate authority is installed on this system")]
    NoSystemRoots,
    /// rustls does not take the set-up.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

fn client_config(options: &TlsOptions) -> Result<ClientConfig, TlsFileError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let check = ServerCheck::load(options, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsFileError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(check));
    let Some(identity) = &options.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates("client certificate", &identity.certificate)?;
    let key = private_key(&identity.key)?;
    builder.with_client_auth_cert(chain, key).map_err(|source| TlsFileError::Content {
        purpose: "client certificate",
        path: identity.certificate.clone(),
        source,
    })
}

fn certificates(purpose: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = |source| TlsFileError::Read { purpose, path: path.to_owned(), source };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if certificates.is_empty() {
        return Err(TlsFileError::Empty { purpose, path: path.to_owned(), wanted: "certificate" });
    }
    Ok(certificates)
}

/// Reads a key. As libpq: only its owner may read it, or its group too when it belongs to root.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let purpose = "private key";
    let read = |source| TlsFileError::Read { purpose, path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(|error| read(rustls::pki_types::pem::Error::Io(error)))?;
    let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(TlsFileError::KeyMode { path: path.to_owned(), mode });
    }
    match PrivateKeyDer::from_pem_file(path) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            Err(TlsFileError::Empty { purpose, path: path.to_owned(), wanted: "unencrypted private key" })
        }
        Err(error) => Err(read(error)),
    }
}

/// How the server's certificate is checked.
#[derive(Debug)]
struct ServerCheck {
    /// None: not at all.
    authorities: Option<Authorities>,
    name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCheck {
    fn load(options: &TlsOptions, provider: &CryptoProvider) -> Result<Self, TlsFileError> {
        let algorithms = provider.signature_verification_algorithms;
        let name = options.mode == SslMode::VerifyFull;
        let authorities = match (options.mode, &options.roots) {
            (SslMode::Disable | SslMode::Require, Roots::Default) => None,
            (_, Roots::Default | Roots::System) => Some(system_roots()?),
            (_, Roots::File(path)) => Some(file_roots(path)?),
        };
        Ok(Self { authorities, name, algorithms })
    }
}

/// Who may vouch for the server.
#[derive(Debug)]
struct Authorities {
    roots: RootCertStore,
    /// The certificates that the user named. A server that shows one of these is the one that is meant.
    named: Vec<CertificateDer<'static>>,
}

fn system_roots() -> Result<Authorities, TlsFileError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsFileError::NoSystemRoots) } else { Ok(Authorities { roots, named: Vec::new() }) }
}

fn file_roots(path: &Path) -> Result<Authorities, TlsFileError> {
    let purpose = "certificate authority";
    let named = certificates(purpose, path)?;
    let mut roots = RootCertStore::empty();
    for certificate in named.clone() {
        roots.add(certificate).map_err(|source| TlsFileError::Content { purpose, path: path.to_owned(), source })?;
    }
    Ok(Authorities { roots, named })
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(Authorities { roots, named }) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let chain = verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, self.algorithms.all);
        if let Err(error) = chain {
            // A self-signed certificate made as PostgreSQL's manual says is an authority's, which no server may show, except
            // to someone who named exactly this one.
            if !named.contains(end_entity) || !is_authority_as_server(&error) {
                return Err(error);
            }
            check_dates(end_entity, now)?;
        }
        if self.name
            && let Err(error) = verify_server_name(&certificate, server_name)
            && !common_name_fits(end_entity, server_name)
        {
            return Err(error);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// rustls gives this one error of its verifier only as a text.
fn is_authority_as_server(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "CaUsedAsEndEntity")
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let parsed = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate.validity;
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

/// As libpq: where a certificate has no alternative name at all, its common name counts.
fn common_name_fits(certificate: &CertificateDer<'_>, server_name: &ServerName<'_>) -> bool {
    common_names(certificate).iter().any(|name| name.eq_ignore_ascii_case(&server_name.to_str()))
}

/// The common names of a certificate without alternative names.
fn common_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = Certificate::from_der(certificate) else { return Vec::new() };
    let tbs = parsed.tbs_certificate;
    if tbs.extensions.iter().flatten().any(|extension| extension.extn_id == SUBJECT_ALT_NAME) {
        return Vec::new();
    }
    let attributes = tbs.subject.0.iter().flat_map(|part| part.0.iter());
    let common = attributes.filter(|attribute| attribute.oid == COMMON_NAME);
    common.filter_map(|attribute| std::str::from_utf8(attribute.value.value()).ok().map(str::to_owned)).collect()
}

/// `id-ce-subjectAltName`.
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// `id-at-commonName`.
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// What kind of trouble with TLS it is, as far as something else is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsTrouble {
    /// The server does not offer it.
    Absent,
    /// Its certificate is signed by somebody unknown.
    Authority,
    /// Its certificate is another host's.
    Name,
    /// Its certificate's time is over.
    Expired,
    /// Its certificate's time has not come.
    Early,
    /// Anything else.
    Other,
}

impl TlsTrouble {
    pub(super) fn of(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(certificate) = error else { return Self::Other };
        match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::Early,
            CertificateError::UnknownIssuer => Self::Authority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            _ => Self::Other,
        }
    }
}

/// What is wrong with the handshake, as a sentence and what to do about it.
pub(super) fn explain(error: &rustls::Error) -> (String, Option<String>) {
    let rustls::Error::InvalidCertificate(certificate) = error else { return explain_alert(error) };
    match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("The server's certificate has expired.".to_owned(), Some("Renew it on the server.".to_owned()))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let hint = "Compare this machine's clock with the server's.";
            ("The server's certificate is not valid yet.".to_owned(), Some(hint.to_owned()))
        }
        CertificateError::UnknownIssuer => (
            "The server's certificate is signed by an authority that is not known here.".to_owned(),
            Some("Name the authority's PEM file in postgres_sslrootcert.".to_owned()),
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let mut detail = format!("The server's certificate is not for \"{}\"", expected.to_str());
            if presented.is_empty() {
                detail.push_str(": it has no alternative name at all.");
            } else {
                let _ = write!(detail, ": it is for {}.", presented.join(", "));
            }
            let hint = "Connect by a name that the certificate has, or accept any name of this authority with \
                        postgres_sslmode = \"verify-ca\".";
            (detail, Some(hint.to_owned()))
        }
        other => (format!("The server's certificate cannot be used: {other}."), None),
    }
}

/// An alert is what the server found wrong, and of a client it can only be the certificate or the version.
fn explain_alert(error: &rustls::Error) -> (String, Option<String>) {
    use rustls::AlertDescription as Alert;
    let rustls::Error::AlertReceived(alert) = error else { return (format!("The handshake failed: {error}."), None) };
    let detail = match alert {
        Alert::CertificateRequired | Alert::NoCertificate => "The server wants a client's certificate.",
        Alert::CertificateExpired => "The server says that the client's certificate has expired.",
        Alert::CertificateRevoked => "The server says that the client's certificate is revoked.",
        Alert::UnknownCA => "The server does not know the authority that signed the client's certificate.",
        Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown | Alert::DecryptError => {
            "The server does not accept the client's certificate."
        }
        Alert::ProtocolVersion => "The server speaks no version of TLS that is safe.",
        other => return (format!("The server ended the handshake: {other:?}."), None),
    };
    let hint = "Its files are postgres_sslcert and postgres_sslkey.";
    (detail.to_owned(), (*alert != Alert::ProtocolVersion).then(|| hint.to_owned()))
}
