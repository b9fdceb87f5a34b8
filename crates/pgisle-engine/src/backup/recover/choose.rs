//! Which backup a recovery begins with, which past it follows, and whether the archive reaches.

use std::collections::BTreeSet;

use pgisle_core::backup::BackupId;
use pgisle_core::backup::wal::{Branch, History, PointInTime, Segment, SegmentBytes, carried_on, first_missing, history_at};
use pgisle_core::moment::Moment;

use super::error::RecoverError;
use crate::backup::cluster::{self, ClusterBackup, ClusterDamage};
use crate::backup::store::BackupStore;
use crate::backup::wal::{self, WalListing, catalog};
use crate::event::{Event, Events};
use crate::postgres::ConnectOptions;

/// What is wanted.
pub(super) struct Wanted<'a> {
    pub(super) store: &'a BackupStore,
    pub(super) connect: &'a ConnectOptions,
    pub(super) at: PointInTime,
    pub(super) now: Moment,
    /// Backups that were found to be damaged.
    pub(super) without: &'a BTreeSet<BackupId>,
}

/// What a recovery does.
pub(super) struct Chosen {
    pub(super) backup: ClusterBackup,
    pub(super) history: History,
    pub(super) size: SegmentBytes,
    /// The last segment that is needed, as far as can be told beforehand.
    pub(super) until: Segment,
    /// Whether the cluster has archived what it had written.
    pub(super) is_flushed: bool,
    /// All that is in the archive.
    pub(super) archive: WalListing,
    /// Newer backups that cannot be used, as the list of the store tells already.
    pub(super) damaged: Vec<ClusterDamage>,
}

/// Chooses, and refuses what cannot be reached before anything is unpacked.
pub(super) async fn choose(wanted: &Wanted<'_>, events: Events<'_>) -> Result<Chosen, RecoverError> {
    let &Wanted { store, connect, at, now, without } = wanted;
    if at.moment() > now {
        return Err(RecoverError::Future { at, now });
    }
    let listing = cluster::list(store).await?;
    let first = listing.backups.first().map(|backup| backup.manifest.stopped);
    let early = || RecoverError::Early { at, first };
    let is_whole = |backup: &ClusterBackup| listing.chain(backup).iter().all(|one| !without.contains(one.id()));
    let by_then = listing.backups.iter().filter(|backup| PointInTime::from(backup.manifest.stopped) <= at);
    let usable: Vec<&ClusterBackup> = by_then.collect();
    let newest = usable.last().ok_or_else(early)?;
    let mut archive = catalog::list(store).await?;
    let (history, backup) = past(&archive, &usable, newest, at, &is_whole).ok_or_else(early)?;
    let backup = backup.clone();
    let is_newer = |damage: &&ClusterDamage| damage.id.begun() > backup.id().begun() && PointInTime::from(damage.id.begun()) <= at;
    let damaged = listing.damaged.iter().filter(is_newer).cloned().collect();
    let size = SegmentBytes::new(backup.manifest.wal_segment_bytes).ok_or_else(early)?;
    let path = Path { history: &history, size, from: backup.manifest.stop_lsn };
    let mut is_flushed = false;
    let mut until = path.reaches(store, &archive, at).await?;
    if until.is_none() {
        events(Event::Restoring("waiting for the server to archive its log"));
        until = wal::setup::flush(connect, store).await?;
        is_flushed = until.is_some();
        archive = catalog::list(store).await?;
    }
    let Some(until) = until else {
        let last = path.present(&archive).last().copied();
        let last = match last {
            Some(last) => catalog::archived(store, &archive, last).await?,
            None => None,
        };
        let obstacle = wal::setup::look(connect).await.ok().and_then(|archiving| archiving.obstacle());
        return Err(RecoverError::Ends { at, last: last.map(|last| format!("about {last}")), obstacle });
    };
    if let Some(missing) = first_missing(&archive.names(), &history, size, backup.manifest.stop_lsn, until) {
        let before = size.number(missing).checked_sub(1).map(|number| history.segment(size, number));
        let until = match before {
            Some(before) => catalog::archived(store, &archive, before).await?,
            None => None,
        };
        return Err(RecoverError::Gap { at, missing, until });
    }
    Ok(Chosen { backup, history, size, until, is_flushed, archive, damaged })
}

/// The past that was lived at that time, and the newest backup on it that is whole. Which past it was is told by the others, too.
fn past<'a>(
    archive: &WalListing,
    usable: &[&'a ClusterBackup],
    newest: &'a ClusterBackup,
    at: PointInTime,
    is_whole: &dyn Fn(&ClusterBackup) -> bool,
) -> Option<(History, &'a ClusterBackup)> {
    let newest_timeline = newest.manifest.timeline;
    // A timeline whose own history was never archived is newer than those that are known.
    let lived = history_at(&archive.histories, at).filter(|history| history.timeline >= newest_timeline);
    let history = lived.cloned().unwrap_or_else(|| History::root(newest_timeline));
    let went_on = |branch: &Branch| {
        let Some(size) = archive.size else { return false };
        let left = size.segment(branch.timeline, branch.until);
        archive.segments.keys().any(|there| there.timeline == left.timeline && *there >= left)
    };
    let history = carried_on(&archive.histories, history, went_on);
    let is_on = |backup: &&ClusterBackup| history.came_through(backup.manifest.timeline, backup.manifest.stop_lsn);
    let on_it: Vec<&ClusterBackup> = usable.iter().copied().filter(is_on).collect();
    if on_it.is_empty() {
        return is_whole(newest).then(|| (History::root(newest_timeline), newest));
    }
    let backup = on_it.into_iter().rev().find(|backup| is_whole(backup))?;
    Some((history, backup))
}

/// The way that a recovery goes through the log.
struct Path<'a> {
    history: &'a History,
    size: SegmentBytes,
    from: pgisle_core::backup::Lsn,
}

impl Path<'_> {
    /// Segments of the way that are in the archive.
    fn present(&self, archive: &WalListing) -> Vec<Segment> {
        let size = self.size;
        let first = size.number(size.segment(1, self.from));
        let numbers = archive.segments.keys().map(|segment| size.number(*segment)).filter(|number| *number >= first);
        let numbers: BTreeSet<u64> = numbers.collect();
        let way = numbers.into_iter().map(|number| self.history.segment(size, number));
        way.filter(|segment| archive.segments.contains_key(segment)).collect()
    }

    /// The first segment of the way that was archived after a time, or in its second, and so may hold what was written then.
    async fn reaches(&self, store: &BackupStore, archive: &WalListing, at: PointInTime) -> Result<Option<Segment>, RecoverError> {
        let present = self.present(archive);
        // They were archived one after the other, so half of them need not be looked at, and half of the rest.
        let (mut low, mut high) = (0, present.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let archived = catalog::archived(store, archive, present[middle]).await?;
            if archived.is_some_and(|archived| archived >= at.moment()) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(present.get(low).copied())
    }
}
