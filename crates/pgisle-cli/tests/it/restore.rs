//! `restore`, as a user runs it.

use pgisle_testkit::Cluster;
use serde_json::Value;

use crate::program::Place;

const SPEC: &str = r#"
name_prefix        = "shop"
collation          = "C.UTF-8"
default_extensions = []
postgres_sslmode   = "disable"
enable_ssl         = false
enable_pgbouncer   = false

service "orders" {}
"#;

const NEW: &str = "CREATE TABLE t AS SELECT 'new' AS n;\n";

async fn project(cluster: &Cluster) -> Place {
    let place = Place::new()
        .variable("PGISLE_VAR_postgres_host", cluster.host())
        .variable("PGISLE_VAR_postgres_port", &cluster.port().to_string())
        .variable("PGISLE_VAR_postgres_username", cluster.superuser())
        .variable("PGPASSWORD", cluster.password());
    place.file("pgisle.hcl", SPEC).file("new.sql", NEW);
    let applied = place.pgisle(&["apply", "-auto-approve"]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    cluster.psql_in("shop_orders", "SET ROLE shop_orders_owner; CREATE TABLE t AS SELECT 'old' AS n").await;
    place
}

/// Times and durations differ from run to run.
fn seen(place: &Place, arguments: &[&str]) -> String {
    let words = |line: &str| {
        let word = |word: &str| match word.split_once("__replaced_") {
            Some((name, _)) => format!("{name}__replaced_[TIME]"),
            None => word.to_owned(),
        };
        let line: Vec<String> = line.split(' ').map(word).collect();
        let line = line.join(" ");
        if line.starts_with("Nobody could connect for") { "Nobody could connect for [N] ms.".to_owned() } else { line }
    };
    place.seen(arguments).lines().map(words).collect::<Vec<_>>().join("\n")
}

async fn content(cluster: &Cluster, place: &Place) -> String {
    let passwords = place.pgisle(&["output", "-json", "service_passwords"]).stdout;
    let passwords: Value = serde_json::from_slice(&passwords).unwrap();
    let client = cluster.connect_as("shop_orders_user", passwords["orders"].as_str().unwrap(), "shop_orders").await.unwrap();
    client.query_one("SELECT n FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_dump_replaces_the_database_and_is_undone() {
    let cluster = Cluster::start().await;
    let place = project(&cluster).await;
    insta::assert_snapshot!("restore_without_a_terminal", seen(&place, &["restore", "orders", "./new.sql"]));
    assert_eq!(content(&cluster, &place).await, "old");
    insta::assert_snapshot!("restore", seen(&place, &["restore", "orders", "./new.sql", "-auto-approve"]));
    assert_eq!(content(&cluster, &place).await, "new");
    let status = seen(&place, &["status"]);
    assert!(status.contains("orders") && status.contains("replaced, kept closed"), "{status}");
    assert_eq!(place.pgisle(&["plan", "-detailed-exitcode"]).status.code(), Some(0));
    insta::assert_snapshot!("restore_undo", seen(&place, &["restore", "orders", "-undo", "-auto-approve", "-no-verify"]));
    assert_eq!(content(&cluster, &place).await, "old");
    insta::assert_snapshot!("restore_prune", seen(&place, &["restore", "orders", "-prune"]));
    insta::assert_snapshot!("restore_prune_all", seen(&place, &["restore", "orders", "-prune", "-keep-days=0"]));

    for (arguments, code) in [
        (&["restore", "nothing", "./new.sql", "-json"][..], "PI0309"),
        (&["restore", "orders", "./missing.sql", "-json"], "PI0820"),
        (&["restore", "orders", "-undo", "-auto-approve", "-json"], "PI0826"),
        (&["restore", "orders", ".", "-json"], "PI0820"),
    ] {
        let output = place.pgisle(arguments);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["diagnostics"][0]["code"], code, "{arguments:?}");
    }
    let output = place.pgisle(&["restore", "orders", "./new.sql", "-auto-approve", "-json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["restored"]["rows"], &document["proof"]["verdict"]), (&1.into(), &"isolated".into()));
}

/// A service that is destroyed can be had back: its backup is what destroy has looked for.
#[tokio::test]
async fn a_destroyed_service_comes_back_from_the_backup_that_let_it_go() {
    let cluster = Cluster::start().await;
    let place = project(&cluster).await;
    let store = place.project().join("store");
    let place = place.variable("PGISLE_VAR_backup_storage_path", store.to_str().unwrap());
    // Not in the way of the test's own sessions, which end only while it goes on.
    let run = async |arguments: &[&str]| {
        let output = place.run(&[arguments, &["-lock-timeout=30s"]].concat(), &[]).await;
        let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
        (output.status.code(), said)
    };
    let destroy = ["destroy", "-target=service.orders", "-auto-approve"];
    let (code, said) = run(&destroy).await;
    assert!(code == Some(1) && said.contains("PI0312") && said.contains("pgisle backup create -service=orders"), "{said}");
    // What is only planned is held back, too, and so is a plan that was saved.
    let (_, said) = run(&["plan", "-destroy", "-out=destroy.pgplan"]).await;
    assert!(said.contains("PI0312"), "{said}");
    let (_, said) = run(&["apply", "destroy.pgplan"]).await;
    assert!(said.contains("PI0312"), "{said}");
    assert_eq!(content(&cluster, &place).await, "old");

    assert_eq!(run(&["backup", "create"]).await.0, Some(0));
    place.file("pgisle.hcl", SPEC.replace("service \"orders\" {}", "service \"chat\" {}"));
    assert_eq!(run(&["retire", "orders", "-auto-approve"]).await.0, Some(0));
    let (code, said) = run(&destroy).await;
    assert!(code == Some(0) && said.contains("PI0316") && said.contains("Destroy complete"), "{said}");
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_database WHERE datname LIKE 'shop\\_orders%'").await, "0");
    let (_, said) = run(&["backup", "list"]).await;
    assert!(said.contains("orders"), "{said}");
    let again = place.pgisle(&["backup", "create", "-service=orders", "-json"]);
    assert_eq!(again.status.code(), Some(1), "there is nothing to back up");

    place.file("pgisle.hcl", SPEC);
    assert_eq!(run(&["apply", "-auto-approve"]).await.0, Some(0));
    let (code, said) = run(&["restore", "orders", "-auto-approve"]).await;
    assert!(code == Some(0), "{said}");
    assert_eq!(content(&cluster, &place).await, "old");
}

/// Killed after each single statement: the live database is the old one or the new one, open to its service, and what is left is
/// taken away by the next run.
#[tokio::test]
async fn a_restore_that_is_killed_leaves_the_live_database_in_its_place() {
    let cluster = Cluster::start().await;
    let place = project(&cluster).await;
    let (mut killed, mut swapped) = (0, 0);
    loop {
        let mut command = place.command(env!("CARGO_BIN_EXE_pgisle"));
        // A killed run's session, and with it the lock, goes only when the server notices.
        command.args(["restore", "orders", "./new.sql", "-auto-approve", "-no-verify", "-lock-timeout=30s"]);
        let output = command.env("PGISLE_FAULT_KILL_AFTER", format!("statement:{}", killed + 1)).output().unwrap();
        let content = content(&cluster, &place).await;
        if output.status.success() {
            assert_eq!(content, "new");
            break;
        }
        killed += 1;
        assert_eq!(output.status.code(), None, "killed after {killed}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(content == "old" || content == "new", "killed after {killed}: {content}");
        assert_eq!(place.pgisle(&["plan", "-detailed-exitcode"]).status.code(), Some(0), "killed after {killed}");
        if content == "new" {
            swapped += 1;
            let undone = place.pgisle(&["restore", "orders", "-undo", "-auto-approve", "-no-verify", "-lock-timeout=30s"]);
            assert!(undone.status.success(), "killed after {killed}: {}", String::from_utf8_lossy(&undone.stderr));
        }
    }
    assert!(killed > 30 && swapped > 0, "{killed} and {swapped}");
    let pruned = place.pgisle(&["restore", "orders", "-prune", "-keep-days=0"]);
    assert!(pruned.status.success(), "{}", String::from_utf8_lossy(&pruned.stderr));
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop\\_orders\\_\\_%'";
    assert_eq!(cluster.psql(left).await, "0");
    assert_eq!(cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE '%\\_\\_restore'").await, "0");
}

/// The private cluster, which goes with the test.
struct Dev(Place);

impl Drop for Dev {
    fn drop(&mut self) {
        let _gone = self.0.pgisle(&["dev", "down", "-destroy"]);
    }
}

/// Without another place in the files its backups are beside it, and whoever makes, lists, restores or drills them must look there.
#[test]
fn the_backups_of_the_private_cluster_are_found_by_whoever_needs_them() {
    let spec: String = SPEC.lines().filter(|line| !line.contains("ssl")).map(|line| format!("{line}\n")).collect();
    let dev = Dev(Place::new().variable("PGISLE_DEV", "1"));
    dev.0.file("pgisle.hcl", spec).file("new.sql", NEW).file("other.sql", "CREATE TABLE other (n int);\n");
    let succeeds = |arguments: &[&str]| {
        let output = dev.0.pgisle(&[arguments, &["-json", "-lock-timeout=30s"]].concat());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert!(output.status.success(), "{arguments:?}: {document:#} {}", String::from_utf8_lossy(&output.stderr));
        document
    };
    succeeds(&["dev", "up"]);
    succeeds(&["apply", "-auto-approve"]);
    succeeds(&["restore", "orders", "./new.sql", "-auto-approve", "-no-verify"]);
    let made = succeeds(&["backup", "create"]);
    let id = made["backups"][0]["id"].as_str().unwrap();
    let folder = dev.0.project().join(".pgisle/dev/backups/shop-development/services/orders").join(id);
    assert!(folder.join("manifest.json").exists(), "{}", folder.display());
    assert_eq!(succeeds(&["backup", "list"])["backups"][0]["id"], id);
    let drilled = succeeds(&["backup", "drill"]);
    assert!(drilled.to_string().contains(id), "{drilled:#}");
    succeeds(&["restore", "orders", "./other.sql", "-auto-approve", "-no-verify"]);
    let restored = succeeds(&["restore", "orders", "-auto-approve", "-no-verify"]);
    assert_eq!((&restored["restored"]["source"], &restored["restored"]["rows"]), (&id.into(), &1.into()));
}
