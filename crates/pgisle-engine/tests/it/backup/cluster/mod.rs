//! Backups of a whole cluster: copied, unpacked, and started again.

mod busy;
mod damage;
mod demands;
mod kept;
mod s3;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgisle_core::backup::cluster::INCREMENTAL_MAJOR;
use pgisle_core::diagnostic::Diagnostic;
use pgisle_engine::backup::BackupError;
use pgisle_engine::backup::catalog::Proof;
use pgisle_engine::backup::cluster::{self, Checked, ClusterBackup, ClusterListing, ClusterRequest};
use pgisle_engine::backup::verify::Depth;
use pgisle_engine::credential::IdentitySource;
use pgisle_engine::local::ClientPrograms;
use pgisle_testkit::Cluster;

use super::NASTY;
use super::site::{ONE, Site, TWO, service};
use crate::apply::{Project, rendered};

/// A site on a server of this major version.
async fn site_on(major: u32, text: &str) -> Site {
    let builder = Cluster::builder().major(major);
    let builder = if major < INCREMENTAL_MAJOR { builder } else { builder.conf("summarize_wal", "on") };
    let cluster = builder.start().await;
    let project = Project::new(&cluster, text);
    Site::with(cluster, project).await
}

fn request(site: &Site, is_incremental: bool) -> ClusterRequest<'_> {
    ClusterRequest {
        spec: &site.project.spec,
        connect: &site.project.connect,
        store: &site.store,
        identities: &site.identities,
        is_incremental,
        lock_timeout: Duration::ZERO,
    }
}

async fn try_create(site: &Site, is_incremental: bool) -> Result<ClusterBackup, Vec<Diagnostic>> {
    cluster::create(&request(site, is_incremental), &|_| {}).await.map(|made| made.backup)
}

async fn create(site: &Site) -> ClusterBackup {
    try_create(site, false).await.unwrap_or_else(|found| panic!("{}", rendered(&found)))
}

async fn add(site: &Site) -> ClusterBackup {
    try_create(site, true).await.unwrap_or_else(|found| panic!("{}", rendered(&found)))
}

async fn list(site: &Site) -> ClusterListing {
    cluster::list(&site.store).await.unwrap()
}

/// The file of one of a backup's objects.
fn object(site: &Site, backup: &ClusterBackup, name: &str) -> PathBuf {
    site.root().join("cluster").join(backup.id().as_str()).join(name)
}

async fn try_unpack(site: &Site, backup: &ClusterBackup, into: &Path) -> Result<(), BackupError> {
    let programs = ClientPrograms::find(backup.manifest.server_major).await.unwrap();
    cluster::unpack(&site.store, backup, &site.identities, &programs, into, &|_, _| {}).await
}

/// Starts a server on what a backup unpacks to.
async fn revive(site: &Site, backup: &ClusterBackup) -> Cluster {
    let fill = async |data: &Path| try_unpack(site, backup, data).await.unwrap_or_else(|error| panic!("{}", error.diagnostic()));
    Cluster::builder().major(backup.manifest.server_major).start_from(site.cluster.password(), fill).await
}

fn is_private(path: &Path) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
    assert_eq!(metadata.mode() & 0o7777, expected, "{}", path.display());
    assert!(metadata.is_dir() || metadata.is_file(), "{}", path.display());
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            is_private(&entry.unwrap().path());
        }
    }
}

#[tokio::test]
async fn a_cluster_comes_back_on_every_major_with_what_changed_since() {
    for major in pgisle_testkit::majors().await {
        let site = site_on(major, TWO).await;
        site.fill("users", NASTY).await;
        site.fill("chat", "CREATE TABLE lines AS SELECT g, md5(g::text) AS x FROM generate_series(1, 5000) AS g").await;
        let full = create(&site).await;
        let manifest = &full.manifest;
        assert_eq!((manifest.server_major, manifest.parent.as_ref(), manifest.timeline), (major, None, 1));
        let identifier = site.cluster.psql("SELECT system_identifier FROM pg_control_system()").await;
        assert_eq!(manifest.system_identifier, identifier);
        assert_eq!(
            manifest.wal_segment_bytes.to_string(),
            site.cluster.psql("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'").await
        );
        assert!(manifest.start_lsn < manifest.stop_lsn && manifest.begun <= manifest.stopped);
        let database = manifest.database_of(&service("users")).unwrap();
        let oid = site.cluster.psql("SELECT oid FROM pg_database WHERE datname = 'link_users'").await;
        assert_eq!((database.name.as_str(), database.oid.to_string()), ("link_users", oid));
        assert_eq!(full.verified.as_ref().map(|verified| verified.how), Some(Proof::Stored));
        let listing = list(&site).await;
        assert_eq!((listing.backups.as_slice(), listing.damaged.len(), listing.leftovers.len()), (&[full.clone()][..], 0, 0));
        let mut last = full.clone();
        if major >= INCREMENTAL_MAJOR {
            for step in 1..=2 {
                site.fill(
                    "chat",
                    &format!("INSERT INTO lines VALUES ({step}, 'later'); DELETE FROM lines WHERE g = 5000 - {step}"),
                )
                .await;
                let next = add(&site).await;
                assert_eq!(next.manifest.parent.as_ref(), Some(last.id()));
                assert!(next.manifest.base.raw_bytes < full.manifest.base.raw_bytes / 2, "{:?}", next.manifest.base);
                last = next;
            }
        }
        let expected = site.cluster.psql_in("link_chat", "SELECT count(*), sum(g), min(x) FROM lines").await;
        let roles = "SELECT string_agg(rolname || coalesce(rolpassword, ''), ' ' ORDER BY rolname) FROM pg_authid";
        let roles_then = site.cluster.psql(roles).await;
        // What comes after the backup is not in it.
        site.fill("chat", "TRUNCATE lines").await;
        let revived = revive(&site, &last).await;
        assert_eq!(revived.psql_in("link_chat", "SELECT count(*), sum(g), min(x) FROM lines").await, expected);
        assert_eq!(revived.psql(roles).await, roles_then);
        is_private(&revived.data_dir().join("base"));
        let checked = cluster::verify_deep(&site.store, &last, &site.identities, &|_, _| {}).await.unwrap();
        let program = revived.installation().bin.join("pg_verifybackup");
        assert_eq!(checked, if program.is_file() { Checked::Whole } else { Checked::ByUs { major } });
        assert_eq!(list(&site).await.get(last.id()).unwrap().verified.as_ref().unwrap().how, Proof::Unpacked);
    }
}

#[tokio::test]
async fn the_roles_come_as_a_script_that_psql_takes() {
    let site = Site::new(ONE).await;
    let backup = create(&site).await;
    assert!(backup.manifest.has_role_passwords);
    let packed = std::fs::read(object(&site, &backup, "globals.sql.zst")).unwrap();
    let script = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
    assert!(script.contains("CREATE ROLE link_users_owner") && script.contains("SCRAM-SHA-256$"), "{script}");
    let other = Cluster::start().await;
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), script.replace("CREATE ROLE postgres;", "")).unwrap();
    let psql = other.installation().invocation("psql").arguments(["-X", "-v", "ON_ERROR_STOP=1", "-f"]).argument(path.path());
    let psql = psql.argument("-h").argument(other.socket_dir()).argument("-p").argument(other.port().to_string());
    let password = pgisle_core::secret::Secret::new(other.password());
    psql.arguments(["-U", "postgres", "postgres"]).secret_environment("PGPASSWORD", &password).run().await.unwrap();
    assert_eq!(other.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'link_users_owner'").await, "1");
}

#[tokio::test]
async fn an_encrypted_one_opens_to_its_recipients_alone() {
    use age::secrecy::ExposeSecret as _;
    let identity = age::x25519::Identity::generate();
    let recipients = format!("backup_recipients = [\"{}\"]\n{ONE}", identity.to_public());
    let mut site = Site::new(&recipients).await;
    site.fill("users", "CREATE TABLE t AS SELECT 7 AS x").await;
    let backup = create(&site).await;
    for name in ["base.tar.zst.age", "backup_manifest.zst.age", "globals.sql.zst.age"] {
        assert!(std::fs::read(object(&site, &backup, name)).unwrap().starts_with(b"age-encryption.org/v1"), "{name}");
    }
    let verify = async |site: &Site| cluster::verify(&site.store, &backup, &site.identities, &|_| {}).await.unwrap();
    assert_eq!(verify(&site).await, Depth::Stored);
    let folder = tempfile::tempdir().unwrap();
    let refused = try_unpack(&site, &backup, &folder.path().join("data")).await;
    assert!(matches!(refused, Err(BackupError::KeyMissing { .. })), "{refused:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let text = identity.to_string().expose_secret().to_owned();
    site.identities = IdentitySource::from_environment(|name| (name == "PGISLE_AGE_IDENTITY").then(|| text.clone().into()));
    assert_eq!(verify(&site).await, Depth::Decoded);
    assert_eq!(revive(&site, &backup).await.psql_in("link_users", "SELECT x FROM t").await, "7");
}

#[tokio::test]
async fn only_an_empty_folder_is_unpacked_into() {
    let site = Site::new(ONE).await;
    let backup = create(&site).await;
    let folder = tempfile::tempdir().unwrap();
    let (taken, link, file) = (folder.path().join("taken"), folder.path().join("link"), folder.path().join("file"));
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("precious"), "x").unwrap();
    std::os::unix::fs::symlink(&taken, &link).unwrap();
    std::fs::write(&file, "x").unwrap();
    for into in [&taken, &link, &file] {
        let refused = try_unpack(&site, &backup, into).await.unwrap_err().diagnostic().to_string();
        assert!(refused.contains("PI0846"), "{refused}");
    }
    assert_eq!(std::fs::read(taken.join("precious")).unwrap(), b"x");
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    try_unpack(&site, &backup, &empty).await.unwrap();
    is_private(&empty);
    let missing = folder.path().join("no/such/place");
    assert!(try_unpack(&site, &backup, &missing).await.is_err());
}
