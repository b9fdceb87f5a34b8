//! What is wrong now. The same limits are in the generated rules for Prometheus.

use serde::Serialize;

use super::board::{Board, ServiceRow, Strain};
use super::{PoolSample, Watched};
use crate::diagnostic::Severity;
use crate::name::ServiceName;
use crate::spec::Spec;
use crate::status::State;

/// A client that waits longer than this for a connection is told of, milliseconds.
pub(crate) const WAIT_MS: u64 = 1_000;

/// So many open sessions in a transaction keep vacuum from its work, seconds.
pub(crate) const IDLE_IN_TRANSACTION_S: u64 = 300;

/// A standby that is further behind is of little use, seconds and bytes.
pub(crate) const BEHIND_S: u64 = 30;
const BEHIND_BYTES: u64 = 1 << 30;

/// A slot that keeps more log than this fills a disk sooner or later, bytes.
pub(crate) const SLOT_BYTES: u64 = 10 << 30;

/// Of two thousand million.
pub(crate) const FROZEN_AGE: u64 = 1_000_000_000;

/// Backups are daily; a day and a half means that one has failed, seconds.
pub(crate) const BACKUP_AGE_S: u64 = 36 * 60 * 60;

/// Bringing a service back to a time is practised monthly, where it is at all; a month and a few days mean that it was forgotten, seconds.
pub(crate) const RECOVERY_AGE_S: u64 = 35 * DAY_S;

const DAY_S: u64 = 24 * 60 * 60;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// The server cannot be reached, or does not answer.
    ServerDown,
    /// PgBouncer's console cannot be reached.
    PoolerDown,
    /// A service's database is not there, or closed.
    ServiceDown,
    /// Something reaches across islands.
    Leak,
    /// Connections are nearly used up.
    Connections,
    /// Clients wait for a connection.
    Waiting,
    /// A transaction is open and does nothing.
    IdleInTransaction,
    /// A standby is behind.
    Behind,
    /// A slot is lost, or keeps much.
    Slot,
    /// The log cannot be archived.
    Archive,
    /// Transaction numbers are nearly used up.
    Wraparound,
    /// No backup has been proved for too long, or not that a service can be brought back to a time.
    Backup,
    /// The cluster is not as the file says.
    Drift,
}

/// Something that someone should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub kind: AlertKind,
    /// Whose it is.
    pub service: Option<ServiceName>,
    /// As a sentence without a full stop.
    pub text: String,
    /// What to do.
    pub hint: String,
}

/// Collects them.
struct Alerts {
    all: Vec<Alert>,
    service: Option<ServiceName>,
}

impl Alerts {
    fn error(&mut self, kind: AlertKind, text: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Error, kind, text.into(), hint.into());
    }

    fn warning(&mut self, kind: AlertKind, text: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Warning, kind, text.into(), hint.into());
    }

    fn push(&mut self, severity: Severity, kind: AlertKind, text: String, hint: String) {
        self.all.push(Alert { severity, kind, service: self.service.clone(), text, hint });
    }
}

/// What is wrong, the worst first. What does not hold any more is not judged: that it cannot be seen is what is wrong then.
pub(super) fn alerts(spec: &Spec, watched: &Watched, board: &Board) -> Vec<Alert> {
    let mut alerts = Alerts { all: Vec::new(), service: None };
    let is_fresh = |part: &str| board.freshness.get(part).is_some_and(|freshness| freshness.is_fresh);
    if is_fresh("server") {
        of_server(&mut alerts, board);
    } else if let Some(reason) = watched.server.error.as_deref().or(watched.server.seen.as_ref().map(|_| "it does not answer")) {
        alerts.error(AlertKind::ServerDown, format!("PostgreSQL cannot be seen: {reason}"), "`pgisle doctor` looks for the cause.");
    }
    if let Some(reason) = watched.pools.as_ref().and_then(|pools| pools.error.as_deref()) {
        alerts.error(AlertKind::PoolerDown, format!("PgBouncer cannot be seen: {reason}"), "`pgisle doctor` looks for the cause.");
    }
    if is_fresh("standing") {
        of_standing(&mut alerts, watched, board);
    }
    for row in &board.services {
        alerts.service = Some(row.service.clone());
        if is_fresh("standing") && row.state.is_some_and(|state| state != State::Ready) {
            let state = row.state.map_or("missing", State::as_str);
            alerts.error(AlertKind::ServiceDown, format!("its database is {state}"), "`pgisle plan` says what is to be done.");
        }
        if is_fresh("server") {
            of_service(&mut alerts, row);
        }
        if is_fresh("pools") {
            of_pools(&mut alerts, &row.pools);
        }
        if is_fresh("backups") && spec.settings.enable_backup_automation {
            of_backup(&mut alerts, row, board);
        }
    }
    // Stable: within the same severity the order of the file stays.
    alerts.all.sort_by_key(|alert| (alert.severity, alert.kind));
    alerts.all
}

fn of_server(alerts: &mut Alerts, board: &Board) {
    let Some(server) = &board.server else { return };
    let text = format!("{} of {} connections of the server are used", server.connections, server.usable_connections);
    let hint = "`pgisle budget` says who may take how many.";
    match server.strain {
        Strain::Full => alerts.error(AlertKind::Connections, text, hint),
        Strain::Near => alerts.warning(AlertKind::Connections, text, hint),
        Strain::Calm => {}
    }
    if let Some(seconds) = server.archive_failing_s {
        alerts.error(
            AlertKind::Archive,
            format!("the log has not been archived for {seconds} s"),
            "The server's log has the reason; until it works, the server keeps all of it.",
        );
    }
    for one in &board.receivers {
        let (bytes, ms) = (one.behind_bytes.unwrap_or_default(), one.behind_ms.unwrap_or_default());
        if bytes >= BEHIND_BYTES || ms >= BEHIND_S * 1_000 {
            let text = format!("{} is {} MB and {} s behind", one.name, bytes >> 20, ms / 1_000);
            alerts.warning(AlertKind::Behind, text, "Look at its load, its disk and the network between.");
        }
    }
    for slot in &board.slots {
        if slot.is_lost {
            let text = format!("replication slot {} is lost", slot.name);
            alerts.error(AlertKind::Slot, text, "Whoever read from it has to begin again; then drop it.");
        } else if slot.kept_bytes >= SLOT_BYTES {
            let text = format!("the server keeps {} GB of log for slot {}", slot.kept_bytes >> 30, slot.name);
            alerts.warning(AlertKind::Slot, text, "Have its reader catch up, or drop the slot.");
        }
    }
}

fn of_standing(alerts: &mut Alerts, watched: &Watched, board: &Board) {
    let Some(standing) = watched.standing.last() else { return };
    for leak in &standing.leaks {
        if leak.severity == Severity::Error {
            alerts.error(AlertKind::Leak, leak.summary(), "`pgisle verify` shows the way, and what closes it.");
        }
    }
    if !board.drift.is_empty() {
        let text = format!("the cluster is not as the file says in {} places", board.drift.len());
        alerts.warning(AlertKind::Drift, text, "`pgisle plan` shows them, `pgisle apply` repairs them.");
    }
}

fn of_service(alerts: &mut Alerts, row: &ServiceRow) {
    if row.strain != Strain::Calm {
        let full = row.logins.iter().filter_map(|login| Some((login.connections, login.connection_limit?, login.role.to_string())));
        let database = row.connection_limit.map(|limit| (row.connections, limit, row.database.to_string()));
        let nearest = full.chain(database).max_by_key(|(count, limit, _)| u64::from(*count) * 1_000 / u64::from((*limit).max(1)));
        if let Some((count, limit, name)) = nearest {
            let text = format!("{name} holds {count} of its {limit} connections");
            let hint = "Look for sessions that are idle, and at the pools: `pgisle budget`.";
            match row.strain {
                Strain::Full => alerts.error(AlertKind::Connections, text, hint),
                _ => alerts.warning(AlertKind::Connections, text, hint),
            }
        }
    }
    if let Some(seconds) = row.idle_in_transaction_s.filter(|seconds| *seconds >= IDLE_IN_TRANSACTION_S) {
        let text = format!("a transaction has been open for {seconds} s and does nothing");
        alerts.warning(
            AlertKind::IdleInTransaction,
            text,
            "The service has not ended it: find where, or set idle_in_transaction_session_timeout.",
        );
    }
    if row.frozen_age >= FROZEN_AGE {
        let text = format!("{} million transactions since its oldest was frozen", row.frozen_age / 1_000_000);
        alerts.error(
            AlertKind::Wraparound,
            text,
            "Run VACUUM (FREEZE) in it, and find what kept autovacuum from it: an old transaction or slot.",
        );
    }
}

fn of_pools(alerts: &mut Alerts, pools: &[PoolSample]) {
    for pool in pools.iter().filter(|pool| pool.longest_wait_ms >= WAIT_MS && pool.clients_waiting > 0) {
        let text = format!(
            "{} clients wait for a connection in {}, the first for {} ms",
            pool.clients_waiting, pool.pooler, pool.longest_wait_ms
        );
        alerts.warning(AlertKind::Waiting, text, "Its pool is too small, or its transactions are too long: `pgisle budget`.");
    }
}

fn of_backup(alerts: &mut Alerts, row: &ServiceRow, board: &Board) {
    let age = row.backup.and_then(|backup| backup.proved).map(|proved| board.at.seconds_since(proved));
    let hint = "`pgisle backup create` makes and proves one; `pgisle backup list` shows what is there.";
    match age {
        Some(age) if age < BACKUP_AGE_S => {}
        Some(age) => alerts.warning(AlertKind::Backup, format!("its newest proved backup is {} h old", age / 3_600), hint),
        None => alerts.warning(AlertKind::Backup, "it has no proved backup", hint),
    }
    let age = row.backup.and_then(|backup| backup.recovered).map(|recovered| board.at.seconds_since(recovered));
    if let Some(age) = age.filter(|age| *age >= RECOVERY_AGE_S) {
        let text = format!("for {} days it has not been proved that it can be brought back to a time", age / DAY_S);
        alerts.warning(AlertKind::Backup, text, "`pgisle backup drill -at latest` proves it again, and changes nothing.");
    }
}
