//! The credential store and what changes in it.

mod encryption;
mod ensure;
mod rotation;
mod store;

use std::path::Path;

use pgisle_core::credential::{Credential, Credentials, SCRAM_SALT_BYTES, ServiceCredentials, Slot, Verifier};
use pgisle_core::name::{RoleName, ServiceName};
use pgisle_core::secret::Secret;
use pgisle_core::spec::{Access, Environment, Service, Spec};
use pgisle_engine::credential::{IdentitySource, Store};
use serde_json::json;

const NOW: &str = "2025-01-19T02:00:00Z";

fn service_name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn plain_store(project: &Path) -> Store {
    Store::new(project, Environment::Development, &[], IdentitySource::default()).unwrap()
}

/// Random bytes that are the same in each run: the test's own counter, mixed.
fn counted_random() -> impl FnMut(&mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |buffer: &mut [u8]| {
        for byte in buffer {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56).to_le_bytes()[0];
        }
    }
}

/// Credentials of one service with this password. One verifier serves for all, because it costs milliseconds.
fn credentials_with(service: &str, password: &str) -> Credentials {
    static VERIFIER: std::sync::LazyLock<Verifier> =
        std::sync::LazyLock::new(|| Verifier::compute(&Secret::new("any"), &[7; SCRAM_SALT_BYTES]));
    let mut credentials = Credentials::default();
    let active = Credential {
        role: RoleName::new(format!("link_{service}_user")).unwrap(),
        secret: Secret::new(password),
        verifier: VERIFIER.clone(),
        created_at: NOW.to_owned(),
    };
    let logins = ServiceCredentials { active_slot: Slot::A, active, pending: None, draining: None, migrator: None };
    credentials.services.insert(service_name(service), logins);
    credentials
}

fn service(name: &str, access: Access) -> Service {
    serde_json::from_value(json!({
        "name": name, "description": "", "instances": 1, "database": format!("link_{name}"), "user": format!("link_{name}_user"),
        "connection_limit": 50, "database_connection_limit": 100, "pool_size": 10, "extensions": [], "schemas": [], "tables": [],
        "settings": {}, "access": access.as_str(), "replica": null, "place": { "file": "pgisle.hcl", "line": 3, "column": 1 },
    }))
    .unwrap()
}

fn spec(services: Vec<Service>) -> Spec {
    let services: serde_json::Map<_, _> =
        services.into_iter().map(|service| (service.name.as_str().to_owned(), serde_json::to_value(service).unwrap())).collect();
    let settings: serde_json::Value = serde_json::from_str(SETTINGS).unwrap();
    serde_json::from_value(json!({ "settings": settings, "services": services })).unwrap()
}

const SETTINGS: &str = r#"{
        "postgres_host": "localhost", "postgres_port": 5432, "postgres_database": "link_app", "postgres_username": "link_user",
        "postgres_sslmode": "require", "environment": "development", "database_connection_limit": 100, "user_connection_limit": 50,
        "create_monitoring_user": true, "backup_retention_days": 30, "enable_ssl": true, "kubernetes_namespace": "default",
        "kubeconfig_path": "~/.kube/config", "kubernetes_context": null, "enable_pgbouncer": true, "pgbouncer_pool_mode": "session",
        "pgbouncer_max_client_conn": 100, "pgbouncer_default_pool_size": 10, "enable_backup_automation": true,
        "backup_storage_path": "/var/backups/postgresql", "enable_replica_setup": false, "tags": {}, "name_prefix": "link",
        "maintenance_database": "postgres", "service_host": null, "service_port": null, "postgres_sslrootcert": null,
        "postgres_sslcert": null, "postgres_sslkey": null, "fence_maintenance_databases": true, "default_extensions": [],
        "collation": "en_US.utf8", "trusted_roles": [], "monitoring_connection_limit": 5, "monitoring_access": "data",
        "pgbouncer_host": "localhost", "pgbouncer_port": 6432, "pgbouncer_reserve_pool_size": 2,
        "pgbouncer_server_idle_timeout": 600, "pgbouncer_instances": 1, "pgbouncer_version": "1.18", "credential_recipients": [],
    "backup_schedule": "0 2 * * *", "backup_minimum_count": 3, "backup_recipients": [], "backup_on_failure": null
}"#;
