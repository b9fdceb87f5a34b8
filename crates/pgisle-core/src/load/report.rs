//! What was measured.

use std::collections::BTreeMap;

use serde::Serialize;

use super::histogram::Histogram;
use super::share::Room;
use crate::diagnostic::{Code, Diagnostic};
use crate::name::{DatabaseName, ServiceName};
use crate::spec::PoolMode;

/// So many different errors are told of each part; the rest are more of them.
const ERRORS_MAX: usize = 5;

/// What clients met, as it is counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    times: Histogram,
    failed: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    /// A transaction came through.
    pub fn done(&mut self, time_us: u64) {
        self.times.record(time_us);
    }

    /// A transaction, or a login, did not.
    pub fn failed(&mut self, reason: String) {
        self.failed += 1;
        *self.errors.entry(reason).or_default() += 1;
    }

    /// Takes over what another has counted.
    pub fn absorb(&mut self, other: &Self) {
        let Self { times, failed, errors } = other;
        self.times.absorb(times);
        self.failed += failed;
        for (reason, times) in errors {
            *self.errors.entry(reason.clone()).or_default() += times;
        }
    }

    /// The figures, over so long a time.
    #[must_use]
    pub fn figures(&self, time_ms: u64) -> Figures {
        let mut errors: Vec<_> = self.errors.iter().collect();
        errors.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        Figures {
            transactions: self.times.count(),
            failed: self.failed,
            per_second: self.times.count().saturating_mul(1000) / time_ms.max(1),
            latency: Latency { p50_us: self.times.per_mille(500), p99_us: self.times.per_mille(990), max_us: self.times.max_us() },
            errors: errors.into_iter().take(ERRORS_MAX).map(|(reason, times)| format!("{reason} ({times} times)")).collect(),
        }
    }
}

/// What clients met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Transactions that came through.
    pub transactions: u64,
    /// Transactions and logins that did not.
    pub failed: u64,
    /// Transactions a second.
    pub per_second: u64,
    /// How long a client waited for a transaction.
    pub latency: Latency,
    /// What the server or PgBouncer said of those that failed, the most frequent first.
    pub errors: Vec<String>,
}

/// How long clients waited, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of them at most so long.
    pub p50_us: u64,
    /// 99 of 100 at most so long.
    pub p99_us: u64,
    /// All of them at most so long.
    pub max_us: u64,
}

/// Which way the clients of a part came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Way {
    /// Without PgBouncer, into the database that all share.
    Shared {
        /// The database.
        database: DatabaseName,
    },
    /// Without PgBouncer, into each service's own database.
    Own {
        /// Why not into the shared one.
        because: String,
    },
    /// Through PgBouncer's aliases.
    Pooled {
        /// Where it listens.
        address: String,
        /// Why it is one of ours, started for this, and not the user's.
        private_because: Option<String>,
        /// Its pool mode.
        pool_mode: PoolMode,
        /// What all its pools may hold.
        connections_max: u32,
    },
}

/// One part: the same clients, one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// Which way.
    pub way: Way,
    /// How many clients.
    pub clients: u32,
    /// Connections that the server held for it at most: without PgBouncer the clients' own, through PgBouncer all of the services'
    /// logins, because its pools may have been filled before.
    pub connections: u32,
    /// How many the services' logins held before it began.
    pub connections_before: u32,
    /// All services together.
    pub all: Figures,
    /// Each service.
    pub services: Vec<ServiceFigures>,
    /// Why it was broken off, if it was.
    pub broken_off: Option<String>,
}

/// One service's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceFigures {
    /// The service.
    pub service: ServiceName,
    /// How many clients.
    pub clients: u32,
    /// What they met.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What one service feels of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bulkhead {
    /// The service that is noisy.
    pub noisy: ServiceName,
    /// How many clients it has.
    pub noisy_clients: u32,
    /// For how long each of their transactions stays open.
    pub hold_ms: u32,
    /// The service that has to bear it.
    pub victim: ServiceName,
    /// How many clients it has.
    pub victim_clients: u32,
    /// Connections of the pool that both share.
    pub shared_size: u32,
    /// Connections of the victim's own pool.
    pub own_size: u32,
    /// What the victim met in a pool that both share.
    pub shared: Figures,
    /// What the victim met in a pool of its own.
    pub own: Figures,
    /// What the noisy service's clients met in the shared pool.
    pub noisy_shared: Figures,
    /// What they met in their own.
    pub noisy_own: Figures,
}

impl Bulkhead {
    /// How many times longer the victim waited in the shared pool, by the 99th percentile.
    #[must_use]
    pub fn ratio(&self) -> u64 {
        self.shared.latency.p99_us / self.own.latency.p99_us.max(1)
    }
}

/// What was not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The part.
    pub what: &'static str,
    /// Why, as a clause.
    pub because: String,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How long each part ran.
    pub duration_ms: u64,
    /// How long each client waits between two transactions.
    pub pause_ms: u64,
    /// What the server had.
    pub room: Room,
    /// Every client with a connection of its own.
    pub before: Leg,
    /// The same clients through the pools.
    pub after: Option<Leg>,
    /// The neighbour.
    pub bulkhead: Option<Bulkhead>,
    /// What was not run.
    pub left_out: Vec<LeftOut>,
}

impl Report {
    /// What is wrong, and what is missing.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut findings: Vec<Diagnostic> = self.left_out.iter().map(left_out).collect();
        findings.extend(failures("without pools", &self.before.all));
        findings.extend(self.before.broken_off.as_deref().map(broken_off));
        if let Some(after) = &self.after {
            findings.extend(failures("through PgBouncer", &after.all));
            findings.extend(after.broken_off.as_deref().map(broken_off));
            findings.extend(too_many(after));
        }
        if let Some(bulkhead) = &self.bulkhead {
            findings.extend(failures("in the shared pool", &bulkhead.shared));
            findings.extend(failures("in a pool of their own", &bulkhead.own));
            // A neighbour whose transactions are ended is none.
            let noisy = [&bulkhead.noisy_shared, &bulkhead.noisy_own];
            findings.extend(noisy.into_iter().filter_map(|figures| failures("that keep transactions open", figures)));
        }
        findings
    }
}

fn left_out(part: &LeftOut) -> Diagnostic {
    let LeftOut { what, because } = part;
    Diagnostic::warning(Code::LOAD_PARTIAL, format!("{what} was not run: {because}"))
}

fn failures(whose: &str, figures: &Figures) -> Option<Diagnostic> {
    let Figures { transactions, failed, errors, .. } = figures;
    let summary = format!("{failed} transactions of clients {whose} failed, and {transactions} came through");
    (*failed > 0).then(|| Diagnostic::error(Code::LOAD_FAILED, summary).detail(format!("They were told: {}.", errors.join("; "))))
}

fn broken_off(because: &str) -> Diagnostic {
    Diagnostic::error(Code::LOAD_FAILED, "the load was broken off").detail(format!("{because}."))
}

/// What was there before may be anyone's, with or without PgBouncer, so it is not held against the pools.
fn too_many(leg: &Leg) -> Option<Diagnostic> {
    let Way::Pooled { connections_max, .. } = leg.way else { return None };
    let allowed = connections_max.saturating_add(leg.connections_before);
    let summary = format!("the server held {} connections of the services, and the pools have {connections_max}", leg.connections);
    (leg.connections > allowed).then(|| {
        Diagnostic::error(Code::LOAD_FAILED, summary)
            .detail(format!("{} of them were there before the load began.", leg.connections_before))
            .hint("Compare the PgBouncer that runs with the generated pgbouncer.ini, and look who connects without it.")
    })
}
