//! Ways to the server, as someone who knows libpq expects them: TLS modes, client certificates, sockets, password files, services.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pgisle_testkit::{ClientCertificate, Cluster, ServerCertificate};

use crate::program::Place;

/// The least that `status` works on.
const SPEC: &str = "service \"orders\" {}\n";

fn project(cluster: &Cluster, settings: &[(&str, &str)]) -> Place {
    let host = [("postgres_host", "localhost"), ("postgres_username", cluster.superuser())];
    let place = Place::new().variable("PGISLE_VAR_postgres_port", &cluster.port().to_string());
    let place =
        host.iter().chain(settings).fold(place, |place, (name, value)| place.variable(&format!("PGISLE_VAR_{name}"), value));
    place.file("pgisle.hcl", SPEC);
    place
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn assert_connects(what: &str, place: &Place) {
    let seen = place.seen(&["status"]);
    assert!(seen.contains("\nexit: 0\n") && seen.contains("PostgreSQL "), "{what}: {seen}");
}

fn assert_refused(what: &str, place: &Place, code: &str) {
    let seen = place.seen(&["status"]);
    assert!(seen.contains("\nexit: 69\n") && seen.contains(&format!("error[{code}]")), "{what}: {seen}");
}

async fn tls_cluster(certificate: ServerCertificate) -> Option<Cluster> {
    let found = pgisle_testkit::installations().await.iter().find(|found| found.tls)?;
    Some(Cluster::builder().major(found.major).tls(certificate).hba("hostssl all all all scram-sha-256").start().await)
}

#[tokio::test]
async fn each_tls_mode_checks_what_it_says() {
    let Some(valid) = tls_cluster(ServerCertificate::Valid).await else { pgisle_testkit::skip!("no PostgreSQL with TLS") };
    let wrong_host = tls_cluster(ServerCertificate::WrongHost).await.unwrap();
    for (cluster, mode, has_roots, refusal) in [
        (&valid, "disable", false, Some("PI0202")),
        (&valid, "require", false, None),
        (&valid, "verify-ca", true, None),
        (&valid, "verify-full", true, None),
        (&valid, "verify-full", false, Some("PI0203")),
        (&wrong_host, "require", false, None),
        (&wrong_host, "verify-ca", true, None),
        (&wrong_host, "verify-full", true, Some("PI0203")),
    ] {
        let ca = cluster.tls().ca();
        let with_password = |place: Place| place.variable("PGPASSWORD", cluster.password());
        // Roots that the file names, and the system's, which SSL_CERT_FILE stands for.
        let named = [("postgres_sslmode", mode), ("postgres_sslrootcert", text(&ca))];
        let own = with_password(project(cluster, if has_roots { &named } else { &named[..1] }));
        let system = with_password(project(cluster, &named[..1]));
        let roots = if has_roots { ca.clone() } else { cluster.tls().other_ca() };
        for place in [own, system.variable("SSL_CERT_FILE", text(&roots))] {
            match refusal {
                None => assert_connects(mode, &place),
                Some(code) => assert_refused(mode, &place, code),
            }
        }
    }
}

#[tokio::test]
async fn a_client_certificate_is_enough() {
    let Some(found) = pgisle_testkit::installations().await.iter().find(|found| found.tls) else {
        pgisle_testkit::skip!("no PostgreSQL with TLS")
    };
    let builder = Cluster::builder().major(found.major).tls(ServerCertificate::Valid).hba("hostssl all all all cert");
    let cluster = builder.start().await;
    let ca = cluster.tls().ca();
    let roots = [("postgres_sslmode", "verify-full"), ("postgres_sslrootcert", text(&ca))];
    let without = project(&cluster, &roots);
    assert_refused("no certificate", &without, "PI0202");
    assert!(without.seen(&["status"]).contains("hint: Give postgres_sslcert and postgres_sslkey"));
    let ClientCertificate { certificate, key } = cluster.tls().client(cluster.superuser());
    let client = [roots[0], roots[1], ("postgres_sslcert", text(&certificate)), ("postgres_sslkey", text(&key))];
    assert_connects("a certificate", &project(&cluster, &client));
}

#[tokio::test]
async fn sockets_password_files_and_services_are_libpqs() {
    let cluster = Cluster::start().await;
    let socket = text(cluster.socket_dir());
    let no_tls = ("postgres_sslmode", "disable");
    let on_socket = project(&cluster, &[("postgres_host", socket)]);
    assert_connects("a socket", &on_socket.variable("PGPASSWORD", cluster.password()));
    assert_refused("no password", &project(&cluster, &[no_tls]), "PI0202");

    let line = format!("localhost:{}:*:{}:{}\n", cluster.port(), cluster.superuser(), cluster.password());
    let place = project(&cluster, &[no_tls]);
    let pgpass = place.home().join(".pgpass");
    fs::write(&pgpass, &line).unwrap();
    fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o600)).unwrap();
    assert_connects(".pgpass", &place);
    fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o644)).unwrap();
    assert_refused("a .pgpass that others can read", &place, "PI0202");

    // A service, with nothing about the server in the project.
    let place = Place::new().variable("PGSERVICE", "main");
    place.file("pgisle.hcl", SPEC);
    let service = format!(
        "[main]\nhost=localhost\nport={}\nuser={}\npassword={}\nsslmode=disable\n",
        cluster.port(),
        cluster.superuser(),
        cluster.password()
    );
    fs::write(place.home().join(".pg_service.conf"), service).unwrap();
    assert_connects("PGSERVICE", &place);
}
