//! What is killed is not pgisle, but what it talks to: its sessions on either side, or the server. What must be true is the same.

use super::killed::{CUTTING, RETURNING, RUNNING, killed_cutovers, killed_finalizes, killed_rollbacks, killed_runs, newest};
use super::points::{Harm, Path};

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
        assert_eq!(killed_cutovers(newest().await, strategy, Path::of(CUTTING, harm)).await, 5);
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
