//! `verify -load` on real servers: what it takes, what it leaves, and what no client feels. No times are looked at.

use std::path::PathBuf;
use std::time::Duration;

use pgisle_testkit::{Cluster, ServerCertificate};
use serde_json::Value;

use crate::cluster::{document, exit};
use crate::program::Place;

const SPEC: &str = r#"
environment                 = "development"
name_prefix                 = "shop"
postgres_database           = "shop_app"
collation                   = "C.UTF-8"
default_extensions          = []
postgres_sslmode            = "disable"
enable_ssl                  = false
pgbouncer_pool_mode         = "transaction"
pgbouncer_default_pool_size = 2
pgbouncer_reserve_pool_size = 0
# Where nobody listens, so that the load starts one of its own.
pgbouncer_host              = "127.0.0.1"
pgbouncer_port              = 1

service "orders" {
  instances = 2
}

service "billing" {}

service "search" {}
"#;

/// What a load could leave on the server: sessions, tables, roles.
const FURNITURE: &str = "SELECT 'session ' || usename FROM pg_stat_activity WHERE usename LIKE 'shop%'
    UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'
    UNION ALL SELECT 'database ' || datname FROM pg_database ORDER BY 1";

const RELATIONS: &str = "SELECT string_agg(oid::regclass::text, ' ') FROM pg_class WHERE oid > 16383";

struct Site {
    cluster: Cluster,
    place: Place,
}

impl Site {
    async fn new() -> Self {
        Self::on(Cluster::start().await, &[]).await
    }

    async fn on(cluster: Cluster, settings: &[(&str, &str)]) -> Self {
        cluster.psql("CREATE DATABASE shop_app").await;
        let place = Place::passable()
            .variable("PGISLE_VAR_postgres_host", cluster.host())
            .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
            .variable("PGISLE_VAR_postgres_username", cluster.superuser())
            .variable("PGPASSWORD", cluster.password());
        let set = |place: Place, (name, value): &(&str, &str)| place.variable(&format!("PGISLE_VAR_{name}"), value);
        let place = settings.iter().fold(place, set);
        place.file("pgisle.hcl", SPEC);
        assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
        Self { cluster, place }
    }

    async fn furniture(&self) -> String {
        let mut all = self.cluster.psql(FURNITURE).await;
        for database in ["shop_app", "shop_orders", "shop_billing", "shop_search"] {
            all.push_str(&self.cluster.psql_in(database, RELATIONS).await);
        }
        all
    }

    /// The private folder of a load, wherever it lies: PgBouncer's number is in it as long as it runs.
    fn folders(&self) -> [PathBuf; 2] {
        let inside = self.place.project().canonicalize().unwrap().join(".pgisle/development/load");
        [pgisle_engine::local::data_refuge(&inside), inside]
    }

    fn pooler(&self) -> Option<u32> {
        self.folders().iter().find_map(|folder| std::fs::read_to_string(folder.join("pgbouncer.pid")).ok()?.trim().parse().ok())
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[tokio::test]
async fn pools_cap_what_the_server_holds_and_nothing_is_left() {
    if pgisle_engine::local::find_pgbouncer().await.is_none() {
        pgisle_testkit::skip!("PgBouncer is not installed");
    }
    let site = Site::new().await;
    let before = site.furniture().await;
    let words = ["verify", "-load", "-clients=8", "-duration=1s", "-pause=20ms", "-noisy=60"];
    let report = document(&site.place, &words);
    assert_eq!(report["exit_code"], 0, "{report}");
    let load = &report["load"];
    assert_eq!((&load["before"]["way"]["kind"], number(&load["before"]["connections"])), (&"shared".into(), 24), "{report}");
    let after = &load["after"];
    assert_eq!(number(&after["way"]["connections_max"]), 6);
    assert!((1..=6).contains(&number(&after["connections"])), "{report}");
    let bulkhead = ["shared", "own", "noisy_shared", "noisy_own"].map(|who| &load["bulkhead"][who]);
    for part in [&load["before"]["all"], &after["all"]].into_iter().chain(bulkhead) {
        assert!(number(&part["failed"]) == 0 && number(&part["transactions"]) > 0, "{report}");
    }
    assert_eq!((&load["bulkhead"]["noisy"], number(&load["bulkhead"]["shared_size"])), (&"search".into(), 4), "{report}");
    assert!(after["way"]["private_because"].as_str().unwrap().contains("127.0.0.1:1"), "{report}");
    assert_eq!(site.furniture().await, before);
    assert!(site.folders().iter().all(|folder| !folder.exists()));

    // Where the shared database lets nobody in any more, each comes into its own.
    site.cluster.psql("REVOKE CONNECT ON DATABASE shop_app FROM PUBLIC").await;
    let report = document(&site.place, &["verify", "-load", "-duration=500ms", "-noisy=0"]);
    assert_eq!((&report["exit_code"], &report["load"]["before"]["way"]["kind"]), (&0.into(), &"own".into()), "{report}");
    assert!(report["load"]["bulkhead"].is_null() && report["load"]["left_out"] == Value::Array(Vec::new()), "{report}");
    assert_eq!(site.furniture().await, before);
}

#[tokio::test]
async fn a_pooler_of_ours_checks_the_servers_certificate() {
    let Some(found) = pgisle_testkit::installations().await.iter().find(|found| found.tls) else {
        pgisle_testkit::skip!("no PostgreSQL with TLS")
    };
    if pgisle_engine::local::find_pgbouncer().await.is_none() {
        pgisle_testkit::skip!("PgBouncer is not installed");
    }
    let builder = Cluster::builder().major(found.major).tls(ServerCertificate::Valid).hba("hostssl all all all scram-sha-256");
    let cluster = builder.start().await;
    let ca = cluster.tls().ca().display().to_string();
    let settings = [("postgres_sslmode", "verify-full"), ("enable_ssl", "true"), ("postgres_sslrootcert", ca.as_str())];
    let site = Site::on(cluster, &settings).await;
    let report = document(&site.place, &["verify", "-load", "-clients=2", "-duration=500ms", "-noisy=10"]);
    assert_eq!((&report["exit_code"], &report["load"]["left_out"]), (&0.into(), &Value::Array(Vec::new())), "{report}");
    assert_eq!(number(&report["load"]["after"]["all"]["failed"]), 0, "{report}");
}

#[tokio::test]
async fn what_would_take_the_last_connections_is_refused() {
    let site = Site::new().await;
    let before = site.furniture().await;
    let refused = |words: &[&str]| document(&site.place, &[&["verify", "-load", "-noisy=0"], words].concat());
    let report = refused(&["-clients=40"]);
    assert_eq!((&report["exit_code"], &report["diagnostics"][0]["code"]), (&1.into(), &"PI0516".into()), "{report}");
    assert!(report["diagnostics"][0]["detail"].as_str().unwrap().starts_with("Nothing was started."), "{report}");
    for wrong in [&["-clients=0"][..], &["-duration=1ms"], &["-static"], &["-duration=11m"]] {
        assert_eq!(refused(wrong)["exit_code"], 64, "{wrong:?}");
    }
    assert_eq!(exit(&site.place, &["verify", "-noisy=5"]), Some(64));

    // With fewer than it would like, it takes fewer, and leaves a tenth alone.
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(site.cluster.connect().await);
    }
    let report = refused(&["-duration=500ms"]);
    let load = &report["load"];
    assert_eq!(report["exit_code"], 0, "{report}");
    let usable = number(&load["room"]["usable"]);
    assert!(number(&load["before"]["connections"]) + 60 + usable / 10 <= usable, "{report}");
    drop(held);
    assert_eq!(site.furniture().await, before);
}

#[tokio::test]
async fn without_a_pooler_the_direct_part_is_run_alone() {
    let site = Site::new().await;
    site.place.file("pgisle.hcl", format!("enable_pgbouncer = false\n{SPEC}"));
    let report = document(&site.place, &["verify", "-load", "-clients=2", "-duration=500ms"]);
    let load = &report["load"];
    assert_eq!((&report["exit_code"], &report["diagnostics"][0]["code"]), (&0.into(), &"PI0518".into()), "{report}");
    assert!(load["after"].is_null() && load["bulkhead"].is_null(), "{report}");
    assert_eq!((number(&load["before"]["connections"]), number(&load["before"]["all"]["failed"])), (6, 0), "{report}");
    let seen = site.place.seen(&["verify", "-load", "-clients=2", "-duration=500ms"]);
    assert!(seen.contains("the cap comes from pools") && seen.contains("enable_pgbouncer is false"), "{seen}");
}

#[tokio::test]
async fn killed_in_the_middle_it_leaves_nothing() {
    if pgisle_engine::local::find_pgbouncer().await.is_none() {
        pgisle_testkit::skip!("PgBouncer is not installed");
    }
    let site = Site::new().await;
    let before = site.furniture().await;
    let words = ["verify", "-load", "-clients=3", "-duration=30s", "-noisy=0"];
    let mut child = site.place.start(&words, &[]);
    let pooler = loop {
        match site.pooler() {
            Some(pooler) => break pooler,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    while site.cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgisle load'").await == "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().await.unwrap();
    // A process that nobody waits for any more stays listed where the machine's first process does not look after it.
    let lives = || std::fs::read(format!("/proc/{pooler}/cmdline")).is_ok_and(|line| !line.is_empty());
    while lives() || site.furniture().await != before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let words = ["verify", "-load", "-clients=3", "-duration=500ms", "-noisy=0"];
    assert_eq!(document(&site.place, &words)["exit_code"], 0);
    assert!(site.folders().iter().all(|folder| !folder.exists()));
    assert_eq!(site.furniture().await, before);
}

/// Rotations and changes of the pools beside a load that comes through the project's own PgBouncer.
#[tokio::test]
async fn no_client_fails_through_a_rotation_and_a_reload() {
    if pgisle_engine::local::find_pgbouncer().await.is_none() {
        pgisle_testkit::skip!("PgBouncer is not installed");
    }
    let place = Place::passable().variable("PGISLE_DEV", "1");
    place.file("pgisle.hcl", SPEC.replace("pgbouncer_port              = 1\n", ""));
    for words in [&["dev", "up"][..], &["apply", "-auto-approve"]] {
        assert_eq!(exit(&place, words), Some(0), "{words:?}");
    }
    // On a busy machine it may be that no change falls into the short time.
    let mut reloads = 0;
    for (duration, services) in [("4s", &["orders", "billing", "search"][..]), ("15s", &[]), ("60s", &[])] {
        reloads = load_beside_changes(&place, duration, services).await;
        if reloads > 0 {
            break;
        }
    }
    let _down = place.pgisle(&["dev", "down", "-destroy"]);
    assert!(reloads > 0);
}

/// Rotates services and changes the pools while a load goes on, in which nothing may fail. How often PgBouncer has read its files
/// again while all clients of the load were there.
async fn load_beside_changes(place: &Place, duration: &str, mut services: &[&str]) -> usize {
    let duration = format!("-duration={duration}");
    let words = ["verify", "-load", "-clients=10", &duration, "-pause=10ms", "-noisy=0", "-json"];
    let log_start = pooler_log(place).len();
    let mut load = place.start(&words, &[]);
    let mut changes = 0;
    while load.try_wait().unwrap().is_none() {
        // Never more than the pools that the report knows.
        let size = format!("-var=pgbouncer_default_pool_size={}", 1 + changes / 2 % 2);
        let words = match services.split_first() {
            Some((service, rest)) if changes % 2 == 0 => {
                services = rest;
                vec!["rotate", *service]
            }
            _ => vec!["apply", "-auto-approve", size.as_str()],
        };
        let output = place.run(&words, &[]).await;
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        changes += 1;
    }
    let output = load.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["exit_code"], 0, "{report}");
    let after = &report["load"]["after"];
    assert!(after["way"]["private_because"].is_null(), "{report}");
    for leg in [&report["load"]["before"], after] {
        assert!(number(&leg["all"]["failed"]) == 0 && number(&leg["all"]["transactions"]) > 0, "{report}");
    }
    // Behind the last of their logins, and before the first of their goodbyes, which come when the load has ended.
    let log = pooler_log(place).split_off(log_start);
    let lines: Vec<&str> = log.lines().collect();
    let last_login = lines.iter().rposition(|line| line.contains("login attempt")).unwrap();
    let goodbye = lines.iter().skip(last_login).position(|line| line.contains("client close request"));
    let together = &lines[last_login..goodbye.map_or(lines.len(), |distance| last_login + distance)];
    together.iter().filter(|line| line.contains("SIGHUP")).count()
}

fn pooler_log(place: &Place) -> String {
    let inside = place.project().canonicalize().unwrap().join(".pgisle/dev/server");
    let folders = [pgisle_engine::local::data_refuge(&inside), inside];
    let logs = folders.iter().filter_map(|folder| std::fs::read_to_string(folder.join("pgbouncer/pgbouncer.log")).ok());
    logs.collect()
}
