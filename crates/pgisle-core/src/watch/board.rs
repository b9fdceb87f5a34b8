//! What is shown of everything that is watched.

use std::collections::BTreeMap;

use serde::Serialize;

use super::alert::{Alert, alerts};
use super::{BackupSample, Counters, Part, PoolSample, Rates, ReceiverSample, ServerSample, SessionState, SlotSample, Watched};
use crate::budget::pool;
use crate::credential::Slot;
use crate::moment::Moment;
use crate::name::{DatabaseName, RoleName, ServiceName};
use crate::spec::{Service, Spec};
use crate::status::State;

/// From how full on a limit is worth a look, in percent.
pub(crate) const NEAR_PERCENT: u64 = 80;

/// Everything, as one document. Values are the last that were seen; `freshness` says whether they still hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Board {
    /// When it was put together.
    pub at: Moment,
    /// Whose databases these are.
    pub project: String,
    /// `development`, `staging`, `production`.
    pub environment: String,
    /// How old each part is: `server`, `pools`, `backups`, `standing`.
    pub freshness: BTreeMap<&'static str, Freshness>,
    /// The server; none before it was first reached.
    pub server: Option<ServerRow>,
    /// The services, in the order of the file.
    pub services: Vec<ServiceRow>,
    /// Sessions that are in no service's database.
    pub other_connections: u32,
    /// Who receives the log.
    pub receivers: Vec<ReceiverSample>,
    /// Replication slots.
    pub slots: Vec<SlotSample>,
    /// What is wrong, the worst first.
    pub alerts: Vec<Alert>,
    /// Where the cluster is not as the file says.
    pub drift: Vec<String>,
    /// What reaches across islands, by the catalogs.
    pub leaks: Vec<String>,
}

/// How old a part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// Whether what is shown of it holds now.
    pub is_fresh: bool,
    /// When it was last seen.
    pub seen: Option<Moment>,
    /// How long ago that is, seconds.
    pub age_s: Option<u64>,
    /// Why it could not be seen since.
    pub error: Option<String>,
}

impl Freshness {
    fn of<T>(part: &Part<T>, now: Moment) -> Self {
        let seen = part.seen.as_ref().map(|(at, _)| *at);
        Self { is_fresh: part.fresh(now).is_some(), seen, age_s: seen.map(|at| now.seconds_since(at)), error: part.error.clone() }
    }
}

/// The server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerRow {
    /// `server_version`.
    pub version: String,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// For how long it has run, seconds.
    pub uptime_s: u64,
    /// Sessions of clients.
    pub connections: u32,
    /// What it has for those who are not superusers.
    pub usable_connections: u32,
    /// `max_connections`.
    pub max_connections: u32,
    /// How full that is.
    pub strain: Strain,
    /// For how long archiving the log has failed, seconds.
    pub archive_failing_s: Option<u64>,
}

/// How full something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strain {
    /// Below four fifths.
    Calm,
    /// From there on.
    Near,
    /// Nothing is left.
    Full,
}

impl Strain {
    /// Of so many that may be there; without a limit there is none.
    #[must_use]
    pub fn of(count: u32, limit: Option<u32>) -> Self {
        match limit {
            Some(limit) if count >= limit => Self::Full,
            Some(limit) if u64::from(count) * 100 >= u64::from(limit) * NEAR_PERCENT => Self::Near,
            _ => Self::Calm,
        }
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceRow {
    /// The service.
    pub service: ServiceName,
    /// Its database.
    pub database: DatabaseName,
    /// Its state by the catalogs; none before they were read.
    pub state: Option<State>,
    /// Bytes on disk.
    pub bytes: Option<u64>,
    /// Sessions in its database.
    pub connections: u32,
    /// The same by what they do.
    pub sessions: BTreeMap<SessionState, u32>,
    /// Sessions that its database takes.
    pub connection_limit: Option<u32>,
    /// What its pools may hold together.
    pub pool_connections: u32,
    /// How full the nearest limit is, the database's or a login's.
    pub strain: Strain,
    /// Its logins.
    pub logins: Vec<LoginRow>,
    /// For how long its oldest transaction has been open, seconds.
    pub oldest_transaction_s: Option<u64>,
    /// For how long its oldest session has been idle in a transaction, seconds.
    pub idle_in_transaction_s: Option<u64>,
    /// Transactions since the oldest was frozen.
    pub frozen_age: u64,
    /// What it does, a second; none before it was seen twice.
    pub rates: Option<Rates>,
    /// What it has done.
    pub counters: Counters,
    /// Its pools, in each PgBouncer.
    pub pools: Vec<PoolSample>,
    /// Its backups; none before they were read.
    pub backup: Option<BackupSample>,
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoginRow {
    /// The login.
    pub role: RoleName,
    /// Its sessions.
    pub connections: u32,
    /// What it may hold; none without a limit.
    pub connection_limit: Option<u32>,
}

/// Puts it together.
#[must_use]
pub fn board(spec: &Spec, watched: &Watched, now: Moment) -> Board {
    let sample = watched.server.last();
    let is_home = |database: &DatabaseName| spec.services.values().any(|service| service.database == *database);
    let sessions = sample.map(|sample| sample.sessions.as_slice()).unwrap_or_default();
    let standing = watched.standing.last();
    let mut freshness = BTreeMap::from([
        ("server", Freshness::of(&watched.server, now)),
        ("backups", Freshness::of(&watched.backups, now)),
        ("standing", Freshness::of(&watched.standing, now)),
    ]);
    if let Some(pools) = &watched.pools {
        freshness.insert("pools", Freshness::of(pools, now));
    }
    let mut board = Board {
        at: now,
        project: spec.settings.name_prefix.clone(),
        environment: spec.settings.environment.to_string(),
        freshness,
        server: sample.map(server_row),
        services: spec.services.values().map(|service| service_row(spec, service, watched)).collect(),
        other_connections: sessions.iter().filter(|one| !is_home(&one.database)).map(|one| one.count).sum(),
        receivers: sample.map(|sample| sample.receivers.clone()).unwrap_or_default(),
        slots: sample.map(|sample| sample.slots.clone()).unwrap_or_default(),
        alerts: Vec::new(),
        drift: standing.map(|standing| standing.drift.clone()).unwrap_or_default(),
        leaks: standing.map(|standing| standing.leaks.iter().map(crate::verify::Leak::summary).collect()).unwrap_or_default(),
    };
    board.alerts = alerts(spec, watched, &board);
    board
}

fn server_row(sample: &ServerSample) -> ServerRow {
    let connections = sample.sessions.iter().map(|one| one.count).sum();
    ServerRow {
        version: sample.version.clone(),
        is_standby: sample.is_standby,
        uptime_s: sample.uptime_s,
        connections,
        usable_connections: sample.usable_connections,
        max_connections: sample.max_connections,
        strain: Strain::of(connections, Some(sample.usable_connections)),
        archive_failing_s: sample.archive_failing_s,
    }
}

fn service_row(spec: &Spec, service: &Service, watched: &Watched) -> ServiceRow {
    let none = ServerSample::default();
    let sample = watched.server.last().unwrap_or(&none);
    let database = sample.databases.get(&service.database);
    let own: Vec<_> = sample.sessions.iter().filter(|one| one.database == service.database).collect();
    let mut sessions = BTreeMap::new();
    for one in &own {
        *sessions.entry(one.state).or_default() += one.count;
    }
    let connections = own.iter().map(|one| one.count).sum();
    let roles = [service.login(Slot::A), service.login(Slot::B), service.migrator()];
    let login = |role: RoleName| {
        let connection_limit = *sample.login_limits.get(&role)?;
        let connections = sample.sessions.iter().filter(|one| one.role == role).map(|one| one.count).sum();
        Some(LoginRow { role, connections, connection_limit })
    };
    let logins: Vec<LoginRow> = roles.into_iter().filter_map(login).collect();
    let connection_limit = database.and_then(|database| database.connection_limit);
    let strain = logins.iter().map(|login| Strain::of(login.connections, login.connection_limit));
    let longest = |states: &[SessionState]| {
        own.iter().filter(|one| states.contains(&one.state)).filter_map(|one| one.oldest_transaction_s).max()
    };
    let alias = crate::artifact::pooler_alias(service);
    let pools = watched.pools.as_ref().and_then(Part::last).map(Vec::as_slice).unwrap_or_default();
    ServiceRow {
        service: service.name.clone(),
        database: service.database.clone(),
        state: watched.standing.last().and_then(|standing| standing.states.get(&service.name).copied()),
        bytes: database.and_then(|database| database.bytes),
        connections,
        sessions,
        connection_limit,
        pool_connections: pool(&spec.settings, service).max_connections().saturating_mul(spec.settings.pgbouncer_instances.max(1)),
        strain: strain.max().unwrap_or(Strain::Calm).max(Strain::of(connections, connection_limit)),
        logins,
        oldest_transaction_s: longest(&SessionState::ALL),
        idle_in_transaction_s: longest(&[SessionState::IdleInTransaction]),
        frozen_age: database.map(|database| database.frozen_age).unwrap_or_default(),
        rates: rates(watched, &service.database),
        counters: database.map(|database| database.counters).unwrap_or_default(),
        pools: pools.iter().filter(|pool| pool.alias == alias || pool.alias == format!("{alias}_ro")).cloned().collect(),
        backup: watched.backups.last().map(|all| all.get(&service.name).copied().unwrap_or_default()),
    }
}

/// What has changed since the look before. Statistics that were reset in between begin at nothing.
fn rates(watched: &Watched, database: &DatabaseName) -> Option<Rates> {
    let (then, before) = watched.before.as_ref()?;
    let (now, sample) = watched.server.seen.as_ref()?;
    let (old, new) = (before.databases.get(database)?.counters, sample.databases.get(database)?.counters);
    let seconds = now.seconds_since(*then).max(1);
    let delta = |count: fn(&Counters) -> u64| count(&new).checked_sub(count(&old)).unwrap_or_else(|| count(&new));
    let rate = |count: fn(&Counters) -> u64| to_f64(delta(count)) / to_f64(seconds);
    let (hit, read) = (delta(|counters| counters.blocks_hit), delta(|counters| counters.blocks_read));
    Some(Rates {
        commits: rate(|counters| counters.commits),
        rollbacks: rate(|counters| counters.rollbacks),
        rows_written: rate(|counters| counters.rows_written),
        hit_ratio: (hit + read > 0).then(|| to_f64(hit) / to_f64(hit + read)),
    })
}

/// Counts of this size lose nothing that anybody would see.
#[expect(clippy::cast_precision_loss, reason = "rates and charts need no more than 53 bits")]
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}
