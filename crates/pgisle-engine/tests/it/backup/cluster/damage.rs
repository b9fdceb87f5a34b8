//! Whatever happens to a cluster's backup in the store is told.

use std::fs;
use std::path::Path;

use pgisle_engine::backup::BackupError;
use pgisle_engine::backup::cluster::{self, ClusterBackup};

use super::super::site::{ONE, Site};
use super::{add, create, list, object, site_on, try_create, try_unpack};
use crate::apply::rendered;

/// How many places of an object are tried.
const PLACES: usize = 20;

const OBJECTS: [&str; 3] = ["base.tar.zst", "backup_manifest.zst", "globals.sql.zst"];

fn flip(path: &Path, place: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[place] ^= 1 << (place % 8);
    fs::write(path, bytes).unwrap();
}

async fn verify(site: &Site, backup: &ClusterBackup) -> Result<(), BackupError> {
    cluster::verify(&site.store, backup, &site.identities, &|_| {}).await.map(drop)
}

fn is_damaged<T: std::fmt::Debug>(result: &Result<T, BackupError>) -> bool {
    matches!(result, Err(BackupError::Damaged { .. }))
}

#[tokio::test]
async fn any_flipped_bit_of_any_object_is_told() {
    let site = Site::new(ONE).await;
    let backup = create(&site).await;
    for name in OBJECTS {
        let path = object(&site, &backup, name);
        let length = fs::read(&path).unwrap().len();
        let places = [0, 1, 4, 9, length - 5, length - 1].into_iter().chain((10..length - 10).step_by(length / PLACES));
        for place in places {
            flip(&path, place);
            let result = verify(&site, &backup).await;
            assert!(is_damaged(&result), "{name} byte {place} of {length}: {result:?}");
            flip(&path, place);
        }
        assert_eq!(list(&site).await.newest_proved(), None, "what was found damaged counts for retention no more");
        verify(&site, &backup).await.unwrap();
        assert!(list(&site).await.newest_proved().is_some());
    }
    let manifest = object(&site, &backup, "manifest.json");
    for place in (0..fs::read(&manifest).unwrap().len()).step_by(37) {
        flip(&manifest, place);
        let listing = list(&site).await;
        assert_eq!((listing.backups.len(), listing.damaged.len()), (0, 1), "byte {place}");
        flip(&manifest, place);
    }
    assert_eq!(list(&site).await.backups.len(), 1);
}

#[tokio::test]
async fn what_is_missing_or_cut_is_told_by_the_list_already_and_never_unpacked() {
    let site = Site::new(ONE).await;
    let backup = create(&site).await;
    let folder = tempfile::tempdir().unwrap();
    for name in OBJECTS {
        let path = object(&site, &backup, name);
        let whole = fs::read(&path).unwrap();
        for changed in [Some(&whole[..whole.len() - 1]), Some(&[][..]), Some(&[&whole[..], b"\0"].concat()[..]), None] {
            match changed {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let listing = list(&site).await;
            assert_eq!((listing.backups.len(), listing.damaged.len(), listing.leftovers.len()), (0, 1, 0), "{name}");
            assert!(listing.damaged[0].reason.contains(name), "{:?}", listing.damaged);
            assert!(is_damaged(&verify(&site, &backup).await), "{name}");
            assert!(is_damaged(&cluster::find(&site.store, None).await), "{name}");
        }
        fs::write(&path, whole).unwrap();
    }
    // Changed after it was listed: the bytes that come out decide.
    let path = object(&site, &backup, "base.tar.zst");
    let length = fs::read(&path).unwrap().len();
    flip(&path, length / 2);
    let into = folder.path().join("data");
    assert!(is_damaged(&try_unpack(&site, &backup, &into).await));
    assert!(!into.exists(), "nothing is left of it");
    fs::remove_file(object(&site, &backup, "manifest.json")).unwrap();
    let listing = list(&site).await;
    assert_eq!((listing.backups.len(), listing.damaged.len(), listing.leftovers.len()), (0, 0, 1), "without a manifest it is none");
}

#[tokio::test]
async fn manifests_and_objects_that_trade_places_are_told() {
    let site = Site::new(ONE).await;
    let (one, other) = (create(&site).await, create(&site).await);
    let swap = |name: &str| {
        let (one, other) = (object(&site, &one, name), object(&site, &other, name));
        let bytes = fs::read(&one).unwrap();
        fs::copy(&other, &one).unwrap();
        fs::write(&other, bytes).unwrap();
    };
    swap("manifest.json");
    let damaged = list(&site).await.damaged;
    assert_eq!(damaged.len(), 2);
    assert!(damaged.iter().all(|damage| damage.reason.contains("lies where that of")), "{damaged:?}");
    swap("manifest.json");
    swap("verified.json");
    assert_eq!(list(&site).await.newest_proved(), None, "a proof is of one backup alone");
    swap("verified.json");
    swap("base.tar.zst");
    assert!(is_damaged(&verify(&site, &one).await) && is_damaged(&verify(&site, &other).await));
    swap("base.tar.zst");
    verify(&site, &one).await.unwrap();
    verify(&site, &other).await.unwrap();
}

#[tokio::test]
async fn what_stands_on_a_damaged_one_is_damaged_and_is_not_stood_on() {
    if !pgisle_testkit::majors().await.contains(&17) {
        pgisle_testkit::skip!("PostgreSQL 17 is not installed");
    }
    let site = site_on(17, ONE).await;
    let full = create(&site).await;
    let child = add(&site).await;
    let grandchild = add(&site).await;
    let path = object(&site, &full, "base.tar.zst");
    flip(&path, 1000);
    assert!(is_damaged(&verify(&site, &full).await));
    // Its own bytes are whole, and what it stands on is not.
    verify(&site, &grandchild).await.unwrap();
    assert_eq!(list(&site).await.newest_proved(), None);
    let deep = cluster::verify_deep(&site.store, &grandchild, &site.identities, &|_, _| {}).await;
    assert!(matches!(&deep, Err(BackupError::Damaged { id, .. }) if id == full.id()), "{deep:?}");
    let refused = rendered(&try_create(&site, true).await.unwrap_err());
    assert!(refused.contains("PI0843"), "{refused}");
    flip(&path, 1000);
    verify(&site, &full).await.unwrap();
    // Gone altogether, it takes the others with it.
    fs::remove_dir_all(object(&site, &child, "")).unwrap();
    let listing = list(&site).await;
    assert_eq!((listing.backups.len(), listing.damaged.len()), (1, 1));
    assert!(listing.damaged[0].reason.contains(child.id().as_str()), "{:?}", listing.damaged);
    let folder = tempfile::tempdir().unwrap();
    assert!(is_damaged(&try_unpack(&site, &grandchild, &folder.path().join("data")).await));
    // The next one stands on what is whole.
    assert_eq!(add(&site).await.manifest.parent.as_ref(), Some(full.id()));
}

/// The header of a tar's entry.
fn header(path: &str, kind: u8, link: &str, bytes: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..path.len()].copy_from_slice(path.as_bytes());
    block[100..108].copy_from_slice(b"0000777\0");
    block[124..136].copy_from_slice(format!("{bytes:011o} ").as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[tokio::test]
async fn a_hostile_tar_writes_nothing_outside_of_the_folder() {
    let site = Site::new(ONE).await;
    let backup = create(&site).await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().display().to_string();
    let evil = format!("{target}/evil");
    let file = |path: &str| [header(path, b'0', "", 4), [b"evil".as_slice(), &[0; 508]].concat()].concat();
    let tars = [
        [header("pg_tblspc/1", b'2', &target, 0), file("pg_tblspc/1/evil")].concat(),
        [header("evil", b'1', &evil, 0), file("evil")].concat(),
        file("../evil"),
        file("base/../../evil"),
        file(&evil),
        [header("base/", b'5', "", 0), header("base", b'2', &target, 0), file("base/evil")].concat(),
        header("fifo", b'6', "", 0),
        [file("twice"), file("twice")].concat(),
    ];
    for (number, tar) in tars.into_iter().enumerate() {
        let tar = [tar, vec![0; 1024]].concat();
        let packed = zstd::encode_all(tar.as_slice(), 1).unwrap();
        // Whoever writes the store can seal what they like; nobody else is trusted with it, and still.
        let mut forged = backup.clone();
        let base = &mut forged.manifest.base;
        (base.bytes, base.raw_bytes) = (packed.len() as u64, tar.len() as u64);
        base.sha256 = pgisle_core::backup::checksum(&packed);
        fs::write(object(&site, &backup, "base.tar.zst"), &packed).unwrap();
        fs::write(object(&site, &backup, "manifest.json"), pgisle_core::backup::seal(&forged.manifest)).unwrap();
        let into = outside.path().join("in").join("data");
        fs::create_dir_all(into.parent().unwrap()).unwrap();
        let result = try_unpack(&site, &forged, &into).await;
        assert!(is_damaged(&result), "tar {number}: {result:?}");
        assert!(!into.exists(), "tar {number} left something");
        let left: Vec<_> = fs::read_dir(outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["in"], "tar {number} wrote outside");
        assert_eq!(fs::read_dir(outside.path().join("in")).unwrap().count(), 0, "tar {number}");
    }
}
