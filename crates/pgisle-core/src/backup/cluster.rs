//! Backups of a whole cluster: what their manifests say, and which of them stand on which.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{BackupId, Candidate, Lsn, ManifestError, StoredObject, open};
use crate::moment::Moment;
use crate::name::{DatabaseName, ServiceName};

/// The format's version.
pub const CLUSTER_FORMAT: u32 = 1;

/// The first major version that makes incremental backups.
pub const INCREMENTAL_MAJOR: u32 = 17;

/// A physical backup of a whole cluster: every database, every role, and the write-ahead log that makes them one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterManifest {
    /// [`CLUSTER_FORMAT`].
    pub format: u32,
    /// Its name.
    pub id: BackupId,
    /// `name_prefix` of the spec.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// The backup that it holds the changes since, when it is incremental.
    pub parent: Option<BackupId>,
    /// When it was begun, by our clock.
    pub begun: Moment,
    /// When its data was complete, by our clock.
    pub completed: Moment,
    /// A moment by the server's clock that is not before it stopped: recovery can reach any later one.
    pub stopped: Moment,
    /// pgisle's version.
    pub pgisle_version: String,
    /// The server's version.
    pub server_version: String,
    /// The server's major version: only its programs can start it again.
    pub server_major: u32,
    /// The version of `pg_basebackup`.
    pub program_version: String,
    /// The cluster's identity, a number that does not fit a number of JSON.
    pub system_identifier: String,
    /// The timeline.
    pub timeline: u32,
    /// The checkpoint that recovery starts from.
    pub checkpoint_lsn: Lsn,
    /// Where the write-ahead log begins that it needs.
    pub start_lsn: Lsn,
    /// Where it ends: recovery is consistent from here on.
    pub stop_lsn: Lsn,
    /// The size of a segment of the write-ahead log, in bytes.
    pub wal_segment_bytes: u64,
    /// Whether data pages carry checksums.
    pub has_page_checksums: bool,
    /// The databases, by name.
    pub databases: Vec<DatabaseThere>,
    /// Files in the data directory.
    pub files: u64,
    /// Whether the server's settings (`postgresql.conf`) are in it; some systems keep them elsewhere.
    pub has_settings: bool,
    /// Whether the script of roles holds the password verifiers, which only a superuser can read. The data always does.
    pub has_role_passwords: bool,
    /// The data directory as a tar.
    pub base: StoredObject,
    /// `pg_basebackup`'s list of its files.
    pub backup_manifest: StoredObject,
    /// Roles, tablespaces and their settings, as a script.
    pub globals: StoredObject,
}

/// A database that was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseThere {
    /// Its name.
    pub name: DatabaseName,
    /// Its number, which is its folder's name.
    pub oid: u32,
    /// The service of this project and environment that it belongs to.
    pub service: Option<ServiceName>,
}

impl ClusterManifest {
    /// Reads the manifest that lies where that of `id` belongs.
    ///
    /// # Errors
    /// It is damaged, or another's.
    pub fn open(bytes: &[u8], id: &BackupId) -> Result<Self, ManifestError> {
        let manifest: Self = open(bytes)?;
        let Self { format, .. } = manifest;
        if format != CLUSTER_FORMAT {
            return Err(ManifestError::Content(format!("it has format {format}, and this pgisle knows {CLUSTER_FORMAT}")));
        }
        if manifest.id != *id {
            let name = |id: &BackupId| format!("cluster backup {id}");
            return Err(ManifestError::Misplaced { expected: name(id), found: name(&manifest.id) });
        }
        Ok(manifest)
    }

    /// Its objects.
    #[must_use]
    pub const fn objects(&self) -> [&StoredObject; 3] {
        [&self.base, &self.backup_manifest, &self.globals]
    }

    /// The bytes of its objects in the store.
    #[must_use]
    pub const fn stored_bytes(&self) -> u64 {
        self.base.bytes + self.backup_manifest.bytes + self.globals.bytes
    }

    /// The database of a service, when it was there.
    #[must_use]
    pub fn database_of(&self, service: &ServiceName) -> Option<&DatabaseThere> {
        self.databases.iter().find(|database| database.service.as_ref() == Some(service))
    }
}

/// Why a backup cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// One that it stands on is not there, or is damaged.
    #[error("backup {0}, which it holds the changes since, is missing or damaged")]
    Missing(BackupId),
    /// One that it stands on is not what it was made from.
    #[error("backup {0}, which it holds the changes since, is of another cluster or of a later time")]
    Foreign(BackupId),
}

/// The backups that one is put together from: the full one first, itself last.
///
/// # Errors
/// One is missing or is not what it should be.
pub fn chain<'a>(
    backup: &'a ClusterManifest,
    find: impl Fn(&BackupId) -> Option<&'a ClusterManifest>,
) -> Result<Vec<&'a ClusterManifest>, ChainError> {
    let mut chain = vec![backup];
    let mut current = backup;
    while let Some(parent) = &current.parent {
        let found = find(parent).ok_or_else(|| ChainError::Missing(parent.clone()))?;
        // An earlier start than its own is also what keeps this from going on for ever.
        let is_before = found.start_lsn < current.start_lsn && found.server_major == current.server_major;
        if !is_before || found.system_identifier != current.system_identifier {
            return Err(ChainError::Foreign(parent.clone()));
        }
        chain.push(found);
        current = found;
    }
    chain.reverse();
    Ok(chain)
}

/// Chooses what an incremental backup is made from: the newest one that was proved, with all that it stands on, of this cluster and
/// timeline. They come oldest first, each with whether it was proved.
#[must_use]
pub fn parent<'a>(
    backups: &[(&'a ClusterManifest, bool)],
    system_identifier: &str,
    timeline: u32,
    server_major: u32,
) -> Option<&'a ClusterManifest> {
    let proved = proved(backups);
    let fits = |manifest: &ClusterManifest| {
        manifest.system_identifier == system_identifier
            && manifest.timeline == timeline
            && manifest.server_major == server_major
            && proved.contains(&manifest.id)
    };
    backups.iter().rev().map(|(manifest, _)| *manifest).find(|manifest| fits(manifest))
}

/// As retention sees them: one that stands on others is proved when all of them are.
#[must_use]
pub fn candidates(backups: &[(&ClusterManifest, bool)]) -> Vec<Candidate> {
    let proved = proved(backups);
    let candidate = |(manifest, _): &(&ClusterManifest, bool)| Candidate {
        id: manifest.id.clone(),
        is_verified: proved.contains(&manifest.id),
        needs: manifest.parent.iter().cloned().collect(),
    };
    backups.iter().map(candidate).collect()
}

fn proved(backups: &[(&ClusterManifest, bool)]) -> BTreeSet<BackupId> {
    let by_id: BTreeMap<&BackupId, (&ClusterManifest, bool)> = backups.iter().map(|one| (&one.0.id, *one)).collect();
    let is_proved = |manifest: &ClusterManifest| by_id.get(&manifest.id).is_some_and(|(_, is_proved)| *is_proved);
    let is_whole = |manifest: &ClusterManifest| {
        chain(manifest, |id| by_id.get(id).map(|(manifest, _)| *manifest)).is_ok_and(|chain| chain.into_iter().all(is_proved))
    };
    backups
        .iter()
        .map(|(manifest, _)| *manifest)
        .filter(|manifest| is_whole(manifest))
        .map(|manifest| manifest.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Compression, Retention, expired};
    use super::*;
    use crate::moment::DAY_S;

    const NOW_S: u64 = 1_700_000_000;

    fn object(name: &str) -> StoredObject {
        StoredObject {
            name: name.to_owned(),
            bytes: 1,
            sha256: String::new(),
            raw_bytes: 1,
            raw_sha256: None,
            compression: Compression::Zstd,
            is_encrypted: false,
        }
    }

    /// So many days old, of a cluster whose log grows by a megabyte a day.
    fn manifest(age_days: u64, parent: Option<&ClusterManifest>) -> ClusterManifest {
        let begun = Moment::from_unix_s(NOW_S - age_days * DAY_S - 1);
        let start_lsn = Lsn::from_bytes((1000 - age_days) << 20);
        ClusterManifest {
            format: CLUSTER_FORMAT,
            id: BackupId::new(begun, 0),
            project: "link".to_owned(),
            environment: "development".to_owned(),
            parent: parent.map(|parent| parent.id.clone()),
            begun,
            completed: begun,
            stopped: begun,
            pgisle_version: "0.0.0".to_owned(),
            server_version: "18.0".to_owned(),
            server_major: 18,
            program_version: "18.0".to_owned(),
            system_identifier: "7711954188122026420".to_owned(),
            timeline: 1,
            checkpoint_lsn: start_lsn,
            start_lsn,
            stop_lsn: Lsn::from_bytes(start_lsn.bytes() + 1000),
            wal_segment_bytes: 16 << 20,
            has_page_checksums: true,
            databases: Vec::new(),
            files: 1000,
            has_settings: true,
            has_role_passwords: true,
            base: object("base.tar.zst"),
            backup_manifest: object("backup_manifest.zst"),
            globals: object("globals.sql.zst"),
        }
    }

    #[test]
    fn a_chain_begins_with_the_full_one() {
        let full = manifest(9, None);
        let middle = manifest(8, Some(&full));
        let last = manifest(7, Some(&middle));
        let all = [&full, &middle, &last];
        let find = |id: &BackupId| all.into_iter().find(|one| one.id == *id);
        assert_eq!(chain(&last, find), Ok(vec![&full, &middle, &last]));
        assert_eq!(chain(&full, find), Ok(vec![&full]));
        assert_eq!(chain(&last, |id| find(id).filter(|one| one.id != full.id)), Err(ChainError::Missing(full.id.clone())));
        let foreign = ClusterManifest { system_identifier: "1".to_owned(), ..full.clone() };
        let found = |id: &BackupId| if *id == full.id { Some(&foreign) } else { find(id) };
        assert_eq!(chain(&last, found), Err(ChainError::Foreign(full.id.clone())));
        let circle = ClusterManifest { parent: Some(last.id.clone()), ..full.clone() };
        let found = |id: &BackupId| if *id == full.id { Some(&circle) } else { find(id) };
        assert_eq!(chain(&last, found), Err(ChainError::Foreign(last.id.clone())), "a circle has an end");
    }

    #[test]
    fn an_incremental_one_is_made_from_the_newest_that_is_proved_to_the_ground() {
        let full = manifest(9, None);
        let other = manifest(8, None);
        let last = manifest(7, Some(&other));
        let chosen = |proofs: [bool; 3]| {
            let all = [(&full, proofs[0]), (&other, proofs[1]), (&last, proofs[2])];
            parent(&all, "7711954188122026420", 1, 18).map(|one| one.id.clone())
        };
        assert_eq!(chosen([true, true, true]), Some(last.id.clone()));
        assert_eq!(chosen([true, true, false]), Some(other.id.clone()));
        assert_eq!(chosen([true, false, true]), Some(full.id.clone()), "what it stands on is not proved");
        assert_eq!(chosen([false; 3]), None);
        for (identifier, timeline, major) in [("1", 1, 18), ("7711954188122026420", 2, 18), ("7711954188122026420", 1, 17)] {
            assert_eq!(parent(&[(&full, true)], identifier, timeline, major), None);
        }
    }

    #[test]
    fn the_full_one_below_a_kept_one_stays_and_counts_only_when_proved() {
        let full = manifest(90, None);
        let child = manifest(2, Some(&full));
        let newest = manifest(1, None);
        let gone = |is_full_proved: bool, minimum: u32| {
            let all = candidates(&[(&full, is_full_proved), (&child, true), (&newest, true)]);
            expired(&all, Retention { days: 30, minimum }, Moment::from_unix_s(NOW_S))
        };
        assert_eq!(gone(true, 1), []);
        assert_eq!(gone(true, 2), []);
        assert_eq!(gone(false, 1), []);
        // Only one of the three can be restored for certain.
        let all = candidates(&[(&full, false), (&child, true), (&newest, true)]);
        assert_eq!(all.iter().map(|one| one.is_verified).collect::<Vec<_>>(), [false, false, true]);
    }
}
