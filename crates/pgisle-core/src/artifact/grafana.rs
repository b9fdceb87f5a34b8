//! A dashboard for Grafana, on the metrics of `pgisle serve`.

use serde_json::{Value, json};

use crate::artifact::Artifact;
use crate::spec::Spec;

/// The file's path.
pub(crate) const PATH: &str = "grafana/dashboard.json";

/// What a panel shows: its title, its unit, and expressions with their legends.
type Panel = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PANELS: &[Panel] = &[
    (
        "Connections by service",
        "short",
        &[
            ("sum by (service) (pgisle_service_connections{service=~\"$service\"})", "{{service}}"),
            ("min by (service) (pgisle_service_connections_limit{service=~\"$service\"})", "{{service}}, limit"),
        ],
    ),
    ("What sessions do", "short", &[("sum by (state) (pgisle_service_connections{service=~\"$service\"})", "{{state}}")]),
    ("Server", "short", &[("pgisle_server_connections", "connections"), ("pgisle_server_connections_usable", "usable")]),
    (
        "Clients that wait in PgBouncer",
        "short",
        &[("sum by (alias) (pgisle_pool_clients{service=~\"$service\",state=\"waiting\"})", "{{alias}}")],
    ),
    (
        "Longest wait in PgBouncer",
        "s",
        &[("max by (alias) (pgisle_pool_longest_wait_seconds{service=~\"$service\"})", "{{alias}}")],
    ),
    (
        "Connections of the pools",
        "short",
        &[
            ("sum by (alias) (pgisle_pool_servers{service=~\"$service\"})", "{{alias}}"),
            ("max by (alias) (pgisle_pool_size{service=~\"$service\"})", "{{alias}}, at most"),
        ],
    ),
    (
        "Transactions",
        "ops",
        &[
            ("rate(pgisle_service_commits_total{service=~\"$service\"}[$__rate_interval])", "{{service}}"),
            ("rate(pgisle_service_rollbacks_total{service=~\"$service\"}[$__rate_interval])", "{{service}}, rolled back"),
        ],
    ),
    ("Size", "bytes", &[("pgisle_service_database_bytes{service=~\"$service\"}", "{{service}}")]),
    ("Oldest transaction", "s", &[("pgisle_service_oldest_transaction_seconds{service=~\"$service\"}", "{{service}}")]),
    (
        "Age of the proved backup",
        "s",
        &[("time() - (pgisle_backup_proved_timestamp_seconds{service=~\"$service\"} > 0)", "{{service}}")],
    ),
    ("Standbys behind", "s", &[("pgisle_replication_behind_seconds", "{{receiver}}")]),
    ("Log kept for slots", "bytes", &[("pgisle_slot_kept_bytes", "{{slot}}")]),
];

/// Panels in a row.
const COLUMNS: u64 = 3;

/// Grafana's grid has this many columns.
const GRID: u64 = 24;

const HEIGHT: u64 = 8;

pub(crate) fn artifact(spec: &Spec) -> Artifact {
    let settings = &spec.settings;
    let title = format!("{} {}: databases", settings.name_prefix, settings.environment);
    let source = json!({ "type": "prometheus", "uid": "${source}" });
    let panels = PANELS.iter().zip(0_u64..).map(|(panel, index)| panel_of(panel, index, &source));
    let variables = json!({ "list": [
        { "name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus" },
        {
            "name": "service", "label": "Service", "type": "query", "datasource": source, "includeAll": true, "multi": true,
            "current": { "text": "All", "value": "$__all" }, "refresh": 2,
            "query": { "query": "label_values(pgisle_service_up, service)", "refId": "services" },
        },
    ] });
    let document = json!({
        "title": title, "uid": format!("pgisle-{}-{}", settings.name_prefix, settings.environment), "tags": ["pgisle"],
        "schemaVersion": 39, "editable": true, "refresh": "10s", "time": { "from": "now-1h", "to": "now" },
        "timezone": "browser", "templating": variables, "panels": panels.collect::<Vec<Value>>(),
    });
    Artifact::open(PATH, format!("{document:#}\n"))
}

fn panel_of((title, unit, targets): &Panel, index: u64, source: &Value) -> Value {
    let width = GRID / COLUMNS;
    let targets = targets.iter().zip('A'..).map(|((expression, legend), letter)| {
        json!({ "refId": letter.to_string(), "datasource": source, "expr": expression, "legendFormat": legend })
    });
    json!({
        "id": index + 1, "type": "timeseries", "title": title, "datasource": source,
        "gridPos": { "x": index % COLUMNS * width, "y": index / COLUMNS * HEIGHT, "w": width, "h": HEIGHT },
        "fieldConfig": { "defaults": { "unit": unit, "min": 0 }, "overrides": [] },
        "options": { "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi" } },
        "targets": targets.collect::<Vec<Value>>(),
    })
}
