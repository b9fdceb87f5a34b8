//! How large the pools are, in PgBouncer and in the services' instances.

use crate::spec::{PoolMode, Service, Settings};

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
    let processes = settings.pgbouncer_instances.max(1);
    let limit = (service.connection_limit.0 / processes).max(1);
    let size = wanted(settings, service).div_ceil(processes).clamp(1, limit);
    Pool { size, reserve: settings.pgbouncer_reserve_pool_size.min(limit - size) }
}

/// What a service's pools in all PgBouncer processes hold together before the login's limit cuts them.
pub(crate) fn wanted(settings: &Settings, service: &Service) -> u32 {
    match settings.pgbouncer_pool_mode {
        PoolMode::Session => service.instances.saturating_mul(service.pool_size),
        PoolMode::Transaction | PoolMode::Statement => settings.pgbouncer_default_pool_size,
    }
}

/// What PgBouncer never exceeds for a service, over all its processes, whatever its clients do.
pub(crate) fn cap(settings: &Settings, service: &Service) -> u64 {
    u64::from(settings.pgbouncer_instances.max(1)) * u64::from(pool(settings, service).max_connections())
}

/// Connections that a service's instances open when the pool of each is full.
pub(crate) fn clients(service: &Service) -> u64 {
    u64::from(service.instances) * u64::from(service.pool_size)
}

/// How many connections of an instance's pool may stay open with nothing to do: half of them.
#[must_use]
pub fn idle_connections(service: &Service) -> u32 {
    service.pool_size.div_ceil(2).max(1)
}
