//! The server goes away while a service is restored or backed up.

use pgisle_testkit::Cluster;
use serde_json::Value;

use super::server::{continued, stopped_by};
use super::{SPEC, assert_logins_work, cluster, ends, place, text};
use crate::program::Place;

const STATEMENT: &str = "PGISLE_FAULT_STOP_AFTER";
const STAGE: &str = "PGISLE_FAULT_STOP_AT";

/// A script like `pg_dump`'s, with a table, rows and what comes behind them.
const NEW: &str =
    "CREATE TABLE t (n text);\nCOPY t (n) FROM stdin;\nnew\n\\.\n\nCREATE INDEX i ON t (n);\nALTER TABLE t ADD UNIQUE (n);\n";

const RESTORE: &[&str] = &["restore", "orders", "./new.sql", "-auto-approve", "-no-verify", "-lock-timeout=30s"];

async fn filled(cluster: &Cluster) -> Place {
    let store = |place: &Place| place.project().join("store").display().to_string();
    let place = place(cluster, SPEC);
    let store = store(&place);
    let place = place.variable("PGISLE_VAR_backup_storage_path", &store);
    place.file("new.sql", NEW);
    ends(&place, &["apply", "-auto-approve"], 0).await;
    cluster.psql_in("shop_orders", "SET ROLE shop_orders_owner; CREATE TABLE t AS SELECT 'old' AS n").await;
    place
}

async fn content(cluster: &Cluster) -> String {
    cluster.psql_in("shop_orders", "SELECT n FROM t").await
}

/// Databases that are being filled, and logins that fill them.
async fn rests(cluster: &Cluster) -> String {
    cluster
        .psql(
            "SELECT datname FROM pg_database WHERE datname LIKE '%\\_\\_restore%' \
             UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE '%\\_\\_restore'",
        )
        .await
}

#[tokio::test]
async fn a_restore_whose_server_is_killed_leaves_one_database_whole_and_the_next_one_finishes() {
    let cluster = cluster(Cluster::builder().durable()).await;
    let place = filled(&cluster).await;
    let (mut points, mut tidied) = (0, 0);
    for number in (1..).step_by(4) {
        let point = format!("statement:{number}");
        let Some(child) = stopped_by(&place, RESTORE, STATEMENT, &point).await else { break };
        cluster.kill_server();
        // Either pgisle finds no server, or one that has recovered and knows nothing of its sessions.
        let is_back = points % 2 == 0;
        if is_back {
            cluster.restart().await;
        }
        let (code, said) = continued(child).await;
        let is_swapped = is_back && content(&cluster).await == "new";
        // Behind the swap it is done, and only what follows could not be.
        assert!(code == Some(69) || is_swapped && code == Some(1), "{point}: {code:?} {said}");
        assert!(said.contains("error[PI02"), "{point}: {said}");
        if !is_back {
            cluster.restart().await;
        }
        let found = content(&cluster).await;
        assert!(found == "old" || found == "new", "{point}: {found}");
        let is_told =
            ["The live database is untouched", "have traded places is not known"].iter().any(|words| said.contains(words));
        assert!(found == "new" || is_told, "{point}: {said}");
        if rests(&cluster).await.is_empty() {
            tidied += 1;
        } else {
            assert!(found == "new" || said.contains("still there"), "{point}: {said}");
        }
        assert_logins_work(&cluster, &place).await;
        ends(&place, &["plan", "-detailed-exitcode"], 0).await;
        ends(&place, RESTORE, 0).await;
        assert_eq!((content(&cluster).await, rests(&cluster).await), ("new".to_owned(), String::new()), "{point}");
        cluster.psql_in("shop_orders", "UPDATE t SET n = 'old'").await;
        ends(&place, &["restore", "orders", "-prune", "-keep-days=0"], 0).await;
        points += 1;
    }
    assert!(points > 8 && tidied > 2, "{points} points, and {tidied} times all was taken away at once");
}

#[tokio::test]
async fn a_backup_whose_server_is_killed_is_whole_or_not_there_and_the_next_one_goes() {
    let cluster = cluster(Cluster::builder().durable()).await;
    let place = filled(&cluster).await;
    let create = ["backup", "create", "-service=orders"];
    let mut expected = 0;
    let stages = ["backup.dumping", "backup.written", "backup.read_back", "backup.manifest", "backup.verified"];
    for (number, stage) in stages.into_iter().enumerate() {
        let child = stopped_by(&place, &create, STAGE, stage).await.unwrap();
        cluster.kill_server();
        let is_back = number % 2 == 0;
        if is_back {
            cluster.restart().await;
        }
        let (code, said) = continued(child).await;
        if !is_back {
            cluster.restart().await;
        }
        // Once the manifest is there, the server is not needed any more; just before, it depends on whether its end was seen.
        let is_made = code == Some(0);
        let may_be = stage == "backup.read_back" || is_made == matches!(stage, "backup.manifest" | "backup.verified");
        assert!(may_be && (is_made || said.contains("error[PI0")), "{stage}: {said}");
        expected += usize::from(is_made);
        assert_eq!(listed(&place).await, expected, "{stage}: {said}");
        ends(&place, &create, 0).await;
        expected += 1;
        assert_eq!(listed(&place).await, expected, "{stage}");
        ends(&place, &["backup", "verify", "-all"], 0).await;
    }
}

/// How many backups are listed; none of them may be damaged, and nothing else may lie there.
async fn listed(place: &Place) -> usize {
    let output = place.run(&["backup", "list", "-json"], &[]).await;
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    assert_eq!((&document["damaged"], &document["leftovers"]), (&serde_json::json!([]), &serde_json::json!([])));
    document["backups"].as_array().unwrap().len()
}
