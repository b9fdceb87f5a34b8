//! The proof of isolation, on real servers.

mod clean;
mod leak;
mod tried;

use std::collections::BTreeSet;
use std::time::Duration;

use pgisle_core::secret::Secret;
use pgisle_core::verify::{Bounds, Cell, CellState, Leak, Report, Who, junit_xml, text};
use pgisle_engine::postgres::ConnectOptions;
use pgisle_engine::verify::{self, Options, Request};
use pgisle_testkit::Cluster;

use crate::apply::{Project, rendered};

/// Two islands of the usual kind and one whose migrations have a login of their own.
const THREE: &str = r#"
service "users" {
}
service "chat" {
}
service "ai" {
  access = "split"
}
"#;

/// From the catalogs alone.
const STATIC: Options = Options { dynamic: false, canary: false, bounds: Bounds::USUAL, parallelism: 4 };

pub(crate) const USUAL: Options = Options { dynamic: true, canary: true, bounds: Bounds::USUAL, parallelism: 4 };

/// Verifies, and insists that every way to show the report works.
pub(crate) async fn verify(project: &Project, options: Options) -> Report {
    verify_at(project, &verify::service_address(&project.connect, &project.spec.settings), options).await
}

/// The same, where services have an address of their own.
async fn verify_at(project: &Project, services: &ConnectOptions, options: Options) -> Report {
    let credentials = project.store.load().unwrap();
    let request = Request {
        spec: &project.spec,
        credentials: &credentials,
        connect: &project.connect,
        services,
        options,
        lock_timeout: Duration::from_secs(30),
    };
    let report = verify::run(&request, &|_| {}).await.unwrap_or_else(|error| panic!("{}", rendered(&[error.diagnostic()])));
    assert_eq!(serde_json::to_value(&report).unwrap()["leaks"].as_array().unwrap().len(), report.leaks.len());
    assert!(junit_xml(&report).starts_with("<?xml"));
    report
}

/// The report as a user reads it.
fn shown(report: &Report) -> String {
    text(report, 120).iter().map(|line| format!("{line}\n")).collect()
}

/// `chat`, `everyone`, `link_monitoring`, or an outsider's name.
fn whose(who: &Who) -> String {
    match who {
        Who::Everyone => "everyone".to_owned(),
        Who::Service { service, .. } => service.to_string(),
        Who::Monitoring { login } => login.to_string(),
        Who::Outsider { role } => role.to_string(),
    }
}

/// `PI0501 chat > link_users`, with `*` for the whole cluster.
fn told(leak: &Leak) -> String {
    let to = leak.to.as_ref().map_or("*", |database| database.as_str());
    format!("{} {} > {to}", leak.code, whose(&leak.from))
}

fn cell<'a>(report: &'a Report, service: &str, database: &str) -> &'a Cell {
    let place = report.columns.iter().position(|column| column.database.as_str() == database).expect("a column");
    let row = report.rows.iter().find(|row| row.service.as_str() == service).expect("a row");
    &row.cells[place]
}

/// The pairs of service and database that the matrix shows as leaks.
fn leaking_cells(report: &Report) -> BTreeSet<String> {
    let mut cells = BTreeSet::new();
    for row in &report.rows {
        for (cell, column) in row.cells.iter().zip(&report.columns) {
            if cell.state == CellState::Leak {
                cells.insert(format!("{} > {}", row.service, column.database));
            }
        }
    }
    cells
}

/// Pastes lines into psql, as a user with a password, and gives what it complains about.
async fn paste(cluster: &Cluster, (user, password): (&str, &str), lines: &str) -> String {
    let psql = cluster.installation().invocation("psql").arguments(["-X", "-q", "-h", cluster.host()]);
    let psql = psql.arguments(["-p", &cluster.port().to_string(), "-U", user, "-d", "postgres"]);
    let psql = psql.secret_environment("PGPASSWORD", &Secret::new(password)).timeout(Duration::from_secs(30));
    let output = psql.input(lines.as_bytes()).run().await.unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
