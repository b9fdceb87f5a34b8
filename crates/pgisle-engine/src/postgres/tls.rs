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
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

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

    /// The same without the client's certificate.
    #[must_use]
    pub(super) fn without_identity(&self) -> Self {
        if self.identity.is_none() { self.clone() } else { Self::new(self.mode, self.roots.clone(), None) }
    }

    /// The connector; none when TLS is off.
    pub(super) fn connector(&self) -> Result<Option<MakeRustlsConnect>, TlsFileError> {
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
    roots: Option<RootCertStore>,
    name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCheck {
    fn load(options: &TlsOptions, provider: &CryptoProvider) -> Result<Self, TlsFileError> {
        let algorithms = provider.signature_verification_algorithms;
        let name = options.mode == SslMode::VerifyFull;
        let roots = match (options.mode, &options.roots) {
            (SslMode::Disable | SslMode::Require, Roots::Default) => None,
            (_, Roots::Default | Roots::System) => Some(system_roots()?),
            (_, Roots::File(path)) => Some(file_roots(path)?),
        };
        Ok(Self { roots, name, algorithms })
    }
}

fn system_roots() -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsFileError::NoSystemRoots) } else { Ok(roots) }
}

fn file_roots(path: &Path) -> Result<RootCertStore, TlsFileError> {
    let purpose = "certificate authority";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(purpose, path)? {
        roots.add(certificate).map_err(|source| TlsFileError::Content { purpose, path: path.to_owned(), source })?;
    }
    Ok(roots)
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
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, self.algorithms.all)?;
        if self.name {
            verify_server_name(&certificate, server_name)?;
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

/// What is wrong with the handshake, as a sentence and what to do about it.
pub(super) fn explain(error: &rustls::Error) -> (String, Option<String>) {
    use rustls::CertificateError as Certificate;
    let rustls::Error::InvalidCertificate(certificate) = error else { return (explain_alert(error), None) };
    match certificate {
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            ("The server's certificate has expired.".to_owned(), Some("Renew it on the server.".to_owned()))
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            let hint = "Compare this machine's clock with the server's.";
            ("The server's certificate is not valid yet.".to_owned(), Some(hint.to_owned()))
        }
        Certificate::UnknownIssuer => (
            "The server's certificate is signed by an authority that is not known here.".to_owned(),
            Some("Name the authority's PEM file in postgres_sslrootcert.".to_owned()),
        ),
        Certificate::NotValidForNameContext { expected, presented } => {
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

fn explain_alert(error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(alert) => format!("The server ended the handshake: {alert:?}."),
        other => format!("The handshake failed: {other}."),
    }
}
