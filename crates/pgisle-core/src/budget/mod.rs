//! How many connections everything holds that connects to the server, against what the server has.
//!
//! The cap comes from the pools, not from the databases: a service per database without a pool of its own is as free to take all
//! connections as before. What the databases add is a bulkhead, their connection limits.
//!
//! Two sums. What is **steady** is there day and night when every pool is full, and must fit: otherwise some instance is refused on
//! an ordinary busy day, and waiting does not help. The **peak** is what comes on top for minutes, all of it at once.
//! `docs/design/0008-what-must-fit.md` says why the line is drawn there.

mod advice;
mod finding;
mod pool;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::inventory::{Inventory, Server};
use crate::name::{DatabaseName, ServiceName};
use crate::spec::{Access, Service, Settings, Spec};

pub use advice::Suggestion;
pub use pool::{Pool, idle_connections, pool};
pub(crate) use pool::{cap, clients, wanted};

/// How many databases pgisle works on at once, unless it is told otherwise.
pub const PARALLELISM: u16 = 4;

/// The connections of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// By service.
    pub services: Vec<ServiceConnections>,
    /// Instances of all services.
    pub instances: u64,
    /// Connections that the services' own pools hold at most: Σ instances × pool size.
    pub connections: u64,
    /// Connections that the services could take with nothing but the databases' limits between them: Σ limits. What it was like
    /// with one shared database and unbounded pools, or worse.
    pub connections_without_pools: u64,
    /// Connections of PgBouncer to the server at most, over all its processes; none without PgBouncer.
    pub pgbouncer_connections: Option<u64>,
    /// Connections that the monitoring login may hold.
    pub monitoring_connections: u64,
    /// What the server sees when every pool is full: the services' connections and monitoring's. It must fit.
    pub steady: u64,
    /// What readers may hold of the standbys, all standbys together: it comes off their own max_connections and not off this server's.
    /// None where nobody reads there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby_connections: Option<u64>,
    /// What comes on top for a while.
    pub peak: Peak,
    /// What the server has, when it was asked.
    pub server: Option<ServerConnections>,
    /// What would make it fit, each by itself; empty when it fits.
    pub suggestions: Vec<Suggestion>,
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
    pub connections: u64,
    /// What the server sees of it when they are.
    pub steady: u64,
    /// What it sees besides during a rolling deployment or a rotation.
    pub deployment: u64,
    /// What one more instance of it adds to what is steady.
    pub one_more_instance: u64,
    /// Connections that its login may hold.
    pub connection_limit: u32,
    /// Connections that its database takes.
    pub database_connection_limit: u32,
}

/// What comes on top of what is steady, for minutes, each at its most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Peak {
    /// A rolling deployment, as a rotation needs one too: one more instance of each service, the reserve of PgBouncer's pools, and
    /// what these keep open of the old login.
    pub deployment: u64,
    /// A service that moves out of the shared database: its instances at the old address, beside those at the new one. The largest,
    /// because one moves at a time; nothing where there is no shared database.
    pub split: u64,
    /// Migrations, which connect to the server itself by a login of their own.
    pub migrations: u64,
    /// `backup create -consistent`: a session that holds each service's moment, the dumps, and the lock. A copy of the whole cluster
    /// takes fewer, for replication has connections of its own.
    pub backup: u64,
    /// One command of pgisle, backups apart: the apply, restore or split that takes most.
    pub pgisle: u64,
    /// Everything at once, with what is steady.
    pub total: u64,
    /// How many things pgisle works on at once.
    pub parallelism: u32,
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
    /// What is left at the peak.
    pub peak_headroom: i64,
    /// The smallest `max_connections` that the peak fits into, too.
    pub max_connections_for_peak: u64,
}

/// Adds everything up. Without an inventory nothing is compared, and the shared database is taken to be there.
#[must_use]
pub fn summary(spec: &Spec, inventory: Option<&Inventory>, parallelism: u32) -> Summary {
    let settings = &spec.settings;
    let services: Vec<_> = spec.services.values().map(|service| service_connections(settings, service)).collect();
    let steady = steady(spec);
    let is_splitting = inventory.is_none_or(|inventory| inventory.databases.contains_key(&settings.postgres_database));
    let peak = peak(spec, steady, parallelism, is_splitting);
    let server = inventory.map(|inventory| server_connections(&inventory.server, steady, peak.total));
    let suggestions = inventory.map(|inventory| advice::suggestions(spec, &inventory.server)).unwrap_or_default();
    Summary {
        instances: sum(services.iter().map(|service| u64::from(service.instances))),
        connections: sum(services.iter().map(|service| service.connections)),
        connections_without_pools: sum(services.iter().map(|service| u64::from(service.database_connection_limit))),
        pgbouncer_connections: settings.enable_pgbouncer.then(|| sum(spec.services.values().map(|service| cap(settings, service)))),
        monitoring_connections: monitoring(settings),
        steady,
        standby_connections: on_standbys(spec),
        peak,
        services,
        server,
        suggestions,
    }
}

/// What readers may hold of the standbys: as much again as the same services' writers of the primary.
fn on_standbys(spec: &Spec) -> Option<u64> {
    let settings = &spec.settings;
    let is_led = settings.enable_replica_setup && !settings.postgres_replica_hosts.is_empty();
    let mut readers = spec.services.values().filter(|service| is_led && service.reads_from_standby()).peekable();
    readers.peek()?;
    Some(sum(readers.map(|service| steady_of(settings, service))))
}

impl Summary {
    /// Whether what is steady fits into the server; true when it was not asked.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.server.as_ref().is_none_or(|server| server.headroom >= 0)
    }
}

/// What the server sees when every pool is full.
fn steady(spec: &Spec) -> u64 {
    let services = spec.services.values().map(|service| steady_of(&spec.settings, service));
    sum(services).saturating_add(monitoring(&spec.settings))
}

/// PgBouncer opens no connection that no client waits for, so the reserve only counts where clients are more than the pool.
fn steady_of(settings: &Settings, service: &Service) -> u64 {
    if settings.enable_pgbouncer { cap(settings, service).min(clients(service)) } else { clients(service) }
}

/// The same with one more instance. PgBouncer may then hold all that it is allowed to: beside the connections of new clients, idle
/// ones of the clients that left, or of the login before.
fn deploying(settings: &Settings, service: &Service) -> u64 {
    match (service.instances, settings.enable_pgbouncer) {
        (0, _) => 0,
        (_, true) => cap(settings, service),
        (_, false) => clients(service).saturating_add(u64::from(service.pool_size)),
    }
}

fn monitoring(settings: &Settings) -> u64 {
    if settings.create_monitoring_user { u64::from(settings.monitoring_connection_limit.0) } else { 0 }
}

fn service_connections(settings: &Settings, service: &Service) -> ServiceConnections {
    let steady = steady_of(settings, service);
    let larger = Service { instances: service.instances.saturating_add(1), ..service.clone() };
    ServiceConnections {
        service: service.name.clone(),
        database: service.database.clone(),
        instances: service.instances,
        pool_size: service.pool_size,
        connections: clients(service),
        steady,
        deployment: deploying(settings, service).saturating_sub(steady),
        one_more_instance: steady_of(settings, &larger).saturating_sub(steady),
        connection_limit: service.connection_limit.0,
        database_connection_limit: service.database_connection_limit.0,
    }
}

fn peak(spec: &Spec, steady: u64, parallelism: u32, is_splitting: bool) -> Peak {
    let settings = &spec.settings;
    let at_once = u64::from(parallelism.max(1));
    let services = u64::try_from(spec.services.len()).unwrap_or(u64::MAX);
    let deployments = spec.services.values().map(|one| deploying(settings, one).saturating_sub(steady_of(settings, one)));
    let to_split: Vec<&Service> = spec.services.values().filter(|service| is_splitting && !service.tables.is_empty()).collect();
    let mut peak = Peak {
        deployment: sum(deployments),
        split: to_split.iter().map(|service| clients(service)).max().unwrap_or(0),
        migrations: sum(spec.services.values().map(|service| u64::from(service.access == Access::Split))),
        backup: 1 + services + services.min(at_once),
        pgisle: sessions(at_once, !to_split.is_empty()),
        total: 0,
        parallelism,
    };
    peak.total = sum([steady, peak.deployment, peak.split, peak.migrations, peak.backup, peak.pgisle]);
    peak
}

/// What the greediest command of pgisle takes, as counted by servers that log who comes and goes.
fn sessions(at_once: u64, is_splitting: bool) -> u64 {
    // The lock, and for each database one inside of it and one outside.
    let apply = 1 + 2 * at_once;
    // Those that load and two more, or, while databases trade places, five.
    let restore = (2 + at_once).max(5);
    // Two for each table that is copied and four that hold locks, snapshots and the journal; a cutover nine, whatever is copied.
    let split = if is_splitting { (4 + 2 * at_once).max(9) } else { 0 };
    apply.max(restore).max(split)
}

fn server_connections(server: &Server, steady: u64, peak: u64) -> ServerConnections {
    let usable_connections = server.usable_connections();
    let left = |taken: u64| i64::from(usable_connections).saturating_sub(i64::try_from(taken).unwrap_or(i64::MAX));
    ServerConnections {
        max_connections: server.max_connections,
        usable_connections,
        headroom: left(steady),
        peak_headroom: left(peak),
        max_connections_for_peak: peak.saturating_add(reserved(server)),
    }
}

/// What the server keeps for superusers and for those whom they allow.
fn reserved(server: &Server) -> u64 {
    u64::from(server.superuser_reserved_connections) + u64::from(server.reserved_connections)
}

fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}
