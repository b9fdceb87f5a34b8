//! Alert rules for Prometheus, on the metrics of `pgisle serve`. What they look at, and from where on, is the page's: `core::watch`.

use crate::artifact::yaml::Yaml;
use crate::artifact::{Artifact, header};
use crate::spec::Spec;
use crate::watch::{BACKUP_AGE_S, BEHIND_S, FROZEN_AGE, IDLE_IN_TRANSACTION_S, NEAR_PERCENT, RECOVERY_AGE_S, SLOT_BYTES, WAIT_MS};

/// The file's path.
pub(crate) const PATH: &str = "prometheus/alerts.yml";

/// A rule: its name, its expression, how long that must hold, how bad it is, and what it means.
type Rule = (&'static str, String, &'static str, &'static str, &'static str);

pub(crate) fn artifact(spec: &Spec) -> Artifact {
    let mut rules = of_server();
    rules.extend(of_services());
    if spec.settings.enable_pgbouncer {
        rules.extend(of_pools());
    }
    if spec.settings.enable_backup_automation {
        rules.push((
            "BackupOld",
            format!("time() - pgisle_backup_proved_timestamp_seconds > {BACKUP_AGE_S}"),
            "10m",
            "warning",
            "The service {{ $labels.service }} has no proved backup of the last day and a half.",
        ));
        // Who has never practised it has no such time.
        rules.push((
            "RecoveryNotProved",
            format!("time() - pgisle_backup_recovered_timestamp_seconds > {RECOVERY_AGE_S}"),
            "10m",
            "warning",
            "For {{ $value | humanizeDuration }} it has not been proved that {{ $labels.service }} can be brought back to a time: pgisle backup drill -at latest.",
        ));
    }
    let group = Yaml::map([
        ("name", Yaml::text(format!("{}-{}-databases", spec.settings.name_prefix, spec.settings.environment))),
        ("rules", Yaml::List(rules.into_iter().map(rule).collect())),
    ]);
    let document = Yaml::map([("groups", Yaml::List(vec![group]))]);
    Artifact::open(PATH, header(spec, "#") + &document.render())
}

fn of_server() -> Vec<Rule> {
    vec![
        ("PgisleGone", "absent(pgisle_up)".to_owned(), "5m", "critical", "pgisle serve is not scraped: nobody watches."),
        ("PostgresDown", r#"pgisle_up{part="server"} == 0"#.to_owned(), "1m", "critical", "PostgreSQL cannot be seen."),
        (
            "PostgresConnectionsNearMaximum",
            format!("pgisle_server_connections >= {NEAR_PERCENT} / 100 * pgisle_server_connections_usable"),
            "5m",
            "warning",
            "{{ $value }} connections of the server are used: nearly all.",
        ),
        (
            "StandbyBehind",
            format!("pgisle_replication_behind_seconds >= {BEHIND_S}"),
            "5m",
            "warning",
            "{{ $labels.receiver }} is {{ $value }} s behind.",
        ),
        (
            "SlotKeepsMuch",
            format!("pgisle_slot_kept_bytes >= {SLOT_BYTES}"),
            "10m",
            "warning",
            "The server keeps {{ $value | humanize1024 }}B of log for slot {{ $labels.slot }}.",
        ),
        ("SlotLost", "pgisle_slot_lost == 1".to_owned(), "1m", "critical", "The replication slot {{ $labels.slot }} is lost."),
        (
            "ArchiveFailing",
            "pgisle_archive_failing_seconds > 0".to_owned(),
            "10m",
            "critical",
            "The log has not been archived for {{ $value }} s: the server keeps all of it.",
        ),
        ("IslandLeaks", "pgisle_leaks > 0".to_owned(), "0m", "critical", "Something reaches across islands: pgisle verify."),
        ("ClusterDrift", "pgisle_drift > 0".to_owned(), "30m", "warning", "The cluster is not as the file says: pgisle plan."),
    ]
}

fn of_services() -> Vec<Rule> {
    vec![
        (
            "ServiceDatabaseDown",
            "pgisle_service_up == 0".to_owned(),
            "2m",
            "critical",
            "The database of the service {{ $labels.service }} is not there, or closed.",
        ),
        (
            "ServiceConnectionsNearLimit",
            format!(
                "sum by (service, database) (pgisle_service_connections) >= on (service, database) {NEAR_PERCENT} / 100 * \
                 pgisle_service_connections_limit"
            ),
            "5m",
            "warning",
            "The database of the service {{ $labels.service }} holds {{ $value }} connections: nearly all that it takes.",
        ),
        (
            "LoginConnectionsNearLimit",
            format!("pgisle_login_connections >= {NEAR_PERCENT} / 100 * pgisle_login_connections_limit"),
            "5m",
            "warning",
            "{{ $labels.login }} holds {{ $value }} connections: nearly all that it may.",
        ),
        (
            "IdleInTransaction",
            format!("pgisle_service_idle_in_transaction_seconds >= {IDLE_IN_TRANSACTION_S}"),
            "1m",
            "warning",
            "A transaction of the service {{ $labels.service }} has been open for {{ $value }} s and does nothing.",
        ),
        (
            "Wraparound",
            format!("pgisle_service_frozen_age_transactions >= {FROZEN_AGE}"),
            "10m",
            "critical",
            "The database of the service {{ $labels.service }} has not been frozen for {{ $value }} transactions.",
        ),
    ]
}

fn of_pools() -> Vec<Rule> {
    vec![
        ("PgBouncerDown", r#"pgisle_up{part="pools"} == 0"#.to_owned(), "1m", "critical", "PgBouncer cannot be seen."),
        (
            "PgBouncerClientsWaiting",
            format!("pgisle_pool_longest_wait_seconds >= {}", WAIT_MS / 1_000),
            "2m",
            "warning",
            "Clients of {{ $labels.alias }} wait {{ $value }} s for a connection: its pool is too small, or its transactions too long.",
        ),
    ]
}

fn rule((alert, expression, pending, severity, summary): Rule) -> Yaml {
    Yaml::map([
        ("alert", Yaml::text(alert)),
        ("expr", Yaml::text(expression)),
        ("for", Yaml::text(pending)),
        ("labels", Yaml::map([("severity", Yaml::text(severity))])),
        ("annotations", Yaml::map([("summary", Yaml::text(summary))])),
    ])
}
