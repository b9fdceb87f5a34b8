//! The server goes away, or takes away the lock, while pgisle applies.

use std::time::Duration;

use pgisle_testkit::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::{SPEC, assert_logins_work, assert_same, catalog, cluster, ends, place, spies, text};
use crate::program::Place;

const APPLY: &[&str] = &["apply", "-auto-approve", "-parallelism=1"];
const STOP: &str = "PGISLE_FAULT_STOP_AFTER";

/// Starts an apply that stops at a point; none when it was over before.
pub(super) async fn stopped(place: &Place, arguments: &[&str], point: &str) -> Option<Child> {
    stopped_by(place, arguments, STOP, point).await
}

/// The same with the variable that says what kind of point it is.
pub(crate) async fn stopped_by(place: &Place, arguments: &[&str], variable: &str, point: &str) -> Option<Child> {
    let mut child = place.start(arguments, &[(variable, point)]);
    let stat = format!("/proc/{}/stat", child.id()?);
    loop {
        let is_stopped = std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") T "));
        if is_stopped {
            return Some(child);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Lets it go on, and gives its exit code and all that it said.
pub(crate) async fn continued(child: Child) -> (Option<i32>, String) {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).unwrap())).unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    let output = child.wait_with_output().await.unwrap();
    (output.status.code(), text(&output))
}

async fn undisturbed() -> String {
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);
    ends(&place, APPLY, 0).await;
    catalog::dump(&cluster).await
}

#[tokio::test]
async fn an_apply_whose_server_is_killed_says_so_and_the_next_one_finishes() {
    let expected = undisturbed().await;
    let mut points = 0;
    for number in (1..).step_by(5) {
        let point = format!("statement:{number}");
        let cluster = cluster(Cluster::builder().durable()).await;
        let place = place(&cluster, SPEC);
        let Some(child) = stopped(&place, APPLY, &point).await else { break };
        cluster.kill_server();
        // Either pgisle finds no server, or one that has recovered and knows nothing of its sessions.
        let is_back = points % 2 == 0;
        if is_back {
            cluster.restart().await;
        }
        let (code, said) = continued(child).await;
        assert_eq!(code, Some(69), "{point}: {said}");
        assert!(said.contains("error[PI02"), "{point}: {said}");
        if !is_back {
            cluster.restart().await;
        }
        let spies = spies(&cluster);
        spies.whole_round().await;
        ends(&place, APPLY, 0).await;
        assert_eq!(spies.seen().await.entered, [""; 0], "{point}");
        assert_same(&expected, &catalog::dump(&cluster).await, &point);
        ends(&place, &["plan", "-detailed-exitcode"], 0).await;
        assert_logins_work(&cluster, &place).await;
        points += 1;
    }
    assert!(points > 15, "only {points} points");
}

/// Ends the session that holds the run lock.
async fn take_lock_away(cluster: &Cluster) {
    let sql = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    assert_eq!(cluster.psql(sql).await, "1");
}

#[tokio::test]
async fn a_run_that_loses_its_lock_stops_and_the_next_one_finishes() {
    let expected = undisturbed().await;
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);

    // Between the look at the cluster and the first change, and nothing is changed.
    let before = catalog::dump(&cluster).await;
    let child = stopped(&place, APPLY, "file:1").await.unwrap();
    take_lock_away(&cluster).await;
    let (code, said) = continued(child).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("the run lock was lost"), "{said}");
    assert_same(&before, &catalog::dump(&cluster).await, "before the first statement");

    // In the middle.
    for number in [20, 40] {
        let child = stopped(&place, APPLY, &format!("statement:{number}")).await.unwrap();
        take_lock_away(&cluster).await;
        let (code, said) = continued(child).await;
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains("the run lock was lost"), "{said}");
    }
    ends(&place, APPLY, 0).await;
    assert_same(&expected, &catalog::dump(&cluster).await, "in the middle");
    ends(&place, &["plan", "-detailed-exitcode"], 0).await;
}

#[tokio::test]
async fn a_statement_that_outlives_its_run_is_waited_for() {
    let expected = undisturbed().await;
    let cluster = cluster(Cluster::builder()).await;
    let place = place(&cluster, SPEC);
    // CREATE DATABASE has to wait until this transaction ends.
    let blocker = cluster.connect().await;
    blocker.batch_execute("BEGIN; LOCK TABLE pg_database IN SHARE MODE").await.unwrap();
    // Fencing a maintenance database would wait, too.
    let spec = format!("fence_maintenance_databases = false\ncreate_monitoring_user = false\n{SPEC}");
    place.file("pgisle.hcl", spec);
    let mut first = place.start(APPLY, &[]);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE DATABASE%'";
    while cluster.psql(waits).await != "1" {
        assert!(first.try_wait().unwrap().is_none(), "the apply ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.kill().await.unwrap();

    place.file("pgisle.hcl", SPEC);
    let mut second = place.start(APPLY, &[]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(second.try_wait().unwrap().is_none(), "the second run does not wait for the first one's statement");
    blocker.batch_execute("COMMIT").await.unwrap();
    let output = second.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("pgisle work of pid"), "{}", text(&output));
    assert_same(&expected, &catalog::dump(&cluster).await, "after the orphan");
    ends(&place, &["plan", "-detailed-exitcode"], 0).await;
}
