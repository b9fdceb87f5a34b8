//! What is killed is not pgisle, but what it talks to: its sessions on either side, or the server. What must be true is the same.

use std::time::Duration;

use pgisle_testkit::Cluster;

use super::killed::{CUTTING, RETURNING, RUNNING, killed_cutovers, killed_finalizes, killed_rollbacks, killed_runs, newest};
use super::points::{Harm, Path};
use super::stand::{CUTOVER, NEW, OLD, ROLLBACK, Stand, run_by};
use crate::faults::server::stopped_by;

#[tokio::test]
async fn a_run_whose_sessions_or_server_are_killed_goes_on_or_goes_back() {
    for harm in [Harm::OldSide, Harm::NewSide, Harm::Server] {
        assert_eq!(killed_runs("stream", Path::of(RUNNING, harm)).await, 4);
    }
}

#[tokio::test]
async fn a_cutover_whose_sessions_or_server_are_killed_goes_on_or_goes_back() {
    for (strategy, harm) in [("stream", Harm::OldSide), ("stream", Harm::NewSide), ("stream", Harm::Server), ("copy", Harm::Server)]
    {
        assert_eq!(killed_cutovers(newest().await, strategy, Path::of(CUTTING, harm)).await, 7);
    }
}

#[tokio::test]
async fn a_rollback_whose_sessions_or_server_are_killed_goes_on_or_stays() {
    for (strategy, harm) in [("stream", Harm::OldSide), ("stream", Harm::NewSide), ("stream", Harm::Server), ("copy", Harm::Server)]
    {
        assert_eq!(killed_rollbacks(newest().await, strategy, Path::of(RETURNING, harm)).await, 7);
    }
}

#[tokio::test]
async fn a_finalize_whose_server_is_killed_goes_on_or_goes_back() {
    assert_eq!(killed_finalizes(Path::of(&["split.end.slot", "split.end.aside"], Harm::Server)).await, 2);
}

/// pgisle is killed while its commit is under way: whoever comes next must wait for how it ends, and not decide for itself.
#[tokio::test]
async fn a_cutover_killed_while_it_commits_is_waited_for() {
    let stand = Stand::new(Cluster::builder()).await;
    for follow_up in [CUTOVER, ROLLBACK, run_by("stream")] {
        stand.ends(run_by("stream"), 0).await;
        let traffic = stand.traffic();
        let mut child = stopped_by(&stand.place, CUTOVER, "PGISLE_FAULT_STOP_AT", "split.deciding").await.unwrap();
        // Whatever commits from now on waits for a standby that is not there.
        stand.cluster.reload_with("synchronous_standby_names", "nobody").await;
        let probe = stand.cluster.connect().await;
        let commits =
            || tokio::time::timeout(Duration::from_millis(500), probe.batch_execute("CREATE TABLE probe (); DROP TABLE probe"));
        while commits().await.is_ok() {}
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT' AND application_name LIKE 'pgisle %'";
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        while stand.cluster.psql(waits).await != "1" {
            assert!(child.try_wait().unwrap().is_none(), "it does not wait");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().await.unwrap();
        let arguments = [follow_up, &["-lock-timeout=30s"]].concat();
        let next = stand.place.start(&arguments, &[]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        stand.cluster.psql("ALTER SYSTEM RESET synchronous_standby_names").await;
        stand.cluster.psql("SELECT pg_reload_conf()").await;
        let output = next.wait_with_output().await.unwrap();
        let said = crate::faults::text(&output);
        let (home, state) = stand.home().await;
        let expected = if follow_up == ROLLBACK { (OLD, "returned") } else { (NEW, "cut") };
        assert_eq!((home.as_str(), state.as_str()), expected, "{follow_up:?}: {said}");
        assert_eq!(output.status.success(), follow_up[1] != "run", "{follow_up:?}: {said}");
        if home == NEW {
            stand.ends(CUTOVER, 0).await;
        }
        traffic.assert_kept_by(&stand, &home).await;
        stand.ends(ROLLBACK, 0).await;
        stand.assert_forgotten("committing").await;
    }
}
