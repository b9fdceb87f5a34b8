//! What the administrator sees from inside.

use std::os::unix::fs::PermissionsExt as _;

use pgisle_engine::local::find_program;
use pgisle_testkit::{Cluster, Programs};

use super::{SPEC, applied, assert_well, eventually, found, project, psql};

#[tokio::test]
async fn a_standby_is_no_place_to_work() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    cluster.stop_server();
    std::fs::write(cluster.data_dir().join("standby.signal"), "").unwrap();
    cluster.restart().await;
    let commands = found(&place, "server", "failed", "PI0315", "the server is a standby");
    psql(&cluster, &commands).await;
    assert_well(&place, "server");
}

#[tokio::test]
async fn settings_that_are_in_the_way() {
    let cluster = Cluster::builder().conf("max_connections", "20").start().await;
    let place = project(&cluster);
    let hba = cluster.data_dir().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("{rules}host all all nonsense\n")).unwrap();
    let commands = found(&place, "settings", "failed", "PI1205", "pg_hba.conf has a line that the server does not understand");
    std::fs::write(&hba, &rules).unwrap();
    psql(&cluster, &commands).await;

    let commands = found(&place, "settings", "failed", "PI0306", "full pools need");
    psql(&cluster, &commands).await;
    cluster.psql("SELECT pg_reload_conf()").await;
    found(&place, "settings", "failed", "PI1205", "the server waits for a restart: max_connections");
    cluster.restart().await;
    assert_well(&place, "settings");

    let moving = SPEC.replace("service \"orders\" {}", "service \"orders\" {\n  tables = [\"orders\"]\n}");
    place.file("pgisle.hcl", moving);
    let commands = found(&place, "settings", "warning", "PI1205", "wal_level is \"replica\"");
    psql(&cluster, &commands).await;
    cluster.restart().await;
    assert_well(&place, "settings");

    let place = place.variable("PGISLE_VAR_environment", "staging");
    let commands = found(&place, "settings", "warning", "PI1205", "fsync is off");
    psql(&cluster, &commands).await;
    let commands = found(&place, "settings", "warning", "PI1205", "full_page_writes is off");
    psql(&cluster, &commands).await;
    cluster.psql("SELECT pg_reload_conf()").await;
    eventually(&place, "settings", "ok").await;
}

#[tokio::test]
async fn a_session_that_others_wait_for() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    cluster.psql("CREATE TABLE t (id int)").await;
    let blocker = cluster.connect().await;
    blocker.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let waiting = cluster.connect().await;
    let waits = tokio::spawn(async move { waiting.batch_execute("LOCK TABLE t; SELECT 1").await });
    eventually(&place, "locks", "warning").await;
    let commands = found(&place, "locks", "warning", "PI1209", "holds 1 other up in \"postgres\"");
    psql(&cluster, &commands).await;
    // LOCK TABLE can only be used in a transaction, which several statements at once are.
    waits.await.unwrap().unwrap();
    assert_well(&place, "locks");
}

#[tokio::test]
async fn a_clock_that_is_wrong() {
    let Some(library) = find_program("libfaketime.so.1") else { pgisle_testkit::skip!("libfaketime is not installed") };
    // The time that a preloaded library tells the server. It reads the file anew each time that it is asked.
    let time = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(time.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let set = |ahead: &str| std::fs::write(time.path(), ahead).unwrap();
    set("+0");
    let builder = Cluster::builder().environment("LD_PRELOAD", library.to_str().unwrap()).environment("FAKETIME_NO_CACHE", "1");
    let builder = builder.environment("FAKETIME_TIMESTAMP_FILE", time.path().to_str().unwrap());
    let cluster = builder.environment("FAKETIME_DONT_FAKE_MONOTONIC", "1").start().await;
    let place = project(&cluster);
    assert_well(&place, "clock");
    set("+1h");
    let commands = found(&place, "clock", "warning", "PI1211", "3600 s ahead of this machine's");
    assert_eq!(commands, ["sudo timedatectl set-ntp true"]);
    set("-20");
    found(&place, "clock", "warning", "PI1211", "20 s behind this machine's");
    set("+0");
    assert_well(&place, "clock");
}

#[tokio::test]
async fn a_slot_that_has_lost_its_log() {
    let cluster = Cluster::builder().conf("max_slot_wal_keep_size", "1MB").start().await;
    let place = project(&cluster);
    cluster.psql("SELECT pg_create_physical_replication_slot('gone', true)").await;
    assert_well(&place, "log");
    for _ in 0..4 {
        cluster.psql("CREATE TABLE IF NOT EXISTS t (id int); INSERT INTO t VALUES (1)").await;
        cluster.psql("SELECT pg_switch_wal()").await;
    }
    cluster.psql("CHECKPOINT").await;
    let commands = found(&place, "log", "failed", "PI1213", "replication slot \"gone\" has lost the log");
    psql(&cluster, &commands).await;
    assert_well(&place, "log");
}

#[tokio::test]
async fn an_archive_that_fails() {
    let cluster = Cluster::builder().conf("archive_mode", "on").conf("archive_command", "false").start().await;
    let place = project(&cluster);
    cluster.psql("CREATE TABLE t (id int)").await;
    cluster.psql("SELECT pg_switch_wal()").await;
    eventually(&place, "log", "failed").await;
    let commands = found(&place, "log", "failed", "PI1213", "cannot be archived");
    assert_eq!(commands, ["pgisle backup wal-setup"]);
    cluster.reload_with("archive_command", "true").await;
    eventually(&place, "log", "ok").await;
}

#[tokio::test]
async fn extensions_that_do_not_go_with_the_server() {
    let Some(contrib) = pgisle_testkit::installations().await.iter().find(|found| found.contrib) else {
        pgisle_testkit::skip!("no PostgreSQL with contrib")
    };
    let Some(programs) = Programs::copy_of(contrib).await else {
        pgisle_testkit::skip_foreign!("PostgreSQL is not a component whose programs can be copied")
    };
    let cluster = Cluster::builder().programs(&programs).start().await;
    let place = project(&cluster);
    applied(&place);
    cluster.psql_in("shop_orders", "CREATE EXTENSION citext VERSION '1.4'").await;
    let commands =
        found(&place, "extensions", "warning", "PI1206", "extension \"citext\" of database \"shop_orders\" is version 1.4");
    psql(&cluster, &commands).await;
    assert_well(&place, "extensions");

    let library = programs.libraries().join("citext.so");
    let refuge = library.with_extension("away");
    std::fs::rename(&library, &refuge).unwrap();
    assert!(cluster.try_psql_in("shop_orders", "SELECT 'a'::citext = 'A'::citext").await.is_err(), "it does not work");
    let commands = found(&place, "extensions", "failed", "PI1206", "has lost its library \"$libdir/citext\"");
    assert_eq!(commands, [format!("sudo apt-get install --reinstall postgresql-{}", cluster.major())]);
    std::fs::rename(&refuge, &library).unwrap();
    assert_well(&place, "extensions");

    let extensions = std::fs::read_dir(programs.extensions()).unwrap().map(|entry| entry.unwrap().path());
    for file in extensions.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("citext")) {
        std::fs::remove_file(file).unwrap();
    }
    found(&place, "extensions", "failed", "PI1206", "is not on the server's machine any more");
}

#[tokio::test]
async fn a_system_that_sorts_otherwise_than_before() {
    let installations = pgisle_testkit::installations().await;
    let Some(loader) = installations.iter().find_map(pgisle_testkit::newer_loader) else {
        pgisle_testkit::skip_foreign!("no PostgreSQL here brought a C library of its own")
    };
    let mut own = installations.iter().filter(|found| pgisle_testkit::newer_loader(found).is_none());
    let Some(found_here) = own.find(|found| found.contrib) else {
        pgisle_testkit::skip!("no PostgreSQL on the machine's C library")
    };
    let Some(programs) = Programs::copy_of(found_here).await else {
        pgisle_testkit::skip_foreign!("PostgreSQL is not a component whose programs can be copied")
    };
    let cluster = Cluster::builder().programs(&programs).start().await;
    if cluster.psql("SELECT 1 FROM pg_collation WHERE collname = 'en_US.utf8'").await.is_empty() {
        pgisle_testkit::skip!("no locale with a version");
    }
    let place = project(&cluster);
    cluster.psql("CREATE DATABASE words TEMPLATE template0 LOCALE 'en_US.utf8'").await;
    assert_well(&place, "collations");
    let version = "SELECT datcollversion FROM pg_database WHERE datname = 'words'";
    let before = cluster.psql(version).await;
    // What an upgrade of the system does.
    cluster.stop_server();
    programs.run_with_library(&loader);
    cluster.restart().await;
    let cause = format!("\"words\" was made with collation version {before}");
    let commands = found(&place, "collations", "warning", "PI1207", &cause);
    assert_eq!(commands.len(), 3);
    psql(&cluster, &commands).await;
    assert_well(&place, "collations");
    assert_ne!(cluster.psql(version).await, before);
}

#[tokio::test]
async fn a_server_that_is_too_old() {
    let Some(outdated) = pgisle_testkit::outdated().await else { pgisle_testkit::skip!("no outdated PostgreSQL") };
    let version = outdated.version.clone();
    let cluster = Cluster::builder().installation(outdated).start().await;
    let place = project(&cluster);
    let cause = format!("is PostgreSQL {version}, which is too old");
    found(&place, "server", "failed", "PI0210", &cause);
    for command in [&["plan"][..], &["apply", "-auto-approve"], &["verify"], &["backup", "create"]] {
        let seen = place.seen(command);
        assert!(seen.contains("exit: 69") && seen.contains(&cause), "{seen}");
    }
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_database").await, "3");
}
