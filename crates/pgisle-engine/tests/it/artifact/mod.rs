//! Generated files, each read by its real consumer.

mod container;
mod environment;
mod hba;
mod pgbouncer;
mod prometheus;
mod scripts;

use std::path::Path;

use pgisle_core::artifact::{Artifact, Endpoint, generate, problems};
use pgisle_core::credential::{Credential, Credentials, SCRAM_SALT_BYTES, ServiceCredentials, Slot, Verifier};
use pgisle_core::name::{DatabaseName, RoleName, ServiceName};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Service, Spec};
use pgisle_engine::artifact::{WriteOptions, write};
use pgisle_testkit::Cluster;

/// Every character here broke a file of the configuration that pgisle replaces.
const NASTY: &str = "a'b\"c\\d$e#f g=h%i@/:?é`→";

/// The brief's services, and one whose names need quotes everywhere.
fn link() -> Spec {
    let mut spec: Spec = serde_json::from_str(include_str!("../../../../pgisle-core/testdata/link.json")).unwrap();
    let mut odd = spec.services[&service_name("ai")].clone();
    odd.name = service_name("odd-one_2");
    odd.database = DatabaseName::new("We'ird \"db\" ${x} #1;").unwrap();
    odd.user = RoleName::new("O'dd \"user\", \\all").unwrap();
    spec.services.insert(odd.name.clone(), odd);
    spec
}

fn service_name(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

fn credential(role: RoleName, password: &str) -> Credential {
    let secret = Secret::new(password);
    let verifier = Verifier::compute(&secret, &[9; SCRAM_SALT_BYTES]);
    Credential { role, secret, verifier, created_at: "2025-01-19T00:00:00Z".to_owned() }
}

/// Credentials with a password of one's own for each service: `of(service)`.
fn credentials(spec: &Spec, of: impl Fn(&Service) -> String) -> Credentials {
    let services = spec.services.values().map(|service| {
        let active = credential(service.login(Slot::A), &of(service));
        let logins = ServiceCredentials { active_slot: Slot::A, active, pending: None, draining: None, migrator: None };
        (service.name.clone(), logins)
    });
    Credentials {
        services: services.collect(),
        monitoring: Some(credential(spec.settings.monitoring_user(), &format!("monitoring {NASTY}"))),
        pgbouncer: Some(credential(spec.settings.pgbouncer_user(), &format!("console {NASTY}"))),
    }
}

/// The same with one password for every service. The verifiers stay, because they take long to compute and not every test
/// looks at them.
fn with_password(mut credentials: Credentials, password: &str) -> Credentials {
    for logins in credentials.services.values_mut() {
        logins.active.secret = Secret::new(password);
    }
    credentials
}

/// Generates everything and writes it to a folder of its own.
fn written(spec: &Spec, endpoint: &Endpoint, credentials: &Credentials, folder: &Path) -> Vec<Artifact> {
    assert_eq!(problems(spec, credentials), []);
    let artifacts = generate(spec, endpoint, credentials);
    write(folder, &artifacts, WriteOptions { overwrite: false }).unwrap();
    artifacts
}

/// The generated text, for files that hold it.
fn text_of<'a>(artifacts: &'a [Artifact], path: &str) -> &'a str {
    artifacts.iter().find(|artifact| artifact.path == path).and_then(|artifact| artifact.content.as_ref()).unwrap().expose()
}

fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Makes the islands as far as these tests need them: logins with the credentials' verifiers, databases closed to the others.
async fn create_islands(cluster: &Cluster, spec: &Spec, credentials: &Credentials) {
    let create_role = |login: &Credential| {
        let verifier = login.verifier.expose();
        format!("CREATE ROLE {} LOGIN PASSWORD '{verifier}'", quoted_name(login.role.as_str()))
    };
    for service in spec.services.values() {
        let database = quoted_name(service.database.as_str());
        cluster.psql(&format!("CREATE DATABASE {database} TEMPLATE template0")).await;
        cluster.psql(&format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")).await;
        for login in credentials.services[&service.name].logins() {
            let role = quoted_name(login.role.as_str());
            cluster.psql(&create_role(login)).await;
            cluster.psql(&format!("GRANT CONNECT ON DATABASE {database} TO {role}")).await;
        }
    }
    cluster.psql(&create_role(credentials.monitoring.as_ref().unwrap())).await;
}

/// Passwords from the characters that quoting goes wrong on, the same ones in each run.
fn nasty_passwords(count: usize) -> Vec<String> {
    let characters: Vec<char> = r#"'"`\\$$!#=: %@/?&;|*~^{}[]<>(),-+abcnrtvxu0189_éß→😀"#.chars().collect();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        // xorshift64: any sequence will do that is not the same everywhere.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut passwords = vec![NASTY.to_owned(), " leading and trailing ".to_owned(), "\\".to_owned(), "'`\\".to_owned()];
    while passwords.len() < count {
        let length = 1 + next(30);
        passwords.push((0..length).map(|_| characters[next(characters.len())]).collect());
    }
    passwords
}
