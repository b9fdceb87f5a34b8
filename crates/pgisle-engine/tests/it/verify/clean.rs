//! Isolated clusters are proved to be isolated, all of them and all of it.

use pgisle_core::verify::{CellState, Outcome, Report, Verdict};
use pgisle_testkit::Cluster;

use super::{THREE, USUAL, cell, shown, verify};
use crate::apply::Project;

#[tokio::test]
async fn what_apply_made_is_isolated_on_every_version() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::new(&cluster, THREE);
        project.apply().await;
        assert_proved(&verify(&project, USUAL).await);
    }
}

#[tokio::test]
async fn what_a_plain_administrator_made_is_isolated_too() {
    for major in pgisle_testkit::majors().await {
        let cluster = Cluster::builder().major(major).start().await;
        let project = Project::plain(&cluster, THREE).await;
        project.apply_with_dba(&cluster).await;
        assert_proved(&verify(&project, USUAL).await);
    }
}

/// Every pair was tried, every trial counts, and nothing was passed over.
fn assert_proved(report: &Report) {
    assert_eq!(report.verdict, Verdict::Isolated, "{}", shown(report));
    assert_eq!((report.leaks.len(), report.unproved.len()), (0, 0));
    let passed = report.probes.iter().filter(|probe| probe.outcome == Outcome::Passed).count();
    let skipped: Vec<_> = report.probes.iter().filter(|probe| matches!(probe.outcome, Outcome::Skipped(_))).collect();
    // An installation without contrib has no dblink to be created.
    assert!(skipped.iter().all(|probe| probe.id == "create-extension"), "{skipped:?}");
    assert_eq!((passed + skipped.len(), report.coverage.trials_run), (report.probes.len(), report.probes.len()));
    // Three services and four logins: home, the two others, postgres and template1 each; and the monitoring login.
    assert_eq!((report.attempts.len(), report.coverage.logins_tried), (4 * 5 + 3, 4 * 5 + 3));
    for (service, trials) in [("users", 40), ("chat", 40), ("ai", 80)] {
        let of_service = report.probes.iter().filter(|probe| probe.who.service().is_some_and(|name| name.as_str() == service));
        assert!(of_service.count() >= trials, "{service}");
        for column in &report.columns {
            let cell = cell(report, service, column.database.as_str());
            let wanted = if column.label == service { CellState::Works } else { CellState::Denied };
            assert_eq!((cell.state, cell.tried), (wanted, true), "{service} {}", column.label);
        }
    }
}
