//! Proves the isolation: reads the catalogs, then tries it on the server as each service.
//!
//! What to try and what an answer means is `pgisle_core::verify`'s; this module logs in, runs it and takes notes. It holds one
//! connection a service at most, bounds every wait, and leaves nothing behind: what a trial does is rolled back, and a canary
//! that a killed run left is removed by the next.

mod administrator;
mod login;
mod monitoring;
mod rehearsal;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use pgisle_core::credential::Credentials;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::inventory::Inventory;
use pgisle_core::name::{DatabaseName, ServiceName};
use pgisle_core::spec::{Settings, Spec};
use pgisle_core::verify::{Bounds, Observed, Report, columns, prove_with, report, targets};

use crate::apply::readers;
use crate::postgres::{ConnectOptions, Host, InspectError, LockError, RunLock, inspect};

/// What is asked for, and how to get there.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What is wanted.
    pub spec: &'a Spec,
    /// The logins' passwords.
    pub credentials: &'a Credentials,
    /// How the administrator reaches the maintenance database.
    pub connect: &'a ConnectOptions,
    /// How services reach the server; login and database are filled in. See [`service_address`].
    pub services: &'a ConnectOptions,
    /// How much is tried.
    pub options: Options,
    /// How long to wait for a run that changes the cluster, or another that tries it.
    pub lock_timeout: Duration,
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether anything is tried at all, or the catalogs stand alone.
    pub dynamic: bool,
    /// Whether a table is planted in each island for the others to try to read.
    pub canary: bool,
    /// How many pairs are tried.
    pub bounds: Bounds,
    /// How many services are tried at once.
    pub parallelism: usize,
}

/// How far the proof is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Pieces that are done.
    pub done: usize,
    /// Pieces in all.
    pub total: usize,
}

/// Why there is no report. What only keeps a part from being proved is in the report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The administrator cannot read the cluster.
    #[error("cannot verify the isolation")]
    Inspect(#[from] InspectError),
    /// Someone else is at work.
    #[error("cannot take the run lock")]
    Lock(#[source] LockError),
}

impl VerifyError {
    /// The finding to show.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Inspect(error) => error.diagnostic(),
            Self::Lock(error) => error.diagnostic(),
        }
    }
}

/// How services reach the server that the administrator reaches by `connect`: at `service_host` and `service_port`, where the
/// spec has them.
#[must_use]
pub fn service_address(connect: &ConnectOptions, settings: &Settings) -> ConnectOptions {
    let host = settings.service_host.as_deref().map_or_else(|| connect.host.clone(), Host::parse);
    let mut options = connect.clone();
    options.host = host;
    options.port = settings.service_port.unwrap_or(connect.port);
    options
}

/// Proves the isolation. What is tried is tried under the run lock: a cluster in the middle of an apply is not isolated yet, and
/// two proofs would trip over each other's canaries.
///
/// # Errors
/// The administrator cannot read the cluster, or someone else is at work.
pub async fn run(request: &Request<'_>, progress: &(dyn Fn(Progress) + Sync)) -> Result<Report, VerifyError> {
    if !request.options.dynamic {
        return Box::pin(prove(request, progress)).await;
    }
    let lock = RunLock::acquire(request.connect, "verify", request.lock_timeout, &|_| {}).await.map_err(VerifyError::Lock)?;
    let result = Box::pin(prove(request, progress)).await;
    lock.release().await;
    result
}

async fn prove(request: &Request<'_>, progress: &(dyn Fn(Progress) + Sync)) -> Result<Report, VerifyError> {
    let Request { spec, connect, options, .. } = *request;
    let wanted = crate::postgres::Request { databases: readers(spec), sizes: false };
    let parallelism = options.parallelism.max(1);
    let count = spec.services.len();
    // Each service is read, has its insides read, is tried, and has its canary removed.
    let total = if options.dynamic { 4 * count } else { 2 * count };
    let done = AtomicUsize::new(0);
    let advance = || progress(Progress { done: done.fetch_add(1, Ordering::Relaxed) + 1, total });
    let inventory = inspect(connect, &wanted, parallelism, &|_| advance()).await?;
    let run = Run { request, inventory: &inventory, advance: &advance };
    let prepared = administrator::prepare(&run).await;
    let proof = prove_with(spec, &inventory, &prepared.interiors);
    let observed = if options.dynamic {
        let mut observed = run.observe(&prepared.canaries).await;
        observed.unproved.extend(prepared.unproved);
        observed.unproved.extend(administrator::remove_canaries(&run, &prepared.canaries).await);
        Some(observed)
    } else {
        None
    };
    Ok(report(spec, &inventory, proof, observed, &options.bounds))
}

/// One run: the request and what it works on.
struct Run<'a> {
    request: &'a Request<'a>,
    inventory: &'a Inventory,
    advance: &'a (dyn Fn() + Sync),
}

impl Run<'_> {
    fn parallelism(&self) -> usize {
        self.request.options.parallelism.max(1)
    }

    /// Tries everything, and puts what was seen into the order of the services, whoever was first.
    async fn observe(&self, canaries: &BTreeSet<DatabaseName>) -> Observed {
        let spec = self.request.spec;
        let targets = targets(spec, self.inventory, &self.request.options.bounds);
        let tried = futures_util::stream::iter(&spec.services).map(async |(name, service)| {
            let foreign = targets.get(name).map_or(&[][..], Vec::as_slice);
            let observed = Box::pin(service::observe(self, service, foreign, canaries)).await;
            (self.advance)();
            (name, observed)
        });
        let services = async {
            let mut tried = std::pin::pin!(tried.buffer_unordered(self.parallelism()));
            let mut by_service: BTreeMap<&ServiceName, Observed> = BTreeMap::new();
            while let Some((name, observed)) = tried.next().await {
                by_service.insert(name, observed);
            }
            by_service
        };
        let (by_service, monitoring) = futures_util::join!(services, Box::pin(monitoring::observe(self, canaries)));
        let mut all = Observed { canaries: canaries.len(), ..Observed::default() };
        for observed in by_service.into_values().chain([monitoring]) {
            absorb(&mut all, observed);
        }
        // Last, when no service holds a connection: each holds one again, for itself or as a victim.
        let terminated = service::terminate_each_other(self, &all.attempts).await;
        absorb(&mut all, terminated);
        all
    }

    /// The columns beside a service's own, for who may go everywhere.
    fn all_databases(&self) -> Vec<DatabaseName> {
        let columns = columns(self.request.spec, self.inventory);
        let existing = columns.into_iter().filter(|column| self.inventory.databases.contains_key(&column.database));
        existing.map(|column| column.database).collect()
    }
}

fn absorb(all: &mut Observed, part: Observed) {
    let Observed { attempts, probes, unproved, open_logins, canaries: _ } = part;
    all.attempts.extend(attempts);
    all.probes.extend(probes);
    all.unproved.extend(unproved);
    all.open_logins.extend(open_logins);
}
