//! The smallest changes that make a budget fit. Each is tried: what is suggested is what, added up again, fits.

use std::fmt;

use serde::Serialize;

use super::{reserved, steady};
use crate::inventory::Server;
use crate::spec::{PoolMode, Spec};

/// PostgreSQL's own bound on `max_connections`.
const MAX_CONNECTIONS_MAX: u64 = 262_143;

/// The setting's own bound on `pgbouncer_instances`.
const PROCESSES_MAX: u32 = 100;

/// One change that makes it fit, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "change", content = "to", rename_all = "snake_case")]
pub enum Suggestion {
    /// The smallest `max_connections` that is enough.
    MaxConnections(u32),
    /// The largest pool that every service may have.
    PoolSize(u32),
    /// As many PgBouncer processes as may be, fewer than there are.
    PgbouncerInstances(u32),
    /// PgBouncer takes connections back behind each transaction.
    TransactionMode,
    /// The same where services come without PgBouncer.
    PgbouncerInTransactionMode,
}

impl Suggestion {
    /// Makes the change.
    pub fn apply(self, spec: &mut Spec, server: &mut Server) {
        let settings = &mut spec.settings;
        match self {
            Self::MaxConnections(number) => server.max_connections = number,
            Self::PoolSize(size) => {
                settings.pgbouncer_default_pool_size = settings.pgbouncer_default_pool_size.min(size);
                for service in spec.services.values_mut() {
                    service.pool_size = service.pool_size.min(size);
                }
            }
            Self::PgbouncerInstances(number) => settings.pgbouncer_instances = number,
            Self::TransactionMode | Self::PgbouncerInTransactionMode => {
                settings.enable_pgbouncer = true;
                settings.pgbouncer_pool_mode = PoolMode::Transaction;
            }
        }
    }

    fn fits(self, spec: &Spec, server: &Server) -> bool {
        let (mut spec, mut server) = (spec.clone(), server.clone());
        self.apply(&mut spec, &mut server);
        fits(&spec, &server)
    }
}

/// As it is said to people.
impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxConnections(number) => write!(f, "max_connections = {number} on the server, which takes a restart"),
            Self::PoolSize(size) => write!(f, "no pool_size and no pgbouncer_default_pool_size above {size}"),
            Self::PgbouncerInstances(number) => write!(f, "pgbouncer_instances = {number}"),
            Self::TransactionMode => f.write_str("pgbouncer_pool_mode = \"transaction\""),
            Self::PgbouncerInTransactionMode => f.write_str("enable_pgbouncer = true with pgbouncer_pool_mode = \"transaction\""),
        }
    }
}

fn fits(spec: &Spec, server: &Server) -> bool {
    steady(spec) <= u64::from(server.usable_connections())
}

/// Every single change that makes it fit; none when it fits as it is.
pub(super) fn suggestions(spec: &Spec, server: &Server) -> Vec<Suggestion> {
    if fits(spec, server) {
        return Vec::new();
    }
    let pooling = if spec.settings.enable_pgbouncer { Suggestion::TransactionMode } else { Suggestion::PgbouncerInTransactionMode };
    let candidates = [max_connections(spec, server), pool_size(spec, server), pgbouncer_instances(spec, server), Some(pooling)];
    candidates.into_iter().flatten().filter(|one| one.fits(spec, server)).collect()
}

fn max_connections(spec: &Spec, server: &Server) -> Option<Suggestion> {
    let number = steady(spec).saturating_add(reserved(server));
    u32::try_from(number).ok().filter(|_| number <= MAX_CONNECTIONS_MAX).map(Suggestion::MaxConnections)
}

/// Halves the range again and again: the smaller the pools, the less is needed.
fn pool_size(spec: &Spec, server: &Server) -> Option<Suggestion> {
    let sizes = spec.services.values().map(|service| service.pool_size);
    let (mut enough, mut too_large) = (0, sizes.chain([spec.settings.pgbouncer_default_pool_size]).max()?);
    while too_large - enough > 1 {
        let middle = enough + (too_large - enough) / 2;
        if Suggestion::PoolSize(middle).fits(spec, server) { enough = middle } else { too_large = middle }
    }
    (enough > 0).then_some(Suggestion::PoolSize(enough))
}

/// Fewer processes do not always need less, for each has a whole number of connections; so all are tried.
fn pgbouncer_instances(spec: &Spec, server: &Server) -> Option<Suggestion> {
    if !spec.settings.enable_pgbouncer {
        return None;
    }
    let fewer = (1..spec.settings.pgbouncer_instances.min(PROCESSES_MAX)).rev();
    fewer.map(Suggestion::PgbouncerInstances).find(|one| one.fits(spec, server))
}
