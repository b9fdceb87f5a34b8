//! What backups there are, and which of the store's objects are none.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pgisle_core::backup::{self, BackupId, Candidate, Manifest, ManifestError};
use pgisle_core::moment::Moment;
use pgisle_core::name::ServiceName;
use serde::{Deserialize, Serialize};

use super::error::{BackupError, Whose};
use super::object::Object;
use super::store::{BackupStore, Key, Listed, StoreError};
use super::stream::DataReader;
use crate::credential::IdentitySource;

/// The folder of the services' backups.
const SERVICES: &str = "services";
/// Written last: what has none is not a backup.
pub(super) const MANIFEST: &str = "manifest.json";
/// Written when the backup was read back whole.
pub(super) const VERIFIED: &str = "verified.json";
/// Manifests that are read at once: enough to hide a network's delay.
pub(super) const READS_AT_ONCE: usize = 8;

/// How a backup was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// Every byte was read back from the store, decoded, and was what had been dumped.
    Stored,
    /// It was restored, and the content compared.
    Drill,
    /// A cluster's: it was unpacked, and every file compared with the server's list.
    Unpacked,
    /// A cluster's: a private server was started on it, replayed the log up to a time, and services were dumped from it.
    Recovered,
}

/// `verified.json`: that a backup was read back whole, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    /// When.
    pub at: Moment,
    /// How.
    pub how: Proof,
    /// The SHA-256 of the manifest's file: a proof is of one backup alone.
    pub manifest_sha256: String,
}

impl Verified {
    /// Reads a proof. A damaged one, or that of another backup, proves nothing.
    pub(super) async fn read(store: &BackupStore, key: &Key, manifest_sha256: &str) -> Result<Option<Self>, StoreError> {
        let verified = store.read(key).await?.and_then(|bytes| backup::open::<Self>(&bytes).ok());
        Ok(verified.filter(|verified| verified.manifest_sha256 == manifest_sha256))
    }
}

/// A backup that is whole as far as its manifest and the list of the objects tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// Its manifest.
    pub manifest: Manifest,
    /// The SHA-256 of the manifest's file.
    pub manifest_sha256: String,
    /// When it was last proved, if it was.
    pub verified: Option<Verified>,
}

/// What should be a backup and cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Its service.
    pub service: ServiceName,
    /// Its name.
    pub id: BackupId,
    /// What is wrong, as a sentence without its full stop.
    pub reason: String,
}

/// The rest of a run that was interrupted, or one that is at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// Its service.
    pub service: ServiceName,
    /// Its name.
    pub id: BackupId,
    /// Its objects.
    pub keys: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
    /// When the newest was written.
    pub modified: Moment,
}

/// Everything that lies where backups do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Listing {
    /// Backups, by service and age, oldest first.
    pub backups: Vec<Backup>,
    /// Backups that cannot be restored.
    pub damaged: Vec<Damage>,
    /// What is no backup.
    pub leftovers: Vec<Leftover>,
}

impl Backup {
    /// Its service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.manifest.service
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &BackupId {
        &self.manifest.id
    }

    /// As retention sees it.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate { id: self.id().clone(), is_verified: self.verified.is_some(), needs: std::collections::BTreeSet::new() }
    }

    /// The key of one of its objects; none when the manifest names what no object is called.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<Key> {
        key(self.service(), self.id(), name)
    }

    /// Its data, as an object of the store.
    pub(super) fn data(&self) -> Object<'_> {
        let stored = &self.manifest.data;
        Object { whose: Whose::Service(self.service().clone()), id: self.id(), key: self.key(&stored.name), stored }
    }

    /// Opens its raw data, for a thread that may block.
    ///
    /// # Errors
    /// The data is missing, the store fails, or the key to it does.
    pub async fn open(&self, store: &BackupStore, identities: &IdentitySource) -> Result<DataReader, BackupError> {
        self.data().open(store, identities).await
    }
}

/// The key of one of a backup's objects; none when nothing can be called so.
pub(super) fn key(service: &ServiceName, id: &BackupId, name: &str) -> Option<Key> {
    Key::of(&[SERVICES, service.as_str(), id.as_str(), name])
}

/// The folder of a backup.
pub(super) fn folder(service: &ServiceName, id: &BackupId) -> Key {
    Key::of(&[SERVICES, service.as_str(), id.as_str()]).unwrap_or(Key::ROOT)
}

/// Lists all, or one service's. Every manifest is read; the data is not.
///
/// # Errors
/// The store cannot be read.
pub async fn list(store: &BackupStore, service: Option<&ServiceName>) -> Result<Listing, StoreError> {
    let parts: Vec<&str> = [SERVICES].into_iter().chain(service.map(ServiceName::as_str)).collect();
    let below = Key::of(&parts).unwrap_or(Key::ROOT);
    let mut folders: BTreeMap<(ServiceName, BackupId), Vec<Listed>> = BTreeMap::new();
    for listed in store.list(&below).await? {
        let parts: Vec<&str> = listed.key.parts().collect();
        let [_, service, id, _] = parts.as_slice() else { continue };
        let (Ok(service), Some(id)) = (ServiceName::parse(service), BackupId::parse(id)) else { continue };
        folders.entry((service, id)).or_default().push(listed);
    }
    let looked: Vec<Looked> = stream::iter(folders)
        .map(|((service, id), objects)| look(store, service, id, objects))
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await?;
    let mut listing = Listing::default();
    for one in looked {
        match one {
            Looked::Backup(backup) => listing.backups.push(*backup),
            Looked::Damage(damage) => listing.damaged.push(damage),
            Looked::Leftover(leftover) => listing.leftovers.push(leftover),
        }
    }
    Ok(listing)
}

enum Looked {
    Backup(Box<Backup>),
    Damage(Damage),
    Leftover(Leftover),
}

async fn look(store: &BackupStore, service: ServiceName, id: BackupId, objects: Vec<Listed>) -> Result<Looked, StoreError> {
    let named = |name: &str| objects.iter().find(|listed| !listed.is_partial && listed.key.parts().last() == Some(name));
    let Some(manifest) = named(MANIFEST) else { return Ok(Looked::Leftover(leftover(service, id, &objects))) };
    let damage = |reason: String| Looked::Damage(Damage { service: service.clone(), id: id.clone(), reason });
    let Some(bytes) = store.read(&manifest.key).await? else { return Ok(damage("its manifest has just gone".to_owned())) };
    let manifest = match Manifest::open(&bytes, &service, &id) {
        Ok(manifest) => manifest,
        Err(error @ (ManifestError::Checksum | ManifestError::Content(_) | ManifestError::Misplaced { .. })) => {
            return Ok(damage(error.to_string()));
        }
    };
    let data = &manifest.data;
    match named(&data.name) {
        None => return Ok(damage(format!("its object \"{}\" is missing", data.name))),
        Some(listed) if listed.bytes != data.bytes => {
            return Ok(damage(format!("its object \"{}\" has {} bytes and should have {}", data.name, listed.bytes, data.bytes)));
        }
        Some(_) => {}
    }
    let manifest_sha256 = backup::checksum(&bytes);
    let verified = match named(VERIFIED) {
        Some(listed) => Verified::read(store, &listed.key, &manifest_sha256).await?,
        None => None,
    };
    Ok(Looked::Backup(Box::new(Backup { manifest, manifest_sha256, verified })))
}

fn leftover(service: ServiceName, id: BackupId, objects: &[Listed]) -> Leftover {
    Leftover {
        service,
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
pub async fn find(store: &BackupStore, service: &ServiceName, wanted: Option<&str>) -> Result<Backup, BackupError> {
    let Listing { backups, damaged, .. } = list(store, Some(service)).await?;
    let there: Vec<BackupId> = backups.iter().map(|backup| backup.id().clone()).collect();
    let fits = |id: &BackupId| wanted.is_none_or(|wanted| !wanted.is_empty() && id.as_str().starts_with(wanted));
    let mut good: Vec<Backup> = backups.into_iter().filter(|backup| fits(backup.id())).collect();
    let mut bad: Vec<Damage> = damaged.into_iter().filter(|damage| fits(&damage.id)).collect();
    match (wanted, good.pop(), bad.pop()) {
        (None, Some(newest), _) => Ok(newest),
        (Some(_), Some(one), None) if good.is_empty() => Ok(one),
        (None, None, Some(damage)) => Err(damage.into()),
        (Some(_), None, Some(damage)) if bad.is_empty() => Err(damage.into()),
        (_, None, None) => {
            Err(BackupError::None { whose: Whose::Service(service.clone()), wanted: wanted.map(str::to_owned), there })
        }
        (Some(wanted), one, other) => {
            let ids = good.iter().chain(&one).map(|backup| backup.id().clone());
            let there = ids.chain(bad.into_iter().chain(other).map(|damage| damage.id)).collect();
            Err(BackupError::Several { whose: Whose::Service(service.clone()), wanted: wanted.to_owned(), there })
        }
    }
}

/// Writes down that a backup was proved, so that retention counts it.
///
/// # Errors
/// The store cannot be written.
pub async fn record_proof(store: &BackupStore, backup: &Backup, how: Proof) -> Result<Verified, StoreError> {
    let verified = Verified { at: crate::clock::now(), how, manifest_sha256: backup.manifest_sha256.clone() };
    let key = backup.key(VERIFIED).unwrap_or(Key::ROOT);
    store.put(&key, backup::seal(&verified).into_bytes()).await?;
    Ok(verified)
}

impl From<Damage> for BackupError {
    fn from(damage: Damage) -> Self {
        let Damage { service, id, reason } = damage;
        Self::Damaged { whose: Whose::Service(service), id, reason }
    }
}
