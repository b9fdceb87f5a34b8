//! What the archive holds, from its list alone: nothing but one seal and the histories is read.

use std::collections::{BTreeMap, BTreeSet};

use pgisle_core::backup::wal::{History, Run, Segment, SegmentBytes, WalName, runs};
use pgisle_core::moment::Moment;

use super::error::WalError;
use super::{SEAL, WAL, fetch, folder, seal};
use crate::backup::store::{BackupStore, Key, Listed};
use crate::credential::IdentitySource;

/// A segment in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSegment {
    /// Its bytes in the store.
    pub bytes: u64,
    /// When it came there, by the store's clock.
    pub modified: Moment,
    /// Whether it has a seal: it was archived by pgisle.
    pub is_sealed: bool,
}

/// What the archive holds.
#[derive(Debug, Clone, Default)]
pub struct WalListing {
    /// Segments.
    pub segments: BTreeMap<Segment, StoredSegment>,
    /// Bytes of each segment before compression; none when there is no segment.
    pub size: Option<SegmentBytes>,
    /// Histories, and when each came to be.
    pub histories: Vec<(History, Moment)>,
    /// Data without a seal, and files that were never finished.
    pub leftovers: Vec<Listed>,
    /// All objects of each file, for who removes them.
    pub objects: BTreeMap<WalName, Vec<Listed>>,
}

impl WalListing {
    /// The names of the segments.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Segment> {
        self.segments.keys().copied().collect()
    }

    /// Segments that follow each other.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        self.size.map_or_else(Vec::new, |size| runs(&self.names(), size))
    }

    /// Bytes in the store.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.objects.values().flatten().map(|listed| listed.bytes).sum()
    }
}

/// Lists the archive.
///
/// # Errors
/// The store cannot be read, or a history or the newest seal is damaged.
pub async fn list(store: &BackupStore) -> Result<WalListing, WalError> {
    let mut listing = WalListing::default();
    let below = Key::of(&[WAL]).unwrap_or(Key::ROOT);
    for listed in store.list(&below).await? {
        let parts: Vec<&str> = listed.key.parts().collect();
        let (parent, file) = match parts.as_slice() {
            [_, file] => (None, *file),
            [_, parent, file] => (Some(*parent), *file),
            _ => continue,
        };
        if listed.is_partial {
            listing.leftovers.push(listed);
            continue;
        }
        let is_at_home = |name: WalName| parent.is_none_or(|parent| parent == folder(name));
        let Some(name) = name_of(file).filter(|name| is_at_home(*name)) else { continue };
        listing.objects.entry(name).or_default().push(listed);
    }
    let mut sizes = Vec::new();
    for (name, objects) in &listing.objects {
        let is = |listed: &Listed, suffix: &str| listed.key.parts().last() == Some(format!("{name}{suffix}").as_str());
        let seal = objects.iter().find(|listed| is(listed, SEAL));
        let plain = objects.iter().find(|listed| ["", ".zst", ".gz"].iter().any(|suffix| is(listed, suffix)));
        let Some(there) = seal.or(plain) else {
            listing.leftovers.extend(objects.iter().cloned());
            continue;
        };
        if let WalName::Segment(segment) = name {
            let bytes = objects.iter().map(|listed| listed.bytes).sum();
            let stored = StoredSegment { bytes, modified: there.modified, is_sealed: seal.is_some() };
            listing.segments.insert(*segment, stored);
            if plain.is_some_and(|plain| is(plain, "")) {
                sizes.extend(plain.and_then(|plain| SegmentBytes::new(plain.bytes)));
            }
        }
    }
    listing.size = match listing.segments.iter().next_back() {
        Some((newest, stored)) if stored.is_sealed => {
            let seal = seal(store, WalName::Segment(*newest)).await?;
            seal.and_then(|seal| SegmentBytes::new(seal.data.raw_bytes))
        }
        // The usual size, where nothing tells: others compress segments, too.
        Some(_) => sizes.pop().or_else(|| SegmentBytes::new(16 << 20)),
        None => None,
    };
    let timelines: Vec<(u32, Moment)> = listing
        .objects
        .iter()
        .filter_map(|(name, objects)| match name {
            WalName::History(timeline) => Some((*timeline, objects.iter().map(|listed| listed.modified).min()?)),
            _ => None,
        })
        .collect();
    for (timeline, modified) in timelines {
        listing.histories.push((history(store, timeline).await?, begun(store, WalName::History(timeline), modified).await?));
    }
    Ok(listing)
}

/// The file that an object belongs to.
fn name_of(file: &str) -> Option<WalName> {
    let stem = [SEAL, ".zst.age", ".zst", ".gz"].iter().find_map(|suffix| file.strip_suffix(suffix));
    WalName::parse(stem.unwrap_or(file))
}

async fn history(store: &BackupStore, timeline: u32) -> Result<History, WalError> {
    let name = WalName::History(timeline);
    // Never encrypted.
    let bytes = fetch::read(store, name, &IdentitySource::default()).await?;
    let history = History::parse(timeline, &String::from_utf8_lossy(&bytes));
    history.ok_or_else(|| WalError::Damaged { name, reason: "it does not say how the timeline came to be".to_owned() })
}

/// When a file was archived, as its seal has it: the store's own times may be those of a copy.
async fn begun(store: &BackupStore, name: WalName, modified: Moment) -> Result<Moment, WalError> {
    Ok(seal(store, name).await?.map_or(modified, |seal| seal.archived))
}

/// When a segment was archived: what it holds was written before.
///
/// # Errors
/// The store cannot be read, or the seal is damaged.
pub async fn archived(store: &BackupStore, listing: &WalListing, segment: Segment) -> Result<Option<Moment>, WalError> {
    let Some(stored) = listing.segments.get(&segment) else { return Ok(None) };
    begun(store, WalName::Segment(segment), stored.modified).await.map(Some)
}
