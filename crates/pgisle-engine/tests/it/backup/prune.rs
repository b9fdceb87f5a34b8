//! What may go goes, what is needed stays, and the last one always does.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use pgisle_core::backup::{self, BackupId, Retention};
use pgisle_core::moment::{DAY_S, Moment};
use pgisle_engine::backup::catalog::{Backup, Proof, Verified};
use pgisle_engine::backup::cluster::ClusterListing;
use pgisle_engine::backup::{prune, report};
use pgisle_engine::clock;

use super::site::{Site, TWO, files, service};

/// A copy of a backup as if it had been made so many days ago.
fn aged(site: &Site, backup: &Backup, days: u64, is_verified: bool) -> BackupId {
    let begun = Moment::from_unix_s(backup.id().begun().unix_s() - days * DAY_S);
    let id = BackupId::new(begun, u32::try_from(days).unwrap());
    let mut manifest = backup.manifest.clone();
    (manifest.id, manifest.begun) = (id.clone(), begun);
    let folder = site.root().join("services").join(backup.service().as_str()).join(id.as_str());
    std::fs::create_dir_all(&folder).unwrap();
    let data = &manifest.data.name;
    std::fs::copy(site.folder_of(backup).join(data), folder.join(data)).unwrap();
    let sealed = backup::seal(&manifest);
    std::fs::write(folder.join("manifest.json"), &sealed).unwrap();
    if is_verified {
        let proof = Verified { at: begun, how: Proof::Stored, manifest_sha256: backup::checksum(sealed.as_bytes()) };
        std::fs::write(folder.join("verified.json"), backup::seal(&proof)).unwrap();
    }
    id
}

async fn prune_now(site: &Site) -> prune::Due {
    let (settings, wait) = (&site.project.spec.settings, Duration::ZERO);
    prune::prune(&site.store, &site.project.connect, settings, &[], wait, &|_| {}).await.unwrap()
}

async fn ids(site: &Site, name: &str) -> Vec<BackupId> {
    let listing = site.list().await;
    listing.backups.iter().filter(|backup| *backup.service() == service(name)).map(|backup| backup.id().clone()).collect()
}

#[tokio::test]
async fn old_backups_go_down_to_the_minimum_of_each_service() {
    let site = Site::new(&format!("backup_retention_days = 30\nbackup_minimum_count = 2\n{TWO}")).await;
    let backups = site.backups().await;
    let (chat, users) = (&backups[0], &backups[1]);
    let oldest = aged(&site, users, 90, true);
    let unproved = aged(&site, users, 60, false);
    let old = aged(&site, users, 40, true);
    let chats = aged(&site, chat, 400, true);
    let retention = prune::retention(&site.project.spec.settings);
    let due = prune::due(&site.store, retention, &[service("chat")], clock::now()).await.unwrap();
    assert_eq!((due.expired.len(), due.kept), (0, 2), "the minimum stays however old it is");
    let before = files(&site.root());
    let due = prune::due(&site.store, retention, &[], clock::now()).await.unwrap();
    assert_eq!(files(&site.root()), before, "looking changes nothing");
    assert_eq!(prune_now(&site).await, due);
    assert_eq!(due.expired.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), [oldest.clone(), unproved.clone()]);
    assert_eq!(ids(&site, "users").await, [old, users.id().clone()]);
    assert_eq!(ids(&site, "chat").await, [chats, chat.id().clone()]);
    assert!(!site.root().join("services/users").join(oldest.as_str()).exists(), "nor does its folder stay");
    // A clock that has gone mad takes nothing that is needed.
    let mad = Moment::from_unix_s(u64::from(u32::MAX));
    let due = prune::due(&site.store, Retention { days: 1, minimum: 2 }, &[], mad).await.unwrap();
    assert_eq!(due.expired, []);
}

#[tokio::test]
async fn rests_go_when_they_are_a_day_old_and_damage_stays_to_be_looked_at() {
    let site = Site::new(TWO).await;
    let backup = site.backups().await.remove(0);
    let young = aged(&site, &backup, 10, false);
    let old = aged(&site, &backup, 20, false);
    let damaged = aged(&site, &backup, 300, true);
    let folder = |id: &BackupId| site.root().join("services/chat").join(id.as_str());
    for id in [&young, &old] {
        std::fs::remove_file(folder(id).join("manifest.json")).unwrap();
    }
    std::fs::write(folder(&damaged).join(&backup.manifest.data.name), "x").unwrap();
    let data = folder(&old).join(&backup.manifest.data.name);
    let yesterday = SystemTime::now() - Duration::from_secs(DAY_S + 60);
    std::fs::File::options().write(true).open(&data).unwrap().set_modified(yesterday).unwrap();
    let due = prune_now(&site).await;
    assert_eq!(due.leftovers.iter().map(|leftover| &leftover.id).collect::<Vec<_>>(), [&old]);
    assert!(!folder(&old).exists() && folder(&young).exists() && folder(&damaged).exists());
    let listing = site.list().await;
    assert_eq!((listing.leftovers.len(), listing.damaged.len()), (1, 1));
}

#[tokio::test]
async fn the_outcome_is_written_down_for_those_who_were_not_there() {
    let command = "echo \"$PGISLE_SERVICE: $PGISLE_FAILURE\" >> told.txt";
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told.txt");
    let command = command.replace("told.txt", told.to_str().unwrap()).replace('"', "\\\"");
    let mut site = Site::new(TWO).await;
    site.project.rewrite(&format!("backup_on_failure = \"{command}\"\n{TWO}service \"later\" {{\n}}\n"));
    let begun = clock::now();
    let made = Ok(site.create().await);
    let status = report::Status::of_create(begun, &made);
    assert!(!status.succeeded);
    assert_eq!(report::publish(&site.store, &site.project.spec.settings, &status).await, vec![]);
    assert_eq!(report::last(&site.store).await.unwrap(), Some(status.clone()));
    let log = std::fs::read_to_string(site.root().join("backup.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[0].contains(" ok service=chat backup=") && lines[1].contains(" FAILED service=later PI0811 "), "{log}");
    assert!(std::fs::read_to_string(&told).unwrap().starts_with("later: PI0811 "));
    let metrics = report::metrics(
        &site.project.spec.settings,
        &site.list().await,
        &ClusterListing::default(),
        &BTreeMap::new(),
        Some(&status),
    );
    for line in [
        "pgisle_backup_last_run_success{project=\"link\",environment=\"development\",service=\"later\"} 0",
        "pgisle_backup_last_run_success{project=\"link\",environment=\"development\",service=\"users\"} 1",
        "# TYPE pgisle_backup_last_verified_timestamp_seconds gauge",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}:\n{metrics}");
    }
    // A command that fails is told, and changes no backup.
    site.project.rewrite(&format!("backup_on_failure = \"exit 3\"\n{TWO}"));
    let warnings = report::publish(&site.store, &site.project.spec.settings, &status).await;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].to_string().contains("PI0812"), "{}", warnings[0]);
}
