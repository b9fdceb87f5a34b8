//! Where services find their database: the server itself, and PgBouncer before it.

use std::collections::BTreeMap;

use crate::artifact::escape::url_part;
use crate::name::{DatabaseName, ServiceName};
use crate::secret::Secret;
use crate::spec::{Service, Settings, SslMode};

/// The address that services use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host of the server, or the folder of its Unix socket.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// How far services demand TLS, of the server and of PgBouncer.
    pub sslmode: SslMode,
    /// PEM file of the authorities, as a service sees it.
    pub sslrootcert: Option<String>,
    /// The server's standbys, host and port each, as services find them.
    pub standbys: Vec<(String, u16)>,
    /// PgBouncer, when there is one.
    pub pooler: Option<Pooler>,
}

/// Where PgBouncer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pooler {
    /// Host that services reach it at.
    pub host: String,
    /// Port that it listens on.
    pub port: u16,
    /// `listen_addr`: `*` in a container, a loopback address on a developer's machine.
    pub listen_address: String,
    /// The folder that PgBouncer itself sees its files in.
    pub directory: String,
    /// Where services are still at home that are being split out of a shared database: their alias leads there until the home moves.
    pub homes: BTreeMap<ServiceName, DatabaseName>,
}

impl Endpoint {
    /// The address that the settings name.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let port = settings.service_port.unwrap_or(settings.postgres_port);
        let standbys = settings.postgres_replica_hosts.iter().filter(|_| settings.enable_replica_setup);
        Self {
            host: settings.service_host.clone().unwrap_or_else(|| settings.postgres_host.clone()),
            port,
            standbys: standbys.map(|standby| (standby.host.clone(), standby.port.unwrap_or(port))).collect(),
            sslmode: if settings.enable_ssl { settings.postgres_sslmode } else { SslMode::Disable },
            sslrootcert: settings.postgres_sslrootcert.clone(),
            pooler: settings.enable_pgbouncer.then(|| Pooler {
                host: settings.pgbouncer_host.clone(),
                port: settings.pgbouncer_port,
                listen_address: "*".to_owned(),
                directory: "/etc/pgbouncer".to_owned(),
                homes: BTreeMap::new(),
            }),
        }
    }

    /// The standbys that serve a service's reads.
    #[must_use]
    pub fn readers(&self, service: &Service) -> &[(String, u16)] {
        if service.reads_from_standby() { &self.standbys } else { &[] }
    }

    /// Whether services use TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.sslmode != SslMode::Disable
    }
}

/// A connection URL that libpq and every driver reads, whatever the password.
///
/// The host of a Unix socket goes into the query, because not every URL parser takes an encoded path for a host.
#[must_use]
pub fn connection_url(user: &str, password: &Secret, host: &str, port: u16, database: &str, sslmode: SslMode) -> Secret {
    let (user, password, database) = (url_part(user), url_part(password.expose()), url_part(database));
    let url = if host.starts_with('/') {
        format!("postgresql://{user}:{password}@/{database}?host={}&port={port}&sslmode={sslmode}", url_part(host))
    } else if host.contains(':') {
        format!("postgresql://{user}:{password}@[{host}]:{port}/{database}?sslmode={sslmode}")
    } else {
        format!("postgresql://{user}:{password}@{}:{port}/{database}?sslmode={sslmode}", url_part(host))
    };
    Secret::new(url)
}

/// A connection URL that names several servers, as libpq and the drivers that follow it read it: the first that is of the wanted kind
/// is taken. A server that is reached by a socket cannot be among them.
pub(crate) fn connection_url_of_many(
    user: &str,
    password: &Secret,
    servers: &[(&str, u16)],
    database: &str,
    sslmode: SslMode,
    attributes: &str,
) -> Secret {
    let (user, password, database) = (url_part(user), url_part(password.expose()), url_part(database));
    let server = |(host, port): &(&str, u16)| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{}:{port}", url_part(host)) }
    };
    let servers: Vec<String> = servers.iter().map(server).collect();
    let servers = servers.join(",");
    Secret::new(format!("postgresql://{user}:{password}@{servers}/{database}?sslmode={sslmode}&target_session_attrs={attributes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> String {
        let password = Secret::new("a'b\"c\\d$e#f g=h%i@/:?é");
        connection_url("link_users_user", &password, host, 5432, "link_users", SslMode::Require).expose().to_owned()
    }

    #[test]
    fn every_kind_of_host_has_its_place() {
        let login = "postgresql://link_users_user:a%27b%22c%5Cd%24e%23f%20g%3Dh%25i%40%2F%3A%3F%C3%A9@";
        assert_eq!(url("db.internal"), format!("{login}db.internal:5432/link_users?sslmode=require"));
        assert_eq!(url("::1"), format!("{login}[::1]:5432/link_users?sslmode=require"));
        assert_eq!(url("/run/postgresql"), format!("{login}/link_users?host=%2Frun%2Fpostgresql&port=5432&sslmode=require"));
    }
}
