//! pgisle killed by SIGKILL while it splits, at each stage and after statements, and then either the same command or the one that
//! goes back: the service has one home all the time, no acknowledged row is lost, and nothing is left behind. `others` does the same
//! when something else is killed.

use pgisle_testkit::Cluster;

use super::points::{Harm, Path, Point, Then, walk};
use super::stand::{CUTOVER, DROP, FINALIZE, NEW, OLD, ROLLBACK, Stand, assert_same, run_by};

/// The stages of a run by `stream`.
pub(super) const RUNNING: &[&str] = &["split.begun", "split.slot", "split.copied", "split.following"];

/// The stages of a cutover, in their order; those of `copy` are the same.
pub(super) const CUTTING: &[&str] =
    &["split.ready", "split.held", "split.drained", "split.late", "split.deciding", "split.cut", "split.compared"];

/// The stages of one by `clone`.
const CLONING: &[&str] =
    &["split.ready", "split.closed", "split.cloned", "split.held", "split.pruned", "split.deciding", "split.cut", "split.compared"];

/// The stages of the way back behind a cutover.
pub(super) const RETURNING: &[&str] = &[
    "split.back.fenced",
    "split.back.prepared",
    "split.back.held",
    "split.back.drained",
    "split.back.returned",
    "split.back.mended",
    "split.back.finished",
];

/// The stages of the one before it.
const WITHDRAWING: &[&str] = &["split.back.slots", "split.back.cleaned"];

/// What an undisturbed cutover leaves.
async fn undisturbed(stand: &Stand, strategy: &'static str) -> String {
    stand.ends(run_by(strategy), 0).await;
    stand.ends(CUTOVER, 0).await;
    let there = stand.furniture().await;
    stand.ends(ROLLBACK, 0).await;
    stand.assert_forgotten("undisturbed").await;
    there
}

/// The service has its own database for its home, and nothing but the way back is left of the move.
async fn assert_there(stand: &Stand, expected: &str, name: &str) {
    assert_eq!(stand.home().await, (NEW.to_owned(), "cut".to_owned()), "{name}");
    assert_same(expected, &stand.furniture().await, name);
}

pub(super) async fn killed_runs(strategy: &'static str, path: Path<'_>) -> u32 {
    let stand = Stand::new(Cluster::builder()).await;
    let expected = undisturbed(&stand, strategy).await;
    let traffic = stand.traffic();
    let points = walk(path, async |point, then| {
        let name = format!("run by {strategy}, {point}, {then:?}");
        let killed = point.strikes(&stand, run_by(strategy), path.harm).await;
        let (home, state) = stand.home().await;
        assert_eq!(home, OLD, "{name}");
        if then == Then::GoOn {
            stand.ends(run_by(strategy), 0).await;
            let state = if strategy == "stream" { "following" } else { "begun" };
            assert_eq!(stand.home().await, (OLD.to_owned(), state.to_owned()), "{name}");
            // What was copied and followed holds.
            stand.ends(CUTOVER, 0).await;
            assert_there(&stand, &expected, &name).await;
        }
        let is_nothing = then == Then::Back && state == "none";
        let said = stand.ends(ROLLBACK, i32::from(is_nothing)).await;
        assert!(!is_nothing || said.contains("is not being split"), "{name}: {said}");
        stand.assert_forgotten(&name).await;
        killed
    });
    let points = points.await;
    traffic.assert_kept_by(&stand, OLD).await;
    points
}

#[tokio::test]
async fn a_run_by_stream_killed_at_each_point_goes_on_or_goes_back() {
    let points = killed_runs("stream", Path { stages: RUNNING, twice: true, stride: 45, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

#[tokio::test]
async fn a_run_by_copy_killed_at_each_point_goes_on_or_goes_back() {
    let points = killed_runs("copy", Path { stages: &["split.begun"], twice: false, stride: 4, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

pub(super) async fn killed_cutovers(major: u32, strategy: &'static str, path: Path<'_>) -> u32 {
    let stand = Stand::new(Cluster::builder().major(major)).await;
    let expected = undisturbed(&stand, strategy).await;
    let traffic = stand.traffic();
    let mut moved = 0;
    let points = walk(path, async |point, then| {
        let name = format!("cutover by {strategy}, {point}, {then:?}");
        stand.ends(run_by(strategy), 0).await;
        let killed = point.strikes(&stand, CUTOVER, path.harm).await;
        let (home, _) = stand.home().await;
        moved += u32::from(home == NEW);
        if then == Then::GoOn {
            if home == OLD && matches!(point, Point::Stage(_)) {
                // Whoever lets the changes follow again first: what the cutover made late must not fire.
                stand.ends(run_by(strategy), 0).await;
            }
            stand.ends(CUTOVER, 0).await;
            assert_there(&stand, &expected, &name).await;
            stand.ends(&["plan", "-detailed-exitcode"], 0).await;
        }
        stand.ends(ROLLBACK, 0).await;
        stand.assert_forgotten(&name).await;
        killed
    });
    let points = points.await;
    traffic.assert_kept_by(&stand, OLD).await;
    assert!(moved > 1 && moved < points, "{moved} of {points}");
    points
}

#[tokio::test]
async fn a_cutover_by_stream_killed_at_each_point_goes_on_or_goes_back() {
    let points =
        killed_cutovers(newest().await, "stream", Path { stages: CUTTING, twice: true, stride: 60, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

#[tokio::test]
async fn a_cutover_by_copy_killed_at_each_point_goes_on_or_goes_back() {
    let points =
        killed_cutovers(newest().await, "copy", Path { stages: CUTTING, twice: false, stride: 70, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

#[tokio::test]
async fn a_cutover_by_clone_killed_at_each_point_goes_on_or_goes_back() {
    let points =
        killed_cutovers(newest().await, "clone", Path { stages: CLONING, twice: true, stride: 35, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

#[tokio::test]
async fn each_strategy_leaves_the_same() {
    let stand = Stand::new(Cluster::builder()).await;
    let copied = undisturbed(&stand, "copy").await;
    assert_same(&copied, &undisturbed(&stand, "clone").await, "clone");
}

#[tokio::test]
async fn so_does_one_on_the_oldest_server() {
    let oldest = pgisle_testkit::majors().await.into_iter().min().unwrap();
    let points = killed_cutovers(oldest, "stream", Path { stages: CUTTING, twice: false, stride: 100, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
    let points =
        killed_rollbacks(oldest, "stream", Path { stages: RETURNING, twice: false, stride: 100, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

/// The version that tests use unless they say otherwise.
pub(super) async fn newest() -> u32 {
    pgisle_testkit::majors().await[0]
}

pub(super) async fn killed_rollbacks(major: u32, strategy: &'static str, path: Path<'_>) -> u32 {
    let stand = Stand::new(Cluster::builder().major(major)).await;
    let expected = undisturbed(&stand, strategy).await;
    let traffic = stand.traffic();
    let mut returned = 0;
    let points = walk(path, async |point, then| {
        let name = format!("rollback of {strategy}, {point}, {then:?}");
        stand.ends(run_by(strategy), 0).await;
        stand.ends(CUTOVER, 0).await;
        let killed = point.strikes(&stand, ROLLBACK, path.harm).await;
        let (home, state) = stand.home().await;
        returned += u32::from(home == OLD);
        if then == Then::Back && home == NEW {
            stand.ends(CUTOVER, 0).await;
            assert_there(&stand, &expected, &name).await;
            stand.ends(&["plan", "-detailed-exitcode"], 0).await;
        } else if then == Then::Back {
            assert_eq!(state, "returned", "{name}");
            let is_half = stand.status().await.unwrap()["is_half_back"] == true;
            let said = stand.ends(run_by(strategy), i32::from(is_half)).await;
            assert!(!is_half || said.contains("PI1006") && said.contains("pgisle split rollback chat"), "{name}: {said}");
        }
        stand.ends(ROLLBACK, 0).await;
        stand.assert_forgotten(&name).await;
        killed
    });
    let points = points.await;
    traffic.assert_kept_by(&stand, OLD).await;
    assert!(returned > 1 && returned < points, "{returned} of {points}");
    points
}

#[tokio::test]
async fn a_rollback_of_stream_killed_at_each_point_goes_on_or_stays() {
    let points =
        killed_rollbacks(newest().await, "stream", Path { stages: RETURNING, twice: true, stride: 60, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

#[tokio::test]
async fn a_rollback_of_copy_killed_at_each_point_goes_on_or_stays() {
    let points =
        killed_rollbacks(newest().await, "copy", Path { stages: RETURNING, twice: false, stride: 70, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

/// Before the cutover a rollback takes away what was made; killed, neither is half of it cut over.
async fn killed_withdrawals(strategy: &'static str, path: Path<'_>) -> u32 {
    let stand = Stand::new(Cluster::builder()).await;
    let expected = undisturbed(&stand, strategy).await;
    let traffic = stand.traffic();
    let points = walk(path, async |point, then| {
        let name = format!("rollback before the cutover by {strategy}, {point}, {then:?}");
        stand.ends(run_by(strategy), 0).await;
        let killed = point.strikes(&stand, ROLLBACK, path.harm).await;
        let (home, state) = stand.home().await;
        assert_eq!(home, OLD, "{name}");
        if then == Then::Back {
            if strategy == "stream" || state == "returned" {
                stand.ends(run_by(strategy), 0).await;
            }
            stand.ends(CUTOVER, 0).await;
            assert_there(&stand, &expected, &name).await;
        }
        stand.ends(ROLLBACK, 0).await;
        stand.assert_forgotten(&name).await;
        killed
    });
    let points = points.await;
    traffic.assert_kept_by(&stand, OLD).await;
    points
}

#[tokio::test]
async fn a_rollback_before_the_cutover_killed_at_each_point_goes_on_or_begins_again() {
    let points = killed_withdrawals("stream", Path { stages: WITHDRAWING, twice: false, stride: 12, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
    let points = killed_withdrawals("copy", Path { stages: WITHDRAWING, twice: false, stride: 8, harm: Harm::Itself }).await;
    assert!(points > 2, "only {points} points");
}

/// Nothing of a split is left but the service in its own database, and the tables of others in the shared one.
async fn assert_over(stand: &Stand, name: &str) {
    assert_eq!(stand.home().await, (NEW.to_owned(), "none".to_owned()), "{name}");
    let furniture = stand.furniture().await;
    let left: Vec<&str> =
        furniture.lines().filter(|line| ["pgisle", "__", "closed", "slot"].iter().any(|word| line.contains(word))).collect();
    assert_eq!(left, [""; 0], "{name}");
    let (old, new) = furniture.split_once("-- link_chat").unwrap();
    assert!(!old.contains("messages") && new.contains("relation messages r"), "{name}: {furniture}");
    stand.ends(&["plan", "-detailed-exitcode"], 0).await;
}

pub(super) async fn killed_finalizes(path: Path<'_>) -> u32 {
    let stand = Stand::new(Cluster::builder()).await;
    let mut ended = 0;
    let points = walk(path, async |point, then| {
        let name = format!("finalize, {point}, {then:?}");
        let traffic = stand.traffic();
        stand.ends(run_by("stream"), 0).await;
        stand.ends(CUTOVER, 0).await;
        let killed = point.strikes(&stand, FINALIZE, path.harm).await;
        let (home, state) = stand.home().await;
        assert_eq!(home, NEW, "{name}");
        ended += u32::from(state == "finalized");
        if then == Then::Back {
            // Behind its commit there is no way back, and before it the rows are copied when the slot is gone already.
            let said = stand.ends(ROLLBACK, i32::from(state == "finalized")).await;
            assert!(state == "cut" || said.contains("cannot be rolled back"), "{name}: {said}");
        }
        if then == Then::Back && state == "cut" {
            stand.assert_forgotten(&name).await;
            traffic.assert_kept_by(&stand, OLD).await;
        } else {
            stand.ends(FINALIZE, 0).await;
            stand.ends(DROP, 0).await;
            assert_over(&stand, &name).await;
            traffic.assert_kept_by(&stand, NEW).await;
        }
        stand.begin_again().await;
        killed
    });
    let points = points.await;
    assert!(ended > 0 && ended < points, "{ended} of {points}");
    points
}

#[tokio::test]
async fn a_finalize_killed_at_each_point_goes_on_or_goes_back() {
    let stages = ["split.end.slot", "split.end.aside"];
    let points = killed_finalizes(Path { stages: &stages, twice: true, stride: 9, harm: Harm::Itself }).await;
    assert!(points > 4, "only {points} points");
}

#[tokio::test]
async fn old_tables_whose_dropping_is_killed_are_dropped_by_the_next_call() {
    let stand = Stand::new(Cluster::builder()).await;
    let path = Path { stages: &["split.end.dropped"], twice: false, stride: 2, harm: Harm::Itself };
    let mut dropped = 0;
    let points = walk(path, async |point, _| {
        let name = format!("finalize -drop, {point}");
        let traffic = stand.traffic();
        stand.ends(run_by("copy"), 0).await;
        stand.ends(CUTOVER, 0).await;
        stand.ends(FINALIZE, 0).await;
        let killed = point.strikes(&stand, DROP, path.harm).await;
        let (home, state) = stand.home().await;
        assert_eq!(home, NEW, "{name}");
        dropped += u32::from(state == "none");
        let said = stand.ends(DROP, i32::from(state == "none")).await;
        assert!(state == "finalized" || said.contains("is not being split"), "{name}: {said}");
        assert_over(&stand, &name).await;
        traffic.assert_kept_by(&stand, NEW).await;
        stand.begin_again().await;
        killed
    });
    let points = points.await;
    assert!(points > 2 && dropped > 0 && dropped < points, "{dropped} of {points}");
}
