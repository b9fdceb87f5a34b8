//! The same on a server that speaks S3.

use std::io::Write as _;
use std::time::{Duration, Instant};

use pgisle_core::backup::{UPLOAD_FORMAT, UploadNote, seal};
use pgisle_core::spec::Environment;
use pgisle_engine::backup::{BackupError, BackupStore, S3Environment, StoreError, prune};
use pgisle_testkit::{S3Server, skip};

use super::NASTY;
use super::site::{Site, TWO, files};
use crate::apply::rendered;

/// A store in the server's bucket.
pub(super) fn open(server: &S3Server) -> BackupStore {
    store(server.variables())
}

fn store(variables: [(&str, String); 4]) -> BackupStore {
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    let environment = S3Environment::from_environment(variables);
    BackupStore::open("s3://bucket/some/prefix", "link", Environment::Development, &environment).unwrap()
}

#[tokio::test]
async fn objects_are_whole_or_not_there() {
    let Some(server) = S3Server::start().await else { skip!("s3s-fs is not installed") };
    // More than one part, and less.
    for bytes in [20_000_000, 1_000] {
        super::store::exercise(&open(&server), bytes).await;
        open(&server).delete(&pgisle_engine::backup::Key::parse("status.json").unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn backups_are_made_listed_verified_and_pruned_there() {
    let Some(server) = S3Server::start().await else { skip!("s3s-fs is not installed") };
    let mut site = Site::new(TWO).await;
    site.fill("users", NASTY).await;
    site.fill("chat", "CREATE TABLE large AS SELECT g, md5('a' || g) || md5('b' || g) AS x FROM generate_series(1, 300000) AS g")
        .await;
    site.store = open(&server);
    let backups = site.backups().await;
    assert!(backups[0].manifest.data.bytes > 8 << 20, "in several parts: {}", backups[0].manifest.data.bytes);
    let listing = site.list().await;
    assert_eq!((listing.backups.as_slice(), listing.damaged.len(), listing.leftovers.len()), (backups.as_slice(), 0, 0));
    for backup in &backups {
        site.verify(backup).await.unwrap();
    }
    // The server keeps plain files, so a disk that forgets a bit can be played.
    let data = files(server.folder()).into_iter().find(|path| path.ends_with(&backups[0].manifest.data.name)).unwrap();
    let mut bytes = std::fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let result = site.verify(&backups[0]).await;
    assert!(matches!(result, Err(BackupError::Damaged { .. })), "{result:?}");
    // An upload of long ago that may not be called off keeps nothing else from being done.
    let (key, upload_id) = ("services/users/x/data".to_owned(), "7b1c9b5e-2f0c-4a53-9a39-0d6b3f6d3f0e".to_owned());
    let begun = pgisle_core::moment::Moment::from_unix_s(1);
    let note = UploadNote { format: UPLOAD_FORMAT, key, upload_id, begun, cluster: None };
    site.store.put(&pgisle_engine::backup::Key::parse("uploads/one.json").unwrap(), seal(&note).into_bytes()).await.unwrap();
    let made = site.create().await;
    assert!(made.services.iter().all(|one| one.outcome.is_ok()));
    let (settings, wait) = (&site.project.spec.settings, Duration::ZERO);
    let pruned = prune::prune(&site.store, &site.project.connect, settings, &[], wait, &|_| {}).await.unwrap();
    assert_eq!((pruned.kept, pruned.uploads.len()), (4, 0));
    for told in [made.warnings, pruned.warnings] {
        let text = rendered(&told);
        assert!(text.contains("PI0801") && text.contains("s3:AbortMultipartUpload"), "{text}");
    }
    for object in site.store.list(&pgisle_engine::backup::Key::ROOT).await.unwrap() {
        site.store.delete(&object.key).await.unwrap();
    }
    assert!(site.list().await.backups.is_empty());
}

#[tokio::test]
async fn an_upload_that_has_not_ended_is_found_and_called_off() {
    let Some(server) = S3Server::start().await else { skip!("s3s-fs is not installed") };
    let store = open(&server);
    let key = pgisle_engine::backup::Key::parse("services/users/x/data").unwrap();
    let mut writer = store.writer(&key, 0, Some("7")).await.unwrap();
    let writer = tokio::task::spawn_blocking(move || writer.write_all(&vec![1; 20 << 20]).map(|()| writer)).await.unwrap().unwrap();
    let started = Instant::now();
    // What says that there is one, and its two whole parts: none is on its way when it is called off, and arrives behind that.
    while server.parts() < 3 {
        assert!(started.elapsed() < Duration::from_secs(10), "no part comes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unfinished = store.unfinished().await.unwrap();
    let [one] = unfinished.as_slice() else { panic!("{unfinished:?}") };
    assert_eq!((one.key.as_str(), one.service()), ("services/users/x/data", Some(super::site::service("users"))));
    let now = pgisle_engine::clock::now();
    assert!(one.is_abandoned(Some("7"), now) && !one.is_abandoned(Some("8"), now) && !one.is_abandoned(None, now));
    store.call_off(one).await.unwrap();
    assert_eq!((server.parts(), store.unfinished().await.unwrap()), (0, Vec::new()));
    // Whoever was at it all the same, its lock being lost, is told, and leaves nothing.
    let error = tokio::task::spawn_blocking(move || writer.finish()).await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    assert_eq!((server.parts(), store.list(&pgisle_engine::backup::Key::ROOT).await.unwrap()), (0, Vec::new()));

    // A run that was killed when its upload had just ended leaves a note of an upload that is not there any more.
    let mut writer = store.writer(&key, 0, Some("7")).await.unwrap();
    tokio::task::spawn_blocking(move || writer.write_all(&vec![1; 20 << 20]).map(|()| writer.finish()))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((server.parts(), store.unfinished().await.unwrap()), (0, Vec::new()));
    let (key, upload_id) = (key.to_string(), "7b1c9b5e-2f0c-4a53-9a39-0d6b3f6d3f0e".to_owned());
    let note = UploadNote { format: UPLOAD_FORMAT, key, upload_id, begun: now, cluster: None };
    store.put(&pgisle_engine::backup::Key::parse("uploads/one.json").unwrap(), seal(&note).into_bytes()).await.unwrap();
    store.call_off(&store.unfinished().await.unwrap()[0]).await.unwrap();
    let left = store.list(&pgisle_engine::backup::Key::ROOT).await.unwrap();
    assert_eq!(left.iter().map(|listed| (listed.key.as_str(), listed.bytes)).collect::<Vec<_>>(), [(note.key.as_str(), 20 << 20)]);
}

#[tokio::test]
async fn a_wrong_key_is_told_and_not_shown() {
    let Some(server) = S3Server::start().await else { skip!("s3s-fs is not installed") };
    let store = store(
        server
            .variables()
            .map(|(name, value)| (name, if name == "AWS_SECRET_ACCESS_KEY" { "not-the-secret".to_owned() } else { value })),
    );
    let error = store.put(&pgisle_engine::backup::Key::parse("status.json").unwrap(), vec![1]).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    let text = error.diagnostic().to_string();
    assert!(text.contains("PI0801") && !text.contains("not-the-secret"), "{text}");
}
