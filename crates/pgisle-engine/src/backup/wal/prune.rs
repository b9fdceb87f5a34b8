//! Which files of the archive may go.

use pgisle_core::backup::wal::{WalName, is_needed};
use pgisle_core::backup::{BackupId, Lsn};
use pgisle_core::moment::{DAY_S, Moment};
use serde::Serialize;

use super::catalog::{WalListing, list};
use super::error::WalError;
use crate::backup::cluster::ClusterListing;
use crate::backup::store::{BackupStore, Listed, StoreError};
use crate::fault;

/// What has not been touched for so long is not being written any more.
const LEFTOVER_AGE_S: u64 = DAY_S;

/// What may go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct WalDue {
    /// The segment that the oldest backup which stays begins in; none when nothing may go.
    pub before: Option<String>,
    /// Files that no recovery needs that begins with a backup which stays.
    pub files: usize,
    /// Their bytes, and those of what was never finished.
    pub bytes: u64,
    /// Files that stay.
    pub kept: usize,
    /// Their objects, seals first: what has lost its seal is not archived any more.
    #[serde(skip)]
    objects: Vec<Listed>,
}

/// Works out which files may go once these backups of the cluster are gone. Without one that stays and was proved, none may.
///
/// # Errors
/// The store cannot be read, or the archive is damaged where its list is read.
pub async fn due(store: &BackupStore, backups: &ClusterListing, expired: &[BackupId], now: Moment) -> Result<WalDue, WalError> {
    let archive = list(store).await?;
    Ok(choose(&archive, backups, expired, now))
}

fn choose(archive: &WalListing, backups: &ClusterListing, expired: &[BackupId], now: Moment) -> WalDue {
    let kept = || backups.backups.iter().filter(|backup| !expired.contains(backup.id()));
    let begins: Vec<(u32, Lsn)> = kept().map(|backup| (backup.manifest.timeline, backup.manifest.start_lsn)).collect();
    let proved = backups.candidates().into_iter().filter(|one| one.is_verified && !expired.contains(&one.id)).count();
    let mut due = WalDue::default();
    let is_old = |listed: &Listed| now.seconds_since(listed.modified) > LEFTOVER_AGE_S;
    due.objects.extend(archive.leftovers.iter().filter(|listed| is_old(listed)).cloned());
    for (name, objects) in &archive.objects {
        let segment = match name {
            WalName::Segment(segment) | WalName::Partial(segment) | WalName::Label { segment, .. } => *segment,
            // A few bytes, without which no other way than the newest can be followed.
            WalName::History(_) => {
                due.kept += 1;
                continue;
            }
        };
        match archive.size {
            Some(size) if proved > 0 && !is_needed(segment, size, &begins) => {
                due.files += 1;
                let mut objects = objects.clone();
                objects.sort_by_key(|listed| !listed.key.as_str().ends_with(super::SEAL));
                due.objects.extend(objects);
            }
            _ => due.kept += 1,
        }
    }
    let oldest = kept().min_by_key(|backup| backup.manifest.start_lsn).map(|backup| &backup.manifest);
    let oldest = oldest.zip(archive.size).map(|(oldest, size)| size.segment(oldest.timeline, oldest.start_lsn).to_string());
    due.before = oldest.filter(|_| due.files > 0);
    due.bytes = due.objects.iter().map(|listed| listed.bytes).sum();
    due
}

/// Takes them away.
///
/// # Errors
/// The store refuses; what was taken away before that is gone.
pub async fn remove(store: &BackupStore, due: &WalDue) -> Result<(), StoreError> {
    for listed in &due.objects {
        store.delete(&listed.key).await?;
        fault::stage("prune.wal");
    }
    Ok(())
}
