//! `pgisle backup verify` of the whole cluster's backups.

use std::collections::BTreeSet;

use pgisle_core::backup::BackupId;
use pgisle_core::diagnostic::{Code, Diagnostic};
use pgisle_engine::backup::cluster::{self, Checked, ClusterBackup};
use pgisle_engine::backup::verify::Depth;
use pgisle_engine::backup::{BackupError, BackupStore};
use serde_json::{Value, json};

use super::verify::{Args, word};
use crate::progress::Progress;
use crate::project::Project;
use crate::view::human::cluster::Proved;

/// What is to be read back.
pub(super) struct Chosen {
    /// Each with whether it was asked for itself, and is not only what another stands on.
    backups: Vec<(ClusterBackup, bool)>,
    damaged: Vec<Diagnostic>,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Read {
    pub(super) proved: Vec<Proved>,
    pub(super) failures: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
}

/// Chooses; none when there is nothing of the cluster to read back.
pub(super) async fn choose(store: &BackupStore, is_wanted: bool, args: &Args) -> Result<Option<Chosen>, Vec<Diagnostic>> {
    if !is_wanted {
        return Ok(None);
    }
    let listing = cluster::list(store).await.map_err(|error| vec![error.diagnostic()])?;
    let damaged = listing.damaged.iter().filter(|damage| args.fits(&damage.id)).cloned();
    let damaged: Vec<Diagnostic> = damaged.map(|damage| BackupError::from(damage).diagnostic()).collect();
    let mut chosen: Vec<&ClusterBackup> = listing.backups.iter().filter(|backup| args.fits(backup.id())).collect();
    if args.backup.is_none() && !args.all {
        let newest = chosen.len().saturating_sub(1);
        chosen.drain(..newest);
    }
    // What one stands on is as good as a part of it.
    let asked: BTreeSet<&BackupId> = chosen.iter().map(|backup| backup.id()).collect();
    let needed: BTreeSet<&BackupId> = chosen.into_iter().flat_map(|backup| listing.chain(backup)).map(ClusterBackup::id).collect();
    let needed = listing.backups.iter().filter(|backup| needed.contains(backup.id()));
    let backups: Vec<_> = needed.map(|backup| (backup.clone(), asked.contains(backup.id()))).collect();
    Ok((!backups.is_empty() || !damaged.is_empty()).then_some(Chosen { backups, damaged }))
}

/// Reads one after the other.
pub(super) async fn read(store: &BackupStore, chosen: Option<Chosen>, is_deep: bool, progress: &Progress<'_>) -> Read {
    let Some(Chosen { backups, damaged }) = chosen else { return Read::default() };
    let mut read = Read { failures: damaged, ..Read::default() };
    let total = backups.iter().map(|(backup, _)| backup.manifest.stored_bytes()).sum();
    let mut before = 0;
    for (backup, is_asked) in backups {
        let seen = |bytes| progress.flow(before + bytes, total, "the whole cluster");
        match one(store, &backup, is_deep && is_asked, &seen, progress).await {
            Ok((depth, checked)) => {
                read.warnings.extend(checked.and_then(unchecked));
                before += backup.manifest.stored_bytes();
                read.proved.push((backup, depth, checked));
            }
            Err(error) => read.failures.push(error.diagnostic()),
        }
    }
    read
}

async fn one(
    store: &BackupStore,
    backup: &ClusterBackup,
    is_deep: bool,
    seen: &(dyn Fn(u64) + Sync),
    progress: &Progress<'_>,
) -> Result<(Depth, Option<Checked>), BackupError> {
    let identities = Project::identities();
    let depth = cluster::verify(store, backup, &identities, seen).await?;
    if !is_deep {
        return Ok((depth, None));
    }
    let unpacking = |done, total| progress.flow(done, total, "unpacking");
    let checked = cluster::verify_deep(store, backup, &identities, &unpacking).await?;
    Ok((depth, Some(checked)))
}

/// What PostgreSQL's own programs could not look at.
fn unchecked(checked: Checked) -> Option<Diagnostic> {
    let missing = |summary: String, detail: &str| Diagnostic::warning(Code::CLUSTER_TOOLS, summary).about("cluster").detail(detail);
    match checked {
        Checked::Whole => None,
        Checked::WithoutLog => Some(missing(
            "there is no pg_waldump beside pg_verifybackup".to_owned(),
            "Every file was checked; the write-ahead log was compared with what was backed up, and not read record by record.",
        )),
        Checked::ByUs { major } => Some(missing(
            format!("there is no pg_verifybackup of PostgreSQL {major}"),
            "Every file was compared with the server's list while it was unpacked; PostgreSQL's own program has not looked at it.",
        )),
    }
}

impl Read {
    /// For machines.
    pub(super) fn json(&self) -> Vec<Value> {
        let one = |(backup, depth, checked): &Proved| {
            let checked = checked.map(|checked| match checked {
                Checked::Whole => "whole",
                Checked::WithoutLog => "without_log",
                Checked::ByUs { .. } => "by_pgisle",
            });
            json!({
                "id": backup.id(), "bytes": backup.manifest.stored_bytes(), "read": word(*depth), "unpacked": checked,
            })
        };
        self.proved.iter().map(one).collect()
    }
}
