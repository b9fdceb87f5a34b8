//! A destroy looks for the backup of what it drops.

use pgisle_core::name::ServiceName;
use pgisle_core::plan::{DestroyScope, Target};
use pgisle_engine::apply::{self, Applied, Intent, Request};
use pgisle_testkit::Cluster;

use super::NASTY;
use super::site::{Site, TWO, service};
use crate::apply::{Project, rendered};

async fn destroy(site: &Site) -> Applied {
    let targets = [Target::Service(service("users"))];
    let intent = Intent::Destroy(DestroyScope { force: false });
    let request = Request { intent, targets: &targets, backups: Some(&site.store), ..site.project.request() };
    let applied = apply::run(&request, &|_| {}).await.unwrap();
    assert!(applied.diagnostics().is_empty(), "{}", rendered(&applied.diagnostics()));
    applied
}

/// Why it was not dropped.
async fn refusal(site: &Site) -> String {
    let applied = destroy(site).await;
    let blocked: Vec<_> = applied.planned.report.blocked.into_iter().map(|blocked| blocked.diagnostic).collect();
    assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_database WHERE datname = 'link_users'").await, "1");
    rendered(&blocked)
}

async fn site(is_plain: bool, major: u32) -> Site {
    let cluster = Cluster::builder().major(major).start().await;
    let project = if is_plain { Project::plain(&cluster, TWO).await } else { Project::new(&cluster, TWO) };
    Site::with(cluster, project).await
}

#[tokio::test]
async fn what_a_proved_backup_holds_is_dropped_and_nothing_else_is() {
    for (number, major) in pgisle_testkit::majors().await.into_iter().enumerate() {
        let site = site(number % 2 == 1, major).await;
        site.fill("users", NASTY).await;
        let text = refusal(&site).await;
        assert!(text.contains("PI0312") && text.contains("There is no proved backup of it in"), "{text}");
        assert!(text.contains("pgisle backup create -service=users"), "{text}");

        let backups = site.backups().await;
        let id = backups.iter().find(|backup| backup.service().as_str() == "users").unwrap().id().clone();
        // A row more.
        site.fill("users", "CREATE TABLE IF NOT EXISTS extra (n int)").await;
        let text = refusal(&site).await;
        assert!(text.contains(&format!("Its newest proved backup is {id}. Held against that: table ")), "{text}");
        assert!(text.contains("extra"), "{text}");
        site.fill("users", "DROP TABLE extra; CREATE TABLE small (n int); INSERT INTO small VALUES (1)").await;
        site.backups().await;
        site.fill("users", "UPDATE small SET n = 2").await;
        let text = refusal(&site).await;
        assert!(text.contains("table \"public\".\"small\" has the right number of rows, 1, and other content"), "{text}");
        site.fill("users", "UPDATE small SET n = 1").await;

        // Somebody may write at any moment.
        let writer = site.cluster.connect_to("link_users").await;
        let text = refusal(&site).await;
        assert!(text.contains("1 session is in the database and may write"), "{text}");
        drop(writer);
        while site.cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'link_users'").await != "0" {}

        let applied = destroy(&site).await;
        assert!(applied.planned.report.blocked.is_empty());
        let told = rendered(&applied.planned.diagnostics);
        assert!(told.contains("PI0316") && told.contains("holds what database \"link_users\" holds"), "{told}");
        assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_database WHERE datname = 'link_users'").await, "0");
        assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_database WHERE datname = 'link_chat'").await, "1");
        let listed = site.list().await.backups;
        assert_eq!(listed.iter().filter(|backup| *backup.service() == service("users")).count(), 2);
    }
}

#[tokio::test]
async fn a_backup_that_is_not_proved_or_not_readable_is_none() {
    let site = site(false, pgisle_testkit::majors().await[0]).await;
    site.fill("users", "CREATE TABLE t AS SELECT 1 AS n").await;
    let backups = site.backups().await;
    let users: ServiceName = service("users");
    let backup = backups.iter().find(|backup| *backup.service() == users).unwrap();
    std::fs::remove_file(site.folder_of(backup).join("verified.json")).unwrap();
    let text = refusal(&site).await;
    assert!(text.contains("There is no proved backup"), "{text}");
    site.verify(backup).await.unwrap();
    let data = site.folder_of(backup).join(&backup.manifest.data.name);
    std::fs::File::options().write(true).open(&data).unwrap().set_len(10).unwrap();
    let text = refusal(&site).await;
    assert!(text.contains("There is no proved backup"), "{text}");
    // A place that is no folder cannot be looked into.
    let folder = site.root().join("services");
    std::fs::rename(&folder, site.root().join("away")).unwrap();
    std::fs::write(&folder, "").unwrap();
    let text = refusal(&site).await;
    assert!(text.contains("whether it has a backup is not known") || text.contains("There is no proved backup"), "{text}");
}
