//! The alert rules, read and tried out by Prometheus' own tool.

use std::fmt::Write as _;
use std::process::Command;

use pgisle_engine::local::find_program;
use pgisle_testkit::skip;

use super::{Endpoint, credentials, link, written};

/// A rule, series that make it fire, and the labels and the text that it then has.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const CASES: &[Case] = &[
    ("PgisleGone", &[], "severity: critical", "pgisle serve is not scraped: nobody watches."),
    ("PostgresDown", &[("pgisle_up{part=\"server\"}", "0x20")], "severity: critical, part: server", "PostgreSQL cannot be seen."),
    ("PgBouncerDown", &[("pgisle_up{part=\"pools\"}", "0x20")], "severity: critical, part: pools", "PgBouncer cannot be seen."),
    (
        "PostgresConnectionsNearMaximum",
        &[
            ("pgisle_up{part=\"server\"}", "1x20"),
            ("pgisle_server_connections", "80x20"),
            ("pgisle_server_connections_usable", "97x20"),
        ],
        "severity: warning",
        "80 connections of the server are used: nearly all.",
    ),
    (
        "ServiceDatabaseDown",
        &[("pgisle_up{part=\"server\"}", "1x20"), ("pgisle_service_up{service=\"users\",database=\"link_users\"}", "0x20")],
        "severity: critical, service: users, database: link_users",
        "The database of the service users is not there, or closed.",
    ),
    (
        "ServiceConnectionsNearLimit",
        &[
            ("pgisle_up{part=\"server\"}", "1x20"),
            ("pgisle_service_connections{service=\"users\",database=\"link_users\",state=\"active\"}", "40x20"),
            ("pgisle_service_connections{service=\"users\",database=\"link_users\",state=\"idle\"}", "41x20"),
            ("pgisle_service_connections_limit{service=\"users\",database=\"link_users\"}", "100x20"),
        ],
        "severity: warning, service: users, database: link_users",
        "The database of the service users holds 81 connections: nearly all that it takes.",
    ),
    (
        "LoginConnectionsNearLimit",
        &[
            ("pgisle_up{part=\"server\"}", "1x20"),
            ("pgisle_login_connections{service=\"users\",login=\"link_users_user\"}", "45x20"),
            ("pgisle_login_connections_limit{service=\"users\",login=\"link_users_user\"}", "50x20"),
        ],
        "severity: warning, service: users, login: link_users_user",
        "link_users_user holds 45 connections: nearly all that it may.",
    ),
    (
        "PgBouncerClientsWaiting",
        &[
            ("pgisle_up{part=\"server\"}", "1x20"),
            ("pgisle_pool_longest_wait_seconds{service=\"users\",alias=\"link_users\"}", "3x20"),
        ],
        "severity: warning, service: users, alias: link_users",
        "Clients of link_users wait 3 s for a connection: its pool is too small, or its transactions too long.",
    ),
    (
        "StandbyBehind",
        &[("pgisle_up{part=\"server\"}", "1x20"), ("pgisle_replication_behind_seconds{receiver=\"replica-1\"}", "31x20")],
        "severity: warning, receiver: replica-1",
        "replica-1 is 31 s behind.",
    ),
    (
        "BackupOld",
        &[
            ("pgisle_up{part=\"server\"}", "1x20"),
            ("pgisle_backup_proved_timestamp_seconds{service=\"users\",database=\"link_users\"}", "-200000x20"),
        ],
        "severity: warning, service: users, database: link_users",
        "The service users has no proved backup of the last day and a half.",
    ),
    (
        "RecoveryNotProved",
        &[
            ("pgisle_up{part=\"server\"}", "1x20"),
            ("pgisle_backup_recovered_timestamp_seconds{service=\"users\",database=\"link_users\"}", "-3110400x20"),
        ],
        "severity: warning, service: users, database: link_users",
        "For 36d 0h 15m 0s it has not been proved that users can be brought back to a time: pgisle backup drill -at latest.",
    ),
    (
        "IslandLeaks",
        &[("pgisle_up{part=\"server\"}", "1x20"), ("pgisle_leaks", "1x20")],
        "severity: critical",
        "Something reaches across islands: pgisle verify.",
    ),
];

/// Below their limits nothing fires.
const CALM: &[(&str, &str)] = &[
    ("pgisle_up{part=\"server\"}", "1x60"),
    ("pgisle_up{part=\"pools\"}", "1x60"),
    ("pgisle_server_connections", "50x60"),
    ("pgisle_server_connections_usable", "97x60"),
    ("pgisle_service_up{service=\"users\",database=\"link_users\"}", "1x60"),
    ("pgisle_service_connections{service=\"users\",database=\"link_users\",state=\"active\"}", "79x60"),
    ("pgisle_service_connections_limit{service=\"users\",database=\"link_users\"}", "100x60"),
    ("pgisle_login_connections{service=\"users\",login=\"link_users_user\"}", "39x60"),
    ("pgisle_login_connections_limit{service=\"users\",login=\"link_users_user\"}", "50x60"),
    ("pgisle_pool_longest_wait_seconds{service=\"users\",alias=\"link_users\"}", "0.5x60"),
    ("pgisle_replication_behind_seconds{receiver=\"replica-1\"}", "1x60"),
    ("pgisle_slot_lost{slot=\"one\"}", "0x60"),
    ("pgisle_archive_failing_seconds", "0x60"),
    ("pgisle_backup_proved_timestamp_seconds{service=\"users\",database=\"link_users\"}", "0x60"),
    ("pgisle_backup_recovered_timestamp_seconds{service=\"users\",database=\"link_users\"}", "-2592000x60"),
    ("pgisle_leaks", "0x60"),
    ("pgisle_drift", "0x60"),
];

const ALL: &[&str] = &[
    "PgisleGone",
    "PostgresDown",
    "PgBouncerDown",
    "PostgresConnectionsNearMaximum",
    "ServiceDatabaseDown",
    "ServiceConnectionsNearLimit",
    "LoginConnectionsNearLimit",
    "PgBouncerClientsWaiting",
    "StandbyBehind",
    "SlotKeepsMuch",
    "SlotLost",
    "ArchiveFailing",
    "IslandLeaks",
    "ClusterDrift",
    "IdleInTransaction",
    "Wraparound",
    "BackupOld",
    "RecoveryNotProved",
];

fn series(text: &mut String, series: &[(&str, &str)]) {
    text.push_str("  - interval: 1m\n    input_series:\n");
    for (name, values) in series {
        writeln!(text, "      - series: '{name}'\n        values: '{values}'").unwrap();
    }
    text.push_str("    alert_rule_test:\n");
}

#[test]
fn the_rules_fire_when_they_should_and_only_then() {
    let Some(promtool) = find_program("promtool") else { skip!("promtool is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let spec = link();
    written(&spec, &Endpoint::of(&spec.settings), &credentials(&spec, |_| "x".to_owned()), folder.path());
    let run = |arguments: &[&str]| {
        let output = Command::new(&promtool).current_dir(folder.path()).args(arguments).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    };
    let checked = run(&["check", "rules", "prometheus/alerts.yml"]);
    assert!(checked.contains(&format!("{} rules found", ALL.len())), "{checked}");
    let mut text = "rule_files: [prometheus/alerts.yml]\nevaluation_interval: 1m\ntests:\n".to_owned();
    for (alert, input, labels, summary) in CASES {
        series(&mut text, if input.is_empty() { &[("other", "1x20")] } else { input });
        writeln!(text, "      - eval_time: 15m\n        alertname: {alert}\n        exp_alerts:").unwrap();
        writeln!(text, "          - exp_labels: {{ {labels} }}\n            exp_annotations: {{ summary: '{summary}' }}").unwrap();
    }
    series(&mut text, CALM);
    for alert in ALL {
        writeln!(text, "      - {{ eval_time: 45m, alertname: {alert}, exp_alerts: [] }}").unwrap();
    }
    std::fs::write(folder.path().join("tests.yml"), &text).unwrap();
    run(&["test", "rules", "tests.yml"]);
}
