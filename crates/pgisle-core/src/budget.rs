//! How many connections the services may hold at once, against what the server has.
//!
//! The cap comes from the pools, not from the databases: a service per database without a pool of its own is as free to take all
//! connections as before. What the databases add is a bulkhead, their connection limits.

use serde::Serialize;

use crate::diagnostic::{Code, Diagnostic};
use crate::inventory::Server;
use crate::name::{DatabaseName, ServiceName};
use crate::spec::{PoolMode, Service, Settings, Spec};

/// The connections of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// By service.
    pub services: Vec<ServiceConnections>,
    /// Instances of all services.
    pub instances: u32,
    /// Connections that the services' pools hold at most: Σ instances × pool size.
    pub connections: u32,
    /// Connections that the services could take with nothing but the databases' limits between them: Σ limits. What it was like
    /// with one shared database and unbounded pools, or worse.
    pub connections_without_pools: u32,
    /// Connections of PgBouncer to the server at most, over all its processes; none without PgBouncer.
    pub pgbouncer_connections: Option<u32>,
    /// Connections that the monitoring login may hold.
    pub monitoring_connections: u32,
    /// What the server has, when it was asked.
    pub server: Option<ServerConnections>,
}

/// One service's connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceConnections {
    /// The service.
    pub service: ServiceName,
    /// Its database.
    pub database: DatabaseName,
    /// How many instances run at once.
    pub instances: u32,
    /// Connections of one instance's pool.
    pub pool_size: u32,
    /// All its instances' pools, full.
    pub connections: u32,
    /// Connections that its login may hold.
    pub connection_limit: u32,
    /// Connections that its database takes.
    pub database_connection_limit: u32,
}

/// What the server has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerConnections {
    /// `max_connections`.
    pub max_connections: u32,
    /// What is left of it for those who are not superusers.
    pub usable_connections: u32,
    /// What is left when every pool is full; negative when they do not fit.
    pub headroom: i64,
}

/// Adds the pools up.
#[must_use]
pub fn summary(spec: &Spec, server: Option<&Server>) -> Summary {
    let settings = &spec.settings;
    let services: Vec<_> = spec.services.values().map(service_connections).collect();
    let connections = saturating_sum(services.iter().map(|service| service.connections));
    let monitoring_connections = if settings.create_monitoring_user { settings.monitoring_connection_limit.0 } else { 0 };
    let pgbouncer_connections = settings.enable_pgbouncer.then(|| {
        let per_process = saturating_sum(spec.services.values().map(|service| pool(settings, service).max_connections()));
        per_process.saturating_mul(settings.pgbouncer_instances.max(1))
    });
    let server = server.map(|server| ServerConnections {
        max_connections: server.max_connections,
        usable_connections: server.usable_connections(),
        headroom: i64::from(server.usable_connections()) - i64::from(connections) - i64::from(monitoring_connections),
    });
    Summary {
        instances: saturating_sum(services.iter().map(|service| service.instances)),
        connections,
        connections_without_pools: saturating_sum(services.iter().map(|service| service.database_connection_limit)),
        pgbouncer_connections,
        monitoring_connections,
        services,
        server,
    }
}

impl Summary {
    /// A finding when the pools do not fit into the server.
    #[must_use]
    pub fn diagnostic(&self) -> Option<Diagnostic> {
        let server = self.server.as_ref().filter(|server| server.headroom < 0)?;
        let demand = u64::from(self.connections) + u64::from(self.monitoring_connections);
        Some(
            Diagnostic::warning(
                Code::PLAN_BUDGET,
                format!("the pools need {demand} connections, and the server has {}", server.usable_connections),
            )
            .detail(format!(
                "{} instances hold {} connections when every pool is full, and monitoring {}. max_connections is {}, some of it \
                 reserved for superusers.",
                self.instances, self.connections, self.monitoring_connections, server.max_connections
            ))
            .hint("Lower pool_size or instances, raise max_connections, or let services connect through PgBouncer in transaction mode."),
        )
    }
}

fn service_connections(service: &Service) -> ServiceConnections {
    ServiceConnections {
        service: service.name.clone(),
        database: service.database.clone(),
        instances: service.instances,
        pool_size: service.pool_size,
        connections: service.instances.saturating_mul(service.pool_size),
        connection_limit: service.connection_limit.0,
        database_connection_limit: service.database_connection_limit.0,
    }
}

fn saturating_sum(numbers: impl Iterator<Item = u32>) -> u32 {
    numbers.fold(0, u32::saturating_add)
}

/// PgBouncer's pool of one service, in one of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Connections to the server in ordinary times.
    pub size: u32,
    /// More of them for clients that have waited.
    pub reserve: u32,
}

impl Pool {
    /// What the alias may hold in all. Bounds the two logins of a rotation together, which have a pool each.
    #[must_use]
    pub fn max_connections(self) -> u32 {
        self.size.saturating_add(self.reserve)
    }
}

/// The size of a service's pool in one PgBouncer process.
///
/// In session mode a client keeps its server connection for as long as it stays, so an application pool of ten behind a smaller
/// PgBouncer pool would hang; there it is as large as the instances' pools together. In the other modes connections are shared
/// by transaction and the setting is the size. Several processes share it between them; the login's own limit is never exceeded.
#[must_use]
pub fn pool(settings: &Settings, service: &Service) -> Pool {
    let wanted = match settings.pgbouncer_pool_mode {
        PoolMode::Session => service.instances.saturating_mul(service.pool_size),
        PoolMode::Transaction | PoolMode::Statement => settings.pgbouncer_default_pool_size,
    };
    let processes = settings.pgbouncer_instances.max(1);
    let limit = (service.connection_limit.0 / processes).max(1);
    let size = wanted.div_ceil(processes).clamp(1, limit);
    Pool { size, reserve: settings.pgbouncer_reserve_pool_size.min(limit - size) }
}

/// How many connections of an instance's pool may stay open with nothing to do: half of them.
#[must_use]
pub fn idle_connections(service: &Service) -> u32 {
    service.pool_size.div_ceil(2).max(1)
}
