#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::credential::{SCRAM_SALT_BYTES, ServiceCredentials, Slot, Verifier};
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::output::{self, all_to_json, all_to_text, outputs};
use crate::spec::{Access, HostPort, PoolMode, Replica, ReplicaMode, SslMode};

/// The password of the brief's complaint: each of these characters broke a file of the original.
const NASTY: &str = "a'b\"c\\d$e#f g=h%i@/:?é`→";

fn link() -> Spec {
    serde_json::from_str(include_str!("../../testdata/link.json")).unwrap()
}

fn credential(role: RoleName, password: &str) -> Credential {
    let secret = Secret::new(password);
    let verifier = Verifier::compute(&secret, &[3; SCRAM_SALT_BYTES]);
    Credential { role, secret, verifier, created_at: "2025-01-19T00:00:00Z".to_owned() }
}

fn credentials_of(spec: &Spec, password: &str) -> Credentials {
    let services = spec.services.values().map(|service| {
        let logins = ServiceCredentials {
            active_slot: Slot::A,
            active: credential(service.login(Slot::A), password),
            pending: None,
            draining: None,
            migrator: (service.access == Access::Split).then(|| credential(service.migrator(), "of the migrator")),
        };
        (service.name.clone(), logins)
    });
    Credentials {
        services: services.collect(),
        monitoring: Some(credential(spec.settings.monitoring_user(), "of monitoring")),
        pgbouncer: Some(credential(spec.settings.pgbouncer_user(), "of the console")),
    }
}

fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

fn generate_link(spec: &Spec, password: &str) -> Vec<Artifact> {
    generate(spec, &Endpoint::of(&spec.settings), &credentials_of(spec, password))
}

fn text_of(artifacts: &[Artifact], path: &str) -> String {
    let artifact = artifacts.iter().find(|artifact| artifact.path == path).unwrap_or_else(|| panic!("no {path}"));
    artifact.content.as_ref().unwrap().expose().to_owned()
}

#[test]
fn paths_are_those_of_the_brief() {
    let spec = link();
    let artifacts = generate_link(&spec, NASTY);
    let listed: Vec<_> = artifacts.iter().map(|artifact| format!("{:04o} {}", artifact.mode, artifact.path)).collect();
    insta::assert_snapshot!(listed.join("\n"));
    let without = generate(&spec, &Endpoint::of(&spec.settings), &Credentials::default());
    let paths = |artifacts: &[Artifact]| artifacts.iter().map(|artifact| artifact.path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&without), paths(&artifacts), "the paths are known before the first apply");
    assert!(without.iter().all(|artifact| artifact.content.is_none() == artifact.holds_secrets));
}

#[test]
fn what_holds_secrets_is_private_and_nothing_else_holds_any() {
    let spec = link();
    for artifact in generate_link(&spec, "never in the open") {
        let text = artifact.content.unwrap().expose().to_owned();
        let mode = match (artifact.holds_secrets, artifact.path.ends_with(".sh")) {
            (true, _) => 0o600,
            (false, true) => 0o755,
            (false, false) => 0o644,
        };
        assert_eq!(artifact.mode, mode, "{}", artifact.path);
        for secret in ["never in the open", "of monitoring", "of the console", "SCRAM-SHA-256$", "never%20in"] {
            assert!(artifact.holds_secrets || !text.contains(secret), "{} holds {secret}", artifact.path);
        }
    }
}

#[test]
fn a_second_run_gives_the_same_bytes() {
    let spec = link();
    assert_eq!(generate_link(&spec, NASTY), generate_link(&spec, NASTY));
}

#[test]
fn open_files_read_as_meant() {
    let mut spec = link();
    // Two are enough to look at.
    spec.services.retain(|name, _| matches!(name.as_str(), "users" | "search"));
    let artifacts = generate_link(&spec, "PASSWORD");
    for path in ["docker-compose.db-isolation.yml", "helm/values.yaml", "pg_hba.conf.fragment", "pgbouncer/pgbouncer.ini"] {
        insta::assert_snapshot!(path, text_of(&artifacts, path));
    }
    for path in ["scripts/backup-databases.sh", "scripts/restore-database.sh", "scripts/migrate-users-database.sh"] {
        // What follows is the same in every environment, and stands in a file of its own.
        let text = text_of(&artifacts, path);
        insta::assert_snapshot!(path, text.split_once("set -euo pipefail").unwrap().0);
    }
    for path in ["cron/pgisle-backup", "systemd/pgisle-backup.service", "systemd/pgisle-backup.timer"] {
        insta::assert_snapshot!(path, text_of(&artifacts, path));
    }
    for path in ["prometheus/alerts.yml", ".gitignore", ".env/.env.users", ".env/.env.monitoring", ".env/.env.pgbouncer"] {
        insta::assert_snapshot!(path, text_of(&artifacts, path));
    }
    insta::assert_snapshot!("IMPLEMENTATION_GUIDE.md", text_of(&generate_link(&link(), "x"), "IMPLEMENTATION_GUIDE.md"));
}

/// A Secret and nothing more: what the API server's strict validation takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KubernetesSecret {
    api_version: String,
    kind: String,
    metadata: Metadata,
    r#type: String,
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
}

#[test]
fn kubernetes_secrets_are_strictly_valid() {
    let mut spec = link();
    spec.settings.tags.insert("Größe/1".to_owned(), "a".repeat(100));
    spec.settings.tags.insert("…".to_owned(), "dropped".to_owned());
    let artifacts = generate_link(&spec, NASTY);
    let text = text_of(&artifacts, "k8s-secrets/users-db-credentials.yaml");
    let secret: KubernetesSecret = serde_saphyr::from_str(&text).unwrap();
    let KubernetesSecret { api_version, kind, metadata, r#type, data } = secret;
    assert_eq!((api_version.as_str(), kind.as_str(), r#type.as_str()), ("v1", "Secret", "Opaque"));
    assert_eq!((metadata.name.as_str(), metadata.namespace.as_str()), ("users-db-credentials", "default"));
    assert_eq!(metadata.labels["Gr--e-1"].len(), 63);
    assert_eq!(metadata.labels["Purpose"], "Database-per-service--ADR-002");
    let decoded = |key: &str| {
        use base64::Engine as _;
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(&data[key]).unwrap()).unwrap()
    };
    assert_eq!(decoded("PGPASSWORD"), NASTY);
    assert_eq!(decoded("password"), NASTY);
    assert_eq!(decoded("username"), "link_users_user");
    let is_key = |key: &String| key.chars().all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
    assert!(data.keys().all(is_key));
}

#[test]
fn a_password_that_no_file_can_hold_is_reported_and_written_nowhere() {
    let spec = link();
    let mut credentials = credentials_of(&spec, "fine");
    let chat = credentials.services.get_mut(&service("chat")).unwrap();
    chat.active.secret = Secret::new("two\nPGHOST=evil");
    let problems = problems(&spec, &credentials);
    assert_eq!(problems.len(), 1);
    assert!(!problems[0].to_string().contains("evil"));
    let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &credentials);
    let missing: Vec<_> = artifacts.iter().filter(|artifact| artifact.content.is_none()).map(|artifact| &artifact.path).collect();
    assert_eq!(missing, [".env/.env.chat", ".env/docker/.env.chat", "k8s-secrets/chat-db-credentials.yaml"]);
}

#[test]
fn names_that_would_meet_are_reported() {
    let mut spec = link();
    for name in ["a-b", "a_b", "monitoring"] {
        let mut copy = spec.services[&service("ai")].clone();
        copy.name = service(name);
        copy.database = DatabaseName::new(format!("database_of_{name}")).unwrap();
        spec.services.insert(copy.name.clone(), copy);
    }
    let codes: Vec<_> = problems(&spec, &Credentials::default()).iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::SPEC_CONFLICT, Code::SPEC_NAME]);
    assert!(problems(&link(), &credentials_of(&link(), NASTY)).is_empty());
}

#[test]
fn a_database_that_pgbouncer_cannot_name_goes_by_its_services_name() {
    let mut spec = link();
    spec.services.get_mut(&service("users")).unwrap().database = DatabaseName::new("us ers").unwrap();
    let artifacts = generate_link(&spec, "x");
    assert!(text_of(&artifacts, "pgbouncer/pgbouncer.ini").contains("\nusers = host=localhost port=5432 dbname='us ers' "));
    assert!(text_of(&artifacts, ".env/.env.users").contains("@localhost:6432/users?"));
    spec.services.get_mut(&service("chat")).unwrap().database = DatabaseName::new("users").unwrap();
    let codes: Vec<_> = problems(&spec, &Credentials::default()).iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::SPEC_CONFLICT]);
}

#[test]
fn applications_keep_their_names_apart() {
    let mut spec = link();
    let mut copy = spec.services[&service("users")].clone();
    copy.name = service("user");
    spec.services.insert(copy.name.clone(), copy);
    let names = application_names(&spec);
    assert_eq!((names[&service("users")].as_str(), names[&service("user")].as_str()), ("users", "user"));
    assert_eq!(names[&service("ai")], "ai");
}

#[test]
fn pgbouncer_is_gated_on_its_version_and_mode() {
    let mut spec = link();
    spec.settings.enable_ssl = false;
    let ini = |spec: &Spec| text_of(&generate_link(spec, "x"), "pgbouncer/pgbouncer.ini");
    assert!(!ini(&spec).contains("max_prepared_statements") && !ini(&spec).contains("tls_cert"));
    assert!(ini(&spec).contains("link_users = host=localhost port=5432 dbname=link_users pool_size=30 max_db_connections=32\n"));
    spec.settings.pgbouncer_pool_mode = PoolMode::Transaction;
    assert!(!ini(&spec).contains("max_prepared_statements"), "1.18 does not know it and would not start");
    assert!(ini(&spec).contains("pool_size=10 max_db_connections=12\n"));
    spec.settings.pgbouncer_version = "1.24.1".to_owned();
    assert!(ini(&spec).contains("max_prepared_statements = 200\n"));
    assert!(!ini(&spec).contains("user=") && !ini(&spec).contains("\n*"));
}

#[test]
fn both_slots_are_listed_during_a_rotation() {
    let spec = link();
    let mut credentials = credentials_of(&spec, "new");
    let users = &spec.services[&service("users")];
    credentials.services.get_mut(&users.name).unwrap().draining = Some(credential(users.login(Slot::B), "old"));
    let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &credentials);
    let userlist = text_of(&artifacts, "pgbouncer/userlist.txt");
    assert!(
        userlist.contains("\n\"link_users_user\" \"SCRAM-SHA-256$")
            && userlist.contains("\n\"link_users_user_b\" \"SCRAM-SHA-256$")
    );
    let hba = text_of(&artifacts, "pg_hba.conf.fragment");
    assert!(hba.contains("hostssl  \"link_users\"  \"link_users_user\",\"link_users_user_b\"  all  scram-sha-256\n"));
}

#[test]
fn without_automation_no_backup_file_is_made_or_named() {
    let mut spec = link();
    spec.settings.enable_backup_automation = false;
    let artifacts = generate_link(&spec, "x");
    let of_backups = ["scripts/backup-", "scripts/restore-", "cron/", "systemd/"];
    let is_backup = |path: &str| of_backups.iter().any(|beginning| path.starts_with(beginning));
    assert!(!artifacts.iter().any(|artifact| is_backup(&artifact.path)));
    let guide = text_of(&artifacts, "IMPLEMENTATION_GUIDE.md");
    assert!(!guide.contains("backup-databases.sh") && !guide.contains("cron/") && guide.contains("\npg_dump -h "));
}

#[test]
fn what_the_script_cannot_do_is_not_pretended() {
    let mut spec = link();
    "s3://bucket/prefix".clone_into(&mut spec.settings.backup_storage_path);
    spec.settings.backup_recipients = vec!["age1x".to_owned()];
    let artifacts = generate_link(&spec, "x");
    let script = text_of(&artifacts, "scripts/backup-databases.sh");
    assert!(script.contains("\nDIRECTORY=/var/backups/postgresql\n") && script.contains("\nENCRYPT=yes\n"));
    assert!(!text_of(&artifacts, "systemd/pgisle-backup.service").contains("ReadWritePaths"));
}

#[test]
fn a_service_without_tables_has_nothing_to_move() {
    let mut spec = link();
    spec.services.get_mut(&service("users")).unwrap().tables.clear();
    let artifacts = generate_link(&spec, "x");
    assert!(!artifacts.iter().any(|artifact| artifact.path == "scripts/migrate-users-database.sh"));
    assert!(text_of(&artifacts, "scripts/migrate-chat-database.sh").contains("\nSERVICE=chat\nSHARED=link_app\n"));
    let guide = text_of(&artifacts, "IMPLEMENTATION_GUIDE.md");
    assert!(guide.contains("\n- `scripts/migrate-chat-database.sh`\n") && !guide.contains("migrate-users"));
}

#[test]
fn migrations_have_files_of_their_own() {
    let mut spec = link();
    spec.services.get_mut(&service("users")).unwrap().access = Access::Split;
    let artifacts = generate_link(&spec, "of the application");
    let migrator = text_of(&artifacts, ".env/.env.users.migrator");
    assert!(migrator.contains("PGUSER='link_users_migrator'") && migrator.contains("PGPASSWORD='of the migrator'"));
    assert!(!text_of(&artifacts, ".env/.env.users").contains("migrator"), "the application never sees it");
    assert!(text_of(&artifacts, "k8s-secrets/users-db-migrator-credentials.yaml").contains("name: users-db-migrator-credentials"));
}

#[test]
fn outputs_are_those_of_the_brief() {
    let spec = link();
    let endpoint = Endpoint::of(&spec.settings);
    let credentials = credentials_of(&spec, NASTY);
    let artifacts = generate(&spec, &endpoint, &credentials);
    let outputs = outputs(&spec, &endpoint, &credentials, None, &artifacts, "generated/development");
    let passwords: serde_json::Value =
        serde_json::from_str(output::find(&outputs, "service_passwords").unwrap().to_json().expose()).unwrap();
    assert_eq!(passwords["users"], NASTY);
    let all: serde_json::Value = serde_json::from_str(all_to_json(&outputs).expose()).unwrap();
    assert_eq!(all["service_passwords"]["sensitive"], true);
    assert_eq!(all["monitoring_user"]["value"]["username"], "link_monitoring");
    assert_eq!(all["monitoring_user"]["type"][1]["password"], "string");
    assert_eq!(all["env_files"]["value"]["users"], "generated/development/.env/.env.users");
    assert_eq!(all["kubernetes_secrets"]["value"]["users"]["name"], "users-db-credentials");
    let text = all_to_text(&outputs);
    assert!(!text.contains("of monitoring") && text.contains("service_passwords = <sensitive>"));
    assert!(!format!("{outputs:?}").contains("of monitoring"));
    assert_eq!(output::find(&outputs, "nothing").unwrap_err().code, Code::OUTPUT_UNKNOWN);
    insta::assert_snapshot!("outputs", text);
}

#[test]
fn outputs_before_the_first_apply_have_no_passwords() {
    let spec = link();
    let outputs = outputs(&spec, &Endpoint::of(&spec.settings), &Credentials::default(), None, &[], "generated/development");
    assert_eq!(
        output::find(&outputs, "service_passwords").unwrap().to_json().expose(),
        r#"{"ai":null,"chat":null,"discovery":null,"search":null,"users":null}"#
    );
}

#[test]
fn a_server_without_tls_gets_lines_that_need_none() {
    let mut spec = link();
    spec.settings.enable_ssl = false;
    let endpoint = Endpoint::of(&spec.settings);
    assert_eq!(endpoint.sslmode, SslMode::Disable);
    let hba = text_of(&generate(&spec, &endpoint, &Credentials::default()), "pg_hba.conf.fragment");
    assert!(!hba.contains("hostssl ") && hba.contains("\nhost     \"link_users\""));
}

/// The users read from two standbys, in a database that has others' names beside it.
fn with_standbys(hosts: &[&str]) -> Spec {
    let mut spec = link();
    spec.settings.enable_replica_setup = true;
    spec.settings.postgres_replica_hosts = hosts.iter().map(|host| HostPort::parse(host).unwrap()).collect();
    let users = spec.services.get_mut(&service("users")).unwrap();
    users.replica = Some(Replica { mode: ReplicaMode::Shared, region: None });
    let chat = spec.services.get_mut(&service("chat")).unwrap();
    chat.replica = Some(Replica { mode: ReplicaMode::Service, region: None });
    spec
}

#[test]
fn a_service_with_a_standby_gets_addresses_that_read_there() {
    let spec = with_standbys(&["replica-1", "replica-2"]);
    let artifacts = generate_link(&spec, "pw");
    let port = spec.settings.postgres_port;
    let ini = text_of(&artifacts, "pgbouncer/pgbouncer.ini");
    let reading: Vec<&str> = ini.lines().filter(|line| line.contains("_ro = ")).collect();
    assert_eq!(reading.len(), 1, "{ini}");
    assert!(reading[0].starts_with(&format!("link_users_ro = host='replica-1,replica-2' port={port} dbname=link_users ")), "{ini}");
    assert!(ini.find(READERS_MARK) < ini.find("link_users_ro"), "{ini}");
    let host = &spec.settings.postgres_host;
    let variables = text_of(&artifacts, ".env/docker/.env.users");
    let login = "postgresql://link_users_user:pw@";
    let sslmode = spec.settings.postgres_sslmode;
    for expected in [
        format!(
            "DATABASE_URL_RW={login}{host}:{port},replica-1:{port},replica-2:{port}/link_users?sslmode={sslmode}&target_session_attrs=read-write"
        ),
        format!(
            "DATABASE_URL_RO={login}replica-1:{port},replica-2:{port},{host}:{port}/link_users?sslmode={sslmode}&target_session_attrs=prefer-standby"
        ),
        format!(
            "DATABASE_POOL_URL_RO={login}{}:{}/link_users_ro?sslmode={sslmode}",
            spec.settings.pgbouncer_host, spec.settings.pgbouncer_port
        ),
    ] {
        assert!(variables.lines().any(|line| line == expected), "{expected}\n{variables}");
    }
    // Logical replication of one database is another server's, and of it nothing is known here.
    assert!(!text_of(&artifacts, ".env/docker/.env.chat").contains("_RO="));
    assert!(text_of(&artifacts, "k8s-secrets/users-db-credentials.yaml").contains("DATABASE_URL_RO"));
    let all = outputs(&spec, &Endpoint::of(&spec.settings), &Credentials::default(), None, &artifacts, "x");
    let databases = all["service_databases"].to_json();
    assert_eq!(databases.expose().matches("replica_hosts").count(), 1, "{}", databases.expose());
    assert!(problems(&spec, &Credentials::default()).is_empty());

    // Neither is any where it is off.
    let mut off = spec;
    off.settings.enable_replica_setup = false;
    assert_eq!(text_of(&generate_link(&off, "pw"), ".env/.env.users"), text_of(&generate_link(&link(), "pw"), ".env/.env.users"));
}

#[test]
fn standbys_that_pgbouncer_cannot_lead_to_are_refused() {
    let spec = with_standbys(&["replica-1:5432", "replica-2:5433"]);
    let found = problems(&spec, &Credentials::default());
    assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::SPEC_CONFLICT]);
    assert!(found[0].summary.contains("5432, 5433"), "{found:?}");

    // Another service's database has the name that readers would get.
    let mut spec = with_standbys(&["replica-1"]);
    spec.services.get_mut(&service("chat")).unwrap().database = DatabaseName::new("link_users_ro").unwrap();
    let found = problems(&spec, &Credentials::default());
    assert!(found.iter().any(|one| one.summary.contains("the same name in PgBouncer")), "{found:?}");
}
