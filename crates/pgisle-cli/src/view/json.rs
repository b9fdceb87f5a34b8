//! For machines: one document for each command.

use pgisle_core::backup::wal::Run;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::plan::{Plan, Planned};
use pgisle_engine::apply::{Applied, StepFailure};
use pgisle_engine::backup::Backup;
use pgisle_engine::backup::cluster::{ClusterBackup, ClusterListing};
use pgisle_engine::backup::wal::{WalListing, Window};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::report::Report;

/// The documents' version. The first number changes when a member goes or changes its meaning, the second when one comes.
const FORMAT_VERSION: &str = "1.0";

#[derive(Serialize)]
struct Document<'a> {
    format_version: &'static str,
    command: &'a str,
    exit_code: u8,
    diagnostics: &'a [Diagnostic],
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

/// The document of a command, with a line end.
pub(crate) fn document(command: &str, exit: Exit, report: &Report) -> String {
    let document = Document {
        format_version: FORMAT_VERSION,
        command,
        exit_code: exit.number(),
        diagnostics: &report.diagnostics,
        members: &report.members,
    };
    // Strings, numbers and maps with string keys always serialise.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// A plan: its steps in order, what it leaves undone, and how many.
pub(crate) fn plan(planned: &Planned) -> Value {
    let Planned { plan, report, diagnostics: _ } = planned;
    json!({ "steps": steps(plan), "changes": plan.counts(), "report": report, "fingerprint": plan.fingerprint() })
}

/// What became of a plan.
pub(crate) fn applied(applied: &Applied) -> Value {
    let failures: Vec<&str> = applied.failures.iter().map(|StepFailure { address, .. }| address.as_str()).collect();
    json!({ "failed": failures, "remaining": steps(&applied.remaining) })
}

/// Backups: what their manifests say, less the list of all tables.
pub(crate) fn backups<'a>(backups: impl IntoIterator<Item = &'a Backup>) -> Vec<Value> {
    let one = |backup: &Backup| {
        let Backup { manifest, manifest_sha256, verified } = backup;
        json!({
            "service": manifest.service,
            "id": manifest.id,
            "database": manifest.database,
            "begun": manifest.begun,
            "completed": manifest.completed,
            "server_version": manifest.server_version,
            "dump_format": manifest.dump_format,
            "snapshot": manifest.snapshot,
            "set": manifest.set,
            "data": manifest.data,
            "tables": manifest.content.tables.len(),
            "rows": manifest.content.rows(),
            "large_objects": manifest.content.large_objects.count,
            "manifest_sha256": manifest_sha256,
            "verified": verified,
        })
    };
    backups.into_iter().map(one).collect()
}

/// A backup of the whole cluster.
pub(crate) fn cluster_backup(backup: &ClusterBackup) -> Value {
    let ClusterBackup { manifest, manifest_sha256, verified } = backup;
    json!({
        "id": manifest.id,
        "parent": manifest.parent,
        "begun": manifest.begun,
        "completed": manifest.completed,
        "stopped": manifest.stopped,
        "server_version": manifest.server_version,
        "system_identifier": manifest.system_identifier,
        "timeline": manifest.timeline,
        "start_lsn": manifest.start_lsn,
        "stop_lsn": manifest.stop_lsn,
        "databases": manifest.databases,
        "files": manifest.files,
        "has_settings": manifest.has_settings,
        "has_role_passwords": manifest.has_role_passwords,
        "bytes": manifest.stored_bytes(),
        "base": manifest.base,
        "backup_manifest": manifest.backup_manifest,
        "globals": manifest.globals,
        "manifest_sha256": manifest_sha256,
        "verified": verified,
    })
}

/// All that lies where the cluster's backups do.
pub(crate) fn cluster_listing(listing: &ClusterListing) -> Value {
    let ClusterListing { backups, damaged, leftovers } = listing;
    json!({
        "backups": backups.iter().map(cluster_backup).collect::<Vec<_>>(),
        "damaged": damaged,
        "leftovers": leftovers,
    })
}

/// The archived log: runs of segments, and the times that can be recovered.
pub(crate) fn wal(archive: &WalListing, windows: &[Window]) -> Value {
    let run = |run: &Run| json!({ "first": run.first.to_string(), "last": run.last.to_string() });
    json!({
        "segments": archive.segments.len(),
        "bytes": archive.bytes(),
        "runs": archive.runs().iter().map(run).collect::<Vec<_>>(),
        "recoverable": windows,
    })
}

fn steps(plan: &Plan) -> Vec<Value> {
    // Steps are made of names, numbers and texts, which always serialise.
    plan.steps().map(|step| serde_json::to_value(step).unwrap_or_default()).collect()
}
