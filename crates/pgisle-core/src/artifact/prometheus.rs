//! Alert rules for Prometheus, on the metrics of `postgres_exporter` and `pgbouncer_exporter`.

use crate::artifact::escape::promql_text;
use crate::artifact::yaml::Yaml;
use crate::artifact::{Artifact, header};
use crate::spec::Spec;

/// The file's path.
pub(crate) const PATH: &str = "prometheus/alerts.yml";

/// From how full on a limit is worth a look, in percent.
const NEAR_LIMIT_PERCENT: u64 = 80;

pub(crate) fn artifact(spec: &Spec) -> Artifact {
    let mut rules = vec![
        rule("PostgresDown", "pg_up == 0", "1m", "critical", "PostgreSQL does not answer.", None),
        rule(
            "PostgresConnectionsNearMaximum",
            &format!("sum(pg_stat_database_numbackends) > {NEAR_LIMIT_PERCENT} / 100 * max(pg_settings_max_connections)"),
            "5m",
            "warning",
            "The server's connections are nearly used up.",
            None,
        ),
    ];
    for service in spec.services.values() {
        let name = service.name.as_str();
        let metric = format!("pg_stat_database_numbackends{{datname={}}}", promql_text(service.database.as_str()));
        let limit = service.connection_limit.min(service.database_connection_limit);
        let near = (u64::from(limit.0) * NEAR_LIMIT_PERCENT / 100).max(1);
        rules.push(rule(
            "ServiceDatabaseMissing",
            &format!("absent({metric})"),
            "5m",
            "critical",
            &format!("No statistics of the database of the service {name}."),
            Some(name),
        ));
        rules.push(rule(
            "ServiceConnectionsNearLimit",
            &format!("{metric} >= {near}"),
            "5m",
            "warning",
            &format!("The service {name} holds {{{{ $value }}}} of its {limit} connections."),
            Some(name),
        ));
    }
    if spec.settings.enable_pgbouncer {
        rules.push(rule("PgBouncerDown", "pgbouncer_up == 0", "1m", "critical", "PgBouncer does not answer.", None));
        rules.push(rule(
            "PgBouncerClientsWaiting",
            "sum by (database) (pgbouncer_pools_client_waiting_connections) > 0",
            "2m",
            "warning",
            "Clients of {{ $labels.database }} wait for a connection: its pool is too small, or its transactions too long.",
            None,
        ));
    }
    let group = Yaml::map([
        ("name", Yaml::text(format!("{}-{}-databases", spec.settings.name_prefix, spec.settings.environment))),
        ("rules", Yaml::List(rules)),
    ]);
    let document = Yaml::map([("groups", Yaml::List(vec![group]))]);
    Artifact::open(PATH, header(spec, "#") + &document.render())
}

fn rule(alert: &str, expression: &str, pending: &str, severity: &str, summary: &str, service: Option<&str>) -> Yaml {
    let mut labels = vec![("severity", Yaml::text(severity))];
    labels.extend(service.map(|service| ("service", Yaml::text(service))));
    Yaml::map([
        ("alert", Yaml::text(alert)),
        ("expr", Yaml::text(expression)),
        ("for", Yaml::text(pending)),
        ("labels", Yaml::map(labels)),
        ("annotations", Yaml::map([("summary", Yaml::text(summary))])),
    ])
}
