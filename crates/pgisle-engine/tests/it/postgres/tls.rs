use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::spec::SslMode;
use pgisle_engine::local::find_program;
use pgisle_engine::postgres::tls::{ClientIdentity, Roots, TlsOptions};
use pgisle_engine::postgres::{ConnectOptions, Host, Session};
use pgisle_testkit::{ClientCertificate, Cluster, ServerCertificate, installations, skip};

use super::{login, superuser};

const MODES: [SslMode; 4] = [SslMode::Disable, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];

async fn tls_cluster(certificate: ServerCertificate) -> Option<Cluster> {
    let found = installations().await.iter().find(|found| found.tls)?;
    Some(Cluster::builder().major(found.major).tls(certificate).start().await)
}

fn options(cluster: &Cluster, host: &str, mode: SslMode, roots: Roots) -> ConnectOptions {
    let mut options = login(cluster, cluster.superuser(), cluster.password());
    options.host = Host::Tcp(host.to_owned());
    options.with_tls(TlsOptions::new(mode, roots, None))
}

/// The TLS version of the session, or what was wrong.
async fn attempt(options: &ConnectOptions) -> Result<Option<String>, Box<Diagnostic>> {
    let session = Session::connect(options).await.map_err(|error| Box::new(error.diagnostic()))?;
    let sql = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    let rows = session.query(sql, &[]).await.expect("pg_stat_ssl");
    session.close().await;
    Ok(rows.first().map(|row| row.get(0)))
}

fn assert_refused(outcome: &Result<Option<String>, Box<Diagnostic>>, words: &str) {
    let diagnostic = outcome.as_ref().expect_err("a refusal");
    assert_eq!(diagnostic.code, Code::CONNECT_TLS, "{diagnostic}");
    assert!(diagnostic.to_string().contains(words), "{words:?} is not in {diagnostic}");
}

fn assert_tls(outcome: &Result<Option<String>, Box<Diagnostic>>) {
    assert_eq!(outcome.as_ref().map(Option::as_deref), Ok(Some("TLSv1.3")));
}

#[tokio::test]
async fn a_good_certificate_satisfies_every_mode() {
    let Some(cluster) = tls_cluster(ServerCertificate::Valid).await else { skip!("no PostgreSQL with TLS") };
    let ca = Roots::File(cluster.tls().ca());
    for host in ["localhost", "127.0.0.1"] {
        for mode in MODES {
            let outcome = attempt(&options(&cluster, host, mode, ca.clone())).await;
            if mode == SslMode::Disable { assert_eq!(outcome, Ok(None)) } else { assert_tls(&outcome) }
        }
    }
    assert_tls(&attempt(&options(&cluster, "localhost", SslMode::Require, Roots::Default)).await);
}

#[tokio::test]
async fn tls_1_2_is_spoken_too() {
    let Some(found) = installations().await.iter().find(|found| found.tls) else { skip!("no PostgreSQL with TLS") };
    let builder = Cluster::builder().major(found.major).tls(ServerCertificate::Valid);
    let cluster = builder.conf("ssl_max_protocol_version", "TLSv1.2").start().await;
    let outcome = attempt(&options(&cluster, "localhost", SslMode::VerifyFull, Roots::File(cluster.tls().ca()))).await;
    assert_eq!(outcome, Ok(Some("TLSv1.2".to_owned())));
}

#[tokio::test]
async fn an_authority_that_is_not_known_is_refused() {
    let Some(cluster) = tls_cluster(ServerCertificate::Valid).await else { skip!("no PostgreSQL with TLS") };
    let other = Roots::File(cluster.tls().other_ca());
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        for roots in [other.clone(), Roots::Default, Roots::System] {
            assert_refused(&attempt(&options(&cluster, "localhost", mode, roots)).await, "authority that is not known here");
        }
    }
    // Whoever names an authority wants it checked, as with libpq.
    assert_refused(&attempt(&options(&cluster, "localhost", SslMode::Require, other)).await, "postgres_sslrootcert");
    assert_tls(&attempt(&options(&cluster, "localhost", SslMode::Require, Roots::Default)).await);
}

#[tokio::test]
async fn an_expired_certificate_is_refused_where_it_is_checked() {
    let Some(cluster) = tls_cluster(ServerCertificate::Expired).await else { skip!("no PostgreSQL with TLS") };
    let ca = Roots::File(cluster.tls().ca());
    assert_tls(&attempt(&options(&cluster, "localhost", SslMode::Require, Roots::Default)).await);
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        assert_refused(&attempt(&options(&cluster, "localhost", mode, ca.clone())).await, "has expired");
    }
}

#[tokio::test]
async fn only_verify_full_minds_the_name() {
    let Some(cluster) = tls_cluster(ServerCertificate::WrongHost).await else { skip!("no PostgreSQL with TLS") };
    let ca = Roots::File(cluster.tls().ca());
    assert_tls(&attempt(&options(&cluster, "localhost", SslMode::Require, Roots::Default)).await);
    assert_tls(&attempt(&options(&cluster, "localhost", SslMode::VerifyCa, ca.clone())).await);
    for host in ["localhost", "127.0.0.1"] {
        let outcome = attempt(&options(&cluster, host, SslMode::VerifyFull, ca.clone())).await;
        assert_refused(&outcome, &format!("not for \"{host}\""));
        assert_refused(&outcome, "elsewhere.example");
        assert_refused(&outcome, "192.0.2.1");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_rather_than_spoken_to_in_clear() {
    let cluster = Cluster::start().await;
    for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
        assert_refused(&attempt(&options(&cluster, "localhost", mode, Roots::Default)).await, "does not offer TLS");
    }
    assert_eq!(attempt(&options(&cluster, "localhost", SslMode::Disable, Roots::Default)).await, Ok(None));
    // On a socket there is no TLS, whatever the mode.
    let socket = superuser(&cluster).with_tls(TlsOptions::new(SslMode::VerifyFull, Roots::Default, None));
    assert_eq!(attempt(&socket).await, Ok(None));
}

#[tokio::test]
async fn a_self_signed_certificate_vouches_for_itself_when_it_is_named() {
    let Some(found) = installations().await.iter().find(|found| found.tls) else { skip!("no PostgreSQL with TLS") };
    let cluster = Cluster::builder().major(found.major).tls(ServerCertificate::Valid).start().await;
    let server_files = cluster.tls().ca().parent().expect("its folder").to_owned();
    let root = server_files.join("self.crt");
    let roots = Roots::File(root.clone());
    for year in [2120, 2021] {
        // As PostgreSQL's manual makes one: its own authority, and a common name only.
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        fs::write(server_files.join("server.crt"), &certificate).expect("written");
        fs::write(server_files.join("server.key"), key.serialize_pem()).expect("written");
        fs::write(&root, &certificate).expect("written");
        cluster.restart().await;
        for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
            let outcome = attempt(&options(&cluster, "localhost", mode, roots.clone())).await;
            if year == 2120 { assert_tls(&outcome) } else { assert_refused(&outcome, "has expired") }
        }
        if year == 2120 {
            let outcome = attempt(&options(&cluster, "127.0.0.1", SslMode::VerifyFull, roots.clone())).await;
            assert_refused(&outcome, "not for \"127.0.0.1\"");
            let other = Roots::File(cluster.tls().ca());
            attempt(&options(&cluster, "localhost", SslMode::VerifyCa, other)).await.expect_err("another authority was named");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

async fn openssl(arguments: &[&str]) {
    let mut invocation = pgisle_engine::process::Invocation::new(find_program("openssl").expect("openssl"));
    for argument in arguments {
        invocation = invocation.argument(argument);
    }
    invocation.run().await.expect("openssl");
}

async fn client_cluster() -> Option<Cluster> {
    let found = installations().await.iter().find(|found| found.tls)?;
    let builder = Cluster::builder().major(found.major).tls(ServerCertificate::Valid).hba("hostssl all all 127.0.0.1/32 cert");
    let cluster = builder.start().await;
    cluster.psql("CREATE ROLE app LOGIN").await;
    Some(cluster)
}

fn with_identity(cluster: &Cluster, certificate: PathBuf, key: PathBuf) -> ConnectOptions {
    let tls = TlsOptions::new(SslMode::VerifyFull, Roots::File(cluster.tls().ca()), Some(ClientIdentity { certificate, key }));
    login(cluster, "app", "unused").with_tls(tls)
}

#[tokio::test]
async fn a_client_certificate_logs_in() {
    let Some(cluster) = client_cluster().await else { skip!("no PostgreSQL with TLS") };
    let ClientCertificate { certificate, key } = cluster.tls().client("app");
    assert_tls(&attempt(&with_identity(&cluster, certificate.clone(), key.clone())).await);

    // The same key in the two older forms.
    if find_program("openssl").is_none() {
        skip!("openssl is not installed");
    }
    for (option, name) in [("ec", "sec1.key"), ("rsa", "pkcs1.key")] {
        let folder = tempfile::tempdir().expect("a folder");
        let converted = folder.path().join(name);
        if option == "ec" {
            openssl(&["ec", "-in", text(&key), "-out", text(&converted)]).await;
            fs::set_permissions(&converted, fs::Permissions::from_mode(0o600)).expect("mode");
            assert!(fs::read_to_string(&converted).expect("the key").contains("BEGIN EC PRIVATE KEY"));
            assert_tls(&attempt(&with_identity(&cluster, certificate.clone(), converted)).await);
        } else {
            openssl(&["genrsa", "-traditional", "-out", text(&converted), "2048"]).await;
            fs::set_permissions(&converted, fs::Permissions::from_mode(0o600)).expect("mode");
            assert!(fs::read_to_string(&converted).expect("the key").contains("BEGIN RSA PRIVATE KEY"));
            // It is read, and it is not the certificate's.
            let diagnostic = attempt(&with_identity(&cluster, certificate.clone(), converted)).await.expect_err("another key");
            assert_eq!(diagnostic.code, Code::CONNECT_CONFIG, "{diagnostic}");
        }
    }
}

#[tokio::test]
async fn a_bad_client_certificate_is_explained() {
    let Some(cluster) = client_cluster().await else { skip!("no PostgreSQL with TLS") };
    let other = cluster.tls().client("someone_else");
    let diagnostic = attempt(&with_identity(&cluster, other.certificate, other.key)).await.expect_err("not app's");
    assert_eq!(diagnostic.code, Code::CONNECT_AUTH, "{diagnostic}");
    let old = cluster.tls().expired_client("app");
    assert_refused(&attempt(&with_identity(&cluster, old.certificate, old.key)).await, "client's certificate");
    let none = options(&cluster, "127.0.0.1", SslMode::VerifyFull, Roots::File(cluster.tls().ca()));
    let diagnostic = attempt(&none).await.expect_err("no certificate");
    assert_eq!(diagnostic.code, Code::CONNECT_AUTH, "{diagnostic}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let Some(cluster) = client_cluster().await else { skip!("no PostgreSQL with TLS") };
    let good = cluster.tls().client("app");
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "nothing\n").expect("written");
    let expect = async |options: ConnectOptions, words: &[&str]| {
        let diagnostic = attempt(&options).await.expect_err("a refusal");
        assert_eq!(diagnostic.code, Code::CONNECT_CONFIG, "{diagnostic}");
        for word in words {
            assert!(diagnostic.to_string().contains(word), "{word:?} is not in {diagnostic}");
        }
    };
    let missing = PathBuf::from("/nowhere/root.crt");
    expect(options(&cluster, "localhost", SslMode::VerifyCa, Roots::File(missing.clone())), &["/nowhere/root.crt", "o such file"])
        .await;
    expect(options(&cluster, "localhost", SslMode::VerifyCa, Roots::File(empty.clone())), &["empty.pem", "holds no certificate"])
        .await;
    expect(with_identity(&cluster, missing.clone(), good.key.clone()), &["client certificate", "/nowhere"]).await;
    expect(with_identity(&cluster, good.certificate.clone(), missing), &["private key", "/nowhere"]).await;
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o600)).expect("mode");
    expect(with_identity(&cluster, good.certificate.clone(), empty), &["holds no unencrypted private key"]).await;
    fs::set_permissions(&good.key, fs::Permissions::from_mode(0o644)).expect("mode");
    expect(with_identity(&cluster, good.certificate, good.key), &["mode 0644", "chmod 0600"]).await;
}

#[tokio::test]
async fn scram_is_bound_to_the_channel() {
    let Some(cluster) = tls_cluster(ServerCertificate::Valid).await else { skip!("no PostgreSQL with TLS") };
    let bound = |mode| {
        let mut options = options(&cluster, "localhost", mode, Roots::File(cluster.tls().ca()));
        options.require_channel_binding = true;
        options
    };
    assert_tls(&attempt(&bound(SslMode::VerifyFull)).await);
    let diagnostic = attempt(&bound(SslMode::Disable)).await.expect_err("there is no channel to bind to");
    assert_eq!(diagnostic.code, Code::CONNECT_AUTH);
    assert!(diagnostic.to_string().contains("hannel binding"), "{diagnostic}");
}
