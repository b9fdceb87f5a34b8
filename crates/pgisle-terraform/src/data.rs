//! The data sources: what connections come to, whether the islands are islands, what there is.

use std::time::Duration;

use pgisle_core::budget;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::marker::Kind;
use pgisle_core::verify::{Bounds, Verdict};
use pgisle_engine::verify::{self, Options, Request};

use crate::artifacts::{Services, services};
use crate::finding::general;
use crate::provider::Finding;
use crate::service::{flag, text_value};
use crate::site::{PARALLELISM, Site};
use crate::translate::Attributes;
use crate::value::Value;

/// How long a proof waits for a run that changes the cluster.
const LOCK_TIMEOUT: Duration = Duration::from_secs(600);

/// What a data source gives.
type Answer = Result<(Attributes, Vec<Finding>), Vec<Finding>>;

fn told(diagnostic: Diagnostic) -> Vec<Finding> {
    general(&[diagnostic])
}

#[expect(clippy::cast_precision_loss, reason = "numbers of connections, far below 2^53")]
fn number(value: u64) -> Value {
    Value::Number(value as f64)
}

/// `pgisle_budget`.
pub(crate) async fn budget(site: &Site, mut values: Attributes) -> Answer {
    let Services { spec, .. } = services(&site.block, &values)?;
    let inventory = site.inventory().await.map_err(told)?;
    let parallelism = u32::try_from(PARALLELISM).unwrap_or(u32::MAX);
    let summary = budget::summary(&spec, Some(&inventory), parallelism);
    let (max_connections, headroom) = summary.server.as_ref().map_or((0, 0), |server| (server.max_connections, server.headroom));
    let text = serde_json::to_string(&summary).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a number of connections, far below 2^53")]
    let headroom = Value::Number(headroom as f64);
    for (name, value) in [
        ("fits", Value::Bool(summary.fits())),
        ("connections", number(summary.connections)),
        ("connections_without_pools", number(summary.connections_without_pools)),
        ("steady", number(summary.steady)),
        ("peak", number(summary.peak.total)),
        ("max_connections", number(u64::from(max_connections))),
        ("headroom", headroom),
        ("summary", Value::String(text)),
    ] {
        values.insert(name.to_owned(), value);
    }
    let mut findings = general(&summary.diagnostic(&spec).into_iter().collect::<Vec<_>>());
    if flag(&values, "require_fit") == Some(false) {
        findings.iter_mut().for_each(|finding| finding.is_error = false);
    }
    Ok((values, findings))
}

/// `pgisle_verification`.
pub(crate) async fn verification(site: &Site, mut values: Attributes) -> Answer {
    let Services { spec, .. } = services(&site.block, &values)?;
    let credentials = site.credentials().map_err(told)?;
    let only_static = flag(&values, "only_static") == Some(true);
    let address = verify::service_address(&site.connect, site.settings());
    let request = Request {
        spec: &spec,
        credentials: &credentials,
        connect: &site.connect,
        services: &address,
        options: Options { dynamic: !only_static, canary: !only_static, bounds: Bounds::USUAL, parallelism: PARALLELISM },
        lock_timeout: LOCK_TIMEOUT,
    };
    let report = Box::pin(verify::run(&request, &|_| {})).await.map_err(|error| told(error.diagnostic()))?;
    let diagnostics = report.diagnostics();
    let is_isolated = report.verdict == Verdict::Isolated;
    let mut findings = general(&diagnostics);
    if flag(&values, "require_isolation") == Some(false) {
        findings.iter_mut().for_each(|finding| finding.is_error = false);
    }
    let leaks = diagnostics.iter().filter(|one| one.severity == pgisle_core::diagnostic::Severity::Error);
    let leaks = leaks.map(|one| text_value(format!("{}: {}", one.code, one.brief()))).collect();
    values.insert("isolated".to_owned(), Value::Bool(is_isolated));
    values.insert("trials".to_owned(), number(u64::try_from(report.coverage.trials_run).unwrap_or(u64::MAX)));
    values.insert("leaks".to_owned(), Value::List(leaks));
    Ok((values, findings))
}

/// `pgisle_inventory`.
pub(crate) async fn inventory(site: &Site, mut values: Attributes) -> Answer {
    let inventory = site.inventory().await.map_err(told)?;
    let islands = inventory.databases.iter().filter_map(|(name, database)| {
        let marker = database.marker().filter(|marker| marker.kind == Kind::Database)?;
        let service = marker.service.clone().filter(|_| marker.project == site.settings().name_prefix)?;
        let fields = [
            ("service", text_value(service)),
            ("database", text_value(name)),
            ("owner", text_value(&database.owner)),
            ("environment", text_value(&marker.environment)),
            ("retired", Value::Bool(marker.retired)),
            ("connection_limit", Value::Number(f64::from(database.connection_limit))),
        ];
        Some(Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    });
    let islands = islands.collect();
    values.insert("islands".to_owned(), Value::List(islands));
    values.insert("server_version".to_owned(), text_value(&inventory.server.version));
    values.insert("max_connections".to_owned(), number(u64::from(inventory.server.max_connections)));
    Ok((values, Vec::new()))
}
