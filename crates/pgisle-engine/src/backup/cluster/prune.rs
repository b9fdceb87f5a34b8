//! Taking away what retention lets go of the cluster's backups.

use pgisle_core::backup::{BackupId, Retention, expired};
use pgisle_core::moment::Moment;
use serde::Serialize;

use super::catalog::{self, ClusterLeftover, ClusterListing};
use crate::backup::catalog::MANIFEST;
use crate::backup::prune::LEFTOVER_AGE_S;
use crate::backup::store::{BackupStore, Key, StoreError};
use crate::fault;

/// What of the cluster's backups may go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ClusterDue {
    /// Backups that are too old, not needed for the minimum, and on which none that is kept stands. Oldest first.
    pub expired: Vec<ClusterDueBackup>,
    /// Rests of runs that were interrupted.
    pub leftovers: Vec<ClusterLeftover>,
    /// Backups that stay.
    pub kept: usize,
}

/// A backup that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterDueBackup {
    /// Its name.
    pub id: BackupId,
    /// Bytes of its objects in the store.
    pub bytes: u64,
}

/// Looks what may go.
pub(in crate::backup) fn due(listing: ClusterListing, retention: Retention, now: Moment) -> ClusterDue {
    let gone = expired(&listing.candidates(), retention, now);
    let due = |id: BackupId| ClusterDueBackup { bytes: listing.get(&id).map_or(0, |backup| backup.manifest.stored_bytes()), id };
    let expired: Vec<ClusterDueBackup> = gone.into_iter().map(due).collect();
    let kept = listing.backups.len() - expired.len();
    let leftovers = listing.leftovers.into_iter().filter(|one| now.seconds_since(one.modified) > LEFTOVER_AGE_S).collect();
    ClusterDue { expired, leftovers, kept }
}

/// Takes it away.
pub(in crate::backup) async fn remove(store: &BackupStore, due: &ClusterDue) -> Result<(), StoreError> {
    // The newest first: what stands on another goes before it, so that no kill leaves one that cannot be restored.
    for ClusterDueBackup { id, .. } in due.expired.iter().rev() {
        if let Some(manifest) = catalog::key(id, MANIFEST) {
            store.delete(&manifest).await?;
        }
        fault::stage("prune.cluster_manifest");
        for listed in store.list(&catalog::folder(id)).await? {
            store.delete(&listed.key).await?;
        }
    }
    for leftover in &due.leftovers {
        for key in leftover.keys.iter().filter_map(|key| Key::parse(key)) {
            store.delete(&key).await?;
        }
    }
    Ok(())
}
