//! What is kept, what goes, and what a run that fails leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use pgisle_core::backup::{self, BackupId, Lsn};
use pgisle_core::moment::{DAY_S, Moment};
use pgisle_engine::backup::catalog::{Proof, Verified};
use pgisle_engine::backup::cluster::{self, ClusterBackup};
use pgisle_engine::backup::prune;
use pgisle_engine::backup::report::{self, Status};
use pgisle_engine::clock;
use pgisle_testkit::skip;

use super::super::disk::SmallDisk;
use super::super::site::{ONE, Site, files};
use super::super::store::folder_store;
use super::{create, list, object, request, try_create};
use crate::apply::rendered;

/// A copy of a backup as if it had been made so many days ago.
fn aged(site: &Site, source: &ClusterBackup, days: u64, parent: Option<&BackupId>) -> BackupId {
    let begun = Moment::from_unix_s(source.id().begun().unix_s() - days * DAY_S);
    let id = BackupId::new(begun, u32::try_from(days).unwrap());
    let mut manifest = source.manifest.clone();
    (manifest.id, manifest.begun, manifest.parent) = (id.clone(), begun, parent.cloned());
    manifest.start_lsn = Lsn::from_bytes(source.manifest.start_lsn.bytes() - days * 8);
    let folder = site.root().join("cluster").join(id.as_str());
    fs::create_dir_all(&folder).unwrap();
    for stored in source.manifest.objects() {
        fs::copy(object(site, source, &stored.name), folder.join(&stored.name)).unwrap();
    }
    let sealed = backup::seal(&manifest);
    fs::write(folder.join("manifest.json"), &sealed).unwrap();
    let proof = Verified { at: begun, how: Proof::Stored, manifest_sha256: backup::checksum(sealed.as_bytes()) };
    fs::write(folder.join("verified.json"), backup::seal(&proof)).unwrap();
    id
}

async fn ids(site: &Site) -> Vec<BackupId> {
    let listing = list(site).await;
    assert_eq!(listing.damaged, []);
    listing.backups.iter().map(|backup| backup.id().clone()).collect()
}

#[tokio::test]
async fn old_ones_go_and_the_full_one_below_a_kept_one_stays() {
    let site = Site::new(&format!("backup_retention_days = 30\nbackup_minimum_count = 1\n{ONE}")).await;
    let newest = create(&site).await;
    let old_full = aged(&site, &newest, 90, None);
    let old_child = aged(&site, &newest, 80, Some(&old_full));
    let needed = aged(&site, &newest, 60, None);
    let middle = aged(&site, &newest, 50, Some(&needed));
    let kept = aged(&site, &newest, 10, Some(&middle));
    assert_eq!(ids(&site).await.len(), 6);
    let (settings, wait) = (&site.project.spec.settings, Duration::ZERO);
    let before = files(&site.root());
    let due = prune::due(&site.store, prune::retention(settings), &[], clock::now()).await.unwrap();
    assert_eq!(files(&site.root()), before, "looking changes nothing");
    let services = [super::super::site::service("users")];
    let of_service = prune::due(&site.store, prune::retention(settings), &services, clock::now()).await.unwrap();
    assert_eq!(of_service.cluster, None, "who asks for a service gets a service");
    assert_eq!(prune::prune(&site.store, &site.project.connect, settings, &[], wait, &|_| {}).await.unwrap(), due);
    let cluster = due.cluster.as_ref().unwrap();
    assert_eq!(cluster.expired.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), [old_full, old_child]);
    assert_eq!((cluster.kept, due.bytes()), (4, 2 * newest.manifest.stored_bytes()));
    assert_eq!(ids(&site).await, [needed, middle, kept, newest.id().clone()]);
}

#[tokio::test]
async fn the_outcome_is_written_down_for_those_who_were_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let command = format!("printf %s \\\"$PGISLE_SERVICE:$PGISLE_FAILURE\\\" > {}", told.display());
    let site = Site::new(&format!("backup_on_failure = \"{command}\"\n{ONE}")).await;
    let begun = clock::now();
    let made = cluster::create(&request(&site, false), &|_| {}).await;
    let status = Status::of_cluster(begun, &made);
    assert_eq!(report::publish(&site.store, &site.project.spec.settings, &status).await, []);
    assert_eq!(report::last(&site.store).await.unwrap(), Some(status.clone()));
    let backup = made.unwrap().backup;
    let log = fs::read_to_string(site.root().join("backup.log")).unwrap();
    assert!(log.contains(&format!("ok cluster backup={} bytes={}", backup.id(), backup.manifest.stored_bytes())), "{log}");
    let settings = &site.project.spec.settings;
    let metrics = report::metrics(settings, &site.list().await, &list(&site).await, &BTreeMap::new(), Some(&status));
    let stamp = format!(
        "pgisle_backup_cluster_last_verified_timestamp_seconds{{project=\"link\",environment=\"development\"}} {}\n",
        backup.id().begun().unix_s()
    );
    assert!(metrics.contains(&stamp), "{metrics}");
    assert!(
        metrics.contains("pgisle_backup_cluster_last_run_success{project=\"link\",environment=\"development\"} 1\n"),
        "{metrics}"
    );
    // A failure is told in the same places.
    let failed = cluster::create(&request(&site, true), &|_| {}).await;
    let status = Status::of_cluster(begun, &failed);
    assert!(!status.succeeded && status.failures().count() == 1, "{status:?}");
    assert!(!told.exists());
    assert_eq!(report::publish(&site.store, settings, &status).await, []);
    let told = fs::read_to_string(told).unwrap();
    assert!(told.starts_with(":PI0843 "), "{told}");
    let metrics = report::metrics(settings, &site.list().await, &list(&site).await, &BTreeMap::new(), Some(&status));
    assert!(
        metrics.contains("pgisle_backup_cluster_last_run_success{project=\"link\",environment=\"development\"} 0\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_nothing() {
    let site = Site::new(ONE).await;
    site.fill("users", "CREATE TABLE large AS SELECT g, md5(g::text) AS x FROM generate_series(1, 400000) AS g").await;
    let begun = std::sync::atomic::AtomicBool::new(false);
    let events = |_: pgisle_engine::backup::create::Event<'_>| begun.store(true, std::sync::atomic::Ordering::Relaxed);
    let killing = async {
        // The first event comes a fifth of a second after the beginning.
        while !begun.load(std::sync::atomic::Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        site.cluster.kill_server();
    };
    let request = request(&site, false);
    let (made, ()) = tokio::join!(cluster::create(&request, &events), killing);
    match made {
        // It may have been faster.
        Ok(_) => {}
        Err(found) => {
            let text = rendered(&found);
            assert!(text.contains("PI0844") || text.contains("PI0208"), "{text}");
            assert_eq!(files(&site.root()), Vec::<PathBuf>::new());
        }
    }
    site.cluster.restart().await;
    create(&site).await;
}

#[tokio::test]
async fn an_interrupted_run_leaves_no_backup_and_is_cleared_away() {
    let site = Site::new(ONE).await;
    {
        let request = request(&site, false);
        let mut run = Box::pin(cluster::create(&request, &|_| {}));
        let waiting = async {
            while files(&site.root()).is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = &mut run => panic!("it cannot be so fast"),
            () = waiting => {}
        }
        // As Ctrl-C does.
        drop(run);
    }
    let listing = list(&site).await;
    assert_eq!((listing.backups.len(), listing.damaged.len()), (0, 0));
    create(&site).await;
}

#[tokio::test]
async fn a_disk_that_fills_leaves_nothing_and_one_that_would_is_not_begun() {
    let Some(disk) = SmallDisk::mount(36).await else { skip!("no file system may be mounted here") };
    let mut site = Site::new(ONE).await;
    site.store = folder_store(disk.path());
    let before = create(&site).await;
    // What was small last time is expected to be small; these bytes cannot be compressed.
    site.cluster.psql_in("link_users", "CREATE EXTENSION pgcrypto SCHEMA public").await;
    site.fill("users", "CREATE TABLE large AS SELECT public.gen_random_bytes(1000) AS x FROM generate_series(1, 40000)").await;
    let text = rendered(&try_create(&site, false).await.unwrap_err());
    assert!(text.contains("PI0801") && text.contains("No space left"), "{text}");
    let listing = list(&site).await;
    assert_eq!((listing.backups, listing.leftovers), (vec![before.clone()], vec![]));
    cluster::verify(&site.store, &before, &site.identities, &|_| {}).await.unwrap();
    let into = disk.path().join("data");
    let refused = super::try_unpack(&site, &before, &into).await.unwrap_err().diagnostic().to_string();
    assert!(refused.contains("PI0806") && !into.exists(), "{refused}");

    let Some(smaller) = SmallDisk::mount(20).await else { skip!("no second file system may be mounted here") };
    site.store = folder_store(smaller.path());
    let text = rendered(&try_create(&site, false).await.unwrap_err());
    assert!(text.contains("PI0806"), "{text}");
    assert_eq!(files(smaller.path()), Vec::<PathBuf>::new());
}
