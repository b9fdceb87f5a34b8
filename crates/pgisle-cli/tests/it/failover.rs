//! `verify -failover` on the private cluster: what is lost and what is not, that there is never a second server that takes writes, and
//! that whoever is killed in the middle leaves nothing that the next `dev up` does not end. No times are looked at.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{document, exit};
use crate::program::Place;

const SPEC: &str = r#"
name_prefix                 = "shop"
postgres_database           = "shop_app"
collation                   = "C.UTF-8"
default_extensions          = []
pgbouncer_pool_mode         = "transaction"
pgbouncer_default_pool_size = 4

enable_replica_setup        = true
# Of the real cluster, and none of the private one's.
postgres_replica_hosts      = ["replica-1.example.com"]

service "orders" {
  replica {}
}

service "billing" {}
"#;

const FAST: [&str; 2] = ["-settle=400ms", "-rate=150"];

/// A project whose private cluster ends with it.
struct Site {
    place: Place,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _down = self.place.pgisle(&["dev", "down", "-destroy"]);
    }
}

impl Site {
    async fn new(major: u32) -> Option<Self> {
        let has_major = pgisle_testkit::majors().await.contains(&major);
        if !has_major || pgisle_engine::local::find_pgbouncer().await.is_none() {
            return None;
        }
        let site = Self { place: Place::passable().variable("PGISLE_DEV", "1") };
        site.place.file("pgisle.hcl", SPEC);
        site.succeed(&["dev", "up", &format!("-major={major}")]);
        // Nobody pulls the plug here, and the disk is others' too. The standby takes this over.
        site.ask("cluster", "postgres", "ALTER SYSTEM SET fsync = off");
        site.ask("cluster", "postgres", "SELECT pg_reload_conf()");
        site.succeed(&["dev", "up", "-standby"]);
        site.succeed(&["apply", "-auto-approve"]);
        Some(site)
    }

    fn succeed(&self, words: &[&str]) {
        let seen = self.place.seen(words);
        assert!(seen.contains("\nexit: 0\n"), "{seen}");
    }

    fn status(&self) -> Value {
        document(&self.place, &["dev", "status"])
    }

    /// Asks the primary (`cluster`) or the `standby`, as the administrator. What the server says when it refuses, too.
    fn ask(&self, server: &str, database: &str, query: &str) -> String {
        let status = self.status();
        let state: Value = serde_json::from_str(&self.place.read(".pgisle/dev/dev.json")).unwrap();
        let mut psql = self.psql(&status[server]["port"], database, query);
        psql.env("PGUSER", state["admin"].as_str().unwrap()).env("PGPASSWORD", state["password"].as_str().unwrap());
        let output = psql.output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
    }

    fn psql(&self, port: &Value, database: &str, query: &str) -> Command {
        let program = pgisle_engine::local::find_program("psql").unwrap();
        let mut psql = self.place.command(program);
        psql.args(["-XtA", "-v", "VERBOSITY=sqlstate", "-h", "127.0.0.1", "-p", &port.to_string(), "-d", database, "-c", query]);
        psql.env("PGCONNECT_TIMEOUT", "10");
        psql
    }

    /// Everything is as it was before, the roles of the two servers aside.
    fn is_healthy(&self) {
        let status = self.status();
        assert_eq!((&status["exit_code"], &status["standby"]["state"]), (&0.into(), &"streaming".into()), "{status}");
        assert_eq!(status["standby"]["synchronous"], false, "{status}");
        for database in ["shop_orders", "shop_billing", "shop_app"] {
            assert_eq!(self.ask("cluster", database, "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgisle_failover'"), "0");
        }
        assert_eq!(
            self.ask("cluster", "postgres", "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_replication_slots)"),
            "f|1"
        );
        assert_eq!(
            self.ask("standby", "postgres", "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_replication_slots)"),
            "t|0"
        );
        assert_eq!(self.ask("standby", "shop_orders", "CREATE TABLE astray ()"), "ERROR:  25006");
        // The services come through PgBouncer to the one that takes writes, as the generated files say.
        let port = self.port_by("$DATABASE_POOL_URL", "CREATE TEMPORARY TABLE IF NOT EXISTS t ()").unwrap();
        assert_eq!(port, status["cluster"]["port"].to_string());
        // And readers to the one that does not.
        let standby = Ok(status["standby"]["port"].to_string());
        assert_eq!(self.port_by("$DATABASE_POOL_URL_RO", "SELECT"), standby);
        assert_eq!(self.port_by("$DATABASE_URL_RO", "SELECT"), standby);
        assert_eq!(self.port_by("$DATABASE_URL_RW", "CREATE TEMPORARY TABLE IF NOT EXISTS t ()"), Ok(port.clone()));
        assert_eq!(self.port_by("$DATABASE_POOL_URL_RO", "CREATE TABLE astray ()"), Err("ERROR:  25006".to_owned()));
        let env = self.place.read("generated/development/.env/.env.orders");
        assert!(env.contains(&format!("PGPORT={port}")) || env.contains(&format!("PGPORT='{port}'")), "{env}");
        assert_eq!(exit(&self.place, &["plan", "-detailed-exitcode"]), Some(0));
    }

    /// Which server does what a service asks for by one of its addresses, or why not. For a second PgBouncer may repeat what it was told
    /// of the server that was killed. A session behind it may have served an earlier question.
    fn port_by(&self, address: &str, statement: &str) -> Result<String, String> {
        let script = format!(
            "set -a; . ./generated/development/.env/.env.orders; exec \"$0\" -XtAq -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate \"{address}\" \
             -c '{statement}' -c 'SELECT inet_server_port()'"
        );
        let psql = pgisle_engine::local::find_program("psql").unwrap();
        let begun = Instant::now();
        loop {
            let output = self.place.command("/bin/sh").args(["-c", &script]).arg(&psql).output().unwrap();
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned());
            }
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if !said.contains("08P01") || begun.elapsed() > Duration::from_secs(10) {
                return Err(said);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn failover(&self, words: &[&str]) -> Value {
        document(&self.place, &[&["verify", "-failover"], &FAST[..], words].concat())
    }
}

/// What holds of every failover.
fn assert_sound(document: &Value) {
    let report = &document["failover"];
    assert_eq!(document["exit_code"], 0, "{document}");
    assert_eq!((&report["old"]["refuses_writes"], &report["old"]["is_same"]), (&true.into(), &true.into()), "{document}");
    let ledgers: Vec<&Value> = report["services"].as_array().unwrap().iter().chain([&report["stale"]]).collect();
    assert_eq!(ledgers.len(), 3);
    for ledger in &ledgers {
        for never in ["duplicates", "strangers", "accepted_by_old"] {
            assert_eq!(ledger[never], 0, "{never}: {document}");
        }
        assert!(ledger["acknowledged"].as_u64() > Some(0), "{document}");
    }
    assert!(ledgers[..2].iter().all(|service| service["back_after_ms"].is_u64()), "{document}");
    assert!(report["stale"]["back_after_ms"].is_null() && report["stale"]["read_only"].as_u64() > Some(0), "{document}");
    assert_ne!(report["old_port"], report["new_port"]);
}

fn lost(document: &Value) -> u64 {
    let report = &document["failover"];
    let ledgers = report["services"].as_array().unwrap().iter().chain([&report["stale"]]);
    ledgers.map(|ledger| ledger["lost"].as_u64().unwrap()).sum()
}

/// The standby gets nothing for a while before the kill: without waiting for it that is lost, with waiting nothing is.
async fn there_and_back(major: u32) {
    let Some(site) = Site::new(major).await else {
        pgisle_testkit::skip!("PostgreSQL {major} or PgBouncer is not installed");
    };
    let report = site.failover(&["-lag=300ms"]);
    assert_sound(&report);
    assert!(lost(&report) > 0, "{report}");
    assert_eq!((&report["diagnostics"][0]["code"], &report["diagnostics"][0]["severity"]), (&"PI0522".into(), &"warning".into()));
    assert!(report["failover"]["log"]["lost_bytes"].as_u64() > Some(0), "{report}");
    assert!(report["failover"]["old"]["rows_only_there"].as_u64() >= Some(lost(&report)), "{report}");
    site.is_healthy();

    let back = site.failover(&["-sync", "-lag=300ms"]);
    assert_sound(&back);
    assert_eq!((lost(&back), &back["diagnostics"]), (0, &Value::Array(Vec::new())), "{back}");
    assert_eq!(back["failover"]["new_port"], report["failover"]["old_port"]);
    assert!(back["failover"]["pace"]["synchronous"]["p50_us"].is_u64(), "{back}");
    site.is_healthy();
}

#[tokio::test]
async fn what_waits_for_the_standby_is_never_lost_on_15() {
    there_and_back(15).await;
}

#[tokio::test]
async fn what_waits_for_the_standby_is_never_lost_on_17() {
    there_and_back(17).await;
}

#[tokio::test]
async fn it_is_told_in_words_what_was_lost_and_what_that_means() {
    let Some(site) = Site::new(15).await else {
        pgisle_testkit::skip!("PostgreSQL 15 or PgBouncer is not installed");
    };
    let seen = site.place.seen(&[&["verify", "-failover"], &FAST[..]].concat());
    for words in
        ["Lost (RPO): of ", "Back (RTO): after ", "Twice: ", "Split brain: ", "old primary is the standby", "taken for dead"]
    {
        assert!(seen.contains(words), "{words}: {seen}");
    }
    let status = site.place.seen(&["dev", "status"]);
    assert!(status.contains("role       primary") && status.contains(", follows, "), "{status}");
}

#[tokio::test]
async fn nothing_is_killed_where_it_cannot_be_tried() {
    let place = Place::passable();
    place.file("pgisle.hcl", SPEC);
    let refused = |words: &[&str]| document(&place, &[&["verify", "-failover"], words].concat());
    // A cluster of the user's own, whether it is there or not.
    let report = refused(&[]);
    assert_eq!((&report["exit_code"], &report["diagnostics"][0]["code"]), (&1.into(), &"PI0519".into()), "{report}");
    assert_eq!(refused(&["-dev"])["diagnostics"][0]["code"], "PI0703");
    for wrong in [&["-rate=0"][..], &["-settle=1ms"], &["-lag=11s"], &["-timeout=0s"], &["-writers=0"], &["-load"], &["-static"]] {
        assert_eq!(refused(&[&["-dev"], wrong].concat())["exit_code"], 64, "{wrong:?}");
    }
    assert_eq!(exit(&place, &["verify", "-dev", "-sync"]), Some(64));

    let site = Site { place: place.variable("PGISLE_DEV", "1") };
    site.succeed(&["dev", "up"]);
    let report = site.failover(&[]);
    assert_eq!((&report["diagnostics"][0]["code"], report["exit_code"].as_u64()), (&"PI0519".into(), Some(1)), "{report}");
    assert_eq!(report["diagnostics"][0]["commands"][0], "pgisle dev up -standby");
    // With a standby, and without PgBouncer in front.
    site.succeed(&["dev", "up", "-standby"]);
    let report = site.failover(&[]);
    assert!(report["diagnostics"][0]["summary"].as_str().unwrap().starts_with("no PgBouncer"), "{report}");
    assert_eq!(report["diagnostics"][0]["commands"][0], "pgisle apply -dev");
    // A standby that is away.
    let data = PathBuf::from(site.status()["standby"]["data"].as_str().unwrap());
    pgisle_engine::local::server::kill(&data);
    let report = site.failover(&[]);
    assert_eq!(report["diagnostics"][0]["summary"], "the standby does not follow the primary", "{report}");
    assert_eq!(site.ask("cluster", "postgres", "SELECT pg_is_in_recovery()"), "f");
}

/// Kills pgisle there; what it leaves is ended by `dev up`, or by the next failover.
async fn killed_at(stages: &[&str], words: &[&str]) {
    let Some(site) = Site::new(17).await else {
        pgisle_testkit::skip!("PostgreSQL 17 or PgBouncer is not installed");
    };
    for (number, stage) in stages.iter().enumerate() {
        let all = [&["verify", "-failover"], &FAST[..], words].concat();
        let output = site.place.run(&all, &[("PGISLE_FAULT_KILL_AT", stage)]).await;
        assert_eq!(output.status.code(), None, "{stage}: {}", String::from_utf8_lossy(&output.stderr));
        // At no point are there two that could take writes.
        let place = site.place.project().canonicalize().unwrap().join(".pgisle/dev/server");
        let place = if place.exists() { place } else { pgisle_engine::local::data_refuge(&place) };
        let unfenced = ["data", "second/data"].iter().filter(|data| {
            let data = place.join(data);
            data.join("PG_VERSION").exists() && !data.join("standby.signal").exists()
        });
        assert!(unfenced.count() <= 1, "{stage}");
        if number == 0 {
            assert_sound(&site.failover(&[]));
        } else {
            site.succeed(&["dev", "up"]);
        }
        site.is_healthy();
    }
}

#[tokio::test]
async fn killed_before_the_decision_it_is_ended() {
    killed_at(&["failover.loading", "failover.killed", "failover.fenced"], &[]).await;
}

#[tokio::test]
async fn killed_behind_the_decision_it_is_ended() {
    killed_at(&["failover.decided", "failover.promoted", "failover.repointed"], &["-lag=100ms"]).await;
}

#[tokio::test]
async fn killed_while_the_old_primary_comes_back_it_is_ended() {
    killed_at(&["failover.old_started", "failover.rejoined", "failover.held_back"], &["-sync", "-lag=100ms"]).await;
}
