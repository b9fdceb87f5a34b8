//! What a run leaves behind for those who were not there: a status file, a log, metrics, and a command when it failed.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use pgisle_core::backup::BackupId;
use pgisle_core::backup::wal::RecoveryProof;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_core::moment::Moment;
use pgisle_core::name::ServiceName;
use pgisle_core::spec::Settings;
use serde::{Deserialize, Serialize};

use super::catalog::Listing;
use super::cluster::{ClusterListing, ClusterMade};
use super::create::{Made, ServiceMade};
use super::store::{BackupStore, Key, StoreError};
use crate::file;
use crate::process::Invocation;

/// The format's version.
const FORMAT: u32 = 1;
/// The last run's outcome.
const STATUS: &str = "status.json";
/// A line for every outcome.
const LOG: &str = "backup.log";
/// The log's older half goes when it is larger.
const LOG_BYTES_MAX: usize = 1 << 20;
/// How long the command on failure may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// node_exporter runs as another user.
const METRICS_MODE: u32 = 0o644;

/// `status.json`: what the last run came to. It holds no secret and no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub format: u32,
    /// What ran: `create`, `prune`, `verify`.
    pub command: String,
    /// When it began.
    pub begun: Moment,
    /// When it ended.
    pub ended: Moment,
    /// Whether all went well.
    pub succeeded: bool,
    /// Why nothing was begun, when nothing was.
    pub error: Option<String>,
    /// What came of each service.
    pub services: Vec<ServiceStatus>,
    /// What came of the whole cluster's backup, when the run was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterStatus>,
}

/// What came of the whole cluster's backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// It, when there is one.
    pub id: Option<BackupId>,
    /// The one that it holds the changes since.
    pub parent: Option<BackupId>,
    /// Its bytes in the store.
    pub bytes: Option<u64>,
    /// The bytes of the data directory.
    pub raw_bytes: Option<u64>,
    /// How long it took.
    pub duration_ms: u64,
    /// Why there is none.
    pub error: Option<String>,
}

/// What came of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The service.
    pub service: ServiceName,
    /// Its backup, when there is one.
    pub id: Option<BackupId>,
    /// Its bytes in the store.
    pub bytes: Option<u64>,
    /// Its bytes as `pg_dump` wrote them.
    pub raw_bytes: Option<u64>,
    /// How long it took.
    pub duration_ms: u64,
    /// Why there is none.
    pub error: Option<String>,
}

impl Status {
    /// What a run of `create` came to.
    #[must_use]
    pub fn of_create(begun: Moment, outcome: &Result<Made, Diagnostic>) -> Self {
        let services: Vec<ServiceStatus> = outcome.iter().flat_map(|made| &made.services).map(ServiceStatus::of).collect();
        let error = outcome.as_ref().err().map(line);
        let succeeded = error.is_none() && services.iter().all(|service| service.error.is_none());
        let (command, ended) = ("create".to_owned(), crate::clock::now());
        Self { format: FORMAT, command, begun, ended, succeeded, error, services, cluster: None }
    }

    /// What a run of `create -cluster` came to.
    #[must_use]
    pub fn of_cluster(begun: Moment, outcome: &Result<ClusterMade, Vec<Diagnostic>>) -> Self {
        let mut status = Self::of_failures("create", begun, &[]);
        match outcome {
            Ok(made) => status.cluster = Some(ClusterStatus::of(made)),
            Err(diagnostics) => status.fail_cluster(diagnostics),
        }
        status
    }

    /// What a run of another command came to: it worked on no service, or on those that failed.
    #[must_use]
    pub fn of_failures(command: &str, begun: Moment, failures: &[(ServiceName, Diagnostic)]) -> Self {
        let failed = |(service, diagnostic): &(ServiceName, Diagnostic)| ServiceStatus {
            service: service.clone(),
            id: None,
            bytes: None,
            raw_bytes: None,
            duration_ms: 0,
            error: Some(line(diagnostic)),
        };
        let services: Vec<ServiceStatus> = failures.iter().map(failed).collect();
        let (command, ended) = (command.to_owned(), crate::clock::now());
        Self { format: FORMAT, command, begun, ended, succeeded: services.is_empty(), error: None, services, cluster: None }
    }

    /// Adds why the whole cluster's backup is none.
    pub fn fail_cluster(&mut self, diagnostics: &[Diagnostic]) {
        let error = Some(diagnostics.iter().map(line).collect::<Vec<_>>().join("; "));
        self.succeeded = false;
        self.cluster = Some(ClusterStatus { id: None, parent: None, bytes: None, raw_bytes: None, duration_ms: 0, error });
    }

    /// Adds why nothing was done.
    pub fn fail(&mut self, diagnostic: &Diagnostic) {
        (self.succeeded, self.error) = (false, Some(line(diagnostic)));
    }

    /// The failures, each with its service if it is one's.
    pub fn failures(&self) -> impl Iterator<Item = (Option<&ServiceName>, &str)> {
        let own = self.error.iter().chain(self.cluster.iter().filter_map(|cluster| cluster.error.as_ref()));
        let own = own.map(|error| (None, error.as_str()));
        own.chain(self.services.iter().filter_map(|one| Some((Some(&one.service), one.error.as_deref()?))))
    }

    /// A line for each outcome, as logs have them.
    fn log_lines(&self) -> String {
        let mut text = String::new();
        let mut add = |words: String| {
            text.push_str(&format!("{} pgisle backup {}: {words}\n", self.ended, self.command));
        };
        if let Some(error) = &self.error {
            add(format!("FAILED {error}"));
        }
        for ServiceStatus { service, id, bytes, raw_bytes, duration_ms, error } in &self.services {
            match (id, error) {
                (_, Some(error)) => add(format!("FAILED service={service} {error}")),
                (Some(id), None) => add(format!(
                    "ok service={service} backup={id} bytes={} raw_bytes={} duration_ms={duration_ms}",
                    bytes.unwrap_or_default(),
                    raw_bytes.unwrap_or_default(),
                )),
                (None, None) => add(format!("ok service={service}")),
            }
        }
        if let Some(ClusterStatus { id, parent, bytes, raw_bytes, duration_ms, error }) = &self.cluster {
            match (id, error) {
                (_, Some(error)) => add(format!("FAILED cluster {error}")),
                (id, None) => add(format!(
                    "ok cluster backup={}{} bytes={} raw_bytes={} duration_ms={duration_ms}",
                    id.as_ref().map_or("", BackupId::as_str),
                    parent.as_ref().map_or_else(String::new, |parent| format!(" parent={parent}")),
                    bytes.unwrap_or_default(),
                    raw_bytes.unwrap_or_default(),
                )),
            }
        }
        text
    }
}

impl ClusterStatus {
    fn of(made: &ClusterMade) -> Self {
        let ClusterMade { backup, duration_ms, warnings: _ } = made;
        let manifest = &backup.manifest;
        Self {
            id: Some(manifest.id.clone()),
            parent: manifest.parent.clone(),
            bytes: Some(manifest.stored_bytes()),
            raw_bytes: Some(manifest.base.raw_bytes),
            duration_ms: *duration_ms,
            error: None,
        }
    }
}

impl ServiceStatus {
    fn of(made: &ServiceMade) -> Self {
        let ServiceMade { service, outcome, duration_ms } = made;
        let data = outcome.as_ref().ok().map(|backup| (&backup.manifest.id, &backup.manifest.data));
        Self {
            service: service.clone(),
            id: data.map(|(id, _)| id.clone()),
            bytes: data.map(|(_, data)| data.bytes),
            raw_bytes: data.map(|(_, data)| data.raw_bytes),
            duration_ms: *duration_ms,
            error: outcome.as_ref().err().map(line),
        }
    }
}

/// A finding as one line.
fn line(diagnostic: &Diagnostic) -> String {
    let Diagnostic { code, summary, detail, .. } = diagnostic;
    let text = match detail {
        Some(detail) => format!("{code} {summary}: {detail}"),
        None => format!("{code} {summary}"),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Writes down what a run came to, and runs the command on failure. Whatever does not work is told, and changes no backup.
pub async fn publish(store: &BackupStore, settings: &Settings, status: &Status) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    if let Err(error) = write(store, status).await {
        warnings.push(warning("the outcome could not be written into the store", &error.diagnostic()));
    }
    if let Some(command) = &settings.backup_on_failure {
        for (service, failure) in status.failures() {
            warnings.extend(run_command(command, service, failure).await);
        }
    }
    warnings
}

fn warning(summary: &str, cause: &Diagnostic) -> Diagnostic {
    Diagnostic::warning(Code::BACKUP_REPORT, summary).detail(format!("{}.", line(cause).trim_end_matches('.')))
}

async fn write(store: &BackupStore, status: &Status) -> Result<(), StoreError> {
    // Structs of texts and numbers always serialise.
    let mut text = serde_json::to_vec_pretty(status).unwrap_or_default();
    text.push(b'\n');
    let key = |name: &str| Key::of(&[name]).unwrap_or(Key::ROOT);
    store.put(&key(STATUS), text).await?;
    let mut log = store.read(&key(LOG)).await?.unwrap_or_default();
    log.extend_from_slice(status.log_lines().as_bytes());
    if log.len() > LOG_BYTES_MAX {
        let half = log.len() / 2;
        let start = log[half..].iter().position(|&byte| byte == b'\n').map_or(half, |place| half + place + 1);
        log.drain(..start);
    }
    store.put(&key(LOG), log).await
}

/// Reads what the last run came to.
///
/// # Errors
/// The store cannot be read.
pub async fn last(store: &BackupStore) -> Result<Option<Status>, StoreError> {
    let bytes = store.read(&Key::of(&[STATUS]).unwrap_or(Key::ROOT)).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

async fn run_command(command: &str, service: Option<&ServiceName>, failure: &str) -> Option<Diagnostic> {
    let program = Invocation::new("/bin/sh").arguments(["-c", command]).timeout(COMMAND_TIMEOUT);
    let program =
        program.environment("PGISLE_FAILURE", failure).environment("PGISLE_SERVICE", service.map_or("", ServiceName::as_str));
    let error = program.run().await.err()?;
    let detail = super::store::chain(&error);
    Some(Diagnostic::warning(Code::BACKUP_REPORT, "the command of backup_on_failure failed").detail(format!("{detail}.")))
}

/// Metrics for `node_exporter`'s textfile collector: the newest verified backup of every service and of the cluster, and which services
/// were proved to be recoverable.
#[must_use]
pub fn metrics(
    settings: &Settings,
    listing: &Listing,
    cluster: &ClusterListing,
    recovered: &BTreeMap<ServiceName, RecoveryProof>,
    status: Option<&Status>,
) -> String {
    let labels = |service: &ServiceName| {
        format!("project=\"{}\",environment=\"{}\",service=\"{service}\"", settings.name_prefix, settings.environment)
    };
    let mut newest = BTreeMap::new();
    for backup in listing.backups.iter().filter(|backup| backup.verified.is_some()) {
        newest.insert(backup.service(), backup);
    }
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: Vec<(String, u64)>| {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in values {
            text.push_str(&format!("{name}{{{labels}}} {value}\n"));
        }
    };
    let each = |value: fn(&super::Backup) -> u64| newest.iter().map(|(service, one)| (labels(service), value(one))).collect();
    gauge(
        "pgisle_backup_last_verified_timestamp_seconds",
        "When the newest verified backup of a service was begun.",
        each(|backup| backup.id().begun().unix_s()),
    );
    gauge(
        "pgisle_backup_last_bytes",
        "Size of the newest verified backup in the store.",
        each(|backup| backup.manifest.data.bytes),
    );
    gauge(
        "pgisle_backup_last_duration_seconds",
        "How long the newest verified backup took to dump.",
        each(|backup| backup.manifest.completed.seconds_since(backup.manifest.begun)),
    );
    gauge(
        "pgisle_backup_last_recovered_timestamp_seconds",
        "When it was last proved that a service can be brought back to a time.",
        recovered.iter().map(|(service, proof)| (labels(service), proof.proved.unix_s())).collect(),
    );
    let damaged = listing.damaged.iter().fold(BTreeMap::new(), |mut count, damage| {
        *count.entry(&damage.service).or_insert(0) += 1;
        count
    });
    let damaged = damaged.into_iter().map(|(service, count)| (labels(service), count)).collect();
    gauge("pgisle_backup_damaged", "Backups in the store that cannot be restored.", damaged);
    if let Some(status) = status {
        let succeeded = status.services.iter().map(|one| (labels(&one.service), u64::from(one.error.is_none()))).collect();
        gauge(
            "pgisle_backup_last_run_success",
            "1 when the last run of a service's backup went well, 0 when it failed.",
            succeeded,
        );
    }
    text.push_str(&cluster_metrics(settings, cluster, status));
    text
}

/// The cluster's own. Where there has never been a backup of it, there is nothing.
fn cluster_metrics(settings: &Settings, listing: &ClusterListing, status: Option<&Status>) -> String {
    let labels = format!("project=\"{}\",environment=\"{}\"", settings.name_prefix, settings.environment);
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: u64| {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{{labels}}} {value}\n"));
    };
    if let Some(newest) = listing.newest_proved() {
        let manifest = &newest.manifest;
        gauge(
            "pgisle_backup_cluster_last_verified_timestamp_seconds",
            "When the newest verified backup of the whole cluster was begun.",
            manifest.begun.unix_s(),
        );
        gauge(
            "pgisle_backup_cluster_last_bytes",
            "Size of the newest verified backup of the whole cluster in the store.",
            manifest.stored_bytes(),
        );
        gauge(
            "pgisle_backup_cluster_last_duration_seconds",
            "How long the newest verified backup of the whole cluster took to copy.",
            manifest.completed.seconds_since(manifest.begun),
        );
    }
    if !listing.damaged.is_empty() {
        let count = listing.damaged.len() as u64;
        gauge("pgisle_backup_cluster_damaged", "Backups of the whole cluster that cannot be restored.", count);
    }
    if let Some(cluster) = status.and_then(|status| status.cluster.as_ref()) {
        gauge(
            "pgisle_backup_cluster_last_run_success",
            "1 when the last run of the whole cluster's backup went well, 0 when it failed.",
            u64::from(cluster.error.is_none()),
        );
    }
    text
}

/// Writes the metrics where the collector looks.
///
/// # Errors
/// The file cannot be written.
pub fn write_metrics(path: &Path, text: &str) -> Result<(), Diagnostic> {
    file::write_atomically(path, METRICS_MODE, text.as_bytes()).map_err(|error| {
        let source = io::Error::other(error);
        Diagnostic::warning(Code::BACKUP_REPORT, "the metrics could not be written")
            .detail(format!("{}.", super::store::chain(&source)))
    })
}
