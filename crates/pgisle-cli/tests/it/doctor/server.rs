//! What the administrator sees from inside.

use pgisle_testkit::Cluster;

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
    let cluster = Cluster::builder().conf("allow_system_table_mods", "on").start().await;
    let place = project(&cluster);
    assert_well(&place, "clock");
    // The server's own machine cannot be given another time, so its function is: from then on it tells an hour more.
    let wrong = "UPDATE pg_proc SET proname = 'right_clock' WHERE proname = 'clock_timestamp'; \
        CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.right_clock() + interval ''1 hour'''";
    cluster.psql(wrong).await;
    let commands = found(&place, "clock", "warning", "PI1211", "3600 s ahead of this machine's");
    assert_eq!(commands, ["sudo timedatectl set-ntp true"]);
    cluster.psql("DROP FUNCTION pg_catalog.clock_timestamp(); UPDATE pg_proc SET proname = 'clock_timestamp' WHERE proname = 'right_clock'").await;
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
    let Some(found_here) = pgisle_testkit::installations().await.iter().find(|found| found.contrib) else {
        pgisle_testkit::skip!("no PostgreSQL with contrib")
    };
    let cluster = Cluster::builder().major(found_here.major).conf("allow_system_table_mods", "on").start().await;
    let place = project(&cluster);
    applied(&place);
    cluster.psql_in("shop_orders", "CREATE EXTENSION citext VERSION '1.4'").await;
    let commands =
        found(&place, "extensions", "warning", "PI1206", "extension \"citext\" of database \"shop_orders\" is version 1.4");
    psql(&cluster, &commands).await;
    assert_well(&place, "extensions");

    // The libraries are every cluster's, so it is the functions that are made to name one which is gone.
    cluster.psql_in("shop_orders", "UPDATE pg_proc SET probin = '$libdir/gone' WHERE probin = '$libdir/citext'").await;
    assert!(cluster.try_psql_in("shop_orders", "SELECT 'a'::citext = 'A'::citext").await.is_err(), "it does not work");
    let commands = found(&place, "extensions", "failed", "PI1206", "has lost its library \"$libdir/gone\"");
    assert_eq!(commands, [format!("sudo apt-get install --reinstall postgresql-{}", cluster.major())]);
    cluster.psql_in("shop_orders", "UPDATE pg_proc SET probin = '$libdir/citext' WHERE probin = '$libdir/gone'").await;

    cluster.psql_in("shop_orders", "UPDATE pg_extension SET extname = 'vector' WHERE extname = 'citext'").await;
    cluster.psql_in("shop_orders", "UPDATE pg_extension SET extname = 'pgisle_gone' WHERE extname = 'vector'").await;
    found(&place, "extensions", "failed", "PI1206", "is not on the server's machine any more");
}

#[tokio::test]
async fn a_system_that_sorts_otherwise_than_before() {
    let cluster = Cluster::start().await;
    if cluster.psql("SELECT 1 FROM pg_collation WHERE collname = 'en_US.utf8'").await.is_empty() {
        pgisle_testkit::skip!("no locale with a version");
    }
    let place = project(&cluster);
    cluster.psql("CREATE DATABASE words TEMPLATE template0 LOCALE 'en_US.utf8'").await;
    assert_well(&place, "collations");
    cluster.psql("UPDATE pg_database SET datcollversion = '2.17' WHERE datname = 'words'").await;
    let commands = found(&place, "collations", "warning", "PI1207", "\"words\" was made with collation version 2.17");
    assert_eq!(commands.len(), 3);
    psql(&cluster, &commands).await;
    assert_well(&place, "collations");
}
