//! `backup drill -at TIME`: that services can be brought back to a time is proved and written down, and nothing else comes of it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::site::{Site, servers};
use crate::cluster::document;

/// Everything that a restore would have changed.
async fn cluster(site: &Site) -> String {
    const ALL: &str = "SELECT string_agg(name, ' ' ORDER BY name) FROM \
        (SELECT oid || datname FROM pg_database UNION ALL SELECT oid || rolname || coalesce(rolpassword, '') FROM pg_authid) AS t (name)";
    format!("{} {}", site.cluster.psql(ALL).await, site.rows().await)
}

fn proved(site: &Site, service: &str) -> Value {
    let listed = document(&site.place, &["backup", "list"]);
    listed["recovered"].as_array().unwrap().iter().find(|one| one["service"] == service).cloned().unwrap_or_default()
}

#[tokio::test]
async fn that_services_come_back_to_a_time_is_proved_and_nothing_is_changed() {
    let site = Site::new(None).await;
    site.insert("first").await;
    site.back_up().await;
    site.insert("before").await;
    let at = site.now().await;
    site.insert("after").await;
    let before = cluster(&site).await;
    let text = site.run(&["backup", "drill", "-at", &at]);
    assert!(text.contains("Reached ") && text.contains("orders: 2 rows in 1 table"), "{text}");
    assert!(text.contains("billing: 0 rows in 1 table"), "{text}");
    assert_eq!(cluster(&site).await, before);
    site.assert_nothing_left();
    let orders = proved(&site, "orders");
    let point = format!("{}Z", at.replace(' ', "T").trim_end_matches('0'));
    assert_eq!((&orders["rows"], &orders["at"], &orders["timeline"]), (&2.into(), &point.into(), &1.into()), "{orders}");
    let listed = document(&site.place, &["backup", "list"]);
    assert_eq!(listed["cluster"]["backups"][0]["verified"]["how"], "recovered", "{listed}");
    assert_eq!(orders["base"], listed["cluster"]["backups"][0]["id"], "{listed}");
    let text = site.run(&["backup", "list"]);
    assert!(text.contains("brought back to") && text.contains("recovered, "), "{text}");
    assert_eq!(document(&site.place, &["backup", "list", "-service=billing"])["recovered"].as_array().unwrap().len(), 1);
    let metrics = site.place.project().join("pgisle.prom");
    site.run(&["backup", "create", "-service=billing", &format!("-metrics={}", metrics.display())]);
    let metrics = fs::read_to_string(metrics).unwrap();
    let line = "pgisle_backup_last_recovered_timestamp_seconds{project=\"shop\",environment=\"development\",service=\"orders\"} ";
    assert!(metrics.contains(line), "{metrics}");

    // What was written a moment ago, from a backup of a moment ago, and a service that was not there at a time.
    site.insert("last").await;
    site.run(&["backup", "create", "-cluster"]);
    let drilled = document(&site.place, &["backup", "drill", "-at", "latest", "-service=orders"]);
    assert_eq!((&drilled["drills"][0]["rows"], drilled["drills"].as_array().unwrap().len()), (&4.into(), 1), "{drilled}");
    assert!(proved(&site, "orders")["at"].as_str() > orders["at"].as_str());
    assert!(proved(&site, "orders")["base"].as_str() > orders["base"].as_str());
    let spec = site.place.read("pgisle.hcl");
    site.place.file("pgisle.hcl", format!("{spec}\nservice \"later\" {{}}\n"));
    site.run(&["apply", "-auto-approve"]);
    let drilled = document(&site.place, &["backup", "drill", "-at", &at]);
    let codes: Vec<&str> = drilled["diagnostics"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!((&drilled["exit_code"], codes.as_slice()), (&1.into(), ["PI0831", "PI0856"].as_slice()), "{drilled}");
    assert_eq!(drilled["drills"].as_array().unwrap().len(), 2, "the others were gone on with: {drilled}");
    assert_eq!(proved(&site, "later"), Value::Null);
    site.assert_nothing_left();
}

#[tokio::test]
async fn a_drill_that_cannot_reach_its_time_or_is_killed_proves_nothing_and_leaves_nothing_for_long() {
    let site = Site::new(None).await;
    site.insert("first").await;
    let drill = |at: &str| site.refused(&["backup", "drill", "-at", at]);
    assert_eq!(drill("latest").0, "PI0856");
    site.back_up().await;
    let gone = site.archive().await;
    site.insert("second").await;
    site.archive().await;
    let at = site.now().await;
    assert_eq!(drill("2024-01-01 00:00:00").0, "PI0856");
    assert_eq!(drill("yesterday").0, "PI0901");
    let files = [".json", ".zst"].map(|end| site.wal.join(&gone[..8]).join(format!("{gone}{end}")));
    let kept = files.each_ref().map(|path| fs::read(path).unwrap());
    files.iter().for_each(|path| fs::remove_file(path).unwrap());
    let (code, error) = drill(&at);
    assert!(code == "PI0854" && error.to_string().contains(&gone), "{error}");
    files.iter().zip(kept).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());

    let work = ["backup", "drill", "-at", &at, "-service=orders"];
    // What comes before the dump is the same for a restore.
    for (stage, is_recorded) in [("recover.started", false), ("recover.dumped", false), ("recover.recorded", true)] {
        let mut command = site.place.command(env!("CARGO_BIN_EXE_pgisle"));
        let output = command.args(work).env("PGISLE_FAULT_KILL_AT", stage).output().unwrap();
        assert_eq!(output.status.code(), None, "{stage}: {}", String::from_utf8_lossy(&output.stderr));
        let left = site.scratch().expect("a folder of the killed run");
        let killed = Instant::now();
        while servers(&left) > 0 {
            assert!(killed.elapsed() < Duration::from_secs(20), "{stage}: the private server goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(proved(&site, "orders").is_object(), is_recorded, "{stage}");
        assert_eq!(site.rows().await, "first second", "{stage}");
    }
    site.run(&work);
    assert_eq!(proved(&site, "orders")["rows"], 2);
    site.assert_nothing_left();
}
