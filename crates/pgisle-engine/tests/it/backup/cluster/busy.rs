//! Servers that write meanwhile, that are damaged, or that are laid out otherwise.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use pgisle_engine::backup::cluster;
use pgisle_testkit::{Cluster, skip};

use super::super::site::{ONE, Site};
use super::{add, create, list, request, revive, site_on, try_create};
use crate::apply::{Project, rendered};

#[tokio::test]
async fn log_that_checkpoints_would_remove_is_kept_until_it_is_copied() {
    // With one checkpoint after the other nothing older than two segments would stay.
    let cluster =
        Cluster::builder().conf("max_wal_size", "2MB").conf("min_wal_size", "2MB").conf("wal_keep_size", "0").start().await;
    let project = Project::new(&cluster, ONE);
    let site = Site::with(cluster, project).await;
    site.fill("users", "CREATE TABLE t (n bigint PRIMARY KEY, x text)").await;
    site.fill("users", "CREATE TABLE large AS SELECT g, md5(g::text) AS x FROM generate_series(1, 300000) AS g").await;
    let is_done = AtomicBool::new(false);
    let writing = async {
        let client = site.cluster.connect_to("link_users").await;
        let mut rounds = 0;
        while !is_done.load(Ordering::Relaxed) {
            let sql = format!(
                "INSERT INTO t SELECT g, repeat(md5(g::text), 50) FROM generate_series({0} * 1000, {0} * 1000 + 999) AS g",
                rounds
            );
            client.batch_execute(&sql).await.unwrap();
            client.batch_execute("CHECKPOINT").await.unwrap();
            rounds += 1;
        }
        rounds
    };
    let copying = async {
        let made = try_create(&site, false).await;
        is_done.store(true, Ordering::Relaxed);
        made
    };
    let (made, rounds) = tokio::join!(copying, writing);
    let backup = made.unwrap_or_else(|found| panic!("{}", rendered(&found)));
    let segments = (backup.manifest.stop_lsn.bytes() - backup.manifest.start_lsn.bytes()) / backup.manifest.wal_segment_bytes;
    assert!(segments > 2 && rounds > 2, "{segments} segments in {rounds} rounds");
    assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_replication_slots").await, "0", "nothing is kept any longer");
    let revived = revive(&site, &backup).await;
    // Whole transactions, from the first on.
    let counted = revived.psql_in("link_users", "SELECT count(*) % 1000, count(*) = coalesce(max(n) + 1, 0) FROM t").await;
    assert_eq!(counted, "0|t");
    assert_eq!(revived.psql_in("link_users", "SELECT count(*) FROM large").await, "300000");
}

#[tokio::test]
async fn without_a_slot_to_spare_it_is_copied_all_the_same() {
    let cluster = Cluster::builder().conf("max_replication_slots", "0").start().await;
    let project = Project::new(&cluster, ONE);
    let site = Site::with(cluster, project).await;
    create(&site).await;
}

#[tokio::test]
async fn a_page_that_is_damaged_on_the_server_is_told() {
    let cluster = Cluster::builder().initdb("--data-checksums").start().await;
    let project = Project::new(&cluster, ONE);
    let site = Site::with(cluster, project).await;
    site.fill("users", "CREATE TABLE t AS SELECT g, md5(g::text) AS x FROM generate_series(1, 5000) AS g").await;
    let before = create(&site).await;
    assert!(before.manifest.has_page_checksums);
    let file = site.cluster.psql_in("link_users", "CHECKPOINT; SELECT pg_relation_filepath('t')").await;
    let path = site.cluster.data_dir().join(file);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8192 + 4000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let text = rendered(&try_create(&site, false).await.unwrap_err());
    assert!(text.contains("PI0844") && text.contains("A page of the data is damaged"), "{text}");
    let listing = list(&site).await;
    assert_eq!((listing.backups.len(), listing.leftovers.len()), (1, 0));
}

#[tokio::test]
async fn a_server_whose_settings_lie_elsewhere_is_told_and_starts_again() {
    let site = Site::new(ONE).await;
    site.fill("users", "CREATE TABLE t AS SELECT 7 AS x").await;
    // The running server does not mind, and what is left is what Debian's packages leave in a data directory.
    for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
        fs::remove_file(site.cluster.data_dir().join(name)).unwrap();
    }
    let made = cluster::create(&request(&site, false), &|_| {}).await.unwrap();
    let text = rendered(&made.warnings);
    assert!(text.contains("warning[PI0848]") && text.contains("SHOW config_file"), "{text}");
    assert!(!made.backup.manifest.has_settings);
    // What was not there is no damage.
    cluster::verify_deep(&site.store, &made.backup, &site.identities, &|_, _| {}).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    super::try_unpack(&site, &made.backup, &data).await.unwrap();
    super::is_private(&data);
    let rules = fs::read_to_string(data.join("pg_hba.conf")).unwrap();
    assert!(rules.ends_with("local all all reject\n"), "{rules}");
    // It starts, and lets nobody in until it is told to.
    let installation = site.cluster.installation();
    let account = pgisle_engine::process::Account::for_servers().unwrap();
    if let Some(account) = &account {
        account.give(folder.path()).unwrap();
    }
    let socket = folder.path().to_str().unwrap();
    let settings = format!("\nlisten_addresses = ''\nunix_socket_directories = '{socket}'\n");
    let conf = data.join("postgresql.conf");
    let text = fs::read_to_string(&conf).unwrap() + &settings;
    fs::write(&conf, text).unwrap();
    let log = folder.path().join("log");
    fs::write(&log, "").unwrap();
    if let Some(account) = &account {
        account.give(&log).unwrap();
    }
    pgisle_engine::local::server::start(installation, account.as_ref(), &data, &log).await.unwrap();
    pgisle_engine::local::server::stop(&data, pgisle_engine::local::server::StopMode::Fast).await.unwrap();
}

#[tokio::test]
async fn an_incremental_one_is_encrypted_and_put_together_like_any_other() {
    use age::secrecy::ExposeSecret as _;
    let Some(major) = pgisle_testkit::majors().await.into_iter().find(|major| *major >= 17) else {
        skip!("PostgreSQL 17 is not installed")
    };
    let identity = age::x25519::Identity::generate();
    let mut site = site_on(major, &format!("backup_recipients = [\"{}\"]\n{ONE}", identity.to_public())).await;
    let full = create(&site).await;
    // What it stands on cannot be read without the key.
    let refused = rendered(&try_create(&site, true).await.unwrap_err());
    assert!(refused.contains("PI0808"), "{refused}");
    assert_eq!(list(&site).await.leftovers, []);
    let text = identity.to_string().expose_secret().to_owned();
    site.identities = pgisle_engine::credential::IdentitySource::from_environment(|name| {
        (name == "PGISLE_AGE_IDENTITY").then(|| text.clone().into())
    });
    site.fill("users", "CREATE TABLE t AS SELECT 7 AS x").await;
    let next = add(&site).await;
    assert_eq!((next.manifest.parent.as_ref(), next.manifest.base.is_encrypted), (Some(full.id()), true));
    assert_eq!(revive(&site, &next).await.psql_in("link_users", "SELECT x FROM t").await, "7");
}
