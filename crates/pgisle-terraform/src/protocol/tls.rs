//! Who may call: the one who shows exactly the certificate that Terraform announced, and has its key.
//!
//! Both sides make a certificate for one run (AutoMTLS). Terraform's key is on the curve P-521, which ring does not know; the one
//! check that needs it is added to ring's.

use std::sync::Arc;

use p521::ecdsa::signature::Verifier as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, PrivateKeyDer, PrivatePkcs8KeyDer, SignatureVerificationAlgorithm,
    UnixTime, alg_id,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

/// Terraform takes the certificate for a server of this name.
const SERVER_NAME: &str = "localhost";

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The client's certificate is not one.
    #[error("the client's certificate in the environment cannot be read")]
    ClientCertificate(#[source] rustls::pki_types::pem::Error),
    /// The server's own cannot be made.
    #[error("a certificate cannot be made")]
    OwnCertificate(#[source] rcgen::Error),
    /// rustls does not take the set-up.
    #[error("TLS cannot be set up")]
    Setup(#[source] Error),
}

/// The set-up of the server, and its certificate, which Terraform is told.
pub(super) fn server(client_certificate_pem: &[u8]) -> Result<(Arc<ServerConfig>, CertificateDer<'static>), TlsError> {
    let client = CertificateDer::from_pem_slice(client_certificate_pem).map_err(TlsError::ClientCertificate)?;
    let (certificate, key) = own_certificate().map_err(TlsError::OwnCertificate)?;
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(Arc::new(ExactlyThis::new(client, &provider)))
        .with_single_cert(vec![certificate.clone()], key)
        .map_err(TlsError::Setup)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // One connection for the whole run: there is nothing to resume.
    config.send_tls13_tickets = 0;
    Ok((Arc::new(config), certificate))
}

/// Terraform puts the certificate among its authorities, and then expects it to sign for itself: it must be one.
fn own_certificate() -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, SERVER_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().clone(), PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))))
}

/// Takes one certificate and no other. Neither its time nor its issuer matters: it was made for this run and announced by the parent.
#[derive(Debug)]
struct ExactlyThis {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ExactlyThis {
    fn new(certificate: CertificateDer<'static>, provider: &CryptoProvider) -> Self {
        Self { certificate, algorithms: provider.signature_verification_algorithms }
    }

    fn algorithms(&self, scheme: SignatureScheme) -> &WebPkiSupportedAlgorithms {
        if scheme == SignatureScheme::ECDSA_NISTP521_SHA512 { &P521_ALONE } else { &self.algorithms }
    }
}

impl ClientCertVerifier for ExactlyThis {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, self.algorithms(dss.scheme))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, self.algorithms(dss.scheme))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.push(SignatureScheme::ECDSA_NISTP521_SHA512);
        schemes
    }
}

static P521_ALONE: WebPkiSupportedAlgorithms =
    WebPkiSupportedAlgorithms { all: &[&EcdsaP521], mapping: &[(SignatureScheme::ECDSA_NISTP521_SHA512, &[&EcdsaP521])] };

/// ECDSA on P-521 with SHA-512.
#[derive(Debug)]
struct EcdsaP521;

impl SignatureVerificationAlgorithm for EcdsaP521 {
    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = p521::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }
}

#[cfg(test)]
mod tests {
    use p521::ecdsa::signature::Signer as _;
    use p521::ecdsa::{Signature, SigningKey};

    use super::*;

    #[test]
    fn only_a_signature_by_the_key_of_the_message_is_taken() {
        let key = |byte| SigningKey::from_slice(&[&[0], &[byte; 65][..]].concat()).expect("a key");
        let public = |key: &SigningKey| key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        let (own, other) = (key(7), key(8));
        let signature: Signature = own.sign(b"message");
        let signature = signature.to_der().as_bytes().to_vec();
        let verified =
            |public: &[u8], message: &[u8], signature: &[u8]| EcdsaP521.verify_signature(public, message, signature).is_ok();
        assert!(verified(&public(&own), b"message", &signature));
        assert!(!verified(&public(&other), b"message", &signature));
        assert!(!verified(&public(&own), b"another", &signature));
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert!(!verified(&public(&own), b"message", &changed), "byte {at}");
            assert!(!verified(&public(&own), b"message", &signature[..at]), "cut at {at}");
        }
        for garbage in [&b""[..], b"\x04", &[4; 133], &[0; 133]] {
            assert!(!verified(garbage, b"message", &signature));
        }
    }

    #[test]
    fn a_certificate_that_is_none_is_refused() {
        for garbage in ["", "garbage", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(server(garbage.as_bytes()), Err(TlsError::ClientCertificate(_))), "{garbage}");
        }
    }
}
