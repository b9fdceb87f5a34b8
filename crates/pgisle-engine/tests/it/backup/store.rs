//! The store as a folder and, where a server for it is at hand, as S3: an object is there whole or not at all.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use pgisle_core::spec::Environment;
use pgisle_engine::backup::{BackupStore, Key, S3Environment, StoreError};

pub(super) fn folder_store(folder: &Path) -> BackupStore {
    BackupStore::open(folder.to_str().unwrap(), "link", Environment::Development, &S3Environment::default()).unwrap()
}

fn key(text: &str) -> Key {
    Key::parse(text).unwrap()
}

/// What every kind of store must do.
pub(super) async fn exercise(store: &BackupStore, bytes: usize) {
    assert_eq!(store.read(&key("status.json")).await.unwrap(), None);
    assert_eq!(store.list(&Key::ROOT).await.unwrap(), []);
    assert!(matches!(store.reader(&key("a/b")).await.unwrap_err(), StoreError::Missing { .. }));
    store.put(&key("status.json"), b"one".to_vec()).await.unwrap();
    store.put(&key("status.json"), b"two".to_vec()).await.unwrap();
    assert_eq!(store.read(&key("status.json")).await.unwrap().unwrap(), b"two");

    let content: Vec<u8> = (0..bytes).map(|place| u8::try_from(place * 7 % 251).unwrap()).collect();
    let mut writer = store.writer(&key("services/users/x/data"), bytes as u64, None).await.unwrap();
    let abandoned = store.writer(&key("services/users/y/data"), 0, None).await.unwrap();
    let written = content.clone();
    tokio::task::spawn_blocking(move || {
        let mut abandoned = abandoned;
        abandoned.write_all(&written).unwrap();
        drop(abandoned);
        for piece in written.chunks(70_001) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap();
    })
    .await
    .unwrap();
    let mut reader = store.reader(&key("services/users/x/data")).await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    assert!(read.await.unwrap().unwrap() == content);

    let listed = store.list(&key("services")).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((listed[0].key.as_str(), listed[0].bytes, listed[0].is_partial), ("services/users/x/data", bytes as u64, false));
    for _ in 0..2 {
        store.delete(&key("services/users/x/data")).await.unwrap();
    }
    assert_eq!(store.list(&key("services")).await.unwrap(), []);
}

#[tokio::test]
async fn a_folder_holds_whole_objects_that_only_their_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder_store(folder.path());
    exercise(&store, 3_000_000).await;
    let path = folder.path().join("link-development");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&path.join("status.json"))), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1, "empty folders are gone");
    assert!(store.free_bytes().await.unwrap().unwrap() > 0);
}

#[tokio::test]
async fn a_writer_that_was_killed_leaves_what_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder_store(folder.path());
    let mut writer = store.writer(&key("services/users/x/data"), 0, None).await.unwrap();
    writer.write_all(b"half").unwrap();
    // As a kill does, without its destructors.
    std::mem::forget(writer);
    let listed = store.list(&Key::ROOT).await.unwrap();
    assert_eq!(listed.iter().map(|one| (one.bytes, one.is_partial)).collect::<Vec<_>>(), [(4, true)]);
    store.delete(&listed[0].key).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("link-development")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_location_that_is_none_is_refused() {
    let environment =
        |pairs: &[(&str, &str)]| S3Environment::from_environment(pairs.iter().map(|(name, value)| (name.into(), value.into())));
    let keys = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "hidden-value")];
    let open = |location: &str, more: &[(&str, &str)]| {
        BackupStore::open(location, "link", Environment::Production, &environment(&[&keys[..], more].concat()))
    };
    for (location, endpoint) in [("s3://", ""), ("s3://bucket//x", ""), ("s3://bucket/x", "http://storage.example.org")] {
        let error = open(location, &[("AWS_ENDPOINT_URL", endpoint)]).unwrap_err();
        assert!(matches!(error, StoreError::Location { .. }), "{location}: {error}");
        assert!(!error.diagnostic().to_string().contains("hidden-value"));
    }
    for endpoint in ["http://localhost:9000", "http://127.0.0.1:9000/", "http://[::1]:9000", "https://storage.example.org"] {
        let store = open("s3://bucket/some/prefix/", &[("AWS_ENDPOINT_URL", endpoint)]).unwrap();
        assert_eq!(store.location(), "s3://bucket/some/prefix/link-production");
        assert!(!format!("{store:?}").contains("hidden-value"), "a secret shows");
    }
    open("s3://bucket/x", &[("AWS_ENDPOINT_URL", "http://storage.example.org"), ("AWS_ALLOW_HTTP", "true")]).unwrap();
}
