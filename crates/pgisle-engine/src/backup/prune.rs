//! Taking away what retention lets go, and what interrupted runs left.

use std::collections::BTreeMap;
use std::time::Duration;

use pgisle_core::backup::{BackupId, Retention, expired};
use pgisle_core::diagnostic::Diagnostic;
use pgisle_core::moment::{DAY_S, Moment};
use pgisle_core::name::ServiceName;
use pgisle_core::spec::Settings;
use serde::Serialize;

use super::catalog::{self, Backup, Leftover, MANIFEST};
use super::cluster::{self, ClusterDue};
use super::create::{Event, Events};
use super::store::{BackupStore, Key, StoreError, Unfinished};
use super::uploads;
use super::wal::prune::WalDue;
use super::wal::{self, WalError};
use crate::clock;
use crate::fault;
use crate::postgres::lock::Scope;
use crate::postgres::{ConnectOptions, Holder, RunLock};

/// A run that has written nothing for so long does not write any more, whatever the store's clock says.
pub(super) const LEFTOVER_AGE_S: u64 = DAY_S;

/// What may go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Due {
    /// Backups that are too old, and not needed for the minimum. Oldest first within a service.
    pub expired: Vec<DueBackup>,
    /// Rests of runs that were interrupted.
    pub leftovers: Vec<Leftover>,
    /// Backups that stay.
    pub kept: usize,
    /// The same of the whole cluster's; none when only services were asked for.
    pub cluster: Option<ClusterDue>,
    /// Files of the archived log that no backup of the cluster needs which stays.
    pub wal: Option<WalDue>,
    /// Uploads that were begun by runs which are not at work any more. Without the lock these are only the old ones.
    pub uploads: Vec<Unfinished>,
    /// Why others could not be called off.
    #[serde(skip)]
    pub warnings: Vec<Diagnostic>,
}

/// A backup that may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DueBackup {
    /// Its service.
    pub service: ServiceName,
    /// Its name.
    pub id: BackupId,
    /// Bytes of its data in the store.
    pub bytes: u64,
}

impl Due {
    /// Bytes that would be free again.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let expired = self.expired.iter().map(|due| due.bytes);
        let cluster = self.cluster.iter().flat_map(|cluster| {
            let expired = cluster.expired.iter().map(|due| due.bytes);
            expired.chain(cluster.leftovers.iter().map(|leftover| leftover.bytes))
        });
        let wal = self.wal.iter().map(|wal| wal.bytes);
        expired.chain(self.leftovers.iter().map(|leftover| leftover.bytes)).chain(cluster).chain(wal).sum()
    }
}

/// The rule of the spec.
#[must_use]
pub fn retention(settings: &Settings) -> Retention {
    Retention { days: settings.backup_retention_days, minimum: settings.backup_minimum_count }
}

/// Works out what may go: of these services, or of all and of the cluster when there are none. Damaged backups stay: they are for someone to look at, and count for nothing.
///
/// # Errors
/// The store cannot be read.
pub async fn due(store: &BackupStore, retention: Retention, services: &[ServiceName], now: Moment) -> Result<Due, StoreError> {
    let listing = catalog::list(store, None).await?;
    let is_wanted = |service: &ServiceName| services.is_empty() || services.contains(service);
    let mut by_service: BTreeMap<&ServiceName, Vec<&Backup>> = BTreeMap::new();
    for backup in listing.backups.iter().filter(|backup| is_wanted(backup.service())) {
        by_service.entry(backup.service()).or_default().push(backup);
    }
    let mut due = Due::default();
    for (service, backups) in by_service {
        let candidates: Vec<_> = backups.iter().map(|backup| backup.candidate()).collect();
        let gone = expired(&candidates, retention, now);
        due.kept += backups.len() - gone.len();
        let gone = backups.iter().filter(|backup| gone.contains(backup.id()));
        due.expired.extend(gone.map(|backup| DueBackup {
            service: service.clone(),
            id: backup.id().clone(),
            bytes: backup.manifest.data.bytes,
        }));
    }
    let is_old = |leftover: &Leftover| now.seconds_since(leftover.modified) > LEFTOVER_AGE_S;
    due.leftovers = listing.leftovers.into_iter().filter(|one| is_wanted(&one.service) && is_old(one)).collect();
    due.uploads = uploads(store, services, None, now).await?;
    if services.is_empty() {
        let listing = cluster::list(store).await?;
        let cluster = cluster::due(listing.clone(), retention, now);
        let expired: Vec<BackupId> = cluster.expired.iter().map(|due| due.id.clone()).collect();
        due.cluster = Some(cluster);
        due.wal = match wal::prune::due(store, &listing, &expired, now).await {
            Err(WalError::Store(error)) => return Err(error),
            // An archive whose list is damaged stays for someone to look at, as damaged backups do.
            wal => wal.ok(),
        };
    }
    Ok(due)
}

/// Takes away what may go, under the backup lock, so that nothing of a run that is at work is taken for a rest.
///
/// # Errors
/// No lock, or the store cannot be read or written. What was taken away before that is gone.
pub async fn prune(
    store: &BackupStore,
    connect: &ConnectOptions,
    settings: &Settings,
    services: &[ServiceName],
    lock_timeout: Duration,
    events: Events<'_>,
) -> Result<Due, Diagnostic> {
    let waiting = |holder: &Holder| events(Event::WaitingForLock { holder: &holder.to_string() });
    let lock = RunLock::acquire_scope(Scope::Backup, connect, "backup prune", lock_timeout, &waiting);
    let lock = Box::pin(lock).await.map_err(|error| error.diagnostic())?;
    let cluster = uploads::cluster_of(lock.session()).await;
    let result = remove(store, settings, services, cluster.as_deref()).await;
    lock.release().await;
    result.map_err(|error| error.diagnostic())
}

async fn uploads(
    store: &BackupStore,
    services: &[ServiceName],
    locked: Option<&str>,
    now: Moment,
) -> Result<Vec<Unfinished>, StoreError> {
    let mut due = uploads::due(store, locked, now).await?;
    due.retain(|upload| services.is_empty() || upload.service().is_some_and(|service| services.contains(&service)));
    Ok(due)
}

async fn remove(
    store: &BackupStore,
    settings: &Settings,
    services: &[ServiceName],
    locked: Option<&str>,
) -> Result<Due, StoreError> {
    let now = clock::now();
    let mut due = due(store, retention(settings), services, now).await?;
    for DueBackup { service, id, .. } in &due.expired {
        // The manifest first: from then on it is no backup any more, and what a kill leaves of it is a rest.
        if let Some(manifest) = catalog::key(service, id, MANIFEST) {
            store.delete(&manifest).await?;
        }
        fault::stage("prune.manifest");
        for listed in store.list(&catalog::folder(service, id)).await? {
            store.delete(&listed.key).await?;
        }
    }
    for leftover in &due.leftovers {
        for key in leftover.keys.iter().filter_map(|key| Key::parse(key)) {
            store.delete(&key).await?;
        }
    }
    if let Some(due) = &due.cluster {
        cluster::remove(store, due).await?;
    }
    // After the backups, so that none is without what it needs.
    if let Some(due) = &due.wal {
        wal::prune::remove(store, due).await?;
    }
    let (gone, refused) = uploads::call_off(store, uploads(store, services, locked, now).await?).await;
    (due.uploads, due.warnings) = (gone, refused.into_iter().collect());
    Ok(due)
}
