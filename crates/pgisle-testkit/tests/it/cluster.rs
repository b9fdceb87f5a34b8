//! A cluster in use.

use std::time::{Duration, Instant};

use pgisle_testkit::Cluster;

#[tokio::test]
async fn every_version_starts_and_answers() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let version = cluster.psql("SHOW server_version_num").await;
        assert_eq!(version.parse::<u32>().unwrap() / 10_000, major);
        assert_eq!(cluster.psql("SELECT 1, NULL, 'a'; SELECT 2").await, "1||a\n2");
        let locale =
            cluster.psql("SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'template1'").await;
        assert_eq!(locale, "UTF8|C.UTF-8");
    }
}

#[tokio::test]
async fn what_an_installation_claims_to_have_it_has() {
    for installation in pgisle_testkit::installations().await {
        let cluster = Cluster::builder().major(installation.major).start().await;
        if cluster.installation() != installation {
            // Another installation of the same version is better.
            continue;
        }
        let available = "SELECT count(*) FILTER (WHERE name = 'pgcrypto') = 1, count(*) FILTER (WHERE name = 'vector') = 1 FROM pg_available_extensions";
        let letter = |has: bool| if has { "t" } else { "f" };
        let expected = format!("{}|{}", letter(installation.contrib), letter(installation.vector));
        assert_eq!(cluster.psql(available).await, expected, "{installation:?}");
        if installation.vector {
            cluster.psql("CREATE EXTENSION vector; SELECT '[1,2]'::vector").await;
        }
    }
}

#[tokio::test]
async fn a_further_cluster_is_quick() {
    let _first = Cluster::start().await;
    let start = Instant::now();
    let _second = Cluster::start().await;
    // A fifth of a second on an idle machine; other tests run at the same time.
    assert!(start.elapsed() < Duration::from_secs(3), "took {:?}", start.elapsed());
}

#[tokio::test]
async fn clusters_made_at_once_share_nothing() {
    let make = || async {
        let cluster = Cluster::start().await;
        cluster.psql("CREATE ROLE same_name").await;
        cluster.psql("CREATE DATABASE same_name").await;
        cluster
    };
    let (a, b, c, d) = tokio::join!(make(), make(), make(), make());
    let mut ports = [&a, &b, &c, &d].map(Cluster::port);
    ports.sort_unstable();
    assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "{ports:?}");
}

#[tokio::test]
async fn settings_and_initdb_arguments_arrive() {
    let cluster =
        Cluster::builder().conf("log_statement", "all").conf("max_connections", "33").initdb("--data-checksums").start().await;
    assert_eq!(cluster.psql("SHOW max_connections").await, "33");
    assert_eq!(cluster.psql("SHOW data_checksums").await, "on");
    assert_eq!(cluster.psql("SHOW fsync").await, "off");
    assert!(cluster.log().contains("statement: SHOW data_checksums"), "{}", cluster.log());
    cluster.reload_with("work_mem", "12345kB").await;
    assert_eq!(cluster.psql("SHOW work_mem").await, "12345kB");

    let durable = Cluster::builder().durable().start().await;
    assert_eq!(durable.psql("SHOW fsync").await, "on");
}

#[tokio::test]
async fn logins_go_over_tcp_with_their_own_password() {
    let cluster = Cluster::start().await;
    let superuser = cluster.connect_as(cluster.superuser(), cluster.password(), "postgres").await.unwrap();
    superuser.batch_execute("CREATE ROLE app LOGIN PASSWORD 'right'").await.unwrap();
    superuser.batch_execute("CREATE DATABASE app").await.unwrap();
    let client = cluster.connect_as("app", "right", "app").await.unwrap();
    let who: String = client.query_one("SELECT current_user || ' ' || current_database()", &[]).await.unwrap().get(0);
    assert_eq!(who, "app app");
    let error = cluster.connect_as("app", "wrong", "app").await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("28P01"));
    assert!(cluster.try_psql_in("app", "SELECT 1/0").await.is_err());
}

#[tokio::test]
async fn a_plain_administrator_is_no_superuser() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let password = cluster.create_plain_admin("cloud \"admin\"").await;
        let client = cluster.connect_as("cloud \"admin\"", &password, "postgres").await.unwrap();
        client.batch_execute("CREATE ROLE app").await.unwrap();
        client.batch_execute("CREATE DATABASE app TEMPLATE template0").await.unwrap();
        assert!(client.batch_execute("ALTER ROLE app SUPERUSER").await.is_err());
        assert!(client.query("SELECT rolpassword FROM pg_authid", &[]).await.is_err());
    }
}

#[tokio::test]
async fn hba_lines_replace_the_usual_ones() {
    let cluster = Cluster::builder().hba("host all trusted 127.0.0.1/32 trust").start().await;
    cluster.psql("CREATE ROLE trusted LOGIN; CREATE ROLE other LOGIN PASSWORD 'x'").await;
    cluster.connect_as("trusted", "", "postgres").await.unwrap();
    let error = cluster.connect_as("other", "x", "postgres").await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("28000"));
}

#[tokio::test]
async fn a_killed_server_comes_back_with_what_was_committed() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        cluster.psql("CREATE TABLE kept AS SELECT 42 AS kept").await;
        let client = cluster.connect().await;
        let busy = tokio::spawn(async move { client.batch_execute("SELECT pg_sleep(600)").await });
        let port = cluster.port();
        cluster.kill_server();
        assert!(busy.await.unwrap().is_err());
        assert!(cluster.connect_as(cluster.superuser(), cluster.password(), "postgres").await.is_err());
        cluster.restart().await;
        assert_eq!(cluster.port(), port);
        assert_eq!(cluster.psql("SELECT kept FROM kept").await, "42");
        assert!(cluster.log().contains("database system was not properly shut down"), "{}", cluster.log());
        cluster.stop_server();
        cluster.restart().await;
        assert_eq!(cluster.psql("SELECT kept FROM kept").await, "42");
    }
}

#[tokio::test]
async fn the_private_locale_can_be_used() {
    let cluster = Cluster::start().await;
    let created =
        cluster.try_psql_in("postgres", "CREATE DATABASE l TEMPLATE template0 LC_COLLATE 'en_US.utf8' LC_CTYPE 'en_US.utf8'").await;
    if created.is_err() {
        pgisle_testkit::skip!("locale en_US.utf8 is neither the system's nor a private component");
    }
    assert_eq!(cluster.psql_in("l", "SELECT 'a' < 'B'").await, "t");
    // The planner looks here.
    for database in ["postgres", "template1"] {
        let known =
            cluster.psql_in(database, "SELECT count(*) FROM pg_collation WHERE collcollate IN ('en_US.utf8', 'en_US.UTF-8')").await;
        assert_ne!(known, "0", "{database}");
    }
}
