//! Backed up, damaged, restored: as before.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use pgisle_core::artifact::{Endpoint, generate};
use pgisle_core::backup::restore::{Leftover, leftovers};
use pgisle_core::credential::Credentials;
use pgisle_engine::backup::restore;
use pgisle_engine::postgres::{Session, inspect_shared};
use pgisle_testkit::Cluster;

use super::super::text_of;
use super::{ODD_DATABASE, Site, TWO, assert_failure, assert_success, said};

#[tokio::test]
async fn what_was_backed_up_comes_back() {
    let site = Site::new(TWO).await;
    site.fill().await;
    site.cluster.psql("ALTER DATABASE link_users SET search_path = \"$user\", public").await;
    site.cluster.psql("ALTER ROLE link_users_user IN DATABASE link_users SET work_mem = '8MB'").await;
    // The second fence: with it, the service's login reaches no other database, and so not the one that is restored into.
    let mut spec = site.project.spec.clone();
    spec.settings.enable_ssl = false;
    let artifacts = generate(&spec, &Endpoint::of(&spec.settings), &Credentials::default());
    let hba = site.cluster.data_dir().join("pg_hba.conf");
    let usual = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("{}\n{usual}", text_of(&artifacts, "pg_hba.conf.fragment"))).unwrap();
    site.cluster.psql("SELECT pg_reload_conf()").await;
    let before = site.dump("link_users").await;
    let output = site.back_up().await;
    assert_success(&output);
    assert!(said(&output).ends_with("everything was backed up\n"), "{}", said(&output));
    let logged = fs::read_to_string(site.backups().join("backup.log")).unwrap();
    assert_eq!(logged, said(&output));
    for file in site.files("link_users", "").iter().chain(&site.files("odd", "")) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }
    let cluster: Vec<_> = fs::read_dir(site.backups().join("cluster")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let base = cluster.iter().find(|path| path.is_dir()).unwrap();
    assert!(base.join("base.tar.gz").exists() && base.join("SHA256SUMS").exists() && base.join("backup_manifest").exists());
    assert_eq!(cluster.len(), 3, "the roles with their checksum, and the copy: {cluster:?}");

    // Somebody is at work in the database when it is replaced.
    let credential = site.credential("users");
    let (user, password) = (credential.role.as_str(), credential.secret.expose());
    let session = site.cluster.connect_as(user, password, "link_users").await.unwrap();
    session.batch_execute("DROP TABLE users CASCADE; DELETE FROM \"odd \"\" (name\"; CREATE TABLE later (a int)").await.unwrap();
    let file = &site.files("link_users", ".sql.gz")[0];
    let output = site.restore("users", file).await;
    assert_success(&output);
    assert!(session.query("SELECT 1", &[]).await.is_err(), "the session was ended");
    site.assert_same("link_users", &before).await;
    site.assert_clean().await;

    // The service logs in and reads; what was there is kept closed; nothing is left for apply to do.
    let client = site.cluster.connect_as(user, password, "link_users").await.unwrap();
    let count: i64 = client.query_one("SELECT count(*) FROM users", &[]).await.unwrap().get(0);
    assert_eq!(count, 1003);
    assert_eq!(client.query_one("SHOW work_mem", &[]).await.unwrap().get::<_, String>(0), "8MB");
    let kept = site.cluster.psql("SELECT datallowconn FROM pg_database WHERE datname LIKE 'link\\_users\\_\\_replaced\\_%'").await;
    assert_eq!(kept, "f");
    site.project.assert_settled().await;

    // It carries pgisle's own mark, so pgisle knows what it is, and puts it back.
    let admin = Session::connect(&site.project.connect).await.unwrap();
    let left = leftovers(&inspect_shared(&admin).await.unwrap(), "link", "development");
    let [Leftover::Replaced { service, source: Some(source), since: Some(since), .. }] = &left[..] else { panic!("{left:?}") };
    assert_eq!((service.as_str(), source.as_str()), ("users", file.file_name().unwrap().to_str().unwrap()));
    assert!(pgisle_engine::clock::now().seconds_since(*since) < 600, "{since}");
    let users = &site.project.spec.services[service];
    let undone = restore::undo(&site.project.request(), users, &|_| {}).await;
    let undone = undone.unwrap_or_else(|error| panic!("{}", error.diagnostic()));
    assert_eq!(Some(&undone.was), left[0].database());
    assert_eq!(site.cluster.psql_in("link_users", "SELECT count(*) FROM later").await, "0");
    site.project.assert_settled().await;
}

#[tokio::test]
async fn a_plain_administrator_does_the_same_on_every_version() {
    let installations = pgisle_testkit::installations().await;
    let newest = installations.iter().max_by_key(|installation| installation.major).unwrap();
    for major in pgisle_testkit::majors().await {
        let mut site = Site::plain(TWO, Cluster::builder().major(major).start().await).await;
        // Newer tools write settings into a dump that an older server does not know.
        site.programs.clone_from(&newest.bin);
        site.fill().await;
        let before = site.dump("link_users").await;
        let output = site.back_up().await;
        assert_success(&output);
        assert!(said(&output).contains("warning: no copy of the whole cluster: platform may not replicate"), "{}", said(&output));
        let credential = site.credential("users");
        let (user, password) = (credential.role.as_str(), credential.secret.expose());
        let session = site.cluster.connect_as(user, password, "link_users").await.unwrap();
        session.batch_execute("DROP TABLE users CASCADE").await.unwrap();
        assert_success(&site.restore("users", &site.files("link_users", ".sql.gz")[0]).await);
        site.assert_same("link_users", &before).await;
        site.assert_clean().await;
        // The rights of the service's login, taken to end its sessions, are given back.
        let memberships =
            "SELECT count(*) FROM pg_auth_members WHERE roleid = 'link_users_user'::regrole AND member = 'platform'::regrole";
        let lasting = format!("{memberships} AND {}", if major < 16 { "true" } else { "inherit_option" });
        assert_eq!(site.cluster.psql(&lasting).await, "0", "{major}");
        site.project.assert_settled().await;
    }
}

#[tokio::test]
async fn a_name_that_needs_quotes_everywhere_is_restored_as_well() {
    let site = Site::new(TWO).await;
    site.cluster.psql_in(ODD_DATABASE, "CREATE TABLE t AS SELECT 1 AS a").await;
    assert_success(&site.back_up().await);
    site.cluster.psql_in(ODD_DATABASE, "UPDATE t SET a = 2").await;
    assert_success(&site.restore("odd", &site.files("odd", ".sql.gz")[0]).await);
    assert_eq!(site.cluster.psql_in(ODD_DATABASE, "SELECT a FROM t").await, "1");
    site.assert_clean().await;
}

#[tokio::test]
async fn other_formats_and_older_names_are_taken() {
    let site = Site::new(TWO).await;
    site.fill().await;
    let before = site.dump("link_users").await;
    let plain = site.folder.path().join("link_users_backup_20250119.sql");
    fs::write(&plain, &before).unwrap();
    site.cluster.psql_in("link_users", "DROP TABLE users CASCADE").await;
    assert_success(&site.restore("users", &plain).await);
    site.assert_same("link_users", &before).await;

    let custom = site.folder.path().join("custom.dump");
    let dump = site.cluster.installation().invocation("pg_dump").arguments(["-Fc", "-d", "link_users", "-f"]).argument(&custom);
    let dump = dump.environment("PGHOST", site.cluster.host()).environment("PGPORT", site.cluster.port().to_string());
    let dump = dump.environment("PGUSER", site.cluster.superuser()).environment("PGPASSWORD", site.cluster.password());
    dump.run().await.unwrap();
    site.cluster.psql_in("link_users", "DROP TABLE users CASCADE").await;
    // Two restores of one second would give the kept databases one name.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_success(&site.restore("users", &custom).await);
    site.assert_same("link_users", &before).await;
}

#[tokio::test]
async fn a_cluster_that_takes_no_replication_is_dumped_instead() {
    let site = Site::new(TWO).await;
    let hba = site.cluster.data_dir().join("pg_hba.conf");
    let lines = fs::read_to_string(&hba).unwrap();
    let kept: Vec<&str> = lines.lines().filter(|line| !line.contains("replication")).collect();
    fs::write(&hba, kept.join("\n") + "\n").unwrap();
    site.cluster.psql("SELECT pg_reload_conf()").await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let output = site.back_up().await;
    assert_success(&output);
    assert!(said(&output).contains("a dump of everything instead"), "{}", said(&output));
    let cluster = fs::read_dir(site.backups().join("cluster")).unwrap();
    let names: Vec<String> = cluster.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("cluster_backup_") && name.ends_with(".sql.gz")), "{names:?}");
}

#[tokio::test]
async fn without_a_password_it_says_where_one_is_looked_for() {
    let site = Site::new(TWO).await;
    let run = site.script("backup-databases.sh").environment("PGPASSFILE", "/nonexistent");
    let output = run.run_to_end().await.unwrap();
    assert_failure(&output, "no password supplied");
    assert_failure(&output, "the password comes from ~/.pgpass");
    let run = site.script("backup-databases.sh").environment("PGPASSFILE", "/nonexistent");
    assert_success(&run.environment("PGPASSWORD", site.cluster.password()).run_to_end().await.unwrap());
}
