//! Which times can be recovered.

use pgisle_core::backup::ClusterManifest;
use pgisle_core::backup::wal::{History, Reach, SegmentBytes, reach};
use pgisle_core::moment::Moment;
use serde::Serialize;

use super::catalog::{WalListing, archived};
use super::error::WalError;
use crate::backup::cluster::ClusterListing;
use crate::backup::store::BackupStore;

/// Times that can be recovered, all from the first to the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// When a backup of the cluster was complete.
    pub from: Moment,
    /// When the last segment was archived that follows it without a gap: what was written until shortly before is in it.
    pub until: Moment,
    /// The segment that is missing, when there are later ones.
    pub missing: Option<String>,
}

/// Works out which times can be recovered, oldest first. Of each backup only one seal is read.
///
/// # Errors
/// The store cannot be read, or a seal is damaged.
pub async fn windows(store: &BackupStore, backups: &ClusterListing, archive: &WalListing) -> Result<Vec<Window>, WalError> {
    let segments = archive.names();
    let mut windows: Vec<Window> = Vec::new();
    for backup in &backups.backups {
        let manifest = &backup.manifest;
        let Some(size) = SegmentBytes::new(manifest.wal_segment_bytes) else { continue };
        let Reach { last, missing } = reach(&segments, &way(archive, manifest), size, manifest.stop_lsn);
        let until = match last {
            Some(last) => archived(store, archive, last).await?,
            None => None,
        };
        let until = until.map_or(manifest.stopped, |until| until.max(manifest.stopped));
        let next = Window { from: manifest.stopped, until, missing: missing.map(|missing| missing.to_string()) };
        match windows.last_mut() {
            Some(last) if next.from <= last.until => {
                if next.until >= last.until {
                    (last.until, last.missing) = (next.until, next.missing);
                }
            }
            _ => windows.push(next),
        }
    }
    Ok(windows)
}

/// The newest past that leads on from a backup.
fn way(archive: &WalListing, manifest: &ClusterManifest) -> History {
    let leads_on = archive.histories.iter().map(|(history, _)| history);
    let leads_on = leads_on.filter(|history| history.came_through(manifest.timeline, manifest.stop_lsn));
    leads_on.max_by_key(|history| history.timeline).cloned().unwrap_or_else(|| History::root(manifest.timeline))
}
