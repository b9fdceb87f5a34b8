//! The archive of the write-ahead log: what is there is what the server gave, and nothing takes its place.

use std::fs;
use std::path::{Path, PathBuf};

use age::x25519::Identity;
use pgisle_core::backup::Retention;
use pgisle_core::backup::wal::WalName;
use pgisle_core::moment::{DAY_S, Moment};
use pgisle_engine::backup::wal::{self, WalError};
use pgisle_engine::backup::{BackupStore, Key, cluster, prune};
use pgisle_engine::credential::IdentitySource;
use pgisle_testkit::{Cluster, skip};
use tempfile::TempDir;

use super::sealed::key;
use super::site::files;
use super::store::folder_store;

/// A cluster, a place for files, and a store.
struct Site {
    cluster: Cluster,
    folder: TempDir,
    store: BackupStore,
}

impl Site {
    async fn new() -> Self {
        let (cluster, folder) = (Cluster::start().await, TempDir::new().unwrap());
        let store = folder_store(&folder.path().join("store"));
        Self { cluster, folder, store }
    }

    /// Fills a segment, and gives its path.
    async fn segment(&self) -> PathBuf {
        let name =
            self.cluster.psql("SELECT pg_logical_emit_message(false, 'x', 'y'); SELECT pg_walfile_name(pg_switch_wal())").await;
        self.cluster.data_dir().join("pg_wal").join(name.lines().last().unwrap())
    }

    async fn archive(&self, path: &Path, recipients: &[String]) -> Result<wal::Archived, WalError> {
        wal::archive(&self.store, path, recipients).await
    }

    async fn fetch(&self, name: &str, identities: &IdentitySource) -> Result<Vec<u8>, WalError> {
        let to = self.folder.path().join("fetched");
        let _none = fs::remove_file(&to);
        let result = wal::fetch(&self.store, WalName::parse(name).unwrap(), &to, identities).await;
        assert_eq!(result.is_ok(), to.exists(), "it is written when all is well, and only then");
        result.map(|()| fs::read(&to).unwrap())
    }

    fn stored(&self, end: &str) -> PathBuf {
        let all = files(&self.folder.path().join("store"));
        all.into_iter().find(|path| path.to_str().unwrap().ends_with(end)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn none() -> IdentitySource {
    IdentitySource::from_environment(|_| None)
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[tokio::test]
async fn what_was_archived_is_fetched_and_nothing_takes_its_place() {
    let site = Site::new().await;
    let path = site.segment().await;
    let raw = fs::read(&path).unwrap();
    assert!(site.archive(&path, &[]).await.unwrap().is_new);
    assert_eq!(site.fetch(name(&path), &none()).await.unwrap(), raw);
    let before: Vec<_> = files(site.folder.path()).iter().map(|path| fs::read(path).unwrap()).collect();
    let again = site.archive(&path, &[]).await.unwrap();
    assert!(!again.is_new && again.raw_bytes == raw.len() as u64);
    // A segment of the same name, as another server would have it.
    let mut other = raw.clone();
    *other.last_mut().unwrap() ^= 1;
    let other = site.write(name(&path), &other);
    assert!(matches!(site.archive(&other, &[]).await, Err(WalError::Conflict { .. })));
    fs::remove_file(other).unwrap();
    assert_eq!(files(site.folder.path()).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), before);
    assert!(matches!(site.fetch("0000000100000000000000FF", &none()).await, Err(WalError::Absent { .. })));

    let listing = wal::catalog::list(&site.store).await.unwrap();
    assert_eq!(listing.segments.keys().map(ToString::to_string).collect::<Vec<_>>(), [name(&path)]);
    assert_eq!((listing.size.unwrap().bytes(), listing.leftovers.len(), listing.runs().len()), (raw.len() as u64, 0, 1));
}

#[tokio::test]
async fn what_is_in_doubt_is_refused() {
    let site = Site::new().await;
    let path = site.segment().await;
    let raw = fs::read(&path).unwrap();
    let good = name(&path).to_owned();
    let of_next = format!("{}{}", &good[..good.len() - 1], if good.ends_with('F') { 'E' } else { 'F' });
    for (name, bytes) in [
        ("data.txt", raw.as_slice()),
        (of_next.as_str(), raw.as_slice()),
        (good.as_str(), &raw[..raw.len() / 2]),
        (good.as_str(), &[0; 1 << 20]),
        (good.as_str(), b""),
        ("00000002.history", b"this is none\n"),
        ("00000002.history", b""),
        ("000000010000000000000002.00000028.backup", b""),
    ] {
        let path = site.write(name, bytes);
        let result = site.archive(&path, &[]).await;
        assert!(matches!(result, Err(WalError::Content { .. } | WalError::Name(_))), "{name}: {result:?}");
    }
    assert!(matches!(site.archive(Path::new("/nowhere/000000010000000000000002"), &[]).await, Err(WalError::Read { .. })));
    assert_eq!(wal::catalog::list(&site.store).await.unwrap().objects.len(), 0);
    let history = site.write("00000002.history", b"1\t0/3000000\tno recovery target specified\n");
    let label = site.write("000000010000000000000002.00000028.backup", b"START WAL LOCATION: 0/2000028\n");
    let partial = site.write(&format!("{good}.partial"), &raw);
    for path in [&history, &label, &partial] {
        site.archive(path, &[]).await.unwrap();
        assert_eq!(site.fetch(name(path), &none()).await.unwrap(), fs::read(path).unwrap());
    }
    let listing = wal::catalog::list(&site.store).await.unwrap();
    assert_eq!((listing.segments.len(), listing.histories.len(), listing.objects.len()), (0, 1, 3));
}

#[tokio::test]
async fn damage_is_told_and_mended_by_archiving_again() {
    let site = Site::new().await;
    let path = site.segment().await;
    site.archive(&path, &[]).await.unwrap();
    let data = site.stored(".zst");
    let whole = fs::read(&data).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damage in [Some(flipped), Some(whole[..whole.len() - 1].to_vec()), Some(Vec::new()), None] {
        match &damage {
            Some(bytes) => fs::write(&data, bytes).unwrap(),
            None => fs::remove_file(&data).unwrap(),
        }
        let result = site.fetch(name(&path), &none()).await;
        assert!(matches!(result, Err(WalError::Damaged { .. })), "{result:?}");
        assert!(site.archive(&path, &[]).await.unwrap().is_new);
        assert_eq!(site.fetch(name(&path), &none()).await.unwrap(), fs::read(&path).unwrap());
    }
    // A seal that lies where another belongs.
    let next = site.segment().await;
    site.archive(&next, &[]).await.unwrap();
    let seal = |path: &Path| site.stored(&format!("{}.json", name(path)));
    fs::copy(seal(&path), seal(&next)).unwrap();
    assert!(matches!(site.fetch(name(&next), &none()).await, Err(WalError::Damaged { .. })));
    assert!(matches!(site.archive(&next, &[]).await, Err(WalError::Damaged { .. })));
}

#[tokio::test]
async fn an_archive_is_encrypted_but_for_the_histories() {
    let site = Site::new().await;
    let path = site.segment().await;
    let (one, stranger) = (Identity::generate(), Identity::generate());
    let recipients = [one.to_public().to_string()];
    site.archive(&path, &recipients).await.unwrap();
    assert!(fs::read(site.stored(".zst.age")).unwrap().starts_with(b"age-encryption.org"));
    assert!(matches!(site.fetch(name(&path), &none()).await, Err(WalError::KeyMissing { .. })));
    assert!(matches!(site.fetch(name(&path), &key(&stranger)).await, Err(WalError::KeyWrong { .. })));
    assert_eq!(site.fetch(name(&path), &key(&one)).await.unwrap(), fs::read(&path).unwrap());
    // The server's machine need not have the key to see that it is there.
    assert!(!site.archive(&path, &recipients).await.unwrap().is_new);
    let history = site.write("00000002.history", b"1\t0/3000000\tno recovery target specified\n");
    site.archive(&history, &recipients).await.unwrap();
    assert_eq!(wal::catalog::list(&site.store).await.unwrap().histories[0].0.timeline, 2);
}

#[tokio::test]
async fn what_others_put_there_counts_too() {
    let site = Site::new().await;
    let (plain, compressed) = (site.segment().await, site.segment().await);
    let wal = site.folder.path().join("store/link-development/wal");
    fs::create_dir_all(wal.join("00000001")).unwrap();
    fs::copy(&plain, wal.join(name(&plain))).unwrap();
    let zstd = zstd::encode_all(fs::read(&compressed).unwrap().as_slice(), 3).unwrap();
    fs::write(wal.join("00000001").join(format!("{}.zst", name(&compressed))), &zstd).unwrap();
    for path in [&plain, &compressed] {
        assert_eq!(site.fetch(name(path), &none()).await.unwrap(), fs::read(path).unwrap());
    }
    let listing = wal::catalog::list(&site.store).await.unwrap();
    assert_eq!((listing.segments.len(), listing.runs().len(), listing.size.unwrap().bytes()), (2, 1, 1 << 20));
    // One that is cut, and one that is another's.
    fs::write(wal.join(name(&plain)), &fs::read(&plain).unwrap()[..1000]).unwrap();
    assert!(matches!(site.fetch(name(&plain), &none()).await, Err(WalError::Damaged { .. })));
    fs::copy(&compressed, wal.join(name(&plain))).unwrap();
    assert!(matches!(site.fetch(name(&plain), &none()).await, Err(WalError::Damaged { .. })));
}

#[tokio::test]
async fn the_archive_is_in_s3_too() {
    let Some(server) = pgisle_testkit::S3Server::start().await else { skip!("s3s-fs is not installed") };
    let mut site = Site::new().await;
    site.store = super::s3::open(&server);
    let path = site.segment().await;
    assert!(site.archive(&path, &[]).await.unwrap().is_new);
    assert!(!site.archive(&path, &[]).await.unwrap().is_new);
    assert_eq!(site.fetch(name(&path), &none()).await.unwrap(), fs::read(&path).unwrap());
    let mut other = fs::read(&path).unwrap();
    *other.last_mut().unwrap() ^= 1;
    let other = site.write(name(&path), &other);
    assert!(matches!(site.archive(&other, &[]).await, Err(WalError::Conflict { .. })));
    assert!(matches!(site.fetch("0000000100000000000000FF", &none()).await, Err(WalError::Absent { .. })));
    let listing = wal::catalog::list(&site.store).await.unwrap();
    assert_eq!(listing.segments.len(), 1);
    let there = Key::parse("wal/00000001/x.json").unwrap();
    assert!(site.store.put_new(&there, b"one".to_vec()).await.unwrap());
}

/// Log that no backup of the cluster needs goes, and all that one needs which stays is there.
#[tokio::test]
async fn what_no_kept_backup_needs_is_pruned() {
    let site = super::site::Site::new(super::site::ONE).await;
    let archive = async || {
        site.cluster.psql("SELECT pg_current_xact_id()").await;
        let path = site.cluster.data_dir().join("pg_wal").join(site.cluster.psql("SELECT pg_walfile_name(pg_switch_wal())").await);
        wal::archive(&site.store, &path, &[]).await.unwrap().name
    };
    let back_up = async || {
        let request = cluster::ClusterRequest {
            spec: &site.project.spec,
            connect: &site.project.connect,
            store: &site.store,
            identities: &site.identities,
            is_incremental: false,
            lock_timeout: std::time::Duration::ZERO,
        };
        cluster::create(&request, &|_| {}).await.unwrap().backup
    };
    let due_in_days = async |days: u64| {
        let now = Moment::from_unix_s(pgisle_engine::clock::now().unix_s() + days * DAY_S);
        prune::due(&site.store, Retention { days: 1, minimum: 1 }, &[], now).await.unwrap()
    };
    archive().await;
    // Without a backup of the cluster nothing goes, however old.
    assert_eq!(due_in_days(1000).await.wal.unwrap().files, 0);
    let first = back_up().await;
    let between = [archive().await, archive().await];
    // Windows are told by the second, and those that meet are one.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let second = back_up().await;
    let after = archive().await;
    let listing = cluster::list(&site.store).await.unwrap();
    let windows = wal::windows(&site.store, &listing, &wal::catalog::list(&site.store).await.unwrap()).await.unwrap();
    // The segments that the backups ended in were never archived here.
    assert_eq!(windows.len(), 2, "{windows:?}");
    assert!(due_in_days(0).await.wal.unwrap().before.is_some(), "what came before the first backup");
    let due = due_in_days(10).await;
    assert_eq!(due.cluster.as_ref().unwrap().expired[0].id, *first.id());
    let wal_due = due.wal.unwrap();
    assert_eq!((wal_due.files, wal_due.kept), (3, 1));
    wal::prune::remove(&site.store, &wal_due).await.unwrap();
    let left = wal::catalog::list(&site.store).await.unwrap();
    let names: Vec<WalName> = left.segments.keys().map(|segment| WalName::Segment(*segment)).collect();
    assert_eq!(names, [after], "of {between:?} and what {} needs", second.id());
    assert_eq!(left.leftovers, []);
    assert_eq!(due_in_days(10).await.wal.unwrap().bytes, 0);
}
