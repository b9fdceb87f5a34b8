//! TLS, and what can be wrong with a certificate.

use pgisle_testkit::{Cluster, ServerCertificate};

use super::{assert_well, checkup, found, reaching};
use crate::program::Place;

async fn cluster(certificate: ServerCertificate) -> Option<(Cluster, Place)> {
    let found = pgisle_testkit::installations().await.iter().find(|found| found.tls)?;
    let cluster = Cluster::builder().major(found.major).tls(certificate).hba("hostssl all all all scram-sha-256").start().await;
    let place = reaching("localhost", cluster.port()).variable("PGPASSWORD", cluster.password());
    let place = place.variable("PGISLE_VAR_postgres_username", cluster.superuser());
    Some((cluster, place))
}

/// Sets what a command exports.
fn export(place: Place, command: &str) -> Place {
    let (name, value) = command.strip_prefix("export ").unwrap().split_once('=').unwrap();
    place.variable(name, value)
}

#[tokio::test]
async fn a_server_without_tls_that_should_have_it() {
    let cluster = Cluster::start().await;
    let place = super::project(&cluster).variable("PGISLE_VAR_postgres_sslmode", "require");
    let commands = found(&place, "tls", "failed", "PI0203", "does not offer TLS");
    assert_eq!(checkup(&place)["exit_code"], 69);
    let place = export(place, &commands[0]);
    assert_well(&place, "tls");
}

#[tokio::test]
async fn a_certificate_of_nobody_known_or_of_another_host() {
    let Some((valid, place)) = cluster(ServerCertificate::Valid).await else { pgisle_testkit::skip!("no PostgreSQL with TLS") };
    let other = valid.tls().other_ca().display().to_string();
    let place = place.variable("PGISLE_VAR_postgres_sslmode", "verify-full").variable("PGISLE_VAR_postgres_sslrootcert", &other);
    let commands = found(&place, "tls", "failed", "PI0203", "signed by an authority that is not known here");
    let place = export(place, &commands[0].replace("/path/to/authority.crt", &valid.tls().ca().display().to_string()));
    assert_well(&place, "tls");
    let seen = place.seen(&["doctor"]);
    assert!(seen.contains("TLSv1.3, verify-full"), "{seen}");

    let (wrong, place) = cluster(ServerCertificate::WrongHost).await.unwrap();
    let ca = wrong.tls().ca().display().to_string();
    let place = place.variable("PGISLE_VAR_postgres_sslmode", "verify-full").variable("PGISLE_VAR_postgres_sslrootcert", &ca);
    let commands = found(&place, "tls", "failed", "PI0203", "certificate is not for \"localhost\"");
    let place = export(place, &commands[0]);
    assert_well(&place, "tls");
}

#[tokio::test]
async fn a_certificate_out_of_its_time() {
    for (certificate, cause, command) in [
        (ServerCertificate::Expired, "has expired", "openssl s_client -starttls postgres"),
        (ServerCertificate::NotYetValid, "is not valid yet", "timedatectl"),
    ] {
        let Some((cluster, place)) = cluster(certificate).await else { pgisle_testkit::skip!("no PostgreSQL with TLS") };
        let ca = cluster.tls().ca().display().to_string();
        let place = place.variable("PGISLE_VAR_postgres_sslmode", "verify-full").variable("PGISLE_VAR_postgres_sslrootcert", &ca);
        let commands = found(&place, "tls", "failed", "PI0203", cause);
        assert!(commands[0].starts_with(command), "{commands:?}");
        if let (ServerCertificate::Expired, Some(place)) = (certificate, place.with_program("openssl")) {
            let output = place.command("/bin/bash").arg("-c").arg(&commands[0]).output().unwrap();
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(shown.contains("notAfter=Jan  1 00:00:00 2021 GMT"), "{shown}");
        }
    }
}
