//! Whatever happens to a backup in the store is told.

use std::path::{Path, PathBuf};

use pgisle_core::name::ServiceName;
use pgisle_engine::backup::catalog::{self, Backup};
use pgisle_engine::backup::{BackupError, catalog::Listing};

use super::NASTY;
use super::site::{ONE, Site, TWO, service};

/// How many places of the data are tried; of the manifest it is every byte.
const PLACES: usize = 300;

fn flip(path: &Path, place: usize, bit: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[place] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
}

async fn found(site: &Site, service: &ServiceName, backup: &Backup) -> Result<Backup, BackupError> {
    catalog::find(&site.store, service, Some(backup.id().as_str())).await
}

fn manifest(site: &Site, backup: &Backup) -> PathBuf {
    site.folder_of(backup).join("manifest.json")
}

fn is_damaged<T: std::fmt::Debug>(result: &Result<T, BackupError>) -> bool {
    matches!(result, Err(BackupError::Damaged { .. }))
}

#[tokio::test]
async fn any_flipped_bit_of_the_data_is_told() {
    let site = Site::new(ONE).await;
    site.fill("users", NASTY).await;
    let backup = site.backups().await.remove(0);
    let path = site.folder_of(&backup).join(&backup.manifest.data.name);
    let length = std::fs::read(&path).unwrap().len();
    let step = (length / PLACES).max(1);
    // The ends of the file and its frame, and places all over it.
    let places = (0..32).chain(length - 32..length).chain((32..length - 32).step_by(step));
    for (number, place) in places.enumerate() {
        let bit = u8::try_from(number % 8).unwrap();
        flip(&path, place, bit);
        let result = site.verify(&backup).await;
        assert!(is_damaged(&result), "byte {place} of {length}, bit {bit}: {result:?}");
        flip(&path, place, bit);
    }
    let is_proved = async || site.list().await.backups[0].verified.is_some();
    assert!(!is_proved().await, "what was found damaged counts for retention no more");
    site.verify(&backup).await.unwrap();
    assert!(is_proved().await);
}

#[tokio::test]
async fn any_changed_byte_of_the_manifest_is_told() {
    let site = Site::new(ONE).await;
    let backup = site.backups().await.remove(0);
    let path = manifest(&site, &backup);
    for place in 0..std::fs::read(&path).unwrap().len() {
        flip(&path, place, u8::try_from(place % 8).unwrap());
        let result = found(&site, backup.service(), &backup).await;
        assert!(is_damaged(&result), "byte {place}: {result:?}");
        flip(&path, place, u8::try_from(place % 8).unwrap());
    }
    found(&site, backup.service(), &backup).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_cut_or_longer_is_told_by_the_list_already() {
    let site = Site::new(ONE).await;
    let backup = site.backups().await.remove(0);
    let path = site.folder_of(&backup).join(&backup.manifest.data.name);
    let whole = std::fs::read(&path).unwrap();
    for changed in [Some(&whole[..whole.len() - 1]), Some(&[][..]), Some(&[whole.as_slice(), b"\0"].concat()[..]), None] {
        match changed {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let Listing { backups, damaged, leftovers } = site.list().await;
        assert_eq!((backups.len(), damaged.len(), leftovers.len()), (0, 1, 0), "{:?}", changed.map(<[u8]>::len));
        assert!(is_damaged(&site.verify(&backup).await));
        assert!(is_damaged(&catalog::find(&site.store, backup.service(), None).await));
    }
    std::fs::write(&path, whole).unwrap();
    site.verify(&backup).await.unwrap();
    std::fs::remove_file(manifest(&site, &backup)).unwrap();
    let Listing { backups, damaged, leftovers } = site.list().await;
    assert_eq!((backups.len(), damaged.len(), leftovers.len()), (0, 0, 1), "without a manifest it is no backup");
}

#[tokio::test]
async fn manifests_that_trade_places_are_told() {
    let site = Site::new(TWO).await;
    let first = site.backups().await;
    let second = site.backups().await;
    let swap = |one: &Backup, other: &Backup| {
        let (one, other) = (manifest(&site, one), manifest(&site, other));
        let bytes = std::fs::read(&one).unwrap();
        std::fs::copy(&other, &one).unwrap();
        std::fs::write(&other, bytes).unwrap();
    };
    for (one, other) in [(&first[0], &first[1]), (&first[0], &second[0])] {
        swap(one, other);
        let damaged = site.list().await.damaged;
        assert_eq!(damaged.len(), 2);
        assert!(damaged.iter().all(|damage| damage.reason.contains("lies where that of")), "{damaged:?}");
        swap(one, other);
    }
    assert_eq!(site.list().await.damaged, []);
    // Two data objects that trade places have the wrong checksum, if not the wrong length.
    let data = |backup: &Backup| site.folder_of(backup).join(&backup.manifest.data.name);
    std::fs::copy(data(&first[0]), data(&second[1])).unwrap();
    assert!(is_damaged(&site.verify(&second[1]).await));
}

#[tokio::test]
async fn a_proof_that_is_damaged_or_of_another_backup_proves_nothing() {
    let site = Site::new(TWO).await;
    let backups = site.backups().await;
    let proof = |backup: &Backup| site.folder_of(backup).join("verified.json");
    std::fs::copy(proof(&backups[0]), proof(&backups[1])).unwrap();
    flip(&proof(&backups[0]), 10, 1);
    assert!(site.list().await.backups.iter().all(|backup| backup.verified.is_none()));
    for backup in &backups {
        site.verify(backup).await.unwrap();
    }
    assert!(site.list().await.backups.iter().all(|backup| backup.verified.is_some()));
}

#[tokio::test]
async fn a_backup_is_found_by_the_beginning_of_its_name() {
    let site = Site::new(ONE).await;
    let (older, newer) = (site.backups().await.remove(0), site.backups().await.remove(0));
    let users = service("users");
    assert_eq!(catalog::find(&site.store, &users, None).await.unwrap().id(), newer.id());
    let name = older.id().as_str();
    assert_eq!(catalog::find(&site.store, &users, Some(name)).await.unwrap().id(), older.id());
    let several = catalog::find(&site.store, &users, Some(&name[..4])).await;
    assert!(matches!(several, Err(BackupError::Several { .. })), "{several:?}");
    for wanted in ["", "19990101T000000Z-00000000", "x"] {
        let none = catalog::find(&site.store, &users, Some(wanted)).await;
        assert!(matches!(none, Err(BackupError::None { .. })), "{none:?}");
    }
    let none = catalog::find(&site.store, &service("other"), None).await;
    assert!(matches!(none, Err(BackupError::None { .. })), "{none:?}");
}
