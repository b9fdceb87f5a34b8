//! What backups of the cluster there are.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pgisle_core::backup::cluster::{self, ChainError};
use pgisle_core::backup::{self, BackupId, Candidate, ClusterManifest, StoredObject};
use pgisle_core::moment::Moment;
use serde::Serialize;

use crate::backup::catalog::{MANIFEST, Proof, READS_AT_ONCE, VERIFIED, Verified};
use crate::backup::error::{BackupError, Whose};
use crate::backup::object::Object;
use crate::backup::store::{BackupStore, Key, Listed, StoreError};

/// The folder of the cluster's backups.
const CLUSTER: &str = "cluster";

/// A backup of the cluster that is whole, with all that it stands on, as far as manifests and the list of the objects tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterBackup {
    /// Its manifest.
    pub manifest: ClusterManifest,
    /// The SHA-256 of the manifest's file.
    pub manifest_sha256: String,
    /// When it was last proved, if it was.
    pub verified: Option<Verified>,
}

/// What should be a backup of the cluster and cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterDamage {
    /// Its name.
    pub id: BackupId,
    /// What is wrong, as a sentence without its full stop.
    pub reason: String,
}

/// The rest of a run that was interrupted, or one that is at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterLeftover {
    /// Its name.
    pub id: BackupId,
    /// Its objects.
    pub keys: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
    /// When the newest was written.
    pub modified: Moment,
}

/// Everything that lies where the cluster's backups do. Oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ClusterListing {
    /// Backups.
    pub backups: Vec<ClusterBackup>,
    /// Backups that cannot be restored.
    pub damaged: Vec<ClusterDamage>,
    /// What is no backup.
    pub leftovers: Vec<ClusterLeftover>,
}

impl ClusterBackup {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &BackupId {
        &self.manifest.id
    }

    /// The key of one of its objects; none when the manifest names what no object is called.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<Key> {
        key(self.id(), name)
    }

    /// One of its objects.
    pub(in crate::backup) fn object<'a>(&'a self, stored: &'a StoredObject) -> Object<'a> {
        Object { whose: Whose::Cluster, id: self.id(), key: self.key(&stored.name), stored }
    }
}

impl ClusterListing {
    /// The backup of this name.
    #[must_use]
    pub fn get(&self, id: &BackupId) -> Option<&ClusterBackup> {
        self.backups.iter().find(|backup| backup.id() == id)
    }

    /// The backups that one is put together from: the full one first, itself last.
    #[must_use]
    pub fn chain<'a>(&'a self, backup: &'a ClusterBackup) -> Vec<&'a ClusterBackup> {
        let chain = cluster::chain(&backup.manifest, |id| self.get(id).map(|found| &found.manifest));
        let chain = chain.unwrap_or_default();
        chain.into_iter().map(|manifest| self.get(&manifest.id).unwrap_or(backup)).collect()
    }

    /// As retention sees them: one that stands on others is proved when all of them are.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        cluster::candidates(&self.proofs())
    }

    /// The newest that was proved, with all that it stands on.
    #[must_use]
    pub fn newest_proved(&self) -> Option<&ClusterBackup> {
        let newest = self.candidates().into_iter().rev().find(|candidate| candidate.is_verified)?;
        self.get(&newest.id)
    }

    /// The manifests, each with whether its backup was proved.
    #[must_use]
    pub fn proofs(&self) -> Vec<(&ClusterManifest, bool)> {
        self.backups.iter().map(|backup| (&backup.manifest, backup.verified.is_some())).collect()
    }

    /// When the last one was begun, whole or not.
    #[must_use]
    pub fn last_begun(&self) -> Option<Moment> {
        let damaged = self.damaged.iter().map(|damage| &damage.id);
        self.backups.iter().map(ClusterBackup::id).chain(damaged).map(BackupId::begun).max()
    }
}

/// The key of one of a backup's objects; none when nothing can be called so.
pub(in crate::backup) fn key(id: &BackupId, name: &str) -> Option<Key> {
    Key::of(&[CLUSTER, id.as_str(), name])
}

/// The folder of a backup.
pub(in crate::backup) fn folder(id: &BackupId) -> Key {
    Key::of(&[CLUSTER, id.as_str()]).unwrap_or(Key::ROOT)
}

/// Lists all. Every manifest is read; the data is not.
///
/// # Errors
/// The store cannot be read.
pub async fn list(store: &BackupStore) -> Result<ClusterListing, StoreError> {
    let below = Key::of(&[CLUSTER]).unwrap_or(Key::ROOT);
    let mut folders: BTreeMap<BackupId, Vec<Listed>> = BTreeMap::new();
    for listed in store.list(&below).await? {
        let parts: Vec<&str> = listed.key.parts().collect();
        let [_, id, _] = parts.as_slice() else { continue };
        let Some(id) = BackupId::parse(id) else { continue };
        folders.entry(id).or_default().push(listed);
    }
    let looked: Vec<Looked> =
        stream::iter(folders).map(|(id, objects)| look(store, id, objects)).buffered(READS_AT_ONCE).try_collect().await?;
    let mut listing = ClusterListing::default();
    for one in looked {
        match one {
            Looked::Backup(backup) => listing.backups.push(*backup),
            Looked::Damage(damage) => listing.damaged.push(damage),
            Looked::Leftover(leftover) => listing.leftovers.push(leftover),
        }
    }
    part_orphans(&mut listing);
    Ok(listing)
}

/// What holds the changes since a backup that is not whole cannot be restored, either.
fn part_orphans(listing: &mut ClusterListing) {
    let whole = |backup: &ClusterBackup| -> Result<(), ChainError> {
        cluster::chain(&backup.manifest, |id| listing.get(id).map(|found| &found.manifest)).map(drop)
    };
    let broken: BTreeMap<BackupId, ChainError> =
        listing.backups.iter().filter_map(|backup| Some((backup.id().clone(), whole(backup).err()?))).collect();
    listing.backups.retain(|backup| !broken.contains_key(backup.id()));
    listing.damaged.extend(broken.into_iter().map(|(id, error)| ClusterDamage { id, reason: error.to_string() }));
    listing.damaged.sort_by(|one, other| one.id.cmp(&other.id));
}

enum Looked {
    Backup(Box<ClusterBackup>),
    Damage(ClusterDamage),
    Leftover(ClusterLeftover),
}

async fn look(store: &BackupStore, id: BackupId, objects: Vec<Listed>) -> Result<Looked, StoreError> {
    let named = |name: &str| objects.iter().find(|listed| !listed.is_partial && listed.key.parts().last() == Some(name));
    let Some(manifest) = named(MANIFEST) else { return Ok(Looked::Leftover(leftover(id, &objects))) };
    let damage = |reason: String| Looked::Damage(ClusterDamage { id: id.clone(), reason });
    let Some(bytes) = store.read(&manifest.key).await? else { return Ok(damage("its manifest has just gone".to_owned())) };
    let manifest = match ClusterManifest::open(&bytes, &id) {
        Ok(manifest) => manifest,
        Err(error) => return Ok(damage(error.to_string())),
    };
    for StoredObject { name, bytes: expected, .. } in manifest.objects() {
        match named(name) {
            None => return Ok(damage(format!("its object \"{name}\" is missing"))),
            Some(Listed { bytes, .. }) if bytes != expected => {
                return Ok(damage(format!("its object \"{name}\" has {bytes} bytes and should have {expected}")));
            }
            Some(_) => {}
        }
    }
    let manifest_sha256 = backup::checksum(&bytes);
    let verified = match named(VERIFIED) {
        Some(listed) => Verified::read(store, &listed.key, &manifest_sha256).await?,
        None => None,
    };
    Ok(Looked::Backup(Box::new(ClusterBackup { manifest, manifest_sha256, verified })))
}

fn leftover(id: BackupId, objects: &[Listed]) -> ClusterLeftover {
    ClusterLeftover {
        keys: objects.iter().map(|listed| listed.key.to_string()).collect(),
        bytes: objects.iter().map(|listed| listed.bytes).sum(),
        // A folder is only found by what lies in it.
        modified: objects.iter().map(|listed| listed.modified).max().unwrap_or(id.begun()),
        id,
    }
}

/// Finds one backup: the newest whole one, or the one of this name or of a name that begins so.
///
/// # Errors
/// There is none, it is damaged, or the store cannot be read.
pub async fn find(store: &BackupStore, wanted: Option<&str>) -> Result<ClusterBackup, BackupError> {
    let ClusterListing { backups, damaged, .. } = list(store).await?;
    let there: Vec<BackupId> = backups.iter().map(|backup| backup.id().clone()).collect();
    let fits = |id: &BackupId| wanted.is_none_or(|wanted| !wanted.is_empty() && id.as_str().starts_with(wanted));
    let mut good: Vec<ClusterBackup> = backups.into_iter().filter(|backup| fits(backup.id())).collect();
    let mut bad: Vec<ClusterDamage> = damaged.into_iter().filter(|damage| fits(&damage.id)).collect();
    match (wanted, good.pop(), bad.pop()) {
        (None, Some(newest), _) => Ok(newest),
        (Some(_), Some(one), None) if good.is_empty() => Ok(one),
        (None, None, Some(damage)) => Err(damage.into()),
        (Some(_), None, Some(damage)) if bad.is_empty() => Err(damage.into()),
        (_, None, None) => Err(BackupError::None { whose: Whose::Cluster, wanted: wanted.map(str::to_owned), there }),
        (Some(wanted), one, other) => {
            let ids = good.iter().chain(&one).map(|backup| backup.id().clone());
            let there = ids.chain(bad.into_iter().chain(other).map(|damage| damage.id)).collect();
            Err(BackupError::Several { whose: Whose::Cluster, wanted: wanted.to_owned(), there })
        }
    }
}

/// Writes down that a backup was proved, so that retention counts it.
///
/// # Errors
/// The store cannot be written.
pub async fn record_proof(store: &BackupStore, backup: &ClusterBackup, how: Proof) -> Result<Verified, StoreError> {
    let verified = Verified { at: crate::clock::now(), how, manifest_sha256: backup.manifest_sha256.clone() };
    let key = backup.key(VERIFIED).unwrap_or(Key::ROOT);
    store.put(&key, backup::seal(&verified).into_bytes()).await?;
    Ok(verified)
}

impl From<ClusterDamage> for BackupError {
    fn from(damage: ClusterDamage) -> Self {
        let ClusterDamage { id, reason } = damage;
        Self::Damaged { whose: Whose::Cluster, id, reason }
    }
}
