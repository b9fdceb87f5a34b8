//! Environment files: `.env/.env.<service>` for shells and Docker Compose, and `.env/docker/.env.<service>` for
//! `docker run --env-file`, which knows no quotes: there, everything behind the `=` is the value.

use std::fmt::Write as _;

use crate::artifact::endpoint::connection_url_of_many;
use crate::artifact::escape::environment_lines;
use crate::artifact::{Artifact, Endpoint, Pooler, active, connection_url, header, pooler_alias, reader_alias, writable};
use crate::budget;
use crate::credential::{Credential, Credentials};
use crate::secret::Secret;
use crate::spec::{Access, Service, Spec, SslMode};

/// A variable's name and value, in the file's order.
pub(crate) type Variables = Vec<(&'static str, Secret)>;

/// How long one connection of a pool is used.
pub(crate) const CONNECTION_LIFETIME: &str = "5m";

/// The path of a service's environment file.
pub(crate) fn path(name: &str) -> String {
    format!(".env/.env.{name}")
}

/// The path of the same file for `docker run --env-file`.
pub(crate) fn docker_path(name: &str) -> String {
    format!(".env/docker/.env.{name}")
}

pub(crate) fn artifacts(spec: &Spec, endpoint: &Endpoint, credentials: &Credentials) -> Vec<Artifact> {
    let mut artifacts = Vec::new();
    let mut push = |name: &str, variables: Option<Variables>| {
        artifacts.push(Artifact::secret(path(name), variables.as_ref().map(|variables| quoted(spec, variables))));
        artifacts.push(Artifact::secret(docker_path(name), variables.as_ref().map(|variables| raw(spec, variables))));
    };
    for service in spec.services.values() {
        let login = active(service, credentials);
        push(service.name.as_str(), login.map(|login| service_variables(service, endpoint, login)));
        if service.access == Access::Split {
            let login = credentials.services.get(&service.name).and_then(|logins| logins.migrator.as_ref());
            let variables = writable(login).map(|login| migrator_variables(service, endpoint, login));
            push(&format!("{}.migrator", service.name), variables);
        }
    }
    if spec.settings.create_monitoring_user {
        let login = writable(credentials.monitoring.as_ref());
        push("monitoring", login.map(|login| monitoring_variables(spec, endpoint, login)));
    }
    if let Some(pooler) = &endpoint.pooler {
        let login = writable(credentials.pgbouncer.as_ref());
        push("pgbouncer", login.map(|login| console_variables(pooler, endpoint.sslmode, login)));
    }
    artifacts
}

/// What a service needs: libpq's own variables, URLs, and the pool's sizes.
pub(crate) fn service_variables(service: &Service, endpoint: &Endpoint, login: &Credential) -> Variables {
    let database = service.database.as_str();
    let mut variables = direct_variables(endpoint, database, login);
    variables.extend(reading_variables(service, endpoint, login));
    if let Some(pooler) = &endpoint.pooler {
        variables.push(("DATABASE_POOL_URL", pooler_url(pooler, endpoint.sslmode, pooler_alias(service), login)));
        if !endpoint.readers(service).is_empty() {
            variables.push(("DATABASE_POOL_URL_RO", pooler_url(pooler, endpoint.sslmode, &reader_alias(service), login)));
        }
        variables.push(("DB_POOL_HOST", Secret::new(&pooler.host)));
        variables.push(("DB_POOL_PORT", Secret::new(pooler.port.to_string())));
    }
    variables.push(("DB_MAX_OPEN_CONNS", Secret::new(service.pool_size.to_string())));
    variables.push(("DB_MAX_IDLE_CONNS", Secret::new(budget::idle_connections(service).to_string())));
    variables.push(("DB_CONN_MAX_LIFETIME", Secret::new(CONNECTION_LIFETIME)));
    variables
}

/// Where a standby serves a service's reads: whichever server takes writes, and a standby as long as there is one. Both name all
/// servers, so that they hold after a failover. `load_balance_hosts` is left to whoever has a driver that knows it: libpq before 16
/// refuses it.
fn reading_variables(service: &Service, endpoint: &Endpoint, login: &Credential) -> Variables {
    let readers: Vec<(&str, u16)> = endpoint.readers(service).iter().map(|(host, port)| (host.as_str(), *port)).collect();
    if readers.is_empty() {
        return Vec::new();
    }
    let is_socket = endpoint.host.starts_with('/');
    let primary = if is_socket { None } else { Some((endpoint.host.as_str(), endpoint.port)) };
    let url = |servers: &[(&str, u16)], attributes: &str| {
        let (user, database) = (login.role.as_str(), service.database.as_str());
        connection_url_of_many(user, &login.secret, servers, database, endpoint.sslmode, attributes)
    };
    let (first, last): (Vec<_>, Vec<_>) =
        (primary.into_iter().chain(readers.iter().copied()).collect(), readers.iter().copied().chain(primary).collect());
    let mut variables = vec![("DATABASE_URL_RO", url(&last, "prefer-standby"))];
    if !is_socket {
        variables.insert(0, ("DATABASE_URL_RW", url(&first, "read-write")));
    }
    variables
}

/// What a service's migrations need: always the server itself, because they hold locks and settings of their session.
pub(crate) fn migrator_variables(service: &Service, endpoint: &Endpoint, login: &Credential) -> Variables {
    direct_variables(endpoint, service.database.as_str(), login)
}

fn monitoring_variables(spec: &Spec, endpoint: &Endpoint, login: &Credential) -> Variables {
    let database = spec.settings.maintenance_database.as_str();
    let mut variables = direct_variables(endpoint, database, login);
    // What postgres_exporter reads.
    let url = connection_url(login.role.as_str(), &login.secret, &endpoint.host, endpoint.port, database, endpoint.sslmode);
    variables.push(("DATA_SOURCE_NAME", url));
    if let Some(pooler) = &endpoint.pooler {
        variables.push(("PGBOUNCER_STATS_URL", pooler_url(pooler, endpoint.sslmode, "pgbouncer", login)));
    }
    variables
}

fn console_variables(pooler: &Pooler, sslmode: SslMode, login: &Credential) -> Variables {
    vec![
        ("PGBOUNCER_HOST", Secret::new(&pooler.host)),
        ("PGBOUNCER_PORT", Secret::new(pooler.port.to_string())),
        ("PGBOUNCER_USER", Secret::new(login.role.as_str())),
        ("PGBOUNCER_PASSWORD", login.secret.clone()),
        ("PGBOUNCER_ADMIN_URL", pooler_url(pooler, sslmode, "pgbouncer", login)),
    ]
}

fn direct_variables(endpoint: &Endpoint, database: &str, login: &Credential) -> Variables {
    let url = connection_url(login.role.as_str(), &login.secret, &endpoint.host, endpoint.port, database, endpoint.sslmode);
    let mut variables = vec![
        ("DATABASE_URL", url),
        ("PGHOST", Secret::new(&endpoint.host)),
        ("PGPORT", Secret::new(endpoint.port.to_string())),
        ("PGDATABASE", Secret::new(database)),
        ("PGUSER", Secret::new(login.role.as_str())),
        ("PGPASSWORD", login.secret.clone()),
        ("PGSSLMODE", Secret::new(endpoint.sslmode.as_str())),
    ];
    if let (Some(file), SslMode::VerifyCa | SslMode::VerifyFull) = (&endpoint.sslrootcert, endpoint.sslmode) {
        variables.push(("PGSSLROOTCERT", Secret::new(file)));
    }
    variables
}

fn pooler_url(pooler: &Pooler, sslmode: SslMode, database: &str, login: &Credential) -> Secret {
    connection_url(login.role.as_str(), &login.secret, &pooler.host, pooler.port, database, sslmode)
}

/// For `set -a; . file` and for Compose's `env_file`.
fn quoted(spec: &Spec, variables: &Variables) -> String {
    let mut lines = header(spec, "#");
    for (name, value) in variables {
        environment_lines(&mut lines, name, value.expose());
    }
    lines
}

/// For `docker run --env-file` and `podman run --env-file`.
fn raw(spec: &Spec, variables: &Variables) -> String {
    let mut lines = header(spec, "#");
    for (name, value) in variables {
        let _ = writeln!(lines, "{name}={}", value.expose());
    }
    lines
}
