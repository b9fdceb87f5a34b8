//! What a server must allow, and what is said when it does not.

use std::path::PathBuf;
use std::time::Duration;

use pgisle_engine::backup::cluster;
use pgisle_engine::backup::create::Event;
use pgisle_engine::postgres::RunLock;
use pgisle_engine::postgres::lock::Scope;
use pgisle_testkit::{Cluster, skip};

use super::super::site::{ONE, Site, files};
use super::{create, request, site_on, try_create};
use crate::apply::{Project, rendered};
use crate::postgres::login;

async fn refused(site: &Site, is_incremental: bool) -> String {
    let text = rendered(&try_create(site, is_incremental).await.unwrap_err());
    assert_eq!(files(&site.root()), Vec::<PathBuf>::new(), "nothing was written: {text}");
    text
}

#[tokio::test]
async fn an_administrator_without_replication_is_told_what_a_dba_must_run() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::plain(&cluster, ONE).await;
        let mut site = Site::with(cluster, project).await;
        let text = refused(&site, false).await;
        assert!(text.contains("PI0840") && text.contains("ALTER ROLE \"platform\" REPLICATION;"), "{text}");
        // With what the message says, it works, and the verifiers that it may not read are left out of the script.
        site.cluster.psql("ALTER ROLE \"platform\" REPLICATION; ALTER ROLE \"platform\" PASSWORD 'new'").await;
        site.project.connect = login(&site.cluster, "platform", "new");
        let backup = create(&site).await;
        assert!(!backup.manifest.has_role_passwords);
        let packed = std::fs::read(super::object(&site, &backup, "globals.sql.zst")).unwrap();
        let script = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
        assert!(script.contains("CREATE ROLE link_users_owner") && !script.contains("SCRAM-SHA-256$"), "{script}");
    }
}

#[tokio::test]
async fn all_that_is_missing_is_told_at_once() {
    let cluster = Cluster::builder().conf("wal_level", "minimal").conf("max_wal_senders", "0").start().await;
    let project = Project::plain(&cluster, ONE).await;
    let site = Site::with(cluster, project).await;
    let place = tempfile::Builder::new().prefix("space").tempdir_in(site.cluster.data_dir().parent().unwrap()).unwrap();
    let owner = std::fs::metadata(site.cluster.data_dir()).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    std::os::unix::fs::chown(place.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
    site.cluster.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", place.path().display())).await;
    let text = refused(&site, false).await;
    for expected in ["PI0840", "PI0841", "wal_level is minimal", "max_wal_senders is 0", "PI0842", "\"fast\""] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_for_replication_is_told() {
    let cluster = Cluster::builder().hba("host all all 127.0.0.1/32 scram-sha-256").start().await;
    let project = Project::new(&cluster, ONE);
    let site = Site::with(cluster, project).await;
    let text = refused(&site, false).await;
    assert!(text.contains("PI0841") && text.contains("host replication"), "{text}");
}

#[tokio::test]
async fn an_incremental_one_takes_a_server_that_makes_them_and_something_to_stand_on() {
    let majors = pgisle_testkit::majors().await;
    for major in majors.iter().copied().filter(|major| *major < 17) {
        let text = refused(&site_on(major, ONE).await, true).await;
        assert!(text.contains("PI0843") && text.contains("PostgreSQL 17"), "{text}");
    }
    let Some(major) = majors.into_iter().find(|major| *major >= 17) else { skip!("PostgreSQL 17 is not installed") };
    let cluster = Cluster::builder().major(major).start().await;
    let project = Project::new(&cluster, ONE);
    let site = Site::with(cluster, project).await;
    let text = refused(&site, true).await;
    assert!(text.contains("PI0843") && text.contains("ALTER SYSTEM SET summarize_wal = on"), "{text}");
    site.cluster.reload_with("summarize_wal", "on").await;
    let text = refused(&site, true).await;
    assert!(text.contains("PI0843") && text.contains("pgisle backup create -cluster"), "{text}");
    // A backup of another cluster is nothing to stand on.
    let other = site_on(major, ONE).await;
    // Clusters with other flags have another template, and with it another identity.
    let cluster = Cluster::builder().major(major).conf("summarize_wal", "on").initdb("--data-checksums").start().await;
    let project = Project::new(&cluster, ONE);
    let mut stranger = Site::with(cluster, project).await;
    stranger.store = other.store.clone();
    create(&other).await;
    let text = rendered(&try_create(&stranger, true).await.unwrap_err());
    assert!(text.contains("PI0843"), "{text}");
}

#[tokio::test]
async fn one_at_a_time() {
    let site = Site::new(ONE).await;
    let lock = RunLock::acquire_scope(Scope::Backup, &site.project.connect, "backup", Duration::ZERO, &|_| {}).await.unwrap();
    let text = refused(&site, false).await;
    assert!(text.contains("PI0804"), "{text}");
    // With patience, the second waits for the first.
    let mut patient = request(&site, false);
    patient.lock_timeout = Duration::from_secs(20);
    let waited = std::sync::atomic::AtomicBool::new(false);
    let events = |event: Event<'_>| {
        if matches!(event, Event::WaitingForLock { .. }) {
            waited.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let releasing = async {
        while !waited.load(std::sync::atomic::Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lock.release().await;
    };
    let (made, ()) = tokio::join!(cluster::create(&patient, &events), releasing);
    assert!(made.is_ok(), "{made:?}");
    // Two that begin together come one after the other.
    let (one, other) = tokio::join!(cluster::create(&patient, &|_| {}), cluster::create(&patient, &|_| {}));
    assert_ne!(one.unwrap().backup.id(), other.unwrap().backup.id());
}
