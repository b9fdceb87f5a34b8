//! Killed or interrupted anywhere, the next apply ends where an undisturbed one does; many at once do not hold each other up.

use pgisle_testkit::skip_foreign;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{NO_TERRAFORM, SHOP, SHOP_FILE, Site};
use crate::place::wait_for;

#[tokio::test]
async fn a_provider_that_is_killed_is_taken_up_again() {
    let Some(mut site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    // After so many of its statements; each run has fewer of them left to do.
    let mut kills = 0;
    for statements in [1, 2, 4, 7, 11, 16, 22, 29, 37, 46, 56, 1000] {
        site.place.variable("PGISLE_FAULT_KILL_AFTER", &format!("statement:{statements}"));
        if site.apply().code == 0 {
            break;
        }
        kills += 1;
    }
    site.place.variable("PGISLE_FAULT_KILL_AFTER", "");
    assert!(kills > 4, "{kills}");
    site.plan().expect(0).says("No changes");
    assert!(site.plan_of_file(SHOP_FILE).await.is_empty(), "state and cluster agree, and the command line with them");
}

#[tokio::test]
async fn an_interrupted_apply_stops_waiting_and_changes_nothing() {
    let Some(site) = Site::with(SHOP).await else { skip_foreign!("{NO_TERRAFORM}") };
    // Someone else holds the run lock.
    let holder = site.cluster.connect().await;
    let lock = format!("SELECT pg_advisory_lock({})", pgisle_engine::postgres::lock::LOCK_KEY);
    holder.batch_execute(&lock).await.unwrap();
    let mut terraform = site.place.start(&["apply", "-auto-approve"]);
    wait_for("the wait for the lock", 20, || {
        let output = std::fs::read_to_string(site.place.path("output")).unwrap_or_default();
        output.contains("Still creating").then_some(())
    });
    kill_process_group(Pid::from_child(&terraform), Signal::INT).unwrap();
    let status = wait_for("the end of terraform", 30, || terraform.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert_eq!(site.cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'shop%'").await, "0");
    drop(holder);
    // The connection's own task ends it, and runs only while the test waits.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    site.apply().expect(0).says("3 added");
    site.plan().expect(0);
}

#[tokio::test]
async fn many_at_once_neither_hang_nor_fail() {
    let services = "resource \"pgisle_service\" \"s\" {\n  count = 24\n  name  = \"s${count.index}\"\n}\n";
    let Some(site) = Site::with(services).await else { skip_foreign!("{NO_TERRAFORM}") };
    site.place.terraform(&["apply", "-auto-approve", "-parallelism=40"]).expect(0).says("24 added");
    site.plan().expect(0).says("No changes");
    let locks = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgisle%' \
                 AND application_name <> 'pgisle-testkit'";
    for _ in 0..100 {
        if site.cluster.psql(locks).await == "0" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a session is left behind");
}
