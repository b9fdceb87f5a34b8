//! The certificates, judged by a real client.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pgisle_testkit::{ClientCertificate, Cluster, ServerCertificate};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

async fn try_connect(
    cluster: &Cluster,
    host: &str,
    user: &str,
    ca: &Path,
    client: Option<&ClientCertificate>,
) -> Result<bool, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(ClientCertificate { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    // Not Cluster::config, which names 127.0.0.1 already: only the wanted name shall be checked.
    let mut only = tokio_postgres::Config::new();
    only.host(host).hostaddr("127.0.0.1".parse().unwrap()).port(cluster.port()).user(user).password(cluster.password());
    only.dbname("postgres").ssl_mode(SslMode::Require);
    match only.connect(MakeRustlsConnect::new(config)).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            Ok(client.query_one(query, &[]).await.map_err(|error| format!("{error:?}"))?.get(0))
        }
        Err(error) => Err(format!("{error:?}")),
    }
}

#[tokio::test]
async fn a_valid_certificate_is_accepted_for_its_names_and_its_authority() {
    let cluster = Cluster::builder().tls(ServerCertificate::Valid).start().await;
    let (ca, user) = (cluster.tls().ca(), cluster.superuser());
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(try_connect(&cluster, host, user, &ca, None).await, Ok(true));
    }
    let error = try_connect(&cluster, "elsewhere.example", user, &ca, None).await.unwrap_err();
    assert!(error.contains("NotValidForName"), "{error}");
    let error = try_connect(&cluster, "localhost", user, &cluster.tls().other_ca(), None).await.unwrap_err();
    assert!(error.contains("UnknownIssuer") || error.contains("BadSignature"), "{error}");
}

#[tokio::test]
async fn bad_certificates_are_bad_in_the_way_they_say() {
    for (certificate, expected) in [(ServerCertificate::Expired, "Expired"), (ServerCertificate::WrongHost, "NotValidForName")] {
        let cluster = Cluster::builder().tls(certificate).start().await;
        let error = try_connect(&cluster, "localhost", cluster.superuser(), &cluster.tls().ca(), None).await.unwrap_err();
        assert!(error.contains(expected), "{certificate:?}: {error}");
    }
}

#[tokio::test]
async fn the_server_takes_client_certificates_by_their_name() {
    let cluster = Cluster::builder().tls(ServerCertificate::Valid).hba("hostssl all all 127.0.0.1/32 cert").start().await;
    cluster.psql("CREATE ROLE app LOGIN").await;
    let tls = cluster.tls();
    let ca = tls.ca();
    let own = tls.client("app");
    assert_eq!(try_connect(&cluster, "localhost", "app", &ca, Some(&own)).await, Ok(true));
    for refused in [Some(tls.client("other")), Some(tls.expired_client("app")), None] {
        assert!(try_connect(&cluster, "localhost", "app", &ca, refused.as_ref()).await.is_err(), "{refused:?}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&own.key).unwrap().permissions().mode() & 0o777, 0o600);
}
