//! `pgisle backup`, from the outside.

use std::path::{Path, PathBuf};

use pgisle_testkit::Cluster;
use serde_json::Value;

use crate::cluster::{document, exit, project};
use crate::program::Place;

/// A project whose backups are in a folder of its own.
pub(crate) fn backed_up(cluster: &Cluster) -> Place {
    let place = project(cluster);
    let store = place.project().join("store");
    let place = place.variable("PGISLE_VAR_backup_storage_path", store.to_str().unwrap());
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    place
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn ids(document: &Value, service: &str) -> Vec<String> {
    let all = document["backups"].as_array().unwrap().iter();
    all.filter(|backup| backup["service"] == service).map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_create_says_list_verify_and_prune_say_too() {
    let cluster = Cluster::start().await;
    let place = backed_up(&cluster);
    cluster.psql_in("shop_orders", "SET ROLE shop_orders_owner; CREATE TABLE t AS SELECT generate_series(1, 1000) AS n").await;
    assert_eq!(exit(&place, &["backup", "verify"]), Some(1), "there is none yet");
    let metrics = place.project().join("pgisle.prom");
    let made = document(&place, &["backup", "create", &format!("-metrics={}", metrics.display())]);
    assert_eq!((ids(&made, "orders").len(), ids(&made, "billing").len()), (1, 1));
    let orders = &made["backups"].as_array().unwrap()[1];
    assert_eq!((orders["rows"].as_u64(), orders["verified"]["how"].as_str()), (Some(1000), Some("stored")));
    let listed = document(&place, &["backup", "list"]);
    assert_eq!(listed["backups"], made["backups"]);
    let proved = document(&place, &["backup", "verify", "-all"]);
    assert_eq!(proved["proved"].as_array().unwrap().len(), 2);
    assert!(std::fs::read_to_string(&metrics).unwrap().contains("pgisle_backup_last_bytes{project=\"shop\""));
    let due = document(&place, &["backup", "prune", "-n"]);
    assert_eq!((due["due"]["kept"].as_u64(), due["dry_run"].as_bool()), (Some(2), Some(true)));
    assert_eq!(exit(&place, &["backup", "prune"]), Some(0));
    let text = place.seen(&["backup", "list"]);
    assert!(text.contains("  orders") && text.contains("1000") && text.contains("2 backups in "), "{text}");
    assert_eq!(exit(&place, &["backup", "create", "-service=no such"]), Some(64));
    assert_eq!(exit(&place, &["backup", "verify", "1999"]), Some(1));
    let log = place.read("store/shop-development/backup.log");
    assert!(log.contains(" ok service=orders backup=") && log.contains("FAILED") == log.contains("PI08"), "{log}");
}

#[tokio::test]
async fn damage_ends_in_a_failure() {
    let cluster = Cluster::start().await;
    let place = backed_up(&cluster);
    let made = document(&place, &["backup", "create", "-service=orders"]);
    let id = &ids(&made, "orders")[0];
    let data = place.project().join(format!("store/shop-development/services/orders/{id}/data.pgdump.zst"));
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&data, &bytes).unwrap();
    let text = place.seen(&["backup", "verify", id]);
    assert!(text.contains("exit: 1") && text.contains("error[PI0803]") && text.contains("orders"), "{text}");
    bytes.pop();
    std::fs::write(&data, &bytes).unwrap();
    let listed = document(&place, &["backup", "list"]);
    assert_eq!((listed["exit_code"].as_i64(), listed["backups"].as_array().unwrap().len()), (Some(1), 0));
}

#[tokio::test]
async fn a_run_that_is_killed_anywhere_leaves_no_half_backup() {
    let cluster = Cluster::start().await;
    let mut place = backed_up(&cluster);
    cluster.psql_in("shop_orders", "SET ROLE shop_orders_owner; CREATE TABLE t AS SELECT generate_series(1, 50000) AS n").await;
    let create = ["backup", "create", "-service=orders"];
    let whole = ids(&document(&place, &create), "orders");
    let mut expected = whole.len();
    for (stage, is_there) in [
        ("backup.dumping", false),
        ("backup.written", false),
        ("backup.read_back", false),
        ("backup.manifest", true),
        ("backup.verified", true),
    ] {
        place = place.variable("PGISLE_FAULT_KILL_AT", stage);
        assert_eq!(exit(&place, &create), None, "{stage}: it was killed");
        place = place.variable("PGISLE_FAULT_KILL_AT", "");
        expected += usize::from(is_there);
        let listed = document(&place, &["backup", "list"]);
        assert_eq!(ids(&listed, "orders").len(), expected, "{stage}");
        assert_eq!(listed["damaged"].as_array().unwrap().len(), 0, "{stage}");
        // Whatever is listed is whole, and whatever is not is told to be a rest.
        assert_eq!(exit(&place, &["backup", "verify", "-all"]), Some(0), "{stage}");
        // The lock went with the one that was killed.
        assert_eq!(exit(&place, &create), Some(0), "{stage}: the next one goes as usual");
        expected += 1;
    }
    let before = files(&place.project().join("store")).len();
    assert_eq!(exit(&place, &["backup", "prune"]), Some(0));
    assert_eq!(files(&place.project().join("store")).len(), before, "a rest of today may be another run's");
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    for file in files(&place.project().join("store")) {
        std::fs::File::options().write(true).open(file).unwrap().set_modified(yesterday).unwrap();
    }
    assert_eq!(exit(&place, &["backup", "prune"]), Some(0));
    let listed = document(&place, &["backup", "list"]);
    assert_eq!((ids(&listed, "orders").len(), listed["leftovers"].as_array().unwrap().len()), (expected, 0));
}
