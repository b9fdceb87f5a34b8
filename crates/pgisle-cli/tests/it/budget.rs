//! The connection budget through the program: what cannot fit is refused before anything is changed, and what is suggested fits.

use pgisle_testkit::Cluster;
use serde_json::{Value, json};

use crate::cluster::{document, exit};
use crate::program::Place;

/// Thirty connections of services and five of monitoring.
const SPEC: &str = r#"
name_prefix        = "shop"
collation          = "C.UTF-8"
default_extensions = []
postgres_sslmode   = "disable"
enable_ssl         = false

service "billing" {
}

service "orders" {
  instances = 2
  pool_size = 10
}
"#;

/// The same in a place that reaches the cluster.
fn project(cluster: &Cluster) -> Place {
    let place = crate::cluster::project(cluster);
    place.file("pgisle.hcl", SPEC);
    place
}

async fn small() -> Cluster {
    Cluster::builder().conf("max_connections", "30").conf("superuser_reserved_connections", "3").start().await
}

/// What there is of pgisle on the server.
async fn made(cluster: &Cluster) -> String {
    let sql = "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'shop%') + (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'shop%')";
    cluster.psql(sql).await
}

#[tokio::test]
async fn pools_that_cannot_fit_are_refused_and_nothing_is_changed() {
    let cluster = small().await;
    let place = project(&cluster);
    for arguments in [&["plan"][..], &["plan", "-detailed-exitcode"], &["plan", "-out=saved.pgplan"], &["apply", "-auto-approve"]] {
        let seen = place.seen(arguments);
        assert!(seen.contains("\nexit: 1\n") && seen.contains("error[PI0306]: full pools need 35 connections"), "{seen}");
        assert!(seen.contains("--> pgisle.hcl:13:3  service \"orders\""), "at the pool that takes most: {seen}");
        assert!(seen.contains("max_connections = 38 on the server") && seen.contains("above 7"), "{seen}");
        let error = &document(&place, arguments)["diagnostics"][0];
        assert_eq!((&error["code"], &error["place"]["line"], &error["place"]["column"]), (&json!("PI0306"), &json!(13), &json!(3)));
    }
    assert_eq!(made(&cluster).await, "0");
    for path in ["generated", "saved.pgplan", ".pgisle/development/credentials.json"] {
        assert!(!place.project().join(path).exists(), "{path}");
    }
    insta::assert_snapshot!(place.seen(&["budget"]).replace(&cluster.port().to_string(), "[PORT]"));
}

#[tokio::test]
async fn every_suggestion_makes_it_pass() {
    let cluster = small().await;
    let place = project(&cluster);
    let budget = document(&place, &["budget"]);
    assert_eq!(
        (&budget["exit_code"], &budget["budget"]["steady"], &budget["budget"]["server"]["headroom"]),
        (&json!(1), &json!(35), &json!(-8))
    );
    let suggestions = budget["budget"]["suggestions"].as_array().unwrap().clone();
    let wanted = json!([{"change": "max_connections", "to": 38}, {"change": "pool_size", "to": 7}, {"change": "transaction_mode"}]);
    assert_eq!(Value::from(suggestions), wanted);

    place.file("pgisle.hcl", SPEC.replace("pool_size = 10", "pool_size = 7"));
    assert_eq!(exit(&place, &["budget", "-var=pgbouncer_default_pool_size=7"]), Some(0));
    place.file("pgisle.hcl", SPEC.replace("pool_size = 10", "pool_size = 8"));
    assert_eq!(exit(&place, &["budget", "-var=pgbouncer_default_pool_size=8"]), Some(1), "one more is too many");

    place.file("pgisle.hcl", SPEC);
    let by_transaction = "-var=pgbouncer_pool_mode=transaction";
    assert_eq!(exit(&place, &["budget", by_transaction]), Some(0));
    assert_eq!(exit(&place, &["apply", "-auto-approve", by_transaction]), Some(0));
    assert_ne!(made(&cluster).await, "0");

    cluster.psql("ALTER SYSTEM SET max_connections = 38").await;
    cluster.restart().await;
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    let seen = place.seen(&["plan"]);
    assert!(seen.contains("\nexit: 0\n") && seen.contains("warning[PI0306]: full pools fit, and at the peak"), "{seen}");
    assert_eq!(exit(&place, &["budget"]), Some(0), "a peak that does not fit is a warning");
}

/// A server that has become too small must not keep a leaked password in use, nor a service that is to go.
#[tokio::test]
async fn on_a_full_server_logins_are_replaced_and_services_go() {
    let cluster = Cluster::start().await;
    let place = project(&cluster);
    assert_eq!(exit(&place, &["apply", "-auto-approve"]), Some(0));
    assert_eq!(exit(&place, &["plan", "-out=before.pgplan"]), Some(0));
    cluster.psql("ALTER SYSTEM SET max_connections = 18").await;
    cluster.restart().await;
    let saved = place.seen(&["apply", "before.pgplan"]);
    assert!(saved.contains("\nexit: 1\n") && saved.contains("error[PI0306]"), "{saved}");
    assert_eq!(exit(&place, &["plan", "-parallelism=1"]), Some(1));
    assert_eq!(exit(&place, &["rotate", "orders", "-parallelism=1"]), Some(0));
    place.file("pgisle.hcl", SPEC.replace("service \"billing\" {\n}\n", ""));
    assert_eq!(exit(&place, &["plan", "-parallelism=1"]), Some(1), "20 and 5 are still more than 15");
    assert_eq!(exit(&place, &["retire", "billing", "-auto-approve", "-parallelism=1"]), Some(0));
}

#[tokio::test]
async fn a_login_that_may_hold_less_than_its_pools_is_told_in_the_file() {
    let place = Place::new();
    place.file("pgisle.hcl", SPEC.replace("instances = 2", "instances = 2\n  connection_limit = 15"));
    let seen = place.seen(&["validate"]);
    let told = "warning[PI0110]: PgBouncer's pool should hold 20 connections, and the login may hold 15\n  --> pgisle.hcl:14:3  service \"orders\"";
    assert!(seen.contains("\nexit: 0\n") && seen.contains(told), "{seen}");
    let direct = place.seen(&["validate", "-var=enable_pgbouncer=false"]);
    assert!(direct.contains("warning[PI0110]: all instances together may open 20 connections, and the limit is 15"), "{direct}");
}
