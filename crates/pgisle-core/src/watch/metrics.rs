//! What Prometheus scrapes: its text format, version 0.0.4. What does not hold now is left out.

use std::fmt::{Display, Write as _};

use super::board::{Board, ServiceRow, to_f64};
use super::{Counters, SessionState};
use crate::diagnostic::Severity;
use crate::status::State;

/// A family of metrics, as it is written.
struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

/// What a family's values mean.
#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

impl<'a> Family<'a> {
    fn new(text: &'a mut String, name: &'static str, kind: Kind, help: &str) -> Self {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        // Writing to a String cannot fail, here and below.
        let _infallible = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Self { text, name }
    }

    fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (index, (label, content)) in labels.iter().enumerate() {
            let _infallible = write!(self.text, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(content));
        }
        let _infallible = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

fn escaped(content: &str) -> String {
    content.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A counter: its name, what it counts, and where it stands.
type Counting = (&'static str, &'static str, fn(&Counters) -> u64);

/// Everything that holds now.
#[must_use]
pub fn metrics(board: &Board) -> String {
    let mut text = String::new();
    let is_fresh = |part: &str| board.freshness.get(part).is_some_and(|freshness| freshness.is_fresh);
    let mut up = Family::new(&mut text, "pgisle_up", Kind::Gauge, "Whether what is watched can be seen.");
    for part in board.freshness.keys() {
        up.value(&[("part", part)], u8::from(is_fresh(part)));
    }
    let help = "When it was last seen, in seconds since 1970.";
    let mut seen = Family::new(&mut text, "pgisle_last_seen_timestamp_seconds", Kind::Gauge, help);
    for (part, freshness) in &board.freshness {
        if let Some(at) = freshness.seen {
            seen.value(&[("part", part)], at.unix_s());
        }
    }
    if is_fresh("server") {
        of_server(&mut text, board);
        of_sessions(&mut text, board);
        of_counters(&mut text, board);
    }
    if is_fresh("pools") {
        of_pools(&mut text, board);
    }
    if is_fresh("backups") {
        of_backups(&mut text, board);
    }
    if is_fresh("standing") {
        of_standing(&mut text, board);
    }
    let mut alerts = Family::new(&mut text, "pgisle_alerts", Kind::Gauge, "What someone should look at.");
    for severity in [Severity::Error, Severity::Warning] {
        let count = board.alerts.iter().filter(|alert| alert.severity == severity).count();
        alerts.value(&[("severity", &severity.to_string())], count);
    }
    text
}

fn of_server(text: &mut String, board: &Board) {
    let Some(server) = &board.server else { return };
    Family::new(text, "pgisle_server_info", Kind::Gauge, "The server's version.").value(&[("version", &server.version)], 1);
    let single: [(&'static str, &str, u64); 5] = [
        ("pgisle_server_connections", "Sessions of clients.", server.connections.into()),
        (
            "pgisle_server_connections_usable",
            "Sessions that those who are no superusers may hold.",
            server.usable_connections.into(),
        ),
        ("pgisle_server_connections_max", "The setting max_connections.", server.max_connections.into()),
        ("pgisle_server_uptime_seconds", "For how long the server has run.", server.uptime_s),
        ("pgisle_archive_failing_seconds", "For how long the log could not be archived.", server.archive_failing_s.unwrap_or(0)),
    ];
    for (name, help, value) in single {
        Family::new(text, name, Kind::Gauge, help).value(&[], value);
    }
    let mut bytes = Family::new(text, "pgisle_replication_behind_bytes", Kind::Gauge, "Log that a standby has not replayed.");
    for one in &board.receivers {
        if let Some(behind) = one.behind_bytes {
            bytes.value(&[("receiver", &one.name)], behind);
        }
    }
    let mut seconds = Family::new(text, "pgisle_replication_behind_seconds", Kind::Gauge, "The same as time.");
    for one in &board.receivers {
        if let Some(behind) = one.behind_ms {
            seconds.value(&[("receiver", &one.name)], to_f64(behind) / 1_000.0);
        }
    }
    let mut kept = Family::new(text, "pgisle_slot_kept_bytes", Kind::Gauge, "Log that the server keeps for a replication slot.");
    for slot in &board.slots {
        kept.value(&[("slot", &slot.name)], slot.kept_bytes);
    }
    let mut lost = Family::new(text, "pgisle_slot_lost", Kind::Gauge, "Whether what a slot was to keep is gone.");
    for slot in &board.slots {
        lost.value(&[("slot", &slot.name)], u8::from(slot.is_lost));
    }
}

fn of_sessions(text: &mut String, board: &Board) {
    let help = "Sessions in a service's database, by what they do.";
    let mut sessions = Family::new(text, "pgisle_service_connections", Kind::Gauge, help);
    for row in &board.services {
        for state in SessionState::ALL {
            let count = row.sessions.get(&state).copied().unwrap_or_default();
            sessions.value(&[labels(row)[0], labels(row)[1], ("state", state.as_str())], count);
        }
    }
    each(text, board, "pgisle_service_connections_limit", "Sessions that a service's database takes.", |row| {
        row.connection_limit.map(u64::from)
    });
    each(text, board, "pgisle_service_connections_pooled", "Sessions that a service's pools may hold together.", |row| {
        Some(row.pool_connections.into())
    });
    let mut logins = Family::new(text, "pgisle_login_connections", Kind::Gauge, "Sessions of a login.");
    for (row, login) in board.services.iter().flat_map(|row| row.logins.iter().map(move |login| (row, login))) {
        logins.value(&[labels(row)[0], ("login", login.role.as_str())], login.connections);
    }
    let mut limits = Family::new(text, "pgisle_login_connections_limit", Kind::Gauge, "Sessions that a login may hold.");
    for (row, login) in board.services.iter().flat_map(|row| row.logins.iter().map(move |login| (row, login))) {
        if let Some(limit) = login.connection_limit {
            limits.value(&[labels(row)[0], ("login", login.role.as_str())], limit);
        }
    }
    each(text, board, "pgisle_service_database_bytes", "What a service's database takes on disk.", |row| row.bytes);
    each(text, board, "pgisle_service_oldest_transaction_seconds", "For how long the oldest transaction has been open.", |row| {
        Some(row.oldest_transaction_s.unwrap_or_default())
    });
    let help = "For how long the oldest transaction that does nothing has been open.";
    each(text, board, "pgisle_service_idle_in_transaction_seconds", help, |row| {
        Some(row.idle_in_transaction_s.unwrap_or_default())
    });
    each(text, board, "pgisle_service_frozen_age_transactions", "Transactions since the oldest was frozen.", |row| {
        Some(row.frozen_age)
    });
}

fn of_counters(text: &mut String, board: &Board) {
    let all: [Counting; 7] = [
        ("pgisle_service_commits_total", "Transactions that were committed.", |counters| counters.commits),
        ("pgisle_service_rollbacks_total", "Transactions that were rolled back.", |counters| counters.rollbacks),
        ("pgisle_service_rows_written_total", "Rows that were inserted, updated or deleted.", |counters| counters.rows_written),
        ("pgisle_service_blocks_hit_total", "Blocks that were in memory.", |counters| counters.blocks_hit),
        ("pgisle_service_blocks_read_total", "Blocks that were not.", |counters| counters.blocks_read),
        ("pgisle_service_temporary_bytes_total", "Bytes of temporary files.", |counters| counters.temporary_bytes),
        ("pgisle_service_deadlocks_total", "Deadlocks.", |counters| counters.deadlocks),
    ];
    for (name, help, count) in all {
        let mut family = Family::new(text, name, Kind::Counter, help);
        for row in &board.services {
            family.value(&labels(row), count(&row.counters));
        }
    }
}

fn of_pools(text: &mut String, board: &Board) {
    let pools = || board.services.iter().flat_map(|row| row.pools.iter().map(move |pool| (row, pool)));
    let mut clients = Family::new(text, "pgisle_pool_clients", Kind::Gauge, "Clients of a pool of PgBouncer's.");
    for (row, pool) in pools() {
        for (state, count) in [("active", pool.clients_active), ("waiting", pool.clients_waiting)] {
            let own = [("pooler", pool.pooler.as_str()), ("alias", &pool.alias), ("user", &pool.user), ("state", state)];
            clients.value(&[&labels(row)[..1], &own].concat(), count);
        }
    }
    let mut servers = Family::new(text, "pgisle_pool_servers", Kind::Gauge, "Connections of a pool to the server.");
    for (row, pool) in pools() {
        for (state, count) in [("active", pool.servers_active), ("idle", pool.servers_idle)] {
            let own = [("pooler", pool.pooler.as_str()), ("alias", &pool.alias), ("user", &pool.user), ("state", state)];
            servers.value(&[&labels(row)[..1], &own].concat(), count);
        }
    }
    let help = "For how long the first of the clients that wait has waited.";
    let mut wait = Family::new(text, "pgisle_pool_longest_wait_seconds", Kind::Gauge, help);
    for (row, pool) in pools() {
        let own = [("pooler", pool.pooler.as_str()), ("alias", &pool.alias), ("user", &pool.user)];
        wait.value(&[&labels(row)[..1], &own].concat(), to_f64(pool.longest_wait_ms) / 1_000.0);
    }
    let mut size = Family::new(text, "pgisle_pool_size", Kind::Gauge, "Connections that a pool may hold, its reserve included.");
    for (row, pool) in pools() {
        if let Some(limit) = pool.size {
            let own = [("pooler", pool.pooler.as_str()), ("alias", &pool.alias), ("user", &pool.user)];
            size.value(&[&labels(row)[..1], &own].concat(), limit);
        }
    }
}

fn of_backups(text: &mut String, board: &Board) {
    each(text, board, "pgisle_backup_newest_timestamp_seconds", "When the newest backup was made, in seconds since 1970.", |row| {
        row.backup.and_then(|backup| backup.newest).map(crate::moment::Moment::unix_s)
    });
    each(text, board, "pgisle_backup_proved_timestamp_seconds", "When the newest backup was made that was proved.", |row| {
        Some(row.backup.and_then(|backup| backup.proved).map(crate::moment::Moment::unix_s).unwrap_or_default())
    });
    let help = "When it was last proved that a service can be brought back to a time.";
    each(text, board, "pgisle_backup_recovered_timestamp_seconds", help, |row| {
        row.backup.and_then(|backup| backup.recovered).map(crate::moment::Moment::unix_s)
    });
}

fn of_standing(text: &mut String, board: &Board) {
    each(text, board, "pgisle_service_up", "Whether a service's database is there and open to it.", |row| {
        row.state.map(|state| u64::from(state == State::Ready))
    });
    let help = "Places where the cluster is not as the file says.";
    Family::new(text, "pgisle_drift", Kind::Gauge, help).value(&[], board.drift.len());
    let leaks = board.alerts.iter().filter(|alert| alert.kind == super::AlertKind::Leak).count();
    Family::new(text, "pgisle_leaks", Kind::Gauge, "Ways across islands, by the catalogs.").value(&[], leaks);
}

fn labels(row: &ServiceRow) -> [(&str, &str); 2] {
    [("service", row.service.as_str()), ("database", row.database.as_str())]
}

/// One value a service, where there is one.
fn each(text: &mut String, board: &Board, name: &'static str, help: &str, value: impl Fn(&ServiceRow) -> Option<u64>) {
    let mut family = Family::new(text, name, Kind::Gauge, help);
    for row in &board.services {
        if let Some(value) = value(row) {
            family.value(&labels(row), value);
        }
    }
}
