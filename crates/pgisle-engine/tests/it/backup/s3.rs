//! The same on a server that speaks S3.

use std::io::Write as _;
use std::process::Child;
use std::time::{Duration, Instant};

use pgisle_core::backup::{UPLOAD_FORMAT, UploadNote, seal};
use pgisle_core::spec::Environment;
use pgisle_engine::backup::{BackupError, BackupStore, S3Environment, StoreError, prune};
use pgisle_engine::local::server::free_port;
use pgisle_engine::process::Invocation;
use pgisle_testkit::skip;
use tempfile::TempDir;

use super::NASTY;
use super::site::{Site, TWO, files};
use crate::apply::rendered;
use pgisle_engine::local::find_program;

const KEY: &str = "pgisle";
const SECRET: &str = "only-for-tests";

/// A server of its own, with one bucket.
pub(super) struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    pub(super) async fn start() -> Option<Self> {
        let program = find_program("s3s-fs")?;
        let (folder, port) = (TempDir::new().unwrap(), free_port().unwrap());
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let server = Invocation::new(program).arguments(["--host", "127.0.0.1", "--port", &port.to_string()]);
        let server = server.arguments(["--access-key", KEY, "--secret-key", SECRET]).argument(folder.path());
        let child = server.clean_environment().start(&folder.path().join("server.log")).unwrap();
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the S3 server does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Self { child, port, folder })
    }

    /// A store in its bucket.
    pub(super) fn open(&self) -> BackupStore {
        self.store(SECRET)
    }

    /// Where it keeps its objects, as plain files.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn store(&self, secret: &str) -> BackupStore {
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let environment = S3Environment::from_environment(variables);
        BackupStore::open("s3://bucket/some/prefix", "link", Environment::Development, &environment).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test]
async fn objects_are_whole_or_not_there() {
    let Some(server) = Server::start().await else { skip!("s3s-fs is not installed") };
    // More than one part, and less.
    for bytes in [20_000_000, 1_000] {
        super::store::exercise(&server.store(SECRET), bytes).await;
        server.store(SECRET).delete(&pgisle_engine::backup::Key::parse("status.json").unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn backups_are_made_listed_verified_and_pruned_there() {
    let Some(server) = Server::start().await else { skip!("s3s-fs is not installed") };
    let mut site = Site::new(TWO).await;
    site.fill("users", NASTY).await;
    site.fill("chat", "CREATE TABLE large AS SELECT g, md5('a' || g) || md5('b' || g) AS x FROM generate_series(1, 300000) AS g")
        .await;
    site.store = server.store(SECRET);
    let backups = site.backups().await;
    assert!(backups[0].manifest.data.bytes > 8 << 20, "in several parts: {}", backups[0].manifest.data.bytes);
    let listing = site.list().await;
    assert_eq!((listing.backups.as_slice(), listing.damaged.len(), listing.leftovers.len()), (backups.as_slice(), 0, 0));
    for backup in &backups {
        site.verify(backup).await.unwrap();
    }
    // The server keeps plain files, so a disk that forgets a bit can be played.
    let data = files(server.folder.path()).into_iter().find(|path| path.ends_with(&backups[0].manifest.data.name)).unwrap();
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

/// Files of the server's own that hold parts of uploads, or say that there are uploads.
fn parts(server: &Server) -> usize {
    let entries = std::fs::read_dir(server.folder()).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_string_lossy().starts_with(".upload")).count()
}

#[tokio::test]
async fn an_upload_that_has_not_ended_is_found_and_called_off() {
    let Some(server) = Server::start().await else { skip!("s3s-fs is not installed") };
    let store = server.open();
    let key = pgisle_engine::backup::Key::parse("services/users/x/data").unwrap();
    let mut writer = store.writer(&key, 0, Some("7")).await.unwrap();
    let writer = tokio::task::spawn_blocking(move || writer.write_all(&vec![1; 20 << 20]).map(|()| writer)).await.unwrap().unwrap();
    let started = Instant::now();
    // What says that there is one, and its two whole parts: none is on its way when it is called off, and arrives behind that.
    while parts(&server) < 3 {
        assert!(started.elapsed() < Duration::from_secs(10), "no part comes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unfinished = store.unfinished().await.unwrap();
    let [one] = unfinished.as_slice() else { panic!("{unfinished:?}") };
    assert_eq!((one.key.as_str(), one.service()), ("services/users/x/data", Some(super::site::service("users"))));
    let now = pgisle_engine::clock::now();
    assert!(one.is_abandoned(Some("7"), now) && !one.is_abandoned(Some("8"), now) && !one.is_abandoned(None, now));
    store.call_off(one).await.unwrap();
    assert_eq!((parts(&server), store.unfinished().await.unwrap()), (0, Vec::new()));
    // Whoever was at it all the same, its lock being lost, is told, and leaves nothing.
    let error = tokio::task::spawn_blocking(move || writer.finish()).await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    assert_eq!((parts(&server), store.list(&pgisle_engine::backup::Key::ROOT).await.unwrap()), (0, Vec::new()));

    // A run that was killed when its upload had just ended leaves a note of an upload that is not there any more.
    let mut writer = store.writer(&key, 0, Some("7")).await.unwrap();
    tokio::task::spawn_blocking(move || writer.write_all(&vec![1; 20 << 20]).map(|()| writer.finish()))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((parts(&server), store.unfinished().await.unwrap()), (0, Vec::new()));
    let (key, upload_id) = (key.to_string(), "7b1c9b5e-2f0c-4a53-9a39-0d6b3f6d3f0e".to_owned());
    let note = UploadNote { format: UPLOAD_FORMAT, key, upload_id, begun: now, cluster: None };
    store.put(&pgisle_engine::backup::Key::parse("uploads/one.json").unwrap(), seal(&note).into_bytes()).await.unwrap();
    store.call_off(&store.unfinished().await.unwrap()[0]).await.unwrap();
    let left = store.list(&pgisle_engine::backup::Key::ROOT).await.unwrap();
    assert_eq!(left.iter().map(|listed| (listed.key.as_str(), listed.bytes)).collect::<Vec<_>>(), [(note.key.as_str(), 20 << 20)]);
}

#[tokio::test]
async fn a_wrong_key_is_told_and_not_shown() {
    let Some(server) = Server::start().await else { skip!("s3s-fs is not installed") };
    let store = server.store("not-the-secret");
    let error = store.put(&pgisle_engine::backup::Key::parse("status.json").unwrap(), vec![1]).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    let text = error.diagnostic().to_string();
    assert!(text.contains("PI0801") && !text.contains("not-the-secret"), "{text}");
}
