//! What no catalog tells, and how the proof behaves towards a server at work.

use std::time::{Duration, Instant};

use pgisle_core::verify::{CellState, Evidence, Outcome, Verdict};
use pgisle_engine::postgres::Host;
use pgisle_testkit::Cluster;

use super::{STATIC, THREE, USUAL, cell, leaking_cells, shown, told, verify};
use crate::apply::Project;

#[tokio::test]
async fn a_server_that_asks_for_no_password_is_found_by_trying() {
    let cluster = Cluster::builder().hba("local all all trust").start().await;
    let project = Project::new(&cluster, THREE);
    project.apply().await;
    assert_eq!(verify(&project, STATIC).await.verdict, Verdict::Isolated, "the catalogs know nothing of pg_hba.conf");
    let report = verify(&project, USUAL).await;
    let leaks: Vec<_> = report.leaks.iter().map(told).collect();
    assert_eq!(leaks, ["PI0504 everyone > *"], "{}", shown(&report));
    let leak = &report.leaks[0];
    assert_eq!((leak.evidence, leak.seen.len()), (Evidence::Probe, 2), "one finding, and the other two services beside it");
    assert!(leak.path_text().contains("tried it and logged in as link_") && leak.hint.contains("scram-sha-256"), "{leak:?}");
    assert_eq!(leaking_cells(&report).len(), 6, "each can be each other one\n{}", shown(&report));
    assert_eq!(report.verdict, Verdict::Leaking);
}

#[tokio::test]
async fn one_login_without_a_password_is_told_of_its_island() {
    let cluster = Cluster::builder().hba("local all link_chat_user trust").hba("local all all scram-sha-256").start().await;
    let project = Project::new(&cluster, THREE);
    project.apply().await;
    let report = verify(&project, USUAL).await;
    assert_eq!(report.leaks.iter().map(told).collect::<Vec<_>>(), ["PI0504 everyone > link_chat"], "{}", shown(&report));
    assert_eq!(leaking_cells(&report).into_iter().collect::<Vec<_>>(), ["ai > link_chat", "users > link_chat"]);
}

/// Where each login has one connection and no more, two at once would be refused.
#[tokio::test]
async fn one_connection_a_login_is_enough() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, THREE);
    project.apply().await;
    for login in ["link_users_user", "link_chat_user", "link_ai_user", "link_ai_migrator", "link_monitoring"] {
        cluster.psql(&format!("ALTER ROLE {login} CONNECTION LIMIT 1")).await;
    }
    let report = verify(&project, USUAL).await;
    assert_eq!(report.verdict, Verdict::Isolated, "{}", shown(&report));
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgisle%' AND pid <> pg_backend_pid()";
    for _ in 0..50 {
        if cluster.psql(left).await == "0" {
            return;
        }
        // The server takes a moment to end a session that has said goodbye.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a session is left");
}

/// A wrong password proves nothing of the others' databases, and the service is told to be down.
#[tokio::test]
async fn a_service_that_cannot_log_in_is_down_and_not_isolated() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, THREE);
    project.apply().await;
    cluster.psql("ALTER ROLE link_chat_user PASSWORD 'changed'").await;
    let report = verify(&project, USUAL).await;
    assert_eq!(report.leaks.iter().map(told).collect::<Vec<_>>(), ["PI0510 chat > link_chat"], "{}", shown(&report));
    assert_eq!((report.verdict, report.unproved.len()), (Verdict::Broken, 1), "{}", shown(&report));
    assert_eq!(cell(&report, "chat", "link_chat").state, CellState::Down);
    assert!(!cell(&report, "chat", "link_users").tried);
}

/// An address that takes connections and never answers costs each service one patience, not one for every database.
#[tokio::test]
async fn an_address_that_says_nothing_is_waited_for_once() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, THREE);
    project.apply().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut services = project.connect.clone();
    services.host = Host::Tcp("127.0.0.1".to_owned());
    services.port = silent.local_addr().unwrap().port();
    services.connect_timeout = Duration::from_secs(1);
    let start = Instant::now();
    let report = super::verify_at(&project, &services, USUAL).await;
    // Three services and the split one's second login, four at once, and monitoring one island after the other.
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert_eq!(report.verdict, Verdict::NotProved, "{}", shown(&report));
    assert!(report.probes.is_empty() && report.leaks.is_empty());
}

/// A migration at work is neither waited for nor in the way.
#[tokio::test]
async fn a_migration_at_work_is_no_obstacle() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, THREE);
    project.apply().await;
    cluster.psql_in("link_users", "CREATE TABLE busy (); ALTER TABLE busy OWNER TO link_users_owner").await;
    let client = cluster.connect_to("link_users").await;
    client.batch_execute("BEGIN; LOCK TABLE busy IN ACCESS EXCLUSIVE MODE; CREATE TABLE pgisle_probe ()").await.unwrap();
    let report = verify(&project, USUAL).await;
    // It made a table of the probe's name, so those trials that need the name show nothing; all others do.
    assert_eq!(report.verdict, Verdict::NotProved, "{}", shown(&report));
    let waits = |what: &str| what.contains("link_users") && what.contains("creat");
    assert!(report.unproved.iter().all(|unproved| waits(&unproved.what)), "{}", shown(&report));
    assert!(report.probes.iter().all(|probe| !matches!(probe.outcome, Outcome::Failed(_))));
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(verify(&project, USUAL).await.verdict, Verdict::Isolated);
}

/// Two at once would find each other's canaries.
#[tokio::test]
async fn two_proofs_take_turns() {
    let cluster = Cluster::start().await;
    let project = Project::new(&cluster, THREE);
    project.apply().await;
    let (one, other) = futures_util::join!(verify(&project, USUAL), verify(&project, USUAL));
    assert_eq!((one.verdict, other.verdict), (Verdict::Isolated, Verdict::Isolated));
}
