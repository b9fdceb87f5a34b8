//! What is made is what the databases held, and only what is whole is ever said to be there.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use pgisle_core::backup::archive;
use pgisle_core::backup::{Compression, DumpFormat};
use pgisle_engine::backup::catalog::{Backup, Proof};
use pgisle_engine::backup::create;
use pgisle_testkit::Cluster;

use super::NASTY;
use super::site::{ONE, Site, TWO, failure, files, service};
use crate::apply::Project;

async fn raw(site: &Site, backup: &Backup) -> Vec<u8> {
    let mut reader = backup.open(&site.store, &site.identities).await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    read.await.unwrap().unwrap()
}

#[tokio::test]
async fn every_service_is_dumped_read_back_and_listed() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::new(&cluster, TWO);
        let site = Site::with(cluster, project).await;
        site.fill("users", NASTY).await;
        let backups = site.backups().await;
        let names: Vec<&str> = backups.iter().map(|backup| backup.service().as_str()).collect();
        assert_eq!(names, ["chat", "users"]);
        let listing = site.list().await;
        assert_eq!((listing.backups.len(), listing.damaged.len(), listing.leftovers.len()), (2, 0, 0));
        assert_eq!(listing.backups, backups);
        for backup in &backups {
            assert_eq!(backup.verified.as_ref().map(|verified| verified.how), Some(Proof::Stored));
            let read = archive::read(raw(&site, backup).await.as_slice()).unwrap();
            assert_eq!(read.content, backup.manifest.content, "{major}");
        }
        let users = &backups[1].manifest;
        assert_eq!(users.content.rows(), 2000 + 2 + 1 + 3 + 100 + 3 + 2 + 2, "{major}: {:?}", users.content.tables);
        assert_eq!((users.content.large_objects.count, users.content.large_objects.bytes), (2, 6000));
        assert!(users.server_version.starts_with(&major.to_string()));
        assert_eq!((users.encoding.as_str(), users.owner.as_str()), ("UTF8", "link_users_owner"));
        assert!(users.data.bytes < users.data.raw_bytes);
        for file in files(&site.root()) {
            assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn an_administrator_who_is_no_superuser_dumps_as_the_owner() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::plain(&cluster, TWO).await;
        let site = Site::with(cluster, project).await;
        site.fill("users", NASTY).await;
        let backups = site.backups().await;
        assert_eq!(backups[1].manifest.content.tables.iter().find(|table| table.name == "guarded").unwrap().rows, 2, "{major}");
    }
}

#[tokio::test]
async fn what_row_security_would_hide_is_a_failure_and_not_a_smaller_backup() {
    let cluster = Cluster::start().await;
    let project = Project::plain(&cluster, TWO).await;
    let site = Site::with(cluster, project).await;
    site.fill(
        "users",
        "CREATE TABLE own (n int); INSERT INTO own VALUES (1), (2); ALTER TABLE own ENABLE ROW LEVEL SECURITY;
         ALTER TABLE own FORCE ROW LEVEL SECURITY; CREATE POLICY first ON own USING (n = 1);",
    )
    .await;
    let text = failure(site.create().await);
    assert!(text.contains("PI0805") && text.contains("row-level security"), "{text}");
    let listing = site.list().await;
    assert_eq!(listing.backups.iter().map(|backup| backup.service().as_str()).collect::<Vec<_>>(), ["chat"]);
    assert_eq!(listing.leftovers, []);
}

#[tokio::test]
async fn a_script_for_psql_has_the_same_content() {
    let mut site = Site::new(ONE).await;
    site.fill("users", NASTY).await;
    let custom = site.backups().await.remove(0);
    site.format = DumpFormat::Plain;
    let plain = site.backups().await.remove(0);
    assert_eq!(plain.manifest.content, custom.manifest.content);
    assert_eq!((plain.manifest.data.name.as_str(), plain.manifest.data.compression), ("data.sql.gz", Compression::Gzip));
    let text = String::from_utf8(raw(&site, &plain).await).unwrap();
    assert!(text.contains("CREATE TABLE public.plain") && text.trim_end().contains("PostgreSQL database dump complete"));
    site.verify(&plain).await.unwrap();
}

#[tokio::test]
async fn a_backup_is_one_moment_of_a_database_that_is_written_to() {
    let site = Site::new(ONE).await;
    site.fill("users", "CREATE TABLE one (n bigint); CREATE TABLE two (n bigint); CREATE TABLE ballast AS SELECT g, repeat('x', 200) AS x FROM generate_series(1, 60000) AS g;").await;
    let writer = site.cluster.connect_to("link_users").await;
    let writing = tokio::spawn(async move {
        for number in 0_i64.. {
            let rows = format!("BEGIN; INSERT INTO one VALUES ({number}); INSERT INTO two VALUES (-{number}); COMMIT");
            if writer.batch_execute(&rows).await.is_err() {
                return;
            }
        }
    });
    let mut rows = Vec::new();
    for _ in 0..3 {
        let backup = site.backups().await.remove(0);
        let table = |name: &str| backup.manifest.content.tables.iter().find(|table| table.name == name).unwrap().rows;
        assert_eq!(table("one"), table("two"), "both halves of each transaction, or neither");
        rows.push(table("one"));
    }
    writing.abort();
    assert!(rows[0] > 0 && rows[0] < rows[2], "it was written to meanwhile: {rows:?}");
}

#[tokio::test]
async fn two_runs_do_not_write_at_once_and_an_apply_goes_on() {
    use pgisle_engine::postgres::RunLock;
    use pgisle_engine::postgres::lock::Scope;
    let site = Site::new(TWO).await;
    let wait = std::time::Duration::ZERO;
    let held = RunLock::acquire_scope(Scope::Backup, &site.project.connect, "backup", wait, &|_| {}).await.unwrap();
    let refused = create::create(&site.request(&[]), &|_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("PI0804") && refused.contains("pgisle backup pid"), "{refused}");
    assert_eq!(files(&site.root()), Vec::<std::path::PathBuf>::new());
    site.project.assert_settled().await;
    assert!(site.project.try_apply().await.unwrap().diagnostics().is_empty());
    held.release().await;
    site.backups().await;
}

#[tokio::test]
async fn a_service_without_a_database_fails_alone() {
    let mut site = Site::new(ONE).await;
    site.project.rewrite(TWO);
    let made = site.create().await;
    let outcomes: Vec<(&str, bool)> = made.services.iter().map(|one| (one.service.as_str(), one.outcome.is_ok())).collect();
    assert_eq!(outcomes, [("chat", false), ("users", true)]);
    assert!(failure(made).contains("PI0811"));
    // One that has left the file is still to be had by its name.
    site.project.rewrite("service \"other\" {\n}\n");
    let named = [service("users")];
    let made = create::create(&site.request(&named), &|_| {}).await.unwrap();
    assert_eq!(made.services.len(), 1);
    made.services[0].outcome.as_ref().unwrap();
}
