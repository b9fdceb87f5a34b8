//! The fake provider's process, and a caller of it that is not Terraform.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::UnixStream;

use crate::place::{fake, wait_for};

/// What go-plugin sets.
pub(crate) const COOKIE: (&str, &str) =
    ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");

/// Who calls.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    key: KeyPair,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// One that shows the certificate of the one and has the key of the other.
    pub(crate) fn forged(certificate: &Self, key: Self) -> Self {
        Self { certificate: certificate.certificate.clone(), pem: certificate.pem.clone(), key: key.key }
    }
}

/// The process. It is killed when this is dropped.
pub(crate) struct Plugin {
    child: std::cell::RefCell<Child>,
    stdout: BufReader<ChildStdout>,
    line: String,
    log: tempfile::NamedTempFile,
    socket: PathBuf,
    certificate: Option<CertificateDer<'static>>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ended = child.kill();
        let _reaped = child.wait();
    }
}

impl Plugin {
    /// Starts it as Terraform does, for whoever shows this certificate.
    pub(crate) fn start(client: &Identity) -> Self {
        let mut command = Command::new(fake());
        command.env(COOKIE.0, COOKIE.1).env("PLUGIN_CLIENT_CERT", &client.pem).env("PLUGIN_PROTOCOL_VERSIONS", "5,6");
        let mut plugin = Self::spawn(command);
        let parts: Vec<&str> = plugin.line.trim_end().split('|').collect();
        let [core, protocol, network, socket, kind, certificate] = parts[..] else { panic!("{}", plugin.line) };
        assert_eq!((core, protocol, network, kind), ("1", "6", "unix", "grpc"));
        let certificate = base64::engine::general_purpose::STANDARD_NO_PAD.decode(certificate).unwrap();
        (plugin.socket, plugin.certificate) = (PathBuf::from(socket), Some(certificate.into()));
        plugin
    }

    /// Starts it as a person does who will start Terraform.
    pub(crate) fn debug() -> Self {
        let mut command = Command::new(fake());
        command.arg("-debug");
        let mut plugin = Self::spawn(command);
        let reattach: serde_json::Value = serde_json::from_str(plugin.reattach()).unwrap();
        let socket = reattach["registry.terraform.io/example/fake"]["Addr"]["String"].as_str().unwrap();
        plugin.socket = PathBuf::from(socket);
        plugin
    }

    fn spawn(mut command: Command) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        Self { child: child.into(), stdout, line, log, socket: PathBuf::new(), certificate: None }
    }

    /// What a person gives to Terraform in `TF_REATTACH_PROVIDERS`.
    pub(crate) fn reattach(&self) -> &str {
        let quoted = self.line.strip_prefix("TF_REATTACH_PROVIDERS='").and_then(|rest| rest.strip_suffix("'\n"));
        quoted.unwrap_or_else(|| panic!("{}", self.line))
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it wrote to standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child.borrow()), signal).unwrap();
    }

    /// The exit code, once it has ended. Fails when it does not, or when it wrote more than its one line.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let status = wait_for("the provider's end", 5, || self.child.borrow_mut().try_wait().unwrap());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "standard output has the handshake alone");
        status.code()
    }

    /// Connects, and waits until the server has taken the caller for the one it serves.
    pub(crate) async fn connect(&self, identity: Option<&Identity>) -> Result<Caller, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let expected = Announced { certificate: self.certificate.clone().unwrap(), algorithms };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(expected));
        let mut config = match identity {
            Some(Identity { certificate, key, .. }) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                let key = provider.key_provider.load_private_key(key).unwrap();
                // It does not look whether the two belong together.
                let shown = CertifiedKey::new(vec![certificate.clone()], key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream =
            connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.map_err(|error| error.to_string())?;
        let connected = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = connected.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut caller = Caller { sender, connection };
        caller.call("/grpc.health.v1.Health/Check", b"").await.map(|_| caller)
    }
}

/// Takes the certificate that the handshake announced. Terraform takes it for an authority, which rustls does not do.
#[derive(Debug)]
struct Announced {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Announced {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        assert_eq!(*end_entity, self.certificate);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 is expected".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A connection.
pub(crate) struct Caller {
    sender: SendRequest<Full<Bytes>>,
    connection: tokio::task::JoinHandle<()>,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) grpc: String,
    pub(crate) body: Vec<u8>,
}

impl Caller {
    /// A call as it should be.
    pub(crate) async fn call(&mut self, path: &str, message: &[u8]) -> Result<Answer, String> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.send(path, "application/grpc", [&[0], &length[..], message].concat()).await
    }

    /// Anything.
    pub(crate) async fn send(&mut self, path: &str, kind: &str, body: Vec<u8>) -> Result<Answer, String> {
        let request = Request::post(format!("https://localhost{path}")).header("content-type", kind);
        let answered = async {
            let response = self.sender.send_request(request.body(Full::from(body)).unwrap()).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await?;
            let trailer = body.trailers().and_then(|trailers| trailers.get("grpc-status")).or(head.headers.get("grpc-status"));
            let grpc = trailer.map_or_else(String::new, |status| status.to_str().unwrap().to_owned());
            Ok(Answer { http: head.status.as_u16(), grpc, body: body.to_bytes().to_vec() })
        };
        let answered = tokio::time::timeout(Duration::from_secs(20), answered).await.map_err(|_| "no answer in time".to_owned())?;
        answered.map_err(|error: hyper::Error| error.to_string())
    }

    /// Begins a call, and hangs up when the provider has it.
    pub(crate) async fn begin(mut self, path: &str, message: &[u8], has_it: impl Fn() -> bool) {
        let connection = self.connection.abort_handle();
        let call = self.call(path, message);
        tokio::pin!(call);
        let seen = async {
            while !has_it() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            answer = &mut call => panic!("it is answered already: {answer:?}"),
            () = seen => connection.abort(),
        }
    }
}
