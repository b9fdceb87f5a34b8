//! Backups of the whole cluster, from the outside.

use pgisle_testkit::{Cluster, skip};
use serde_json::Value;

use crate::backup::{backed_up, files};
use crate::cluster::{document, exit};

fn ids(listed: &Value) -> Vec<String> {
    let backups = listed["cluster"]["backups"].as_array().unwrap();
    backups.iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_create_says_list_verify_unpack_and_prune_say_too() {
    if !pgisle_testkit::majors().await.contains(&17) {
        skip!("PostgreSQL 17 is not installed");
    }
    let cluster = Cluster::builder().major(17).conf("summarize_wal", "on").start().await;
    let place = backed_up(&cluster);
    assert_eq!(exit(&place, &["backup", "verify", "-cluster"]), Some(1), "there is none yet");
    let metrics = place.project().join("pgisle.prom");
    let full = document(&place, &["backup", "create", "-cluster", &format!("-metrics={}", metrics.display())]);
    assert_eq!((&full["cluster"]["parent"], &full["cluster"]["verified"]["how"]), (&Value::Null, &Value::from("stored")));
    let databases = full["cluster"]["databases"].as_array().unwrap();
    assert!(databases.iter().any(|one| one["name"] == "shop_orders" && one["service"] == "orders"), "{databases:?}");
    cluster.psql_in("shop_orders", "SET ROLE shop_orders_owner; CREATE TABLE t AS SELECT generate_series(1, 1000) AS n").await;
    let next = document(&place, &["backup", "create", "-cluster", "-incremental"]);
    assert_eq!(next["cluster"]["parent"], full["cluster"]["id"]);
    let listed = document(&place, &["backup", "list"]);
    assert_eq!(listed["cluster"]["backups"], Value::from(vec![full["cluster"].clone(), next["cluster"].clone()]));
    assert_eq!(ids(&document(&place, &["backup", "list", "-service=orders"])), Vec::<String>::new());
    let text = place.seen(&["backup", "list"]);
    assert!(text.contains("  full") && text.contains("  incremental") && text.contains("2 backups of the whole cluster"), "{text}");
    assert!(std::fs::read_to_string(&metrics).unwrap().contains("pgisle_backup_cluster_last_bytes{project=\"shop\""));
    let proved = document(&place, &["backup", "verify", "-deep"]);
    // With the newest comes what it stands on, which need not be unpacked by itself.
    assert_eq!((&proved["cluster"][0]["id"], &proved["cluster"][0]["unpacked"]), (&full["cluster"]["id"], &Value::Null));
    assert_eq!((&proved["cluster"][1]["id"], &proved["cluster"][1]["unpacked"]), (&next["cluster"]["id"], &Value::from("whole")));
    assert_eq!(document(&place, &["backup", "verify", "-all"])["cluster"].as_array().unwrap().len(), 2);
    let folder = place.project().join("rescued");
    let unpacked = document(&place, &["backup", "unpack", folder.to_str().unwrap()]);
    assert_eq!(unpacked["cluster"]["id"], next["cluster"]["id"]);
    assert_eq!(std::fs::read_to_string(folder.join("PG_VERSION")).unwrap(), "17\n");
    let text = place.seen(&["backup", "unpack", folder.to_str().unwrap()]);
    assert!(text.contains("exit: 1") && text.contains("error[PI0846]"), "{text}");
    let due = document(&place, &["backup", "prune", "-n"]);
    assert_eq!(due["due"]["cluster"]["kept"].as_u64(), Some(2));
    for wrong in [["-cluster", "-service=orders"], ["-cluster", "-consistent"], ["-incremental", "-quiet"]] {
        assert_eq!(exit(&place, &["backup", "create", wrong[0], wrong[1]]), Some(64), "{wrong:?}");
    }
    let log = place.read("store/shop-development/backup.log");
    assert!(log.contains(" ok cluster backup="), "{log}");
    // A backup that is damaged ends in a failure.
    let base = files(&place.project().join("store")).into_iter().find(|path| path.ends_with("base.tar.zst")).unwrap();
    let mut bytes = std::fs::read(&base).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&base, &bytes).unwrap();
    let text = place.seen(&["backup", "verify", "-all"]);
    assert!(text.contains("exit: 1") && text.contains("error[PI0803]") && text.contains("of the cluster is damaged"), "{text}");
    bytes.pop();
    std::fs::write(&base, &bytes).unwrap();
    let listed = document(&place, &["backup", "list"]);
    assert_eq!(listed["exit_code"].as_i64(), Some(1));
}

#[tokio::test]
async fn a_run_that_is_killed_anywhere_leaves_no_half_backup() {
    let cluster = Cluster::start().await;
    let mut place = backed_up(&cluster);
    let create = ["backup", "create", "-cluster"];
    let mut expected = 0;
    for (stage, is_there) in [
        ("cluster.copying", false),
        ("cluster.globals", false),
        ("cluster.base", false),
        ("cluster.list", false),
        ("cluster.read_back", false),
        ("cluster.manifest", true),
        ("cluster.verified", true),
    ] {
        place = place.variable("PGISLE_FAULT_KILL_AT", stage);
        assert_eq!(exit(&place, &create), None, "{stage}: it was killed");
        place = place.variable("PGISLE_FAULT_KILL_AT", "");
        expected += usize::from(is_there);
        let listed = document(&place, &["backup", "list"]);
        assert_eq!(ids(&listed).len(), expected, "{stage}");
        assert_eq!(listed["cluster"]["damaged"].as_array().unwrap().len(), 0, "{stage}");
        if expected > 0 {
            assert_eq!(exit(&place, &["backup", "verify", "-cluster", "-all"]), Some(0), "{stage}");
        }
    }
    // The lock went with the one that was killed.
    assert_eq!(exit(&place, &create), Some(0));
    let before = files(&place.project().join("store")).len();
    assert_eq!(exit(&place, &["backup", "prune"]), Some(0));
    assert_eq!(files(&place.project().join("store")).len(), before, "a rest of today may be another run's");
    let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    for file in files(&place.project().join("store")) {
        std::fs::File::options().write(true).open(file).unwrap().set_modified(yesterday).unwrap();
    }
    assert_eq!(exit(&place, &["backup", "prune"]), Some(0));
    let listed = document(&place, &["backup", "list"]);
    assert_eq!((ids(&listed).len(), listed["cluster"]["leftovers"].as_array().unwrap().len()), (expected + 1, 0));
    // Unpacking that is killed leaves no data directory that could be taken for one, and nothing in the way.
    let folder = place.project().join("rescued");
    let unpack = ["backup", "unpack", folder.to_str().unwrap()];
    for stage in ["cluster.unpacked_part", "cluster.unpacked"] {
        place = place.variable("PGISLE_FAULT_KILL_AT", stage);
        assert_eq!(exit(&place, &unpack), None, "{stage}: it was killed");
        place = place.variable("PGISLE_FAULT_KILL_AT", "");
        assert!(!folder.exists(), "{stage}");
    }
    assert_eq!(exit(&place, &unpack), Some(0));
    assert!(folder.join("global/pg_control").is_file());
    let rests = std::fs::read_dir(place.project())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("unpacking"));
    assert_eq!(rests.count(), 0);
}
